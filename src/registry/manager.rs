//! The registry from outside: start it, read its table, and tell it what to do.
//!
//! One thread (`worker`) is the only writer of the table; calls reach it through one bounded
//! channel, together with what its load threads report, so that everything happens in one order.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use tokio::sync::{oneshot, watch};

use super::cards::Cards;
use super::events::Event;
use super::files::Root;
use super::labels::LabelStore;
use super::loader::{Loader, MemoryFiles};
use super::memory::Loads;
use super::steer::TrafficStore;
use super::table::TableReader;
use super::worker::Worker;
use crate::backend::Engines;
use crate::cache::ResponseCache;
use crate::config::{ControlMode, RegistryConfig};
use crate::error::{Error, ErrorKind, Result, quoted};
use crate::event::Observe;
use crate::model::traffic::{Destination, Traffic};
use crate::model::{Label, Manifest, ModelName, Version};

/// How far loading has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Versions that ought to serve, or were tried.
    pub total: usize,
    pub ready: usize,
    pub failed: usize,
    /// What is being worked on.
    pub current: Option<String>,
    /// Every version that was there at the start is ready or has failed.
    pub settled: bool,
    /// Counts up with every change of the table.
    pub generation: u64,
}

/// A running registry. Its threads end when the last [`Control`] is gone.
pub struct Manager {
    pub table: TableReader,
    pub progress: watch::Receiver<Progress>,
    pub control: Control,
    pub cards: Cards,
}

/// Events that may wait; load threads block beyond it, which is harmless, and calls are refused.
const EVENTS_MAX: usize = 64;

impl Manager {
    /// Scans the registry and starts loading what ought to serve. Returns at once; a registry that
    /// can not be read is an error, a model that can not be loaded is a state in the table.
    pub fn start(
        config: &RegistryConfig,
        engines: Engines,
        observe: Arc<dyn Observe>,
    ) -> Result<Self> {
        let table = TableReader::default();
        let loader = Loader {
            root: Root::open(&config.models)?,
            engines,
            model_bytes_max: config.model_bytes_max,
            digests: config.digests,
            observe: Arc::clone(&observe),
            table: table.clone(),
            cache: ResponseCache::new(config.cache_bytes_max),
            loads: Loads::default(),
        };
        let cards = Cards::open(&config.models)?;
        let kept = (LabelStore::open(&config.state)?, TrafficStore::open(&config.state)?);
        let (progress_sender, progress) = watch::channel(Progress::default());
        let (sender, events) = sync_channel(EVENTS_MAX);
        let mut worker = Worker::new(
            config.clone(),
            loader,
            kept,
            observe,
            (table.clone(), progress_sender),
            (sender.clone(), events),
        );
        worker.look(true)?;
        let thread = std::thread::Builder::new()
            .name("galen-registry".to_owned())
            .spawn(move || worker.run())
            .map_err(|error| {
                Error::internal("the registry thread could not be started").with_detail(error)
            })?;
        let end = Arc::new(End { sender: sender.clone(), thread: Some(thread) });
        let control = Control { mode: config.control, sender, _end: end };
        Ok(Self { table, progress, control, cards })
    }
}

/// What a call does to a model's traffic.
#[derive(Debug)]
pub enum TrafficCall {
    /// Sets the policy; `None` goes back to that of the configuration.
    Set(Option<Traffic>),
    /// Sends all unversioned requests to one version.
    Promote(Destination),
    /// Ends a split or shadow, or takes the last promotion back; with the reason, if it is known.
    RollBack(Option<String>),
}

/// What a call to load a model brings along.
#[derive(Default)]
pub struct LoadOrder {
    /// Stands for the model's configuration.
    pub manifest: Option<Manifest>,
    /// Stand for the files of its directory.
    pub files: Option<MemoryFiles>,
}

/// The way to tell the registry what to do.
#[derive(Clone)]
pub struct Control {
    mode: ControlMode,
    sender: SyncSender<Event>,
    /// While somebody holds this, the worker goes on.
    _end: Arc<End>,
}

/// Ends the worker, and waits for it: a process that ends while an engine still loads on another
/// thread takes the engine's globals away from under it.
struct End {
    sender: SyncSender<Event>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for End {
    fn drop(&mut self) {
        // Blocks only while the channel is full, which the worker empties.
        let told = self.sender.send(Event::Stop);
        if let (Ok(()), Some(thread)) = (told, self.thread.take()) {
            // It has caught the panics of engines; its own would be nothing to wait for.
            let _ = thread.join();
        }
    }
}

impl Control {
    /// Loads a model, or what has changed of it. Answers when every version that ought to serve
    /// does, or has failed; an error if none does.
    pub async fn load(&self, model: &str, order: LoadOrder) -> Result<()> {
        self.check()?;
        let model = name(model)?;
        self.ask(|reply| Event::Load { model, order: Box::new(order), reply }).await
    }

    /// Takes a model out. Answers when it gets no new requests; those it has accepted finish.
    /// `dependents`: with it, the models of an ensemble that no other ensemble uses.
    pub async fn unload(&self, model: &str, dependents: bool) -> Result<()> {
        self.check()?;
        let model = name(model)?;
        self.ask(|reply| Event::Unload { model, dependents, reply }).await
    }

    /// Moves a label to a version that lies there, or takes it away.
    pub async fn set_label(
        &self,
        model: &str,
        label: &str,
        version: Option<Version>,
    ) -> Result<()> {
        let model = name(model)?;
        let label = Label::new(label).ok_or_else(|| {
            Error::invalid(format!(
                "'{}' is no label: expected up to {} of A-Z a-z 0-9 . _ -, beginning with a letter",
                quoted(label),
                Label::CHARS_MAX
            ))
        })?;
        self.ask(|reply| Event::Label { model, label, version, reply }).await
    }

    /// Changes where unversioned requests go, and keeps that across restarts.
    pub async fn turn_traffic(&self, model: &str, call: TrafficCall) -> Result<()> {
        let model = name(model)?;
        let call = Box::new(call);
        self.ask(|reply| Event::Traffic { model, call, reply }).await
    }

    /// Triton's words, which its clients match on.
    fn check(&self) -> Result<()> {
        if self.mode.takes_calls() {
            return Ok(());
        }
        let message = "explicit model load / unload is not allowed if polling is enabled";
        Err(Error::not_ready(message))
    }

    async fn ask(&self, event: impl FnOnce(Reply) -> Event) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.sender.try_send(event(reply)).map_err(|error| match error {
            TrySendError::Full(_) => {
                Error::new(ErrorKind::Overloaded, "the registry is busy with other calls")
            }
            TrySendError::Disconnected(_) => Error::not_ready("the registry has ended"),
        })?;
        answer.await.map_err(|_| Error::not_ready("the registry has ended"))?
    }
}

/// The way back to a caller.
pub type Reply = oneshot::Sender<Result<()>>;

/// A name that is none is the name of nothing that is there.
fn name(model: &str) -> Result<ModelName> {
    ModelName::new(model).ok_or_else(|| {
        let model = quoted(model);
        Error::not_found(format!("failed to load '{model}', no such model in the registry"))
    })
}
