//! What the worker does when it is called: load, unload, move a label; and when it answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::fingerprint::Fingerprint;
use super::loader::MemoryFiles;
use super::manager::{LoadOrder, Reply, TrafficCall};
use super::model::{Lying, Model, Pin};
use super::steer::{Steering, Turn, promote, roll_back};
use super::table::unknown;
use super::worker::Worker;
use crate::digest::sha256;
use crate::error::{Error, Result};
use crate::model::{Label, ModelName, Version};

impl Worker {
    pub(super) fn load_by_call(&mut self, name: &ModelName, order: LoadOrder) -> Result<()> {
        let LoadOrder { manifest, files } = order;
        if let Some(files) = files {
            let model = self
                .models
                .entry(name.clone())
                .or_insert_with(|| Model::new(name.clone(), Pin::Directory));
            model.lying = lying_in(&files);
            model.memory = Some(Arc::new(files));
        } else {
            if let Some(model) = self.models.get_mut(name) {
                model.memory = None;
            }
            // Who asks for a load says that the files are whole.
            self.look(false)?;
        }
        let model = self.models.get_mut(name).ok_or_else(|| {
            Error::not_found(format!("failed to load '{name}', no such model in the registry"))
        })?;
        model.override_manifest = manifest.map(Arc::new);
        model.pin = Pin::Directory;
        for lying in model.lying.values_mut() {
            lying.quiet = true;
        }
        for record in model.records.values_mut().filter(|record| !record.loading) {
            record.forgive();
        }
        self.pin_parts(name);
        self.take_note(Instant::now());
        Ok(())
    }

    pub(super) fn unload_by_call(&mut self, name: &ModelName, dependents: bool) -> Result<()> {
        if dependents {
            self.unload_parts(name);
        }
        let model =
            self.models.get_mut(name).ok_or_else(|| unknown(name.as_str(), "is not found"))?;
        (model.memory, model.override_manifest) = (None, None);
        model.pin = Pin::Unloaded(model.looks());
        self.act();
        self.take_note(Instant::now());
        Ok(())
    }

    pub(super) fn move_label(
        &mut self,
        name: &ModelName,
        label: &Label,
        version: Option<Version>,
    ) -> Result<()> {
        let model = self.models.get(name).ok_or_else(|| unknown(name.as_str(), "is not found"))?;
        if let Some(version) = version.filter(|version| !model.lying.contains_key(version)) {
            return Err(unknown(name.as_str(), &format!("version {version} is not found")));
        }
        self.labels.set(name, model.effective(), label, version)?;
        let number = version.map(Version::number);
        tracing::info!(model = %name, %label, version = number, "label moved");
        self.take_note(Instant::now());
        Ok(())
    }

    pub(super) fn turn_traffic(&mut self, name: &ModelName, call: TrafficCall) -> Result<()> {
        let model = self.models.get(name).ok_or_else(|| unknown(name.as_str(), "is not found"))?;
        let manifest = Arc::clone(model.effective());
        let before = self.traffic.of(name, &manifest);
        let entry = model.entry(Instant::now());
        let turn = match call {
            TrafficCall::Set(None) => {
                self.traffic.set(name, &manifest, None)?;
                tracing::info!(model = %name, "traffic goes as the configuration says");
                self.take_note(Instant::now());
                return Ok(());
            }
            TrafficCall::Set(Some(policy)) => {
                policy.validate()?;
                for destination in policy.destinations() {
                    model.destination(destination)?;
                }
                let policy = Some(policy);
                let previous = before.previous;
                let steering = Steering { policy, by_call: true, previous, note: None };
                Turn { steering, label: None }
            }
            TrafficCall::Promote(to) => {
                let version = model.destination(&to)?;
                if entry.ready(version).is_none() {
                    return Err(Error::not_ready(format!(
                        "model '{name}', version {version} is not at ready state: what does not \
                         answer can not be promoted"
                    )));
                }
                promote(&before, version, entry.base().map(|servable| servable.id.version))
            }
            TrafficCall::RollBack(reason) => roll_back(&before, reason)?,
        };
        let policy = turn.steering.policy.as_ref().map(|policy| format!("{policy:?}"));
        let note = turn.steering.note.clone();
        self.traffic.set(name, &manifest, Some(turn.steering))?;
        if let Some((label, version)) = turn.label {
            let moved = self.labels.set(name, &manifest, &label, Some(version));
            if let Err(error) = moved {
                // Both or neither.
                self.traffic.set(name, &manifest, before.by_call.then_some(before))?;
                return Err(error);
            }
        }
        tracing::info!(model = %name, policy, note, "traffic turned");
        self.take_note(Instant::now());
        Ok(())
    }

    /// Answers the calls whose model has come as far as it will.
    pub(super) fn answer_loads(&mut self) {
        let now = Instant::now();
        for (name, reply) in std::mem::take(&mut self.waiting) {
            let settled = self
                .models
                .get(&name)
                .is_none_or(|model| model.is_settled(now) && !self.awaits_parts(model, now));
            if settled {
                respond(reply, self.outcome(&name, now));
            } else if !reply.is_closed() {
                self.waiting.push((name, reply));
            }
        }
    }

    /// Whether a model serves, in Triton's words.
    fn outcome(&self, name: &ModelName, now: Instant) -> Result<()> {
        let entry = self.models.get(name).map(|model| model.entry(now)).unwrap_or_default();
        if entry.latest().is_some() {
            return Ok(());
        }
        let reasons = entry.versions.iter().rev().find_map(|(version, entry)| {
            entry.reason.as_ref().map(|reason| format!(": version {version}: {reason}"))
        });
        let problem = entry.problem.map(|problem| format!(": {problem}"));
        let why = problem.or(reasons).unwrap_or_default();
        Err(Error::invalid(format!("failed to load '{name}', no version is available{why}")))
    }
}

/// A caller that left does not hear.
pub(super) fn respond(reply: Reply, outcome: Result<()>) {
    let _ = reply.send(outcome);
}

/// The versions among files that came with a call.
fn lying_in(files: &MemoryFiles) -> BTreeMap<Version, Lying> {
    let mut content: BTreeMap<Version, Vec<u8>> = BTreeMap::new();
    for (path, bytes) in files {
        let version = path.split_once('/').and_then(|(folder, _)| Version::parse(folder));
        if let Some(version) = version {
            let seen = content.entry(version).or_default();
            seen.extend_from_slice(path.as_bytes());
            seen.extend_from_slice(sha256(bytes).as_bytes());
        }
    }
    let lying = |content: Vec<u8>| Lying { print: Fingerprint::of_content(&content), quiet: true };
    content.into_iter().map(|(version, content)| (version, lying(content))).collect()
}
