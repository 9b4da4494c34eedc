//! Pages of other sites may not change the server: a browser sends a plain POST across sites
//! without asking first, and until there is authentication nothing else would stop it.

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::header::{HOST, HeaderMap, ORIGIN};
use axum::http::request::Parts;
use axum::http::{Response, StatusCode};

use super::{Door, in_form_of};

/// A call that comes from no page, from one of this server's own, or from an origin that is
/// allowed. A handler that takes it answers no others.
pub struct Own;

impl FromRequestParts<Door> for Own {
    type Rejection = Response<Body>;

    async fn from_request_parts(parts: &mut Parts, door: &Door) -> Result<Self, Response<Body>> {
        if is_own(&parts.headers, &door.cors_origins) {
            return Ok(Self);
        }
        let text = "a page of another origin may not change the server; see rest.cors_origins";
        Err(in_form_of(&parts.uri, StatusCode::FORBIDDEN, text))
    }
}

fn is_own(headers: &HeaderMap, allowed: &[String]) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    // Only browsers send it, and on every POST.
    if !headers.contains_key(ORIGIN) {
        return true;
    }
    let Some(origin) = text(ORIGIN) else { return false };
    let site = origin.split_once("://").map(|(_, site)| site);
    (site.is_some() && site == text(HOST))
        || allowed.iter().any(|allowed| allowed == "*" || allowed == origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_other_sites_are_refused() {
        let of = |origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, "127.0.0.1:8000".parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(ORIGIN, origin.parse().unwrap());
            }
            is_own(&headers, &["https://ward.example".to_owned()])
        };
        for origin in [None, Some("http://127.0.0.1:8000"), Some("https://ward.example")] {
            assert!(of(origin), "{origin:?}");
        }
        for origin in ["https://evil.example", "null", "", "http://127.0.0.1:8001"] {
            assert!(!of(Some(origin)), "{origin}");
        }
    }
}
