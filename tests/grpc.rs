//! The gRPC door from outside: the real router on a socket, models of the identity engine behind
//! it, and the generated client in front.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

mod support;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use bytes::Bytes;
use galen::backend::Engines;
use galen::infer::RequestContext;
use galen::model::manifest::BackendChoice;
use galen::observe::alerts::Alerts;
use galen::observe::hub::Hub;
use galen::observe::metrics::Metrics;
use galen::observe::statistics::Statistics;
use galen::observe::telemetry::LogControl;
use galen::registry::Manager;
use galen::server::grpc::pb::health::health_check_response::ServingStatus;
use galen::server::grpc::pb::health::health_client::HealthClient;
use galen::server::grpc::pb::health::{HealthCheckRequest, HealthCheckResponse};
use galen::server::grpc::pb::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use galen::server::grpc::pb::inference::infer_parameter::ParameterChoice;
use galen::server::grpc::pb::inference::model_infer_request::{
    InferInputTensor, InferRequestedOutputTensor,
};
use galen::server::grpc::pb::inference::{
    InferParameter, InferTensorContents, ModelInferRequest, ModelMetadataRequest,
    ModelReadyRequest, ModelStatisticsRequest, RepositoryIndexRequest, RepositoryModelLoadRequest,
    RepositoryModelUnloadRequest, ServerLiveRequest, ServerMetadataRequest, ServerReadyRequest,
};
use galen::server::grpc::{GrpcConfig, routes};
use galen::server::shared_memory::Regions;
use galen::service::Service;
use galen::tensor::{DType, strings};
use http_body_util::Full;
use support::{PATIENCE, Registry, tensors};
use tonic::codec::CompressionEncoding;
use tonic::codegen::tokio_stream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};
use tonic_reflection::pb::v1alpha;
use tower::{Service as _, ServiceExt};

const BODY_BYTES_MAX: usize = 8 << 20;

type Client = GrpcInferenceServiceClient<Channel>;

/// A server over a registry of its own.
struct Server {
    service: Service,
    channel: Channel,
    _registry: Registry,
}

impl Server {
    /// Starts over the usual models, once they are loaded.
    async fn start() -> Self {
        let registry = Registry::new();
        registry.model("echo", &[1, 2], "version_policy = \"all\"", &tensors(&DType::ALL));
        registry.model("typed", &[1], "", &tensors(&TYPED));
        let unbatched = "[batching]\nbatch_size_max = 0";
        registry.model("one", &[1], unbatched, &tensors(&[DType::F32]));
        let slow = "[identity]\ndelay_us = 300000\n[batching]\nbatch_size_max = 1\n\
                    queue_depth_max = 1";
        registry.model("slow", &[1], slow, &tensors(&[DType::F32]));
        let input = "[[inputs]]\nname = \"x\"\ndatatype = \"FP32\"\nshape = [-1]\n";
        registry.model("broken", &[1], "", input);
        let (server, mut progress) = Self::over(registry, true).await;
        progress.wait_for(|progress| progress.settled).await.unwrap();
        server
    }

    async fn over(
        registry: Registry,
        reflection: bool,
    ) -> (Self, tokio::sync::watch::Receiver<galen::registry::Progress>) {
        let engines = Engines::probe(BackendChoice::Identity, &Default::default());
        let statistics = Arc::new(Statistics::default());
        let metrics = Arc::new(Metrics::new().unwrap());
        let alerts = Arc::new(Alerts::new(Arc::clone(&metrics), None));
        let counted = Arc::clone(&statistics);
        let hub = Hub { metrics, statistics: counted, drift: None, alerts, tracer: None };
        let hub = Arc::new(hub);
        let manager = Manager::start(&registry.config(), engines, hub).unwrap();
        let progress = manager.progress.clone();
        let service = Service::new(manager, statistics, None, LogControl::default(), false);
        let regions = Regions::new(false);
        let config = GrpcConfig { body_bytes_max: BODY_BYTES_MAX, reflection, regions };
        let router = with_context(routes(service.clone(), &config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = endpoint.connect().await.unwrap();
        (Self { service, channel, _registry: registry }, progress)
    }

    fn client(&self) -> Client {
        Client::new(self.channel.clone())
    }

    fn health(&self) -> HealthClient<Channel> {
        HealthClient::new(self.channel.clone())
    }

    /// A call as bytes on the wire, for what no client would send: status and text.
    async fn call(&self, path: &str, body: impl Into<Bytes>) -> (Code, String) {
        self.call_packed(path, body, None).await
    }

    /// The same, whatever coding it claims to be in.
    async fn call_packed(
        &self,
        path: &str,
        body: impl Into<Bytes>,
        coding: Option<&str>,
    ) -> (Code, String) {
        let mut request = http::Request::post(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(coding) = coding {
            request = request.header("grpc-encoding", coding);
        }
        let request = request.body(tonic::body::Body::new(Full::new(body.into()))).unwrap();
        let mut channel = self.channel.clone();
        let response = channel.ready().await.unwrap().call(request).await.unwrap();
        let status = Status::from_header_map(response.headers()).expect("a refusal");
        (status.code(), status.message().to_owned())
    }
}

/// What the server's outer layer does: every request carries its context.
fn with_context(router: Router) -> Router {
    router.layer(from_fn(|mut request: Request, next: Next| async move {
        let context = RequestContext::internal("test", Instant::now(), PATIENCE);
        request.extensions_mut().insert(Arc::new(context));
        next.run(request).await
    }))
}

/// Everything that typed contents can carry.
const TYPED: [DType; 12] = [
    DType::Bool,
    DType::U8,
    DType::U16,
    DType::U32,
    DType::U64,
    DType::I8,
    DType::I16,
    DType::I32,
    DType::I64,
    DType::F32,
    DType::F64,
    DType::Bytes,
];

fn input(dtype: DType, rows: i64) -> InferInputTensor {
    InferInputTensor {
        name: dtype.name().to_owned(),
        datatype: dtype.name().to_owned(),
        shape: vec![rows],
        ..Default::default()
    }
}

/// Two elements of a datatype, as bytes.
fn two(dtype: DType) -> Bytes {
    match dtype {
        DType::Bool => Bytes::from_static(&[0, 1]),
        DType::Bytes => {
            let mut data = Vec::new();
            assert!(strings::push(&mut data, b"ward\0") && strings::push(&mut data, b""));
            data.into()
        }
        dtype => (0..2 * dtype.size().unwrap()).map(|i| 0x11 + i as u8).collect(),
    }
}

/// The same two elements, typed.
fn two_typed(dtype: DType) -> InferTensorContents {
    let data = two(dtype);
    let mut contents = InferTensorContents::default();
    macro_rules! numbers {
        ($t:ty, $field:ident) => {
            contents.$field = data
                .chunks(size_of::<$t>())
                .map(|bytes| <$t>::from_le_bytes(bytes.try_into().unwrap()).into())
                .collect()
        };
    }
    match dtype {
        DType::Bool => contents.bool_contents = vec![false, true],
        DType::U8 => numbers!(u8, uint_contents),
        DType::U16 => numbers!(u16, uint_contents),
        DType::U32 => numbers!(u32, uint_contents),
        DType::U64 => numbers!(u64, uint64_contents),
        DType::I8 => numbers!(i8, int_contents),
        DType::I16 => numbers!(i16, int_contents),
        DType::I32 => numbers!(i32, int_contents),
        DType::I64 => numbers!(i64, int64_contents),
        DType::F32 => numbers!(f32, fp32_contents),
        DType::F64 => numbers!(f64, fp64_contents),
        DType::Bytes => contents.bytes_contents = vec![Bytes::from_static(b"ward\0"), Bytes::new()],
        DType::F16 | DType::BF16 => unreachable!("only raw"),
    }
    contents
}

fn raw(model: &str, dtypes: &[DType]) -> ModelInferRequest {
    ModelInferRequest {
        model_name: model.to_owned(),
        inputs: dtypes.iter().map(|&dtype| input(dtype, 2)).collect(),
        raw_input_contents: dtypes.iter().map(|&dtype| two(dtype)).collect(),
        ..Default::default()
    }
}

fn one(model: &str) -> ModelInferRequest {
    raw(model, &[DType::F32])
}

fn parameter(choice: ParameterChoice) -> InferParameter {
    InferParameter { parameter_choice: Some(choice) }
}

#[tokio::test]
async fn the_server_and_its_models_are_described() {
    let server = Server::start().await;
    let mut client = server.client();
    assert!(client.server_live(ServerLiveRequest {}).await.unwrap().get_ref().live);
    assert!(client.server_ready(ServerReadyRequest {}).await.unwrap().get_ref().ready);
    let metadata = client.server_metadata(ServerMetadataRequest {}).await.unwrap().into_inner();
    assert_eq!((metadata.name.as_str(), metadata.version.as_str()), ("galen", "0.1.0"));
    let has = |name: &str| metadata.extensions.iter().any(|extension| extension == name);
    assert!(has("binary_tensor_data") && !has("system_shared_memory"), "{metadata:?}");

    let asked = |name: &str, version: &str| ModelMetadataRequest {
        name: name.to_owned(),
        version: version.to_owned(),
    };
    let echo = client.model_metadata(asked("echo", "")).await.unwrap().into_inner();
    assert_eq!((echo.name.as_str(), echo.platform.as_str()), ("echo", "galen_identity"));
    assert_eq!(echo.versions, ["1", "2"]);
    assert_eq!(echo.inputs.len(), DType::ALL.len());
    assert_eq!(echo.inputs[0].name, "BOOL");
    assert_eq!(echo.outputs[13].datatype, "BYTES");
    assert_eq!(echo.outputs[13].shape, [-1]);
    let first = client.model_metadata(asked("echo", "1")).await.unwrap().into_inner();
    assert_eq!(first.versions, ["1"]);
    let unknown = client.model_metadata(asked("nobody", "")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}

#[tokio::test]
async fn models_are_ready_not_ready_or_unknown() {
    let server = Server::start().await;
    let mut client = server.client();
    for (name, version, expected) in [
        ("echo", "", Ok(true)),
        ("echo", "latest", Ok(true)),
        ("echo", "1", Ok(true)),
        ("broken", "", Ok(false)),
        ("broken", "1", Ok(false)),
        ("echo", "3", Err(Code::NotFound)),
        ("nobody", "", Err(Code::NotFound)),
        ("echo", "one", Err(Code::NotFound)),
        ("echo", "1x", Err(Code::InvalidArgument)),
    ] {
        let request = ModelReadyRequest { name: name.to_owned(), version: version.to_owned() };
        let answer = client.model_ready(request).await;
        let answer = answer.map(|reply| reply.get_ref().ready).map_err(|status| status.code());
        assert_eq!(answer, expected, "{name} {version}");
    }
}

#[tokio::test]
async fn raw_bytes_of_every_datatype_come_back() {
    let server = Server::start().await;
    let mut request = raw("echo", &DType::ALL);
    request.id = "visit-7".to_owned();
    let reply = server.client().model_infer(request).await.unwrap().into_inner();
    assert_eq!((reply.model_name.as_str(), reply.model_version.as_str()), ("echo", "2"));
    assert_eq!(reply.id, "visit-7");
    assert_eq!(reply.outputs.len(), DType::ALL.len());
    assert_eq!(reply.raw_output_contents.len(), DType::ALL.len());
    for (i, dtype) in DType::ALL.into_iter().enumerate() {
        assert_eq!(reply.outputs[i].name, format!("{dtype}_out"));
        assert_eq!(reply.outputs[i].datatype, dtype.name());
        assert_eq!(reply.outputs[i].shape, [2]);
        assert!(reply.outputs[i].contents.is_none());
        assert_eq!(reply.raw_output_contents[i], two(dtype), "{dtype}");
    }
}

#[tokio::test]
async fn typed_contents_of_every_datatype_come_back_raw() {
    let server = Server::start().await;
    let inputs =
        TYPED.map(|dtype| InferInputTensor { contents: Some(two_typed(dtype)), ..input(dtype, 2) });
    let request = ModelInferRequest {
        model_name: "typed".to_owned(),
        inputs: inputs.into(),
        ..Default::default()
    };
    let reply = server.client().model_infer(request).await.unwrap().into_inner();
    assert_eq!(reply.id, "");
    for (i, dtype) in TYPED.into_iter().enumerate() {
        assert_eq!(reply.raw_output_contents[i], two(dtype), "{dtype}");
    }
}

#[tokio::test]
async fn versions_and_outputs_are_chosen() {
    let server = Server::start().await;
    let mut request = raw("echo", &DType::ALL);
    request.model_version = "1".to_owned();
    let output =
        |name: &str| InferRequestedOutputTensor { name: name.to_owned(), ..Default::default() };
    request.outputs = vec![output("FP64_out"), output("BOOL_out")];
    let reply = server.client().model_infer(request).await.unwrap().into_inner();
    assert_eq!(reply.model_version, "1");
    let names: Vec<_> = reply.outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(names, ["FP64_out", "BOOL_out"]);
    assert_eq!(reply.raw_output_contents, [two(DType::F64), two(DType::Bool)]);
}

#[tokio::test]
async fn an_empty_tensor_is_a_tensor() {
    let server = Server::start().await;
    let mut request = one("one");
    request.inputs[0].shape = vec![0];
    request.raw_input_contents = vec![Bytes::new()];
    let reply = server.client().model_infer(request).await.unwrap().into_inner();
    assert_eq!(reply.outputs[0].shape, [0]);
    assert_eq!(reply.raw_output_contents, [Bytes::new()]);
}

#[tokio::test]
async fn every_bad_request_has_its_code_and_text() {
    let server = Server::start().await;
    let with = |change: &dyn Fn(&mut ModelInferRequest)| {
        let mut request = one("one");
        change(&mut request);
        request
    };
    let set = |name: &str, choice: ParameterChoice| {
        let mut request = one("one");
        request.parameters.insert(name.to_owned(), parameter(choice));
        request
    };
    let output = |name: &str, key: &str, choice: ParameterChoice| {
        let parameters = [(key.to_owned(), parameter(choice))].into();
        let mut request = one("one");
        request.outputs = vec![InferRequestedOutputTensor { name: name.to_owned(), parameters }];
        request
    };
    use Code::{InvalidArgument, NotFound, Unavailable, Unimplemented};
    use ParameterChoice::{Int64Param, StringParam};
    let cases: Vec<(ModelInferRequest, Code, &str)> = vec![
        (one("nobody"), NotFound, "Request for unknown model: 'nobody' is not found"),
        (one(""), NotFound, "Request for unknown model: '' is not found"),
        (
            with(&|r| r.model_version = "9".into()),
            NotFound,
            "Request for unknown model: 'one' version 9 is not found",
        ),
        (with(&|r| r.model_version = "0x1".into()), InvalidArgument, "not a positive integer"),
        (one("broken"), Unavailable, "has no available versions"),
        (with(&|r| r.inputs.clear()), InvalidArgument, "expected 0 entries in raw_input_contents"),
        (
            with(&|r| (r.inputs, r.raw_input_contents) = (vec![], vec![])),
            InvalidArgument,
            "expected 1 inputs but got 0 inputs for model 'one'",
        ),
        (with(&|r| r.raw_input_contents.clear()), InvalidArgument, "unable to find data for input"),
        (
            with(&|r| r.raw_input_contents.push(Bytes::new())),
            InvalidArgument,
            "expected 1 entries in raw_input_contents",
        ),
        (
            with(&|r| r.inputs[0].contents = Some(two_typed(DType::F32))),
            InvalidArgument,
            "contents field must not be specified when using raw_input_contents for 'FP32'",
        ),
        (
            with(&|r| r.inputs[0].datatype = "FP23".into()),
            InvalidArgument,
            "input 'FP32' has unknown datatype 'FP23'",
        ),
        (
            with(&|r| r.inputs[0].datatype = "INT32".into()),
            InvalidArgument,
            "data-type is 'INT32', but model 'one' expects 'FP32'",
        ),
        (
            with(&|r| r.inputs[0].name = "y\n".repeat(99)),
            InvalidArgument,
            "unexpected inference input 'y\\ny\\n",
        ),
        (with(&|r| r.inputs[0].shape = vec![-1]), InvalidArgument, "negative dimension"),
        (with(&|r| r.inputs[0].shape = vec![1 << 31, 4]), InvalidArgument, "byte size mismatch"),
        (with(&|r| r.inputs[0].shape = vec![i64::MAX; 4]), InvalidArgument, "more elements than"),
        (with(&|r| r.inputs[0].shape = vec![1; 99]), InvalidArgument, "99 dimensions"),
        (
            with(&|r| r.inputs[0].shape = vec![1, 2]),
            InvalidArgument,
            "unexpected shape for input 'FP32' for model 'one'. Expected [-1], got [1,2]",
        ),
        (raw("one", &[DType::F32; 2]), InvalidArgument, "input 'FP32' already exists"),
        (raw("one", &[DType::F32, DType::F64]), InvalidArgument, "unexpected inference input"),
        (output("z", "ward", Int64Param(1)), InvalidArgument, "unexpected inference output 'z'"),
        (
            output("FP32_out", "classification", Int64Param(-3)),
            InvalidArgument,
            "'classification' is not a number of classes",
        ),
        (
            output("FP32_out", "shared_memory_region", StringParam("r".into())),
            InvalidArgument,
            "output 'FP32_out': parameter 'shared_memory_byte_size' is missing",
        ),
        (set("sequence_id", Int64Param(7)), Unimplemented, "parameter 'sequence_id'"),
        (set("triton_x", Int64Param(7)), InvalidArgument, "parameter 'triton_x' is reserved"),
        (set("timeout", Int64Param(-1)), InvalidArgument, "parameter 'timeout'"),
    ];
    let mut client = server.client();
    for (request, code, text) in cases {
        let status = client.model_infer(request).await.expect_err(text);
        assert_eq!(status.code(), code, "{text}: {status}");
        assert!(status.message().contains(text), "{text}: {status}");
    }
    // Nothing was disturbed.
    client.model_infer(one("one")).await.unwrap();
    let fine = set("priority", Int64Param(3));
    client.model_infer(fine).await.unwrap();
}

#[tokio::test]
async fn a_late_answer_is_a_passed_deadline() {
    let server = Server::start().await;
    let mut request = raw("slow", &[DType::F32]);
    request.inputs[0].shape = vec![1];
    request.raw_input_contents = vec![Bytes::from_static(&[0; 4])];
    let timeout = parameter(ParameterChoice::Int64Param(20_000));
    request.parameters.insert("timeout".to_owned(), timeout);
    let status = server.client().model_infer(request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(status.message(), "Request timeout expired");
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_back() {
    let server = Server::start().await;
    let mut request = raw("slow", &[DType::F32]);
    request.inputs[0].shape = vec![1];
    request.raw_input_contents = vec![Bytes::from_static(&[0; 4])];
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let (mut client, request) = (server.client(), request.clone());
            tokio::spawn(async move { client.model_infer(request).await })
        })
        .collect();
    let mut answered = 0;
    let mut refused = 0;
    for call in calls {
        match call.await.unwrap() {
            Ok(_) => answered += 1,
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                assert!(status.metadata().get("retry-after").is_some(), "{status:?}");
                assert!(status.metadata().get("grpc-retry-pushback-ms").is_some());
                refused += 1;
            }
        }
    }
    assert!(answered >= 1 && refused >= 1, "{answered} answered, {refused} refused");
}

#[tokio::test]
async fn a_stream_is_answered_in_its_order_and_survives_errors() {
    let server = Server::start().await;
    let messages = || {
        let mut wrong = one("one");
        wrong.id = "wrong".into();
        wrong.inputs.clear();
        let numbered = |id: &str| ModelInferRequest { id: id.into(), ..one("one") };
        tokio_stream::iter([numbered("a"), wrong, numbered("b"), raw("nobody", &[DType::F32])])
    };
    let mut stream = server.client().model_stream_infer(messages()).await.unwrap().into_inner();
    let mut seen = Vec::new();
    while let Some(answer) = stream.message().await.unwrap() {
        seen.push(answer.infer_response.map_or(answer.error_message, |response| response.id));
    }
    assert_eq!(seen[0], "a");
    assert!(seen[1].starts_with("expected 0 entries in raw_input_contents"), "{seen:?}");
    assert_eq!(seen[2], "b");
    assert!(seen[3].starts_with("Request for unknown model"), "{seen:?}");

    let mut request = tonic::Request::new(messages());
    request.metadata_mut().insert("triton_grpc_error", "true".parse().unwrap());
    let mut stream = server.client().model_stream_infer(request).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());
    assert_eq!(stream.message().await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn the_repository_and_its_statistics_are_there_too() {
    let server = Server::start().await;
    let mut client = server.client();
    client.model_infer(one("one")).await.unwrap();
    let request = ModelStatisticsRequest { name: "one".into(), version: String::new() };
    let statistics = client.model_statistics(request).await.unwrap().into_inner();
    assert_eq!(statistics.model_stats[0].execution_count, 1);
    let unload = |model: &str| RepositoryModelUnloadRequest {
        model_name: model.into(),
        ..Default::default()
    };
    client.repository_model_unload(unload("one")).await.unwrap();
    assert_eq!(client.model_infer(one("one")).await.unwrap_err().code(), Code::NotFound);
    let index = client.repository_index(RepositoryIndexRequest::default()).await.unwrap();
    let index = index.into_inner().models;
    let line = index.iter().find(|line| line.name == "one").unwrap();
    assert!(["UNLOADING", "UNAVAILABLE"].contains(&line.state.as_str()), "{line:?}");
    let load = RepositoryModelLoadRequest { model_name: "one".into(), ..Default::default() };
    client.repository_model_load(load).await.unwrap();
    client.model_infer(one("one")).await.unwrap();
    let refused = client.repository_model_unload(unload("nobody")).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let named = RepositoryIndexRequest { repository_name: "x".into(), ready: false };
    assert_eq!(client.repository_index(named).await.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn health_is_readiness_under_any_name() {
    let server = Server::start().await;
    let mut health = server.health();
    for name in ["", "inference.GRPCInferenceService", "whatever"] {
        let request = HealthCheckRequest { service: name.to_owned() };
        assert_eq!(status_of(health.check(request).await.unwrap().get_ref()), "SERVING");
    }
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(status_of(&watch.message().await.unwrap().unwrap()), "SERVING");
    let silent = tokio::time::timeout(Duration::from_millis(100), watch.message()).await;
    assert!(silent.is_err(), "nothing has changed");

    server.service.start_draining();
    let told = tokio::time::timeout(PATIENCE, watch.message()).await.unwrap();
    assert_eq!(status_of(&told.unwrap().unwrap()), "NOT_SERVING");
    let end = tokio::time::timeout(PATIENCE, watch.message()).await.unwrap();
    assert_eq!(end.unwrap_err().code(), Code::Unavailable);

    let checked = health.check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(status_of(checked.get_ref()), "NOT_SERVING");
    let again = health.watch(HealthCheckRequest::default()).await.unwrap_err();
    assert_eq!(again.code(), Code::Unavailable);
    let mut client = server.client();
    assert!(!client.server_ready(ServerReadyRequest {}).await.unwrap().get_ref().ready);
    // Sent by somebody who did not know yet: it is answered.
    client.model_infer(one("one")).await.unwrap();
}

#[tokio::test]
async fn a_watcher_sees_the_server_become_ready() {
    let registry = Registry::new();
    // Warm-up runs the engine: this model takes its time to load.
    let slow = "[identity]\ndelay_us = 500000";
    registry.model("slow", &[1], slow, &tensors(&[DType::F32]));
    let (server, _progress) = Server::over(registry, false).await;
    let watch = server.health().watch(HealthCheckRequest::default()).await;
    let mut watch = watch.unwrap().into_inner();
    assert_eq!(status_of(&watch.message().await.unwrap().unwrap()), "NOT_SERVING");
    let told = tokio::time::timeout(PATIENCE, watch.message()).await.unwrap();
    assert_eq!(status_of(&told.unwrap().unwrap()), "SERVING");
}

fn status_of(reply: &HealthCheckResponse) -> &'static str {
    ServingStatus::try_from(reply.status).unwrap().as_str_name()
}

const SERVICES: [&str; 3] =
    ["galen.v1.Feedback", "grpc.health.v1.Health", "inference.GRPCInferenceService"];

#[tokio::test]
async fn reflection_names_the_services_and_gives_their_files() {
    let server = Server::start().await;
    let ask = |message: MessageRequest| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message),
    };
    let mut client = ServerReflectionClient::new(server.channel.clone());
    let requests = tokio_stream::iter([
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("inference.ModelInferRequest".to_owned())),
    ]);
    let mut replies = client.server_reflection_info(requests).await.unwrap().into_inner();
    let listed: ServerReflectionResponse = replies.message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = listed.message_response else {
        panic!("{listed:?}")
    };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for name in SERVICES {
        assert!(names.contains(&name), "{names:?}");
    }
    let file = replies.message().await.unwrap().unwrap();
    assert!(
        matches!(file.message_response, Some(MessageResponse::FileDescriptorResponse(_))),
        "{file:?}"
    );
}

#[tokio::test]
async fn reflection_answers_in_its_older_version_and_only_when_asked_for() {
    use v1alpha::server_reflection_client::ServerReflectionClient;
    use v1alpha::server_reflection_request::MessageRequest;
    use v1alpha::server_reflection_response::MessageResponse;

    let request = || v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let server = Server::start().await;
    let mut client = ServerReflectionClient::new(server.channel.clone());
    let replies = client.server_reflection_info(tokio_stream::iter([request()])).await;
    let listed = replies.unwrap().into_inner().message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = listed.message_response else {
        panic!("{listed:?}")
    };
    for name in SERVICES {
        assert!(list.service.iter().any(|service| service.name == name), "{list:?}");
    }

    let (server, _progress) = Server::over(Registry::new(), false).await;
    let mut client = ServerReflectionClient::new(server.channel.clone());
    let refused = client.server_reflection_info(tokio_stream::iter([request()])).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unimplemented);
}

const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";

/// A whole gRPC frame around a message.
fn frame(message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(message);
    frame
}

#[tokio::test]
async fn garbage_is_the_callers_fault() {
    let server = Server::start().await;
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("no frame", vec![]),
        ("half a frame's head", vec![0, 0, 0]),
        ("a frame cut off", vec![0, 0, 0, 1, 0, 0x0a]),
        ("a length within the limit, and nothing", vec![0, 0, 0x10, 0, 0]),
        ("an unknown compression flag", vec![7, 0, 0, 0, 0]),
        ("a compression that nobody named", vec![1, 0, 0, 0, 0]),
        ("no protobuf", frame(&[0xff; 64])),
        ("a field that runs over the end", frame(&[0x0a, 0x7f, b'x'])),
        ("a name that is no UTF-8", frame(&[0x0a, 2, 0xc3, 0x28])),
        ("a wrong wire type", frame(&[0x08, 1])),
        ("endless groups", frame(&[0x7b; 4096])),
        ("200,000 empty inputs", frame(&[0x2a, 0].repeat(200_000))),
    ];
    for (what, body) in bodies {
        let (code, text) = server.call(INFER, body).await;
        assert_eq!(code, Code::InvalidArgument, "{what}: {text}");
        assert!(!text.is_empty() && text.len() < 400, "{what}: {text}");
    }
    server.client().model_infer(one("one")).await.unwrap();
}

#[tokio::test]
async fn what_is_too_large_or_unknown_is_said_so() {
    let server = Server::start().await;
    let mut request = one("one");
    request.inputs[0].shape = vec![1 << 21];
    request.raw_input_contents = vec![vec![0; 8 << 20].into()];
    let status = server.client().model_infer(request).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    let lying = server.call(INFER, vec![0, 0xff, 0xff, 0xff, 0xff]).await;
    assert_eq!(lying.0, Code::OutOfRange);

    for path in [
        "/inference.GRPCInferenceService/Knock",
        "/inference.GRPCInferenceService/",
        "/nobody.Home/Knock",
        "/",
    ] {
        let (code, text) = server.call(path, frame(&[])).await;
        assert_eq!(code, Code::Unimplemented, "{path}");
        assert_eq!(text, "this server has no such service or method", "{path}");
    }
}

#[tokio::test]
async fn answers_are_packed_as_their_requests_are() {
    let server = Server::start().await;
    for coding in [CompressionEncoding::Gzip, CompressionEncoding::Deflate] {
        let accepting = server.client().accept_compressed(coding);
        let packed = accepting.clone().send_compressed(coding);
        for (mut client, expected) in
            [(accepting, None), (packed.clone(), Some(coding.to_string()))]
        {
            let reply = client.model_infer(one("one")).await.unwrap();
            let encoding = reply.metadata().get("grpc-encoding");
            let encoding = encoding.map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(encoding, expected);
            assert_eq!(reply.into_inner().raw_output_contents, one("one").raw_input_contents);
        }
        let mut client = packed;
        let stream = client.model_stream_infer(tokio_stream::iter([one("one"), one("one")]));
        let mut stream = stream.await.unwrap().into_inner();
        for _ in 0..2 {
            let answer = stream.message().await.unwrap().unwrap();
            assert_eq!(answer.error_message, "");
        }
        let mut health = server.health().send_compressed(coding);
        health.check(HealthCheckRequest::default()).await.unwrap();
    }
}

#[tokio::test]
async fn what_can_not_be_unpacked_is_the_callers_fault_and_a_bomb_stays_small() {
    let server = Server::start().await;
    let packed = |plain: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(plain).unwrap();
        let mut frame = frame(&encoder.finish().unwrap());
        frame[0] = 1;
        frame
    };
    let bomb = packed(&vec![0; BODY_BYTES_MAX + 1]);
    assert!(bomb.len() < BODY_BYTES_MAX / 100);
    let mut cut = packed(&[7; 1000]);
    cut.truncate(12);
    cut[4] = 7;
    let mut nonsense = frame(b"nonsense");
    nonsense[0] = 1;
    for (what, body, coding, expected) in [
        ("a bomb", bomb, "gzip", Code::OutOfRange),
        ("a message cut off", cut, "gzip", Code::InvalidArgument),
        ("no gzip", nonsense.clone(), "gzip", Code::InvalidArgument),
        ("no deflate", nonsense.clone(), "deflate", Code::InvalidArgument),
        ("no protobuf", packed(&[0xff; 64]), "gzip", Code::InvalidArgument),
        ("many inputs", packed(&[0x2a, 0].repeat(200_000)), "gzip", Code::InvalidArgument),
        ("another coding", nonsense, "br", Code::Unimplemented),
    ] {
        let (code, text) = server.call_packed(INFER, body, Some(coding)).await;
        assert_eq!(code, expected, "{what}: {text}");
        assert!(!text.is_empty() && text.len() < 400, "{what}: {text}");
    }
    server.client().model_infer(one("one")).await.unwrap();
}

#[tokio::test]
async fn messages_may_be_larger_than_tonics_own_limit_in_both_directions() {
    let server = Server::start().await;
    let rows = (6 << 20) / 4;
    let mut request = one("one");
    request.inputs[0].shape = vec![rows];
    request.raw_input_contents = vec![vec![1; 6 << 20].into()];
    let mut client = server.client().max_decoding_message_size(usize::MAX);
    let reply = client.model_infer(request).await.unwrap().into_inner();
    assert_eq!(reply.raw_output_contents[0].len(), 6 << 20);
}
