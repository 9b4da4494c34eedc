//! What an ensemble and its models have to do with each other: it loads after them, is tried again
//! when one of them comes, and brings them along when it is loaded or unloaded by a call.

use std::collections::BTreeSet;
use std::time::Instant;

use super::lifecycle::VersionState;
use super::model::{Model, Pin};
use super::policy::Snapshot;
use super::worker::Worker;
use crate::model::ModelName;

impl Worker {
    /// What the policy is shown of a model: an ensemble is not due before its models have come as
    /// far as they will.
    pub(super) fn snapshots(&self, model: &Model, now: Instant) -> Vec<Snapshot> {
        let mut snapshots = model.snapshots(now);
        let due = snapshots.iter().any(|version| version.due);
        if due && self.awaits_parts(model, now) {
            snapshots.iter_mut().for_each(|version| version.due = false);
        }
        snapshots
    }

    /// Whether something beneath an ensemble is still on its way.
    pub(super) fn awaits_parts(&self, model: &Model, now: Instant) -> bool {
        let parts = self.parts_of(model);
        let coming = |part: &Model| part.is_unquiet() || !part.is_settled(now);
        // In a circle, everybody would wait for ever: loading says what is wrong.
        let in_circle = parts.contains(&model.name);
        !in_circle && parts.iter().filter_map(|name| self.models.get(name)).any(coming)
    }

    /// The models beneath a model, through ensembles of ensembles.
    fn parts_of(&self, model: &Model) -> BTreeSet<ModelName> {
        let mut all = BTreeSet::new();
        let mut next = model.parts();
        while let Some(name) = next.pop() {
            let parts = self.models.get(&name).map(Model::parts).unwrap_or_default();
            if all.insert(name) {
                next.extend(parts);
            }
        }
        all
    }

    /// A model has come: ensembles that failed for want of it are tried again.
    pub(super) fn wake_ensembles(&mut self, part: &ModelName) {
        let ensembles = self.models.values_mut().filter(|model| model.parts().contains(part));
        for record in ensembles.flat_map(|model| model.records.values_mut()) {
            if record.state == Some(VersionState::Failed) && !record.loading {
                record.forgive();
            }
        }
    }

    /// Who loads an ensemble wants its models, too.
    pub(super) fn pin_parts(&mut self, name: &ModelName) {
        let Some(model) = self.models.get(name) else { return };
        for part in self.parts_of(model) {
            if let Some(part) = self.models.get_mut(&part) {
                part.pin = Pin::Directory;
            }
        }
    }

    /// Takes out the models of an ensemble that no other ensemble uses.
    pub(super) fn unload_parts(&mut self, name: &ModelName) {
        let Some(model) = self.models.get(name) else { return };
        let parts = self.parts_of(model);
        let others: BTreeSet<ModelName> = (self.models.values())
            .filter(|other| other.name != *name && !parts.contains(&other.name))
            .filter(|other| other.pin == Pin::Directory)
            .flat_map(|other| self.parts_of(other))
            .collect();
        for part in parts.iter().filter(|part| !others.contains(*part)) {
            if let Some(part) = self.models.get_mut(part) {
                part.pin = Pin::Unloaded(part.looks());
            }
        }
    }
}
