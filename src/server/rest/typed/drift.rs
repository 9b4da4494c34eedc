//! What is served, held against training: drift and data quality of a version, as JSON and as CSV.

use std::time::SystemTime;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use axum::routing::get;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::super::time::rfc3339;
use super::super::openapi::MONITORING;
use super::super::openapi::bodies::Problem;
use super::super::origin::Own;
use super::super::path::ModelPath;
use super::super::{Door, reply};
use super::exact::{self, DriftExact, ExactScores};
use super::outcome::{Caller, FormatQuery, csv, report, text};
use super::quantiles::{self, Quantiles};
use crate::error::{Error, quoted};
use crate::model::profile::Feature;
use crate::service::{DriftReport, DriftSnapshot, DriftStatus, DriftVerdict, FeatureReport};

pub fn routes() -> Router<Door> {
    let state = || get(export).post(merge);
    Router::new()
        .route("/models/{model}/drift", get(show))
        .route("/models/{model}/versions/{version}/drift", get(show))
        .route("/models/{model}/quality", get(quality))
        .route("/models/{model}/versions/{version}/quality", get(quality))
        .route("/models/{model}/drift/state", state())
        .route("/models/{model}/versions/{version}/drift/state", state())
}

/// Drift of one version.
#[derive(Serialize, ToSchema)]
pub struct Drift {
    model: String,
    version: String,
    /// `alert`, `ok`, `warming` (no window is complete yet) or `no_profile`.
    #[schema(value_type = String)]
    status: &'static str,
    /// Why it is in alert.
    reasons: Vec<String>,
    profile: Option<DriftProfile>,
    /// Rows that were held against training since the version began.
    rows: u64,
    /// Rows that were not, because every window was busy.
    dropped: u64,
    window: DriftWindow,
    /// When the counts were written down that were taken over at the start; what came after that
    /// and before the start is lost.
    restored_at: Option<String>,
    /// What a crash may lose at most.
    snapshot_interval_s: u64,
    /// Where the profile has raw values to compare with.
    #[serde(skip_serializing_if = "Option::is_none")]
    exact: Option<DriftExact>,
    features: Vec<DriftFeature>,
    outputs: Vec<DriftFeature>,
}

/// The training data.
#[derive(Serialize, ToSchema)]
pub struct DriftProfile {
    name: String,
    rows: u64,
}

#[derive(Serialize, ToSchema)]
pub struct DriftWindow {
    /// Rows that end a window, and the age that does.
    rows_target: u64,
    seconds_max: u64,
    current_rows: u64,
    /// Windows that are complete.
    completed: u64,
    /// End of the last one, and its rows.
    completed_at: Option<String>,
    rows: Option<u64>,
}

/// One feature or output.
#[derive(Serialize, ToSchema)]
pub struct DriftFeature {
    name: String,
    /// `numeric` or `categorical`.
    #[schema(value_type = String)]
    kind: &'static str,
    unit: Option<String>,
    /// `ok`, `alarm` (the last window), `alert` (two windows in a row) or `insufficient`.
    #[schema(value_type = String)]
    status: &'static str,
    reasons: Vec<String>,
    /// Values of the last complete window.
    rows: u64,
    scores: Option<DriftScores>,
    /// Raw values, of the window that `exact` of the version names.
    #[serde(skip_serializing_if = "Option::is_none")]
    exact: Option<ExactScores>,
    /// Names of bins or categories.
    bins: Vec<String>,
    /// Between the bins, of numbers.
    edges: Option<Vec<f64>>,
    reference: Distribution,
    current: Option<Distribution>,
}

#[derive(Serialize, ToSchema)]
pub struct Distribution {
    /// Of the bins, 0 to 1.
    shares: Vec<f64>,
    mean: Option<f64>,
    /// Of the population.
    std: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
    /// With `drift.quantiles`.
    #[serde(skip_serializing_if = "Option::is_none")]
    quantiles: Option<Quantiles>,
}

/// Distances of the last complete window from training.
#[derive(Serialize, ToSchema)]
pub struct DriftScores {
    psi: f64,
    /// What chance alone would make of it.
    psi_floor: f64,
    /// What it must exceed for an alarm.
    psi_limit: f64,
    /// Nats.
    kl: f64,
    /// Distance, base 2.
    js: f64,
    hellinger: f64,
    total_variation: f64,
    l_infinity: f64,
    chi2: f64,
    chi2_p: f64,
    /// Among all features, at a false discovery rate of 5 %.
    significant: bool,
}

/// Data quality of one version.
#[derive(Serialize, ToSchema)]
pub struct Quality {
    model: String,
    version: String,
    /// Rows of the last complete window.
    rows: Option<u64>,
    features: Vec<QualityFeature>,
}

/// Counts of the last complete window.
#[derive(Serialize, ToSchema)]
pub struct QualityFeature {
    name: String,
    /// Values that were there and could be counted.
    rows: u64,
    missing: u64,
    wrong_type: u64,
    infinite: u64,
    below_range: u64,
    above_range: u64,
    below_trained: u64,
    above_trained: u64,
    new_categories: u64,
    /// Every value is the same number.
    constant: bool,
    /// Why these values are suspect; how they are distributed is a matter of drift.
    reasons: Vec<String>,
}

/// Drift of a model
///
/// The last complete window of its inputs and outputs against training. A version is chosen with
/// `/models/{model}/versions/{version}/drift`; `?format=csv` gives one line a feature.
#[utoipa::path(get, path = "/models/{model}/drift", tag = MONITORING,
    operation_id = "show_drift",
    params(("model" = String, Path), ("format" = Option<String>, Query, description = "`csv`")),
    responses((status = 200, description = "OK",
            content((Drift = "application/json"), (String = "text/csv"))),
        (status = 400, body = Problem, content_type = "application/problem+json",
            description = "Another format"),
        (status = 404, body = Problem, content_type = "application/problem+json",
            description = "No such model"),
        (status = 503, body = Problem, content_type = "application/problem+json",
            description = "Not ready")))]
pub async fn show(
    State(door): State<Door>,
    path: ModelPath,
    format: FormatQuery,
    request: Request,
) -> Response<Body> {
    let outcome = path.selector().and_then(|selector| door.service.drift(&path.model, selector));
    let outcome = outcome.and_then(|found| report(&format, &Drift::from(found), drift_csv));
    outcome.unwrap_or_else(|error| Caller::of(&request).refuse(&error))
}

/// Data quality of a model
///
/// What was missing, out of range or new in the last complete window.
#[utoipa::path(get, path = "/models/{model}/quality", tag = MONITORING,
    operation_id = "show_quality",
    params(("model" = String, Path), ("format" = Option<String>, Query, description = "`csv`")),
    responses((status = 200, description = "OK",
            content((Quality = "application/json"), (String = "text/csv"))),
        (status = 400, body = Problem, content_type = "application/problem+json",
            description = "Another format"),
        (status = 404, body = Problem, content_type = "application/problem+json",
            description = "No such model"),
        (status = 503, body = Problem, content_type = "application/problem+json",
            description = "Not ready")))]
pub async fn quality(
    State(door): State<Door>,
    path: ModelPath,
    format: FormatQuery,
    request: Request,
) -> Response<Body> {
    let outcome = path.selector().and_then(|selector| door.service.drift(&path.model, selector));
    let outcome = outcome.and_then(|found| report(&format, &Quality::from(found), quality_csv));
    outcome.unwrap_or_else(|error| Caller::of(&request).refuse(&error))
}

/// Counts of a version, for another replica
#[utoipa::path(get, path = "/models/{model}/drift/state", tag = MONITORING,
    operation_id = "export_drift",
    params(("model" = String, Path)),
    responses((status = 200, body = Object, description = "`galen.window/1`"),
        (status = 404, body = Problem, content_type = "application/problem+json",
            description = "No such model, or it has no profile"),
        (status = 503, body = Problem, content_type = "application/problem+json",
            description = "Not ready")))]
pub async fn export(State(door): State<Door>, path: ModelPath, request: Request) -> Response<Body> {
    let state = path.selector();
    let state = state.and_then(|selector| door.service.drift_state(&path.model, selector));
    match state {
        Ok(state) => reply::json(StatusCode::OK, &state),
        Err(error) => Caller::of(&request).refuse(&error),
    }
}

/// Add the counts of another replica
///
/// Its running window is added to this one's; both must have counted against the same profile.
#[utoipa::path(post, path = "/models/{model}/drift/state", tag = MONITORING,
    operation_id = "merge_drift",
    params(("model" = String, Path)),
    request_body(content = Object, description = "`galen.window/1`"),
    responses((status = 204, description = "They are added"),
        (status = 400, body = Problem, content_type = "application/problem+json",
            description = "No counts, or of another profile"),
        (status = 404, body = Problem, content_type = "application/problem+json",
            description = "No such model, or it has no profile"),
        (status = 413, body = Problem, content_type = "application/problem+json",
            description = "The body is too large"),
        (status = 503, body = Problem, content_type = "application/problem+json",
            description = "Not ready"),
        (status = 403, body = Problem, content_type = "application/problem+json",
            description = "A page of another origin calls")))]
pub async fn merge(
    State(door): State<Door>,
    _own: Own,
    path: ModelPath,
    request: Request,
) -> Response<Body> {
    let caller = Caller::of(&request);
    let outcome = async {
        let other: DriftSnapshot = serde_json::from_slice(&text(&door, request).await?)
            .map_err(|error| Error::invalid(quoted(&error.to_string())))?;
        door.service.merge_drift(&path.model, path.selector()?, &other)
    };
    caller.done(outcome.await)
}

impl From<DriftReport> for Drift {
    fn from(report: DriftReport) -> Self {
        let last = report.last;
        Self {
            model: report.id.name.to_string(),
            version: report.id.version.to_string(),
            status: match report.status {
                DriftStatus::NoProfile => "no_profile",
                DriftStatus::Warming => "warming",
                DriftStatus::Ok => "ok",
                DriftStatus::Alert => "alert",
            },
            reasons: report.reasons,
            profile: report.profile.map(|(name, rows)| DriftProfile { name, rows }),
            rows: report.rows,
            dropped: report.dropped,
            window: DriftWindow {
                rows_target: report.window_rows,
                seconds_max: report.window_seconds,
                current_rows: report.current_rows,
                completed: report.completed,
                completed_at: last.map(|(_, at): (u64, SystemTime)| rfc3339(at)),
                rows: last.map(|(rows, _)| rows),
            },
            restored_at: report.restored_at.map(rfc3339),
            snapshot_interval_s: report.snapshot_seconds,
            exact: report.exact.map(DriftExact::from),
            features: report.features.into_iter().map(DriftFeature::from).collect(),
            outputs: report.outputs.into_iter().map(DriftFeature::from).collect(),
        }
    }
}

impl DriftFeature {
    fn quantiles(&self) -> Option<&Quantiles> {
        self.current.as_ref()?.quantiles.as_ref()
    }
}

impl From<FeatureReport> for DriftFeature {
    fn from(report: FeatureReport) -> Self {
        let shares = |counts: &[u64]| {
            let total = counts.iter().sum::<u64>().max(1) as f64;
            counts.iter().map(|&count| count as f64 / total).collect::<Vec<f64>>()
        };
        let reference = shares(&report.reference);
        let (kind, unit, edges, reference) = match &report.feature {
            Feature::Numeric(feature) => (
                "numeric",
                feature.unit.clone(),
                Some(feature.bins.edges.clone()),
                Distribution {
                    shares: reference,
                    mean: Some(feature.mean),
                    std: Some(feature.std_pop),
                    min: Some(feature.min),
                    max: Some(feature.max),
                    quantiles: None,
                },
            ),
            Feature::Categorical(_) => {
                let (mean, std, min, max) = (None, None, None, None);
                let quantiles = None;
                let reference = Distribution { shares: reference, mean, std, min, max, quantiles };
                ("categorical", None, None, reference)
            }
        };
        let verdict = report.last.as_ref().map(|(_, verdict)| verdict);
        let current = report.last.as_ref().map(|(seen, _)| {
            let moments = seen.moments();
            Distribution {
                shares: shares(&seen.counts()),
                mean: moments.mean(),
                std: moments.std_pop(),
                min: moments.min(),
                max: moments.max(),
                quantiles: Quantiles::of(seen),
            }
        });
        let status = match verdict {
            Some(verdict) if verdict.is_alert() => "alert",
            Some(verdict) if !verdict.sufficient => "insufficient",
            Some(verdict) if !verdict.reasons().is_empty() => "alarm",
            Some(_) => "ok",
            None => "insufficient",
        };
        let scores = verdict.and_then(|verdict| verdict.scores.zip(Some(verdict.significant)));
        let scores = scores.map(|(scores, significant)| DriftScores {
            psi: scores.psi,
            psi_floor: scores.psi_floor,
            psi_limit: scores.psi_limit,
            kl: scores.kullback_leibler,
            js: scores.jensen_shannon,
            hellinger: scores.hellinger,
            total_variation: scores.total_variation,
            l_infinity: scores.l_infinity,
            chi2: scores.chi_square.statistic,
            chi2_p: scores.chi_square.p,
            significant,
        });
        Self {
            name: report.feature.name().to_owned(),
            kind,
            unit,
            status,
            reasons: verdict.map(DriftVerdict::reasons).unwrap_or_default(),
            rows: report.last.as_ref().map_or(0, |(seen, _)| seen.present()),
            scores,
            exact: report.exact.map(ExactScores::from),
            bins: report.bins,
            edges,
            reference,
            current,
        }
    }
}

impl From<DriftReport> for Quality {
    fn from(report: DriftReport) -> Self {
        let feature = |report: FeatureReport| {
            let (seen, verdict) = report.last?;
            let quality = *seen.quality();
            Some(QualityFeature {
                name: report.feature.name().to_owned(),
                rows: seen.present(),
                missing: quality.missing,
                wrong_type: quality.wrong_type,
                infinite: quality.infinite,
                below_range: quality.below_range,
                above_range: quality.above_range,
                below_trained: quality.below_trained,
                above_trained: quality.above_trained,
                new_categories: seen.unseen(),
                constant: seen.is_constant(),
                reasons: verdict.quality.reasons,
            })
        };
        Self {
            model: report.id.name.to_string(),
            version: report.id.version.to_string(),
            rows: report.last.map(|(rows, _)| rows),
            features: report.features.into_iter().filter_map(feature).collect(),
        }
    }
}

/// One line a feature; names are quoted where they need it. Raw values and quantiles, where they
/// are asked for, have columns of their own, the last ones.
fn drift_csv(drift: &Drift) -> String {
    let mut header = "feature,status,rows,psi,psi_floor,psi_limit,kl,js,hellinger,total_variation,\
                      chi2_p,reasons"
        .to_owned();
    if drift.exact.is_some() {
        header += exact::COLUMNS;
    }
    let lists = [("", &drift.features), ("output:", &drift.outputs)];
    let mut all = lists.iter().flat_map(|(_, list)| list.iter());
    let has_quantiles = all.any(|feature| feature.quantiles().is_some());
    if has_quantiles {
        header += quantiles::COLUMNS;
    }
    let lines = lists.iter().flat_map(|(prefix, list)| {
        list.iter().map(move |feature| {
            let mut cells = vec![
                format!("{prefix}{}", feature.name),
                feature.status.to_owned(),
                feature.rows.to_string(),
            ];
            let scores = feature.scores.as_ref().map(|s| {
                let psi = [s.psi, s.psi_floor, s.psi_limit];
                let others = [s.kl, s.js, s.hellinger, s.total_variation, s.chi2_p];
                psi.into_iter().chain(others).collect::<Vec<f64>>()
            });
            cells.extend((0..8).map(|place| {
                let score = scores.as_ref().and_then(|scores| scores.get(place).copied());
                score.map(|score| score.to_string()).unwrap_or_default()
            }));
            cells.push(feature.reasons.join("; "));
            if drift.exact.is_some() {
                cells.extend(exact::cells(feature.exact.as_ref()));
            }
            if has_quantiles {
                cells.extend(Quantiles::cells(feature.quantiles()));
            }
            cells
        })
    });
    csv(&header, lines)
}

fn quality_csv(quality: &Quality) -> String {
    let header = "feature,rows,missing,wrong_type,infinite,below_range,above_range,below_trained,\
                  above_trained,new_categories,constant,reasons";
    let lines = quality.features.iter().map(|feature| {
        let counts = [
            feature.rows,
            feature.missing,
            feature.wrong_type,
            feature.infinite,
            feature.below_range,
            feature.above_range,
            feature.below_trained,
            feature.above_trained,
            feature.new_categories,
        ];
        let mut cells = vec![feature.name.clone()];
        cells.extend(counts.iter().map(u64::to_string));
        cells.extend([feature.constant.to_string(), feature.reasons.join("; ")]);
        cells
    });
    csv(header, lines)
}
