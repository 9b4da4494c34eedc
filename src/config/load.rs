//! From what was written to what is meant: reads the file, lays the overlay over it, fills in the
//! defaults, checks every value. Errors name the key, what was expected, and the nearest valid
//! name.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::raw::{self, File, Overlay};
use super::{
    Address, AlertsConfig, Config, ControlMode, DriftConfig, HttpAddress, Limits, LogConfig,
    LogFormat, OnnxRuntimeConfig, OtlpConfig, RegistryConfig, ServerConfig, library,
};
use crate::error::{Error, Result, nearest, quoted};
use crate::model::ModelName;
use crate::model::manifest::BackendChoice;

/// Triton's ports.
const HTTP_PORT: u16 = 8000;
const GRPC_PORT: u16 = 8001;
const METRICS_PORT: u16 = 8002;

/// As much as Triton's HTTP front end takes by default.
const BODY_BYTES_MAX: usize = 64 << 20;
/// Beyond this, a protobuf message can not be addressed by its clients.
const BODY_BYTES_LIMIT: usize = i32::MAX as usize;
const CONNECTIONS_MAX: usize = 1024;
/// The largest file a protobuf (and so an ONNX model without external data) can be.
const MODEL_BYTES_MAX: u64 = i32::MAX as u64;
/// Room for thousands of small answers; only models that ask for it use any.
const CACHE_BYTES_MAX: u64 = 64 << 20;
/// A version that is published by rename is seen within a quarter of a second.
const POLL_MS: u64 = 200;
const POLL_MIN: Duration = Duration::from_millis(10);
/// Longer than a writer pauses between two blocks, short enough not to be noticed.
const SETTLE_MS: u64 = 1000;
/// Every wait is bounded; this bounds the bound.
const WAIT_MS_LIMIT: u64 = 24 * 60 * 60 * 1000;
/// With the longest pause of a minute, most of a day.
const RETRIES_LIMIT: u32 = 1000;
/// Where OTLP/HTTP takes spans, beneath what is called its endpoint.
const OTLP_PATH: &str = "/v1/traces";
const SERVICE_NAME: &str = "galen";
const SERVICE_NAME_CHARS_MAX: usize = 255;

impl Config {
    /// Reads the file that the overlay names (or `galen.toml` here, if there is one).
    pub fn load(overlay: Overlay) -> Result<Self> {
        let file = match &overlay.config {
            Some(path) => read(path)?,
            None if Path::new("galen.toml").is_file() => read(Path::new("galen.toml"))?,
            None => File::default(),
        };
        resolve(overlay, file)
    }
}

fn read(path: &Path) -> Result<File> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::invalid(format!("configuration file {}: {error}", path.display()))
    })?;
    toml_from_str(&text)
        .map_err(|error| Error::invalid(format!("{}: {}", path.display(), error.message())))
}

fn resolve(overlay: Overlay, file: File) -> Result<Config> {
    let door = |flag: Option<String>, written: Option<String>, port, allow, default| {
        address(flag.or(written).as_deref(), port, allow, default)
    };
    let server = ServerConfig {
        http: door(overlay.http, file.http, overlay.http_port, overlay.allow_http, HTTP_PORT)
            .map_err(|error| named("http", &error))?,
        grpc: door(overlay.grpc, file.grpc, overlay.grpc_port, overlay.allow_grpc, GRPC_PORT)
            .map_err(|error| named("grpc", &error))?,
        metrics: door(
            overlay.metrics,
            file.metrics,
            overlay.metrics_port,
            overlay.allow_metrics,
            METRICS_PORT,
        )
        .map_err(|error| named("metrics", &error))?,
        readiness_strict: overlay.strict_readiness.or(file.readiness.strict).unwrap_or(false),
        grpc_reflection: overlay.grpc_reflection.or(file.grpc_server.reflection).unwrap_or(true),
        cors_origins: overlay.cors_origins.or(file.rest.cors_origins).unwrap_or_default(),
        bare_nonfinite: overlay.bare_nonfinite.or(file.rest.bare_nonfinite).unwrap_or(false),
        mlflow_model: model_name(
            "rest.mlflow_model",
            overlay.mlflow_model.or(file.rest.mlflow_model),
        )?
        .map(|name| name.to_string()),
        client_shm: overlay.allow_client_shm.or(file.allow_client_shm).unwrap_or(false),
        shutdown_delay: millis(
            "shutdown.delay_ms",
            overlay.shutdown_delay_ms.or(file.shutdown.delay_ms),
            0,
        )?,
        shutdown_timeout: millis(
            "shutdown.timeout_ms",
            overlay
                .shutdown_timeout_ms
                .or(overlay.exit_timeout_secs.map(|secs| secs.saturating_mul(1000)))
                .or(file.shutdown.timeout_ms),
            30_000,
        )?,
    };
    for origin in &server.cors_origins {
        let plain = origin.starts_with("http://") || origin.starts_with("https://");
        if origin != "*" && (!plain || origin.ends_with('/') || !origin.is_ascii()) {
            return Err(Error::invalid(format!(
                "rest.cors_origins: expected '*' or an origin such as https://ward.example, got \
                 '{}'",
                quoted(origin)
            )));
        }
    }
    let limits = &file.limits;
    let limits = Limits {
        body_bytes_max: within(
            "limits.body_bytes_max",
            overlay.body_bytes_max.or(limits.body_bytes_max).unwrap_or(BODY_BYTES_MAX),
            1024,
            BODY_BYTES_LIMIT,
        )?,
        connections_max: within(
            "limits.connections_max",
            overlay.connections_max.or(limits.connections_max).unwrap_or(CONNECTIONS_MAX),
            1,
            1_000_000,
        )?,
        header_timeout: millis("limits.header_timeout_ms", limits.header_timeout_ms, 10_000)?,
        body_timeout: millis("limits.body_timeout_ms", limits.body_timeout_ms, 10_000)?,
        keepalive_timeout: millis(
            "limits.keepalive_timeout_ms",
            limits.keepalive_timeout_ms,
            20_000,
        )?,
        request_timeout: millis(
            "limits.request_timeout_ms",
            overlay.request_timeout_ms.or(limits.request_timeout_ms),
            60_000,
        )?,
    };
    let models = overlay.models.or(file.models).unwrap_or_else(|| PathBuf::from("models"));
    let state = file.registry.state.unwrap_or_else(|| models.join(".galen"));
    let onnxruntime = OnnxRuntimeConfig {
        candidates: library::candidates(overlay.onnxruntime.or(file.onnxruntime)),
        operators: library::operators(overlay.operators, file.operators)?,
        compiled: file.registry.compiled.unwrap_or_else(|| state.join("compiled")),
    };
    let registry = RegistryConfig {
        state,
        models,
        model_name: model_name(
            "registry.model_name",
            overlay.model_name.or(file.registry.model_name),
        )?,
        backend: backend(overlay.backend.or(file.backend).as_deref().unwrap_or("auto"))?,
        onnxruntime,
        model_bytes_max: overlay
            .model_bytes_max
            .or(file.registry.model_bytes_max)
            .unwrap_or(MODEL_BYTES_MAX),
        digests: file.registry.digests.unwrap_or_default(),
        control: match overlay.model_control_mode {
            Some(name) => control(&name)?,
            None => file.registry.control.unwrap_or_default(),
        },
        startup: overlay.load_model.or(file.registry.load).unwrap_or_default(),
        cache_bytes_max: match overlay.cache_bytes_max {
            Some(bytes) => bytes,
            None => cache_config(overlay.cache_config.as_deref().unwrap_or_default())?
                .or(file.cache.bytes_max)
                .unwrap_or(CACHE_BYTES_MAX),
        },
        poll: millis("registry.poll_ms", file.registry.poll_ms, POLL_MS)?.max(POLL_MIN),
        settle: millis("registry.settle_ms", file.registry.settle_ms, SETTLE_MS)?,
    };
    let drift = drift(overlay.drift, &file.drift)?;
    let alerts = alerts(overlay.alerts_webhook, &file.alerts)?;
    let otlp = otlp(overlay.otlp_endpoint, file.otlp)?;
    let format = match overlay.log_format {
        Some(name) => LogFormat::from_name(&name).ok_or_else(|| {
            Error::invalid(format!(
                "log format: expected auto, text, json or ecs, got '{}'",
                quoted(&name)
            ))
        })?,
        None => file.log.format.unwrap_or(LogFormat::Auto),
    };
    let filter = overlay.log_filter.or(file.log.filter).unwrap_or_else(|| "info".to_owned());
    let log = LogConfig { format, filter };
    Ok(Config { registry, server, drift, alerts, otlp, limits, log })
}

/// The empty name is none.
fn model_name(key: &str, name: Option<String>) -> Result<Option<ModelName>> {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(None) };
    ModelName::new(&name).map(Some).ok_or_else(|| {
        Error::invalid(format!("{key}: '{}' can not be a model's name", quoted(&name)))
    })
}

fn named(key: &str, error: &Error) -> Error {
    Error::invalid(format!("{key}: {}", error.message()))
}

fn address(
    text: Option<&str>,
    port: Option<u16>,
    allow: Option<bool>,
    default: u16,
) -> Result<Option<Address>> {
    if allow == Some(false) || text == Some("off") {
        return Ok(None);
    }
    let mut address = match text {
        None => Address::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), default)),
        Some(text) => parse_address(text)?,
    };
    if let (Some(port), Address::Tcp(tcp)) = (port, &mut address) {
        tcp.set_port(port);
    }
    Ok(Some(address))
}

fn parse_address(text: &str) -> Result<Address> {
    if let Some(path) = text.strip_prefix("unix:").filter(|path| path.starts_with('/')) {
        return Ok(Address::Unix(PathBuf::from(path)));
    }
    let text = text.replacen("localhost:", "127.0.0.1:", 1);
    text.parse().map(Address::Tcp).map_err(|_| {
        Error::invalid(format!(
            "expected IP:PORT, unix:/path/to.sock or off, got '{}'",
            quoted(&text)
        ))
    })
}

fn backend(name: &str) -> Result<BackendChoice> {
    BackendChoice::from_name(name).ok_or_else(|| {
        let known = BackendChoice::NAMES.join(", ");
        Error::invalid(format!("backend: expected one of {known}, got '{}'", quoted(name)))
    })
}

fn control(name: &str) -> Result<ControlMode> {
    ControlMode::from_name(name).ok_or_else(|| {
        let known = ControlMode::NAMES.join(", ");
        let given = quoted(name);
        Error::invalid(format!("model control mode: expected one of {known}, got '{given}'"))
    })
}

fn drift(enabled: Option<bool>, written: &raw::Drift) -> Result<DriftConfig> {
    let within = |key: &str, given: Option<u64>, default: u64, low: u64, high: u64| {
        let value = given.unwrap_or(default);
        let wrong =
            || Error::invalid(format!("drift.{key}: expected {low} to {high}, got {value}"));
        (low..=high).contains(&value).then_some(value).ok_or_else(wrong)
    };
    let sample_percent = written.sample_percent.unwrap_or(100.0);
    if !(sample_percent > 0.0 && sample_percent <= 100.0) {
        return Err(Error::invalid("drift.sample_percent: expected more than 0, up to 100"));
    }
    Ok(DriftConfig {
        enabled: enabled.or(written.enabled).unwrap_or(true),
        window_rows: within("window_rows", written.window_rows, 1000, 1, 1_000_000_000)?,
        window_seconds: within("window_seconds", written.window_seconds, 3600, 1, 31_536_000)?,
        sample_percent,
        snapshot_seconds: within("snapshot_seconds", written.snapshot_seconds, 10, 1, 86_400)?,
        exact_rows: within("exact_rows", written.exact_rows, 5000, 0, 10_000)? as usize,
        quantiles: written.quantiles.unwrap_or(false),
    })
}

/// Where something is posted to; the empty address is none.
fn http_address(key: &str, text: Option<&str>) -> Result<Option<HttpAddress>> {
    let text = text.filter(|text| !text.is_empty());
    text.map(|text| HttpAddress::parse(key, text)).transpose()
}

fn alerts(webhook: Option<String>, written: &raw::Alerts) -> Result<AlertsConfig> {
    let webhook = webhook.as_deref().or(written.webhook.as_deref());
    let webhook = http_address("alerts.webhook", webhook)?;
    let retries = written.retries.unwrap_or(8);
    let attempts = u32::try_from(retries).ok().filter(|retries| *retries <= RETRIES_LIMIT);
    let wrong = || Error::invalid(format!("alerts.retries: expected 0 to {RETRIES_LIMIT}"));
    Ok(AlertsConfig {
        webhook,
        timeout: millis("alerts.timeout_ms", written.timeout_ms, 5000)?,
        retries: attempts.ok_or_else(wrong)?,
        backoff: millis("alerts.backoff_ms", written.backoff_ms, 1000)?,
    })
}

fn otlp(endpoint: Option<String>, written: raw::Otlp) -> Result<OtlpConfig> {
    let endpoint = endpoint.or(written.endpoint);
    let endpoint = http_address("otlp.endpoint", endpoint.as_deref())?;
    let sample_percent = written.sample_percent.unwrap_or(100.0);
    if !(0.0..=100.0).contains(&sample_percent) {
        return Err(Error::invalid("otlp.sample_percent: expected 0 to 100"));
    }
    let service_name = written.service_name.unwrap_or_else(|| SERVICE_NAME.to_owned());
    let is_name = (1..=SERVICE_NAME_CHARS_MAX).contains(&service_name.chars().count())
        && !service_name.chars().any(char::is_control);
    if !is_name {
        return Err(Error::invalid(format!(
            "otlp.service_name: expected 1 to {SERVICE_NAME_CHARS_MAX} characters, none of control"
        )));
    }
    let endpoint = endpoint.map(|address| address.with_path(OTLP_PATH));
    Ok(OtlpConfig { endpoint, sample_percent, service_name })
}

/// Triton's `--cache-config`: `local,size=N`.
fn cache_config(texts: &[String]) -> Result<Option<u64>> {
    let mut bytes = None;
    for text in texts {
        let size = text.strip_prefix("local,size=").and_then(|size| size.parse().ok());
        bytes = Some(size.ok_or_else(|| {
            Error::invalid(format!("cache-config: expected local,size=N, got '{}'", quoted(text)))
        })?);
    }
    Ok(bytes)
}

fn millis(key: &str, given: Option<u64>, default: u64) -> Result<Duration> {
    let value = given.unwrap_or(default);
    if value > WAIT_MS_LIMIT {
        return Err(Error::invalid(format!("{key}: expected at most {WAIT_MS_LIMIT} ms")));
    }
    Ok(Duration::from_millis(value))
}

fn within(key: &str, value: usize, low: usize, high: usize) -> Result<usize> {
    if (low..=high).contains(&value) {
        return Ok(value);
    }
    Err(Error::invalid(format!("{key}: expected {low} to {high}, got {value}")))
}

/// TOML to a typed value; the error is one line with position and, for an unknown key or word, the
/// nearest valid one.
pub fn toml_from_str<T: DeserializeOwned>(text: &str) -> Result<T> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| {
            let before = text.get(..span.start).unwrap_or("");
            before.bytes().filter(|&byte| byte == b'\n').count() + 1
        });
        let place = line.map_or_else(String::new, |line| format!("line {line}: "));
        let message = error.message().replace('\n', " ");
        Error::invalid(format!("{place}{message}{}", suggestion(&message)))
    })
}

/// "unknown field `x`, expected one of `a`, `b`" names its candidates: pick the nearest.
fn suggestion(message: &str) -> String {
    let mut words = message.split('`').skip(1).step_by(2);
    let known = message.starts_with("unknown field") || message.starts_with("unknown variant");
    match words.next().filter(|_| known).and_then(|given| nearest(given, words)) {
        Some(word) => format!("; did you mean '{word}'?"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, overlay: Overlay) -> Result<Config> {
        resolve(overlay, toml_from_str(text)?)
    }

    #[test]
    fn defaults_are_tritons_ports_on_loopback() {
        let config = load("", Overlay::default()).unwrap();
        assert_eq!(config.server.http.unwrap().to_string(), "127.0.0.1:8000");
        assert_eq!(config.server.metrics.unwrap().to_string(), "127.0.0.1:8002");
        assert!(!config.server.readiness_strict);
    }

    #[test]
    fn the_readmes_file_holds_every_key_with_its_default() {
        let readme = include_str!("../../README.md");
        let (_, rest) = readme.split_once("```toml\n# galen.toml").expect("the file is there");
        let (text, _) = rest.split_once("```").expect("it ends");
        let written = load(text, Overlay::default()).unwrap();
        let default = load("", Overlay::default()).unwrap();
        let library = vec![PathBuf::from("/opt/onnxruntime/lib/libonnxruntime.so")];
        let found = &written.registry.onnxruntime.candidates;
        assert_eq!(found, &library, "the one key without a fixed default");
        let mut registry = default.registry;
        registry.onnxruntime.candidates = library;
        let default = Config { registry, ..default };
        assert_eq!(format!("{written:?}"), format!("{default:?}"));
        // As many lines with a value as there are keys: the file's types have no others.
        assert_eq!(text.lines().filter(|line| line.contains(" = ")).count(), 47);
    }

    #[test]
    fn the_overlay_wins_over_the_file() {
        let overlay = Overlay { http: Some("unix:/run/galen.sock".into()), ..Overlay::default() };
        let config = load("http = \"127.0.0.1:1\"\ngrpc = \"off\"", overlay).unwrap();
        assert_eq!(config.server.http.unwrap().to_string(), "unix:/run/galen.sock");
        assert_eq!(config.server.grpc, None);
    }

    #[test]
    fn tritons_spellings_move_ports_and_shut_doors() {
        let overlay = Overlay {
            http_port: Some(9000),
            allow_grpc: Some(false),
            exit_timeout_secs: Some(5),
            ..Overlay::default()
        };
        let config = load("", overlay).unwrap();
        assert_eq!(config.server.http.unwrap().to_string(), "127.0.0.1:9000");
        assert_eq!(config.server.grpc, None);
        assert_eq!(config.server.shutdown_timeout, Duration::from_secs(5));
    }

    #[test]
    fn a_wrong_value_names_its_key_and_a_wrong_key_its_neighbour() {
        let message = |text: &str| load(text, Overlay::default()).unwrap_err().message().to_owned();
        assert!(message("http = \"nowhere\"").starts_with("http: expected IP:PORT"));
        assert!(message("[limits]\nbody_byte_max = 1").contains("did you mean 'body_bytes_max'"));
        assert!(
            message("[limits]\nbody_bytes_max = 1").contains("limits.body_bytes_max: expected")
        );
        assert!(message("backend = \"tensorflow\"").contains("expected one of auto"));
        assert!(message("[rest]\ncors_origins = [\"ward\"]").contains("rest.cors_origins"));
        assert!(message("[limits]\nrequest_timeout_ms = 999999999999").contains("at most"));
        assert!(message("[registry]\nmodel_name = \"../x\"").starts_with("registry.model_name: "));
        assert!(message("[rest]\nmlflow_model = \"../x\"").starts_with("rest.mlflow_model: "));
        assert!(message("[alerts]\nwebhook = \"https://a/\"").starts_with("alerts.webhook: "));
        assert!(message("[otlp]\nendpoint = \"https://a/\"").starts_with("otlp.endpoint: "));
        assert!(message("[otlp]\nsample_percent = 101.0").starts_with("otlp.sample_percent: "));
        assert!(message("[otlp]\nservice_name = \"\"").starts_with("otlp.service_name: "));
        assert!(message("[alerts]\nretries = 1001").contains("alerts.retries: expected 0 to"));
    }
}
