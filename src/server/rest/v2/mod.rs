//! The Open Inference Protocol over REST, under `/v2`, with the binary tensor extension.

mod document;
mod raw;
pub mod repository;
mod request;
mod response;
pub mod settings;
pub mod shared_memory;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use axum::routing::{get, post};
use serde::Serialize;
use utoipa::ToSchema;

use super::openapi::bodies::{ErrorBody, InferRequest, InferResponse};
use super::path::{ModelPath, context};
use super::{Door, reply};
use crate::error::{Error, Result};
use crate::model::TensorSpec;
use crate::server::extensions::extensions;
use crate::service;
use response::{Encoded, Wishes};

/// Where the JSON of a body ends and its raw tensors begin.
const JSON_BYTES: HeaderName = HeaderName::from_static("inference-header-content-length");
const OCTET_STREAM: HeaderValue = HeaderValue::from_static("application/octet-stream");

const TAG: &str = super::openapi::PROTOCOL;

pub fn routes() -> Router<Door> {
    Router::new()
        .merge(repository::routes())
        .merge(settings::routes())
        .merge(shared_memory::routes())
        .route("/v2", get(server_metadata))
        .route("/v2/", get(server_metadata))
        .route("/v2/health/live", get(live))
        .route("/v2/health/ready", get(ready))
        .route("/v2/models", get(models))
        .route("/v2/models/{model}", get(model_metadata))
        .route("/v2/models/{model}/config", get(model_config))
        .route("/v2/models/{model}/versions/{version}/config", get(model_config))
        .route("/v2/models/{model}/ready", get(model_ready))
        .route("/v2/models/{model}/infer", post(infer))
        .route("/v2/models/{model}/versions/{version}", get(model_metadata))
        .route("/v2/models/{model}/versions/{version}/ready", get(model_ready))
        .route("/v2/models/{model}/versions/{version}/infer", post(infer))
}

/// What this server is.
#[derive(Serialize, ToSchema)]
pub struct ServerMetadata {
    #[schema(value_type = String)]
    name: &'static str,
    #[schema(value_type = String)]
    version: &'static str,
    /// Extensions of the protocol that it speaks.
    #[schema(value_type = Vec<String>)]
    extensions: Vec<&'static str>,
}

/// Server metadata
#[utoipa::path(get, path = "/v2", tag = TAG,
    responses((status = 200, body = ServerMetadata, description = "OK")))]
pub async fn server_metadata(State(door): State<Door>) -> Response<Body> {
    let metadata = ServerMetadata {
        name: service::NAME,
        version: env!("CARGO_PKG_VERSION"),
        extensions: extensions(&door.regions),
    };
    reply::json(StatusCode::OK, &metadata)
}

#[derive(Serialize, ToSchema)]
pub struct Live {
    live: bool,
}

/// Liveness
///
/// Whether the process answers at all.
// KServe's client reads the body, Triton's the status.
#[utoipa::path(get, path = "/v2/health/live", tag = TAG,
    responses((status = 200, body = Live, description = "OK")))]
pub async fn live() -> Response<Body> {
    reply::json(StatusCode::OK, &Live { live: true })
}

#[derive(Serialize, ToSchema)]
pub struct Ready {
    live: bool,
    ready: bool,
    /// Models and versions that do not answer. Can be there while the server is ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    not_ready: Vec<NotReady>,
}

#[derive(Serialize, ToSchema)]
pub struct NotReady {
    /// `model`, or `model/version`.
    name: String,
    reason: String,
}

/// Readiness
///
/// Whether the server should be sent requests; and whatever does not answer, with the reason.
#[utoipa::path(get, path = "/v2/health/ready", tag = TAG, responses(
    (status = 200, body = Ready, description = "OK"),
    (status = 503, body = Ready, description = "Not ready")))]
pub async fn ready(State(door): State<Door>) -> Response<Body> {
    let readiness = door.service.readiness();
    let not_ready = readiness.not_ready.into_iter();
    let not_ready = not_ready.map(|(name, reason)| NotReady { name, reason }).collect();
    let body = Ready { live: true, ready: readiness.ready, not_ready };
    reply::json(readiness_status(readiness.ready), &body)
}

fn readiness_status(ready: bool) -> StatusCode {
    if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

#[derive(Serialize, ToSchema)]
pub struct ModelNames {
    models: Vec<String>,
}

/// Names of all models
#[utoipa::path(get, path = "/v2/models", tag = TAG,
    responses((status = 200, body = ModelNames, description = "OK")))]
pub async fn models(State(door): State<Door>) -> Response<Body> {
    let models = door.service.catalog().into_iter().map(|model| model.name.to_string()).collect();
    reply::json(StatusCode::OK, &ModelNames { models })
}

#[derive(Serialize, ToSchema)]
pub struct ModelReady {
    name: String,
    ready: bool,
}

/// Readiness of a model
#[utoipa::path(get, path = "/v2/models/{model}/ready", tag = TAG,
    params(("model" = String, Path)),
    responses((status = 200, body = ModelReady, description = "OK"),
        (status = 503, body = ModelReady, description = "Not ready"),
        (status = 404, body = ErrorBody, description = "No such model")))]
pub async fn model_ready(State(door): State<Door>, path: ModelPath) -> Response<Body> {
    let ready =
        path.selector().and_then(|selector| door.service.is_model_ready(&path.model, selector));
    match ready {
        Ok(ready) => reply::json(readiness_status(ready), &ModelReady { name: path.model, ready }),
        Err(error) => reply::error(&error),
    }
}

/// What a model takes and gives.
#[derive(Serialize, ToSchema)]
pub struct ModelMetadata {
    name: String,
    /// The versions that answer.
    versions: Vec<String>,
    #[schema(value_type = String)]
    platform: &'static str,
    inputs: Vec<TensorMetadata>,
    outputs: Vec<TensorMetadata>,
}

#[derive(Serialize, ToSchema)]
pub struct TensorMetadata {
    name: String,
    #[schema(value_type = String)]
    datatype: &'static str,
    /// -1 for an extent that each request may choose.
    shape: Vec<i64>,
}

impl TensorMetadata {
    fn of(spec: &TensorSpec) -> Self {
        let name = spec.name.clone();
        Self { name, datatype: spec.dtype.name(), shape: spec.wire_dims().collect() }
    }
}

/// Metadata of a model
#[utoipa::path(get, path = "/v2/models/{model}", tag = TAG,
    params(("model" = String, Path)),
    responses((status = 200, body = ModelMetadata, description = "OK"),
        (status = 404, body = ErrorBody, description = "No such model"),
        (status = 503, body = ErrorBody, description = "Not ready")))]
pub async fn model_metadata(State(door): State<Door>, path: ModelPath) -> Response<Body> {
    let view = path.selector().and_then(|selector| door.service.view(&path.model, selector));
    match view {
        Ok(view) => {
            let signature = view.target.signature();
            let metadata = ModelMetadata {
                name: view.target.id().name.to_string(),
                versions: view.versions.iter().map(ToString::to_string).collect(),
                platform: view.target.platform(),
                inputs: signature.inputs.iter().map(TensorMetadata::of).collect(),
                outputs: signature.outputs.iter().map(TensorMetadata::of).collect(),
            };
            reply::json(StatusCode::OK, &metadata)
        }
        Err(error) => reply::error(&error),
    }
}

/// Configuration of a model
///
/// What it is served with, in the words of Triton's model configuration.
#[utoipa::path(get, path = "/v2/models/{model}/config", tag = TAG,
    params(("model" = String, Path)),
    responses((status = 200, body = Object, description = "OK"),
        (status = 404, body = ErrorBody, description = "No such model"),
        (status = 503, body = ErrorBody, description = "Not ready")))]
pub async fn model_config(State(door): State<Door>, path: ModelPath) -> Response<Body> {
    let config = path
        .selector()
        .and_then(|selector| door.service.resolve(&path.model, selector))
        .and_then(|target| target.triton_config().to_json());
    match config {
        Ok(config) => reply::reply(StatusCode::OK, reply::JSON, config),
        Err(error) => reply::error(&error),
    }
}

/// Infer
///
/// Tensors in, tensors out. With the header `Inference-Header-Content-Length`, raw tensors follow
/// the JSON (binary tensor data extension). A version is chosen with
/// `/v2/models/{model}/versions/{version}/infer`.
#[utoipa::path(post, path = "/v2/models/{model}/infer", tag = TAG,
    params(("model" = String, Path)),
    request_body(content = InferRequest),
    responses((status = 200, body = InferResponse, description = "OK"),
        (status = 400, body = ErrorBody, description = "The request does not fit the model"),
        (status = 404, body = ErrorBody, description = "No such model"),
        (status = 408, body = ErrorBody, description = "The body did not arrive in time"),
        (status = 413, body = ErrorBody, description = "The body is too large"),
        (status = 415, body = ErrorBody, description = "Its Content-Encoding is not supported"),
        (status = 429, body = ErrorBody, description = "The queue is full; see Retry-After"),
        (status = 501, body = ErrorBody, description = "Not supported"),
        (status = 503, body = ErrorBody, description = "Not ready"),
        (status = 504, body = ErrorBody, description = "The deadline passed")))]
pub async fn infer(State(door): State<Door>, path: ModelPath, request: Request) -> Response<Body> {
    answer(&door, &path, request).await.unwrap_or_else(|error| reply::error(&error))
}

async fn answer(door: &Door, path: &ModelPath, request: Request) -> Result<Response<Body>> {
    let context = context(request.extensions())?;
    let target = door.service.route(&context, &path.model, path.selector()?)?;
    let (parts, body) = request.into_parts();
    let body = door.body_for(&target, &context, &parts.headers, body).await?;
    let model = target.id().name.as_str();
    let mut decoded = target.decode(&context, || match json_bytes(&parts.headers)? {
        Some(0) => raw::decode(model, target.signature(), target.contract().batched, &body),
        json_bytes => {
            let memory = door.regions.access(door.body_bytes_max);
            request::decode(model, &body, json_bytes, door.nonfinite, memory)
        }
    })?;
    let wishes = Wishes::of(&mut decoded);
    let outcome = target.infer(&context, decoded.request).await?;
    wishes.deliver(&outcome.outputs)?;
    let Encoded { body, json_bytes } =
        response::encode(target.id(), &wishes, &outcome.outputs, door.nonfinite);
    let mut response = reply::packed(StatusCode::OK, reply::JSON, body, &parts.headers);
    if let Some(json_bytes) = json_bytes {
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, OCTET_STREAM);
        headers.insert(JSON_BYTES, HeaderValue::from(json_bytes));
    }
    Ok(response)
}

fn json_bytes(headers: &HeaderMap) -> Result<Option<usize>> {
    let Some(value) = headers.get(JSON_BYTES) else { return Ok(None) };
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    digits.and_then(|text| text.parse().ok()).map(Some).ok_or_else(|| {
        Error::invalid("Inference-Header-Content-Length is not a number of bytes, 0 or more")
    })
}
