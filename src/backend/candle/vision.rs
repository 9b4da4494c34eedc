//! The vision transformer (Dosovitskiy et al. 2020, arXiv:2010.11929): a picture is a sequence of
//! patches behind one token that stands for the whole.
//!
//! It takes pixels as the model was trained on them; scaling pictures is the caller's.

use candle_core::{Result as Computed, Tensor};

use super::attention::attend;
use super::description::{Description, Image};
use super::kernels::{Activation, Norm, bias_activation};
use super::pack::{Block, Pack};
use super::weights::{Linear, Weights};
use crate::error::Result;

pub struct Vision {
    image: Image,
    patches: Linear,
    first: Tensor,
    positions: Tensor,
    layers: Vec<Layer>,
    last_norm: Norm,
    heads: usize,
}

struct Layer {
    attention_norm: Norm,
    attention: Linear,
    attention_out: Linear,
    norm: Norm,
    wide: Linear,
    narrow: Linear,
    activation: Activation,
}

impl Vision {
    pub fn load(weights: &Weights<'_>, description: &Description, image: Image) -> Result<Self> {
        let &Description { hidden, wide, epsilon, activation, heads, .. } = description;
        let Image { patch, channels, .. } = image;
        let below = weights.at("vit");
        let weights = if below.has("embeddings.cls_token") { &below } else { weights };
        let layers = (0..description.layers)
            .map(|index| {
                let weights = weights.at("encoder.layer").at(&index.to_string());
                let names = ["query", "key", "value"].map(|n| format!("attention.attention.{n}"));
                let names = names.each_ref().map(String::as_str);
                Ok(Layer {
                    attention_norm: weights.at("layernorm_before").norm(hidden, epsilon)?,
                    attention: weights.joined(&names, hidden, hidden)?,
                    attention_out: weights.at("attention.output.dense").linear(hidden, hidden)?,
                    norm: weights.at("layernorm_after").norm(hidden, epsilon)?,
                    wide: weights.at("intermediate.dense").linear(wide, hidden)?,
                    narrow: weights.at("output.dense").linear(hidden, wide)?,
                    activation,
                })
            })
            .collect::<Result<_>>()?;
        let embeddings = weights.at("embeddings");
        let projection = embeddings.at("patch_embeddings.projection");
        Ok(Self {
            image,
            patches: projection.convolution(hidden, [channels, patch, patch])?,
            first: embeddings.get("cls_token", &[1, 1, hidden])?,
            positions: embeddings.get("position_embeddings", &[1, image.patches() + 1, hidden])?,
            layers,
            last_norm: weights.at("layernorm").norm(hidden, epsilon)?,
            heads,
        })
    }

    /// Pictures `[count, channels, size, size]` as a pack, and the last hidden state of each patch.
    pub fn run(&self, pixels: Vec<f32>, count: usize) -> Computed<(Pack, Tensor)> {
        let Image { size, patch, channels } = self.image;
        let side = size / patch;
        let device = self.first.device();
        let shape = [count, channels, side, patch, side, patch];
        let patches = Tensor::from_vec(pixels, &shape[..], device)?;
        // Patch by patch, and in each channel by channel, as the weights are.
        let patches = patches.permute([0, 2, 4, 1, 3, 5])?.contiguous()?;
        let patches = patches.reshape((count * side * side, channels * patch * patch))?;
        let patches = self.patches.of(&patches)?.reshape((count, side * side, ()))?;
        let hidden = patches.dim(2)?;
        let first = self.first.broadcast_as((count, 1, hidden))?;
        let x = Tensor::cat(&[&first.contiguous()?, &patches], 1)?;
        let length = side * side + 1;
        let mut x = x.broadcast_add(&self.positions)?.reshape((count * length, hidden))?;
        let blocks = vec![Block { token: 0, sequences: count, length }];
        for layer in &self.layers {
            let joined = layer.attention.of(&layer.attention_norm.of(&x)?)?;
            let attended = attend(&joined, &blocks, self.heads, None)?;
            x = (x + layer.attention_out.of(&attended)?)?;
            let wide = layer.wide.product(&layer.norm.of(&x)?)?;
            let wide = bias_activation(&wide, &layer.wide.bias, layer.activation)?;
            x = (&x + layer.narrow.of(&wide)?)?;
        }
        let order = (0..count).collect();
        let pack = Pack { order, ids: Vec::new(), positions: Vec::new(), blocks };
        Ok((pack, self.last_norm.of(&x)?))
    }
}
