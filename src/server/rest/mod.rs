//! The REST door, in six dialects over one path: the Open Inference Protocol under `/v2`; the typed
//! API under `/models`, which the OpenAPI document describes model by model; TensorFlow Serving's
//! and KServe's first protocol under `/v1`; OpenAI's embeddings at `/v1/embeddings`; MLflow's
//! scoring protocol at `/invocations`.
//!
//! A handler reads the selector, resolves it once, decodes with what was resolved, and encodes the
//! answer; `json` is what the dialects share. What this room must not know: gRPC, and anything of
//! Galen behind `service`.

mod body;
mod coding;
mod docs;
mod json;
mod kserve_v1;
mod mlflow;
mod openai;
mod openapi;
mod origin;
mod path;
mod reply;
mod tfserving;
mod typed;
mod v2;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header};
use bytes::Bytes;
use tower_http::cors::{AllowOrigin, Any, CorsLayer, ExposeHeaders};

use crate::error::{Error, Result};
use crate::infer::RequestContext;
use crate::server::layers::{REQUEST_ID, TRACEPARENT};
use crate::server::shared_memory::Regions;
use crate::service::{Service, Target};
use json::NonFinite;

/// What this door is told.
#[derive(Clone, Debug)]
pub struct RestConfig {
    pub body_bytes_max: usize,
    /// Origins that browsers may call from; `*` for any.
    pub cors_origins: Vec<String>,
    /// Whether all but the typed API writes, and takes, the bare tokens NaN and Infinity.
    pub bare_nonfinite: bool,
    /// The model of `/invocations`; `None` for the only one.
    pub mlflow_model: Option<String>,
    /// Shared memory, which the gRPC door has, too.
    pub regions: Regions,
    /// What browsers get at `/`; others learn there that the server is alive.
    pub front_page: Option<FrontPage>,
}

/// Answers a browser that asks for `/`, by the headers of its request.
pub type FrontPage = fn(&HeaderMap) -> Response<Body>;

/// What every handler holds.
#[derive(Clone)]
struct Door {
    service: Service,
    body_bytes_max: usize,
    nonfinite: NonFinite,
    mlflow_model: Option<Arc<str>>,
    regions: Regions,
    front_page: Option<FrontPage>,
    /// Origins whose pages may call.
    cors_origins: Arc<[String]>,
}

impl Door {
    /// The body of a request for `target`; one that can not be read counts as its invalid request.
    async fn body_for(
        &self,
        target: &Target,
        context: &RequestContext,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Bytes> {
        target.decoded(context, body::collect(headers, body, self.body_bytes_max).await)
    }
}

/// Everything the REST door answers.
///
/// The caller lays a layer around it that puts an `Arc<RequestContext>` into the extensions of each
/// request.
pub fn routes(service: Service, config: &RestConfig) -> Router {
    let nonfinite = if config.bare_nonfinite { NonFinite::Tokens } else { NonFinite::Strings };
    let door = Door {
        service,
        body_bytes_max: config.body_bytes_max,
        nonfinite,
        mlflow_model: config.mlflow_model.as_deref().map(Arc::from),
        regions: config.regions.clone(),
        front_page: config.front_page,
        cors_origins: config.cors_origins.as_slice().into(),
    };
    let router = Router::new()
        .merge(v2::routes())
        .merge(typed::routes())
        .merge(tfserving::routes())
        .merge(kserve_v1::routes())
        .merge(openai::routes())
        .merge(mlflow::routes())
        .merge(openapi::routes())
        .merge(docs::routes())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(door);
    if config.cors_origins.is_empty() { router } else { router.layer(cors(&config.cors_origins)) }
}

async fn not_found(uri: Uri) -> Response<Body> {
    in_form_of(&uri, StatusCode::NOT_FOUND, "Not Found")
}

async fn method_not_allowed(uri: Uri) -> Response<Body> {
    in_form_of(&uri, StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
}

/// Each dialect has its own form of an error; Triton's words where its clients may look for them.
fn in_form_of(uri: &Uri, status: StatusCode, text: &str) -> Response<Body> {
    let error = Error::not_found(text);
    let is_typed = uri.path() == "/models" || uri.path().starts_with("/models/");
    let mut response =
        if is_typed { reply::problem(&error, Some(status), None) } else { reply::error(&error) };
    *response.status_mut() = status;
    response
}

fn cors(origins: &[String]) -> CorsLayer {
    const BINARY: HeaderName = HeaderName::from_static("inference-header-content-length");
    let origin = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::from(Any)
    } else {
        // Checked when the configuration was read.
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([header::CONTENT_TYPE, REQUEST_ID, TRACEPARENT, BINARY])
        .expose_headers(ExposeHeaders::list([REQUEST_ID, TRACEPARENT, BINARY, header::RETRY_AFTER]))
}
