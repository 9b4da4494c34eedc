//! ONNX Runtime through `ort`, found and loaded at run time.
//!
//! Models that ask for all processors share one pool of threads, so that many of them make no more
//! threads than there are processors. The others have the threads they ask for.

mod compiled;
mod device;
mod recorded;
mod staged;
mod value;
mod weights;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use ort::environment::{Environment, GlobalThreadPoolOptions};
use ort::ep::ExecutionProviderDispatch;
use ort::logging::LogLevel;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{self, SessionInputValue};

use self::recorded::Recorded;
use self::staged::{Memory, Staged};
use self::value::{from_values, run_error, specs, to_value};
use self::weights::SharedWeights;
use super::{
    Backend, Executable, ModelSource, ReadFile, Session, load_error, one_line, onnx, stands_in,
};
use crate::config::OnnxRuntimeConfig;
use crate::error::{Error, Result, quoted};
use crate::model::device::Device;
use crate::model::manifest::{EngineOptions, Optimization};
use crate::model::{ModelId, Signature, TensorSpec};
use crate::tensor::{DType, Tensor};

const NAME: &str = "onnxruntime";

pub struct OnnxRuntime {
    environment: Environment,
    config: OnnxRuntimeConfig,
}

/// The library: the first candidate that exists.
pub fn find(candidates: &[PathBuf]) -> Result<PathBuf> {
    candidates.iter().find(|path| path.is_file()).cloned().ok_or_else(|| {
        Error::unsupported(
            "the ONNX Runtime library was not found; `make onnxruntime` fetches it, or give \
             --onnxruntime PATH",
        )
    })
}

impl OnnxRuntime {
    /// Loads the library, once in a process.
    pub fn open(library: &Path, config: OnnxRuntimeConfig) -> Result<Self> {
        let environment = environment(library).map_err(|error| {
            Error::unsupported(format!(
                "the ONNX Runtime library {} can not be used: {}",
                library.display(),
                one_line(&error)
            ))
        })?;
        tracing::info!(library = %library.display(), "onnxruntime loaded");
        Ok(Self { environment, config })
    }

    /// The libraries of operators that a model names. The model says which, the server says where.
    fn operators(&self, options: &EngineOptions) -> Result<Vec<PathBuf>> {
        let path = |name: &String| {
            self.config.operators.get(name).cloned().ok_or_else(|| {
                Error::invalid(format!(
                    "engine.operators names '{}', which this server does not allow; give its \
                     library with --operators {}=PATH",
                    quoted(name),
                    quoted(name)
                ))
            })
        };
        options.operators.iter().map(path).collect()
    }
}

fn environment(library: &Path) -> std::result::Result<Environment, String> {
    let builder = ort::init_from(library).map_err(|error| error.to_string())?;
    let environment = builder
        .with_name("galen")
        .with_telemetry(false)
        .with_global_thread_pool(shared_threads().map_err(|error| error.to_string())?)
        .build()
        .map_err(|error| error.to_string())?;
    // Engine messages can quote model internals; failures come back as errors anyway.
    environment.set_log_level(LogLevel::Fatal);
    Ok(environment)
}

impl Backend for OnnxRuntime {
    fn name(&self) -> &'static str {
        NAME
    }

    fn platform(&self) -> &'static str {
        "onnxruntime_onnx"
    }

    fn model_file(&self) -> Option<&'static str> {
        Some(onnx::FILE)
    }

    fn gather(&self, file: Bytes, bytes_max: u64, read: ReadFile<'_>) -> Result<Bytes> {
        onnx::gather(NAME, file, bytes_max, read)
    }

    fn load(&self, source: &ModelSource<'_>) -> Result<Arc<dyn Executable>> {
        onnx::stands_alone(NAME, source.bytes)?;
        let (bytes, labels) = onnx::unpack(NAME, source.bytes)?;
        let options = &source.manifest.engine;
        let mut candidates = device::candidates(options)?.into_iter();
        let mut model = Model {
            environment: self.environment.clone(),
            file: bytes,
            weights: None,
            labels,
            options: options.clone(),
            operators: self.operators(options)?,
            device: candidates.next().unwrap_or_default(),
            compiled: None,
            signature: Signature { inputs: Vec::new(), outputs: Vec::new() },
            first: Mutex::new(None),
        };
        if options.tensorrt.is_some() && model.device != Device::Cpu && device::has_tensorrt() {
            model.compiled = compiled::folder(&self.config.compiled, source.bytes);
        }
        let session = loop {
            let opened = model.open_first(source.id);
            let opened = opened.map_err(|error| device::reason(model.device, &error));
            match (opened, candidates.next()) {
                (Ok(session), _) => break session,
                (Err(error), Some(next)) => {
                    stands_in(source.id, model.device, &one_line(&error), next);
                    model.device = next;
                }
                (Err(error), None) => return Err(load_error(NAME, error)),
            }
        };
        model.signature = Signature {
            inputs: specs("input", session.inputs())?,
            outputs: specs("output", session.outputs())?,
        };
        model.first = Mutex::new(Some(session));
        Ok(Arc::new(model))
    }
}

struct Model {
    environment: Environment,
    /// Kept so that every instance can open its own session.
    file: Bytes,
    /// What is not in the file because all sessions share it.
    weights: Option<SharedWeights>,
    options: EngineOptions,
    operators: Vec<PathBuf>,
    device: Device,
    /// Where what a compiler makes of the model is kept.
    compiled: Option<PathBuf>,
    signature: Signature,
    labels: onnx::Classes,
    /// The session that told the signature, until the first instance takes it.
    first: Mutex<Option<session::Session>>,
}

impl Model {
    /// On the processor, with shared weights where there are some; a GPU has copies of its own.
    fn open_first(&mut self, id: &ModelId) -> std::result::Result<session::Session, String> {
        if self.device == Device::Cpu
            && let Some((rest, weights)) = onnx::take_out(&self.file)
        {
            let whole = std::mem::replace(&mut self.file, rest);
            let shared = SharedWeights::new(&weights).map_err(|error| error.to_string());
            let session = shared.and_then(|shared| {
                self.weights = Some(shared);
                self.open()
            });
            match session {
                Ok(session) => return Ok(session),
                // Either the model is at fault, which the whole of it will tell, or the sharing.
                Err(reason) => {
                    let reason = one_line(&reason);
                    tracing::warn!(model = %id, reason, "instances will not share their weights");
                }
            }
            (self.file, self.weights) = (whole, None);
        }
        self.open()
    }

    fn providers(&self) -> Vec<ExecutionProviderDispatch> {
        device::providers(self.device, &self.options, self.compiled.as_deref())
    }

    fn open(&self) -> std::result::Result<session::Session, String> {
        let level = match self.options.optimization {
            Optimization::Off => GraphOptimizationLevel::Disable,
            Optimization::Basic => GraphOptimizationLevel::Level1,
            Optimization::Extended => GraphOptimizationLevel::Level2,
            Optimization::All => GraphOptimizationLevel::All,
        };
        let text = |error: &dyn std::fmt::Display| error.to_string();
        // Whoever asks for parallel parts wants threads for them.
        let between = self.options.threads_between.or(Some(0));
        let mut builder = session::Session::builder(&self.environment).map_err(|e| text(&e))?;
        // Who names a number of threads gets its own.
        if self.options.threads != Some(0) {
            builder = builder.with_independent_thread_pool().map_err(|e| text(&e))?;
        }
        for library in &self.operators {
            builder = builder.with_operator_library(library).map_err(|e| text(&e))?;
        }
        if let Some(weights) = &self.weights {
            builder = weights.give_to(builder).map_err(|e| text(&e))?;
        }
        builder
            .with_execution_providers(self.providers())
            .map_err(|e| text(&e))?
            .with_optimization_level(level)
            .map_err(|e| text(&e))?
            .with_intra_threads(thread_count(self.options.threads))
            .map_err(|e| text(&e))?
            .with_inter_threads(if self.options.parallel { thread_count(between) } else { 1 })
            .map_err(|e| text(&e))?
            .with_parallel_execution(self.options.parallel)
            .map_err(|e| text(&e))?
            .with_memory_pattern(self.options.memory_pattern.unwrap_or(true))
            .map_err(|e| text(&e))?
            // A spinning pool steals the processor from the model beside it.
            .with_intra_op_spinning(false)
            .map_err(|e| text(&e))?
            .with_inter_op_spinning(false)
            .map_err(|e| text(&e))?
            .commit_from_memory(&self.file)
            .map_err(|e| text(&e))
    }

    fn way(&self, session: &session::Session) -> Result<Way> {
        let Device::Cuda(number) = self.device else { return Ok(Way::Direct) };
        let staged = || {
            let host = Memory::pinned(session, number)?;
            Staged::new(session, host)
        };
        let all = self.signature.inputs.iter().chain(&self.signature.outputs);
        // No GPU has texts: the library computes such parts on the processor.
        let has_texts = all.into_iter().any(|spec| spec.dtype == DType::Bytes);
        if self.options.cuda_graph {
            if has_texts {
                let message = "engine.cuda_graph: tensors of texts can not be on a GPU";
                return Err(Error::unsupported(message));
            }
            let recorded = staged().and_then(|staged| {
                let device = Memory::of_gpu(session, number)?;
                Ok(Recorded::new(staged, device))
            });
            let recorded = recorded.map_err(|error| load_error(NAME, error))?;
            return Ok(Way::Recorded(Box::new(recorded)));
        }
        if has_texts || self.options.pinned_memory == Some(false) {
            return Ok(Way::Direct);
        }
        match staged() {
            Ok(staged) => Ok(Way::Staged(Box::new(staged))),
            Err(error) => {
                let reason = one_line(&error.to_string());
                tracing::warn!(reason, "tensors go to the GPU without pinned memory");
                Ok(Way::Direct)
            }
        }
    }
}

impl Executable for Model {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn labels(&self) -> &[(String, Vec<String>)] {
        &self.labels
    }

    fn device(&self) -> Device {
        self.device
    }

    fn session(&self) -> Result<Box<dyn Session>> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let session = match first {
            Some(session) => session,
            None => self.open().map_err(|error| load_error(NAME, error))?,
        };
        let way = self.way(&session)?;
        let outputs = self.signature.outputs.clone();
        Ok(Box::new(Instance { way, session, outputs }))
    }
}

/// How tensors go into a session and out of it.
enum Way {
    /// As they lie in the host's memory.
    Direct,
    Staged(Box<Staged>),
    Recorded(Box<Recorded>),
}

struct Instance {
    // Dropped before the session whose memory it uses.
    way: Way,
    session: session::Session,
    outputs: Vec<TensorSpec>,
}

impl Session for Instance {
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        match &mut self.way {
            Way::Direct => {}
            Way::Staged(staged) => {
                return staged.run(&mut self.session, inputs, &self.outputs, None);
            }
            Way::Recorded(recorded) => {
                return recorded.run(&mut self.session, inputs, &self.outputs);
            }
        }
        let values: Vec<SessionInputValue<'_>> =
            inputs.iter().map(to_value).collect::<Result<_>>()?;
        let outputs = self.session.run(&values[..]).map_err(run_error)?;
        from_values(&self.outputs, &outputs)
    }
}

/// The pool of those that ask for all processors. It never spins: a pool that does steals the
/// processor from what runs beside it.
fn shared_threads() -> ort::Result<GlobalThreadPoolOptions> {
    let threads = super::processors();
    GlobalThreadPoolOptions::default()
        .with_intra_threads(threads)?
        .with_inter_threads(threads)?
        .with_spin_control(false)
}

/// Threads of one engine call: one, unless asked otherwise; 0 asks for all processors.
///
/// One is the default because a server has its parallelism in its requests: on the demo models two
/// threads in a call cost a third more processor time and were no faster.
fn thread_count(wish: Option<usize>) -> usize {
    match wish {
        None => 1,
        Some(0) => super::processors(),
        Some(threads) => threads,
    }
}

#[cfg(test)]
mod tests;
