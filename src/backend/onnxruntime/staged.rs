//! Runs on a device with memory of its own: tensors go there and come back through memory of the
//! host's that the device reads and writes itself ("pinned"), which is used again. From other
//! memory, the driver copies piece by piece through a buffer of its own.

use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, RunOptions, Session};
use ort::value::DynTensor;

use super::value::{fill, from_value, room, run_error};
use crate::error::Result;
use crate::model::TensorSpec;
use crate::tensor::Tensor;

/// Memory of some device that a session knows.
pub struct Memory {
    pub info: MemoryInfo<'static>,
    pub allocator: Allocator,
}

impl Memory {
    /// The host's, which a GPU reads and writes.
    pub fn pinned(session: &Session, number: u16) -> ort::Result<Self> {
        Self::of(session, AllocationDevice::CUDA_PINNED, number, MemoryType::CPUOutput)
    }

    pub fn of_gpu(session: &Session, number: u16) -> ort::Result<Self> {
        Self::of(session, AllocationDevice::CUDA, number, MemoryType::Default)
    }

    pub fn of(
        session: &Session,
        device: AllocationDevice<'static>,
        number: u16,
        kind: MemoryType,
    ) -> ort::Result<Self> {
        let info =
            || MemoryInfo::new(device.clone(), i32::from(number), AllocatorType::Device, kind);
        Ok(Self { info: info()?, allocator: Allocator::new(session, info()?)? })
    }
}

pub struct Staged {
    binding: IoBinding,
    host: Memory,
    /// What the last run's inputs were put in, in their order.
    inputs: Vec<Option<DynTensor>>,
    names: Vec<String>,
}

impl Staged {
    pub fn new(session: &Session, host: Memory) -> ort::Result<Self> {
        let names: Vec<String> =
            session.inputs().iter().map(|input| input.name().to_owned()).collect();
        let inputs = names.iter().map(|_| None).collect();
        Ok(Self { binding: session.create_binding()?, host, inputs, names })
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Puts an input's elements into memory of the host's: what was used before, where that has
    /// this shape.
    pub fn stage(&mut self, at: usize, tensor: &Tensor) -> Result<&DynTensor> {
        let fits = |kept: &DynTensor| {
            let dims = kept.shape().iter().map(|&dim| usize::try_from(dim).ok());
            dims.eq(tensor.shape().iter().map(|&dim| Some(dim)))
        };
        let kept = match self.inputs[at].take().filter(fits) {
            Some(kept) => kept,
            None => room(&self.host.allocator, tensor.dtype(), tensor.shape())?,
        };
        let kept = self.inputs[at].insert(kept);
        fill(kept, tensor)?;
        Ok(kept)
    }

    pub fn run(
        &mut self,
        session: &mut Session,
        inputs: &[Tensor],
        outputs: &[TensorSpec],
        options: Option<&RunOptions>,
    ) -> Result<Vec<Tensor>> {
        for (at, tensor) in inputs.iter().enumerate() {
            self.stage(at, tensor)?;
            if let Some(staged) = &self.inputs[at] {
                self.binding.bind_input(&self.names[at], staged).map_err(run_error)?;
            }
        }
        for spec in outputs {
            // Each time: what is bound keeps the shape of its first run.
            let bound = self.binding.bind_output_to_device(&spec.name, &self.host.info);
            bound.map_err(run_error)?;
        }
        let values = match options {
            Some(options) => session.run_binding_with_options(&self.binding, options),
            None => session.run_binding(&self.binding),
        };
        let values = values.map_err(run_error)?;
        (outputs.iter().zip(values.values()))
            .map(|(spec, value)| from_value(spec, &value))
            .collect()
    }
}
