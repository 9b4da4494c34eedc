//! Swagger UI at `/docs`, out of the binary: no page of it asks another host for anything.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::Redirect;
use axum::routing::get;
use utoipa_swagger_ui::Config;

use super::{Door, reply};
use crate::error::Error;

static CONFIG: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
    let config = Config::from("/openapi.json")
        .deep_linking(true)
        .try_it_out_enabled(true)
        .display_request_duration(true)
        .default_models_expand_depth(-1)
        // The badge that would ask swagger.io about our document.
        .validator_url("none");
    Arc::new(config)
});

pub fn routes() -> Router<Door> {
    Router::new()
        .route("/docs", get(|| async { Redirect::permanent("/docs/") }))
        .route("/docs/", get(|| async { file("index.html") }))
        .route("/docs/{file}", get(|Path(name): Path<String>| async move { file(&name) }))
}

fn file(name: &str) -> Response<Body> {
    match utoipa_swagger_ui::serve(name, Arc::clone(&CONFIG)) {
        Ok(Some(file)) => {
            let mut response = Response::new(Body::from(file.bytes.into_owned()));
            if let Ok(content_type) = HeaderValue::from_str(&file.content_type) {
                response.headers_mut().insert(CONTENT_TYPE, content_type);
            }
            if file.gzpipped {
                response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            response
        }
        Ok(None) => {
            let mut response = reply::error(&Error::not_found("Not Found"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
        Err(error) => {
            reply::error(&Error::internal("the page could not be made").with_detail(error))
        }
    }
}
