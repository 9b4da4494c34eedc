//! What is there: models, versions, states, and whether the server is ready.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Service, Target};
use crate::error::{Error, Result};
use crate::model::{Label, ModelName, Selector, Version};
use crate::registry::{ModelEntry, VersionEntry, VersionState};

/// Whether the server is ready, and if not, why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    pub ready: bool,
    /// Models and versions that do not answer, with the reason. May be there while `ready`.
    pub not_ready: Vec<(String, String)>,
}

/// One model of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelStatus {
    pub name: ModelName,
    /// Why no version can be tried.
    pub problem: Option<String>,
    /// In ascending order.
    pub versions: Vec<VersionStatus>,
    pub labels: BTreeMap<Label, Version>,
}

/// One version of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionStatus {
    pub version: Version,
    pub state: VersionState,
    pub reason: Option<String>,
}

/// A ready version together with all ready versions of its model: what metadata shows.
pub struct ModelView {
    pub target: Target,
    /// The versions that answer, in ascending order; only the asked one if one was asked for.
    pub versions: Vec<Version>,
}

impl Service {
    /// Ready: loading is over, at least one model answers (or none ought to, as before the first
    /// call to load one), and the server is not shutting down. Strict: every version that ought to
    /// serve does.
    pub fn readiness(&self) -> Readiness {
        let table = self.0.table.load();
        let mut not_ready = Vec::new();
        let mut any = false;
        for (name, entry) in &table.models {
            any |= entry.latest().is_some();
            not_ready.extend(problems(name, entry));
        }
        let complete = not_ready.is_empty() || (any && !self.0.readiness_strict);
        if self.is_draining() {
            not_ready.insert(0, ("server".to_owned(), "shutting down".to_owned()));
        }
        Readiness { ready: table.settled && complete && !self.is_draining(), not_ready }
    }

    /// Whether this model (or version) answers; an unknown one is an error.
    pub fn is_model_ready(&self, name: &str, selector: Selector<'_>) -> Result<bool> {
        let table = self.0.table.load();
        let resolved = table.resolve(name, selector);
        let is_known = table.models.get(name).is_some_and(|model| match selector {
            Selector::Latest => true,
            Selector::Exact(version) => model.versions.contains_key(&version),
            Selector::Label(label) => model.labels.contains_key(label),
        });
        match resolved {
            Ok(_) => Ok(!self.is_draining()),
            Err(_) if is_known => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A version that answers, with its siblings, for metadata.
    pub fn view(&self, name: &str, selector: Selector<'_>) -> Result<ModelView> {
        let target = self.resolve(name, selector)?;
        let table = self.0.table.load();
        let versions = match (selector, table.models.get(name)) {
            (Selector::Latest, Some(entry)) => ready_versions(entry),
            _ => vec![target.id().version],
        };
        Ok(ModelView { target, versions })
    }

    /// All models, in order of name.
    pub fn catalog(&self) -> Vec<ModelStatus> {
        self.0.table.load().models.iter().map(|(name, entry)| status(name, entry)).collect()
    }

    /// One model, whether or not it answers.
    pub fn model(&self, name: &str) -> Result<ModelStatus> {
        let table = self.0.table.load();
        match table.models.get_key_value(name) {
            Some((name, entry)) => Ok(status(name, entry)),
            // The table has the words for a model that is not there.
            None => Err(table
                .resolve(name, Selector::Latest)
                .map(|_| ())
                .err()
                .unwrap_or_else(|| Error::internal("a model came while it was looked for"))),
        }
    }

    /// Every version that answers, models in order of name, versions ascending.
    pub fn targets(&self) -> Vec<Target> {
        let table = self.0.table.load();
        let servables = table.models.values().flat_map(|entry| entry.versions.values());
        servables
            .filter_map(|entry| entry.servable.as_ref().map(Arc::clone))
            .map(Target::of)
            .collect()
    }
}

fn status(name: &ModelName, entry: &ModelEntry) -> ModelStatus {
    let versions = entry.versions.iter().map(|(version, entry)| VersionStatus {
        version: *version,
        state: entry.state,
        reason: entry.reason.clone(),
    });
    ModelStatus {
        name: name.clone(),
        problem: entry.problem.clone(),
        versions: versions.collect(),
        labels: entry.labels.clone(),
    }
}

/// Whether a version does not answer although it ought to.
fn misses(entry: &VersionEntry) -> bool {
    entry.servable.is_none() && !entry.state.is_retired()
}

fn ready_versions(entry: &ModelEntry) -> Vec<Version> {
    let ready = entry.versions.iter().filter(|(_, entry)| entry.servable.is_some());
    ready.map(|(version, _)| *version).collect()
}

fn problems(name: &ModelName, entry: &ModelEntry) -> Vec<(String, String)> {
    let own = entry.problem.iter().map(|problem| (name.to_string(), problem.clone()));
    let versions =
        entry.versions.iter().filter(|(_, entry)| misses(entry)).map(|(version, entry)| {
            let reason = entry.reason.clone().unwrap_or_else(|| entry.state.to_string());
            (format!("{name}/{version}"), reason)
        });
    own.chain(versions).collect()
}
