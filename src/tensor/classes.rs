//! The highest values of a tensor by name: Triton's classification extension. Pure.

use std::cmp::Ordering;
use std::fmt::Write;

use super::{DType, Shape, Tensor, strings};
use crate::error::{Error, Result};

/// The `count` highest elements of each row (of the whole tensor where it has no batch axis), each
/// as `value:index` or, where index has a label, `value:index:label`; highest first, of equals the
/// one with the lower index.
///
/// Shapes: `[rows, classes...]` becomes BYTES `[rows, min(count, classes)]`.
pub fn top(tensor: &Tensor, count: usize, labels: &[String], batched: bool) -> Result<Tensor> {
    let values = tensor.to_f64s().ok_or_else(|| {
        Error::invalid("classification: an output of BYTES has no order of values")
    })?;
    let rows = if batched { tensor.rows() } else { 1 };
    let classes = values.len().checked_div(rows).unwrap_or(0);
    let kept = count.min(classes);
    let mut data = Vec::new();
    for row in values.chunks(classes.max(1)) {
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|&a, &b| descending(row[a], row[b]));
        for &index in order.iter().take(kept) {
            let text = entry(tensor.dtype(), row[index], index, labels);
            if !strings::push(&mut data, text.as_bytes()) {
                return Err(Error::internal("a label is longer than BYTES can hold"));
            }
        }
    }
    let shape = Shape::new(batched.then_some(rows).into_iter().chain([kept]));
    Tensor::new("classes", DType::Bytes, shape, data.into())
}

/// What is no number comes last.
fn descending(a: f64, b: f64) -> Ordering {
    b.partial_cmp(&a).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// Six decimals for a float, as C's `%f` writes it and Triton's clients read it.
fn entry(dtype: DType, value: f64, index: usize, labels: &[String]) -> String {
    let mut text =
        if dtype.is_float() { format!("{value:.6}:{index}") } else { format!("{value}:{index}") };
    if let Some(label) = labels.get(index) {
        // Writing into a String can not fail.
        let _ = write!(text, ":{label}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::shared;

    fn words(tensor: &Tensor) -> Vec<String> {
        let words = strings::elements(tensor.data());
        words.map(|word| String::from_utf8(word.unwrap().to_vec()).unwrap()).collect()
    }

    #[test]
    fn rows_are_ranked_and_named() {
        let data = vec![0.25f32, 0.5, 0.25, f32::NAN, -1.0, 2.0];
        let tensor = Tensor::new("p", DType::F32, Shape::new([2, 3]), shared(data)).unwrap();
        let labels = ["low".to_owned(), "mid".to_owned()];
        let two = top(&tensor, 2, &labels, true).unwrap();
        assert_eq!(two.shape().to_string(), "[2,2]");
        assert_eq!(
            words(&two),
            ["0.500000:1:mid", "0.250000:0:low", "2.000000:2", "-1.000000:1:mid"]
        );
        let all = top(&tensor, 9, &[], true).unwrap();
        assert_eq!(all.shape().to_string(), "[2,3]");
        assert_eq!(words(&all)[5], "NaN:0");
    }

    #[test]
    fn without_a_batch_axis_the_tensor_is_one_row() {
        let tensor = Tensor::new("y", DType::I64, Shape::new([3]), shared(vec![7i64, 9, 8]));
        let one = top(&tensor.unwrap(), 1, &[], false).unwrap();
        assert_eq!(
            (one.shape().to_string().as_str(), words(&one)),
            ("[1]", vec!["9:1".to_owned()])
        );
        let empty = Tensor::new("y", DType::F32, Shape::new([0, 3]), vec![].into()).unwrap();
        assert_eq!(top(&empty, 2, &[], true).unwrap().shape().to_string(), "[0,0]");
        let words = Tensor::new("y", DType::Bytes, Shape::new([0]), vec![].into()).unwrap();
        assert!(top(&words, 1, &[], true).is_err());
    }
}
