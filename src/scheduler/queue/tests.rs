//! The decision by example, and by property: whatever is configured, every request leaves exactly
//! once.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::batching::{self, Batching, LevelPolicy};
use crate::scheduler::policy::QueuePolicy;
use crate::tensor::DType;
use crate::tensor::batch::tensor_of_rows;

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
        late_at: None,
    }
}

fn policy(size: usize, delay_us: u64, depth: usize) -> BatchPolicy {
    BatchPolicy {
        batch_size_max: size,
        queue_delay_max: Duration::from_micros(delay_us),
        queue_depth_max: depth,
        ..BatchPolicy::default()
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
        queue.push(entry(id, 2, 1, now), 0, now, &mut dropped).unwrap();
    }
    let Next::Run(batch) = queue.next(now, &mut dropped) else { panic!("runs") };
    assert_eq!(ids(&batch), [0, 1, 2]);
}

/// A queue whose model was seen to take this long for a row, however many run together.
fn seen_to_take(policy: BatchPolicy, each: Duration) -> BatchQueue<Job> {
    let mut queue = BatchQueue::new(policy);
    for rows in [1u32, 2, 4, 8, 1, 2, 4, 8] {
        queue.ran(rows as usize, rows as usize, each * rows);
    }
    queue
}

#[test]
fn a_batch_is_as_large_as_its_model_is_worth() {
    let now = Instant::now();
    let sizes = |policy: BatchPolicy, each: Duration| {
        let mut queue = seen_to_take(policy, each);
        let mut dropped = vec![];
        for id in 0..9 {
            queue.push(entry(id, 1, 1, now), 0, now, &mut dropped).unwrap();
        }
        let mut sizes = vec![];
        while let Next::Run(batch) = queue.next(now, &mut dropped) {
            sizes.push(batch.len());
            // So that the rest of what is known is not asked for.
            queue.ran(1, 1, each);
        }
        sizes
    };
    let slow = Duration::from_millis(10);
    assert!(sizes(policy(8, 0, 10), slow).iter().filter(|&&size| size == 1).count() >= 7);
    assert_eq!(sizes(policy(8, 0, 10), Duration::from_nanos(10)), [8, 1], "a call costs more");
    // What somebody chose is kept to.
    let preferred = BatchPolicy { preferred: vec![8], ..policy(8, 0, 10) };
    assert_eq!(sizes(preferred, slow), [8, 1]);
    let delayed = sizes(policy(8, 1_000, 10), slow);
    assert_eq!(delayed, [8], "and the ninth waits");
}

#[test]
fn nobody_waits_for_company_that_is_worth_nothing() {
    let now = Instant::now();
    let target = Duration::from_millis(20);
    let policy = BatchPolicy { latency_target: Some(target), ..policy(8, 0, 100) };
    let mut queue = seen_to_take(policy, Duration::from_millis(1));
    let mut dropped = vec![];
    let gap = Duration::from_millis(1);
    // One after the other, as in a steady stream.
    for id in 0..100 {
        let now = now + gap * u32::try_from(id).unwrap();
        queue.push(entry(id, 1, 1, now), 0, now, &mut dropped).unwrap();
        assert!(matches!(queue.next(now, &mut dropped), Next::Run(_)));
        queue.ran(1, 1, Duration::from_millis(1));
    }
}

#[test]
fn with_a_target_the_head_waits_as_long_as_the_run_leaves() {
    let target = Duration::from_millis(20);
    let policy = BatchPolicy { latency_target: Some(target), ..policy(64, 0, 100) };
    assert!(policy.delays());
    let (mut queue, mut dropped) = (BatchQueue::new(policy), vec![]);
    queue.expect(Duration::from_millis(4));
    let mut now = Instant::now();
    queue.push(entry(0, 1, 1, now), 0, now, &mut dropped).unwrap();
    assert!(matches!(queue.next(now, &mut dropped), Next::Run(_)), "nobody else is expected");
    for id in 0..40 {
        now += Duration::from_millis(1);
        queue.push(entry(id, 1, 1, now), 0, now, &mut dropped).unwrap();
        if id == 20 {
            queue.drain().for_each(drop);
        }
    }
    let oldest = now - Duration::from_millis(18);
    let until = oldest + Duration::from_millis(15);
    let Next::Run(batch) = queue.next(now, &mut dropped) else { panic!("{until:?} is over") };
    assert_eq!(batch.len(), 19);
    queue.push(entry(99, 1, 1, now), 0, now, &mut dropped).unwrap();
    let until = now + Duration::from_millis(15);
    assert!(matches!(queue.next(now, &mut dropped), Next::Wait(at) if at == until));
}

#[test]
fn with_delay_the_head_waits_until_full_or_due() {
    let now = Instant::now();
    let mut queue = BatchQueue::new(policy(4, 100, 10));
    let mut dropped = vec![];
    queue.push(entry(0, 1, 1, now), 0, now, &mut dropped).unwrap();
    let due = now + Duration::from_micros(100);
    assert!(matches!(queue.next(now, &mut dropped), Next::Wait(until) if until == due));
    queue.push(entry(1, 3, 1, now), 0, now, &mut dropped).unwrap();
    assert!(matches!(queue.next(now, &mut dropped), Next::Run(_)));
    queue.push(entry(2, 1, 1, now), 0, now, &mut dropped).unwrap();
    assert!(matches!(queue.next(due, &mut dropped), Next::Run(_)));
}

#[test]
fn a_near_deadline_is_not_waited_away() {
    let now = Instant::now();
    let mut queue = BatchQueue::new(policy(4, 100, 10));
    let mut hurried = entry(0, 1, 1, now);
    hurried.deadline = now + Duration::from_micros(50);
    queue.push(hurried, 0, now, &mut vec![]).unwrap();
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
        queue.push(e, 0, now, &mut vec![]).unwrap();
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
    queue.push(late, 0, now, &mut vec![]).unwrap();
    let mut dropped = vec![];
    queue.push(entry(1, 1, 1, now), 0, now, &mut dropped).unwrap();
    assert_eq!(dropped.len(), 1);
    assert_eq!(queue.push(entry(2, 1, 1, now), 0, now, &mut dropped).unwrap_err().payload.id, 2);
}

#[test]
fn a_queue_is_full_only_of_what_matters() {
    let (now, mut dropped) = (Instant::now(), vec![]);
    let mut queue = BatchQueue::new(policy(8, 0, 1));
    assert!(!queue.is_full(now, &mut dropped));
    let mut late = entry(0, 1, 1, now);
    late.deadline = now + us(50);
    queue.push(late, 0, now, &mut dropped).unwrap();
    assert!(queue.is_full(now, &mut dropped));
    let then = now + SWEEP_PAUSE;
    assert!(queue.is_full(now + us(60), &mut dropped), "it was looked through a moment ago");
    assert!(!queue.is_full(then, &mut dropped));
    assert_eq!((dropped.len(), queue.len()), (1, 0));
}

#[test]
fn a_level_that_is_full_does_not_fill_the_queue() {
    let (now, mut dropped) = (Instant::now(), vec![]);
    let mut levels = policy(8, 0, 3);
    levels.levels = vec![QueuePolicy { depth_max: 1, ..levels.levels[0] }; 2];
    let mut queue = BatchQueue::new(levels);
    queue.push(entry(0, 1, 1, now), 0, now, &mut dropped).unwrap();
    assert!(queue.push(entry(1, 1, 1, now), 0, now, &mut dropped).is_err());
    assert!(!queue.is_full(now, &mut dropped));
    queue.push(entry(2, 1, 1, now), 1, now, &mut dropped).unwrap();
}

fn sizes(preferred: &[usize], size: usize, delay_us: u64) -> BatchQueue<Job> {
    BatchQueue::new(BatchPolicy { preferred: preferred.to_vec(), ..policy(size, delay_us, 100) })
}

fn push(queue: &mut BatchQueue<Job>, entries: impl IntoIterator<Item = Entry<Job>>, now: Instant) {
    for entry in entries {
        push_to(queue, 0, None, entry, now).unwrap();
    }
}

/// As the scheduler does it: the level's policy says when the request is late.
fn push_to(
    queue: &mut BatchQueue<Job>,
    level: usize,
    timeout: Option<Duration>,
    mut entry: Entry<Job>,
    now: Instant,
) -> Result<(), usize> {
    let policy = queue.policy.levels.get(level);
    entry.late_at = policy.and_then(|policy| policy.late_at(entry.enqueued_at, timeout));
    let pushed = queue.push(entry, level, now, &mut vec![]);
    pushed.map_err(|refused| refused.payload.id)
}

/// Requests 0, 1, 2 and so on, of one row, to these levels.
fn push_levels(queue: &mut BatchQueue<Job>, levels: &[usize], now: Instant) {
    for (id, &level) in levels.iter().enumerate() {
        push_to(queue, level, None, entry(id, 1, 1, now), now).unwrap();
    }
}

fn run(queue: &mut BatchQueue<Job>, now: Instant) -> Option<Vec<usize>> {
    match queue.next(now, &mut vec![]) {
        Next::Run(batch) => Some(ids(&batch)),
        Next::Idle | Next::Wait(_) => None,
    }
}

fn us(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

#[test]
fn a_preferred_size_runs_at_once_and_the_largest_wins() {
    let now = Instant::now();
    let mut queue = sizes(&[2, 4], 8, 100);
    push(&mut queue, [entry(0, 1, 1, now)], now);
    assert_eq!(run(&mut queue, now), None, "no preferred size yet");
    push(&mut queue, (1..4).map(|id| entry(id, 1, 1, now)), now);
    push(&mut queue, [entry(4, 1, 1, now)], now);
    assert_eq!(run(&mut queue, now), Some(vec![0, 1, 2, 3]), "4 of 5, not 2");
    assert_eq!(run(&mut queue, now), None);
    assert_eq!(run(&mut queue, now + us(100)), Some(vec![4]), "its delay is over");
}

#[test]
fn past_its_delay_a_batch_takes_whatever_fits() {
    let now = Instant::now();
    let mut queue = sizes(&[2], 8, 100);
    push(&mut queue, (0..3).map(|id| entry(id, 1, 1, now)), now);
    assert_eq!(run(&mut queue, now + us(100)), Some(vec![0, 1, 2]));
}

#[test]
fn without_delay_a_preferred_size_parts_what_is_there() {
    let now = Instant::now();
    let mut queue = sizes(&[4], 8, 0);
    push(&mut queue, (0..6).map(|id| entry(id, 1, 1, now)), now);
    assert_eq!(run(&mut queue, now), Some(vec![0, 1, 2, 3]));
    assert_eq!(run(&mut queue, now), Some(vec![4, 5]), "nothing waits without a delay");
}

#[test]
fn a_batch_that_outgrows_every_preferred_size_does_not_wait() {
    let now = Instant::now();
    let mut queue = sizes(&[4], 8, 100);
    push(&mut queue, [entry(0, 3, 1, now), entry(1, 2, 1, now)], now);
    assert_eq!(run(&mut queue, now), Some(vec![0]));
}

/// Three levels, the second the default; the first delays after 10 us, the third refuses then.
fn leveled(size: usize) -> BatchQueue<Job> {
    let queue = |timeout_action| batching::QueuePolicy {
        timeout_us: 10,
        timeout_action,
        timeout_override: true,
        depth_max: Some(2),
    };
    let wishes = Batching {
        batch_size_max: Some(size),
        priority_levels: 3,
        priority_default: Some(2),
        levels: vec![
            LevelPolicy { level: 1, queue: queue(TimeoutAction::Delay) },
            LevelPolicy { level: 3, queue: queue(TimeoutAction::Reject) },
        ],
        ..Batching::default()
    };
    BatchQueue::new(BatchPolicy::new(&wishes, true))
}

#[test]
fn urgent_requests_lead_and_each_level_keeps_its_order() {
    let now = Instant::now();
    let mut queue = leveled(2);
    push_levels(&mut queue, &[2, 1, 0, 1, 0, 2], now);
    assert_eq!(queue.len(), 6);
    assert_eq!(run(&mut queue, now), Some(vec![2, 4]));
    assert_eq!(run(&mut queue, now), Some(vec![1, 3]));
    assert_eq!(run(&mut queue, now), Some(vec![0, 5]));
    assert!(queue.is_empty());
}

#[test]
fn a_batch_is_filled_from_less_urgent_levels() {
    let now = Instant::now();
    let mut queue = leveled(8);
    push_levels(&mut queue, &[2, 0, 1], now);
    assert_eq!(run(&mut queue, now), Some(vec![1, 2, 0]));
}

#[test]
fn a_late_request_is_delayed_behind_its_level_or_refused() {
    let now = Instant::now();
    let mut queue = leveled(1);
    push_levels(&mut queue, &[0, 2, 1], now);
    let later = now + us(10);
    push_to(&mut queue, 0, None, entry(3, 1, 1, later), later).unwrap();
    let mut dropped = vec![];
    let mut order = vec![];
    while let Next::Run(batch) = queue.next(later, &mut dropped) {
        order.extend(ids(&batch));
    }
    assert_eq!(order, [3, 0, 2], "the delayed one runs last of its level, before the next level");
    let refused: Vec<_> = dropped.iter().map(|(entry, why)| (entry.payload.id, *why)).collect();
    assert_eq!(refused, [(1, Dropped::Expired)]);
}

#[test]
fn a_requests_own_timeout_makes_it_late_sooner() {
    let now = Instant::now();
    let mut queue = leveled(1);
    push_to(&mut queue, 2, Some(us(3)), entry(0, 1, 1, now), now).unwrap();
    push_to(&mut queue, 2, None, entry(1, 1, 1, now), now).unwrap();
    let mut dropped = vec![];
    let Next::Run(batch) = queue.next(now + us(5), &mut dropped) else { panic!("runs") };
    assert_eq!((ids(&batch), dropped.len()), (vec![1], 1));
}

#[test]
fn a_level_has_a_limit_of_its_own_that_counts_its_late_requests() {
    let now = Instant::now();
    let mut queue = leveled(1);
    push_levels(&mut queue, &[0, 0, 1], now);
    assert!(push_to(&mut queue, 0, None, entry(3, 1, 1, now), now).is_err());
    let later = now + us(20);
    let refused = push_to(&mut queue, 0, None, entry(3, 1, 1, later), later);
    assert_eq!(refused, Err(3), "late ones still wait");
    assert!(push_to(&mut queue, 1, None, entry(3, 1, 1, now), now).is_ok());
    assert!(push_to(&mut queue, 9, None, entry(4, 1, 1, now), now).is_ok(), "the last level");
}

#[test]
fn nothing_waits_for_company_past_the_time_it_is_refused_at() {
    let now = Instant::now();
    let wishes = Batching {
        queue: batching::QueuePolicy { timeout_us: 50, ..Default::default() },
        queue_delay_us_max: Some(100),
        ..Batching::default()
    };
    let mut queue = BatchQueue::new(BatchPolicy::new(&wishes, true));
    push(&mut queue, [entry(0, 1, 1, now)], now);
    assert_eq!(run(&mut queue, now), Some(vec![0]));
}

#[test]
fn in_kept_order_nothing_joins_past_another() {
    let now = Instant::now();
    let mut queue = BatchQueue::new(BatchPolicy { keep_order: true, ..policy(8, 0, 10) });
    let widths = [1, 1, 2, 1];
    push(&mut queue, widths.into_iter().enumerate().map(|(id, w)| entry(id, 1, w, now)), now);
    assert_eq!(run(&mut queue, now), Some(vec![0, 1]));
    assert_eq!(run(&mut queue, now), Some(vec![2]));
    assert_eq!(run(&mut queue, now), Some(vec![3]));
}

#[test]
fn where_nothing_joins_each_request_is_a_batch() {
    let now = Instant::now();
    let mut queue = BatchQueue::new(BatchPolicy { join: false, ..policy(8, 0, 10) });
    push(&mut queue, [entry(0, 2, 1, now), entry(1, 3, 1, now)], now);
    assert_eq!(run(&mut queue, now), Some(vec![0]));
    assert_eq!(run(&mut queue, now), Some(vec![1]));
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
            let oldest = queue.lanes[0].entries.iter()
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
            queue.push(e, 0, now, &mut dropped).unwrap();
            if pops[id] { check(&mut queue, &mut dropped); }
        }
        while check(&mut queue, &mut dropped) {}
        seen.extend(dropped.iter().map(|(e, _)| e.payload.id));
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..requests.len()).collect::<Vec<_>>());
    }

    /// The same with everything configured: levels, delays, refusals, preferred sizes, time that
    /// passes. Every request leaves exactly once, and what runs is neither late nor too much; the
    /// queue comes to an end, as no wait outlasts the delay.
    #[test]
    fn whatever_is_configured_every_request_leaves_once(
        requests in proptest::collection::vec(
            (1usize..4, 1usize..3, 0usize..3, proptest::option::of(1u64..30), any::<bool>()), 0..60),
        preferred in proptest::collection::btree_set(1usize..8, 0..3),
        levels in proptest::collection::vec((0u64..20, any::<bool>(), any::<bool>(), 1usize..30), 3),
        (delay_us, join, keep_order, depth) in (0u64..20, any::<bool>(), any::<bool>(), 1usize..40),
        steps in proptest::collection::vec(0u64..15, 60)) {
        let begin = Instant::now();
        let queue_of = |&(timeout_us, delays, timeout_override, depth): &(u64, bool, bool, usize)| {
            let timeout_action = if delays { TimeoutAction::Delay } else { TimeoutAction::Reject };
            batching::QueuePolicy {
                timeout_us, timeout_action, timeout_override, depth_max: Some(depth),
            }
        };
        let wishes = Batching {
            batch_size_max: Some(8),
            batch_sizes_preferred: preferred.into_iter().collect(),
            queue_delay_us_max: Some(delay_us),
            queue_depth_max: Some(depth),
            join,
            keep_order,
            priority_levels: 3,
            priority_default: Some(2),
            levels: levels.iter().enumerate()
                .map(|(i, l)| LevelPolicy { level: i as u32 + 1, queue: queue_of(l) }).collect(),
            ..Batching::default()
        };
        let mut queue = BatchQueue::new(BatchPolicy::new(&wishes, true));
        let (mut dropped, mut seen, mut now) = (vec![], vec![], begin);
        let mut step = |queue: &mut BatchQueue<Job>, now, dropped: &mut Vec<_>| {
            match queue.next(now, dropped) {
                Next::Run(batch) => {
                    let rows: usize = batch.iter().map(|e| e.rows).sum();
                    assert!(batch.iter().all(|e| e.key == batch[0].key && e.deadline > now));
                    assert!(rows <= 8 && (join || batch.len() == 1));
                    seen.extend(ids(&batch));
                    true
                }
                Next::Idle => false,
                Next::Wait(until) => {
                    assert!(until > now && until <= now + us(delay_us));
                    false
                }
            }
        };
        for (id, &(rows, width, level, timeout_us, left)) in requests.iter().enumerate() {
            now += us(steps[id]);
            let mut e = entry(id, rows, width, now);
            e.deadline = now + us(40);
            e.payload.left = left;
            e.late_at = queue.policy.levels[level].late_at(now, timeout_us.map(us));
            if let Err(refused) = queue.push(e, level, now, &mut dropped) {
                dropped.push((refused, Dropped::Expired));
            }
            if steps[id] % 2 == 0 { step(&mut queue, now, &mut dropped); }
            let waiting: usize = queue.lanes.iter().map(|lane| lane.entries.len()).sum();
            prop_assert_eq!(queue.len(), waiting);
            prop_assert!(waiting <= depth);
        }
        now += us(delay_us);
        while step(&mut queue, now, &mut dropped) {}
        prop_assert!(queue.is_empty());
        seen.extend(dropped.iter().map(|(e, _)| e.payload.id));
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..requests.len()).collect::<Vec<_>>());
    }
}
