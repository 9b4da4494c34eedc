//! `galen profile`: sends training rows through a version, as `serve` would, and writes what inputs
//! and outputs look like.

mod rows;
mod source;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use super::args::ProfileArgs;
use super::check::{PATIENCE, loaded};
use super::{failure, runtime, usage};
use crate::config::{Config, ControlMode};
use crate::error::{Error, Result, quoted};
use crate::infer::{InferRequest, RequestContext};
use crate::model::profile::{
    self, BYTES_MAX, Collector, FILE, Profile, SCHEMA, Side, Slots, Source, Vector, Window,
};
use crate::model::{ModelName, Selector, Version};
use crate::observe::telemetry;
use crate::service::Target;
use crate::stats::components::WIDTH_MAX;
use crate::tensor::{NamedTensor, Tensor};
use rows::{Layout, StandIns};
use source::Table;

pub fn run(args: ProfileArgs) -> ExitCode {
    let (model, version) = match named(&args.model) {
        Ok(named) => named,
        Err(error) => return usage(&error),
    };
    let (data, held_out, out) = (args.data.clone(), args.held_out.clone(), args.out.clone());
    let (components, samples) = (args.components, args.samples.map_or(0, usize::from));
    let mut overlay = args.into_overlay();
    // What goes wrong is said here.
    overlay.log_filter.get_or_insert_with(|| "off".to_owned());
    let mut config = match Config::load(overlay) {
        Ok(config) => config,
        Err(error) => return usage(&error),
    };
    config.registry.control = ControlMode::Explicit;
    config.registry.startup = vec![model.to_string()];
    let _log = match telemetry::install(&config.log) {
        Ok(guard) => guard,
        Err(error) => return usage(&error),
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return failure(&error),
    };
    let job = Job { model, version, data, held_out, out, components, samples };
    match runtime.block_on(job.run(&config)) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => failure(&error),
    }
}

/// MODEL or MODEL/VERSION.
fn named(text: &str) -> Result<(ModelName, Option<Version>)> {
    let (model, version) = match text.split_once('/') {
        Some((model, version)) => (model, Some(Version::parse(version))),
        None => (text, None),
    };
    match (ModelName::new(model), version) {
        (Some(model), None) => Ok((model, None)),
        (Some(model), Some(Some(version))) => Ok((model, Some(version))),
        _ => Err(Error::invalid(format!(
            "'{}': expected MODEL or MODEL/VERSION, as breast-cancer/2",
            quoted(text)
        ))),
    }
}

struct Job {
    model: ModelName,
    version: Option<Version>,
    data: PathBuf,
    held_out: Option<PathBuf>,
    out: Option<PathBuf>,
    components: u8,
    /// Raw values of a column; 0 for none.
    samples: usize,
}

impl Job {
    async fn run(self, config: &Config) -> Result<String> {
        // Opened first: a wrong path is told before a model is loaded.
        let mut table = Table::open(&self.data)?;
        let mut held_out = self.held_out.as_deref().map(Table::open).transpose()?;
        let service = loaded(config).await?.service;
        let selector = self.version.map_or(Selector::Latest, Selector::Exact);
        let target = service.resolve(self.model.as_str(), selector).map_err(|error| {
            let status = service.catalog().into_iter().find(|model| model.name == self.model);
            let problem = status.and_then(|model| {
                let versions = model.versions.into_iter();
                let asked = |version: &Version| self.version.is_none_or(|asked| asked == *version);
                let mut reasons = versions.filter(|v| asked(&v.version)).filter_map(|v| v.reason);
                model.problem.or_else(|| reasons.next_back())
            });
            problem.map_or(error, Error::invalid)
        })?;

        let (mut profile, notes) = profile_of(&target, &mut table, &self).await?;
        if let Some(table) = &mut held_out {
            hold_out(&mut profile, &target, table).await?;
        }
        let id = target.id();
        let folder =
            || config.registry.models.join(&*id.name.to_string()).join(id.version.to_string());
        let path = self.out.clone().unwrap_or_else(|| folder().join(FILE));
        write(&path, profile.to_json()?.as_bytes())?;
        Ok(format!(
            "{notes}{id}: {} rows, {} features and {} outputs written to {}",
            profile.source.rows,
            profile.features.len(),
            profile.outputs.len(),
            path.display()
        ))
    }
}

/// The profile, and what the user should know of their data.
async fn profile_of(target: &Target, table: &mut Table, job: &Job) -> Result<(Profile, String)> {
    let contract = target.contract();
    let vectors = |side| match job.components {
        0 => Vec::new(),
        _ => Vector::all(contract, side),
    };
    let (given, answered) = (vectors(Side::Input), vectors(Side::Output));
    let too_long: Vec<Vector> =
        given.iter().chain(&answered).filter(|vector| vector.is_too_long()).cloned().collect();
    let collector = |slots: Slots, vectors, side| -> Result<Collector> {
        let slots = slots.with_free_texts(|_| true)?;
        let collector = Collector::new(slots).projecting(vectors, usize::from(job.components));
        Ok(collector.sampling(side, job.samples))
    };
    let mut features = collector(Slots::inputs(contract)?, given, Side::Input)?;
    let mut outputs = collector(Slots::outputs(contract)?, answered, Side::Output)?;
    let ignored = each_batch(target, table, |inputs, missing, answer| {
        features.observe(inputs, |slot, row| missing.contains(&(slot.tensor, slot.take, row)))?;
        outputs.observe(answer, |_, _| false)
    })
    .await?;
    let mut notes = String::new();
    for (name, count) in features.out_of_range() {
        notes += &format!("note     '{name}': {count} values lie outside the declared range\n");
    }
    for Vector { name, width, .. } in too_long {
        notes += &format!(
            "note     '{name}': vectors of {width} numbers are longer than the {WIDTH_MAX} whose \
             norm and principal components are watched\n"
        );
    }
    if !ignored.is_empty() {
        notes += &format!("note     columns that are no feature: {}\n", ignored.join(", "));
    }
    let source = source_of(table)?;
    let (features, outputs) = (features.finish()?, outputs.finish()?);
    let profile = Profile {
        schema: SCHEMA.to_owned(),
        source,
        model_sha256: target.digest().map(str::to_owned),
        held_out: None,
        projections: [features.projections, outputs.projections].concat(),
        samples: features.samples.and(outputs.samples),
        features: features.features,
        outputs: outputs.features,
    };
    // What is written must be what is read.
    let text = profile.to_json()?;
    if job.samples > 0 && text.len() as u64 > BYTES_MAX {
        return Err(Error::too_large(format!(
            "the profile would have more than {BYTES_MAX} bytes. Fix: fewer --samples"
        )));
    }
    Ok((Profile::parse(text.as_bytes(), contract)?, notes))
}

/// Sets the limits of alerts by rows that the version was not trained on.
async fn hold_out(profile: &mut Profile, target: &Target, table: &mut Table) -> Result<()> {
    let contract = target.contract();
    let mut window = Window::new(profile, contract)?;
    each_batch(target, table, |inputs, _, answer| {
        window.observe_inputs(inputs);
        window.observe_outputs(answer);
        Ok(())
    })
    .await?;
    let source = source_of(table)?;
    if source.sha256 == profile.source.sha256 {
        return Err(Error::invalid(
            "--held-out: these are the rows of --data; expected rows that were held out of \
             training",
        ));
    }
    profile.hold_out(source, &window);
    *profile = Profile::parse(profile.to_json()?.as_bytes(), contract)?;
    Ok(())
}

/// Sends all rows through the version, and tells them with their answers. Gives back the columns
/// that are no feature.
async fn each_batch(
    target: &Target,
    table: &mut Table,
    mut seen: impl FnMut(&[Tensor], &StandIns, &[Tensor]) -> Result<()>,
) -> Result<Vec<String>> {
    let contract = target.contract();
    let layout = Layout::new(contract, target.signature(), table.header())?;
    table.select(&layout.used())?;
    loop {
        let mut batch = layout.batch();
        while batch.rows() < contract.records_max {
            let Some(row) = table.next()? else { break };
            batch.push(&row)?;
        }
        if batch.rows() == 0 {
            return Ok(layout.ignored().to_vec());
        }
        let last = table.rows();
        let (inputs, missing) = batch.finish()?;
        let answer = answer(target, inputs.clone()).await.map_err(|error| {
            let message = format!("the rows up to {last} were refused: {}", error.message());
            Error::invalid(message)
        })?;
        seen(&inputs, &missing, &answer)?;
    }
}

/// Where rows came from, if there are enough of them.
fn source_of(table: &mut Table) -> Result<Source> {
    let (rows, sha256) = table.finish()?;
    let name = table.name().to_owned();
    if rows < profile::ROWS_MIN {
        return Err(Error::invalid(format!(
            "{name} has {rows} rows; a profile needs {}, or it could disclose somebody",
            profile::ROWS_MIN
        )));
    }
    Ok(Source { name, rows, sha256 })
}

async fn answer(target: &Target, inputs: Vec<Tensor>) -> Result<Vec<Tensor>> {
    let specs = target.signature().inputs.iter();
    let named = specs.zip(inputs).map(|(spec, tensor)| {
        let name = spec.name.clone();
        NamedTensor { name, tensor }
    });
    let request = InferRequest { inputs: named.collect(), ..InferRequest::default() };
    let context = RequestContext::internal("profile", Instant::now(), PATIENCE);
    let answer = target.infer(&context, request).await?;
    Ok(answer.outputs.into_iter().map(|output| output.tensor).collect())
}

/// Writes the whole file or none: beside it first, then renamed.
fn write(path: &Path, text: &[u8]) -> Result<()> {
    let failed = |error: std::io::Error| {
        Error::invalid(format!("{} could not be written: {error}", path.display()))
    };
    // A server that watches the directory does not see names with this end.
    let mut beside = path.as_os_str().to_owned();
    beside.push(".tmp");
    let written = std::fs::File::create(&beside).and_then(|mut file| {
        file.write_all(text)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    });
    written.map_err(|error| {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&beside);
        failed(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_may_name_its_version() {
        let read =
            |text: &str| named(text).ok().map(|(m, v)| (m.to_string(), v.map(|v| v.number())));
        assert_eq!(read("a"), Some(("a".into(), None)));
        assert_eq!(read("a/2"), Some(("a".into(), Some(2))));
        for bad in ["", "/", "a/", "a/x", "a/0", "a/1/2", "../a"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
