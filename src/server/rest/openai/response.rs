//! Vectors as OpenAI's list of embeddings. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::error::{Error, Result};
use crate::server::rest::json::NonFinite;
use crate::server::rest::json::write::{self, Elements};
use crate::tensor::NamedTensor;

/// How a vector is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Float,
    /// The little-endian bytes of its numbers.
    Base64,
}

/// The answer as far as it is written.
pub struct Embeddings {
    encoding: Encoding,
    out: Vec<u8>,
    count: usize,
    tokens: u64,
}

impl Embeddings {
    pub fn new(encoding: Encoding, texts: usize) -> Self {
        let mut out = Vec::with_capacity(128 + texts * 4096);
        out.extend_from_slice(b"{\"object\":\"list\",\"data\":[");
        Self { encoding, out, count: 0, tokens: 0 }
    }

    /// Vectors of the next texts and, where the model tells, how many tokens they had.
    pub fn add(&mut self, outputs: &[NamedTensor]) -> Result<()> {
        let vectors = outputs.first().map(|output| &output.tensor);
        let Some((tensor, &[rows, columns])) = vectors.map(|tensor| (tensor, &**tensor.shape()))
        else {
            return Err(Error::internal("the model left out its embeddings"));
        };
        let elements = Elements::new(tensor);
        for row in 0..rows {
            if self.count > 0 {
                self.out.push(b',');
            }
            self.out.extend_from_slice(b"{\"object\":\"embedding\",\"index\":");
            write::integer(&mut self.out, self.count);
            self.out.extend_from_slice(b",\"embedding\":");
            match self.encoding {
                Encoding::Float => {
                    self.out.push(b'[');
                    let range = row * columns..(row + 1) * columns;
                    elements.write(&mut self.out, range, NonFinite::Null);
                    self.out.push(b']');
                }
                Encoding::Base64 => {
                    let bytes = columns * size_of::<f32>();
                    let numbers = &tensor.data()[row * bytes..(row + 1) * bytes];
                    write::string(&mut self.out, &STANDARD.encode(numbers));
                }
            }
            self.out.push(b'}');
            self.count += 1;
        }
        if let Some(counts) = outputs.get(1) {
            let (counts, _) = counts.tensor.data().as_chunks::<4>();
            let counts = counts.iter().map(|count| i32::from_le_bytes(*count));
            self.tokens += counts.map(|count| u64::try_from(count).unwrap_or(0)).sum::<u64>();
        }
        Ok(())
    }

    pub fn into_body(mut self, model: &str) -> Bytes {
        self.out.extend_from_slice(b"],\"model\":");
        write::string(&mut self.out, model);
        self.out.extend_from_slice(b",\"usage\":{\"prompt_tokens\":");
        write::integer(&mut self.out, self.tokens);
        self.out.extend_from_slice(b",\"total_tokens\":");
        write::integer(&mut self.out, self.tokens);
        self.out.extend_from_slice(b"}}");
        self.out.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{DType, Shape, Tensor, shared};
    use serde_json::{Value, json};

    fn outputs(rows: &[[f32; 2]]) -> Vec<NamedTensor> {
        let named = |name: &str, dtype, shape: Vec<usize>, data| {
            let tensor = Tensor::new(name, dtype, Shape::new(shape), data).unwrap();
            NamedTensor { name: name.to_owned(), tensor }
        };
        vec![
            named("embedding", DType::F32, vec![rows.len(), 2], shared(rows.concat())),
            named("token_count", DType::I32, vec![rows.len()], shared(vec![3i32; rows.len()])),
        ]
    }

    #[test]
    fn vectors_of_several_requests_are_one_list() {
        let mut found = Embeddings::new(Encoding::Float, 3);
        found.add(&outputs(&[[0.5, 1.0], [2.0, -1.0]])).unwrap();
        found.add(&outputs(&[[0.25, f32::NAN]])).unwrap();
        let value: Value = serde_json::from_slice(&found.into_body("m")).unwrap();
        let one =
            |index, numbers| json!({"object": "embedding", "index": index, "embedding": numbers});
        assert_eq!(
            value,
            json!({
                "object": "list",
                "data": [
                    one(0, json!([0.5, 1.0])),
                    one(1, json!([2.0, -1.0])),
                    one(2, json!([0.25, null])),
                ],
                "model": "m",
                "usage": {"prompt_tokens": 9, "total_tokens": 9},
            })
        );
        let mut found = Embeddings::new(Encoding::Base64, 1);
        found.add(&outputs(&[[1.0, 0.0]])[..1]).unwrap();
        let value: Value = serde_json::from_slice(&found.into_body("m")).unwrap();
        assert_eq!(value["data"][0]["embedding"], "AACAPwAAAAA=");
        assert_eq!(value["usage"]["total_tokens"], 0);
    }
}
