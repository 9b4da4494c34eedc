//! Answers held against what became true: labels in, performance out.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::super::time::rfc3339;
use super::super::openapi::MONITORING;
use super::super::openapi::bodies::{Problem, ProblemEntry};
use super::super::origin::Own;
use super::super::path::ModelPath;
use super::super::{Door, reply};
use super::outcome::{Caller, FormatQuery, csv, report, text};
use crate::error::{Error, Result};
use crate::model::ModelId;
use crate::service::{FeedbackReport, Label, PerformanceReport, PerformanceSummary};
use crate::stats::performance::{BINS, Share};

pub fn routes() -> Router<Door> {
    Router::new()
        .route("/models/{model}/performance", get(show))
        .route("/models/{model}/versions/{version}/performance", get(show))
        .route("/models/{model}/feedback", post(feedback))
        .route("/models/{model}/versions/{version}/feedback", post(feedback))
}

/// What became true.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Feedback {
    #[schema(max_items = 1000, min_items = 1)]
    labels: Vec<FeedbackLabel>,
}

/// A label for one row of an answer.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FeedbackLabel {
    /// `x-request-id` of the answer.
    prediction_id: String,
    /// Row of the answer, from 0.
    #[serde(default)]
    #[schema(required = false)]
    row: u32,
    label: GivenLabel,
    /// Values of the declared subgroups.
    #[serde(default)]
    #[schema(required = false)]
    groups: BTreeMap<String, String>,
}

/// The name of a class, or a quantity.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub enum GivenLabel {
    Class(String),
    Quantity(f64),
}

/// What became of the labels.
#[derive(Serialize, ToSchema)]
pub struct FeedbackAnswer {
    joined: u64,
    /// Had a label before; the first one stands.
    already_labelled: u64,
    /// Their answers are not remembered, or not any more.
    unknown: u64,
    /// Every label that could not be joined, those included.
    invalid: Vec<ProblemEntry>,
}

/// How a version does.
#[derive(Serialize, ToSchema)]
pub struct Performance {
    model: String,
    version: String,
    /// Whether its configuration says `[performance]`; without it, there is nothing to tell.
    declared: bool,
    /// Figures below what `[performance.at_least]` declares, beyond chance; none: no alert.
    alert: Vec<String>,
    /// When the labelled answers were written down that were taken over at the start; what was
    /// labelled after that and before the start is lost, and so is what waited for its label.
    restored_at: Option<String>,
    /// What a crash may lose of them at most.
    snapshot_interval_s: u64,
    /// Labels that were joined since the version began; the figures are of the last 10 000.
    labelled: u64,
    /// Answers that wait for their label.
    pending: u64,
    /// Answers that left without one.
    expired: u64,
    /// Rows whose score could not be used.
    unusable: u64,
    /// Label of the positive class.
    positive: Option<String>,
    /// None where the output is no probability.
    threshold: Option<f64>,
    overall: PerformanceFigures,
    groups: Vec<PerformanceGroup>,
    /// The reliability diagram: bins of equal width.
    calibration: Vec<PerformanceBin>,
    /// Without labels, from the newest answers that wait for theirs, 10 000 at most.
    estimated: Option<PerformanceEstimate>,
}

/// Figures of labelled answers; `null` where they have none.
#[derive(Serialize, ToSchema)]
pub struct PerformanceFigures {
    /// Cases; always there with figures.
    n: Option<u64>,
    auc: Option<f64>,
    brier: Option<f64>,
    /// Nats.
    log_loss: Option<f64>,
    /// Expected calibration error, ten bins.
    ece: Option<f64>,
    /// Maximum calibration error.
    mce: Option<f64>,
    sensitivity: Option<PerformanceShare>,
    specificity: Option<PerformanceShare>,
    /// Positive predictive value.
    ppv: Option<PerformanceShare>,
    /// Negative predictive value.
    npv: Option<PerformanceShare>,
    /// Of a quantity: mean of predicted minus true.
    mean_error: Option<f64>,
    /// Of a quantity: mean absolute error.
    mae: Option<f64>,
    /// Of a quantity: root mean squared error.
    rmse: Option<f64>,
}

/// A share with Wilson's 95 % interval.
#[derive(Serialize, ToSchema)]
pub struct PerformanceShare {
    value: f64,
    low: f64,
    high: f64,
}

/// Figures of one value of a subgroup; only name and value while there are fewer than 30 cases.
#[derive(Serialize, ToSchema)]
pub struct PerformanceGroup {
    name: String,
    value: String,
    suppressed: bool,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    figures: Option<PerformanceFigures>,
}

/// One bin of the reliability diagram.
#[derive(Serialize, ToSchema)]
pub struct PerformanceBin {
    low: f64,
    high: f64,
    count: u64,
    mean_score: Option<f64>,
    share_positive: Option<f64>,
}

/// Confidence-based performance estimation.
#[derive(Serialize, ToSchema)]
pub struct PerformanceEstimate {
    n: u64,
    /// What must hold for it.
    #[schema(value_type = String)]
    assumes: &'static str,
    auc: Option<f64>,
    accuracy: Option<f64>,
    sensitivity: Option<f64>,
    specificity: Option<f64>,
    ppv: Option<f64>,
    npv: Option<f64>,
}

const ASSUMES: &str =
    "calibrated probabilities, and that what they mean has not changed (no concept drift)";

/// Performance of a model
///
/// Labelled answers against what became true, for versions that declare `[performance]`; for
/// others `declared` is false. A version is chosen with
/// `/models/{model}/versions/{version}/performance`; `?format=csv` gives one line for all and one
/// for each subgroup.
#[utoipa::path(get, path = "/models/{model}/performance", tag = MONITORING,
    operation_id = "show_performance",
    params(("model" = String, Path), ("format" = Option<String>, Query, description = "`csv`")),
    responses((status = 200, description = "OK",
            content((Performance = "application/json"), (String = "text/csv"))),
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
    let found = path.selector();
    let found = found.and_then(|selector| door.service.performance(&path.model, selector));
    let outcome = found.and_then(|found| report(&format, &Performance::from(found), table));
    outcome.unwrap_or_else(|error| Caller::of(&request).refuse(&error))
}

/// Say what became true
///
/// Each label is joined with the answer of that id and row; the first label of an answer stands.
/// Without a version in the path, any version of the model may have given the answer.
#[utoipa::path(post, path = "/models/{model}/feedback", tag = MONITORING,
    params(("model" = String, Path)),
    request_body = Feedback,
    responses((status = 200, body = FeedbackAnswer, description = "At least one is joined"),
        (status = 400, body = Problem, content_type = "application/problem+json",
            description = "No labels, or too many of them"),
        (status = 403, body = Problem, content_type = "application/problem+json",
            description = "A page of another origin calls"),
        (status = 404, body = Problem, content_type = "application/problem+json",
            description = "No such model, or it declares no [performance]"),
        (status = 413, body = Problem, content_type = "application/problem+json",
            description = "The body is too large"),
        (status = 422, body = Problem, content_type = "application/problem+json",
            description = "Not one label could be joined"),
        (status = 503, body = Problem, content_type = "application/problem+json",
            description = "Not ready")))]
pub async fn feedback(
    State(door): State<Door>,
    _own: Own,
    path: ModelPath,
    request: Request,
) -> Response<Body> {
    let caller = Caller::of(&request);
    let outcome = async {
        let labels = labels(&text(&door, request).await?)?;
        door.service.feedback(&path.model, path.selector()?, &labels)
    };
    match outcome.await {
        Ok(report) => reply::json(StatusCode::OK, &FeedbackAnswer::from(report)),
        Err(error) => caller.refuse(&error),
    }
}

/// serde's own words would repeat values.
fn labels(text: &[u8]) -> Result<Vec<crate::service::Feedback>> {
    let given: Feedback = serde_json::from_slice(text).map_err(|error| {
        Error::invalid(format!(
            "expected {{\"labels\": [{{\"prediction_id\", \"row\", \"label\", \"groups\"}}]}}; it \
             differs at line {}, column {}",
            error.line(),
            error.column()
        ))
    })?;
    let label = |given: FeedbackLabel| crate::service::Feedback {
        prediction_id: given.prediction_id,
        row: given.row,
        label: match given.label {
            GivenLabel::Class(label) => Label::Class(label),
            GivenLabel::Quantity(value) => Label::Quantity(value),
        },
        groups: given.groups,
    };
    Ok(given.labels.into_iter().map(label).collect())
}

impl From<FeedbackReport> for FeedbackAnswer {
    fn from(report: FeedbackReport) -> Self {
        let FeedbackReport { joined, already, unknown, invalid } = report;
        let entry = |violation: crate::error::Violation| ProblemEntry {
            pointer: violation.pointer,
            code: violation.code,
            message: violation.message,
        };
        let invalid = invalid.into_iter().map(entry).collect();
        Self { joined, already_labelled: already, unknown, invalid }
    }
}

impl From<(ModelId, Option<PerformanceReport>)> for Performance {
    fn from((id, report): (ModelId, Option<PerformanceReport>)) -> Self {
        let declared = report.is_some();
        let report = report.unwrap_or_default();
        let group = |group: crate::service::PerformanceSubgroup| PerformanceGroup {
            name: group.name,
            value: group.value,
            suppressed: group.summary.is_none(),
            figures: group.summary.map(PerformanceFigures::from),
        };
        let bins = report.calibration.iter().enumerate();
        let calibration = bins.map(|(place, bin)| PerformanceBin {
            low: place as f64 / BINS as f64,
            high: (place + 1) as f64 / BINS as f64,
            count: bin.count,
            mean_score: bin.mean_score(),
            share_positive: bin.share_positive(),
        });
        let calibration = calibration.collect();
        Self {
            model: id.name.to_string(),
            version: id.version.to_string(),
            declared,
            alert: report.alert,
            restored_at: report.restored_at.map(rfc3339),
            snapshot_interval_s: report.snapshot_seconds,
            labelled: report.counts.joined,
            pending: report.pending as u64,
            expired: report.counts.expired,
            unusable: report.counts.unusable,
            positive: report.positive,
            threshold: report.threshold,
            overall: PerformanceFigures::from(report.overall),
            groups: report.groups.into_iter().map(group).collect(),
            calibration,
            estimated: report.estimate.map(|(n, estimate)| PerformanceEstimate {
                n: n as u64,
                assumes: ASSUMES,
                auc: estimate.auc,
                accuracy: estimate.accuracy(),
                sensitivity: estimate.sensitivity(),
                specificity: estimate.specificity(),
                ppv: estimate.ppv(),
                npv: estimate.npv(),
            }),
        }
    }
}

impl From<PerformanceSummary> for PerformanceFigures {
    fn from(summary: PerformanceSummary) -> Self {
        let share = |share: Option<Share>| {
            share.map(|Share { value, low, high, .. }| PerformanceShare { value, low, high })
        };
        let (calibration, errors) = (summary.calibration.as_ref(), summary.errors.as_ref());
        Self {
            n: Some(summary.cases as u64),
            auc: summary.auc,
            brier: summary.brier,
            log_loss: summary.log_loss,
            ece: calibration.map(|all| all.ece()),
            mce: calibration.map(|all| all.mce()),
            sensitivity: share(summary.sensitivity),
            specificity: share(summary.specificity),
            ppv: share(summary.ppv),
            npv: share(summary.npv),
            mean_error: errors.map(|errors| errors.mean),
            mae: errors.map(|errors| errors.absolute),
            rmse: errors.map(|errors| errors.root_mean_square),
        }
    }
}

/// One line for all and one for each value of each subgroup; cells that have no figure are empty.
fn table(performance: &Performance) -> String {
    let header = "group,value,suppressed,n,auc,brier,log_loss,ece,mce,sensitivity,sensitivity_low,\
                  sensitivity_high,specificity,specificity_low,specificity_high,ppv,ppv_low,\
                  ppv_high,npv,npv_low,npv_high,mean_error,mae,rmse";
    let all = [line("", "", Some(&performance.overall))].into_iter();
    let groups = performance.groups.iter();
    let groups = groups.map(|group| line(&group.name, &group.value, group.figures.as_ref()));
    csv(header, all.chain(groups))
}

fn line(group: &str, value: &str, figures: Option<&PerformanceFigures>) -> Vec<String> {
    let number = |number: Option<f64>| number.map(|n| n.to_string()).unwrap_or_default();
    let share = |of: fn(&PerformanceFigures) -> &Option<PerformanceShare>| {
        let share = figures.and_then(|figures| of(figures).as_ref());
        [share.map(|s| s.value), share.map(|s| s.low), share.map(|s| s.high)].map(number)
    };
    let single = |of: fn(&PerformanceFigures) -> Option<f64>| number(figures.and_then(of));
    let mut cells = vec![group.to_owned(), value.to_owned(), figures.is_none().to_string()];
    cells.push(figures.and_then(|figures| figures.n).map(|n| n.to_string()).unwrap_or_default());
    cells.extend([single(|f| f.auc), single(|f| f.brier), single(|f| f.log_loss)]);
    cells.extend([single(|f| f.ece), single(|f| f.mce)]);
    cells.extend(share(|f| &f.sensitivity));
    cells.extend(share(|f| &f.specificity));
    cells.extend(share(|f| &f.ppv));
    cells.extend(share(|f| &f.npv));
    cells.extend([single(|f| f.mean_error), single(|f| f.mae), single(|f| f.rmse)]);
    cells
}
