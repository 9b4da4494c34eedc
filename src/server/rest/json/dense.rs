//! A JSON value of any nesting as the elements of a tensor: the shape is what the nesting says, row
//! by row, and lists of unequal length are refused with their place.
//!
//! Pure. What this file must not know: what an object's keys mean, and which shape a model wants.

use std::fmt::Write;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use jiter::{Jiter, JiterError, Peek};

use super::NonFinite;
use super::read::{self, Element, Misfit};
use crate::error::{Error, Result};
use crate::tensor::{DType, Number, RANK_MAX, Shape, Tensor, numeric, strings};

/// How single values are read.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub nonfinite: NonFinite,
    /// As pandas has it: null is NaN, where the datatype has one.
    pub null_is_nan: bool,
}

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The elements of one tensor while they come in.
pub struct Dense {
    dtype: DType,
    data: Vec<u8>,
    /// For each level of lists that was opened, the extent, once a list of it was read to its end.
    extents: Vec<Option<usize>>,
    /// Whether a value was read: from then on, lists can not go deeper.
    is_floored: bool,
    /// Items that were pushed one by one.
    items: usize,
}

/// Where inside a value something does not fit, and what.
#[derive(Debug)]
pub struct Misplaced {
    /// Indices from the outside in, last one first.
    path: Vec<usize>,
    pub why: Why,
}

#[derive(Debug)]
pub enum Why {
    Element(Misfit),
    /// A list of another length than the lists before it.
    Length {
        expected: usize,
        given: usize,
    },
    /// A list where there were values before.
    List,
    /// A value where there were lists before.
    Value,
}

type Fit = std::result::Result<(), Misplaced>;

impl Dense {
    /// For one value that is the whole tensor, to be `read`.
    pub fn new(dtype: DType) -> Self {
        Self { dtype, data: Vec::new(), extents: Vec::new(), is_floored: false, items: 0 }
    }

    /// For values that are the rows of a tensor, to be pushed one by one.
    pub fn rows(dtype: DType) -> Self {
        Self { extents: vec![None], ..Self::new(dtype) }
    }

    /// Reads the whole tensor.
    pub fn read(&mut self, reader: &mut Jiter<'_>, peek: Peek, rules: Rules) -> Fit {
        self.value(reader, peek, 0, rules)
    }

    /// Reads the next row.
    pub fn push(&mut self, reader: &mut Jiter<'_>, peek: Peek, rules: Rules) -> Fit {
        self.items += 1;
        self.value(reader, peek, 1, rules)
    }

    /// Appends a row that is one number; BOOL and BYTES have none.
    pub fn push_number(&mut self, number: f64) -> Fit {
        self.single(|dtype, out| {
            numeric!(dtype, T => {
                out.extend_from_slice(bytemuck::bytes_of(&T::from_f64(number)));
                Ok(())
            }, _ => Err(Misfit::Kind("a number")))
        })
    }

    /// Appends a row that is missing: NaN, where the datatype has one.
    pub fn push_null(&mut self) -> Fit {
        if self.dtype.is_float() {
            return self.push_number(f64::NAN);
        }
        Err(Misplaced::here(Why::Element(Misfit::Kind("null"))))
    }

    /// Appends a row that is one value, written by `put` as the bytes of an element.
    pub fn single(
        &mut self,
        put: impl FnOnce(DType, &mut Vec<u8>) -> std::result::Result<(), Misfit>,
    ) -> Fit {
        self.items += 1;
        self.floor(1)?;
        put(self.dtype, &mut self.data).map_err(Misplaced::from)
    }

    /// Rows that were pushed so far.
    pub fn items(&self) -> usize {
        self.items
    }

    /// The extents so far.
    pub fn shape(&self) -> Shape {
        Shape::new(self.extents.iter().map(|extent| extent.unwrap_or(self.items)))
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    pub fn into_data(self) -> Vec<u8> {
        self.data
    }

    /// The tensor, of the shape that the nesting had.
    pub fn tensor(self, name: &str) -> Result<Tensor> {
        let shape = self.shape();
        Tensor::new(name, self.dtype, shape, self.data.into())
    }

    fn value(&mut self, reader: &mut Jiter<'_>, peek: Peek, level: usize, rules: Rules) -> Fit {
        if peek == Peek::Array {
            return self.list(reader, level, rules);
        }
        self.floor(level)?;
        let (dtype, out) = (self.dtype, &mut self.data);
        let outcome = numeric!(dtype, T => {
            number::<T>(reader, peek, dtype, rules)
                .map(|value| out.extend_from_slice(bytemuck::bytes_of(&value)))
        }, _ => match dtype {
            DType::Bool => read::boolean(reader, peek).map(|flag| out.push(flag)),
            _ if peek == Peek::Object => base64(reader, out),
            _ => read::string(reader, peek, out),
        });
        outcome.map_err(Misplaced::from)
    }

    fn list(&mut self, reader: &mut Jiter<'_>, level: usize, rules: Rules) -> Fit {
        if level == self.extents.len() {
            if self.is_floored {
                return Err(Misplaced::here(Why::List));
            }
            if level == RANK_MAX {
                return Err(Misfit::Depth.into());
            }
            self.extents.push(None);
        }
        let mut given = 0;
        let mut next = reader.known_array()?;
        while let Some(peek) = next {
            self.value(reader, peek, level + 1, rules).map_err(|fault| fault.within(given))?;
            given += 1;
            next = reader.array_step()?;
        }
        match self.extents[level].replace(given) {
            Some(expected) if expected != given => {
                Err(Misplaced::here(Why::Length { expected, given }))
            }
            _ => Ok(()),
        }
    }

    /// A value stands at `level`: all of them stand at the same one.
    fn floor(&mut self, level: usize) -> Fit {
        self.is_floored = true;
        if level == self.extents.len() { Ok(()) } else { Err(Misplaced::here(Why::Value)) }
    }
}

fn number<T: Element>(
    reader: &mut Jiter<'_>,
    peek: Peek,
    dtype: DType,
    rules: Rules,
) -> std::result::Result<T, Misfit> {
    if rules.null_is_nan && peek == Peek::Null && dtype.is_float() {
        reader.known_null()?;
        return Ok(T::from_f64(f64::NAN));
    }
    T::read(reader, peek, rules.nonfinite)
}

/// `{"b64": "..."}`, led by its length.
fn base64(reader: &mut Jiter<'_>, out: &mut Vec<u8>) -> std::result::Result<(), Misfit> {
    if !is_base64(reader.clone()) {
        reader.known_skip(Peek::Object)?;
        return Err(Misfit::Kind("an object"));
    }
    reader.known_object()?;
    let bytes = BASE64.decode(reader.next_str()?);
    reader.next_key()?;
    match bytes {
        Ok(bytes) if strings::push(out, &bytes) => Ok(()),
        Ok(_) => Err(Misfit::Range),
        Err(_) => Err(Misfit::Kind("text that is no base64")),
    }
}

/// Whether the object that comes next is `{"b64": "..."}` and nothing else, and so is one value.
pub fn is_base64(mut ahead: Jiter<'_>) -> bool {
    matches!(ahead.known_object(), Ok(Some("b64")))
        && ahead.next_str().is_ok()
        && matches!(ahead.next_key(), Ok(None))
}

impl Misplaced {
    fn here(why: Why) -> Self {
        Self { path: Vec::new(), why }
    }

    fn within(mut self, index: usize) -> Self {
        self.path.push(index);
        self
    }

    /// What the caller hears: the place, which begins with `root`, and never the value.
    pub fn error(&self, root: &str, dtype: DType) -> Error {
        let mut at = root.to_owned();
        for index in self.path.iter().rev() {
            // Writing into a String can not fail.
            let _ = write!(at, "[{index}]");
        }
        Error::invalid(match &self.why {
            Why::Element(Misfit::Syntax(error)) => return read::syntax(error),
            Why::Element(Misfit::Kind(given)) => format!("{at} is no {dtype}: got {given}"),
            Why::Element(Misfit::Range | Misfit::Surplus) => {
                format!("{at} is outside the range of {dtype}")
            }
            Why::Element(Misfit::Depth) => {
                format!("{at} is nested deeper than {RANK_MAX} dimensions")
            }
            Why::Length { expected, given } => {
                format!("{at} has {given} elements, but the lists before it have {expected}")
            }
            Why::List => format!("{at} is a list, but there were values before it"),
            Why::Value => format!("{at} is a value, but there were lists before it"),
        })
    }
}

impl From<Misfit> for Misplaced {
    fn from(misfit: Misfit) -> Self {
        Self::here(Why::Element(misfit))
    }
}

impl From<JiterError> for Misplaced {
    fn from(error: JiterError) -> Self {
        Misfit::Syntax(error).into()
    }
}

#[cfg(test)]
mod tests;
