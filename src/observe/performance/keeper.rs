//! The thread beside performance: it judges what labels say, off the path of requests and calls.

use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use crate::error::{Error, Result};
use crate::observe::alerts::Alerts;
use crate::observe::statistics::Statistics;

/// How often versions with new labels are judged.
const TICK: Duration = Duration::from_secs(1);

/// Starts it; it ends with the last handle to the statistics.
pub fn start(statistics: &Arc<Statistics>, alerts: Arc<Alerts>) -> Result<()> {
    let (ticks, ended) = sync_channel(0);
    if statistics.performance.ticks.set(ticks).is_err() {
        return Err(Error::internal("the performance thread runs already"));
    }
    let weak = Arc::downgrade(statistics);
    std::thread::Builder::new()
        .name("galen-performance".to_owned())
        .spawn(move || keep(&weak, &alerts, &ended))
        .map(|_| ())
        .map_err(|error| {
            Error::internal("the performance thread could not be started").with_detail(error)
        })
}

fn keep(statistics: &Weak<Statistics>, alerts: &Alerts, ended: &Receiver<()>) {
    while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
        let Some(statistics) = statistics.upgrade() else { return };
        statistics.performance.judge(alerts, SystemTime::now());
    }
}
