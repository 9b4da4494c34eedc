//! Spans of requests and of the batches they shared, for a collector: OTLP over HTTP, in protobuf.
//!
//! A request's span ends when the last byte of its answer is taken (`open`). It goes as plain facts
//! into a bounded queue, and a thread of its own (`courier`) makes messages of them (`message`) and
//! posts them: whoever answers a request never waits for the collector, and what the queue does not
//! take is dropped and counted. `sampling` says of which requests there are any.

mod courier;
mod message;
mod open;
mod pb;
mod sampling;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use http::Request;
use tokio::sync::{mpsc, oneshot, watch};
use tower::util::MapRequestLayer;

use super::{Router, outgoing};
use crate::config::OtlpConfig;
use crate::error::Result;
use crate::event::{BatchTraced, Tracer};
use crate::infer::RequestContext;
use crate::model::ModelId;
use courier::Courier;
use message::{Fact, Moment};
pub use open::Open;
pub use sampling::{SAMPLED, Sampler};

/// Requests and batches that wait to be told: a second of a busy server.
const QUEUE: usize = 2048;

/// What became of spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Exported,
    Dropped,
}

impl Outcome {
    pub const ALL: [Outcome; 2] = [Outcome::Exported, Outcome::Dropped];

    pub fn label(self) -> &'static str {
        match self {
            Outcome::Exported => "exported",
            Outcome::Dropped => "dropped",
        }
    }
}

/// Told of every outcome, and of how many spans.
pub type Count = Arc<dyn Fn(Outcome, u64) + Send + Sync>;

/// Where facts are put.
pub struct Sender {
    queue: mpsc::Sender<Fact>,
    count: Count,
    /// Spans that the queue did not take, since the last message.
    refused: Arc<AtomicU64>,
}

impl Sender {
    fn send(&self, fact: Fact) {
        if let Err(refused) = self.queue.try_send(fact) {
            let spans = refused.into_inner().spans();
            self.refused.fetch_add(spans, Ordering::Relaxed);
            (self.count)(Outcome::Dropped, spans);
        }
    }
}

impl Tracer for Sender {
    fn batch_traced(&self, id: &ModelId, batch: BatchTraced) {
        self.send(Fact::Batch(id.clone(), Box::new(batch), moment()));
    }
}

fn moment() -> Moment {
    Moment { wall: SystemTime::now(), at: Instant::now() }
}

/// What a door needs to record the spans of its requests.
#[derive(Clone)]
pub struct Tracing {
    sampler: Sampler,
    sender: Arc<Sender>,
}

impl Tracing {
    pub fn sampler(&self) -> Sampler {
        self.sampler
    }

    /// Who is told of batches.
    pub fn tracer(&self) -> Arc<dyn Tracer> {
        Arc::clone(&self.sender) as Arc<dyn Tracer>
    }

    /// The router, with what [`Tracing::open`] relies on.
    pub fn around(&self, router: Router) -> Router {
        router.layer(MapRequestLayer::new(open::note_route))
    }

    /// Begins the span of a request, if it has one; at the door that speaks gRPC, or another.
    pub fn open<B>(
        &self,
        request: &mut Request<B>,
        context: &Arc<RequestContext>,
        speaks_grpc: bool,
    ) -> Option<Open> {
        let (span, sender) = (context.span?, Arc::clone(&self.sender));
        Some(Open::new(sender, span, Arc::clone(context), request, speaks_grpc))
    }
}

/// The thread that exports.
pub struct Exporting {
    stop: watch::Sender<bool>,
    /// Resolves, with an error, when the thread is done.
    done: oneshot::Receiver<()>,
}

impl Exporting {
    /// Exports what waits, within some seconds. To be called when all requests are answered.
    pub async fn end(self) {
        self.stop.send_replace(true);
        let _ = self.done.await;
    }
}

/// Starts the thread, where there is an address.
pub fn start(config: &OtlpConfig, count: Count) -> Result<Option<(Tracing, Exporting)>> {
    let Some(address) = config.endpoint.clone() else { return Ok(None) };
    let (queue, waiting) = mpsc::channel(QUEUE);
    let (stop, stopped) = watch::channel(false);
    let (at_work, done) = oneshot::channel::<()>();
    let refused = Arc::new(AtomicU64::new(0));
    let courier = Courier::new(
        address,
        config.service_name.clone(),
        Arc::clone(&count),
        Arc::clone(&refused),
    );
    outgoing::start("galen-otlp", move || async move {
        courier.run(waiting, stopped).await;
        drop(at_work);
    })?;
    let sender = Arc::new(Sender { queue, count, refused });
    let sampler = Sampler::new(config.sample_percent);
    Ok(Some((Tracing { sampler, sender }, Exporting { stop, done })))
}
