//! Ensembles and kept answers, over a whole server: what callers and operators see of them.

mod support;

use std::fs;
use std::time::Duration;

use galen::tensor::DType;
use serde_json::{Value, json};
use support::{PATIENCE, Registry, Server, config, tensors};

const NUMBERS: &[DType] = &[DType::F32, DType::I64];

/// `both` runs `left` and `right` side by side and joins what they give in `last`.
const BOTH: &str = "
platform: 'ensemble'
max_batch_size: 4
input [ { name: 'x' data_type: TYPE_FP32 dims: [ 2 ] } ]
output [ { name: 'y' data_type: TYPE_FP32 dims: [ 2 ] }, { name: 'z' data_type: TYPE_FP32 dims: [ 2 ] } ]
ensemble_scheduling { step [
  { model_name: 'last' model_version: -1
    input_map { key: 'a' value: 'l' } input_map { key: 'b' value: 'r' }
    output_map { key: 'a_out' value: 'y' } output_map { key: 'b_out' value: 'z' } },
  { model_name: 'left' model_version: 1 input_map { key: 'a' value: 'x' } output_map { key: 'a_out' value: 'l' } },
  { model_name: 'right' model_version: -1 input_map { key: 'a' value: 'x' } output_map { key: 'a_out' value: 'r' } }
] }";

fn rows(names: &[&str]) -> String {
    let entry = |list: &str, name: &str| {
        format!("[[{list}]]\nname = \"{name}\"\ndatatype = \"FP32\"\nshape = [-1, 2]\n")
    };
    let pair = |name: &&str| entry("inputs", name) + &entry("outputs", &format!("{name}_out"));
    names.iter().map(pair).collect()
}

fn ensemble(registry: &Registry, name: &str, config: &str) {
    let folder = registry.path().join(name);
    fs::create_dir_all(folder.join("1")).unwrap();
    fs::write(folder.join("config.pbtxt"), config).unwrap();
}

fn diamond() -> Registry {
    let registry = Registry::new();
    for (name, names) in [("left", &["a"][..]), ("right", &["a"]), ("last", &["a", "b"])] {
        registry.model(name, &[1], "batching.batch_size_max = 8", &rows(names));
    }
    ensemble(&registry, "both", BOTH);
    registry
}

async fn call(server: &Server, path: &str, body: &Value) -> (u16, Value) {
    let client = reqwest::Client::new();
    let request = if body.is_null() {
        client.get(server.url(path))
    } else {
        client.post(server.url(path)).body(body.to_string())
    };
    let response = request.timeout(PATIENCE).send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

async fn infer(server: &Server, model: &str, rows: &[[f64; 2]]) -> (u16, Value) {
    let data: Vec<f64> = rows.iter().flatten().copied().collect();
    let shape = [rows.len(), 2];
    let body = json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": shape, "data": data}]});
    call(server, &format!("/v2/models/{model}/infer"), &body).await
}

async fn counts(server: &Server, model: &str) -> (u64, u64, u64, u64) {
    let (_, body) = call(server, &format!("/v2/models/{model}/stats"), &Value::Null).await;
    let one = &body["model_stats"][0];
    let count = |name: &str| one["inference_stats"][name]["count"].as_u64().unwrap();
    let executions = one["execution_count"].as_u64().unwrap();
    (count("success"), executions, count("cache_hit"), count("cache_miss"))
}

#[tokio::test]
async fn steps_run_behind_their_own_models_and_pass_tensors_on() {
    let registry = diamond();
    let server = Server::start(config(&registry)).await;
    let (status, answer) = infer(&server, "both", &[[1.5, -2.0], [0.25, 4.0]]).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!((&answer["model_name"], &answer["model_version"]), (&json!("both"), &json!("1")));
    for (index, name) in ["y", "z"].into_iter().enumerate() {
        let output = &answer["outputs"][index];
        assert_eq!((&output["name"], &output["shape"]), (&json!(name), &json!([2, 2])));
        assert_eq!(output["data"], json!([1.5, -2.0, 0.25, 4.0]));
    }
    assert_eq!(counts(&server, "both").await, (1, 0, 0, 0));
    for part in ["left", "right", "last"] {
        assert_eq!(counts(&server, part).await, (1, 1, 0, 0), "{part}");
    }
    let (_, metadata) = call(&server, "/v2/models/both", &Value::Null).await;
    assert_eq!(metadata["platform"], "ensemble");
    assert_eq!(metadata["inputs"][0]["shape"], json!([-1, 2]));
    let (_, config) = call(&server, "/v2/models/both/config", &Value::Null).await;
    assert_eq!(config["platform"], "ensemble");
    assert_eq!(config["ensemble_scheduling"]["step"].as_array().unwrap().len(), 3);

    let (status, error) = infer(&server, "both", &[[0.0; 2]; 5]).await;
    let text = error["error"].as_str().unwrap();
    assert_eq!((status, text), (400, "inference request batch-size must be <= 4 for 'both'"));
    assert!(server.stop().await);
}

#[tokio::test]
async fn an_ensemble_follows_its_models_and_brings_them_along() {
    let registry = diamond();
    let server = Server::start(config(&registry)).await;
    let unload = |model: &str| format!("/v2/repository/models/{model}/unload");
    let load = |model: &str| format!("/v2/repository/models/{model}/load");
    assert_eq!(call(&server, &unload("right"), &json!({})).await.0, 200);
    let (status, error) = infer(&server, "both", &[[1.0, 2.0]]).await;
    let text = error["error"].as_str().unwrap();
    assert!(status == 404 && text.starts_with("ensemble step 'right': "), "{status} {text}");
    // Whoever loads the ensemble gets its models, too.
    assert_eq!(call(&server, &load("both"), &json!({})).await.0, 200);
    assert_eq!(infer(&server, "both", &[[1.0, 2.0]]).await.0, 200);
    let dependents = json!({"parameters": {"unload_dependents": true}});
    assert_eq!(call(&server, &unload("both"), &dependents).await.0, 200);
    for part in ["left", "right", "last"] {
        assert_ne!(call(&server, &format!("/v2/models/{part}/ready"), &Value::Null).await.0, 200);
    }
    let wrong = json!({"parameters": {"unload_dependents": "yes"}});
    assert_eq!(call(&server, &unload("both"), &wrong).await.0, 400);
    assert!(server.stop().await);
}

#[tokio::test]
async fn an_ensemble_that_can_not_run_says_why_and_comes_once_it_can() {
    let registry = diamond();
    let hidden = registry.path().join(".right");
    fs::rename(registry.path().join("right"), &hidden).unwrap();
    let of = |model: &str, kind: &str| {
        BOTH.replace("'left'", &format!("'{model}'")).replace("TYPE_FP32", kind)
    };
    ensemble(&registry, "circle", &of("circle", "TYPE_FP32"));
    ensemble(&registry, "doubles", &of("left", "TYPE_FP64"));
    ensemble(&registry, "wide", &BOTH.replace("max_batch_size: 4", "max_batch_size: 9"));
    ensemble(&registry, "grouped", &format!("{BOTH} instance_group {{ count: 2 }}"));
    let server = Server::start(config(&registry)).await;
    let reason = async |model: &str| {
        let (_, body) = call(&server, "/v2/repository/index", &json!({})).await;
        let entries = body.as_array().unwrap();
        let entry = entries.iter().find(|entry| entry["name"] == model).unwrap();
        entry["reason"].as_str().unwrap_or_default().to_owned()
    };
    for (model, expected) in [
        ("both", "ensemble: step 'right': Request for unknown model: 'right' is not found"),
        ("circle", "circle -> circle is a cycle"),
        ("grouped", "engine.instances (instance_group) is not for an ensemble"),
    ] {
        let reason = reason(model).await;
        assert!(reason.contains(expected), "{model}: {reason}");
    }
    fs::rename(&hidden, registry.path().join("right")).unwrap();
    let ready = async {
        while call(&server, "/v2/models/both/ready", &Value::Null).await.0 != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, ready).await.expect("it comes once its model does");
    assert_eq!(infer(&server, "both", &[[1.0, 2.0]]).await.0, 200);
    for (model, expected) in [
        ("doubles", "the ensemble's input 'x' is FP64 [-1,2], but step 'left', input 'a' is FP32"),
        ("wide", "a request may have 9 rows, but one of its models takes 8 at most"),
    ] {
        let wanted = async {
            while !reason(model).await.contains(expected) {
                tokio::task::yield_now().await;
            }
        };
        let said = tokio::time::timeout(PATIENCE, wanted).await;
        assert!(said.is_ok(), "{model}: {}", reason(model).await);
    }
    assert!(server.stop().await);
}

#[tokio::test]
async fn an_equal_request_is_answered_without_the_engine() {
    let registry = Registry::new();
    let head = "response_cache = true\nidentity.delay_us = 20000";
    registry.model("kept", &[1], head, &tensors(NUMBERS));
    let server = Server::start(config(&registry)).await;
    let body = |number: i64| {
        json!({"inputs": [
            {"name": "FP32", "datatype": "FP32", "shape": [1], "data": [0.5]},
            {"name": "INT64", "datatype": "INT64", "shape": [1], "data": [number]},
        ]})
    };
    let path = "/v2/models/kept/infer";
    let (one, two) = (body(1), body(2));
    let at_once = tokio::join!(
        call(&server, path, &one),
        call(&server, path, &one),
        call(&server, path, &one),
        call(&server, path, &two),
    );
    for (answer, number) in [(at_once.0, 1), (at_once.1, 1), (at_once.2, 1), (at_once.3, 2)] {
        assert_eq!((answer.0, &answer.1["outputs"][1]["data"]), (200, &json!([number])));
    }
    assert_eq!(call(&server, path, &one).await.1["outputs"][1]["data"], json!([1]));
    let (success, executions, hits, misses) = counts(&server, "kept").await;
    assert_eq!((success, hits, misses), (5, 3, 2));
    assert!(executions <= 2, "{executions}");
    let text = reqwest::get(format!("http://{}/metrics", server.metrics)).await.unwrap();
    let text = text.text().await.unwrap();
    let line = "nv_cache_num_hits_per_model{model=\"kept\",version=\"1\"} 3";
    assert!(text.contains(line), "{text}");

    // Other bytes under the same version are another model.
    fs::write(registry.path().join("kept/1/note"), "new").unwrap();
    let replaced = async {
        while counts(&server, "kept").await.3 < 3 {
            call(&server, path, &one).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, replaced).await.expect("what was kept left with its version");
    assert!(server.stop().await);
}
