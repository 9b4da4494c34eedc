//! The dashboard: pages for people, out of the binary. They are static files that ask the REST door
//! for what they show, as any client may; nothing here knows what Galen serves.
//!
//! What this room must not know: the service, and the other doors.

mod assets;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use axum::routing::get;

use assets::Asset;

/// Nothing but what this server sends: no inline script or style, no frame, no other host.
const POLICY: &str = "default-src 'self'; object-src 'none'; base-uri 'none'; \
                      frame-ancestors 'none'; form-action 'self'";

/// The files behind the page, which asks for them by relative addresses.
pub fn routes() -> Router {
    let file = |Path(path): Path<String>, headers: HeaderMap| async move { file(&path, &headers) };
    Router::new().route("/dashboard/{*path}", get(file))
}

/// The page itself.
pub fn front_page(headers: &HeaderMap) -> Response<Body> {
    file("index.html", headers)
}

fn file(path: &str, request: &HeaderMap) -> Response<Body> {
    match Asset::find(path) {
        Some(asset) => answer(asset, request),
        None => {
            let mut response = Response::new(Body::from("Not Found"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
            response
        }
    }
}

fn answer(asset: &'static Asset, request: &HeaderMap) -> Response<Body> {
    let packed = asset.packed();
    let mut response = Response::new(Body::empty());
    let mut set = |name: HeaderName, value: &'static str| {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    };
    // A browser keeps the file, and asks whether it is still the same.
    set(CACHE_CONTROL, "no-cache");
    set(ETAG, &packed.etag);
    set(VARY, "accept-encoding");
    set(CONTENT_SECURITY_POLICY, POLICY);
    set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(REFERRER_POLICY, "no-referrer");
    if named(request, &IF_NONE_MATCH, &packed.etag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    set(CONTENT_TYPE, asset.content_type);
    match &packed.gzip {
        Some(gzip) if named(request, &ACCEPT_ENCODING, "gzip") => {
            set(CONTENT_ENCODING, "gzip");
            *response.body_mut() = Body::from(gzip.clone());
        }
        _ => *response.body_mut() = Body::from(asset.bytes),
    }
    response
}

/// Whether a header that is a list has this element; one with a parameter, as `;q=0`, is not it.
fn named(request: &HeaderMap, header: &HeaderName, element: &str) -> bool {
    let values = request.get_all(header).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|found| found.trim() == element)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use http_body_util::BodyExt;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let value = |text: &str| HeaderValue::from_str(text).unwrap();
        pairs.iter().map(|(name, text)| (name.clone(), value(text))).collect()
    }

    async fn body(response: Response<Body>) -> Vec<u8> {
        response.into_body().collect().await.unwrap().to_bytes().to_vec()
    }

    #[tokio::test]
    async fn a_file_comes_packed_for_those_who_take_it() {
        let plain = file("style.css", &HeaderMap::new());
        assert_eq!(plain.headers()[CONTENT_TYPE], "text/css; charset=utf-8");
        assert!(!plain.headers().contains_key(CONTENT_ENCODING));
        let packed = file("style.css", &headers(&[(ACCEPT_ENCODING, "br, gzip")]));
        assert_eq!(packed.headers()[CONTENT_ENCODING], "gzip");
        let (plain, packed) = (body(plain).await, body(packed).await);
        assert!(packed.len() < plain.len());
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == plain);
        let refused = file("style.css", &headers(&[(ACCEPT_ENCODING, "gzip;q=0")]));
        assert!(!refused.headers().contains_key(CONTENT_ENCODING));
    }

    #[tokio::test]
    async fn a_file_that_is_known_is_not_sent_again() {
        let first = front_page(&HeaderMap::new());
        assert_eq!(first.headers()[CONTENT_SECURITY_POLICY], POLICY);
        let etag = first.headers()[ETAG].to_str().unwrap().to_owned();
        let again = front_page(&headers(&[(IF_NONE_MATCH, &format!("\"x\", {etag}"))]));
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(again.headers()[ETAG].to_str().unwrap(), etag);
        assert!(body(again).await.is_empty());
        let other = front_page(&headers(&[(IF_NONE_MATCH, "\"x\"")]));
        assert_eq!(other.status(), StatusCode::OK);
    }

    #[test]
    fn what_is_no_file_is_not_found() {
        for path in ["", "nothing.js", "../mod.rs", "/index.html", "vendor/"] {
            assert_eq!(file(path, &HeaderMap::new()).status(), StatusCode::NOT_FOUND, "{path}");
        }
    }
}
