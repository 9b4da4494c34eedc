//! Where facts are told to everybody who keeps count: metrics and statistics.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::alerts::Alerts;
use super::drift::Drift;
use super::metrics::Metrics;
use super::statistics::{Statistics, VersionStatistics};
use crate::error::Result;
use crate::event::{
    BatchExecuted, BatchTraced, CacheLookedUp, FailureReason, Observe, Remember, RequestCompleted,
    ShadowCompared, Tracer, VersionSink, VersionStateChanged, Watch,
};
use crate::model::performance::Outcome;
use crate::model::{Contract, ModelId, Profile};

/// Hears everything, and passes it on.
pub struct Hub {
    pub metrics: Arc<Metrics>,
    pub statistics: Arc<Statistics>,
    /// `None`: drift is not measured.
    pub drift: Option<Arc<Drift>>,
    pub alerts: Arc<Alerts>,
    /// `None`: no spans are recorded.
    pub tracer: Option<Arc<dyn Tracer>>,
}

impl Observe for Hub {
    fn for_version(&self, id: &ModelId) -> Arc<dyn VersionSink> {
        let (metrics, statistics) = (self.metrics.for_version(id), self.statistics.of(id));
        let tracer = self.tracer.as_ref().map(|tracer| (Arc::clone(tracer), id.clone()));
        Arc::new(Both { metrics, statistics, tracer })
    }

    fn version_state_changed(&self, change: &VersionStateChanged) {
        self.metrics.version_state_changed(change);
        // As on Triton, what is loaded again counts from the start.
        if change.gone {
            self.statistics.forget(&change.id);
            if let Some(drift) = &self.drift {
                drift.forget(&change.id);
            }
            self.alerts.forget(&change.id, SystemTime::now());
        }
    }

    fn watch(
        &self,
        id: &ModelId,
        profile: &Profile,
        contract: &Contract,
    ) -> Result<Option<Arc<dyn Watch>>> {
        self.drift.as_ref().map(|drift| drift.watch(id, profile, contract)).transpose()
    }

    fn remember(&self, id: &ModelId, outcome: Outcome, file: &str) -> Option<Arc<dyn Remember>> {
        Some(self.statistics.performance.remember(id, outcome, file))
    }
}

struct Both {
    metrics: Arc<dyn VersionSink>,
    statistics: Arc<VersionStatistics>,
    tracer: Option<(Arc<dyn Tracer>, ModelId)>,
}

impl VersionSink for Both {
    fn request_queued(&self) {
        self.metrics.request_queued();
    }

    fn requests_dequeued(&self, requests: usize) {
        self.metrics.requests_dequeued(requests);
    }

    fn batch_executed(&self, batch: BatchExecuted) {
        self.metrics.batch_executed(batch);
        self.statistics.batch_executed(batch);
    }

    fn batch_traced(&self, batch: BatchTraced) {
        if let Some((tracer, id)) = &self.tracer {
            tracer.batch_traced(id, batch);
        }
    }

    fn cache_looked_up(&self, lookup: CacheLookedUp) {
        self.metrics.cache_looked_up(lookup);
        self.statistics.cache_looked_up(lookup);
    }

    fn shadow_compared(&self, comparison: ShadowCompared) {
        self.metrics.shadow_compared(comparison);
    }

    fn request_completed(&self, request: RequestCompleted) {
        self.metrics.request_completed(request);
        self.statistics.request_completed(request);
    }

    fn request_failed(&self, reason: FailureReason, total: Duration) {
        self.metrics.request_failed(reason, total);
        self.statistics.request_failed(reason, total);
    }

    fn request_invalid(&self) {
        self.metrics.request_invalid();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::Timings;
    use crate::model::{ModelName, Version};

    #[test]
    fn what_is_gone_is_forgotten_and_what_is_replaced_is_not() {
        let (metrics, statistics) = (Arc::new(Metrics::new().unwrap()), Arc::default());
        let alerts = Arc::new(Alerts::new(Arc::clone(&metrics), None));
        let hub = Hub { metrics, statistics, drift: None, alerts, tracer: None };
        let name = ModelName::new("m").unwrap();
        let id = ModelId { name, version: Version::new(1).unwrap() };
        let answer = || {
            let (total, timings) = (Duration::from_micros(9), Timings::default());
            hub.for_version(&id).request_completed(RequestCompleted {
                rows: 1,
                total,
                timings,
                computed: true,
            });
        };
        let change = |ready: bool, gone: bool| {
            let (state, reason, load) = ("any", None, None);
            let id = id.clone();
            hub.version_state_changed(&VersionStateChanged {
                id,
                state,
                ready,
                gone,
                reason,
                load,
            });
        };
        let count = || hub.statistics.of(&id).snapshot().success.count;
        answer();
        change(true, false);
        answer();
        assert_eq!(count(), 2);
        change(false, true);
        assert_eq!(count(), 0);
    }
}
