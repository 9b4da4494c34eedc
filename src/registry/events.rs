//! What the worker hears: from its load threads, and from callers.

use super::lifecycle::VersionState;
use super::manager::{LoadOrder, Reply, TrafficCall};
use super::model::Key;
use super::servable::Servable;
use crate::error::Result;
use crate::model::{Label, ModelId, ModelName, Version};

/// What the worker hears.
pub enum Event {
    Entered(ModelId, VersionState),
    Done(ModelId, Key, Box<Result<Servable>>),
    Load {
        model: ModelName,
        order: Box<LoadOrder>,
        reply: Reply,
    },
    Unload {
        model: ModelName,
        dependents: bool,
        reply: Reply,
    },
    Label {
        model: ModelName,
        label: Label,
        version: Option<Version>,
        reply: Reply,
    },
    Traffic {
        model: ModelName,
        call: Box<TrafficCall>,
        reply: Reply,
    },
    /// Nobody is left who could ask for anything.
    Stop,
}
