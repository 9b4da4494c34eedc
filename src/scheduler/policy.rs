//! The knobs of dynamic batching, with their defaults.

use std::time::Duration;

use crate::model::manifest::Batching;

/// How one version's requests are queued and joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPolicy {
    /// Most rows in one engine call and in one request; 0: every request runs alone.
    pub batch_size_max: usize,
    /// How long the oldest request may wait for company while an instance is free.
    pub queue_delay_max: Duration,
    /// Most requests that may wait.
    pub queue_depth_max: usize,
}

impl BatchPolicy {
    /// Enough to fill a batch of tiny models from 64 callers; big models set their own.
    pub const BATCH_SIZE_MAX: usize = 64;
    /// At 1,000 small requests a wait is tens of milliseconds; beyond that, refusing is kinder.
    pub const QUEUE_DEPTH_MAX: usize = 1024;

    /// The manifest's wishes over the defaults. `batchable` is what the signature allows.
    pub fn new(wishes: &Batching, batchable: bool) -> Self {
        let size = wishes.batch_size_max.unwrap_or(Self::BATCH_SIZE_MAX);
        Self {
            batch_size_max: if batchable { size } else { 0 },
            queue_delay_max: Duration::from_micros(wishes.queue_delay_us_max.unwrap_or(0)),
            queue_depth_max: wishes.queue_depth_max.unwrap_or(Self::QUEUE_DEPTH_MAX),
        }
    }
}
