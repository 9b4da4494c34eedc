//! The gRPC door: the Open Inference Protocol, Galen's own feedback, health checking and
//! reflection.
//!
//! `wire` and `codec` stand between the socket and prost, `convert` (with `contents` and
//! `parameters`) between prost and Galen's types, `service`, `feedback` and `health` call the one
//! [`Service`], `reply` and `framing` see to the codes of what goes wrong, `compression` to which
//! answers are packed. What this room must not know: REST, and anything of Galen behind `service`.

mod codec;
mod compression;
mod config;
mod contents;
mod convert;
mod feedback;
mod framing;
mod health;
mod parameters;
pub mod pb;
mod reply;
mod repository;
mod service;
mod settings;
mod shared_memory;
mod stream;
mod wire;

use tonic::codec::CompressionEncoding::{Deflate, Gzip};
use tonic::service::Routes;
use tonic_reflection::server::Builder;
use tower::util::{MapRequestLayer, MapResponseLayer};

use crate::server::Router;
use crate::server::shared_memory::Regions;
use crate::service::Service;
use pb::galen::feedback_server::FeedbackServer;
use pb::health::health_server::HealthServer;
use pb::inference::grpc_inference_service_server::GrpcInferenceServiceServer;

/// Bounds one message of labels: an empty label is two bytes here and a hundred in memory.
const FEEDBACK_BYTES_MAX: usize = 1 << 20;

/// What this door is told.
#[derive(Clone, Debug)]
pub struct GrpcConfig {
    /// Bounds one message on its way in; answers are as large as they are.
    pub body_bytes_max: usize,
    pub reflection: bool,
    /// Shared memory, which the REST door has, too.
    pub regions: Regions,
}

/// Everything the gRPC door answers; unknown services and methods are UNIMPLEMENTED.
///
/// The caller lays a layer around it that puts an `Arc<RequestContext>` into the extensions of each
/// request.
pub fn routes(service: Service, config: &GrpcConfig) -> Router {
    let GrpcConfig { body_bytes_max, reflection, regions } = config.clone();
    let inference = service::Inference { service: service.clone(), regions, body_bytes_max };
    let inference = GrpcInferenceServiceServer::new(inference)
        .max_decoding_message_size(body_bytes_max)
        .max_encoding_message_size(usize::MAX)
        .accept_compressed(Gzip)
        .accept_compressed(Deflate)
        .send_compressed(Gzip)
        .send_compressed(Deflate);
    let feedback = FeedbackServer::new(feedback::FeedbackOf { service: service.clone() })
        .max_decoding_message_size(body_bytes_max.min(FEEDBACK_BYTES_MAX))
        .accept_compressed(Gzip)
        .accept_compressed(Deflate);
    let health = HealthServer::new(health::HealthOf { service })
        .accept_compressed(Gzip)
        .accept_compressed(Deflate);
    let mut routes = Routes::new(inference).add_service(feedback).add_service(health);
    if reflection {
        routes = with_reflection(routes);
    }
    routes
        .into_axum_router()
        // As one: every layer of a router is boxed.
        .layer((
            MapRequestLayer::new(compression::as_asked),
            MapResponseLayer::new(framing::put_right),
        ))
}

/// Reflection in the version of today and the one that older tools still ask for.
fn with_reflection(routes: Routes) -> Routes {
    let builder =
        || Builder::configure().register_encoded_file_descriptor_set(pb::FILE_DESCRIPTOR_SET);
    match (builder().build_v1(), builder().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => routes.add_service(v1).add_service(v1alpha),
        // The descriptors are built in; a test holds them.
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "gRPC reflection is off: its descriptors can not be read");
            routes
        }
    }
}
