//! What goes back over REST: bodies, and errors in the two forms that the dialects use.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, VARY};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use bytes::Bytes;
use serde::Serialize;

use super::coding::Coding;
use super::openapi::bodies::{ErrorBody, Problem, ProblemEntry};
use crate::error::{Error, ErrorKind, Violation};
use crate::server::status::http_status;

pub const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub const CSV: HeaderValue = HeaderValue::from_static("text/csv; charset=utf-8");
pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Any body under a status and a type.
pub fn reply(
    status: StatusCode,
    content_type: HeaderValue,
    body: impl Into<Body>,
) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// A value as JSON.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(body) => reply(status, JSON, body),
        // Our own types have no maps with odd keys and no failing serializers.
        Err(_) => reply(StatusCode::INTERNAL_SERVER_ERROR, JSON, "{}"),
    }
}

/// The protocols' form: `{"error": "..."}`.
pub fn error(error: &Error) -> Response<Body> {
    let response =
        json(http_status(error.kind()), &ErrorBody { error: error.message().to_owned() });
    with_advice(response, error)
}

/// The typed API's form, RFC 9457, with every broken rule of the request. `status` stands in for
/// that of the error's kind.
pub fn problem(
    error: &Error,
    status: Option<StatusCode>,
    request_id: Option<&str>,
) -> Response<Body> {
    let entry = |violation: &Violation| ProblemEntry {
        pointer: violation.pointer.clone(),
        code: violation.code,
        message: violation.message.clone(),
    };
    let errors: Vec<ProblemEntry> = error.violations().iter().map(entry).collect();
    let is_contract = error.kind() == ErrorKind::InvalidInput && !errors.is_empty();
    let status = status.unwrap_or(match is_contract {
        true => StatusCode::UNPROCESSABLE_ENTITY,
        false => http_status(error.kind()),
    });
    let problem = Problem {
        r#type: "about:blank",
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        detail: error.message().to_owned(),
        request_id: request_id.map(str::to_owned),
        errors,
    };
    let mut response = json(status, &problem);
    response.headers_mut().insert(CONTENT_TYPE, PROBLEM_JSON);
    with_advice(response, error)
}

/// A large body, packed where the caller asks for it.
pub fn packed(
    status: StatusCode,
    content_type: HeaderValue,
    body: Bytes,
    request: &HeaderMap,
) -> Response<Body> {
    let accept = request.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let coding = Coding::of_answer(accept, body.len());
    let Some((coding, packed)) = coding.and_then(|coding| Some((coding, coding.pack(&body)?)))
    else {
        return reply(status, content_type, body);
    };
    let mut response = reply(status, content_type, packed);
    let headers = response.headers_mut();
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    response
}

/// The headers that tell a caller what to do about an error.
pub fn with_advice(mut response: Response<Body>, error: &Error) -> Response<Body> {
    let headers = response.headers_mut();
    if let Some(after) = error.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
    }
    if error.kind() == ErrorKind::UnsupportedEncoding {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate"));
    }
    response
}

/// At least 1: to clients, 0 means "at once".
fn whole_seconds(after: Duration) -> u64 {
    (after.as_secs() + u64::from(after.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    async fn text(response: Response<Body>) -> String {
        let body = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn an_overloaded_caller_learns_when_to_come_back() {
        let full = Error::new(ErrorKind::Overloaded, "Exceeds maximum queue size")
            .with_retry_after(Duration::from_millis(1500))
            .with_detail("secret");
        let response = error(&full);
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[RETRY_AFTER], "2");
        assert_eq!(text(response).await, r#"{"error":"Exceeds maximum queue size"}"#);
    }

    #[tokio::test]
    async fn a_problem_lists_every_broken_rule() {
        let violation = Violation {
            pointer: "/records/0/age".into(),
            code: "range",
            message: "expected 0 to 120".into(),
        };
        let broken =
            Error::invalid("the request breaks the contract").with_violations(vec![violation]);
        let response = problem(&broken, None, Some("7"));
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(response.headers()[CONTENT_TYPE], PROBLEM_JSON);
        assert_eq!(
            text(response).await,
            concat!(
                r#"{"type":"about:blank","title":"Unprocessable Entity","status":422,"#,
                r#""detail":"the request breaks the contract","request_id":"7","#,
                r#""errors":[{"pointer":"/records/0/age","code":"range","message":"expected 0 to 120"}]}"#
            )
        );
    }
}
