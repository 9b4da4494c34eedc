//! The requests of one HTTP/2 connection, on the connection's own task. Each on a task of its own
//! would be woken, on whichever thread, to hand a few bytes back to the task that writes them: with
//! a few callers on a connection that is most of what a small request costs.
//!
//! What this file must not know: requests and answers.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::future::{CatchUnwind, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::task::AtomicWaker;
use hyper::rt::Executor;

type Stream = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where a connection leaves the requests that it opens while it is polled.
#[derive(Clone, Default)]
pub struct Streams(Arc<Mutex<Vec<Stream>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::pin(stream));
    }
}

/// A connection and its requests, as one task. What still runs when the connection has ended has
/// nobody to answer, and ends with it.
pub struct Together<C> {
    connection: Pin<Box<C>>,
    opened: Streams,
    running: FuturesUnordered<CatchUnwind<AssertUnwindSafe<Stream>>>,
    bell: Arc<Bell>,
    /// What rings it.
    rope: Waker,
    /// Whether there ever was a request beside its connection, as only HTTP/2 has them.
    is_shared: bool,
}

/// Rounds in one poll, at most; after that, other tasks come first.
const ROUNDS_MAX: usize = 8;

impl<C: Future> Together<C> {
    /// `opened` is what the connection was built with.
    pub fn new(connection: C, opened: Streams) -> Self {
        let bell = Arc::new(Bell::default());
        let rope = Waker::from(Arc::clone(&bell));
        let running = FuturesUnordered::new();
        let connection = Box::pin(connection);
        Self { connection, opened, running, bell, rope, is_shared: false }
    }

    fn round(&mut self) -> Poll<C::Output> {
        let mut cx = Context::from_waker(&self.rope);
        // First, for it reads what the requests wait for. What they answer rings, and leaves in one
        // piece in the next round.
        if let Poll::Ready(outcome) = self.connection.as_mut().poll(&mut cx) {
            return Poll::Ready(outcome);
        }
        let mut opened = self.opened.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_shared |= !opened.is_empty();
        // A request that panics is reset, and takes nobody else along.
        let caught = |stream: Stream| AssertUnwindSafe(stream).catch_unwind();
        self.running.extend(opened.drain(..).map(caught));
        drop(opened);
        while let Poll::Ready(Some(_)) = self.running.poll_next_unpin(&mut cx) {}
        Poll::Pending
    }
}

impl<C: Future> Future for Together<C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        self.bell.task.register(cx.waker());
        for _ in 0..ROUNDS_MAX {
            self.bell.attend();
            if let Poll::Ready(outcome) = self.round() {
                return Poll::Ready(outcome);
            }
            if self.bell.leave() {
                return Poll::Pending;
            }
            // HTTP/1 polls its request whoever rang, so one that yields to its neighbours would go
            // on at once.
            if !self.is_shared {
                break;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Whether a connection or one of its requests may go on. A request that answers while its
/// connection is polled only says so: to wake a task that runs is to put it at the end of its
/// thread's queue, and to wake another thread, which might come to take it, for nothing.
#[derive(Default)]
struct Bell {
    state: AtomicU8,
    task: AtomicWaker,
}

/// Whoever rings wakes the task.
const QUIET: u8 = 0;
/// The task is being polled, and looks afterwards.
const ATTENDED: u8 = 1;
/// The task will look, or was woken.
const RUNG: u8 = 2;

impl Bell {
    fn attend(&self) {
        self.state.store(ATTENDED, Ordering::Release);
    }

    /// Whether nobody rang meanwhile. Where somebody did, it stays rung.
    fn leave(&self) -> bool {
        let state = &self.state;
        state.compare_exchange(ATTENDED, QUIET, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(RUNG, Ordering::AcqRel) == QUIET {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::rc::Rc;

    use tokio::sync::oneshot;

    use super::*;

    /// Leaves these requests at its first poll, and ends when it is told to.
    fn connection(
        streams: &Streams,
        requests: Vec<Stream>,
        mut end: oneshot::Receiver<()>,
    ) -> impl Future<Output = ()> + use<> {
        let (streams, mut requests) = (streams.clone(), requests);
        poll_fn(move |cx| {
            for request in requests.drain(..) {
                streams.execute(request);
            }
            Pin::new(&mut end).poll(cx).map(|_| ())
        })
    }

    #[tokio::test]
    async fn requests_run_beside_their_connection_and_one_that_panics_alone_is_gone() {
        let streams = Streams::default();
        let (end, ended) = oneshot::channel();
        let (ask, asked) = oneshot::channel::<u32>();
        let (tell, told) = oneshot::channel();
        let (hello, heard) = oneshot::channel();
        let requests: Vec<Stream> = vec![
            Box::pin(async { panic!("this request alone") }),
            Box::pin(async move { hello.send(()).unwrap() }),
            Box::pin(async move { tell.send(asked.await.unwrap() + 1).unwrap() }),
        ];
        let connection = connection(&streams, requests, ended);
        let together = tokio::spawn(Together::new(connection, streams));
        heard.await.unwrap();
        ask.send(1).unwrap();
        assert_eq!(told.await, Ok(2));
        end.send(()).unwrap();
        together.await.unwrap();
    }

    #[tokio::test]
    async fn what_still_runs_ends_with_its_connection() {
        let streams = Streams::default();
        let (end, ended) = oneshot::channel();
        let (kept, dropped) = oneshot::channel::<()>();
        let request: Stream = Box::pin(async move {
            let _kept = kept;
            std::future::pending().await
        });
        let connection = connection(&streams, vec![request], ended);
        let together = tokio::spawn(Together::new(connection, streams));
        end.send(()).unwrap();
        together.await.unwrap();
        assert!(dropped.await.is_err());
    }

    #[test]
    fn a_connection_without_requests_is_only_itself() {
        let polls = Rc::new(Cell::new(0));
        let counted = Rc::clone(&polls);
        let connection = poll_fn(move |_| {
            counted.set(counted.get() + 1);
            if counted.get() < 3 { Poll::Pending } else { Poll::Ready(7) }
        });
        let mut together = Together::new(connection, Streams::default());
        // Nobody rings, so each poll is one round.
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut poll = || Pin::new(&mut together).poll(&mut cx);
        assert_eq!([poll(), poll(), poll()], [Poll::Pending, Poll::Pending, Poll::Ready(7)]);
        assert_eq!(polls.get(), 3);
    }

    #[test]
    fn what_rings_while_it_is_polled_goes_on_in_the_same_poll_and_not_for_ever() {
        let woken = Arc::new(Counted::default());
        let polled = |rings: usize, is_shared: bool| {
            let streams = Streams::default();
            if is_shared {
                streams.execute(std::future::pending::<()>());
            }
            let mut left = rings;
            let connection = poll_fn(move |cx| {
                if left > 0 {
                    left -= 1;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(())
            });
            let mut together = Together::new(connection, streams);
            let waker = Waker::from(Arc::clone(&woken));
            let mut cx = Context::from_waker(&waker);
            let polls = (1..).find(|_| Pin::new(&mut together).poll(&mut cx).is_ready()).unwrap();
            (polls, woken.0.swap(0, Ordering::Relaxed))
        };
        assert_eq!(polled(0, true), (1, 0));
        assert_eq!(polled(ROUNDS_MAX - 1, true), (1, 0));
        // Each poll that ended for their number wakes its task, once.
        assert_eq!(polled(3 * ROUNDS_MAX, true), (4, 3));
        // HTTP/1 lets others go first.
        assert_eq!(polled(3, false), (4, 3));
    }

    #[test]
    fn who_rings_between_polls_wakes_the_task_once() {
        let woken = Arc::new(Counted::default());
        let inner = Rc::new(Cell::new(None));
        let kept = Rc::clone(&inner);
        let connection = poll_fn(move |cx| {
            kept.set(Some(cx.waker().clone()));
            Poll::<()>::Pending
        });
        let mut together = Together::new(connection, Streams::default());
        let waker = Waker::from(Arc::clone(&woken));
        for _ in 0..3 {
            let mut cx = Context::from_waker(&waker);
            assert!(Pin::new(&mut together).poll(&mut cx).is_pending());
            assert_eq!(woken.0.swap(0, Ordering::Relaxed), 0);
            let rope = inner.take().unwrap();
            rope.wake_by_ref();
            rope.wake();
            assert_eq!(woken.0.swap(0, Ordering::Relaxed), 1);
        }
    }

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Counted(AtomicU8);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}
