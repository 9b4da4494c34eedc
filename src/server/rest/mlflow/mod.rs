//! MLflow's scoring protocol, as `mlflow models serve` speaks it. It has no models in its paths: it
//! asks the one that the configuration names, or the only one there is.

pub mod bodies;
mod content;
mod csv;
mod request;
mod table;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::routing::{get, post};

use super::path::context;
use super::tfserving::response;
use super::{Door, reply};
use crate::error::{Error, ErrorKind, Result};
use crate::infer::InferRequest;
use crate::model::Selector;
use crate::server::status::http_status;
use bodies::{Invocation, MlflowError, Predictions};
use content::Content;

/// The tag of this dialect.
pub const TAG: &str = "MLflow";

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

pub fn routes() -> Router<Door> {
    Router::new()
        .route("/invocations", post(invocations))
        .route("/ping", get(ping))
        .route("/health", get(ping))
        .route("/version", get(version))
}

/// Readiness
///
/// The same as `/health`: whether the server should be sent requests, by the status alone.
#[utoipa::path(get, path = "/ping", tag = TAG, operation_id = "mlflow_ping",
    responses((status = 200, description = "Ready"), (status = 503, description = "Not ready")))]
pub async fn ping(State(door): State<Door>) -> Response<Body> {
    let ready = door.service.readiness().ready;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    reply::reply(status, reply::JSON, "\n")
}

/// Galen's version
#[utoipa::path(get, path = "/version", tag = TAG, operation_id = "mlflow_version",
    responses((status = 200, body = String, content_type = "text/plain", description = "OK")))]
pub async fn version() -> Response<Body> {
    reply::reply(StatusCode::OK, TEXT, env!("CARGO_PKG_VERSION"))
}

/// Score
///
/// A data frame or tensors in, predictions out. The model is the one that `rest.mlflow_model`
/// names, or the only one there is.
#[utoipa::path(post, path = "/invocations", tag = TAG, operation_id = "mlflow_invocations",
    request_body(content((Invocation = "application/json"), (String = "text/csv"))),
    responses((status = 200, body = Predictions, description = "OK"),
        (status = 400, body = MlflowError, description = "The request does not fit the model"),
        (status = 404, body = MlflowError, description = "No model is named, or none is there"),
        (status = 408, body = MlflowError, description = "The body did not arrive in time"),
        (status = 413, body = MlflowError, description = "The body is too large"),
        (status = 415, body = MlflowError, description = "Neither JSON nor CSV in UTF-8"),
        (status = 429, body = MlflowError, description = "The queue is full; see Retry-After"),
        (status = 501, body = MlflowError, description = "`params` are not supported"),
        (status = 503, body = MlflowError, description = "Not ready"),
        (status = 504, body = MlflowError, description = "The deadline passed")))]
pub async fn invocations(State(door): State<Door>, request: Request) -> Response<Body> {
    answer(&door, request).await.unwrap_or_else(|error| refuse(&error))
}

async fn answer(door: &Door, request: Request) -> Result<Response<Body>> {
    let context = context(request.extensions())?;
    let target = door.service.route(&context, &model(door)?, Selector::Latest)?;
    let (parts, body) = request.into_parts();
    let content = target.decoded(&context, Content::of(&parts.headers))?;
    let body = door.body_for(&target, &context, &parts.headers, body).await?;
    let (signature, contract) = (target.signature(), target.contract());
    let inputs = target.decode(&context, || match content {
        Content::Json => request::decode(signature, contract, &body, door.nonfinite),
        Content::Csv => csv::decode(signature, contract, &body),
    })?;
    let request = InferRequest { inputs, ..InferRequest::default() };
    let outputs = target.infer(&context, request).await?.outputs;
    let body = response::predictions(&outputs, door.nonfinite)
        .unwrap_or_else(|| response::columns("predictions", &outputs, door.nonfinite));
    Ok(reply::reply(StatusCode::OK, reply::JSON, body))
}

/// The model that `/invocations` means.
fn model(door: &Door) -> Result<String> {
    if let Some(name) = &door.mlflow_model {
        return Ok(name.to_string());
    }
    match &door.service.catalog()[..] {
        [only] => Ok(only.name.to_string()),
        [] => Err(Error::not_found("there is no model to score with")),
        _ => Err(Error::not_found(
            "there are several models: the configuration must name the one that is meant here \
             (rest.mlflow_model, --mlflow-model)",
        )),
    }
}

/// An error in MLflow's form.
fn refuse(error: &Error) -> Response<Body> {
    let error_code = match error.kind() {
        ErrorKind::InvalidInput
        | ErrorKind::TooLarge
        | ErrorKind::Incomplete
        | ErrorKind::UnsupportedEncoding
        | ErrorKind::AlreadyExists
        | ErrorKind::Cancelled => "BAD_REQUEST",
        ErrorKind::NotFound => "RESOURCE_DOES_NOT_EXIST",
        ErrorKind::NotReady | ErrorKind::DeadlineExceeded => "TEMPORARILY_UNAVAILABLE",
        ErrorKind::Overloaded => "REQUEST_LIMIT_EXCEEDED",
        ErrorKind::Unauthenticated => "UNAUTHENTICATED",
        ErrorKind::PermissionDenied => "PERMISSION_DENIED",
        ErrorKind::Unsupported => "NOT_IMPLEMENTED",
        ErrorKind::Internal => "INTERNAL_ERROR",
    };
    let body = MlflowError { error_code, message: error.message().to_owned() };
    reply::with_advice(reply::json(http_status(error.kind()), &body), error)
}
