//! A traffic policy at work: its destinations as versions, and what became of the requests that
//! went there. A new one takes its place whenever the policy or a destination changes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::steer::Steering;
use crate::model::traffic::{Destination, Traffic, Window};
use crate::model::{Label, Version};

/// Where unversioned requests of one model go.
pub struct Route {
    pub steering: Steering,
    /// `None`: the highest that is ready.
    pub base: Option<Version>,
    /// In the order of the policy's shares; `None` where a label points nowhere.
    pub shares: Vec<Option<Version>>,
    pub shadow: Option<Version>,
    counts: Mutex<Counts>,
    /// It has ended by its own verdict, which is being carried out.
    pub ended: AtomicBool,
    /// Copies that are being computed.
    pub shadows: AtomicUsize,
}

/// What became of the requests since this route began.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// All, and those since the last verdict: first those that went to the base, then each share's.
    pub total: Vec<Window>,
    pub recent: Vec<Window>,
    pub shadow: ShadowCounts,
}

/// What became of copies.
#[derive(Clone, Debug, Default)]
pub struct ShadowCounts {
    /// Requests that were compared.
    pub compared: u64,
    /// Copies that got no answer.
    pub failed: u64,
    /// Copies that were not made, because too many were at work.
    pub dropped: u64,
    pub rows: u64,
    /// Rows in which every output agrees.
    pub rows_agreeing: u64,
    pub outputs: BTreeMap<String, OutputCounts>,
    /// Why the last failed.
    pub reason: Option<String>,
}

/// How one output compares.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OutputCounts {
    pub rows: u64,
    pub rows_agreeing: u64,
    /// Of numbers.
    pub elements: u64,
    pub difference_sum: f64,
    pub difference_max: f64,
}

impl Route {
    pub fn new(steering: Steering, labels: &BTreeMap<Label, Version>) -> Self {
        let version = |to: &Destination| to.version(labels);
        let default = Traffic::default();
        let policy = steering.policy.as_ref().unwrap_or(&default);
        let base = policy.to.as_ref().and_then(version);
        let shares: Vec<_> = policy.split.iter().map(|share| version(&share.to)).collect();
        let shadow = policy.shadow.as_ref().and_then(|shadow| version(&shadow.to));
        let windows = vec![Window::default(); shares.len() + 1];
        let counts = Counts { total: windows.clone(), recent: windows, ..Counts::default() };
        Self {
            steering,
            base,
            shares,
            shadow,
            counts: Mutex::new(counts),
            ended: AtomicBool::new(false),
            shadows: AtomicUsize::new(0),
        }
    }

    /// Whether it sends anything anywhere.
    pub fn is_plain(&self) -> bool {
        self.steering == Steering::default()
    }

    /// Whether it would be the same if it were made anew.
    pub fn is_like(&self, other: &Route) -> bool {
        let versions = |route: &Route| (route.base, route.shares.clone(), route.shadow);
        self.steering == other.steering && versions(self) == versions(other)
    }

    /// Every version that must be ready for it, and the one to go back to.
    pub fn versions(&self) -> impl Iterator<Item = Version> {
        let shares = self.shares.iter().copied().flatten();
        let others = [self.base, self.shadow, self.steering.previous].into_iter().flatten();
        others.chain(shares)
    }

    pub fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
