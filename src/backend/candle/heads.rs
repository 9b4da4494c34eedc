//! What stands behind the encoder: one vector for a text, or the numbers of a classifier.

use candle_core::{Result as Computed, Tensor};

use super::description::{Answers, Description, Family, Task};
use super::kernels::{Activation, bias_activation};
use super::pack::{Block, Pack};
use super::weights::{Linear, Weights};
use crate::error::Result;
use crate::model::transformer::Pooling;

/// A head with its weights.
pub enum Head {
    Embedding {
        pooling: Pooling,
        normalize: bool,
    },
    /// The first token's numbers, through one more layer, to one number for each class.
    Sequence {
        dense: Option<(Linear, Activation)>,
        out: Linear,
    },
    Token {
        out: Linear,
    },
}

impl Head {
    pub fn load(weights: &Weights<'_>, description: &Description) -> Result<Self> {
        let hidden = description.hidden;
        let layer = |name: &str, rows| weights.at(name).linear(rows, hidden);
        Ok(match &description.task {
            &Task::Embedding { pooling, normalize } => Head::Embedding { pooling, normalize },
            Task::Sequence(answers) => {
                let count = answers.count();
                let (dense, out) = match description.family {
                    Family::Bert => {
                        ((layer("bert.pooler.dense", hidden)?, Activation::Tanh), "classifier")
                    }
                    Family::Roberta => (
                        (layer("classifier.dense", hidden)?, Activation::Tanh),
                        "classifier.out_proj",
                    ),
                    Family::DistilBert => {
                        ((layer("pre_classifier", hidden)?, Activation::Relu), "classifier")
                    }
                };
                Head::Sequence { dense: Some(dense), out: layer(out, count)? }
            }
            Task::Token(labels) => Head::Token { out: layer("classifier", labels.len())? },
        })
    }

    /// One row for each sequence of the pack in its order; for tokens, one for each token.
    pub fn run(&self, states: &Tensor, pack: &Pack) -> Computed<Tensor> {
        match self {
            Head::Embedding { pooling, normalize } => {
                let pooled = pooled(states, pack, *pooling)?;
                if !normalize {
                    return Ok(pooled);
                }
                // As the library does it: a vector of zeros stays one.
                let length = pooled.sqr()?.sum_keepdim(1)?.sqrt()?.clamp(1e-12, f32::INFINITY)?;
                pooled.broadcast_div(&length)
            }
            Head::Sequence { dense, out } => {
                let mut first = pooled(states, pack, Pooling::Cls)?;
                if let Some((dense, activation)) = dense {
                    first = bias_activation(&dense.product(&first)?, &dense.bias, *activation)?;
                }
                out.of(&first)
            }
            Head::Token { out } => out.of(states),
        }
    }
}

impl Answers {
    pub fn count(&self) -> usize {
        match self {
            Answers::One(labels) | Answers::Many(labels) => labels.len(),
            Answers::Scores(count) => *count,
        }
    }
}

fn pooled(states: &Tensor, pack: &Pack, pooling: Pooling) -> Computed<Tensor> {
    let parts = pack.blocks.iter().map(|&Block { token, sequences, length }| {
        let states = states.narrow(0, token, sequences * length)?;
        let states = states.reshape((sequences, length, ()))?;
        match pooling {
            Pooling::Cls => states.narrow(1, 0, 1)?.squeeze(1),
            Pooling::Mean => states.mean(1),
            Pooling::Max => states.max(1),
        }
    });
    Tensor::cat(&parts.collect::<Computed<Vec<_>>>()?, 0)
}
