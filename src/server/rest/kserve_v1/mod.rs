//! What KServe's first protocol has beside TensorFlow Serving's row format, which `tfserving`
//! answers under the same paths: the liveness of the server, the list of models, and `:explain`.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ACCEPT, VARY};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
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
///
/// Who asks for `text/html`, as browsers do, gets the dashboard.
#[utoipa::path(get, path = "/", tag = TAG, operation_id = "v1_live",
    responses((status = 200, description = "OK",
        content((Alive = "application/json"), (String = "text/html")))))]
pub async fn live(State(door): State<Door>, headers: HeaderMap) -> Response<Body> {
    let mut response = match door.front_page {
        Some(page) if is_browser(&headers) => page(&headers),
        _ => reply::json(StatusCode::OK, &Alive { status: "alive" }),
    };
    response.headers_mut().append(VARY, HeaderValue::from_static("accept"));
    response
}

/// Whether `Accept` names HTML; wildcards do not.
fn is_browser(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut ranges = accepted.flat_map(|value| value.split(','));
    ranges.any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_html = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"));
        let refused = |part: &str| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000");
        is_html && !parts.any(refused)
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_names_html_is_a_browser() {
        let is = |accept: &'static str| {
            is_browser(&HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]))
        };
        for accept in ["text/html", "application/json, Text/HTML;q=0.9", "text/html; level=1"] {
            assert!(is(accept), "{accept}");
        }
        for accept in ["*/*", "application/json", "text/*", "text/html;q=0", "text/html; q=0.0"] {
            assert!(!is(accept), "{accept}");
        }
        assert!(!is_browser(&HeaderMap::new()));
    }
}
