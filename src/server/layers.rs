//! What every request passes on its way in and out, whatever the door: an id and a trace, a
//! deadline, bounds on how its body comes, one line in the log, and where it is recorded, a span.
//!
//! It wraps a whole router as hyper's service, so that it costs one boxed future per request.
//! What this file must not know: routes, models, bodies.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;
use tower::Service;

use super::inflow;
use super::otlp::{SAMPLED, Sampler, Tracing};
use crate::config::Limits;
use crate::error::quoted;
use crate::infer::{RequestContext, SpanId, TraceContext, micros};

/// The caller's id of a request; made up where there is none, and always given back.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// W3C Trace Context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What keeps a caller at one version of a traffic split.
pub const AFFINITY_KEY: HeaderName = HeaderName::from_static("x-affinity-key");
/// A caller's bound on its own wait, in milliseconds.
pub const REQUEST_TIMEOUT_MS: HeaderName = HeaderName::from_static("x-request-timeout-ms");
/// The same in gRPC's words: up to eight digits and a unit.
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The name of the door that speaks gRPC.
pub const GRPC: &str = "grpc";

/// Longest request id that is taken over from a caller.
const ID_CHARS_MAX: usize = 128;

/// Longest key that is taken over; a longer one is none.
const AFFINITY_CHARS_MAX: usize = 256;

/// A router with everything around it.
#[derive(Clone)]
pub struct Layered {
    router: Router,
    /// The door's name in the log.
    door: &'static str,
    limits: Limits,
    tracing: Option<Tracing>,
}

impl Layered {
    pub fn new(
        router: Router,
        door: &'static str,
        limits: Limits,
        tracing: Option<Tracing>,
    ) -> Self {
        let router = match &tracing {
            Some(tracing) => tracing.around(router),
            None => router,
        };
        Self { router, door, limits, tracing }
    }
}

impl hyper::service::Service<Request<Incoming>> for Layered {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let sampler = self.tracing.as_ref().map(Tracing::sampler);
        let context = Arc::new(context(request.headers(), Instant::now(), &self.limits, sampler));
        let line = Line {
            door: self.door,
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            context: Arc::clone(&context),
        };
        let mut request = inflow::bounded(request, self.limits.body_timeout);
        let open = self.tracing.as_ref().and_then(|tracing| {
            let speaks_grpc = self.door == GRPC;
            tracing.open(&mut request, &context, speaks_grpc)
        });
        request.extensions_mut().insert(context);
        let mut router = self.router.clone();
        Box::pin(async move {
            let mut response = router.call(request).await?;
            line.finish(&mut response);
            Ok(match open {
                Some(open) => open.answered(response),
                None => response,
            })
        })
    }
}

/// What the headers say of a request, whatever the door. Without a sampler, no spans are recorded,
/// and the caller's flags go back as they came.
fn context(
    headers: &HeaderMap,
    now: Instant,
    limits: &Limits,
    sampler: Option<Sampler>,
) -> RequestContext {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let parent = text(&TRACEPARENT).and_then(TraceContext::parse);
    let mut trace = parent.unwrap_or_else(|| TraceContext {
        trace_id: fastrand::u128(1..),
        ..TraceContext::default()
    });
    trace.span_id = fastrand::u64(1..);
    let span = sampler.filter(|sampler| sampler.records(&trace)).map(|_| {
        trace.flags |= SAMPLED;
        SpanId { trace_id: trace.trace_id, span_id: trace.span_id }
    });
    let id = text(&REQUEST_ID)
        .filter(|id| (1..=ID_CHARS_MAX).contains(&id.len()))
        .map_or_else(|| crate::infer::hex(trace.trace_id, 32), str::to_owned);
    let asked = text(&REQUEST_TIMEOUT_MS)
        .and_then(|text| text.parse().ok())
        .map(Duration::from_millis)
        .or_else(|| text(&GRPC_TIMEOUT).and_then(grpc_timeout));
    let patience = asked.unwrap_or(limits.request_timeout).min(limits.request_timeout);
    let affinity = text(&AFFINITY_KEY)
        .filter(|key| (1..=AFFINITY_CHARS_MAX).contains(&key.len()))
        .map(str::to_owned);
    RequestContext {
        id,
        affinity,
        trace,
        span,
        received_at: now,
        deadline: now + patience,
        record: std::sync::OnceLock::new(),
    }
}

/// `grpc-timeout` of the gRPC-over-HTTP/2 specification.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

/// One request's line in the log, and the headers that go back with its answer.
struct Line {
    door: &'static str,
    method: http::Method,
    path: String,
    context: Arc<RequestContext>,
}

impl Line {
    fn finish(&self, response: &mut Response<Body>) {
        let context = &self.context;
        let status = response.status();
        let headers = response.headers_mut();
        let header = context.trace.to_header();
        for (name, value) in [(REQUEST_ID, context.id.as_str()), (TRACEPARENT, &header)] {
            let Ok(mut value) = HeaderValue::from_str(value) else { continue };
            // To HTTP/2: not worth a place in the table of headers, where a value that never comes
            // again would push out those that always do (RFC 7541, section 7.1.3).
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        // A gRPC answer that is no error carries its code behind the body.
        let code = headers.get("grpc-status").and_then(|code| code.to_str().ok());
        let record = context.record.get();
        let timings = record.map(|record| record.timings).unwrap_or_default();
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    request_id = context.id.as_str(),
                    trace_id = header.get(3..35),
                    door = self.door,
                    method = self.method.as_str(),
                    path = quoted(&self.path),
                    status = status.as_u16(),
                    grpc_status = code,
                    model = record.map(|record| record.model.name.as_str()),
                    version = record.map(|record| record.model.version.number()),
                    rows = record.map(|record| record.rows),
                    batch_rows = record.map(|record| record.batch_rows),
                    total_us = micros(context.received_at.elapsed()),
                    queue_us = record.map(|_| micros(timings.queue)),
                    input_us = record.map(|_| micros(timings.compute_input)),
                    infer_us = record.map(|_| micros(timings.compute_infer)),
                    output_us = record.map(|_| micros(timings.compute_output)),
                    "request"
                )
            };
        }
        // Probes and scrapes that went well are nobody's news.
        let failed = status.is_client_error() || status.is_server_error() || code.is_some();
        if record.is_some() || failed { line!(info) } else { line!(debug) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        body_bytes_max: 1 << 20,
        connections_max: 1,
        header_timeout: Duration::from_secs(1),
        body_timeout: Duration::from_secs(1),
        keepalive_timeout: Duration::from_secs(1),
        request_timeout: Duration::from_secs(60),
    };

    fn of(pairs: &[(&'static str, &str)]) -> (RequestContext, Instant) {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let now = Instant::now();
        (context(&headers, now, &LIMITS, None), now)
    }

    #[test]
    fn what_is_recorded_says_so_and_what_is_not_has_no_span() {
        let of = |parent: Option<&str>, sampler| {
            let mut headers = HeaderMap::new();
            if let Some(parent) = parent {
                headers.insert(TRACEPARENT, parent.parse().unwrap());
            }
            context(&headers, Instant::now(), &LIMITS, sampler)
        };
        let (all, none) = (Some(Sampler::new(100.0)), Some(Sampler::new(0.0)));
        let parent =
            |flags| format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
        for (parent, sampler, flags) in [
            (None, all, Some(1)),
            (None, none, None),
            (None, None, None),
            (Some(parent("01")), none, Some(1)),
            (Some(parent("03")), none, Some(3)),
            (Some(parent("00")), all, None),
            (Some(parent("01")), None, None),
        ] {
            let context = of(parent.as_deref(), sampler);
            let (trace_id, span_id) = (context.trace.trace_id, context.trace.span_id);
            assert_eq!(context.span, flags.map(|_| SpanId { trace_id, span_id }), "{parent:?}");
            assert!(flags.is_none_or(|flags| context.trace.flags == flags), "{parent:?}");
        }
    }

    #[test]
    fn ids_and_traces_are_taken_over_or_made_up() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let (given, _) = of(&[("x-request-id", "ward-7"), ("traceparent", parent)]);
        assert_eq!(given.id, "ward-7");
        assert!(given.trace.to_header().starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
        assert_ne!(given.trace.span_id, given.trace.parent_id);
        let (made, _) = of(&[("x-request-id", ""), ("traceparent", "nonsense")]);
        assert_eq!(made.id.len(), 32);
        assert_ne!(made.trace.trace_id, 0);
        let (keyed, _) = of(&[("x-affinity-key", "bed-4")]);
        assert_eq!(keyed.affinity.as_deref(), Some("bed-4"));
        let (long, _) = of(&[("x-affinity-key", &"x".repeat(257))]);
        assert_eq!(long.affinity, None);
        let (long, _) = of(&[("x-request-id", &"x".repeat(129))]);
        assert_eq!(long.id.len(), 32);
    }

    #[test]
    fn the_nearer_of_two_deadlines_holds() {
        for (name, value, expected) in [
            ("x-request-timeout-ms", "250", Duration::from_millis(250)),
            ("x-request-timeout-ms", "-1", LIMITS.request_timeout),
            ("x-request-timeout-ms", "99999999999", LIMITS.request_timeout),
            ("grpc-timeout", "5S", Duration::from_secs(5)),
            ("grpc-timeout", "1500m", Duration::from_millis(1500)),
            ("grpc-timeout", "7u", Duration::from_micros(7)),
            ("grpc-timeout", "9n", Duration::from_nanos(9)),
            ("grpc-timeout", "2H", LIMITS.request_timeout),
            ("grpc-timeout", "123456789S", LIMITS.request_timeout),
            ("grpc-timeout", "5x", LIMITS.request_timeout),
            ("grpc-timeout", "S", LIMITS.request_timeout),
        ] {
            let (context, now) = of(&[(name, value)]);
            assert_eq!(context.deadline - now, expected, "{name}: {value}");
        }
    }
}
