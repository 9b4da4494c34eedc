//! Joining requests along the first axis, and parting the answer again. Pure; property-tested.

use bytes::{Bytes, BytesMut};

use super::{Tensor, strings};
use crate::error::{Error, Result};

/// Joins the inputs of several requests, tensor by tensor, along axis 0.
///
/// The caller guarantees that all requests have the same number of tensors with equal types and
/// equal extents behind axis 0; the scheduler's shape key is that guarantee.
pub fn concat(requests: &[&[Tensor]]) -> Vec<Tensor> {
    let Some(first) = requests.first() else { return Vec::new() };
    if requests.len() == 1 {
        return first.to_vec();
    }
    (0..first.len())
        .map(|column| {
            let rows = requests.iter().map(|tensors| tensors[column].rows()).sum();
            let length = requests.iter().map(|tensors| tensors[column].data.len()).sum();
            let mut data = BytesMut::with_capacity(length);
            for tensors in requests {
                data.extend_from_slice(&tensors[column].data);
            }
            Tensor {
                dtype: first[column].dtype,
                shape: first[column].shape.with_rows(rows),
                data: data.freeze(),
            }
        })
        .collect()
}

/// Parts every output along axis 0 into slices of `rows` rows; bytes are shared, not copied.
///
/// An output whose first extent is not the sum of the rows can not be parted: the model mixes or
/// drops rows, and no caller could be told which are theirs.
pub fn split(outputs: &[Tensor], rows: &[usize]) -> Result<Vec<Vec<Tensor>>> {
    let total: usize = rows.iter().sum();
    let mut parts: Vec<Vec<Tensor>> =
        rows.iter().map(|_| Vec::with_capacity(outputs.len())).collect();
    for output in outputs {
        if output.shape.is_empty() || output.rows() != total {
            return Err(Error::internal("the model's answer does not fit the batch it was given")
                .with_detail(format!(
                    "output of shape {} for a batch of {total} rows can not be split",
                    output.shape
                )));
        }
        let mut rest = output.data.clone();
        for (part, &rows) in parts.iter_mut().zip(rows) {
            let length = part_length(output, &rest, rows)?;
            let shape = output.shape.with_rows(rows);
            part.push(Tensor { dtype: output.dtype, shape, data: rest.split_to(length) });
        }
    }
    Ok(parts)
}

/// Bytes that the next `rows` rows of `output` take at the head of `rest`.
fn part_length(output: &Tensor, rest: &Bytes, rows: usize) -> Result<usize> {
    let row: usize = output.shape.row().iter().product();
    let length = match output.dtype.size() {
        Some(size) => Some(rows * row * size),
        None => strings::offset(rest, rows * row),
    };
    length.filter(|&length| length <= rest.len()).ok_or_else(|| {
        Error::internal("the model's answer is shorter than its shape says")
            .with_detail(format!("output of shape {}", output.shape))
    })
}

/// What must be equal for two requests to share a batch: types, and extents behind axis 0.
///
/// A 64-bit hash would be smaller, but a collision would mix two patients' tensors; so the key is
/// the thing itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeKey(smallvec::SmallVec<[usize; 8]>);

impl ShapeKey {
    pub fn of(inputs: &[Tensor]) -> Self {
        let mut key = smallvec::SmallVec::new();
        for tensor in inputs {
            key.push(tensor.dtype as usize);
            key.push(tensor.shape.len());
            key.extend_from_slice(tensor.shape.row());
        }
        Self(key)
    }
}

/// A tensor of `rows` rows, for tests.
#[cfg(test)]
pub fn tensor_of_rows(dtype: super::DType, row: &[usize], rows: usize, data: Vec<u8>) -> Tensor {
    let shape = super::Shape::new(std::iter::once(rows).chain(row.iter().copied()));
    Tensor::new("test", dtype, shape, data.into()).expect("test tensor is whole")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::DType;
    use proptest::prelude::*;

    fn strings_tensor(words: &[Vec<u8>]) -> Tensor {
        let mut data = Vec::new();
        for word in words {
            assert!(strings::push(&mut data, word));
        }
        tensor_of_rows(DType::Bytes, &[], words.len(), data)
    }

    #[test]
    fn an_answer_that_does_not_fit_is_refused() {
        let output = tensor_of_rows(DType::U8, &[], 3, vec![1, 2, 3]);
        assert!(split(&[output], &[1, 1]).is_err());
    }

    #[test]
    fn keys_part_types_ranks_and_rows() {
        let a = tensor_of_rows(DType::U8, &[2], 1, vec![0; 2]);
        let b = tensor_of_rows(DType::U8, &[2], 4, vec![0; 8]);
        let c = tensor_of_rows(DType::I8, &[2], 1, vec![0; 2]);
        let d = tensor_of_rows(DType::U8, &[1], 2, vec![0; 2]);
        let key = |t: &Tensor| ShapeKey::of(std::slice::from_ref(t));
        assert_eq!(key(&a), key(&b));
        assert_ne!(key(&a), key(&c));
        assert_ne!(key(&a), key(&d));
    }

    proptest! {
        #[test]
        fn split_undoes_concat_for_numbers(
            parts in proptest::collection::vec(0usize..5, 1..6), width in 0usize..4) {
            let mut next = 0u8;
            let requests: Vec<Vec<Tensor>> = parts.iter().map(|&rows| {
                let data = (0..rows * width).map(|_| { next = next.wrapping_add(1); next });
                vec![tensor_of_rows(DType::U8, &[width], rows, data.collect())]
            }).collect();
            let views: Vec<&[Tensor]> = requests.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(split(&concat(&views), &parts).unwrap(), requests);
        }

        #[test]
        fn split_undoes_concat_for_strings(requests in proptest::collection::vec(
            proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..6), 0..4), 1..5)) {
            let requests: Vec<Vec<Tensor>> =
                requests.iter().map(|words| vec![strings_tensor(words)]).collect();
            let rows: Vec<usize> = requests.iter().map(|r| r[0].rows()).collect();
            let views: Vec<&[Tensor]> = requests.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(split(&concat(&views), &rows).unwrap(), requests);
        }
    }
}
