//! Counts and sums per version, as Triton's statistics report them. Requests add to atomics; a
//! batch, which is rarer, takes a short lock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use super::latency::Histogram;
use super::performance::Performance;
use crate::event::{
    BatchExecuted, CacheLookedUp, FailureReason, RequestCompleted, ShadowCompared, VersionSink,
};
use crate::model::ModelId;

/// Batch sizes that are told apart; larger ones count with the last.
const BATCH_SIZES_MAX: usize = 1024;

/// The statistics of all versions in memory.
#[derive(Default)]
pub struct Statistics {
    versions: RwLock<BTreeMap<ModelId, Arc<VersionStatistics>>>,
    /// How the answers of those do that declare it.
    pub performance: Performance,
}

impl Statistics {
    /// Those of one version; they go on when its files change.
    pub fn of(&self, id: &ModelId) -> Arc<VersionStatistics> {
        let known = self.versions.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        known.unwrap_or_else(|| {
            let mut all = self.versions.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(id.clone()).or_default())
        })
    }

    /// Forgets a version that is gone.
    pub fn forget(&self, id: &ModelId) {
        self.versions.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        self.performance.forget(id);
    }
}

/// How often, and how long in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub count: u64,
    pub ns: u64,
}

impl Tally {
    fn add(&mut self, time: Duration) {
        self.count += 1;
        self.ns = self.ns.saturating_add(nanos(time));
    }
}

#[derive(Default)]
struct AtomicTally {
    count: AtomicU64,
    ns: AtomicU64,
}

impl AtomicTally {
    fn add(&self, time: Duration) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.ns.fetch_add(nanos(time), Ordering::Relaxed);
    }

    fn read(&self) -> Tally {
        let (count, ns) = (self.count.load(Ordering::Relaxed), self.ns.load(Ordering::Relaxed));
        Tally { count, ns }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The time of one phase: how often, how long in all, and how it is spread.
#[derive(Default)]
struct Phase {
    tally: AtomicTally,
    histogram: Histogram,
}

impl Phase {
    fn add(&self, time: Duration) {
        self.tally.add(time);
        self.histogram.record(time);
    }

    fn spread(&self) -> Spread {
        Spread { counts: self.histogram.counts(), ns: self.tally.read().ns }
    }
}

/// How the times of one phase are spread, over the buckets of [`super::latency::BOUNDS_US`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// One for each bound, and one for what exceeds them all.
    pub counts: Vec<u64>,
    /// All of it together.
    pub ns: u64,
}

/// How the times of answered requests are spread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    pub request: Spread,
    pub queue: Spread,
    pub compute_input: Spread,
    pub compute_infer: Spread,
    pub compute_output: Spread,
    /// Engine calls by their rows.
    pub batches: BTreeMap<usize, u64>,
}

/// What the engine did with batches of one size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchTally {
    pub compute_input: Tally,
    pub compute_infer: Tally,
    pub compute_output: Tally,
}

/// The counters of one version.
#[derive(Default)]
pub struct VersionStatistics {
    success: Phase,
    fail: AtomicTally,
    queue: Phase,
    compute_input: Phase,
    compute_infer: Phase,
    compute_output: Phase,
    cache_hit: AtomicTally,
    cache_miss: AtomicTally,
    inferences: AtomicU64,
    executions: AtomicU64,
    last_inference_ms: AtomicU64,
    batches: Mutex<BTreeMap<usize, BatchTally>>,
}

/// The counters of one version as they stood at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub success: Tally,
    pub fail: Tally,
    pub queue: Tally,
    pub compute_input: Tally,
    pub compute_infer: Tally,
    pub compute_output: Tally,
    pub cache_hit: Tally,
    pub cache_miss: Tally,
    /// Rows of all answered requests.
    pub inferences: u64,
    /// Engine calls.
    pub executions: u64,
    /// Milliseconds since the epoch; 0 where there was none.
    pub last_inference_ms: u64,
    /// By batch size.
    pub batches: BTreeMap<usize, BatchTally>,
}

impl VersionStatistics {
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            success: self.success.tally.read(),
            fail: self.fail.read(),
            queue: self.queue.tally.read(),
            compute_input: self.compute_input.tally.read(),
            compute_infer: self.compute_infer.tally.read(),
            compute_output: self.compute_output.tally.read(),
            cache_hit: self.cache_hit.read(),
            cache_miss: self.cache_miss.read(),
            inferences: self.inferences.load(Ordering::Relaxed),
            executions: self.executions.load(Ordering::Relaxed),
            last_inference_ms: self.last_inference_ms.load(Ordering::Relaxed),
            batches: self.batches.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    pub fn latency(&self) -> Latency {
        let batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        let batches = batches.iter().map(|(rows, tally)| (*rows, tally.compute_infer.count));
        Latency {
            batches: batches.collect(),
            request: self.success.spread(),
            queue: self.queue.spread(),
            compute_input: self.compute_input.spread(),
            compute_infer: self.compute_infer.spread(),
            compute_output: self.compute_output.spread(),
        }
    }
}

impl VersionSink for VersionStatistics {
    fn request_queued(&self) {}

    fn requests_dequeued(&self, _requests: usize) {}

    fn batch_executed(&self, batch: BatchExecuted) {
        self.executions.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.last_inference_ms.store(now_ms, Ordering::Relaxed);
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = batches.entry(batch.rows.min(BATCH_SIZES_MAX)).or_default();
        tally.compute_input.add(batch.timings.compute_input);
        tally.compute_infer.add(batch.timings.compute_infer);
        tally.compute_output.add(batch.timings.compute_output);
    }

    fn cache_looked_up(&self, lookup: CacheLookedUp) {
        let tally = if lookup.hit { &self.cache_hit } else { &self.cache_miss };
        tally.add(lookup.time);
    }

    fn shadow_compared(&self, _comparison: ShadowCompared) {}

    fn request_completed(&self, request: RequestCompleted) {
        self.success.add(request.total);
        if !request.computed {
            return;
        }
        self.queue.add(request.timings.queue);
        self.compute_input.add(request.timings.compute_input);
        self.compute_infer.add(request.timings.compute_infer);
        self.compute_output.add(request.timings.compute_output);
        self.inferences.fetch_add(request.rows as u64, Ordering::Relaxed);
    }

    fn request_failed(&self, reason: FailureReason, total: Duration) {
        // As Triton counts: what was refused at the queue is no failed inference.
        if reason != FailureReason::Rejected {
            self.fail.add(total);
        }
    }

    fn request_invalid(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::{Timings, TokenCount};
    use crate::model::{ModelName, Version};

    #[test]
    fn counts_and_sums_are_kept_by_version_and_batch_size() {
        let name = ModelName::new("m").unwrap();
        let id = ModelId { name, version: Version::new(1).unwrap() };
        let statistics = Statistics::default();
        let us = Duration::from_micros;
        let timings = Timings { queue: us(3), compute_infer: us(7), ..Timings::default() };
        let sink = statistics.of(&id);
        sink.batch_executed(BatchExecuted {
            rows: 4,
            requests: 2,
            timings,
            tokens: TokenCount::default(),
        });
        for _ in 0..2 {
            sink.request_completed(RequestCompleted {
                rows: 2,
                total: us(20),
                timings,
                computed: true,
            });
        }
        sink.request_failed(FailureReason::Backend, us(5));
        sink.request_failed(FailureReason::Rejected, us(5));
        let seen = statistics.of(&id).snapshot();
        assert_eq!(seen.success, Tally { count: 2, ns: 40_000 });
        assert_eq!(seen.fail, Tally { count: 1, ns: 5_000 });
        assert_eq!(seen.queue, Tally { count: 2, ns: 6_000 });
        assert_eq!((seen.inferences, seen.executions), (4, 1));
        assert_eq!(seen.batches[&4].compute_infer, Tally { count: 1, ns: 7_000 });
        assert!(seen.last_inference_ms > 0);
        let spread = statistics.of(&id).latency();
        assert_eq!((spread.request.counts[17], spread.request.ns), (2, 40_000), "18 to 20 us");
        assert_eq!((spread.queue.counts[2], spread.compute_input.counts[0]), (2, 2));
        assert_eq!(spread.batches, BTreeMap::from([(4, 1)]));
        statistics.forget(&id);
        assert_eq!(statistics.of(&id).snapshot(), Snapshot::default());
    }
}
