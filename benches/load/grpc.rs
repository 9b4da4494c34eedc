//! Callers over gRPC, with the client that is generated beside Galen's own server. They share a few
//! HTTP/2 connections, as the channels of real callers do.

use bytes::Bytes;
use galen::server::grpc::pb::inference::ModelInferRequest;
use galen::server::grpc::pb::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use galen::server::grpc::pb::inference::model_infer_request::InferInputTensor;
use tonic::transport::{Channel, Endpoint};

use super::Result;

type Client = GrpcInferenceServiceClient<Channel>;

/// Callers that share a connection.
const CALLERS_EACH: usize = 16;

/// A `ModelInfer` with one raw tensor.
pub struct Target {
    address: String,
    request: ModelInferRequest,
}

impl Target {
    /// `url` is `grpc://host:port/model` or `grpc://host:port/model/version`; `tensor` is
    /// `name:DATATYPE:1,30`.
    pub fn new(url: &str, tensor: &str, data: Bytes) -> Result<Self> {
        let wrong = || format!("no address like grpc://host:port/model: {url}");
        let (address, model) =
            url.strip_prefix("grpc://").and_then(|rest| rest.split_once('/')).ok_or_else(wrong)?;
        let (name, version) = model.split_once('/').unwrap_or((model, ""));
        let mut parts = tensor.splitn(3, ':');
        let (Some(input), Some(datatype), Some(shape)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(format!("no tensor like name:FP32:1,30: {tensor}"));
        };
        let shape: std::result::Result<Vec<i64>, _> = shape.split(',').map(str::parse).collect();
        let input = InferInputTensor {
            name: input.to_owned(),
            datatype: datatype.to_owned(),
            shape: shape.map_err(|error| format!("{tensor}: {error}"))?,
            ..Default::default()
        };
        let request = ModelInferRequest {
            model_name: name.to_owned(),
            model_version: version.to_owned(),
            inputs: vec![input],
            raw_input_contents: vec![data],
            ..Default::default()
        };
        Ok(Self { address: format!("http://{address}"), request })
    }

    /// One client per caller.
    pub async fn connect(&self, callers: usize) -> Result<Vec<Client>> {
        let endpoint: Endpoint =
            self.address.parse().map_err(|_| format!("no address: {}", self.address))?;
        let endpoint = endpoint.tcp_nodelay(true);
        let mut clients = Vec::with_capacity(callers);
        while clients.len() < callers {
            let channel = endpoint.connect().await;
            let channel = channel.map_err(|error| format!("{}: {error}", self.address))?;
            let share = CALLERS_EACH.min(callers - clients.len());
            clients.extend((0..share).map(|_| Client::new(channel.clone())));
        }
        Ok(clients)
    }

    pub fn caller(&self, client: Client) -> Caller {
        Caller { client, request: self.request.clone() }
    }
}

pub struct Caller {
    client: Client,
    request: ModelInferRequest,
}

impl Caller {
    pub async fn call(&mut self) -> Result<()> {
        let answer = self.client.model_infer(self.request.clone()).await;
        answer.map(drop).map_err(|status| status.to_string())
    }
}
