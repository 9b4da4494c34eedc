//! Spans from facts that are made up.

use std::collections::BTreeMap;

use super::*;
use crate::infer::{Timings, TraceContext};
use crate::model::{ModelName, Version};

const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
/// The clocks say that it is 1000 s after the epoch.
const NOW_NS: u64 = 1_000_000_000_000;
const BATCH: SpanId = SpanId { trace_id: 5, span_id: 6 };

fn us(count: u64) -> Duration {
    Duration::from_micros(count)
}

fn now() -> Moment {
    // Far enough from the clock's start that what was before can be told.
    let at = Instant::now() + Duration::from_secs(60);
    Moment { wall: SystemTime::UNIX_EPOCH + Duration::from_nanos(NOW_NS), at }
}

fn model() -> ModelId {
    ModelId { name: ModelName::new("m").unwrap(), version: Version::new(3).unwrap() }
}

fn timings() -> Timings {
    Timings { queue: us(20), compute_input: us(1), compute_infer: us(70), compute_output: us(2) }
}

fn run(ended: &Moment, step: Option<ModelId>) -> Run {
    Run { batch: BATCH, begun: ended.at - us(100), timings: timings(), step }
}

/// A request of 200 us that ends now.
fn request(asked: Asked, status: Option<i32>, runs: impl Fn(&Moment) -> Vec<Run>) -> Fact {
    let ended = now();
    let trace = TraceContext { trace_id: TRACE, parent_id: 0xabc, span_id: 0xdef, flags: 1 };
    let span = SpanId { trace_id: TRACE, span_id: 0xdef };
    let context = RequestContext {
        affinity: Some("bed-4".to_owned()),
        trace,
        span: Some(span),
        ..RequestContext::internal("visit-1", ended.at - us(200), us(1000))
    };
    let runs = runs(&ended);
    let served = Served { model: model(), rows: 4, batch_rows: 9, timings: timings(), runs };
    context.record.set(served).unwrap();
    let context = Arc::new(context);
    Fact::Request(Box::new(RequestEnded { span, context, asked, status, ended }))
}

fn post(status: Option<i32>) -> Fact {
    let route = Some("/v2/models/{model}/infer".to_owned());
    request(Asked::Http { method: http::Method::POST, route }, status, |ended| {
        vec![run(ended, None)]
    })
}

fn call(path: &str, known: bool, status: Option<i32>) -> Fact {
    request(Asked::Grpc { path: path.to_owned(), known }, status, |_| Vec::new())
}

fn written(fact: &Fact) -> Vec<pb::Span> {
    let (mut spans, mut last) = (Vec::new(), 100);
    let id = || {
        last += 1;
        last
    };
    fact.write(id, &mut spans);
    assert_eq!(spans.len() as u64, fact.spans());
    spans
}

fn attributes(span: &pb::Span) -> BTreeMap<&str, String> {
    let value = |attribute: &pb::KeyValue| match attribute.value.clone().unwrap().value.unwrap() {
        pb::Value::StringValue(text) => text,
        pb::Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    let found: BTreeMap<_, _> =
        span.attributes.iter().map(|each| (each.key.as_str(), value(each))).collect();
    assert_eq!(found.len(), span.attributes.len(), "each once");
    found
}

fn pairs<'a>(expected: &[(&'a str, &str)]) -> BTreeMap<&'a str, String> {
    expected.iter().map(|(key, value)| (*key, (*value).to_owned())).collect()
}

fn times(span: &pb::Span) -> (i64, i64) {
    let before = |ns: u64| ns as i64 - NOW_NS as i64;
    (before(span.start_time_unix_nano), before(span.end_time_unix_nano))
}

#[test]
fn a_request_is_a_server_span_with_its_queue_and_its_run_below_it() {
    let spans = written(&post(Some(200)));
    let [server, queue, compute] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!(server.name, "POST /v2/models/{model}/infer");
    assert_eq!(server.kind, pb::SpanKind::Server as i32);
    assert_eq!(server.trace_id, TRACE.to_be_bytes());
    assert_eq!(server.span_id, 0xdefu64.to_be_bytes());
    assert_eq!(server.parent_span_id, 0xabcu64.to_be_bytes());
    // Sampled; the parent is known to be remote.
    assert_eq!((server.flags, queue.flags), (0x301, 0x101));
    assert_eq!(times(server), (-200_000, 0));
    assert_eq!(server.status, None);
    assert_eq!(
        attributes(server),
        pairs(&[
            ("http.request.method", "POST"),
            ("http.route", "/v2/models/{model}/infer"),
            ("http.response.status_code", "200"),
            ("url.scheme", "http"),
            ("galen.model", "m"),
            ("galen.version", "3"),
            ("galen.rows", "4"),
            ("galen.request_id", "visit-1"),
        ])
    );
    for child in [queue, compute] {
        assert_eq!(child.trace_id, server.trace_id);
        assert_eq!(child.parent_span_id, server.span_id);
        assert_eq!(child.kind, pb::SpanKind::Internal as i32);
        assert!(child.attributes.is_empty());
    }
    assert_ne!(queue.span_id, compute.span_id);
    assert_eq!((queue.name.as_str(), times(queue)), ("queue", (-120_000, -100_000)));
    assert_eq!((compute.name.as_str(), times(compute)), ("compute", (-100_000, -27_000)));
    assert_eq!((queue.links.len(), compute.links.len()), (0, 1));
    assert_eq!(compute.links[0].trace_id, BATCH.trace_id.to_be_bytes());
    assert_eq!(compute.links[0].span_id, BATCH.span_id.to_be_bytes());
}

#[test]
fn a_batch_is_a_trace_of_its_own_that_names_its_requests() {
    let told = now();
    let member = |span_id| SpanId { trace_id: TRACE, span_id };
    let batch = |failed| BatchTraced {
        span: BATCH,
        begun: told.at - us(100),
        timings: Timings { queue: Duration::ZERO, ..timings() },
        rows: 9,
        requests: 3,
        members: vec![member(1), member(2)],
        members_left_out: 5,
        failed,
    };
    let spans = written(&Fact::Batch(model(), Box::new(batch(false)), told));
    let names: Vec<_> = spans.iter().map(|span| (span.name.as_str(), times(span))).collect();
    assert_eq!(
        names,
        [
            ("batch", (-100_000, -27_000)),
            ("compute_input", (-100_000, -99_000)),
            ("compute_infer", (-99_000, -29_000)),
            ("compute_output", (-29_000, -27_000)),
        ]
    );
    assert!(spans.iter().all(|span| span.trace_id == BATCH.trace_id.to_be_bytes()));
    assert!(spans[0].parent_span_id.is_empty());
    assert!(spans[1..].iter().all(|span| span.parent_span_id == spans[0].span_id));
    let links: Vec<_> = spans[0].links.iter().map(|link| link.span_id.clone()).collect();
    assert_eq!(links, [1u64, 2].map(|id| id.to_be_bytes().to_vec()));
    assert_eq!(spans[0].dropped_links_count, 5);
    assert_eq!(
        attributes(&spans[0]),
        pairs(&[
            ("galen.model", "m"),
            ("galen.version", "3"),
            ("galen.batch.rows", "9"),
            ("galen.batch.requests", "3"),
        ])
    );
    assert_eq!(spans[0].status, None);
    let failed_spans = written(&Fact::Batch(model(), Box::new(batch(true)), told));
    assert_eq!(failed_spans[0].status, Some(failed()));
}

#[test]
fn the_steps_of_an_ensemble_say_whose_runs_they_are_and_are_bounded() {
    let asked = || Asked::Http { method: http::Method::POST, route: None };
    let step = ModelId { name: ModelName::new("step").unwrap(), version: Version::new(1).unwrap() };
    let spans = written(&request(asked(), Some(200), |ended| {
        vec![run(ended, Some(step.clone())), run(ended, None)]
    }));
    assert_eq!(spans.len(), 5);
    assert_eq!(attributes(&spans[1])["galen.model"], "step");
    assert_eq!(attributes(&spans[2])["galen.version"], "1");
    assert!(spans[3].attributes.is_empty());
    let many = request(asked(), Some(200), |ended| vec![run(ended, None); 1000]);
    assert_eq!(written(&many).len(), 1 + 2 * RUNS_MAX);
}

#[test]
fn failures_are_the_servers_and_not_the_callers() {
    let kinds = |fact: Fact| {
        let span = written(&fact).swap_remove(0);
        let why = attributes(&span).remove("error.type");
        assert_eq!(span.status, why.as_ref().map(|_| failed()));
        why
    };
    assert_eq!(
        [200, 304, 400, 404, 429].map(|status| kinds(post(Some(status)))),
        [const { None }; 5]
    );
    assert_eq!(kinds(post(Some(500))).as_deref(), Some("500"));
    assert_eq!(kinds(post(Some(504))).as_deref(), Some("504"));
    assert_eq!(kinds(post(None)).as_deref(), Some("caller_left"));
    let grpc = |code| kinds(call("/s.S/M", true, code));
    // OK, CANCELLED, INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED.
    assert_eq!([0, 1, 3, 5, 8].map(|code| grpc(Some(code))), [const { None }; 5]);
    assert_eq!(grpc(Some(13)).as_deref(), Some("INTERNAL"));
    assert_eq!(grpc(Some(4)).as_deref(), Some("DEADLINE_EXCEEDED"));
    // Who watches a stream ends it by leaving.
    assert_eq!(grpc(None), None);
    assert_eq!(attributes(&written(&call("/s.S/M", true, None))[0])["rpc.grpc.status_code"], "1");
}

#[test]
fn names_are_few_whatever_is_asked() {
    let name = |fact: &Fact| written(fact).swap_remove(0).name;
    let http = |method: &str, route: Option<&str>| {
        let method = http::Method::from_bytes(method.as_bytes()).unwrap();
        let route = route.map(str::to_owned);
        request(Asked::Http { method, route }, Some(404), |_| Vec::new())
    };
    assert_eq!(name(&http("GET", Some("/models"))), "GET /models");
    assert_eq!(name(&http("GET", None)), "GET");
    let odd = http("BREW", None);
    assert_eq!(name(&odd), "HTTP");
    assert_eq!(attributes(&written(&odd)[0])["http.request.method"], "_OTHER");

    let infer = call("/inference.GRPCInferenceService/ModelInfer", true, Some(0));
    assert_eq!(name(&infer), "inference.GRPCInferenceService/ModelInfer");
    let span = written(&infer).swap_remove(0);
    let expected = pairs(&[
        ("rpc.system", "grpc"),
        ("rpc.service", "inference.GRPCInferenceService"),
        ("rpc.method", "ModelInfer"),
        ("rpc.grpc.status_code", "0"),
        ("galen.model", "m"),
        ("galen.version", "3"),
        ("galen.rows", "4"),
        ("galen.request_id", "visit-1"),
    ]);
    assert_eq!(attributes(&span), expected);
    assert_eq!(name(&call("/s.S/whatever", true, Some(UNIMPLEMENTED))), "s.S");
    assert_eq!(name(&call("/what.Ever/Whatever", false, Some(UNIMPLEMENTED))), "unknown service");
}

#[test]
fn a_message_says_who_speaks() {
    let message = export("ward-7", written(&post(Some(200))));
    let [of_resource] = message.resource_spans.as_slice() else { panic!() };
    let resource = of_resource.resource.as_ref().unwrap();
    let names: Vec<_> = resource.attributes.iter().map(|each| each.key.as_str()).collect();
    assert_eq!(names, ["service.name", "service.version"]);
    assert_eq!(resource.attributes[0], text("service.name", "ward-7"));
    let [of_scope] = of_resource.scope_spans.as_slice() else { panic!() };
    assert_eq!(of_scope.scope.as_ref().unwrap().name, "galen");
    assert_eq!(of_scope.spans.len(), 3);
    // What keeps a patient at one version is in no span.
    assert!(!format!("{message:?}").contains("bed-4"));
}
