//! What a body says it is: MLflow's scoring server goes by `Content-Type`. Pure.

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;

use crate::error::{Error, ErrorKind, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Json,
    Csv,
}

impl Content {
    /// Reads the header; without one, a body is JSON.
    pub fn of(headers: &HeaderMap) -> Result<Self> {
        let refused = |message: &str| Err(Error::new(ErrorKind::UnsupportedEncoding, message));
        let Some(header) = headers.get(CONTENT_TYPE) else { return Ok(Content::Json) };
        let mut parts = header.to_str().unwrap_or_default().split(';').map(str::trim);
        let content = match parts.next().map(str::to_ascii_lowercase).as_deref() {
            Some("application/json") => Content::Json,
            Some("text/csv") => Content::Csv,
            _ => {
                return refused(
                    "This predictor only supports the following content types: Types: \
                     ['text/csv', 'application/json'].",
                );
            }
        };
        for parameter in parts.filter(|part| !part.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "charset" if value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8") => {}
                "charset" => return refused("The scoring server only supports UTF-8"),
                // MLflow's own, from before version 2: the body says the same by its keys.
                "format" => {}
                _ => return refused("Unrecognized content type parameters"),
            }
        }
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn of(value: &'static str) -> Result<Content> {
        let header = (CONTENT_TYPE, HeaderValue::from_static(value));
        Content::of(&HeaderMap::from_iter([header]))
    }

    #[test]
    fn types_and_their_parameters_are_read() {
        assert_eq!(Content::of(&HeaderMap::new()).unwrap(), Content::Json);
        for json in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/json;format=pandas-split; charset=\"utf-8\";",
        ] {
            assert_eq!(of(json).unwrap(), Content::Json, "{json}");
        }
        assert_eq!(of("text/csv; charset=utf-8").unwrap(), Content::Csv);
        for other in [
            "",
            "text/plain",
            "application/x-www-form-urlencoded",
            "text/csv; charset=latin-1",
            "application/json; profile=x",
        ] {
            assert_eq!(of(other).unwrap_err().kind(), ErrorKind::UnsupportedEncoding, "{other}");
        }
    }
}
