//! An address that Galen posts to. Only `http://`: Galen has no TLS; whoever needs it sends to a
//! relay on the same host.

use std::fmt;

use crate::error::{Error, Result};

/// An `http://` address in its parts.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpAddress {
    /// A name or an address, without the brackets of IPv6.
    pub host: String,
    pub port: u16,
    /// Path and query. They may hold a secret, and are in no log.
    pub target: String,
}

impl HttpAddress {
    /// Reads `http://HOST[:PORT][/PATH]`. The error names the key and does not repeat the address.
    pub fn parse(key: &str, text: &str) -> Result<Self> {
        let wrong = |what: &str| {
            Error::invalid(format!("{key}: expected http://HOST[:PORT][/PATH]; {what}"))
        };
        let Some(rest) = text.strip_prefix("http://") else {
            return Err(wrong("only http:// is spoken, send to a relay on this host for TLS"));
        };
        if rest.contains('#') || !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong("there is a character that an address can not hold"));
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.contains('@') {
            return Err(wrong("no user and password are sent"));
        }
        let (host, port) = match authority.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
            Some((host, "")) => (host, "80"),
            Some((host, port)) => (host, port.strip_prefix(':').unwrap_or_default()),
            None => authority.split_once(':').unwrap_or((authority, "80")),
        };
        let port = port.parse().ok().filter(|port| *port > 0);
        let port = port.ok_or_else(|| wrong("the port is none"))?;
        if host.is_empty() {
            return Err(wrong("the host is missing"));
        }
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Self { host: host.to_owned(), port, target: format!("{slash}{target}") })
    }

    /// The same address with this path behind its own, unless it ends so already.
    pub fn with_path(mut self, path: &str) -> Self {
        let (base, query) =
            self.target.split_at(self.target.find('?').unwrap_or(self.target.len()));
        let base = base.trim_end_matches('/');
        if !base.ends_with(path) {
            self.target = format!("{base}{path}{query}");
        }
        self
    }

    /// Host and port, as they stand in an address.
    pub fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

/// Without the path.
impl fmt::Debug for HttpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_parted() {
        for (text, authority, target) in [
            ("http://alerts", "alerts:80", "/"),
            ("http://127.0.0.1:9093/api?key=1", "127.0.0.1:9093", "/api?key=1"),
            ("http://[::1]/x", "[::1]:80", "/x"),
            ("http://[::1]:8080?y", "[::1]:8080", "/?y"),
        ] {
            let address = HttpAddress::parse("x", text).unwrap();
            assert_eq!((&*address.authority(), &*address.target), (authority, target), "{text}");
            assert!(!format!("{address:?}").contains("key"));
        }
    }

    #[test]
    fn a_path_is_appended_once() {
        for (text, target) in [
            ("http://c:4318", "/v1/traces"),
            ("http://c:4318/", "/v1/traces"),
            ("http://c:4318/v1/traces", "/v1/traces"),
            ("http://c/otel", "/otel/v1/traces"),
            ("http://c/otel/?key=1", "/otel/v1/traces?key=1"),
            ("http://c?key=/v1/traces", "/v1/traces?key=/v1/traces"),
            ("http://c/v1/traces?key=1", "/v1/traces?key=1"),
        ] {
            let address = HttpAddress::parse("x", text).unwrap();
            assert_eq!(address.with_path("/v1/traces").target, target, "{text}");
        }
    }

    #[test]
    fn what_is_none_is_refused_and_not_repeated() {
        for text in [
            "https://secret",
            "secret",
            "http://",
            "http:///secret",
            "http://secret:0/",
            "http://secret:99999/",
            "http://secret:/",
            "http://user:secret@host/",
            "http://host/sec ret",
            "http://host/secret#part",
            "http://[::1/secret",
            "http://[::1]secret",
        ] {
            let error = HttpAddress::parse("alerts.webhook", text).unwrap_err();
            assert!(error.message().starts_with("alerts.webhook: expected http://"), "{text}");
            assert!(!error.message().contains("secret"), "{text}: {error}");
        }
    }
}
