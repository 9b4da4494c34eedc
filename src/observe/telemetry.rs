//! Logs: text on a terminal, JSON lines otherwise, to standard error. Writing happens on a thread
//! of its own with a bounded buffer, so that a slow reader of the log never slows a request; lines
//! that do not fit are dropped and counted by the writer.
//!
//! What is logged, and in which form, can be changed while the server runs ([`LogControl`]); where
//! it goes can not.

use std::fmt;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter, format};
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use crate::config::{LogConfig, LogFormat};
use crate::error::{Error, Result};

use super::ecs_line::EcsLine;
use super::json_line::JsonLine;
pub use super::levels::Levels;
use super::lines;
pub use super::lines::LogGuard;

/// The operator's filter, and the switches over it.
type Filter = Layered<Levels, EnvFilter, Registry>;

/// What can be changed of the log, as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogSettings {
    pub levels: Levels,
    pub form: LogForm,
}

/// How lines look, in the words that a caller may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogForm {
    /// As the server was started.
    #[default]
    Default,
    /// The same: every form's times are ISO 8601.
    Iso8601,
    Text,
    Json,
    /// The Elastic Common Schema.
    Ecs,
}

/// What lines look like now: as an atomic holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Look {
    Text,
    Json,
    Ecs,
}

/// What a caller wants changed; the rest stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogChange {
    pub error: Option<bool>,
    pub warning: Option<bool>,
    pub info: Option<bool>,
    pub verbose: Option<u32>,
    pub form: Option<LogForm>,
}

/// A handle to the process's log; by default, that of a process that has none.
#[derive(Clone, Default)]
pub struct LogControl(Option<Arc<Live>>);

struct Live {
    /// The operator's filter, as it was written.
    base: String,
    filter: reload::Handle<Filter, Registry>,
    look: Arc<AtomicU8>,
    /// As the server was started.
    started_as: Look,
    now: Mutex<LogSettings>,
}

impl LogControl {
    pub fn settings(&self) -> LogSettings {
        let Some(live) = &self.0 else { return LogSettings::default() };
        *live.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the log at once; gives back how it is then.
    pub fn change(&self, change: LogChange) -> Result<LogSettings> {
        let Some(live) = &self.0 else {
            return Err(Error::unsupported("this process has no log that could be changed"));
        };
        let mut now = live.now.lock().unwrap_or_else(PoisonError::into_inner);
        let levels = Levels {
            error: change.error.unwrap_or(now.levels.error),
            warning: change.warning.unwrap_or(now.levels.warning),
            info: change.info.unwrap_or(now.levels.info),
            verbose: change.verbose.unwrap_or(now.levels.verbose),
        };
        if levels != now.levels {
            // Galen's own lines as far as the switches want them, others' as the operator does.
            let directives = format!("{},galen={}", live.base, levels.threshold());
            let failed =
                |error: String| Error::internal("the log can not be changed").with_detail(error);
            let filter = filter(&directives).map_err(|error| failed(error.to_string()))?;
            let reloaded = live.filter.reload(filter.and_then(levels));
            reloaded.map_err(|error| failed(error.to_string()))?;
        }
        let form = change.form.unwrap_or(now.form);
        let look = match form {
            LogForm::Default | LogForm::Iso8601 => live.started_as,
            LogForm::Text => Look::Text,
            LogForm::Json => Look::Json,
            LogForm::Ecs => Look::Ecs,
        };
        live.look.store(look as u8, Ordering::Relaxed);
        *now = LogSettings { levels, form };
        Ok(*now)
    }
}

fn filter(directives: &str) -> Result<EnvFilter> {
    EnvFilter::try_new(directives).map_err(|error| Error::invalid(format!("log filter: {error}")))
}

/// Installs the process's log. May be called once.
pub fn install(config: &LogConfig) -> Result<(LogGuard, LogControl)> {
    let terminal = std::io::stderr().is_terminal();
    let (writer, guard) = lines::start()
        .map_err(|error| Error::internal("the log's thread did not start").with_detail(error))?;
    let (subscriber, control) = log(config, terminal, writer)?;
    subscriber
        .try_init()
        .map_err(|error| Error::internal("the log is already installed").with_detail(error))?;
    std::panic::set_hook(Box::new(panicked));
    Ok((guard, control))
}

/// A log, and the handle to it.
fn log<W>(
    config: &LogConfig,
    terminal: bool,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + use<W>, LogControl)>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = filter(&config.filter)?;
    let threshold = Layer::<Registry>::max_level_hint(&filter).unwrap_or(LevelFilter::TRACE);
    let levels = Levels::up_to(threshold);
    let (filter, handle) = reload::Layer::new(filter.and_then(levels));
    let started_as = match config.format {
        LogFormat::Auto if terminal => Look::Text,
        LogFormat::Text => Look::Text,
        LogFormat::Auto | LogFormat::Json => Look::Json,
        LogFormat::Ecs => Look::Ecs,
    };
    let look = Arc::new(AtomicU8::new(started_as as u8));
    let form = Form { look: Arc::clone(&look), text: format().with_target(false) };
    let lines =
        tracing_subscriber::fmt::layer().with_ansi(terminal).with_writer(writer).event_format(form);
    let control = Live {
        base: config.filter.clone(),
        filter: handle,
        look,
        started_as,
        now: Mutex::new(LogSettings { levels, form: LogForm::Default }),
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    Ok((subscriber, LogControl(Some(Arc::new(control)))))
}

/// Lines in whichever form is wanted now.
struct Form {
    look: Arc<AtomicU8>,
    text: format::Format<Full>,
}

impl<S, N> FormatEvent<S, N> for Form
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        match self.look.load(Ordering::Relaxed) {
            look if look == Look::Text as u8 => self.text.format_event(context, writer, event),
            look if look == Look::Ecs as u8 => EcsLine.format_event(context, writer, event),
            _ => JsonLine.format_event(context, writer, event),
        }
    }
}

/// A panic is logged by its place alone: its text can hold a value that a patient sent.
fn panicked(info: &std::panic::PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    tracing::error!(place, thread = thread.name().unwrap_or_default(), "a panic");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::sink::Sink;

    fn started(
        filter: &str,
        format: LogFormat,
    ) -> (impl Subscriber + Send + Sync, LogControl, Sink) {
        let sink = Sink::default();
        let config = LogConfig { format, filter: filter.to_owned() };
        let (subscriber, control) = log(&config, false, sink.clone()).unwrap();
        (subscriber, control, sink)
    }

    /// The levels of the lines that come when something is said on each.
    fn heard(sink: &Sink) -> String {
        tracing::error!("e");
        tracing::warn!("w");
        tracing::info!("i");
        tracing::debug!("d");
        tracing::trace!("t");
        tracing::info!(target: "hyper", "hi");
        tracing::debug!(target: "hyper", "hd");
        let said = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["message"].as_str().unwrap().to_owned()
        };
        sink.take().lines().map(said).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn switches_act_at_once_and_one_by_one() {
        let (subscriber, control, sink) = started("info", LogFormat::Json);
        tracing::subscriber::with_default(subscriber, || {
            let change = |change| control.change(change).unwrap().levels;
            assert_eq!(control.settings().levels, Levels::up_to(LevelFilter::INFO));
            assert_eq!(heard(&sink), "e w i hi");
            let verbose = LogChange { verbose: Some(1), ..LogChange::default() };
            assert_eq!(change(verbose), Levels::up_to(LevelFilter::DEBUG));
            assert_eq!(heard(&sink), "e w i d hi");
            change(LogChange { verbose: Some(7), ..LogChange::default() });
            assert_eq!(heard(&sink), "e w i d t hi");
            assert_eq!(control.settings().levels.verbose, 7);
            let quiet = LogChange { warning: Some(false), verbose: Some(0), ..verbose };
            change(quiet);
            assert_eq!(heard(&sink), "e i hi");
            change(LogChange { info: Some(false), ..LogChange::default() });
            assert_eq!(heard(&sink), "e");
            let all = LogChange { info: Some(true), warning: Some(true), ..LogChange::default() };
            assert_eq!(change(all), Levels::up_to(LevelFilter::INFO));
            assert_eq!(heard(&sink), "e w i hi");
        });
    }

    #[test]
    fn the_operators_filter_holds_for_others() {
        let (subscriber, control, sink) = started("warn,hyper=debug", LogFormat::Json);
        tracing::subscriber::with_default(subscriber, || {
            assert_eq!(control.settings().levels, Levels::up_to(LevelFilter::DEBUG));
            assert_eq!(heard(&sink), "e w hi hd");
            let verbose = LogChange { verbose: Some(0), ..LogChange::default() };
            control.change(verbose).unwrap();
            assert_eq!(heard(&sink), "e w i hi");
        });
    }

    #[test]
    fn whatever_the_operators_filter_was_galens_own_lines_can_be_had() {
        for (base, start, then) in [("off", "", "i"), ("", "", "i"), ("error", "e", "e i")] {
            let (subscriber, control, sink) = started(base, LogFormat::Json);
            tracing::subscriber::with_default(subscriber, || {
                assert_eq!(heard(&sink), start, "{base:?}");
                control.change(LogChange { info: Some(true), ..LogChange::default() }).unwrap();
                assert_eq!(heard(&sink), then, "{base:?}");
            });
        }
    }

    #[test]
    fn the_form_changes_too() {
        let (subscriber, control, sink) = started("info", LogFormat::Text);
        tracing::subscriber::with_default(subscriber, || {
            let line = |form| {
                let change = LogChange { form: Some(form), ..LogChange::default() };
                assert_eq!(control.change(change).unwrap().form, form);
                tracing::info!(count = 1, "said");
                sink.take()
            };
            assert!(line(LogForm::Json).starts_with("{\"timestamp\":"));
            for form in [LogForm::Default, LogForm::Text, LogForm::Iso8601] {
                let text = line(form);
                assert!(text.ends_with("INFO said count=1\n"), "{text}");
            }
        });
    }

    #[test]
    fn a_process_without_a_log_says_so() {
        let control = LogControl::default();
        assert_eq!(control.settings(), LogSettings::default());
        assert!(control.change(LogChange::default()).is_err());
    }

    #[test]
    fn a_line_of_the_elastic_common_schema_is_one() {
        let (subscriber, control, sink) = started("info", LogFormat::Ecs);
        tracing::subscriber::with_default(subscriber, || {
            let (model, status, total_us) = ("m\"x", 200u16, 7u64);
            tracing::info!(
                request_id = "r-1",
                path = "/v2",
                status,
                model,
                version = 2,
                total_us,
                "request"
            );
        });
        let text = sink.take();
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        let leads = ["@timestamp", "log.level", "message", "ecs.version"];
        let places: Vec<usize> =
            leads.iter().map(|key| text.find(&format!("\"{key}\"")).unwrap()).collect();
        assert!(places.is_sorted(), "{text}");
        for (key, value) in [
            ("log.level", serde_json::json!("info")),
            ("message", "request".into()),
            ("http.request.id", "r-1".into()),
            ("http.response.status_code", 200.into()),
            ("event.duration", 7000.into()),
            ("labels.model", "m\"x".into()),
            ("labels.model_version", "2".into()),
        ] {
            assert_eq!(line[key], value, "{key}: {text}");
        }
        let json = LogChange { form: Some(LogForm::Json), ..LogChange::default() };
        assert_eq!(control.change(json).unwrap().form, LogForm::Json);
    }
}
