//! candle: transformers from their own files, in the layout in which Hugging Face's libraries save
//! them, with no conversion and no Python. Text in, or tokens; vectors, classes or entities out.
//!
//! | file | what is in it |
//! |---|---|
//! | `description` | what the model's configuration files say |
//! | `weights` | tensors of the safetensors file by name |
//! | `text`, `pack` | from texts to tokens, and from sequences to one pass without padding |
//! | `encoder`, `modern`, `vision` | one architecture each |
//! | `attention`, `heads`, `kernels` | what they share |
//! | `entities` | what a token classifier found, in words |
//! | `model` | what the server sees: signature, sessions, inputs and outputs |
//! | `device` | which device it is computed on |
//! | `threads` | the one pool that all models of this engine compute on |
//!
//! All sessions of a model compute with the same weights, which are never written to.

mod attention;
mod description;
mod device;
mod encoder;
mod entities;
mod heads;
mod kernels;
mod model;
mod modern;
mod pack;
mod text;
mod threads;
mod vision;
mod weights;

use std::sync::Arc;

use self::threads::Threads;
use super::{Backend, Executable, ModelSource, load_error};
use crate::error::Result;

const NAME: &str = "candle";

#[derive(Default)]
pub struct Candle {
    threads: Threads,
}

impl Backend for Candle {
    fn name(&self) -> &'static str {
        NAME
    }

    fn platform(&self) -> &'static str {
        "candle_safetensors"
    }

    fn model_file(&self) -> Option<&'static str> {
        Some("model.safetensors")
    }

    fn reads_beside(&self) -> &'static [&'static str] {
        description::BESIDE
    }

    fn load(&self, source: &ModelSource<'_>) -> Result<Arc<dyn Executable>> {
        let pool = self.threads.pool(source.manifest.engine.threads)?;
        Ok(Arc::new(model::Model::load(source, pool)?))
    }
}
