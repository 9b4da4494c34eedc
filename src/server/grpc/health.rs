//! `grpc.health.v1.Health`: readiness in the form that Kubernetes and gRPC clients ask for.
//!
//! Any service name gets the same answer: probes send an empty name, clients the name of the
//! service they call, and both want to know about the one server that is here.

use std::pin::Pin;
use std::task::{Context, Poll};

use tonic::codegen::tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::pb::health as pb;
use super::pb::health::health_check_response::ServingStatus;
use super::pb::health::health_server::Health;
use crate::service::Service;

/// The health service as tonic sees it.
pub struct HealthOf {
    pub service: Service,
}

#[tonic::async_trait]
impl Health for HealthOf {
    async fn check(
        &self,
        _request: Request<pb::HealthCheckRequest>,
    ) -> Result<Response<pb::HealthCheckResponse>, Status> {
        Ok(Response::new(message(self.service.readiness().ready)))
    }

    type WatchStream = Watch;

    async fn watch(
        &self,
        _request: Request<pb::HealthCheckRequest>,
    ) -> Result<Response<Watch>, Status> {
        // Without a message first, so that clients back off before they ask again.
        if self.service.is_draining() {
            return Err(shutting_down());
        }
        Ok(Response::new(Watch::new(self.service.clone())))
    }
}

fn message(ready: bool) -> pb::HealthCheckResponse {
    let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
    pb::HealthCheckResponse { status: status.into() }
}

fn shutting_down() -> Status {
    Status::unavailable("the server is shutting down")
}

/// The state now, and again whenever it is another one. Ends when the server shuts down, after it
/// has said NOT_SERVING: an open stream would hold up the closing of the door.
pub struct Watch {
    service: Service,
    /// Resolves when readiness may have changed.
    changed: Pin<Box<dyn Future<Output = ()> + Send>>,
    told: Option<bool>,
    ended: bool,
}

impl Watch {
    fn new(service: Service) -> Self {
        Self { changed: wait(service.clone()), service, told: None, ended: false }
    }
}

fn wait(service: Service) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move { service.readiness_changed().await })
}

impl Stream for Watch {
    type Item = Result<pb::HealthCheckResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        // First listen, then look: a change between the two wakes us, and is not lost.
        while self.changed.as_mut().poll(cx).is_ready() {
            self.changed = wait(self.service.clone());
        }
        let ready = self.service.readiness().ready;
        if self.told != Some(ready) {
            self.told = Some(ready);
            return Poll::Ready(Some(Ok(message(ready))));
        }
        if self.service.is_draining() {
            self.ended = true;
            return Poll::Ready(Some(Err(shutting_down())));
        }
        Poll::Pending
    }
}
