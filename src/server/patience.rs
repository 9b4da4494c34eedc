//! Bounds on how long a peer may keep a connection waiting, below HTTP. And, since all its bytes
//! pass here, `framing` looks at them.
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

use super::framing::Framing;

/// What a connection that speaks HTTP/2 begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream whose peer must not dawdle, and must say clearly where its requests end.
pub struct Patient<S> {
    stream: S,
    protocol: Protocol,
    framing: Framing,
    /// What is still to come in place of what a peer to refuse has sent.
    refusal: Option<&'static [u8]>,
    opening: Timer,
    writing: Timer,
}

impl<S> Patient<S> {
    /// `opening` bounds the wait until the protocol is clear, `writing` each wait for the peer to
    /// take some bytes.
    pub fn new(stream: S, opening: Duration, writing: Duration) -> Self {
        Self {
            stream,
            protocol: Protocol::Unclear(0),
            framing: Framing::default(),
            refusal: None,
            opening: Timer::new(opening),
            writing: Timer::new(writing),
        }
    }
}

/// What the peer speaks. Once that is clear, hyper's own limits hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    /// As many bytes of the preface have come, and nothing else.
    Unclear(usize),
    Http1,
    Http2,
}

/// What is known after `new` bytes more.
fn advance(seen: usize, new: &[u8]) -> Protocol {
    let expected = &PREFACE[seen..];
    let common = expected.len().min(new.len());
    if new[..common] != expected[..common] {
        Protocol::Http1
    } else if common == expected.len() {
        Protocol::Http2
    } else {
        Protocol::Unclear(seen + common)
    }
}

/// The end of a head that no parser takes: hyper answers 400 and closes.
const REFUSAL: &[u8] = b"\0\r\n\r\n";

/// Hands out as much as there is room for; in the end, nothing more.
fn hand_out(rest: &mut &'static [u8], buf: &mut ReadBuf<'_>) {
    let (now, later) = rest.split_at(rest.len().min(buf.remaining()));
    buf.put_slice(now);
    *rest = later;
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(rest) = &mut this.refusal {
            hand_out(rest, buf);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        let unclear = match this.protocol {
            Protocol::Http2 => return polled,
            Protocol::Http1 => None,
            Protocol::Unclear(seen) => Some(seen),
        };
        match (&polled, unclear) {
            (Poll::Pending, Some(_)) => return this.opening.poll(cx),
            (Poll::Ready(_), Some(seen)) => {
                this.protocol = advance(seen, &buf.filled()[before..]);
            }
            (_, None) => {}
        }
        if this.protocol != Protocol::Http2
            && let Some(at) = this.framing.look(&buf.filled()[before..])
        {
            buf.set_filled(before + at);
            hand_out(this.refusal.insert(REFUSAL), buf);
        }
        polled
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

    pub fn patience(&self) -> Duration {
        self.patience
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
        assert_eq!(advance(0, b"G"), Protocol::Http1);
        assert_eq!(advance(0, b"P"), Protocol::Unclear(1));
        assert_eq!(advance(1, b"OST"), Protocol::Http1);
        assert_eq!(advance(1, b"RI * "), Protocol::Unclear(6));
        assert_eq!(advance(0, PREFACE), Protocol::Http2);
        assert_eq!(advance(3, &PREFACE[3..]), Protocol::Http2);
        assert_eq!(advance(3, b""), Protocol::Unclear(3));
    }

    #[tokio::test]
    async fn a_request_to_refuse_ends_as_no_head_may() {
        let (mut peer, ours) = tokio::io::duplex(256);
        let mut stream = Patient::new(ours, SECOND, SECOND);
        let (fine, bad) = (b"GET / HTTP/1.1\r\n\r\nGET / HT", b"TP/1.1\r\nContent-Length: 1\r\n");
        let mut data = [0; 256];
        for part in [&fine[..], bad] {
            peer.write_all(part).await.unwrap();
            let read = stream.read(&mut data).await.unwrap();
            assert_eq!(&data[..read], part);
        }
        peer.write_all(b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n").await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"Transfer-Encoding: chunked\r\0\r\n\r\n");
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
