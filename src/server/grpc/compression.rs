//! Which answers are packed: those to requests that came packed, in the same coding. (Nearly every
//! client says that it could read packed answers; only one that packs shows that it wants to pay
//! for them.) How much a message may unpack to is bounded as its size is, while it is unpacked.

use http::{HeaderName, Request};

const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// Leaves of the codings that a caller can read only that of its request.
pub fn as_asked<B>(mut request: Request<B>) -> Request<B> {
    let headers = request.headers_mut();
    let accepted = headers.remove(ACCEPT_ENCODING);
    if let (Some(coding), Some(accepted)) = (headers.get(ENCODING).cloned(), accepted)
        && let (Ok(coding_name), Ok(accepted)) = (coding.to_str(), accepted.to_str())
        && accepted.split(',').any(|name| name.trim() == coding_name)
    {
        headers.insert(ACCEPT_ENCODING, coding);
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_packed_as_its_request_was() {
        let wanted = |encoding: Option<&str>, accepted: Option<&str>| {
            let mut request = Request::builder();
            for (name, value) in [(ENCODING, encoding), (ACCEPT_ENCODING, accepted)] {
                if let Some(value) = value {
                    request = request.header(name, value);
                }
            }
            let request = as_asked(request.body(()).unwrap());
            let left = request.headers().get(ACCEPT_ENCODING);
            left.map(|value| value.to_str().unwrap().to_owned())
        };
        let all = Some("identity, deflate, gzip");
        assert_eq!(wanted(Some("gzip"), all).as_deref(), Some("gzip"));
        assert_eq!(wanted(Some("deflate"), all).as_deref(), Some("deflate"));
        assert_eq!(wanted(Some("gzip"), Some("identity,deflate")), None);
        assert_eq!(wanted(None, all), None);
        assert_eq!(wanted(Some("gzip"), None), None);
    }
}
