//! Flags and their environment variables, as clap reads them.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use super::bench::args::BenchArgs;
use crate::config::Overlay;
use crate::model::profile::COMPONENTS;

/// Serves versioned models over gRPC and REST, for eHealth.
#[derive(Debug, Parser)]
#[command(name = "galen", version, max_term_width = 100)]
#[command(after_help = "Every flag is also an environment variable (in brackets) and a key of \
                        galen.toml.\nFlags win over the environment, the environment over the \
                        file, the file over defaults.")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the models of a registry directory
    Serve(Box<ServeArgs>),
    /// Load every model, compare it with its examples and report what is wrong, without serving
    Check(Box<CheckArgs>),
    /// Load one model and say how it would be served and why, and what does not fit
    Explain(Box<ExplainArgs>),
    /// Write a version's reference profile from its training data: drift is measured against it
    Profile(Box<ProfileArgs>),
    /// Load a running server with requests for one model, and measure what its callers wait
    Bench(Box<BenchArgs>),
    /// Print a completion script for a shell
    Completions { shell: Shell },
}

/// What the commands share that load models.
#[derive(Args, Clone, Debug, Default)]
pub struct CommonArgs {
    /// Where DIR itself is one model, as KServe mounts it: its name [default: the directory's]
    #[arg(long, value_name = "NAME", env = "GALEN_MODEL_NAME", alias = "model_name")]
    pub model_name: Option<String>,

    /// Configuration file [default: galen.toml, if it is there]
    #[arg(long, value_name = "FILE", env = "GALEN_CONFIG")]
    pub config: Option<PathBuf>,

    /// Engine for models that name none: auto, onnxruntime, tract, identity [default: auto]
    #[arg(long, value_name = "NAME", env = "GALEN_BACKEND")]
    pub backend: Option<String>,

    /// The ONNX Runtime library [default: beside the executable, in ../lib, or the system's]
    #[arg(long, value_name = "PATH", env = "GALEN_ONNXRUNTIME")]
    pub onnxruntime: Option<PathBuf>,

    /// Library of operators that models may ask for by NAME; may repeat [default: none]
    #[arg(long, value_name = "NAME=PATH", env = "GALEN_OPERATORS", value_delimiter = ',')]
    pub operators: Option<Vec<String>>,

    /// Largest model file that is read, in bytes [default: 2147483647]
    #[arg(long, value_name = "N", env = "GALEN_MODEL_BYTES_MAX")]
    pub model_bytes_max: Option<u64>,

    /// Form of the log: auto (text on a terminal, else JSON), text, json or ecs [default: auto]
    #[arg(long, value_name = "FORMAT", env = "GALEN_LOG_FORMAT")]
    pub log_format: Option<String>,

    /// What is logged: info, or for example galen=debug,warn [default: info]
    #[arg(long, value_name = "FILTER", env = "GALEN_LOG_FILTER")]
    pub log_filter: Option<String>,
}

#[derive(Args, Clone, Debug, Default)]
#[command(after_help = "KServe's and Triton's spellings work too: --model-repository, \
                        --model-store, --http-port, --grpc-port, --metrics-port, --allow-http, \
                        --allow-grpc, --allow-metrics, --cache-config, \
                        --exit-timeout-secs, --model_name.\n\nExample:\n  galen serve --models \
                        ./models --http 127.0.0.1:9000")]
pub struct ServeArgs {
    /// Directory with one directory per model, or one that is a model [default: ./models]
    #[arg(long, value_name = "DIR", env = "GALEN_MODELS")]
    #[arg(aliases = ["model-repository", "model-store"])]
    pub models: Option<PathBuf>,

    /// REST door: IP:PORT, unix:/path/to.sock or off [default: 127.0.0.1:8000]
    #[arg(long, value_name = "ADDR", env = "GALEN_HTTP", help_heading = "Doors")]
    pub http: Option<String>,

    /// gRPC door [default: 127.0.0.1:8001]
    #[arg(long, value_name = "ADDR", env = "GALEN_GRPC", help_heading = "Doors")]
    pub grpc: Option<String>,

    /// Prometheus metrics [default: 127.0.0.1:8002]
    #[arg(long, value_name = "ADDR", env = "GALEN_METRICS", help_heading = "Doors")]
    pub metrics: Option<String>,

    /// Origins that browsers may call from, separated by commas; * for any [default: none]
    #[arg(long, value_name = "ORIGINS", env = "GALEN_CORS_ORIGINS", value_delimiter = ',')]
    #[arg(help_heading = "Doors")]
    pub cors_origins: Option<Vec<String>>,

    /// Write NaN and Infinity bare in JSON, as Triton does, and take them [default: false]
    #[arg(long, value_name = "BOOL", env = "GALEN_BARE_NONFINITE", help_heading = "Doors")]
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    pub bare_nonfinite: Option<bool>,

    /// The model that MLflow's /invocations asks [default: the only one there is]
    #[arg(long, value_name = "NAME", env = "GALEN_MLFLOW_MODEL", help_heading = "Doors")]
    pub mlflow_model: Option<String>,

    /// Answer gRPC reflection [default: true]
    #[arg(long, value_name = "BOOL", env = "GALEN_GRPC_REFLECTION", help_heading = "Doors")]
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    pub grpc_reflection: Option<bool>,

    /// Let clients name shared memory for their tensors; not for callers you do not trust
    /// [default: false]
    #[arg(long, value_name = "BOOL", env = "GALEN_ALLOW_CLIENT_SHM", help_heading = "Doors")]
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    pub allow_client_shm: Option<bool>,

    /// Largest request body or gRPC message, in bytes [default: 67108864]
    #[arg(long, value_name = "N", env = "GALEN_BODY_BYTES_MAX", help_heading = "Limits")]
    pub body_bytes_max: Option<usize>,

    /// Open connections per door [default: 1024]
    #[arg(long, value_name = "N", env = "GALEN_CONNECTIONS_MAX", help_heading = "Limits")]
    pub connections_max: Option<usize>,

    /// How long a request may take whose caller names no deadline [default: 60000]
    #[arg(long, value_name = "MS", env = "GALEN_REQUEST_TIMEOUT_MS", help_heading = "Limits")]
    pub request_timeout_ms: Option<u64>,

    /// Who loads and unloads: both (the directory and calls), none, poll, explicit [default: both]
    #[arg(long, value_name = "MODE", env = "GALEN_MODEL_CONTROL_MODE", help_heading = "Lifecycle")]
    pub model_control_mode: Option<String>,

    /// With --model-control-mode explicit: a model to load at the start; * for all; repeatable
    #[arg(long, value_name = "MODEL", env = "GALEN_LOAD_MODEL", value_delimiter = ',')]
    #[arg(help_heading = "Lifecycle")]
    pub load_model: Option<Vec<String>>,

    /// Bytes of kept answers, for models with response_cache; 0 keeps none [default: 67108864]
    #[arg(long, value_name = "N", env = "GALEN_CACHE_BYTES_MAX", help_heading = "Limits")]
    pub cache_bytes_max: Option<u64>,

    /// Hold what is served against the training data of models with a profile [default: true]
    #[arg(long, value_name = "BOOL", env = "GALEN_DRIFT", help_heading = "Monitoring")]
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    pub drift: Option<bool>,

    /// Where alerts that begin or end are posted, in Alertmanager's form: an http:// address
    /// [default: none]
    #[arg(long, value_name = "URL", env = "GALEN_ALERTS_WEBHOOK", help_heading = "Monitoring")]
    #[arg(hide_env_values = true)]
    pub alerts_webhook: Option<String>,

    /// Where spans of requests are posted by OTLP/HTTP: an http:// address of a collector, to which
    /// /v1/traces is appended [default: none]
    #[arg(long, value_name = "URL", env = "GALEN_OTLP_ENDPOINT", help_heading = "Monitoring")]
    #[arg(hide_env_values = true)]
    pub otlp_endpoint: Option<String>,

    /// Be ready only when every version is [default: false]
    #[arg(long, value_name = "BOOL", env = "GALEN_STRICT_READINESS", help_heading = "Lifecycle")]
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    pub strict_readiness: Option<bool>,

    /// After SIGTERM, how long readiness is down before the doors close [default: 0]
    #[arg(long, value_name = "MS", env = "GALEN_SHUTDOWN_DELAY_MS", help_heading = "Lifecycle")]
    pub shutdown_delay_ms: Option<u64>,

    /// After that, how long accepted work may take to finish [default: 30000]
    #[arg(long, value_name = "MS", env = "GALEN_SHUTDOWN_TIMEOUT_MS", help_heading = "Lifecycle")]
    pub shutdown_timeout_ms: Option<u64>,

    #[arg(long, hide = true)]
    pub cache_config: Option<Vec<String>>,
    #[arg(long, hide = true)]
    pub http_port: Option<u16>,
    #[arg(long, hide = true)]
    pub grpc_port: Option<u16>,
    #[arg(long, hide = true)]
    pub metrics_port: Option<u16>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true")]
    pub allow_http: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true")]
    pub allow_grpc: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true")]
    pub allow_metrics: Option<bool>,
    #[arg(long, hide = true)]
    pub exit_timeout_secs: Option<u64>,

    #[command(flatten)]
    pub common: CommonArgs,
}

#[derive(Args, Clone, Debug, Default)]
pub struct CheckArgs {
    /// Try every version on every engine, and say why one does not serve it
    #[arg(long)]
    pub engines: bool,

    /// The registry directory [default: ./models]
    #[arg(value_name = "DIR", env = "GALEN_MODELS")]
    pub models: Option<PathBuf>,

    #[command(flatten)]
    pub common: CommonArgs,
}

#[derive(Args, Clone, Debug, Default)]
#[command(after_help = "Examples:\n  galen explain breast-cancer\n  galen explain \
                        breast-cancer/2 --models ./models --json")]
pub struct ExplainArgs {
    /// The model, or one version of it: a number or a label
    #[arg(value_name = "MODEL[/VERSION]")]
    pub model: String,

    /// Print JSON
    #[arg(long)]
    pub json: bool,

    /// The registry directory [default: ./models]
    #[arg(long, value_name = "DIR", env = "GALEN_MODELS")]
    #[arg(aliases = ["model-repository", "model-store"])]
    pub models: Option<PathBuf>,

    #[command(flatten)]
    pub common: CommonArgs,
}

#[derive(Args, Clone, Debug, Default)]
#[command(after_help = "The file has one line per row and a header with the names of the typed \
                        API's features; a tensor without names has the columns x[0], x[1], ... in \
                        row-major order. Further columns are passed over. An empty cell, NA, NaN \
                        or null is a missing value; in Parquet a null or a NaN, and a list is \
                        x[0], x[1], ... Without --samples, the profile holds aggregates only, no \
                        count of fewer than 5 rows and no mean or principal component of fewer \
                        than 30.\n\nExample:\n  galen profile \
                        breast-cancer/2 --data train.csv --held-out test.csv")]
pub struct ProfileArgs {
    /// The model, or MODEL/VERSION where it is not the latest version that is meant
    #[arg(value_name = "MODEL")]
    pub model: String,

    /// The rows that the version was trained on, as CSV or Parquet
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,

    /// Rows of the same source that it was not trained on, as CSV or Parquet: how far they lie from
    /// training is no drift, and limits alerts
    #[arg(long, value_name = "FILE")]
    pub held_out: Option<PathBuf>,

    /// Principal components of each vector without named columns that are watched, as of
    /// embeddings: 0 to 8; 0 watches neither them nor its norm
    #[arg(long, value_name = "K", default_value_t = COMPONENTS)]
    #[arg(value_parser = clap::value_parser!(u8).range(0..=8))]
    pub components: u8,

    /// Raw values of each column of numbers that the profile keeps, 2 to 5000, so that raw values
    /// can be compared with them: single values, extremes among them, are in the file then, though
    /// no rows of them; of vectors, scores of single rows are [default: none]
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u16).range(2..=5000))]
    pub samples: Option<u16>,

    /// Where the profile is written [default: profile.json in the version's directory]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// The registry directory [default: ./models]
    #[arg(long, value_name = "DIR", env = "GALEN_MODELS")]
    pub models: Option<PathBuf>,

    #[command(flatten)]
    pub common: CommonArgs,
}

impl CommonArgs {
    fn into_overlay(self) -> Overlay {
        Overlay {
            config: self.config,
            model_name: self.model_name,
            backend: self.backend,
            onnxruntime: self.onnxruntime,
            operators: self.operators,
            model_bytes_max: self.model_bytes_max,
            log_format: self.log_format,
            log_filter: self.log_filter,
            ..Overlay::default()
        }
    }
}

impl ServeArgs {
    pub fn into_overlay(self) -> Overlay {
        Overlay {
            models: self.models,
            http: self.http,
            grpc: self.grpc,
            metrics: self.metrics,
            http_port: self.http_port,
            grpc_port: self.grpc_port,
            metrics_port: self.metrics_port,
            allow_http: self.allow_http,
            allow_grpc: self.allow_grpc,
            allow_metrics: self.allow_metrics,
            allow_client_shm: self.allow_client_shm,
            model_control_mode: self.model_control_mode,
            load_model: self.load_model,
            cache_bytes_max: self.cache_bytes_max,
            drift: self.drift,
            alerts_webhook: self.alerts_webhook,
            otlp_endpoint: self.otlp_endpoint,
            cache_config: self.cache_config,
            body_bytes_max: self.body_bytes_max,
            connections_max: self.connections_max,
            request_timeout_ms: self.request_timeout_ms,
            cors_origins: self.cors_origins,
            bare_nonfinite: self.bare_nonfinite,
            mlflow_model: self.mlflow_model,
            grpc_reflection: self.grpc_reflection,
            strict_readiness: self.strict_readiness,
            shutdown_delay_ms: self.shutdown_delay_ms,
            shutdown_timeout_ms: self.shutdown_timeout_ms,
            exit_timeout_secs: self.exit_timeout_secs,
            ..self.common.into_overlay()
        }
    }
}

impl CheckArgs {
    pub fn into_overlay(self) -> Overlay {
        Overlay { models: self.models, ..self.common.into_overlay() }
    }
}

impl ExplainArgs {
    pub fn into_overlay(self) -> Overlay {
        Overlay { models: self.models, ..self.common.into_overlay() }
    }
}

impl ProfileArgs {
    pub fn into_overlay(self) -> Overlay {
        Overlay { models: self.models, ..self.common.into_overlay() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(arguments: &[&str]) -> Overlay {
        let words = ["galen", "serve"].iter().chain(arguments);
        match Cli::try_parse_from(words).unwrap().command {
            Command::Serve(args) => args.into_overlay(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn launch_lines_of_kserve_and_triton_are_understood() {
        let overlay = serve(&[
            "--model-store=/mnt/models",
            "--grpc-port=9000",
            "--http-port=8080",
            "--allow-grpc=true",
            "--allow-http=false",
            "--strict-readiness",
            "--exit-timeout-secs=5",
            "--model_name=ward",
        ]);
        assert_eq!(overlay.model_name.as_deref(), Some("ward"));
        assert_eq!(overlay.models, Some("/mnt/models".into()));
        assert_eq!((overlay.grpc_port, overlay.http_port), (Some(9000), Some(8080)));
        assert_eq!((overlay.allow_grpc, overlay.allow_http), (Some(true), Some(false)));
        assert_eq!(overlay.strict_readiness, Some(true));
        assert_eq!(overlay.exit_timeout_secs, Some(5));
        let other = serve(&["--model-repository", "m", "--cors-origins", "https://a,https://b"]);
        assert_eq!(other.models, Some("m".into()));
        assert_eq!(other.cors_origins.map(|origins| origins.len()), Some(2));
    }

    #[test]
    fn an_unknown_flag_names_its_neighbour() {
        let error = Cli::try_parse_from(["galen", "serve", "--model"]).unwrap_err();
        assert!(error.to_string().contains("--models"), "{error}");
    }
}
