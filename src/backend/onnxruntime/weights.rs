//! A model's large constants, one copy of each for all its sessions, and what the library's kernels
//! have made of them ("pre-packed weights").
//!
//! The library shares what it packs only among sessions that were given the same initializer, and
//! reads the value while it optimises the graph only where it is given as an external one, too.

use std::sync::Arc;

use bytemuck::Pod;
use half::{bf16, f16};
use ort::session::builder::{PrepackedWeights, SessionBuilder};
use ort::value::{DynValue, PrimitiveTensorElementType, Tensor as OrtTensor};

use crate::backend::onnx::Weight;
use crate::tensor::DType;

pub struct SharedWeights {
    values: Vec<(String, Arc<DynValue>)>,
    packed: PrepackedWeights,
}

impl SharedWeights {
    pub fn new(weights: &[Weight]) -> ort::Result<Self> {
        let value = |weight: &Weight| Ok((weight.name.clone(), Arc::new(value(weight)?)));
        let values = weights.iter().map(value).collect::<ort::Result<_>>()?;
        Ok(Self { values, packed: PrepackedWeights::new() })
    }

    /// A builder of sessions that use these.
    pub fn give_to(&self, builder: SessionBuilder) -> ort::Result<SessionBuilder> {
        let mut builder = builder.with_prepacked_weights(&self.packed)?;
        for (name, value) in &self.values {
            builder = builder.with_external_initializer(name, Arc::clone(value))?;
            builder = builder.with_initializer(name, Arc::clone(value))?;
        }
        Ok(builder)
    }
}

fn value(weight: &Weight) -> ort::Result<DynValue> {
    match weight.dtype {
        DType::F32 => copy::<f32>(weight),
        DType::F64 => copy::<f64>(weight),
        DType::F16 => copy::<f16>(weight),
        DType::BF16 => copy::<bf16>(weight),
        DType::I8 => copy::<i8>(weight),
        DType::U8 => copy::<u8>(weight),
        other => Err(ort::Error::new(format!("a constant of type {other}"))),
    }
}

fn copy<T>(weight: &Weight) -> ort::Result<DynValue>
where
    T: Pod + PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static,
{
    // The library shares memory that is its caller's, and none of its own.
    let data = bytemuck::allocation::pod_collect_to_vec::<u8, T>(&weight.data);
    Ok(OrtTensor::from_array((weight.dims.clone(), data))?.into_dyn())
}
