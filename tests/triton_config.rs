//! Model repositories as Triton's users have them, served whole: `config.pbtxt` files from
//! `tests/fixtures/triton`, on the identity engine, and on ONNX Runtime where its library is.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use galen::app::{Loaded, load};
use galen::config::RegistryConfig;
use galen::model::Selector;
use galen::observe::metrics::Metrics;
use galen::service::{ModelStatus, Service};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use support::{Registry, Server, config};

/// A model with the configuration of a fixture.
fn model(registry: &Registry, fixture: &str, versions: &[u64]) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/triton");
    let folder = registry.path().join(fixture);
    copy(&fixtures.join(fixture), &folder);
    for version in versions {
        fs::create_dir_all(folder.join(version.to_string())).unwrap();
    }
    folder
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

async fn get(server: &Server, path: &str) -> (StatusCode, Value) {
    let response = reqwest::get(server.url(path)).await.unwrap();
    let status = response.status();
    (status, response.json().await.unwrap_or_default())
}

async fn infer(server: &Server, model: &str, body: &Value) -> (StatusCode, Value) {
    let url = server.url(&format!("/v2/models/{model}/infer"));
    let response = Client::new().post(url).body(body.to_string()).send().await.unwrap();
    let status = response.status();
    (status, response.json().await.unwrap_or_default())
}

/// A registry behind no door, when every version is ready or has failed.
async fn loaded(config: &RegistryConfig) -> Service {
    let metrics = Arc::new(Metrics::new().unwrap());
    let Loaded { service, mut progress, .. } =
        load(config, None, true, metrics, None, None, Default::default()).unwrap();
    progress.wait_for(|progress| progress.settled).await.unwrap();
    service
}

/// Why each model is not served; nothing for one that is.
async fn reasons(registry: &Registry) -> BTreeMap<String, String> {
    let service = loaded(&registry.config()).await;
    let reason = |model: ModelStatus| {
        let of_versions = model.versions.into_iter().find_map(|version| version.reason);
        (model.name.to_string(), model.problem.or(of_versions).unwrap_or_default())
    };
    service.catalog().into_iter().map(reason).collect()
}

#[tokio::test]
async fn every_supported_field_serves() {
    let registry = Registry::new();
    model(&registry, "everything", &[1, 2, 3]);
    let server = Server::start(config(&registry)).await;
    let (status, metadata) = get(&server, "/v2/models/everything").await;
    assert_eq!(status, StatusCode::OK, "{metadata}");
    assert_eq!(metadata["versions"], json!(["1", "3"]));
    assert_eq!(metadata["inputs"][0]["shape"], json!([-1, 1]), "the shape that callers send");
    assert_eq!(metadata["inputs"][1]["shape"], json!([-1, 3, -1, -1]));
    let request = json!({
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [2, 1], "data": [1.5, 2.5]},
            {"name": "image", "datatype": "UINT8", "shape": [2, 3, 1, 1], "data": [1, 2, 3, 4, 5, 6]},
            {"name": "note", "datatype": "BYTES", "shape": [2, 1], "data": ["a", "b"]}],
        "outputs": [{"name": "y"}],
        "parameters": {"priority": 1, "timeout": 5_000_000}});
    let (status, answer) = infer(&server, "everything", &request).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["outputs"][0]["shape"], json!([2, 1]));
    assert_eq!(answer["outputs"][0]["data"], json!([1.5, 2.5]));

    let mut unreshaped = request.clone();
    unreshaped["inputs"][0]["shape"] = json!([2]);
    let (status, answer) = infer(&server, "everything", &unreshaped).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(answer["error"].as_str().unwrap().contains("Expected [-1,1], got [2]"), "{answer}");
    let mut urgent = request;
    urgent["parameters"]["priority"] = json!("urgent");
    assert_eq!(infer(&server, "everything", &urgent).await.0, StatusCode::BAD_REQUEST);
    server.stop().await;
}

#[tokio::test]
async fn a_model_without_batches_and_without_a_scheduler_serve_as_written() {
    let registry = Registry::new();
    model(&registry, "alone", &[1]);
    model(&registry, "rows", &[1]);
    let server = Server::start(config(&registry)).await;
    let request = |shape: Value, data: Value| json!({"inputs": [{"name": "x", "datatype": "INT64", "shape": shape, "data": data}]});
    let (status, answer) = infer(&server, "alone", &request(json!([2]), json!([1, 2]))).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let (status, _) = infer(&server, "alone", &request(json!([1, 2]), json!([1, 2]))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "there is no batch axis");

    let (status, _) = infer(&server, "rows", &request(json!([2, 2]), json!([1, 2, 3, 4]))).await;
    assert_eq!(status, StatusCode::OK);
    let (status, answer) =
        infer(&server, "rows", &request(json!([3, 2]), json!([1, 2, 3, 4, 5, 6]))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let message = answer["error"].as_str().unwrap();
    assert_eq!(message, "inference request batch-size must be <= 2 for 'rows'");
    server.stop().await;
}

#[tokio::test]
async fn what_can_not_be_served_says_why_and_disturbs_nobody() {
    let registry = Registry::new();
    model(&registry, "alone", &[1]);
    model(&registry, "sequences", &[1]);
    model(&registry, "ensemble", &[1]);
    model(&registry, "typo", &[1]);
    let both = model(&registry, "rows", &[1]);
    fs::write(both.join("model.toml"), "").unwrap();
    let cold = model(&registry, "everything", &[1, 3]);
    fs::remove_file(cold.join("warmup/image.bin")).unwrap();
    let reasons = reasons(&registry).await;
    assert_eq!(reasons["alone"], "");
    for (model, part) in [
        ("sequences", "config.pbtxt: line 4: sequence_batching is not supported"),
        ("ensemble", "ensemble: step 'clean': Request for unknown model: 'clean' is not found"),
        ("typo", "config.pbtxt: line 3: unknown field 'max_batch_sise'; did you mean"),
        ("rows", "model.toml and config.pbtxt lie side by side"),
        ("everything", "there is no file warmup/image.bin for input 'image'"),
    ] {
        assert!(reasons[model].contains(part), "{model}: {}", reasons[model]);
    }
}

#[tokio::test]
async fn the_configuration_of_a_served_model_is_its_own() {
    let registry = Registry::new();
    model(&registry, "everything", &[1, 3]);
    let service = loaded(&registry.config()).await;
    let served = service.resolve("everything", Selector::Latest).unwrap();
    let config: Value = serde_json::from_str(&served.triton_config().to_json().unwrap()).unwrap();
    assert_eq!(config["max_batch_size"], json!(8));
    assert_eq!(config["input"][0]["dims"], json!([1]));
    assert_eq!(config["input"][0]["reshape"], json!({"shape": []}));
    assert_eq!(config["instance_group"][0]["count"], json!(3));
    assert_eq!(config["dynamic_batching"]["preferred_batch_size"], json!([4, 8]));
    assert_eq!(config["version_policy"], json!({"specific": {"versions": [1, 3]}}));
    assert_eq!(config["output"][0]["label_filename"], json!("labels.txt"));
}

/// A load call may bring a configuration in Triton's JSON, in place of the file's.
#[tokio::test]
async fn a_load_call_brings_its_configuration() {
    let registry = Registry::new();
    model(&registry, "rows", &[1]);
    let server = Server::start(config(&registry)).await;
    let call = async |config: Value| {
        let url = server.url("/v2/repository/models/rows/load");
        let body = json!({"parameters": {"config": config.to_string()}});
        let response = Client::new().post(url).body(body.to_string()).send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    };
    let tensor = |name: &str| json!([{"name": name, "data_type": "TYPE_INT64", "dims": ["2"]}]);
    let wanted = json!({"backend": "identity", "max_batch_size": 3,
                        "input": tensor("x"), "output": tensor("y")});
    let (status, answer) = call(wanted).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let request = json!({"inputs": [
        {"name": "x", "datatype": "INT64", "shape": [3, 2], "data": [1, 2, 3, 4, 5, 6]}]});
    assert_eq!(infer(&server, "rows", &request).await.0, StatusCode::OK, "3 rows, the file has 2");
    let (status, answer) = call(json!({"max_batch_sise": 3})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(answer.contains("did you mean 'max_batch_size'"), "{answer}");
    server.stop().await;
}

/// The library, as the Makefile names it.
fn onnxruntime() -> Option<PathBuf> {
    std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from).filter(|path| path.is_file())
}

#[tokio::test]
async fn an_onnx_model_is_completed_as_on_triton() {
    let Some(library) = onnxruntime() else {
        eprintln!("skipped: ORT_DYLIB_PATH names no ONNX Runtime library");
        return;
    };
    let registry = Registry::new();
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/add-sub/1/model.onnx");
    for fixture in ["silent", "explicit", "partial"] {
        let folder = model(&registry, fixture, &[1]);
        let name = if fixture == "explicit" { "add_sub.onnx" } else { "model.onnx" };
        fs::copy(&weights, folder.join("1").join(name)).unwrap();
    }
    let mut config = config(&registry);
    config.registry.onnxruntime.candidates = vec![library];
    let server = Server::start(config).await;
    let request = |rows: usize| {
        let operand = |name: &str| {
            json!({"name": name, "datatype": "FP32", "shape": [rows, 16],
                   "data": vec![1.0; rows * 16]})
        };
        json!({"inputs": [operand("INPUT0"), operand("INPUT1")], "outputs": [{"name": "OUTPUT0"}]})
    };
    for (model, most) in [("silent", 4), ("partial", 4), ("explicit", 8)] {
        let (status, answer) = infer(&server, model, &request(most)).await;
        assert_eq!(status, StatusCode::OK, "{model} {answer}");
        assert_eq!(answer["outputs"][0]["data"][0], json!(2.0), "{model}");
        let (status, answer) = infer(&server, model, &request(most + 1)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{model}");
        let message = answer["error"].as_str().unwrap().to_owned();
        assert!(message.contains(&format!("must be <= {most}")), "{model}: {message}");
    }
    server.stop().await;
}
