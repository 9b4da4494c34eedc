//! When to compute. A [`Scheduler`] admits requests to a bounded queue; worker threads, one per
//! instance, take batches from it and run them.
//!
//! Parts: `policy` (the knobs), `queue` (the decision, pure), `pace` (how long it may wait for a
//! latency target, pure), `growth` (how large a batch is worth being, pure), `worker` (the effect),
//! `traced` (what a batch's span is to tell).
//! What this room must not know: model tables, protocols, metrics back-ends. It tells facts to an
//! [`crate::event::VersionSink`] and answers each caller through a one-shot channel.

mod growth;
mod pace;
pub mod policy;
pub mod queue;
mod traced;
mod worker;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::backend::{Executable, Session};
use crate::error::{Error, ErrorKind, Result};
use crate::event::VersionSink;
use crate::infer::{Computed, SpanId};
use crate::tensor::Tensor;
use crate::tensor::batch::ShapeKey;
use policy::{BatchPolicy, QueuePolicy};
use queue::Entry;
use worker::{Job, Shared};

/// What a request asks of the queue.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    pub received_at: Instant,
    /// When nobody waits for the answer any more, whatever the caller asked for.
    pub deadline: Instant,
    /// 1 is the most urgent; 0 means the model's default.
    pub priority: u64,
    /// The caller's own bound on its wait.
    pub timeout: Option<Duration>,
    /// The request's span, where spans of it are recorded.
    pub span: Option<SpanId>,
}

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
        let shared = Arc::new(Shared::new(policy.clone(), executable, sessions, sink));
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

    pub fn policy(&self) -> &BatchPolicy {
        &self.policy
    }

    pub fn instances(&self) -> usize {
        self.instances
    }

    /// Refuses what [`submit`](Self::submit) would refuse for a full queue, whatever it is: before
    /// it is decoded, which can cost more than to compute it.
    pub fn expect_room(&self) -> Result<()> {
        if self.shared.is_full(Instant::now()) { Err(self.overloaded()) } else { Ok(()) }
    }

    /// Admits a request, or refuses it at once: too many rows, a full queue, a closed door.
    ///
    /// The inputs were checked against the signature. Dropping the result cancels the request.
    pub fn submit(&self, inputs: Vec<Tensor>, terms: Terms) -> Result<Pending> {
        let rows = rows_of(&self.model, self.policy.batch_size_max, &inputs)?;
        let (reply, answer) = oneshot::channel();
        let now = Instant::now();
        let level = self.policy.level(terms.priority);
        let policy = self.policy.levels.get(level);
        let deadline = deadline(policy, &terms);
        let entry = Entry {
            key: ShapeKey::of(&inputs),
            payload: Job { inputs, reply, span: terms.span.map(Box::new) },
            rows,
            enqueued_at: now,
            deadline,
            late_at: policy.and_then(|policy| policy.late_at(now, terms.timeout)),
        };
        let admitted = self.shared.admit(entry, level, now).map_err(|refusal| match refusal {
            worker::Refusal::Full => self.overloaded(),
            worker::Refusal::Closed => {
                Error::not_ready(format!("model '{}' is being unloaded", self.model))
            }
        })?;
        let unattended = match admitted {
            worker::Admitted::Lead(entry, slot) => {
                self.shared.lead(entry, slot);
                None
            }
            worker::Admitted::Unattended => Some(Unattended(Some(Arc::clone(&self.shared)))),
            worker::Admitted::Queued => None,
        };
        Ok(Pending { answer, deadline, unattended })
    }

    fn overloaded(&self) -> Error {
        let waiting = u32::try_from(self.policy.queue_depth_max).unwrap_or(u32::MAX);
        let instances = u32::try_from(self.instances.max(1)).unwrap_or(1);
        let each = Duration::from_nanos(self.shared.request_ns.load(Ordering::Relaxed));
        let message = format!("Exceeds maximum queue size for model '{}'", self.model);
        Error::new(ErrorKind::Overloaded, message).with_retry_after(each * waiting / instances)
    }
}

/// Rows of a request: equal in all its tensors, and no more than a batch may have. 1 where there is
/// no batch axis (`max` is 0).
pub fn rows_of(model: &str, max: usize, inputs: &[Tensor]) -> Result<usize> {
    if max == 0 {
        return Ok(1);
    }
    let rows = inputs.first().map_or(0, Tensor::rows);
    if inputs.iter().any(|input| input.rows() != rows) {
        return Err(Error::invalid(format!(
            "all inputs of model '{model}' must have the same batch size (their first extent)"
        )));
    }
    if rows > max {
        return Err(Error::invalid(format!(
            "inference request batch-size must be <= {max} for '{model}'"
        )));
    }
    Ok(rows)
}

/// When the caller is gone: at its own time-out, too, unless the level's policy reads that as the
/// time from which the request is less urgent.
fn deadline(policy: Option<&QueuePolicy>, terms: &Terms) -> Instant {
    if policy.is_some_and(QueuePolicy::takes_over) {
        return terms.deadline;
    }
    let own = terms.timeout.and_then(|timeout| terms.received_at.checked_add(timeout));
    own.map_or(terms.deadline, |own| own.min(terms.deadline))
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// A request in the queue or at work. Dropping it tells the queue that its caller left.
pub struct Pending {
    answer: oneshot::Receiver<Result<Computed>>,
    deadline: Instant,
    unattended: Option<Unattended>,
}

impl Pending {
    /// The answer, or a timely error at the deadline, whatever the engine is busy with.
    pub async fn wait(self) -> Result<Computed> {
        if let Some(unattended) = self.unattended {
            // Whatever else is ready to run on this thread comes first, and may bring company.
            tokio::task::yield_now().await;
            unattended.help();
        }
        match tokio::time::timeout_at(self.deadline.into(), self.answer).await {
            Ok(Ok(answer)) => answer,
            // The worker dropped the reply: it can only do so when its thread is torn down.
            Ok(Err(_)) => Err(Error::internal("the model stopped before it answered")),
            Err(_) => Err(Error::deadline()),
        }
    }
}

/// A request that nobody was woken for: its caller runs it, with what came meanwhile, or a worker
/// where the caller leaves before.
struct Unattended(Option<Arc<Shared>>);

impl Unattended {
    fn help(mut self) {
        if let Some(shared) = self.0.take() {
            shared.help();
        }
    }
}

impl Drop for Unattended {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.wake_worker();
        }
    }
}

#[cfg(test)]
mod tests;
