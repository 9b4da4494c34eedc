//! On which device a model computes. GPUs are there in builds with the feature `cuda` alone.

use candle_core::utils::cuda_is_available;

use super::NAME;
use crate::backend::{load_error, one_line};
use crate::error::{Error, Result};
use crate::model::ModelId;
use crate::model::device::{Device, Placement};

/// The device of a model, in this engine's words and in ours.
pub fn open(id: &ModelId, placement: Placement) -> Result<(candle_core::Device, Device)> {
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
            let reason = one_line(error.message());
            tracing::warn!(
                model = %id, device = %wanted, reason,
                "the device can not be used; the model computes on cpu"
            );
            Ok(processor)
        }
        Err(error) => Err(error),
    }
}
