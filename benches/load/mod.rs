//! A closed-loop load generator: every caller has one request in flight, and sends the next when
//! its answer is there. It runs on one thread, so that it leaves the rest of the machine to the
//! server; what it costs itself is not counted.

pub mod cpu;
pub mod grpc;
pub mod http;
pub mod server;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::LocalSet;

pub type Result<T> = std::result::Result<T, String>;

/// Where a caller sends its request, over and over, and what it sends.
pub enum Target {
    Http(http::Target),
    Grpc(grpc::Target),
}

/// How hard, and how long.
#[derive(Clone, Copy)]
pub struct Load {
    pub callers: usize,
    /// Not measured: connections are made, queues fill, the server's clocks speed up.
    pub warm_up: Duration,
    pub measured: Duration,
    /// The server's process, to ask what it costs.
    pub pid: Option<u32>,
}

/// What came out of one run.
pub struct Outcome {
    pub requests: u64,
    pub took: Duration,
    /// One entry per request, sorted.
    pub latencies: Vec<Duration>,
    /// Processor time of the server's whole process tree.
    pub cpu: Option<Duration>,
}

impl Outcome {
    pub fn per_second(&self) -> f64 {
        self.requests as f64 / self.took.as_secs_f64()
    }

    /// The latency that this share of the requests did not exceed, in microseconds.
    pub fn quantile_us(&self, share: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let index = (last as f64 * share).round() as usize;
        self.latencies.get(index).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e6)
    }

    pub fn cpu_us(&self) -> Option<f64> {
        self.cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / self.requests as f64)
    }
}

/// What the callers and the one who watches them share; all on one thread.
#[derive(Default)]
struct Shared {
    stop: Cell<bool>,
    measuring: Cell<bool>,
    requests: Cell<u64>,
    latencies: RefCell<Vec<Duration>>,
}

/// Runs one load to its end. Any answer that is no success ends it with an error: a server that
/// refuses work is fast, and its numbers would mean nothing.
pub fn run(target: &Target, load: Load) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    LocalSet::new().block_on(&runtime, drive(target, load))
}

async fn drive(target: &Target, load: Load) -> Result<Outcome> {
    let shared = Rc::new(Shared::default());
    let mut callers = Vec::with_capacity(load.callers);
    match target {
        Target::Http(target) => {
            for _ in 0..load.callers {
                let mut caller = target.connect().await?;
                let shared = Rc::clone(&shared);
                callers.push(tokio::task::spawn_local(async move {
                    repeat(&shared, async || caller.call().await).await
                }));
            }
        }
        Target::Grpc(target) => {
            for client in target.connect(load.callers).await? {
                let (shared, mut caller) = (Rc::clone(&shared), target.caller(client));
                callers.push(tokio::task::spawn_local(async move {
                    repeat(&shared, async || caller.call().await).await
                }));
            }
        }
    }
    tokio::time::sleep(load.warm_up).await;
    let cpu = || load.pid.and_then(cpu::of_tree);
    let (before, begun, requests) = (cpu(), Instant::now(), shared.requests.get());
    shared.measuring.set(true);
    tokio::time::sleep(load.measured).await;
    shared.measuring.set(false);
    let (after, took) = (cpu(), begun.elapsed());
    let requests = shared.requests.get() - requests;
    shared.stop.set(true);
    for caller in callers {
        caller.await.map_err(|error| error.to_string())??;
    }
    if requests == 0 {
        return Err("no request was answered in time".to_owned());
    }
    let mut latencies = shared.latencies.take();
    latencies.sort_unstable();
    let cpu = before.zip(after).map(|(before, after)| after.saturating_sub(before));
    Ok(Outcome { requests, took, latencies, cpu })
}

async fn repeat(shared: &Shared, mut call: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    while !shared.stop.get() {
        let begun = Instant::now();
        call().await?;
        shared.requests.set(shared.requests.get() + 1);
        if shared.measuring.get() {
            shared.latencies.borrow_mut().push(begun.elapsed());
        }
    }
    Ok(())
}
