//! The decision which requests run together, and when. Pure: no clock, no lock, no channel; `now`
//! is passed in, so that every interleaving can be tested.
//!
//! Order: requests wait in lanes, the most urgent level first, in the order of arrival; without
//! priorities there is one lane. The first request of the first lane that has one always leads the
//! next batch; requests behind it, of any lane, join when their shape key is equal and the batch
//! has room. Requests of another shape keep their place and lead a batch of their own, so within a
//! lane none waits for ever.
//!
//! Across levels there is no such promise, as on Triton: a less urgent request leads only when no
//! more urgent one waits, so steady urgent load can keep it waiting until its deadline, and no
//! longer. Likewise a request that its policy delays waits behind all others of its level.
//!
//! Lateness is noticed when an instance looks for work, or when the queue is full. While all are
//! busy a late request may wait on, at most until its deadline, which its caller keeps.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::growth::Growth;
use super::pace::Pace;
use super::policy::BatchPolicy;
use crate::model::batching::TimeoutAction;
use crate::tensor::batch::ShapeKey;

/// A request as the queue sees it.
#[derive(Debug)]
pub struct Entry<T> {
    pub payload: T,
    pub key: ShapeKey,
    pub rows: usize,
    pub enqueued_at: Instant,
    pub deadline: Instant,
    /// From when its level's policy calls it late; `None`: never.
    pub late_at: Option<Instant>,
}

/// What the queue asks about a waiting request.
pub trait Waiter {
    /// Whether its caller has left, so that nobody would read the answer.
    fn has_left(&self) -> bool;
}

/// Why a request was taken out without running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    Expired,
    CallerLeft,
}

/// What a free instance is to do.
#[derive(Debug)]
pub enum Next<T> {
    /// Nothing waits.
    Idle,
    /// A batch is forming; look again then, or when a request arrives.
    Wait(Instant),
    /// Run these together. Never empty.
    Run(Vec<Entry<T>>),
}

/// Bounded queue that forms batches.
#[derive(Debug)]
pub struct BatchQueue<T> {
    policy: BatchPolicy,
    /// For each level a lane, and behind it, where its policy delays late requests, one for those.
    lanes: Vec<Lane<T>>,
    /// Position of each level's first lane.
    firsts: Vec<usize>,
    /// Requests in all lanes.
    len: usize,
    /// When the whole queue may be looked through again: a flood of refusals must cost the refused
    /// nothing that the admitted pay for, and looking at every request costs what running one does.
    sweep_at: Option<Instant>,
    /// Where the policy has a target, what says how long to wait.
    pace: Option<Pace>,
    /// Where it names no sizes and no delay, what says how large a batch is worth being.
    growth: Option<Growth>,
}

/// Requests that wait for the same reason, in the order in which they will lead.
#[derive(Debug)]
struct Lane<T> {
    entries: VecDeque<Entry<T>>,
    /// What becomes of late requests; `None` where they wait on, being late already.
    late: Option<TimeoutAction>,
    /// Most requests in this lane and the one for its late requests.
    depth_max: usize,
}

/// What is to become of a waiting request.
enum Verdict {
    Waits,
    /// Late, in a lane whose late requests wait on in the next one.
    Delayed,
    Dropped(Dropped),
}

impl<T: Waiter> Lane<T> {
    fn verdict(&self, entry: &Entry<T>, now: Instant) -> Verdict {
        if entry.payload.has_left() {
            return Verdict::Dropped(Dropped::CallerLeft);
        }
        if entry.deadline <= now {
            return Verdict::Dropped(Dropped::Expired);
        }
        match self.late {
            Some(action) if entry.late_at.is_some_and(|late_at| late_at <= now) => match action {
                TimeoutAction::Reject => Verdict::Dropped(Dropped::Expired),
                TimeoutAction::Delay => Verdict::Delayed,
            },
            _ => Verdict::Waits,
        }
    }

    /// When waiting for company would cost a request its place or its answer.
    fn due_at(&self, entry: &Entry<T>) -> Instant {
        match (self.late, entry.late_at) {
            (Some(_), Some(late_at)) => late_at.min(entry.deadline),
            _ => entry.deadline,
        }
    }
}

/// What to do with the requests that could run together.
enum Plan {
    Wait(Instant),
    /// Take requests until the batch has this many rows.
    Take(usize),
}

/// Time between two sweeps of a full queue.
const SWEEP_PAUSE: Duration = Duration::from_millis(1);

impl<T: Waiter> BatchQueue<T> {
    pub fn new(policy: BatchPolicy) -> Self {
        let mut lanes = Vec::new();
        let mut firsts = Vec::new();
        for &level in &policy.levels {
            firsts.push(lanes.len());
            let depth_max = level.depth_max;
            let lane = |late| Lane { entries: VecDeque::new(), late, depth_max };
            lanes.push(lane(Some(level.late)));
            if level.late == TimeoutAction::Delay {
                lanes.push(lane(None));
            }
        }
        let pace = policy.latency_target.map(Pace::new);
        let growth = policy.grows().then(|| Growth::new(policy.batch_size_max));
        Self { policy, lanes, firsts, len: 0, sweep_at: None, pace, growth }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Admits a request to a level, 0 the most urgent, or gives it back when the queue or the level
    /// is full of requests that still matter. A level that does not exist is the last one.
    ///
    /// Taken-out requests go to `dropped`; the caller answers them.
    #[expect(clippy::result_large_err, reason = "a refusal hands the request back as it came")]
    pub fn push(
        &mut self,
        entry: Entry<T>,
        level: usize,
        now: Instant,
        dropped: &mut Vec<(Entry<T>, Dropped)>,
    ) -> Result<(), Entry<T>> {
        let level = level.min(self.firsts.len().saturating_sub(1));
        if self.is_level_full(level) {
            self.make_room(now, dropped);
        }
        if self.is_level_full(level) {
            return Err(entry);
        }
        let lane = self.firsts.get(level).and_then(|&first| self.lanes.get_mut(first));
        let Some(lane) = lane else { return Err(entry) };
        lane.entries.push_back(entry);
        self.len += 1;
        if let Some(pace) = &mut self.pace {
            pace.arrived(now);
        }
        Ok(())
    }

    /// Whether [`push`](Self::push) would refuse whatever comes, at every level.
    pub fn is_full(&mut self, now: Instant, dropped: &mut Vec<(Entry<T>, Dropped)>) -> bool {
        if self.has_no_place() {
            self.make_room(now, dropped);
        }
        self.has_no_place()
    }

    /// Whether as many wait as may; some of them may not matter any more.
    pub fn has_no_place(&self) -> bool {
        self.len >= self.policy.queue_depth_max
    }

    /// What a run is expected to take, for a policy with a target.
    pub fn expect(&mut self, run: Duration) {
        if let Some(pace) = &mut self.pace {
            pace.expect(run);
        }
    }

    /// A batch of so many rows and bytes of input took so long.
    pub fn ran(&mut self, rows: usize, bytes: usize, took: Duration) {
        if let Some(growth) = &mut self.growth {
            growth.ran(rows, bytes, took);
        }
    }

    /// What a free instance does now. Late and abandoned requests never reach a batch.
    pub fn next(&mut self, now: Instant, dropped: &mut Vec<(Entry<T>, Dropped)>) -> Next<T> {
        let Some(first) = self.first_lane(now, dropped) else { return Next::Idle };
        match self.plan(first, now) {
            Plan::Wait(until) => Next::Wait(until),
            Plan::Take(rows) => Next::Run(self.take_batch(first, rows, now, dropped)),
        }
    }

    /// Takes everything out, for a queue that closes.
    pub fn drain(&mut self) -> impl Iterator<Item = Entry<T>> + '_ {
        self.len = 0;
        self.lanes.iter_mut().flat_map(|lane| lane.entries.drain(..))
    }

    fn is_level_full(&self, level: usize) -> bool {
        if self.has_no_place() {
            return true;
        }
        let begin = self.firsts.get(level).copied().unwrap_or(0);
        let end = self.firsts.get(level + 1).copied().unwrap_or(self.lanes.len());
        let lanes = self.lanes.get(begin..end).unwrap_or(&[]);
        let waiting: usize = lanes.iter().map(|lane| lane.entries.len()).sum();
        lanes.first().is_some_and(|lane| waiting >= lane.depth_max)
    }

    /// The first lane with a request that may lead a batch now.
    fn first_lane(
        &mut self,
        now: Instant,
        dropped: &mut Vec<(Entry<T>, Dropped)>,
    ) -> Option<usize> {
        for lane in 0..self.lanes.len() {
            while let Some(head) = self.lanes[lane].entries.front() {
                match self.lanes[lane].verdict(head, now) {
                    Verdict::Waits => return Some(lane),
                    verdict => self.remove(lane, 0, verdict, dropped),
                }
            }
        }
        None
    }

    /// Takes out a request that must not run now: to its caller, or to the lane of the late.
    fn remove(
        &mut self,
        lane: usize,
        index: usize,
        verdict: Verdict,
        dropped: &mut Vec<(Entry<T>, Dropped)>,
    ) {
        // Removing from near the front moves few entries.
        let Some(entry) = self.lanes[lane].entries.remove(index) else { return };
        match (verdict, self.lanes.get_mut(lane + 1)) {
            (Verdict::Delayed, Some(late)) => late.entries.push_back(entry),
            (Verdict::Dropped(why), _) => {
                self.len -= 1;
                dropped.push((entry, why));
            }
            // A lane that delays has the lane of the late behind it, and what waits is not removed.
            (Verdict::Delayed, None) | (Verdict::Waits, _) => {
                self.lanes[lane].entries.insert(index, entry);
            }
        }
    }

    /// How many rows the head's batch is to have, or until when it waits for more. The caller made
    /// sure that the lane has a head.
    fn plan(&self, first: usize, now: Instant) -> Plan {
        let policy = &self.policy;
        let grown = self.growth.as_ref().map_or(usize::MAX, |growth| growth.rows_max(self.len));
        let max = policy.batch_size_max.min(grown);
        let all = Plan::Take(max);
        let delay = self.pace.as_ref().map_or(policy.queue_delay_max, Pace::delay);
        let joins = policy.join && max > 0;
        let Some(head) = self.lanes[first].entries.front() else { return all };
        // The usual case, and the fastest: whatever is there runs at once.
        if !joins || head.rows == 0 || (delay.is_zero() && policy.preferred.is_empty()) {
            return all;
        }
        let mut oldest = head.enqueued_at;
        let mut due_at = self.lanes[first].due_at(head);
        // Rows that run if the batch is taken now, and rows that would, were there no limit.
        let (mut rows, mut demand) = (0usize, 0usize);
        let mut preferred = 0;
        let largest = policy.preferred.last().copied().unwrap_or(max);
        'lanes: for lane in &self.lanes[first..] {
            for entry in &lane.entries {
                let fits = entry.key == head.key && rows + entry.rows <= max;
                if entry.key == head.key {
                    demand = demand.saturating_add(entry.rows);
                }
                if demand > largest && preferred == 0 && rows > 0 {
                    // It grows past every preferred size: what there is will not get better.
                    preferred = rows;
                }
                if fits {
                    rows += entry.rows;
                    oldest = oldest.min(entry.enqueued_at);
                    due_at = due_at.min(lane.due_at(entry));
                    if policy.preferred.binary_search(&rows).is_ok() {
                        preferred = rows;
                    }
                } else if policy.keep_order {
                    break 'lanes;
                }
            }
        }
        let until = oldest + delay;
        let is_over = !delay.is_zero() && until <= now;
        if preferred > 0 && !is_over && !policy.preferred.is_empty() {
            return Plan::Take(preferred);
        }
        // Waiting for company past a deadline would lose the request it was meant to serve.
        let enough = self.growth.as_ref().map_or(max, Growth::enough).min(max);
        if is_over || delay.is_zero() || demand >= enough || due_at <= until {
            return all;
        }
        Plan::Wait(until)
    }

    /// Takes the head of a lane, and every request that fits beside it, up to `rows` rows. The
    /// caller made sure that the lane has a head.
    fn take_batch(
        &mut self,
        first: usize,
        rows: usize,
        now: Instant,
        dropped: &mut Vec<(Entry<T>, Dropped)>,
    ) -> Vec<Entry<T>> {
        let Some(head) = self.lanes[first].entries.pop_front() else { return Vec::new() };
        self.len -= 1;
        // An empty request has no rows to tell apart in an answer: it runs alone.
        let alone = self.policy.batch_size_max == 0 || !self.policy.join || head.rows == 0;
        let mut room = rows.saturating_sub(head.rows);
        let key = head.key.clone();
        let mut batch = vec![head];
        let mut lane = first;
        let mut index = 0;
        while !alone && room > 0 {
            let Some(waiting) = self.lanes.get_mut(lane) else { break };
            let Some(entry) = waiting.entries.get(index) else {
                (lane, index) = (lane + 1, 0);
                continue;
            };
            let joins = entry.key == key && (1..=room).contains(&entry.rows);
            match waiting.verdict(entry, now) {
                Verdict::Waits if joins => {
                    // As above: mixed shapes, which leave entries in front, are the rare case.
                    let Some(entry) = waiting.entries.remove(index) else { break };
                    self.len -= 1;
                    room -= entry.rows;
                    batch.push(entry);
                }
                Verdict::Waits if self.policy.keep_order => break,
                Verdict::Waits => index += 1,
                verdict => self.remove(lane, index, verdict, dropped),
            }
        }
        batch
    }

    /// Takes out what does not matter any more, unless that was done a moment ago.
    fn make_room(&mut self, now: Instant, dropped: &mut Vec<(Entry<T>, Dropped)>) {
        if self.sweep_at.is_some_and(|at| now < at) {
            return;
        }
        self.sweep_at = Some(now + SWEEP_PAUSE);
        for lane in &mut self.lanes {
            // Once around, in place: those that stay come back in their order.
            for _ in 0..lane.entries.len() {
                let Some(entry) = lane.entries.pop_front() else { break };
                match lane.verdict(&entry, now) {
                    Verdict::Dropped(why) => {
                        self.len -= 1;
                        dropped.push((entry, why));
                    }
                    Verdict::Waits | Verdict::Delayed => lane.entries.push_back(entry),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
