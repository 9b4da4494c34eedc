//! NVML, the library of NVIDIA's driver: opened at run time, where it is there.
//!
//! What this file must not know: metrics.

use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use super::{GPUS_MAX, Gone, Gpu, Reading};
use crate::error::{Error, Result};

/// The opened library.
pub struct Library(Nvml);

impl Library {
    /// `None` where there is no library: most machines have no GPU, and need not hear of it.
    pub fn open() -> Result<Option<Self>> {
        match Nvml::init() {
            Ok(nvml) => Ok(Some(Self(nvml))),
            Err(NvmlError::LibloadingError(reason)) => {
                tracing::debug!(%reason, "there is no NVML");
                Ok(None)
            }
            Err(reason) => Err(Error::internal("NVML does not start").with_detail(reason)),
        }
    }

    /// The GPUs that this process may ask.
    pub fn gpus(&self) -> Vec<Card<'_>> {
        let count = self.0.device_count().unwrap_or_else(|reason| {
            tracing::warn!(%reason, "GPUs can not be counted");
            0
        });
        let card = |index| match Card::open(&self.0, index) {
            Ok(card) => Some(card),
            // A container is not shown all GPUs of its machine.
            Err(NvmlError::NoPermission) => None,
            Err(reason) => {
                tracing::warn!(gpu = index, %reason, "a GPU is not measured");
                None
            }
        };
        (0..count.min(GPUS_MAX)).filter_map(card).collect()
    }
}

/// One GPU.
pub struct Card<'a> {
    device: Device<'a>,
    uuid: String,
}

impl<'a> Card<'a> {
    fn open(nvml: &'a Nvml, index: u32) -> std::result::Result<Self, NvmlError> {
        let device = nvml.device_by_index(index)?;
        let uuid = device.uuid()?;
        Ok(Self { device, uuid })
    }
}

impl Gpu for Card<'_> {
    fn uuid(&self) -> &str {
        &self.uuid
    }

    fn read(&self) -> std::result::Result<Reading, Gone> {
        let device = &self.device;
        let memory = figure(device.memory_info())?;
        Ok(Reading {
            busy_percent: figure(device.utilization_rates())?.map(|rates| rates.gpu),
            memory_total_bytes: memory.as_ref().map(|memory| memory.total),
            memory_used_bytes: memory.as_ref().map(|memory| memory.used),
            power_mw: figure(device.power_usage())?,
            power_limit_mw: figure(device.power_management_limit())?,
            energy_mj: figure(device.total_energy_consumption())?,
        })
    }
}

/// A figure that the GPU or its driver does not have is left out; from one that has gone, none
/// will come.
fn figure<T>(answer: std::result::Result<T, NvmlError>) -> std::result::Result<Option<T>, Gone> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error @ (NvmlError::GpuLost | NvmlError::ResetRequired)) => {
            Err(Gone(error.to_string()))
        }
        Err(_) => Ok(None),
    }
}
