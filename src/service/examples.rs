//! A version's own examples, sent through it: does it answer as it did in training?

use std::time::{Duration, Instant};

use super::Target;
use crate::error::{Error, Result};
use crate::infer::{InferRequest, RequestContext};
use crate::model::examples::ExampleTensor;
use crate::tensor::NamedTensor;

/// How well a version agrees with its examples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    pub rows: usize,
    /// The largest absolute difference.
    pub difference: f64,
    pub tolerance: f64,
}

impl Target {
    /// Runs the examples in batches that the version takes; `None` where it has none.
    ///
    /// An answer outside the tolerance is an error that names the output and the row.
    pub async fn compare_with_examples(&self, patience: Duration) -> Result<Option<Agreement>> {
        let Some(examples) = self.examples() else { return Ok(None) };
        let rows = examples.rows();
        let batch = if self.contract().batched { self.contract().records_max } else { rows };
        let mut difference = 0f64;
        for start in (0..rows).step_by(batch.max(1)) {
            let range = start..rows.min(start + batch);
            let tensors = |list: &[ExampleTensor]| -> Result<Vec<NamedTensor>> {
                list.iter().map(|tensor| tensor.rows(range.clone())).collect()
            };
            let context = RequestContext::internal("examples", Instant::now(), patience);
            let outputs = examples.outputs.iter().map(|tensor| tensor.name.clone()).collect();
            let inputs = tensors(&examples.inputs)?;
            let request = InferRequest { inputs, outputs, ..InferRequest::default() };
            let answer = self.infer(&context, request).await?;
            for (given, expected) in answer.outputs.iter().zip(tensors(&examples.outputs)?) {
                difference = difference.max(distance(given, &expected, examples.tolerance, start)?);
            }
        }
        Ok(Some(Agreement { rows, difference, tolerance: examples.tolerance }))
    }
}

/// The largest difference between two tensors; beyond the tolerance, an error that says where.
fn distance(
    given: &NamedTensor,
    expected: &NamedTensor,
    tolerance: f64,
    first_row: usize,
) -> Result<f64> {
    let (name, given, expected) = (&expected.name, &given.tensor, &expected.tensor);
    if given.shape() != expected.shape() {
        return Err(Error::invalid(format!(
            "output '{name}' has shape {}, but the examples expect {}",
            given.shape(),
            expected.shape()
        )));
    }
    let (Some(numbers), Some(wanted)) = (given.to_f64s(), expected.to_f64s()) else {
        let same = given.data() == expected.data();
        let wrong = || Error::invalid(format!("output '{name}' differs from the examples"));
        return if same { Ok(0.0) } else { Err(wrong()) };
    };
    let tolerance = if expected.dtype().is_float() { tolerance } else { 0.0 };
    let width = (numbers.len() / given.rows().max(1)).max(1);
    let mut largest = 0f64;
    for (index, (number, wanted)) in numbers.iter().zip(&wanted).enumerate() {
        let difference = if number == wanted { 0.0 } else { (number - wanted).abs() };
        // NaN is no agreement, either.
        if difference.is_nan() || difference > tolerance {
            return Err(Error::invalid(format!(
                "output '{name}' of example {} differs by {difference:.3e}, more than the \
                 tolerance of {tolerance:.1e}",
                first_row + index / width
            )));
        }
        largest = largest.max(difference);
    }
    Ok(largest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{DType, Shape, Tensor, shared};

    fn named(data: Vec<f32>) -> NamedTensor {
        let shape = Shape::new([data.len() / 2, 2]);
        let tensor = Tensor::new("y", DType::F32, shape, shared(data)).unwrap();
        NamedTensor { name: "y".into(), tensor }
    }

    #[test]
    fn a_difference_is_measured_and_one_too_large_is_placed() {
        let expected = named(vec![1.0, 2.0, 3.0, 4.0]);
        let distance = |data, tolerance| distance(&named(data), &expected, tolerance, 10);
        assert_eq!(distance(vec![1.0, 2.0, 3.0, 4.5], 0.5).unwrap(), 0.5);
        let error = distance(vec![1.0, 2.0, 3.0, 4.5], 0.1).unwrap_err();
        assert!(error.message().contains("example 11"), "{error}");
        assert!(distance(vec![1.0, f32::NAN, 3.0, 4.0], 1e9).is_err());
        assert!(distance(vec![1.0, 2.0], 1.0).is_err());
    }
}
