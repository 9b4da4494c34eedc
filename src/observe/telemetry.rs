//! Logs: text on a terminal, JSON lines otherwise, to standard error. Writing happens on a thread
//! of its own with a bounded buffer, so that a slow reader of the log never slows a request; lines
//! that do not fit are dropped and counted by the writer.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::{LogConfig, LogFormat};
use crate::error::{Error, Result};

pub use super::lines::LogGuard;
use super::{json_line, lines};

/// Installs the process's log. May be called once.
pub fn install(config: &LogConfig) -> Result<LogGuard> {
    let filter = EnvFilter::try_new(&config.filter)
        .map_err(|error| Error::invalid(format!("log filter: {error}")))?;
    let terminal = std::io::stderr().is_terminal();
    let (writer, guard) = lines::start()
        .map_err(|error| Error::internal("the log's thread did not start").with_detail(error))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::NONE)
        .with_writer(writer);
    let text = match config.format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let installed = if text {
        builder.with_ansi(terminal).with_target(false).try_init()
    } else {
        builder.event_format(json_line::JsonLine).try_init()
    };
    installed
        .map_err(|error| Error::internal("the log is already installed").with_detail(error))?;
    std::panic::set_hook(Box::new(panicked));
    Ok(guard)
}

/// A panic is logged by its place alone: its text can hold a value that a patient sent.
fn panicked(info: &std::panic::PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    tracing::error!(place, thread = thread.name().unwrap_or_default(), "a panic");
}
