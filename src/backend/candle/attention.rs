//! Attention within each sequence of a pack (Vaswani et al. 2017, arXiv:1706.03762).

use candle_core::{D, Result as Computed, Tensor};

use super::kernels::scaled_softmax;
use super::pack::Block;

/// How much of one token another one takes: so many of these shares are held at once, 64 MB. A
/// sequence that has more, which grow with the square of its length, is computed a few tokens at a
/// time.
const SCORES_MAX: usize = 1 << 24;

/// Attends in every block. `joined` holds query, key and value of every token, one after another:
/// `[tokens, 3 * hidden]`; what comes back is `[tokens, hidden]`. With a window, a token sees those
/// that are at most that many places away.
pub fn attend(
    joined: &Tensor,
    blocks: &[Block],
    heads: usize,
    window: Option<usize>,
) -> Computed<Tensor> {
    let parts = blocks.iter().map(|block| within(joined, *block, heads, window, SCORES_MAX));
    concatenated(&parts.collect::<Computed<Vec<_>>>()?, 0)
}

fn within(
    joined: &Tensor,
    block: Block,
    heads: usize,
    window: Option<usize>,
    scores_max: usize,
) -> Computed<Tensor> {
    let Block { token, sequences, length } = block;
    let hidden = joined.dim(D::Minus1)? / 3;
    let extent = hidden / heads;
    let tokens = sequences * length;
    // Query, key and value, and of each one head after another.
    let parts = joined.narrow(0, token, tokens)?.reshape((sequences, length, 3, heads, extent))?;
    let parts = parts.permute((2, 0, 3, 1, 4))?.contiguous()?.flatten(1, 2)?;
    let (query, key, value) = (parts.get(0)?, parts.get(1)?.t()?, parts.get(2)?);
    let rows = (scores_max / (sequences * heads * length)).clamp(1, length);
    let out = (0..length).step_by(rows).map(|from| {
        let count = rows.min(length - from);
        let mut scores = query.narrow(1, from, count)?.matmul(&key)?;
        if let Some(window) = window.filter(|window| length > window + 1) {
            let far = |at: usize| (from + at / length).abs_diff(at % length) > window;
            let unseen = |at| if far(at) { f32::NEG_INFINITY } else { 0.0 };
            let unseen = Tensor::from_iter((0..count * length).map(unseen), joined.device())?;
            scores = scores.broadcast_add(&unseen.reshape((count, length))?)?;
        }
        scaled_softmax(&scores, (extent as f32).sqrt().recip())?.matmul(&value)
    });
    let out = concatenated(&out.collect::<Computed<Vec<_>>>()?, 1)?;
    let out = out.reshape((sequences, heads, length, extent))?;
    out.transpose(1, 2)?.contiguous()?.reshape((tokens, hidden))
}

/// A single part is not copied.
fn concatenated(parts: &[Tensor], axis: usize) -> Computed<Tensor> {
    match parts {
        [only] => Ok(only.clone()),
        parts => Tensor::cat(parts, axis),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn a_few_tokens_at_a_time_are_all_of_them() {
        let block = Block { token: 1, sequences: 3, length: 7 };
        let joined = Tensor::randn(0f32, 1.0, (22, 3 * 8), &Device::Cpu).unwrap();
        for window in [None, Some(2)] {
            let attended = |scores_max| within(&joined, block, 2, window, scores_max).unwrap();
            let whole = attended(SCORES_MAX);
            assert_eq!(whole.dims(), [21, 8]);
            for scores_max in [1, 2 * 3 * 2 * 7, 5 * 3 * 2 * 7] {
                let apart = (&whole - attended(scores_max)).unwrap().abs().unwrap();
                let apart: f32 = apart.max_all().unwrap().to_scalar().unwrap();
                assert!(apart < 1e-6, "{window:?} {scores_max}: {apart}");
            }
        }
    }
}
