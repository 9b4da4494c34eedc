//! Labels of a model: names that point at a version, and can be moved.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::Response;
use axum::routing::put;
use serde::Deserialize;
use utoipa::ToSchema;

use super::super::Door;
use super::super::openapi::CATALOG;
use super::super::openapi::bodies::Problem;
use super::outcome::{Caller, text};
use crate::error::{Error, Result};
use crate::model::Version;

pub fn routes() -> Router<Door> {
    Router::new().route("/models/{model}/labels/{label}", put(set).delete(remove))
}

/// Where a label is to point.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelTarget {
    #[schema(example = "2", pattern = "^[1-9][0-9]{0,17}$")]
    version: String,
}

/// Point a label at a version
///
/// From the next request on; kept across restarts. The labelled version serves beside those that
/// the version policy chooses.
#[utoipa::path(put, path = "/models/{model}/labels/{label}", tag = CATALOG,
    params(("model" = String, Path), ("label" = String, Path)),
    request_body = LabelTarget,
    responses((status = 204, description = "It points there"),
        (status = 400, body = Problem, content_type = "application/problem+json",
            description = "No such label or version can be"),
        (status = 404, body = Problem, content_type = "application/problem+json",
            description = "No such model or version"),
        (status = 413, body = Problem, content_type = "application/problem+json",
            description = "The body is too large"),
        (status = 503, body = Problem, content_type = "application/problem+json",
            description = "The label can not be kept")))]
pub async fn set(
    State(door): State<Door>,
    Path((model, label)): Path<(String, String)>,
    request: Request,
) -> Response<Body> {
    let caller = Caller::of(&request);
    let outcome = async {
        let version = target(&text(&door, request).await?)?;
        door.service.set_label(&model, &label, Some(version)).await
    };
    caller.done(outcome.await)
}

/// Take a label away
#[utoipa::path(delete, path = "/models/{model}/labels/{label}", tag = CATALOG,
    params(("model" = String, Path), ("label" = String, Path)),
    responses((status = 204, description = "It points nowhere"),
        (status = 400, body = Problem, content_type = "application/problem+json",
            description = "No such label can be"),
        (status = 404, body = Problem, content_type = "application/problem+json",
            description = "No such model"),
        (status = 503, body = Problem, content_type = "application/problem+json",
            description = "The change can not be kept")))]
pub async fn remove(
    State(door): State<Door>,
    Path((model, label)): Path<(String, String)>,
    request: Request,
) -> Response<Body> {
    let caller = Caller::of(&request);
    let outcome = door.service.set_label(&model, &label, None).await;
    caller.done(outcome)
}

fn target(text: &[u8]) -> Result<Version> {
    let expected = || Error::invalid("expected {\"version\": \"N\"} with a positive integer");
    let target: LabelTarget = serde_json::from_slice(text).map_err(|_| expected())?;
    Version::parse(&target.version).ok_or_else(expected)
}
