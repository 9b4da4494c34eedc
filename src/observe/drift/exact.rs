//! Windows whose raw values are compared, on a thread of its own: what takes seconds delays no
//! count and no answer. It works a tenth of the time at most; of the windows of a version that end
//! meanwhile, the last one is compared.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use super::{Drift, TICK, Watched};
use crate::model::profile::{Exact, Kept};

/// How many times as long as it worked it rests.
const REST_TIMES: u32 = 9;

/// The raw values of a window that is complete.
pub struct Waiting {
    pub kept: Kept,
    /// End of the window, and all of its rows.
    pub at: SystemTime,
    pub rows: u64,
}

/// What they say.
#[derive(Clone, Debug)]
pub struct Compared {
    pub at: SystemTime,
    pub rows: u64,
    pub exact: Exact,
}

/// Compares what waits, again and again until nobody holds the monitor any more.
pub(super) fn keep_comparing(drift: &Weak<Drift>, ended: &Receiver<()>) {
    let mut rest = TICK;
    while ended.recv_timeout(rest) == Err(RecvTimeoutError::Timeout) {
        let Some(all) = drift.upgrade().map(|drift| drift.all()) else { return };
        let begun = Instant::now();
        for watched in all {
            let compared = watched.compare();
            if let (Some(compared), Some(drift)) = (compared, drift.upgrade()) {
                drift.announce_exact(&watched, &compared);
            }
        }
        rest = rest_after(begun.elapsed());
    }
}

fn rest_after(work: Duration) -> Duration {
    work.saturating_mul(REST_TIMES).max(TICK)
}

impl Watched {
    /// Compares the window that waits, if one does.
    pub(super) fn compare(&self) -> Option<Arc<Compared>> {
        let Waiting { kept, at, rows } = self.take_waiting()?;
        let compared = Arc::new(Compared { at, rows, exact: Exact::of(&self.profile, &kept) });
        self.state().exact = Some(Arc::clone(&compared));
        Some(compared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rests_nine_times_as_long_as_it_worked() {
        assert_eq!(rest_after(Duration::ZERO), TICK);
        assert_eq!(rest_after(Duration::from_secs(2)), Duration::from_secs(18));
        assert_eq!(rest_after(Duration::MAX), Duration::MAX);
    }
}
