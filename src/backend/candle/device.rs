//! On which device a model computes. GPUs are there in builds with the feature `cuda` alone.

use candle_core::utils::cuda_is_available;

use super::NAME;
use crate::backend::{load_error, no_gpu_options, one_line, stands_in};
use crate::error::{Error, Result};
use crate::model::ModelId;
use crate::model::device::Device;
use crate::model::manifest::EngineOptions;

/// The device of a model, in this engine's words and in ours.
pub fn open(id: &ModelId, options: &EngineOptions) -> Result<(candle_core::Device, Device)> {
    no_gpu_options(NAME, options)?;
    let placement = options.device;
    let processor = (candle_core::Device::Cpu, Device::Cpu);
    let Some(number) = placement.gpu(cuda_is_available) else { return Ok(processor) };
    let wanted = Device::Cuda(number);
    let opened = if cuda_is_available() {
        candle_core::Device::new_cuda(usize::from(number))
            .map_err(|error| load_error(NAME, format!("{wanted}: {error}")))
    } else {
        Err(Error::unsupported(format!(
            "engine.device is \"{wanted}\", but this build's candle computes on the processor \
             only (feature `cuda`); set engine.device = \"{wanted} or cpu\""
        )))
    };
    match opened {
        Ok(device) => Ok((device, wanted)),
        Err(error) if placement.falls_back() => {
            stands_in(id, wanted, &one_line(error.message()), Device::Cpu);
            Ok(processor)
        }
        Err(error) => Err(error),
    }
}
