//! Callers over HTTP/1.1, one kept connection each; and single questions.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;

use super::address::Address;
use super::answer::{Answer, Failure, Status};
use crate::error::{Error, Result, quoted};

/// Largest answer to a question: the OpenAPI document of many models.
const BODY_BYTES_MAX: usize = 64 << 20;
/// How long a question may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A `POST` with one body, sent over and over.
#[derive(Clone)]
pub struct Target {
    address: Address,
    request: Request<Bytes>,
}

impl Target {
    /// `path` begins with a slash; `headers` are `name: value`.
    pub fn new(
        address: Address,
        path: &str,
        content_type: &str,
        headers: &[String],
        body: Bytes,
    ) -> Result<Self> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri(path)?;
        let map = request.headers_mut();
        map.insert(HOST, value(address.authority())?);
        map.insert(CONTENT_TYPE, value(content_type)?);
        for header in headers {
            let wrong = || Error::invalid(format!("'{}' is no 'name: value'", quoted(header)));
            let (name, text) = header.split_once(':').ok_or_else(wrong)?;
            let name: HeaderName = name.parse().map_err(|_| wrong())?;
            map.insert(name, value(text.trim())?);
        }
        Ok(Self { address, request })
    }

    pub async fn caller(&self) -> Result<Caller> {
        Ok(Caller { sender: connect(&self.address).await?, request: self.request.clone() })
    }
}

fn uri(path: &str) -> Result<Uri> {
    path.parse().map_err(|_| Error::invalid(format!("'{}' is no path", quoted(path))))
}

fn value(text: &str) -> Result<HeaderValue> {
    let wrong = |_| Error::invalid(format!("'{}' can not stand in a header", quoted(text)));
    HeaderValue::from_str(text).map_err(wrong)
}

async fn connect(address: &Address) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TokioIo::new(address.connect().await?);
    let failed = |error: hyper::Error| Error::not_ready(format!("{address}: {error}"));
    let (sender, connection) = http1::handshake(stream).await.map_err(failed)?;
    // Ends with its sender; what went wrong on it, the sender hears too.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

/// One caller with its connection.
pub struct Caller {
    sender: SendRequest<Full<Bytes>>,
    request: Request<Bytes>,
}

impl Caller {
    pub async fn call(&mut self) -> Answer {
        let response = self.send().await.map_err(Failure::connection)?;
        let status = response.status();
        let mut body = response.into_body();
        let mut first = Bytes::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(Failure::connection)?.into_data()
                && first.is_empty()
            {
                first = data;
            }
        }
        if status == StatusCode::OK {
            return Ok(());
        }
        Err(Failure::new(Status::Http(status.as_u16()), &String::from_utf8_lossy(&first)))
    }

    async fn send(&mut self) -> hyper::Result<Response<Incoming>> {
        self.sender.ready().await?;
        self.sender.send_request(self.request.clone().map(Full::new)).await
    }
}

/// Asks once: the status, and the whole body.
pub async fn get(address: &Address, path: &str) -> Result<(u16, Bytes)> {
    let asked = tokio::time::timeout(PATIENCE, async {
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = uri(path)?;
        request.headers_mut().insert(HOST, value(address.authority())?);
        let failed = |error: &dyn std::fmt::Display| {
            Error::not_ready(format!("{address} does not answer {path}: {error}"))
        };
        let mut sender = connect(address).await?;
        let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
        Ok((status, body.map_err(|error| failed(&error))?.to_bytes()))
    });
    let late = |_| Error::not_ready(format!("{address} does not answer {path}"));
    asked.await.map_err(late)?
}

/// What a target sends.
#[cfg(test)]
impl Target {
    pub fn parts(&self) -> (&str, &hyper::HeaderMap, &Bytes) {
        (self.request.uri().path(), self.request.headers(), self.request.body())
    }
}
