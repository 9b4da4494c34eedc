//! Configuration: flags over environment over `galen.toml` over defaults, read once, validated
//! before any port is bound.
//!
//! Two steps: [`raw`] is what was written, all optional; [`Config`] is what is meant. Only this
//! room reads the environment and the configuration file.

mod http_address;
pub mod library;
mod load;
pub mod raw;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use http_address::HttpAddress;
pub use library::OnnxRuntimeConfig;
pub use load::toml_from_str;
pub use raw::Overlay;

use crate::model::ModelName;
use crate::model::manifest::BackendChoice;

/// Where a listener binds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    /// A Unix domain socket, for sidecars: `unix:/path/to.sock`.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Everything `galen serve` needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    pub registry: RegistryConfig,
    pub server: ServerConfig,
    pub drift: DriftConfig,
    pub alerts: AlertsConfig,
    pub otlp: OtlpConfig,
    pub limits: Limits,
    pub log: LogConfig,
}

#[derive(Clone, Debug)]
pub struct RegistryConfig {
    /// The directory that holds one directory per model.
    pub models: PathBuf,
    /// The name of the model where that directory is one; `None` for the directory's own.
    pub model_name: Option<ModelName>,
    /// What a model gets that asks for `backend = "auto"`.
    pub backend: BackendChoice,
    pub onnxruntime: OnnxRuntimeConfig,
    /// Largest model file that is read, in bytes.
    pub model_bytes_max: u64,
    /// What `SHA256SUMS` of a version means.
    pub digests: Digests,
    /// Who says which models are loaded.
    pub control: ControlMode,
    /// In [`ControlMode::Explicit`]: what is loaded at the start.
    pub startup: Vec<String>,
    /// How often the directory is looked at.
    pub poll: Duration,
    /// How long a version without digests must have been quiet before it is taken as whole.
    pub settle: Duration,
    /// Bytes of answers, with the requests they belong to, that are kept for models that allow it.
    pub cache_bytes_max: u64,
    /// Where what calls have changed is kept across restarts.
    pub state: PathBuf,
}

/// What `SHA256SUMS` of a version means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Digests {
    /// It is not looked at.
    Ignore,
    /// A mismatch is logged.
    Warn,
    /// Where it is there, every file it lists must match.
    #[default]
    Verify,
    /// It must be there, too.
    Require,
}

/// Who says which models are loaded. Triton's modes, and one that does without its either-or.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ControlMode {
    /// The directory is watched, and calls are taken: what was unloaded by a call stays so until
    /// it is loaded by one, or its files change.
    #[default]
    Both,
    /// What lies there at the start, and nothing else.
    None,
    /// The directory alone.
    Poll,
    /// Calls alone.
    Explicit,
}

impl ControlMode {
    pub const NAMES: [&str; 4] = ["both", "none", "poll", "explicit"];

    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "both" => Some(ControlMode::Both),
            "none" => Some(ControlMode::None),
            "poll" => Some(ControlMode::Poll),
            "explicit" => Some(ControlMode::Explicit),
            _ => None,
        }
    }

    pub fn watches(self) -> bool {
        matches!(self, ControlMode::Both | ControlMode::Poll)
    }

    pub fn takes_calls(self) -> bool {
        matches!(self, ControlMode::Both | ControlMode::Explicit)
    }
}

/// How what is served is held against training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DriftConfig {
    pub enabled: bool,
    /// Rows that end a window.
    pub window_rows: u64,
    /// Age that ends a window that has any.
    pub window_seconds: u64,
    /// Of requests.
    pub sample_percent: f64,
    /// What a crash may lose at most.
    pub snapshot_seconds: u64,
    /// Rows of a window whose raw values are kept, where the profile has samples; 0 keeps none.
    pub exact_rows: usize,
    /// Whether windows have quantiles of their numbers.
    pub quantiles: bool,
}

/// Who is told when an alert begins or ends, and how patiently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertsConfig {
    /// `None`: nobody.
    pub webhook: Option<HttpAddress>,
    /// For one attempt, from the connection to the answer's head.
    pub timeout: Duration,
    /// Attempts after the first one.
    pub retries: u32,
    /// Before the first of these; it doubles.
    pub backoff: Duration,
}

/// Where spans of requests go, and of how many.
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpConfig {
    /// Where they are posted, path and all. `None`: none are recorded.
    pub endpoint: Option<HttpAddress>,
    /// Of the requests that bring no trace; the others say themselves whether they are.
    pub sample_percent: f64,
    /// What this server is called there.
    pub service_name: String,
}

#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// `None`: this door stays shut.
    pub http: Option<Address>,
    pub grpc: Option<Address>,
    pub metrics: Option<Address>,
    /// Whether the server counts as ready only when every model is.
    pub readiness_strict: bool,
    /// Whether gRPC reflection answers.
    pub grpc_reflection: bool,
    /// Origins that browsers may call from; `*` for any.
    pub cors_origins: Vec<String>,
    /// Whether all JSON but the typed API's writes, and takes, the bare tokens NaN and Infinity, as
    /// Triton and TensorFlow Serving do. JSON has no such tokens; otherwise they are strings.
    pub bare_nonfinite: bool,
    /// The model that MLflow's `/invocations` asks; `None` for the only one there is.
    pub mlflow_model: Option<String>,
    /// Whether clients may name shared memory that the server then reads and writes.
    pub client_shm: bool,
    /// After SIGTERM: how long readiness is down before the doors close.
    pub shutdown_delay: Duration,
    /// After that: how long accepted work may take to finish.
    pub shutdown_timeout: Duration,
}

/// A bound on everything a caller can make large or slow.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest request body or gRPC message, in bytes.
    pub body_bytes_max: usize,
    /// Open connections per listener; one more waits in the kernel's queue.
    pub connections_max: usize,
    /// How long a client may take to send a request's head (and the first byte of a connection).
    pub header_timeout: Duration,
    /// How long a client may take between two parts of a body.
    pub body_timeout: Duration,
    /// How long an idle HTTP/2 connection may go without answering a ping.
    pub keepalive_timeout: Duration,
    /// How long a request may take, where the caller gives no deadline of its own.
    pub request_timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    pub format: LogFormat,
    /// A `tracing` filter: `info`, `galen=debug,warn`...
    pub filter: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    Text,
    Json,
    /// JSON lines of the Elastic Common Schema.
    Ecs,
}

impl LogFormat {
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(LogFormat::Auto),
            "text" => Some(LogFormat::Text),
            "json" => Some(LogFormat::Json),
            "ecs" => Some(LogFormat::Ecs),
            _ => None,
        }
    }
}
