//! One event as one line of the Elastic Common Schema, for an ELK stack to take in as it is
//! (ecs-logging specification: `@timestamp`, `log.level`, `message` and `ecs.version` lead, keys
//! are dotted). What the schema has no place for goes to `labels`, whose values are strings.

use std::cell::RefCell;
use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::registry::LookupSpan;

use super::json_line::Escaped;

/// Of the schema whose names are used.
const VERSION: &str = "8.17.0";

thread_local! {
    static PARTS: RefCell<Parts> = RefCell::default();
}

pub struct EcsLine;

/// The message, and what follows it: fields come in any order, and the message leads.
#[derive(Default)]
struct Parts {
    message: String,
    rest: String,
}

impl<S, N> FormatEvent<S, N> for EcsLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        PARTS.with(|parts| {
            // An event inside the formatting of another has parts of its own.
            let mut own = Parts::default();
            let mut kept = parts.try_borrow_mut();
            let parts = kept.as_deref_mut().unwrap_or(&mut own);
            parts.message.clear();
            parts.rest.clear();
            event.record(parts);
            writer.write_str("{\"@timestamp\":\"")?;
            SystemTime.format_time(&mut writer)?;
            let metadata = event.metadata();
            let level = metadata.level().as_str().to_ascii_lowercase();
            writeln!(
                writer,
                "\",\"log.level\":\"{level}\",\"message\":\"{}\",\"ecs.version\":\"{VERSION}\",\
                 \"service.name\":\"galen\",\"service.version\":\"{}\",\"event.dataset\":\"galen\",\
                 \"log.logger\":\"{}\"{}}}",
                parts.message,
                env!("CARGO_PKG_VERSION"),
                metadata.target(),
                parts.rest
            )
        })
    }
}

/// Where the schema has a field; everything else is a label.
fn place(name: &str) -> Option<&'static str> {
    Some(match name {
        "request_id" => "http.request.id",
        "trace_id" => "trace.id",
        "method" => "http.request.method",
        "path" => "url.path",
        "status" => "http.response.status_code",
        "error" => "error.message",
        "reason" => "event.reason",
        "detail" => "error.stack_trace",
        // In nanoseconds.
        "total_us" => "event.duration",
        _ => return None,
    })
}

impl Parts {
    fn text(&mut self, field: &Field, value: &dyn fmt::Display) {
        if field.name() == "message" {
            let _ = write!(Escaped(&mut self.message), "{value}");
            return;
        }
        self.key(field.name());
        self.rest.push('"');
        let _ = write!(Escaped(&mut self.rest), "{value}");
        self.rest.push('"');
    }

    fn number(&mut self, field: &Field, value: u64) {
        match field.name() {
            "total_us" => {
                self.key("total_us");
                let _ = write!(self.rest, "{}", value.saturating_mul(1000));
            }
            "status" => {
                self.key("status");
                let _ = write!(self.rest, "{value}");
            }
            _ => self.text(field, &value),
        }
    }

    fn key(&mut self, name: &str) {
        self.rest.push_str(",\"");
        match place(name) {
            Some(place) => self.rest.push_str(place),
            None => {
                self.rest.push_str("labels.");
                // A name in our own source: it needs no escapes.
                self.rest.push_str(if name == "version" { "model_version" } else { name });
            }
        }
        self.rest.push_str("\":");
    }
}

impl Visit for Parts {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.text(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.text(field, &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.text(field, &value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, &format_args!("{value:?}"));
    }
}
