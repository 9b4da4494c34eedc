//! Distributions of times in fixed buckets, for percentiles over REST. Prometheus' histograms are
//! coarser, and live on another port; these are read by the doors.
//!
//! Buckets are log-linear, as HdrHistogram's: eight to every doubling, so that a bound is at most
//! an eighth above the time. Recording is one relaxed addition.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets of each doubling, as a power of two.
const PARTS_BITS: u32 = 3;
const PARTS: u64 = 1 << PARTS_BITS;
/// The last bound is two to the power of this, in microseconds: about 67 s.
const OCTAVES_END: u32 = 26;
/// Buckets that have an upper bound.
pub const BOUNDED: usize = (PARTS + (OCTAVES_END - PARTS_BITS) as u64 * PARTS) as usize;

/// Upper bounds in microseconds, ascending; a time counts in the first bucket whose bound it does
/// not exceed.
pub static BOUNDS_US: LazyLock<Vec<u64>> = LazyLock::new(|| (0..BOUNDED).map(bound).collect());

fn bound(index: usize) -> u64 {
    let index = index as u64;
    if index < PARTS {
        return index + 1;
    }
    let octave = index / PARTS - 1;
    (PARTS + index % PARTS + 1) << octave
}

/// The bucket of a time; [`BOUNDED`] for what exceeds every bound.
fn bucket(time: Duration) -> usize {
    let us = u64::try_from(time.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX);
    let below = us.saturating_sub(1);
    if below < PARTS {
        return below as usize;
    }
    let octave = below.ilog2() - PARTS_BITS;
    let part = (below >> octave) & (PARTS - 1);
    (((u64::from(octave) + 1) * PARTS + part) as usize).min(BOUNDED)
}

/// Counts of times, by bucket.
pub struct Histogram([AtomicU64; BOUNDED + 1]);

impl Default for Histogram {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Histogram {
    pub fn record(&self, time: Duration) {
        if let Some(count) = self.0.get(bucket(time)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The counts of now: one for each bound, and one for what exceeds them all.
    pub fn counts(&self) -> Vec<u64> {
        self.0.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }
}

/// The value that a share `q` of all values does not exceed, as though values lay evenly in their
/// bucket; `None` where there are none. What exceeds every bound counts as the last bound.
pub fn quantile(bounds: &[u64], counts: &[u64], q: f64) -> Option<f64> {
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return None;
    }
    let rank = q * total as f64;
    let (mut seen, mut low) = (0.0, 0.0);
    for (&bound, &count) in bounds.iter().zip(counts) {
        let (high, count) = (bound as f64, count as f64);
        if count > 0.0 && seen + count >= rank {
            return Some(low + (high - low) * ((rank - seen) / count).clamp(0.0, 1.0));
        }
        seen += count;
        low = high;
    }
    bounds.last().map(|&bound| bound as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bounds_ascend_by_an_eighth_at_most() {
        assert_eq!(BOUNDS_US[..12], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!(BOUNDS_US.last(), Some(&(1 << OCTAVES_END)));
        for pair in BOUNDS_US.windows(2) {
            assert!(pair[0] < pair[1] && (pair[1] - pair[0]) * 8 <= pair[0].max(8), "{pair:?}");
        }
    }

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
            let first = BOUNDS_US.iter().position(|&bound| time <= Duration::from_micros(bound));
            prop_assert_eq!(bucket(time), first.unwrap_or(BOUNDED));
        }

        /// The oracle sorts the times and takes the one of that rank.
        #[test]
        fn percentiles_are_near_those_of_the_sorted_times(
            mut us in prop::collection::vec(1u64..60_000_000, 1..200),
            q in prop::sample::select(vec![0.5, 0.9, 0.99]),
        ) {
            let histogram = Histogram::default();
            for &time in &us {
                histogram.record(Duration::from_micros(time));
            }
            us.sort_unstable();
            let rank = (q * us.len() as f64).ceil() as usize;
            let wanted = us[rank.clamp(1, us.len()) - 1] as f64;
            let found = quantile(&BOUNDS_US, &histogram.counts(), q).unwrap();
            prop_assert!((found - wanted).abs() <= (wanted / 8.0).max(1.0), "{found} {wanted}");
        }
    }
}
