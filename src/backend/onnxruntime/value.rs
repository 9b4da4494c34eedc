//! Between Galen's tensors and the library's, and between its types and ours.

use bytemuck::Pod;
use bytes::Bytes;
use half::{bf16, f16};
use ort::memory::Allocator;
use ort::session::{SessionInputValue, SessionOutputs};
use ort::value::{
    DynTensor, DynValue, Outlet, PrimitiveTensorElementType, Tensor as OrtTensor,
    TensorElementType, TensorRef, ValueType,
};

use crate::backend::one_line;
use crate::error::{Error, ErrorKind, Result};
use crate::model::TensorSpec;
use crate::tensor::{DType, Dim, Shape, Tensor, strings};

/// Calls a function for the type of number that a data type stands for; the arms that follow are
/// for those that stand for none.
macro_rules! by_number {
    ($dtype:expr, $function:ident $arguments:tt, $($arms:tt)*) => {
        match $dtype {
            DType::U8 => $function::<u8> $arguments,
            DType::U16 => $function::<u16> $arguments,
            DType::U32 => $function::<u32> $arguments,
            DType::U64 => $function::<u64> $arguments,
            DType::I8 => $function::<i8> $arguments,
            DType::I16 => $function::<i16> $arguments,
            DType::I32 => $function::<i32> $arguments,
            DType::I64 => $function::<i64> $arguments,
            DType::F16 => $function::<f16> $arguments,
            DType::BF16 => $function::<bf16> $arguments,
            DType::F32 => $function::<f32> $arguments,
            DType::F64 => $function::<f64> $arguments,
            $($arms)*
        }
    };
}

/// The engine's own word on whose fault it was: an argument it refuses is the caller's.
pub fn run_error(error: ort::Error) -> Error {
    let detail = one_line(&error.to_string());
    if error.code() == ort::ErrorCode::InvalidArgument {
        let message = "the model refused the values or shapes of its inputs";
        return Error::new(ErrorKind::InvalidInput, message).with_detail(detail);
    }
    Error::internal("the model failed on this input").with_detail(detail)
}

pub fn specs(what: &str, outlets: &[Outlet]) -> Result<Vec<TensorSpec>> {
    outlets.iter().map(|outlet| spec(what, outlet)).collect()
}

fn spec(what: &str, outlet: &Outlet) -> Result<TensorSpec> {
    let name = outlet.name();
    let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
        return Err(Error::invalid(format!("{what} '{name}' is {}, not a tensor", outlet.dtype())));
    };
    let dtype = from_element_type(*ty).ok_or_else(|| {
        Error::invalid(format!("{what} '{name}' has the unsupported element type {ty}"))
    })?;
    let dims = shape.iter().map(|&dim| Dim::from_wire(dim).unwrap_or(Dim::Any)).collect();
    Ok(TensorSpec { name: name.to_owned(), dtype, dims })
}

const TYPES: [(TensorElementType, DType); 14] = [
    (TensorElementType::Bool, DType::Bool),
    (TensorElementType::Uint8, DType::U8),
    (TensorElementType::Uint16, DType::U16),
    (TensorElementType::Uint32, DType::U32),
    (TensorElementType::Uint64, DType::U64),
    (TensorElementType::Int8, DType::I8),
    (TensorElementType::Int16, DType::I16),
    (TensorElementType::Int32, DType::I32),
    (TensorElementType::Int64, DType::I64),
    (TensorElementType::Float16, DType::F16),
    (TensorElementType::Bfloat16, DType::BF16),
    (TensorElementType::Float32, DType::F32),
    (TensorElementType::Float64, DType::F64),
    (TensorElementType::String, DType::Bytes),
];

fn from_element_type(ty: TensorElementType) -> Option<DType> {
    TYPES.into_iter().find_map(|(theirs, ours)| (theirs == ty).then_some(ours))
}

/// A tensor of this type and shape in somebody's memory, with nothing in it yet.
pub fn room(memory: &Allocator, dtype: DType, shape: &Shape) -> Result<DynTensor> {
    let theirs = TYPES.into_iter().find_map(|(theirs, ours)| (ours == dtype).then_some(theirs));
    let theirs = theirs.ok_or_else(|| Error::internal("a type that the engine does not have"))?;
    let dims: Vec<i64> = shape.iter().map(|&dim| dim as i64).collect();
    DynTensor::new(memory, theirs, dims).map_err(run_error)
}

/// Copies all elements into a tensor of the same type and shape, which has to be in memory of the
/// host's.
pub fn fill(target: &mut DynTensor, tensor: &Tensor) -> Result<()> {
    by_number!(tensor.dtype(), fill_numbers(target, tensor),
        DType::Bool => {
            let (_, flags) = target.try_extract_tensor_mut::<bool>().map_err(run_error)?;
            for (flag, &byte) in flags.iter_mut().zip(tensor.data()) {
                *flag = byte != 0;
            }
            Ok(())
        }
        DType::Bytes => Err(Error::internal("texts are no numbers")),
    )
}

fn fill_numbers<T: Pod + PrimitiveTensorElementType>(
    target: &mut DynTensor,
    tensor: &Tensor,
) -> Result<()> {
    let (_, numbers) = target.try_extract_tensor_mut::<T>().map_err(run_error)?;
    let bytes = bytemuck::cast_slice_mut::<T, u8>(numbers);
    if bytes.len() != tensor.data().len() {
        return Err(Error::internal("a tensor does not fill the place that was made for it"));
    }
    bytes.copy_from_slice(tensor.data());
    Ok(())
}

pub fn to_value(tensor: &Tensor) -> Result<SessionInputValue<'_>> {
    by_number!(tensor.dtype(), numbers(tensor),
        DType::Bool => {
            let flags: Vec<bool> = tensor.data().iter().map(|&byte| byte != 0).collect();
            owned(tensor.shape(), flags)
        }
        DType::Bytes => text(tensor),
    )
}

/// A view of the tensor's bytes where they are aligned, a copy where they are not.
fn numbers<T>(tensor: &Tensor) -> Result<SessionInputValue<'_>>
where
    T: Pod + PrimitiveTensorElementType + std::fmt::Debug + 'static,
{
    match bytemuck::try_cast_slice::<u8, T>(tensor.data()) {
        Ok(view) => TensorRef::from_array_view((dims(tensor.shape()), view))
            .map(SessionInputValue::from)
            .map_err(run_error),
        Err(_) => {
            owned(tensor.shape(), bytemuck::allocation::pod_collect_to_vec::<u8, T>(tensor.data()))
        }
    }
}

fn owned<T>(shape: &Shape, data: Vec<T>) -> Result<SessionInputValue<'static>>
where
    T: PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static,
{
    OrtTensor::from_array((dims(shape), data)).map(SessionInputValue::from).map_err(run_error)
}

fn text(tensor: &Tensor) -> Result<SessionInputValue<'static>> {
    let utf8 = |element: Option<&[u8]>| {
        element.and_then(|bytes| str::from_utf8(bytes).ok().map(str::to_owned))
    };
    let words: Vec<String> = strings::elements(tensor.data())
        .map(utf8)
        .collect::<Option<_>>()
        .ok_or_else(|| Error::invalid("a BYTES element is not valid UTF-8, which ONNX asks for"))?;
    if words.iter().any(|word| word.contains('\0')) {
        return Err(Error::invalid("a BYTES element holds a NUL, which the engine would cut at"));
    }
    OrtTensor::from_string_array((dims(tensor.shape()), &words[..]))
        .map(SessionInputValue::from)
        .map_err(run_error)
}

fn dims(shape: &Shape) -> Vec<usize> {
    shape.to_vec()
}

/// The answers of a run. The library has them in the order of the session's outputs, which is the
/// signature's.
pub fn from_values(specs: &[TensorSpec], values: &SessionOutputs<'_>) -> Result<Vec<Tensor>> {
    specs.iter().zip(values.values()).map(|(spec, value)| from_value(spec, &value)).collect()
}

pub fn from_value(spec: &TensorSpec, value: &DynValue) -> Result<Tensor> {
    by_number!(spec.dtype, extract(spec, value),
        DType::Bool => {
            let (shape, data) = value.try_extract_tensor::<bool>().map_err(run_error)?;
            let bytes: Vec<u8> = data.iter().map(|&flag| u8::from(flag)).collect();
            tensor(spec, shape, bytes.into())
        }
        DType::Bytes => {
            let (shape, words) = value.try_extract_strings().map_err(run_error)?;
            let mut bytes = Vec::new();
            if !words.iter().all(|word| strings::push(&mut bytes, word.as_bytes())) {
                return Err(Error::internal("the model answered with an endless string"));
            }
            tensor(spec, shape, bytes.into())
        }
    )
}

fn extract<T>(spec: &TensorSpec, value: &DynValue) -> Result<Tensor>
where
    T: Pod + PrimitiveTensorElementType,
{
    let (shape, data) = value.try_extract_tensor::<T>().map_err(run_error)?;
    tensor(spec, shape, Bytes::copy_from_slice(bytemuck::cast_slice(data)))
}

fn tensor(spec: &TensorSpec, shape: &[i64], data: Bytes) -> Result<Tensor> {
    let dims: Option<Vec<usize>> = shape.iter().map(|&dim| usize::try_from(dim).ok()).collect();
    let dims = dims.ok_or_else(|| Error::internal("the model answered with a negative extent"))?;
    Tensor::new(&spec.name, spec.dtype, Shape::new(dims), data).map_err(|error| {
        Error::internal("the model's answer is not a whole tensor").with_detail(error)
    })
}
