//! Past-tense facts, and the traits through which lower floors tell them without knowing who
//! listens. `observe` is the one listener today.

use std::sync::Arc;
use std::time::Duration;

use crate::infer::Timings;
use crate::model::ModelId;

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
}

/// The engine ran once.
#[derive(Clone, Copy, Debug)]
pub struct BatchExecuted {
    pub rows: usize,
    pub requests: usize,
    /// The queue's part is each request's own, and 0 here.
    pub timings: Timings,
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
    /// How long loading took, once it is over.
    pub load: Option<Duration>,
}

/// Hears what happens to one version. Calls come from the hot path: they must not block.
pub trait VersionSink: Send + Sync {
    /// A request was admitted to the queue.
    fn request_queued(&self);
    /// `requests` left the queue, to run or to be dropped.
    fn requests_dequeued(&self, requests: usize);
    fn batch_executed(&self, batch: BatchExecuted);
    fn request_completed(&self, request: RequestCompleted);
    /// `total` is the time from the first byte to the failure.
    fn request_failed(&self, reason: FailureReason, total: Duration);
    /// A request did not fit the signature or contract, and never queued.
    fn request_invalid(&self);
}

/// Hears what happens in the server.
pub trait Observe: Send + Sync {
    /// A sink with all labels resolved, made once when a version is loaded.
    fn for_version(&self, id: &ModelId) -> Arc<dyn VersionSink>;
    fn version_state_changed(&self, change: &VersionStateChanged);
}

/// Hears nothing: for tools that load models without serving them, and for tests.
#[derive(Debug, Default)]
pub struct Unobserved;

impl VersionSink for Unobserved {
    fn request_queued(&self) {}
    fn requests_dequeued(&self, _requests: usize) {}
    fn batch_executed(&self, _batch: BatchExecuted) {}
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
