//! Past-tense facts, and the traits through which lower floors tell them without knowing who
//! listens. `observe` is the one listener today.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::error::Result;
use crate::infer::{SpanId, Timings, TokenCount};
use crate::model::performance::Outcome;
use crate::model::{Contract, ModelId, Profile};
use crate::tensor::Tensor;

/// Why a request failed, in Triton's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureReason {
    /// The queue was full, or the deadline passed before the engine ran.
    Rejected,
    /// The caller left.
    Canceled,
    /// The engine failed.
    Backend,
    Other,
}

impl FailureReason {
    pub const ALL: [FailureReason; 4] = [
        FailureReason::Rejected,
        FailureReason::Canceled,
        FailureReason::Backend,
        FailureReason::Other,
    ];

    /// The label's value, as Triton exports it.
    pub fn label(self) -> &'static str {
        match self {
            FailureReason::Rejected => "REJECTED",
            FailureReason::Canceled => "CANCELED",
            FailureReason::Backend => "BACKEND",
            FailureReason::Other => "OTHER",
        }
    }
}

/// A request was answered.
#[derive(Clone, Copy, Debug)]
pub struct RequestCompleted {
    pub rows: usize,
    /// From the first byte at the door to the answer.
    pub total: Duration,
    pub timings: Timings,
    /// Whether anything was computed: an answer that was kept has no rows and no phases.
    pub computed: bool,
}

/// A request was looked for among the kept answers.
#[derive(Clone, Copy, Debug)]
pub struct CacheLookedUp {
    /// Its answer was there, or was being computed for an equal request.
    pub hit: bool,
    /// Looking, with waiting for the other request, or with keeping the new answer.
    pub time: Duration,
}

/// A shadow's answer was compared with the one that was given.
#[derive(Clone, Copy, Debug)]
pub struct ShadowCompared {
    pub rows: u64,
    /// Rows in which every output agrees.
    pub agreeing: u64,
}

/// The engine ran once.
#[derive(Clone, Copy, Debug)]
pub struct BatchExecuted {
    pub rows: usize,
    pub requests: usize,
    /// The queue's part is each request's own, and 0 here.
    pub timings: Timings,
    /// From an engine that computes text; zeros from others.
    pub tokens: TokenCount,
}

/// The engine ran, for at least one request whose spans are recorded.
#[derive(Clone, Debug)]
pub struct BatchTraced {
    pub span: SpanId,
    /// When it left the queue.
    pub begun: Instant,
    /// The queue's part is 0.
    pub timings: Timings,
    pub rows: usize,
    pub requests: usize,
    /// Spans of its requests, as far as they are recorded: the first of them.
    pub members: Vec<SpanId>,
    /// More such requests.
    pub members_left_out: usize,
    pub failed: bool,
}

/// Where a version stands was changed.
#[derive(Clone, Debug)]
pub struct VersionStateChanged {
    pub id: ModelId,
    /// The new state's name.
    pub state: &'static str,
    pub ready: bool,
    /// It is gone from memory.
    pub gone: bool,
    /// Why, where there is more to say.
    pub reason: Option<String>,
    /// What loading took, once it is over.
    pub load: Option<LoadCost>,
}

/// What a load took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadCost {
    /// From the first byte to readiness.
    pub time: Duration,
    /// Growth of resident memory in bytes, where it could be measured.
    pub memory_bytes: Option<u64>,
}

/// What an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertKind {
    /// What is served is distributed otherwise than what was trained on.
    Drift,
    /// Values are missing, out of range, new or of another unit.
    Quality,
    /// Answers do worse than they are declared to.
    Performance,
}

impl AlertKind {
    pub fn name(self) -> &'static str {
        match self {
            AlertKind::Drift => "drift",
            AlertKind::Quality => "quality",
            AlertKind::Performance => "performance",
        }
    }
}

/// An alert of a version began or ended.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertChanged {
    pub id: ModelId,
    pub kind: AlertKind,
    /// When it ended; `None` while it is on.
    pub ended: Option<SystemTime>,
    pub began: SystemTime,
    /// Why it is on, or was: names and aggregates, never a payload's value.
    pub reasons: Vec<String>,
}

/// Hears of alerts. Calls come from threads that measure: they must not block.
pub trait Alarm: Send + Sync {
    fn alert_changed(&self, change: AlertChanged);
}

/// Hears of engine runs whose spans are recorded. Calls come from the threads that run engines:
/// they must not block.
pub trait Tracer: Send + Sync {
    fn batch_traced(&self, id: &ModelId, batch: BatchTraced);
}

/// Hears what happens to one version. Calls come from the hot path: they must not block.
pub trait VersionSink: Send + Sync {
    /// A request was admitted to the queue.
    fn request_queued(&self);
    /// `requests` left the queue, to run or to be dropped.
    fn requests_dequeued(&self, requests: usize);
    fn batch_executed(&self, batch: BatchExecuted);
    /// Beside [`VersionSink::batch_executed`], or in its place where the run failed; only where a
    /// request's spans are recorded.
    fn batch_traced(&self, _batch: BatchTraced) {}
    fn cache_looked_up(&self, lookup: CacheLookedUp);
    fn shadow_compared(&self, comparison: ShadowCompared);
    fn request_completed(&self, request: RequestCompleted);
    /// `total` is the time from the first byte to the failure.
    fn request_failed(&self, reason: FailureReason, total: Duration);
    /// A request did not fit the signature or contract, and never queued.
    fn request_invalid(&self);
}

/// Sees what a version was asked and what it answered, to hold it against its training data. Called
/// on the path of requests: it must not block.
pub trait Watch: Send + Sync {
    /// Inputs and outputs of one request, all of the signature's, in its order.
    fn answered(&self, inputs: &[Tensor], outputs: &[Tensor]);
}

/// Remembers what a version answered until somebody says what became true. Called on the path of
/// requests: it must not block.
pub trait Remember: Send + Sync {
    /// All outputs of one answer, in the signature's order.
    fn answered(&self, request_id: &str, outputs: &[Tensor]);
}

/// Hears what happens in the server.
pub trait Observe: Send + Sync {
    /// A sink with all labels resolved, made once when a version is loaded.
    fn for_version(&self, id: &ModelId) -> Arc<dyn VersionSink>;
    fn version_state_changed(&self, change: &VersionStateChanged);
    /// Somebody who watches a version that has a profile, if anybody does.
    fn watch(&self, _: &ModelId, _: &Profile, _: &Contract) -> Result<Option<Arc<dyn Watch>>> {
        Ok(None)
    }
    /// Somebody who remembers the answers of a version that declares it, if anybody does. The text
    /// tells its model file from others; it is empty for an engine that has none.
    fn remember(&self, _: &ModelId, _: Outcome, _: &str) -> Option<Arc<dyn Remember>> {
        None
    }
}

/// Hears nothing: for tools that load models without serving them, and for tests.
#[derive(Debug, Default)]
pub struct Unobserved;

impl VersionSink for Unobserved {
    fn request_queued(&self) {}
    fn requests_dequeued(&self, _requests: usize) {}
    fn batch_executed(&self, _batch: BatchExecuted) {}
    fn cache_looked_up(&self, _lookup: CacheLookedUp) {}
    fn shadow_compared(&self, _comparison: ShadowCompared) {}
    fn request_completed(&self, _request: RequestCompleted) {}
    fn request_failed(&self, _reason: FailureReason, _total: Duration) {}
    fn request_invalid(&self) {}
}

impl Observe for Unobserved {
    fn for_version(&self, _id: &ModelId) -> Arc<dyn VersionSink> {
        Arc::new(Unobserved)
    }

    fn version_state_changed(&self, _change: &VersionStateChanged) {}
}
