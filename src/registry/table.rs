//! The table of models: an immutable snapshot behind an atomic swap. Readers take no lock; the
//! manager is the one writer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use arc_swap::{ArcSwap, Guard};

use super::lifecycle::VersionState;
use super::route::Route;
use super::servable::Servable;
use crate::error::{Error, Result, quoted};
use crate::model::{Label, ModelName, Selector, Version};

/// One version of a model, as the table shows it.
#[derive(Clone)]
pub struct VersionEntry {
    pub state: VersionState,
    /// Why it failed; or, while it serves, why what lies there now could not replace it.
    pub reason: Option<String>,
    /// There exactly while the state is `Ready`.
    pub servable: Option<Arc<Servable>>,
}

/// One model, as the table shows it.
#[derive(Clone, Default)]
pub struct ModelEntry {
    /// Why no version of it can even be tried.
    pub problem: Option<String>,
    pub versions: BTreeMap<Version, VersionEntry>,
    pub labels: BTreeMap<Label, Version>,
    /// Where its unversioned requests go; `None`: to the highest version that is ready.
    pub route: Option<Arc<Route>>,
    /// The models that an ensemble is made of; none for a model with an engine.
    pub parts: Vec<ModelName>,
}

impl ModelEntry {
    /// The highest version that is ready.
    pub fn latest(&self) -> Option<&Arc<Servable>> {
        self.versions.values().rev().find_map(|entry| entry.servable.as_ref())
    }

    pub fn ready(&self, version: Version) -> Option<&Arc<Servable>> {
        self.versions.get(&version)?.servable.as_ref()
    }

    /// What answers a request that names no version. A destination that is not ready does not
    /// make the model refuse: the highest version that is ready stands in.
    pub fn base(&self) -> Option<&Arc<Servable>> {
        let steered = self.route.as_ref().and_then(|route| route.base);
        steered.and_then(|version| self.ready(version)).or_else(|| self.latest())
    }
}

/// A snapshot of all models.
#[derive(Clone, Default)]
pub struct ModelTable {
    pub models: BTreeMap<ModelName, ModelEntry>,
    /// Whether every version that was there at the start has been tried.
    pub settled: bool,
}

impl ModelTable {
    /// The way from the model `from` to the model `to` through ensembles, if there is one.
    pub fn path(&self, from: &ModelName, to: &ModelName) -> Option<Vec<ModelName>> {
        let mut ways = vec![vec![from.clone()]];
        let mut seen = BTreeSet::new();
        while let Some(way) = ways.pop() {
            let last = way.last()?;
            if last == to {
                return Some(way);
            }
            let next = self.models.get(last).map(|entry| &entry.parts[..]).unwrap_or_default();
            for part in next.iter().filter(|part| seen.insert((*part).clone())) {
                ways.push(way.iter().chain([part]).cloned().collect());
            }
        }
        None
    }

    /// The servable a request means. The words are Triton's: its clients match on them.
    pub fn resolve(&self, name: &str, selector: Selector<'_>) -> Result<&Arc<Servable>> {
        self.find(name, selector).map(|(_, servable)| servable)
    }

    /// The same, with its model.
    pub fn find(
        &self,
        name: &str,
        selector: Selector<'_>,
    ) -> Result<(&ModelEntry, &Arc<Servable>)> {
        let model = self.models.get(name).ok_or_else(|| unknown(name, "is not found"))?;
        Ok((model, model.choose(name, selector)?))
    }
}

impl ModelEntry {
    /// The version that a selector means, of the model called `name`.
    fn choose(&self, name: &str, selector: Selector<'_>) -> Result<&Arc<Servable>> {
        let version = match selector {
            Selector::Latest => return self.base().ok_or_else(|| none_of(name, self)),
            Selector::Exact(version) => version,
            Selector::Label(label) => match self.labels.get(label) {
                Some(version) => *version,
                None => return Err(unknown(name, &format!("label '{label}' is not found"))),
            },
        };
        match self.versions.get(&version) {
            Some(entry) if !entry.state.is_retired() => entry.servable.as_ref().ok_or_else(|| {
                let why = format!("is not at ready state: it is {}", entry.state);
                Error::not_ready(format!("model '{name}', version {version} {why}"))
            }),
            _ => Err(unknown(name, &format!("version {version} is not found"))),
        }
    }
}

/// A model, or something of it, that is not there; in Triton's words.
pub(super) fn unknown(name: &str, what: &str) -> Error {
    Error::not_found(format!("Request for unknown model: '{}' {what}", quoted(name)))
}

/// Why a model that is there has nothing that serves.
fn none_of(name: &str, model: &ModelEntry) -> Error {
    let states = || model.versions.values().map(|entry| entry.state);
    if states().any(VersionState::is_coming) {
        return Error::not_ready(format!("Request for unknown model: '{name}' is still loading"));
    }
    if model.problem.is_none() && states().all(VersionState::is_retired) {
        return unknown(name, "has no available versions");
    }
    Error::not_ready(format!("Request for unknown model: '{name}' has no available versions"))
}

/// The readers' side: cheap to clone, lock-free to read.
#[derive(Clone, Default)]
pub struct TableReader(Arc<ArcSwap<ModelTable>>);

impl TableReader {
    pub fn load(&self) -> Guard<Arc<ModelTable>> {
        self.0.load()
    }

    /// The table to keep for longer than a look.
    pub fn load_full(&self) -> Arc<ModelTable> {
        self.0.load_full()
    }

    /// A way back that does not keep the table alive: for what lies in the table itself.
    pub fn link(&self) -> TableLink {
        TableLink(Arc::downgrade(&self.0))
    }

    /// The writer's side, for the manager alone.
    pub(super) fn publish(&self, table: ModelTable) {
        self.0.store(Arc::new(table));
    }
}

/// A reader that outlives nothing.
#[derive(Clone)]
pub struct TableLink(Weak<ArcSwap<ModelTable>>);

impl TableLink {
    /// `None` once the registry has ended.
    pub fn upgrade(&self) -> Option<TableReader> {
        self.0.upgrade().map(TableReader)
    }
}
