//! The accept loop, our own: connections are capped, the first byte and the head of a request must
//! come in time, and an accept error never ends the server.
//!
//! (The stock loops have no limit on a connection's first bytes; hyper's header time-out does
//! nothing without a timer; and a failed `accept`, as when file descriptors run out, has ended
//! servers.)

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};

use super::layers::Layered;
use super::patience::Patient;
use super::streams::{Streams, Together};
use crate::config::{Address, Limits};
use crate::error::{Error, Result};

/// Requests that one HTTP/2 connection may have open.
const STREAMS_MAX: u32 = 256;
/// Bytes of headers that one request may have.
const HEADER_BYTES_MAX: u32 = 16 << 10;
/// Resets that a connection may leave behind before it is closed (CVE-2023-44487).
const RESETS_MAX: usize = 64;
/// Pause after a failed accept: long enough not to spin, short enough not to be noticed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Bytes in flight per HTTP/2 stream and connection before the peer must wait.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Bytes in one HTTP/2 frame: a tensor of some size comes in one piece, by fewer reads. A peer can
/// make a connection keep this much memory ready, with nine bytes that say so.
const FRAME_BYTES_MAX: u32 = 256 << 10;

/// A bound listener.
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// Removes a socket's file when its listener is gone.
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody else may have removed it already, which is what we want.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    pub async fn bind(address: &Address) -> Result<Self> {
        let refuse =
            |error: io::Error| Error::invalid(format!("can not listen on {address}: {error}"));
        match address {
            Address::Tcp(tcp) => TcpListener::bind(tcp).await.map(Listener::Tcp).map_err(refuse),
            Address::Unix(path) => {
                // A stale file from a process that was killed; a living server would answer.
                if UnixStream::connect(path).await.is_err_and(is_refused) {
                    let _ = std::fs::remove_file(path);
                }
                let listener = UnixListener::bind(path).map_err(refuse)?;
                Ok(Listener::Unix(listener, SocketFile(path.clone())))
            }
        }
    }

    /// The address as it is, with the port that was picked.
    pub fn local_address(&self) -> String {
        match self {
            Listener::Tcp(listener) => {
                listener.local_addr().map_or_else(|_| "?".to_owned(), |address| address.to_string())
            }
            Listener::Unix(_, file) => format!("unix:{}", file.0.display()),
        }
    }

    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Answers are small and whole: waiting to fill a packet only adds latency.
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Listener::Unix(listener, _) => Ok(Stream::Unix(listener.accept().await?.0)),
        }
    }
}

fn is_refused(error: io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionRefused
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Serves `service` on `listener` until `stop` turns true; then finishes what is in flight.
///
/// Returns when all connections are closed. The caller bounds how long that may take.
pub async fn serve(
    listener: Listener,
    service: Layered,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let permits = Arc::new(Semaphore::new(limits.connections_max));
    let graceful = GracefulShutdown::new();
    loop {
        let permit = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            permit = Arc::clone(&permits).acquire_owned() => permit,
        };
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let service = service.clone();
        let watcher = graceful.watcher();
        tokio::spawn(async move {
            match stream {
                Stream::Tcp(stream) => connection(stream, service, limits, watcher).await,
                Stream::Unix(stream) => connection(stream, service, limits, watcher).await,
            }
            drop(permit);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn connection<S>(
    stream: S,
    service: Layered,
    limits: Limits,
    watcher: hyper_util::server::graceful::Watcher,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = Patient::new(stream, limits.header_timeout, limits.body_timeout);
    let streams = Streams::default();
    let builder = connection_builder(&limits, streams.clone());
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    // A broken connection is the peer's affair; requests on it have had their own log lines.
    if let Err(error) = Together::new(watcher.watch(connection), streams).await {
        tracing::debug!(error = %error, "a connection ended early");
    }
}

fn connection_builder(limits: &Limits, streams: Streams) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(streams);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(HEADER_BYTES_MAX as usize * 4);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_BYTES_MAX)
        .keep_alive_interval(limits.keepalive_timeout)
        .keep_alive_timeout(limits.keepalive_timeout);
    builder
}
