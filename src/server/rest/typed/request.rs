//! `{"records": [{"age": 63, ...}, ...]}` as the tensors of a request, held against the contract.
//! Every broken rule is reported, up to a limit, and no value is ever repeated. Pure.

use std::fmt::Write;

use bytes::Bytes;
use jiter::{Jiter, Peek};

use crate::error::{Error, Result, Violation, quoted};
use crate::infer::InferRequest;
use crate::model::contract::{Contract, Field, Part};
use crate::model::{ModelId, Signature};
use crate::server::rest::json::NonFinite;
use crate::server::rest::json::read::{self, Element, Misfit};
use crate::tensor::{DType, Dim, NamedTensor, Number, Shape, Tensor, numeric, write_dims};

/// Broken rules that one answer lists; reading stops there.
const VIOLATIONS_MAX: usize = 64;

/// A decoded request and how many records it holds.
pub struct Decoded {
    pub request: InferRequest,
    pub records: usize,
}

/// Reads a body; what breaks the contract comes back as violations.
pub fn decode(
    model: &ModelId,
    signature: &Signature,
    contract: &Contract,
    body: &Bytes,
) -> Result<Decoded> {
    let mut decoder = Decoder {
        reader: read::reader(body, NonFinite::Null),
        contract,
        columns: signature.inputs.iter().map(|_| Columns::default()).collect(),
        seen: vec![0; contract.fields.len()],
        violations: Vec::new(),
        element: Vec::with_capacity(8),
    };
    for field in &contract.fields {
        let columns = &mut decoder.columns[field.input];
        columns.width += usize::from(matches!(field.part, Part::Column(_)));
        columns.element_bytes = field.dtype.size().unwrap_or(0);
    }
    let outcome = decoder.document();
    let Decoder { columns, violations, .. } = decoder;
    let records = match outcome {
        Ok(records) if violations.is_empty() => records,
        Ok(_) => return Err(broken(model, violations, "")),
        Err(Stop::Enough) => {
            let first = format!("; these are the first {VIOLATIONS_MAX} faults");
            return Err(broken(model, violations, &first));
        }
        Err(Stop::Syntax(error)) => return Err(read::syntax(&error)),
    };
    let tensors = signature.inputs.iter().zip(columns).map(|(spec, columns)| {
        let shape = columns.shape(contract.batched, records);
        let tensor = Tensor::new(&spec.name, spec.dtype, shape, columns.data.into())?;
        Ok(NamedTensor { name: spec.name.clone(), tensor })
    });
    let inputs = tensors.collect::<Result<_>>()?;
    Ok(Decoded { request: InferRequest { inputs, ..InferRequest::default() }, records })
}

fn broken(model: &ModelId, violations: Vec<Violation>, note: &str) -> Error {
    let message = format!(
        "the request does not fit the contract of model '{}', version {}{note}",
        model.name, model.version
    );
    Error::invalid(message).with_violations(violations)
}

/// One input tensor while its records come in.
#[derive(Default)]
struct Columns {
    data: Vec<u8>,
    /// Named columns; 0 where a record holds a whole row.
    width: usize,
    element_bytes: usize,
    /// Extents of a row, from the first record that has one.
    row: Option<Vec<usize>>,
}

impl Columns {
    fn shape(&self, batched: bool, records: usize) -> Shape {
        let row = match (self.width, &self.row) {
            (0, Some(row)) => row.clone(),
            (0, None) => Vec::new(),
            (width, _) => vec![width],
        };
        Shape::new(batched.then_some(records).into_iter().chain(row))
    }

    fn set(&mut self, record: usize, column: usize, element: &[u8]) {
        let start = (record * self.width + column) * self.element_bytes;
        if let Some(slot) = self.data.get_mut(start..start + self.element_bytes) {
            slot.copy_from_slice(element);
        }
    }
}

type Step<T = ()> = std::result::Result<T, Stop>;
type Fit = std::result::Result<(), Fault>;

/// Why reading ended before the end.
enum Stop {
    Syntax(jiter::JiterError),
    /// More broken rules than anybody reads.
    Enough,
}

impl From<jiter::JiterError> for Stop {
    fn from(error: jiter::JiterError) -> Self {
        Stop::Syntax(error)
    }
}

struct Decoder<'a> {
    reader: Jiter<'a>,
    contract: &'a Contract,
    /// By position in the signature.
    columns: Vec<Columns>,
    /// For each field, the number (from 1) of the last record that had it.
    seen: Vec<usize>,
    violations: Vec<Violation>,
    /// One scalar on its way into its column; kept for its memory.
    element: Vec<u8>,
}

impl Decoder<'_> {
    /// Reads the whole text; gives back how many records it holds.
    fn document(&mut self) -> Step<usize> {
        let mut records = None;
        let peek = self.reader.peek()?;
        if peek != Peek::Object {
            self.violation(String::new(), "type", expected("an object with 'records'", peek))?;
            self.reader.known_skip(peek)?;
            self.reader.finish()?;
            return Ok(0);
        }
        let mut key = self.reader.known_object()?.map(str::to_owned);
        while let Some(name) = key {
            let peek = self.reader.peek()?;
            if name == "records" && records.is_none() {
                records = Some(self.records(peek)?);
            } else {
                let code = if name == "records" { "duplicate" } else { "unknown" };
                self.violation(pointer(&["", &name]), code, "expected 'records' once".into())?;
                self.reader.known_skip(peek)?;
            }
            key = self.reader.next_key()?.map(str::to_owned);
        }
        self.reader.finish()?;
        if records.is_none() {
            self.violation("/records".into(), "missing", "expected an array of records".into())?;
        }
        Ok(records.unwrap_or_default())
    }

    fn records(&mut self, peek: Peek) -> Step<usize> {
        if peek != Peek::Array {
            self.violation("/records".into(), "type", expected("an array of records", peek))?;
            self.reader.known_skip(peek)?;
            return Ok(0);
        }
        let mut count = 0;
        let mut next = self.reader.known_array()?;
        while let Some(peek) = next {
            if count < self.contract.records_max {
                self.record(count, peek)?;
            } else {
                self.reader.known_skip(peek)?;
            }
            count += 1;
            next = self.reader.array_step()?;
        }
        let max = self.contract.records_max;
        if !(1..=max).contains(&count) {
            let message = format!("expected 1 to {max} records, got {count}");
            self.violation("/records".into(), "length", message)?;
        }
        Ok(count)
    }

    fn record(&mut self, index: usize, peek: Peek) -> Step {
        let contract = self.contract;
        for columns in &mut self.columns {
            let row_bytes = columns.width * columns.element_bytes;
            columns.data.resize(columns.data.len() + row_bytes, 0);
        }
        if peek != Peek::Object {
            let message = expected("an object of named features", peek);
            self.violation(pointer(&["", "records", &index.to_string()]), "type", message)?;
            self.reader.known_skip(peek)?;
            return Ok(());
        }
        let mut hint = 0;
        let mut key = self.reader.known_object()?;
        while let Some(name) = key {
            let Some(position) = contract.field(name, hint) else {
                let near = crate::error::nearest(name, contract.fields.iter().map(|f| &*f.name));
                let near =
                    near.map_or_else(String::new, |name| format!("; did you mean '{name}'?"));
                let at = pointer(&["", "records", &index.to_string(), &quoted(name)]);
                self.violation(at, "unknown", format!("no feature has this name{near}"))?;
                self.reader.next_skip()?;
                key = self.reader.next_key()?;
                continue;
            };
            hint = position + 1;
            let field = &contract.fields[position];
            if std::mem::replace(&mut self.seen[position], index + 1) == index + 1 {
                let at = place(index, field, &[]);
                self.violation(at, "duplicate", "the feature stands twice".into())?;
                self.reader.next_skip()?;
            } else {
                self.field(index, field)?;
            }
            key = self.reader.next_key()?;
        }
        for (position, field) in contract.fields.iter().enumerate() {
            if self.seen[position] == index + 1 {
                continue;
            }
            match (&field.part, field.default) {
                (Part::Column(column), Some(default)) => {
                    let columns = &mut self.columns[field.input];
                    numeric!(field.dtype, T => {
                        let element = T::from_f64(default);
                        columns.set(index, *column, bytemuck::bytes_of(&element));
                    }, _ => ());
                }
                _ => {
                    let message = format!("expected {}", wanted(field));
                    self.violation(place(index, field, &[]), "missing", message)?;
                }
            }
        }
        Ok(())
    }

    /// Reads the value of one feature.
    fn field(&mut self, index: usize, field: &Field) -> Step {
        let peek = self.reader.peek()?;
        let outcome = match &field.part {
            Part::Column(column) => {
                self.element.clear();
                let outcome = scalar(&mut self.reader, peek, field, &mut self.element);
                if outcome.is_ok() {
                    self.columns[field.input].set(index, *column, &self.element);
                }
                outcome
            }
            Part::Row(dims) => {
                let columns = &mut self.columns[field.input];
                let single = field.is_scalar();
                let extents = if single { &[][..] } else { dims };
                let mut row = Row { extents, found: vec![None; extents.len()] };
                let outcome = row.read(&mut self.reader, peek, field, &mut columns.data, 0);
                outcome.and_then(|()| {
                    let found = row.found.iter().map(|extent| extent.unwrap_or(0));
                    let found = if single { vec![1; dims.len()] } else { found.collect() };
                    match columns.row.get_or_insert_with(|| found.clone()) {
                        row if *row == found => Ok(()),
                        row => Err(Fault::at(
                            "length",
                            format!(
                                "expected the extents of the records before it, {}, got {}",
                                Shape::new(row.iter().copied()),
                                Shape::new(found)
                            ),
                        )),
                    }
                })
            }
        };
        match outcome {
            Ok(()) => Ok(()),
            Err(Fault::Syntax(error)) => Err(Stop::Syntax(error)),
            Err(Fault::Rule { path, code, message }) => {
                self.violation(place(index, field, &path), code, message)
            }
        }
    }

    fn violation(&mut self, pointer: String, code: &'static str, message: String) -> Step {
        self.violations.push(Violation { pointer, code, message });
        if self.violations.len() < VIOLATIONS_MAX { Ok(()) } else { Err(Stop::Enough) }
    }
}

/// What is wrong with one value, and where inside it.
enum Fault {
    Syntax(jiter::JiterError),
    Rule { path: Vec<usize>, code: &'static str, message: String },
}

impl Fault {
    fn at(code: &'static str, message: String) -> Self {
        Fault::Rule { path: Vec::new(), code, message }
    }
}

/// A row of nested arrays, with the extents it turns out to have.
struct Row<'a> {
    extents: &'a [Dim],
    found: Vec<Option<usize>>,
}

impl Row<'_> {
    fn read(
        &mut self,
        reader: &mut Jiter<'_>,
        peek: Peek,
        field: &Field,
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Fit {
        let Some(&extent) = self.extents.get(depth) else {
            return scalar(reader, peek, field, out);
        };
        if peek != Peek::Array {
            reader.known_skip(peek).map_err(Fault::Syntax)?;
            return Err(Fault::at("type", expected(&wanted(field), peek)));
        }
        let mut count = 0;
        let mut fault = None;
        let mut next = reader.known_array().map_err(Fault::Syntax)?;
        while let Some(peek) = next {
            // After the first fault the rest is only passed over.
            if fault.is_some() || matches!(extent, Dim::Fixed(fixed) if count >= fixed) {
                reader.known_skip(peek).map_err(Fault::Syntax)?;
            } else if let Err(inner) = self.read(reader, peek, field, out, depth + 1) {
                match inner {
                    Fault::Syntax(_) => return Err(inner),
                    Fault::Rule { mut path, code, message } => {
                        path.insert(0, count);
                        fault = Some(Fault::Rule { path, code, message });
                    }
                }
            }
            count += 1;
            next = reader.array_step().map_err(Fault::Syntax)?;
        }
        if let Some(fault) = fault {
            return Err(fault);
        }
        let before = self.found[depth].replace(count);
        if !extent.admits(count) || before.is_some_and(|before| before != count) {
            let wanted = match (extent, before) {
                (Dim::Fixed(fixed), _) => fixed,
                (Dim::Any, before) => before.unwrap_or(count),
            };
            return Err(Fault::at("length", format!("expected {wanted} elements, got {count}")));
        }
        Ok(())
    }
}

/// Reads one element and appends its bytes.
fn scalar(reader: &mut Jiter<'_>, peek: Peek, field: &Field, out: &mut Vec<u8>) -> Fit {
    let outcome = numeric!(field.dtype, T => {
        T::read(reader, peek, NonFinite::Null).and_then(|value| {
            out.extend_from_slice(bytemuck::bytes_of(&value));
            let fits = field.range.is_none_or(|range| value.within(range));
            if fits { Ok(()) } else { Err(Misfit::Range) }
        })
    }, _ => match field.dtype {
        DType::Bool => read::boolean(reader, peek).map(|flag| out.push(flag)),
        _ => read::string(reader, peek, out),
    });
    outcome.map_err(|misfit| match misfit {
        Misfit::Syntax(error) => Fault::Syntax(error),
        Misfit::Kind(given) => {
            Fault::at("type", format!("expected {}, got {given}", wanted(field)))
        }
        // The last two are of arrays, which a scalar is not.
        Misfit::Range | Misfit::Depth | Misfit::Surplus => {
            Fault::at("range", format!("expected {}", wanted(field)))
        }
    })
}

/// What a field takes, in words.
fn wanted(field: &Field) -> String {
    let mut text = match (field.dtype, field.is_scalar()) {
        (DType::Bool, true) => "true or false".to_owned(),
        (DType::Bytes, true) => "a string".to_owned(),
        (dtype, true) if dtype.is_float() => "a number".to_owned(),
        (dtype, true) => format!("an integer of {dtype}"),
        (dtype, false) => {
            let dims = match &field.part {
                Part::Row(dims) => &dims[..],
                Part::Column(_) => &[],
            };
            let mut text = "nested arrays of extents ".to_owned();
            // Writing into a String can not fail.
            let _ = write_dims(&mut text, dims.iter());
            let _ = write!(text, " of {dtype}");
            text
        }
    };
    if let Some([low, high]) = field.range {
        let _ = write!(text, " from {low} to {high}");
    }
    if let Some(unit) = &field.unit {
        let _ = write!(text, " [{unit}]");
    }
    text
}

fn expected(wanted: &str, given: Peek) -> String {
    format!("expected {wanted}, got {}", read::kind(given))
}

/// The place of a field, or of an element inside it.
fn place(record: usize, field: &Field, path: &[usize]) -> String {
    let mut text = pointer(&["", "records", &record.to_string(), &field.name]);
    for index in path {
        let _ = write!(text, "/{index}");
    }
    text
}

/// A JSON pointer (RFC 6901) of these parts; the first one is empty.
fn pointer(parts: &[&str]) -> String {
    parts
        .iter()
        .map(|part| part.replace('~', "~0").replace('/', "~1"))
        .collect::<Vec<_>>()
        .join("/")
}

#[cfg(test)]
mod tests;
