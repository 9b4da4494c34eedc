//! Performance while serving: answers are remembered until somebody says what became true, and the
//! two are held against each other.
//!
//! `store` remembers and joins, in bounded memory; `report` makes figures. A version that declares
//! nothing costs nothing; one that does, a short lock a request. Scores, labels and the values of
//! declared subgroups are kept, in memory only: no features, no request ids, and nothing over a
//! restart.

mod report;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

pub use report::{CASES_MIN, Report, Subgroup, Summary};
pub use store::{Counts, Fault, Feedback, Joined, Label, PAIRS_MAX, VALUES_MAX};

use super::metrics::Metrics;
use crate::event::Remember;
use crate::model::ModelId;
use crate::model::performance::Outcome;
use crate::tensor::Tensor;
use report::Seen;
use store::Store;

/// All versions whose answers are remembered.
#[derive(Default)]
pub struct Performance(RwLock<BTreeMap<ModelId, Arc<Ledger>>>);

/// The answers of one version.
pub struct Ledger {
    pub id: ModelId,
    outcome: Outcome,
    store: Mutex<Store>,
    /// Labels that were joined when its figures were last made known.
    published: AtomicU64,
}

impl Performance {
    /// Begins to remember a version's answers; those of before, if it was loaded, are forgotten.
    pub fn remember(&self, id: &ModelId, outcome: Outcome) -> Arc<Ledger> {
        let store = Mutex::new(Store::new(outcome.clone(), Instant::now()));
        let published = AtomicU64::new(0);
        let ledger = Arc::new(Ledger { id: id.clone(), outcome, store, published });
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(id.clone(), Arc::clone(&ledger));
        ledger
    }

    /// Forgets a version that is gone.
    pub fn forget(&self, id: &ModelId) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    pub fn of(&self, id: &ModelId) -> Option<Arc<Ledger>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Those of all versions of a model, ascending.
    pub fn of_model(&self, name: &str) -> Vec<Arc<Ledger>> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mine = all.iter().filter(|(id, _)| id.name.as_str() == name);
        mine.map(|(_, ledger)| Arc::clone(ledger)).collect()
    }

    /// Tells the metrics how every version does; off the path of requests.
    pub fn publish(&self, metrics: &Metrics) {
        let all: Vec<Arc<Ledger>> = {
            let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
            all.values().map(Arc::clone).collect()
        };
        for ledger in all {
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
        self.seen(now).report()
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
