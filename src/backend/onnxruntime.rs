//! ONNX Runtime through `ort`, found and loaded at run time.
//!
//! Models that ask for all processors share one pool of threads, so that many of them make no more
//! threads than there are processors. The others have the threads they ask for.

mod device;
mod weights;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytemuck::Pod;
use bytes::Bytes;
use half::{bf16, f16};
use ort::environment::{Environment, GlobalThreadPoolOptions};
use ort::logging::LogLevel;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{self, SessionInputValue};
use ort::value::{
    DynValue, Outlet, PrimitiveTensorElementType, Tensor as OrtTensor, TensorElementType,
    TensorRef, ValueType,
};

use self::weights::SharedWeights;
use super::{Backend, Executable, ModelSource, ReadFile, Session, load_error, one_line, onnx};
use crate::error::{Error, ErrorKind, Result, quoted};
use crate::model::device::Device;
use crate::model::manifest::{EngineOptions, Optimization};
use crate::model::{ModelId, Signature, TensorSpec};
use crate::tensor::{DType, Dim, Shape, Tensor, strings};

const NAME: &str = "onnxruntime";

pub struct OnnxRuntime {
    environment: Environment,
    /// What models may ask to have loaded.
    operators: BTreeMap<String, PathBuf>,
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
    /// Loads the library, once in a process. Models may name `operators`.
    pub fn open(library: &Path, operators: BTreeMap<String, PathBuf>) -> Result<Self> {
        let environment = environment(library).map_err(|error| {
            Error::unsupported(format!(
                "the ONNX Runtime library {} can not be used: {}",
                library.display(),
                one_line(&error)
            ))
        })?;
        tracing::info!(library = %library.display(), "onnxruntime loaded");
        Ok(Self { environment, operators })
    }

    /// The libraries of operators that a model names. The model says which, the server says where.
    fn operators(&self, options: &EngineOptions) -> Result<Vec<PathBuf>> {
        let path = |name: &String| {
            self.operators.get(name).cloned().ok_or_else(|| {
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
            signature: Signature { inputs: Vec::new(), outputs: Vec::new() },
            first: Mutex::new(None),
        };
        let session = loop {
            match (model.open_first(source.id), candidates.next()) {
                (Ok(session), _) => break session,
                (Err(error), Some(next)) => {
                    let reason = one_line(&error);
                    tracing::warn!(
                        model = %source.id, device = %model.device, reason,
                        "the device can not be used; the model computes on {next}"
                    );
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
            .with_execution_providers(device::providers(self.device, &self.options))
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
        let outputs = self.signature.outputs.clone();
        Ok(Box::new(Instance { session, outputs }))
    }
}

struct Instance {
    session: session::Session,
    outputs: Vec<TensorSpec>,
}

impl Session for Instance {
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let values: Vec<SessionInputValue<'_>> =
            inputs.iter().map(to_value).collect::<Result<_>>()?;
        let outputs = self.session.run(&values[..]).map_err(run_error)?;
        // The library answers in the order of the session's outputs, which is the signature's.
        (self.outputs.iter().zip(outputs.values()))
            .map(|(spec, value)| from_value(spec, &value))
            .collect()
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

/// The engine's own word on whose fault it was: an argument it refuses is the caller's.
fn run_error(error: ort::Error) -> Error {
    let detail = one_line(&error.to_string());
    if error.code() == ort::ErrorCode::InvalidArgument {
        let message = "the model refused the values or shapes of its inputs";
        return Error::new(ErrorKind::InvalidInput, message).with_detail(detail);
    }
    Error::internal("the model failed on this input").with_detail(detail)
}

fn specs(what: &str, outlets: &[Outlet]) -> Result<Vec<TensorSpec>> {
    outlets.iter().map(|outlet| spec(what, outlet)).collect()
}

fn spec(what: &str, outlet: &Outlet) -> Result<TensorSpec> {
    let name = outlet.name();
    let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
        return Err(Error::invalid(format!("{what} '{name}' is {}, not a tensor", outlet.dtype())));
    };
    let dtype = from_element_type(*ty).ok_or_else(|| {
        Error::invalid(format!("{what} '{name}' has the unsupported element type {ty}"))
    })?;
    let dims = shape.iter().map(|&dim| Dim::from_wire(dim).unwrap_or(Dim::Any)).collect();
    Ok(TensorSpec { name: name.to_owned(), dtype, dims })
}

fn from_element_type(ty: TensorElementType) -> Option<DType> {
    Some(match ty {
        TensorElementType::Bool => DType::Bool,
        TensorElementType::Uint8 => DType::U8,
        TensorElementType::Uint16 => DType::U16,
        TensorElementType::Uint32 => DType::U32,
        TensorElementType::Uint64 => DType::U64,
        TensorElementType::Int8 => DType::I8,
        TensorElementType::Int16 => DType::I16,
        TensorElementType::Int32 => DType::I32,
        TensorElementType::Int64 => DType::I64,
        TensorElementType::Float16 => DType::F16,
        TensorElementType::Bfloat16 => DType::BF16,
        TensorElementType::Float32 => DType::F32,
        TensorElementType::Float64 => DType::F64,
        TensorElementType::String => DType::Bytes,
        _ => return None,
    })
}

fn to_value(tensor: &Tensor) -> Result<SessionInputValue<'_>> {
    match tensor.dtype() {
        DType::U8 => numbers::<u8>(tensor),
        DType::U16 => numbers::<u16>(tensor),
        DType::U32 => numbers::<u32>(tensor),
        DType::U64 => numbers::<u64>(tensor),
        DType::I8 => numbers::<i8>(tensor),
        DType::I16 => numbers::<i16>(tensor),
        DType::I32 => numbers::<i32>(tensor),
        DType::I64 => numbers::<i64>(tensor),
        DType::F16 => numbers::<f16>(tensor),
        DType::BF16 => numbers::<bf16>(tensor),
        DType::F32 => numbers::<f32>(tensor),
        DType::F64 => numbers::<f64>(tensor),
        DType::Bool => {
            let flags: Vec<bool> = tensor.data().iter().map(|&byte| byte != 0).collect();
            owned(tensor.shape(), flags)
        }
        DType::Bytes => text(tensor),
    }
}

/// A view of the tensor's bytes where they are aligned, a copy where they are not.
fn numbers<T>(tensor: &Tensor) -> Result<SessionInputValue<'_>>
where
    T: Pod + PrimitiveTensorElementType + std::fmt::Debug + 'static,
{
    match bytemuck::try_cast_slice::<u8, T>(tensor.data()) {
        Ok(view) => TensorRef::from_array_view((dims(tensor.shape()), view))
            .map(SessionInputValue::from)
            .map_err(run_error),
        Err(_) => {
            owned(tensor.shape(), bytemuck::allocation::pod_collect_to_vec::<u8, T>(tensor.data()))
        }
    }
}

fn owned<T>(shape: &Shape, data: Vec<T>) -> Result<SessionInputValue<'static>>
where
    T: PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static,
{
    OrtTensor::from_array((dims(shape), data)).map(SessionInputValue::from).map_err(run_error)
}

fn text(tensor: &Tensor) -> Result<SessionInputValue<'static>> {
    let utf8 = |element: Option<&[u8]>| {
        element.and_then(|bytes| str::from_utf8(bytes).ok().map(str::to_owned))
    };
    let words: Vec<String> = strings::elements(tensor.data())
        .map(utf8)
        .collect::<Option<_>>()
        .ok_or_else(|| Error::invalid("a BYTES element is not valid UTF-8, which ONNX asks for"))?;
    if words.iter().any(|word| word.contains('\0')) {
        return Err(Error::invalid("a BYTES element holds a NUL, which the engine would cut at"));
    }
    OrtTensor::from_string_array((dims(tensor.shape()), &words[..]))
        .map(SessionInputValue::from)
        .map_err(run_error)
}

fn dims(shape: &Shape) -> Vec<usize> {
    shape.to_vec()
}

fn from_value(spec: &TensorSpec, value: &DynValue) -> Result<Tensor> {
    match spec.dtype {
        DType::U8 => extract::<u8>(spec, value),
        DType::U16 => extract::<u16>(spec, value),
        DType::U32 => extract::<u32>(spec, value),
        DType::U64 => extract::<u64>(spec, value),
        DType::I8 => extract::<i8>(spec, value),
        DType::I16 => extract::<i16>(spec, value),
        DType::I32 => extract::<i32>(spec, value),
        DType::I64 => extract::<i64>(spec, value),
        DType::F16 => extract::<f16>(spec, value),
        DType::BF16 => extract::<bf16>(spec, value),
        DType::F32 => extract::<f32>(spec, value),
        DType::F64 => extract::<f64>(spec, value),
        DType::Bool => {
            let (shape, data) = value.try_extract_tensor::<bool>().map_err(run_error)?;
            let bytes: Vec<u8> = data.iter().map(|&flag| u8::from(flag)).collect();
            tensor(spec, shape, bytes.into())
        }
        DType::Bytes => {
            let (shape, words) = value.try_extract_strings().map_err(run_error)?;
            let mut bytes = Vec::new();
            if !words.iter().all(|word| strings::push(&mut bytes, word.as_bytes())) {
                return Err(Error::internal("the model answered with an endless string"));
            }
            tensor(spec, shape, bytes.into())
        }
    }
}

fn extract<T>(spec: &TensorSpec, value: &DynValue) -> Result<Tensor>
where
    T: Pod + PrimitiveTensorElementType,
{
    let (shape, data) = value.try_extract_tensor::<T>().map_err(run_error)?;
    tensor(spec, shape, Bytes::copy_from_slice(bytemuck::cast_slice(data)))
}

fn tensor(spec: &TensorSpec, shape: &[i64], data: Bytes) -> Result<Tensor> {
    let dims: Option<Vec<usize>> = shape.iter().map(|&dim| usize::try_from(dim).ok()).collect();
    let dims = dims.ok_or_else(|| Error::internal("the model answered with a negative extent"))?;
    Tensor::new(&spec.name, spec.dtype, Shape::new(dims), data).map_err(|error| {
        Error::internal("the model's answer is not a whole tensor").with_detail(error)
    })
}
