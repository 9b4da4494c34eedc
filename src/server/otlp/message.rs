//! Spans from plain facts, and the message that brings them. Pure: who calls says what time it is,
//! and where ids come from.
//!
//! Names and attributes are OpenTelemetry's semantic conventions, and Galen's own under `galen.`.
//! Names are few: a route's pattern, never a path. There is nothing of a payload, and not the key
//! that keeps a patient at one version.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::pb;
use crate::event::BatchTraced;
use crate::infer::{RequestContext, Run, Served, SpanId};
use crate::model::ModelId;

/// Engine runs of one request that are told; an ensemble may have more steps.
const RUNS_MAX: usize = 32;

/// Methods that a span's name may hold; any text may be a method.
const METHODS: [&str; 9] =
    ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

/// Codes of gRPC that are the server's failure, after the conventions: the others are the caller's.
const FAILURES: [(i32, &str); 6] = [
    (2, "UNKNOWN"),
    (4, "DEADLINE_EXCEEDED"),
    (12, "UNIMPLEMENTED"),
    (13, "INTERNAL"),
    (14, "UNAVAILABLE"),
    (15, "DATA_LOSS"),
];
const UNIMPLEMENTED: i32 = 12;
/// Where the caller left: it did not get to know of any other.
const CANCELLED: i32 = 1;

/// A moment on both clocks: what was measured with the one can be told in the other.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub wall: SystemTime,
    pub at: Instant,
}

impl Moment {
    fn unix_ns(&self, instant: Instant) -> u64 {
        let wall = match instant.checked_duration_since(self.at) {
            Some(after) => self.wall.checked_add(after),
            None => self.wall.checked_sub(self.at.duration_since(instant)),
        };
        let since = wall.and_then(|wall| wall.duration_since(SystemTime::UNIX_EPOCH).ok());
        u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// How a request was asked for.
#[derive(Debug)]
pub enum Asked {
    Http {
        method: http::Method,
        /// The route's pattern, where there is a route.
        route: Option<String>,
    },
    Grpc {
        path: String,
        /// Whether there is such a service.
        known: bool,
    },
}

/// A request was answered, or its caller left.
#[derive(Debug)]
pub struct RequestEnded {
    pub span: SpanId,
    pub context: Arc<RequestContext>,
    pub asked: Asked,
    /// HTTP's status or gRPC's code; `None` where there was no answer, or no end of one.
    pub status: Option<i32>,
    pub ended: Moment,
}

/// What one or more spans are made of.
#[derive(Debug)]
pub enum Fact {
    Request(Box<RequestEnded>),
    Batch(ModelId, Box<BatchTraced>, Moment),
}

impl Fact {
    /// How many spans it makes.
    pub fn spans(&self) -> u64 {
        match self {
            Fact::Request(request) => 1 + 2 * runs(request).len() as u64,
            Fact::Batch(..) => 4,
        }
    }

    /// Its spans; `id` gives ids to those that nobody knows yet.
    pub fn write(&self, id: impl FnMut() -> u64, spans: &mut Vec<pb::Span>) {
        match self {
            Fact::Request(request) => write_request(request, id, spans),
            Fact::Batch(model, batch, told) => write_batch(model, batch, told, id, spans),
        }
    }
}

fn runs(request: &RequestEnded) -> &[Run] {
    let runs = request.context.record.get().map_or(&[][..], |served| &served.runs);
    runs.get(..RUNS_MAX).unwrap_or(runs)
}

fn write_request(request: &RequestEnded, mut id: impl FnMut() -> u64, spans: &mut Vec<pb::Span>) {
    let RequestEnded { span, context, asked, status, ended } = request;
    let ns = |at| ended.unix_ns(at);
    let (name, mut attributes) = match asked {
        Asked::Http { method, route } => http(method, route.as_deref(), *status),
        Asked::Grpc { path, known } => grpc(path, *known, *status),
    };
    attributes.push(text("galen.request_id", &context.id));
    if let Some(Served { model, rows, .. }) = context.record.get() {
        attributes.extend(of_model(model));
        attributes.push(number("galen.rows", *rows));
    }
    let failure = failure(asked, *status);
    attributes.extend(failure.as_deref().map(|why| text("error.type", why)));
    let mut server = span_of(*span, &name, (ns(context.received_at), ns(ended.at)));
    server.kind = pb::SpanKind::Server.into();
    server.parent_span_id = parent(context.trace.parent_id);
    // A parent, where there is one, is in another process.
    server.flags |= pb::SpanFlags::ContextIsRemoteMask as u32;
    server.attributes = attributes;
    server.status = failure.map(|_| failed());
    spans.push(server);
    for run in runs(request) {
        let queued_at = run.begun.checked_sub(run.timings.queue).unwrap_or(run.begun);
        let times = [
            ("queue", queued_at, run.begun, Vec::new()),
            ("compute", run.begun, run.begun + computing(run), vec![link(run.batch)]),
        ];
        for (name, begun, over, links) in times {
            let own = SpanId { span_id: id(), ..*span };
            let mut child = span_of(own, name, (ns(begun), ns(over)));
            child.parent_span_id = parent(span.span_id);
            child.attributes = run.step.iter().flat_map(of_model).collect();
            child.links = links;
            spans.push(child);
        }
    }
}

fn write_batch(
    model: &ModelId,
    batch: &BatchTraced,
    told: &Moment,
    mut id: impl FnMut() -> u64,
    spans: &mut Vec<pb::Span>,
) {
    let timings = batch.timings;
    let phases = [
        ("compute_input", timings.compute_input),
        ("compute_infer", timings.compute_infer),
        ("compute_output", timings.compute_output),
    ];
    let mut begun = batch.begun;
    let mut children = Vec::with_capacity(phases.len());
    for (name, time) in phases {
        let own = SpanId { span_id: id(), ..batch.span };
        let over = begun + time;
        let mut child = span_of(own, name, (told.unix_ns(begun), told.unix_ns(over)));
        child.parent_span_id = parent(batch.span.span_id);
        children.push(child);
        begun = over;
    }
    let whole = (told.unix_ns(batch.begun), told.unix_ns(begun));
    let mut span = span_of(batch.span, "batch", whole);
    span.attributes = of_model(model).into();
    span.attributes.push(number("galen.batch.rows", batch.rows));
    span.attributes.push(number("galen.batch.requests", batch.requests));
    span.links = batch.members.iter().copied().map(link).collect();
    span.dropped_links_count = u32::try_from(batch.members_left_out).unwrap_or(u32::MAX);
    span.status = batch.failed.then(failed);
    spans.push(span);
    spans.append(&mut children);
}

fn http(
    method: &http::Method,
    route: Option<&str>,
    status: Option<i32>,
) -> (String, Vec<pb::KeyValue>) {
    let known = METHODS.iter().find(|known| **known == method.as_str());
    let method = known.copied().unwrap_or("_OTHER");
    let named = if known.is_some() { method } else { "HTTP" };
    let name = route.map_or_else(|| named.to_owned(), |route| format!("{named} {route}"));
    let mut attributes = vec![text("http.request.method", method), text("url.scheme", "http")];
    attributes.extend(route.map(|route| text("http.route", route)));
    attributes.extend(status.map(|status| number("http.response.status_code", status)));
    (name, attributes)
}

fn grpc(path: &str, known: bool, status: Option<i32>) -> (String, Vec<pb::KeyValue>) {
    let mut attributes = vec![text("rpc.system", "grpc")];
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
    // What is not there may be called anything, as often as somebody likes.
    let name = match (known, status) {
        (false, _) => "unknown service".to_owned(),
        (true, Some(UNIMPLEMENTED)) => service.to_owned(),
        (true, _) => {
            attributes.push(text("rpc.method", method));
            format!("{service}/{method}")
        }
    };
    attributes.extend(known.then(|| text("rpc.service", service)));
    attributes.push(number("rpc.grpc.status_code", status.unwrap_or(CANCELLED)));
    (name, attributes)
}

/// Why it counts as failed, if it does.
fn failure(asked: &Asked, status: Option<i32>) -> Option<String> {
    match asked {
        Asked::Http { .. } => match status {
            None => Some("caller_left".to_owned()),
            Some(status) => (status >= 500).then(|| status.to_string()),
        },
        Asked::Grpc { .. } => {
            let failure = FAILURES.iter().find(|(code, _)| Some(*code) == status);
            failure.map(|(_, name)| (*name).to_owned())
        }
    }
}

fn computing(run: &Run) -> Duration {
    run.timings.compute_input + run.timings.compute_infer + run.timings.compute_output
}

fn span_of(id: SpanId, name: &str, (begun, over): (u64, u64)) -> pb::Span {
    pb::Span {
        trace_id: id.trace_id.to_be_bytes().to_vec(),
        span_id: id.span_id.to_be_bytes().to_vec(),
        flags: FLAGS,
        name: name.to_owned(),
        kind: pb::SpanKind::Internal.into(),
        start_time_unix_nano: begun,
        end_time_unix_nano: over.max(begun),
        ..pb::Span::default()
    }
}

/// Recorded, and it is known whether the parent is in another process.
const FLAGS: u32 = super::sampling::SAMPLED as u32 | pb::SpanFlags::ContextHasIsRemoteMask as u32;

/// Empty where there is none.
fn parent(span_id: u64) -> Vec<u8> {
    if span_id == 0 { Vec::new() } else { span_id.to_be_bytes().to_vec() }
}

fn link(to: SpanId) -> pb::Link {
    pb::Link {
        trace_id: to.trace_id.to_be_bytes().to_vec(),
        span_id: to.span_id.to_be_bytes().to_vec(),
        flags: FLAGS,
        ..pb::Link::default()
    }
}

fn failed() -> pb::Status {
    pb::Status { code: pb::StatusCode::Error.into(), ..pb::Status::default() }
}

fn of_model(model: &ModelId) -> [pb::KeyValue; 2] {
    [text("galen.model", model.name.as_str()), number("galen.version", model.version.number())]
}

fn text(key: &str, value: &str) -> pb::KeyValue {
    attribute(key, pb::Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: impl TryInto<i64>) -> pb::KeyValue {
    attribute(key, pb::Value::IntValue(value.try_into().unwrap_or(i64::MAX)))
}

fn attribute(key: &str, value: pb::Value) -> pb::KeyValue {
    let value = Some(pb::AnyValue { value: Some(value) });
    pb::KeyValue { key: key.to_owned(), value, ..pb::KeyValue::default() }
}

/// The message of so many spans, from the server of this name.
pub fn export(service_name: &str, spans: Vec<pb::Span>) -> pb::ExportTraceServiceRequest {
    let version = env!("CARGO_PKG_VERSION");
    let scope = pb::InstrumentationScope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: version.to_owned(),
        ..pb::InstrumentationScope::default()
    };
    let scope_spans = pb::ScopeSpans { scope: Some(scope), spans, ..pb::ScopeSpans::default() };
    let resource = pb::Resource {
        attributes: vec![text("service.name", service_name), text("service.version", version)],
        ..pb::Resource::default()
    };
    pb::ExportTraceServiceRequest {
        resource_spans: vec![pb::ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![scope_spans],
            ..pb::ResourceSpans::default()
        }],
    }
}

#[cfg(test)]
mod tests;
