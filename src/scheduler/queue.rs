//! The decision which requests run together, and when. Pure: no clock, no lock, no channel; `now`
//! is passed in, so that every interleaving can be tested.
//!
//! Order: the oldest request always leads the next batch; requests behind it join when their shape
//! key is equal and the batch has room. Requests of another shape keep their place and lead the
//! next batch, so none waits for ever.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::policy::BatchPolicy;
use crate::tensor::batch::ShapeKey;

/// A request as the queue sees it.
#[derive(Debug)]
pub struct Entry<T> {
    pub payload: T,
    pub key: ShapeKey,
    pub rows: usize,
    pub enqueued_at: Instant,
    pub deadline: Instant,
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

/// Bounded first-in-first-out queue that forms batches.
#[derive(Debug)]
pub struct BatchQueue<T> {
    policy: BatchPolicy,
    entries: VecDeque<Entry<T>>,
    /// When the whole queue may be looked through again: a flood of refusals must cost the refused
    /// nothing that the admitted pay for, and looking at every request costs what running one does.
    sweep_at: Option<Instant>,
}

/// Time between two sweeps of a full queue.
const SWEEP_PAUSE: Duration = Duration::from_millis(1);

impl<T: Waiter> BatchQueue<T> {
    pub fn new(policy: BatchPolicy) -> Self {
        Self { policy, entries: VecDeque::new(), sweep_at: None }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Admits a request, or gives it back when the queue is full of requests that still matter.
    ///
    /// Taken-out requests go to `dropped`; the caller answers them.
    pub fn push(
        &mut self,
        entry: Entry<T>,
        now: Instant,
        dropped: &mut Vec<(Entry<T>, Dropped)>,
    ) -> Result<(), Entry<T>> {
        let is_full = self.entries.len() >= self.policy.queue_depth_max;
        if is_full && self.sweep_at.is_none_or(|at| at <= now) {
            self.sweep_at = Some(now + SWEEP_PAUSE);
            self.sweep(now, dropped);
        }
        if self.entries.len() >= self.policy.queue_depth_max {
            return Err(entry);
        }
        self.entries.push_back(entry);
        Ok(())
    }

    /// What a free instance does now. Late and abandoned requests never reach a batch.
    pub fn next(&mut self, now: Instant, dropped: &mut Vec<(Entry<T>, Dropped)>) -> Next<T> {
        loop {
            let Some(head) = self.entries.front() else { return Next::Idle };
            let Some(verdict) = verdict(head, now) else { break };
            if let Some(entry) = self.entries.pop_front() {
                dropped.push((entry, verdict));
            }
        }
        match self.wait_until(now) {
            Some(until) => Next::Wait(until),
            None => Next::Run(self.take_batch(now, dropped)),
        }
    }

    /// Takes everything out, for a queue that closes.
    pub fn drain(&mut self) -> impl Iterator<Item = Entry<T>> + '_ {
        self.entries.drain(..)
    }

    /// Until when the head should wait for company; `None`: run now.
    fn wait_until(&self, now: Instant) -> Option<Instant> {
        let head = self.entries.front()?;
        let until = head.enqueued_at + self.policy.queue_delay_max;
        // Waiting for company past a deadline would lose the request it was meant to serve.
        if until <= now || self.policy.batch_size_max == 0 || head.deadline <= until {
            return None;
        }
        let mut rows = 0usize;
        for entry in self.entries.iter().filter(|entry| entry.key == head.key) {
            rows = rows.saturating_add(entry.rows);
            if rows >= self.policy.batch_size_max || entry.deadline <= until {
                return None;
            }
        }
        Some(until)
    }

    /// Takes the head and every request that fits beside it. The caller made sure there is a head.
    fn take_batch(
        &mut self,
        now: Instant,
        dropped: &mut Vec<(Entry<T>, Dropped)>,
    ) -> Vec<Entry<T>> {
        let Some(head) = self.entries.pop_front() else { return Vec::new() };
        // An empty request has no rows to tell apart in an answer: it runs alone.
        let alone = self.policy.batch_size_max == 0 || head.rows == 0;
        let mut room = self.policy.batch_size_max.saturating_sub(head.rows);
        let key = head.key.clone();
        let mut batch = vec![head];
        let mut index = 0;
        while !alone && room > 0 && index < self.entries.len() {
            let entry = &self.entries[index];
            let joins = entry.key == key && (1..=room).contains(&entry.rows);
            let verdict = verdict(entry, now);
            if !joins && verdict.is_none() {
                index += 1;
                continue;
            }
            // Removing from near the front moves few entries; mixed shapes are the rare case.
            let Some(entry) = self.entries.remove(index) else { break };
            match verdict {
                Some(verdict) => dropped.push((entry, verdict)),
                None => {
                    room -= entry.rows;
                    batch.push(entry);
                }
            }
        }
        batch
    }

    fn sweep(&mut self, now: Instant, dropped: &mut Vec<(Entry<T>, Dropped)>) {
        // Once around, in place: those that stay come back in their order.
        for _ in 0..self.entries.len() {
            let Some(entry) = self.entries.pop_front() else { return };
            match verdict(&entry, now) {
                Some(verdict) => dropped.push((entry, verdict)),
                None => self.entries.push_back(entry),
            }
        }
    }
}

fn verdict<T: Waiter>(entry: &Entry<T>, now: Instant) -> Option<Dropped> {
    if entry.payload.has_left() {
        Some(Dropped::CallerLeft)
    } else if entry.deadline <= now {
        Some(Dropped::Expired)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::DType;
    use crate::tensor::batch::tensor_of_rows;
    use proptest::prelude::*;
    use std::time::Duration;

    #[derive(Debug, Clone, Copy, PartialEq)]
    struct Job {
        id: usize,
        left: bool,
    }

    impl Waiter for Job {
        fn has_left(&self) -> bool {
            self.left
        }
    }

    fn key(width: usize) -> ShapeKey {
        ShapeKey::of(&[tensor_of_rows(DType::U8, &[width], 0, vec![])])
    }

    fn entry(id: usize, rows: usize, width: usize, now: Instant) -> Entry<Job> {
        Entry {
            payload: Job { id, left: false },
            key: key(width),
            rows,
            enqueued_at: now,
            deadline: now + Duration::from_secs(60),
        }
    }

    fn policy(size: usize, delay_us: u64, depth: usize) -> BatchPolicy {
        BatchPolicy {
            batch_size_max: size,
            queue_delay_max: Duration::from_micros(delay_us),
            queue_depth_max: depth,
        }
    }

    fn ids(batch: &[Entry<Job>]) -> Vec<usize> {
        batch.iter().map(|entry| entry.payload.id).collect()
    }

    #[test]
    fn without_delay_whatever_is_there_runs_at_once() {
        let now = Instant::now();
        let mut queue = BatchQueue::new(policy(8, 0, 10));
        let mut dropped = vec![];
        assert!(matches!(queue.next(now, &mut dropped), Next::Idle));
        for id in 0..3 {
            queue.push(entry(id, 2, 1, now), now, &mut dropped).unwrap();
        }
        let Next::Run(batch) = queue.next(now, &mut dropped) else { panic!("runs") };
        assert_eq!(ids(&batch), [0, 1, 2]);
    }

    #[test]
    fn with_delay_the_head_waits_until_full_or_due() {
        let now = Instant::now();
        let mut queue = BatchQueue::new(policy(4, 100, 10));
        let mut dropped = vec![];
        queue.push(entry(0, 1, 1, now), now, &mut dropped).unwrap();
        let due = now + Duration::from_micros(100);
        assert!(matches!(queue.next(now, &mut dropped), Next::Wait(until) if until == due));
        queue.push(entry(1, 3, 1, now), now, &mut dropped).unwrap();
        assert!(matches!(queue.next(now, &mut dropped), Next::Run(_)));
        queue.push(entry(2, 1, 1, now), now, &mut dropped).unwrap();
        assert!(matches!(queue.next(due, &mut dropped), Next::Run(_)));
    }

    #[test]
    fn a_near_deadline_is_not_waited_away() {
        let now = Instant::now();
        let mut queue = BatchQueue::new(policy(4, 100, 10));
        let mut hurried = entry(0, 1, 1, now);
        hurried.deadline = now + Duration::from_micros(50);
        queue.push(hurried, now, &mut vec![]).unwrap();
        assert!(matches!(queue.next(now, &mut vec![]), Next::Run(_)));
    }

    #[test]
    fn late_and_abandoned_requests_are_dropped_before_they_run() {
        let now = Instant::now();
        let mut queue = BatchQueue::new(policy(8, 0, 10));
        let mut left = entry(0, 1, 1, now);
        left.payload.left = true;
        let mut late = entry(1, 1, 1, now);
        late.deadline = now;
        for e in [left, late, entry(2, 1, 1, now)] {
            queue.push(e, now, &mut vec![]).unwrap();
        }
        let mut dropped = vec![];
        let Next::Run(batch) = queue.next(now, &mut dropped) else { panic!("runs") };
        assert_eq!(ids(&batch), [2]);
        let why: Vec<Dropped> = dropped.iter().map(|(_, why)| *why).collect();
        assert_eq!(why, [Dropped::CallerLeft, Dropped::Expired]);
    }

    #[test]
    fn a_full_queue_refuses_but_first_forgets_the_dead() {
        let now = Instant::now();
        let mut queue = BatchQueue::new(policy(8, 0, 1));
        let mut late = entry(0, 1, 1, now);
        late.deadline = now;
        queue.push(late, now, &mut vec![]).unwrap();
        let mut dropped = vec![];
        queue.push(entry(1, 1, 1, now), now, &mut dropped).unwrap();
        assert_eq!(dropped.len(), 1);
        assert_eq!(queue.push(entry(2, 1, 1, now), now, &mut dropped).unwrap_err().payload.id, 2);
    }

    proptest! {
        /// Whatever arrives in whatever order: every request leaves exactly once, batches never
        /// mix shapes, never exceed the limit unless one request alone does, and the oldest leads.
        #[test]
        fn batches_partition_the_requests(
            requests in proptest::collection::vec((0usize..6, 1usize..3, any::<bool>()), 0..60),
            size in 0usize..8, pops in proptest::collection::vec(any::<bool>(), 60)) {
            let now = Instant::now();
            let mut queue = BatchQueue::new(policy(size, 0, 1000));
            let mut dropped = vec![];
            let mut seen = vec![];
            let mut check = |queue: &mut BatchQueue<Job>, dropped: &mut Vec<_>| {
                let oldest = queue.entries.iter()
                    .find(|e| !e.payload.left).map(|e| e.payload.id);
                match queue.next(now, dropped) {
                    Next::Run(batch) => {
                        assert_eq!(oldest, Some(batch[0].payload.id));
                        assert!(batch.iter().all(|e| e.key == batch[0].key));
                        let rows: usize = batch.iter().map(|e| e.rows).sum();
                        assert!(batch.len() == 1 || rows <= size);
                        seen.extend(ids(&batch));
                        true
                    }
                    Next::Idle => false,
                    Next::Wait(_) => panic!("no delay, no wait"),
                }
            };
            for (id, &(rows, width, left)) in requests.iter().enumerate() {
                let mut e = entry(id, rows, width, now);
                e.payload.left = left;
                queue.push(e, now, &mut dropped).unwrap();
                if pops[id] { check(&mut queue, &mut dropped); }
            }
            while check(&mut queue, &mut dropped) {}
            seen.extend(dropped.iter().map(|(e, _)| e.payload.id));
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..requests.len()).collect::<Vec<_>>());
        }
    }
}
