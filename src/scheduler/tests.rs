//! The scheduler with threads: every caller gets exactly its own rows, whatever the interleaving,
//! and nobody hangs when the engine fails or panics.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::backend::Session;
use crate::event::Unobserved;
use crate::model::Signature;
use crate::model::batching::{self, Batching, TimeoutAction};
use crate::tensor::batch::tensor_of_rows;
use crate::tensor::{DType, Shape};

/// An engine that adds one to every byte; a row that holds `POISON` fails, `BOMB` panics.
struct AddOne {
    signature: Signature,
    /// Rows of each engine call, in order.
    calls: Arc<Mutex<Vec<usize>>>,
    /// Held by a test to keep the engine busy.
    gate: Arc<Mutex<()>>,
}

const POISON: u8 = 200;
const BOMB: u8 = 201;

struct AddOneSession {
    calls: Arc<Mutex<Vec<usize>>>,
    gate: Arc<Mutex<()>>,
}

impl Executable for AddOne {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn session(&self) -> Result<Box<dyn Session>> {
        let (calls, gate) = (Arc::clone(&self.calls), Arc::clone(&self.gate));
        Ok(Box::new(AddOneSession { calls, gate }))
    }
}

impl Session for AddOneSession {
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        drop(self.gate.lock().unwrap());
        self.calls.lock().unwrap().push(inputs[0].rows());
        let data = inputs[0].data();
        assert!(!data.contains(&BOMB), "the engine panics");
        if data.contains(&POISON) {
            return Err(Error::internal("poison"));
        }
        let data: Vec<u8> = data.iter().map(|byte| byte + 1).collect();
        Ok(vec![Tensor::new("y", DType::U8, inputs[0].shape().clone(), data.into())?])
    }
}

struct Rig {
    scheduler: Scheduler,
    calls: Arc<Mutex<Vec<usize>>>,
    gate: Arc<Mutex<()>>,
}

fn rig(instances: usize, batch_size_max: usize, queue_depth_max: usize) -> Rig {
    rig_of(instances, BatchPolicy { batch_size_max, queue_depth_max, ..BatchPolicy::default() })
}

fn rig_of(instances: usize, policy: BatchPolicy) -> Rig {
    let signature = Signature { inputs: vec![], outputs: vec![] };
    let (calls, gate) = (Arc::default(), Arc::default());
    let executable =
        Arc::new(AddOne { signature, calls: Arc::clone(&calls), gate: Arc::clone(&gate) });
    let sessions = (0..instances).map(|_| executable.session().unwrap()).collect();
    let sink = Arc::new(Unobserved);
    let scheduler = Scheduler::start("m", executable, sessions, policy, sink).unwrap();
    Rig { scheduler, calls, gate }
}

fn input(rows: &[u8]) -> Vec<Tensor> {
    vec![tensor_of_rows(DType::U8, &[], rows.len(), rows.to_vec())]
}

fn soon() -> Terms {
    by(Instant::now() + Duration::from_secs(30))
}

fn by(deadline: Instant) -> Terms {
    Terms { received_at: Instant::now(), deadline, priority: 0, timeout: None, span: None }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap()
}

fn bytes(answer: Result<Computed>) -> Option<Vec<u8>> {
    answer.ok().map(|computed| computed.outputs[0].data().to_vec())
}

#[test]
fn waiting_requests_share_a_batch() {
    let rig = rig(1, 8, 100);
    let busy = rig.gate.lock().unwrap();
    let first = rig.scheduler.submit(input(&[1]), soon()).unwrap();
    // The worker may or may not have taken the first request alone; the rest wait behind the gate.
    let rest: Vec<Pending> =
        (2..8).map(|n| rig.scheduler.submit(input(&[n]), soon()).unwrap()).collect();
    drop(busy);
    runtime().block_on(async {
        assert_eq!(bytes(first.wait().await), Some(vec![2]));
        for (n, pending) in (2..8).zip(rest) {
            assert_eq!(bytes(pending.wait().await), Some(vec![n + 1]));
        }
    });
    let calls = rig.calls.lock().unwrap();
    assert!(calls.len() <= 2, "{calls:?}");
    assert_eq!(calls.iter().sum::<usize>(), 7);
}

#[test]
fn only_the_poison_request_fails_and_a_panic_is_survived() {
    for bad in [POISON, BOMB] {
        let rig = rig(1, 8, 100);
        let busy = rig.gate.lock().unwrap();
        let requests: Vec<Pending> = [1, 2, bad, 3]
            .map(|n| rig.scheduler.submit(input(&[n]), soon()).unwrap())
            .into_iter()
            .collect();
        drop(busy);
        let answers: Vec<Option<Vec<u8>>> = runtime().block_on(async {
            let mut answers = vec![];
            for pending in requests {
                answers.push(bytes(pending.wait().await));
            }
            answers
        });
        assert_eq!(answers, [Some(vec![2]), Some(vec![3]), None, Some(vec![4])]);
    }
}

/// Asks for a place until there is none: who waits, and what the refused one is told.
fn fill(mut ask: impl FnMut() -> Result<Pending>) -> (Vec<Pending>, Error) {
    let mut waiting = vec![];
    let refusal = loop {
        match ask() {
            Ok(pending) => waiting.push(pending),
            Err(error) => break error,
        }
        assert!(waiting.len() <= 3, "one at work and two waiting at most");
    };
    assert_eq!(refusal.kind(), ErrorKind::Overloaded);
    (waiting, refusal)
}

#[test]
fn overload_is_refused_at_once_with_a_time_to_retry() {
    let rig = rig(1, 1, 2);
    let busy = rig.gate.lock().unwrap();
    let (_waiting, refusal) = fill(|| rig.scheduler.submit(input(&[1]), soon()));
    assert!(refusal.retry_after().is_some());
    drop(busy);
}

#[test]
fn no_room_is_expected_in_a_full_queue_until_there_is_some_again() {
    let rig = rig(1, 1, 2);
    let busy = rig.gate.lock().unwrap();
    let (waiting, refusal) = fill(|| {
        rig.scheduler.expect_room()?;
        // Nobody else comes, so where room was expected, there is some.
        Ok(rig.scheduler.submit(input(&[1]), soon()).unwrap())
    });
    assert!(refusal.retry_after().is_some());
    drop(busy);
    runtime().block_on(async {
        for pending in waiting {
            pending.wait().await.unwrap();
        }
    });
    rig.scheduler.expect_room().unwrap();
}

#[test]
fn a_deadline_is_kept_while_the_engine_is_busy() {
    let rig = rig(1, 1, 10);
    let busy = rig.gate.lock().unwrap();
    let deadline = Instant::now() + Duration::from_millis(20);
    let pending = rig.scheduler.submit(input(&[1]), by(deadline)).unwrap();
    let answer = runtime().block_on(pending.wait());
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    drop(busy);
}

#[test]
fn abandoned_requests_never_reach_the_engine() {
    let rig = rig(1, 1, 10);
    let busy = rig.gate.lock().unwrap();
    let first = rig.scheduler.submit(input(&[1]), soon()).unwrap();
    for _ in 0..5 {
        drop(rig.scheduler.submit(input(&[9]), soon()).unwrap());
    }
    let last = rig.scheduler.submit(input(&[2]), soon()).unwrap();
    drop(busy);
    runtime().block_on(async {
        assert!(first.wait().await.is_ok());
        assert!(last.wait().await.is_ok());
    });
    assert_eq!(rig.calls.lock().unwrap().len(), 2);
}

#[test]
fn closing_finishes_what_is_queued_and_refuses_what_comes() {
    let rig = rig(1, 1, 10);
    let busy = rig.gate.lock().unwrap();
    let waiting: Vec<Pending> =
        (0..4).map(|n| rig.scheduler.submit(input(&[n]), soon()).unwrap()).collect();
    let shared = Arc::clone(&rig.scheduler.shared);
    shared.close();
    let refused = rig.scheduler.submit(input(&[1]), soon()).err().map(|error| error.kind());
    assert_eq!(refused, Some(ErrorKind::NotReady));
    drop(busy);
    drop(rig.scheduler);
    runtime().block_on(async {
        for pending in waiting {
            assert!(pending.wait().await.is_ok());
        }
    });
}

#[test]
fn an_urgent_request_runs_before_one_that_came_earlier() {
    let wishes = Batching {
        priority_levels: 2,
        priority_default: Some(2),
        join: false,
        ..Batching::default()
    };
    let rig = rig_of(1, BatchPolicy::new(&wishes, true));
    let busy = rig.gate.lock().unwrap();
    let submit = |rows: &[u8], priority| {
        rig.scheduler.submit(input(rows), Terms { priority, ..soon() }).unwrap()
    };
    // The worker may have taken the first one already; it would have been the first anyway.
    let waiting = [submit(&[1], 1), submit(&[1, 2], 0), submit(&[1, 2, 3], 1)];
    drop(busy);
    runtime().block_on(async {
        for pending in waiting {
            assert!(pending.wait().await.is_ok());
        }
    });
    assert_eq!(*rig.calls.lock().unwrap(), [1, 3, 2]);
}

#[test]
fn an_own_timeout_ends_the_wait_unless_the_policy_reads_it_as_delay() {
    for (timeout_action, waits_on) in [(TimeoutAction::Reject, false), (TimeoutAction::Delay, true)]
    {
        let queue = batching::QueuePolicy {
            timeout_us: 1_000_000,
            timeout_action,
            timeout_override: true,
            depth_max: None,
        };
        let policy = BatchPolicy::new(&Batching { queue, ..Batching::default() }, true);
        let terms = Terms { timeout: Some(Duration::from_millis(5)), ..soon() };
        let pending = rig_of(1, policy).scheduler.submit(input(&[1]), terms).unwrap();
        let left = pending.deadline.saturating_duration_since(Instant::now());
        assert_eq!(left > Duration::from_millis(5), waits_on, "{timeout_action:?}");
    }
}

#[test]
fn too_many_rows_and_unequal_rows_are_the_callers_error() {
    let rig = rig(1, 2, 10);
    let kind = |inputs| rig.scheduler.submit(inputs, soon()).err().map(|error| error.kind());
    assert_eq!(kind(input(&[1, 2, 3])), Some(ErrorKind::InvalidInput));
    let unequal = [input(&[1]), input(&[1, 2])].concat();
    assert_eq!(kind(unequal), Some(ErrorKind::InvalidInput));
    assert_eq!(Shape::new([3]).elements(), Some(3));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// For any mix of sizes, shapes, failures and departures, on any number of instances: each
    /// caller gets exactly its own rows, or its own error, and everybody gets an answer.
    #[test]
    fn each_caller_gets_exactly_its_own_rows(
        requests in proptest::collection::vec(
            (proptest::collection::vec(0u8..203, 0..5), 1usize..3, any::<bool>()), 1..50),
        instances in 1usize..4, batch_size_max in 0usize..9) {
        let rig = rig(instances, batch_size_max.max(if batch_size_max == 0 { 0 } else { 5 }), 1000);
        let busy = rig.gate.lock().unwrap();
        let mut expected = vec![];
        for (rows, width, leaves) in &requests {
            let data: Vec<u8> = rows.iter().flat_map(|&row| vec![row; *width]).collect();
            let tensor = tensor_of_rows(DType::U8, &[*width], rows.len(), data.clone());
            let pending = rig.scheduler.submit(vec![tensor], soon()).unwrap();
            if !leaves {
                let bad = data.contains(&POISON) || data.contains(&BOMB);
                let answer: Vec<u8> = data.iter().map(|b| b.wrapping_add(1)).collect();
                expected.push((pending, (!bad).then_some(answer)));
            }
        }
        drop(busy);
        let outcome = runtime().block_on(async {
            for (pending, answer) in expected {
                let given = bytes(pending.wait().await);
                if given != answer {
                    return Err(TestCaseError::fail(format!("{given:?} != {answer:?}")));
                }
            }
            Ok(())
        });
        outcome?;
    }
}
