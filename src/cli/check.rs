//! `galen check`: loads every model as `serve` would, runs its examples, and reports.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::args::CheckArgs;
use super::{failure, runtime, usage};
use crate::app::{Loaded, load};
use crate::backend::Engines;
use crate::config::{Config, RegistryConfig};
use crate::error::{Error, Result};
use crate::model::Selector;
use crate::observe::metrics::Metrics;
use crate::observe::telemetry::{self, LogControl};
use crate::registry::{Inspected, inspect};
use crate::service::{ModelStatus, Service, VersionStatus};

/// How long one engine call may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub fn run(args: CheckArgs) -> ExitCode {
    let tries_engines = args.engines;
    let mut overlay = args.into_overlay();
    // The report says what the log would.
    overlay.log_filter.get_or_insert_with(|| "off".to_owned());
    let config = match Config::load(overlay) {
        Ok(config) => config,
        Err(error) => return usage(&error),
    };
    let _guard = match telemetry::install(&config.log) {
        Ok((guard, _)) => guard,
        Err(error) => return usage(&error),
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return failure(&error),
    };
    let Loaded { service, engines, .. } = match runtime.block_on(loaded(&config)) {
        Ok(loaded) => loaded,
        Err(error) => return usage(&error),
    };
    let mut report = Report::default();
    for model in service.catalog() {
        runtime.block_on(report.model(&service, &model));
        if tries_engines {
            print_engines(&config.registry, &engines, model.name.as_str());
        }
    }
    report.close()
}

/// How every version of a model does on every engine.
fn print_engines(registry: &RegistryConfig, engines: &Engines, model: &str) {
    // What keeps a model from being looked at is in the report already.
    let Ok(inspection) = inspect(registry, engines.clone(), model, "") else { return };
    for Inspected { version, engines, .. } in &inspection.inspected {
        for (engine, outcome) in engines {
            let says = outcome.as_ref().map_or_else(Error::message, |()| "serves");
            println!("         {model}/{version} on {engine}: {says}");
        }
    }
}

/// The registry once nothing more will happen to it.
pub(super) async fn loaded(config: &Config) -> Result<Loaded> {
    let metrics = Arc::new(Metrics::unread()?);
    let mut loaded =
        load(&config.registry, None, true, metrics, None, None, LogControl::default())?;
    let settled = loaded.progress.wait_for(|progress| progress.settled).await;
    settled.map_err(|_| Error::internal("loading ended early"))?;
    Ok(loaded)
}

#[derive(Default)]
struct Report {
    errors: usize,
    warnings: usize,
    versions: usize,
}

impl Report {
    async fn model(&mut self, service: &Service, model: &ModelStatus) {
        if let Some(problem) = &model.problem {
            self.error(model.name.as_str(), problem);
        }
        for version in &model.versions {
            self.version(service, model, version).await;
        }
    }

    async fn version(&mut self, service: &Service, model: &ModelStatus, version: &VersionStatus) {
        self.versions += 1;
        let id = format!("{}/{}", model.name, version.version);
        let selector = Selector::Exact(version.version);
        let target = match service.resolve(model.name.as_str(), selector) {
            Ok(target) => target,
            Err(error) => {
                self.error(&id, version.reason.as_deref().unwrap_or(error.message()));
                return;
            }
        };
        match target.compare_with_examples(PATIENCE).await {
            Ok(None) => {
                self.warnings += 1;
                println!(
                    "warning  {id}: serves on {}, but has no examples.json to compare it with",
                    target.backend()
                );
            }
            Ok(Some(agreement)) => println!(
                "ok       {id}: serves on {}; {} examples agree, largest difference {:.1e} \
                 (tolerance {:.1e})",
                target.backend(),
                agreement.rows,
                agreement.difference,
                agreement.tolerance
            ),
            Err(error) => self.error(&id, error.message()),
        }
    }

    fn error(&mut self, place: &str, text: &str) {
        self.errors += 1;
        println!("error    {place}: {text}");
    }

    fn close(self) -> ExitCode {
        println!("{} versions, {} errors, {} warnings", self.versions, self.errors, self.warnings);
        if self.errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
