//! `LinearClassifier` and `LinearRegressor`.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::classes::{Labels, OneScore, winner};
use super::post::PostTransform;
use super::rows::{Rows, extents};
use super::{Custom, Operator, Outlet, list};

pub fn classifier(node: &NodeProto) -> TractResult<Custom> {
    let labels = Labels::of(node, "classlabels_ints", "classlabels_strings")?;
    let transform = PostTransform::of(node)?;
    let weights = Weights::of(node, list::<f32>(node, "intercepts")?.len())?;
    let scores = weights.intercepts.len();
    let one_for_two = scores == 1 && labels.count() == 2;
    ensure!(
        one_for_two || scores == labels.count(),
        "{scores} intercepts for {} classes",
        labels.count()
    );
    ensure!(
        !(one_for_two && transform == PostTransform::Probit),
        "PROBIT of a single score for two classes is not defined"
    );
    Ok(Custom::new(Classifier { labels, weights, transform }))
}

pub fn regressor(node: &NodeProto) -> TractResult<Custom> {
    let targets = node.get_attr_opt::<usize>("targets")?.unwrap_or(1);
    let weights = Weights::of(node, targets)?;
    Ok(Custom::new(Regressor { weights, transform: PostTransform::of(node)? }))
}

/// A vector of coefficients and an intercept for each score.
#[derive(Debug)]
struct Weights {
    /// Vector after vector.
    coefficients: Vec<f32>,
    intercepts: Vec<f32>,
    columns: usize,
}

impl Weights {
    fn of(node: &NodeProto, scores: usize) -> TractResult<Self> {
        let coefficients = list::<f32>(node, "coefficients")?.to_vec();
        ensure!(scores > 0, "expected at least one intercept");
        ensure!(
            !coefficients.is_empty() && coefficients.len().is_multiple_of(scores),
            "{} coefficients for {scores} scores",
            coefficients.len()
        );
        let mut intercepts = list::<f32>(node, "intercepts")?.to_vec();
        if intercepts.is_empty() {
            intercepts.resize(scores, 0.0);
        }
        ensure!(intercepts.len() == scores, "{} intercepts for {scores} scores", intercepts.len());
        Ok(Self { columns: coefficients.len() / scores, coefficients, intercepts })
    }

    fn check(&self, columns: &TDim) -> TractResult<()> {
        match columns.to_usize() {
            Ok(columns) if columns != self.columns => {
                bail!("{} coefficients for {columns} columns", self.columns)
            }
            _ => Ok(()),
        }
    }

    /// The scores of all rows, row after row.
    fn scores(&self, rows: &Rows<'_>) -> TractResult<Vec<f32>> {
        self.check(&rows.columns.to_dim())?;
        let numbers = rows.numbers()?;
        let mut scores = Vec::with_capacity(numbers.len() / self.columns * self.intercepts.len());
        for row in numbers.chunks_exact(self.columns) {
            let vectors = self.coefficients.chunks_exact(self.columns);
            scores.extend(vectors.zip(&self.intercepts).map(|(own, add)| dot(row, own) + add));
        }
        Ok(scores)
    }
}

/// Eight sums side by side: one processor register, and less rounding than one long sum.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 8;
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

#[derive(Debug)]
struct Classifier {
    labels: Labels,
    weights: Weights,
    transform: PostTransform,
}

impl Operator for Classifier {
    fn name(&self) -> &'static str {
        "LinearClassifier"
    }

    fn outputs(&self) -> usize {
        2
    }

    fn outlets(&self, inputs: &[Outlet]) -> TractResult<TVec<Outlet>> {
        let (rows, columns) = extents(&inputs[0])?;
        self.weights.check(&columns)?;
        Ok(self.labels.outlets(rows))
    }

    fn eval(&self, inputs: &[TValue]) -> TractResult<TVec<Tensor>> {
        let scores = self.weights.scores(&Rows::of(&inputs[0])?)?;
        let classes = self.labels.count();
        // Labels are chosen before the transform, which may round two scores to the same value.
        let (winners, scores): (Vec<usize>, Vec<f32>) = if self.weights.intercepts.len() == 1 {
            let winners = scores.iter().map(|&score| usize::from(score > 0.0)).collect();
            let split = |&score: &f32| OneScore::Share.split(score, self.transform);
            (winners, scores.iter().flat_map(split).collect())
        } else {
            let winners = scores.chunks_exact(classes).map(winner).collect();
            let mut scores = scores;
            scores.chunks_exact_mut(classes).for_each(|row| self.transform.apply(row));
            (winners, scores)
        };
        let shape = [winners.len(), classes];
        Ok(tvec![self.labels.pick(&winners)?, Tensor::from_shape(&shape, &scores)?])
    }
}

#[derive(Debug)]
struct Regressor {
    weights: Weights,
    transform: PostTransform,
}

impl Operator for Regressor {
    fn name(&self) -> &'static str {
        "LinearRegressor"
    }

    fn outlets(&self, inputs: &[Outlet]) -> TractResult<TVec<Outlet>> {
        let (rows, columns) = extents(&inputs[0])?;
        self.weights.check(&columns)?;
        let targets = self.weights.intercepts.len();
        Ok(tvec![(f32::datum_type(), tvec![rows, targets.to_dim()])])
    }

    fn eval(&self, inputs: &[TValue]) -> TractResult<TVec<Tensor>> {
        let mut scores = self.weights.scores(&Rows::of(&inputs[0])?)?;
        let targets = self.weights.intercepts.len();
        if targets == 1 {
            scores.iter_mut().for_each(|score| *score = self.transform.apply_to_one(*score));
        } else {
            scores.chunks_exact_mut(targets).for_each(|row| self.transform.apply(row));
        }
        Ok(tvec![Tensor::from_shape(&[scores.len() / targets, targets], &scores)?])
    }
}
