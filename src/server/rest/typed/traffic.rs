//! Where a model's unversioned requests go: read it, set it, promote a version, roll back.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{Response, StatusCode};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::openapi::CATALOG;
use super::super::openapi::bodies::Problem;
use super::super::origin::Own;
use super::super::{Door, reply};
use super::outcome::{Caller, text};
use crate::error::{Error, Result, quoted};
use crate::model::traffic::{Destination, Traffic};
use crate::service::{ArmReport, TrafficReport};

pub fn routes() -> Router<Door> {
    Router::new()
        .route("/models/{model}/traffic", get(show).put(set).delete(reset))
        .route("/models/{model}/promote", post(promote))
        .route("/models/{model}/rollback", post(roll_back))
}

/// A traffic policy, as `[traffic]` in `model.toml` has it.
#[derive(Serialize, ToSchema)]
pub struct TrafficPolicy {
    /// A version or label; without it, the highest version that is ready.
    #[schema(example = "stable")]
    to: Option<String>,
    split: Vec<TrafficShare>,
    shadow: Option<TrafficShadow>,
    rollback: Option<TrafficRollback>,
}

#[derive(Serialize, ToSchema)]
pub struct TrafficShare {
    #[schema(example = "canary")]
    to: String,
    #[schema(example = 10.0)]
    percent: f64,
}

#[derive(Serialize, ToSchema)]
pub struct TrafficShadow {
    to: String,
    /// 100 where nothing is said.
    #[schema(required = false)]
    percent: f64,
    /// Largest absolute difference of numbers that still agree; 0.00001 where nothing is said.
    #[schema(required = false)]
    tolerance: f64,
}

#[derive(Serialize, ToSchema)]
pub struct TrafficRollback {
    /// Requests of a share that are judged together; 200 where nothing is said.
    #[schema(required = false)]
    requests: u64,
    error_percent: Option<f64>,
    /// Mean time of answering over that of the others.
    latency_ratio: Option<f64>,
}

/// Where unversioned requests go, and what became of them since that was last changed.
#[derive(Serialize, ToSchema)]
pub struct TrafficState {
    /// `configuration` or `call`.
    #[schema(value_type = String)]
    set_by: &'static str,
    policy: Option<TrafficPolicy>,
    /// First where most requests go, then the shares.
    destinations: Vec<TrafficDestination>,
    shadow: Option<ShadowState>,
    /// The version that a rollback goes back to.
    previous: Option<String>,
    /// Why it was rolled back the last time.
    rolled_back: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct TrafficDestination {
    to: Option<String>,
    /// The version that answers there now.
    version: Option<String>,
    percent: f64,
    requests: u64,
    failures: u64,
    /// Of those that were answered, in microseconds.
    mean_us: Option<f64>,
}

/// How copies compare with the answers that were given.
#[derive(Serialize, ToSchema)]
pub struct ShadowState {
    version: Option<String>,
    /// Requests that were compared.
    compared: u64,
    /// Copies that got no answer.
    failed: u64,
    /// Copies that were not made, because too many were at work.
    dropped: u64,
    rows: u64,
    /// Rows in which every output agrees.
    rows_agreeing: u64,
    /// Share of rows that agree, 0 to 1.
    agreement: Option<f64>,
    outputs: BTreeMap<String, ShadowOutput>,
    /// Why the last copy failed, or could not be compared.
    reason: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct ShadowOutput {
    rows: u64,
    rows_agreeing: u64,
    agreement: Option<f64>,
    /// Of numbers, absolute.
    difference_mean: Option<f64>,
    difference_max: Option<f64>,
}

/// The version or label that requests are to go to.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Promotion {
    #[schema(example = "2")]
    to: String,
}

/// Where unversioned requests go
#[utoipa::path(get, path = "/models/{model}/traffic", tag = CATALOG,
    operation_id = "show_traffic",
    params(("model" = String, Path)),
    responses((status = 200, body = TrafficState, description = "OK"),
        (status = 404, body = Problem, content_type = "application/problem+json",
            description = "No such model")))]
pub async fn show(
    State(door): State<Door>,
    Path(model): Path<String>,
    request: Request,
) -> Response<Body> {
    match door.service.traffic(&model) {
        Ok(report) => reply::json(StatusCode::OK, &TrafficState::from(report)),
        Err(error) => Caller::of(&request).refuse(&error),
    }
}

/// Set where unversioned requests go
///
/// From the next request on; kept across restarts, until the configuration says something else.
/// Every destination serves beside the versions that the version policy chooses. Requests keep
/// their version by the header `x-affinity-key`, or by `x-request-id` where it is left out.
#[utoipa::path(put, path = "/models/{model}/traffic", tag = CATALOG,
    operation_id = "set_traffic",
    params(("model" = String, Path)),
    request_body = TrafficPolicy,
    responses((status = 204, description = "They go there"),
        (status = 400, body = Problem, content_type = "application/problem+json",
            description = "No policy"),
        (status = 404, body = Problem, content_type = "application/problem+json",
            description = "No such model or version"),
        (status = 413, body = Problem, content_type = "application/problem+json",
            description = "The body is too large"),
        (status = 503, body = Problem, content_type = "application/problem+json",
            description = "The change can not be kept")))]
pub async fn set(
    State(door): State<Door>,
    Path(model): Path<String>,
    request: Request,
) -> Response<Body> {
    let caller = Caller::of(&request);
    let outcome = async {
        let policy: Traffic = read(&door, request).await?;
        door.service.set_traffic(&model, Some(policy)).await
    };
    caller.done(outcome.await)
}

/// Let unversioned requests go as the configuration says
#[utoipa::path(delete, path = "/models/{model}/traffic", tag = CATALOG,
    operation_id = "reset_traffic",
    params(("model" = String, Path)),
    responses((status = 204, description = "They do"),
        (status = 404, body = Problem, content_type = "application/problem+json",
            description = "No such model"),
        (status = 503, body = Problem, content_type = "application/problem+json",
            description = "The change can not be kept")))]
pub async fn reset(
    State(door): State<Door>,
    Path(model): Path<String>,
    request: Request,
) -> Response<Body> {
    let caller = Caller::of(&request);
    let outcome = door.service.set_traffic(&model, None).await;
    caller.done(outcome)
}

/// Promote a version
///
/// All unversioned requests go to it; a split or shadow ends. Where the policy goes to a label, the
/// label moves. The version from before stays ready, for a rollback.
#[utoipa::path(post, path = "/models/{model}/promote", tag = CATALOG,
    params(("model" = String, Path)),
    request_body = Promotion,
    responses((status = 204, description = "They go there"),
        (status = 400, body = Problem, content_type = "application/problem+json",
            description = "Neither a version nor a label"),
        (status = 404, body = Problem, content_type = "application/problem+json",
            description = "No such model or version"),
        (status = 413, body = Problem, content_type = "application/problem+json",
            description = "The body is too large"),
        (status = 503, body = Problem, content_type = "application/problem+json",
            description = "The version is not ready, or the change can not be kept"),
        (status = 403, body = Problem, content_type = "application/problem+json",
            description = "A page of another origin calls")))]
pub async fn promote(
    State(door): State<Door>,
    _own: Own,
    Path(model): Path<String>,
    request: Request,
) -> Response<Body> {
    let caller = Caller::of(&request);
    let outcome = async {
        let Promotion { to } = read(&door, request).await?;
        door.service.promote(&model, Destination::required(&to)?).await
    };
    caller.done(outcome.await)
}

/// Roll back
///
/// A split or shadow ends; where there is none, requests go where they went before the last
/// promotion.
#[utoipa::path(post, path = "/models/{model}/rollback", tag = CATALOG,
    params(("model" = String, Path)),
    responses((status = 204, description = "Rolled back"),
        (status = 400, body = Problem, content_type = "application/problem+json",
            description = "There is nothing to roll back"),
        (status = 404, body = Problem, content_type = "application/problem+json",
            description = "No such model"),
        (status = 503, body = Problem, content_type = "application/problem+json",
            description = "The change can not be kept"),
        (status = 403, body = Problem, content_type = "application/problem+json",
            description = "A page of another origin calls")))]
pub async fn roll_back(
    State(door): State<Door>,
    _own: Own,
    Path(model): Path<String>,
    request: Request,
) -> Response<Body> {
    let caller = Caller::of(&request);
    let outcome = door.service.roll_back(&model).await;
    caller.done(outcome)
}

async fn read<T: for<'a> Deserialize<'a>>(door: &Door, request: Request) -> Result<T> {
    serde_json::from_slice(&text(door, request).await?)
        .map_err(|error| Error::invalid(quoted(&error.to_string())))
}

impl From<Traffic> for TrafficPolicy {
    fn from(policy: Traffic) -> Self {
        let share = |share: crate::model::traffic::Share| TrafficShare {
            to: share.to.to_string(),
            percent: share.percent,
        };
        Self {
            to: policy.to.map(|to| to.to_string()),
            split: policy.split.into_iter().map(share).collect(),
            shadow: policy.shadow.map(|shadow| TrafficShadow {
                to: shadow.to.to_string(),
                percent: shadow.percent,
                tolerance: shadow.tolerance,
            }),
            rollback: policy.rollback.map(|rollback| TrafficRollback {
                requests: rollback.requests,
                error_percent: rollback.error_percent,
                latency_ratio: rollback.latency_ratio,
            }),
        }
    }
}

impl From<TrafficReport> for TrafficState {
    fn from(report: TrafficReport) -> Self {
        let destination = |arm: ArmReport| TrafficDestination {
            to: arm.to.map(|to| to.to_string()),
            version: arm.version.map(|version| version.to_string()),
            percent: arm.percent,
            requests: arm.seen.requests,
            failures: arm.seen.failures,
            mean_us: arm.seen.mean_us(),
        };
        let seen = report.counts.shadow;
        let shadowed = report.policy.as_ref().is_some_and(|policy| policy.shadow.is_some());
        let output = |(name, seen): (String, crate::service::OutputCounts)| {
            let output = ShadowOutput {
                rows: seen.rows,
                rows_agreeing: seen.rows_agreeing,
                agreement: share(seen.rows_agreeing as f64, seen.rows),
                difference_mean: share(seen.difference_sum, seen.elements),
                difference_max: (seen.elements > 0).then_some(seen.difference_max),
            };
            (name, output)
        };
        let shadow = shadowed.then(|| ShadowState {
            version: report.shadow.map(|version| version.to_string()),
            compared: seen.compared,
            failed: seen.failed,
            dropped: seen.dropped,
            rows: seen.rows,
            rows_agreeing: seen.rows_agreeing,
            agreement: share(seen.rows_agreeing as f64, seen.rows),
            outputs: seen.outputs.into_iter().map(output).collect(),
            reason: seen.reason,
        });
        Self {
            set_by: if report.by_call { "call" } else { "configuration" },
            policy: report.policy.map(TrafficPolicy::from),
            destinations: report.arms.into_iter().map(destination).collect(),
            shadow,
            previous: report.previous.map(|version| version.to_string()),
            rolled_back: report.note,
        }
    }
}

fn share(part: f64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part / whole as f64)
}
