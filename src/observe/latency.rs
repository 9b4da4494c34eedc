//! Distributions of times in fixed buckets, for percentiles over REST. Prometheus' histograms are
//! coarser, and live on another port; these are read by the doors.
//!
//! Eight buckets to every doubling, so that a bound is at most an eighth above the time. Recording
//! is one relaxed addition.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::stats::log_linear::Scale;
pub use crate::stats::log_linear::quantile;

/// In microseconds, up to about 67 s.
const SCALE: Scale = Scale::new(3, 26);
/// Buckets that have an upper bound.
pub const BOUNDED: usize = SCALE.bounded();

/// Upper bounds in microseconds, ascending; a time counts in the first bucket whose bound it does
/// not exceed.
pub static BOUNDS_US: LazyLock<Vec<u64>> = LazyLock::new(|| SCALE.bounds());

/// Counts of times, by bucket.
pub struct Histogram([AtomicU64; BOUNDED + 1]);

impl Default for Histogram {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Histogram {
    pub fn record(&self, time: Duration) {
        let us = u64::try_from(time.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX);
        if let Some(count) = self.0.get(SCALE.bucket(us)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The counts of now: one for each bound, and one for what exceeds them all.
    pub fn counts(&self) -> Vec<u64> {
        self.0.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_has_no_percentile() {
        assert_eq!(quantile(&BOUNDS_US, &Histogram::default().counts(), 0.5), None);
    }

    #[test]
    fn what_exceeds_every_bound_is_counted() {
        let histogram = Histogram::default();
        histogram.record(Duration::MAX);
        assert_eq!(histogram.counts()[BOUNDED], 1);
        assert_eq!(quantile(&BOUNDS_US, &histogram.counts(), 0.5), Some(67_108_864.0));
    }

    proptest! {
        #[test]
        fn a_time_counts_in_the_first_bucket_that_holds_it(ns in 0u64..100_000_000_000) {
            let time = Duration::from_nanos(ns);
            let histogram = Histogram::default();
            histogram.record(time);
            let first = BOUNDS_US.iter().position(|&bound| time <= Duration::from_micros(bound));
            prop_assert_eq!(histogram.counts()[first.unwrap_or(BOUNDED)], 1);
        }
    }
}
