//! Bounds on how long a peer may keep a connection waiting, below HTTP.
//!
//! Two gaps are closed here that hyper leaves open: it tells HTTP/1 from HTTP/2 by the first bytes
//! and waits for them without a limit; and it waits without a limit for a peer that does not read
//! its answer. What this file must not know: HTTP beyond the first bytes of its second version.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// What a connection that speaks HTTP/2 begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream whose peer must not dawdle.
pub struct Patient<S> {
    stream: S,
    /// Bytes of the preface that have come; `None` once the protocol is clear, after which hyper's
    /// own limits hold.
    preface: Option<usize>,
    opening: Timer,
    writing: Timer,
}

impl<S> Patient<S> {
    /// `opening` bounds the wait until the protocol is clear, `writing` each wait for the peer to
    /// take some bytes.
    pub fn new(stream: S, opening: Duration, writing: Duration) -> Self {
        Self {
            stream,
            preface: Some(0),
            opening: Timer::new(opening),
            writing: Timer::new(writing),
        }
    }
}

/// Bytes of the preface known after `new` bytes more; `None` when the protocol is clear.
fn advance(seen: usize, new: &[u8]) -> Option<usize> {
    let expected = &PREFACE[seen..];
    let common = expected.len().min(new.len());
    let undecided = new.len() < expected.len() && new[..common] == expected[..common];
    undecided.then_some(seen + common)
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        let Some(seen) = this.preface else { return polled };
        match polled {
            Poll::Ready(_) => {
                this.preface = advance(seen, &buf.filled()[before..]);
                polled
            }
            Poll::Pending => this.opening.poll(cx),
        }
    }
}

impl<S: AsyncWrite + Unpin> Patient<S> {
    /// Starts the clock while the peer takes nothing, and stops it when it does.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match polled {
            Poll::Ready(_) => {
                self.writing.disarm();
                polled
            }
            Poll::Pending => self.writing.poll(cx),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, data);
        self.watch(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A time-out that costs nothing until somebody waits.
pub struct Timer {
    patience: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

impl Timer {
    pub fn new(patience: Duration) -> Self {
        Self { patience, sleep: None, armed: false }
    }

    pub fn disarm(&mut self) {
        self.armed = false;
    }

    /// Pending until the patience has run out, counted from the first poll since it was disarmed.
    pub fn poll<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let patience = self.patience;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        if !self.armed {
            sleep.as_mut().reset(Instant::now() + patience);
            self.armed = true;
        }
        sleep.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_protocol_is_clear_at_the_first_byte_that_decides() {
        assert_eq!(advance(0, b"G"), None);
        assert_eq!(advance(0, b"P"), Some(1));
        assert_eq!(advance(1, b"OST"), None);
        assert_eq!(advance(1, b"RI * "), Some(6));
        assert_eq!(advance(0, PREFACE), None);
        assert_eq!(advance(3, &PREFACE[3..]), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_stops_in_mid_preface_is_given_up() {
        let (mut peer, ours) = tokio::io::duplex(64);
        let mut stream = Patient::new(ours, SECOND, SECOND);
        peer.write_all(b"PRI *").await.unwrap();
        let mut data = [0; 64];
        assert_eq!(stream.read(&mut data).await.unwrap(), 5);
        let error = stream.read(&mut data).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn an_http_1_connection_may_idle_here() {
        let (mut peer, ours) = tokio::io::duplex(64);
        let mut stream = Patient::new(ours, SECOND, SECOND);
        peer.write_all(b"G").await.unwrap();
        let mut data = [0; 64];
        assert_eq!(stream.read(&mut data).await.unwrap(), 1);
        let idle = tokio::time::timeout(100 * SECOND, stream.read(&mut data)).await;
        assert!(idle.is_err(), "nothing comes, and nothing is cut");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_is_given_up() {
        let (_peer, ours) = tokio::io::duplex(4);
        let mut stream = Patient::new(ours, SECOND, SECOND);
        assert_eq!(stream.write(b"12345678").await.unwrap(), 4);
        let error = stream.write(b"5678").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
