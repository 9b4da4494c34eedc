//! The effect side of scheduling: threads that take batches, run them, and answer every caller.
//!
//! No caller hangs: a request is in exactly one place, and each place ends in an answer.
//! - *Queued*: taken by a worker, or dropped by the queue with a verdict, or (when the scheduler
//!   closes) run by a worker before it ends; workers end only on an empty, closed queue.
//! - *Led* by the thread that brought it (a quick model with nobody waiting): run at once, with a
//!   free session that nobody else holds. What queues meanwhile is run by the leader, or left to a
//!   worker, which the leader wakes when it gives the session back.
//! - *Unattended* (a quick model, requests that come together): queued, and nobody is woken. Each
//!   caller lets others bring theirs, and then helps, if none of them has: runs what waits. One
//!   that leaves before wakes a worker in its place.
//! - *In a batch*: `execute` answers every entry on success, on failure (after trying each alone),
//!   and on a panic of the engine, which is caught and counts as failure.
//! - Should a worker thread be torn down all the same, its entries' reply channels are dropped,
//!   which the waiting side sees as an internal error; and the waiting side has its own deadline.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::policy::BatchPolicy;
use super::queue::{BatchQueue, Dropped, Entry, Next, Waiter};
use super::traced::Traced;
use crate::backend::{Executable, Session};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{BatchExecuted, VersionSink};
use crate::infer::{Computed, SpanId, Timings};
use crate::model::device::Device;
use crate::tensor::{Tensor, batch};

/// One caller's tensors and the way back to the caller.
pub struct Job {
    pub inputs: Vec<Tensor>,
    pub reply: oneshot::Sender<Result<Computed>>,
    /// Where spans are recorded; boxed, as it is seldom there and jobs are moved often.
    pub span: Option<Box<SpanId>>,
}

impl Job {
    fn span(&self) -> Option<SpanId> {
        self.span.as_deref().copied()
    }
}

impl Waiter for Job {
    fn has_left(&self) -> bool {
        self.reply.is_closed()
    }
}

/// What all workers of a version share.
pub struct Shared {
    state: Mutex<State>,
    /// Signalled when a request arrives and when the scheduler closes.
    arrived: Condvar,
    /// To open a new session after one panicked.
    executable: Arc<dyn Executable>,
    sink: Arc<dyn VersionSink>,
    /// Moving average of engine time per request, for `Retry-After`.
    pub request_ns: AtomicU64,
    /// Moving average of a whole run, to tell the models that are quicker than a change of thread.
    run_ns: AtomicU64,
    /// Set where the queue was seen to be full: it may be still.
    was_full: AtomicBool,
    /// Whether a request may be run by the thread that brings it: the policy lets it run the moment
    /// it comes, and no GPU is waited for, which keeps things of its own for each thread.
    may_lead: bool,
}

struct State {
    queue: BatchQueue<Job>,
    open: bool,
    /// Sessions that nobody uses: whoever runs a batch takes one, and gives it back.
    free: Vec<Slot>,
    /// Moving share, in 65536ths, of requests that came while others waited or ran. Requests that
    /// come together are cheaper in one batch than in runs of their own.
    company: u32,
}

impl State {
    fn learn(&mut self, ran: Option<Ran>) {
        if let Some(Ran { rows, bytes, took }) = ran {
            self.queue.ran(rows, bytes, took);
        }
    }
}

/// From here on (one in eight), requests wait for those that come with them.
const COMPANY_MAX: u32 = 65_536 / 8;

/// A session, or the place of one that broke and is opened again before the next run.
type Slot = Option<Box<dyn Session>>;

/// A model this quick is run by the thread that brings the request: handing it to a worker and the
/// answer back costs two wake-ups, which are more than the run. Far below what would be felt on a
/// runtime thread.
const LEAD_NS_MAX: u64 = 50_000;
/// How long a thread that runs its own request may go on with those that came meanwhile.
const LEAD_TIME_MAX: Duration = Duration::from_micros(200);

/// What became of a request at the door of the queue.
pub enum Admitted {
    /// Whoever will run it knows of it.
    Queued,
    /// Nobody was woken for it: the caller is to [`help`](Shared::help) in a moment.
    Unattended,
    /// The caller is to run it, with this.
    Lead(Entry<Job>, Slot),
}

/// Why a request was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Full,
    Closed,
}

type DroppedJobs = Vec<(Entry<Job>, Dropped)>;

impl Shared {
    pub fn new(
        policy: BatchPolicy,
        executable: Arc<dyn Executable>,
        sessions: Vec<Box<dyn Session>>,
        sink: Arc<dyn VersionSink>,
    ) -> Self {
        let free = sessions.into_iter().map(Some).collect();
        let may_lead = !policy.delays() && executable.device() == Device::Cpu;
        let state = State { queue: BatchQueue::new(policy), open: true, free, company: 0 };
        Self {
            state: Mutex::new(state),
            arrived: Condvar::new(),
            executable,
            sink,
            request_ns: AtomicU64::new(1_000_000),
            // Unknown is slow: the workers find out.
            run_ns: AtomicU64::new(1_000_000),
            was_full: AtomicBool::new(false),
            may_lead,
        }
    }

    pub fn admit(
        &self,
        entry: Entry<Job>,
        level: usize,
        now: Instant,
    ) -> std::result::Result<Admitted, Refusal> {
        let mut dropped = Vec::new();
        let is_quick = self.may_lead && self.run_ns.load(Ordering::Relaxed) < LEAD_NS_MAX;
        let all_busy;
        let admitted = {
            let mut state = self.lock();
            if !state.open {
                return Err(Refusal::Closed);
            }
            all_busy = state.free.is_empty();
            let met = all_busy || !state.queue.is_empty();
            state.company = state.company - state.company / 16 + u32::from(met) * 4096;
            if is_quick
                && !met
                && state.company < COMPANY_MAX
                && let Some(slot) = state.free.pop()
            {
                return Ok(Admitted::Lead(entry, slot));
            }
            // Counted under the lock, so that a worker's "dequeued" can not come before it.
            let admitted = state.queue.push(entry, level, now, &mut dropped).is_ok();
            if admitted {
                self.sink.request_queued();
            }
            if state.queue.has_no_place() {
                self.was_full.store(true, Ordering::Relaxed);
            }
            admitted
        };
        self.answer_dropped(dropped);
        if !admitted {
            return Err(Refusal::Full);
        }
        // Whoever gives a session back looks at the queue; a worker could do nothing before.
        if all_busy {
            return Ok(Admitted::Queued);
        }
        if is_quick {
            return Ok(Admitted::Unattended);
        }
        self.wake_worker();
        Ok(Admitted::Queued)
    }

    /// Whether a request would be refused for a full queue, whatever it says. Takes no lock while
    /// the queue was not seen to be full.
    pub fn is_full(&self, now: Instant) -> bool {
        if !self.was_full.load(Ordering::Relaxed) {
            return false;
        }
        let mut dropped = Vec::new();
        let is_full = {
            let mut state = self.lock();
            // A closed one refuses for another reason.
            state.open && state.queue.is_full(now, &mut dropped)
        };
        self.answer_dropped(dropped);
        self.was_full.store(is_full, Ordering::Relaxed);
        is_full
    }

    pub fn wake_worker(&self) {
        self.arrived.notify_one();
    }

    /// Runs a request on the thread that brought it, and what came meanwhile, for a little while.
    pub fn lead(&self, entry: Entry<Job>, slot: Slot) {
        let begun = Instant::now();
        let mut instance = Instance::new(self, slot);
        instance.execute(vec![entry]);
        self.go_on(begun, instance);
    }

    /// Runs what waits on this thread, for a little while, unless somebody is at it.
    pub fn help(&self) {
        let slot = self.lock().free.pop();
        if let Some(session) = slot {
            self.go_on(Instant::now(), Instance::new(self, session));
        }
    }

    fn go_on(&self, begun: Instant, mut instance: Instance<'_>) {
        loop {
            let mut dropped = Vec::new();
            let mut state = self.lock();
            state.learn(instance.ran.take());
            let now = Instant::now();
            let next = if now - begun < LEAD_TIME_MAX {
                state.queue.next(now, &mut dropped)
            } else {
                Next::Idle
            };
            let Next::Run(batch) = next else {
                state.free.push(instance.session.take());
                let wakes = !state.queue.is_empty() || !state.open;
                drop(state);
                self.answer_dropped(dropped);
                if wakes {
                    self.wake_worker();
                }
                return;
            };
            drop(state);
            self.dequeued(&batch);
            self.answer_dropped(dropped);
            instance.execute(batch);
        }
    }

    pub fn close(&self) {
        self.lock().open = false;
        self.arrived.notify_all();
    }

    /// The next batch for a worker, with a session; `None` when there will never be one again.
    /// `used` is the session of the batch before, and what it took.
    fn next_batch(&self, used: Option<(Slot, Option<Ran>)>) -> Option<(Vec<Entry<Job>>, Slot)> {
        let mut state = self.lock();
        if let Some((slot, ran)) = used {
            state.free.push(slot);
            state.learn(ran);
        }
        state.queue.expect(Duration::from_nanos(self.run_ns.load(Ordering::Relaxed)));
        loop {
            let Some(slot) = state.free.pop() else {
                if !state.open && state.queue.is_empty() {
                    return None;
                }
                state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let mut dropped = Vec::new();
            let next = state.queue.next(Instant::now(), &mut dropped);
            if !dropped.is_empty() {
                // Answering wakes callers; do it outside the lock, then look again.
                drop(state);
                self.answer_dropped(dropped);
                if let Next::Run(batch) = next {
                    self.dequeued(&batch);
                    return Some((batch, slot));
                }
                state = self.lock();
                state.free.push(slot);
                continue;
            }
            if let Next::Run(batch) = next {
                self.dequeued(&batch);
                return Some((batch, slot));
            }
            state.free.push(slot);
            match next {
                Next::Run(_) => {}
                Next::Idle if !state.open => return None,
                Next::Idle => {
                    state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                Next::Wait(until) => {
                    let patience = until.saturating_duration_since(Instant::now());
                    let waited = self.arrived.wait_timeout(state, patience);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    fn dequeued(&self, batch: &[Entry<Job>]) {
        self.sink.requests_dequeued(batch.len());
    }

    fn answer_dropped(&self, dropped: DroppedJobs) {
        for (entry, verdict) in dropped {
            self.sink.requests_dequeued(1);
            let error = match verdict {
                Dropped::Expired => Error::deadline(),
                Dropped::CallerLeft => Error::new(ErrorKind::Cancelled, "the caller left"),
            };
            answer(entry, Err(error));
        }
    }

    /// The queue stays whole when a thread panics while holding it: no operation on it is left
    /// half done by a panic of ours, so a poisoned lock is only a flag.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The life of a worker thread.
pub fn run(shared: &Shared) {
    let mut used = None;
    while let Some((batch, slot)) = shared.next_batch(used.take()) {
        let mut instance = Instance::new(shared, slot);
        instance.execute(batch);
        used = Some((instance.session, instance.ran));
    }
    // The last one out may leave others waiting for a session.
    shared.arrived.notify_all();
}

/// One session and how to get another when it breaks.
struct Instance<'a> {
    shared: &'a Shared,
    session: Option<Box<dyn Session>>,
    /// The batch that it ran last, until the queue has heard of it.
    ran: Option<Ran>,
}

/// What a batch took.
struct Ran {
    rows: usize,
    bytes: usize,
    took: Duration,
}

impl<'a> Instance<'a> {
    fn new(shared: &'a Shared, session: Slot) -> Self {
        Self { shared, session, ran: None }
    }

    /// Runs a batch and answers every entry of it.
    fn execute(&mut self, batch: Vec<Entry<Job>>) {
        let begun = Instant::now();
        let inputs: Vec<&[Tensor]> = batch.iter().map(|e| e.payload.inputs.as_slice()).collect();
        let joined = batch::concat(&inputs);
        let bytes = joined.iter().map(|tensor| tensor.data().len()).sum();
        let joined_at = Instant::now();
        let outcome = self.compute(&joined);
        let computed_at = Instant::now();
        let rows: Vec<usize> = batch.iter().map(|entry| entry.rows).collect();
        let mut traced = Traced::of(batch.iter().map(|entry| entry.payload.span()), begun);
        let parts = outcome.and_then(|outputs| match rows.as_slice() {
            // A lone request takes the engine's answer as it is, whatever its extents.
            [_] => Ok(vec![outputs]),
            rows => batch::split(&outputs, rows),
        });
        let batch_rows = rows.iter().sum();
        let timings = Timings {
            queue: Duration::ZERO,
            compute_input: joined_at - begun,
            compute_infer: computed_at - joined_at,
            compute_output: computed_at.elapsed(),
        };
        if let Some(traced) = &mut traced {
            self.shared.sink.batch_traced(traced.told(batch_rows, timings, parts.is_err()));
        }
        match parts {
            Ok(parts) => {
                let took = timings.compute_input + timings.compute_infer + timings.compute_output;
                self.ran = Some(Ran { rows: batch_rows, bytes, took });
                self.executed(batch_rows, batch.len(), timings);
                for (entry, outputs) in batch.into_iter().zip(parts) {
                    let timings = Timings { queue: begun - entry.enqueued_at, ..timings };
                    let runs = Traced::run(traced.as_ref(), entry.payload.span(), timings);
                    answer(entry, Ok(Computed { outputs, timings, batch_rows, runs }));
                }
            }
            Err(error) => self.fail(batch, error),
        }
    }

    /// One bad request must not take its neighbours down: each gets a run of its own.
    fn fail(&mut self, batch: Vec<Entry<Job>>, error: Error) {
        if let [_] = batch.as_slice() {
            for entry in batch {
                answer(entry, Err(error.clone()));
            }
            return;
        }
        tracing::warn!(
            requests = batch.len(),
            error = ?error,
            "a batch failed; its requests run one by one"
        );
        for entry in batch {
            if !entry.payload.has_left() {
                self.execute(vec![entry]);
            }
        }
    }

    /// One engine call; a panic is an error, and costs the session.
    fn compute(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.shared.executable.session()?,
        };
        match catch_unwind(AssertUnwindSafe(|| session.run(inputs))) {
            Ok(outcome) => {
                self.session = Some(session);
                outcome
            }
            Err(_) => {
                // Whatever state the engine was in, the next call starts afresh. Its destructor
                // may be as broken as its call.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(session)));
                Err(Error::internal("the model failed on this input")
                    .with_detail("the engine panicked; its session was replaced"))
            }
        }
    }

    fn executed(&self, rows: usize, requests: usize, timings: Timings) {
        let tokens = self.session.as_ref().map(|session| session.tokens()).unwrap_or_default();
        self.shared.sink.batch_executed(BatchExecuted { rows, requests, timings, tokens });
        let took = timings.compute_input + timings.compute_infer;
        let whole = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let before = self.shared.run_ns.load(Ordering::Relaxed);
        self.shared.run_ns.store(before - before / 8 + whole / 8, Ordering::Relaxed);
        let each = whole / requests.max(1) as u64;
        let before = self.shared.request_ns.load(Ordering::Relaxed);
        // One eighth of the new value: smooth, and quick enough to follow a change of load.
        self.shared.request_ns.store(before - before / 8 + each / 8, Ordering::Relaxed);
    }
}

/// Answers one caller. A caller that left is not an error.
fn answer(entry: Entry<Job>, outcome: Result<Computed>) {
    let _ = entry.payload.reply.send(outcome);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::event::Unobserved;
    use crate::model::Signature;
    use crate::tensor::DType;
    use crate::tensor::batch::{ShapeKey, tensor_of_rows};

    /// Answers with its inputs, and counts its calls.
    struct Quick {
        device: Device,
        signature: Signature,
        calls: Arc<AtomicUsize>,
    }

    struct Counting(Arc<AtomicUsize>);

    impl Executable for Quick {
        fn signature(&self) -> &Signature {
            &self.signature
        }

        fn device(&self) -> Device {
            self.device
        }

        fn session(&self) -> Result<Box<dyn Session>> {
            Ok(Box::new(Counting(Arc::clone(&self.calls))))
        }
    }

    impl Session for Counting {
        fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(inputs.to_vec())
        }
    }

    /// A model that is known to be quick, without workers, and how often its engine was called.
    fn quick(device: Device) -> (Shared, Arc<AtomicUsize>) {
        let calls = Arc::new(AtomicUsize::new(0));
        let signature = Signature { inputs: Vec::new(), outputs: Vec::new() };
        let model = Quick { device, signature, calls: Arc::clone(&calls) };
        let sessions = vec![model.session().unwrap()];
        let sink = Arc::new(Unobserved);
        let shared = Shared::new(BatchPolicy::default(), Arc::new(model), sessions, sink);
        shared.run_ns.store(1_000, Ordering::Relaxed);
        (shared, calls)
    }

    fn admit(shared: &Shared, row: u8) -> (Admitted, oneshot::Receiver<Result<Computed>>) {
        let (now, (reply, answer)) = (Instant::now(), oneshot::channel());
        let inputs = vec![tensor_of_rows(DType::U8, &[], 1, vec![row])];
        let entry = Entry {
            key: ShapeKey::of(&inputs),
            payload: Job { inputs, reply, span: None },
            rows: 1,
            enqueued_at: now,
            deadline: now + Duration::from_secs(60),
            late_at: None,
        };
        (shared.admit(entry, 0, now).unwrap(), answer)
    }

    fn row(answer: &mut oneshot::Receiver<Result<Computed>>) -> u8 {
        answer.try_recv().unwrap().unwrap().outputs[0].data()[0]
    }

    #[test]
    fn only_what_the_processor_computes_is_run_by_the_thread_that_brings_it() {
        for device in [Device::Cpu, Device::Cuda(0)] {
            let (shared, _) = quick(device);
            let (admitted, mut answer) = admit(&shared, 1);
            match admitted {
                Admitted::Lead(entry, slot) => shared.lead(entry, slot),
                Admitted::Queued | Admitted::Unattended => {}
            }
            assert_eq!(answer.try_recv().is_ok(), device == Device::Cpu, "{device}");
        }
    }

    #[test]
    fn requests_that_come_together_are_run_in_one_call_by_the_first_who_helps() {
        let (shared, calls) = quick(Device::Cpu);
        shared.lock().company = COMPANY_MAX * 2;
        let mut answers: Vec<_> = (0..4)
            .map(|row| {
                let (admitted, answer) = admit(&shared, row);
                assert!(matches!(admitted, Admitted::Unattended));
                answer
            })
            .collect();
        assert!(answers[0].try_recv().is_err(), "nobody has run anything yet");
        shared.help();
        assert_eq!(answers.iter_mut().map(row).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        shared.help();
        assert_eq!(calls.load(Ordering::Relaxed), 1, "nothing is left to help with");
        assert_eq!(shared.lock().free.len(), 1, "and the session is back");
    }

    #[test]
    fn a_full_queue_that_closes_refuses_for_being_closed() {
        let (shared, _) = quick(Device::Cuda(0));
        let waiting: Vec<_> =
            (0..BatchPolicy::QUEUE_DEPTH_MAX).map(|_| admit(&shared, 1)).collect();
        assert!(shared.is_full(Instant::now()));
        shared.close();
        assert!(!shared.is_full(Instant::now()));
        drop(waiting);
    }

    #[test]
    fn who_comes_while_the_session_is_held_is_seen_by_whoever_holds_it() {
        let (shared, calls) = quick(Device::Cpu);
        let (first, mut led) = admit(&shared, 1);
        let Admitted::Lead(entry, slot) = first else { panic!("nobody waited") };
        let (second, mut queued) = admit(&shared, 2);
        assert!(matches!(second, Admitted::Queued));
        shared.help();
        assert_eq!(calls.load(Ordering::Relaxed), 0, "there is no session to help with");
        shared.lead(entry, slot);
        assert_eq!((row(&mut led), row(&mut queued)), (1, 2));
    }
}
