//! `/openapi.json` (OpenAPI 3.1), written from what is loaded: the protocol's operations as their
//! handlers describe them, and one typed operation per model and version.

pub mod bodies;
mod predict;
mod schema;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use axum::routing::get;
use utoipa::OpenApi;
use utoipa::openapi::tag::TagBuilder;

use super::{Door, kserve_v1, mlflow, openai, reply, tfserving, typed, v2};
use crate::service::Target;

/// The tag of the typed API's catalogue.
pub const CATALOG: &str = "Models";
/// Tag of drift, data quality and performance.
pub const MONITORING: &str = "Monitoring";
/// The tag of the Open Inference Protocol.
pub const PROTOCOL: &str = "Open Inference Protocol v2";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Galen",
        description = "Served models. Each has a typed operation: named features in, named \
                       outputs out. Below them is the Open Inference Protocol, for clients of \
                       Triton and KServe."
    ),
    tags(
        (name = CATALOG, description = "What is served, and in which state"),
        (name = MONITORING, description = "What is served, held against training"),
        (name = PROTOCOL, description = "Tensors in, tensors out"),
        (name = openai::TAG, description = "Texts in, vectors out"),
        (name = tfserving::TAG, description = "Rows or columns in, the same out"),
        (name = mlflow::TAG, description = "Data frames or tensors in, predictions out")
    ),
    paths(
        typed::list,
        typed::show,
        typed::card::show,
        typed::labels::set,
        typed::labels::remove,
        typed::drift::show,
        typed::drift::quality,
        typed::drift::export,
        typed::drift::merge,
        typed::latency::of_model,
        typed::latency::of_version,
        typed::performance::show,
        typed::performance::feedback,
        typed::traffic::show,
        typed::traffic::set,
        typed::traffic::reset,
        typed::traffic::promote,
        typed::traffic::roll_back,
        v2::server_metadata,
        v2::live,
        v2::ready,
        v2::models,
        v2::model_metadata,
        v2::model_ready,
        v2::model_config,
        v2::infer,
        v2::repository::index,
        v2::repository::load,
        v2::repository::unload,
        v2::repository::all_statistics,
        v2::repository::statistics,
        v2::settings::log,
        v2::settings::change_log,
        v2::settings::trace,
        v2::settings::change_trace,
        v2::settings::trace_of_model,
        v2::settings::change_trace_of_model,
        v2::shared_memory::all_regions,
        v2::shared_memory::region,
        v2::shared_memory::register,
        v2::shared_memory::unregister,
        v2::shared_memory::unregister_all,
        kserve_v1::live,
        kserve_v1::models,
        tfserving::status,
        tfserving::metadata,
        tfserving::predict,
        openai::embeddings,
        mlflow::invocations,
        mlflow::ping,
        mlflow::version,
    )
)]
struct Protocols;

pub fn routes() -> Router<Door> {
    Router::new().route("/openapi.json", get(document))
}

async fn document(State(door): State<Door>) -> Response<Body> {
    reply::json(StatusCode::OK, &describe(&door.service.targets()))
}

/// The document for these versions; models in order of name, versions ascending.
fn describe(targets: &[Target]) -> utoipa::openapi::OpenApi {
    let mut document = Protocols::openapi();
    let mut tags = Vec::new();
    let mut components = document.components.take().unwrap_or_default();
    for (index, target) in targets.iter().enumerate() {
        let name = &target.id().name;
        let is_latest = targets.get(index + 1).is_none_or(|next| next.id().name != *name);
        let is_first = index == 0 || targets[index - 1].id().name != *name;
        if is_first {
            let description = target.description().map(str::to_owned);
            tags.push(TagBuilder::new().name(name.as_str()).description(description).build());
        }
        for (schema, body) in predict::schemas(target) {
            components.schemas.insert(schema, body.into());
        }
        let exact = format!("/models/{name}/versions/{}/predict", target.id().version);
        document.paths.paths.insert(exact, predict::operation(target, true));
        if is_latest {
            let latest = format!("/models/{name}/predict");
            document.paths.paths.insert(latest, predict::operation(target, false));
        }
    }
    // Models first: they are what a reader comes for.
    tags.extend(document.tags.take().unwrap_or_default());
    document.tags = Some(tags);
    document.components = Some(components);
    document
}
