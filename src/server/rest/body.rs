//! A request's body as one piece of memory: bounded in bytes before anything is kept, and in time.

use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use serde::Deserialize;

use super::coding::Coding;
use crate::error::{Error, ErrorKind, Result};

/// Packed bodies below this are unpacked where they arrive: at a ratio of 1000 they are 16 MiB.
const INLINE_BYTES_MAX: usize = 16 << 10;

/// Reads a body of at most `bytes_max` bytes. How many parts it comes in makes no difference.
pub async fn collect(headers: &HeaderMap, mut body: Body, bytes_max: usize) -> Result<Bytes> {
    let coding = headers.get(CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("?"));
    let coding = Coding::of_request(coding)?;
    let too_large = || {
        Error::too_large(format!("the request body is larger than the limit of {bytes_max} bytes"))
    };
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let announced: Option<usize> = announced.and_then(|text| text.parse().ok());
    if announced.is_some_and(|length| length > bytes_max) {
        return Err(too_large());
    }
    let mut whole = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(broken)?;
        // Trailers say nothing that we read.
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + joined.len() + data.len() > bytes_max {
            return Err(too_large());
        }
        if joined.is_empty() && whole.is_empty() {
            // Mostly the only part: it is kept as it came.
            whole = data;
            continue;
        }
        if joined.is_empty() {
            joined.reserve(announced.unwrap_or(0).max(whole.len() + data.len()));
            joined.extend_from_slice(&std::mem::take(&mut whole));
        }
        joined.extend_from_slice(&data);
    }
    let body = if joined.is_empty() { whole } else { joined.freeze() };
    match coding {
        None => Ok(body),
        Some(coding) if body.len() < INLINE_BYTES_MAX => coding.unpack(&body, bytes_max),
        Some(coding) => {
            // It can become large and take long: not on a thread that serves others.
            let unpacked = tokio::task::spawn_blocking(move || coding.unpack(&body, bytes_max));
            unpacked.await.map_err(|_| Error::internal("the body could not be unpacked"))?
        }
    }
}

/// A small JSON object; an empty body is an empty one.
pub async fn object<T>(request: Request, bytes_max: usize) -> Result<T>
where
    T: Default + for<'a> Deserialize<'a>,
{
    let (parts, body) = request.into_parts();
    let text = collect(&parts.headers, body, bytes_max).await?;
    if text.is_empty() {
        return Ok(T::default());
    }
    // serde would read a list as the fields in their order.
    if text.trim_ascii_start().first() != Some(&b'{') {
        return Err(Error::invalid("failed to parse the request JSON: expected an object"));
    }
    serde_json::from_slice(&text).map_err(|error| {
        // Category and place only: serde's text may hold what was sent.
        let (line, column) = (error.line(), error.column());
        Error::invalid(format!("failed to parse the request JSON at line {line} column {column}"))
    })
}

fn broken(error: axum::Error) -> Error {
    use std::error::Error as _;
    let mut cause = error.source();
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::TimedOut) {
            return Error::new(ErrorKind::Incomplete, "the request body did not arrive in time");
        }
        cause = error.source();
    }
    Error::invalid("the request body ended early or broke its framing")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    /// A body that comes in these parts.
    struct Parts(std::collections::VecDeque<&'static [u8]>);

    impl http_body::Body for Parts {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<std::result::Result<http_body::Frame<Bytes>, Self::Error>>>
        {
            let part = self.0.pop_front();
            std::task::Poll::Ready(
                part.map(|part| Ok(http_body::Frame::data(Bytes::from_static(part)))),
            )
        }
    }

    async fn read(parts: &[&'static [u8]], headers: &HeaderMap, max: usize) -> Result<Bytes> {
        collect(headers, Body::new(Parts(parts.iter().copied().collect())), max).await
    }

    #[tokio::test]
    async fn parts_are_joined_and_bounded() {
        let none = HeaderMap::new();
        assert_eq!(read(&[b"ab"], &none, 2).await.unwrap(), "ab");
        assert_eq!(read(&[b"ab", b"", b"c", b"def"], &none, 6).await.unwrap(), "abcdef");
        assert_eq!(read(&[], &none, 0).await.unwrap(), "");
        assert_eq!(read(&[b"ab", b"c"], &none, 2).await.unwrap_err().kind(), ErrorKind::TooLarge);
        let mut announced = HeaderMap::new();
        announced.insert(CONTENT_LENGTH, HeaderValue::from_static("3"));
        assert_eq!(read(&[], &announced, 2).await.unwrap_err().kind(), ErrorKind::TooLarge);
        let mut packed = HeaderMap::new();
        packed.insert(CONTENT_ENCODING, HeaderValue::from_static("br"));
        let refused = read(&[b"ab"], &packed, 2).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::UnsupportedEncoding);
    }
}
