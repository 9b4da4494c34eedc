//! The one writer of the model table. It looks at the directory, lets the policy choose, takes the
//! steps, lets go of what nobody uses any more, and answers calls; and between that it waits.
//!
//! Loads run on threads of their own, so that one big model does not hold up the rest, and the
//! last handle of a version is dropped here, not on a thread that serves.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;

use super::calls::respond;
use super::describe;
use super::events::Event;
use super::labels::LabelStore;
use super::lifecycle::VersionState;
use super::loader::{Loader, Order};
use super::manager::{Progress, Reply};
use super::model::{Key, Lying, Model, Pin};
use super::policy::{Action, Snapshot, next_action};
use super::scan::scan;
use super::servable::Servable;
use super::settle::Settle;
use super::steer::TrafficStore;
use super::table::{ModelTable, TableReader};
use crate::config::{ControlMode, RegistryConfig};
use crate::error::{Error, Result};
use crate::event::{LoadCost, Observe, VersionStateChanged};
use crate::heap;
use crate::model::{ModelId, ModelName};

/// Load threads at most: loading is memory- and processor-hungry beside live traffic.
const LOADS_MAX: usize = 4;
/// Looking at a large registry must not become a job of its own: it rests this many times longer
/// than it works.
const REST: u32 = 20;
/// Instances end on threads of their own, and some engines free their last memory with the thread.
const TRIM_AFTER: Duration = Duration::from_millis(250);
/// And a busy machine may need longer for that: once more then.
const TRIM_AGAIN: Duration = Duration::from_secs(2);
/// How long the end waits for loads that are under way.
const END_PATIENCE: Duration = Duration::from_secs(30);
/// How long the start waits for versions that somebody is still writing.
const START_PATIENCE: Duration = Duration::from_secs(5);

pub struct Worker {
    config: RegistryConfig,
    loader: Arc<Loader>,
    pub(super) labels: LabelStore,
    pub(super) traffic: TrafficStore,
    observe: Arc<dyn Observe>,
    table: TableReader,
    progress: watch::Sender<Progress>,
    sender: SyncSender<Event>,
    events: Receiver<Event>,
    pub(super) models: BTreeMap<ModelName, Model>,
    settle: Settle,
    /// Servables that left the table; a state to announce when the last request lets go, if any.
    leaving: Vec<(Arc<Servable>, Option<ModelId>)>,
    /// Calls that wait for a model to be loaded.
    pub(super) waiting: Vec<(ModelName, Reply)>,
    started: Instant,
    settled: bool,
    next_look: Instant,
    /// When to give back what unloaded models left.
    trim_at: Option<Instant>,
    trims_again: bool,
    /// What was said about the directory the last time, so that it is said once.
    complaint: Option<String>,
}

impl Worker {
    pub fn new(
        config: RegistryConfig,
        loader: Loader,
        (labels, traffic): (LabelStore, TrafficStore),
        observe: Arc<dyn Observe>,
        (table, progress): (TableReader, watch::Sender<Progress>),
        (sender, events): (SyncSender<Event>, Receiver<Event>),
    ) -> Self {
        let settle = Settle::new(config.settle);
        Self {
            config,
            loader: Arc::new(loader),
            labels,
            traffic,
            observe,
            table,
            progress,
            sender,
            events,
            models: BTreeMap::new(),
            settle,
            leaving: Vec::new(),
            waiting: Vec::new(),
            started: Instant::now(),
            settled: false,
            next_look: Instant::now(),
            trim_at: None,
            trims_again: false,
            complaint: None,
        }
    }

    pub fn run(mut self) {
        loop {
            if self.look_at().is_some_and(|at| at <= Instant::now()) {
                // A directory that can not be read now is looked at again later; what serves,
                // serves on.
                let outcome = self.look(!self.settled);
                self.complain(outcome.err());
            }
            self.act();
            self.let_go();
            self.trim();
            self.announce_start();
            self.answer_loads();
            match self.events.recv_timeout(self.patience()) {
                Ok(Event::Stop) => return self.end(),
                Ok(event) => self.hear(event),
                Err(RecvTimeoutError::Timeout) => {}
                // Impossible while `self.sender` lives.
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Waits for the engines that are still loading, within reason.
    fn end(self) {
        let patience = Instant::now() + END_PATIENCE;
        let records = self.models.values().flat_map(|model| model.records.values());
        let mut loading = records.filter(|record| record.loading).count();
        while loading > 0 {
            match self.events.recv_timeout(patience.saturating_duration_since(Instant::now())) {
                Ok(Event::Done(..)) => loading -= 1,
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    /// How long nothing can have to be done, unless somebody speaks.
    fn patience(&self) -> Duration {
        let next = self.look_at().into_iter().chain(self.trim_at).min();
        let wait = next.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
        wait.min(self.config.poll)
    }

    /// When the directory is looked at again; in some modes, never after the start.
    fn look_at(&self) -> Option<Instant> {
        (self.config.control.watches() || !self.settled).then_some(self.next_look)
    }

    /// Gives back what models left that are gone.
    fn trim(&mut self) {
        if self.trim_at.is_some_and(|at| at <= Instant::now()) {
            heap::trim();
            let again = std::mem::take(&mut self.trims_again);
            self.trim_at = again.then(|| Instant::now() + TRIM_AGAIN);
        }
    }

    /// Sees what lies in the directory. At the start every model counts as new.
    pub fn look(&mut self, starting: bool) -> Result<()> {
        let begun = Instant::now();
        let models = &self.models;
        let known = |name: &ModelName| models.get(name).and_then(|model| model.config);
        let scan =
            scan(&self.loader.root, &self.config.models, self.config.model_name.as_ref(), &known)?;
        for stranger in scan.strangers.iter().filter(|_| self.complaint.is_none() && starting) {
            tracing::warn!(reason = %stranger, "a folder of the registry is passed over");
        }
        let is_first = self.progress.borrow().generation == 0;
        let named = self.config.model_name.as_ref().filter(|_| is_first);
        if let Some(name) = named.filter(|_| !scan.is_single()) {
            tracing::warn!(%name, "the model name is not used: the directory is no single model");
        }
        let (now, wall) = (Instant::now(), SystemTime::now());
        for model in self.models.values_mut().filter(|model| model.memory.is_none()) {
            let there = scan.candidates.iter().any(|candidate| candidate.name == model.name);
            if !there {
                model.lying.clear();
                model.config = None;
            }
        }
        for candidate in scan.candidates {
            let pin = self.first_pin(&candidate.name);
            let entry = self.models.entry(candidate.name.clone());
            let model = entry.or_insert_with(|| Model::new(candidate.name, pin));
            (model.layout, model.config) = (candidate.layout, Some(candidate.config));
            match candidate.manifest {
                Some(Ok(manifest)) => (model.manifest, model.broken) = (Arc::new(manifest), None),
                Some(Err(error)) => {
                    let name = &model.name;
                    tracing::error!(model = %name, reason = %error, "a model can not be served");
                    model.broken = Some(error);
                }
                None => {}
            }
            let folder = self.config.models.join(model.layout.model(&model.name));
            model.beside = describe::files_beside(&folder, model.effective());
            if model.memory.is_none() {
                let id = |version| ModelId { name: model.name.clone(), version };
                let lying = candidate.versions.into_iter().map(|(version, print)| {
                    let quiet = self.settle.is_quiet(&id(version), print, now, wall);
                    (version, Lying { print, quiet })
                });
                model.lying = lying.collect();
            }
        }
        let models = &self.models;
        let is_there = |id: &ModelId| {
            models.get(&id.name).is_some_and(|model| model.lying.contains_key(&id.version))
        };
        self.settle.retain(is_there);
        self.take_note(now);
        self.next_look = Instant::now() + self.config.poll.max(begun.elapsed() * REST);
        Ok(())
    }

    /// Whether a model that was never seen before serves by itself.
    fn first_pin(&self, name: &ModelName) -> Pin {
        let startup = &self.config.startup;
        let asked = startup.iter().any(|wanted| wanted == "*" || wanted == name.as_str());
        if self.config.control == ControlMode::Explicit && !asked {
            return Pin::Unloaded(None);
        }
        Pin::Directory
    }

    /// What follows from a look: labels, new records, pins that end because files changed.
    pub(super) fn take_note(&mut self, now: Instant) {
        for model in self.models.values_mut() {
            model.labels = self.labels.of(&model.name, model.effective());
            let steering = self.traffic.of(&model.name, model.effective());
            model.steer(steering);
            let changed = match &model.pin {
                Pin::Unloaded(Some(before)) => model.looks().as_ref() != Some(before),
                _ => false,
            };
            let whole = model.lying.values().all(|lying| lying.quiet);
            if changed && whole && self.config.control.watches() {
                model.pin = Pin::Directory;
            }
            for snapshot in model.snapshots(now) {
                let record = model.records.entry(snapshot.id.version).or_default();
                let wanted = snapshot.aspired && snapshot.due && !snapshot.serving;
                match record.state {
                    None if wanted => record.state = Some(VersionState::New),
                    Some(VersionState::Failed | VersionState::Unloaded) if wanted => {
                        record.state = Some(VersionState::New);
                        record.reason = None;
                    }
                    // It gave way to another before anything was done about it.
                    Some(VersionState::New) if !snapshot.aspired && !snapshot.loading => {
                        record.state = None;
                    }
                    _ => {}
                }
            }
            let lying = &model.lying;
            model.records.retain(|version, record| {
                let there = lying.contains_key(version);
                there || record.servable.is_some() || record.loading
            });
        }
        self.models.retain(|_, model| !model.is_gone());
        self.publish(None);
    }

    /// Takes the policy's steps until there is none to take now.
    pub(super) fn act(&mut self) {
        let now = Instant::now();
        loop {
            let snapshots: Vec<Snapshot> =
                self.models.values().flat_map(|model| self.snapshots(model, now)).collect();
            match next_action(&snapshots, LOADS_MAX) {
                Some(Action::Load(id)) => self.start_load(&id),
                Some(Action::Unload(id)) => self.unload(&id),
                None => return,
            }
        }
    }

    fn start_load(&mut self, id: &ModelId) {
        let Some(model) = self.models.get_mut(&id.name) else { return };
        let Some(key) = model.key(id.version) else { return };
        let manifest = Arc::clone(model.effective());
        let (memory, layout) = (model.memory.clone(), model.layout);
        let record = model.records.entry(id.version).or_default();
        (record.loading, record.tried) = (true, Some(key));
        if record.servable.is_none() {
            record.state = Some(VersionState::New);
        }
        self.enter(id, VersionState::Verifying, None);

        let order = Order { id: id.clone(), manifest, memory, layout };
        let (loader, sender, thread_id) =
            (Arc::clone(&self.loader), self.sender.clone(), id.clone());
        let spawned = std::thread::Builder::new().name(format!("load {id}")).spawn(move || {
            let entered = |state| {
                // The worker has said this one itself; and it is gone only when the process ends.
                if state != VersionState::Verifying {
                    let _ = sender.send(Event::Entered(thread_id.clone(), state));
                }
            };
            let load = || loader.load(&order, &entered, &|_| {});
            let outcome = catch_unwind(AssertUnwindSafe(load)).unwrap_or_else(|_| {
                Err(Error::invalid("the engine panicked while it loaded the model"))
            });
            let _ = sender.send(Event::Done(thread_id, key, Box::new(outcome)));
        });
        if let Err(error) = spawned {
            let error = Error::internal("a load thread could not be started").with_detail(error);
            self.finish(id, key, Err(error));
        }
    }

    fn finish(&mut self, id: &ModelId, key: Key, outcome: Result<Servable>) {
        let now = Instant::now();
        let Some(model) = self.models.get_mut(&id.name) else { return };
        let record = model.records.entry(id.version).or_default();
        record.loading = false;
        match outcome {
            Ok(servable) => {
                servable.log_ready();
                record.succeeded();
                record.serving = Some(key);
                let load = servable.load;
                // The new one serves from the next request on; the old one finishes what it has.
                if let Some(old) = record.servable.replace(Arc::new(servable)) {
                    self.leaving.push((old, None));
                    record.state = Some(VersionState::Warming);
                }
                self.enter(id, VersionState::Ready, Some(load));
                self.wake_ensembles(&id.name);
            }
            Err(error) => {
                tracing::error!(
                    model = %id.name,
                    version = id.version.number(),
                    reason = %error,
                    detail = error.detail(),
                    serving_on = record.servable.is_some(),
                    "version failed"
                );
                record.failed(&error, now);
                let reason = error.message().to_owned();
                if record.servable.is_some() {
                    record.reason = Some(format!("the present files can not replace it: {reason}"));
                    self.publish(None);
                } else {
                    record.reason = Some(reason);
                    self.enter(id, VersionState::Failed, None);
                }
            }
        }
        // What failed may have to make room for another.
        self.take_note(now);
    }

    fn unload(&mut self, id: &ModelId) {
        let Some(model) = self.models.get_mut(&id.name) else { return };
        let Some(record) = model.records.get_mut(&id.version) else { return };
        let Some(servable) = record.servable.take() else { return };
        (record.serving, record.tried) = (None, None);
        self.leaving.push((servable, Some(id.clone())));
        self.enter(id, VersionState::Draining, None);
    }

    /// Drops the servables that no request holds any more.
    fn let_go(&mut self) {
        let (gone, leaving) = std::mem::take(&mut self.leaving)
            .into_iter()
            .partition(|(servable, _)| Arc::strong_count(servable) == 1);
        self.leaving = leaving;
        let gone: Vec<(Arc<Servable>, Option<ModelId>)> = gone;
        for (servable, id) in gone {
            tracing::info!(model = %servable.id, "version unloaded");
            drop(servable);
            (self.trim_at, self.trims_again) = (Some(Instant::now() + TRIM_AFTER), true);
            let Some(id) = id else { continue };
            let state = self.record_state(&id);
            if state == Some(VersionState::Draining) {
                self.enter(&id, VersionState::Unloaded, None);
                self.take_note(Instant::now());
            }
        }
    }

    fn record_state(&self, id: &ModelId) -> Option<VersionState> {
        self.models.get(&id.name)?.records.get(&id.version)?.state
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Entered(id, state) => self.enter(&id, state, None),
            Event::Done(id, key, outcome) => self.finish(&id, key, *outcome),
            Event::Load { model, order, reply } => match self.load_by_call(&model, *order) {
                Ok(()) => self.waiting.push((model, reply)),
                Err(error) => respond(reply, Err(error)),
            },
            Event::Unload { model, dependents, reply } => {
                respond(reply, self.unload_by_call(&model, dependents));
            }
            Event::Label { model, label, version, reply } => {
                respond(reply, self.move_label(&model, &label, version));
            }
            Event::Traffic { model, call, reply } => {
                respond(reply, self.turn_traffic(&model, *call));
            }
            // Heard where events are received.
            Event::Stop => {}
        }
    }

    /// Says once that the start is over.
    fn announce_start(&mut self) {
        if self.settled {
            return;
        }
        let now = Instant::now();
        let impatient = now.duration_since(self.started) > START_PATIENCE;
        let unquiet = self.models.values().any(Model::is_unquiet);
        let busy = self.models.values().any(|model| !model.is_settled(now));
        self.settled = !busy && (!unquiet || impatient);
        if self.settled {
            self.publish(None);
        }
    }

    fn complain(&mut self, error: Option<Error>) {
        let message = error.as_ref().map(|error| error.message().to_owned());
        if let Some(error) = error.filter(|_| message != self.complaint) {
            tracing::error!(reason = %error, "the registry can not be read");
        }
        self.complaint = message;
    }

    /// Moves a version to its next state and publishes the table; announced after it is true.
    fn enter(&mut self, id: &ModelId, state: VersionState, load: Option<LoadCost>) {
        let Some(model) = self.models.get_mut(&id.name) else { return };
        let Some(record) = model.records.get_mut(&id.version) else { return };
        // While it serves, the steps of its successor are not its own.
        let serves = record.servable.is_some() && state != VersionState::Ready;
        if !serves {
            let before = record.state.unwrap_or(VersionState::New);
            if !before.may_become(state) {
                tracing::error!(model = %id, from = %before, to = %state, "illegal state change");
            }
            record.state = Some(state);
            if state != VersionState::Failed {
                record.reason = None;
            }
        }
        let (shown, reason) = (record.state.unwrap_or(state), record.reason.clone());
        self.publish(state.is_coming().then(|| format!("{id} {state}")));
        self.observe.version_state_changed(&VersionStateChanged {
            id: id.clone(),
            state: shown.name(),
            ready: shown == VersionState::Ready,
            gone: shown == VersionState::Unloaded,
            reason,
            load,
        });
    }

    fn publish(&self, current: Option<String>) {
        let now = Instant::now();
        let models: BTreeMap<_, _> =
            self.models.iter().map(|(name, model)| (name.clone(), model.entry(now))).collect();
        let states = || models.values().flat_map(|entry| entry.versions.values()).map(|v| v.state);
        let count = |wanted| states().filter(|state| *state == wanted).count();
        let before = self.progress.borrow().clone();
        let progress = Progress {
            total: states().filter(|state| !state.is_retired()).count(),
            ready: count(VersionState::Ready),
            failed: count(VersionState::Failed),
            current,
            settled: self.settled,
            generation: before.generation + 1,
        };
        self.table.publish(ModelTable { models, settled: self.settled });
        self.progress.send_replace(progress);
    }
}
