//! One model looked at from close by: its versions are loaded one after another, as a server would,
//! and let go. For tools that explain; nothing here serves.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::describe;
use super::files::Root;
use super::labels::LabelStore;
use super::layout::Layout;
use super::lifecycle::VersionState;
use super::loader::{Loader, Order};
use super::memory::Loads;
use super::scan::{Candidate, scan};
use super::servable::Servable;
use super::source::{Found, aspired};
use super::table::{ModelEntry, ModelTable, TableReader, VersionEntry};
use crate::backend::Engines;
use crate::cache::ResponseCache;
use crate::config::RegistryConfig;
use crate::error::{Error, Result, nearest, quoted};
use crate::event::Unobserved;
use crate::model::ensemble::Ensemble;
use crate::model::manifest::BackendChoice;
use crate::model::{Label, Manifest, ModelId, ModelName, Selector, Signature, Version};

/// Ensembles of ensembles that are followed.
const DEPTH_MAX: usize = 8;

/// What was found out about one model.
pub struct Inspection {
    pub name: ModelName,
    /// The name of the configuration file, where there is one.
    pub config_file: Option<&'static str>,
    /// What was asked for; the default where the file can not be used.
    pub manifest: Manifest,
    pub labels: BTreeMap<Label, Version>,
    /// Why no version can be tried.
    pub problem: Option<Error>,
    /// All that lie there.
    pub versions: Vec<Version>,
    /// Those that were looked at.
    pub inspected: Vec<Inspected>,
    /// Those that would serve.
    pub wanted: BTreeSet<Version>,
    /// Name and platform of the engine that the configuration gets, or why it gets none.
    pub engine: Result<(&'static str, &'static str)>,
    /// Why ONNX Runtime is not to be had, where it is not.
    pub onnxruntime_missing: Option<Error>,
}

/// What was found out about one version.
pub struct Inspected {
    pub version: Version,
    /// The signature in the model file, where it came that far.
    pub found: Option<Signature>,
    pub outcome: Result<Servable>,
    /// Whether each engine would serve it, by its name; none for an ensemble.
    pub engines: Vec<(&'static str, Result<()>)>,
}

/// Looks at a model, or at one version of it. A name that is none is an error that says which one
/// may have been meant.
pub fn inspect(
    config: &RegistryConfig,
    engines: Engines,
    model: &str,
    version: &str,
) -> Result<Inspection> {
    let root = Root::open(&config.models)?;
    let scan = scan(&root, &config.models, config.model_name.as_ref(), &|_| None)?;
    let candidates = scan.candidates;
    let names: Vec<ModelName> = candidates.iter().map(|found| found.name.clone()).collect();
    let found = candidates.iter().find(|found| found.name.as_str() == model);
    let candidate = found.ok_or_else(|| unknown_model(config, model, &names))?;
    let Candidate { name, layout, manifest, versions, .. } = candidate;
    let (name, layout) = (name.clone(), *layout);
    let manifest = manifest.clone().unwrap_or_else(|| Ok(Manifest::default()));
    let (manifest, mut problem) = match manifest {
        Ok(manifest) => (manifest, None),
        Err(error) => (Manifest::default(), Some(error)),
    };
    let labels = LabelStore::open(&config.state)?.of(&name, &manifest);
    let versions: Vec<Version> = versions.iter().map(|(version, _)| *version).collect();
    let asked = match Selector::parse(model, version)? {
        Selector::Latest => None,
        Selector::Exact(version) => Some(version),
        Selector::Label(label) => Some(*labels.get(label).ok_or_else(|| {
            let near = nearest(label, labels.keys().map(Label::as_str));
            Error::not_found(format!("model '{name}' has no label '{label}'{}", hint(near)))
        })?),
    };
    if let Some(asked) = asked.filter(|asked| !versions.contains(asked)) {
        return Err(unknown_version(&name, asked, &versions));
    }
    if versions.is_empty() && problem.is_none() {
        let message = "no version: expected a folder named by a positive integer, such as 1/";
        problem = Some(Error::invalid(message));
    }

    let config_file = describe::file(&config.models.join(layout.model(&name)));
    let loader = Loader {
        root,
        engines,
        model_bytes_max: config.model_bytes_max,
        digests: config.digests,
        observe: Arc::new(Unobserved),
        loads: Loads::default(),
        table: TableReader::default(),
        cache: ResponseCache::new(0),
    };
    let shared = Arc::new(manifest.clone());
    let newest = versions.last().copied().or_else(|| Version::new(1));
    let newest = newest.map(|version| order(&name, version, layout, &shared));
    let engine = newest.map_or_else(
        || Err(Error::not_found("no version")),
        |order| loader.engine(&order).map(|engine| (engine.name(), engine.platform())),
    );
    let onnxruntime_missing = loader.engines.onnxruntime_missing().cloned();
    load_parts(&loader, &candidates, &manifest, DEPTH_MAX);
    let looked_at = versions.iter().filter(|_| problem.is_none());
    let looked_at = looked_at.filter(|version| asked.is_none_or(|asked| asked == **version));
    let ordered = looked_at.map(|version| order(&name, *version, layout, &shared));
    let inspected: Vec<Inspected> = ordered.map(|order| compared(&loader, &order)).collect();
    let found: Vec<Found> = (versions.iter())
        .map(|version| {
            let failed = |one: &Inspected| one.version == *version && one.outcome.is_err();
            Found { version: *version, quiet: true, failed: inspected.iter().any(failed) }
        })
        .collect();
    let labelled: Vec<Version> = labels.values().copied().collect();
    let wanted = match aspired(&manifest.version_policy, &found, &labelled) {
        Ok(wanted) => wanted,
        Err(error) => {
            problem.get_or_insert(error);
            BTreeSet::new()
        }
    };
    Ok(Inspection {
        name,
        config_file,
        manifest,
        labels,
        problem,
        versions,
        inspected,
        wanted,
        engine,
        onnxruntime_missing,
    })
}

/// Loads what an ensemble is made of, so that it can be held against it.
fn load_parts(loader: &Loader, candidates: &[Candidate], manifest: &Manifest, depth: usize) {
    let parts = manifest.ensemble.as_ref().map(Ensemble::models).unwrap_or_default();
    for part in parts.iter().filter(|_| depth > 0) {
        let Some(candidate) = candidates.iter().find(|found| found.name == *part) else { continue };
        let Some(Ok(manifest)) = candidate.manifest.clone().or(Some(Ok(Manifest::default())))
        else {
            continue;
        };
        load_parts(loader, candidates, &manifest, depth - 1);
        let manifest = Arc::new(manifest);
        let mut entry = ModelEntry::default();
        for (version, _) in &candidate.versions {
            let order = order(part, *version, candidate.layout, &manifest);
            let outcome = look(loader, &order).outcome;
            let reason = outcome.as_ref().err().map(|error| error.message().to_owned());
            let state = if outcome.is_ok() { VersionState::Ready } else { VersionState::Failed };
            let servable = outcome.ok().map(Arc::new);
            entry.versions.insert(*version, VersionEntry { state, reason, servable });
        }
        let mut table = ModelTable::clone(&loader.table.load_full());
        table.models.insert(part.clone(), entry);
        loader.table.publish(table);
    }
}

/// A version as it would serve, and on every engine.
fn compared(loader: &Loader, order: &Order) -> Inspected {
    let mut seen = look(loader, order);
    let manifest = &order.manifest;
    if manifest.ensemble.is_some() || manifest.backend == BackendChoice::Identity {
        return seen;
    }
    let own = seen.outcome.as_ref().map(|servable| servable.backend).ok();
    seen.engines = [BackendChoice::Onnxruntime, BackendChoice::Tract, BackendChoice::Candle]
        .into_iter()
        .map(|backend| {
            if own == Some(backend.name()) {
                return (backend.name(), Ok(()));
            }
            let manifest = Arc::new(Manifest { backend, ..Manifest::clone(manifest) });
            let outcome = look(loader, &Order { manifest, ..order.clone() }).outcome;
            (backend.name(), outcome.map(|_| ()))
        })
        .collect();
    seen
}

fn look(loader: &Loader, order: &Order) -> Inspected {
    let found = RefCell::new(None);
    let load = || loader.load(order, &|_| {}, &|seen| *found.borrow_mut() = Some(seen.clone()));
    let outcome = catch_unwind(AssertUnwindSafe(load))
        .unwrap_or_else(|_| Err(Error::invalid("the engine panicked while it loaded the model")));
    let version = order.id.version;
    Inspected { version, found: found.into_inner(), outcome, engines: Vec::new() }
}

fn order(name: &ModelName, version: Version, layout: Layout, manifest: &Arc<Manifest>) -> Order {
    let id = ModelId { name: name.clone(), version };
    Order { id, manifest: Arc::clone(manifest), memory: None, layout }
}

fn unknown_model(config: &RegistryConfig, model: &str, names: &[ModelName]) -> Error {
    let near = nearest(model, names.iter().map(ModelName::as_str));
    Error::not_found(format!(
        "there is no model '{}' in {}{}",
        quoted(model),
        config.models.display(),
        hint(near)
    ))
}

fn unknown_version(name: &ModelName, asked: Version, versions: &[Version]) -> Error {
    let near = versions.iter().min_by_key(|version| version.number().abs_diff(asked.number()));
    let near = near.map(Version::to_string);
    let hint = hint(near.as_deref());
    Error::not_found(format!("model '{name}' has no version {asked}{hint}"))
}

fn hint(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!("; did you mean '{near}'?"))
}
