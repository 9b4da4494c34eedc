//! What the batching decision costs by itself: nanoseconds per request that is pushed into a
//! `BatchQueue` and leaves it in a batch, is refused, or is dropped. No clock, lock, thread or
//! engine is in the loop.
//!
//! A plain loop, and the minimum of many repeats: on a shared machine every disturbance makes a run
//! slower and none makes it faster, so the minimum is what the code costs. It needs no framework.

use std::hint::black_box;
use std::time::{Duration, Instant};

use galen::scheduler::policy::BatchPolicy;
use galen::scheduler::queue::{BatchQueue, Entry, Next, Waiter};
use galen::tensor::batch::ShapeKey;
use galen::tensor::{DType, Shape, Tensor};

/// Requests in one timed round: long beside a look at the clock, short beside a time slice.
const ROUND: usize = 1024;
const REPEATS: usize = 2000;

/// As large as what the scheduler puts here: a vector and the way back to the caller.
struct Job([usize; 4]);

impl Waiter for Job {
    fn has_left(&self) -> bool {
        black_box(self.0[0]) == usize::MAX
    }
}

struct Row {
    case: &'static str,
    ns: f64,
}

fn main() {
    let single = [keys(&[30])];
    let mixed = [keys(&[30]), keys(&[31]), keys(&[32]), keys(&[33])];
    let triple = [keys(&[30, 12, 5])];
    let rows = [
        Row { case: "push and next, batches of 1", ns: batches(1, &single) },
        Row { case: "push and next, batches of 8", ns: batches(8, &single) },
        Row { case: "push and next, batches of 64", ns: batches(64, &single) },
        Row { case: "batches of 8, three inputs", ns: batches(8, &triple) },
        Row { case: "batches of 16 from 64, four shapes", ns: batches_of_mixed(&mixed) },
        Row { case: "refused by a full queue of 1024", ns: refusals(&single[0]) },
        Row { case: "expired, dropped by next", ns: expired(&single[0]) },
        Row { case: "expired, swept by a full queue", ns: swept(&single[0]) },
    ];
    println!("| case | ns per request |\n|---|---:|");
    for Row { case, ns } in rows {
        println!("| {case} | {ns:.1} |");
    }
}

/// The key of a request whose inputs are one row each, of these widths.
fn keys(widths: &[usize]) -> ShapeKey {
    let tensor = |&width: &usize| Tensor::zeros(DType::F32, Shape::new([1, width]));
    let inputs: Result<Vec<Tensor>, _> = widths.iter().map(tensor).collect();
    ShapeKey::of(&inputs.expect("small tensors fit into memory"))
}

fn policy(batch_size_max: usize) -> BatchPolicy {
    BatchPolicy { batch_size_max, queue_depth_max: ROUND, ..BatchPolicy::default() }
}

fn entry(key: &ShapeKey, now: Instant, patience: Duration) -> Entry<Job> {
    let payload = Job([0; 4]);
    let deadline = now + patience;
    Entry { payload, key: key.clone(), rows: 1, enqueued_at: now, deadline, late_at: None }
}

/// Entries for one round; making them is not timed, for it is the door's work.
fn entries(keys: &[ShapeKey], now: Instant, patience: Duration) -> Vec<Entry<Job>> {
    keys.iter().cycle().take(ROUND).map(|key| entry(key, now, patience)).collect()
}

const MINUTE: Duration = Duration::from_secs(60);

/// The least nanoseconds per request over all repeats. `prepare` is not timed.
fn least<S>(requests: usize, mut prepare: impl FnMut() -> S, mut timed: impl FnMut(&mut S)) -> f64 {
    let mut best = Duration::MAX;
    for _ in 0..REPEATS {
        let mut state = prepare();
        let begun = Instant::now();
        timed(&mut state);
        best = best.min(begun.elapsed());
    }
    best.as_nanos() as f64 / requests as f64
}

fn admit(queue: &mut BatchQueue<Job>, entry: Entry<Job>, now: Instant) {
    let mut dropped = Vec::new();
    let admitted = queue.push(entry, 0, now, &mut dropped);
    assert!(admitted.is_ok(), "the queue has room");
}

/// Takes one batch out, and drops it, as a worker does when it has answered.
fn take(queue: &mut BatchQueue<Job>, size: usize, now: Instant) {
    let mut dropped = Vec::new();
    match queue.next(now, &mut dropped) {
        Next::Run(batch) => assert_eq!(black_box(batch).len(), size),
        Next::Idle | Next::Wait(_) => panic!("what waits runs at once"),
    }
}

/// A queue is filled to one batch and emptied, over and over.
fn batches(size: usize, keys: &[ShapeKey]) -> f64 {
    let now = Instant::now();
    let mut queue = BatchQueue::new(policy(size));
    least(
        ROUND,
        || entries(keys, now, MINUTE).into_iter(),
        |waiting| {
            while waiting.len() > 0 {
                for entry in waiting.by_ref().take(size) {
                    admit(&mut queue, entry, now);
                }
                take(&mut queue, size, now);
            }
        },
    )
}

/// 64 requests of four shapes wait, one after the other; each batch takes the 16 of one shape.
fn batches_of_mixed(keys: &[ShapeKey]) -> f64 {
    let now = Instant::now();
    let mut queue = BatchQueue::new(policy(16));
    least(
        ROUND,
        || entries(keys, now, MINUTE).into_iter(),
        |waiting| {
            while waiting.len() > 0 {
                for entry in waiting.by_ref().take(64) {
                    admit(&mut queue, entry, now);
                }
                for _ in keys {
                    take(&mut queue, 16, now);
                }
            }
        },
    )
}

/// Requests that meet a queue full of requests that still matter.
fn refusals(key: &ShapeKey) -> f64 {
    /// Few: each is dear, if it looks at the whole queue.
    const REFUSED: usize = 16;
    let now = Instant::now();
    let mut queue = BatchQueue::new(policy(64));
    for entry in entries(std::slice::from_ref(key), now, MINUTE) {
        admit(&mut queue, entry, now);
    }
    least(
        REFUSED,
        || (0..REFUSED).map(|_| entry(key, now, MINUTE)).collect::<Vec<_>>(),
        |refused| {
            for entry in refused.drain(..) {
                let mut dropped = Vec::new();
                assert!(black_box(queue.push(entry, 0, now, &mut dropped)).is_err());
            }
        },
    )
}

/// A queue in which everything is late.
fn late(key: &ShapeKey, now: Instant) -> BatchQueue<Job> {
    let mut queue = BatchQueue::new(policy(64));
    for entry in entries(std::slice::from_ref(key), now, Duration::ZERO) {
        admit(&mut queue, entry, now);
    }
    queue
}

fn expired(key: &ShapeKey) -> f64 {
    let now = Instant::now();
    least(
        ROUND,
        || late(key, now),
        |queue| {
            let mut dropped = Vec::new();
            assert!(matches!(queue.next(now, &mut dropped), Next::Idle));
            assert_eq!(black_box(dropped).len(), ROUND);
        },
    )
}

fn swept(key: &ShapeKey) -> f64 {
    let now = Instant::now();
    least(
        ROUND,
        || late(key, now),
        |queue| {
            let mut dropped = Vec::new();
            assert!(queue.push(entry(key, now, MINUTE), 0, now, &mut dropped).is_ok());
            assert_eq!(black_box(dropped).len(), ROUND);
        },
    )
}
