//! Calls against the truth, and shares with their intervals.

use crate::stats::tails::NORMAL_975;

/// A share with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// Cases that it is a share of.
    pub of: u64,
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// `hits` of `of`, with Wilson's 95 % interval (1927), which holds for few cases and for shares of
/// 0 and 1 too. `None` of none.
pub fn wilson(hits: u64, of: u64) -> Option<Share> {
    if of == 0 || hits > of {
        return None;
    }
    let (n, value, z2) = (of as f64, hits as f64 / of as f64, NORMAL_975 * NORMAL_975);
    let middle = value + z2 / (2.0 * n);
    let half = NORMAL_975 * (value * (1.0 - value) / n + z2 / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z2 / n;
    // The interval holds its share; rounding would put 1 outside of it.
    let low = ((middle - half) / scale).clamp(0.0, value);
    let high = ((middle + half) / scale).clamp(value, 1.0);
    Some(Share { of, value, low, high })
}

/// Counts of calls at one threshold. They add up over windows and subgroups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confusion {
    pub true_positives: u64,
    pub false_positives: u64,
    pub false_negatives: u64,
    pub true_negatives: u64,
}

impl Confusion {
    /// Counts the cases; a score at the threshold is a positive call, NaN is none.
    pub fn of(scores: &[f64], labels: &[bool], threshold: f64) -> Self {
        let mut counts = Self::default();
        for (&score, &label) in scores.iter().zip(labels) {
            counts.push(score >= threshold, label);
        }
        counts
    }

    pub fn push(&mut self, called: bool, label: bool) {
        let cell = match (called, label) {
            (true, true) => &mut self.true_positives,
            (true, false) => &mut self.false_positives,
            (false, true) => &mut self.false_negatives,
            (false, false) => &mut self.true_negatives,
        };
        *cell += 1;
    }

    pub fn merge(&mut self, other: &Self) {
        self.true_positives += other.true_positives;
        self.false_positives += other.false_positives;
        self.false_negatives += other.false_negatives;
        self.true_negatives += other.true_negatives;
    }

    pub fn total(&self) -> u64 {
        self.true_positives + self.false_positives + self.false_negatives + self.true_negatives
    }

    /// Of the positive cases, those called so.
    pub fn sensitivity(&self) -> Option<Share> {
        wilson(self.true_positives, self.true_positives + self.false_negatives)
    }

    /// Of the negative cases, those called so.
    pub fn specificity(&self) -> Option<Share> {
        wilson(self.true_negatives, self.true_negatives + self.false_positives)
    }

    /// Positive predictive value: of the positive calls, those that are right.
    pub fn ppv(&self) -> Option<Share> {
        wilson(self.true_positives, self.true_positives + self.false_positives)
    }

    /// Negative predictive value: of the negative calls, those that are right.
    pub fn npv(&self) -> Option<Share> {
        wilson(self.true_negatives, self.true_negatives + self.false_negatives)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn of_nothing_there_is_no_share() {
        assert_eq!(wilson(0, 0), None);
        assert_eq!(wilson(2, 1), None);
        assert_eq!(Confusion::default().sensitivity(), None);
        // 90 of 90 were 1, in an interval up to 0.9999999999999998.
        assert!((1..1000).all(|n| wilson(n, n).unwrap().high == 1.0));
        let at = Confusion::of(&[0.5, f64::NAN], &[true, true], 0.5);
        assert_eq!((at.true_positives, at.false_negatives), (1, 1));
        assert_eq!((at.ppv().unwrap().value, at.npv().unwrap().value), (1.0, 0.0));
    }

    proptest! {
        #[test]
        fn an_interval_holds_its_share(hits in 0u64..1000, misses in 0u64..1000) {
            if let Some(share) = wilson(hits, hits + misses) {
                prop_assert!(0.0 <= share.low && share.low <= share.value);
                prop_assert!(share.value <= share.high && share.high <= 1.0);
            }
        }

        #[test]
        fn parts_add_up(cases in proptest::collection::vec((0.0..1.0f64, any::<bool>()), 0..40)) {
            let scores: Vec<f64> = cases.iter().map(|case| case.0).collect();
            let labels: Vec<bool> = cases.iter().map(|case| case.1).collect();
            let half = cases.len() / 2;
            let mut left = Confusion::of(&scores[..half], &labels[..half], 0.5);
            left.merge(&Confusion::of(&scores[half..], &labels[half..], 0.5));
            prop_assert_eq!(left, Confusion::of(&scores, &labels, 0.5));
            prop_assert_eq!(left.total(), cases.len() as u64);
        }
    }
}
