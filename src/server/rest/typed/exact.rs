//! Raw values held against those of training, in the report on drift.

use serde::Serialize;
use utoipa::ToSchema;

use super::super::super::time::rfc3339;
use crate::model::profile::{self, Side, VectorScores};
use crate::service::ExactReport;

/// What [`cells`] has, as the end of a header.
pub const COLUMNS: &str = ",ks,ks_p,wasserstein_normed,exact_psi,exact_js";

/// Raw values of a window against raw values of training.
#[derive(Serialize, ToSchema)]
pub struct DriftExact {
    /// Rows of a window that are kept to be compared.
    rows_max: usize,
    /// End of the window that was compared last, all of its rows, and those that were compared.
    completed_at: Option<String>,
    window_rows: Option<u64>,
    rows: Option<usize>,
    vectors: Vec<DriftVector>,
}

/// Rows of a vector, on its principal components.
#[derive(Serialize, ToSchema)]
pub struct DriftVector {
    name: String,
    /// `input` or `output`.
    #[schema(value_type = String)]
    of: &'static str,
    /// Rows of the window, and of training.
    rows: usize,
    reference_rows: usize,
    /// Squared maximum mean discrepancy, and its probability by permutation.
    mmd2: f64,
    mmd_p: f64,
    /// Area under the ROC curve of a classifier that is to tell window and training apart.
    auc: f64,
}

/// Scores of two samples of raw values, as SciPy and Evidently compute them.
#[derive(Serialize, ToSchema)]
pub struct ExactScores {
    /// Values of the window, and of training.
    rows: usize,
    reference_rows: usize,
    /// Kolmogorov-Smirnov statistic, and its probability.
    ks: f64,
    ks_p: f64,
    /// In the feature's own unit, and in standard deviations of training.
    wasserstein: f64,
    wasserstein_normed: f64,
    psi: f64,
    /// Nats.
    kl: f64,
    /// Distance, base e.
    js: f64,
    hellinger: f64,
}

impl From<ExactReport> for DriftExact {
    fn from(report: ExactReport) -> Self {
        let vector = |vector: &VectorScores| DriftVector {
            name: vector.name.clone(),
            of: match vector.of {
                Side::Input => "input",
                Side::Output => "output",
            },
            rows: vector.current,
            reference_rows: vector.reference,
            mmd2: vector.mmd2,
            mmd_p: vector.mmd_p,
            auc: vector.auc,
        };
        Self {
            rows_max: report.rows_max,
            completed_at: report.last.map(|(at, ..)| rfc3339(at)),
            window_rows: report.last.map(|(_, rows, _)| rows),
            rows: report.last.map(|(.., rows)| rows),
            vectors: report.vectors.iter().map(vector).collect(),
        }
    }
}

impl From<profile::ExactScores> for ExactScores {
    fn from(scores: profile::ExactScores) -> Self {
        Self {
            rows: scores.current,
            reference_rows: scores.reference,
            ks: scores.ks,
            ks_p: scores.ks_p,
            wasserstein: scores.distances.wasserstein,
            wasserstein_normed: scores.distances.wasserstein_normed,
            psi: scores.distances.psi,
            kl: scores.distances.kullback_leibler,
            js: scores.distances.jensen_shannon,
            hellinger: scores.distances.hellinger,
        }
    }
}

/// One line of a table, empty where nothing was compared.
pub fn cells(scores: Option<&ExactScores>) -> [String; 5] {
    let scores = scores.map(|s| [s.ks, s.ks_p, s.wasserstein_normed, s.psi, s.js]);
    scores.map(|scores| scores.map(|score| score.to_string())).unwrap_or_default()
}
