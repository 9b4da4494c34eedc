//! `{"model": "...", "input": "..."}` as texts. Pure.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

use super::response::Encoding;
use crate::error::{Error, Result};
use crate::tensor::{DType, Shape, Tensor, strings};

/// Texts in one request.
const TEXTS_MAX: usize = 2048;

/// What was asked for.
pub struct Asked<'a> {
    pub model: &'a str,
    pub texts: Vec<Cow<'a, str>>,
    pub encoding: Encoding,
    pub dimensions: Option<usize>,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    model: Option<&'a str>,
    #[serde(borrow)]
    input: Option<Texts<'a>>,
    encoding_format: Option<Cow<'a, str>>,
    dimensions: Option<usize>,
}

impl<'a> Asked<'a> {
    pub fn parse(body: &'a [u8]) -> Result<Self> {
        // The parser's messages quote what was sent; where it stopped is said, what is there not.
        let body: Body<'a> = serde_json::from_slice(body).map_err(|error| {
            let what = if error.is_data() { "a field has another type" } else { "not valid JSON" };
            Error::invalid(format!(
                "{what}, at line {} column {}: expected {{\"model\": string, \"input\": string or \
                 [string, ...]}}",
                error.line(),
                error.column()
            ))
        })?;
        let missing = |name: &str| Error::invalid(format!("{name}: expected, but not given"));
        let model = body.model.ok_or_else(|| missing("model"))?;
        let Texts(texts) = body.input.ok_or_else(|| missing("input"))?;
        if texts.is_empty() || texts.len() > TEXTS_MAX {
            return Err(Error::invalid(format!(
                "input: expected 1 to {TEXTS_MAX} texts, got {}",
                texts.len()
            )));
        }
        let encoding = match body.encoding_format.as_deref() {
            None | Some("float") => Encoding::Float,
            Some("base64") => Encoding::Base64,
            Some(_) => {
                return Err(Error::invalid("encoding_format: expected \"float\" or \"base64\""));
            }
        };
        Ok(Self { model, texts, encoding, dimensions: body.dimensions })
    }
}

/// One text or many. Lists of token numbers, which OpenAI takes, too, are a type error here: they
/// are numbers of another tokenizer.
struct Texts<'a>(Vec<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Texts<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Texts<'de>;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("a string or a list of strings")
            }

            fn visit_borrowed_str<E: de::Error>(
                self,
                text: &'de str,
            ) -> std::result::Result<Self::Value, E> {
                Ok(Texts(vec![Cow::Borrowed(text)]))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<Self::Value, E> {
                Ok(Texts(vec![Cow::Owned(text.to_owned())]))
            }

            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut list: A,
            ) -> std::result::Result<Self::Value, A::Error> {
                #[derive(Deserialize)]
                struct One<'a>(#[serde(borrow)] Cow<'a, str>);

                let mut texts = Vec::new();
                while let Some(One(text)) = list.next_element()? {
                    // One more than there may be is enough to say so.
                    if texts.len() <= TEXTS_MAX {
                        texts.push(text);
                    }
                }
                Ok(Texts(texts))
            }
        }

        from.deserialize_any(Read)
    }
}

/// Texts as a BYTES tensor.
pub fn tensor(name: &str, texts: &[Cow<'_, str>]) -> Result<Tensor> {
    let bytes = texts.iter().map(|text| text.len() + strings::PREFIX).sum();
    let mut data = Vec::with_capacity(bytes);
    if !texts.iter().all(|text| strings::push(&mut data, text.as_bytes())) {
        return Err(Error::invalid("input: a text is longer than a tensor can say"));
    }
    Tensor::new(name, DType::Bytes, Shape::new([texts.len()]), data.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_and_many() {
        let asked = Asked::parse(br#"{"input": "a\nb", "model": "m/2", "user": 7}"#).unwrap();
        assert_eq!((asked.model, &asked.texts[..]), ("m/2", &["a\nb".into()][..]));
        assert_eq!(asked.encoding, Encoding::Float);
        let body = br#"{"input": ["a", "b"], "model": "m", "encoding_format": "base64"}"#;
        let asked = Asked::parse(body).unwrap();
        assert_eq!(asked.texts, ["a", "b"]);
        assert_eq!(asked.encoding, Encoding::Base64);
        let tensor = tensor("text", &asked.texts).unwrap();
        assert_eq!(**tensor.shape(), [2]);
        assert_eq!(tensor.data()[..], *b"\x01\0\0\0a\x01\0\0\0b");
    }

    #[test]
    fn what_does_not_fit_is_named_and_never_quoted() {
        for (body, part) in [
            (&br#"{"input": "secret"}"#[..], "model: expected"),
            (br#"{"model": "m"}"#, "input: expected"),
            (br#"{"model": "m", "input": []}"#, "expected 1 to 2048 texts, got 0"),
            (br#"{"model": "m", "input": [1, 2]}"#, "a field has another type"),
            (br#"{"model": "m", "input": ["secret", 2]}"#, "a field has another type"),
            (br#"{"model": "m", "input": {"secret": 1}}"#, "a field has another type"),
            (br#"{"model": "m", "input": "secret", "dimensions": -1}"#, "another type"),
            (br#"{"model": "m", "input": "secret", "encoding_format": "int8"}"#, "encoding_format"),
            (br#"{"model": "m", "input": "secret"#, "not valid JSON"),
            (b"", "not valid JSON"),
        ] {
            let Err(error) = Asked::parse(body) else { panic!("{part}") };
            assert!(error.message().contains(part), "{error}");
            assert!(!error.message().contains("secret"), "{error}");
        }
        let many = format!("{{\"model\":\"m\",\"input\":[{}\"x\"]}}", "\"x\",".repeat(TEXTS_MAX));
        let Err(error) = Asked::parse(many.as_bytes()) else { panic!("too many") };
        assert!(error.message().contains("got 2049"), "{error}");
    }
}
