//! What the doors that only go out have in common: a thread of their own, one POST over a
//! connection of its own, and (`retry`) what follows it. Without TLS: `http` only.

pub mod retry;

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderMap, RETRY_AFTER, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::config::HttpAddress;
use crate::error::{Error, Result};

const AGENT: &str = concat!("galen/", env!("CARGO_PKG_VERSION"));

/// Starts a thread with a runtime of its own, which ends with its work.
pub fn start<F: Future<Output = ()>>(
    name: &str,
    work: impl FnOnce() -> F + Send + 'static,
) -> Result<()> {
    let failed = |error: std::io::Error| {
        Error::internal(format!("the thread {name} could not be started")).with_detail(error)
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let run = move || {
        runtime.block_on(work());
        // A look-up of a name may hang: nobody waits for it.
        runtime.shutdown_background();
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(failed)?;
    Ok(())
}

/// What is sent.
#[derive(Clone)]
pub struct Post<'a> {
    pub address: &'a HttpAddress,
    pub content_type: &'static str,
    pub body: Bytes,
    /// From the connection to the end of what is read of the answer.
    pub timeout: Duration,
    /// Bytes of the answer's body that are read; 0 reads none.
    pub answer_bytes_max: usize,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    /// How long the receiver asks to be left alone.
    pub retry_after: Option<Duration>,
    /// Empty where it was not read, or could not be.
    pub body: Bytes,
}

impl Post<'_> {
    /// One attempt; the error is for the log, and has nothing of the address.
    pub async fn send(self) -> std::result::Result<Reply, String> {
        match tokio::time::timeout(self.timeout, self.exchange()).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    async fn exchange(
        self,
    ) -> std::result::Result<Reply, Box<dyn std::error::Error + Send + Sync>> {
        let Post { address, content_type, body, answer_bytes_max, .. } = self;
        let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::post(address.target.as_str())
            .header(HOST, address.authority())
            .header(USER_AGENT, AGENT)
            .header(CONTENT_TYPE, content_type)
            .body(Full::new(body))?;
        let answer = async {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = match answer_bytes_max {
                0 => Bytes::new(),
                // The head says what became of the message: no body changes that.
                max => Limited::new(body, max)
                    .collect()
                    .await
                    .map_or_else(|_| Bytes::new(), |collected| collected.to_bytes()),
            };
            Ok(Reply { status: head.status, retry_after: retry_after(&head.headers), body })
        };
        let (mut answer, mut connection) = (pin!(answer), pin!(connection));
        // The connection works as long as it is waited for; it may end with the answer in it.
        tokio::select! {
            answer = &mut answer => answer,
            ended = &mut connection => {
                ended?;
                answer.await
            }
        }
    }
}

/// In seconds; a date is passed over.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
