//! The encoder of ModernBERT (Warner et al. 2024, arXiv:2412.13663): positions are rotations of
//! query and key (Su et al. 2021, arXiv:2104.09864), the layer between is gated, norms come first,
//! and most layers see their neighbourhood only.

use candle_core::{D, Result as Computed, Tensor};

use super::attention::attend;
use super::description::{Description, Rotations};
use super::kernels::{Activation, Norm, gated};
use super::pack::Pack;
use super::weights::{Linear, Weights};
use crate::error::Result;

pub struct Modern {
    words: Tensor,
    norm: Norm,
    layers: Vec<Layer>,
    last_norm: Norm,
    heads: usize,
    extent: usize,
    rotations: Rotations,
}

struct Layer {
    /// The first layer's input was just scaled.
    attention_norm: Option<Norm>,
    attention: Linear,
    attention_out: Linear,
    norm: Norm,
    wide: Linear,
    narrow: Linear,
    activation: Activation,
    sees_all: bool,
}

impl Modern {
    pub fn load(
        weights: &Weights<'_>,
        description: &Description,
        rotations: &Rotations,
    ) -> Result<Self> {
        let &Description { hidden, wide, epsilon, activation, heads, .. } = description;
        let below = weights.at("model");
        let weights = if below.has("embeddings.tok_embeddings.weight") { &below } else { weights };
        let layers = (0..description.layers)
            .map(|index| {
                let weights = weights.at("layers").at(&index.to_string());
                let norm = |name: &str| weights.at(name).norm_without_bias(hidden, epsilon);
                let linear =
                    |name: &str, rows, columns| weights.at(name).linear_without_bias(rows, columns);
                Ok(Layer {
                    attention_norm: (index > 0).then(|| norm("attn_norm")).transpose()?,
                    attention: linear("attn.Wqkv", 3 * hidden, hidden)?,
                    attention_out: linear("attn.Wo", hidden, hidden)?,
                    norm: norm("mlp_norm")?,
                    wide: linear("mlp.Wi", 2 * wide, hidden)?,
                    narrow: linear("mlp.Wo", hidden, wide)?,
                    activation,
                    sees_all: rotations.sees_all(index),
                })
            })
            .collect::<Result<_>>()?;
        let embeddings = weights.at("embeddings");
        Ok(Self {
            words: embeddings
                .at("tok_embeddings")
                .get("weight", &[description.vocabulary, hidden])?,
            norm: embeddings.at("norm").norm_without_bias(hidden, epsilon)?,
            layers,
            last_norm: weights.at("final_norm").norm_without_bias(hidden, epsilon)?,
            heads,
            extent: hidden / heads,
            rotations: rotations.clone(),
        })
    }

    /// The last hidden state of every token, `[tokens, hidden]`.
    pub fn run(&self, pack: &Pack) -> Computed<Tensor> {
        let ids = Tensor::from_slice(&pack.ids, pack.ids.len(), self.words.device())?;
        let mut x = self.norm.of(&self.words.index_select(&ids, 0)?)?;
        let everywhere = self.angles(pack, self.rotations.theta_all)?;
        let near = self.angles(pack, self.rotations.theta_near)?;
        for layer in &self.layers {
            let (angles, window) = match layer.sees_all {
                true => (&everywhere, None),
                false => (&near, Some(self.rotations.window)),
            };
            let normed = layer.attention_norm.as_ref().map_or(Ok(x.clone()), |n| n.of(&x))?;
            let joined = self.rotated(&layer.attention.product(&normed)?, angles)?;
            let attended = attend(&joined, &pack.blocks, self.heads, window)?;
            x = (x + layer.attention_out.product(&attended)?)?;
            let wide = layer.wide.product(&layer.norm.of(&x)?)?;
            x = (&x + layer.narrow.product(&gated(&wide, layer.activation)?)?)?;
        }
        self.last_norm.of(&x)
    }

    /// Cosine and sine of every token's angles, each `[tokens, 1, extent / 2]`.
    fn angles(&self, pack: &Pack, theta: f32) -> Computed<(Tensor, Tensor)> {
        let half = self.extent / 2;
        let slow = |index: usize| theta.powf(-2.0 * index as f32 / self.extent as f32);
        let slow: Vec<f32> = (0..half).map(slow).collect();
        let angle = |position: &u32| {
            let position = *position as f32;
            slow.iter().map(move |slow| position * slow)
        };
        let angles: Vec<f32> = pack.positions.iter().flat_map(angle).collect();
        let shape = (pack.positions.len(), 1, half);
        let angles = Tensor::from_vec(angles, shape, self.words.device())?;
        Ok((angles.cos()?, angles.sin()?))
    }

    /// Query and key turned by their tokens' angles; values stay as they are.
    fn rotated(&self, joined: &Tensor, (cos, sin): &(Tensor, Tensor)) -> Computed<Tensor> {
        let tokens = joined.dim(0)?;
        let hidden = joined.dim(D::Minus1)? / 3;
        let half = self.extent / 2;
        let turned = joined.narrow(1, 0, 2 * hidden)?.contiguous()?;
        let turned = turned.reshape((tokens, 2 * self.heads, self.extent))?;
        let (low, high) = (turned.narrow(2, 0, half)?, turned.narrow(2, half, half)?);
        let first = (low.broadcast_mul(cos)? - high.broadcast_mul(sin)?)?;
        let second = (high.broadcast_mul(cos)? + low.broadcast_mul(sin)?)?;
        let turned = Tensor::cat(&[first, second], 2)?.reshape((tokens, 2 * hidden))?;
        Tensor::cat(&[turned, joined.narrow(1, 2 * hidden, hidden)?], 1)
    }
}
