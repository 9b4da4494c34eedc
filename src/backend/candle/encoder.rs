//! The encoder of the BERT family: BERT, RoBERTa and its kin, DistilBERT. They are one architecture
//! with different names for its weights (Devlin et al. 2018, arXiv:1810.04805; Liu et al. 2019,
//! arXiv:1907.11692; Sanh et al. 2019, arXiv:1910.01108).
//!
//! It computes packed sequences, without padding: see `pack`.

use candle_core::{Result as Computed, Tensor};

use super::attention::attend;
use super::description::Description;
use super::kernels::{Activation, Norm, bias_activation};
use super::pack::{Block, Pack};
use super::weights::{Linear, Weights};
use crate::error::Result;

/// Where the weights of a family lie.
pub struct Names {
    /// Of the whole encoder, in a file that holds a head, too.
    prefix: &'static str,
    layers: &'static str,
    attention: [&'static str; 3],
    attention_out: &'static str,
    attention_norm: &'static str,
    wide: &'static str,
    narrow: &'static str,
    norm: &'static str,
}

pub const BERT: Names = Names {
    prefix: "bert",
    layers: "encoder.layer",
    attention: ["attention.self.query", "attention.self.key", "attention.self.value"],
    attention_out: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    wide: "intermediate.dense",
    narrow: "output.dense",
    norm: "output.LayerNorm",
};

pub const ROBERTA: Names = Names { prefix: "roberta", ..BERT };

pub const DISTILBERT: Names = Names {
    prefix: "distilbert",
    layers: "transformer.layer",
    attention: ["attention.q_lin", "attention.k_lin", "attention.v_lin"],
    attention_out: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    wide: "ffn.lin1",
    narrow: "ffn.lin2",
    norm: "output_layer_norm",
};

pub struct Encoder {
    words: Tensor,
    positions: Tensor,
    /// What every token gets that belongs to the first segment; here there is no other.
    segment: Option<Tensor>,
    norm: Norm,
    layers: Vec<Layer>,
    /// Added to every position.
    position_offset: u32,
}

struct Layer {
    attention: Linear,
    attention_out: Linear,
    attention_norm: Norm,
    wide: Linear,
    narrow: Linear,
    norm: Norm,
    activation: Activation,
    heads: usize,
}

impl Encoder {
    pub fn load(weights: &Weights<'_>, description: &Description, names: &Names) -> Result<Self> {
        let below = weights.at(names.prefix);
        let weights = if below.has("embeddings.word_embeddings.weight") { &below } else { weights };
        let hidden = description.hidden;
        let embeddings = weights.at("embeddings");
        let table = |name, rows| embeddings.at(name).get("weight", &[rows, hidden]);
        let segment = match description.segments {
            0 => None,
            segments => {
                let table = table("token_type_embeddings", segments)?;
                Some(table.narrow(0, 0, 1).map_err(|e| super::load_error(super::NAME, e))?)
            }
        };
        let layers = (0..description.layers)
            .map(|index| {
                let weights = weights.at(names.layers).at(&index.to_string());
                Layer::load(&weights, names, description)
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            words: table("word_embeddings", description.vocabulary)?,
            positions: table("position_embeddings", description.positions)?,
            segment,
            norm: embeddings.at("LayerNorm").norm(hidden, description.epsilon)?,
            layers,
            position_offset: description.position_offset,
        })
    }

    /// The last hidden state of every token, `[tokens, hidden]`.
    pub fn run(&self, pack: &Pack) -> Computed<Tensor> {
        let device = self.words.device();
        let ids = Tensor::from_slice(&pack.ids, pack.ids.len(), device)?;
        let offset = |position: &u32| position.saturating_add(self.position_offset);
        let positions: Vec<u32> = pack.positions.iter().map(offset).collect();
        let positions = Tensor::from_vec(positions, pack.ids.len(), device)?;
        let words = self.words.index_select(&ids, 0)?;
        let mut x = (words + self.positions.index_select(&positions, 0)?)?;
        if let Some(segment) = &self.segment {
            x = x.broadcast_add(segment)?;
        }
        let mut x = self.norm.of(&x)?;
        for layer in &self.layers {
            x = layer.run(&x, &pack.blocks)?;
        }
        Ok(x)
    }
}

impl Layer {
    fn load(weights: &Weights<'_>, names: &Names, description: &Description) -> Result<Self> {
        let &Description { hidden, wide, epsilon, activation, heads, .. } = description;
        Ok(Self {
            attention: weights.joined(&names.attention, hidden, hidden)?,
            attention_out: weights.at(names.attention_out).linear(hidden, hidden)?,
            attention_norm: weights.at(names.attention_norm).norm(hidden, epsilon)?,
            wide: weights.at(names.wide).linear(wide, hidden)?,
            narrow: weights.at(names.narrow).linear(hidden, wide)?,
            norm: weights.at(names.norm).norm(hidden, epsilon)?,
            activation,
            heads,
        })
    }

    fn run(&self, x: &Tensor, blocks: &[Block]) -> Computed<Tensor> {
        let attended = attend(&self.attention.of(x)?, blocks, self.heads, None)?;
        let out = self.attention_out.product(&attended)?;
        let x = self.attention_norm.of_sum(&out, &self.attention_out.bias, x)?;
        let wide = bias_activation(&self.wide.product(&x)?, &self.wide.bias, self.activation)?;
        self.norm.of_sum(&self.narrow.product(&wide)?, &self.narrow.bias, &x)
    }
}
