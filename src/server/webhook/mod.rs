//! Tells somebody when an alert begins or ends: an HTTP POST in the form of Alertmanager's webhook,
//! so that what reads those reads Galen's.
//!
//! A bounded queue and a thread with a runtime of its own: whoever tells of an alert never waits
//! for the receiver. What it does not take is sent again, with growing pauses, and after some
//! attempts dropped; `retry` decides. One message at a time, so that an end never overtakes its
//! beginning. Without TLS: `http` only.

mod message;
mod retry;

use std::cell::Cell;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use crate::config::{AlertsConfig, Webhook};
use crate::error::{Error, Result};
use crate::event::{Alarm, AlertChanged};
use retry::{Answer, Next};

/// Messages that wait. Three alerts of each version may change at once; a receiver that is away for
/// longer learns the rest from the next change.
const QUEUE: usize = 256;
const AGENT: &str = concat!("galen/", env!("CARGO_PKG_VERSION"));

/// What became of a message, or of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Delivered,
    /// The attempt failed; there will be another one.
    Retried,
    Dropped,
}

impl Outcome {
    pub const ALL: [Outcome; 3] = [Outcome::Delivered, Outcome::Retried, Outcome::Dropped];

    pub fn label(self) -> &'static str {
        match self {
            Outcome::Delivered => "delivered",
            Outcome::Retried => "retried",
            Outcome::Dropped => "dropped",
        }
    }
}

/// Told of every outcome.
pub type Count = Arc<dyn Fn(Outcome) + Send + Sync>;

/// Puts changes into the queue.
struct Sender {
    queue: mpsc::Sender<AlertChanged>,
    count: Count,
}

impl Alarm for Sender {
    fn alert_changed(&self, change: AlertChanged) {
        if let Err(refused) = self.queue.try_send(change) {
            let change = refused.into_inner();
            tracing::error!(
                model = %change.id,
                kind = change.kind.name(),
                "the webhook's queue is full: an alert was not told"
            );
            (self.count)(Outcome::Dropped);
        }
    }
}

/// Starts the thread, where there is an address. It ends when `stop` turns true; what still waits
/// then is told anew by the next process, if it still is so.
pub fn start(
    config: &AlertsConfig,
    count: Count,
    stop: watch::Receiver<bool>,
) -> Result<Option<Arc<dyn Alarm>>> {
    let Some(webhook) = config.webhook.clone() else { return Ok(None) };
    let failed = |error: std::io::Error| {
        Error::internal("the webhook thread could not be started").with_detail(error)
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let (queue, waiting) = mpsc::channel(QUEUE);
    let courier = Courier {
        webhook,
        config: config.clone(),
        count: Arc::clone(&count),
        in_hand: Cell::new(0),
    };
    std::thread::Builder::new()
        .name("galen-webhook".to_owned())
        .spawn(move || {
            runtime.block_on(courier.run(waiting, stop));
            // A look-up of a name may hang: nobody waits for it.
            runtime.shutdown_background();
        })
        .map_err(failed)?;
    Ok(Some(Arc::new(Sender { queue, count })))
}

/// Brings messages, one after another.
struct Courier {
    webhook: Webhook,
    config: AlertsConfig,
    count: Count,
    /// Messages taken from the queue and not yet done with: one, or none.
    in_hand: Cell<u64>,
}

impl Courier {
    async fn run(self, mut waiting: mpsc::Receiver<AlertChanged>, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            // An error: whoever could say so is gone.
            _ = stop.wait_for(|stop| *stop) => {}
            () = self.deliver_all(&mut waiting) => {}
        }
        waiting.close();
        let mut left = self.in_hand.get();
        while waiting.try_recv().is_ok() {
            left += 1;
        }
        (0..left).for_each(|_| (self.count)(Outcome::Dropped));
        if left > 0 {
            tracing::warn!(left, "alerts were not told before the end");
        }
    }

    async fn deliver_all(&self, waiting: &mut mpsc::Receiver<AlertChanged>) {
        while let Some(change) = waiting.recv().await {
            self.in_hand.set(1);
            self.deliver(&change).await;
            self.in_hand.set(0);
        }
    }

    async fn deliver(&self, change: &AlertChanged) {
        let (model, kind) = (&change.id, change.kind.name());
        let body = match message::of(change) {
            Ok(body) => Bytes::from(body),
            Err(error) => {
                tracing::error!(%model, kind, %error, "an alert can not be written down");
                (self.count)(Outcome::Dropped);
                return;
            }
        };
        for attempt in 0.. {
            let (answer, said) = self.attempt(body.clone()).await;
            let (now, random) = (Instant::now(), fastrand::f64());
            match retry::next(&self.config, attempt, answer, now, random) {
                Next::Done => {
                    (self.count)(Outcome::Delivered);
                    return;
                }
                Next::GiveUp => {
                    let attempts = attempt + 1;
                    tracing::error!(%model, kind, attempts, said, "an alert could not be told");
                    (self.count)(Outcome::Dropped);
                    return;
                }
                Next::At(at) => {
                    let attempt = attempt + 1;
                    tracing::warn!(%model, kind, attempt, said, "the webhook does not answer well");
                    (self.count)(Outcome::Retried);
                    tokio::time::sleep_until(at.into()).await;
                }
            }
        }
    }

    /// One POST, and what there is to say of it.
    async fn attempt(&self, body: Bytes) -> (Answer, String) {
        match tokio::time::timeout(self.config.timeout, self.post(body)).await {
            Ok(Ok(status)) => (Answer::of(status.as_u16()), format!("status {status}")),
            Ok(Err(error)) => (Answer::Failed, error.to_string()),
            Err(_) => (Answer::Failed, "no answer in time".to_owned()),
        }
    }

    async fn post(
        &self,
        body: Bytes,
    ) -> std::result::Result<StatusCode, Box<dyn std::error::Error + Send + Sync>> {
        let Webhook { host, port, target } = &self.webhook;
        let stream = TcpStream::connect((host.as_str(), *port)).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::post(target.as_str())
            .header(HOST, self.webhook.authority())
            .header(USER_AGENT, AGENT)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let (mut answer, mut connection) = (pin!(sender.send_request(request)), pin!(connection));
        // The connection works as long as it is waited for; it may end with the answer in it.
        tokio::select! {
            answer = &mut answer => Ok(answer?.status()),
            ended = &mut connection => {
                ended?;
                Ok(answer.await?.status())
            }
        }
    }
}
