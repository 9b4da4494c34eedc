//! Where unversioned requests go: splits, shadows, promotion and rollback, over a whole server.

mod support;

use std::collections::BTreeMap;
use std::fs;

use galen::tensor::DType;
use serde_json::{Value, json};
use support::{PATIENCE, Registry, Server, config, tensors};

const POLICY: &str = "version_policy = 'all'
labels = { stable = 1, canary = 2 }
traffic = { to = 'stable', split = [{ to = 'canary', percent = 10 }] }";

fn registry(head: &str) -> Registry {
    let registry = Registry::new();
    registry.model("m", &[1, 2, 3], head, &tensors(&[DType::F32]));
    registry
}

struct Client<'a> {
    server: &'a Server,
    http: reqwest::Client,
}

impl Client<'_> {
    async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.http.request(method, self.server.url(path)).timeout(PATIENCE);
        let request = if body.is_null() { request } else { request.body(body.to_string()) };
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// The version that answers the caller with this key.
    async fn version(&self, key: &str) -> String {
        let input = json!({"name": "FP32", "datatype": "FP32", "shape": [1], "data": [0.5]});
        let request = self.http.post(self.server.url("/v2/models/m/infer")).timeout(PATIENCE);
        let request =
            request.header("x-affinity-key", key).body(json!({"inputs": [input]}).to_string());
        let text = request.send().await.unwrap().text().await.unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["outputs"][0]["data"], json!([0.5]), "{answer}");
        answer["model_version"].as_str().unwrap().to_owned()
    }

    async fn traffic(&self) -> Value {
        self.call("GET", "/models/m/traffic", Value::Null).await.1
    }

    async fn until(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let wait = async {
            loop {
                let traffic = self.traffic().await;
                if is(&traffic) {
                    return traffic;
                }
                tokio::task::yield_now().await;
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(traffic) => traffic,
            Err(_) => panic!("{what}: {}", self.traffic().await),
        }
    }
}

#[tokio::test]
async fn a_canary_gets_its_share_of_sticky_keys() {
    let registry = registry(POLICY);
    let server = Server::start(config(&registry)).await;
    let client = Client { server: &server, http: reqwest::Client::new() };
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for number in 0..3000 {
        let key = format!("patient-{number}");
        let version = client.version(&key).await;
        seen.insert(key, version);
    }
    let canary = seen.values().filter(|version| *version == "2").count() as f64 / 3000.0;
    assert!((canary - 0.1).abs() < 0.015, "{canary}");
    for (key, version) in seen.iter().take(200) {
        assert_eq!(&client.version(key).await, version, "{key}");
    }
    let traffic = client.traffic().await;
    assert_eq!(traffic["set_by"], "configuration");
    let destinations = traffic["destinations"].as_array().unwrap();
    let total: u64 = destinations.iter().map(|to| to["requests"].as_u64().unwrap()).sum();
    assert_eq!((total, &destinations[1]["to"]), (3200, &json!("canary")));
    assert_eq!(
        (&destinations[0]["version"], &destinations[1]["version"]),
        (&json!("1"), &json!("2"))
    );
    // Whoever names a version gets it.
    let path = "/v2/models/m/versions/3/infer";
    let input = json!({"name": "FP32", "datatype": "FP32", "shape": [1], "data": [0.5]});
    let (_, answer) = client.call("POST", path, json!({"inputs": [input]})).await;
    assert_eq!(answer["model_version"], "3");
    assert!(server.stop().await);
}

#[tokio::test]
async fn promotion_and_rollback_are_one_call_each_and_outlive_a_restart() {
    let registry = registry(POLICY);
    let server = Server::start(config(&registry)).await;
    let client = Client { server: &server, http: reqwest::Client::new() };
    let (status, _) = client.call("POST", "/models/m/promote", json!({"to": "canary"})).await;
    assert_eq!(status, 204);
    for number in 0..50 {
        assert_eq!(client.version(&number.to_string()).await, "2");
    }
    let (_, model) = client.call("GET", "/models/m", Value::Null).await;
    assert_eq!(model["labels"], json!({"stable": "2", "canary": "2"}));
    assert!(server.stop().await);

    let server = Server::start(config(&registry)).await;
    let client = Client { server: &server, http: reqwest::Client::new() };
    let traffic = client.traffic().await;
    assert_eq!((&traffic["previous"], &traffic["set_by"]), (&json!("1"), &json!("call")));
    assert_eq!(client.version("a").await, "2");
    let roll_back = async || client.call("POST", "/models/m/rollback", Value::Null).await.0;
    assert_eq!(roll_back().await, 204);
    assert_eq!(client.version("a").await, "1");
    assert_eq!(roll_back().await, 400, "there is nothing left to roll back");

    let policy = json!({"to": "3", "split": [{"to": "2", "percent": 100}]});
    assert_eq!(client.call("PUT", "/models/m/traffic", policy).await.0, 204);
    assert_eq!(client.version("a").await, "2");
    // A version that leaves takes nobody down: its share goes to the base.
    fs::remove_dir_all(registry.path().join("m/2")).unwrap();
    client.until("2 left", |traffic| traffic["destinations"][1]["version"].is_null()).await;
    assert_eq!(client.version("a").await, "3");
    assert_eq!(roll_back().await, 204);
    assert_eq!(client.version("a").await, "3");
    assert_eq!(client.call("DELETE", "/models/m/traffic", Value::Null).await.0, 204);
    assert_eq!(client.traffic().await["set_by"], "configuration");
    for (method, path, body, expected) in [
        ("PUT", "/models/m/traffic", json!({"split": [{"to": "9", "percent": 5}]}), 404),
        ("PUT", "/models/m/traffic", json!({"split": [{"to": "1", "percent": -5}]}), 400),
        ("PUT", "/models/m/traffic", json!({"colour": "red"}), 400),
        ("PUT", "/models/nobody/traffic", json!({}), 404),
        ("POST", "/models/m/promote", json!({"to": "nobody"}), 404),
        ("POST", "/models/m/promote", json!({"to": "/etc"}), 400),
        ("GET", "/models/nobody/traffic", Value::Null, 404),
    ] {
        let (status, answer) = client.call(method, path, body).await;
        assert_eq!(status, expected, "{method} {path}: {answer}");
    }
    assert!(server.stop().await);
}

#[tokio::test]
async fn a_shadow_is_compared_and_nobody_waits_for_it() {
    let policy = "version_policy = 'all'
        traffic = { to = '1', shadow = { to = '2' } }";
    let registry = registry(policy);
    let server = Server::start(config(&registry)).await;
    let client = Client { server: &server, http: reqwest::Client::new() };
    for number in 0..20 {
        assert_eq!(client.version(&number.to_string()).await, "1");
    }
    let traffic = client
        .until("all are compared", |traffic| traffic["shadow"]["compared"] == json!(20))
        .await;
    let shadow = &traffic["shadow"];
    assert_eq!((&shadow["version"], &shadow["agreement"]), (&json!("2"), &json!(1.0)));
    assert_eq!(shadow["outputs"]["FP32_out"]["difference_max"], json!(0.0));
    let text = reqwest::get(format!("http://{}/metrics", server.metrics)).await.unwrap();
    let text = text.text().await.unwrap();
    assert!(text.contains("galen_shadow_rows_agreeing{model=\"m\",version=\"2\"} 20"), "{text}");
    // The shadow's work is not counted as anybody's request.
    assert!(text.contains("nv_inference_request_success{model=\"m\",version=\"2\"} 0"), "{text}");
    assert!(server.stop().await);
}
