//! Does a probability of 0.3 come true three times in ten?

use super::are_probabilities;
use crate::stats::bins::Edges;

/// Bins of equal width over 0 to 1; the last one is closed.
pub const BINS: usize = 10;

/// Mean squared difference of probability and truth: 0 is best, 1 is worst.
pub fn brier(scores: &[f64], labels: &[bool]) -> Option<f64> {
    mean(scores, labels, |score, label| (score - truth(label)).powi(2))
}

/// Mean negative logarithm (nats) of the probability given to what came true. Probabilities are
/// kept 2.2e-16 away from 0 and 1, as scikit-learn does.
pub fn log_loss(scores: &[f64], labels: &[bool]) -> Option<f64> {
    mean(scores, labels, |score, label| {
        let score = score.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
        -(if label { score } else { 1.0 - score }).ln()
    })
}

fn truth(label: bool) -> f64 {
    f64::from(u8::from(label))
}

fn mean(scores: &[f64], labels: &[bool], of: impl Fn(f64, bool) -> f64) -> Option<f64> {
    are_probabilities(scores, labels).then(|| {
        let sum: f64 = scores.iter().zip(labels).map(|(&score, &label)| of(score, label)).sum();
        sum / scores.len() as f64
    })
}

/// One bin of the reliability diagram.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CalibrationBin {
    pub count: u64,
    /// Sum of the probabilities.
    pub scores: f64,
    pub positives: u64,
}

impl CalibrationBin {
    pub fn mean_score(&self) -> Option<f64> {
        (self.count > 0).then(|| self.scores / self.count as f64)
    }

    pub fn share_positive(&self) -> Option<f64> {
        (self.count > 0).then(|| self.positives as f64 / self.count as f64)
    }

    fn gap(&self) -> f64 {
        let gap = self.mean_score().zip(self.share_positive()).map(|(p, y)| (p - y).abs());
        gap.unwrap_or(0.0)
    }
}

/// The reliability diagram and what it comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// `BINS` of them, in ascending order.
    pub bins: Vec<CalibrationBin>,
}

impl Calibration {
    /// `None` where there is no case or a score is no probability.
    pub fn of(scores: &[f64], labels: &[bool]) -> Option<Self> {
        let inner = (1..BINS).map(|bin| bin as f64 / BINS as f64).collect();
        let edges = Edges::new(inner).filter(|_| are_probabilities(scores, labels))?;
        let mut bins = vec![CalibrationBin::default(); BINS];
        for (&score, &label) in scores.iter().zip(labels) {
            let bin = &mut bins[edges.index(score)];
            bin.count += 1;
            bin.scores += score;
            bin.positives += u64::from(label);
        }
        Some(Self { bins })
    }

    /// Expected calibration error: the mean gap of mean probability and share of positives,
    /// weighted by count. 0 to 1.
    pub fn ece(&self) -> f64 {
        let total: u64 = self.bins.iter().map(|bin| bin.count).sum();
        let weighted = self.bins.iter().map(|bin| bin.count as f64 * bin.gap());
        weighted.sum::<f64>() / total as f64
    }

    /// The largest gap of any bin.
    pub fn mce(&self) -> f64 {
        self.bins.iter().map(CalibrationBin::gap).fold(0.0, f64::max)
    }

    /// Calibration in the large: share of positives minus mean probability; above 0, risks are
    /// given too low.
    pub fn in_the_large(&self) -> f64 {
        let sum = |of: fn(&CalibrationBin) -> f64| self.bins.iter().map(of).sum::<f64>();
        let total = sum(|bin| bin.count as f64);
        (sum(|bin| bin.positives as f64) - sum(|bin| bin.scores)) / total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_edges_have_their_bins() {
        let scores = [0.0, 0.3, 0.9, 1.0];
        let calibration = Calibration::of(&scores, &[false, true, true, true]).unwrap();
        let counts: Vec<u64> = calibration.bins.iter().map(|bin| bin.count).collect();
        assert_eq!(counts, [1, 0, 0, 1, 0, 0, 0, 0, 0, 2]);
        assert!((calibration.mce() - 0.7).abs() < 1e-15);
        assert!((calibration.in_the_large() - (0.75 - 0.55)).abs() < 1e-15);
        assert!(log_loss(&[0.0], &[true]).unwrap() > 36.0);
    }

    #[test]
    fn what_is_no_probability_has_no_score() {
        for bad in [&[1.1][..], &[-0.1], &[f64::NAN], &[]] {
            assert_eq!(brier(bad, &vec![true; bad.len()]), None);
            assert_eq!(Calibration::of(bad, &vec![true; bad.len()]), None);
        }
        assert_eq!(log_loss(&[0.5], &[]), None);
    }
}
