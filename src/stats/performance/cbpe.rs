//! Confidence-based performance estimation: performance without labels.
//!
//! It assumes that the probabilities are calibrated and that what they mean has not changed (no
//! concept drift). Say so wherever an estimate is shown.

/// Expected counts at a threshold, and what follows from them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    pub true_positives: f64,
    pub false_positives: f64,
    pub false_negatives: f64,
    pub true_negatives: f64,
    /// `None` where the scores leave no doubt of one kind at all.
    pub auc: Option<f64>,
}

impl Estimate {
    /// From calibrated probabilities. `None` where there are none or one is no probability.
    pub fn of(scores: &[f64], threshold: f64) -> Option<Self> {
        if scores.is_empty() || !scores.iter().all(|score| (0.0..=1.0).contains(score)) {
            return None;
        }
        let mut estimate = Self {
            true_positives: 0.0,
            false_positives: 0.0,
            false_negatives: 0.0,
            true_negatives: 0.0,
            auc: auc(scores),
        };
        for &score in scores {
            if score >= threshold {
                estimate.true_positives += score;
                estimate.false_positives += 1.0 - score;
            } else {
                estimate.false_negatives += score;
                estimate.true_negatives += 1.0 - score;
            }
        }
        Some(estimate)
    }

    fn share(part: f64, rest: f64) -> Option<f64> {
        (part + rest > 0.0).then(|| part / (part + rest))
    }

    pub fn accuracy(&self) -> Option<f64> {
        let right = self.true_positives + self.true_negatives;
        Self::share(right, self.false_positives + self.false_negatives)
    }

    pub fn sensitivity(&self) -> Option<f64> {
        Self::share(self.true_positives, self.false_negatives)
    }

    pub fn specificity(&self) -> Option<f64> {
        Self::share(self.true_negatives, self.false_positives)
    }

    /// Positive predictive value.
    pub fn ppv(&self) -> Option<f64> {
        Self::share(self.true_positives, self.false_positives)
    }

    /// Negative predictive value.
    pub fn npv(&self) -> Option<f64> {
        Self::share(self.true_negatives, self.false_negatives)
    }
}

/// The ROC curve of fractional cases: each score is so much of a positive case.
fn auc(scores: &[f64]) -> Option<f64> {
    let mut scores = scores.to_vec();
    scores.sort_unstable_by(f64::total_cmp);
    let (mut below, mut wins, mut positives) = (0.0, 0.0, 0.0);
    for tied in scores.chunk_by(|a, b| a == b) {
        let positive: f64 = tied.iter().sum();
        let negative = tied.len() as f64 - positive;
        wins += positive * (below + negative / 2.0);
        below += negative;
        positives += positive;
    }
    (below > 0.0 && positives > 0.0).then(|| wins / (below * positives))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certainty_and_nonsense() {
        let sure = Estimate::of(&[0.0, 1.0, 1.0], 0.5).unwrap();
        assert_eq!((sure.accuracy(), sure.auc), (Some(1.0), Some(1.0)));
        assert_eq!(Estimate::of(&[1.0], 0.5).unwrap().auc, None);
        assert_eq!(Estimate::of(&[1.0], 0.5).unwrap().specificity(), None);
        assert_eq!(Estimate::of(&[], 0.5), None);
        assert_eq!(Estimate::of(&[1.5], 0.5), None);
        let half = Estimate::of(&[0.5, 0.5], 0.5).unwrap();
        assert_eq!((half.auc, half.ppv(), half.npv()), (Some(0.5), Some(0.5), None));
    }
}
