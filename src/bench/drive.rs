//! One load, from its first request to its last answer.
//!
//! *Closed loop*: every caller has one request in flight and sends the next when its answer is
//! there. It shows what a server can do; a server that stalls is asked less, and hides it.
//! *Open loop*: requests are due at times of a schedule, whatever the server does, and their
//! latency counts from when they were due. So nobody's wait is left out ("coordinated omission":
//! Gil Tene, "How NOT to Measure Latency"; wrk2 measures this way).
//!
//! All callers are tasks of one thread, so that the rest of the machine is the server's; an open
//! loop has a second one that sleeps until a request is due.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::answer::{Answer, Failure, Status};
use super::cpu;
use super::schedule::{Arrivals, Schedule};
use super::statistics::{Served, Statistics};
use super::tally::Tally;
use super::{Caller, Target};
use crate::error::{Error, Result};

/// How requests follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// So many callers, each with one request in flight.
    Closed { callers: usize },
    /// `rate` requests per second; of those that are due while `in_flight_max` have no answer yet,
    /// none is sent.
    Open { rate: f64, arrivals: Arrivals, in_flight_max: usize },
}

/// How hard, and how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    pub pace: Pace,
    /// Not measured: connections are made, queues fill, the server's clocks speed up.
    pub warm_up: Duration,
    pub duration: Duration,
    /// Ends earlier, once so many requests were measured.
    pub requests: Option<u64>,
    /// How long after the end answers are waited for.
    pub grace: Duration,
    /// The server's process, to ask what it costs.
    pub pid: Option<u32>,
}

/// What came out of one load.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub tally: Tally,
    /// The measured time.
    pub took: Duration,
    /// Processor time of the server's whole process tree meanwhile.
    pub cpu: Option<Duration>,
    /// What the server says itself, of the warm-up too.
    pub served: Option<Served>,
}

impl Outcome {
    /// Good answers per second of the measured time.
    pub fn per_second(&self) -> f64 {
        let seconds = self.took.as_secs_f64();
        if seconds > 0.0 { self.tally.succeeded as f64 / seconds } else { 0.0 }
    }

    /// The server's processor time for an answer, good or bad, in microseconds.
    pub fn cpu_us(&self) -> Option<f64> {
        let answered = self.tally.answered as f64;
        self.cpu.filter(|_| answered > 0.0).map(|cpu| cpu.as_secs_f64() * 1e6 / answered)
    }
}

/// Due requests that the sending thread has not yet seen.
const BACKLOG: usize = 4096;
/// How often a sleeping ticker looks whether it is still wanted.
const NAP: Duration = Duration::from_millis(50);
/// Between two tries to connect to a server that has gone.
const PAUSE: Duration = Duration::from_millis(50);

/// What the callers and the one who watches them share; all on one thread.
struct Shared {
    target: Rc<Target>,
    measuring: Cell<bool>,
    /// Requests that may still be measured.
    budget: Cell<u64>,
    /// Requests in flight that will be measured.
    expected: Cell<u64>,
    tally: RefCell<Tally>,
    halt: CancellationToken,
}

impl Shared {
    fn sent(&self, measured: bool) {
        self.expected.set(self.expected.get() + u64::from(measured));
    }

    fn heard(&self, due: Instant, measured: bool, answer: &Answer) {
        let took = due.elapsed();
        let mut tally = self.tally.borrow_mut();
        if measured {
            self.expected.set(self.expected.get() - 1);
            tally.record(took, answer);
        }
        if self.measuring.get() {
            tally.arrived(answer);
        }
    }
}

/// Runs one load to its end, or until `ended` says so. `statistics` asks the server for its own, if
/// it has some. To be called on a [`tokio::task::LocalSet`].
///
/// It fails where a caller of a closed loop can not connect at all; what goes wrong later is
/// counted.
pub async fn drive(
    target: &Rc<Target>,
    load: &Load,
    ended: &CancellationToken,
    statistics: impl AsyncFn() -> Option<Statistics>,
) -> Result<Outcome> {
    let shared = Rc::new(Shared {
        target: Rc::clone(target),
        measuring: Cell::new(false),
        budget: Cell::new(load.requests.unwrap_or(u64::MAX)),
        expected: Cell::new(0),
        tally: RefCell::default(),
        halt: CancellationToken::new(),
    });
    // Before the warm-up: what the server counts is not held up by what it is about to do.
    let statistics_before = statistics().await;
    let begun = Instant::now();
    let (mut tasks, clock) = start(&shared, load, begun).await?;
    let cpu = async || match load.pid {
        // A walk over /proc takes a moment, in which answers would wait.
        Some(pid) => tokio::task::spawn_blocking(move || cpu::of_tree(pid)).await.ok().flatten(),
        None => None,
    };

    let from = begun + load.warm_up;
    tokio::select! {
        () = tokio::time::sleep_until(from.into()) => {}
        () = ended.cancelled() => {}
    }
    let measured_from = Instant::now();
    shared.measuring.set(true);
    let window = async {
        tokio::select! {
            () = tokio::time::sleep_until((from + load.duration).into()) => Ok(()),
            () = ended.cancelled() => Ok(()),
            done = all(&mut tasks) => done,
        }
    };
    let (cpu_before, done) = tokio::join!(cpu(), window);
    let took = measured_from.elapsed();
    shared.measuring.set(false);
    shared.halt.cancel();
    done?;
    let cpu_after = cpu().await;
    // What is late is a measurement, too, and the most telling one.
    let in_time = tokio::time::timeout(load.grace, all(&mut tasks)).await;
    in_time.unwrap_or(Ok(()))?;
    tasks.shutdown().await;
    let statistics_after = statistics().await;

    let mut tally = shared.tally.take();
    tally.unanswered(shared.expected.get());
    if let Some(clock) = clock {
        tally.dropped = clock.ended().saturating_sub(tally.due());
    }
    Ok(Outcome {
        tally,
        took,
        cpu: cpu_before.zip(cpu_after).map(|(before, after)| after.saturating_sub(before)),
        served: statistics_before.zip(statistics_after).and_then(|(old, new)| new.since(old)),
    })
}

/// Until every task has ended, or one has failed.
async fn all(tasks: &mut JoinSet<Result<()>>) -> Result<()> {
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|error| Error::internal("a caller ended early").with_detail(error))??;
    }
    Ok(())
}

async fn start(
    shared: &Rc<Shared>,
    load: &Load,
    begun: Instant,
) -> Result<(JoinSet<Result<()>>, Option<Clock>)> {
    let mut tasks = JoinSet::new();
    match load.pace {
        Pace::Closed { callers } => {
            for _ in 0..callers {
                let caller = shared.target.caller().await?;
                tasks.spawn_local(repeat(Rc::clone(shared), caller));
            }
            Ok((tasks, None))
        }
        Pace::Open { in_flight_max, .. } => {
            let (clock, due) = Clock::start(load, begun)?;
            let shared = Rc::clone(shared);
            let from = begun + load.warm_up;
            tasks.spawn_local(dispatch(shared, due, in_flight_max, from));
            Ok((tasks, Some(clock)))
        }
    }
}

/// A caller of a closed loop.
async fn repeat(shared: Rc<Shared>, caller: Caller) -> Result<()> {
    let mut caller = Some(caller);
    while !shared.halt.is_cancelled() {
        let measured = shared.measuring.get();
        if measured {
            let Some(left) = shared.budget.get().checked_sub(1) else { break };
            shared.budget.set(left);
        }
        let due = Instant::now();
        shared.sent(measured);
        let answer = ask(&shared.target, &mut caller).await;
        shared.heard(due, measured, &answer);
        if caller.is_none() {
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(())
}

/// Sends one request, over a new connection where there is none; drops one that has broken.
async fn ask(target: &Target, caller: &mut Option<Caller>) -> Answer {
    let ready = match caller {
        Some(ready) => ready,
        None => caller.insert(target.caller().await.map_err(Failure::connection)?),
    };
    let answer = ready.call().await;
    if matches!(&answer, Err(failure) if failure.status == Status::Connection) {
        *caller = None;
    }
    answer
}

/// Sends the requests of an open loop as they fall due.
async fn dispatch(
    shared: Rc<Shared>,
    mut due: mpsc::Receiver<Instant>,
    in_flight_max: usize,
    from: Instant,
) -> Result<()> {
    // At most as many as were in flight at once.
    let idle: Rc<RefCell<Vec<Caller>>> = Rc::default();
    let mut flying = JoinSet::new();
    loop {
        let at = tokio::select! {
            biased;
            () = shared.halt.cancelled() => break,
            Some(_) = flying.join_next(), if !flying.is_empty() => continue,
            at = due.recv() => at,
        };
        let Some(at) = at else { break };
        let measured = at >= from;
        if flying.len() >= in_flight_max {
            continue;
        }
        let (shared, idle) = (Rc::clone(&shared), Rc::clone(&idle));
        shared.sent(measured);
        flying.spawn_local(async move {
            if measured {
                shared.tally.borrow_mut().late.record(at.elapsed());
            }
            let mut caller = idle.borrow_mut().pop();
            let answer = ask(&shared.target, &mut caller).await;
            shared.heard(at, measured, &answer);
            idle.borrow_mut().extend(caller);
        });
    }
    while flying.join_next().await.is_some() {}
    Ok(())
}

/// The thread that says when a request of an open loop is due. The runtime's own timers know
/// milliseconds only, which is longer than many models take.
struct Clock {
    thread: thread::JoinHandle<()>,
    due: Arc<AtomicU64>,
}

impl Clock {
    fn start(load: &Load, begun: Instant) -> Result<(Self, mpsc::Receiver<Instant>)> {
        let Pace::Open { rate, arrivals, .. } = load.pace else {
            return Err(Error::internal("a closed loop has no clock"));
        };
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let due = Arc::new(AtomicU64::new(0));
        let (load, counter) = (*load, Arc::clone(&due));
        let tick = move || {
            let end = load.warm_up + load.duration;
            let mut left = load.requests.unwrap_or(u64::MAX);
            for offset in Schedule::new(rate, arrivals).take_while(|offset| *offset < end) {
                let measured = offset >= load.warm_up;
                if measured {
                    let Some(fewer) = left.checked_sub(1) else { return };
                    left = fewer;
                }
                let at = begun + offset;
                while let Some(wait) = at.checked_duration_since(Instant::now()) {
                    if sender.is_closed() {
                        return;
                    }
                    thread::park_timeout(wait.min(NAP));
                }
                counter.fetch_add(u64::from(measured), Ordering::Relaxed);
                // Where it is too late or too many wait, it was due all the same.
                let _ = sender.try_send(at);
            }
        };
        let thread = thread::Builder::new().name("clock".to_owned()).spawn(tick);
        let thread = thread
            .map_err(|error| Error::internal("no thread for the clock").with_detail(error))?;
        Ok((Self { thread, due }, receiver))
    }

    /// Requests that were due, sent or not. The receiver is gone by now, so it ends soon.
    fn ended(self) -> u64 {
        // It holds nothing that could panic.
        let _ = self.thread.join();
        self.due.load(Ordering::Relaxed)
    }
}
