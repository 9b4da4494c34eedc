//! What a configuration says of GPUs, in both directions: Triton's `optimization` and ours. The
//! folder of what TensorRT keeps is the server's to choose, not a model's.

use super::fields::{Accelerator, Cuda, ExecutionAccelerators, Optimization, PinnedMemory};
use crate::error::{Error, Result, nearest, quoted};
use crate::model::device::{Precision, TensorRt};
use crate::model::manifest::EngineOptions;

const TENSORRT: &str = "tensorrt";
const PRECISION: &str = "precision_mode";
const WORKSPACE: &str = "max_workspace_size_bytes";
const PARAMETERS: [&str; 2] = [PRECISION, WORKSPACE];

/// Reads what concerns a GPU into the engine's options.
pub fn read(optimization: &Optimization, engine: &mut EngineOptions) -> Result<()> {
    let pinned = [&optimization.input_pinned_memory, &optimization.output_pinned_memory];
    // One setting for both ways: whoever turns one off has a reason against such memory.
    if pinned.into_iter().any(|memory| !memory.enable) {
        engine.pinned_memory = Some(false);
    }
    engine.cuda_graph = optimization.cuda.as_ref().is_some_and(|cuda| cuda.graphs);
    let accelerators = optimization.execution_accelerators.iter();
    for accelerator in accelerators.flat_map(|all| &all.gpu_execution_accelerator) {
        if accelerator.name != TENSORRT {
            let name = quoted(&accelerator.name);
            return Err(Error::unsupported(format!(
                "optimization.execution_accelerators: '{name}' is not supported; expected \
                 '{TENSORRT}'"
            )));
        }
        engine.tensorrt = Some(tensorrt(accelerator)?);
    }
    Ok(())
}

fn tensorrt(accelerator: &Accelerator) -> Result<TensorRt> {
    let mut options = TensorRt::default();
    for (name, value) in &accelerator.parameters {
        let expected = |what: &str| {
            let (at, value) = ("optimization.execution_accelerators", quoted(value));
            Error::invalid(format!("{at}: {name}: expected {what}, got '{value}'"))
        };
        match name.as_str() {
            PRECISION => {
                let precision = Precision::from_name(&value.to_ascii_lowercase());
                options.precision =
                    precision.ok_or_else(|| expected("FP32, FP16, BF16 or INT8"))?;
            }
            WORKSPACE => {
                let bytes = value.trim().parse().map_err(|_| expected("a number of bytes"))?;
                options.workspace_bytes_max = Some(bytes);
            }
            _ => {
                let hint = match nearest(name, PARAMETERS) {
                    Some(near) => format!("did you mean '{near}'?"),
                    None => format!("supported are {}", PARAMETERS.join(", ")),
                };
                return Err(Error::unsupported(format!(
                    "optimization.execution_accelerators: parameter '{}' of {TENSORRT} is not \
                     supported; {hint}",
                    quoted(name)
                )));
            }
        }
    }
    Ok(options)
}

/// What [`read`] would read the options from. Options at their defaults are not written.
pub fn write(engine: &EngineOptions) -> Optimization {
    let pinned = || PinnedMemory { enable: engine.pinned_memory != Some(false) };
    let accelerator = |options: TensorRt| {
        let precision = options.precision.name().to_ascii_uppercase();
        let workspace = options.workspace_bytes_max.map(|bytes| (WORKSPACE, bytes.to_string()));
        let parameters = [(PRECISION, precision)].into_iter().chain(workspace);
        let parameters = parameters.map(|(name, value)| (name.to_owned(), value)).collect();
        let gpu = vec![Accelerator { name: TENSORRT.to_owned(), parameters }];
        ExecutionAccelerators { gpu_execution_accelerator: gpu, ..ExecutionAccelerators::default() }
    };
    Optimization {
        cuda: engine.cuda_graph.then(|| Cuda { graphs: true, ..Cuda::default() }),
        execution_accelerators: engine.tensorrt.map(accelerator),
        input_pinned_memory: pinned(),
        output_pinned_memory: pinned(),
        ..Optimization::default()
    }
}
