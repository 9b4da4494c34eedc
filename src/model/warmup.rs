//! Requests that every instance answers before its version is ready, so that no patient's request
//! pays for the first call. Pure: the bytes of data files come in as arguments.

use bytes::{Bytes, BytesMut};
use serde::Deserialize;

use super::batching::BATCH_SIZE_LIMIT;
use super::manifest;
use crate::error::{Error, Result, quoted};
use crate::tensor::{DType, Number, RANK_MAX, Shape, Tensor, numeric, strings};

const SAMPLES_MAX: usize = 64;
const COUNT_MAX: usize = 10_000;
/// Largest tensor of a sample.
pub const BYTES_MAX: usize = 256 << 20;

/// One request of the warm-up.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    pub name: String,
    /// Rows; each is the same. 1 for a model without a batch axis.
    #[serde(default = "one")]
    pub batch_size: usize,
    /// How often it runs on each instance.
    #[serde(default = "one")]
    pub count: usize,
    pub inputs: Vec<SampleInput>,
}

fn one() -> usize {
    1
}

/// One tensor of a sample.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleInput {
    pub name: String,
    pub datatype: String,
    /// Without the batch axis, where there is one. No -1: this is one request.
    pub shape: Vec<usize>,
    pub data: SampleData,
}

/// Where the elements come from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SampleData {
    Zero,
    /// The same at every load; floats from 0 to 1, integers 0 or 1, so that an index stays one.
    /// Strings are empty.
    Random,
    /// The bytes of one row in a file of the model's folder `warmup`.
    File(String),
}

impl Sample {
    pub(super) fn validate(&self) -> Result<()> {
        let wrong = |message: String| {
            Err(Error::invalid(format!("warmup '{}': {message}", quoted(&self.name))))
        };
        if !(1..=BATCH_SIZE_LIMIT).contains(&self.batch_size) {
            return wrong(format!("batch_size: expected 1 to {BATCH_SIZE_LIMIT}"));
        }
        if !(1..=COUNT_MAX).contains(&self.count) {
            return wrong(format!("count: expected 1 to {COUNT_MAX}"));
        }
        for input in &self.inputs {
            manifest::dtype(&input.name, &input.datatype)?;
            if input.shape.len() >= RANK_MAX {
                return wrong(format!("at most {} extents are supported", RANK_MAX - 1));
            }
            if let SampleData::File(name) = &input.data
                && !manifest::is_file_name(name)
            {
                return wrong("expected the name of a file in the folder warmup/".into());
            }
        }
        Ok(())
    }
}

pub(super) fn validate(samples: &[Sample]) -> Result<()> {
    if samples.len() > SAMPLES_MAX {
        return Err(Error::invalid(format!("warmup: at most {SAMPLES_MAX} samples are run")));
    }
    samples.iter().try_for_each(Sample::validate)
}

impl SampleInput {
    /// The tensor of a sample: `rows` times the same row, or without a batch axis (`None`) the row
    /// itself. `file` holds the bytes of the data file, where there is one.
    pub fn tensor(&self, rows: Option<usize>, file: Option<Bytes>) -> Result<Tensor> {
        let name = &self.name;
        let dtype = manifest::dtype(name, &self.datatype)?;
        let shape = Shape::new(rows.into_iter().chain(self.shape.iter().copied()));
        let extents = Shape::new(self.shape.iter().copied());
        let elements = extents.elements().filter(|elements| {
            let bytes = elements.checked_mul(dtype.size_min());
            let bytes = bytes.and_then(|bytes| bytes.checked_mul(rows.unwrap_or(1)));
            bytes.is_some_and(|bytes| bytes <= BYTES_MAX)
        });
        let elements = elements.ok_or_else(|| too_large(name))?;
        let row = match (&self.data, file) {
            (SampleData::Zero, _) => zeros(dtype, elements),
            (SampleData::Random, _) => random(dtype, elements),
            (SampleData::File(_), Some(bytes)) => bytes,
            (SampleData::File(file), None) => {
                return Err(Error::invalid(format!(
                    "warmup: there is no file warmup/{} for input '{name}'",
                    quoted(file)
                )));
            }
        };
        // What a file holds beside the row would only show in the last of several rows.
        Tensor::new(name, dtype, extents, row.clone())?;
        Tensor::new(name, dtype, shape, repeated(name, &row, rows.unwrap_or(1))?)
    }
}

fn too_large(name: &str) -> Error {
    Error::too_large(format!("warmup: input '{name}' takes more than {BYTES_MAX} bytes"))
}

fn repeated(name: &str, row: &Bytes, rows: usize) -> Result<Bytes> {
    if rows == 1 {
        return Ok(row.clone());
    }
    let length = row.len().checked_mul(rows).filter(|&length| length <= BYTES_MAX);
    let mut bytes = BytesMut::with_capacity(length.ok_or_else(|| too_large(name))?);
    for _ in 0..rows {
        bytes.extend_from_slice(row);
    }
    Ok(bytes.freeze())
}

/// Zero bytes are zeros, false, and the lengths of empty strings.
fn zeros(dtype: DType, elements: usize) -> Bytes {
    vec![0; elements * dtype.size().unwrap_or(strings::PREFIX)].into()
}

fn random(dtype: DType, elements: usize) -> Bytes {
    /// Any seed will do, as long as a failing warm-up fails again.
    const SEED: u64 = 0x6a1e;
    let mut source = fastrand::Rng::with_seed(SEED);
    let mut next = || if dtype.is_float() { source.f64() } else { f64::from(source.bool()) };
    numeric!(dtype, T => {
        let numbers: Vec<T> = (0..elements).map(|_| T::from_f64(next())).collect();
        crate::tensor::shared(numbers)
    }, _ => match dtype {
        DType::Bool => (0..elements).map(|_| u8::from(next() > 0.5)).collect(),
        _ => zeros(dtype, elements),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(datatype: &str, shape: &[usize], data: SampleData) -> SampleInput {
        SampleInput { name: "x".into(), datatype: datatype.into(), shape: shape.into(), data }
    }

    #[test]
    fn every_type_has_zeros_and_random_values() {
        for dtype in DType::ALL {
            for data in [SampleData::Zero, SampleData::Random] {
                let tensor = input(dtype.name(), &[3], data).tensor(Some(2), None).unwrap();
                assert_eq!(tensor.shape().to_string(), "[2,3]");
                for value in tensor.to_f64s().unwrap_or_default() {
                    assert!((0.0..=1.0).contains(&value), "{dtype} {value}");
                }
            }
        }
        let once = input("FP32", &[100], SampleData::Random);
        assert_eq!(once.tensor(None, None).unwrap(), once.tensor(None, None).unwrap());
    }

    #[test]
    fn a_file_holds_one_row_that_is_repeated() {
        let file = || Some(Bytes::from_static(&[1, 2]));
        let data = || SampleData::File("x.bin".into());
        let tensor = input("UINT8", &[2], data()).tensor(Some(2), file()).unwrap();
        assert_eq!(tensor.data(), &[1u8, 2, 1, 2][..]);
        assert!(input("UINT8", &[1], data()).tensor(Some(2), file()).is_err(), "two rows in it");
        assert!(input("UINT8", &[3], data()).tensor(None, file()).is_err());
        let error = input("UINT8", &[2], data()).tensor(None, None).unwrap_err();
        assert!(error.message().contains("no file warmup/x.bin"), "{error}");
    }

    #[test]
    fn a_sample_is_bounded() {
        let endless = input("FP32", &[usize::MAX, 2], SampleData::Zero);
        assert!(endless.tensor(None, None).is_err());
        assert!(input("FP32", &[1 << 20], SampleData::Zero).tensor(Some(65), None).is_err());
        let sample = |batch_size, count, data| Sample {
            name: "s".into(),
            batch_size,
            count,
            inputs: vec![input("FP32", &[1], data)],
        };
        assert!(sample(1, 1, SampleData::Zero).validate().is_ok());
        assert!(sample(0, 1, SampleData::Zero).validate().is_err());
        assert!(sample(1, 0, SampleData::Zero).validate().is_err());
        assert!(sample(1, 1, SampleData::File("../x".into())).validate().is_err());
    }
}
