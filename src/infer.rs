//! One inference as plain data: who asks, what for, what came out, and how long each phase took.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::model::ModelId;
use crate::tensor::{NamedTensor, Tensor};

/// What travels with a request from the door to the log, whatever the protocol.
#[derive(Debug)]
pub struct RequestContext {
    /// The caller's request id, or one made at the door; given back in `x-request-id`.
    pub id: String,
    /// What keeps a caller, or a patient, at one version of a split; without it, the id. It is only
    /// hashed, and in no log.
    pub affinity: Option<String>,
    /// W3C trace context of this request.
    pub trace: TraceContext,
    /// Where spans of this request are recorded: its own.
    pub span: Option<SpanId>,
    pub received_at: Instant,
    /// When nobody waits for the answer any more. Every request has one.
    pub deadline: Instant,
    /// Filled by the service, read by the door that writes the request's log line.
    pub record: OnceLock<Served>,
}

impl RequestContext {
    /// A context made inside the server (tests, `check`), with a bound on its wait.
    pub fn internal(id: impl Into<String>, now: Instant, patience: Duration) -> Self {
        Self {
            id: id.into(),
            affinity: None,
            trace: TraceContext::default(),
            span: None,
            received_at: now,
            deadline: now + patience,
            record: OnceLock::new(),
        }
    }
}

/// W3C Trace Context, level 1 (`traceparent`, version 00).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceContext {
    pub trace_id: u128,
    /// The caller's span; 0 where the trace begins here.
    pub parent_id: u64,
    /// This request's own span.
    pub span_id: u64,
    pub flags: u8,
}

impl TraceContext {
    /// Parses a `traceparent` header: `00-<32 hex>-<16 hex>-<2 hex>`, ids not zero.
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.split('-');
        let (version, trace, parent, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let lower_hex = |text: &str, length: usize| {
            text.len() == length
                && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let whole = lower_hex(version, 2)
            && lower_hex(trace, 32)
            && lower_hex(parent, 16)
            && lower_hex(flags, 2);
        // A later version may carry more fields; version 00 may not, and ff is forbidden.
        if !whole || version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let trace_id = u128::from_str_radix(trace, 16).ok().filter(|&id| id != 0)?;
        let parent_id = u64::from_str_radix(parent, 16).ok().filter(|&id| id != 0)?;
        let flags = u8::from_str_radix(flags, 16).ok()?;
        Some(Self { trace_id, parent_id, span_id: 0, flags })
    }

    /// The header that goes back, naming this request's own span.
    pub fn to_header(self) -> String {
        let mut text = String::with_capacity(55);
        text.push_str("00-");
        push_hex(&mut text, self.trace_id, 32);
        text.push('-');
        push_hex(&mut text, self.span_id.into(), 16);
        text.push('-');
        push_hex(&mut text, self.flags.into(), 2);
        text
    }
}

/// A span as other spans name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId {
    pub trace_id: u128,
    pub span_id: u64,
}

impl SpanId {
    /// The first span of a trace of its own.
    pub fn root() -> Self {
        Self { trace_id: fastrand::u128(1..), span_id: fastrand::u64(1..) }
    }
}

/// One engine run as a request had it whose spans are recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The batch's span.
    pub batch: SpanId,
    /// When the batch left the queue.
    pub begun: Instant,
    pub timings: Timings,
    /// The model, where it is not the request's own but a step of it.
    pub step: Option<ModelId>,
}

/// Whole microseconds, as logs and counters have them.
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Lower-case hexadecimal digits; `format!` takes ten times as long, twice per request.
pub fn hex(value: u128, digits: u32) -> String {
    let mut text = String::with_capacity(digits as usize);
    push_hex(&mut text, value, digits);
    text
}

fn push_hex(text: &mut String, value: u128, digits: u32) {
    let digit = |place: u32| char::from_digit((value >> (4 * place)) as u32 & 0xf, 16);
    text.extend((0..digits).rev().map(|place| digit(place).unwrap_or('0')));
}

/// What the log line of a request says about the model that answered.
#[derive(Clone, Debug)]
pub struct Served {
    pub model: ModelId,
    pub rows: usize,
    /// Rows of the whole batch this request was part of; 0 where it never ran.
    pub batch_rows: usize,
    pub timings: Timings,
    /// The engine runs, where spans are recorded; of an ensemble, those of its steps.
    pub runs: Vec<Run>,
}

/// Time spent in each phase; Triton's split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// From admission to the start of the batch.
    pub queue: Duration,
    /// Joining the requests of a batch.
    pub compute_input: Duration,
    /// The engine's own call.
    pub compute_infer: Duration,
    /// Parting the answer among the requests.
    pub compute_output: Duration,
}

/// A decoded request, before it is checked against the signature.
#[derive(Debug, Default)]
pub struct InferRequest {
    pub inputs: Vec<NamedTensor>,
    /// Names of the wanted outputs; none means all.
    pub outputs: Vec<String>,
    /// For each of them, how many of its highest classes are wanted in its place; 0: the tensor
    /// itself. Shorter where nothing is.
    pub classes: Vec<usize>,
    /// The caller's own bound on queueing and computing, from the request's body.
    pub timeout: Option<Duration>,
    /// 1 is the most urgent; 0 means the model's default.
    pub priority: u64,
}

/// The answer: the chosen outputs in the asked order.
#[derive(Debug)]
pub struct InferResponse {
    pub outputs: Vec<NamedTensor>,
    pub timings: Timings,
}

/// Tokens of one engine call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenCount {
    /// Those of the callers' texts, special ones included.
    pub given: u64,
    /// Padding that was computed with them.
    pub padding: u64,
    /// Padding that was not, and would be if every text were made as long as the longest.
    pub padding_spared: u64,
}

/// What the scheduler gives back for one request.
#[derive(Debug)]
pub struct Computed {
    /// All outputs in the signature's order.
    pub outputs: Vec<Tensor>,
    pub timings: Timings,
    pub batch_rows: usize,
    /// The engine runs behind it, where the request's spans are recorded.
    pub runs: Vec<Run>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparent_is_read_by_the_letter() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = TraceContext::parse(good).unwrap();
        assert_eq!(trace.parent_id, 0x00f0_67aa_0ba9_02b7);
        let back = TraceContext { span_id: trace.parent_id, ..trace }.to_header();
        assert_eq!(back, good);
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }
}
