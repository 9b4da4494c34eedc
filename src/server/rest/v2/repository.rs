//! The repository and the statistics under `/v2`: index, load, unload, stats (Triton's extensions).

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::super::openapi::bodies::ErrorBody;
use super::super::origin::Own;
use super::super::path::ModelPath;
use super::super::{Door, body, reply};
use crate::error::{Error, Result, quoted};
use crate::model::Selector;
use crate::server::parameters::check_repository;
use crate::service::{LoadCall, ModelStatistics, Tally};

const TAG: &str = super::super::openapi::PROTOCOL;

pub fn routes() -> Router<Door> {
    Router::new()
        .route("/v2/repository/index", post(index))
        .route("/v2/repository/models/{model}/load", post(load))
        .route("/v2/repository/models/{model}/unload", post(unload))
        .route("/v2/models/stats", get(all_statistics))
        .route("/v2/models/{model}/stats", get(statistics))
        .route("/v2/models/{model}/versions/{version}/stats", get(statistics))
}

/// What is to be listed.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct IndexRequest {
    /// Only what answers.
    ready: bool,
    #[schema(ignore)]
    repository_name: String,
}

/// One version of the registry, in Triton's words.
#[derive(Serialize, ToSchema)]
pub struct IndexLine {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// `READY`, `LOADING`, `UNLOADING` or `UNAVAILABLE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Index of the repository
///
/// Every model and version with its state. The body may be empty.
#[utoipa::path(post, path = "/v2/repository/index", tag = TAG,
    request_body(content = Option<IndexRequest>),
    responses((status = 200, body = Vec<IndexLine>, description = "OK"),
        (status = 400, body = ErrorBody, description = "The request is malformed"),
        (status = 413, body = ErrorBody, description = "The body is too large"),
        (status = 501, body = ErrorBody, description = "Naming a repository is not supported")))]
pub async fn index(State(door): State<Door>, request: Request) -> Response<Body> {
    let listed =
        body::object::<IndexRequest>(request, door.body_bytes_max).await.and_then(|wish| {
            check_repository(&wish.repository_name)?;
            Ok(door.service.index(wish.ready))
        });
    match listed {
        Ok(entries) => {
            let line = |entry: crate::service::IndexEntry| IndexLine {
                name: entry.name.to_string(),
                version: entry.version.map(|version| version.to_string()),
                state: entry.state,
                reason: entry.reason,
            };
            let lines: Vec<IndexLine> = entries.into_iter().map(line).collect();
            reply::json(StatusCode::OK, &lines)
        }
        Err(error) => reply::error(&error),
    }
}

/// What a load or unload call may bring along.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RepositoryRequest {
    /// Load: `config` (Triton's JSON, as a string) and `file:VERSION/NAME` (base64). Unload:
    /// `unload_dependents`.
    #[schema(value_type = Object)]
    parameters: Map<String, Value>,
}

/// Load a model
///
/// Or what has changed of it; answers when every version that ought to serve does, or has failed.
#[utoipa::path(post, path = "/v2/repository/models/{model}/load", tag = TAG,
    params(("model" = String, Path)),
    request_body(content = Option<RepositoryRequest>),
    responses((status = 200, description = "At least one version answers"),
        (status = 400, body = ErrorBody, description = "No version can be served, with the reason"),
        (status = 404, body = ErrorBody, description = "No such model"),
        (status = 413, body = ErrorBody, description = "The body is too large"),
        (status = 501, body = ErrorBody, description = "Not supported"),
        (status = 503, body = ErrorBody, description = "Calls are not taken in this mode"),
        (status = 403, body = ErrorBody,
            description = "A page of another origin calls")))]
pub async fn load(
    State(door): State<Door>,
    _own: Own,
    path: ModelPath,
    request: Request,
) -> Response<Body> {
    let outcome = async {
        let RepositoryRequest { parameters } = body::object(request, door.body_bytes_max).await?;
        door.service.load(&path.model, load_call(parameters)?).await
    };
    done(outcome.await)
}

/// Unload a model
///
/// It gets no new requests; those it has accepted finish.
#[utoipa::path(post, path = "/v2/repository/models/{model}/unload", tag = TAG,
    params(("model" = String, Path)),
    request_body(content = Option<RepositoryRequest>),
    responses((status = 200, description = "It gets no new requests"),
        (status = 400, body = ErrorBody, description = "The request is malformed"),
        (status = 404, body = ErrorBody, description = "No such model"),
        (status = 413, body = ErrorBody, description = "The body is too large"),
        (status = 503, body = ErrorBody, description = "Calls are not taken in this mode"),
        (status = 403, body = ErrorBody,
            description = "A page of another origin calls")))]
pub async fn unload(
    State(door): State<Door>,
    _own: Own,
    path: ModelPath,
    request: Request,
) -> Response<Body> {
    let outcome = async {
        let RepositoryRequest { parameters } = body::object(request, door.body_bytes_max).await?;
        if let Some(name) = parameters.keys().find(|name| *name != "unload_dependents") {
            return Err(unexpected(name, "'unload_dependents'"));
        }
        let dependents = match parameters.get("unload_dependents") {
            None => false,
            Some(Value::Bool(dependents)) => *dependents,
            Some(_) => {
                return Err(Error::invalid("parameter 'unload_dependents': expected a boolean"));
            }
        };
        door.service.unload(&path.model, dependents).await
    };
    done(outcome.await)
}

/// Triton's clients expect an empty body.
fn done(outcome: Result<()>) -> Response<Body> {
    match outcome {
        Ok(()) => Response::new(Body::empty()),
        Err(error) => reply::error(&error),
    }
}

fn load_call(parameters: Map<String, Value>) -> Result<LoadCall> {
    let mut call = LoadCall { config: None, files: BTreeMap::new() };
    for (name, value) in parameters {
        match (name.strip_prefix("file:"), value) {
            (Some(path), Value::String(text)) => {
                let bytes = STANDARD.decode(text).map_err(|_| {
                    Error::invalid(format!("parameter '{}' is not base64", quoted(&name)))
                })?;
                call.files.insert(path.to_owned(), bytes.into());
            }
            (None, Value::String(text)) if name == "config" => call.config = Some(text),
            _ => return Err(unexpected(&name, "'config' or 'file:VERSION/NAME' with a string")),
        }
    }
    Ok(call)
}

fn unexpected(name: &str, expected: &str) -> Error {
    Error::invalid(format!("parameter '{}': expected {expected}", quoted(name)))
}

/// What has been answered so far, and where the time went.
#[derive(Serialize, ToSchema)]
pub struct StatisticsBody {
    model_stats: Vec<ModelStats>,
}

#[derive(Serialize, ToSchema)]
pub struct ModelStats {
    name: String,
    version: String,
    /// Milliseconds since the epoch; 0 where there was none.
    last_inference: u64,
    /// Rows of all answered requests.
    inference_count: u64,
    /// Engine calls.
    execution_count: u64,
    inference_stats: InferenceStats,
    batch_stats: Vec<BatchStats>,
}

#[derive(Serialize, ToSchema)]
pub struct InferenceStats {
    success: DurationStats,
    fail: DurationStats,
    queue: DurationStats,
    compute_input: DurationStats,
    compute_infer: DurationStats,
    compute_output: DurationStats,
    cache_hit: DurationStats,
    cache_miss: DurationStats,
}

#[derive(Serialize, ToSchema)]
pub struct BatchStats {
    batch_size: usize,
    compute_input: DurationStats,
    compute_infer: DurationStats,
    compute_output: DurationStats,
}

#[derive(Serialize, ToSchema)]
pub struct DurationStats {
    count: u64,
    ns: u64,
}

impl From<Tally> for DurationStats {
    fn from(tally: Tally) -> Self {
        Self { count: tally.count, ns: tally.ns }
    }
}

impl From<ModelStatistics> for ModelStats {
    fn from(one: ModelStatistics) -> Self {
        let seen = one.seen;
        let batch = |(batch_size, tally): (usize, crate::service::BatchTally)| BatchStats {
            batch_size,
            compute_input: tally.compute_input.into(),
            compute_infer: tally.compute_infer.into(),
            compute_output: tally.compute_output.into(),
        };
        Self {
            name: one.id.name.to_string(),
            version: one.id.version.to_string(),
            last_inference: seen.last_inference_ms,
            inference_count: seen.inferences,
            execution_count: seen.executions,
            inference_stats: InferenceStats {
                success: seen.success.into(),
                fail: seen.fail.into(),
                queue: seen.queue.into(),
                compute_input: seen.compute_input.into(),
                compute_infer: seen.compute_infer.into(),
                compute_output: seen.compute_output.into(),
                cache_hit: seen.cache_hit.into(),
                cache_miss: seen.cache_miss.into(),
            },
            batch_stats: seen.batches.into_iter().map(batch).collect(),
        }
    }
}

/// Statistics of all models
#[utoipa::path(get, path = "/v2/models/stats", tag = TAG,
    responses((status = 200, body = StatisticsBody, description = "OK")))]
pub async fn all_statistics(State(door): State<Door>) -> Response<Body> {
    listed(door.service.statistics(None, Selector::Latest))
}

/// Statistics of a model
#[utoipa::path(get, path = "/v2/models/{model}/stats", tag = TAG,
    params(("model" = String, Path)),
    responses((status = 200, body = StatisticsBody, description = "OK"),
        (status = 404, body = ErrorBody, description = "No such model"),
        (status = 503, body = ErrorBody, description = "Not ready")))]
pub async fn statistics(State(door): State<Door>, path: ModelPath) -> Response<Body> {
    let statistics =
        path.selector().and_then(|selector| door.service.statistics(Some(&path.model), selector));
    listed(statistics)
}

fn listed(statistics: Result<Vec<ModelStatistics>>) -> Response<Body> {
    match statistics {
        Ok(all) => {
            let model_stats = all.into_iter().map(ModelStats::from).collect();
            reply::json(StatusCode::OK, &StatisticsBody { model_stats })
        }
        Err(error) => reply::error(&error),
    }
}
