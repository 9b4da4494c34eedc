//! A Galen error as a gRPC status.

use std::time::Duration;

use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use crate::error::Error;
use crate::server::status::grpc_code;

/// The caller's text under the code of its kind. The detail stays in the log.
pub fn status(error: &Error) -> Status {
    let code = grpc_code(error.kind());
    match error.retry_after() {
        Some(after) => Status::with_metadata(code, error.message(), retry(after)),
        None => Status::new(code, error.message()),
    }
}

/// What a request whose context is missing gets: the layers were put together wrongly.
pub fn no_context() -> Status {
    Status::new(Code::Internal, "the request came without its context")
}

/// When to come back: `retry-after` in whole seconds as HTTP proxies read it (at least 1, for 0
/// means "at once"), and `grpc-retry-pushback-ms` as gRPC's own retry policy reads it.
fn retry(after: Duration) -> MetadataMap {
    let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
    let millis = i32::try_from(after.as_millis()).unwrap_or(i32::MAX);
    let mut metadata = MetadataMap::new();
    metadata.insert("retry-after", seconds.max(1).into());
    metadata.insert("grpc-retry-pushback-ms", millis.into());
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn an_overloaded_caller_learns_when_to_come_back() {
        let error = Error::new(ErrorKind::Overloaded, "Exceeds maximum queue size");
        let status = status(&error.with_retry_after(Duration::from_millis(1500)).with_detail("x"));
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.message(), "Exceeds maximum queue size");
        assert_eq!(status.metadata().get("retry-after").unwrap(), "2");
        assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "1500");
        assert_eq!(retry(Duration::ZERO).get("retry-after").unwrap(), "1");
    }
}
