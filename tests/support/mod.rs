//! What the integration tests share: a registry of identity models in a folder of its own, and a
//! whole server over it on ports that the system picks.

// Each test binary uses its part of this.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use galen::app::App;
use galen::config::{
    Address, AlertsConfig, Config, ControlMode, Digests, DriftConfig, Limits, LogConfig, LogFormat,
    OtlpConfig, RegistryConfig, ServerConfig,
};
use galen::model::manifest::BackendChoice;
use galen::observe::telemetry::LogControl;
use galen::tensor::DType;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Longer than anything here takes, short enough to fail a hanging test.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A registry directory; it goes away with this value.
pub struct Registry(PathBuf);

impl Registry {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("registry-{}-{number}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// An identity model; `head` is what its `model.toml` says before the tensors.
    pub fn model(&self, name: &str, versions: &[u64], head: &str, tensors: &str) -> &Self {
        for version in versions {
            fs::create_dir_all(self.0.join(name).join(version.to_string())).unwrap();
        }
        // Keys of the top table come before any other table.
        let text = format!("backend = \"identity\"\n{head}\n{tensors}");
        fs::write(self.0.join(name).join("model.toml"), text).unwrap();
        self
    }

    pub fn config(&self) -> RegistryConfig {
        RegistryConfig {
            models: self.0.clone(),
            model_name: None,
            backend: BackendChoice::Identity,
            onnxruntime: Default::default(),
            model_bytes_max: 1 << 20,
            digests: Digests::Verify,
            control: ControlMode::Both,
            startup: Vec::new(),
            poll: Duration::from_millis(20),
            settle: Duration::ZERO,
            cache_bytes_max: 1 << 20,
            state: self.0.join(".galen"),
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// One input and one output of shape [-1] for each datatype, named after it.
pub fn tensors(dtypes: &[DType]) -> String {
    let entry = |list: &str, name: &str, dtype: DType| {
        format!("[[{list}]]\nname = \"{name}\"\ndatatype = \"{dtype}\"\nshape = [-1]\n")
    };
    let entries = dtypes.iter().map(|&dtype| {
        let output = format!("{dtype}_out");
        entry("inputs", dtype.name(), dtype) + &entry("outputs", &output, dtype)
    });
    entries.collect()
}

/// A server on ports of its own.
pub struct Server {
    pub http: String,
    pub grpc: String,
    pub metrics: String,
    stop: oneshot::Sender<()>,
    served: JoinHandle<bool>,
}

/// The settings of `galen serve`, on ports that the system picks.
pub fn config(registry: &Registry) -> Config {
    let any = || Some(Address::Tcp("127.0.0.1:0".parse().unwrap()));
    Config {
        registry: registry.config(),
        server: ServerConfig {
            http: any(),
            grpc: any(),
            metrics: any(),
            readiness_strict: false,
            grpc_reflection: true,
            cors_origins: Vec::new(),
            bare_nonfinite: false,
            mlflow_model: None,
            client_shm: false,
            shutdown_delay: Duration::ZERO,
            shutdown_timeout: PATIENCE,
        },
        drift: DriftConfig {
            enabled: true,
            window_rows: 1000,
            window_seconds: 3600,
            sample_percent: 100.0,
            snapshot_seconds: 10,
            exact_rows: 5000,
            quantiles: false,
        },
        alerts: AlertsConfig {
            webhook: None,
            timeout: PATIENCE,
            retries: 0,
            backoff: Duration::ZERO,
        },
        otlp: OtlpConfig {
            endpoint: None,
            sample_percent: 100.0,
            service_name: "galen".to_owned(),
        },
        limits: Limits {
            body_bytes_max: 8 << 20,
            connections_max: 100,
            header_timeout: PATIENCE,
            body_timeout: PATIENCE,
            keepalive_timeout: PATIENCE,
            request_timeout: PATIENCE,
        },
        log: LogConfig { format: LogFormat::Auto, filter: "off".to_owned() },
    }
}

impl Server {
    /// Starts, and waits until every version is ready or has failed.
    pub async fn start(config: Config) -> Self {
        let app = App::start(&config, LogControl::default()).await.unwrap();
        app.progress().wait_for(|progress| progress.settled).await.unwrap();
        let addresses = app.addresses().clone();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(app.run(async {
            let _ = stopped.await;
        }));
        Self {
            http: addresses.http.unwrap_or_default(),
            grpc: addresses.grpc.unwrap_or_default(),
            metrics: addresses.metrics.unwrap_or_default(),
            stop,
            served,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// What SIGTERM does. Gives back whether all accepted work was finished in time.
    pub async fn stop(self) -> bool {
        let _ = self.stop.send(());
        tokio::time::timeout(PATIENCE, self.served).await.expect("it ends").unwrap()
    }
}
