//! What a version is while it serves. The last handle that drops it ends its workers and frees it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::loader::model_file;
use super::table::TableLink;
use crate::cache::VersionCache;
use crate::event::{LoadCost, Remember, VersionSink, Watch};
use crate::model::device::Device;
use crate::model::ensemble::Plan;
use crate::model::triton_config::TritonConfig;
use crate::model::triton_config::json::Served;
use crate::model::{Contract, Examples, Manifest, ModelId, Signature};
use crate::scheduler::Scheduler;
use crate::scheduler::policy::BatchPolicy;

/// A loaded version with everything a request needs of it.
pub struct Servable {
    pub id: ModelId,
    pub signature: Signature,
    pub contract: Contract,
    /// What was asked for, with what the model file decided filled in.
    pub manifest: Manifest,
    pub description: Option<String>,
    /// The engine's name.
    pub backend: &'static str,
    pub device: Device,
    /// The engine's platform string, for metadata.
    pub platform: &'static str,
    /// SHA-256 of the model file; `None` for an engine that has none.
    pub digest: Option<String>,
    /// Rows with known answers, for documents and tests.
    pub examples: Option<Examples>,
    pub work: Work,
    /// Answers that were given, where the model's configuration lets them be kept.
    pub cache: Option<VersionCache>,
    pub sink: Arc<dyn VersionSink>,
    /// Holds what it is asked and answers against its training data, where it has a profile.
    pub watch: Option<Arc<dyn Watch>>,
    /// Remembers its answers until they are labelled, where its configuration declares it.
    pub ledger: Option<Arc<dyn Remember>>,
    /// SHA-256 of the files that the model file names for its data, by their names.
    pub data: BTreeMap<String, String>,
    /// Size of the model file and of those; 0 for an engine that has none.
    pub file_bytes: u64,
    pub load: LoadCost,
}

/// What computes a version's answers.
pub enum Work {
    /// An engine, behind a queue of its own.
    Queue(Scheduler),
    /// Other models, each behind its own.
    Ensemble(Assembly),
}

/// Models joined to one. Each is looked up anew by every request, so that it may be replaced while
/// the ensemble serves.
pub struct Assembly {
    pub plan: Plan,
    pub models: TableLink,
    /// Of which an ensemble keeps the most rows in one request.
    pub policy: BatchPolicy,
}

impl Servable {
    /// Most rows in one request; 0 where a request is one inference.
    pub fn batch_size_max(&self) -> usize {
        self.policy().batch_size_max
    }

    pub fn policy(&self) -> &BatchPolicy {
        match &self.work {
            Work::Queue(scheduler) => scheduler.policy(),
            Work::Ensemble(assembly) => &assembly.policy,
        }
    }

    /// Sessions that run side by side; none for an ensemble.
    pub fn instances(&self) -> usize {
        match &self.work {
            Work::Queue(scheduler) => scheduler.instances(),
            Work::Ensemble(_) => 0,
        }
    }

    /// Says that it answers from now on, and with what.
    pub fn log_ready(&self) {
        tracing::info!(
            model = %self.id.name,
            version = self.id.version.number(),
            backend = self.backend,
            device = %self.device,
            batch_size_max = self.batch_size_max(),
            instances = self.instances(),
            sha256 = self.digest.as_deref(),
            load_ms = u64::try_from(self.load.time.as_millis()).unwrap_or(u64::MAX),
            file_bytes = self.file_bytes,
            memory_bytes = self.load.memory_bytes,
            "version ready"
        );
    }

    /// Name of the model file in the version's folder.
    pub fn model_file(&self) -> &str {
        model_file(&self.manifest)
    }

    /// How it is served, in Triton's terms.
    pub fn triton_config(&self) -> TritonConfig {
        let has_file = self.digest.is_some();
        let served = Served {
            name: self.id.name.as_str(),
            manifest: &self.manifest,
            signature: &self.signature,
            batch_size_max: self.batch_size_max(),
            instances: self.instances(),
            device: self.device,
            backend: self.backend,
            platform: self.platform,
            model_file: if has_file { self.model_file() } else { "" },
        };
        served.to_config()
    }
}
