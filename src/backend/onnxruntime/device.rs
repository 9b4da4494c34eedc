//! On which device a session computes. GPUs are ONNX Runtime's CUDA provider, which the library
//! brings along (onnxruntime-gpu) or does not: nothing of it is needed to build.

use std::path::Path;

use ort::ep::{CPU, CUDA, ExecutionProvider, ExecutionProviderDispatch};

use crate::error::{Error, Result};
use crate::model::device::Device;
use crate::model::manifest::EngineOptions;

/// The devices to try for a model, the wanted one first.
pub fn candidates(options: &EngineOptions) -> Result<Vec<Device>> {
    let has_provider = || CUDA::is_available().unwrap_or(false);
    // Of a library that could, on a machine that can not, every attempt would fail slowly.
    let has_driver = || Path::new("/dev/nvidiactl").exists() || Path::new("/dev/dxg").exists();
    let Some(gpu) = options.device.gpu(|| has_provider() && has_driver()) else {
        return Ok(vec![Device::Cpu]);
    };
    if options.device.falls_back() {
        return Ok(vec![Device::Cuda(gpu), Device::Cpu]);
    }
    if !has_provider() {
        return Err(Error::unsupported(format!(
            "engine.device is \"cuda:{gpu}\", but this ONNX Runtime library computes on the \
             processor only; give the one of onnxruntime-gpu with --onnxruntime, or set \
             engine.device = \"cuda:{gpu} or cpu\""
        )));
    }
    Ok(vec![Device::Cuda(gpu)])
}

/// What the session registers, the first choice first.
pub fn providers(device: Device, options: &EngineOptions) -> Vec<ExecutionProviderDispatch> {
    let arena = CPU::default().with_arena_allocator(options.memory_arena.unwrap_or(true)).build();
    let Device::Cuda(number) = device else { return vec![arena] };
    let mut cuda = CUDA::default().with_device_id(i32::from(number));
    if let Some(bytes) = options.gpu_memory_bytes_max {
        cuda = cuda.with_memory_limit(usize::try_from(bytes).unwrap_or(usize::MAX));
    }
    // A session that silently computes elsewhere would be a GPU that nobody uses.
    vec![cuda.build().error_on_failure(), arena]
}
