//! Settings of a running server under `/v2`: its log and its traces (Triton's extensions).

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use axum::routing::get;
use serde_json::{Map, Value as Json};
use utoipa::ToSchema;

use super::super::openapi::bodies::ErrorBody;
use super::super::origin::Own;
use super::super::path::ModelPath;
use super::super::{Door, body, reply};
use crate::error::Result;
use crate::server::parameters::Value;
use crate::server::{log_settings, trace_settings};
use crate::service::{LogChange, LogSettings};

const TAG: &str = super::super::openapi::PROTOCOL;

pub fn routes() -> Router<Door> {
    Router::new()
        .route("/v2/logging", get(log).post(change_log))
        .route("/v2/trace/setting", get(trace).post(change_trace))
        .route("/v2/models/{model}/trace/setting", get(trace_of_model).post(change_trace_of_model))
}

/// What is logged.
#[derive(ToSchema)]
#[expect(dead_code, reason = "written setting by setting; this is its description")]
pub struct LogBody {
    /// Always empty: the log goes to standard error.
    log_file: String,
    log_info: bool,
    log_warning: bool,
    log_error: bool,
    /// 0, 1 or more.
    log_verbose_level: u32,
    /// `default` (as it was started), `ISO8601` (the same), `text` or `json`.
    log_format: String,
}

/// Settings of the log
#[utoipa::path(get, path = "/v2/logging", tag = TAG,
    responses((status = 200, body = LogBody, description = "OK")))]
pub async fn log(State(door): State<Door>) -> Response<Body> {
    log_body(Ok(door.service.log_settings()))
}

/// Change the log
///
/// At once, for the whole server, until it ends. Answers with the settings as they are then.
#[utoipa::path(post, path = "/v2/logging", tag = TAG,
    request_body(content = Object, description = "The settings to change"),
    responses((status = 200, body = LogBody, description = "OK"),
        (status = 400, body = ErrorBody, description = "A setting has no such value"),
        (status = 413, body = ErrorBody, description = "The body is too large"),
        (status = 501, body = ErrorBody, description = "Files can not be named"),
        (status = 403, body = ErrorBody,
            description = "A page of another origin calls")))]
pub async fn change_log(State(door): State<Door>, _own: Own, request: Request) -> Response<Body> {
    let wish = body::object::<Map<String, Json>>(request, door.body_bytes_max).await;
    log_body(wish.and_then(|wish| {
        let mut change = LogChange::default();
        for (name, value) in &wish {
            log_settings::read(&mut change, name, value_of(value))?;
        }
        door.service.change_log(change)
    }))
}

fn log_body(settings: Result<LogSettings>) -> Response<Body> {
    match settings {
        Ok(settings) => {
            let shown = log_settings::shown(&settings).into_iter();
            let body: Map<String, Json> =
                shown.map(|(name, value)| (name.to_owned(), json_of(value))).collect();
            reply::json(StatusCode::OK, &body)
        }
        Err(error) => reply::error(&error),
    }
}

fn value_of(value: &Json) -> Value<'_> {
    match value {
        Json::Bool(value) => Value::Bool(*value),
        Json::String(value) => Value::Text(value),
        Json::Number(number) => number.as_u64().map_or(Value::Unset, Value::Uint),
        Json::Null | Json::Array(_) | Json::Object(_) => Value::Unset,
    }
}

fn json_of(value: Value<'_>) -> Json {
    match value {
        Value::Unset => Json::Null,
        Value::Bool(value) => value.into(),
        Value::Int(value) => value.into(),
        Value::Uint(value) => value.into(),
        Value::Double(value) => value.into(),
        Value::Text(value) => value.into(),
    }
}

/// What is traced: nothing, so no setting has a second value.
#[derive(ToSchema)]
#[expect(dead_code, reason = "written setting by setting; this is its description")]
pub struct TraceBody {
    /// `OFF`
    trace_level: Vec<String>,
    trace_rate: String,
    trace_count: String,
    log_frequency: String,
    /// Always empty.
    trace_file: String,
}

/// Settings of traces
#[utoipa::path(get, path = "/v2/trace/setting", tag = TAG,
    responses((status = 200, body = TraceBody, description = "OK")))]
pub async fn trace() -> Response<Body> {
    trace_body(Ok(()))
}

/// Change traces
///
/// This server writes none: whatever asks for some is refused.
#[utoipa::path(post, path = "/v2/trace/setting", tag = TAG,
    request_body(content = Object, description = "The settings to change"),
    responses((status = 200, body = TraceBody, description = "Nothing is traced"),
        (status = 400, body = ErrorBody, description = "There is no such setting"),
        (status = 413, body = ErrorBody, description = "The body is too large"),
        (status = 501, body = ErrorBody, description = "It asks for traces")))]
pub async fn change_trace(State(door): State<Door>, request: Request) -> Response<Body> {
    trace_body(checked(&door, request).await)
}

/// Settings of a model's traces
#[utoipa::path(get, path = "/v2/models/{model}/trace/setting", tag = TAG,
    params(("model" = String, Path)),
    responses((status = 200, body = TraceBody, description = "OK"),
        (status = 404, body = ErrorBody, description = "No such model")))]
pub async fn trace_of_model(State(door): State<Door>, path: ModelPath) -> Response<Body> {
    trace_body(door.service.model(&path.model).map(|_| ()))
}

/// Change a model's traces
///
/// This server writes none: whatever asks for some is refused.
#[utoipa::path(post, path = "/v2/models/{model}/trace/setting", tag = TAG,
    params(("model" = String, Path)),
    request_body(content = Object, description = "The settings to change"),
    responses((status = 200, body = TraceBody, description = "Nothing is traced"),
        (status = 400, body = ErrorBody, description = "There is no such setting"),
        (status = 404, body = ErrorBody, description = "No such model"),
        (status = 413, body = ErrorBody, description = "The body is too large"),
        (status = 501, body = ErrorBody, description = "It asks for traces")))]
pub async fn change_trace_of_model(
    State(door): State<Door>,
    path: ModelPath,
    request: Request,
) -> Response<Body> {
    trace_body(match door.service.model(&path.model) {
        Ok(_) => checked(&door, request).await,
        Err(error) => Err(error),
    })
}

async fn checked(door: &Door, request: Request) -> Result<()> {
    let wish: Map<String, Json> = body::object(request, door.body_bytes_max).await?;
    wish.iter().try_for_each(|(name, value)| {
        let mut values = Vec::new();
        texts(value, &mut values);
        trace_settings::check(name, values.iter().map(String::as_str))
    })
}

/// A setting's values; `null` has none.
fn texts(value: &Json, out: &mut Vec<String>) {
    match value {
        Json::Null => {}
        Json::String(text) => out.push(text.clone()),
        Json::Array(items) => items.iter().for_each(|item| texts(item, out)),
        other => out.push(other.to_string()),
    }
}

fn trace_body(outcome: Result<()>) -> Response<Body> {
    if let Err(error) = outcome {
        return reply::error(&error);
    }
    let entry = |(name, value): (&str, &str)| {
        let value: Json = if name == "trace_level" { vec![value].into() } else { value.into() };
        (name.to_owned(), value)
    };
    let body: Map<String, Json> = trace_settings::SETTINGS.into_iter().map(entry).collect();
    reply::json(StatusCode::OK, &body)
}
