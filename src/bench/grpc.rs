//! Callers over gRPC: a unary call whose message was written once, on HTTP/2 connections that a few
//! callers share, as the channels of real callers are. The answer's message is not decoded, as the
//! answers over REST are not: what is measured is the server.

use std::cell::RefCell;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;

use super::address::Address;
use super::answer::{Answer, Failure, Status};
use crate::error::{Error, Result};
use crate::server::grpc::pb::inference::ModelInferRequest;
use crate::server::grpc::pb::inference::model_infer_request::InferInputTensor;
use crate::tensor::NamedTensor;

/// Callers that share a connection.
const CALLERS_EACH: usize = 16;
/// Bytes that may be on their way to this end: answers are not to wait for it.
const WINDOW_BYTES: u32 = 1 << 20;

/// A `ModelInfer`, sent over and over.
pub struct Target {
    address: Address,
    request: Request<Bytes>,
    /// The newest connection, and how many callers it still takes.
    open: RefCell<Option<(SendRequest<Full<Bytes>>, usize)>>,
}

impl Target {
    /// `version` is empty for whichever the server takes.
    pub fn new(
        address: Address,
        model: &str,
        version: &str,
        inputs: &[NamedTensor],
    ) -> Result<Self> {
        let head = |input: &NamedTensor| InferInputTensor {
            name: input.name.clone(),
            datatype: input.tensor.dtype().name().to_owned(),
            shape: input.tensor.shape().iter().map(|&dim| dim as i64).collect(),
            ..Default::default()
        };
        let message = ModelInferRequest {
            model_name: model.to_owned(),
            model_version: version.to_owned(),
            inputs: inputs.iter().map(head).collect(),
            raw_input_contents: inputs.iter().map(|input| input.tensor.data().clone()).collect(),
            ..Default::default()
        };
        let uri: Uri =
            format!("http://{}/inference.GRPCInferenceService/ModelInfer", address.authority())
                .parse()
                .map_err(|_| Error::invalid(format!("'{address}' is no address")))?;
        let mut request = Request::new(framed(&message)?);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        Ok(Self { address, request, open: RefCell::new(None) })
    }

    /// Bytes of the message.
    pub fn bytes(&self) -> usize {
        self.request.body().len()
    }

    pub async fn caller(&self) -> Result<Caller> {
        let request = self.request.clone();
        let shared = self.open.borrow_mut().as_mut().and_then(|(sender, left)| {
            (*left > 0 && !sender.is_closed()).then(|| {
                *left -= 1;
                sender.clone()
            })
        });
        if let Some(sender) = shared {
            return Ok(Caller { sender, request });
        }
        let failed = |error: hyper::Error| Error::not_ready(format!("{}: {error}", self.address));
        let stream = TokioIo::new(self.address.connect().await?);
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(CALLERS_EACH as u32 * WINDOW_BYTES)
            .handshake(stream)
            .await
            .map_err(failed)?;
        tokio::spawn(async move {
            let _ = connection.await;
        });
        *self.open.borrow_mut() = Some((sender.clone(), CALLERS_EACH - 1));
        Ok(Caller { sender, request })
    }
}

/// The message as gRPC sends it: not compressed, and led by its length.
fn framed(message: &ModelInferRequest) -> Result<Bytes> {
    let length = message.encoded_len();
    let prefix = u32::try_from(length)
        .map_err(|_| Error::too_large("a message of gRPC has at most 4 GiB"))?;
    let mut frame = BytesMut::with_capacity(5 + length);
    frame.put_u8(0);
    frame.put_u32(prefix);
    message.encode(&mut frame).map_err(|error| Error::internal(error.to_string()))?;
    Ok(frame.freeze())
}

/// One caller.
pub struct Caller {
    sender: SendRequest<Full<Bytes>>,
    request: Request<Bytes>,
}

impl Caller {
    pub async fn call(&mut self) -> Answer {
        let request = self.request.clone().map(Full::new);
        let response = self.sender.send_request(request).await.map_err(Failure::connection)?;
        let (head, mut body) = response.into_parts();
        let mut trailers = None;
        while let Some(frame) = body.frame().await {
            if let Ok(found) = frame.map_err(Failure::connection)?.into_trailers() {
                trailers = Some(found);
            }
        }
        if head.status != StatusCode::OK {
            return Err(Failure::new(Status::Http(head.status.as_u16()), ""));
        }
        // An answer that is nothing but its end has the status in its head.
        told(trailers.as_ref().unwrap_or(&head.headers))
    }
}

fn told(headers: &HeaderMap) -> Answer {
    match tonic::Status::from_header_map(headers) {
        Some(status) if status.code() == tonic::Code::Ok => Ok(()),
        Some(status) => Err(Failure::new(Status::Grpc(status.code() as i32), status.message())),
        None => Err(Failure::new(Status::Grpc(tonic::Code::Unknown as i32), "")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read_wherever_it_stands_and_a_lack_of_it_is_none() {
        let told = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs
                .iter()
                .map(|&(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
            told(&pairs.collect()).map_err(|failure| (failure.status, failure.text))
        };
        assert_eq!(told(&[("grpc-status", "0")]), Ok(()));
        let full = told(&[("grpc-status", "8"), ("grpc-message", "is%20full")]);
        assert_eq!(full, Err((Status::Grpc(8), "is full".into())));
        assert_eq!(told(&[]), Err((Status::Grpc(2), String::new())));
    }
}
