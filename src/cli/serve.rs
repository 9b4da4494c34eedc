//! `galen serve`: configuration, log, runtime, and the signals that end it.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::args::ServeArgs;
use super::{failure, progress, usage};
use crate::app::App;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::observe::telemetry::{self, LogControl};

pub fn run(args: ServeArgs) -> ExitCode {
    let config = match Config::load(args.into_overlay()) {
        Ok(config) => config,
        Err(error) => return usage(&error),
    };
    let (_guard, log) = match telemetry::install(&config.log) {
        Ok(installed) => installed,
        Err(error) => return usage(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let reason = Error::internal("the runtime could not be started").with_detail(error);
            return failure(&reason);
        }
    };
    match runtime.block_on(serve(&config, log)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // The registry is not there, or an address is taken: what was asked for can not be done.
        Err(error) if error.kind() == ErrorKind::InvalidInput => usage(&error),
        Err(error) => failure(&error),
    }
}

async fn serve(config: &Config, log: LogControl) -> Result<bool> {
    // Before anything else: a signal that comes while models load must be heard.
    let stop = stop_signal()?;
    let app = App::start(config, log).await?;
    let shown = tokio::spawn(progress::show(app.progress()));
    let drained = app.run(stop).await;
    shown.abort();
    Ok(drained)
}

/// Resolves at the first SIGTERM or SIGINT.
fn stop_signal() -> Result<impl Future<Output = ()>> {
    let failed = |error: std::io::Error| {
        Error::internal("signals can not be listened for").with_detail(error)
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
