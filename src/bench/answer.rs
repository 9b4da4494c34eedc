//! What a caller hears: success, or why not, in words that hold on both protocols.

use std::fmt;

/// Of an error's text, as much as a reader needs.
pub const TEXT_CHARS_MAX: usize = 200;

/// Why a request brought no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Http(u16),
    Grpc(i32),
    /// The connection broke, or none was made.
    Connection,
    /// None had come when the run was over, and a while after.
    Unanswered,
}

impl Status {
    /// Whether the server says that it has too much to do.
    pub fn is_overload(self) -> bool {
        self == Status::Http(429) || self == Status::Grpc(8)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Http(code) => write!(f, "{code}"),
            Status::Grpc(code) => match usize::try_from(*code).ok().and_then(|c| CODES.get(c)) {
                Some(name) => f.write_str(name),
                None => write!(f, "gRPC {code}"),
            },
            Status::Connection => f.write_str("connection"),
            Status::Unanswered => f.write_str("unanswered"),
        }
    }
}

/// gRPC's names of its codes, by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// A request that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub status: Status,
    /// What the server said, cut to [`TEXT_CHARS_MAX`].
    pub text: String,
}

impl Failure {
    pub fn new(status: Status, text: &str) -> Self {
        // What a server says may hold anything, and is to be printed.
        let clean = text.chars().take(TEXT_CHARS_MAX).filter(|c| !c.is_control());
        Self { status, text: clean.collect() }
    }

    pub fn connection(error: impl fmt::Display) -> Self {
        Self::new(Status::Connection, &error.to_string())
    }
}

pub type Answer = std::result::Result<(), Failure>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_their_names_and_strangers_their_numbers() {
        let names: Vec<String> =
            [Status::Http(429), Status::Grpc(8), Status::Grpc(16), Status::Grpc(99)]
                .iter()
                .map(Status::to_string)
                .collect();
        assert_eq!(names, ["429", "RESOURCE_EXHAUSTED", "UNAUTHENTICATED", "gRPC 99"]);
        assert!(Status::Http(429).is_overload() && Status::Grpc(8).is_overload());
        assert!(!Status::Http(503).is_overload());
    }

    #[test]
    fn what_a_server_says_can_not_move_the_cursor_or_fill_the_screen() {
        let failure = Failure::new(Status::Http(500), &format!("a\x1b[2J{}", "x".repeat(999)));
        assert!(failure.text.starts_with("a[2J") && failure.text.len() <= TEXT_CHARS_MAX);
    }
}
