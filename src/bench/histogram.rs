//! Latencies in fixed memory. Pure.

use std::sync::LazyLock;
use std::time::Duration;

use crate::stats::log_linear::{Scale, quantile};

/// In nanoseconds, up to 18 minutes: 128 buckets to a doubling, so a percentile is at most 0.8 %
/// off. 34 KiB.
const SCALE: Scale = Scale::new(7, 40);

static BOUNDS: LazyLock<Vec<u64>> = LazyLock::new(|| SCALE.bounds());

/// How times are spread.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    count: u64,
    max: Duration,
    sum: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        let counts = vec![0; SCALE.bounded() + 1];
        Self { counts, count: 0, max: Duration::ZERO, sum: Duration::ZERO }
    }
}

impl Histogram {
    pub fn record(&mut self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(SCALE.bucket(ns)) {
            *count += 1;
        }
        self.count += 1;
        self.max = self.max.max(time);
        self.sum = self.sum.saturating_add(time);
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// The time that this share did not exceed, in microseconds; never above the longest.
    pub fn quantile_us(&self, share: f64) -> Option<f64> {
        let ns = quantile(&BOUNDS, &self.counts, share)?;
        Some((ns / 1e3).min(micros(self.max)))
    }

    /// The longest, exactly.
    pub fn max_us(&self) -> Option<f64> {
        (self.count > 0).then_some(micros(self.max))
    }

    pub fn mean_us(&self) -> Option<f64> {
        (self.count > 0).then(|| micros(self.sum) / self.count as f64)
    }
}

/// Exact for whole microseconds.
fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_has_no_figures() {
        let empty = Histogram::default();
        assert_eq!((empty.quantile_us(0.5), empty.max_us(), empty.mean_us()), (None, None, None));
    }

    #[test]
    fn what_takes_longer_than_every_bucket_is_still_seen() {
        let mut histogram = Histogram::default();
        histogram.record(Duration::from_millis(1));
        histogram.record(Duration::from_secs(3600));
        assert_eq!(histogram.max_us(), Some(3.6e9));
        assert!(histogram.quantile_us(1.0).unwrap() > 1e9);
    }

    proptest! {
        #[test]
        fn percentiles_are_within_a_hundredth(
            mut us in prop::collection::vec(1u64..60_000_000, 1..200),
            share in prop::sample::select(vec![0.5, 0.9, 0.99, 0.999]),
        ) {
            let mut histogram = Histogram::default();
            us.iter().for_each(|&us| histogram.record(Duration::from_micros(us)));
            us.sort_unstable();
            let rank = (share * us.len() as f64).ceil() as usize;
            let wanted = us[rank.clamp(1, us.len()) - 1] as f64;
            let found = histogram.quantile_us(share).unwrap();
            prop_assert!((found - wanted).abs() <= wanted / 100.0, "{} {}", found, wanted);
            prop_assert_eq!(histogram.max_us(), us.last().map(|&us| us as f64));
        }
    }
}
