//! The REST door from outside: a whole server on a socket, models of the identity engine behind it,
//! an ordinary HTTP client in front, and bare sockets for what no client would send.

mod support;

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use galen::tensor::{DType, strings};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use support::{PATIENCE, Registry, Server, config, tensors};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const TYPED: &str = r#"
    description = "For tests."
    [batching]
    batch_size_max = 4
    [[inputs]]
    name = "x"
    datatype = "FP32"
    shape = [-1, 2]
    [[inputs.features]]
    name = "age"
    unit = "a"
    range = [0.0, 120.0]
    description = "Age"
    [[inputs.features]]
    name = "dose"
    default = 0.5
    [[inputs]]
    name = "class"
    datatype = "INT64"
    shape = [-1]
    [[inputs]]
    name = "wave"
    datatype = "FP64"
    shape = [-1, 2, 2]
    [[outputs]]
    name = "p"
    datatype = "FP32"
    shape = [-1, 2]
    labels = ["low", "high"]
    [[outputs]]
    name = "label"
    as = "risk"
    datatype = "INT64"
    shape = [-1]
    labels = ["low", "high"]
    [[outputs]]
    name = "wave_out"
    datatype = "FP64"
    shape = [-1, 2, 2]
"#;

fn registry() -> Registry {
    let registry = Registry::new();
    registry.model("echo", &[1, 2], "version_policy = \"all\"", &tensors(&DType::ALL));
    registry.model("typed", &[3], TYPED, "");
    registry.model(
        "slow",
        &[1],
        "[identity]\ndelay_us = 300000\n[batching]\nbatch_size_max = 1\n\
        queue_depth_max = 1",
        &tensors(&[DType::F32]),
    );
    registry.model("broken", &[1], "", "[[inputs]]\nname = \"x\"\n");
    registry
}

async fn start() -> (Registry, Server) {
    let registry = registry();
    let server = Server::start(config(&registry)).await;
    (registry, server)
}

async fn get(server: &Server, path: &str) -> (StatusCode, Value) {
    read(reqwest::get(server.url(path)).await.unwrap()).await
}

async fn post(server: &Server, path: &str, body: &Value) -> (StatusCode, Value) {
    read(Client::new().post(server.url(path)).json(body).send().await.unwrap()).await
}

async fn read(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}")))
}

fn one(datatype: &str, data: Value) -> Value {
    let rows = data.as_array().map_or(0, Vec::len);
    json!({"inputs": [{"name": datatype, "datatype": datatype, "shape": [rows], "data": data}]})
}

/// An input for every datatype of `echo` but the one under test.
fn all_but(datatype: &str, input: Value) -> Value {
    let rows = input["shape"][0].as_u64().unwrap() as usize;
    let others = DType::ALL.iter().filter(|dtype| dtype.name() != datatype).map(|dtype| {
        let element = match dtype {
            DType::Bool => json!(true),
            DType::Bytes => json!("x"),
            _ => json!(1),
        };
        json!({"name": dtype.name(), "datatype": dtype.name(), "shape": [rows],
            "data": vec![element; rows]})
    });
    let output = format!("{datatype}_out");
    json!({"inputs": others.chain([input]).collect::<Vec<_>>(), "outputs": [{"name": output}]})
}

#[tokio::test]
async fn the_server_and_its_models_are_described() {
    let (_registry, server) = start().await;
    let (status, body) = get(&server, "/v2").await;
    assert_eq!((status, &body["name"]), (StatusCode::OK, &json!("galen")));
    assert_eq!(get(&server, "/v2/").await.1, body);
    assert_eq!(get(&server, "/v2/health/live").await.1, json!({"live": true}));
    let (status, ready) = get(&server, "/v2/health/ready").await;
    assert_eq!((status, &ready["ready"]), (StatusCode::OK, &json!(true)));
    assert_eq!(ready["not_ready"][0]["name"], "broken/1");
    let names = json!({"models": ["broken", "echo", "slow", "typed"]});
    assert_eq!(get(&server, "/v2/models").await.1, names);
    let (_, echo) = get(&server, "/v2/models/echo").await;
    assert_eq!(echo["versions"], json!(["1", "2"]));
    let (_, echo) = get(&server, "/v2/models/echo/versions/1").await;
    assert_eq!(echo["versions"], json!(["1"]));
    assert_eq!(echo["inputs"][0], json!({"name": "BOOL", "datatype": "BOOL", "shape": [-1]}));
    let ready = json!({"name": "echo", "ready": true});
    assert_eq!(get(&server, "/v2/models/echo/versions/2/ready").await, (StatusCode::OK, ready));
    let unready = json!({"name": "broken", "ready": false});
    let expected = (StatusCode::SERVICE_UNAVAILABLE, unready);
    assert_eq!(get(&server, "/v2/models/broken/ready").await, expected);

    let (_, catalog) = get(&server, "/models").await;
    assert_eq!(catalog["models"][0]["versions"][0]["state"], "failed");
    let reason = catalog["models"][0]["versions"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("expected datatype and shape"), "{reason}");
    let (_, mut typed) = get(&server, "/models/typed").await;
    assert_eq!(typed["description"], "For tests.");
    // There only where nothing else loaded meanwhile.
    typed["versions"][0].as_object_mut().unwrap().remove("load_memory_bytes");
    assert_eq!(
        typed["versions"][0],
        json!({"version": "3", "state": "ready", "backend": "identity", "records_max": 4})
    );
}

#[tokio::test]
async fn elements_of_every_datatype_come_back_as_json_and_as_bytes() {
    let (_registry, server) = start().await;
    for dtype in DType::ALL {
        let (data, expected) = match dtype {
            DType::Bool => (json!([true, false]), json!([true, false])),
            DType::Bytes => (json!(["é\u{0}", ""]), json!(["é\u{0}", ""])),
            DType::U64 => (json!([u64::MAX, 0]), json!([u64::MAX, 0])),
            DType::I64 => (json!([i64::MIN, 7]), json!([i64::MIN, 7])),
            DType::F32 | DType::F64 | DType::F16 | DType::BF16 => {
                (json!([["NaN"], [1.5]]), json!(["NaN", 1.5]))
            }
            _ => (json!([7, 0]), json!([7, 0])),
        };
        let name = dtype.name();
        let input = json!({"name": name, "datatype": name, "shape": [2], "data": data});
        let request = all_but(name, input);
        let (status, body) = post(&server, "/v2/models/echo/infer", &request).await;
        assert_eq!(status, StatusCode::OK, "{name}: {body}");
        assert_eq!(body["outputs"][0]["data"], expected, "{name}");
        assert_eq!(body["model_version"], "2");
    }
}

#[tokio::test]
async fn raw_tensors_travel_behind_the_json_both_ways() {
    let (_registry, server) = start().await;
    let mut raw = Vec::new();
    assert!(strings::push(&mut raw, &[0xff, 0]) && strings::push(&mut raw, b"b"));
    let mut request = all_but(
        "BYTES",
        json!({"name": "BYTES", "datatype": "BYTES", "shape": [2],
            "parameters": {"binary_data_size": raw.len()}}),
    );
    request["id"] = json!("7");
    request["outputs"] = json!([{"name": "BYTES_out", "parameters": {"binary_data": true}}]);
    let text = serde_json::to_vec(&request).unwrap();
    let response = Client::new()
        .post(server.url("/v2/models/echo/versions/1/infer"))
        .header("Inference-Header-Content-Length", text.len())
        .body([text, raw.clone()].concat())
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["content-type"], "application/octet-stream");
    let at: usize =
        response.headers()["inference-header-content-length"].to_str().unwrap().parse().unwrap();
    let body = response.bytes().await.unwrap();
    assert_eq!(body[at..], raw);
    let body: Value = serde_json::from_slice(&body[..at]).unwrap();
    assert_eq!((&body["id"], &body["model_version"]), (&json!("7"), &json!("1")));
    assert_eq!(body["outputs"][0]["parameters"], json!({"binary_data_size": raw.len()}));
}

#[tokio::test]
async fn the_highest_classes_come_by_name_and_a_body_may_be_nothing_but_bytes() {
    let registry = Registry::new();
    let tensors = "[[inputs]]\nname = \"x\"\ndatatype = \"FP32\"\nshape = [-1, 3]\n\
        [[outputs]]\nname = \"p\"\ndatatype = \"FP32\"\nshape = [-1, 3]\n\
        labels = [\"low\", \"mid\", \"high\"]\n";
    registry.model("ranks", &[1], "", tensors);
    let server = Server::start(config(&registry)).await;
    let request = json!({
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 3],
            "data": [0.25, 0.5, 0.25, 1, 2, 3]}],
        "outputs": [{"name": "p", "parameters": {"classification": 2}}]});
    let (status, body) = post(&server, "/v2/models/ranks/infer", &request).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(
        body["outputs"][0],
        json!({"name": "p", "datatype": "BYTES", "shape": [2, 2],
            "data": ["0.500000:1:mid", "0.250000:0:low", "3.000000:2:high", "2.000000:1:mid"]})
    );
    let bytes: Vec<u8> = [1.5f32, -2.0, 0.0].iter().flat_map(|n| n.to_le_bytes()).collect();
    let response = Client::new()
        .post(server.url("/v2/models/ranks/infer"))
        .header("Inference-Header-Content-Length", 0)
        .body(bytes.clone())
        .send()
        .await
        .unwrap();
    let at = response.headers()["inference-header-content-length"].to_str().unwrap().to_owned();
    assert_eq!(response.bytes().await.unwrap()[at.parse().unwrap()..], bytes);

    let (status, config) = get(&server, "/v2/models/ranks/config").await;
    assert_eq!(status, StatusCode::OK, "{config}");
    assert_eq!((&config["name"], &config["max_batch_size"]), (&json!("ranks"), &json!(64)));
    assert_eq!(config["input"][0]["data_type"], "TYPE_FP32");
    assert_eq!(config["input"][0]["dims"], json!([3]));
}

#[tokio::test]
async fn records_are_answered_by_name() {
    let (_registry, server) = start().await;
    let request = json!({"records": [
        {"age": 1, "class": 1, "wave": [[1, 2], [3, 4]]},
        {"dose": 0.25, "age": 0, "class": 0, "wave": [[5, 6], [7, 8]]}]});
    for path in ["/models/typed/predict", "/models/typed/versions/3/predict"] {
        let (status, body) = post(&server, path, &request).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!((&body["model"], &body["version"]), (&json!("typed"), &json!("3")));
        assert_eq!(
            body["predictions"],
            json!([
                {"p": {"low": 1.0, "high": 0.5}, "risk": "high",
                    "wave_out": [[1.0, 2.0], [3.0, 4.0]]},
                {"p": {"low": 0.0, "high": 0.25}, "risk": "low",
                    "wave_out": [[5.0, 6.0], [7.0, 8.0]]}])
        );
    }
    let broken = json!({"records": [{"age": 121, "class": 0.5, "wavy": 1}]});
    let response = Client::new()
        .post(server.url("/models/typed/predict"))
        .header("x-request-id", "ward-7")
        .json(&broken)
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(response.headers()["x-request-id"], "ward-7");
    let (status, problem) = read(response).await;
    assert_eq!(
        (status, &problem["request_id"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("ward-7"))
    );
    let places: Vec<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    let expected = ["/records/0/age", "/records/0/class", "/records/0/wavy", "/records/0/wave"];
    assert_eq!(places, expected);
}

#[tokio::test]
async fn what_is_not_there_is_said_in_the_form_of_its_dialect() {
    let (_registry, server) = start().await;
    for (path, text) in [
        ("/nowhere", "Not Found"),
        ("/v2/nowhere", "Not Found"),
        ("/v2/models/nobody", "Request for unknown model: 'nobody' is not found"),
        ("/v2/models/%2e%2e%2fetc", "Request for unknown model: '../etc' is not found"),
        ("/v2/models/%ff", "Request for unknown model: '' is not found"),
        ("/v2/models/echo/versions/9", "Request for unknown model: 'echo' version 9 is not found"),
    ] {
        let (status, body) = get(&server, path).await;
        assert_eq!((status, body), (StatusCode::NOT_FOUND, json!({"error": text})), "{path}");
    }
    let (status, body) = get(&server, "/v2/models/echo/versions/01").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    let (status, body) = get(&server, "/v2/models/broken").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    let (status, body) = post(&server, "/v2/models/echo", &json!({})).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{body}");
    let response = reqwest::get(server.url("/models/typed/predict")).await.unwrap();
    assert_eq!(response.headers()["allow"], "POST");
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let (status, body) = read(response).await;
    assert_eq!((status, &body["status"]), (StatusCode::METHOD_NOT_ALLOWED, &json!(405)));
    let (status, body) = post(&server, "/models/nobody/predict", &json!({})).await;
    assert_eq!((status, &body["status"]), (StatusCode::NOT_FOUND, &json!(404)));
}

#[tokio::test]
async fn the_repository_is_listed_loaded_and_unloaded_by_calls() {
    let (_registry, server) = start().await;
    let index = async |body: &Value| {
        let (status, lines) = post(&server, "/v2/repository/index", body).await;
        assert_eq!(status, StatusCode::OK, "{lines}");
        let line = |line: &Value| {
            let text = |key: &str| line[key].as_str().unwrap_or("-").to_owned();
            format!("{}/{} {}", text("name"), text("version"), text("state"))
        };
        lines.as_array().unwrap().iter().map(line).collect::<Vec<_>>()
    };
    let all =
        ["broken/1 UNAVAILABLE", "echo/1 READY", "echo/2 READY", "slow/1 READY", "typed/3 READY"];
    assert_eq!(index(&json!({})).await, all);
    assert_eq!(index(&json!({"ready": true})).await, all[1..]);
    let client = Client::new();
    let empty = client.post(server.url("/v2/repository/index")).send().await.unwrap();
    assert_eq!(empty.status(), StatusCode::OK);

    let call = async |path: &str, body: &Value| {
        let response = client.post(server.url(path)).json(body).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let unload = "/v2/repository/models/typed/unload";
    assert_eq!(call(unload, &json!({})).await, (200, String::new()));
    let (status, body) = post(&server, "/models/typed/predict", &json!({})).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{body}");
    assert_eq!(get(&server, "/v2/health/ready").await.0, StatusCode::OK);
    let load = "/v2/repository/models/typed/load";
    assert_eq!(call(load, &json!({"parameters": {}})).await, (200, String::new()));
    let (status, _) = get(&server, "/v2/models/typed/ready").await;
    assert_eq!(status, StatusCode::OK);
    for (path, body, expected, text) in [
        ("/v2/repository/models/nobody/load", json!({}), 404, "no such model"),
        ("/v2/repository/models/broken/load", json!({}), 400, "no version is available: version 1"),
        (load, json!({"parameters": {"file:../x": "eA=="}}), 400, "expected 'file:VERSION/NAME'"),
        (load, json!({"parameters": {"file:1/x": "?"}}), 400, "is not base64"),
        (load, json!({"parameters": {"colour": "red"}}), 400, "parameter 'colour'"),
        (unload, json!({"parameters": {"colour": "red"}}), 400, "'unload_dependents'"),
        (load, json!([]), 400, "failed to parse the request JSON"),
        ("/v2/repository/index", json!({"repository_name": "x"}), 501, "naming a repository"),
    ] {
        let (status, answer) = call(path, &body).await;
        assert_eq!(status, expected, "{path} {body}: {answer}");
        assert!(answer.contains(text), "{path} {body}: {answer}");
    }
}

#[tokio::test]
async fn statistics_say_what_was_answered_and_where_the_time_went() {
    let (_registry, server) = start().await;
    let request = one("FP32", json!([1.0]));
    for _ in 0..3 {
        let (status, body) = post(&server, "/v2/models/slow/infer", &request).await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }
    let (status, body) = get(&server, "/v2/models/slow/stats").await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let stats = &body["model_stats"][0];
    assert_eq!((&stats["name"], &stats["version"]), (&json!("slow"), &json!("1")));
    assert_eq!((&stats["inference_count"], &stats["execution_count"]), (&json!(3), &json!(3)));
    let phases = &stats["inference_stats"];
    assert_eq!(phases["success"]["count"], 3);
    assert!(phases["compute_infer"]["ns"].as_u64().unwrap() >= 3 * 300_000_000);
    assert_eq!(stats["batch_stats"][0]["batch_size"], 1);
    assert_eq!(stats["batch_stats"][0]["compute_infer"]["count"], 3);
    let (_, all) = get(&server, "/v2/models/stats").await;
    let names: Vec<&str> = all["model_stats"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["echo", "echo", "slow", "typed"]);
    let (_, one) = get(&server, "/v2/models/echo/versions/1/stats").await;
    assert_eq!(one["model_stats"].as_array().unwrap().len(), 1);
    assert_eq!(get(&server, "/v2/models/nobody/stats").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_full_queue_refuses_what_it_has_not_read() {
    let (_registry, server) = start().await;
    let fine = one("FP32", json!([1.0]));
    let calls = || (0..4).map(|_| post(&server, "/v2/models/slow/infer", &fine));
    // One is at work and one waits, for 0.3 s each: how far they are when the next one comes is
    // not for a test to say.
    for _ in 0..20 {
        let mut calls: FuturesUnordered<_> = calls().collect();
        let mut statuses = vec![];
        let mut unread = vec![];
        while let Some((status, _)) = calls.next().await {
            statuses.push(status);
            unread.push(post(&server, "/v2/models/slow/infer", &json!({})).await);
        }
        assert!(statuses.contains(&StatusCode::OK), "{statuses:?}");
        let full = |status| status == StatusCode::TOO_MANY_REQUESTS;
        for (status, body) in &unread {
            assert!(full(*status) || *status == StatusCode::BAD_REQUEST, "{status} {body}");
        }
        if unread.iter().any(|(status, _)| full(*status)) {
            let (status, body) = post(&server, "/v2/models/slow/infer", &json!({})).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "there is room again: {body}");
            return;
        }
    }
    panic!("no request was refused before it was read");
}

#[tokio::test]
async fn latency_is_told_by_phase_with_percentiles() {
    let (_registry, server) = start().await;
    let request = one("FP32", json!([1.0]));
    for _ in 0..2 {
        let (status, body) = post(&server, "/v2/models/slow/infer", &request).await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }
    for path in ["/models/slow/latency", "/models/slow/versions/1/latency"] {
        let (status, body) = get(&server, path).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!((&body["model"], &body["version"]), (&json!("slow"), &json!("1")));
        let bounds = body["bounds_us"].as_array().unwrap();
        for phase in ["request", "queue", "compute_input", "compute_infer", "compute_output"] {
            let seen = &body["phases"][phase];
            assert_eq!(seen["count"], 2, "{phase} {seen}");
            let counts = seen["counts"].as_array().unwrap();
            assert_eq!(counts.len(), bounds.len() + 1);
            assert_eq!(counts.iter().map(|count| count.as_u64().unwrap()).sum::<u64>(), 2);
        }
        // The engine waits 0.3 s; the request takes that, and more.
        for (phase, least) in [("compute_infer", 300_000.0), ("request", 300_000.0)] {
            let seen = &body["phases"][phase];
            assert!(seen["sum_us"].as_f64().unwrap() >= 2.0 * least, "{seen}");
            let percentiles = ["p50_us", "p90_us", "p99_us"].map(|p| seen[p].as_f64().unwrap());
            assert!(percentiles.is_sorted() && percentiles[0] > least * 7.0 / 8.0, "{seen}");
        }
        assert_eq!(body["batch_sizes"]["counts"][0], 2);
    }
    let (_, idle) = get(&server, "/models/echo/versions/2/latency").await;
    assert_eq!(idle["phases"]["request"]["p99_us"], Value::Null);
    for (path, status) in [
        ("/models/nobody/latency", StatusCode::NOT_FOUND),
        ("/models/echo/versions/9/latency", StatusCode::NOT_FOUND),
        ("/models/broken/latency", StatusCode::SERVICE_UNAVAILABLE),
    ] {
        let (answered, problem) = get(&server, path).await;
        assert_eq!((answered, &problem["status"]), (status, &json!(status.as_u16())), "{path}");
    }
}

#[tokio::test]
async fn browsers_get_the_dashboard_and_others_learn_that_the_server_is_alive() {
    let (_registry, server) = start().await;
    let ask = async |path: &str, accept: &str| {
        let request = Client::new().get(server.url(path)).header("accept", accept);
        let response = request.send().await.unwrap();
        let headers = response.headers().clone();
        let kind = headers["content-type"].to_str().unwrap().to_owned();
        (response.status(), kind, headers, response.text().await.unwrap())
    };
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let (status, kind, headers, page) = ask("/", browser).await;
    assert_eq!((status, kind.as_str()), (StatusCode::OK, "text/html; charset=utf-8"));
    assert!(headers["content-security-policy"].to_str().unwrap().contains("default-src 'self'"));
    assert!(headers.get_all("vary").iter().any(|vary| vary == "accept"));
    for file in page.split('"').filter(|part| part.starts_with("dashboard/")) {
        let (status, ..) = ask(&format!("/{file}"), "*/*").await;
        assert_eq!(status, StatusCode::OK, "{file}");
    }
    for accept in ["*/*", "application/json"] {
        let (status, kind, headers, body) = ask("/", accept).await;
        assert_eq!((status, kind.as_str()), (StatusCode::OK, "application/json"));
        assert_eq!(body, r#"{"status":"alive"}"#);
        assert!(headers.get_all("vary").iter().any(|vary| vary == "accept"));
    }
    assert_eq!(ask("/dashboard/nothing.js", browser).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn labels_stand_in_the_version_slot_and_can_be_moved() {
    let (_registry, server) = start().await;
    let client = Client::new();
    let point = async |label: &str, body: Value| {
        let path = server.url(&format!("/models/echo/labels/{label}"));
        client.put(path).json(&body).send().await.unwrap().status().as_u16()
    };
    assert_eq!(point("stable", json!({"version": "1"})).await, 204);
    let (_, metadata) = get(&server, "/v2/models/echo/versions/stable").await;
    assert_eq!(metadata["versions"], json!(["1"]));
    assert_eq!(get(&server, "/models/echo").await.1["labels"], json!({"stable": "1"}));
    assert_eq!(point("stable", json!({"version": "2"})).await, 204);
    let (_, metadata) = get(&server, "/v2/models/echo/versions/@stable").await;
    assert_eq!(metadata["versions"], json!(["2"]));
    assert_eq!(point("stable", json!({"version": "9"})).await, 404);
    assert_eq!(point("latest", json!({"version": "1"})).await, 400);
    assert_eq!(point("stable", json!({"version": 1})).await, 400);
    let gone = client.delete(server.url("/models/echo/labels/stable")).send().await.unwrap();
    assert_eq!(gone.status(), StatusCode::NO_CONTENT);
    assert_eq!(get(&server, "/v2/models/echo/versions/stable").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn limits_answer_with_their_own_status() {
    let registry = registry();
    let mut settings = config(&registry);
    settings.limits.body_bytes_max = 1024;
    settings.limits.body_timeout = Duration::from_millis(200);
    let server = Server::start(settings).await;
    let client = Client::new();
    let infer = server.url("/v2/models/echo/infer");
    let large = client.post(&infer).body(vec![b' '; 2000]).send().await.unwrap();
    assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let packed = client.post(&infer).header("content-encoding", "br").body("x").send();
    let packed = packed.await.unwrap();
    assert_eq!(packed.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(packed.headers()["accept-encoding"], "gzip, deflate");
    let late = client
        .post(server.url("/v2/models/slow/infer"))
        .header("x-request-timeout-ms", "20")
        .json(&one("FP32", json!([1.0])))
        .send()
        .await
        .unwrap();
    assert_eq!(late.status(), StatusCode::GATEWAY_TIMEOUT);
    let text = raw(
        &server,
        "POST /v2/models/echo/infer HTTP/1.1\r\nhost: x\r\n\
        content-length: 10\r\n\r\n{",
    )
    .await;
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
}

/// What comes back for these bytes, until the server closes or has answered.
async fn raw(server: &Server, request: &str) -> String {
    let mut stream = TcpStream::connect(&server.http).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut answer)).await;
    let length = read.expect("the server answers or closes").unwrap_or(0);
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[tokio::test]
async fn a_request_whose_end_is_unclear_is_refused() {
    let (_registry, server) = start().await;
    let head = "POST /v2/repository/index HTTP/1.1\r\nhost: x\r\n";
    let chunks = "2\r\n{}\r\n0\r\n\r\n";
    for (what, lines, body) in [
        ("length and chunks", "content-length: 12\r\ntransfer-encoding: chunked", chunks),
        ("chunks and length", "Transfer-Encoding: chunked\r\nContent-Length: 12", chunks),
        ("two lengths", "content-length: 2\r\ncontent-length: 2", "{}"),
        ("two codings", "transfer-encoding: chunked\r\ntransfer-encoding: chunked", chunks),
        ("another coding", "transfer-encoding: gzip, chunked", chunks),
        ("a header over two lines", "x: y\r\n z\r\ncontent-length: 2", "{}"),
    ] {
        let text = raw(&server, &format!("{head}{lines}\r\n\r\n{body}")).await;
        assert!(text.starts_with("HTTP/1.1 400 "), "{what}: {text}");
        assert!(text.contains("connection: close"), "{what}: {text}");
    }
    for (lines, body) in [
        ("transfer-encoding: chunked", chunks),
        ("Transfer-Encoding: Chunked", chunks),
        ("content-length: 2", "{}"),
    ] {
        let text = raw(&server, &format!("{head}{lines}\r\n\r\n{body}")).await;
        assert!(text.starts_with("HTTP/1.1 200 "), "{lines}: {text}");
    }
}

#[tokio::test]
async fn connections_that_say_nothing_are_closed() {
    let registry = registry();
    let mut settings = config(&registry);
    settings.limits.header_timeout = Duration::from_millis(100);
    let server = Server::start(settings).await;
    for opening in ["", "P", "PRI * HTTP/2", "GET /v2 HTTP/1.1\r\nhost: x\r\n"] {
        let answer = raw(&server, opening).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{opening:?}: {answer}");
    }
    assert_eq!(get(&server, "/v2/health/live").await.0, StatusCode::OK);
}

#[tokio::test]
async fn an_overloaded_model_says_when_to_come_back() {
    let (_registry, server) = start().await;
    let client = Client::new();
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let call = client.post(server.url("/v2/models/slow/infer"));
            tokio::spawn(call.json(&one("FP32", json!([1.0]))).send())
        })
        .collect();
    let mut refused = 0;
    for call in calls {
        let response = call.await.unwrap().unwrap();
        match response.status() {
            StatusCode::OK => {}
            status => {
                assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
                assert!(response.headers().contains_key("retry-after"));
                refused += 1;
            }
        }
    }
    assert!(refused > 0, "one at work and one waiting at most");
}

#[tokio::test]
async fn accepted_work_is_finished_when_the_server_stops() {
    let (_registry, server) = start().await;
    let call = Client::new().post(server.url("/v2/models/slow/infer"));
    let call = tokio::spawn(call.json(&one("FP32", json!([1.5]))).send());
    let metrics = format!("http://{}/metrics", server.metrics);
    // The call is in the engine once it has left the queue.
    let pending = "nv_inference_pending_request_count{model=\"slow\",version=\"1\"}";
    let arrived = async {
        loop {
            let text = reqwest::get(&metrics).await.unwrap().text().await.unwrap();
            if text.contains(pending) && !text.contains(&format!("{pending} 1")) {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, arrived).await.unwrap();
    let address = server.http.clone();
    assert!(server.stop().await, "all accepted work was finished");
    let (status, body) = read(call.await.unwrap().unwrap()).await;
    assert_eq!((status, &body["outputs"][0]["data"]), (StatusCode::OK, &json!([1.5])));
    assert!(TcpStream::connect(address).await.is_err(), "the door is closed");
}

#[tokio::test]
async fn browsers_may_call_from_the_origins_that_are_allowed() {
    let registry = registry();
    let mut settings = config(&registry);
    settings.server.cors_origins = vec!["https://ward.example".to_owned()];
    let server = Server::start(settings).await;
    let ask = async |origin: &str| {
        let request = Client::new()
            .request(reqwest::Method::OPTIONS, server.url("/models/typed/predict"))
            .header("origin", origin)
            .header("access-control-request-method", "POST");
        request.send().await.unwrap().headers().get("access-control-allow-origin").cloned()
    };
    assert_eq!(ask("https://ward.example").await.unwrap(), "https://ward.example");
    assert_eq!(ask("https://elsewhere.example").await, None);
    // A plain POST is sent without asking first: what changes the server is refused.
    let unload = async |origin: &str| {
        let request = Client::new().post(server.url("/v2/repository/models/nobody/unload"));
        request.header("origin", origin).send().await.unwrap().status().as_u16()
    };
    assert_eq!(unload("https://elsewhere.example").await, 403);
    assert_eq!(unload("https://ward.example").await, 404);
}

#[tokio::test]
async fn unix_sockets_are_doors_too() {
    let registry = registry();
    let path = registry.path().join(".galen.sock");
    let mut settings = config(&registry);
    settings.server.http = Some(galen::config::Address::Unix(path.clone()));
    // The file of a server that was killed: nobody answers there.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let server = Server::start(settings).await;
    let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    let request = "GET /v2/health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("{\"live\":true}"), "{answer}");
    drop(stream);
    assert!(server.stop().await);
    assert!(!path.exists(), "the file is gone with the door");
}

/// `GALEN_BLESS=1 cargo test --test rest` writes the document anew, to be read before it is
/// committed.
#[tokio::test]
async fn the_openapi_document_is_the_one_that_was_agreed_on() {
    let registry = Registry::new();
    registry.model("typed", &[3], TYPED, "");
    let server = Server::start(config(&registry)).await;
    let (_, document) = get(&server, "/openapi.json").await;
    let text = serde_json::to_string_pretty(&document).unwrap() + "\n";
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/openapi.json");
    if std::env::var_os("GALEN_BLESS").is_some() {
        std::fs::write(golden, &text).unwrap();
    }
    let agreed = std::fs::read_to_string(golden).unwrap_or_default();
    assert!(text == agreed, "/openapi.json differs from {golden}");
}
