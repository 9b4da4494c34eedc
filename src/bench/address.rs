//! Where a server listens, as its callers write it, and connections to it.

use std::fmt;
use std::path::PathBuf;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::error::{Error, Result, quoted};

/// The host and port of a TCP socket, or the path of a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp(String),
    Unix(PathBuf),
}

/// A connection, whatever is beneath it.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Address {
    /// `HOST:PORT` or `unix:/path/to.sock`. A scheme in front is taken, and a slash behind.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            let given = quoted(text);
            Err(Error::invalid(format!(
                "'{given}': {why}expected HOST:PORT, http://HOST:PORT or unix:/path/to.sock"
            )))
        };
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { wrong("") } else { Ok(Self::Unix(path.into())) };
        }
        if text.starts_with("https:") || text.starts_with("grpcs:") {
            return wrong("TLS is not spoken; ");
        }
        let bare = ["http://", "grpc://"].iter().find_map(|scheme| text.strip_prefix(scheme));
        let bare = bare.unwrap_or(text);
        let bare = bare.strip_suffix('/').unwrap_or(bare);
        let Some((host, port)) = bare.rsplit_once(':') else { return wrong("") };
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '?' | '#' | '@');
        if host.is_empty() || !host.chars().all(plain) || port.parse::<u16>().is_err() {
            return wrong("");
        }
        Ok(Self::Tcp(bare.to_owned()))
    }

    /// What stands in a request for the host.
    pub fn authority(&self) -> &str {
        match self {
            Self::Tcp(address) => address,
            // The path is none that HTTP would allow.
            Self::Unix(_) => "localhost",
        }
    }

    pub async fn connect(&self) -> Result<Box<dyn Stream>> {
        let failed = |error: std::io::Error| Error::not_ready(format!("{self}: {error}"));
        Ok(match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(failed)?;
                // A request is written at once; to wait for more would measure the waiting.
                stream.set_nodelay(true).map_err(failed)?;
                Box::new(stream)
            }
            Self::Unix(path) => Box::new(UnixStream::connect(path).await.map_err(failed)?),
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_as_they_are_written() {
        let read = |text: &str| Address::parse(text).map(|address| address.to_string()).ok();
        for text in ["127.0.0.1:8000", "http://127.0.0.1:8000", "grpc://127.0.0.1:8000/"] {
            assert_eq!(read(text).as_deref(), Some("127.0.0.1:8000"), "{text}");
        }
        assert_eq!(read("[::1]:80").as_deref(), Some("[::1]:80"));
        assert_eq!(read("unix:/run/galen.sock").as_deref(), Some("unix:/run/galen.sock"));
        for bad in ["", "localhost", "http://localhost", "a:b", ":80", "a:99999", "unix:", "a/b:1"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
        let error = Address::parse("https://a:1").unwrap_err();
        assert!(error.message().contains("TLS"), "{error}");
    }
}
