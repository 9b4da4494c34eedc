//! What KServe's first protocol has beside TensorFlow Serving's row format, which `tfserving`
//! answers under the same paths: the liveness of the server, the list of models, and `:explain`.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use axum::routing::get;
use serde::Serialize;
use utoipa::ToSchema;

use super::tfserving::TAG;
use super::{Door, reply};
use crate::error::Error;

pub fn routes() -> Router<Door> {
    Router::new().route("/", get(live)).route("/v1/models", get(models))
}

#[derive(Serialize, ToSchema)]
pub struct Alive {
    #[schema(value_type = String)]
    status: &'static str,
}

/// Liveness, as KServe's client asks for it
#[utoipa::path(get, path = "/", tag = TAG, operation_id = "v1_live",
    responses((status = 200, body = Alive, description = "OK")))]
pub async fn live() -> Response<Body> {
    reply::json(StatusCode::OK, &Alive { status: "alive" })
}

#[derive(Serialize, ToSchema)]
pub struct V1Models {
    models: Vec<String>,
}

/// Names of all models
#[utoipa::path(get, path = "/v1/models", tag = TAG, operation_id = "v1_models",
    responses((status = 200, body = V1Models, description = "OK")))]
pub async fn models(State(door): State<Door>) -> Response<Body> {
    let models = door.service.catalog().into_iter().map(|model| model.name.to_string()).collect();
    reply::json(StatusCode::OK, &V1Models { models })
}

/// `:explain` asks an explainer, which no model of Galen's has.
pub fn no_explainer() -> Error {
    Error::unsupported("':explain' is not supported: no model has an explainer")
}
