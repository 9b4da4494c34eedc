//! What pairs of score and truth say of a version. Pure.

use std::time::SystemTime;

use super::store::{Counts, Pair, Store};
use crate::model::performance::{Outcome, Truth};
use crate::stats::performance::{
    Calibration, CalibrationBin, Confusion, Errors, Estimate, Share, auc, brier, log_loss,
};

/// Cases below which a subgroup is not shown: figures of a few say little, and may say it of
/// somebody.
pub const CASES_MIN: usize = 30;

/// A copy of what is known, so that nobody waits while figures are made of it.
#[derive(Clone, Debug)]
pub struct Seen {
    outcome: Outcome,
    pub counts: Counts,
    pub pending: usize,
    pairs: Vec<Pair>,
    values: Vec<Vec<String>>,
    pending_scores: Vec<f64>,
}

/// How a version does.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub counts: Counts,
    pub pending: usize,
    /// Why it is in alert; nothing where it is not.
    pub alert: Vec<String>,
    /// When the labelled answers were written down that were taken over at the start.
    pub restored_at: Option<SystemTime>,
    /// What a crash may lose of them at most.
    pub snapshot_seconds: u64,
    /// Label of the positive class.
    pub positive: Option<String>,
    /// None where scores are no probabilities.
    pub threshold: Option<f64>,
    /// Of the last pairs.
    pub overall: Summary,
    pub groups: Vec<Subgroup>,
    /// None where scores are no probabilities, or nothing is labelled.
    pub calibration: Vec<CalibrationBin>,
    /// From the scores of so many answers without a label.
    pub estimate: Option<(usize, Estimate)>,
}

/// Those with one value of a subgroup.
#[derive(Clone, Debug)]
pub struct Subgroup {
    pub name: String,
    pub value: String,
    /// `None`: too few to be shown.
    pub summary: Option<Summary>,
}

/// Figures of some pairs; `None` where they have none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    pub cases: usize,
    pub auc: Option<f64>,
    pub brier: Option<f64>,
    pub log_loss: Option<f64>,
    pub calibration: Option<Calibration>,
    pub sensitivity: Option<Share>,
    pub specificity: Option<Share>,
    pub ppv: Option<Share>,
    pub npv: Option<Share>,
    pub errors: Option<Errors>,
}

impl Seen {
    pub fn of(store: &Store) -> Self {
        let is_probability = store.outcome().is_probability();
        Self {
            outcome: store.outcome().clone(),
            counts: store.counts,
            pending: store.pending(),
            pairs: store.pairs().copied().collect(),
            values: store.values().to_vec(),
            pending_scores: if is_probability { store.pending_scores() } else { Vec::new() },
        }
    }

    /// Figures of all pairs.
    pub fn overall(&self) -> Summary {
        summary(&self.outcome, self.pairs.iter())
    }

    pub fn report(&self) -> Report {
        let outcome = &self.outcome;
        let overall = self.overall();
        let groups = outcome.groups.iter().zip(&self.values).enumerate();
        let groups = groups.flat_map(|(group, (name, values))| {
            values.iter().enumerate().map(move |(place, value)| {
                let mine = || self.pairs.iter().filter(move |pair| pair.is_of(group, place));
                let enough = mine().count() >= CASES_MIN;
                let summary = enough.then(|| summary(outcome, mine()));
                Subgroup { name: name.clone(), value: value.clone(), summary }
            })
        });
        let positive = match &outcome.truth {
            Truth::Class { labels, positive, .. } => labels.get(*positive).cloned(),
            Truth::Quantity => None,
        };
        let calibration = overall.calibration.as_ref().map(|all| all.bins.clone());
        let estimate = Estimate::of(&self.pending_scores, outcome.threshold);
        Report {
            counts: self.counts,
            pending: self.pending,
            alert: Vec::new(),
            restored_at: None,
            snapshot_seconds: 0,
            positive,
            threshold: outcome.is_probability().then_some(outcome.threshold),
            groups: groups.collect(),
            calibration: calibration.unwrap_or_default(),
            estimate: estimate.map(|estimate| (self.pending_scores.len(), estimate)),
            overall,
        }
    }
}

fn summary<'a>(outcome: &Outcome, pairs: impl Iterator<Item = &'a Pair>) -> Summary {
    let (scores, truth): (Vec<f64>, Vec<f64>) = pairs.map(|pair| (pair.score, pair.truth)).unzip();
    let cases = scores.len();
    if outcome.truth == Truth::Quantity {
        return Summary { cases, errors: Errors::of(&scores, &truth), ..Summary::default() };
    }
    let labels: Vec<bool> = truth.iter().map(|truth| *truth > 0.5).collect();
    let is_probability = outcome.is_probability();
    // A class is 1 or 0 here.
    let threshold = if is_probability { outcome.threshold } else { 0.5 };
    let confusion = Confusion::of(&scores, &labels, threshold);
    let mut summary = Summary {
        cases,
        sensitivity: confusion.sensitivity(),
        specificity: confusion.specificity(),
        ppv: confusion.ppv(),
        npv: confusion.npv(),
        ..Summary::default()
    };
    if is_probability {
        summary.auc = auc(&scores, &labels);
        summary.brier = brier(&scores, &labels);
        summary.log_loss = log_loss(&scores, &labels);
        summary.calibration = Calibration::of(&scores, &labels);
    }
    summary
}
