//! Runs that a GPU gets as one piece ("CUDA graph"). What has to be started for a shape is recorded
//! once, with the addresses of its inputs and outputs; so each shape has its own of these.

use ort::memory::AllocationDevice;
use ort::session::{IoBinding, RunOptions, Session};
use ort::value::{DynTensor, DynTensorValueType};

use super::staged::{Memory, Staged};
use super::value::{from_value, room, run_error};
use crate::error::Result;
use crate::model::TensorSpec;
use crate::tensor::{Shape, Tensor};

/// Shapes that are recorded; others run as if nothing was.
pub const RECORDS_MAX: usize = 16;
/// The library's key of a recording, and its word for none.
const KEY: &str = "gpu_graph_id";
const NONE: &str = "-1";

pub struct Recorded {
    staged: Staged,
    device: Memory,
    records: Vec<Record>,
}

struct Record {
    shapes: Vec<Shape>,
    binding: IoBinding,
    /// On the device.
    inputs: Vec<DynTensor>,
    options: RunOptions,
}

impl Recorded {
    pub fn new(staged: Staged, device: Memory) -> Self {
        Self { staged, device, records: Vec::new() }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn run(
        &mut self,
        session: &mut Session,
        inputs: &[Tensor],
        outputs: &[TensorSpec],
    ) -> Result<Vec<Tensor>> {
        let has_shapes =
            |record: &Record| record.shapes.iter().eq(inputs.iter().map(Tensor::shape));
        let at = match self.records.iter().position(has_shapes) {
            Some(at) => at,
            None if self.records.len() < RECORDS_MAX => {
                let record = self.record(session, inputs, outputs)?;
                self.records.push(record);
                self.records.len() - 1
            }
            None => {
                let options = options(NONE).map_err(run_error)?;
                return self.staged.run(session, inputs, outputs, Some(&options));
            }
        };
        let record = &mut self.records[at];
        let Staged { places, host, .. } = &mut self.staged;
        for ((tensor, place), target) in inputs.iter().zip(places).zip(&mut record.inputs) {
            place.put(tensor, host)?.copy_into(target).map_err(run_error)?;
        }
        let values = session.run_binding_with_options(&record.binding, &record.options);
        let values = values.map_err(run_error)?;
        let answer = |(spec, value): (&TensorSpec, ort::value::DynValueRef<'_>)| {
            let value = value.downcast::<DynTensorValueType>().map_err(run_error)?;
            let value = value.to(AllocationDevice::CPU, 0).map_err(run_error)?;
            from_value(spec, &value.into_dyn())
        };
        outputs.iter().zip(values.values()).map(answer).collect()
    }

    /// Places on the device for tensors of these shapes.
    fn record(
        &self,
        session: &Session,
        inputs: &[Tensor],
        outputs: &[TensorSpec],
    ) -> Result<Record> {
        let place = |tensor: &Tensor| room(&self.device.allocator, tensor.dtype(), tensor.shape());
        let places = inputs.iter().map(place).collect::<Result<Vec<_>>>()?;
        let bind = || {
            let mut binding = session.create_binding()?;
            for (staged, place) in self.staged.places.iter().zip(&places) {
                binding.bind_input(&staged.name, place)?;
            }
            // Bound once: what the first run puts there, later ones find at the same address.
            for spec in outputs {
                binding.bind_output_to_device(&spec.name, &self.device.info)?;
            }
            // 0 is the library's own.
            Ok((binding, options(&(self.records.len() + 1).to_string())?))
        };
        let (binding, options) = bind().map_err(run_error)?;
        let shapes = inputs.iter().map(|tensor| tensor.shape().clone()).collect();
        Ok(Record { shapes, binding, inputs: places, options })
    }
}

fn options(record: &str) -> ort::Result<RunOptions> {
    let mut options = RunOptions::new()?;
    options.set(KEY, record)?;
    Ok(options)
}
