//! One JSON value as elements of a tensor.

use bytes::Bytes;
use half::{bf16, f16};
use jiter::{Jiter, JiterError, Peek};

use super::NonFinite;
use crate::error::Error;
use crate::tensor::{DType, Number, RANK_MAX, numeric, shared, strings};

/// Why a value is no element of its tensor. Never holds the value.
#[derive(Debug)]
pub enum Misfit {
    /// The text is no JSON.
    Syntax(JiterError),
    /// A value of another kind; the word says which.
    Kind(&'static str),
    /// A number that the datatype can not hold.
    Range,
    /// Arrays in arrays beyond any tensor's rank.
    Depth,
    /// More elements than the shape takes.
    Surplus,
}

impl From<JiterError> for Misfit {
    fn from(error: JiterError) -> Self {
        Misfit::Syntax(error)
    }
}

/// A reader of a request's text.
pub fn reader(text: &[u8], nonfinite: NonFinite) -> Jiter<'_> {
    let reader = Jiter::new(text);
    if nonfinite == NonFinite::Tokens { reader.with_allow_inf_nan() } else { reader }
}

/// What the caller hears of a text that is no JSON: the place, not the text.
pub fn syntax(error: &JiterError) -> Error {
    Error::invalid(format!("failed to parse the request JSON: {error}"))
}

/// The word for a value's kind.
pub fn kind(peek: Peek) -> &'static str {
    match peek {
        Peek::Null => "null",
        Peek::True | Peek::False => "a boolean",
        Peek::String => "a string",
        Peek::Array => "an array",
        Peek::Object => "an object",
        _ => "a number",
    }
}

/// A value of the wrong kind, passed over so that what stands behind it can be read.
fn refuse(reader: &mut Jiter<'_>, peek: Peek) -> Misfit {
    match reader.known_skip(peek) {
        Ok(()) => Misfit::Kind(kind(peek)),
        Err(error) => Misfit::Syntax(error),
    }
}

/// A type that JSON can write an element of.
pub trait Element: Number {
    /// Reads one value; one that does not fit is consumed all the same, unless it is no JSON.
    fn read(reader: &mut Jiter<'_>, peek: Peek, nonfinite: NonFinite) -> Result<Self, Misfit>;
}

macro_rules! integers {
    ($($t:ty)*) => {$(
        impl Element for $t {
            fn read(reader: &mut Jiter<'_>, peek: Peek, _: NonFinite) -> Result<Self, Misfit> {
                use std::num::IntErrorKind::{NegOverflow, PosOverflow};
                if !is_literal(peek) {
                    return Err(refuse(reader, peek));
                }
                let digits = str::from_utf8(reader.known_number_bytes(peek)?).unwrap_or_default();
                digits.parse::<$t>().or_else(|error| match error.kind() {
                    PosOverflow | NegOverflow => Err(Misfit::Range),
                    // To JSON, 1.0 and 1e0 are the integer 1; some clients write nothing else.
                    _ => integral(digits)
                        .and_then(|value| <$t>::try_from(value).map_err(|_| Misfit::Range)),
                })
            }
        }
    )*};
}
integers! { u8 u16 u32 u64 i8 i16 i32 i64 }

macro_rules! floats {
    ($($t:ty)*) => {$(
        impl Element for $t {
            #[inline]
            fn read(reader: &mut Jiter<'_>, peek: Peek, rule: NonFinite) -> Result<Self, Misfit> {
                let wide = float(reader, peek, rule)?;
                let value = <$t>::from_f64(wide);
                // Finite on the wire, beyond the datatype's largest number.
                if !value.is_finite() && wide.is_finite() {
                    return Err(Misfit::Range);
                }
                Ok(value)
            }
        }
    )*};
}
floats! { f16 bf16 f32 f64 }

/// A number with a fraction or an exponent, or a negative one, as the integer that it is.
fn integral(digits: &str) -> Result<i64, Misfit> {
    /// From here on, not every double has its own integer.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let value: f64 = digits.parse().unwrap_or(f64::NAN);
    match value {
        value if value.abs() >= EXACT => Err(Misfit::Range),
        value if value.fract() == 0.0 => Ok(value as i64),
        _ => Err(Misfit::Kind("a number with a fraction")),
    }
}

fn float(reader: &mut Jiter<'_>, peek: Peek, nonfinite: NonFinite) -> Result<f64, Misfit> {
    if peek.is_num() {
        let start = reader.current_index();
        let value = reader.known_float(peek)?;
        // A literal beyond the largest double reads as infinity, too; the word has letters.
        let spelled = || reader.slice_to_current(start).contains(&b'I') || value.is_nan();
        return if value.is_finite() || spelled() { Ok(value) } else { Err(Misfit::Range) };
    }
    if peek == Peek::String && nonfinite != NonFinite::Null {
        return match reader.known_str()? {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            _ => Err(Misfit::Kind("a string")),
        };
    }
    Err(refuse(reader, peek))
}

/// Whether a value is a number as JSON knows it.
pub fn is_literal(peek: Peek) -> bool {
    peek.is_num() && !matches!(peek, Peek::Infinity | Peek::NaN)
}

/// A truth value, as a byte.
pub fn boolean(reader: &mut Jiter<'_>, peek: Peek) -> Result<u8, Misfit> {
    match peek {
        Peek::True | Peek::False => Ok(u8::from(reader.known_bool(peek)?)),
        _ => Err(refuse(reader, peek)),
    }
}

/// A string, led by its length.
pub fn string(reader: &mut Jiter<'_>, peek: Peek, out: &mut Vec<u8>) -> Result<(), Misfit> {
    match peek {
        Peek::String if strings::push(out, reader.known_str()?.as_bytes()) => Ok(()),
        Peek::String => Err(Misfit::Range),
        _ => Err(refuse(reader, peek)),
    }
}

/// Where the first element that does not fit stands, and why it does not.
pub struct Misplaced {
    pub index: usize,
    pub misfit: Misfit,
}

/// An array, flat or nested, as the bytes of a tensor of `expected` elements, row-major. How arrays
/// nest is not held against the shape; the count is.
pub fn tensor(
    reader: &mut Jiter<'_>,
    dtype: DType,
    expected: usize,
    text_bytes: usize,
    nonfinite: NonFinite,
) -> Result<(usize, Bytes), Misplaced> {
    // Two characters are the least an element takes: a claimed shape can not make us reserve more
    // than a few times what was sent.
    let capacity = expected.min(text_bytes / 2 + 1);
    numeric!(dtype, T => {
        let mut out: Vec<T> = Vec::with_capacity(capacity);
        let outcome = nested(reader, 0, &mut |reader: &mut Jiter<'_>, peek| {
            if out.len() == expected {
                return Err(Misfit::Surplus);
            }
            out.push(T::read(reader, peek, nonfinite)?);
            Ok(())
        });
        let index = out.len();
        outcome.map_err(|misfit| Misplaced { index, misfit })?;
        Ok((index, shared(out)))
    }, _ => {
        let mut out = Vec::new();
        let mut index = 0;
        let outcome = nested(reader, 0, &mut |reader: &mut Jiter<'_>, peek| {
            if index == expected {
                return Err(Misfit::Surplus);
            }
            match dtype {
                DType::Bool => out.push(boolean(reader, peek)?),
                _ => string(reader, peek, &mut out)?,
            }
            index += 1;
            Ok(())
        });
        outcome.map_err(|misfit| Misplaced { index, misfit })?;
        Ok((index, out.into()))
    })
}

/// Walks an array of arrays and hands every scalar to `take`.
fn nested<'j>(
    reader: &mut Jiter<'j>,
    depth: usize,
    take: &mut impl FnMut(&mut Jiter<'j>, Peek) -> Result<(), Misfit>,
) -> Result<(), Misfit> {
    if depth > RANK_MAX {
        return Err(Misfit::Depth);
    }
    let mut next = reader.known_array()?;
    while let Some(peek) = next {
        if peek == Peek::Array {
            nested(reader, depth + 1, take)?;
        } else {
            take(reader, peek)?;
        }
        next = reader.array_step()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str, dtype: DType, expected: usize) -> Result<Vec<u8>, String> {
        read_as(text, dtype, expected, NonFinite::Strings)
    }

    fn read_as(
        text: &str,
        dtype: DType,
        expected: usize,
        rule: NonFinite,
    ) -> Result<Vec<u8>, String> {
        let mut reader = reader(text.as_bytes(), rule);
        assert_eq!(reader.peek().unwrap(), Peek::Array);
        match tensor(&mut reader, dtype, expected, text.len(), rule) {
            Ok((_, bytes)) => Ok(bytes.to_vec()),
            Err(Misplaced { index, misfit }) => Err(format!("{index} {misfit:?}")),
        }
    }

    #[test]
    fn integers_are_exact_and_range_checked() {
        assert_eq!(read("[0, 255]", DType::U8, 2).unwrap(), [0, 255]);
        assert_eq!(read("[-128]", DType::I8, 1).unwrap(), [0x80]);
        assert_eq!(read("[1.0, 1e2, -0.0, -0]", DType::U8, 4).unwrap(), [1, 100, 0, 0]);
        let max = read("[18446744073709551615]", DType::U64, 1).unwrap();
        assert_eq!(max, u64::MAX.to_le_bytes());
        for (text, dtype, error) in [
            ("[256]", DType::U8, "0 Range"),
            ("[1, -1]", DType::U8, "1 Range"),
            ("[18446744073709551616]", DType::U64, "0 Range"),
            ("[1.5]", DType::I64, "0 Kind(\"a number with a fraction\")"),
            ("[1e-3]", DType::I64, "0 Kind(\"a number with a fraction\")"),
            ("[1e30]", DType::I64, "0 Range"),
            ("[1e999]", DType::I64, "0 Range"),
            ("[3e2]", DType::U8, "0 Range"),
            ("[\"1\"]", DType::I64, "0 Kind(\"a string\")"),
            ("[true]", DType::I32, "0 Kind(\"a boolean\")"),
            ("[null]", DType::F32, "0 Kind(\"null\")"),
            ("[1, {}]", DType::F32, "1 Kind(\"an object\")"),
            ("[1]", DType::Bool, "0 Kind(\"a number\")"),
            ("[1]", DType::Bytes, "0 Kind(\"a number\")"),
            ("[1, 2]", DType::F32, "1 Surplus"),
        ] {
            assert_eq!(
                read(text, dtype, if error.ends_with("Surplus") { 1 } else { 9 }).unwrap_err(),
                error
            );
        }
    }

    #[test]
    fn floats_beyond_their_type_are_refused_and_words_follow_the_rule() {
        assert_eq!(read("[1e39]", DType::F32, 1).unwrap_err(), "0 Range");
        assert_eq!(read("[1e999]", DType::F64, 1).unwrap_err(), "0 Range");
        assert_eq!(read("[65520]", DType::F16, 1).unwrap_err(), "0 Range");
        let spelled = read("[\"NaN\", \"-Infinity\"]", DType::F32, 2).unwrap();
        assert!(f32::from_le_bytes(spelled[..4].try_into().unwrap()).is_nan());
        assert_eq!(spelled[4..], f32::NEG_INFINITY.to_le_bytes());
        assert!(read("[NaN]", DType::F32, 1).unwrap_err().contains("Syntax"));
        let bare = read_as("[-Infinity]", DType::F32, 1, NonFinite::Tokens).unwrap();
        assert_eq!(bare, f32::NEG_INFINITY.to_le_bytes());
        assert!(read_as("[NaN]", DType::F64, 1, NonFinite::Tokens).is_ok());
        assert_eq!(
            read_as("[NaN]", DType::I64, 1, NonFinite::Tokens).unwrap_err(),
            "0 Kind(\"a number\")"
        );
        assert_eq!(read_as("[1e999]", DType::F64, 1, NonFinite::Tokens).unwrap_err(), "0 Range");
        assert!(read_as("[\"NaN\"]", DType::F32, 1, NonFinite::Null).is_err());
    }

    #[test]
    fn arrays_may_nest_as_deep_as_tensors_do() {
        assert_eq!(read("[[[1], [2]], [], [[3]]]", DType::U8, 3).unwrap(), [1, 2, 3]);
        let deep = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&deep(RANK_MAX + 1), DType::U8, 1).is_ok());
        assert_eq!(read(&deep(RANK_MAX + 2), DType::U8, 1).unwrap_err(), "0 Depth");
        let million = "[".repeat(1_000_000);
        assert_eq!(read(&million, DType::U8, 1).unwrap_err(), "0 Depth");
    }

    proptest! {
        #[test]
        fn what_serde_writes_is_read_to_the_bit(numbers in proptest::collection::vec(any::<f32>(), 0..30)) {
            let numbers: Vec<f32> = numbers.into_iter().filter(|n| n.is_finite()).collect();
            let text = serde_json::to_string(&numbers).unwrap();
            let expected: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
            prop_assert_eq!(read(&text, DType::F32, numbers.len()).unwrap(), expected);
        }

        #[test]
        fn arbitrary_text_never_panics(text in "\\[[-\\[\\]{}0-9eE.,:\" NaIfty]{0,40}") {
            for dtype in DType::ALL {
                let _ = read_as(&text, dtype, 5, NonFinite::Tokens);
            }
        }
    }
}
