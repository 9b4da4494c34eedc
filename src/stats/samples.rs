//! Two samples of raw values compared: the exact-window mode.
//!
//! Edges are taken from both samples together (Sturges' rule, as NumPy computes it), so the scores
//! equal Evidently's; they can not be had from counts over frozen bins.
//! In every sample, what is not finite is left out.

use super::divergence::{self, Base};
use super::moments::Moments;

/// Up to so many distinct reference values, Evidently compares value by value.
const DISTINCT_MAX: usize = 20;
/// Evidently's least divisor of a normed distance.
const STD_MIN: f64 = 0.001;

/// Finite values in ascending order.
pub fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// Bins of equal width by Sturges' rule: `ceil(log2 n + 1)` of them. The last one is closed.
#[derive(Clone, Debug, PartialEq)]
pub struct Sturges {
    /// One more than there are bins; empty without values.
    pub edges: Vec<f64>,
}

impl Sturges {
    /// Edges for ascending values.
    pub fn of(ascending: &[f64]) -> Self {
        let (Some(&first), Some(&last)) = (ascending.first(), ascending.last()) else {
            return Self { edges: Vec::new() };
        };
        let width = (last - first) / ((ascending.len() as f64).log2() + 1.0);
        let (first, last, bins) = if width > 0.0 && width.is_finite() {
            // The detour over the width is NumPy's, with its rounding.
            (first, last, ((last - first) / width).ceil())
        } else {
            (first - 0.5, last + 0.5, 1.0)
        };
        let step = (last - first) / bins;
        let mut edges: Vec<f64> = (0..bins as u32).map(|i| f64::from(i) * step + first).collect();
        edges.push(last);
        Self { edges }
    }

    /// Counts of ascending values.
    pub fn count(&self, ascending: &[f64]) -> Vec<u64> {
        let last = self.edges.len().saturating_sub(1);
        let below = |(place, edge): (usize, &f64)| {
            if place == last {
                ascending.partition_point(|value| value <= edge)
            } else {
                ascending.partition_point(|value| value < edge)
            }
        };
        let places: Vec<usize> = self.edges.iter().enumerate().map(below).collect();
        places.windows(2).map(|pair| (pair[1] - pair[0]) as u64).collect()
    }
}

/// Scores of a numeric feature as Evidently computes them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    pub psi: f64,
    pub kullback_leibler: f64,
    /// Jensen-Shannon distance, base e.
    pub jensen_shannon: f64,
    pub hellinger: f64,
    /// In the feature's own unit.
    pub wasserstein: f64,
    /// In standard deviations of the reference.
    pub wasserstein_normed: f64,
}

/// Compares a window with the reference; `None` where one side is empty.
pub fn scores(reference: &[f64], current: &[f64]) -> Option<Scores> {
    let (reference, current) = (sorted(reference), sorted(current));
    let mut pooled = [&reference[..], &current[..]].concat();
    pooled.sort_unstable_by(f64::total_cmp);
    let (p, q) = counts(&reference, &current, &pooled);
    // Hellinger takes its edges from the distinct values.
    let mut distinct = pooled.clone();
    distinct.dedup();
    let (hp, hq) = counts(&reference, &current, &distinct);
    let wasserstein = wasserstein_of(&reference, &current)?;
    let std = reference.iter().copied().collect::<Moments>().std_pop()?;
    Some(Scores {
        psi: divergence::psi(&p, &q)?,
        kullback_leibler: divergence::kullback_leibler(&q, &p)?,
        jensen_shannon: divergence::jensen_shannon(&p, &q, Base::E)?,
        hellinger: divergence::hellinger(&hp, &hq)?,
        wasserstein,
        wasserstein_normed: wasserstein / std.max(STD_MIN),
    })
}

/// Counts of the window and of the reference over common bins: `edges_from` says where they lie,
/// or each of its values is a bin where the reference has few.
fn counts(reference: &[f64], current: &[f64], edges_from: &[f64]) -> (Vec<u64>, Vec<u64>) {
    let distinct = reference.chunk_by(|a, b| a == b).count();
    if distinct > DISTINCT_MAX {
        let bins = Sturges::of(edges_from);
        return (bins.count(current), bins.count(reference));
    }
    let values = edges_from.chunk_by(|a, b| a == b).filter_map(|run| run.first());
    let equal = |sample: &[f64], value: f64| {
        let from = sample.partition_point(|&other| other < value);
        let to = sample.partition_point(|&other| other <= value);
        (to - from) as u64
    };
    values.map(|&value| (equal(current, value), equal(reference, value))).unzip()
}

/// Wasserstein-1 (earth mover's) distance: the area between the two distribution functions.
pub fn wasserstein(a: &[f64], b: &[f64]) -> Option<f64> {
    wasserstein_of(&sorted(a), &sorted(b))
}

fn wasserstein_of(a: &[f64], b: &[f64]) -> Option<f64> {
    let mut from = a.first()?.min(*b.first()?);
    let (n, m) = (a.len() as f64, b.len() as f64);
    let (mut i, mut j, mut area) = (0, 0, 0.0);
    loop {
        let next = match (a.get(i), b.get(j)) {
            (Some(&x), Some(&y)) => x.min(y),
            (Some(&x), None) | (None, Some(&x)) => x,
            (None, None) => return Some(area),
        };
        area += (i as f64 / n - j as f64 / m).abs() * (next - from);
        from = next;
        while a.get(i).is_some_and(|&x| x <= next) {
            i += 1;
        }
        while b.get(j).is_some_and(|&x| x <= next) {
            j += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn edges_of_nothing_and_of_one_value() {
        assert_eq!(Sturges::of(&[]).edges, Vec::<f64>::new());
        let one = Sturges::of(&[3.0, 3.0]);
        assert_eq!((one.edges.clone(), one.count(&[3.0, 3.0])), (vec![2.5, 3.5], vec![2]));
        assert_eq!(scores(&[1.0], &[]), None);
        assert_eq!(wasserstein(&[f64::NAN], &[1.0]), None);
    }

    #[test]
    fn few_reference_values_are_compared_one_by_one() {
        let (reference, current) = ([1.0, 1.0, 2.0, 2.0], [1.0, 2.0, 2.0, 2.0]);
        let scores = scores(&reference, &current).unwrap();
        let expected = divergence::psi(&[1, 3], &[2, 2]).unwrap();
        assert_eq!(scores.psi, expected);
    }

    proptest! {
        #[test]
        fn scores_know_no_order_and_are_0_for_the_same(
            mut a in proptest::collection::vec(-50.0..50.0f64, 1..60),
            mut b in proptest::collection::vec(-50.0..50.0f64, 1..60),
        ) {
            let first = scores(&a, &b).unwrap();
            a.reverse();
            b.reverse();
            prop_assert_eq!(scores(&a, &b).unwrap(), first);
            let same = scores(&a, &a).unwrap();
            prop_assert_eq!((same.psi, same.wasserstein), (0.0, 0.0));
            prop_assert!(same.hellinger < 1e-7 && same.jensen_shannon < 1e-7);
            prop_assert!(first.psi >= 0.0 && (0.0..=1.0).contains(&first.hellinger));
            let shifted: Vec<f64> = a.iter().map(|x| x + 3.0).collect();
            prop_assert!((wasserstein(&a, &shifted).unwrap() - 3.0).abs() < 1e-9);
        }
    }
}
