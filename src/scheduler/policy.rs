//! The knobs of dynamic batching, with their defaults.

use std::time::{Duration, Instant};

use crate::model::batching::{self, Batching, TimeoutAction};

/// How one version's requests are queued and joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchPolicy {
    /// Most rows in one engine call and in one request; 0: every request runs alone.
    pub batch_size_max: usize,
    /// Whether requests share a batch.
    pub join: bool,
    /// Sizes worth running at once, in ascending order; none: a full batch only.
    pub preferred: Vec<usize>,
    /// How long the oldest request may wait for company while an instance is free.
    pub queue_delay_max: Duration,
    /// In place of that: when a request is to be answered, counted from its arrival.
    pub latency_target: Option<Duration>,
    /// Most requests that may wait, on all levels together.
    pub queue_depth_max: usize,
    /// Requests start in the order of their arrival: none joins a batch past another.
    pub keep_order: bool,
    /// One queue for each level of priority, the most urgent first. There is at least one.
    pub levels: Vec<QueuePolicy>,
    /// Position in `levels` of requests that name no level.
    pub level_default: usize,
}

/// How long and how many requests may wait on one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuePolicy {
    /// How long a request may wait before it is late.
    pub timeout: Option<Duration>,
    /// Whether a request's own time-out may take the place of `timeout`, where it is shorter.
    pub timeout_override: bool,
    /// Whether late requests are refused, or wait on behind those that are not late.
    pub late: TimeoutAction,
    pub depth_max: usize,
}

impl Default for BatchPolicy {
    fn default() -> Self {
        Self::new(&Batching::default(), true)
    }
}

impl BatchPolicy {
    /// Enough to fill a batch of tiny models from 64 callers; big models set their own.
    pub const BATCH_SIZE_MAX: usize = 64;
    /// At 1,000 small requests a wait is tens of milliseconds; beyond that, refusing is kinder.
    pub const QUEUE_DEPTH_MAX: usize = 1024;

    /// The manifest's wishes over the defaults. `batchable` is what the signature allows.
    pub fn new(wishes: &Batching, batchable: bool) -> Self {
        let size = wishes.batch_size_max.unwrap_or(Self::BATCH_SIZE_MAX);
        let batch_size_max = if batchable { size } else { 0 };
        let mut preferred = wishes.batch_sizes_preferred.clone();
        preferred.retain(|&size| size <= batch_size_max);
        preferred.sort_unstable();
        let level = |number: u32| {
            let own = wishes.levels.iter().find(|policy| policy.level == number);
            QueuePolicy::new(own.map_or(&wishes.queue, |policy| &policy.queue))
        };
        Self {
            batch_size_max,
            join: wishes.join,
            preferred,
            queue_delay_max: Duration::from_micros(wishes.queue_delay_us_max.unwrap_or(0)),
            latency_target: wishes.latency_target_us.map(Duration::from_micros),
            queue_depth_max: wishes.queue_depth_max.unwrap_or(Self::QUEUE_DEPTH_MAX),
            keep_order: wishes.keep_order,
            levels: (1..=wishes.priority_levels.max(1)).map(level).collect(),
            level_default: wishes.priority_default.map_or(0, |level| level.max(1) as usize - 1),
        }
    }

    /// Whether a request may have to wait while an instance is free.
    pub fn delays(&self) -> bool {
        !self.queue_delay_max.is_zero() || self.latency_target.is_some()
    }

    /// Whether batches grow as far as measured runs say that it pays. Sizes or a delay that
    /// somebody chose are kept to.
    pub fn grows(&self) -> bool {
        let is_chosen = !self.preferred.is_empty() || !self.queue_delay_max.is_zero();
        self.join && self.batch_size_max > 1 && !is_chosen
    }

    /// Position in `levels` of a request's priority, 1 the most urgent. As on Triton, 0 and what
    /// is no level mean the default.
    pub fn level(&self, priority: u64) -> usize {
        let level = usize::try_from(priority).ok().and_then(|priority| priority.checked_sub(1));
        level.filter(|&level| level < self.levels.len()).unwrap_or(self.level_default)
    }
}

impl QueuePolicy {
    /// From when a request with this time-out of its own is late.
    pub fn late_at(&self, enqueued_at: Instant, own: Option<Duration>) -> Option<Instant> {
        self.patience(own).and_then(|patience| enqueued_at.checked_add(patience))
    }

    fn new(wishes: &batching::QueuePolicy) -> Self {
        Self {
            timeout: (wishes.timeout_us > 0).then(|| Duration::from_micros(wishes.timeout_us)),
            timeout_override: wishes.timeout_override,
            late: wishes.timeout_action,
            depth_max: wishes.depth_max.unwrap_or(usize::MAX),
        }
    }

    /// How long a request with this time-out of its own may wait before it is late; `None`: as
    /// long as its deadline allows.
    fn patience(&self, own: Option<Duration>) -> Option<Duration> {
        match own.filter(|_| self.timeout_override) {
            Some(own) => Some(self.timeout.map_or(own, |timeout| timeout.min(own))),
            None => self.timeout,
        }
    }

    /// Whether a request's own time-out says when it is late, and not when its caller has gone.
    pub fn takes_over(&self) -> bool {
        self.timeout_override && self.late == TimeoutAction::Delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::batching::LevelPolicy;

    #[test]
    fn a_priority_that_is_no_level_means_the_default() {
        let wishes =
            Batching { priority_levels: 3, priority_default: Some(2), ..Batching::default() };
        let policy = BatchPolicy::new(&wishes, true);
        let levels = [0, 1, 2, 3, 4, u64::MAX].map(|priority| policy.level(priority));
        assert_eq!(levels, [1, 0, 1, 2, 1, 1]);
        assert_eq!(BatchPolicy::default().level(7), 0);
    }

    #[test]
    fn every_level_has_its_own_policy_or_the_common_one() {
        let queue = |timeout_us| batching::QueuePolicy { timeout_us, ..Default::default() };
        let wishes = Batching {
            priority_levels: 2,
            priority_default: Some(1),
            queue: queue(7),
            levels: vec![LevelPolicy { level: 2, queue: queue(9) }],
            ..Batching::default()
        };
        let policy = BatchPolicy::new(&wishes, true);
        let timeouts = policy.levels.iter().map(|level| level.timeout.unwrap().as_micros());
        assert_eq!(timeouts.collect::<Vec<_>>(), [7, 9]);
    }

    #[test]
    fn an_own_timeout_shortens_where_it_may() {
        let ms = |n| Some(Duration::from_millis(n));
        let policy = |timeout, timeout_override| QueuePolicy {
            timeout,
            timeout_override,
            late: TimeoutAction::Reject,
            depth_max: 1,
        };
        assert_eq!(policy(ms(5), true).patience(ms(3)), ms(3));
        assert_eq!(policy(ms(5), true).patience(ms(7)), ms(5));
        assert_eq!(policy(ms(5), false).patience(ms(3)), ms(5));
        assert_eq!(policy(None, true).patience(ms(3)), ms(3));
        assert_eq!(policy(None, false).patience(ms(3)), None);
    }
}
