//! How token sequences of different lengths are computed together without padding: their tokens
//! lie one after another, the short sequences first, and sequences of one length make a block, in
//! which attention is one multiplication. Everything but attention looks at single tokens and does
//! not care. (Transformer Engine and FasterTransformer call this "effective" or "packed" input.)
//!
//! Pure: numbers in, numbers out.

use std::ops::Range;

/// One sequence: the tokens that count, and where in their text each stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    pub ids: Vec<u32>,
    pub positions: Vec<u32>,
}

impl Sequence {
    /// Tokens at positions 0, 1, 2...
    pub fn new(ids: Vec<u32>) -> Self {
        let positions = (0..).take(ids.len()).collect();
        Self { ids, positions }
    }
}

/// Sequences of equal length that lie next to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Position of its first token.
    pub token: usize,
    pub sequences: usize,
    /// Tokens of each sequence.
    pub length: usize,
}

/// What one pass through the model computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pack {
    /// Indices of the sequences in the order in which they lie.
    pub order: Vec<usize>,
    pub ids: Vec<u32>,
    pub positions: Vec<u32>,
    pub blocks: Vec<Block>,
}

impl Pack {
    /// The tokens of every sequence, by its place in `order`.
    pub fn spans(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.blocks.iter().flat_map(|block| {
            let start = |index| block.token + index * block.length;
            (0..block.sequences).map(move |index| start(index)..start(index + 1))
        })
    }
}

/// Passes over all sequences, each of at most `tokens_max` tokens; a sequence longer than that has
/// a pass of its own. Empty sequences are in none.
pub fn pack(sequences: &[&Sequence], tokens_max: usize) -> Vec<Pack> {
    let mut order: Vec<usize> =
        (0..sequences.len()).filter(|&index| !sequences[index].ids.is_empty()).collect();
    // Stable: equal requests are computed in the order in which they came.
    order.sort_by_key(|&index| sequences[index].ids.len());
    let mut packs: Vec<Pack> = Vec::new();
    for index in order {
        let Sequence { ids, positions } = sequences[index];
        let fits = |pack: &&mut Pack| pack.ids.len() + ids.len() <= tokens_max;
        let pack = match packs.last_mut().filter(fits) {
            Some(pack) => pack,
            None => {
                let (order, blocks) = (Vec::new(), Vec::new());
                packs.push(Pack { order, ids: Vec::new(), positions: Vec::new(), blocks });
                let Some(pack) = packs.last_mut() else { return packs };
                pack
            }
        };
        match pack.blocks.last_mut().filter(|block| block.length == ids.len()) {
            Some(block) => block.sequences += 1,
            None => {
                let token = pack.ids.len();
                pack.blocks.push(Block { token, sequences: 1, length: ids.len() });
            }
        }
        pack.order.push(index);
        pack.ids.extend_from_slice(ids);
        pack.positions.extend_from_slice(positions);
    }
    packs
}

/// The tokens that a mask lets through, row by row: padding is not computed, wherever it stands.
/// `None` where a mask is not 0 and 1, or an id is no index.
pub fn unpad(ids: &[i64], mask: &[i64], [rows, columns]: [usize; 2]) -> Option<Vec<Sequence>> {
    let row = |index: usize| {
        let range = index * columns..(index + 1) * columns;
        let (ids, mask) = (ids.get(range.clone())?, mask.get(range)?);
        let mut sequence = Sequence::default();
        for (position, (&id, &mask)) in (0..).zip(ids.iter().zip(mask)) {
            match mask {
                0 => {}
                1 => {
                    sequence.ids.push(u32::try_from(id).ok()?);
                    sequence.positions.push(position);
                }
                _ => return None,
            }
        }
        Some(sequence)
    };
    (0..rows).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of_length(length: usize) -> Sequence {
        Sequence::new((0..u32::try_from(length).unwrap()).collect())
    }

    fn refs(sequences: &[Sequence]) -> Vec<&Sequence> {
        sequences.iter().collect()
    }

    #[test]
    fn equal_lengths_share_a_block_and_short_ones_come_first() {
        let sequences: Vec<_> = [3, 1, 3, 2].into_iter().map(of_length).collect();
        let packs = pack(&refs(&sequences), 100);
        assert_eq!(packs.len(), 1);
        assert_eq!(packs[0].order, [1, 3, 0, 2]);
        assert_eq!(packs[0].ids, [0, 0, 1, 0, 1, 2, 0, 1, 2]);
        let block = |token, sequences, length| Block { token, sequences, length };
        assert_eq!(packs[0].blocks, [block(0, 1, 1), block(1, 1, 2), block(3, 2, 3)]);
    }

    #[test]
    fn a_mask_leaves_out_padding_and_keeps_positions() {
        let rows = unpad(&[7, 8, 0, 0, 5, 6], &[1, 1, 0, 0, 1, 1], [2, 3]).unwrap();
        assert_eq!(rows[0], Sequence { ids: vec![7, 8], positions: vec![0, 1] });
        assert_eq!(rows[1], Sequence { ids: vec![5, 6], positions: vec![1, 2] });
        assert_eq!(unpad(&[7], &[2], [1, 1]), None);
        assert_eq!(unpad(&[-1], &[1], [1, 1]), None);
        assert_eq!(unpad(&[-1], &[0], [1, 1]), Some(vec![Sequence::default()]));
        assert_eq!(unpad(&[], &[], [2, 0]), Some(vec![Sequence::default(); 2]));
    }

    proptest! {
        #[test]
        fn every_token_is_in_one_pass_within_the_budget(
            lengths in proptest::collection::vec(0usize..40, 0..60),
            budget in 1usize..120,
        ) {
            let sequences: Vec<_> = lengths.iter().map(|&length| of_length(length)).collect();
            let packs = pack(&refs(&sequences), budget);
            let mut seen: Vec<usize> =
                packs.iter().flat_map(|pack| pack.order.iter().copied()).collect();
            for pack in &packs {
                prop_assert!(pack.ids.len() <= budget || pack.order.len() == 1);
                let spans: Vec<_> = pack.spans().collect();
                prop_assert_eq!(spans.len(), pack.order.len());
                for (&index, span) in pack.order.iter().zip(spans) {
                    prop_assert_eq!(&pack.ids[span.clone()], &sequences[index].ids[..]);
                    prop_assert_eq!(&pack.positions[span], &sequences[index].positions[..]);
                }
            }
            seen.sort_unstable();
            let wanted: Vec<_> = (0..lengths.len()).filter(|&index| lengths[index] > 0).collect();
            prop_assert_eq!(seen, wanted);
        }
    }
}
