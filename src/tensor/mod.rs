//! Tensors as they travel from socket to engine: a type, a shape and bytes that are shared, not
//! copied. Data is little-endian and row-major, as on the wire.
//!
//! What this room must not know: where tensors come from, and who computes with them.

pub mod batch;
pub mod classes;
pub mod compare;
mod dtype;
mod number;
mod shape;
pub mod strings;

use bytes::Bytes;

pub use dtype::DType;
pub use number::Number;
pub(crate) use number::numeric;
pub use shape::{Dim, RANK_MAX, Shape, write_dims};

use crate::error::{Error, Result};

#[cfg(not(target_endian = "little"))]
compile_error!("tensor bytes are handed to engines as they came from the wire: little-endian only");

/// A checked tensor: its data holds exactly the elements that its shape claims.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    dtype: DType,
    shape: Shape,
    data: Bytes,
}

impl Tensor {
    /// Checks the byte count against the shape; for BYTES also every element's length.
    ///
    /// `name` is only for the error text.
    pub fn new(name: &str, dtype: DType, shape: Shape, data: Bytes) -> Result<Self> {
        let Some(elements) = shape.elements() else {
            return Err(Error::invalid(format!(
                "input '{name}' has shape {shape}, which has more elements than can be addressed"
            )));
        };
        match dtype.size() {
            Some(size) => {
                let expected = elements.checked_mul(size);
                if expected != Some(data.len()) {
                    let expected = expected.map_or("more".to_owned(), |n| n.to_string());
                    return Err(Error::invalid(format!(
                        "input byte size mismatch for input '{name}': shape {shape} of {dtype} \
                         takes {expected} bytes, got {}",
                        data.len()
                    )));
                }
            }
            None => {
                let given = strings::count(&data).ok_or_else(|| {
                    Error::invalid(format!(
                        "input '{name}' is not valid BYTES data: an element is longer than what \
                         is left of the tensor"
                    ))
                })?;
                if given != elements {
                    return Err(Error::invalid(format!(
                        "input '{name}' holds {given} BYTES elements, but its shape {shape} takes \
                         {elements}"
                    )));
                }
            }
        }
        if dtype == DType::Bool && data.iter().any(|&byte| byte > 1) {
            return Err(Error::invalid(format!(
                "input '{name}' is not valid BOOL data: every element is one byte, 0 or 1"
            )));
        }
        Ok(Self { dtype, shape, data })
    }

    /// All elements zero, false or the empty string: what warm-up runs on.
    pub fn zeros(dtype: DType, shape: Shape) -> Result<Self> {
        let bytes = shape.elements().and_then(|n| n.checked_mul(dtype.size_min()));
        match bytes {
            // The empty string is a length of 0: zero bytes, too.
            Some(bytes) => Ok(Self { dtype, shape, data: vec![0; bytes].into() }),
            None => Err(Error::internal("a tensor of zeros does not fit into memory")),
        }
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    pub fn data(&self) -> &Bytes {
        &self.data
    }

    pub fn into_data(self) -> Bytes {
        self.data
    }

    /// The same in memory of its own: a slice keeps all of what it was cut from alive.
    pub fn detached(&self) -> Self {
        let data = Bytes::copy_from_slice(&self.data);
        Self { dtype: self.dtype, shape: self.shape.clone(), data }
    }

    /// Every element as a double, for comparisons; `None` for BYTES. 64-bit integers are rounded.
    pub fn to_f64s(&self) -> Option<Vec<f64>> {
        numeric!(self.dtype, T => {
            let elements = bytemuck::allocation::pod_collect_to_vec::<u8, T>(&self.data);
            Some(elements.into_iter().map(Number::to_f64).collect())
        }, _ => match self.dtype {
            DType::Bool => Some(self.data.iter().map(|&byte| f64::from(byte)).collect()),
            _ => None,
        })
    }

    /// The same elements in another shape; `None` where that holds more or fewer of them.
    pub fn reshaped(self, shape: Shape) -> Option<Self> {
        (shape.elements() == self.shape.elements()).then_some(Self { shape, ..self })
    }

    /// Extent of the first axis; 1 for a scalar.
    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }
}

/// A vector of numbers as the bytes of a tensor: the same memory, and aligned.
pub fn shared<T: bytemuck::NoUninit + Send>(numbers: Vec<T>) -> Bytes {
    struct Numbers<T>(Vec<T>);

    impl<T: bytemuck::NoUninit> AsRef<[u8]> for Numbers<T> {
        fn as_ref(&self) -> &[u8] {
            bytemuck::cast_slice(&self.0)
        }
    }

    Bytes::from_owner(Numbers(numbers))
}

/// A tensor with the name that a request or an answer gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    pub name: String,
    pub tensor: Tensor,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(n: usize) -> Bytes {
        vec![0u8; n].into()
    }

    #[test]
    fn byte_count_must_fit_the_shape() {
        assert!(Tensor::new("x", DType::F32, Shape::new([2, 3]), bytes(24)).is_ok());
        let error = Tensor::new("x", DType::F32, Shape::new([2, 3]), bytes(23)).unwrap_err();
        assert!(error.message().contains("takes 24 bytes, got 23"), "{error}");
        assert!(Tensor::new("x", DType::F32, Shape::new([usize::MAX, 8]), bytes(0)).is_err());
        assert!(Tensor::new("x", DType::F32, Shape::new([0, 8]), bytes(0)).is_ok());
    }

    #[test]
    fn strings_and_booleans_are_checked_by_element() {
        let two = Bytes::from_static(&[1, 0, 0, 0, b'a', 0, 0, 0, 0]);
        assert!(Tensor::new("x", DType::Bytes, Shape::new([2]), two.clone()).is_ok());
        assert!(Tensor::new("x", DType::Bytes, Shape::new([3]), two).is_err());
        let two = Bytes::from_static(&[0, 2]);
        assert!(Tensor::new("x", DType::Bool, Shape::new([2]), two).is_err());
    }
}
