//! The signature of an ONNX graph as ONNX Runtime would report it: what the file declares, and
//! where it leaves an output open, what shape inference found.

use tract_onnx::pb::tensor_shape_proto::dimension::Value as Extent;
use tract_onnx::pb::type_proto::{Tensor as TensorType, Value};
use tract_onnx::pb::{GraphProto, ValueInfoProto};

use super::plan::{Found, Outlet};
use super::value::{datum_type, dtype_of_onnx, plain};
use crate::error::{Error, Result, quoted};
use crate::model::TensorSpec;
use crate::tensor::{DType, Dim, RANK_MAX};

/// The inputs, without those that have a value in the file.
pub fn inputs(graph: &GraphProto) -> Result<Vec<TensorSpec>> {
    let constant = |name: &str| graph.initializer.iter().any(|tensor| tensor.name == name);
    let free = graph.input.iter().filter(|input| !constant(&input.name));
    free.map(|input| {
        let declared = declared(input)?.ok_or_else(|| refusal("input", input, "no type"))?;
        let dtype = dtype(declared, "input", input)?;
        let dims = dims(declared).ok_or_else(|| refusal("input", input, "no shape"))?;
        Ok(TensorSpec { name: input.name.clone(), dtype, dims })
    })
    .collect()
}

/// The outputs. Where what tract found holds for inputs of every shape, its extents close those
/// that the file left open.
pub fn outputs(graph: &GraphProto, found: &Found) -> Result<Vec<TensorSpec>> {
    let computed = |outlet: &Outlet, output| {
        let dtype = DType::ALL.into_iter().find(|d| datum_type(*d) == Some(plain(outlet.dtype)));
        dtype.ok_or_else(|| unsupported("output", output, &format!("{:?}", outlet.dtype)))
    };
    (graph.output.iter().zip(&found.outputs))
        .map(|(output, outlet)| {
            let declared = declared(output)?;
            let dtype = match declared {
                Some(declared) => dtype(declared, "output", output)?,
                None => computed(outlet, output)?,
            };
            if datum_type(dtype) != Some(plain(outlet.dtype)) {
                return Err(refusal("output", output, &format!("{:?} for {dtype}", outlet.dtype)));
            }
            let extents = outlet.shape.iter().map(|dim| match dim.as_i64() {
                Some(extent) if found.general => Dim::from_wire(extent).unwrap_or(Dim::Any),
                _ => Dim::Any,
            });
            let dims = match declared.and_then(dims) {
                Some(dims) if dims.len() == outlet.shape.rank() => (dims.into_iter().zip(extents))
                    .map(|(dim, found)| if dim == Dim::Any { found } else { dim })
                    .collect(),
                _ => extents.collect(),
            };
            Ok(TensorSpec { name: output.name.clone(), dtype, dims })
        })
        .collect()
}

/// The type, where the file tells one; sequences and maps have none that tract can read.
fn declared(value: &ValueInfoProto) -> Result<Option<&TensorType>> {
    match value.r#type.as_ref().map(|declared| &declared.value) {
        None => Ok(None),
        Some(Some(Value::TensorType(tensor))) => Ok(Some(tensor)),
        Some(None) => Err(Error::invalid(format!("'{}' is not a tensor", quoted(&value.name)))),
    }
}

fn dtype(declared: &TensorType, what: &str, value: &ValueInfoProto) -> Result<DType> {
    let number = declared.elem_type;
    let dtype = dtype_of_onnx(number)
        .ok_or_else(|| unsupported(what, value, &format!("element type {number}")))?;
    match datum_type(dtype) {
        Some(_) => Ok(dtype),
        None => Err(unsupported(what, value, dtype.name())),
    }
}

fn dims(declared: &TensorType) -> Option<Vec<Dim>> {
    let dims = &declared.shape.as_ref()?.dim;
    let dim = |value: &Option<Extent>| match value {
        Some(Extent::DimValue(extent)) => usize::try_from(*extent).map_or(Dim::Any, Dim::Fixed),
        Some(Extent::DimParam(_)) | None => Dim::Any,
    };
    (dims.len() <= RANK_MAX).then(|| dims.iter().map(|extent| dim(&extent.value)).collect())
}

fn unsupported(what: &str, value: &ValueInfoProto, found: &str) -> Error {
    let name = quoted(&value.name);
    Error::unsupported(format!(
        "tract can not load the model: {what} '{name}' is {found}, which it does not support; the \
         onnxruntime engine may"
    ))
}

fn refusal(what: &str, value: &ValueInfoProto, found: &str) -> Error {
    let name = quoted(&value.name);
    Error::invalid(format!("tract can not load the model: {what} '{name}' has {found}"))
}
