//! Callers over HTTP/1.1: one kept connection each.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Result;

/// A `POST` with one body.
pub struct Target {
    address: String,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Target {
    /// `url` is `http://host:port/path`; `headers` are `name: value`.
    pub fn new(url: &str, content_type: &str, headers: &[String], body: Bytes) -> Result<Self> {
        let wrong = || format!("no address like http://host:port/path: {url}");
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let address = uri.authority().ok_or_else(wrong)?.to_string();
        let value = |text: &str| HeaderValue::from_str(text).map_err(|error| error.to_string());
        let mut map = HeaderMap::new();
        map.insert(HOST, value(&address)?);
        map.insert(CONTENT_TYPE, value(content_type)?);
        for header in headers {
            let (name, text) = header.split_once(':').ok_or("a header is 'name: value'")?;
            let name: HeaderName = name.parse().map_err(|_| format!("no header name: {name}"))?;
            map.insert(name, value(text.trim())?);
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let uri = path.parse().map_err(|_| wrong())?;
        Ok(Self { address, uri, headers: map, body })
    }

    pub async fn connect(&self) -> Result<Caller> {
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", self.address);
        let stream = TcpStream::connect(&self.address).await.map_err(|error| failed(&error))?;
        stream.set_nodelay(true).map_err(|error| failed(&error))?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
        // Ends with its sender; what went wrong on it, the sender hears too.
        tokio::task::spawn_local(async move {
            let _ = connection.await;
        });
        let mut request = Request::new(self.body.clone());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        Ok(Caller { sender, request })
    }
}

pub struct Caller {
    sender: SendRequest<Full<Bytes>>,
    request: Request<Bytes>,
}

impl Caller {
    pub async fn call(&mut self) -> Result<()> {
        let text = |error: hyper::Error| error.to_string();
        self.sender.ready().await.map_err(text)?;
        let request = self.request.clone().map(Full::new);
        let response = self.sender.send_request(request).await.map_err(text)?;
        let status = response.status();
        let mut body = response.into_body();
        let mut first = Bytes::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(text)?.into_data()
                && first.is_empty()
            {
                first = data;
            }
        }
        if status == StatusCode::OK {
            return Ok(());
        }
        Err(format!("answered {status}: {}", String::from_utf8_lossy(&first)))
    }
}
