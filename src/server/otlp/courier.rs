//! Brings spans to the collector, one message after another.
//!
//! A message goes when it is full, or a second after its first span. What may be taken another time
//! is sent again, with growing pauses, and after some attempts dropped. At the end, what waits is
//! sent without pauses, within a few seconds.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::message::{self, Fact};
use super::{Count, Outcome, pb};
use crate::config::HttpAddress;
use crate::server::outgoing::retry::{self, Answer, Next, Patience};
use crate::server::outgoing::{Post, Reply};

/// Spans of one message.
const SPANS_MAX: usize = 512;
/// Between the first span of a message and its sending.
const INTERVAL: Duration = Duration::from_secs(1);
/// For one attempt.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Short: while a message is tried again, the queue fills.
const PATIENCE: Patience = Patience { retries: 4, backoff: Duration::from_millis(500) };
/// At the end: a message is tried once.
const NO_PATIENCE: Patience = Patience { retries: 0, ..PATIENCE };
/// How long the end may take.
const LAST_MOMENTS: Duration = Duration::from_secs(3);
/// Of an answer, which is a count and a line of text.
const ANSWER_BYTES_MAX: usize = 16 << 10;

pub struct Courier {
    address: HttpAddress,
    service_name: String,
    count: Count,
    /// Spans that the queue did not take, since the last message.
    refused: Arc<AtomicU64>,
    /// Spans that were taken from the queue, and of which nothing was counted yet.
    in_hand: Cell<u64>,
}

impl Courier {
    pub fn new(
        address: HttpAddress,
        service_name: String,
        count: Count,
        refused: Arc<AtomicU64>,
    ) -> Self {
        Self { address, service_name, count, refused, in_hand: Cell::new(0) }
    }

    /// Works until `stop` turns true, and a little longer.
    pub async fn run(self, mut waiting: mpsc::Receiver<Fact>, stop: watch::Receiver<bool>) {
        let last_moment = async {
            stopped(&mut stop.clone()).await;
            sleep(LAST_MOMENTS).await;
        };
        tokio::select! {
            () = self.export_all(&mut waiting, stop.clone()) => {}
            () = last_moment => {}
        }
        waiting.close();
        let mut left = self.in_hand.get();
        while let Ok(fact) = waiting.try_recv() {
            left += fact.spans();
        }
        if left > 0 {
            (self.count)(Outcome::Dropped, left);
            tracing::warn!(spans = left, "spans were not exported before the end");
        }
    }

    async fn export_all(
        &self,
        waiting: &mut mpsc::Receiver<Fact>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut spans = Vec::new();
        loop {
            let goes_on = self.gather(waiting, &mut stop, &mut spans).await;
            let rest = spans.split_off(spans.len().min(SPANS_MAX));
            let message = std::mem::replace(&mut spans, rest);
            if !message.is_empty() {
                self.deliver(message, &mut stop).await;
            } else if !goes_on {
                return;
            }
        }
    }

    /// Takes spans until a message is full or due. Gives back whether there will be more.
    async fn gather(
        &self,
        waiting: &mut mpsc::Receiver<Fact>,
        stop: &mut watch::Receiver<bool>,
        spans: &mut Vec<pb::Span>,
    ) -> bool {
        let due = Instant::now() + INTERVAL;
        let mut due = (!spans.is_empty()).then_some(due);
        while spans.len() < SPANS_MAX {
            let is_due = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // What waits is taken also after the end has begun.
                biased;
                fact = waiting.recv() => {
                    let Some(fact) = fact else { return false };
                    let before = spans.len();
                    fact.write(|| fastrand::u64(1..), spans);
                    self.in_hand.update(|held| held + (spans.len() - before) as u64);
                    due.get_or_insert_with(|| Instant::now() + INTERVAL);
                }
                () = stopped(stop) => return false,
                () = is_due => return true,
            }
        }
        true
    }

    async fn deliver(&self, spans: Vec<pb::Span>, stop: &mut watch::Receiver<bool>) {
        let refused = self.refused.swap(0, Ordering::Relaxed);
        if refused > 0 {
            tracing::warn!(spans = refused, "spans were dropped: their queue is full");
        }
        let count = spans.len() as u64;
        let message = message::export(&self.service_name, spans);
        let body = Bytes::from(message.encode_to_vec());
        for attempt in 0.. {
            let (answer, said) = self.attempt(body.clone(), count).await;
            let patience = if *stop.borrow() { NO_PATIENCE } else { PATIENCE };
            let now = Instant::now();
            match retry::next(patience, attempt, answer, now.into_std(), fastrand::f64()) {
                Next::Done => return,
                Next::GiveUp => {
                    let attempts = attempt + 1;
                    tracing::warn!(spans = count, attempts, said, "spans could not be exported");
                    self.settle(Outcome::Dropped, count);
                    return;
                }
                Next::At(at) => {
                    tracing::debug!(attempt, said, "the collector does not answer well");
                    tokio::select! {
                        () = sleep_until(at.into()) => {}
                        () = stopped(stop) => {}
                    }
                }
            }
        }
    }

    /// One POST, and what there is to say of it; what was taken is counted.
    async fn attempt(&self, body: Bytes, spans: u64) -> (Answer, String) {
        let post = Post {
            address: &self.address,
            content_type: "application/x-protobuf",
            body,
            timeout: TIMEOUT,
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        let reply = match post.send().await {
            Ok(reply) => reply,
            Err(error) => return (Answer::Failed(None), error),
        };
        let answer = answer(reply.status.as_u16(), reply.retry_after);
        if answer == Answer::Taken {
            let rejected = rejected(&reply).min(spans);
            if rejected > 0 {
                tracing::warn!(spans = rejected, "the collector rejected spans");
            }
            self.settle(Outcome::Dropped, rejected);
            self.settle(Outcome::Exported, spans - rejected);
        }
        (answer, format!("status {}", reply.status))
    }

    fn settle(&self, outcome: Outcome, spans: u64) {
        self.in_hand.update(|held| held.saturating_sub(spans));
        (self.count)(outcome, spans);
    }
}

/// Resolves when the end has begun; so it has, too, when nobody is left who could say so.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// By the status of HTTP, as OTLP has it. A redirection is not followed.
fn answer(status: u16, retry_after: Option<Duration>) -> Answer {
    match status {
        200..=299 => Answer::Taken,
        429 | 502 | 503 | 504 => Answer::Failed(retry_after),
        _ => Answer::Refused,
    }
}

/// Spans that the collector did not take from a message that it took. An answer that is no message
/// says nothing of any.
fn rejected(reply: &Reply) -> u64 {
    let response = pb::ExportTraceServiceResponse::decode(reply.body.clone()).ok();
    let partial = response.and_then(|response| response.partial_success);
    partial.map_or(0, |partial| u64::try_from(partial.rejected_spans).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_otlp_calls_retryable_is_sent_again() {
        let of = |status| answer(status, None);
        assert!([200, 202].map(of).iter().all(|answer| *answer == Answer::Taken));
        let failed = Answer::Failed(None);
        assert!([429, 502, 503, 504].map(of).iter().all(|answer| *answer == failed));
        let refused = [301, 400, 401, 404, 408, 413, 500, 501];
        assert!(refused.map(of).iter().all(|answer| *answer == Answer::Refused));
        let after = Some(Duration::from_secs(7));
        assert_eq!(answer(503, after), Answer::Failed(after));
    }
}
