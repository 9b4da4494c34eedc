//! From texts to token sequences, with the tokenizer that the version brings along.
//!
//! What a tokenizer file says of truncation and padding is not used: how long a sequence may be is
//! the model's business, and padding nobody's.

use std::ops::Range;

use tokenizers::{Tokenizer, TruncationParams};

use super::description::{Description, Files, TOKENIZER, Task};
use super::pack::Sequence;
use crate::error::{Error, Result};
use crate::tensor::{Tensor, strings};

/// Bytes of one text, which bound the work before its tokens are counted.
const TEXT_BYTES_MAX: usize = 1 << 20;

pub struct Texts {
    tokenizer: Tokenizer,
    tokens_max: usize,
    lower_case: bool,
    /// Whether anybody asks where in the text a token stands.
    with_places: bool,
}

/// One text as tokens, and where in it each came from.
pub struct Tokenized {
    pub sequence: Sequence,
    /// Bytes of the text, empty for special tokens; nothing where nobody asks.
    pub places: Vec<Range<usize>>,
}

impl Texts {
    pub fn load(files: &Files, description: &Description, truncate: bool) -> Result<Self> {
        let refused = |error: &dyn std::fmt::Display| {
            super::load_error(super::NAME, format!("{TOKENIZER}: {error}"))
        };
        let file = files.get(TOKENIZER).ok_or_else(|| {
            Error::invalid(format!(
                "candle can not load the model: expected {TOKENIZER} beside the weights for text; \
                 without it, set transformer.input = \"tokens\""
            ))
        })?;
        let mut tokenizer = Tokenizer::from_bytes(file).map_err(|error| refused(&error))?;
        let vocabulary = tokenizer.get_vocab_size(true);
        if vocabulary > description.vocabulary {
            return Err(refused(&format!(
                "it has {vocabulary} tokens, more than the {} of the model",
                description.vocabulary
            )));
        }
        tokenizer.with_padding(None);
        let tokens_max = description.tokens_max;
        let special = tokenizer.encode_fast("", true).map_err(|error| refused(&error))?.len();
        if tokens_max <= special {
            return Err(Error::invalid(format!(
                "transformer.tokens_max is {tokens_max}: expected more than the {special} special \
                 tokens of a text"
            )));
        }
        let cut =
            truncate.then(|| TruncationParams { max_length: tokens_max, ..Default::default() });
        tokenizer.with_truncation(cut).map_err(|error| refused(&error))?;
        let with_places = matches!(description.task, Task::Token(_));
        Ok(Self { tokenizer, tokens_max, lower_case: description.lower_case, with_places })
    }

    /// The texts of a BYTES tensor.
    pub fn tokenize(&self, texts: &Tensor) -> Result<Vec<Tokenized>> {
        let texts = strings::elements(texts.data()).enumerate();
        texts.map(|(index, text)| self.one(index, text.unwrap_or_default())).collect()
    }

    fn one(&self, index: usize, text: &[u8]) -> Result<Tokenized> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Error::invalid(format!(
                "input 'text': element {index} has {} bytes, more than the limit of \
                 {TEXT_BYTES_MAX}",
                text.len()
            )));
        }
        let text = str::from_utf8(text).map_err(|_| {
            Error::invalid(format!("input 'text': element {index} is not valid UTF-8"))
        })?;
        let lower = self.lower_case.then(|| text.to_lowercase());
        let text = lower.as_deref().unwrap_or(text);
        let encoding = match self.with_places {
            true => self.tokenizer.encode(text, true),
            false => self.tokenizer.encode_fast(text, true),
        };
        let encoding = encoding.map_err(|error| {
            Error::internal("the model's tokenizer failed on this input").with_detail(error)
        })?;
        if encoding.len() > self.tokens_max {
            return Err(Error::invalid(format!(
                "input 'text': element {index} has {} tokens, more than the {} that the model \
                 takes; shorten it, or have it cut with transformer.truncate = true",
                encoding.len(),
                self.tokens_max
            )));
        }
        let special = encoding.get_special_tokens_mask();
        let places = encoding.get_offsets().iter().zip(special).filter(|_| self.with_places);
        let places = places
            .map(|(&(start, end), &special)| if special == 0 { start..end } else { 0..0 })
            .collect();
        Ok(Tokenized { sequence: Sequence::new(encoding.get_ids().to_vec()), places })
    }
}
