//! The floor that Galen stands on: what axum and tonic cost by themselves, put together as their own
//! documentation does, for a server that only says what it heard.
//!
//! Over REST a JSON value is parsed and written, over gRPC a message of tensors. It runs in a process
//! of its own, which is this program again, as Galen does.

use std::convert::Infallible;
use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::task::{Context, Poll};

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode};
use axum::serve::ListenerExt;
use axum::{Router, routing};
use bytes::Bytes;
use galen::server::grpc::pb::inference::{ModelInferRequest, ModelInferResponse};
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{NamedService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic_prost::ProstCodec;

use super::{JSON, Result};

pub const PATH: &str = "/echo";

/// The process, and where it listens; it ends when this is dropped.
pub struct Floor {
    child: Child,
    pub http: String,
    pub grpc: String,
}

impl Floor {
    pub fn start() -> Result<Self> {
        let text = |error: io::Error| error.to_string();
        let mut child = Command::new(std::env::current_exe().map_err(text)?)
            .arg("--floor")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(text)?;
        let mut said = BufReader::new(child.stdout.take().ok_or("the floor has no output")?);
        let (mut http, mut grpc) = (String::new(), String::new());
        let lines = said.read_line(&mut http).and_then(|_| said.read_line(&mut grpc));
        let floor = Self { child, http: http.trim().into(), grpc: grpc.trim().into() };
        lines.map_err(text).map(|_| floor)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The other process: says where it listens, and serves until it is killed.
#[tokio::main]
pub async fn serve() -> Result<()> {
    let text = |error: io::Error| error.to_string();
    let http = TcpListener::bind("127.0.0.1:0").await.map_err(text)?;
    let grpc = TcpListener::bind("127.0.0.1:0").await.map_err(text)?;
    for listener in [&http, &grpc] {
        println!("{}", listener.local_addr().map_err(text)?);
    }
    let router = Router::new().route(PATH, routing::post(echo));
    let http = http.tap_io(|stream| drop(stream.set_nodelay(true)));
    let grpc = TcpIncoming::from(grpc).with_nodelay(Some(true));
    let grpc = tonic::transport::Server::builder().add_service(Echo).serve_with_incoming(grpc);
    let (http, grpc) = tokio::join!(axum::serve(http, router), grpc);
    http.map_err(text)?;
    grpc.map_err(|error| error.to_string())
}

async fn echo(body: Bytes) -> (StatusCode, [(HeaderName, &'static str); 1], String) {
    match serde_json::from_slice::<serde_json::Value>(&body) {
        Ok(heard) => (StatusCode::OK, [(CONTENT_TYPE, JSON)], heard.to_string()),
        Err(error) => (StatusCode::BAD_REQUEST, [(CONTENT_TYPE, "text/plain")], error.to_string()),
    }
}

/// `ModelInfer`, whatever method is called: the code that tonic generates for one, by hand.
#[derive(Clone)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "inference.GRPCInferenceService";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<std::result::Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async {
            let codec = ProstCodec::<ModelInferResponse, ModelInferRequest>::default();
            Ok(tonic::server::Grpc::new(codec).unary(Echo, request).await)
        })
    }
}

impl UnaryService<ModelInferRequest> for Echo {
    type Response = ModelInferResponse;
    type Future =
        std::future::Ready<std::result::Result<tonic::Response<ModelInferResponse>, tonic::Status>>;

    fn call(&mut self, request: tonic::Request<ModelInferRequest>) -> Self::Future {
        let heard = request.into_inner();
        let answer = ModelInferResponse {
            model_name: heard.model_name,
            model_version: heard.model_version,
            id: heard.id,
            raw_output_contents: heard.raw_input_contents,
            ..Default::default()
        };
        std::future::ready(Ok(tonic::Response::new(answer)))
    }
}
