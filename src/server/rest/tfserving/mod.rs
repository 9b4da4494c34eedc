//! TensorFlow Serving's REST API, under `/v1/models`. KServe's first protocol is its row format
//! under the same paths, so this door answers both; `kserve_v1` holds what only KServe has.
//!
//! axum's paths can not match `{model}:predict`: the last segment is taken whole and split here.

pub mod bodies;
pub mod describe;
pub mod request;
pub mod response;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::ALLOW;
use axum::http::{HeaderValue, Response, StatusCode};
use axum::routing::get;

use super::openapi::bodies::ErrorBody;
use super::path::{ModelPath, context};
use super::{Door, kserve_v1, reply};
use crate::error::{Error, Result, quoted};
use crate::infer::InferRequest;
use crate::model::Selector;
use bodies::{PredictRequest, PredictResponse};
use describe::{GetModelMetadataResponse, GetModelStatusResponse};
use request::Format;

/// The tag of this dialect.
pub const TAG: &str = "TensorFlow Serving and KServe v1";

pub fn routes() -> Router<Door> {
    Router::new()
        .route("/v1/models/{model}", get(status).post(predict))
        .route("/v1/models/{model}/versions/{version}", get(status).post(predict))
        .route("/v1/models/{model}/labels/{label}", get(status).post(predict))
        .route("/v1/models/{model}/metadata", get(metadata))
        .route("/v1/models/{model}/versions/{version}/metadata", get(metadata))
        .route("/v1/models/{model}/labels/{label}/metadata", get(metadata))
}

/// States of a model's versions
///
/// Also whether the model answers, which KServe's clients ask here. One version is asked for with
/// `/v1/models/{model}/versions/{version}` or `/v1/models/{model}/labels/{label}`.
#[utoipa::path(get, path = "/v1/models/{model}", tag = TAG, operation_id = "v1_status",
    params(("model" = String, Path)),
    responses((status = 200, body = GetModelStatusResponse, description = "OK"),
        (status = 404, body = ErrorBody, description = "No such model")))]
pub async fn status(State(door): State<Door>, path: ModelPath) -> Response<Body> {
    let (path, verb) = path.split_verb();
    if verb.is_some() {
        return wrong_method("POST");
    }
    let status = || -> Result<GetModelStatusResponse> {
        let selector = path.selector()?;
        let ready = door.service.is_model_ready(&path.model, selector)?;
        let model = door.service.model(&path.model)?;
        let version = match selector {
            Selector::Latest => None,
            Selector::Exact(version) => Some(version),
            Selector::Label(label) => model.labels.get(label).copied(),
        };
        Ok(GetModelStatusResponse::of(&model, version, ready))
    };
    match status() {
        Ok(status) => reply::json(StatusCode::OK, &status),
        Err(error) => reply::error(&error),
    }
}

/// Signature of a model
#[utoipa::path(get, path = "/v1/models/{model}/metadata", tag = TAG, operation_id = "v1_metadata",
    params(("model" = String, Path)),
    responses((status = 200, body = GetModelMetadataResponse, description = "OK"),
        (status = 404, body = ErrorBody, description = "No such model"),
        (status = 503, body = ErrorBody, description = "Not ready")))]
pub async fn metadata(State(door): State<Door>, path: ModelPath) -> Response<Body> {
    let target = path.selector().and_then(|selector| door.service.resolve(&path.model, selector));
    match target {
        Ok(target) => reply::json(
            StatusCode::OK,
            &GetModelMetadataResponse::of(target.id(), target.signature()),
        ),
        Err(error) => reply::error(&error),
    }
}

/// Predict
///
/// Rows in (`instances`), rows out (`predictions`); or columns in (`inputs`), columns out
/// (`outputs`). A version is chosen with `/v1/models/{model}/versions/{version}:predict` or
/// `/v1/models/{model}/labels/{label}:predict`.
#[utoipa::path(post, path = "/v1/models/{model}:predict", tag = TAG, operation_id = "v1_predict",
    params(("model" = String, Path)),
    request_body(content = PredictRequest),
    responses((status = 200, body = PredictResponse, description = "OK"),
        (status = 400, body = ErrorBody, description = "The request does not fit the model"),
        (status = 404, body = ErrorBody, description = "No such model or signature"),
        (status = 408, body = ErrorBody, description = "The body did not arrive in time"),
        (status = 413, body = ErrorBody, description = "The body is too large"),
        (status = 415, body = ErrorBody, description = "Its Content-Encoding is not supported"),
        (status = 429, body = ErrorBody, description = "The queue is full; see Retry-After"),
        (status = 501, body = ErrorBody, description = "`:classify`, `:regress`, `:explain`"),
        (status = 503, body = ErrorBody, description = "Not ready"),
        (status = 504, body = ErrorBody, description = "The deadline passed")))]
pub async fn predict(
    State(door): State<Door>,
    path: ModelPath,
    request: Request,
) -> Response<Body> {
    let (path, verb) = path.split_verb();
    let outcome = match verb.as_deref() {
        Some("predict") => answer(&door, &path, request).await,
        Some(verb @ ("classify" | "regress")) => Err(Error::unsupported(format!(
            "':{verb}' is not supported: it takes TensorFlow's own examples; use ':predict'"
        ))),
        Some("explain") => Err(kserve_v1::no_explainer()),
        Some(_) => {
            let path = quoted(request.uri().path());
            Err(Error::invalid(format!("Malformed request: POST {path}")))
        }
        None => return wrong_method("GET"),
    };
    outcome.unwrap_or_else(|error| reply::error(&error))
}

/// To the router, `{model}` and `{model}:verb` are one path: what it can not tell apart is told
/// here.
fn wrong_method(allow: &'static str) -> Response<Body> {
    let mut response = reply::error(&Error::invalid("Method Not Allowed"));
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

async fn answer(door: &Door, path: &ModelPath, request: Request) -> Result<Response<Body>> {
    let context = context(request.extensions())?;
    let target = door.service.route(&context, &path.model, path.selector()?)?;
    let (parts, body) = request.into_parts();
    let body = door.body_for(&target, &context, &parts.headers, body).await?;
    let (format, inputs) =
        target.decode(&context, || request::decode(target.signature(), &body, door.nonfinite))?;
    let request = InferRequest { inputs, ..InferRequest::default() };
    let outcome = target.infer(&context, request).await?;
    let body = match format {
        Format::Row => {
            response::predictions(&outcome.outputs, door.nonfinite).ok_or_else(|| {
                Error::unsupported(
                    "the model's outputs have no first axis in common, so there are no rows to \
                 answer with; use 'inputs' in place of 'instances'",
                )
            })?
        }
        Format::Column => response::columns("outputs", &outcome.outputs, door.nonfinite),
    };
    Ok(reply::reply(StatusCode::OK, reply::JSON, body))
}
