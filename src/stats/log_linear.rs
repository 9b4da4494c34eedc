//! Buckets for times: every doubling is parted into as many of equal width, as HdrHistogram's. The
//! memory is fixed, and a bound is at most one part above the value, whatever its magnitude.

/// Where the buckets lie. Values are whole numbers of whatever unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    parts_bits: u32,
    octaves_end: u32,
}

impl Scale {
    /// `2^parts_bits` buckets to a doubling; the last bound is `2^octaves_end`.
    pub const fn new(parts_bits: u32, octaves_end: u32) -> Self {
        Self { parts_bits, octaves_end }
    }

    const fn parts(self) -> u64 {
        1 << self.parts_bits
    }

    /// Buckets that have an upper bound.
    pub const fn bounded(self) -> usize {
        (self.parts() + (self.octaves_end - self.parts_bits) as u64 * self.parts()) as usize
    }

    /// Upper bounds, ascending; a value counts in the first bucket whose bound it does not exceed.
    pub fn bounds(self) -> Vec<u64> {
        (0..self.bounded()).map(|index| self.bound(index)).collect()
    }

    fn bound(self, index: usize) -> u64 {
        let (index, parts) = (index as u64, self.parts());
        if index < parts {
            return index + 1;
        }
        let octave = index / parts - 1;
        (parts + index % parts + 1) << octave
    }

    /// The bucket of a value; [`Self::bounded`] for what exceeds every bound.
    pub fn bucket(self, value: u64) -> usize {
        let (below, parts) = (value.saturating_sub(1), self.parts());
        if below < parts {
            return below as usize;
        }
        let octave = below.ilog2() - self.parts_bits;
        let part = (below >> octave) & (parts - 1);
        (((u64::from(octave) + 1) * parts + part) as usize).min(self.bounded())
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

    const COARSE: Scale = Scale::new(3, 26);
    const FINE: Scale = Scale::new(7, 40);

    #[test]
    fn bounds_ascend_by_one_part_at_most() {
        assert_eq!(COARSE.bounds()[..12], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        for (scale, parts, end) in [(COARSE, 8, 26), (FINE, 128, 40)] {
            let bounds = scale.bounds();
            assert_eq!(bounds.last(), Some(&(1 << end)));
            for pair in bounds.windows(2) {
                assert!(pair[0] < pair[1], "{pair:?}");
                assert!((pair[1] - pair[0]) * parts <= pair[0].max(parts), "{pair:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_value_counts_in_the_first_bucket_that_holds_it(value in 0u64..1 << 28) {
            for scale in [COARSE, FINE] {
                let first = scale.bounds().iter().position(|&bound| value <= bound);
                prop_assert_eq!(scale.bucket(value), first.unwrap_or(scale.bounded()));
            }
        }

        /// The oracle sorts the values and takes the one of that rank.
        #[test]
        fn percentiles_are_near_those_of_the_sorted_values(
            mut values in prop::collection::vec(1u64..60_000_000, 1..200),
            q in prop::sample::select(vec![0.5, 0.9, 0.99]),
        ) {
            for (scale, parts) in [(COARSE, 8.0), (FINE, 128.0)] {
                let mut counts = vec![0; scale.bounded() + 1];
                for &value in &values {
                    counts[scale.bucket(value)] += 1;
                }
                values.sort_unstable();
                let rank = (q * values.len() as f64).ceil() as usize;
                let wanted = values[rank.clamp(1, values.len()) - 1] as f64;
                let found = quantile(&scale.bounds(), &counts, q).unwrap();
                prop_assert!(
                    (found - wanted).abs() <= (wanted / parts).max(1.0), "{found} {wanted}");
            }
        }
    }
}
