//! Shared memory under `/v2`: which regions there are, and what clients do about them (Triton's
//! extensions).

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{Response, StatusCode};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::openapi::bodies::ErrorBody;
use super::super::origin::Own;
use super::super::{Door, body, reply};
use crate::error::Result;
use crate::server::shared_memory::{RegionStatus, no_cuda};

const TAG: &str = super::super::openapi::PROTOCOL;

pub fn routes() -> Router<Door> {
    const SYSTEM: &str = "/v2/systemsharedmemory";
    const CUDA: &str = "/v2/cudasharedmemory";
    Router::new()
        .route(&format!("{SYSTEM}/status"), get(all_regions))
        .route(&format!("{SYSTEM}/unregister"), post(unregister_all))
        .route(&format!("{SYSTEM}/region/{{region}}/status"), get(region))
        .route(&format!("{SYSTEM}/region/{{region}}/register"), post(register))
        .route(&format!("{SYSTEM}/region/{{region}}/unregister"), post(unregister))
        .route(&format!("{CUDA}/status"), get(no_regions))
        .route(&format!("{CUDA}/unregister"), post(nothing))
        .route(&format!("{CUDA}/region/{{region}}/status"), get(no_regions))
        .route(&format!("{CUDA}/region/{{region}}/register"), post(no_cuda_region))
        .route(&format!("{CUDA}/region/{{region}}/unregister"), post(nothing))
}

/// A region of shared memory.
#[derive(Serialize, ToSchema)]
pub struct RegionBody {
    name: String,
    /// The object's name, as `shm_open` takes it.
    key: String,
    /// Where the region begins in the object, in bytes.
    offset: u64,
    byte_size: u64,
}

impl From<RegionStatus> for RegionBody {
    fn from(RegionStatus { name, key, offset, byte_size }: RegionStatus) -> Self {
        Self { name, key, offset, byte_size }
    }
}

/// What is to become a region.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RegisterRequest {
    /// The object's name, as `shm_open` takes it.
    key: String,
    /// Where the region begins in the object, in bytes.
    offset: u64,
    byte_size: u64,
}

/// The name in the path; what is no UTF-8 once decoded names no region.
pub struct RegionName(String);

impl<S: Send + Sync> FromRequestParts<S> for RegionName {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &S,
    ) -> std::result::Result<Self, Self::Rejection> {
        let name = Path::<String>::from_request_parts(parts, state).await;
        Ok(Self(name.map(|Path(name)| name).unwrap_or_default()))
    }
}

/// Regions of shared memory
#[utoipa::path(get, path = "/v2/systemsharedmemory/status", tag = TAG,
    responses((status = 200, body = Vec<RegionBody>, description = "OK"),
        (status = 501, body = ErrorBody, description = "Off on this server")))]
pub async fn all_regions(State(door): State<Door>) -> Response<Body> {
    listed(door.regions.status(None))
}

/// A region of shared memory
#[utoipa::path(get, path = "/v2/systemsharedmemory/region/{region}/status", tag = TAG,
    params(("region" = String, Path)),
    responses((status = 200, body = Vec<RegionBody>, description = "OK"),
        (status = 404, body = ErrorBody, description = "No such region"),
        (status = 501, body = ErrorBody, description = "Off on this server")))]
pub async fn region(State(door): State<Door>, RegionName(name): RegionName) -> Response<Body> {
    listed(door.regions.status(Some(&name)))
}

/// Register shared memory
///
/// Opens a part of a POSIX shared memory object, which tensors of later requests can lie in.
#[utoipa::path(post, path = "/v2/systemsharedmemory/region/{region}/register", tag = TAG,
    params(("region" = String, Path)),
    request_body(content = RegisterRequest),
    responses((status = 200, description = "It can be used"),
        (status = 400, body = ErrorBody, description = "There is no such object, it is too small, \
            or a region has that name already"),
        (status = 413, body = ErrorBody, description = "The body is too large"),
        (status = 501, body = ErrorBody, description = "Off on this server"),
        (status = 403, body = ErrorBody,
            description = "A page of another origin calls")))]
pub async fn register(
    State(door): State<Door>,
    _own: Own,
    RegionName(name): RegionName,
    request: Request,
) -> Response<Body> {
    let wish = body::object::<RegisterRequest>(request, door.body_bytes_max).await;
    done(wish.and_then(|RegisterRequest { key, offset, byte_size }| {
        door.regions.register(&name, &key, offset, byte_size)
    }))
}

/// Forget a region
#[utoipa::path(post, path = "/v2/systemsharedmemory/region/{region}/unregister", tag = TAG,
    params(("region" = String, Path)),
    responses((status = 200, description = "It is not there"),
        (status = 501, body = ErrorBody, description = "Off on this server"),
        (status = 403, body = ErrorBody,
            description = "A page of another origin calls")))]
pub async fn unregister(
    State(door): State<Door>,
    _own: Own,
    RegionName(name): RegionName,
) -> Response<Body> {
    done(door.regions.unregister(Some(&name)))
}

/// Forget all regions
#[utoipa::path(post, path = "/v2/systemsharedmemory/unregister", tag = TAG,
    responses((status = 200, description = "There are none"),
        (status = 501, body = ErrorBody, description = "Off on this server"),
        (status = 403, body = ErrorBody,
            description = "A page of another origin calls")))]
pub async fn unregister_all(State(door): State<Door>, _own: Own) -> Response<Body> {
    done(door.regions.unregister(None))
}

/// CUDA shared memory: there never is any.
async fn no_regions() -> Response<Body> {
    listed(Ok(Vec::new()))
}

async fn nothing() -> Response<Body> {
    done(Ok(()))
}

async fn no_cuda_region() -> Response<Body> {
    done(Err(no_cuda()))
}

fn listed(regions: Result<Vec<RegionStatus>>) -> Response<Body> {
    match regions {
        Ok(regions) => {
            let regions: Vec<RegionBody> = regions.into_iter().map(RegionBody::from).collect();
            reply::json(StatusCode::OK, &regions)
        }
        Err(error) => reply::error(&error),
    }
}

/// Triton's clients expect an empty body.
fn done(outcome: Result<()>) -> Response<Body> {
    match outcome {
        Ok(()) => Response::new(Body::empty()),
        Err(error) => reply::error(&error),
    }
}
