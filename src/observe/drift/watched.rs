//! One version under watch: what is seen of it goes into a few windows that never wait for each
//! other, and is put together off the path of requests.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant, SystemTime};

use super::exact::{Compared, Waiting};
use super::judge::{Verdict, judge};
use crate::config::DriftConfig;
use crate::error::Result;
use crate::event::Watch;
use crate::model::profile::{Profile, Window};
use crate::model::{Contract, ModelId};
use crate::tensor::Tensor;

/// Windows that are written to side by side; as many threads answer requests, or fewer.
const SHARDS: usize = 4;

/// A version with a profile.
pub struct Watched {
    pub id: ModelId,
    pub profile: Profile,
    /// Of the profile: what was counted against it fits no other.
    pub digest: String,
    batched: bool,
    sample: f64,
    shards: [Mutex<Window>; SHARDS],
    /// Rows that were seen since the version began, and rows that were not: every window was busy.
    rows: AtomicU64,
    dropped: AtomicU64,
    state: Mutex<State>,
    /// Raw values of the last complete window, until they are compared.
    waiting: Mutex<Option<Waiting>>,
}

/// What was put together.
pub struct State {
    /// The window that is being filled.
    pub current: Window,
    /// Rows of all windows since the version began, this one's with them.
    pub gathered: u64,
    pub current_since: Instant,
    /// The last window that is complete, and what it says.
    pub last: Option<Complete>,
    /// Complete windows since the version began.
    pub completed: u64,
    /// When counts from before a restart were taken over; as they stood then.
    pub restored_at: Option<SystemTime>,
    /// What the raw values said of the last window that they were compared of.
    pub exact: Option<Arc<Compared>>,
}

/// A window that is full.
#[derive(Clone)]
pub struct Complete {
    pub window: Window,
    pub at: SystemTime,
    /// Of the features, and then of the outputs.
    pub verdicts: Vec<Verdict>,
}

impl Complete {
    /// Whether any feature or output is in alert.
    pub fn is_alert(&self) -> bool {
        self.verdicts.iter().any(Verdict::is_alert)
    }
}

impl Watched {
    pub fn new(
        id: &ModelId,
        profile: &Profile,
        contract: &Contract,
        config: &DriftConfig,
        now: Instant,
    ) -> Result<Self> {
        let empty = Window::new(profile, contract)?.keeping(profile, config.exact_rows);
        let empty = if config.quantiles { empty.sketching() } else { empty };
        Ok(Self {
            id: id.clone(),
            profile: profile.clone(),
            digest: profile.digest()?,
            batched: contract.batched,
            sample: config.sample_percent / 100.0,
            shards: std::array::from_fn(|_| Mutex::new(empty.clone())),
            rows: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            state: Mutex::new(State {
                current: empty,
                gathered: 0,
                current_since: now,
                last: None,
                completed: 0,
                restored_at: None,
                exact: None,
            }),
            waiting: Mutex::new(None),
        })
    }

    /// Whether what it has counted fits this profile and contract.
    pub fn is_of(&self, profile: &Profile, contract: &Contract) -> bool {
        self.profile == *profile && self.batched == contract.batched
    }

    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Takes over what was counted before a restart, or elsewhere.
    pub fn resume(&self, rows: u64, dropped: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.dropped.fetch_add(dropped, Ordering::Relaxed);
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was put together, with all that was seen up to now.
    pub fn up_to_now(&self) -> MutexGuard<'_, State> {
        let mut state = self.state();
        let State { current, gathered, .. } = &mut *state;
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            if shard.rows() > 0 {
                *gathered += shard.rows();
                current.merge(&shard);
                shard.reset();
            }
        }
        state
    }

    /// Puts together what was seen, and ends the window if it is full or old enough. Gives back
    /// whether it ended.
    pub fn gather(&self, config: &DriftConfig, now: Instant, wall: SystemTime) -> bool {
        let mut state = self.up_to_now();
        let age = now.saturating_duration_since(state.current_since);
        let full = state.current.rows() >= config.window_rows;
        let old = age >= Duration::from_secs(config.window_seconds) && state.current.rows() > 0;
        if !(full || old) {
            return false;
        }
        let before = state.last.as_ref().map(|last| &last.verdicts[..]).unwrap_or_default();
        let verdicts = judge(&self.profile, &state.current, before);
        let kept = state.current.take_kept().filter(|kept| !kept.is_empty());
        if let Some(kept) = kept {
            let waiting = Waiting { kept, at: wall, rows: state.current.rows() };
            *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(waiting);
        }
        let window = state.current.clone();
        state.last = Some(Complete { window, at: wall, verdicts });
        state.completed += 1;
        state.current.reset();
        state.current_since = now;
        true
    }

    pub(super) fn take_waiting(&self) -> Option<Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Watch for Watched {
    fn answered(&self, inputs: &[Tensor], outputs: &[Tensor]) {
        if self.sample < 1.0 && fastrand::f64() >= self.sample {
            return;
        }
        let rows = if self.batched { inputs.first().map_or(1, Tensor::rows) } else { 1 } as u64;
        let first = shard();
        for step in 0..SHARDS {
            let Some(shard) = self.shards.get((first + step) % SHARDS) else { continue };
            let mut window = match shard.try_lock() {
                Ok(window) => window,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => continue,
            };
            window.make_room(rows as usize, || fastrand::u64(..));
            window.observe_inputs(inputs);
            window.observe_outputs(outputs);
            window.observe_rows(rows);
            self.rows.fetch_add(rows, Ordering::Relaxed);
            return;
        }
        self.dropped.fetch_add(rows, Ordering::Relaxed);
    }
}

/// The window that this thread tries first.
fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    MINE.with(|mine| *mine)
}
