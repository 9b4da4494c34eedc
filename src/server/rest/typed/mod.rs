//! The typed API under `/models`: records of named features in, named outputs out.

pub mod card;
pub mod drift;
mod exact;
pub mod labels;
pub mod latency;
mod outcome;
pub mod performance;
mod quantiles;
mod request;
mod response;
pub mod traffic;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use axum::routing::{get, post};
use serde::Serialize;
use utoipa::ToSchema;

use super::openapi::CATALOG;
use super::openapi::bodies::Problem;
use super::path::{ModelPath, context};
use super::{Door, reply};
use crate::error::Result;
use crate::infer::RequestContext;
use crate::model::Selector;
use crate::service::{ModelStatus, Target, VersionStatus};
use outcome::Caller;

pub fn routes() -> Router<Door> {
    Router::new()
        .merge(card::routes())
        .merge(labels::routes())
        .merge(drift::routes())
        .merge(latency::routes())
        .merge(performance::routes())
        .merge(traffic::routes())
        .route("/models", get(list))
        .route("/models/{model}", get(show))
        .route("/models/{model}/predict", post(predict))
        .route("/models/{model}/versions/{version}/predict", post(predict))
}

/// The catalogue.
#[derive(Serialize, ToSchema)]
pub struct Models {
    models: Vec<Model>,
}

/// One model of the catalogue.
#[derive(Serialize, ToSchema)]
pub struct Model {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// Why no version of it can be tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    versions: Vec<Version>,
    /// Names that point at versions and can stand in their place.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    labels: BTreeMap<String, String>,
    /// Whether it has a card; said where one model is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    has_card: Option<bool>,
}

/// One version of a model.
#[derive(Serialize, ToSchema)]
pub struct Version {
    version: String,
    /// `new`, `verifying`, `loading`, `warming`, `ready`, `draining`, `unloaded` or `failed`.
    #[schema(value_type = String)]
    state: &'static str,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The engine that computes it; there while it is ready, as is what follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    backend: Option<&'static str>,
    /// Most records in one request.
    #[serde(skip_serializing_if = "Option::is_none")]
    records_max: Option<usize>,
    /// Digest of its model file.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    /// Digests of the files that it names for its data.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    data_sha256: BTreeMap<String, String>,
    /// Size of its model file, and of those.
    #[serde(skip_serializing_if = "Option::is_none")]
    model_file_bytes: Option<u64>,
    /// Growth of the server's resident memory while it loaded; there if nothing else loaded then.
    #[serde(skip_serializing_if = "Option::is_none")]
    load_memory_bytes: Option<u64>,
}

/// All models with their versions
#[utoipa::path(get, path = "/models", tag = CATALOG,
    responses((status = 200, body = Models, description = "OK")))]
pub async fn list(State(door): State<Door>) -> Response<Body> {
    let models = door.service.catalog().into_iter().map(|status| describe(&door, status));
    reply::json(StatusCode::OK, &Models { models: models.collect() })
}

/// One model with its versions
#[utoipa::path(get, path = "/models/{model}", tag = CATALOG,
    params(("model" = String, Path)),
    responses((status = 200, body = Model, description = "OK"), (status = 404, body = Problem,
        content_type = "application/problem+json", description = "No such model")))]
pub async fn show(State(door): State<Door>, path: ModelPath, request: Request) -> Response<Body> {
    match door.service.model(&path.model) {
        Ok(status) => {
            let has_card = Some(door.service.has_card(&status.name).await);
            reply::json(StatusCode::OK, &Model { has_card, ..describe(&door, status) })
        }
        Err(error) => Caller::of(&request).refuse(&error),
    }
}

fn describe(door: &Door, status: ModelStatus) -> Model {
    let name = status.name.to_string();
    let target = |version: &VersionStatus| {
        door.service.resolve(&name, Selector::Exact(version.version)).ok()
    };
    let latest = door.service.resolve(&name, Selector::Latest).ok();
    let description = latest.as_ref().and_then(Target::description).map(str::to_owned);
    let versions = status.versions.iter().map(|version| {
        let target = target(version);
        Version {
            version: version.version.to_string(),
            state: version.state.name(),
            reason: version.reason.clone(),
            backend: target.as_ref().map(Target::backend),
            records_max: target.as_ref().map(|target| target.contract().records_max),
            sha256: target.as_ref().and_then(Target::digest).map(str::to_owned),
            data_sha256: target.as_ref().map(Target::data_digests).cloned().unwrap_or_default(),
            model_file_bytes: target.as_ref().and_then(Target::file_bytes),
            load_memory_bytes: target.as_ref().and_then(|target| target.load_cost().memory_bytes),
        }
    });
    let versions = versions.collect();
    let labels = status.labels.iter();
    let labels = labels.map(|(label, version)| (label.to_string(), version.to_string())).collect();
    Model { name, description, problem: status.problem, versions, labels, has_card: None }
}

async fn predict(State(door): State<Door>, path: ModelPath, request: Request) -> Response<Body> {
    let context = context(request.extensions());
    match context {
        Ok(context) => answer(&door, &path, &context, request)
            .await
            .unwrap_or_else(|error| reply::problem(&error, None, Some(&context.id))),
        Err(error) => reply::problem(&error, None, None),
    }
}

async fn answer(
    door: &Door,
    path: &ModelPath,
    context: &Arc<RequestContext>,
    request: Request,
) -> Result<Response<Body>> {
    let target = door.service.route(context, &path.model, path.selector()?)?;
    let (parts, body) = request.into_parts();
    let body = door.body_for(&target, context, &parts.headers, body).await?;
    let contract = target.contract();
    let decoded = target
        .decode(context, || request::decode(target.id(), target.signature(), contract, &body))?;
    let records = decoded.records;
    let outcome = target.infer(context, decoded.request).await?;
    let body = response::encode(target.id(), &context.id, contract, records, &outcome.outputs)?;
    Ok(reply::packed(StatusCode::OK, reply::JSON, body, &parts.headers))
}
