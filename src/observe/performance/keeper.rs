//! The thread beside performance: it judges what labels say and writes it down, off the path of
//! requests and calls.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use super::Keeping;
use crate::error::{Error, Result};
use crate::observe::alerts::Alerts;
use crate::observe::metrics::Metrics;
use crate::observe::statistics::Statistics;

/// How often versions with new labels are judged.
const TICK: Duration = Duration::from_secs(1);

/// Starts it; it ends with the last handle to the statistics. What is labelled is written into the
/// state folder every so many seconds.
pub fn start(
    statistics: &Arc<Statistics>,
    alerts: Arc<Alerts>,
    metrics: Arc<Metrics>,
    state: &Path,
    seconds: u64,
) -> Result<()> {
    let (_ticks, ended) = sync_channel(0);
    let keeping = Keeping { folder: state.join("performance"), seconds, metrics, _ticks };
    if statistics.performance.keeping.set(keeping).is_err() {
        return Err(Error::internal("the performance thread runs already"));
    }
    let weak = Arc::downgrade(statistics);
    std::thread::Builder::new()
        .name("galen-performance".to_owned())
        .spawn(move || keep(&weak, &alerts, &ended, Duration::from_secs(seconds)))
        .map(|_| ())
        .map_err(|error| {
            Error::internal("the performance thread could not be started").with_detail(error)
        })
}

fn keep(statistics: &Weak<Statistics>, alerts: &Alerts, ended: &Receiver<()>, interval: Duration) {
    let mut saved = Instant::now();
    while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
        let Some(statistics) = statistics.upgrade() else { return };
        statistics.performance.judge(alerts, SystemTime::now());
        if saved.elapsed() >= interval {
            statistics.performance.save();
            saved = Instant::now();
        }
    }
}
