//! `galen explain`: loads one model as `serve` would, and says what was completed and why, what
//! does not fit, and what would.

mod facts;
mod settings;
mod text;

use std::process::ExitCode;

use super::args::ExplainArgs;
use super::{failure, print_json, usage};
use crate::backend::Engines;
use crate::config::Config;
use crate::error::Result;
use crate::observe::telemetry;
use crate::registry::inspect;
use facts::Facts;

pub fn run(args: ExplainArgs) -> ExitCode {
    let (target, json) = (args.model.clone(), args.json);
    let mut overlay = args.into_overlay();
    // The explanation says what the log would.
    overlay.log_filter.get_or_insert_with(|| "off".to_owned());
    let config = match Config::load(overlay) {
        Ok(config) => config,
        Err(error) => return usage(&error),
    };
    let _log = match telemetry::install(&config.log) {
        Ok(guard) => guard,
        Err(error) => return usage(&error),
    };
    let facts = match look(&config, &target) {
        Ok(facts) => facts,
        Err(error) => return usage(&error),
    };
    if json {
        if let Err(error) = print_json(&facts) {
            return failure(&error);
        }
    } else {
        print!("{}", text::render(&facts));
    }
    let failed = facts.versions.iter().any(|version| version.state == "failed");
    if failed || facts.problem.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// `target` is `MODEL` or `MODEL/VERSION`, where the version may be a label.
fn look(config: &Config, target: &str) -> Result<Facts> {
    let (model, version) = target.split_once('/').unwrap_or((target, ""));
    let registry = &config.registry;
    let engines = Engines::probe(registry.backend, &registry.onnxruntime);
    let inspection = inspect(registry, engines, model, version)?;
    Ok(Facts::of(&inspection, registry))
}
