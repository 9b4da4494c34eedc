//! Raw values of training, for those who ask for them (`galen profile --samples`): what is served
//! can be compared with them as SciPy and Evidently compare samples, which no counts allow.
//!
//! They disclose what the rest of a profile does not: single values of single columns, extremes
//! among them, and of vectors the scores of single rows. No row can be put together from them: each
//! column is drawn by itself and sorted, and so are the rows of scores.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::build::Column;
use super::projection::{Projection, Side, Vector};
use super::slots::{Slot, Take};
use super::{Feature, wrong};
use crate::error::{Result, quoted};
use crate::stats::embedding::ROWS_MAX;

/// Values of one column.
pub const SAMPLES_MIN: usize = 2;
pub const SAMPLES_MAX: usize = 5000;
/// The same rows always give the same sample.
const SEED: u64 = 20_240_229;

/// In the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Samples {
    /// Of features and outputs that are numbers.
    pub columns: Vec<Sample>,
    /// Of vectors that have a projection.
    #[serde(default)]
    pub vectors: Vec<VectorSample>,
}

/// Some values of a feature or output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    pub of: Side,
    pub name: String,
    /// Ascending, [`SAMPLES_MIN`] to [`SAMPLES_MAX`].
    pub values: Vec<f64>,
}

/// Some rows of a vector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VectorSample {
    pub of: Side,
    /// The tensor.
    pub name: String,
    /// A score for every direction of the projection; [`ROWS_MAX`] rows at most.
    pub rows: Vec<Vec<f64>>,
}

impl Samples {
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty() && self.vectors.is_empty()
    }

    /// These, and those of the other side.
    pub fn and(self, other: Self) -> Self {
        Self {
            columns: [self.columns, other.columns].concat(),
            vectors: [self.vectors, other.vectors].concat(),
        }
    }

    /// Checks what a file says against features, outputs and projections that were checked.
    pub(super) fn check<'a>(
        &self,
        features: &'a [Feature],
        outputs: &'a [Feature],
        projections: &[Projection],
    ) -> Result<()> {
        let named = |side, list: &'a [Feature]| list.iter().map(move |f| ((side, f.name()), f));
        let known = named(Side::Input, features).chain(named(Side::Output, outputs));
        let known: HashMap<(Side, &str), &Feature> = known.collect();
        let mut seen = HashSet::new();
        for Sample { of, name, values } in &self.columns {
            let fault = match known.get(&(*of, name.as_str())) {
                None => Some("the model has no such feature or output"),
                _ if !seen.insert((*of, name)) => Some("comes twice"),
                Some(Feature::Categorical(_)) => Some("expected one whose values are numbers"),
                Some(Feature::Numeric(numeric)) => values_fault(values, numeric.count),
            };
            told(name, fault)?;
        }
        let mut seen = HashSet::new();
        for VectorSample { of, name, rows } in &self.vectors {
            let fault = match projections.iter().find(|p| p.of == *of && p.name == *name) {
                None => Some("there is no projection of such a vector"),
                _ if !seen.insert((*of, name)) => Some("comes twice"),
                Some(projection) => rows_fault(rows, projection.directions.len()),
            };
            told(name, fault)?;
        }
        Ok(())
    }
}

fn told(name: &str, fault: Option<&str>) -> Result<()> {
    fault.map_or(Ok(()), |why| Err(wrong(format!("samples: '{}': {why}", quoted(name)))))
}

fn values_fault(values: &[f64], count: u64) -> Option<&'static str> {
    if !(SAMPLES_MIN..=SAMPLES_MAX).contains(&values.len()) {
        return Some("values: expected 2 to 5000");
    }
    if values.len() as u64 > count {
        return Some("values: expected no more than the feature's count");
    }
    let ascending = values.windows(2).all(|pair| pair[0] <= pair[1]);
    let finite = values.iter().all(|value| value.is_finite());
    (!ascending || !finite).then_some("values: expected finite numbers in ascending order")
}

fn rows_fault(rows: &[Vec<f64>], width: usize) -> Option<&'static str> {
    if !(SAMPLES_MIN..=ROWS_MAX).contains(&rows.len()) {
        return Some("rows: expected 2 to 1000");
    }
    let whole = |row: &Vec<f64>| row.len() == width && row.iter().all(|score| score.is_finite());
    let all = width > 0 && rows.iter().all(whole);
    (!all).then_some("rows: expected as many finite numbers in each as there are directions")
}

/// Draws samples from the columns of inputs, or of outputs.
#[derive(Debug)]
pub(super) struct Sampler {
    side: Side,
    count: usize,
    random: fastrand::Rng,
    drawn: Samples,
}

impl Sampler {
    /// For so many values of a column, [`SAMPLES_MAX`] at most.
    pub(super) fn new(side: Side, count: usize) -> Self {
        let random = fastrand::Rng::with_seed(SEED + side as u64);
        Self { side, count: count.min(SAMPLES_MAX), random, drawn: Samples::default() }
    }

    pub(super) fn draw(&mut self, slot: &Slot, column: &Column) {
        if slot.is_categorical() || column.numbers.len() < SAMPLES_MIN {
            return;
        }
        let mut values = self.random.choose_multiple(column.numbers.iter().copied(), self.count);
        values.sort_unstable_by(f64::total_cmp);
        self.drawn.columns.push(Sample { of: self.side, name: slot.name.clone(), values });
    }

    /// Draws from what a projection makes of a vector, and whole rows of its scores.
    pub(super) fn draw_vector(&mut self, vector: &Vector, slots: &[Slot], columns: &[Column]) {
        slots.iter().zip(columns).for_each(|(slot, column)| self.draw(slot, column));
        let pairs = slots.iter().zip(columns);
        let scores = pairs.filter(|(slot, _)| matches!(slot.take, Take::Score(_)));
        let scores: Vec<&Column> = scores.map(|(_, column)| column).collect();
        let rows = scores.first().map_or(0, |column| column.numbers.len());
        if rows < SAMPLES_MIN {
            return;
        }
        let row = |row: usize| -> Vec<f64> {
            scores.iter().filter_map(|column| column.numbers.get(row).copied()).collect()
        };
        let chosen = self.random.choose_multiple(0..rows, self.count.min(ROWS_MAX));
        let mut rows: Vec<Vec<f64>> = chosen.into_iter().map(row).collect();
        let before = |a: &Vec<f64>, b: &Vec<f64>| {
            let pairs = a.iter().zip(b).map(|(a, b)| a.total_cmp(b));
            pairs.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
        };
        rows.sort_unstable_by(before);
        self.drawn.vectors.push(VectorSample { of: self.side, name: vector.name.clone(), rows });
    }

    pub(super) fn finish(self) -> Samples {
        self.drawn
    }
}

#[cfg(test)]
mod tests;
