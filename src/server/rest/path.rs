//! The model and version that a path names.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use crate::error::{Error, Result};
use crate::model::Selector;

/// `{model}` and, where the route has it, `{version}`.
pub struct ModelPath {
    pub model: String,
    version: Option<String>,
}

impl ModelPath {
    /// Which version is meant.
    pub fn selector(&self) -> Result<Selector<'_>> {
        Selector::parse(&self.model, self.version.as_deref().unwrap_or(""))
    }

    /// Takes the verb of `{model}:verb` or `{version}:verb` off the last segment. Neither a name
    /// nor a version holds a colon.
    pub fn split_verb(mut self) -> (Self, Option<String>) {
        let segment = self.version.as_mut().unwrap_or(&mut self.model);
        let verb = segment.rfind(':').map(|at| {
            let verb = segment.split_off(at);
            verb[1..].to_owned()
        });
        (self, verb)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ModelPath {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &S,
    ) -> std::result::Result<Self, Self::Rejection> {
        let pairs = Path::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        // What is no UTF-8 once decoded names no model; the empty name is none either.
        let pairs = pairs.map(|Path(pairs)| pairs).unwrap_or_default();
        let mut found = Self { model: String::new(), version: None };
        for (key, value) in pairs {
            match key.as_str() {
                "model" => found.model = value,
                _ => found.version = Some(value),
            }
        }
        Ok(found)
    }
}

/// The context that the outer layer put into the request.
pub fn context(
    extensions: &axum::http::Extensions,
) -> Result<std::sync::Arc<crate::infer::RequestContext>> {
    extensions
        .get::<std::sync::Arc<crate::infer::RequestContext>>()
        .cloned()
        .ok_or_else(|| Error::internal("the request came without its context"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_stands_behind_the_last_segment() {
        let split = |model: &str, version: Option<&str>| {
            let version = version.map(str::to_owned);
            let (path, verb) = ModelPath { model: model.to_owned(), version }.split_verb();
            (path.model, path.version, verb)
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(split("m:predict", None), ("m".into(), None, text("predict")));
        assert_eq!(split("m", Some("1:predict")), ("m".into(), text("1"), text("predict")));
        assert_eq!(split("a:b", Some("1")), ("a:b".into(), text("1"), None));
        assert_eq!(split("a:b:", None), ("a:b".into(), None, text("")));
    }
}
