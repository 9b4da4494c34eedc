//! Raw values of one window, for a profile that has samples to compare them with: a uniform sample
//! of its rows, which is all of them up to a limit. It ends with its window, and is in no file.

use std::collections::HashMap;
use std::sync::Arc;

use super::projection::{Side, score_name};
use super::samples::Samples;
use super::slots::Slots;
use crate::stats::reservoir::Reservoir;

/// Numbers that one window keeps, of all features: 8 MiB. With more features, it keeps fewer rows.
pub const VALUES_MAX: usize = 1 << 20;

/// The rows that are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    layout: Arc<Layout>,
    reservoir: Reservoir,
    /// By row of the request that is being observed: where it begins, or [`NOWHERE`].
    starts: Vec<usize>,
}

/// Beyond every number that is kept, and small enough that two of it add up.
const NOWHERE: usize = usize::MAX / 2;

/// Where in a row what is kept.
#[derive(Debug, Default, PartialEq)]
struct Layout {
    /// By slot: its column, or [`NOWHERE`].
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    width: usize,
    /// By sample of the profile, of columns and of vectors.
    samples: Vec<usize>,
    vectors: Vec<Vec<usize>>,
}

impl Layout {
    /// `None` where the samples are of other slots than these.
    fn new(samples: &Samples, inputs: &Slots, outputs: &Slots) -> Option<Self> {
        let slots = |side: Side, slots: &Slots| -> HashMap<(Side, String), usize> {
            let list = slots.list.iter().enumerate();
            list.map(|(place, slot)| ((side, slot.name.clone()), place)).collect()
        };
        let mut places = slots(Side::Input, inputs);
        places.extend(slots(Side::Output, outputs));
        let mut layout = Self {
            inputs: vec![NOWHERE; inputs.list.len()],
            outputs: vec![NOWHERE; outputs.list.len()],
            ..Self::default()
        };
        for sample in &samples.columns {
            let column =
                layout.column(sample.of, *places.get(&(sample.of, sample.name.clone()))?)?;
            layout.samples.push(column);
        }
        for sample in &samples.vectors {
            let scores = 0..sample.rows.first().map_or(0, Vec::len);
            let column = |score: usize| {
                let place = places.get(&(sample.of, score_name(&sample.name, score)))?;
                layout.column(sample.of, *place)
            };
            let columns = scores.map(column).collect::<Option<_>>()?;
            layout.vectors.push(columns);
        }
        Some(layout)
    }

    /// The column of a slot, which it gets now if it has none.
    fn column(&mut self, side: Side, place: usize) -> Option<usize> {
        let slots = match side {
            Side::Input => &mut self.inputs,
            Side::Output => &mut self.outputs,
        };
        let column = slots.get_mut(place)?;
        if *column == NOWHERE {
            *column = self.width;
            self.width += 1;
        }
        Some(*column)
    }
}

/// Where the values of a request go. Made for the path of requests: a value costs two look-ups and
/// an addition, and one that is not kept falls out of bounds.
#[derive(Default)]
pub(super) struct Room<'a> {
    columns: &'a [usize],
    starts: &'a [usize],
    numbers: &'a mut [f64],
}

impl Room<'_> {
    /// Takes in a value, if it is kept.
    #[inline]
    pub(super) fn put(&mut self, slot: usize, row: usize, value: f64) {
        if let (Some(column), Some(start)) = (self.columns.get(slot), self.starts.get(row))
            && let Some(number) = self.numbers.get_mut(start + column)
        {
            *number = value;
        }
    }
}

impl Kept {
    /// Of slots that these samples were checked against, and of so many rows at most. `None` where
    /// there is nothing to keep.
    pub fn new(
        samples: &Samples,
        inputs: &Slots,
        outputs: &Slots,
        rows_max: usize,
    ) -> Option<Self> {
        let layout = Layout::new(samples, inputs, outputs).filter(|layout| layout.width > 0)?;
        let rows_max = rows_max.min(VALUES_MAX / layout.width);
        let reservoir = Reservoir::new(layout.width, rows_max);
        (rows_max > 0).then(|| Self { layout: Arc::new(layout), reservoir, starts: Vec::new() })
    }

    /// Makes room for the rows of a request, whose values come next. Where a later row takes the
    /// place of an earlier one, it sets all that this one has set: both are of the same tensors.
    pub(super) fn make_room(&mut self, rows: usize, mut key: impl FnMut() -> u64) {
        let Self { reservoir, starts, .. } = self;
        starts.clear();
        starts.extend((0..rows).map(|_| reservoir.place(key()).unwrap_or(NOWHERE)));
    }

    /// What there was made room for, of inputs or of outputs.
    pub(super) fn room(&mut self, side: Side) -> Room<'_> {
        let columns = match side {
            Side::Input => &self.layout.inputs,
            Side::Output => &self.layout.outputs,
        };
        Room { columns, starts: &self.starts, numbers: self.reservoir.numbers_mut() }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.reservoir.merge(&other.reservoir);
    }

    /// Forgets all rows; their memory stays. That of starts goes: a request may be any size.
    pub(super) fn clear(&mut self) {
        self.reservoir.clear();
        self.starts = Vec::new();
    }

    /// Gives away all rows, and begins anew.
    pub(super) fn take(&mut self) -> Self {
        let (layout, reservoir) = (Arc::clone(&self.layout), self.reservoir.take());
        Self { layout, reservoir, starts: Vec::new() }
    }

    pub fn rows_max(&self) -> usize {
        self.reservoir.rows_max()
    }

    /// Rows that are kept.
    pub fn rows(&self) -> usize {
        self.reservoir.len()
    }

    pub fn is_empty(&self) -> bool {
        self.reservoir.is_empty()
    }

    /// Values for each sample of a column; NaN where a row has none.
    pub(super) fn columns(&self) -> impl Iterator<Item = Vec<f64>> {
        let rows: Vec<&[f64]> = self.reservoir.rows().collect();
        self.layout
            .samples
            .iter()
            .map(move |&column| rows.iter().filter_map(|row| row.get(column).copied()).collect())
    }

    /// Rows of scores for each sample of a vector, in row-major order; those that are finite.
    pub(super) fn vectors(&self) -> impl Iterator<Item = Vec<f64>> {
        let rows: Vec<&[f64]> = self.reservoir.rows().collect();
        self.layout.vectors.iter().map(move |columns| {
            let scores = |row: &&[f64]| -> Option<Vec<f64>> {
                let score = |&column: &usize| row.get(column).copied().filter(|x| x.is_finite());
                columns.iter().map(score).collect()
            };
            rows.iter().filter_map(scores).flatten().collect()
        })
    }
}
