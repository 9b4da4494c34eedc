//! A profile from rows.
//!
//! What keeps it from disclosing anybody: it needs [`ROWS_MIN`] rows; a bin with fewer than
//! [`COUNT_MIN`] is merged with its neighbour; a category with fewer is counted as other, without
//! its name, and other too, like missing values, is 0 where there are fewer; extremes are rounded
//! outwards to a twentieth of their distance; group means are of so many rows at least. What is
//! left are aggregates of single features: no row can be put together from them. What vectors are
//! reduced by has rules of its own (`projection`), and so have raw values, for those who ask for
//! them (`samples`).

use std::collections::{BTreeMap, HashSet};

use super::projection::{Projection, Side, Vector};
use super::samples::{Sampler, Samples};
use super::slots::{Seen, Slot, Slots, Take};
use super::{
    Bins, CATEGORIES_MAX, Categorical, Category, Feature, Numeric, Rule, numeric_fault, wrong,
};
use crate::error::{Error, Result};
use crate::stats::bins::{Edges, decile_edges, merge_small, value_edges};
use crate::stats::categories::NAME_BYTES_MAX;
use crate::stats::moments::Moments;
use crate::tensor::Tensor;

/// Least rows that a profile is made from.
pub const ROWS_MIN: u64 = 50;
/// Least rows behind any count.
pub const COUNT_MIN: u64 = 5;

/// Up to so many distinct values, each has its bin.
const VALUES_MAX: usize = 10;
const GROUPS_MAX: usize = 100;
/// Distinct texts of one feature that are counted.
const TEXTS_MAX: usize = 100_000;
/// Numbers that are held, of all features: 400 MB.
const NUMBERS_MAX: usize = 50_000_000;
/// Numbers of one vector's first rows, FP32, that are held to find its components in: 32 MB.
const HELD_MAX: usize = 8_000_000;

/// Holds what is seen until the profile is made.
#[derive(Debug)]
pub struct Collector {
    slots: Slots,
    columns: Vec<Column>,
    vectors: Vec<Reduced>,
    components: usize,
    sampler: Option<Sampler>,
    numbers: usize,
}

/// What was collected.
#[derive(Debug)]
pub struct Collected {
    /// In the order of the slots, without what is said of free texts where they are none, and then
    /// those of vectors.
    pub features: Vec<Feature>,
    pub projections: Vec<Projection>,
    /// None unless they were asked for.
    pub samples: Samples,
}

/// A vector, and what its projection makes of it once there is one.
#[derive(Debug)]
struct Reduced {
    vector: Vector,
    held: Vec<f32>,
    missing: u64,
    projection: Option<(Projection, Vec<Slot>, Vec<Column>)>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Column {
    pub(super) numbers: Vec<f64>,
    texts: BTreeMap<String, u64>,
    missing: u64,
}

impl Collector {
    pub fn new(slots: Slots) -> Self {
        let columns = vec![Column::default(); slots.list.len()];
        Self { slots, columns, vectors: Vec::new(), components: 0, sampler: None, numbers: 0 }
    }

    /// Finds so many principal components of these vectors, too. Those that are too long are left
    /// out.
    pub fn projecting(mut self, vectors: Vec<Vector>, components: usize) -> Self {
        let short = vectors.into_iter().filter(|vector| !vector.is_too_long());
        let reduced = |vector| Reduced { vector, held: Vec::new(), missing: 0, projection: None };
        self.vectors = short.map(reduced).collect();
        self.components = components;
        self
    }

    /// Draws so many raw values of every column of numbers, too; of 0, none.
    pub fn sampling(mut self, side: Side, count: usize) -> Self {
        self.sampler = (count > 0).then(|| Sampler::new(side, count));
        self
    }

    /// Adds the records of these tensors; `is_missing` says by slot and record which values are
    /// only stand-ins.
    pub fn observe(
        &mut self,
        tensors: &[Tensor],
        is_missing: impl Fn(&Slot, usize) -> bool,
    ) -> Result<()> {
        let Self { slots, columns, vectors, components, numbers, .. } = self;
        for reduced in vectors {
            if let Some(values) = tensors.get(reduced.vector.tensor).and_then(Tensor::to_f64s) {
                for record in values.chunks_exact(reduced.vector.width) {
                    *numbers += reduced.push(record, *components)?;
                }
            }
        }
        let mut texts = 0;
        slots.read(tensors, |place, row, value| {
            let (slot, column) = (&slots.list[place], &mut columns[place]);
            match value {
                _ if is_missing(slot, row) => column.missing += 1,
                Seen::Number(number) if number.is_nan() => column.missing += 1,
                // Infinity has neither a bin nor a mean.
                Seen::Number(number) if number.is_infinite() => {}
                Seen::Number(number) => {
                    *numbers += 1;
                    column.numbers.push(number);
                }
                Seen::Text(text) => {
                    *column.texts.entry(text.to_owned()).or_default() += 1;
                    texts = texts.max(column.texts.len());
                }
            }
        });
        if *numbers > NUMBERS_MAX || texts > TEXTS_MAX {
            return Err(Error::too_large(
                "more values than a profile is made from. Fix: take a random sample of the rows; \
                 beyond some 100,000 a profile gets no better",
            ));
        }
        Ok(())
    }

    /// Values outside the declared range, by feature, where there are any.
    pub fn out_of_range(&self) -> Vec<(&str, usize)> {
        let pairs = self.slots.list.iter().zip(&self.columns);
        let counts = pairs.map(|(slot, column)| {
            let outside = slot.range.map_or(0, |[low, high]| {
                column.numbers.iter().filter(|x| !(low..=high).contains(*x)).count()
            });
            (slot.name.as_str(), outside)
        });
        counts.filter(|(_, count)| *count > 0).collect()
    }

    pub fn finish(self) -> Result<Collected> {
        let Self { slots, columns, vectors, components, mut sampler, .. } = self;
        let pairs = slots.list.iter().zip(&columns);
        let free = pairs.filter(|(slot, column)| slot.take == Take::Text && column.is_free());
        let free: HashSet<usize> = free.map(|(slot, _)| slot.tensor).collect();
        let (mut features, mut projections) = (Vec::new(), Vec::new());
        for (slot, column) in slots.list.iter().zip(columns) {
            if slot.take.is_of_free_text() && !free.contains(&slot.tensor) {
                continue;
            }
            if let Some(sampler) = &mut sampler {
                sampler.draw(slot, &column);
            }
            features.push(column.feature(slot)?);
        }
        for mut reduced in vectors {
            reduced.fit(components)?;
            let Some((projection, slots, columns)) = reduced.projection else { continue };
            if let Some(sampler) = &mut sampler {
                sampler.draw_vector(&reduced.vector, &slots, &columns);
            }
            for (slot, mut column) in slots.iter().zip(columns) {
                column.missing = reduced.missing;
                features.push(column.feature(slot)?);
            }
            projections.push(projection);
        }
        let samples = sampler.map(Sampler::finish).unwrap_or_default();
        Ok(Collected { features, projections, samples })
    }
}

impl Reduced {
    /// Gives back how many numbers it took up.
    fn push(&mut self, record: &[f64], components: usize) -> Result<usize> {
        if record.iter().any(|x| x.is_nan()) {
            self.missing += 1;
        } else if record.iter().all(|x| x.is_finite()) {
            match &mut self.projection {
                Some((projection, slots, columns)) => project(projection, slots, columns, record),
                None => self.held.extend(record.iter().map(|&x| x as f32)),
            }
            if self.held.len() >= HELD_MAX {
                self.fit(components)?;
            }
            return Ok(components + 1);
        }
        Ok(0)
    }

    fn fit(&mut self, components: usize) -> Result<()> {
        if self.projection.is_some() {
            return Ok(());
        }
        let held = std::mem::take(&mut self.held);
        let projection = Projection::fit(&self.vector, held.clone(), components)?;
        let slots = projection.slots(self.vector.tensor);
        let mut columns = vec![Column::default(); slots.len()];
        for record in held.chunks_exact(self.vector.width) {
            let record: Vec<f64> = record.iter().map(|&x| f64::from(x)).collect();
            project(&projection, &slots, &mut columns, &record);
        }
        self.projection = Some((projection, slots, columns));
        Ok(())
    }
}

fn project(projection: &Projection, slots: &[Slot], columns: &mut [Column], record: &[f64]) {
    for (slot, column) in slots.iter().zip(columns) {
        column.numbers.extend(slot.take.of(record, Some(projection)));
    }
}

impl Column {
    /// Whether most rows have a text that is too rare to be a category.
    fn is_free(&self) -> bool {
        let rare: u64 = self.texts.values().filter(|count| **count < COUNT_MIN).sum();
        rare * 2 > self.texts.values().sum()
    }

    fn feature(self, slot: &Slot) -> Result<Feature> {
        let rows = self.numbers.len() as u64 + self.texts.values().sum::<u64>();
        if rows < ROWS_MIN {
            return Err(Error::invalid(format!(
                "'{}' has {rows} values; a profile needs {ROWS_MIN}, or it could disclose somebody",
                slot.name
            )));
        }
        if slot.is_categorical() { self.categorical(slot) } else { self.numeric(slot) }
    }

    fn numeric(mut self, slot: &Slot) -> Result<Feature> {
        self.numbers.sort_unstable_by(f64::total_cmp);
        let values = &self.numbers;
        let (rule, edges) = match value_edges(values, VALUES_MAX) {
            Some(edges) => (Rule::Values, edges),
            None => (Rule::Deciles, decile_edges(values)),
        };
        let mut edges: Vec<f64> = edges.into_iter().map(rounded).collect();
        edges.dedup();
        let counted = Edges::new(edges.clone()).map(|edges| edges.count(values));
        let mut counts = counted
            .ok_or_else(|| Error::internal(format!("'{}' has no ascending edges", slot.name)))?;
        merge_small(&mut edges, &mut counts, COUNT_MIN);
        let moments: Moments = values.iter().copied().collect();
        let (low, high) = (moments.min().unwrap_or(0.0), moments.max().unwrap_or(0.0));
        let step = round_step(high - low);
        let numeric = Numeric {
            name: slot.name.clone(),
            unit: slot.unit.clone(),
            range: slot.range,
            count: values.len() as u64,
            missing: suppressed(self.missing),
            mean: rounded(moments.mean().unwrap_or(0.0)),
            std_pop: rounded(moments.std_pop().unwrap_or(0.0)),
            min: rounded((low / step).floor() * step),
            max: rounded((high / step).ceil() * step),
            bins: Bins { rule, edges, counts },
            group_means: group_means(values),
            psi_limit: None,
        };
        match numeric_fault(&numeric, slot) {
            Some(why) => Err(wrong(format!("'{}': {why}", slot.name))),
            None => Ok(Feature::Numeric(numeric)),
        }
    }

    fn categorical(mut self, slot: &Slot) -> Result<Feature> {
        for number in std::mem::take(&mut self.numbers) {
            let is_index = number >= 0.0 && number.fract() == 0.0;
            let label = is_index.then(|| slot.labels.get(number as usize)).flatten();
            let name = label.cloned().unwrap_or_default();
            *self.texts.entry(name).or_default() += 1;
        }
        let mut counts: Vec<(String, u64)> = self.texts.into_iter().collect();
        counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let mut other = 0;
        let mut categories = Vec::new();
        for (name, count) in counts {
            let nameable = !name.is_empty() && name.len() <= NAME_BYTES_MAX;
            if count < COUNT_MIN || !nameable || categories.len() == CATEGORIES_MAX {
                other += count;
            } else {
                categories.push(Category { name, count });
            }
        }
        let other = suppressed(other);
        let count = categories.iter().map(|category| category.count).sum::<u64>() + other;
        let missing = suppressed(self.missing);
        let name = slot.name.clone();
        let psi_limit = None;
        let feature = Categorical { name, count, missing, categories, other, psi_limit };
        Ok(Feature::Categorical(feature))
    }
}

/// A count that is too small to be told is none.
fn suppressed(count: u64) -> u64 {
    if count < COUNT_MIN { 0 } else { count }
}

/// Nine significant digits, as many as an FP32 has: short enough that every JSON reader reads back
/// what was written, so that a value on an edge falls into the same bin then and now. (Below 1e-14
/// serde_json may read the last bit wrongly: it divides by a power of ten that is not exact.)
fn rounded(value: f64) -> f64 {
    format!("{value:.8e}").parse().unwrap_or(value)
}

/// The largest of 1, 2 and 5 times a power of ten that is at most a twentieth of the distance.
fn round_step(distance: f64) -> f64 {
    let twentieth = distance / 20.0;
    if twentieth <= 0.0 || !twentieth.is_normal() {
        return 1.0;
    }
    let power = 10f64.powf(twentieth.log10().floor());
    let times = [5.0, 2.0, 1.0].into_iter().find(|times| times * power <= twentieth);
    times.unwrap_or(1.0) * power
}

fn group_means(ascending: &[f64]) -> Vec<f64> {
    let count = ascending.len();
    let groups = (count / COUNT_MIN as usize).min(GROUPS_MAX);
    let mean = |group: usize| {
        let values = &ascending[group * count / groups..(group + 1) * count / groups];
        rounded(values.iter().copied().collect::<Moments>().mean().unwrap_or(0.0))
    };
    (0..groups).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn extremes_are_rounded_to_a_round_step() {
        assert_eq!([round_step(72.0), round_step(1.0), round_step(0.3)], [2.0, 0.05, 0.01]);
        assert_eq!([round_step(0.0), round_step(f64::INFINITY)], [1.0, 1.0]);
        assert_eq!(group_means(&[1.0, 2.0, 3.0]), Vec::<f64>::new());
        assert_eq!(group_means(&(0..10).map(f64::from).collect::<Vec<_>>()), [2.0, 7.0]);
    }

    proptest! {
        /// A value on an edge must not change its bin.
        #[test]
        fn what_is_written_is_read_back_to_the_last_bit(
            digits in -1.0..1.0f64, power in -12i32..12,
        ) {
            let value = rounded(digits * 10f64.powi(power));
            let text = serde_json::to_string(&value).unwrap();
            let back: f64 = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(back.to_bits(), value.to_bits());
            let near = (value - digits * 10f64.powi(power)).abs() <= value.abs() * 1e-8;
            prop_assert!(near || value == 0.0);
        }
    }
}
