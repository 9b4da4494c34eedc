//! Tensors on their way into tract and out of it. Both sides keep rows in the same order and
//! numbers in the same bytes, so this is one copy each way.

use bytemuck::Pod;
use bytes::Bytes;
use half::f16;
use tract_onnx::prelude::{
    Datum, DatumType, IntoTValue, SymbolValues, TDim, TValue, Tensor as TractTensor, TractResult,
};

use crate::error::{Error, Result};
use crate::model::TensorSpec;
use crate::tensor::{DType, Shape, Tensor};

/// The element type as an ONNX file numbers it (`TensorProto.DataType`).
pub fn dtype_of_onnx(number: i32) -> Option<DType> {
    Some(match number {
        1 => DType::F32,
        2 => DType::U8,
        3 => DType::I8,
        4 => DType::U16,
        5 => DType::I16,
        6 => DType::I32,
        7 => DType::I64,
        8 => DType::Bytes,
        9 => DType::Bool,
        10 => DType::F16,
        11 => DType::F64,
        12 => DType::U32,
        13 => DType::U64,
        16 => DType::BF16,
        _ => return None,
    })
}

/// tract's name for an element type; `None` for those it can not compute with.
pub fn datum_type(dtype: DType) -> Option<DatumType> {
    Some(match dtype {
        DType::Bool => DatumType::Bool,
        DType::U8 => DatumType::U8,
        DType::U16 => DatumType::U16,
        DType::U32 => DatumType::U32,
        DType::U64 => DatumType::U64,
        DType::I8 => DatumType::I8,
        DType::I16 => DatumType::I16,
        DType::I32 => DatumType::I32,
        DType::I64 => DatumType::I64,
        DType::F16 => DatumType::F16,
        DType::F32 => DatumType::F32,
        DType::F64 => DatumType::F64,
        DType::BF16 | DType::Bytes => return None,
    })
}

/// The type in which a result of tract leaves it: integers that it kept as extents are `i64`, and
/// quantised numbers are their integers.
pub fn plain(datum: DatumType) -> DatumType {
    if datum == DatumType::TDim { DatumType::I64 } else { datum.unquantized() }
}

pub fn to_tract(tensor: &Tensor) -> TractResult<TValue> {
    let value = match tensor.dtype() {
        DType::U8 => numbers::<u8>(tensor),
        DType::U16 => numbers::<u16>(tensor),
        DType::U32 => numbers::<u32>(tensor),
        DType::U64 => numbers::<u64>(tensor),
        DType::I8 => numbers::<i8>(tensor),
        DType::I16 => numbers::<i16>(tensor),
        DType::I32 => numbers::<i32>(tensor),
        DType::I64 => numbers::<i64>(tensor),
        DType::F16 => numbers::<f16>(tensor),
        DType::F32 => numbers::<f32>(tensor),
        DType::F64 => numbers::<f64>(tensor),
        DType::Bool => {
            let flags: Vec<bool> = tensor.data().iter().map(|&byte| byte != 0).collect();
            TractTensor::from_shape(tensor.shape(), &flags)
        }
        DType::BF16 | DType::Bytes => {
            tract_onnx::tract_core::internal::bail!("no tensors of {}", tensor.dtype())
        }
    };
    Ok(value?.into_tvalue())
}

fn numbers<T: Pod + Datum>(tensor: &Tensor) -> TractResult<TractTensor> {
    match bytemuck::try_cast_slice::<u8, T>(tensor.data()) {
        Ok(view) => TractTensor::from_shape(tensor.shape(), view),
        Err(_) => {
            let aligned = bytemuck::allocation::pod_collect_to_vec::<u8, T>(tensor.data());
            TractTensor::from_shape(tensor.shape(), &aligned)
        }
    }
}

/// `extents` are what the inputs give to the names of the plan's axes: tract leaves integers that
/// come from shapes in terms of them.
pub fn from_tract(spec: &TensorSpec, value: &TValue, extents: &SymbolValues) -> Result<Tensor> {
    let failed = |detail: String| {
        Error::internal("the model's answer is not a whole tensor").with_detail(detail)
    };
    let wanted = plain(value.datum_type());
    if datum_type(spec.dtype) != Some(wanted) || !value.is_plain_ram() {
        return Err(failed(format!("{:?} for {}", value.datum_type(), spec.dtype)));
    }
    let data = if value.datum_type() == DatumType::TDim {
        let integers = integers(value, extents).map_err(|error| failed(format!("{error:#}")))?;
        Bytes::copy_from_slice(bytemuck::cast_slice(&integers))
    } else {
        Bytes::copy_from_slice(value.as_bytes())
    };
    let shape = Shape::new(value.shape().iter().copied());
    Tensor::new(&spec.name, spec.dtype, shape, data).map_err(|error| failed(error.to_string()))
}

fn integers(value: &TValue, extents: &SymbolValues) -> TractResult<Vec<i64>> {
    let terms = value.try_as_plain_ram()?;
    terms.as_slice::<TDim>()?.iter().map(|term| term.eval_to_i64(extents)).collect()
}
