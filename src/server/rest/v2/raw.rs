//! A body that is nothing but the bytes of the one input (`Inference-Header-Content-Length: 0`):
//! what a shell script or a camera sends. Pure.
//!
//! As Triton reads it: the model has one input, of which at most one extent is free besides the
//! batch axis, which is 1; a BYTES input is one element; every output comes back binary.

use bytes::Bytes;

use super::request::{Decoded, Form};
use crate::error::{Error, Result};
use crate::infer::InferRequest;
use crate::model::{Signature, TensorSpec};
use crate::tensor::{DType, Dim, NamedTensor, Shape, Tensor, strings};

pub fn decode(model: &str, signature: &Signature, batched: bool, body: &Bytes) -> Result<Decoded> {
    let [spec] = &signature.inputs[..] else {
        return Err(Error::invalid(format!(
            "a raw binary request needs a model with one input, but model '{model}' has {}",
            signature.inputs.len()
        )));
    };
    let data = match spec.dtype {
        DType::Bytes => one_string(body)?,
        _ => body.clone(),
    };
    let shape = shape(spec, batched, body.len())?;
    let tensor = Tensor::new(&spec.name, spec.dtype, shape, data)?;
    let inputs = vec![NamedTensor { name: spec.name.clone(), tensor }];
    Ok(Decoded {
        id: None,
        request: InferRequest { inputs, ..InferRequest::default() },
        forms: Vec::new(),
        form_default: Form::Binary,
    })
}

fn one_string(body: &[u8]) -> Result<Bytes> {
    let mut data = Vec::with_capacity(strings::PREFIX + body.len());
    if strings::push(&mut data, body) {
        Ok(data.into())
    } else {
        Err(Error::too_large("the body is longer than one BYTES element can be"))
    }
}

/// The signature's shape, its one free extent worked out from the number of bytes.
fn shape(spec: &TensorSpec, batched: bool, bytes: usize) -> Result<Shape> {
    let mut dims = spec.dims.clone();
    if let (true, Some(first)) = (batched, dims.first_mut()) {
        *first = Dim::Fixed(1);
    }
    let free = dims.iter().filter(|dim| **dim == Dim::Any).count();
    if free > 1 {
        return Err(Error::invalid(format!(
            "a raw binary request can not tell the shape of input '{}', {}: more than one extent \
             is free",
            spec.name,
            spec.dims_text()
        )));
    }
    let known = dims.iter().filter_map(|dim| match dim {
        Dim::Fixed(extent) => Some(*extent),
        Dim::Any => None,
    });
    let row = known.fold(spec.dtype.size(), |product, extent| product?.checked_mul(extent));
    // A BYTES element is all of the body; otherwise what the bytes come to, rounded down: the
    // check of the tensor finds a rest.
    let missing = row.map_or(1, |row| bytes.checked_div(row).unwrap_or(0));
    Ok(Shape::new(dims.into_iter().map(|dim| match dim {
        Dim::Fixed(extent) => extent,
        Dim::Any => missing,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dtype: DType, dims: &[i64], batched: bool, body: &'static [u8]) -> Result<String> {
        let dims = dims.iter().map(|&dim| Dim::from_wire(dim).unwrap()).collect();
        let inputs = vec![TensorSpec { name: "x".into(), dtype, dims }];
        let signature = Signature { inputs, outputs: vec![] };
        let decoded = decode("m", &signature, batched, &Bytes::from_static(body))?;
        assert!(matches!(decoded.form_default, Form::Binary));
        let tensor = &decoded.request.inputs[0].tensor;
        Ok(format!("{} {:?}", tensor.shape(), &tensor.data()[..]))
    }

    #[test]
    fn the_free_extent_follows_from_the_bytes() {
        assert_eq!(read(DType::U8, &[-1, 3], true, b"abc").unwrap(), "[1,3] [97, 98, 99]");
        assert_eq!(read(DType::I16, &[-1, -1], true, b"abcd").unwrap(), "[1,2] [97, 98, 99, 100]");
        assert_eq!(read(DType::U8, &[-1], false, b"abc").unwrap(), "[3] [97, 98, 99]");
        assert_eq!(
            read(DType::Bytes, &[-1, 1], true, b"ab").unwrap(),
            "[1,1] [2, 0, 0, 0, 97, 98]"
        );
        assert_eq!(read(DType::U8, &[-1, 0], true, b"").unwrap(), "[1,0] []");
        for (dims, body) in [(&[-1, 3][..], &b"ab"[..]), (&[-1, -1, -1], b"abcd"), (&[4], b"abc")] {
            assert!(read(DType::U8, dims, true, body).is_err(), "{dims:?}");
        }
        assert!(read(DType::I16, &[-1, -1], true, b"abc").is_err(), "half an element");
    }

    #[test]
    fn a_model_of_two_inputs_needs_a_header() {
        let spec = TensorSpec { name: "x".into(), dtype: DType::U8, dims: vec![Dim::Any] };
        let signature = Signature { inputs: vec![spec.clone(), spec], outputs: vec![] };
        let error = decode("m", &signature, true, &Bytes::new()).err().unwrap();
        assert!(error.message().contains("a model with one input"), "{error}");
    }
}
