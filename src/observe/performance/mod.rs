//! Performance while serving: answers are remembered until somebody says what became true, and the
//! two are held against each other.
//!
//! `store` remembers and joins, in bounded memory; `report` makes figures. A version that declares
//! nothing costs nothing; one that does, a short lock a request. Scores, labels and the values of
//! declared subgroups are kept, in memory only: no features, no request ids, and nothing over a
//! restart.

mod judge;
pub mod keeper;
mod report;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
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
    /// While it is there, the thread that judges ticks.
    ticks: OnceLock<SyncSender<()>>,
}

/// The answers of one version.
pub struct Ledger {
    pub id: ModelId,
    outcome: Outcome,
    store: Mutex<Store>,
    /// Labels that were joined when its figures were last made known, and when last judged.
    published: AtomicU64,
    judged: AtomicU64,
    /// Figures in alert, with why.
    alert: Mutex<Vec<(&'static str, String)>>,
}

impl Performance {
    /// Begins to remember a version's answers; those of before, if it was loaded, are forgotten.
    pub fn remember(&self, id: &ModelId, outcome: Outcome) -> Arc<Ledger> {
        let store = Mutex::new(Store::new(outcome.clone(), Instant::now()));
        let ledger = Arc::new(Ledger {
            id: id.clone(),
            outcome,
            store,
            published: AtomicU64::new(0),
            // As it was before, if it was: a new ledger is judged at once.
            judged: AtomicU64::new(u64::MAX),
            alert: Mutex::default(),
        });
        let mut all = self.ledgers.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(id.clone(), Arc::clone(&ledger));
        ledger
    }

    /// Forgets a version that is gone.
    pub fn forget(&self, id: &ModelId) {
        self.ledgers.write().unwrap_or_else(PoisonError::into_inner).remove(id);
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
        Report { alert, ..self.seen(now).report() }
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
