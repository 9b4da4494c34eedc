//! A model's card, for people who decide whether to use it.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use axum::routing::get;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::super::openapi::CATALOG;
use super::super::openapi::bodies::Problem;
use super::super::path::ModelPath;
use super::super::{Door, reply};
use super::outcome::Caller;

pub fn routes() -> Router<Door> {
    Router::new().route("/models/{model}/card", get(show))
}

/// What the model's author says of it.
#[derive(Serialize, ToSchema)]
pub struct ModelCard {
    model: String,
    /// The card's YAML front matter; empty where there is none.
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
    /// Why the front matter could not be read.
    problem: Option<String>,
    /// What follows it, as it was written: whoever shows it must not take it for HTML.
    markdown: String,
}

/// The card of a model
///
/// `README.md` of the model's directory as it lies there now, 256 KiB at most.
#[utoipa::path(get, path = "/models/{model}/card", tag = CATALOG,
    operation_id = "show_card",
    params(("model" = String, Path)),
    responses((status = 200, body = ModelCard, description = "OK"),
        (status = 400, body = Problem, content_type = "application/problem+json",
            description = "It is too large, a link, or no UTF-8"),
        (status = 404, body = Problem, content_type = "application/problem+json",
            description = "No such model, or it has no card")))]
pub async fn show(State(door): State<Door>, path: ModelPath, request: Request) -> Response<Body> {
    match door.service.card(&path.model).await {
        Ok(card) => reply::json(
            StatusCode::OK,
            &ModelCard {
                model: path.model,
                metadata: card.metadata,
                problem: card.problem,
                markdown: card.markdown,
            },
        ),
        Err(error) => Caller::of(&request).refuse(&error),
    }
}
