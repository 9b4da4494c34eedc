//! Configuration as it is written: `galen.toml`, and the overlay of flags and environment.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::{ControlMode, Digests, LogFormat};

/// `galen.toml`. Unknown keys are errors.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    pub models: Option<PathBuf>,
    pub http: Option<String>,
    pub grpc: Option<String>,
    pub metrics: Option<String>,
    pub backend: Option<String>,
    pub onnxruntime: Option<PathBuf>,
    pub operators: BTreeMap<String, PathBuf>,
    pub allow_client_shm: Option<bool>,
    pub registry: Registry,
    pub cache: Cache,
    pub drift: Drift,
    pub alerts: Alerts,
    pub otlp: Otlp,
    pub limits: Limits,
    pub rest: Rest,
    pub grpc_server: Grpc,
    pub readiness: Readiness,
    pub shutdown: Shutdown,
    pub log: Log,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Registry {
    pub model_name: Option<String>,
    pub model_bytes_max: Option<u64>,
    pub digests: Option<Digests>,
    pub control: Option<ControlMode>,
    pub load: Option<Vec<String>>,
    pub poll_ms: Option<u64>,
    pub settle_ms: Option<u64>,
    pub state: Option<PathBuf>,
    pub compiled: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    pub bytes_max: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Drift {
    pub enabled: Option<bool>,
    pub window_rows: Option<u64>,
    pub window_seconds: Option<u64>,
    pub sample_percent: Option<f64>,
    pub snapshot_seconds: Option<u64>,
    pub exact_rows: Option<u64>,
    pub quantiles: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alerts {
    pub webhook: Option<String>,
    pub timeout_ms: Option<u64>,
    pub retries: Option<u64>,
    pub backoff_ms: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Otlp {
    pub endpoint: Option<String>,
    pub sample_percent: Option<f64>,
    pub service_name: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    pub body_bytes_max: Option<usize>,
    pub connections_max: Option<usize>,
    pub header_timeout_ms: Option<u64>,
    pub body_timeout_ms: Option<u64>,
    pub keepalive_timeout_ms: Option<u64>,
    pub request_timeout_ms: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rest {
    pub cors_origins: Option<Vec<String>>,
    pub bare_nonfinite: Option<bool>,
    pub mlflow_model: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grpc {
    pub reflection: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Readiness {
    pub strict: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shutdown {
    pub delay_ms: Option<u64>,
    pub timeout_ms: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    pub format: Option<LogFormat>,
    pub filter: Option<String>,
}

/// Flags and environment, already merged by the command line (flags win). Overrides the file.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    /// The configuration file itself.
    pub config: Option<PathBuf>,
    pub models: Option<PathBuf>,
    pub model_name: Option<String>,
    pub http: Option<String>,
    pub grpc: Option<String>,
    pub metrics: Option<String>,
    /// Triton's spelling: only the port changes.
    pub http_port: Option<u16>,
    pub grpc_port: Option<u16>,
    pub metrics_port: Option<u16>,
    /// Triton's spelling: `false` shuts the door.
    pub allow_http: Option<bool>,
    pub allow_grpc: Option<bool>,
    pub allow_metrics: Option<bool>,
    pub allow_client_shm: Option<bool>,
    pub backend: Option<String>,
    pub onnxruntime: Option<PathBuf>,
    /// `NAME=PATH` each.
    pub operators: Option<Vec<String>>,
    pub model_bytes_max: Option<u64>,
    pub model_control_mode: Option<String>,
    pub load_model: Option<Vec<String>>,
    pub cache_bytes_max: Option<u64>,
    pub drift: Option<bool>,
    pub alerts_webhook: Option<String>,
    pub otlp_endpoint: Option<String>,
    /// Triton's spelling: `local,size=N`.
    pub cache_config: Option<Vec<String>>,
    pub body_bytes_max: Option<usize>,
    pub connections_max: Option<usize>,
    pub request_timeout_ms: Option<u64>,
    pub cors_origins: Option<Vec<String>>,
    pub bare_nonfinite: Option<bool>,
    pub mlflow_model: Option<String>,
    pub grpc_reflection: Option<bool>,
    pub strict_readiness: Option<bool>,
    pub shutdown_delay_ms: Option<u64>,
    pub shutdown_timeout_ms: Option<u64>,
    /// Triton's spelling of the shutdown time-out.
    pub exit_timeout_secs: Option<u64>,
    pub log_format: Option<String>,
    pub log_filter: Option<String>,
}
