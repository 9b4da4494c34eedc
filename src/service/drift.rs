//! What is served, held against training: the report on one version.

use std::time::{Instant, SystemTime};

use super::Service;
use crate::error::{Error, Result};
use crate::model::profile::{ExactScores, Feature, FeatureScores, VectorScores};
use crate::model::{ModelId, Selector};
use crate::observe::drift::snapshot::{self, Snapshot};
use crate::observe::drift::{State, Verdict, Watched};
use crate::stats::drift::{Accumulator, Shape};

/// How far a label may be from its edge, as a share of the bin beside it.
const LABEL_OFF: f64 = 1e-3;
/// Digits that any 64-bit float is told by.
const DIGITS_MAX: usize = 17;

/// Where a version stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriftStatus {
    /// There is nothing to hold it against, or nobody who does.
    NoProfile,
    /// No window is complete yet.
    Warming,
    Ok,
    Alert,
}

/// The report on one version.
#[derive(Clone, Debug)]
pub struct DriftReport {
    pub id: ModelId,
    pub status: DriftStatus,
    /// Name and rows of the training data.
    pub profile: Option<(String, u64)>,
    pub reasons: Vec<String>,
    pub rows: u64,
    pub dropped: u64,
    pub window_rows: u64,
    pub window_seconds: u64,
    pub snapshot_seconds: u64,
    pub current_rows: u64,
    pub completed: u64,
    /// Rows and end of the last complete window.
    pub last: Option<(u64, SystemTime)>,
    /// When the counts were written down that were taken over at the start.
    pub restored_at: Option<SystemTime>,
    /// Where raw values are kept.
    pub exact: Option<ExactReport>,
    pub features: Vec<FeatureReport>,
    pub outputs: Vec<FeatureReport>,
}

/// How raw values are compared, and what is not of a single feature.
#[derive(Clone, Debug)]
pub struct ExactReport {
    /// Rows of a window that are kept at most.
    pub rows_max: usize,
    /// The window that they were compared of last: its end, its rows and those that were kept.
    pub last: Option<(SystemTime, u64, usize)>,
    pub vectors: Vec<VectorScores>,
}

/// One feature or output.
#[derive(Clone, Debug)]
pub struct FeatureReport {
    /// What training looked like.
    pub feature: Feature,
    /// What the last complete window looks like, and what it says.
    pub last: Option<(Accumulator, Verdict)>,
    /// Bins or categories, for people.
    pub bins: Vec<String>,
    pub reference: Vec<u64>,
    /// What raw values say, of the window that they were compared of last.
    pub exact: Option<ExactScores>,
}

impl Service {
    /// The report on a version that answers.
    pub fn drift(&self, model: &str, selector: Selector<'_>) -> Result<DriftReport> {
        let id = self.resolve(model, selector)?.id().clone();
        let watched = self.0.drift.as_ref().and_then(|drift| Some((drift, drift.of(&id)?)));
        let Some((drift, watched)) = watched else {
            return Ok(DriftReport::none(id));
        };
        let config = *drift.config();
        let state = watched.state();
        let last = state.last.as_ref();
        let (features, outputs) = reports(&watched, &state);
        let status = match last {
            None => DriftStatus::Warming,
            Some(last) if last.is_alert() => DriftStatus::Alert,
            Some(_) => DriftStatus::Ok,
        };
        let reasons = last.map(|last| {
            let named = watched.names().into_iter().zip(&last.verdicts);
            let named = named.filter(|(_, verdict)| verdict.is_alert());
            named
                .map(|(name, verdict)| format!("{name}: {}", verdict.reasons().join("; ")))
                .collect()
        });
        let source = &watched.profile.source;
        Ok(DriftReport {
            status,
            profile: Some((source.name.clone(), source.rows)),
            reasons: reasons.unwrap_or_default(),
            rows: watched.rows(),
            dropped: watched.dropped(),
            window_rows: config.window_rows,
            window_seconds: config.window_seconds,
            snapshot_seconds: config.snapshot_seconds,
            current_rows: state.current.rows(),
            completed: state.completed,
            last: last.map(|last| (last.window.rows(), last.at)),
            restored_at: state.restored_at,
            exact: exact(&state),
            features,
            outputs,
            id,
        })
    }

    /// Writes down what was seen, as the last thing before the end.
    pub fn keep_statistics(&self) {
        self.0.statistics.performance.save();
        if let Some(drift) = &self.0.drift {
            drift.tick(Instant::now(), SystemTime::now());
            drift.save();
        }
    }

    /// The counts of a version, for another replica.
    pub fn drift_state(&self, model: &str, selector: Selector<'_>) -> Result<Snapshot> {
        Ok(snapshot::export(&*self.watched(model, selector)?, SystemTime::now()))
    }

    /// Adds the running window of another replica to this one's.
    pub fn merge_drift(&self, model: &str, selector: Selector<'_>, other: &Snapshot) -> Result<()> {
        snapshot::merge(&*self.watched(model, selector)?, other)
    }

    fn watched(&self, model: &str, selector: Selector<'_>) -> Result<std::sync::Arc<Watched>> {
        let id = self.resolve(model, selector)?.id().clone();
        let watched = self.0.drift.as_ref().and_then(|drift| drift.of(&id));
        watched.ok_or_else(|| {
            Error::not_found(format!("model '{id}' is not watched: it has no profile.json"))
        })
    }
}

impl DriftReport {
    fn none(id: ModelId) -> Self {
        Self {
            id,
            status: DriftStatus::NoProfile,
            profile: None,
            reasons: Vec::new(),
            rows: 0,
            dropped: 0,
            window_rows: 0,
            window_seconds: 0,
            snapshot_seconds: 0,
            current_rows: 0,
            completed: 0,
            last: None,
            restored_at: None,
            exact: None,
            features: Vec::new(),
            outputs: Vec::new(),
        }
    }
}

fn exact(state: &State) -> Option<ExactReport> {
    let rows_max = Some(state.current.rows_kept_max()).filter(|rows| *rows > 0)?;
    let compared = state.exact.as_deref();
    Some(ExactReport {
        rows_max,
        last: compared.map(|compared| (compared.at, compared.rows, compared.exact.rows)),
        vectors: compared.map(|compared| compared.exact.vectors.clone()).unwrap_or_default(),
    })
}

/// Features, and outputs.
fn reports(watched: &Watched, state: &State) -> (Vec<FeatureReport>, Vec<FeatureReport>) {
    let last = state.last.as_ref();
    // The running window has the references, too.
    let window = last.map_or(&state.current, |last| &last.window);
    let exact = state.exact.as_ref().map(|compared| &compared.exact.scores[..]).unwrap_or_default();
    let count = watched.profile.features.len();
    let report = |(place, (feature, seen)): (usize, (&Feature, FeatureScores<'_>))| {
        let reference = seen.accumulator.reference();
        let verdict = last.and_then(|last| last.verdicts.get(place).cloned());
        FeatureReport {
            feature: feature.clone(),
            last: verdict.map(|verdict| (seen.accumulator.clone(), verdict)),
            bins: bins(&reference.shape),
            reference: reference.counts.clone(),
            exact: exact.get(place).copied().flatten(),
        }
    };
    let features = watched.profile.features.iter().zip(window.feature_scores());
    let outputs = watched.profile.outputs.iter().zip(window.output_scores());
    let mut all: Vec<FeatureReport> = features.chain(outputs).enumerate().map(report).collect();
    let outputs = all.split_off(count.min(all.len()));
    (all, outputs)
}

/// Edges for people: the shortest decimals that are no farther away than the next 32-bit float
/// (10.305 for 10.3049998), or a thousandth of the narrowest bin.
fn labels(edges: &[f64]) -> Vec<String> {
    let narrowest = edges.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min);
    let short = |edge: &f64| {
        let off = (edge.abs() * f64::from(f32::EPSILON)).min(narrowest * LABEL_OFF);
        let decimals =
            (0..DIGITS_MAX).filter_map(|digits| format!("{edge:.digits$e}").parse().ok());
        let near = decimals.into_iter().find(|decimal: &f64| (decimal - edge).abs() <= off);
        // A whole number has nothing to shorten.
        near.filter(|_| edge.fract() != 0.0).unwrap_or(*edge).to_string()
    };
    edges.iter().map(short).collect()
}

fn bins(shape: &Shape) -> Vec<String> {
    match shape {
        Shape::Numeric(edges) => {
            let edges = labels(edges.as_slice());
            let (Some(first), Some(last)) = (edges.first(), edges.last()) else {
                return vec!["all".to_owned()];
            };
            let between = edges.windows(2).map(|pair| format!("{} to {}", pair[0], pair[1]));
            let below = [format!("below {first}")].into_iter();
            below.chain(between).chain([format!("{last} and above")]).collect()
        }
        Shape::Categorical(known) => {
            known.names().iter().cloned().chain(["other".to_owned()]).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_of_single_precision_are_written_as_people_would() {
        let trained = [0.001_649_7, 10.304_999_8, 11.409_999_8, 15.0, 19.635_000_2];
        assert_eq!(labels(&trained), ["0.0016497", "10.305", "11.41", "15", "19.635"]);
        // A 32-bit float could not tell these apart, or not well.
        assert_eq!(labels(&[0.1, 0.100_000_001]), ["0.1", "0.100000001"]);
        assert_eq!(labels(&[1_700_000_000.5, 1_700_000_010.5])[1], "1700000010.5");
        assert_eq!(labels(&[-0.5, 0.0, 16_777_217.0]), ["-0.5", "0", "16777217"]);
        assert_eq!(labels(&[1.0 / 3.0]), ["0.3333333"]);
        let known = crate::stats::bins::Edges::new(vec![1.1f32.into(), 2.0]).unwrap();
        let labels = bins(&Shape::Numeric(known));
        assert_eq!(labels, ["below 1.1", "1.1 to 2", "2 and above"]);
    }
}
