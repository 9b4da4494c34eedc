//! A data frame as pandas writes it to CSV: a header, and rows of text. Pure.

use bytes::Bytes;
use csv::{ErrorKind, ReaderBuilder, StringRecord};

use super::table::Table;
use crate::error::{Error, Result};
use crate::model::{Contract, Signature};
use crate::server::rest::json::NonFinite;
use crate::server::rest::json::read::{self, Element, Misfit};
use crate::tensor::{DType, NamedTensor, Number, numeric, strings};

/// What pandas reads as a missing value.
const MISSING: [&str; 18] = [
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "<NA>", "N/A", "NA", "NULL", "NaN", "None", "nan", "null",
];

pub fn decode(
    signature: &Signature,
    contract: &Contract,
    body: &Bytes,
) -> Result<Vec<NamedTensor>> {
    let mut reader = ReaderBuilder::new().from_reader(&body[..]);
    let header = reader.headers().map_err(|error| broken(&error))?;
    let names = header.iter().map(str::to_owned).collect();
    let mut table = Table::new(signature, contract);
    let positions = table.name_columns(names)?;
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).map_err(|error| broken(&error))? {
        for (text, position) in record.iter().zip(&positions) {
            if let Some(position) = *position {
                table.single(position, |dtype, out| element(text, dtype, out))?;
            }
        }
        table.end_row()?;
    }
    table.tensors(&[])
}

/// What the caller hears of a body that is no CSV: the place, not the text.
fn broken(error: &csv::Error) -> Error {
    let why = match error.kind() {
        ErrorKind::Utf8 { .. } => "it is not UTF-8".to_owned(),
        ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("expected {expected_len} fields, got {len}")
        }
        _ => "it can not be read".to_owned(),
    };
    let line = error.position().map(|position| format!("line {}: ", position.line()));
    Error::invalid(format!(
        "Failed to parse input as a Pandas DataFrame. Ensure that the input is a valid \
         CSV-formatted Pandas DataFrame produced using the `pandas.DataFrame.to_csv()` method. \
         Error: {}{why}",
        line.unwrap_or_default()
    ))
}

/// Reads one field and appends its bytes.
fn element(text: &str, dtype: DType, out: &mut Vec<u8>) -> std::result::Result<(), Misfit> {
    let word = text.trim();
    let is_missing = MISSING.contains(&word);
    numeric!(dtype, T => {
        if is_missing {
            if !dtype.is_float() {
                return Err(Misfit::Kind("a missing value"));
            }
            out.extend_from_slice(bytemuck::bytes_of(&T::from_f64(f64::NAN)));
            return Ok(());
        }
        let value = if dtype.is_float() { float::<T>(word) } else { integer::<T>(word) }?;
        out.extend_from_slice(bytemuck::bytes_of(&value));
        Ok(())
    }, _ => match dtype {
        DType::Bool => match word {
            "True" | "TRUE" | "true" => { out.push(1); Ok(()) }
            "False" | "FALSE" | "false" => { out.push(0); Ok(()) }
            _ if is_missing => Err(Misfit::Kind("a missing value")),
            _ => Err(Misfit::Kind("text")),
        },
        _ if strings::push(out, text.as_bytes()) => Ok(()),
        _ => Err(Misfit::Range),
    })
}

fn float<T: Number>(word: &str) -> std::result::Result<T, Misfit> {
    let wide: f64 = word.parse().map_err(|_| Misfit::Kind("text"))?;
    let value = T::from_f64(wide);
    // Finite as written, beyond the datatype's largest number.
    let overflows = value.to_f64().is_infinite() && !is_infinity(word);
    if overflows { Err(Misfit::Range) } else { Ok(value) }
}

fn is_infinity(word: &str) -> bool {
    word.bytes().any(|byte| byte.eq_ignore_ascii_case(&b'n'))
}

/// Text as an integer, by JSON's grammar.
fn integer<T: Element>(word: &str) -> std::result::Result<T, Misfit> {
    let digits = word.strip_prefix('+').unwrap_or(word);
    let mut reader = read::reader(digits.as_bytes(), NonFinite::Null);
    let Ok(peek) = reader.peek() else { return Err(Misfit::Kind("text")) };
    let value = match T::read(&mut reader, peek, NonFinite::Null) {
        Err(Misfit::Syntax(_)) => return Err(Misfit::Kind("text")),
        value => value?,
    };
    reader.finish().map_err(|_| Misfit::Kind("text"))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, dtype: DType) -> std::result::Result<Vec<u8>, String> {
        let mut out = Vec::new();
        element(text, dtype, &mut out).map(|()| out).map_err(|misfit| format!("{misfit:?}"))
    }

    #[test]
    fn fields_are_what_pandas_reads() {
        let float = |text: &str| {
            let bytes = read(text, DType::F32)?;
            Ok(f32::from_le_bytes(bytes.try_into().unwrap()))
        };
        for (text, expected) in [
            ("1.5", Ok(1.5)),
            (" -1e-05 ", Ok(-1e-5)),
            ("inf", Ok(f32::INFINITY)),
            ("-Infinity", Ok(f32::NEG_INFINITY)),
            ("1e39", Err("Range".to_owned())),
            ("1e999", Err("Range".to_owned())),
            ("SECRET", Err("Kind(\"text\")".to_owned())),
        ] {
            assert_eq!(float(text), expected, "{text}");
        }
        assert!(float("").unwrap().is_nan() && float("NA").unwrap().is_nan());
        assert_eq!(read("-128", DType::I8).unwrap(), [0x80]);
        assert_eq!(read("+7", DType::U8).unwrap(), [7]);
        assert_eq!(read("3.0", DType::U8).unwrap(), [3]);
        let max = read("18446744073709551615", DType::U64).unwrap();
        assert_eq!(max, u64::MAX.to_le_bytes());
        for (text, error) in [
            ("256", "Range"),
            ("1.5", "Kind(\"a number with a fraction\")"),
            ("1x", "Kind(\"text\")"),
            ("null", "Kind(\"a missing value\")"),
            ("", "Kind(\"a missing value\")"),
            ("true", "Kind(\"a boolean\")"),
        ] {
            assert_eq!(read(text, DType::U8).unwrap_err(), error, "{text}");
        }
        assert_eq!(read("True", DType::Bool).unwrap(), [1]);
        assert!(read("1", DType::Bool).is_err() && read("", DType::Bool).is_err());
        assert_eq!(read(" NA", DType::Bytes).unwrap(), *b"\x03\0\0\0 NA");
    }
}
