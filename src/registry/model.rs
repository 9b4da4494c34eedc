//! What the worker knows of one model, and what follows from it. Nothing here acts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::fingerprint::Fingerprint;
use super::layout::Layout;
use super::lifecycle::VersionState;
use super::loader::MemoryFiles;
use super::policy::Snapshot;
use super::route::Route;
use super::servable::Servable;
use super::source::{Found, aspired};
use super::steer::Steering;
use super::table::{ModelEntry, VersionEntry};
use crate::error::{Error, ErrorKind, Result};
use crate::model::ensemble::Ensemble;
use crate::model::traffic::Destination;
use crate::model::{Label, Manifest, ModelId, ModelName, Version};

/// Which bytes, under which configuration: what a load is of.
pub type Key = [u8; 32];

/// Failures that may pass are tried again this often, each time after twice the wait.
const RETRIES_MAX: u32 = 5;
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Who decides whether a model serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    /// What lies there.
    Directory,
    /// A call took it out, when it looked like this.
    Unloaded(Option<Key>),
}

/// One version that lies there.
#[derive(Clone, Copy, Debug)]
pub struct Lying {
    pub print: Fingerprint,
    pub quiet: bool,
}

/// What has become of one version.
#[derive(Default)]
pub struct Record {
    pub state: Option<VersionState>,
    pub reason: Option<String>,
    pub servable: Option<Arc<Servable>>,
    /// What serves.
    pub serving: Option<Key>,
    /// What was tried last.
    pub tried: Option<Key>,
    pub loading: bool,
    failures: u32,
    retry_at: Option<Instant>,
}

impl Record {
    /// Takes note of a failed load; only failures that may pass by themselves are tried again.
    pub fn failed(&mut self, error: &Error, now: Instant) {
        self.failures += 1;
        let may_pass = !matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported);
        let again = may_pass && self.failures <= RETRIES_MAX;
        self.retry_at = again.then(|| now + RETRY_AFTER * 2u32.pow(self.failures - 1));
    }

    pub fn succeeded(&mut self) {
        (self.failures, self.retry_at) = (0, None);
    }

    /// What was tried is no hindrance to trying again.
    pub fn forgive(&mut self) {
        (self.tried, self.failures, self.retry_at) = (None, 0, None);
    }

    fn is_due(&self, key: Key, now: Instant) -> bool {
        let untried = self.tried != Some(key);
        !self.loading && self.serving != Some(key) && (untried || self.retries(now))
    }

    /// Tried as it lies there, and nothing came of it.
    fn has_failed(&self, key: Key, now: Instant) -> bool {
        let tried = self.tried == Some(key) && !self.retries(now);
        tried && self.servable.is_none() && !self.loading
    }

    fn retries(&self, now: Instant) -> bool {
        self.retry_at.is_some_and(|at| at <= now)
    }
}

/// One model.
pub struct Model {
    pub name: ModelName,
    pub layout: Layout,
    /// How the configuration looked when it was read.
    pub config: Option<Fingerprint>,
    /// How the files look that the configuration names.
    pub beside: Fingerprint,
    /// The last configuration that could be used.
    pub manifest: Arc<Manifest>,
    /// Why the present one can not be used.
    pub broken: Option<Error>,
    /// A configuration that came with a call.
    pub override_manifest: Option<Arc<Manifest>>,
    /// Files that came with a call, and stand for those of the directory.
    pub memory: Option<Arc<MemoryFiles>>,
    pub lying: BTreeMap<Version, Lying>,
    pub records: BTreeMap<Version, Record>,
    pub labels: BTreeMap<Label, Version>,
    /// Where unversioned requests go.
    pub route: Option<Arc<Route>>,
    pub pin: Pin,
}

impl Model {
    pub fn new(name: ModelName, pin: Pin) -> Self {
        Self {
            name,
            layout: Layout::default(),
            config: None,
            beside: Fingerprint::nothing(),
            manifest: Arc::default(),
            broken: None,
            override_manifest: None,
            memory: None,
            lying: BTreeMap::new(),
            records: BTreeMap::new(),
            labels: BTreeMap::new(),
            route: None,
            pin,
        }
    }

    pub fn id(&self, version: Version) -> ModelId {
        ModelId { name: self.name.clone(), version }
    }

    /// The configuration that holds.
    pub fn effective(&self) -> &Arc<Manifest> {
        self.override_manifest.as_ref().unwrap_or(&self.manifest)
    }

    /// Which bytes, under which configuration, a version is now.
    pub fn key(&self, version: Version) -> Option<Key> {
        let lying = self.lying.get(&version)?;
        let config = match &self.override_manifest {
            // A call's configuration has no file to look at; it is told by what it says.
            Some(manifest) => Fingerprint::of_content(format!("{manifest:?}").as_bytes()),
            None => self.config.unwrap_or_else(Fingerprint::nothing),
        };
        Some(lying.print.with(config.and(self.beside)))
    }

    /// All versions and the configuration in one value: has anything changed?
    pub fn looks(&self) -> Option<Key> {
        let versions =
            self.lying.keys().filter_map(|version| Some((version.number(), self.key(*version)?)));
        let text: Vec<u8> = versions
            .flat_map(|(number, key)| number.to_le_bytes().into_iter().chain(key))
            .collect();
        Some(Fingerprint::of_content(&text).with(Fingerprint::nothing()))
    }

    /// The versions that ought to serve now.
    pub fn aspired(&self, now: Instant) -> Result<BTreeSet<Version>> {
        if self.pin != Pin::Directory {
            return Ok(BTreeSet::new());
        }
        if let (Some(error), true) = (&self.broken, self.override_manifest.is_none()) {
            return Err(error.clone());
        }
        let found: Vec<Found> = (self.lying.iter())
            .map(|(version, lying)| {
                let record = self.records.get(version);
                let serves = record.is_some_and(|record| record.servable.is_some());
                let key = self.key(*version);
                let failed =
                    record.zip(key).is_some_and(|(record, key)| record.has_failed(key, now));
                // What serves goes on while its files are being replaced.
                Found { version: *version, quiet: lying.quiet || serves, failed }
            })
            .collect();
        if found.is_empty() && self.records.is_empty() {
            return Err(Error::invalid(
                "no version: expected a folder named by a positive integer, such as 1/",
            ));
        }
        let steered = self.route.iter().flat_map(|route| route.versions());
        let named: Vec<Version> = self.labels.values().copied().chain(steered).collect();
        aspired(&self.effective().version_policy, &found, &named)
    }

    /// What the policy is shown. A model whose configuration is broken stays as it is.
    pub fn snapshots(&self, now: Instant) -> Vec<Snapshot> {
        let aspired = self.aspired(now);
        let versions: BTreeSet<Version> =
            self.lying.keys().chain(self.records.keys()).copied().collect();
        let of = |version: Version| {
            let record = self.records.get(&version);
            let serving = record.is_some_and(|record| record.servable.is_some());
            let (wanted, broken) = match &aspired {
                Ok(aspired) => (aspired.contains(&version), false),
                Err(_) => (serving, true),
            };
            let quiet = self.lying.get(&version).is_some_and(|lying| lying.quiet);
            let due = self
                .key(version)
                .is_some_and(|key| record.is_none_or(|record| record.is_due(key, now)));
            Snapshot {
                id: self.id(version),
                aspired: wanted,
                serving,
                loading: record.is_some_and(|record| record.loading),
                due: due && quiet && !broken,
            }
        };
        versions.into_iter().map(of).collect()
    }

    /// Whether nothing more will happen to it by itself, as things lie now.
    pub fn is_settled(&self, now: Instant) -> bool {
        let busy = |version: &Snapshot| version.loading || (version.aspired && version.due);
        !self.snapshots(now).iter().any(busy)
    }

    /// Whether something here may still be written to.
    pub fn is_unquiet(&self) -> bool {
        self.pin == Pin::Directory && self.lying.values().any(|lying| !lying.quiet)
    }

    /// What the table shows.
    pub fn entry(&self, now: Instant) -> ModelEntry {
        let problem = self.aspired(now).err().map(|error| error.message().to_owned());
        let mut versions = BTreeMap::new();
        for (version, record) in &self.records {
            let Some(state) = record.state else { continue };
            let entry = VersionEntry {
                state,
                reason: record.reason.clone(),
                servable: record.servable.clone(),
            };
            versions.insert(*version, entry);
        }
        ModelEntry {
            problem,
            versions,
            labels: self.labels.clone(),
            parts: self.parts(),
            route: self.route.clone(),
        }
    }

    /// The version that a destination is, of those that lie there.
    pub fn destination(&self, to: &Destination) -> Result<Version> {
        to.version(&self.labels).filter(|version| self.lying.contains_key(version)).ok_or_else(
            || {
                let name = &self.name;
                Error::not_found(format!(
                    "Request for unknown model: '{name}' has no version '{to}'"
                ))
            },
        )
    }

    /// Takes a new direction, if it is one: a route that goes on keeps its counts.
    pub fn steer(&mut self, steering: Steering) {
        let route = Route::new(steering, &self.labels);
        let goes_on = self.route.as_ref().is_some_and(|before| before.is_like(&route));
        if !goes_on {
            self.route = (!route.is_plain()).then(|| Arc::new(route));
        }
    }

    /// The models that it is made of, where it is an ensemble.
    pub fn parts(&self) -> Vec<ModelName> {
        self.effective().ensemble.as_ref().map(Ensemble::models).unwrap_or_default()
    }

    /// Whether there is nothing left to remember.
    pub fn is_gone(&self) -> bool {
        self.lying.is_empty() && self.records.is_empty() && self.config.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(versions: &[u64]) -> Model {
        let mut model = Model::new(ModelName::new("m").unwrap(), Pin::Directory);
        for number in versions {
            let print = Fingerprint::of_content(&number.to_le_bytes());
            model.lying.insert(Version::new(*number).unwrap(), Lying { print, quiet: true });
        }
        model
    }

    fn wanted(model: &Model, now: Instant) -> Vec<u64> {
        model.aspired(now).unwrap().iter().map(|version| version.number()).collect()
    }

    fn fail(model: &mut Model, number: u64, error: &Error, now: Instant) {
        let version = Version::new(number).unwrap();
        let key = model.key(version);
        let record = model.records.entry(version).or_default();
        record.tried = key;
        record.failed(error, now);
    }

    #[test]
    fn a_broken_version_is_not_tried_again_until_it_changes() {
        let now = Instant::now();
        let mut model = model(&[1, 2]);
        assert_eq!(wanted(&model, now), [2]);
        fail(&mut model, 2, &Error::invalid("no model"), now);
        let later = now + Duration::from_secs(3600);
        assert_eq!(wanted(&model, later), [1]);
        let print = Fingerprint::of_content(b"mended");
        model.lying.insert(Version::new(2).unwrap(), Lying { print, quiet: true });
        assert_eq!(wanted(&model, later), [2]);
    }

    #[test]
    fn a_failure_that_may_pass_is_tried_again_ever_more_rarely() {
        let mut now = Instant::now();
        let mut model = model(&[1]);
        for wait in [1, 2, 4, 8, 16] {
            fail(&mut model, 1, &Error::internal("too little memory"), now);
            let wait = Duration::from_secs(wait);
            assert!(model.is_settled(now + wait - Duration::from_millis(1)));
            now += wait;
            assert!(!model.is_settled(now));
        }
        fail(&mut model, 1, &Error::internal("too little memory"), now);
        assert!(model.is_settled(now + Duration::from_secs(3600)), "there is an end to it");
    }

    #[test]
    fn what_a_call_took_out_stays_out() {
        let now = Instant::now();
        let mut model = model(&[1]);
        model.pin = Pin::Unloaded(model.looks());
        assert!(wanted(&model, now).is_empty());
        let before = model.looks();
        assert_eq!(model.looks(), before);
        model.lying.clear();
        assert_ne!(model.looks(), before);
    }
}
