//! Drift while serving: every version with a reference profile is watched, in windows that end by
//! count or by age, and each is held against training.
//!
//! `watched` counts, on the path of requests, in fixed memory; `judge` says what a window means;
//! `snapshot` keeps it over a restart. One thread puts the counts together once a second. Another
//! compares raw values, where the profile has some (`exact`): they are shown, and alert nobody.
//!
//! Memory: 4 windows of every watched version are written to and two more are kept, each of a few
//! hundred bytes a feature, whatever comes: new categories are counted by name up to 32. With raw
//! values, five windows have up to `exact_rows` rows of 8 bytes a feature, 8 MiB at most each; so
//! has the one that waits to be compared and the one that is. To compare vectors takes 50 MB more,
//! for one at a time.

mod exact;
mod judge;
pub mod snapshot;
mod watched;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant, SystemTime};

pub use exact::Compared;
pub use judge::{Finding, Verdict};
pub use watched::{Complete, State, Watched};

use super::alerts::Alerts;
use super::metrics::Metrics;
use crate::config::DriftConfig;
use crate::error::{Error, Result};
use crate::event::{AlertKind, Watch};
use crate::model::profile::Profile;
use crate::model::{Contract, ModelId};

/// How often counts are put together.
const TICK: Duration = Duration::from_secs(1);

/// All versions under watch.
pub struct Drift {
    config: DriftConfig,
    /// Where snapshots lie.
    folder: PathBuf,
    metrics: Arc<Metrics>,
    alerts: Arc<Alerts>,
    versions: RwLock<BTreeMap<ModelId, Arc<Watched>>>,
    /// While they are there, the threads go on.
    _threads: [SyncSender<()>; 2],
}

impl Drift {
    /// Starts the threads that put counts together and compare values; they end with the last
    /// handle.
    pub fn start(
        config: DriftConfig,
        state: &Path,
        metrics: Arc<Metrics>,
        alerts: Arc<Alerts>,
    ) -> Result<Arc<Self>> {
        let folder = state.join("drift");
        let (ticks, ticks_ended) = sync_channel(0);
        let (comparing, comparing_ended) = sync_channel(0);
        let (versions, threads) = (RwLock::default(), [ticks, comparing]);
        let drift = Arc::new(Self { config, folder, metrics, alerts, versions, _threads: threads });
        let (ticker, comparer) = (Arc::downgrade(&drift), Arc::downgrade(&drift));
        spawn("galen-drift", move || keep_time(&ticker, &ticks_ended))?;
        spawn("galen-exact", move || exact::keep_comparing(&comparer, &comparing_ended))?;
        Ok(drift)
    }

    pub fn config(&self) -> &DriftConfig {
        &self.config
    }

    /// Begins to watch a version, from where its last snapshot stood if its profile is the same. A
    /// version that is loaded again beside itself, with the same profile, is watched on.
    pub fn watch(
        &self,
        id: &ModelId,
        profile: &Profile,
        contract: &Contract,
    ) -> Result<Arc<dyn Watch>> {
        let now = Instant::now();
        if let Some(watched) = self.of(id) {
            if watched.is_of(profile, contract) {
                return Ok(watched);
            }
            self.keep(&watched);
        }
        let watched = Arc::new(Watched::new(id, profile, contract, &self.config, now)?);
        if let Err(error) = snapshot::restore(&self.folder, &watched) {
            self.metrics.snapshot_fault("drift", "read");
            tracing::warn!(model = %id, %error, "the kept drift statistics are not used");
        }
        {
            let mut versions = self.versions.write().unwrap_or_else(PoisonError::into_inner);
            versions.insert(id.clone(), Arc::clone(&watched));
        }
        // Who was told before a restart is told again; what another profile said is over.
        self.tell(&watched, SystemTime::now());
        Ok(watched)
    }

    /// Ends watching a version that is gone; its snapshot stays.
    pub fn forget(&self, id: &ModelId) {
        let mut versions = self.versions.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(watched) = versions.remove(id) {
            self.keep(&watched);
        }
    }

    pub fn of(&self, id: &ModelId) -> Option<Arc<Watched>> {
        self.versions.read().unwrap_or_else(PoisonError::into_inner).get(id).map(Arc::clone)
    }

    fn all(&self) -> Vec<Arc<Watched>> {
        let versions = self.versions.read().unwrap_or_else(PoisonError::into_inner);
        versions.values().map(Arc::clone).collect()
    }

    /// Puts everything together, and ends windows that are full or old.
    pub fn tick(&self, now: Instant, wall: SystemTime) {
        for watched in self.all() {
            if watched.gather(&self.config, now, wall) {
                self.announce(&watched);
                self.tell(&watched, wall);
            }
            self.metrics.drift_rows(&watched.id, watched.rows(), watched.dropped());
        }
    }

    /// Writes all snapshots.
    pub fn save(&self) {
        let versions = self.versions.read().unwrap_or_else(PoisonError::into_inner);
        versions.values().for_each(|watched| self.keep(watched));
    }

    fn keep(&self, watched: &Watched) {
        if let Err(error) = snapshot::save(&self.folder, watched) {
            self.metrics.snapshot_fault("drift", "write");
            tracing::warn!(
                model = %watched.id,
                %error,
                detail = error.detail(),
                "drift statistics can not be kept"
            );
        }
    }

    /// Tells what is in alert after the last complete window.
    fn tell(&self, watched: &Watched, at: SystemTime) {
        let (drift, quality) = {
            let state = watched.state();
            let verdicts = state.last.iter().flat_map(|last| &last.verdicts);
            let named: Vec<_> = watched.names().into_iter().zip(verdicts).collect();
            let of = |question: fn(&Verdict) -> &Finding| {
                let findings = named.iter().map(|(name, verdict)| (name, question(verdict)));
                let alerts = findings.filter(|(_, finding)| finding.is_alert());
                let reason = |(name, finding): (&String, &Finding)| match &finding.reasons[..] {
                    [] => format!("{name}: as before, of too few rows to say more"),
                    reasons => format!("{name}: {}", reasons.join("; ")),
                };
                alerts.map(reason).collect::<Vec<_>>()
            };
            (of(|verdict| &verdict.drift), of(|verdict| &verdict.quality))
        };
        // Held, so that nothing is told of a version that is gone or was replaced.
        let versions = self.versions.read().unwrap_or_else(PoisonError::into_inner);
        if !versions.get(&watched.id).is_some_and(|now| std::ptr::eq(&**now, watched)) {
            return;
        }
        self.alerts.stand(&watched.id, AlertKind::Drift, drift, at);
        self.alerts.stand(&watched.id, AlertKind::Quality, quality, at);
    }

    /// Tells metrics what raw values say; of a version that is gone or was replaced, nothing.
    fn announce_exact(&self, watched: &Watched, compared: &Compared) {
        let versions = self.versions.read().unwrap_or_else(PoisonError::into_inner);
        if versions.get(&watched.id).is_some_and(|now| std::ptr::eq(&**now, watched)) {
            self.metrics.drift_exact(&watched.id, &watched.names(), &compared.exact);
        }
    }

    /// Tells metrics and log what a complete window says.
    fn announce(&self, watched: &Watched) {
        let state = watched.state();
        let Some(last) = &state.last else { return };
        let names = watched.names();
        self.metrics.drift_window(&watched.id, &names, last);
        for (name, verdict) in names.iter().zip(&last.verdicts) {
            let reasons = verdict.reasons();
            if !reasons.is_empty() {
                tracing::warn!(
                    model = %watched.id,
                    feature = name.as_str(),
                    alert = verdict.is_alert(),
                    reasons = reasons.join("; "),
                    "drift"
                );
            }
        }
    }
}

impl Watched {
    /// Names of the features, and then of the outputs, which have a prefix.
    pub fn names(&self) -> Vec<String> {
        let features = self.profile.features.iter().map(|feature| feature.name().to_owned());
        let outputs = self.profile.outputs.iter();
        features.chain(outputs.map(|output| format!("output:{}", output.name()))).collect()
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned.map(drop).map_err(|error| {
        Error::internal("the drift thread could not be started").with_detail(error)
    })
}

/// Ticks until nobody holds the monitor any more.
fn keep_time(drift: &Weak<Drift>, ended: &Receiver<()>) {
    let mut saved = Instant::now();
    while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
        let Some(drift) = drift.upgrade() else { return };
        drift.tick(Instant::now(), SystemTime::now());
        if saved.elapsed() >= Duration::from_secs(drift.config.snapshot_seconds) {
            drift.save();
            saved = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests;
