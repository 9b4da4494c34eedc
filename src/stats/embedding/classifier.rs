//! A domain classifier: logistic regression that is to tell two samples apart. Where it can (area
//! under the ROC curve well above one half, on rows that it was not fitted on), they differ.

use super::Rows;
use crate::stats::moments::Moments;
use crate::stats::performance;

/// Parts of the cross-validation.
pub const FOLDS: usize = 5;
const SEED: u64 = 20_240_229;
/// Newton's steps; a handful is enough.
const STEPS_MAX: usize = 50;
/// The weights' penalty `w.w / 2`, scikit-learn's `C = 1`.
const RIDGE: f64 = 1.0;

/// Mean area under the ROC curve over five seeded, stratified folds. `None` where rows differ in
/// length or a sample has fewer rows than there are folds.
pub fn auc(reference: &Rows, current: &Rows) -> Option<f64> {
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut folds = |count: usize| {
        let mut folds: Vec<usize> = (0..count).map(|row| row % FOLDS).collect();
        random.shuffle(&mut folds);
        folds
    };
    let parts = [folds(reference.count()), folds(current.count())].concat();
    auc_in_folds(reference, current, &parts)
}

/// The same with given folds: the part of every row, first the reference's, then the window's.
pub fn auc_in_folds(reference: &Rows, current: &Rows, parts: &[usize]) -> Option<f64> {
    let rows: Vec<&[f64]> = reference.iter().chain(current.iter()).collect();
    let fewest = reference.count().min(current.count());
    if reference.width != current.width || parts.len() != rows.len() || fewest < FOLDS {
        return None;
    }
    let is_current = |row: usize| row >= reference.count();
    let mut sum = 0.0;
    for fold in 0..FOLDS {
        let (test, train): (Vec<usize>, Vec<usize>) =
            (0..rows.len()).partition(|&row| parts[row] == fold);
        let chosen: Vec<&[f64]> = train.iter().map(|&row| rows[row]).collect();
        let labels: Vec<bool> = train.iter().map(|&row| is_current(row)).collect();
        let model = Model::fit(&chosen, &labels)?;
        let scores: Vec<f64> = test.iter().map(|&row| model.score(rows[row])).collect();
        let labels: Vec<bool> = test.iter().map(|&row| is_current(row)).collect();
        sum += performance::auc(&scores, &labels)?;
    }
    Some(sum / FOLDS as f64)
}

/// Logistic regression on standardised columns.
struct Model {
    columns: Vec<(f64, f64)>,
    /// One per column, and the intercept last.
    weights: Vec<f64>,
}

impl Model {
    fn fit(rows: &[&[f64]], labels: &[bool]) -> Option<Self> {
        let width = rows.first()?.len();
        let columns: Vec<(f64, f64)> = (0..width)
            .map(|column| {
                let moments: Moments = rows.iter().map(|row| row[column]).collect();
                let std = moments.std_pop().filter(|std| *std > 0.0).unwrap_or(1.0);
                (moments.mean().unwrap_or(0.0), std)
            })
            .collect();
        let mut model = Self { columns, weights: vec![0.0; width + 1] };
        let points: Vec<Vec<f64>> = rows.iter().map(|row| model.standardised(row)).collect();
        let mut loss = model.loss(&points, labels);
        for _ in 0..STEPS_MAX {
            let step = model.newton(&points, labels)?;
            let from = model.weights.clone();
            let mut scale = 1.0;
            let next = loop {
                for ((weight, from), step) in model.weights.iter_mut().zip(&from).zip(&step) {
                    *weight = from - scale * step;
                }
                let next = model.loss(&points, labels);
                if next <= loss || scale < 1e-6 {
                    break next;
                }
                scale /= 2.0;
            };
            let gained = loss - next;
            loss = next;
            if gained.abs() <= 1e-14 * loss.abs() {
                break;
            }
        }
        Some(model)
    }

    /// The row in standard deviations, and a 1 for the intercept.
    fn standardised(&self, row: &[f64]) -> Vec<f64> {
        let scaled = row.iter().zip(&self.columns).map(|(x, (mean, std))| (x - mean) / std);
        scaled.chain([1.0]).collect()
    }

    fn score(&self, row: &[f64]) -> f64 {
        dot(&self.weights, &self.standardised(row))
    }

    fn penalised(&self) -> usize {
        self.weights.len() - 1
    }

    fn loss(&self, points: &[Vec<f64>], labels: &[bool]) -> f64 {
        let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
        let rows = points.iter().zip(labels).map(|(point, &label)| {
            let score = dot(&self.weights, point);
            softplus(if label { -score } else { score })
        });
        let weights = &self.weights[..self.penalised()];
        rows.sum::<f64>() + RIDGE * dot(weights, weights) / 2.0
    }

    /// The step to take away: the Hessian's inverse times the gradient.
    fn newton(&self, points: &[Vec<f64>], labels: &[bool]) -> Option<Vec<f64>> {
        let size = self.weights.len();
        let mut gradient: Vec<f64> = self.weights.iter().map(|weight| RIDGE * weight).collect();
        gradient[size - 1] = 0.0;
        let mut hessian = vec![vec![0.0; size]; size];
        for (i, row) in hessian.iter_mut().enumerate().take(size - 1) {
            row[i] = RIDGE;
        }
        // Where every probability is 0 or 1, the intercept would have no curvature.
        hessian[size - 1][size - 1] = 1e-9;
        for (point, &label) in points.iter().zip(labels) {
            let p = 1.0 / (1.0 + (-dot(&self.weights, point)).exp());
            let (error, weight) = (p - f64::from(u8::from(label)), p * (1.0 - p));
            for (i, x) in point.iter().enumerate() {
                gradient[i] += error * x;
                for (cell, y) in hessian[i].iter_mut().zip(point) {
                    *cell += weight * x * y;
                }
            }
        }
        solve(hessian, gradient)
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Solves a symmetric positive definite system by elimination; `None` where it is singular.
fn solve(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Option<Vec<f64>> {
    let size = right.len();
    for pivot in 0..size {
        let (above, below) = matrix.split_at_mut(pivot + 1);
        let row = &above[pivot];
        if row[pivot] <= 0.0 || !row[pivot].is_finite() {
            return None;
        }
        for (offset, line) in below.iter_mut().enumerate() {
            let factor = line[pivot] / row[pivot];
            line.iter_mut().zip(row).for_each(|(cell, above)| *cell -= factor * above);
            right[pivot + 1 + offset] -= factor * right[pivot];
        }
    }
    for pivot in (0..size).rev() {
        let known = dot(&matrix[pivot][pivot + 1..], &right[pivot + 1..]);
        right[pivot] = (right[pivot] - known) / matrix[pivot][pivot];
    }
    Some(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize, shift: f64, seed: u64) -> Rows {
        let mut random = fastrand::Rng::with_seed(seed);
        let data: Vec<f64> = (0..count * 2).map(|_| random.f64() + shift).collect();
        Rows::new(&data, 2).unwrap()
    }

    #[test]
    fn it_tells_apart_what_differs_and_only_that() {
        let reference = rows(200, 0.0, 1);
        let same = auc(&reference, &rows(200, 0.0, 2)).unwrap();
        assert!((same - 0.5).abs() < 0.1, "{same}");
        // Without overlap, too: there the unpenalised weights would grow for ever.
        assert_eq!(auc(&reference, &rows(100, 5.0, 2)), Some(1.0));
        assert_eq!(auc(&reference, &rows(4, 0.0, 2)), None);
        let constant = Rows::new(&[1.0; 20], 2).unwrap();
        assert_eq!(auc(&constant, &constant), Some(0.5));
    }
}
