//! Runs on a device with memory of its own: tensors go there and come back through memory of the
//! host's that the device reads and writes itself ("pinned"), which is used again. From other
//! memory, the driver copies piece by piece through a buffer of its own.

use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, RunOptions, Session};
use ort::value::{DynTensor, Outlet};

use super::value::{fill, from_values, room, run_error};
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

/// An input's name, and what it was put in at the last run.
pub struct Place {
    pub name: String,
    kept: Option<DynTensor>,
}

impl Place {
    /// Puts an input's elements into memory of the host's: what was used before, where that has
    /// this shape.
    pub fn put(&mut self, tensor: &Tensor, host: &Memory) -> Result<&DynTensor> {
        let fits = |kept: &DynTensor| {
            let dims = kept.shape().iter().map(|&dim| usize::try_from(dim).ok());
            dims.eq(tensor.shape().iter().map(|&dim| Some(dim)))
        };
        let kept = match self.kept.take().filter(fits) {
            Some(kept) => kept,
            None => room(&host.allocator, tensor.dtype(), tensor.shape())?,
        };
        let kept = self.kept.insert(kept);
        fill(kept, tensor)?;
        Ok(kept)
    }
}

pub struct Staged {
    binding: IoBinding,
    pub host: Memory,
    /// In the order of the inputs.
    pub places: Vec<Place>,
}

impl Staged {
    pub fn new(session: &Session, host: Memory) -> ort::Result<Self> {
        let place = |input: &Outlet| Place { name: input.name().to_owned(), kept: None };
        let places = session.inputs().iter().map(place).collect();
        Ok(Self { binding: session.create_binding()?, host, places })
    }

    pub fn run(
        &mut self,
        session: &mut Session,
        inputs: &[Tensor],
        outputs: &[TensorSpec],
        options: Option<&RunOptions>,
    ) -> Result<Vec<Tensor>> {
        for (place, tensor) in self.places.iter_mut().zip(inputs) {
            let name = place.name.clone();
            self.binding.bind_input(name, place.put(tensor, &self.host)?).map_err(run_error)?;
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
        from_values(outputs, &values)
    }
}
