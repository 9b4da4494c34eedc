//! Engines: how to compute. Three steps, three traits: a [`Backend`] loads model bytes into an
//! [`Executable`] (shared, immutable), which opens [`Session`]s (one per instance, `&mut`).
//!
//! An engine crate is named only in its own adapter, and `cfg(feature)` stands only in this room.
//! What this room must not know: queues, registries, protocols. It gets bytes, never a path; only
//! what a compiler makes of a model is kept in a folder, which the configuration names.

#[cfg(feature = "candle")]
mod candle;
mod identity;
#[cfg(any(feature = "onnxruntime", feature = "tract"))]
mod onnx;
#[cfg(feature = "onnxruntime")]
mod onnxruntime;
pub mod reshaped;
#[cfg(feature = "tract")]
mod tract;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;

use crate::config::OnnxRuntimeConfig;
use crate::error::{Error, Result};
use crate::infer::TokenCount;
use crate::model::device::Device;
#[cfg(any(feature = "tract", feature = "candle"))]
use crate::model::manifest::EngineOptions;
use crate::model::manifest::{BackendChoice, Manifest};
use crate::model::{ModelId, Signature};
use crate::tensor::Tensor;

/// A model's bytes and how it wants to be run.
#[derive(Clone, Debug)]
pub struct ModelSource<'a> {
    pub id: &'a ModelId,
    /// The bytes of the model file; empty for an engine that needs none.
    pub bytes: &'a Bytes,
    /// Those of [`Backend::reads_beside`] that are there.
    pub beside: &'a BTreeMap<String, Bytes>,
    pub manifest: &'a Manifest,
}

/// Reads a file of the version's folder by its path beneath it, up to a size; one that is not there
/// is an error. What it gives is what is hashed.
pub type ReadFile<'a> = &'a mut dyn FnMut(&str, u64) -> Result<Bytes>;

/// An engine that can load models.
pub trait Backend: Send + Sync {
    /// The name used in `model.toml`, logs and metadata.
    fn name(&self) -> &'static str;
    /// The platform string of the metadata reply.
    fn platform(&self) -> &'static str;
    /// The usual name of its model file; none for an engine that reads no file.
    fn model_file(&self) -> Option<&'static str>;
    /// Other files of a version's folder that it reads where they are there.
    fn reads_beside(&self) -> &'static [&'static str] {
        &[]
    }
    /// The model file together with the data that it names in other files of its folder, in one
    /// piece of at most `bytes_max`. What needs nothing taken in stays as it is.
    fn gather(&self, file: Bytes, _bytes_max: u64, _read: ReadFile<'_>) -> Result<Bytes> {
        Ok(file)
    }
    fn load(&self, source: &ModelSource<'_>) -> Result<Arc<dyn Executable>>;
}

/// A loaded model, shared by its sessions.
pub trait Executable: Send + Sync {
    fn signature(&self) -> &Signature;
    /// Class names that the model's own files give to the entries of an output.
    fn labels(&self) -> &[(String, Vec<String>)] {
        &[]
    }
    /// Where it computes.
    fn device(&self) -> Device {
        Device::Cpu
    }
    fn session(&self) -> Result<Box<dyn Session>>;
}

/// One running instance.
pub trait Session: Send {
    /// Computes all outputs in the signature's order, from inputs in the signature's order.
    ///
    /// The inputs were checked against the signature; a session may still fail on their values.
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>>;
    /// Tokens of the last run, of an engine that computes text.
    fn tokens(&self) -> TokenCount {
        TokenCount::default()
    }
}

type Open = Box<dyn FnOnce() -> Result<Arc<dyn Backend>> + Send>;
/// An engine that is opened when the first model wants it: a process without such models has none
/// of its threads and memory.
type Opened = LazyLock<Result<Arc<dyn Backend>>, Open>;

/// The engines of this process, looked for once at start. A clone is a handle to the same ones.
#[derive(Clone)]
pub struct Engines {
    default: BackendChoice,
    identity: Arc<dyn Backend>,
    onnxruntime: Result<Arc<Opened>>,
    tract: Result<Arc<dyn Backend>>,
    candle: Result<Arc<dyn Backend>>,
}

impl Engines {
    /// Finds ONNX Runtime at the first of its candidates that is there, and sets up the others.
    ///
    /// `default` is what a model gets that asks for "auto".
    pub fn probe(default: BackendChoice, onnxruntime: &OnnxRuntimeConfig) -> Self {
        Self {
            default,
            identity: Arc::new(identity::Identity),
            onnxruntime: probe_onnxruntime(onnxruntime).map(Arc::new),
            tract: probe_tract(),
            candle: probe_candle(),
        }
    }

    /// The engine for a model's wish and the name of its file, or why it is not to be had. What
    /// kind of file it is decides first: no other engine reads safetensors.
    pub fn choose(&self, wish: BackendChoice, file: &str) -> Result<&Arc<dyn Backend>> {
        let wish = match wish {
            BackendChoice::Auto if file.ends_with(".safetensors") => BackendChoice::Candle,
            BackendChoice::Auto => self.default,
            wish => wish,
        };
        match wish {
            BackendChoice::Candle => self.candle.as_ref().map_err(Error::clone),
            BackendChoice::Identity => Ok(&self.identity),
            BackendChoice::Onnxruntime => self.onnxruntime().map_err(Error::clone),
            BackendChoice::Tract => self.tract.as_ref().map_err(Error::clone),
            BackendChoice::Auto => {
                let both = |error: &Error| error.clone();
                self.onnxruntime().or(self.tract.as_ref()).map_err(both)
            }
        }
    }

    fn onnxruntime(&self) -> std::result::Result<&Arc<dyn Backend>, &Error> {
        self.onnxruntime.as_ref().and_then(|opened| LazyLock::force(opened).as_ref())
    }

    /// Why ONNX Runtime does not serve, where it is not there.
    pub fn onnxruntime_missing(&self) -> Option<&Error> {
        self.onnxruntime.as_ref().err()
    }

    /// The names of the engines beside ONNX Runtime that can serve.
    pub fn others(&self) -> Vec<&'static str> {
        let found = [&self.tract, &self.candle].map(|engine| engine.as_ref().ok());
        found.into_iter().flatten().chain([&self.identity]).map(|engine| engine.name()).collect()
    }
}

#[cfg(feature = "onnxruntime")]
fn probe_onnxruntime(config: &OnnxRuntimeConfig) -> Result<Opened> {
    let (library, config) = (onnxruntime::find(&config.candidates)?, config.clone());
    Ok(LazyLock::new(Box::new(move || {
        let opened = onnxruntime::OnnxRuntime::open(&library, config);
        if let Err(error) = &opened {
            tracing::warn!(reason = %error, "onnxruntime is not available");
        }
        opened.map(|engine| Arc::new(engine) as _)
    })))
}

#[cfg(not(feature = "onnxruntime"))]
fn probe_onnxruntime(_config: &OnnxRuntimeConfig) -> Result<Opened> {
    Err(Error::unsupported("this build has no onnxruntime engine (feature `onnxruntime`)"))
}

#[cfg(feature = "tract")]
fn probe_tract() -> Result<Arc<dyn Backend>> {
    Ok(Arc::new(tract::Tract::new()))
}

#[cfg(not(feature = "tract"))]
fn probe_tract() -> Result<Arc<dyn Backend>> {
    Err(Error::unsupported("this build has no embedded engine (feature `tract`)"))
}

#[cfg(feature = "candle")]
fn probe_candle() -> Result<Arc<dyn Backend>> {
    Ok(Arc::new(candle::Candle::default()))
}

#[cfg(not(feature = "candle"))]
fn probe_candle() -> Result<Arc<dyn Backend>> {
    Err(Error::unsupported("this build has no engine for transformers (feature `candle`)"))
}

/// The processors that this process may use, which the standard library counts with affinity and
/// cgroup quotas (v1 and v2).
#[cfg(any(feature = "onnxruntime", feature = "candle"))]
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// For an engine that computes on the processor alone: what a model asks of a GPU is an error,
/// unless the processor may stand in, which the log says.
#[cfg(feature = "tract")]
fn processor_only(engine: &str, id: &ModelId, options: &EngineOptions) -> Result<()> {
    no_gpu_options(engine, options)?;
    let Some(device) = options.device.gpu(|| false).map(Device::Cuda) else { return Ok(()) };
    if !options.device.falls_back() {
        return Err(Error::unsupported(format!(
            "engine.device is \"{device}\", but {engine} computes on the processor only; set \
             engine.device = \"{device} or cpu\", or another backend"
        )));
    }
    let reason = format!("{engine} computes on the processor only");
    stands_in(id, device, &reason, Device::Cpu);
    Ok(())
}

/// For an engine that has none of ONNX Runtime's ways to use a GPU.
#[cfg(any(feature = "tract", feature = "candle"))]
fn no_gpu_options(engine: &str, options: &EngineOptions) -> Result<()> {
    match options.asks_for_gpu() {
        Some(option) => Err(Error::unsupported(format!(
            "{option} is for the backend onnxruntime, not {engine}"
        ))),
        None => Ok(()),
    }
}

/// Says that a model computes elsewhere than it asked to.
#[cfg(any(feature = "onnxruntime", feature = "tract", feature = "candle"))]
fn stands_in(id: &ModelId, wanted: Device, reason: &str, instead: Device) {
    tracing::warn!(
        model = %id, device = %wanted, reason,
        "the device can not be used; the model computes on {instead}"
    );
}

/// An engine's refusal to load: the caller learns that, the operator's log learns why.
#[cfg(any(feature = "onnxruntime", feature = "tract", feature = "candle"))]
fn load_error(engine: &str, error: impl std::fmt::Display) -> Error {
    Error::invalid(format!("{engine} can not load the model: {}", one_line(&error.to_string())))
}

/// Engine messages can span lines and repeat whole graphs; a state reason is one bounded line.
#[cfg(any(feature = "onnxruntime", feature = "tract", feature = "candle"))]
fn one_line(text: &str) -> String {
    const CHARS_MAX: usize = 400;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}
