//! What `model.toml` may say of a transformer that is served from its own files (`[transformer]`):
//! everything is optional, the model's files say most of it.

use serde::Deserialize;

use crate::error::{Error, Result};

/// Tokens of one sequence that may be asked for at most.
pub const TOKENS_LIMIT: usize = 1 << 17;

/// The table `[transformer]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TransformerOptions {
    /// What a request holds; text where the version has a tokenizer.
    pub input: Option<TokenInput>,
    /// How an embedding is made of those of its tokens, where the model's files do not say.
    pub pooling: Option<Pooling>,
    /// Whether embeddings have length 1.
    pub normalize: Option<bool>,
    /// Tokens of a sequence, special ones included; at most what the model was made for.
    pub tokens_max: Option<usize>,
    /// Whether a longer text is cut. Otherwise it is refused: what was cut off, nobody has read.
    pub truncate: bool,
    /// Tokens that one pass computes at most, which bounds its memory.
    pub tokens_per_pass: Option<usize>,
}

/// What a request to a transformer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenInput {
    /// BYTES `text`, which the server makes tokens of.
    Text,
    /// INT64 `input_ids` and `attention_mask`.
    Tokens,
}

/// How one vector is made of those of all tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// The first token's, which models put there for this purpose.
    Cls,
    Mean,
    Max,
}

impl TransformerOptions {
    /// Tokens in one pass, where nothing is said: large enough for full speed, small enough for
    /// the intermediate numbers to stay near the processor.
    pub const TOKENS_PER_PASS: usize = 2048;

    pub fn validate(&self) -> Result<()> {
        let numbers = [("tokens_max", self.tokens_max), ("tokens_per_pass", self.tokens_per_pass)];
        for (name, number) in numbers {
            if number.is_some_and(|number| !(1..=TOKENS_LIMIT).contains(&number)) {
                return Err(Error::invalid(format!(
                    "transformer.{name}: expected 1 to {TOKENS_LIMIT}"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_outside_its_range_is_named() {
        let options = TransformerOptions { tokens_max: Some(0), ..Default::default() };
        let error = options.validate().unwrap_err();
        assert!(error.message().contains("transformer.tokens_max: expected 1 to"), "{error}");
        assert!(TransformerOptions::default().validate().is_ok());
    }
}
