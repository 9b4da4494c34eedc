//! Engines: how to compute. Three steps, three traits: a [`Backend`] loads model bytes into an
//! [`Executable`] (shared, immutable), which opens [`Session`]s (one per instance, `&mut`).
//!
//! An engine crate is named only in its own adapter, and `cfg(feature)` stands only in this room.
//! What this room must not know: queues, registries, protocols. It gets bytes, never a path.

mod identity;
#[cfg(any(feature = "onnxruntime", feature = "tract"))]
mod onnx;
#[cfg(feature = "onnxruntime")]
mod onnxruntime;
pub mod reshaped;
#[cfg(feature = "tract")]
mod tract;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::model::manifest::{BackendChoice, Manifest};
use crate::model::{ModelId, Signature};
use crate::tensor::Tensor;

/// A model's bytes and how it wants to be run.
#[derive(Clone, Debug)]
pub struct ModelSource<'a> {
    pub id: &'a ModelId,
    /// The bytes of the model file; empty for an engine that needs none.
    pub bytes: &'a Bytes,
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
    /// Whether the engine reads a model file at all.
    fn needs_model_file(&self) -> bool;
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
    fn session(&self) -> Result<Box<dyn Session>>;
}

/// One running instance.
pub trait Session: Send {
    /// Computes all outputs in the signature's order, from inputs in the signature's order.
    ///
    /// The inputs were checked against the signature; a session may still fail on their values.
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>>;
}

/// The engines of this process, probed once at start.
pub struct Engines {
    default: BackendChoice,
    identity: Arc<dyn Backend>,
    onnxruntime: Result<Arc<dyn Backend>>,
    tract: Result<Arc<dyn Backend>>,
}

impl Engines {
    /// Loads ONNX Runtime from the first of `candidates` that is there, and sets up the others.
    ///
    /// `default` is what a model gets that asks for "auto".
    pub fn probe(default: BackendChoice, candidates: &[PathBuf]) -> Self {
        Self {
            default,
            identity: Arc::new(identity::Identity),
            onnxruntime: probe_onnxruntime(candidates),
            tract: probe_tract(),
        }
    }

    /// The engine for a model's wish, or why it is not to be had.
    pub fn choose(&self, wish: BackendChoice) -> Result<&Arc<dyn Backend>> {
        let wish = if wish == BackendChoice::Auto { self.default } else { wish };
        match wish {
            BackendChoice::Identity => Ok(&self.identity),
            BackendChoice::Onnxruntime => self.onnxruntime.as_ref().map_err(Error::clone),
            BackendChoice::Tract => self.tract.as_ref().map_err(Error::clone),
            BackendChoice::Auto => {
                let both = |error: &Error| error.clone();
                self.onnxruntime.as_ref().or(self.tract.as_ref()).map_err(both)
            }
        }
    }

    /// Why ONNX Runtime does not serve, where it does not.
    pub fn onnxruntime_missing(&self) -> Option<&Error> {
        self.onnxruntime.as_ref().err()
    }

    /// The names of the engines that can serve.
    pub fn available(&self) -> Vec<&'static str> {
        let found = [self.onnxruntime.as_ref().ok(), self.tract.as_ref().ok()];
        found.into_iter().flatten().chain([&self.identity]).map(|engine| engine.name()).collect()
    }
}

#[cfg(feature = "onnxruntime")]
fn probe_onnxruntime(candidates: &[PathBuf]) -> Result<Arc<dyn Backend>> {
    onnxruntime::OnnxRuntime::find(candidates).map(|engine| Arc::new(engine) as _)
}

#[cfg(not(feature = "onnxruntime"))]
fn probe_onnxruntime(_candidates: &[PathBuf]) -> Result<Arc<dyn Backend>> {
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

/// An engine's refusal to load: the caller learns that, the operator's log learns why.
#[cfg(any(feature = "onnxruntime", feature = "tract"))]
fn load_error(engine: &str, error: impl std::fmt::Display) -> Error {
    Error::invalid(format!("{engine} can not load the model: {}", one_line(&error.to_string())))
}

/// Engine messages can span lines and repeat whole graphs; a state reason is one bounded line.
#[cfg(any(feature = "onnxruntime", feature = "tract"))]
fn one_line(text: &str) -> String {
    const CHARS_MAX: usize = 400;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}
