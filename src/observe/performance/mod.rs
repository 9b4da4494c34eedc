//! Performance while serving: answers are remembered until somebody says what became true, and the
//! two are held against each other.
//!
//! `store` remembers and joins, in bounded memory; `report` makes figures. A version that declares
//! nothing costs nothing; one that does, a short lock a request. Scores, labels and the values of
//! declared subgroups are kept: no features and no request ids. What is labelled outlives a restart
//! (`snapshot`), what still waits for its label does not.

mod judge;
pub mod keeper;
mod report;
mod snapshot;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Instant, SystemTime};

pub use report::{CASES_MIN, Report, Subgroup, Summary};
pub use store::{Counts, Fault, Feedback, Joined, Label, PAIRS_MAX, VALUES_MAX};

use super::alerts::Alerts;
use super::metrics::Metrics;
use crate::event::{AlertKind, Remember};
use crate::model::ModelId;
use crate::model::performance::Outcome;
use crate::tensor::Tensor;
use report::Seen;
use store::Store;

/// All versions whose answers are remembered.
#[derive(Default)]
pub struct Performance {
    ledgers: RwLock<BTreeMap<ModelId, Arc<Ledger>>>,
    /// Where labelled answers are kept, and how; nothing for tools that do not serve.
    keeping: OnceLock<Keeping>,
}

struct Keeping {
    folder: PathBuf,
    seconds: u64,
    metrics: Arc<Metrics>,
    /// While it is there, the thread that judges and writes ticks.
    _ticks: SyncSender<()>,
}

/// The answers of one version.
pub struct Ledger {
    pub id: ModelId,
    outcome: Outcome,
    /// Digest of its model file.
    file: String,
    store: Mutex<Store>,
    /// When the labelled answers were written down that were taken over at the start.
    restored_at: Option<SystemTime>,
    /// What a crash may lose at most; 0 where nothing is kept.
    snapshot_seconds: u64,
    /// What was written down last.
    saved: Mutex<(Counts, usize)>,
    /// Labels that were joined when its figures were last made known, and when last judged.
    published: AtomicU64,
    judged: AtomicU64,
    /// Figures in alert, with why.
    alert: Mutex<Vec<(&'static str, String)>>,
}

impl Performance {
    /// Begins to remember a version's answers, from what was kept of its labels if model file and
    /// declaration are the same. A version that is loaded again beside itself goes on.
    pub fn remember(&self, id: &ModelId, outcome: Outcome, file: &str) -> Arc<Ledger> {
        if let Some(ledger) = self.of(id) {
            if ledger.outcome == outcome && ledger.file == file {
                return ledger;
            }
            self.keep(&ledger);
        }
        let mut store = Store::new(outcome.clone(), Instant::now());
        let keeping = self.keeping.get();
        let restored_at = keeping.and_then(|keeping| {
            let restored = snapshot::restore(&keeping.folder, id, file, &mut store);
            restored.unwrap_or_else(|error| {
                keeping.metrics.snapshot_fault("performance", "read");
                tracing::warn!(model = %id, %error, "the kept labels are not used");
                None
            })
        });
        let ledger = Arc::new(Ledger {
            id: id.clone(),
            outcome,
            file: file.to_owned(),
            restored_at,
            snapshot_seconds: keeping.map_or(0, |keeping| keeping.seconds),
            saved: Mutex::new((store.counts, 0)),
            store: Mutex::new(store),
            published: AtomicU64::new(0),
            // As it was before, if it was: a new ledger is judged at once.
            judged: AtomicU64::new(u64::MAX),
            alert: Mutex::default(),
        });
        let mut all = self.ledgers.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(id.clone(), Arc::clone(&ledger));
        ledger
    }

    /// Forgets a version that is gone; what was labelled stays in its file.
    pub fn forget(&self, id: &ModelId) {
        let ledger = self.ledgers.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        if let Some(ledger) = ledger {
            self.keep(&ledger);
        }
    }

    /// Writes down what was labelled of all versions.
    pub fn save(&self) {
        self.all().iter().for_each(|ledger| self.keep(ledger));
    }

    /// Writes down what was labelled, where that has changed.
    fn keep(&self, ledger: &Ledger) {
        let Some(keeping) = self.keeping.get() else { return };
        let mut saved = ledger.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = {
            let store = ledger.store();
            if (store.counts, store.pending()) == *saved {
                return;
            }
            store.keep()
        };
        let (id, file) = (&ledger.id, &ledger.file);
        match snapshot::save(&keeping.folder, id, file, &kept, SystemTime::now()) {
            Ok(()) => *saved = (kept.counts, kept.pending),
            Err(error) => {
                keeping.metrics.snapshot_fault("performance", "write");
                let detail = error.detail();
                tracing::warn!(model = %id, %error, detail, "labels can not be kept");
            }
        }
    }

    pub fn of(&self, id: &ModelId) -> Option<Arc<Ledger>> {
        self.ledgers.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Those of all versions of a model, ascending.
    pub fn of_model(&self, name: &str) -> Vec<Arc<Ledger>> {
        let all = self.ledgers.read().unwrap_or_else(PoisonError::into_inner);
        let mine = all.iter().filter(|(id, _)| id.name.as_str() == name);
        mine.map(|(_, ledger)| Arc::clone(ledger)).collect()
    }

    fn all(&self) -> Vec<Arc<Ledger>> {
        let all = self.ledgers.read().unwrap_or_else(PoisonError::into_inner);
        all.values().map(Arc::clone).collect()
    }

    /// Judges every version that has new labels, and tells of its alerts.
    pub fn judge(&self, alerts: &Alerts, at: SystemTime) {
        // Held, so that nothing is told of a version that is gone.
        let all = self.ledgers.read().unwrap_or_else(PoisonError::into_inner);
        for ledger in all.values().filter(|ledger| !ledger.outcome.at_least.is_empty()) {
            let joined = ledger.store().counts.joined;
            if ledger.judged.swap(joined, Ordering::Relaxed) != joined {
                let reasons = ledger.judge();
                alerts.stand(&ledger.id, AlertKind::Performance, reasons, at);
            }
        }
    }

    /// Tells the metrics how every version does; off the path of requests.
    pub fn publish(&self, metrics: &Metrics) {
        for ledger in self.all() {
            let counts = ledger.store().counts;
            metrics.feedback(&ledger.id, &counts);
            let joined = counts.joined;
            if ledger.published.swap(joined, Ordering::Relaxed) != joined {
                metrics.performance(&ledger.id, &ledger.seen(Instant::now()).overall());
            }
        }
    }
}

impl Ledger {
    /// Whether an answer of this version is meant.
    pub fn knows(&self, feedback: &Feedback) -> bool {
        self.store().knows(feedback)
    }

    pub fn join(&self, feedback: &Feedback, now: Instant) -> Result<Joined, Fault> {
        self.store().join(feedback, now)
    }

    pub fn report(&self, now: Instant) -> Report {
        let alert = self.alert.lock().unwrap_or_else(PoisonError::into_inner);
        let alert = alert.iter().map(|(_, reason)| reason.clone()).collect();
        Report {
            alert,
            restored_at: self.restored_at,
            snapshot_seconds: self.snapshot_seconds,
            ..self.seen(now).report()
        }
    }

    /// Why it is in alert now; nothing where it is not.
    fn judge(&self) -> Vec<String> {
        let overall = self.seen(Instant::now()).overall();
        let mut alert = self.alert.lock().unwrap_or_else(PoisonError::into_inner);
        let before: Vec<&'static str> = alert.iter().map(|(name, _)| *name).collect();
        *alert = judge::judge(&overall, &self.outcome.at_least, &before);
        alert.iter().map(|(_, reason)| reason.clone()).collect()
    }

    fn seen(&self, now: Instant) -> Seen {
        let mut store = self.store();
        store.expire(now);
        Seen::of(&store)
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remember for Ledger {
    fn answered(&self, request_id: &str, outputs: &[Tensor]) {
        // Nobody could say which answer a label is for.
        if request_id.is_empty() {
            return;
        }
        let scores = self.outcome.scores(outputs);
        self.store().remember(request_id, &scores, Instant::now());
    }
}
