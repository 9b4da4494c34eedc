//! What is seen of a version in one window of time: an accumulator per feature and output, in fixed
//! memory, without a clock or a lock; and raw values (`kept`), where there are some to compare
//! with.

use super::kept::{Kept, Room};
use super::slots::{Seen, Slots};
use super::{Feature, Profile, Side, reference};
use crate::error::Result;
use crate::model::contract::Contract;
use crate::stats::drift::{Accumulator, Scores, score};
use crate::tensor::Tensor;

/// Accumulators of one version.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    rows: u64,
    features: Watched,
    outputs: Watched,
    kept: Option<Kept>,
}

#[derive(Clone, Debug, PartialEq)]
struct Watched {
    slots: Slots,
    accumulators: Vec<Accumulator>,
}

/// One feature or output, and how it compares with training.
#[derive(Clone, Copy, Debug)]
pub struct FeatureScores<'a> {
    pub name: &'a str,
    pub accumulator: &'a Accumulator,
    /// `None` while nothing was seen.
    pub scores: Option<Scores>,
}

impl Watched {
    fn new(features: &[Feature], slots: Slots) -> Self {
        let pairs = features.iter().zip(&slots.list);
        let accumulators =
            pairs.map(|(feature, slot)| reference(feature, slot).accumulator()).collect();
        Self { slots, accumulators }
    }

    fn observe(&mut self, tensors: &[Tensor], mut room: Room<'_>) {
        let Self { slots, accumulators } = self;
        slots.read(tensors, |slot, row, value| {
            if let Some(accumulator) = accumulators.get_mut(slot) {
                match value {
                    Seen::Number(number) => {
                        accumulator.push(number);
                        room.put(slot, row, number);
                    }
                    Seen::Text(text) => accumulator.push_text(text),
                }
            }
        });
    }

    fn merge(&mut self, other: &Self) {
        let pairs = self.accumulators.iter_mut().zip(&other.accumulators);
        pairs.for_each(|(accumulator, other)| accumulator.merge(other));
    }

    fn scores(&self) -> impl Iterator<Item = FeatureScores<'_>> {
        self.slots.list.iter().zip(&self.accumulators).map(|(slot, accumulator)| FeatureScores {
            name: &slot.name,
            accumulator,
            scores: score(accumulator.reference(), accumulator),
        })
    }
}

impl Window {
    /// An empty window. The profile was parsed with this contract.
    pub fn new(profile: &Profile, contract: &Contract) -> Result<Self> {
        Ok(Self {
            rows: 0,
            features: Watched::new(&profile.features, profile.slots(contract, Side::Input)?),
            outputs: Watched::new(&profile.outputs, profile.slots(contract, Side::Output)?),
            kept: None,
        })
    }

    /// Keeps raw values of so many rows at most, too, if its profile has some to compare with.
    pub fn keeping(mut self, profile: &Profile, rows_max: usize) -> Self {
        let (inputs, outputs) = (&self.features.slots, &self.outputs.slots);
        self.kept = Kept::new(&profile.samples, inputs, outputs, rows_max);
        self
    }

    /// Sees quantiles of numeric features and outputs, too.
    pub fn sketching(mut self) -> Self {
        for watched in [&mut self.features, &mut self.outputs] {
            let all = std::mem::take(&mut watched.accumulators).into_iter();
            watched.accumulators = all.map(Accumulator::sketching).collect();
        }
        self
    }

    /// Before the tensors of a request whose raw values are to be kept: its rows, and a random key
    /// for each.
    pub fn make_room(&mut self, rows: usize, key: impl FnMut() -> u64) {
        if let Some(kept) = &mut self.kept {
            kept.make_room(rows, key);
        }
    }

    /// Gives away the raw values, and keeps those that come.
    pub fn take_kept(&mut self) -> Option<Kept> {
        self.kept.as_mut().map(Kept::take)
    }

    /// Rows whose raw values are kept at most; 0 where none are.
    pub fn rows_kept_max(&self) -> usize {
        self.kept.as_ref().map_or(0, Kept::rows_max)
    }

    /// Adds the inputs of one request, all of the signature's and in its order.
    pub fn observe_inputs(&mut self, tensors: &[Tensor]) {
        let room = self.kept.as_mut().map(|kept| kept.room(Side::Input));
        self.features.observe(tensors, room.unwrap_or_default());
    }

    /// Adds an answer: all outputs of the signature, in its order.
    pub fn observe_outputs(&mut self, tensors: &[Tensor]) {
        let room = self.kept.as_mut().map(|kept| kept.room(Side::Output));
        self.outputs.observe(tensors, room.unwrap_or_default());
    }

    /// Adds a record that has no value of this feature: one that a default filled in. Take the
    /// default itself out of what is observed, or it counts as a value.
    pub fn observe_missing(&mut self, feature: usize) {
        if let Some(accumulator) = self.features.accumulators.get_mut(feature) {
            accumulator.push_missing();
        }
    }

    /// Counts records, however many values they have.
    pub fn observe_rows(&mut self, rows: u64) {
        self.rows += rows;
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    pub(super) fn accumulators_mut(&mut self) -> (&mut [Accumulator], &mut [Accumulator]) {
        (&mut self.features.accumulators, &mut self.outputs.accumulators)
    }

    /// Adds what another window of the same profile has seen.
    pub fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.features.merge(&other.features);
        self.outputs.merge(&other.outputs);
        if let (Some(kept), Some(other)) = (&mut self.kept, &other.kept) {
            kept.merge(other);
        }
    }

    /// Forgets everything; the memory stays.
    pub fn reset(&mut self) {
        self.rows = 0;
        let all = self.features.accumulators.iter_mut().chain(&mut self.outputs.accumulators);
        all.for_each(Accumulator::reset);
        if let Some(kept) = &mut self.kept {
            kept.clear();
        }
    }

    pub fn feature_scores(&self) -> impl Iterator<Item = FeatureScores<'_>> {
        self.features.scores()
    }

    pub fn output_scores(&self) -> impl Iterator<Item = FeatureScores<'_>> {
        self.outputs.scores()
    }
}
