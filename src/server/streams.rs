//! The requests of one HTTP/2 connection, on the connection's own task. Each on a task of its own
//! would be woken, on whichever thread, to hand a few bytes back to the task that writes them: with
//! a few callers on a connection that is most of what a small request costs.
//!
//! What this file must not know: requests and answers.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::future::{CatchUnwind, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
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
}

impl<C> Together<C> {
    /// `opened` is what the connection was built with.
    pub fn new(connection: C, opened: Streams) -> Self {
        Self { connection: Box::pin(connection), opened, running: FuturesUnordered::new() }
    }
}

impl<C: Future> Future for Together<C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let this = &mut *self;
        // First, for it reads what the requests wait for. What they answer wakes this task again,
        // and then leaves in one piece.
        if let Poll::Ready(outcome) = this.connection.as_mut().poll(cx) {
            return Poll::Ready(outcome);
        }
        let mut opened = this.opened.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A request that panics is reset, and takes nobody else along.
        let caught = |stream: Stream| AssertUnwindSafe(stream).catch_unwind();
        this.running.extend(opened.drain(..).map(caught));
        drop(opened);
        while let Poll::Ready(Some(_)) = this.running.poll_next_unpin(cx) {}
        Poll::Pending
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
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut poll = || Pin::new(&mut together).poll(&mut cx);
        assert_eq!([poll(), poll(), poll()], [Poll::Pending, Poll::Pending, Poll::Ready(7)]);
        assert_eq!(polls.get(), 3);
    }
}
