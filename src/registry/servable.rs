//! What a version is while it serves. The last handle that drops it ends its workers and frees it.

use std::sync::Arc;
use std::time::Duration;

use crate::event::VersionSink;
use crate::model::{Contract, Examples, ModelId, Signature};
use crate::scheduler::Scheduler;

/// A loaded version with everything a request needs of it.
pub struct Servable {
    pub id: ModelId,
    pub signature: Signature,
    pub contract: Contract,
    pub description: Option<String>,
    /// The engine's name.
    pub backend: &'static str,
    /// The engine's platform string, for metadata.
    pub platform: &'static str,
    /// SHA-256 of the model file; `None` for an engine that has none.
    pub digest: Option<String>,
    /// Rows with known answers, for documents and tests.
    pub examples: Option<Examples>,
    pub scheduler: Scheduler,
    pub sink: Arc<dyn VersionSink>,
    /// How long it took from the first byte to readiness.
    pub loaded_in: Duration,
}
