//! The metrics port: a thread and a runtime of its own, so that it answers while the doors are
//! busy.
//!
//! What this file must not know: which metrics there are, and who keeps them.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::sync::watch;

use super::layers::Layered;
use super::listen::{Listener, serve};
use crate::config::{Address, Limits};
use crate::error::{Error, Result};

/// The text exposition format of Prometheus.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// How often buffered samples are taken in while nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// Where the metrics come from.
#[derive(Clone)]
pub struct Source {
    /// The text exposition of now.
    pub render: Arc<dyn Fn() -> String + Send + Sync>,
    /// Takes in what has been recorded since the last time.
    pub upkeep: Arc<dyn Fn() + Send + Sync>,
}

/// Binds, starts the thread, and gives back the address. The thread ends when `stop` turns true.
pub fn start(
    address: &Address,
    limits: Limits,
    source: Source,
    stop: watch::Receiver<bool>,
) -> Result<String> {
    let (sender, bound) = sync_channel(1);
    let address = address.clone();
    let failed = |error: std::io::Error| {
        Error::internal("the metrics thread could not be started").with_detail(error)
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    std::thread::Builder::new()
        .name("galen-metrics".to_owned())
        .spawn(move || {
            runtime.block_on(async move {
                let listener = match Listener::bind(&address).await {
                    Ok(listener) => listener,
                    Err(error) => {
                        // Nobody is gone who waits for this: `start` does.
                        let _ = sender.send(Err(error));
                        return;
                    }
                };
                let _ = sender.send(Ok(listener.local_address()));
                let upkeep = keep_up(source.upkeep, stop.clone());
                let router = Layered::new(routes(source.render), "metrics", limits, None);
                tokio::join!(serve(listener, router, limits, stop), upkeep);
            });
        })
        .map_err(failed)?;
    bound.recv().map_err(|_| Error::internal("the metrics thread ended early"))?
}

fn routes(render: Arc<dyn Fn() -> String + Send + Sync>) -> Router {
    let scrape = move || {
        let text = render();
        async move { ([(CONTENT_TYPE, TEXT)], text) }
    };
    Router::new().route("/metrics", get(scrape))
}

async fn keep_up(upkeep: Arc<dyn Fn() + Send + Sync>, mut stop: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        tokio::select! {
            _ = ticks.tick() => upkeep(),
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}
