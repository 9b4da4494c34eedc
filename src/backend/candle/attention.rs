//! Attention within each sequence of a pack (Vaswani et al. 2017, arXiv:1706.03762).

use candle_core::{D, Result as Computed, Tensor};

use super::kernels::scaled_softmax;
use super::pack::Block;

/// Attends in every block. `joined` holds query, key and value of every token, one after another:
/// `[tokens, 3 * hidden]`; what comes back is `[tokens, hidden]`. With a window, a token sees those
/// that are at most that many places away.
pub fn attend(
    joined: &Tensor,
    blocks: &[Block],
    heads: usize,
    window: Option<usize>,
) -> Computed<Tensor> {
    let parts = blocks.iter().map(|block| within(joined, *block, heads, window));
    let parts = parts.collect::<Computed<Vec<_>>>()?;
    match parts.as_slice() {
        [only] => Ok(only.clone()),
        parts => Tensor::cat(parts, 0),
    }
}

fn within(joined: &Tensor, block: Block, heads: usize, window: Option<usize>) -> Computed<Tensor> {
    let Block { token, sequences, length } = block;
    let hidden = joined.dim(D::Minus1)? / 3;
    let extent = hidden / heads;
    let tokens = sequences * length;
    let part = |index: usize| {
        let part = joined.narrow(0, token, tokens)?.narrow(1, index * hidden, hidden)?;
        // One head after another: [sequences * heads, length, extent].
        let part = part.contiguous()?.reshape((sequences, length, heads, extent))?;
        part.transpose(1, 2)?.contiguous()?.flatten(0, 1)
    };
    let (query, key, value) = (part(0)?, part(1)?, part(2)?);
    let mut scores = query.matmul(&key.t()?)?;
    if let Some(window) = window.filter(|window| length > window + 1) {
        let far = |at: usize| (at / length).abs_diff(at % length) > window;
        let hidden = (0..length * length).map(|at| if far(at) { f32::NEG_INFINITY } else { 0.0 });
        let hidden = Tensor::from_iter(hidden, joined.device())?.reshape((length, length))?;
        scores = scores.broadcast_add(&hidden)?;
    }
    let shares = scaled_softmax(&scores, (extent as f32).sqrt().recip())?;
    let out = shares.matmul(&value)?.reshape((sequences, heads, length, extent))?;
    out.transpose(1, 2)?.contiguous()?.reshape((tokens, hidden))
}
