//! The composition root: puts the floors together, runs them, and takes them down again.
//!
//! Up: engines, metrics, registry (loading goes on in the background), doors. Down: readiness
//! falls, the doors stay open for a configured moment so that balancers can turn away, then they
//! close and accepted work finishes, within a limit; spans that still wait go out last.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::backend::Engines;
use crate::config::{
    Address, Config, DriftConfig, Limits, OtlpConfig, RegistryConfig, ServerConfig,
};
use crate::error::Result;
use crate::event::{Alarm, Tracer};
use crate::observe::alerts::Alerts;
use crate::observe::drift::Drift;
use crate::observe::gpu::Sampling;
use crate::observe::hub::Hub;
use crate::observe::metrics::Metrics;
use crate::observe::performance::keeper;
use crate::observe::statistics::Statistics;
use crate::observe::telemetry::LogControl;
use crate::registry::{Manager, Progress};
use crate::server::grpc::GrpcConfig;
use crate::server::layers::Layered;
use crate::server::listen::{Listener, serve};
use crate::server::otlp::{self, Exporting, Tracing};
use crate::server::rest::RestConfig;
use crate::server::shared_memory::Regions;
use crate::server::webhook::Outcome;
use crate::server::{dashboard, grpc, layers, rest, scrape, webhook};
use crate::service::Service;

/// Where the doors are; `None` for one that is shut.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    pub http: Option<String>,
    pub grpc: Option<String>,
    pub metrics: Option<String>,
}

/// A server with open doors.
pub struct App {
    service: Service,
    progress: watch::Receiver<Progress>,
    addresses: Addresses,
    doors: JoinSet<()>,
    stop: watch::Sender<bool>,
    /// Where spans go out.
    exporting: Option<Exporting>,
    /// Asks the GPUs, where somebody reads the metrics.
    gpus: Option<Sampling>,
    shutdown_delay: Duration,
    shutdown_timeout: Duration,
}

/// A registry that loads, without doors: what `galen check` looks at too.
pub struct Loaded {
    pub service: Service,
    pub progress: watch::Receiver<Progress>,
    /// A process has one of each: whoever needs them takes these.
    pub engines: Engines,
}

/// Looks for the engines and starts to load the registry. Tools that do not serve measure no drift
/// and keep nothing.
pub fn load(
    registry: &RegistryConfig,
    drift: Option<&DriftConfig>,
    readiness_strict: bool,
    metrics: Arc<Metrics>,
    alarm: Option<Arc<dyn Alarm>>,
    tracer: Option<Arc<dyn Tracer>>,
    log: LogControl,
) -> Result<Loaded> {
    let engines = Engines::probe(registry.backend, &registry.onnxruntime);
    if let Some(error) = engines.onnxruntime_missing() {
        tracing::warn!(
            reason = %error,
            engines = %engines.others().join(", "),
            "onnxruntime is not available"
        );
    }
    let statistics = Arc::new(Statistics::default());
    let snapshot_seconds = drift.map(|drift| drift.snapshot_seconds);
    let drift = drift.filter(|drift| drift.enabled);
    let alerts = Arc::new(Alerts::new(Arc::clone(&metrics), alarm));
    if let Some(seconds) = snapshot_seconds {
        let (alerts, metrics) = (Arc::clone(&alerts), Arc::clone(&metrics));
        keeper::start(&statistics, alerts, metrics, &registry.state, seconds)?;
    }
    let start = |drift: &DriftConfig| {
        Drift::start(*drift, &registry.state, Arc::clone(&metrics), Arc::clone(&alerts))
    };
    let drift = drift.map(start).transpose()?;
    let hub =
        Hub { metrics, statistics: Arc::clone(&statistics), drift: drift.clone(), alerts, tracer };
    let manager = Manager::start(registry, engines.clone(), Arc::new(hub))?;
    let progress = manager.progress.clone();
    let service = Service::new(manager, statistics, drift, log, readiness_strict);
    Ok(Loaded { service, progress, engines })
}

impl App {
    /// Starts to load, and opens the doors: from here on the process is live. Callers may change
    /// what `log` can reach.
    pub async fn start(config: &Config, log: LogControl) -> Result<Self> {
        let (server, limits) = (&config.server, config.limits);
        let is_read = server.metrics.is_some();
        let metrics = Arc::new(if is_read { Metrics::new() } else { Metrics::unread() }?);
        let (stop, stopped) = watch::channel(false);
        if config.alerts.webhook.is_some() {
            Outcome::ALL.iter().for_each(|outcome| metrics.notification(outcome.label(), 0));
        }
        let count = Arc::clone(&metrics);
        let count = Arc::new(move |outcome: Outcome| count.notification(outcome.label(), 1));
        let alarm = webhook::start(&config.alerts, count, stopped.clone())?;
        let (tracing, exporting) = spans(&config.otlp, &metrics)?.unzip();
        let Loaded { service, progress, .. } = load(
            &config.registry,
            Some(&config.drift),
            server.readiness_strict,
            Arc::clone(&metrics),
            alarm,
            tracing.as_ref().map(Tracing::tracer),
            log,
        )?;
        let mut doors = JoinSet::new();
        let mut addresses = Addresses::default();
        let mut gpus = None;
        if let Some(address) = &server.metrics {
            let (render, upkeep) = (metrics.handle(), metrics.handle());
            // Its thread outlives a failed start: it must not hold the service.
            let performance = service.publisher(Arc::clone(&metrics));
            let source = scrape::Source {
                render: Arc::new(move || {
                    performance();
                    render.render()
                }),
                upkeep: Arc::new(move || upkeep.run_upkeep()),
            };
            let address = scrape::start(address, limits, source, stopped.clone())?;
            addresses.metrics = Some(announce("metrics", address));
            gpus = Some(Sampling::start(metrics)?);
        }
        let mut open = async |door, address: &Address, router| -> Result<String> {
            let listener = Listener::bind(address).await?;
            let bound = announce(door, listener.local_address());
            warn_if_public(door, address);
            let service = Layered::new(router, door, limits, tracing.clone());
            doors.spawn(serve(listener, service, limits, stopped.clone()));
            Ok(bound)
        };
        let regions = Regions::new(server.client_shm);
        if let Some(address) = &server.http {
            let config = rest_config(server, &limits, regions.clone());
            let router = rest::routes(service.clone(), &config).merge(dashboard::routes());
            addresses.http = Some(open("http", address, router).await?);
        }
        if let Some(address) = &server.grpc {
            let config = GrpcConfig {
                body_bytes_max: limits.body_bytes_max,
                reflection: server.grpc_reflection,
                regions,
            };
            let router = grpc::routes(service.clone(), &config);
            addresses.grpc = Some(open(layers::GRPC, address, router).await?);
        }
        Ok(Self {
            service,
            progress,
            addresses,
            doors,
            stop,
            exporting,
            gpus,
            shutdown_delay: server.shutdown_delay,
            shutdown_timeout: server.shutdown_timeout,
        })
    }

    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// How far loading has come.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Serves until `stop` resolves, then takes everything down. Gives back whether all accepted
    /// work was finished within the limit.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> bool {
        stop.await;
        tracing::info!("shutting down");
        self.service.start_draining();
        tokio::time::sleep(self.shutdown_delay).await;
        self.stop.send_replace(true);
        let closed = async { while self.doors.join_next().await.is_some() {} };
        let drained = tokio::time::timeout(self.shutdown_timeout, closed).await.is_ok();
        self.service.keep_statistics();
        if let Some(exporting) = self.exporting {
            exporting.end().await;
        }
        if let Some(gpus) = self.gpus {
            gpus.end().await;
        }
        if drained {
            tracing::info!("shut down");
        } else {
            tracing::warn!("shut down before all accepted work was finished");
        }
        drained
    }
}

/// The way out of spans, where there is one; its counts are there from the start.
fn spans(config: &OtlpConfig, metrics: &Arc<Metrics>) -> Result<Option<(Tracing, Exporting)>> {
    if config.endpoint.is_some() {
        otlp::Outcome::ALL.iter().for_each(|outcome| metrics.spans(outcome.label(), 0));
    }
    let count = Arc::clone(metrics);
    let count = move |outcome: otlp::Outcome, spans| count.spans(outcome.label(), spans);
    otlp::start(config, Arc::new(count))
}

fn rest_config(server: &ServerConfig, limits: &Limits, regions: Regions) -> RestConfig {
    RestConfig {
        body_bytes_max: limits.body_bytes_max,
        cors_origins: server.cors_origins.clone(),
        bare_nonfinite: server.bare_nonfinite,
        mlflow_model: server.mlflow_model.clone(),
        regions,
        front_page: Some(dashboard::front_page),
    }
}

fn announce(door: &str, address: String) -> String {
    tracing::info!(door, address, "listening");
    address
}

/// Until there is TLS and authentication, whoever reaches a port may use it.
fn warn_if_public(door: &str, address: &Address) {
    if let Address::Tcp(tcp) = address
        && !tcp.ip().is_loopback()
    {
        tracing::warn!(door, %address, "open to the network without encryption or authentication");
    }
}
