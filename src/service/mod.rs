//! What Galen can do, said once. The doors hold a [`Service`] and nothing else: every protocol is a
//! way of writing these calls down.

mod card;
mod catalog;
mod drift;
mod ensemble;
mod examples;
mod inference;
mod log;
mod performance;
mod repository;
mod statistics;
mod traffic;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

pub use crate::observe::drift::Verdict as DriftVerdict;
pub use crate::observe::drift::snapshot::Snapshot as DriftSnapshot;
pub use crate::registry::OutputCounts;
pub use catalog::{ModelStatus, ModelView, Readiness, VersionStatus};
pub use drift::{DriftReport, DriftStatus, ExactReport, FeatureReport};
pub use examples::Agreement;
pub use inference::Target;
pub use log::{Levels, LogChange, LogForm, LogSettings};
pub use performance::{CASES_MIN, FeedbackReport, LABELS_MAX};
pub use performance::{Feedback, Label, Report as PerformanceReport};
pub use performance::{Subgroup as PerformanceSubgroup, Summary as PerformanceSummary};
pub use repository::{IndexEntry, LoadCall};
pub use statistics::{
    BOUNDS_US, BatchTally, Latency, ModelStatistics, Snapshot, Spread, Tally, quantile,
};
pub use traffic::{ArmReport, TrafficReport};

use crate::observe::drift::Drift;
use crate::observe::statistics::Statistics;
use crate::observe::telemetry::LogControl;
use crate::registry::{Cards, Control, Manager, Progress, TableReader};

/// The server's name in metadata.
pub const NAME: &str = "galen";

/// A cheap handle to everything the doors may ask for.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    table: TableReader,
    progress: watch::Receiver<Progress>,
    control: Control,
    cards: Cards,
    statistics: Arc<Statistics>,
    drift: Option<Arc<Drift>>,
    log: LogControl,
    /// Readiness needs every model, not only one.
    readiness_strict: bool,
    /// Set at shutdown: readiness is down. What still arrives is answered, for it was sent by
    /// somebody who did not know; the doors see to it that nothing more arrives.
    draining: AtomicBool,
    /// Told when readiness may have changed: at every registry step and at shutdown.
    changed: watch::Sender<()>,
}

impl Service {
    pub fn new(
        registry: Manager,
        statistics: Arc<Statistics>,
        drift: Option<Arc<Drift>>,
        log: LogControl,
        readiness_strict: bool,
    ) -> Self {
        let Manager { table, progress, control, cards } = registry;
        let (changed, _) = watch::channel(());
        let draining = AtomicBool::new(false);
        Self(Arc::new(Inner {
            table,
            progress,
            control,
            cards,
            statistics,
            drift,
            log,
            readiness_strict,
            draining,
            changed,
        }))
    }

    /// Readiness falls at once; work goes on until the doors are closed.
    pub fn start_draining(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
        self.0.changed.send_replace(());
    }

    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    /// Waits until the server shuts down.
    pub async fn draining(&self) {
        let mut changed = self.0.changed.subscribe();
        while !self.is_draining() {
            // The sender lives as long as this service.
            let _ = changed.changed().await;
        }
    }

    /// Waits until readiness may have changed.
    pub async fn readiness_changed(&self) {
        let mut draining = self.0.changed.subscribe();
        let mut progress = self.0.progress.clone();
        progress.mark_unchanged();
        tokio::select! {
            _ = draining.changed() => {}
            result = progress.changed() => {
                if result.is_err() {
                    // The registry has settled and will not speak again.
                    let _ = draining.changed().await;
                }
            }
        }
    }
}
