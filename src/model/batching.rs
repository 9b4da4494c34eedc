//! What a model's configuration says of batches and queues: the wishes, as written and checked.
//!
//! What this file must not know: how a queue works (`scheduler::policy` fills in the defaults).

use serde::Deserialize;

use crate::error::{Error, Result};

/// Bounds of configuration values: far beyond use, near enough to catch a slipped digit.
pub const BATCH_SIZE_LIMIT: usize = 65_536;
pub const QUEUE_DEPTH_LIMIT: usize = 1_000_000;
pub const QUEUE_DELAY_US_LIMIT: u64 = 60_000_000;
/// A day: nobody waits longer for an answer.
pub const QUEUE_TIMEOUT_US_LIMIT: u64 = 24 * 60 * 60 * 1_000_000;
/// Every level is a queue of its own.
pub const PRIORITY_LEVELS_LIMIT: u32 = 256;
const PREFERRED_LIMIT: usize = 1024;

/// How requests share a batch.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Batching {
    /// Most rows in one engine call, and in one request. 0 turns batching off.
    pub batch_size_max: Option<usize>,
    /// Whether requests share a batch. Without, a batch is the rows that one request brings.
    pub join: bool,
    /// Sizes that run at once, without waiting for the delay; the largest that can be had.
    pub batch_sizes_preferred: Vec<usize>,
    /// How long the oldest request may wait for company. 0: run whatever is there at once.
    pub queue_delay_us_max: Option<u64>,
    /// Within what time requests are to be answered: they wait for company as long as that allows.
    pub latency_target_us: Option<u64>,
    /// Most requests that may wait, on all levels together; one more is refused as overload.
    pub queue_depth_max: Option<usize>,
    /// Requests start, and are answered, in the order of their arrival. Takes one instance.
    pub keep_order: bool,
    /// Levels of priority, 1 the most urgent. 0: none, all requests are equal.
    pub priority_levels: u32,
    /// The level of a request that names none.
    pub priority_default: Option<u32>,
    /// What holds on every level that has no policy of its own.
    pub queue: QueuePolicy,
    pub levels: Vec<LevelPolicy>,
}

impl Default for Batching {
    fn default() -> Self {
        Self {
            batch_size_max: None,
            join: true,
            batch_sizes_preferred: Vec::new(),
            queue_delay_us_max: None,
            latency_target_us: None,
            queue_depth_max: None,
            keep_order: false,
            priority_levels: 0,
            priority_default: None,
            queue: QueuePolicy::default(),
            levels: Vec::new(),
        }
    }
}

/// The policy of one priority level.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LevelPolicy {
    pub level: u32,
    #[serde(default)]
    pub queue: QueuePolicy,
}

/// How long and how many requests may wait on one level.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueuePolicy {
    /// How long a request may wait before it is late. 0: as long as its deadline allows.
    pub timeout_us: u64,
    pub timeout_action: TimeoutAction,
    /// Whether a request's own, shorter time-out takes the place of `timeout_us`.
    pub timeout_override: bool,
    /// Most requests that may wait on this level; without it, only the common limit holds.
    pub depth_max: Option<usize>,
}

/// What happens to a late request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeoutAction {
    /// It is refused.
    #[default]
    Reject,
    /// It waits on, behind every request of its level that is not late.
    Delay,
}

impl Batching {
    pub(super) fn validate(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::invalid(format!("batching.{message}")));
        if self.batch_size_max.is_some_and(|n| n > BATCH_SIZE_LIMIT) {
            return wrong(format!("batch_size_max: expected 0 to {BATCH_SIZE_LIMIT}"));
        }
        if self.queue_depth_max.is_some_and(|n| !(1..=QUEUE_DEPTH_LIMIT).contains(&n)) {
            return wrong(format!("queue_depth_max: expected 1 to {QUEUE_DEPTH_LIMIT}"));
        }
        if self.queue_delay_us_max.is_some_and(|us| us > QUEUE_DELAY_US_LIMIT) {
            return wrong(format!("queue_delay_us_max: expected 0 to {QUEUE_DELAY_US_LIMIT}"));
        }
        if self.latency_target_us.is_some_and(|us| !(1..=QUEUE_DELAY_US_LIMIT).contains(&us)) {
            return wrong(format!("latency_target_us: expected 1 to {QUEUE_DELAY_US_LIMIT}"));
        }
        let delays = self.queue_delay_us_max.is_some_and(|us| us > 0);
        if delays && self.latency_target_us.is_some() {
            return wrong(
                "latency_target_us says how long to wait: leave queue_delay_us_max out".into(),
            );
        }
        let size_max = self.batch_size_max.unwrap_or(BATCH_SIZE_LIMIT);
        let sizes = &self.batch_sizes_preferred;
        if sizes.len() > PREFERRED_LIMIT || sizes.iter().any(|size| !(1..=size_max).contains(size))
        {
            return wrong(format!("batch_sizes_preferred: expected sizes from 1 to {size_max}"));
        }
        if !self.join && (!sizes.is_empty() || delays || self.latency_target_us.is_some()) {
            return wrong(
                "join is false, so nothing waits for company: leave batch_sizes_preferred, \
                 queue_delay_us_max and latency_target_us out"
                    .into(),
            );
        }
        self.validate_levels()?;
        self.queue.validate("queue")?;
        self.levels.iter().try_for_each(|level| level.queue.validate("levels.queue"))
    }

    fn validate_levels(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::invalid(format!("batching.{message}")));
        let levels = self.priority_levels;
        if levels > PRIORITY_LEVELS_LIMIT {
            return wrong(format!("priority_levels: expected 0 to {PRIORITY_LEVELS_LIMIT}"));
        }
        let is_level = |level: u32| (1..=levels).contains(&level);
        match (levels, self.priority_default) {
            (0, None) => {}
            (0, Some(_)) => {
                return wrong("priority_default needs priority_levels".into());
            }
            (_, Some(level)) if is_level(level) => {}
            _ => return wrong(format!("priority_default: expected 1 to {levels}")),
        }
        if self.keep_order && levels > 1 {
            return wrong("keep_order and priority_levels contradict each other".into());
        }
        for (index, LevelPolicy { level, .. }) in self.levels.iter().enumerate() {
            if !is_level(*level) {
                return wrong(format!(
                    "levels: there is no level {level}; priority_levels is {levels}"
                ));
            }
            if self.levels[..index].iter().any(|other| other.level == *level) {
                return wrong(format!("levels: level {level} is given twice"));
            }
        }
        Ok(())
    }
}

impl QueuePolicy {
    fn validate(&self, key: &str) -> Result<()> {
        if self.timeout_us > QUEUE_TIMEOUT_US_LIMIT {
            return Err(Error::invalid(format!(
                "batching.{key}.timeout_us: expected 0 to {QUEUE_TIMEOUT_US_LIMIT} (a day)"
            )));
        }
        if self.depth_max.is_some_and(|n| !(1..=QUEUE_DEPTH_LIMIT).contains(&n)) {
            return Err(Error::invalid(format!(
                "batching.{key}.depth_max: expected 1 to {QUEUE_DEPTH_LIMIT}"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        let batching: Batching = crate::config::toml_from_str(text).unwrap();
        batching.validate().err().map_or_else(String::new, |error| error.message().to_owned())
    }

    #[test]
    fn levels_and_policies_are_read_and_checked() {
        let text = "priority_levels = 3\npriority_default = 2\n[queue]\ndepth_max = 9\n\
                    [[levels]]\nlevel = 1\nqueue = { timeout_us = 5, timeout_action = \"delay\" }";
        assert_eq!(message(text), "");
        let batching: Batching = crate::config::toml_from_str(text).unwrap();
        assert_eq!(batching.levels[0].queue.timeout_action, TimeoutAction::Delay);
        for (text, part) in [
            ("priority_levels = 257\npriority_default = 1", "priority_levels: expected 0 to 256"),
            ("priority_levels = 2", "priority_default: expected 1 to 2"),
            ("priority_levels = 2\npriority_default = 3", "priority_default: expected 1 to 2"),
            ("priority_default = 1", "priority_default needs priority_levels"),
            ("[[levels]]\nlevel = 1", "there is no level 1"),
            (
                "priority_levels = 1\npriority_default = 1\nlevels = [{level = 1}, {level = 1}]",
                "level 1 is given twice",
            ),
            ("priority_levels = 2\npriority_default = 1\nkeep_order = true", "contradict"),
            ("[queue]\ntimeout_us = 86400000001", "queue.timeout_us"),
            ("[queue]\ndepth_max = 0", "queue.depth_max"),
            ("batch_size_max = 4\nbatch_sizes_preferred = [5]", "sizes from 1 to 4"),
            ("batch_sizes_preferred = [0]", "sizes from 1"),
            ("join = false\nqueue_delay_us_max = 1", "nothing waits for company"),
            ("join = false\nlatency_target_us = 1", "nothing waits for company"),
            ("latency_target_us = 0", "latency_target_us: expected 1 to 60000000"),
            ("latency_target_us = 5\nqueue_delay_us_max = 1", "leave queue_delay_us_max out"),
        ] {
            assert!(message(text).contains(part), "{text}: {}", message(text));
        }
    }
}
