//! What stands behind the encoder: one vector for a text, or the numbers of a classifier.

use candle_core::{Result as Computed, Tensor};

use super::description::{Answers, Description, Family, Task};
use super::kernels::{Activation, Norm, bias_activation};
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
    /// One vector of each sequence, to one number for each class.
    Sequence {
        pooling: Pooling,
        between: Between,
        out: Linear,
    },
    /// The same for every token.
    Token {
        between: Between,
        out: Linear,
    },
}

/// What is between the encoder and the classes.
pub enum Between {
    Nothing,
    Dense(Linear, Activation),
    /// With a norm behind it.
    Normed(Linear, Activation, Norm),
}

impl Between {
    fn modern(weights: &Weights<'_>, description: &Description) -> Result<Self> {
        let &Description { hidden, activation, epsilon, .. } = description;
        let head = weights.at("head");
        let dense = head.at("dense").linear_without_bias(hidden, hidden)?;
        Ok(Between::Normed(dense, activation, head.at("norm").norm_without_bias(hidden, epsilon)?))
    }

    fn run(&self, x: &Tensor) -> Computed<Tensor> {
        let turned = |dense: &Linear, activation| {
            bias_activation(&dense.product(x)?, &dense.bias, activation)
        };
        match self {
            Between::Nothing => Ok(x.clone()),
            Between::Dense(dense, activation) => turned(dense, *activation),
            Between::Normed(dense, activation, norm) => norm.of(&turned(dense, *activation)?),
        }
    }
}

impl Head {
    pub fn load(weights: &Weights<'_>, description: &Description) -> Result<Self> {
        let hidden = description.hidden;
        let layer = |name: &str, rows| weights.at(name).linear(rows, hidden);
        Ok(match &description.task {
            &Task::Embedding { pooling, normalize } => Head::Embedding { pooling, normalize },
            Task::Sequence(answers) => {
                let (pooling, between, out) = match &description.family {
                    Family::Bert => {
                        let dense = layer("bert.pooler.dense", hidden)?;
                        (Pooling::Cls, Between::Dense(dense, Activation::Tanh), "classifier")
                    }
                    Family::Roberta => {
                        let dense = layer("classifier.dense", hidden)?;
                        let between = Between::Dense(dense, Activation::Tanh);
                        (Pooling::Cls, between, "classifier.out_proj")
                    }
                    Family::DistilBert => {
                        let dense = layer("pre_classifier", hidden)?;
                        (Pooling::Cls, Between::Dense(dense, Activation::Relu), "classifier")
                    }
                    Family::ModernBert(rotations) => {
                        (rotations.pooling, Between::modern(weights, description)?, "classifier")
                    }
                    Family::Vit(_) => (Pooling::Cls, Between::Nothing, "classifier"),
                };
                Head::Sequence { pooling, between, out: layer(out, answers.count())? }
            }
            Task::Token(labels) => {
                let between = match &description.family {
                    Family::ModernBert(_) => Between::modern(weights, description)?,
                    _ => Between::Nothing,
                };
                Head::Token { between, out: layer("classifier", labels.len())? }
            }
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
            Head::Sequence { pooling, between, out } => {
                out.of(&between.run(&pooled(states, pack, *pooling)?)?)
            }
            Head::Token { between, out } => out.of(&between.run(states)?),
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
