//! Tells somebody when an alert begins or ends: an HTTP POST in the form of Alertmanager's webhook,
//! so that what reads those reads Galen's.
//!
//! A bounded queue and a thread with a runtime of its own: whoever tells of an alert never waits
//! for the receiver. What it does not take is sent again, with growing pauses, and after some
//! attempts dropped; `outgoing::retry` decides. One message at a time, so that an end never
//! overtakes its beginning.

mod message;

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::outgoing::retry::{self, Answer, Next, Patience};
use super::outgoing::{self, Post};
use crate::config::{AlertsConfig, HttpAddress};
use crate::error::Result;
use crate::event::{Alarm, AlertChanged};

/// Messages that wait. Three alerts of each version may change at once; a receiver that is away for
/// longer learns the rest from the next change.
const QUEUE: usize = 256;

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
    let Some(address) = config.webhook.clone() else { return Ok(None) };
    let (queue, waiting) = mpsc::channel(QUEUE);
    let courier = Courier {
        address,
        patience: Patience { retries: config.retries, backoff: config.backoff },
        timeout: config.timeout,
        count: Arc::clone(&count),
        in_hand: Cell::new(0),
    };
    outgoing::start("galen-webhook", move || courier.run(waiting, stop))?;
    Ok(Some(Arc::new(Sender { queue, count })))
}

/// Brings messages, one after another.
struct Courier {
    address: HttpAddress,
    patience: Patience,
    /// For one attempt.
    timeout: Duration,
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
            match retry::next(self.patience, attempt, answer, now, random) {
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
        let post = Post {
            address: &self.address,
            content_type: "application/json",
            body,
            timeout: self.timeout,
            answer_bytes_max: 0,
        };
        match post.send().await {
            Ok(reply) => {
                let answer = answer(reply.status.as_u16(), reply.retry_after);
                (answer, format!("status {}", reply.status))
            }
            Err(error) => (Answer::Failed(None), error),
        }
    }
}

/// By the status of HTTP. A redirection is not followed: the address is the operator's.
fn answer(status: u16, retry_after: Option<Duration>) -> Answer {
    match status {
        200..=299 => Answer::Taken,
        408 | 425 | 429 | 500..=599 => Answer::Failed(retry_after),
        _ => Answer::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_that_is_busy_or_broken_is_asked_again() {
        let of = |status| answer(status, None);
        assert!([200, 202, 204].map(of).iter().all(|answer| *answer == Answer::Taken));
        let failed = Answer::Failed(None);
        assert!([408, 429, 500, 503].map(of).iter().all(|answer| *answer == failed));
        assert!([301, 307, 400, 401, 404, 413].map(of).iter().all(|a| *a == Answer::Refused));
        let after = Some(Duration::from_secs(3));
        assert_eq!(answer(429, after), Answer::Failed(after));
    }
}
