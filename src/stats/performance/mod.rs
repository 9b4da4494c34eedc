//! How well probabilities and calls agree with what became true, and an estimate of that while the
//! truth is still out.
//!
//! `scores` are probabilities of the positive class, `labels` whether it was; one entry per case.

mod calibration;
mod cbpe;
mod confusion;
mod errors;

pub use calibration::{BINS, Calibration, CalibrationBin, brier, log_loss};
pub use cbpe::Estimate;
pub use confusion::{Confusion, Share, wilson};
pub use errors::Errors;

/// Area under the ROC curve: the probability that a positive case has the higher score, ties
/// counted half. Any scores that rank will do. `None` without both kinds, or with NaN.
pub fn auc(scores: &[f64], labels: &[bool]) -> Option<f64> {
    if scores.len() != labels.len() || scores.iter().any(|score| score.is_nan()) {
        return None;
    }
    let mut cases: Vec<(f64, bool)> = scores.iter().copied().zip(labels.iter().copied()).collect();
    cases.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut wins) = (0u64, 0.0);
    for tied in cases.chunk_by(|a, b| a.0 == b.0) {
        let positives = tied.iter().filter(|case| case.1).count() as u64;
        let negatives = tied.len() as u64 - positives;
        wins += positives as f64 * (below as f64 + negatives as f64 / 2.0);
        below += negatives;
    }
    let (negatives, positives) = (below, cases.len() as u64 - below);
    (negatives > 0 && positives > 0).then(|| wins / (negatives as f64 * positives as f64))
}

/// Whether the lists fit and every score is a probability.
fn are_probabilities(scores: &[f64], labels: &[bool]) -> bool {
    let within = scores.iter().all(|score| (0.0..=1.0).contains(score));
    within && scores.len() == labels.len() && !scores.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn without_both_kinds_there_is_no_curve() {
        assert_eq!(auc(&[0.1, 0.2], &[true, true]), None);
        assert_eq!(auc(&[0.1], &[true, false]), None);
        assert_eq!(auc(&[f64::NAN, 0.2], &[true, false]), None);
        assert_eq!(auc(&[0.0, -0.0], &[true, false]), Some(0.5));
    }

    proptest! {
        #[test]
        fn pairs_are_counted(cases in proptest::collection::vec((0u8..9, any::<bool>()), 2..40)) {
            let scores: Vec<f64> = cases.iter().map(|case| f64::from(case.0)).collect();
            let labels: Vec<bool> = cases.iter().map(|case| case.1).collect();
            let (mut pairs, mut wins) = (0.0, 0.0);
            for (a, _) in cases.iter().filter(|case| case.1) {
                for (b, _) in cases.iter().filter(|case| !case.1) {
                    pairs += 1.0;
                    wins += if a > b { 1.0 } else if a == b { 0.5 } else { 0.0 };
                }
            }
            match auc(&scores, &labels) {
                Some(auc) => prop_assert!((auc - wins / pairs).abs() < 1e-12),
                None => prop_assert_eq!(pairs, 0.0),
            }
        }
    }
}
