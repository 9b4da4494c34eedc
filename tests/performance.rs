//! Answers held against what became true, over a whole server: the identity engine answers with the
//! probabilities that it is sent.

mod support;

use galen::server::grpc::pb::galen::feedback_client::FeedbackClient;
use galen::server::grpc::pb::galen::label::Truth;
use galen::server::grpc::pb::galen::{GiveLabelsRequest, Label};
use galen::server::grpc::pb::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use galen::server::grpc::pb::inference::model_infer_request::InferInputTensor;
use galen::server::grpc::pb::inference::{InferTensorContents, ModelInferRequest};
use serde_json::{Value, json};
use support::{PATIENCE, Registry, Server, config};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

const TENSORS: &str = r#"
[[inputs]]
name = "x"
datatype = "FP64"
shape = [-1, 2]
[[outputs]]
name = "p"
as = "probability"
datatype = "FP64"
shape = [-1, 2]
labels = ["benign", "malignant"]
"#;
const HEAD: &str = "version_policy = 'all'\nbatching = { batch_size_max = 64 }";
const DECLARED: &str = "performance = { output = 'probability', positive = 'malignant', \
                        groups = ['sex', 'site'] }";

fn registry(declared: &str) -> Registry {
    let registry = Registry::new();
    registry.model("m", &[1, 2], &format!("{HEAD}\n{declared}"), TENSORS);
    registry.model("plain", &[1], HEAD, TENSORS);
    registry
}

struct Client<'a> {
    server: &'a Server,
    http: reqwest::Client,
}

impl<'a> Client<'a> {
    fn of(server: &'a Server) -> Self {
        Self { server, http: reqwest::Client::new() }
    }

    async fn text(&self, path: &str) -> String {
        let request = self.http.get(self.server.url(path)).timeout(PATIENCE);
        request.send().await.unwrap().text().await.unwrap()
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let response = self.http.get(self.server.url(path)).timeout(PATIENCE).send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap())
    }

    async fn feedback(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.http.post(self.server.url(path)).timeout(PATIENCE);
        let response = request.body(body.to_string()).send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap())
    }

    /// Asks a version, and gives back the id of the answer.
    async fn ask(&self, path: &str, id: Option<&str>, positive: &[f64]) -> String {
        let data: Vec<f64> = positive.iter().flat_map(|p| [1.0 - p, *p]).collect();
        let shape = [positive.len(), 2];
        let body = json!({"inputs":
            [{"name": "x", "datatype": "FP64", "shape": shape, "data": data}]});
        let mut request = self.http.post(self.server.url(path)).timeout(PATIENCE);
        if let Some(id) = id {
            request = request.header("x-request-id", id);
        }
        let response = request.body(body.to_string()).send().await.unwrap();
        assert_eq!(response.status(), 200);
        response.headers()["x-request-id"].to_str().unwrap().to_owned()
    }

    async fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.server.metrics);
        self.http.get(url).timeout(PATIENCE).send().await.unwrap().text().await.unwrap()
    }
}

fn label(id: &str, row: usize, label: &str) -> Value {
    json!({"prediction_id": id, "row": row, "label": label})
}

#[track_caller]
fn near(found: &Value, expected: &Value) {
    let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
    assert!((found - expected).abs() < 1e-6, "{found}, expected {expected}");
}

/// Wilson's interval holds the shares that are not z standard errors from the one that was seen.
#[track_caller]
fn is_wilson(share: &Value, cases: f64) {
    let value = share["value"].as_f64().unwrap();
    for end in [share["low"].as_f64().unwrap(), share["high"].as_f64().unwrap()] {
        let distance = 1.959_963_984_540_054 * (end * (1.0 - end) / cases).sqrt();
        assert!(((value - end).abs() - distance).abs() < 1e-6, "{share}, {cases} cases");
    }
}

#[tokio::test]
async fn the_reference_figures_come_out_of_the_endpoint() {
    let text = include_str!("golden/drift/performance_golden.json");
    let golden: Value = serde_json::from_str(text).unwrap();
    let list = |name: &str| golden[name].as_array().unwrap().clone();
    let p: Vec<f64> = list("p").iter().map(|p| p.as_f64().unwrap()).collect();
    let registry = registry(DECLARED);
    let server = Server::start(config(&registry)).await;
    let client = Client::of(&server);
    let labels = |id: &str| {
        let cases = list("y").into_iter().zip(list("group")).enumerate();
        let cases = cases.map(|(row, (y, group))| {
            let class = if y == json!(1) { "malignant" } else { "benign" };
            json!({"prediction_id": id, "row": row, "label": class, "groups": {"sex": group}})
        });
        json!({"labels": cases.collect::<Vec<_>>()})
    };

    // While the labels are out there is an estimate.
    let id = client.ask("/v2/models/m/infer", None, &p).await;
    let (status, before) = client.get("/models/m/performance").await;
    assert_eq!((status, &before["pending"]), (200, &json!(p.len())));
    assert_eq!((&before["overall"]["n"], &before["calibration"]), (&json!(0), &json!([])));
    let estimated = &before["estimated"];
    assert!(estimated["assumes"].as_str().unwrap().contains("no concept drift"));
    let cbpe = &golden["cbpe"];
    for (ours, theirs) in [
        ("auc", "auroc"),
        ("accuracy", "accuracy"),
        ("sensitivity", "sensitivity"),
        ("specificity", "specificity"),
        ("ppv", "precision"),
    ] {
        near(&estimated[ours], &cbpe[theirs]);
    }

    let (status, answer) = client.feedback("/models/m/feedback", &labels(&id)).await;
    let joined = json!({"joined": 40, "already_labelled": 0, "unknown": 0, "invalid": []});
    assert_eq!((status, answer), (200, joined));
    let (_, report) = client.get("/models/m/versions/2/performance").await;
    let check = |report: &Value| {
        let overall = &report["overall"];
        for (ours, theirs) in [
            ("auc", "auc"),
            ("brier", "brier"),
            ("log_loss", "logloss"),
            ("ece", "ece10_equalwidth"),
            ("mce", "mce10"),
        ] {
            near(&overall[ours], &golden[theirs]);
        }
        near(&overall["sensitivity"]["value"], &golden["all"]["sensitivity"]);
        near(&overall["specificity"]["value"], &golden["all"]["specificity"]);
    };
    check(&report);
    let overall = &report["overall"];
    for (ours, theirs) in [("sensitivity", "sens_wilson95"), ("specificity", "spec_wilson95")] {
        near(&overall[ours]["low"], &golden["all"][theirs][0]);
        near(&overall[ours]["high"], &golden["all"][theirs][1]);
    }
    assert_eq!(report["estimated"], Value::Null);
    let shown = (&report["labelled"], &report["pending"], &report["threshold"]);
    assert_eq!(shown, (&json!(40), &json!(0), &json!(0.5)));
    let bins = report["calibration"].as_array().unwrap();
    let counted: u64 = bins.iter().map(|bin| bin["count"].as_u64().unwrap()).sum();
    assert_eq!((bins.len(), counted), (10, 40));
    // Twenty of each: too few to be shown.
    let suppressed = |value| json!({"name": "sex", "value": value, "suppressed": true});
    assert_eq!(report["groups"], json!([suppressed("F"), suppressed("M")]));

    // The same again: forty of each.
    let id = client.ask("/v2/models/m/infer", Some("visit-77"), &p).await;
    assert_eq!(id, "visit-77");
    client.feedback("/models/m/versions/2/feedback", &labels(&id)).await;
    let (_, report) = client.get("/models/m/performance").await;
    check(&report);
    for group in report["groups"].as_array().unwrap() {
        let expected = &golden[group["value"].as_str().unwrap()];
        assert_eq!((&group["n"], &group["suppressed"]), (&json!(40), &json!(false)));
        near(&group["sensitivity"]["value"], &expected["sensitivity"]);
        near(&group["specificity"]["value"], &expected["specificity"]);
        let cases = |a, b| 2.0 * (expected[a].as_f64().unwrap() + expected[b].as_f64().unwrap());
        is_wilson(&group["sensitivity"], cases("tp", "fn"));
        is_wilson(&group["specificity"], cases("tn", "fp"));
    }

    let csv = client.text("/models/m/performance?format=csv").await;
    let lines: Vec<&str> = csv.lines().collect();
    let columns = lines[0].split(',').count();
    assert!(lines.iter().all(|line| line.split(',').count() == columns), "{csv}");
    assert!(lines[1].starts_with(",,false,80,0.866"), "{csv}");
    assert!(lines[2].starts_with("sex,F,false,40,") && lines[3].starts_with("sex,M,"), "{csv}");
    let (status, problem) = client.get("/models/m/performance?format=xml").await;
    assert_eq!((status, &problem["status"]), (400, &json!(400)));

    let metrics = client.metrics().await;
    let value = |name: &str| -> Value {
        let prefix = format!("{name}{{model=\"m\",version=\"2\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&prefix));
        json!(line.unwrap_or_else(|| panic!("{name}: {metrics}")).parse::<f64>().unwrap())
    };
    near(&value("galen_performance_auc"), &golden["auc"]);
    near(&value("galen_performance_brier"), &golden["brier"]);
    near(&value("galen_performance_sensitivity"), &golden["all"]["sensitivity"]);
    near(&value("galen_performance_specificity"), &golden["all"]["specificity"]);
    let count = "galen_feedback_labels{model=\"m\",version=\"2\",outcome=\"joined\"} 80";
    assert!(metrics.contains(count), "{metrics}");
    assert!(!metrics.contains("malignant") && !metrics.contains("visit-77"), "{metrics}");
    assert!(server.stop().await);
}

#[tokio::test]
async fn labels_find_the_version_that_answered_and_faults_their_place() {
    let registry = registry(DECLARED);
    let server = Server::start(config(&registry)).await;
    let client = Client::of(&server);
    client.ask("/v2/models/m/versions/1/infer", Some("one"), &[0.1, 0.2]).await;
    client.ask("/v2/models/m/versions/2/infer", Some("two"), &[0.3]).await;
    let many = json!({"labels": [
        label("one", 0, "benign"),
        label("one", 0, "malignant"),
        label("one", 2, "benign"),
        label("two", 0, "neither"),
        {"prediction_id": "two", "label": "malignant", "groups": {"ward": "secret"}},
        {"prediction_id": "two", "label": "malignant", "groups": {"site": "secret".repeat(11)}},
        {"prediction_id": "two", "label": 1.5},
        {"prediction_id": "two", "label": "malignant", "groups": {"site": "A"}},
    ]});
    let (status, answer) = client.feedback("/models/m/feedback", &many).await;
    assert_eq!(status, 200, "{answer}");
    let counts = (&answer["joined"], &answer["already_labelled"], &answer["unknown"]);
    assert_eq!(counts, (&json!(2), &json!(1), &json!(1)));
    let invalid = answer["invalid"].as_array().unwrap();
    let found: Vec<_> = invalid.iter().map(|one| (&one["pointer"], &one["code"])).collect();
    let expected = [
        ("/labels/2/prediction_id", "unknown"),
        ("/labels/3/label", "range"),
        ("/labels/4/groups", "unknown"),
        ("/labels/5/groups/site", "length"),
        ("/labels/6/label", "type"),
    ];
    let expected = expected.map(|(pointer, code)| (json!(pointer), json!(code)));
    assert_eq!(found, expected.iter().map(|(a, b)| (a, b)).collect::<Vec<_>>());
    assert!(!answer.to_string().contains("secret") && !answer.to_string().contains("neither"));
    for (version, labelled, pending) in [("1", 1, 1), ("2", 1, 0)] {
        let (_, report) = client.get(&format!("/models/m/versions/{version}/performance")).await;
        let counts = (&report["labelled"], &report["pending"]);
        assert_eq!(counts, (&json!(labelled), &json!(pending)), "{version}");
    }

    // Another version than the one that answered knows nothing of it.
    let other = json!({"labels": [label("one", 1, "benign")]});
    let (status, answer) = client.feedback("/models/m/versions/2/feedback", &other).await;
    assert_eq!((status, &answer["errors"][0]["code"]), (422, &json!("unknown")), "{answer}");
    assert_eq!(answer["errors"][0]["pointer"], "/labels/0/prediction_id");
    // A call that is made again is no error.
    let again = json!({"labels": [label("one", 0, "benign")]});
    let (status, answer) = client.feedback("/models/m/feedback", &again).await;
    assert_eq!((status, &answer["already_labelled"]), (200, &json!(1)));

    for (path, body, expected, words) in [
        ("/models/nobody/feedback", json!({"labels": [label("a", 0, "b")]}), 404, "nobody"),
        ("/models/plain/feedback", json!({"labels": [label("a", 0, "b")]}), 404, "[performance]"),
        ("/models/m/feedback", json!({"labels": []}), 400, "1 to 1000"),
        (
            "/models/m/feedback",
            json!({"labels": vec![label("a", 0, "b"); 1001]}),
            400,
            "1 to 1000 in a call, got 1001",
        ),
        ("/models/m/feedback", json!({"labels": [{"prediction_id": "a"}]}), 400, "line 1"),
        (
            "/models/m/feedback",
            json!({"labels": [{"prediction_id": "a", "label": "b", "row": "secret"}]}),
            400,
            "differs at line 1",
        ),
    ] {
        let (status, answer) = client.feedback(path, &body).await;
        let text = answer.to_string();
        assert_eq!(status, expected, "{text}");
        assert!(text.contains(words) && !text.contains("secret"), "{text}");
    }
    let (status, plain) = client.get("/models/plain/performance").await;
    assert_eq!((status, &plain["declared"]), (200, &json!(false)));
    let metrics = client.metrics().await;
    assert!(
        metrics.contains("galen_feedback_labels{model=\"m\",version=\"2\",outcome=\"invalid\"} 4")
    );
    assert!(!metrics.contains("secret") && !metrics.contains("visit"), "{metrics}");
    assert!(server.stop().await);
}

#[tokio::test]
async fn the_oldest_answers_make_room() {
    let declared = "performance = { output = 'p', positive = 'malignant', keep = 3 }";
    let registry = registry(declared);
    let server = Server::start(config(&registry)).await;
    let client = Client::of(&server);
    client.ask("/v2/models/m/infer", Some("old"), &[0.1, 0.2]).await;
    client.ask("/v2/models/m/infer", Some("new"), &[0.3, 0.4]).await;
    let labels = json!({"labels": [label("old", 0, "benign"), label("old", 1, "benign")]});
    let (_, answer) = client.feedback("/models/m/feedback", &labels).await;
    assert_eq!((&answer["joined"], &answer["unknown"]), (&json!(1), &json!(1)));
    let (_, report) = client.get("/models/m/performance").await;
    assert_eq!((&report["expired"], &report["pending"]), (&json!(1), &json!(2)));
    assert!(server.stop().await);
}

#[tokio::test]
async fn a_declaration_that_does_not_fit_fails_the_version_by_its_key() {
    let registry = registry("performance = { output = 'p', positive = 'sick' }");
    let server = Server::start(config(&registry)).await;
    let (_, model) = Client::of(&server).get("/models/m").await;
    let reason = model["versions"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("performance.positive: expected a label of 'probability'"), "{model}");
    assert!(server.stop().await);
}

#[tokio::test]
async fn the_grpc_door_answers_and_takes_labels_too() {
    let registry = registry(DECLARED);
    let server = Server::start(config(&registry)).await;
    let endpoint = Endpoint::from_shared(format!("http://{}", server.grpc)).unwrap();
    let channel: Channel = endpoint.connect().await.unwrap();
    let contents = InferTensorContents { fp64_contents: vec![0.2, 0.8], ..Default::default() };
    let tensor = InferInputTensor {
        name: "x".to_owned(),
        datatype: "FP64".to_owned(),
        shape: vec![1, 2],
        contents: Some(contents),
        ..Default::default()
    };
    let request = ModelInferRequest {
        model_name: "m".to_owned(),
        inputs: vec![tensor],
        ..Default::default()
    };
    let answer =
        GrpcInferenceServiceClient::new(channel.clone()).model_infer(request).await.unwrap();
    let id = answer.metadata().get("x-request-id").unwrap().to_str().unwrap().to_owned();

    let mut client = FeedbackClient::new(channel.clone());
    let label = |id: &str, truth| Label {
        prediction_id: id.to_owned(),
        row: 0,
        truth,
        groups: [("sex".to_owned(), "F".to_owned())].into(),
    };
    let class = |name: &str| Some(Truth::Label(name.to_owned()));
    let mut give = async |model: &str, labels: Vec<Label>| {
        let request = GiveLabelsRequest {
            model_name: model.to_owned(),
            model_version: String::new(),
            labels,
        };
        client.give_labels(request).await
    };
    let labels = vec![
        label(&id, class("malignant")),
        label(&id, class("benign")),
        label("other", class("benign")),
        label(&id, Some(Truth::Quantity(1.0))),
    ];
    let answer = give("m", labels).await.unwrap().into_inner();
    assert_eq!((answer.joined, answer.already_labelled, answer.unknown), (1, 1, 1));
    let pointers: Vec<&str> = answer.invalid.iter().map(|one| one.pointer.as_str()).collect();
    assert_eq!(pointers, ["/labels/2/prediction_id", "/labels/3/label"]);
    let (_, report) = Client::of(&server).get("/models/m/performance").await;
    assert_eq!((&report["labelled"], &report["overall"]["n"]), (&json!(1), &json!(1)));

    for (model, labels, code) in [
        ("m", vec![label("other", class("benign"))], Code::InvalidArgument),
        ("m", vec![label(&id, None)], Code::InvalidArgument),
        ("m", Vec::new(), Code::InvalidArgument),
        ("plain", vec![label(&id, class("benign"))], Code::NotFound),
        ("nobody", vec![label(&id, class("benign"))], Code::NotFound),
    ] {
        let status = give(model, labels).await.unwrap_err();
        assert_eq!(status.code(), code, "{model}: {status}");
    }
    drop(channel);
    assert!(server.stop().await);
}
