//! Vectors, as embeddings are: a record's numbers that mean nothing one by one. They are watched
//! by their length (`x.norm`, Euclidean) and by where they lie on the directions in which those of
//! training varied most (`x.pc1`, `x.pc2`, ...; principal components).
//!
//! The profile keeps the mean and the directions, of [`ROWS_MIN`] rows at least, to six digits. A
//! row that makes more than a [`COUNT_MIN`]th of a direction's variance is taken out and the
//! directions are sought again, for such a direction would be a picture of that row.

use serde::{Deserialize, Serialize};

use super::build::COUNT_MIN;
use super::slots::{Slot, Take};
use super::wrong;
use crate::error::{Error, Result, quoted};
use crate::model::contract::{Contract, Part};
use crate::stats::components::{COMPONENTS_MAX, WIDTH_MAX, components};
use crate::tensor::{DType, Dim};

/// Least rows that a mean and its directions are made from.
pub const ROWS_MIN: usize = 30;
/// Directions that are kept unless another number is asked for.
pub const COMPONENTS: u8 = 4;
/// Times that directions are sought again; those that still are one row's are left out then.
const ROUNDS_MAX: usize = 8;

/// Whose vector it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    Input,
    Output,
}

/// A tensor whose rows are vectors: FP32 `[-1, n]` with n of 2 and more, without named columns or
/// entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vector {
    pub name: String,
    pub side: Side,
    /// Position of the tensor in the signature.
    pub tensor: usize,
    pub width: usize,
}

impl Vector {
    /// Those of inputs or of outputs; also such as are too long to be projected.
    pub fn all(contract: &Contract, side: Side) -> Vec<Self> {
        let vector = |name: &str, tensor, dtype, dims: &[Dim]| match dims {
            [Dim::Fixed(width)] if *width > 1 && dtype == DType::F32 => {
                Some(Self { name: name.to_owned(), side, tensor, width: *width })
            }
            _ => None,
        };
        match side {
            Side::Input => {
                let of_field = |field: &crate::model::contract::Field| match &field.part {
                    Part::Row(dims) => vector(&field.name, field.input, field.dtype, dims),
                    Part::Column(_) => None,
                };
                contract.fields.iter().filter_map(of_field).collect()
            }
            Side::Output => {
                let plain = contract.answers.iter().filter(|answer| !answer.labels_name_entries());
                let of_answer = |answer: &crate::model::contract::Answer| {
                    vector(&answer.name, answer.output, answer.dtype, &answer.dims)
                };
                plain.filter_map(of_answer).collect()
            }
        }
    }

    pub fn is_too_long(&self) -> bool {
        self.width > WIDTH_MAX
    }
}

/// How vectors are reduced, in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Projection {
    pub of: Side,
    /// The tensor.
    pub name: String,
    /// As many numbers as a vector has, [`WIDTH_MAX`] at most.
    pub mean: Vec<f32>,
    /// Unit vectors, [`COMPONENTS_MAX`] at most; none where training did not vary.
    pub directions: Vec<Vec<f32>>,
}

impl Projection {
    /// From rows of a vector, all finite.
    pub(super) fn fit(vector: &Vector, mut rows: Vec<f32>, count: usize) -> Result<Self> {
        let Vector { name, side, width, .. } = vector;
        let mut round = 1;
        let found = loop {
            let kept = rows.len() / width;
            if kept < ROWS_MIN {
                return Err(Error::invalid(format!(
                    "'{name}' has {kept} vectors to find principal components in; they need \
                     {ROWS_MIN}, or they could disclose somebody. Fix: more rows, or \
                     --components 0"
                )));
            }
            let mut found = components(&rows, *width, count)
                .ok_or_else(|| Error::internal(format!("'{name}' has no components")))?;
            let is_one_row = |(share, _): &&(f64, usize)| *share > 1.0 / COUNT_MIN as f64;
            match found.leverage.iter().find(is_one_row) {
                None => break found,
                Some(&(_, row)) if round < ROUNDS_MAX => {
                    rows.drain(row * width..(row + 1) * width);
                    round += 1;
                }
                Some(_) => {
                    let fine = found.leverage.iter().take_while(|of| !is_one_row(of)).count();
                    found.directions.truncate(fine);
                    break found;
                }
            }
        };
        let rounded = |values: &[f64]| values.iter().copied().map(six_digits).collect();
        Ok(Self {
            of: *side,
            name: name.clone(),
            mean: rounded(&found.mean),
            directions: found.directions.iter().map(|direction| rounded(direction)).collect(),
        })
    }

    /// What is watched of a vector by it.
    pub(super) fn slots(&self, tensor: usize) -> Vec<Slot> {
        let slot = |name: String, take: Take| Slot {
            name,
            tensor,
            take,
            labels: Vec::new(),
            unit: None,
            range: None,
        };
        let score = |place: usize| slot(score_name(&self.name, place), Take::Score(place));
        let norm = slot(format!("{}.norm", self.name), Take::Norm);
        std::iter::once(norm).chain((0..self.directions.len()).map(score)).collect()
    }

    /// Where a vector lies on a direction, from the mean.
    pub(super) fn score(&self, record: &[f64], place: usize) -> Option<f64> {
        let direction = self.directions.get(place)?;
        (record.len() == direction.len()).then(|| {
            lanes(record.len(), |i| (record[i] - f64::from(self.mean[i])) * f64::from(direction[i]))
        })
    }

    /// Checks what a file says against the vectors of the version that it lies beside.
    pub(super) fn check(&self, vectors: &[Vector]) -> Result<()> {
        let Self { of, name, mean, directions } = self;
        let fails = |why: String| Err(wrong(format!("projections: '{}': {why}", quoted(name))));
        let Some(vector) = vectors.iter().find(|v| v.side == *of && v.name == *name) else {
            return fails("the model has no such vector".to_owned());
        };
        let width = vector.width;
        if vector.is_too_long() || mean.len() != width {
            return fails(format!("mean: expected {width} numbers, {WIDTH_MAX} at most"));
        }
        let unit = |direction: &Vec<f32>| {
            let length = norm(direction.len(), |i| f64::from(direction[i]));
            direction.len() == width && (length - 1.0).abs() < 0.01
        };
        if directions.len() > COMPONENTS_MAX || !directions.iter().all(unit) {
            return fails(format!(
                "directions: expected up to {COMPONENTS_MAX} of length 1, each of {width} numbers"
            ));
        }
        if mean.iter().any(|x| !x.is_finite()) {
            return fails("mean: expected finite numbers".to_owned());
        }
        Ok(())
    }
}

/// What the score of a vector on a direction is called.
pub(super) fn score_name(vector: &str, place: usize) -> String {
    format!("{vector}.pc{}", place + 1)
}

/// Euclidean, to five digits: what a model scales to 1 is 1, whatever the last bits are.
pub(super) fn euclidean(record: &[f64]) -> f64 {
    let exact = norm(record.len(), |i| record[i]) as f32;
    if !exact.is_finite() {
        return f64::from(exact);
    }
    const DROPPED: u32 = 7;
    let half = 1u32 << (DROPPED - 1);
    f64::from(f32::from_bits(exact.to_bits().saturating_add(half) >> DROPPED << DROPPED))
}

fn norm(size: usize, value: impl Fn(usize) -> f64) -> f64 {
    lanes(size, |i| value(i) * value(i)).sqrt()
}

/// A sum in four lanes, which a processor adds side by side.
fn lanes(size: usize, term: impl Fn(usize) -> f64) -> f64 {
    let mut sums = [0.0; 4];
    let whole = size / 4 * 4;
    for first in (0..whole).step_by(4) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += term(first + lane);
        }
    }
    (whole..size).for_each(|i| sums[0] += term(i));
    (sums[0] + sums[1]) + (sums[2] + sums[3])
}

/// As many as every FP32 keeps, through JSON too.
fn six_digits(value: f64) -> f32 {
    format!("{value:.5e}").parse().unwrap_or(value as f32)
}

#[cfg(test)]
mod tests;
