//! How long requests of a version take: distributions by phase, with percentiles.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use axum::routing::get;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::openapi::CATALOG;
use super::super::openapi::bodies::Problem;
use super::super::path::ModelPath;
use super::super::{Door, reply};
use super::outcome::Caller;
use crate::model::ModelId;
use crate::service::{BOUNDS_US, Latency, Spread, quantile};

/// Upper bounds of batch sizes: powers of two, as batches are sized.
const BATCH_BOUNDS: [u64; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

pub fn routes() -> Router<Door> {
    Router::new()
        .route("/models/{model}/latency", get(of_model))
        .route("/models/{model}/versions/{version}/latency", get(of_version))
}

/// How long answered requests of a version took, since it was loaded.
#[derive(Serialize, ToSchema)]
pub struct LatencyReport {
    model: String,
    version: String,
    /// Upper bounds of the phases' buckets in microseconds, ascending; a bound belongs to its
    /// bucket.
    bounds_us: &'static [u64],
    phases: LatencyPhases,
    batch_sizes: BatchSizes,
}

/// Answers that were kept are in `request` only.
#[derive(Serialize, ToSchema)]
pub struct LatencyPhases {
    /// From the first byte at the door to the answer.
    request: PhaseLatency,
    /// Waiting for a batch.
    queue: PhaseLatency,
    /// Joining the requests of a batch.
    compute_input: PhaseLatency,
    /// The engine's call.
    compute_infer: PhaseLatency,
    /// Parting the answer among the requests.
    compute_output: PhaseLatency,
}

/// The distribution of one phase's times.
#[derive(Serialize, ToSchema)]
pub struct PhaseLatency {
    /// Requests of each bucket, and, last, of those that exceed every bound.
    counts: Vec<u64>,
    count: u64,
    sum_us: f64,
    /// Percentiles, at most an eighth off; null before the first request.
    p50_us: Option<f64>,
    p90_us: Option<f64>,
    p99_us: Option<f64>,
}

/// Engine calls by the number of their rows.
#[derive(Serialize, ToSchema)]
pub struct BatchSizes {
    /// Upper bounds, ascending; a bound belongs to its bucket.
    bounds: &'static [u64],
    /// Engine calls of each bucket, and, last, of those that exceed every bound.
    counts: Vec<u64>,
}

/// How long requests of a model take
///
/// Of the version that a request without one goes to.
#[utoipa::path(get, path = "/models/{model}/latency", tag = CATALOG,
    operation_id = "show_latency",
    params(("model" = String, Path)),
    responses((status = 200, body = LatencyReport, description = "OK"),
        (status = 404, body = Problem, content_type = "application/problem+json",
            description = "No such model"),
        (status = 503, body = Problem, content_type = "application/problem+json",
            description = "No version is ready")))]
pub async fn of_model(
    State(door): State<Door>,
    path: ModelPath,
    request: Request,
) -> Response<Body> {
    show(&door, &path, &request)
}

/// How long requests of a version take
#[utoipa::path(get, path = "/models/{model}/versions/{version}/latency", tag = CATALOG,
    operation_id = "show_version_latency",
    params(("model" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = LatencyReport, description = "OK"),
        (status = 400, body = Problem, content_type = "application/problem+json",
            description = "Neither a version nor a label"),
        (status = 404, body = Problem, content_type = "application/problem+json",
            description = "No such model or version"),
        (status = 503, body = Problem, content_type = "application/problem+json",
            description = "The version is not ready")))]
pub async fn of_version(
    State(door): State<Door>,
    path: ModelPath,
    request: Request,
) -> Response<Body> {
    show(&door, &path, &request)
}

fn show(door: &Door, path: &ModelPath, request: &Request) -> Response<Body> {
    let selected = path.selector();
    match selected.and_then(|selector| door.service.latency(&path.model, selector)) {
        Ok((id, latency)) => reply::json(StatusCode::OK, &report(&id, latency)),
        Err(error) => Caller::of(request).refuse(&error),
    }
}

fn report(id: &ModelId, latency: Latency) -> LatencyReport {
    let mut counts = vec![0; BATCH_BOUNDS.len() + 1];
    for (rows, calls) in latency.batches {
        let bucket = BATCH_BOUNDS.partition_point(|&bound| bound < rows as u64);
        counts[bucket] += calls;
    }
    LatencyReport {
        model: id.name.to_string(),
        version: id.version.to_string(),
        bounds_us: &BOUNDS_US,
        phases: LatencyPhases {
            request: phase(latency.request),
            queue: phase(latency.queue),
            compute_input: phase(latency.compute_input),
            compute_infer: phase(latency.compute_infer),
            compute_output: phase(latency.compute_output),
        },
        batch_sizes: BatchSizes { bounds: &BATCH_BOUNDS, counts },
    }
}

fn phase(spread: Spread) -> PhaseLatency {
    let Spread { counts, ns } = spread;
    // A tenth of a microsecond is finer than any bucket.
    let tenths = |us: f64| (us * 10.0).round() / 10.0;
    let percentile = |q| quantile(&BOUNDS_US, &counts, q).map(tenths);
    PhaseLatency {
        count: counts.iter().sum(),
        sum_us: tenths(ns as f64 / 1e3),
        p50_us: percentile(0.5),
        p90_us: percentile(0.9),
        p99_us: percentile(0.99),
        counts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ModelName, Version};
    use std::collections::BTreeMap;

    #[test]
    fn batches_count_at_the_first_bound_that_holds_them() {
        let id = ModelId { name: ModelName::new("m").unwrap(), version: Version::new(1).unwrap() };
        let batches = BTreeMap::from([(1, 5), (3, 7), (4, 1), (512, 2), (1024, 9)]);
        let report = report(&id, Latency { batches, ..Latency::default() });
        assert_eq!(report.batch_sizes.counts, [5, 0, 8, 0, 0, 0, 0, 0, 0, 2, 9]);
        assert_eq!(report.phases.request.p99_us, None);
    }
}
