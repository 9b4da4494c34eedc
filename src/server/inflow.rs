//! How a request's body comes in: its parts must follow each other in time, and what nobody read
//! of a small one is read and forgotten.
//!
//! An error may be known before the body has come: no such model, not ready. hyper then ends an
//! HTTP/1 connection whose body is still on its way, without a word to the peer, whose next request
//! on it is lost. What this file must not know: routes, models, what bodies say.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::EXPECT;
use http::{Request, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::runtime::Handle;

use super::patience::Timer;

/// Most that is read of a body that nobody wants. For more, a new connection is cheaper.
const UNWANTED_BYTES_MAX: u64 = 64 << 10;

/// The request with bounds on its body; `patience` is how long each part of it may take to come.
pub fn bounded(request: Request<Incoming>, patience: Duration) -> Request<Body> {
    // HTTP/2 ends a stream without its connection. And a peer that asked whether to send its body
    // may take an answer for a no (RFC 9110, section 10.1.1): what comes next is no body, then.
    let is_drained = request.version() < Version::HTTP_2 && !request.headers().contains_key(EXPECT);
    request.map(|body| {
        let body = Some(body).filter(|body| !body.is_end_stream());
        Body::new(Timely { body, timer: Timer::new(patience), is_drained })
    })
}

/// A body whose parts must follow each other in time.
struct Timely {
    /// Until its end.
    body: Option<Incoming>,
    timer: Timer,
    is_drained: bool,
}

impl HttpBody for Timely {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let frame = match Pin::new(body).poll_frame(cx) {
            Poll::Ready(frame) => {
                this.timer.disarm();
                frame.map(|frame| frame.map_err(axum::Error::new))
            }
            Poll::Pending => match this.timer.poll::<()>(cx) {
                Poll::Ready(outcome) => outcome.err().map(axum::Error::new).map(Err),
                Poll::Pending => return Poll::Pending,
            },
        };
        // Neither an end nor an error has anything behind it.
        if !matches!(frame, Some(Ok(_))) || this.is_end_stream() {
            this.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Timely {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|_| self.is_drained) else { return };
        // A runtime that has ended reads nothing more.
        let Ok(runtime) = Handle::try_current() else { return };
        if body.size_hint().lower() <= UNWANTED_BYTES_MAX {
            let timer = Timer::new(self.timer.patience());
            runtime.spawn(drain(Timely { body: Some(body), timer, is_drained: false }));
        }
    }
}

/// Reads to the end, or as far as is reasonable.
async fn drain(mut body: Timely) {
    let mut left = UNWANTED_BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        let Some(rest) = left.checked_sub(bytes) else { return };
        left = rest;
    }
}
