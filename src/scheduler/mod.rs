//! When to compute. A [`Scheduler`] admits requests to a bounded queue; worker threads, one per
//! instance, take batches from it and run them.
//!
//! Parts: `policy` (the knobs), `queue` (the decision, pure), `worker` (the effect).
//! What this room must not know: model tables, protocols, metrics back-ends. It tells facts to an
//! [`crate::event::VersionSink`] and answers each caller through a one-shot channel.

pub mod policy;
pub mod queue;
mod worker;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::backend::{Executable, Session};
use crate::error::{Error, ErrorKind, Result};
use crate::event::VersionSink;
use crate::infer::Computed;
use crate::tensor::Tensor;
use crate::tensor::batch::ShapeKey;
use policy::BatchPolicy;
use queue::Entry;
use worker::{Job, Shared};

/// Admits the requests of one version and owns its worker threads.
///
/// Dropping it lets the workers finish what is queued and then end; nobody waits for them.
pub struct Scheduler {
    shared: Arc<Shared>,
    model: String,
    policy: BatchPolicy,
    instances: usize,
}

impl Scheduler {
    /// Starts one worker per session.
    pub fn start(
        model: &str,
        executable: Arc<dyn Executable>,
        sessions: Vec<Box<dyn Session>>,
        policy: BatchPolicy,
        sink: Arc<dyn VersionSink>,
    ) -> Result<Self> {
        let instances = sessions.len();
        let shared = Arc::new(Shared::new(policy, executable, sessions, sink));
        let scheduler = Self { shared, model: model.to_owned(), policy, instances };
        for index in 0..instances {
            let shared = Arc::clone(&scheduler.shared);
            std::thread::Builder::new()
                .name(format!("{model}#{index}"))
                .spawn(move || worker::run(&shared))
                .map_err(|error| {
                    Error::internal("a worker thread could not be started").with_detail(error)
                })?;
        }
        Ok(scheduler)
    }

    pub fn policy(&self) -> BatchPolicy {
        self.policy
    }

    pub fn instances(&self) -> usize {
        self.instances
    }

    /// Admits a request, or refuses it at once: too many rows, a full queue, a closed door.
    ///
    /// The inputs were checked against the signature. Dropping the result cancels the request.
    pub fn submit(&self, inputs: Vec<Tensor>, deadline: Instant) -> Result<Pending> {
        let rows = self.rows(&inputs)?;
        let (reply, answer) = oneshot::channel();
        let now = Instant::now();
        let entry = Entry {
            key: ShapeKey::of(&inputs),
            payload: Job { inputs, reply },
            rows,
            enqueued_at: now,
            deadline,
        };
        let admitted = self.shared.admit(entry, now).map_err(|refusal| match refusal {
            worker::Refusal::Full => self.overloaded(),
            worker::Refusal::Closed => {
                Error::not_ready(format!("model '{}' is being unloaded", self.model))
            }
        })?;
        if let worker::Admitted::Lead(entry, slot) = admitted {
            self.shared.lead(entry, slot);
        }
        Ok(Pending { answer })
    }

    /// Rows of a request: equal in all its tensors, and no more than a batch may have.
    fn rows(&self, inputs: &[Tensor]) -> Result<usize> {
        let max = self.policy.batch_size_max;
        if max == 0 {
            return Ok(1);
        }
        let rows = inputs.first().map_or(0, Tensor::rows);
        if inputs.iter().any(|input| input.rows() != rows) {
            return Err(Error::invalid(format!(
                "all inputs of model '{}' must have the same batch size (their first extent)",
                self.model
            )));
        }
        if rows > max {
            return Err(Error::invalid(format!(
                "inference request batch-size must be <= {max} for '{}'",
                self.model
            )));
        }
        Ok(rows)
    }

    fn overloaded(&self) -> Error {
        let waiting = u32::try_from(self.policy.queue_depth_max).unwrap_or(u32::MAX);
        let instances = u32::try_from(self.instances.max(1)).unwrap_or(1);
        let each = Duration::from_nanos(self.shared.request_ns.load(Ordering::Relaxed));
        let message = format!("Exceeds maximum queue size for model '{}'", self.model);
        Error::new(ErrorKind::Overloaded, message).with_retry_after(each * waiting / instances)
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// A request in the queue or at work. Dropping it tells the queue that its caller left.
pub struct Pending {
    answer: oneshot::Receiver<Result<Computed>>,
}

impl Pending {
    /// The answer, or a timely error at the deadline, whatever the engine is busy with.
    pub async fn wait(self, deadline: Instant) -> Result<Computed> {
        match tokio::time::timeout_at(deadline.into(), self.answer).await {
            Ok(Ok(answer)) => answer,
            // The worker dropped the reply: it can only do so when its thread is torn down.
            Ok(Err(_)) => Err(Error::internal("the model stopped before it answered")),
            Err(_) => Err(Error::deadline()),
        }
    }
}

#[cfg(test)]
mod tests;
