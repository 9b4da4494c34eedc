//! What the typed API's calls have in common: their body, their problems under the request's id,
//! and reports that come as JSON or as CSV.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request};
use axum::http::{Response, StatusCode};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::super::path::context;
use super::super::{Door, body, reply};
use crate::error::{Error, Result};
use crate::infer::RequestContext;

/// Who asked, as far as a problem names it.
pub struct Caller(Option<Arc<RequestContext>>);

impl Caller {
    pub fn of(request: &Request) -> Self {
        Self(context(request.extensions()).ok())
    }

    /// The error as a problem of RFC 9457.
    pub fn refuse(&self, error: &Error) -> Response<Body> {
        reply::problem(error, None, self.0.as_ref().map(|context| context.id.as_str()))
    }

    /// 204, or the problem.
    pub fn done(&self, outcome: Result<()>) -> Response<Body> {
        match outcome {
            Ok(()) => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::NO_CONTENT;
                response
            }
            Err(error) => self.refuse(&error),
        }
    }
}

/// The whole body, within the door's limit.
pub async fn text(door: &Door, request: Request) -> Result<Bytes> {
    let (parts, body) = request.into_parts();
    body::collect(&parts.headers, body, door.body_bytes_max).await
}

/// `json`, or `csv`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Format {
    #[serde(default)]
    format: Option<String>,
}

/// Said in our own words where it is none.
pub type FormatQuery = std::result::Result<Query<Format>, QueryRejection>;

/// A report in the form that the query asks for.
pub fn report<T: Serialize>(
    query: &FormatQuery,
    report: &T,
    csv: impl FnOnce(&T) -> String,
) -> Result<Response<Body>> {
    let format = query.as_ref().map(|Query(query)| query.format.as_deref());
    match format {
        Ok(None | Some("json")) => Ok(reply::json(StatusCode::OK, report)),
        Ok(Some("csv")) => Ok(reply::reply(StatusCode::OK, reply::CSV, csv(report))),
        _ => Err(Error::invalid("query: expected format=json or format=csv, and nothing else")),
    }
}

/// Lines of cells; those are quoted that need it.
pub fn csv(header: &str, lines: impl Iterator<Item = Vec<String>>) -> String {
    let quoted = |cell: &String| match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.clone(),
    };
    let lines = lines.map(|cells| cells.iter().map(quoted).collect::<Vec<_>>().join(","));
    [header.to_owned()].into_iter().chain(lines).map(|line| line + "\n").collect()
}
