//! TensorFlow Serving's, KServe's and MLflow's ways of asking, on a whole server; and the parity of
//! all dialects: one request gives equal tensors, equal mistakes give equal kinds of errors.

mod support;

use bytes::Bytes;
use galen::server::grpc::pb::inference::ModelInferRequest;
use galen::server::grpc::pb::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use galen::server::grpc::pb::inference::model_infer_request::InferInputTensor;
use galen::tensor::DType;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use support::{Registry, Server, config, tensors};
use tonic::Code;
use tonic::transport::Endpoint;

/// Features of one tensor, and a tensor of its own; every input comes back.
const PATIENT: &str = r#"
    version_policy = "all"
    labels = { stable = 1 }
    [batching]
    batch_size_max = 4
    [[inputs]]
    name = "x"
    datatype = "FP32"
    shape = [-1, 2]
    [[inputs.features]]
    name = "age"
    [[inputs.features]]
    name = "bmi"
    [[inputs]]
    name = "count"
    datatype = "INT64"
    shape = [-1]
    [[outputs]]
    name = "y"
    datatype = "FP32"
    shape = [-1, 2]
    [[outputs]]
    name = "n"
    datatype = "INT64"
    shape = [-1]
"#;

const MATRIX: &str = r#"
    [[inputs]]
    name = "x"
    datatype = "FP32"
    shape = [-1, 2]
    [[outputs]]
    name = "y"
    datatype = "FP32"
    shape = [-1, 2]
"#;

const BYTES: &str = r#"
    [[inputs]]
    name = "t"
    datatype = "BYTES"
    shape = [-1]
    [[outputs]]
    name = "t_bytes"
    datatype = "BYTES"
    shape = [-1]
"#;

fn registry() -> Registry {
    let registry = Registry::new();
    registry.model("patient", &[1, 2], PATIENT, "");
    registry.model("matrix", &[1], MATRIX, "");
    registry.model("bytes", &[1], BYTES, "");
    registry.model("broken", &[1], "", "[[inputs]]\nname = \"x\"\n");
    registry
}

/// A server whose `/invocations` asks this model.
async fn start(mlflow_model: Option<&str>) -> (Registry, Server) {
    let registry = registry();
    let mut settings = config(&registry);
    settings.server.mlflow_model = mlflow_model.map(str::to_owned);
    let server = Server::start(settings).await;
    (registry, server)
}

async fn read(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}")))
}

async fn get(server: &Server, path: &str) -> (StatusCode, Value) {
    read(reqwest::get(server.url(path)).await.unwrap()).await
}

async fn post(server: &Server, path: &str, body: &Value) -> (StatusCode, Value) {
    read(Client::new().post(server.url(path)).json(body).send().await.unwrap()).await
}

async fn post_as(server: &Server, path: &str, kind: &str, body: &str) -> (StatusCode, Value) {
    let request = Client::new().post(server.url(path)).header("content-type", kind);
    read(request.body(body.to_owned()).send().await.unwrap()).await
}

#[tokio::test]
async fn rows_and_columns_are_answered_in_their_own_form() {
    let (_registry, server) = start(None).await;
    let rows = json!({"instances": [[1, 2], [3, 4]]});
    let expected = json!({"predictions": [[1.0, 2.0], [3.0, 4.0]]});
    let label = "/v1/models/matrix/labels/latest:predict";
    for path in ["/v1/models/matrix:predict", "/v1/models/matrix/versions/1:predict", label] {
        assert_eq!(post(&server, path, &rows).await, (StatusCode::OK, expected.clone()), "{path}");
    }
    let columns = json!({"signature_name": "serving_default", "inputs": {"x": [[1, 2]]}});
    let (_, answer) = post(&server, "/v1/models/matrix:predict", &columns).await;
    assert_eq!(answer, json!({"outputs": [[1.0, 2.0]]}));
    let several = json!({"instances": [{"x": [1, 2], "count": 7}, {"count": 8, "x": [3, "NaN"]}]});
    let (_, answer) = post(&server, "/v1/models/patient:predict", &several).await;
    let predictions = json!([{"y": [1.0, 2.0], "n": 7}, {"y": [3.0, "NaN"], "n": 8}]);
    assert_eq!(answer, json!({"predictions": predictions}));
    let raw = json!({"instances": [{"b64": "/wA="}, "hi"]});
    let (_, answer) = post(&server, "/v1/models/bytes:predict", &raw).await;
    assert_eq!(answer, json!({"predictions": [{"b64": "/wA="}, {"b64": "aGk="}]}));
    // No content type, as curl without -H in TensorFlow Serving's own tutorial.
    let form = "application/x-www-form-urlencoded";
    let body = r#"{"instances": [[1, 2]]}"#;
    let (status, _) = post_as(&server, "/v1/models/matrix:predict", form, body).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn models_are_described_to_tensorflow_servings_and_kserves_clients() {
    let (_registry, server) = start(None).await;
    assert_eq!(get(&server, "/").await, (StatusCode::OK, json!({"status": "alive"})));
    let names = json!({"models": ["broken", "bytes", "matrix", "patient"]});
    assert_eq!(get(&server, "/v1/models").await, (StatusCode::OK, names));
    let available = |version: &str| {
        let status = json!({"error_code": "OK", "error_message": ""});
        json!({"version": version, "state": "AVAILABLE", "status": status})
    };
    let (_, all) = get(&server, "/v1/models/patient").await;
    let states = json!([available("2"), available("1")]);
    assert_eq!(all, json!({"model_version_status": states, "name": "patient", "ready": true}));
    let (_, one) = get(&server, "/v1/models/patient/versions/1").await;
    assert_eq!(one["model_version_status"], json!([available("1")]));
    assert_eq!(get(&server, "/v1/models/patient/labels/stable").await.1, one);
    let (_, metadata) = get(&server, "/v1/models/patient/labels/stable/metadata").await;
    assert_eq!(metadata["model_spec"]["version"], "1");
    let (status, broken) = get(&server, "/v1/models/broken").await;
    assert_eq!((status, &broken["ready"]), (StatusCode::OK, &json!(false)));
    let state = &broken["model_version_status"][0];
    assert_eq!(
        (&state["state"], &state["status"]["error_code"]),
        (&json!("END"), &json!("UNKNOWN"))
    );
    assert!(!state["status"]["error_message"].as_str().unwrap().is_empty());

    let dims = |sizes: &[&str]| sizes.iter().map(|s| json!({"size": s, "name": ""})).collect();
    let tensor = |name: &str, dtype: &str, sizes: &[&str]| {
        let dims: Vec<Value> = dims(sizes);
        json!({"dtype": dtype, "tensor_shape": {"dim": dims, "unknown_rank": false},
            "name": format!("{name}:0")})
    };
    let (_, metadata) = get(&server, "/v1/models/patient/versions/1/metadata").await;
    let signature = json!({
        "inputs": {"x": tensor("x", "DT_FLOAT", &["-1", "2"]),
            "count": tensor("count", "DT_INT64", &["-1"])},
        "outputs": {"y": tensor("y", "DT_FLOAT", &["-1", "2"]),
            "n": tensor("n", "DT_INT64", &["-1"])},
        "method_name": "tensorflow/serving/predict"});
    let spec = json!({"name": "patient", "signature_name": "", "version": "1"});
    let map = json!({"signature_def": {"serving_default": signature}});
    assert_eq!(metadata, json!({"model_spec": spec, "metadata": {"signature_def": map}}));
}

#[tokio::test]
async fn what_v1_does_not_do_is_said_clearly() {
    let (_registry, server) = start(None).await;
    let rows = json!({"instances": [[1, 2]]});
    for (path, status, text) in [
        ("/v1/models/nobody:predict", 404, "Request for unknown model: 'nobody' is not found"),
        ("/v1/models/matrix/versions/9:predict", 404, "version 9 is not found"),
        ("/v1/models/broken:predict", 503, "has no available versions"),
        ("/v1/models/matrix:classify", 501, "':classify' is not supported"),
        ("/v1/models/matrix:regress", 501, "':regress' is not supported"),
        ("/v1/models/matrix:explain", 501, "':explain' is not supported"),
        ("/v1/models/matrix:dance", 400, "Malformed request: POST /v1/models/matrix:dance"),
        ("/v1/models/matrix", 405, "Method Not Allowed"),
        ("/v1/models/matrix/labels/canary:predict", 404, "label 'canary' is not found"),
        ("/v1/models/matrix/metadata", 405, "Method Not Allowed"),
        ("/v1/nowhere", 404, "Not Found"),
    ] {
        let (given, body) = post(&server, path, &rows).await;
        assert_eq!(given.as_u16(), status, "{path}: {body}");
        assert!(body["error"].as_str().unwrap().contains(text), "{path}: {body}");
    }
    let other = json!({"signature_name": "other", "instances": [[1, 2]]});
    assert_eq!(post(&server, "/v1/models/matrix:predict", &other).await.0, StatusCode::NOT_FOUND);
    for path in ["/v1/models/nobody", "/v1/models/nobody/metadata", "/v1/models/patient/versions/9"]
    {
        assert_eq!(get(&server, path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    let (status, body) = get(&server, "/v1/models/matrix:predict").await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{body}");
}

#[tokio::test]
async fn bare_tokens_are_read_and_written_where_they_are_wanted() {
    let registry = registry();
    let mut settings = config(&registry);
    settings.server.bare_nonfinite = true;
    settings.server.mlflow_model = Some("matrix".to_owned());
    let server = Server::start(settings).await;
    for path in ["/v1/models/matrix:predict", "/invocations"] {
        let request =
            Client::new().post(server.url(path)).header("content-type", "application/json");
        let response = request.body(r#"{"instances": [[NaN, -Infinity]]}"#).send().await.unwrap();
        assert_eq!(response.text().await.unwrap(), r#"{"predictions":[[NaN,-Infinity]]}"#);
    }
}

#[tokio::test]
async fn mlflow_asks_the_model_that_is_meant() {
    let body = json!({"inputs": [[1, 2]]});
    let (_registry, server) = start(None).await;
    let (status, error) = post(&server, "/invocations", &body).await;
    assert_eq!(
        (status, &error["error_code"]),
        (StatusCode::NOT_FOUND, &json!("RESOURCE_DOES_NOT_EXIST"))
    );
    assert!(error["message"].as_str().unwrap().contains("--mlflow-model"), "{error}");
    let ping = reqwest::get(server.url("/ping")).await.unwrap();
    assert_eq!((ping.status(), ping.text().await.unwrap().as_str()), (StatusCode::OK, "\n"));
    assert_eq!(reqwest::get(server.url("/health")).await.unwrap().status(), StatusCode::OK);
    let version = reqwest::get(server.url("/version")).await.unwrap().text().await.unwrap();
    assert_eq!(version, env!("CARGO_PKG_VERSION"));

    let (_registry, server) = start(Some("nobody")).await;
    assert_eq!(post(&server, "/invocations", &body).await.0, StatusCode::NOT_FOUND);
    let (_registry, server) = start(Some("broken")).await;
    assert_eq!(post(&server, "/invocations", &body).await.0, StatusCode::SERVICE_UNAVAILABLE);

    let registry = Registry::new();
    let server = Server::start(config(&registry)).await;
    assert_eq!(post(&server, "/invocations", &body).await.0, StatusCode::NOT_FOUND);
    let registry = Registry::new();
    registry.model("only", &[1], MATRIX, "");
    let server = Server::start(config(&registry)).await;
    let expected = json!({"predictions": [[1.0, 2.0]]});
    assert_eq!(post(&server, "/invocations", &body).await, (StatusCode::OK, expected.clone()));
    for (kind, status) in [
        ("application/json; charset=utf-8", 200),
        ("application/json; format=pandas-split", 200),
        ("text/plain", 415),
        ("application/json; charset=latin-1", 415),
        ("text/csv", 200),
    ] {
        let body = if kind == "text/csv" { "a,b\n1,2\n".to_owned() } else { body.to_string() };
        let (given, answer) = post_as(&server, "/invocations", kind, &body).await;
        assert_eq!(given.as_u16(), status, "{kind}: {answer}");
        if status == 200 {
            assert_eq!(answer, expected, "{kind}");
        }
    }
    let params = json!({"inputs": [[1, 2]], "params": {"threshold": 0.5}});
    let (status, error) = post(&server, "/invocations", &params).await;
    assert_eq!(
        (status, &error["error_code"]),
        (StatusCode::NOT_IMPLEMENTED, &json!("NOT_IMPLEMENTED"))
    );
}

#[tokio::test]
async fn every_datatype_passes_through_rows_and_columns() {
    let registry = Registry::new();
    registry.model("echo", &[1], "", &tensors(&DType::ALL));
    let server = Server::start(config(&registry)).await;
    let element = |dtype: &DType| match dtype {
        DType::Bool => json!([true, false]),
        DType::Bytes => json!(["é\u{0}", ""]),
        DType::U64 => json!([u64::MAX, 0]),
        DType::I64 => json!([i64::MIN, 7]),
        dtype if dtype.is_float() => json!([1.5, -0.25]),
        _ => json!([7, 0]),
    };
    let named = |suffix: &str| -> Value {
        let pairs = DType::ALL.iter().map(|dtype| (format!("{dtype}{suffix}"), element(dtype)));
        Value::Object(pairs.collect())
    };
    let rows = |columns: &Value| -> Value {
        let row = |index: usize| {
            let pairs = columns.as_object().unwrap().iter();
            Value::Object(pairs.map(|(name, data)| (name.clone(), data[index].clone())).collect())
        };
        json!([row(0), row(1)])
    };
    let (inputs, outputs) = (named(""), named("_out"));
    let (_, answer) = post(&server, "/v1/models/echo:predict", &json!({"inputs": inputs})).await;
    assert_eq!(answer, json!({"outputs": outputs}));
    for path in ["/v1/models/echo:predict", "/invocations"] {
        let (_, answer) = post(&server, path, &json!({"instances": rows(&inputs)})).await;
        assert_eq!(answer, json!({"predictions": rows(&outputs)}), "{path}");
    }
}

/// A way of asking `patient` with two rows.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Grpc,
    V2Json,
    V2Binary,
    Typed,
    TfRow,
    TfColumn,
    Split,
    Records,
    Instances,
    Inputs,
    Csv,
}

const WAYS: [Way; 11] = [
    Way::Grpc,
    Way::V2Json,
    Way::V2Binary,
    Way::Typed,
    Way::TfRow,
    Way::TfColumn,
    Way::Split,
    Way::Records,
    Way::Instances,
    Way::Inputs,
    Way::Csv,
];

/// What is asked: values as JSON, so that they can be wrong in each dialect's own writing.
#[derive(Clone)]
struct Asked {
    model: &'static str,
    /// By row: the two features, and the count.
    x: Vec<[Value; 2]>,
    count: Option<Vec<Value>>,
}

impl Asked {
    fn right() -> Self {
        let x = vec![[json!(63.5), json!(21.25)], [json!(50), json!(-0.125)]];
        Self { model: "patient", x, count: Some(vec![json!(7), json!(9_007_199_254_740_993_i64)]) }
    }

    fn rows(&self) -> usize {
        self.x.len()
    }

    fn records(&self, row: impl Fn(&[Value; 2]) -> Value) -> Vec<Value> {
        let records = self.x.iter().enumerate().map(|(index, x)| {
            let mut record = row(x);
            if let Some(count) = &self.count {
                record["count"] = count[index].clone();
            }
            record
        });
        records.collect()
    }

    fn features(&self) -> Vec<Value> {
        self.records(|[age, bmi]| json!({"bmi": bmi, "age": age}))
    }

    fn v2(&self) -> Value {
        let flat: Vec<&Value> = self.x.iter().flatten().collect();
        let rows = self.rows();
        let mut inputs =
            vec![json!({"name": "x", "datatype": "FP32", "shape": [rows, 2], "data": flat})];
        if let Some(count) = &self.count {
            inputs.push(
                json!({"name": "count", "datatype": "INT64", "shape": [rows], "data": count}),
            );
        }
        json!({"inputs": inputs})
    }

    fn csv(&self) -> String {
        let header = if self.count.is_some() { "bmi,age,count" } else { "bmi,age" };
        let rows = self.x.iter().enumerate().map(|(index, [age, bmi])| {
            let count = self.count.as_ref().map(|count| format!(",{}", count[index]));
            format!("{bmi},{age}{}\n", count.unwrap_or_default())
        });
        format!("{header}\n{}", rows.collect::<String>())
    }

    /// The elements as bytes, for the ways that carry them so.
    fn raw(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        let x = self.x.iter().flatten().flat_map(|v| (v.as_f64().unwrap() as f32).to_le_bytes());
        let count = self.count.as_ref().map(|count| {
            count.iter().flat_map(|value| value.as_i64().unwrap().to_le_bytes()).collect()
        });
        (x.collect(), count)
    }

    /// The outputs `y` and `n` of an answer, or the kind of its error as gRPC names it.
    async fn ask(&self, server: &Server, way: Way) -> Result<(Value, Value), Code> {
        let model = self.model;
        let v1 = format!("/v1/models/{model}:predict");
        let (status, body) = match way {
            Way::Grpc => return self.grpc(server).await,
            Way::V2Json => post(server, &format!("/v2/models/{model}/infer"), &self.v2()).await,
            Way::V2Binary => self.binary(server).await,
            Way::Typed => {
                let body = json!({"records": self.features()});
                post(server, &format!("/models/{model}/predict"), &body).await
            }
            Way::TfRow => {
                post(server, &v1, &json!({"instances": self.records(|x| json!({"x": x}))})).await
            }
            Way::TfColumn => {
                let mut inputs = json!({"x": self.x});
                if let Some(count) = &self.count {
                    inputs["count"] = json!(count);
                }
                post(server, &v1, &json!({"inputs": inputs})).await
            }
            Way::Split => {
                let mut columns = vec!["age", "bmi"];
                columns.extend(self.count.is_some().then_some("count"));
                let data = self.x.iter().enumerate().map(|(index, x)| {
                    let count = self.count.iter().map(|count| &count[index]);
                    x.iter().chain(count).cloned().collect::<Vec<_>>()
                });
                let data: Vec<_> = data.collect();
                let body = json!({"dataframe_split": {"columns": columns, "data": data}});
                post(server, "/invocations", &body).await
            }
            Way::Records => {
                post(server, "/invocations", &json!({"dataframe_records": self.features()})).await
            }
            Way::Instances => {
                post(server, "/invocations", &json!({"instances": self.features()})).await
            }
            Way::Inputs => {
                let ages: Vec<_> = self.x.iter().map(|[age, _]| age).collect();
                let bmis: Vec<_> = self.x.iter().map(|[_, bmi]| bmi).collect();
                let mut inputs = json!({"age": ages, "bmi": bmis});
                if let Some(count) = &self.count {
                    inputs["count"] = json!(count);
                }
                post(server, "/invocations", &json!({"inputs": inputs})).await
            }
            Way::Csv => post_as(server, "/invocations", "text/csv", &self.csv()).await,
        };
        match status.as_u16() {
            200 => Ok(self.outputs(way, &body)),
            400 | 422 => Err(Code::InvalidArgument),
            404 => Err(Code::NotFound),
            503 => Err(Code::Unavailable),
            other => panic!("{way:?}: {other} {body}"),
        }
    }

    /// The outputs, nested, whatever the form of the answer.
    fn outputs(&self, way: Way, body: &Value) -> (Value, Value) {
        let column = |list: &Value, name: &str| -> Value {
            list.as_array().unwrap().iter().map(|record| record[name].clone()).collect()
        };
        match way {
            Way::V2Json | Way::V2Binary => {
                let y = body["outputs"][0]["data"].as_array().unwrap();
                let y: Vec<&[Value]> = y.chunks(2).collect();
                (json!(y), body["outputs"][1]["data"].clone())
            }
            Way::TfColumn => (body["outputs"]["y"].clone(), body["outputs"]["n"].clone()),
            _ => (column(&body["predictions"], "y"), column(&body["predictions"], "n")),
        }
    }

    /// `/v2` with raw tensors behind the JSON, both ways.
    async fn binary(&self, server: &Server) -> (StatusCode, Value) {
        let (x, count) = self.raw();
        let mut body = self.v2();
        let mut raws = vec![x];
        raws.extend(count);
        for (input, raw) in body["inputs"].as_array_mut().unwrap().iter_mut().zip(&raws) {
            input.as_object_mut().unwrap().remove("data");
            input["parameters"] = json!({"binary_data_size": raw.len()});
        }
        let text = serde_json::to_vec(&body).unwrap();
        let request = Client::new()
            .post(server.url(&format!("/v2/models/{}/infer", self.model)))
            .header("Inference-Header-Content-Length", text.len())
            .body([vec![text], raws].concat().concat());
        read(request.send().await.unwrap()).await
    }

    async fn grpc(&self, server: &Server) -> Result<(Value, Value), Code> {
        let (x, count) = self.raw();
        let rows = i64::try_from(self.rows()).unwrap();
        let input = |name: &str, datatype: &str, shape: Vec<i64>| InferInputTensor {
            name: name.to_owned(),
            datatype: datatype.to_owned(),
            shape,
            ..Default::default()
        };
        let mut request = ModelInferRequest {
            model_name: self.model.to_owned(),
            inputs: vec![input("x", "FP32", vec![rows, 2])],
            raw_input_contents: vec![x.into()],
            ..Default::default()
        };
        if let Some(count) = count {
            request.inputs.push(input("count", "INT64", vec![rows]));
            request.raw_input_contents.push(count.into());
        }
        let address = Endpoint::from_shared(format!("http://{}", server.grpc)).unwrap();
        let mut client = GrpcInferenceServiceClient::new(address.connect().await.unwrap());
        let answer = client.model_infer(request).await.map_err(|status| status.code())?;
        let [y, n]: [Bytes; 2] = answer.into_inner().raw_output_contents.try_into().unwrap();
        let y: Vec<f32> = y.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        let n: Vec<i64> = n.chunks(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect();
        Ok((json!(y.chunks(2).collect::<Vec<_>>()), json!(n)))
    }
}

#[tokio::test]
async fn one_request_gives_equal_tensors_in_every_dialect() {
    let (_registry, server) = start(Some("patient")).await;
    let expected = (json!([[63.5, 21.25], [50.0, -0.125]]), json!([7, 9_007_199_254_740_993_i64]));
    for way in WAYS {
        assert_eq!(Asked::right().ask(&server, way).await.unwrap(), expected, "{way:?}");
    }
}

#[tokio::test]
async fn equal_mistakes_give_equal_kinds_of_errors() {
    let (_registry, server) = start(Some("patient")).await;
    let right = Asked::right();
    let missing = Asked { count: None, ..right.clone() };
    let mut long = right.clone();
    long.x = vec![right.x[0].clone(); 5];
    long.count = Some(vec![json!(1); 5]);
    // Of another type: only where values are written out.
    let mut word = right.clone();
    word.x[1][0] = json!("SECRET");
    let mut fraction = right.clone();
    fraction.count = Some(vec![json!(7), json!(1.5)]);
    let is_text = |way: Way| !matches!(way, Way::Grpc | Way::V2Binary);
    for (what, asked) in
        [("missing", missing), ("too many rows", long), ("word", word), ("fraction", fraction)]
    {
        for way in
            WAYS.into_iter().filter(|&way| is_text(way) || !["word", "fraction"].contains(&what))
        {
            let outcome = asked.ask(&server, way).await;
            assert_eq!(outcome, Err(Code::InvalidArgument), "{what}: {way:?}");
        }
    }
    for (model, code) in [("nobody", Code::NotFound), ("broken", Code::Unavailable)] {
        let (_registry, server) = start(Some(model)).await;
        for way in WAYS {
            let asked = Asked { model, ..right.clone() };
            assert_eq!(asked.ask(&server, way).await, Err(code), "{model}: {way:?}");
        }
    }
}

#[tokio::test]
async fn limits_hold_on_every_dialect() {
    let registry = registry();
    let mut settings = config(&registry);
    settings.limits.body_bytes_max = 1024;
    settings.server.mlflow_model = Some("matrix".to_owned());
    let server = Server::start(settings).await;
    let client = Client::new();
    for path in ["/v1/models/matrix:predict", "/invocations"] {
        let url = server.url(path);
        let large = client.post(&url).body(vec![b' '; 2000]).send().await.unwrap();
        assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE, "{path}");
        let packed = client.post(&url).header("content-encoding", "br").body("x").send();
        assert_eq!(packed.await.unwrap().status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{path}");
        let deep = format!("{{\"instances\": {}", "[".repeat(900));
        let deep = client.post(&url).body(deep).send().await.unwrap();
        assert_eq!(deep.status(), StatusCode::BAD_REQUEST, "{path}");
    }
}

#[tokio::test]
async fn text_that_is_no_utf8_comes_back_as_base64() {
    let (_registry, server) = start(None).await;
    let body = json!({"inputs": {"b64": "/wA="}});
    let (status, answer) = post(&server, "/v1/models/bytes:predict", &body).await;
    // A bare value has no axis, and the model wants one.
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    let body = json!({"inputs": [{"b64": "/wA="}]});
    let (_, answer) = post(&server, "/v1/models/bytes:predict", &body).await;
    assert_eq!(answer, json!({"outputs": [{"b64": "/wA="}]}));
}
