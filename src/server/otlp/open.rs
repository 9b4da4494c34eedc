//! A request whose spans are recorded, from its head to the last byte of its answer.
//!
//! It is told when it is dropped, and so also where the caller leaves before there is an answer.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::MatchedPath;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{Request, Response};
use http_body::{Frame, SizeHint};

use super::message::{Asked, Fact, RequestEnded};
use super::{Sender, moment};
use crate::infer::{RequestContext, SpanId};

/// Where the router writes down which route it took: an outer layer does not see it.
#[derive(Clone, Default)]
struct Route(Arc<OnceLock<MatchedPath>>);

/// A layer inside the router.
pub fn note_route(request: Request<Body>) -> Request<Body> {
    let extensions = request.extensions();
    if let (Some(Route(slot)), Some(path)) = (extensions.get(), extensions.get::<MatchedPath>()) {
        // One route is taken.
        let _ = slot.set(path.clone());
    }
    request
}

/// A request that goes on.
pub struct Open {
    sender: Arc<Sender>,
    span: SpanId,
    context: Arc<RequestContext>,
    method: http::Method,
    /// Of a gRPC call.
    path: Option<String>,
    route: Route,
    status: Option<i32>,
}

impl Open {
    pub fn new<B>(
        sender: Arc<Sender>,
        span: SpanId,
        context: Arc<RequestContext>,
        request: &mut Request<B>,
        speaks_grpc: bool,
    ) -> Self {
        let content_type = request.headers().get(CONTENT_TYPE);
        let is_call =
            content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
        let path = (speaks_grpc && is_call).then(|| request.uri().path().to_owned());
        let (method, route) = (request.method().clone(), Route::default());
        request.extensions_mut().insert(route.clone());
        Self { sender, span, context, method, path, route, status: None }
    }

    /// The answer, which takes this along: it ends with its body.
    pub fn answered(mut self, response: Response<Body>) -> Response<Body> {
        match self.path {
            // An answer that is an error at once has its code in the head.
            Some(_) => self.read_code(response.headers()),
            None => self.status = Some(response.status().as_u16().into()),
        }
        response.map(|body| Body::new(Told { body, open: Some(self) }))
    }

    fn read_code(&mut self, headers: &HeaderMap) {
        let code = headers.get("grpc-status").and_then(|code| code.to_str().ok()?.parse().ok());
        self.status = code.or(self.status);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let route = self.route.0.get();
        let asked = match self.path.take() {
            Some(path) => Asked::Grpc { path, known: route.is_some() },
            None => Asked::Http {
                method: std::mem::take(&mut self.method),
                route: route.map(|route| route.as_str().to_owned()),
            },
        };
        self.sender.send(Fact::Request(Box::new(RequestEnded {
            span: self.span,
            context: Arc::clone(&self.context),
            asked,
            status: self.status,
            ended: moment(),
        })));
    }
}

/// A body that knows when it is over.
struct Told {
    body: Body,
    open: Option<Open>,
}

impl http_body::Body for Told {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            None => self.open = None,
            Some(Ok(frame)) => {
                let trailers = frame.trailers_ref();
                if let (Some(open), Some(trailers)) = (&mut self.open, trailers) {
                    open.read_code(trailers);
                }
            }
            Some(Err(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
