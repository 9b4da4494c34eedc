//! Many inferences over one stream: they run side by side, so that they can share batches, and are
//! answered in their order. What goes wrong with one is said in its place, and the stream goes on.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};

use super::pb::inference as pb;
use super::reply;
use super::service::Inference;
use crate::error::{Error, Result};
use crate::infer::RequestContext;

/// Requests of one stream that are at work at a time; the next one waits in the client's window.
const WINDOW: usize = 64;

/// Triton's switch: the first error ends the stream with its code.
const REAL_STATUS: &str = "triton_grpc_error";

pub type Answers = ReceiverStream<std::result::Result<pb::ModelStreamInferResponse, Status>>;

/// Starts to answer a stream. When the client leaves, its requests are dropped with it.
pub fn start(
    inference: Inference,
    context: &RequestContext,
    request: Request<Streaming<pb::ModelInferRequest>>,
) -> Answers {
    let ends_with_status =
        request.metadata().get(REAL_STATUS).is_some_and(|value| value.as_bytes() == b"true");
    // The deadline of the call is that of each of its requests, counted from its arrival.
    let patience = context.deadline.saturating_duration_since(context.received_at);
    let (trace, span, affinity) = (context.trace, context.span, context.affinity.clone());
    let mut messages = request.into_inner();
    let (begun, mut in_order) = mpsc::channel(WINDOW);
    let (answers, stream) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let message = tokio::select! {
                message = messages.message() => message,
                // An open stream would hold up the closing of the door.
                () = inference.service.draining() => return,
            };
            let Ok(Some(message)) = message else { return };
            let now = Instant::now();
            let context = RequestContext {
                trace,
                span,
                affinity: affinity.clone(),
                ..RequestContext::internal(message.id.clone(), now, patience)
            };
            let inference = inference.clone();
            let work = async move { inference.infer(&context, message).await };
            let work = AbortOnDropHandle::new(tokio::spawn(work));
            if begun.send(work).await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        while let Some(work) = in_order.recv().await {
            let outcome = match work.await {
                Ok(outcome) => outcome,
                Err(_) => Err(Error::internal("the request was not answered")),
            };
            let ends = ends_with_status && outcome.is_err();
            if answers.send(answer(outcome, ends_with_status)).await.is_err() || ends {
                return;
            }
        }
    });
    ReceiverStream::new(stream)
}

fn answer(
    outcome: Result<pb::ModelInferResponse>,
    ends_with_status: bool,
) -> std::result::Result<pb::ModelStreamInferResponse, Status> {
    match outcome {
        Ok(response) => Ok(pb::ModelStreamInferResponse {
            infer_response: Some(response),
            ..Default::default()
        }),
        Err(error) if ends_with_status => Err(reply::status(&error)),
        Err(error) => Ok(pb::ModelStreamInferResponse {
            error_message: error.message().to_owned(),
            ..Default::default()
        }),
    }
}

/// The context that the outer layer put into a request.
pub fn context<T>(request: &Request<T>) -> std::result::Result<Arc<RequestContext>, Status> {
    request.extensions().get::<Arc<RequestContext>>().map(Arc::clone).ok_or_else(reply::no_context)
}
