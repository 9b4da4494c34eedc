//! Raw values of a window against raw values of training: the scores that SciPy and Evidently give
//! two samples, and of vectors the tests on their rows. Seconds of work: for the background.

use super::kept::Kept;
use super::projection::Side;
use super::{Profile, Samples};
use crate::stats::embedding::{Rows, auc, discrepancy};
use crate::stats::kolmogorov::two_sample;
use crate::stats::samples;

/// What a window's raw values say.
#[derive(Clone, Debug, PartialEq)]
pub struct Exact {
    /// Rows whose values were compared.
    pub rows: usize,
    /// Of the features, and then of the outputs; `None` where there is nothing to compare.
    pub scores: Vec<Option<ExactScores>>,
    pub vectors: Vec<VectorScores>,
}

/// Of a feature or output that is a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExactScores {
    /// Values in the window and in the sample of training.
    pub current: usize,
    pub reference: usize,
    /// The Kolmogorov-Smirnov test's statistic, and its probability.
    pub ks: f64,
    pub ks_p: f64,
    pub distances: samples::Scores,
}

/// Of a vector.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorScores {
    pub of: Side,
    pub name: String,
    /// Rows of the window and of the sample of training.
    pub current: usize,
    pub reference: usize,
    /// Maximum mean discrepancy, squared, and its probability by permutation.
    pub mmd2: f64,
    pub mmd_p: f64,
    /// Area under the ROC curve of a classifier that is to tell the rows apart.
    pub auc: f64,
}

impl VectorScores {
    /// Its name, with the prefix that outputs have.
    pub fn label(&self) -> String {
        match self.of {
            Side::Input => self.name.clone(),
            Side::Output => format!("output:{}", self.name),
        }
    }
}

impl Exact {
    /// Compares what was kept with the samples of the profile that it was kept for.
    pub fn of(profile: &Profile, kept: &Kept) -> Self {
        let Samples { columns, vectors } = &profile.samples;
        let mut scores = vec![None; profile.features.len() + profile.outputs.len()];
        for (sample, values) in columns.iter().zip(kept.columns()) {
            let (list, before) = match sample.of {
                Side::Input => (&profile.features, 0),
                Side::Output => (&profile.outputs, profile.features.len()),
            };
            let place = list.iter().position(|feature| feature.name() == sample.name);
            if let Some(found) = place.and_then(|place| scores.get_mut(before + place)) {
                *found = compared(&sample.values, &values);
            }
        }
        let pairs = vectors.iter().zip(kept.vectors());
        let vectors = pairs.filter_map(|(sample, current)| {
            let width = sample.rows.first()?.len();
            let reference = Rows::new(&sample.rows.concat(), width)?;
            let current = Rows::new(&current, width)?;
            let test = discrepancy(&reference, &current)?;
            Some(VectorScores {
                of: sample.of,
                name: sample.name.clone(),
                current: current.count(),
                reference: reference.count(),
                mmd2: test.mmd2,
                mmd_p: test.p,
                auc: auc(&reference, &current)?,
            })
        });
        Self { rows: kept.rows(), scores, vectors: vectors.collect() }
    }
}

/// `None` where one side has no finite value.
fn compared(reference: &[f64], current: &[f64]) -> Option<ExactScores> {
    let test = two_sample(reference, current)?;
    Some(ExactScores {
        current: current.iter().filter(|value| value.is_finite()).count(),
        reference: reference.len(),
        ks: test.statistic,
        ks_p: test.p,
        distances: samples::scores(reference, current)?,
    })
}
