//! On which device a session computes. GPUs are ONNX Runtime's CUDA and TensorRT providers, which
//! the library brings along (onnxruntime-gpu) or does not: nothing of them is needed to build.

use std::path::Path;

use ort::ep::{CPU, CUDA, ExecutionProvider, ExecutionProviderDispatch, TensorRT};

use crate::error::{Error, Result};
use crate::model::device::{Device, Precision, TensorRt};
use crate::model::manifest::EngineOptions;

/// The devices to try for a model, the wanted one first.
pub fn candidates(options: &EngineOptions) -> Result<Vec<Device>> {
    let has_provider = || match options.tensorrt {
        Some(_) => has_tensorrt(),
        None => CUDA::is_available().unwrap_or(false),
    };
    // Of a library that could, on a machine that can not, every attempt would fail slowly.
    let has_driver = || Path::new("/dev/nvidiactl").exists() || Path::new("/dev/dxg").exists();
    let Some(gpu) = options.device.gpu(|| has_provider() && has_driver()) else {
        return Ok(vec![Device::Cpu]);
    };
    if options.device.falls_back() {
        return Ok(vec![Device::Cuda(gpu), Device::Cpu]);
    }
    if !has_provider() {
        let tensorrt = options.tensorrt.is_some();
        let lacks = if tensorrt { "has no TensorRT" } else { "computes on the processor only" };
        return Err(Error::unsupported(format!(
            "engine.device is \"cuda:{gpu}\", but this ONNX Runtime library {lacks}; give the one \
             of onnxruntime-gpu with --onnxruntime, or set engine.device = \"cuda:{gpu} or cpu\""
        )));
    }
    Ok(vec![Device::Cuda(gpu)])
}

/// Whether the library brings TensorRT's provider along.
pub fn has_tensorrt() -> bool {
    TensorRT::is_available().unwrap_or(false)
}

/// The library's word on a device that it can not use, without the paths of files: mostly, what its
/// provider needs is not where the loader looks.
pub fn reason(device: Device, error: &str) -> String {
    let lacks = error.split_once("Failed to load library ");
    match lacks.and_then(|(_, rest)| rest.split_once(" with error: ")) {
        Some((_, lacks)) => format!("the provider for {device} can not be loaded: {lacks}"),
        None => error.to_owned(),
    }
}

/// What the session registers, the first choice first; `compiled` is where a compiler keeps what it
/// makes of the model.
pub fn providers(
    device: Device,
    options: &EngineOptions,
    compiled: Option<&Path>,
) -> Vec<ExecutionProviderDispatch> {
    let arena = CPU::default().with_arena_allocator(options.memory_arena.unwrap_or(true)).build();
    let Device::Cuda(number) = device else { return vec![arena] };
    let number = i32::from(number);
    let mut cuda = CUDA::default().with_device_id(number).with_cuda_graph(options.cuda_graph);
    if let Some(bytes) = options.gpu_memory_bytes_max {
        cuda = cuda.with_memory_limit(usize::try_from(bytes).unwrap_or(usize::MAX));
    }
    let tensorrt = options.tensorrt.map(|wish| tensorrt(number, wish, compiled).build());
    let gpu = tensorrt.into_iter().chain([cuda.build()]);
    // A session that silently computes elsewhere would be a GPU that nobody uses.
    gpu.map(ExecutionProviderDispatch::error_on_failure).chain([arena]).collect()
}

fn tensorrt(number: i32, wish: TensorRt, compiled: Option<&Path>) -> TensorRT {
    let mut provider = TensorRT::default()
        .with_device_id(number)
        .with_fp16(wish.precision == Precision::Fp16)
        .with_bf16(wish.precision == Precision::Bf16)
        .with_int8(wish.precision == Precision::Int8);
    if let Some(bytes) = wish.workspace_bytes_max {
        provider = provider.with_max_workspace_size(usize::try_from(bytes).unwrap_or(usize::MAX));
    }
    if let Some(folder) = compiled {
        provider = provider
            .with_engine_cache(true)
            .with_engine_cache_path(folder.display())
            .with_timing_cache(true)
            .with_timing_cache_path(folder.display());
    }
    provider
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_that_lacks_something_says_what_and_no_path() {
        let error = "/src/x.cc:2043 Provider& Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load \
                     library /opt/lib/libonnxruntime_providers_cuda.so with error: \
                     libcublasLt.so.13: cannot open shared object file: No such file or directory";
        assert_eq!(
            reason(Device::Cuda(0), error),
            "the provider for cuda:0 can not be loaded: libcublasLt.so.13: cannot open shared \
             object file: No such file or directory"
        );
        assert_eq!(reason(Device::Cpu, "no such operator"), "no such operator");
    }
}
