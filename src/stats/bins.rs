//! Bins with frozen edges, and where to put them.
//!
//! `B` bins have `B - 1` inner edges, ascending and distinct. Bin `i` is `[e_i, e_i+1)`; the first
//! one is open to minus infinity, the last one to infinity, so that every number has a bin.

/// Most inner edges: a bound on what a profile can make us hold.
pub const EDGES_MAX: usize = 1000;

/// Inner edges, finite, ascending and distinct.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Edges(Box<[f64]>);

impl Edges {
    /// `None` unless finite, ascending, distinct and at most [`EDGES_MAX`].
    pub fn new(edges: Vec<f64>) -> Option<Self> {
        let finite = edges.iter().all(|edge| edge.is_finite());
        let ascending = edges.windows(2).all(|pair| pair[0] < pair[1]);
        (finite && ascending && edges.len() <= EDGES_MAX).then(|| Self(edges.into()))
    }

    pub fn as_slice(&self) -> &[f64] {
        &self.0
    }

    /// How many bins there are.
    pub fn bins(&self) -> usize {
        self.0.len() + 1
    }

    /// The bin of a number; the last one for NaN, which the caller keeps away.
    pub fn index(&self, value: f64) -> usize {
        // Up to some twenty edges, counting them all beats a search that mispredicts.
        if self.0.len() <= 24 {
            return self.0.iter().map(|&edge| usize::from(edge <= value)).sum();
        }
        self.0.partition_point(|&edge| edge <= value)
    }

    /// Counts of `values` by bin.
    pub fn count(&self, values: &[f64]) -> Vec<u64> {
        let mut counts = vec![0; self.bins()];
        for &value in values {
            counts[self.index(value)] += 1;
        }
        counts
    }
}

/// The quantile at `share` (0 to 1) of ascending values, interpolated as NumPy does by default
/// (type 7 of Hyndman and Fan). `None` without values.
pub fn quantile(ascending: &[f64], share: f64) -> Option<f64> {
    let last = ascending.len().checked_sub(1)?;
    let place = share.clamp(0.0, 1.0) * last as f64;
    let below = (place.floor() as usize).min(last);
    let (low, high) = (ascending[below], ascending[(below + 1).min(last)]);
    Some(low + (high - low) * (place - below as f64))
}

/// Inner edges at the deciles. Duplicates are removed, and so is an edge at the minimum: nothing
/// would lie below it.
pub fn decile_edges(ascending: &[f64]) -> Vec<f64> {
    let mut edges: Vec<f64> = (1..10)
        .filter_map(|tenth| quantile(ascending, f64::from(tenth) / 10.0))
        .filter(|edge| ascending.first().is_some_and(|min| edge > min))
        .collect();
    edges.dedup();
    edges
}

/// Inner edges half way between neighbouring distinct values: one bin per value. `None` where
/// there are more than `values_max` of them.
pub fn value_edges(ascending: &[f64], values_max: usize) -> Option<Vec<f64>> {
    let mut edges = Vec::new();
    for pair in ascending.windows(2).filter(|pair| pair[0] < pair[1]) {
        if edges.len() + 1 >= values_max {
            return None;
        }
        let middle = pair[0] / 2.0 + pair[1] / 2.0;
        // Two neighbouring doubles have nothing between them.
        edges.push(if middle > pair[0] { middle } else { pair[1] });
    }
    Some(edges)
}

/// Removes edges until every bin holds at least `count_min`: the emptiest bin that holds fewer
/// (of equals the first) goes together with its emptier neighbour (of equals the left one).
pub fn merge_small(edges: &mut Vec<f64>, counts: &mut Vec<u64>, count_min: u64) {
    while counts.len() > 1 {
        let Some(small) = (0..counts.len()).min_by_key(|&bin| counts[bin]) else { return };
        if counts[small] >= count_min {
            return;
        }
        let left = small.checked_sub(1);
        let right = (small + 1 < counts.len()).then_some(small + 1);
        let (keep, gone) = match (left, right) {
            (Some(left), Some(right)) if counts[right] < counts[left] => (small, right),
            (Some(left), _) => (left, small),
            (None, Some(right)) => (small, right),
            (None, None) => return,
        };
        counts[keep] += counts.remove(gone);
        edges.remove(keep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bin_begins_at_its_edge() {
        let edges = Edges::new(vec![1.0, 2.0]).unwrap();
        let index = |value| edges.index(value);
        assert_eq!([index(0.9), index(1.0), index(1.9), index(2.0)], [0, 1, 1, 2]);
        assert_eq!([index(f64::NEG_INFINITY), index(f64::INFINITY)], [0, 2]);
        assert_eq!(Edges::new(vec![]).unwrap().index(7.0), 0);
        for bad in [vec![2.0, 1.0], vec![1.0, 1.0], vec![f64::NAN], vec![1.0, f64::INFINITY]] {
            assert_eq!(Edges::new(bad), None);
        }
        let many: Vec<f64> = (0..=EDGES_MAX).map(|i| i as f64).collect();
        assert_eq!(Edges::new(many), None);
    }

    #[test]
    fn edges_follow_the_data() {
        let mut values = vec![0.0; 30];
        values.extend((1..=70).map(f64::from));
        let edges = decile_edges(&values);
        assert_eq!(edges.len(), 7, "{edges:?}");
        assert!(edges[0] > 0.0);
        assert_eq!(value_edges(&[1.0, 1.0, 2.0, 4.0], 3), Some(vec![1.5, 3.0]));
        assert_eq!(value_edges(&[1.0, 1.0, 2.0, 4.0], 2), None);
        assert_eq!(value_edges(&[5.0, 5.0], 2), Some(vec![]));
        assert_eq!(decile_edges(&[5.0; 20]), Vec::<f64>::new());
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[3.0], 0.9), Some(3.0));
    }

    #[test]
    fn small_bins_join_their_emptier_neighbour() {
        let (mut edges, mut counts) = (vec![1.0, 2.0, 3.0], vec![9, 2, 7, 6]);
        merge_small(&mut edges, &mut counts, 5);
        assert_eq!((edges, counts), (vec![1.0, 3.0], vec![9, 9, 6]));
        let (mut edges, mut counts) = (vec![1.0], vec![1, 2]);
        merge_small(&mut edges, &mut counts, 5);
        assert_eq!((edges, counts), (vec![], vec![3]));
    }

    proptest! {
        #[test]
        fn both_searches_agree(
            mut edges in proptest::collection::vec(-100i32..100, 0..60),
            value in -120i32..120,
        ) {
            edges.sort_unstable();
            edges.dedup();
            let plain: Vec<f64> = edges.iter().map(|&edge| f64::from(edge)).collect();
            let expected = plain.iter().filter(|&&edge| edge <= f64::from(value)).count();
            prop_assert_eq!(Edges::new(plain).unwrap().index(f64::from(value)), expected);
        }

        #[test]
        fn merging_keeps_every_count(counts in proptest::collection::vec(0u64..20, 1..20)) {
            let mut edges: Vec<f64> = (1..counts.len()).map(|i| i as f64).collect();
            let mut merged = counts.clone();
            merge_small(&mut edges, &mut merged, 5);
            prop_assert_eq!(merged.iter().sum::<u64>(), counts.iter().sum::<u64>());
            prop_assert_eq!(edges.len() + 1, merged.len());
            prop_assert!(merged.len() == 1 || merged.iter().all(|&count| count >= 5));
            prop_assert!(edges.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}
