//! One event as one line of JSON, written in one go: tracing's own form goes through serde and a
//! dozen small writes per field, which was a fifth of what a small request cost.

use std::cell::RefCell;
use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::registry::LookupSpan;

thread_local! {
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

pub struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
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
        LINE.with(|line| {
            // An event inside the formatting of another has a line of its own.
            let mut own = String::new();
            let mut kept = line.try_borrow_mut();
            let line = kept.as_deref_mut().unwrap_or(&mut own);
            line.clear();
            line.push_str("{\"timestamp\":\"");
            SystemTime.format_time(&mut Writer::new(line))?;
            line.push_str("\",\"level\":\"");
            line.push_str(event.metadata().level().as_str());
            line.push('"');
            event.record(&mut Fields(line));
            line.push_str(",\"target\":\"");
            line.push_str(event.metadata().target());
            line.push_str("\"}\n");
            writer.write_str(line)
        })
    }
}

/// Appends fields, each led by a comma.
struct Fields<'a>(&'a mut String);

impl Fields<'_> {
    fn key(&mut self, field: &Field) {
        self.0.push_str(",\"");
        // A name in our own source: it needs no escapes.
        self.0.push_str(field.name());
        self.0.push_str("\":");
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.key(field);
        self.0.push('"');
        let _ = Escaped(self.0).write_str(value);
        self.0.push('"');
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.key(field);
        self.0.push_str(itoa::Buffer::new().format(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.key(field);
        self.0.push_str(itoa::Buffer::new().format(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.key(field);
        self.0.push_str(if value { "true" } else { "false" });
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.key(field);
        // JSON knows no infinities.
        if value.is_finite() {
            let _ = write!(self.0, "{value}");
        } else {
            self.0.push_str("null");
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.key(field);
        self.0.push('"');
        let _ = write!(Escaped(self.0), "{value:?}");
        self.0.push('"');
    }
}

/// Text inside a JSON string.
pub struct Escaped<'a>(pub &'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        let special = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
        while let Some(at) = rest.bytes().position(special) {
            let (plain, tail) = rest.split_at(at);
            self.0.push_str(plain);
            match tail.as_bytes()[0] {
                b'"' => self.0.push_str("\\\""),
                b'\\' => self.0.push_str("\\\\"),
                b'\n' => self.0.push_str("\\n"),
                byte => write!(self.0, "\\u{byte:04x}")?,
            }
            rest = &tail[1..];
        }
        self.0.push_str(rest);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::sink::Sink;

    #[test]
    fn an_event_is_one_line_of_json() {
        let sink = Sink::default();
        let log = tracing_subscriber::fmt().with_writer(sink.clone()).event_format(JsonLine);
        tracing::subscriber::with_default(log.finish(), || {
            let path = "a\"b\\c\nd\u{1}é";
            let (nothing, ratio) = (None::<u64>, 0.5);
            tracing::info!(path, shown = %path, count = 7u64, below = -7i64, yes = true, nothing,
                ratio, none = f64::NAN, "it said \"{}\"", "so");
            tracing::warn!("again");
        });
        let text = sink.take();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        let first = &lines[0];
        assert_eq!((first["level"].as_str(), first["count"].as_u64()), (Some("INFO"), Some(7)));
        assert_eq!(first["path"], "a\"b\\c\nd\u{1}é");
        assert_eq!(first["shown"], first["path"]);
        assert_eq!(first["message"], "it said \"so\"");
        assert_eq!((&first["below"], &first["yes"]), (&(-7).into(), &true.into()));
        assert_eq!((&first["ratio"], &first["none"]), (&0.5.into(), &serde_json::Value::Null));
        assert!(first.get("nothing").is_none());
        assert!(first["timestamp"].as_str().unwrap().ends_with('Z'));
    }
}
