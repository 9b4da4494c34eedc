//! One closed set of error kinds for the whole server.
//!
//! Every error has two texts. The *caller's* names the field, what was expected and the shape or
//! type that was given, and never repeats a payload value: it may leave the hospital in a client's
//! log. The *detail* is for the operator's log and may name files and engine messages.
//!
//! What this file must not know: HTTP and gRPC. `server::status` maps kinds to both, side by side.

use std::fmt;
use std::time::Duration;

pub type Result<T> = std::result::Result<T, Error>;

/// Why something was refused or failed, in words that hold on every protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is malformed or breaks the model's signature or contract.
    InvalidInput,
    /// The request is larger than a configured limit.
    TooLarge,
    /// The request did not arrive whole in time.
    Incomplete,
    /// The request is encoded in a way that Galen does not read.
    UnsupportedEncoding,
    /// What was to be made is there already.
    AlreadyExists,
    /// No such model, version or route.
    NotFound,
    /// The model or server exists but can not answer yet, or not any more.
    NotReady,
    /// A bounded queue is full; the caller may try again later.
    Overloaded,
    /// The caller's deadline, or the server's own bound, passed first.
    DeadlineExceeded,
    /// The caller left before the answer was there.
    Cancelled,
    /// The caller did not say who they are.
    Unauthenticated,
    /// The caller may not do this.
    PermissionDenied,
    /// A legal request for something Galen does not do.
    Unsupported,
    /// A defect or a failing engine: never the caller's fault.
    Internal,
}

/// One broken rule of a typed request; a request can break several at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// JSON pointer (RFC 6901) to the offending place.
    pub pointer: String,
    /// Stable machine-readable word: `missing`, `type`, `range`, `unknown`, `duplicate`, `length`.
    pub code: &'static str,
    /// What was expected and what kind of thing was given; never the value.
    pub message: String,
}

/// An error with its kind, the caller's text, and what only the log may see.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    detail: Option<String>,
    violations: Vec<Violation>,
    retry_after: Option<Duration>,
}

impl Error {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            detail: None,
            violations: Vec::new(),
            retry_after: None,
        }))
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidInput, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    pub fn not_ready(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotReady, message)
    }

    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::TooLarge, message)
    }

    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    pub fn deadline() -> Self {
        // Triton's words: its clients match on them.
        Self::new(ErrorKind::DeadlineExceeded, "Request timeout expired")
    }

    /// Adds what only the operator's log may show.
    #[must_use]
    pub fn with_detail(mut self, detail: impl fmt::Display) -> Self {
        self.0.detail = Some(detail.to_string());
        self
    }

    #[must_use]
    pub fn with_violations(mut self, violations: Vec<Violation>) -> Self {
        self.0.violations = violations;
        self
    }

    /// How long the caller should wait before trying again.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The caller's text.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The log's text, where there is more to say than the caller may hear.
    pub fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    pub fn violations(&self) -> &[Violation] {
        &self.0.violations
    }

    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.0.message)?;
        match &self.0.detail {
            Some(detail) => write!(f, " ({detail})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// A caller-supplied name made safe to repeat: control characters escaped, length bounded.
///
/// Names come back in error texts and logs, so a name must not be able to forge a log line or
/// carry a payload.
pub fn quoted(name: &str) -> String {
    const CHARS_MAX: usize = 64;
    // Nearly every name: printable, and nothing that an escape would change.
    let plain = |b: u8| (b' '..=b'~').contains(&b) && !matches!(b, b'"' | b'\'' | b'\\');
    if name.len() <= CHARS_MAX && name.bytes().all(plain) {
        return name.to_owned();
    }
    let mut out: String = name.chars().take(CHARS_MAX).flat_map(char::escape_debug).collect();
    if name.chars().nth(CHARS_MAX).is_some() {
        out.push_str("...");
    }
    out
}

/// The candidate nearest to `given`, where one is near enough to be what was meant.
pub fn nearest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(given, candidate), candidate))
        .filter(|(score, _)| *score > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_names_can_not_forge_a_log_line_or_grow() {
        assert_eq!(quoted("a\nb"), "a\\nb");
        let long = "x".repeat(1000);
        assert_eq!(quoted(&long).len(), 64 + 3);
    }

    #[test]
    fn nearest_finds_a_typo_and_refuses_a_stranger() {
        assert_eq!(
            nearest("batch_sise_max", ["batch_size_max", "threads"]),
            Some("batch_size_max")
        );
        assert_eq!(nearest("zebra", ["batch_size_max", "threads"]), None);
    }
}
