//! `examples.json` beside a version: held-out rows with the answers the model gave in training.
//! They become the examples of the OpenAPI document, and tests compare every engine with them.

use std::ops::Range;

use serde::Deserialize;
use serde_json::Value;

use super::signature::Signature;
use crate::error::{Error, Result};
use crate::tensor::{DType, NamedTensor, Number, Shape, Tensor, numeric, strings};

/// The name of the file in a version's directory.
pub const FILE: &str = "examples.json";

/// Rows and expected answers, all in one batch per tensor.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Examples {
    /// Where the rows come from.
    pub source: String,
    /// Largest absolute difference that counts as equal.
    pub tolerance: f64,
    pub inputs: Vec<ExampleTensor>,
    pub outputs: Vec<ExampleTensor>,
}

/// A tensor as `/v2` JSON writes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExampleTensor {
    pub name: String,
    pub datatype: String,
    pub shape: Vec<usize>,
    /// Flat, row-major.
    pub data: Vec<Value>,
}

impl ExampleTensor {
    /// The elements of row `index`.
    pub fn row(&self, index: usize) -> Option<&[Value]> {
        let width: usize = self.shape.get(1..)?.iter().product();
        self.data.get(index.checked_mul(width)?..)?.get(..width)
    }

    /// Rows `range` as a tensor.
    pub fn rows(&self, range: Range<usize>) -> Result<NamedTensor> {
        let wrong = |why: &str| Error::invalid(format!("{FILE}: '{}' {why}", self.name));
        let dtype = DType::from_name(&self.datatype).ok_or_else(|| wrong("has no datatype"))?;
        let shape = Shape::new(self.shape.iter().copied()).with_rows(range.len());
        let elements = range.map(|index| self.row(index)).collect::<Option<Vec<_>>>();
        let elements = elements.ok_or_else(|| wrong("has fewer rows than its shape says"))?;
        let mut data = Vec::new();
        for value in elements.into_iter().flatten() {
            push(&mut data, dtype, value)
                .ok_or_else(|| wrong("holds an element of another type"))?;
        }
        let tensor = Tensor::new(&self.name, dtype, shape, data.into())?;
        Ok(NamedTensor { name: self.name.clone(), tensor })
    }
}

/// Appends one element; `None` where it is of another kind.
fn push(out: &mut Vec<u8>, dtype: DType, value: &Value) -> Option<()> {
    match (dtype, value) {
        (DType::Bool, Value::Bool(flag)) => out.push(u8::from(*flag)),
        (DType::Bytes, Value::String(text)) => {
            return strings::push(out, text.as_bytes()).then_some(());
        }
        // Beyond 53 bits a double would round them.
        (DType::I64, value) => out.extend_from_slice(&value.as_i64()?.to_le_bytes()),
        (DType::U64, value) => out.extend_from_slice(&value.as_u64()?.to_le_bytes()),
        (dtype, value) => {
            let number = value.as_f64()?;
            numeric!(dtype, T => {
                out.extend_from_slice(bytemuck::bytes_of(&T::from_f64(number)));
            }, _ => return None);
        }
    }
    Some(())
}

impl Examples {
    /// Rows that every tensor has.
    pub fn rows(&self) -> usize {
        let tensors = self.inputs.iter().chain(&self.outputs);
        tensors.filter_map(|tensor| tensor.shape.first().copied()).min().unwrap_or(0)
    }

    /// Parses the file and checks it against the signature it is to illustrate.
    pub fn parse(text: &[u8], signature: &Signature) -> Result<Self> {
        let examples: Self = serde_json::from_slice(text)
            .map_err(|error| Error::invalid(format!("{FILE}: {error}")))?;
        for (list, tensors, specs) in [
            ("inputs", &examples.inputs, &signature.inputs),
            ("outputs", &examples.outputs, &signature.outputs),
        ] {
            for tensor in tensors {
                let fits = specs.iter().any(|spec| {
                    spec.name == tensor.name
                        && spec.dtype.name() == tensor.datatype
                        && spec.admits(&Shape::new(tensor.shape.iter().copied()))
                });
                let elements = tensor.shape.iter().try_fold(1usize, |n, &dim| n.checked_mul(dim));
                if !fits || elements != Some(tensor.data.len()) {
                    return Err(Error::invalid(format!(
                        "{FILE}: {list} '{}' does not fit the model's signature",
                        tensor.name
                    )));
                }
            }
        }
        Ok(examples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(datatype: &str, data: &str) -> ExampleTensor {
        let data: Vec<Value> = serde_json::from_str(data).unwrap();
        let (name, datatype) = ("x".to_owned(), datatype.to_owned());
        ExampleTensor { name, datatype, shape: vec![data.len() / 2, 2], data }
    }

    #[test]
    fn rows_become_tensors_of_their_datatype() {
        let rows = |datatype: &str, data: &str| tensor(datatype, data).rows(1..2);
        let bytes = |datatype: &str, data: &str| rows(datatype, data).unwrap().tensor.into_data();
        assert_eq!(bytes("UINT8", "[1, 2, 3, 4]")[..], [3, 4]);
        assert_eq!(bytes("BOOL", "[true, true, false, true]")[..], [0, 1]);
        assert_eq!(bytes("BYTES", r#"["", "", "a", ""]"#)[..], *b"\x01\0\0\0a\0\0\0\0");
        let exact = bytes("INT64", "[0, 0, 9007199254740993, 1]");
        assert_eq!(exact[..8], 9_007_199_254_740_993_i64.to_le_bytes());
        assert!(rows("UINT8", r#"[1, 2, "a", 4]"#).is_err());
        assert!(rows("INT64", "[1, 2, 1.5, 4]").is_err());
        assert!(tensor("UINT8", "[1, 2]").rows(0..2).is_err());
    }
}
