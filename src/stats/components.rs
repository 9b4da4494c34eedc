//! Principal components of rows, without their covariance matrix: orthogonal iteration with a
//! Rayleigh-Ritz step (Golub and Van Loan, *Matrix Computations*, 8.2). A step costs rows x width x
//! components; the start is seeded, so that the same rows always give the same directions.

/// Longest row.
pub const WIDTH_MAX: usize = 4096;
/// Most components.
pub const COMPONENTS_MAX: usize = 8;
/// Most rows that are looked at; of more, so many evenly spaced ones are taken.
pub const ROWS_MAX: usize = 1000;

/// Directions beyond those that are asked for: what is asked for converges sooner.
const GUARD: usize = 4;
const STEPS_MAX: usize = 100;
/// Residual of a direction, as a share of the largest variance, at which it is good enough.
const TOLERANCE: f64 = 1e-8;
/// A variance that is so small a share of the largest one, or of the mean's square, is rounding.
const NEGLIGIBLE: f64 = 1e-9;
const ROUNDING: f64 = 1e-12;
/// Sweeps of Jacobi's method; a handful is enough.
const SWEEPS_MAX: usize = 50;
const SEED: u64 = 20_240_229;

/// A mean, and the directions in which rows vary most around it.
#[derive(Clone, Debug, PartialEq)]
pub struct Components {
    pub mean: Vec<f64>,
    /// Orthonormal, by descending variance; the largest entry of each is positive. Fewer than were
    /// asked for where the rows vary in fewer directions.
    pub directions: Vec<Vec<f64>>,
    /// Variance (of the population) along each.
    pub variances: Vec<f64>,
    /// Largest share of a direction's variance that one row makes, and which row.
    pub leverage: Vec<(f64, usize)>,
}

/// The first `count` components of row-major data. `None` unless there is a whole number of rows,
/// one at least, of up to [`WIDTH_MAX`] finite numbers. `leverage` names rows of the data.
pub fn components(rows: &[f32], width: usize, count: usize) -> Option<Components> {
    let whole = (1..=WIDTH_MAX).contains(&width) && rows.len().is_multiple_of(width);
    if !whole || rows.is_empty() || rows.iter().any(|x| !x.is_finite()) {
        return None;
    }
    let all = rows.len() / width;
    let kept = all.min(ROWS_MAX);
    let place = |row: usize| row * all / kept;
    let chosen = || (0..kept).map(|row| &rows[place(row) * width..][..width]);

    let mut mean = vec![0.0; width];
    chosen().for_each(|row| add(&mut mean, row.iter().map(|&x| f64::from(x)), 1.0));
    mean.iter_mut().for_each(|x| *x /= kept as f64);
    let centred: Vec<f64> = chosen()
        .flat_map(|row| row.iter().zip(&mean).map(|(&x, mean)| f64::from(x) - mean))
        .collect();
    let least = ROUNDING * dot(&mean, &mean);

    let found = iterate(&centred, width, count.min(COMPONENTS_MAX));
    let largest = found.first().map_or(0.0, |(variance, _)| *variance);
    let real = found.into_iter().filter(|(variance, _)| {
        *variance > 0.0 && *variance > least && *variance > NEGLIGIBLE * largest
    });
    let (variances, mut directions): (Vec<f64>, Vec<Vec<f64>>) = real.unzip();
    directions.iter_mut().for_each(|direction| orient(direction));
    let leverage = directions.iter().zip(&variances).map(|(direction, variance)| {
        let shares = centred.chunks_exact(width).enumerate().map(|(row, values)| {
            let score = dot(values, direction);
            (score * score / (variance * kept as f64), place(row))
        });
        shares.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or_default()
    });
    let leverage = leverage.collect();
    Some(Components { mean, directions, variances, leverage })
}

/// Variances and directions of centred rows, the largest first.
fn iterate(centred: &[f64], width: usize, count: usize) -> Vec<(f64, Vec<f64>)> {
    let rows = centred.len() / width;
    let size = (count + GUARD).min(width).min(rows);
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut basis: Vec<Vec<f64>> =
        (0..size).map(|_| (0..width).map(|_| random.f64() - 0.5).collect()).collect();
    let mut found = Vec::new();
    for _ in 0..STEPS_MAX {
        orthonormalise(&mut basis);
        let images = images(centred, width, &basis);
        let inner: Vec<Vec<f64>> =
            basis.iter().map(|q| images.iter().map(|z| dot(q, z)).collect()).collect();
        let (values, vectors) = eigen(inner);
        let turned = |of: &[Vec<f64>]| -> Vec<Vec<f64>> {
            let turn = |vector: &Vec<f64>| {
                let mut sum = vec![0.0; width];
                of.iter().zip(vector).for_each(|(q, &x)| add(&mut sum, q.iter().copied(), x));
                sum
            };
            vectors.iter().map(turn).collect()
        };
        let (directions, next) = (turned(&basis), turned(&images));
        let largest = values.first().copied().unwrap_or(0.0);
        let settled = directions.iter().zip(&next).zip(&values).take(count).all(
            |((direction, image), value)| {
                let rest: f64 =
                    image.iter().zip(direction).map(|(z, u)| (z - value * u).powi(2)).sum();
                rest.sqrt() <= TOLERANCE * largest
            },
        );
        found = values.into_iter().zip(directions).take(count).collect();
        if settled {
            break;
        }
        basis = next;
    }
    found
}

/// The covariance matrix times each vector.
fn images(centred: &[f64], width: usize, basis: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let rows = (centred.len() / width) as f64;
    let mut images = vec![vec![0.0; width]; basis.len()];
    for row in centred.chunks_exact(width) {
        for (image, vector) in images.iter_mut().zip(basis) {
            add(image, row.iter().copied(), dot(row, vector) / rows);
        }
    }
    images
}

/// Gram and Schmidt, twice for the sake of rounding. A vector that depends on those before it
/// becomes 0.
fn orthonormalise(basis: &mut [Vec<f64>]) {
    for place in 0..basis.len() {
        let (before, rest) = basis.split_at_mut(place);
        let Some(vector) = rest.first_mut() else { return };
        let length = dot(vector, vector).sqrt();
        for _ in 0..2 {
            for other in &*before {
                let part = dot(vector, other);
                add(vector, other.iter().copied(), -part);
            }
        }
        let left = dot(vector, vector).sqrt();
        let scale = if left > ROUNDING * length { 1.0 / left } else { 0.0 };
        vector.iter_mut().for_each(|x| *x *= scale);
    }
}

/// Eigenvalues of a symmetric matrix, descending, and their vectors, by Jacobi's rotations.
fn eigen(mut matrix: Vec<Vec<f64>>) -> (Vec<f64>, Vec<Vec<f64>>) {
    let size = matrix.len();
    // By rows: row i becomes the vector of eigenvalue i.
    let mut vectors: Vec<Vec<f64>> =
        (0..size).map(|i| (0..size).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    let scale: f64 = matrix.iter().flatten().map(|x| x * x).sum::<f64>().sqrt();
    for _ in 0..SWEEPS_MAX {
        let mut rotated = false;
        for p in 0..size {
            for q in p + 1..size {
                let off = matrix[p][q];
                if off.abs() <= f64::EPSILON * 1e-3 * scale {
                    continue;
                }
                rotated = true;
                let theta = (matrix[q][q] - matrix[p][p]) / (2.0 * off);
                let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                for row in &mut matrix {
                    let (x, y) = (row[p], row[q]);
                    (row[p], row[q]) = (c * x - s * y, s * x + c * y);
                }
                for lines in [&mut matrix, &mut vectors] {
                    let (above, below) = lines.split_at_mut(q);
                    for (x, y) in above[p].iter_mut().zip(&mut below[0]) {
                        (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
                    }
                }
            }
        }
        if !rotated {
            break;
        }
    }
    let mut pairs: Vec<(f64, Vec<f64>)> =
        vectors.into_iter().enumerate().map(|(i, vector)| (matrix[i][i], vector)).collect();
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    pairs.into_iter().unzip()
}

/// A direction and its opposite are one: the first of the largest entries shall be positive.
fn orient(direction: &mut [f64]) {
    let largest = direction.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    // Entries that differ by rounding alone are equally large.
    let first = direction.iter().find(|x| x.abs() >= largest * (1.0 - 1e-6));
    if first.is_some_and(|x| *x < 0.0) {
        direction.iter_mut().for_each(|x| *x = -*x);
    }
}

fn add(sum: &mut [f64], vector: impl Iterator<Item = f64>, times: f64) {
    sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += times * x);
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scores(rows: &[f32], found: &Components, direction: usize) -> Vec<f64> {
        let row = |row: &[f32]| {
            let centred = row.iter().zip(&found.mean).map(|(&x, mean)| f64::from(x) - mean);
            centred.zip(&found.directions[direction]).map(|(x, d)| x * d).sum()
        };
        rows.chunks_exact(found.mean.len()).map(row).collect()
    }

    proptest! {
        #[test]
        fn directions_are_orthonormal_and_hold_their_variance(
            data in proptest::collection::vec(-100.0..100.0f32, 60..400),
            width in 2..12usize, count in 0..8usize,
        ) {
            let rows = &data[..data.len() / width * width];
            let found = components(rows, width, count).unwrap();
            prop_assert!(found.directions.len() <= count.min(width));
            prop_assert!(found.variances.windows(2).all(|pair| pair[0] >= pair[1]));
            for (i, a) in found.directions.iter().enumerate() {
                for (j, b) in found.directions.iter().enumerate() {
                    let expected = f64::from(u8::from(i == j));
                    prop_assert!((dot(a, b) - expected).abs() < 1e-9);
                }
                let scores = scores(rows, &found, i);
                let variance = dot(&scores, &scores) / scores.len() as f64;
                prop_assert!((variance - found.variances[i]).abs() <= 1e-6 * variance);
                let most = scores.iter().map(|x| x * x).fold(0.0, f64::max);
                let expected = most / (variance * scores.len() as f64);
                prop_assert!((found.leverage[i].0 - expected).abs() < 1e-6);
            }
            // No other direction has more variance than the first: not those of the axes.
            if let Some(first) = found.variances.first() {
                for axis in 0..width {
                    let values = rows.chunks_exact(width).map(|row| f64::from(row[axis]));
                    let spread = values.collect::<crate::stats::moments::Moments>();
                    prop_assert!(spread.std_pop().unwrap().powi(2) <= first * (1.0 + 1e-6));
                }
            }
            prop_assert_eq!(components(rows, width, count), Some(found), "seeded");
        }
    }

    #[test]
    fn rows_that_vary_in_few_directions_have_few() {
        let line: Vec<f32> = (0..50).flat_map(|i| [i as f32, 2.0 * i as f32, 7.0]).collect();
        let found = components(&line, 3, 4).unwrap();
        assert_eq!(found.directions.len(), 1);
        let expected = [1.0 / 5f64.sqrt(), 2.0 / 5f64.sqrt(), 0.0];
        assert!(found.directions[0].iter().zip(expected).all(|(x, y)| (x - y).abs() < 1e-9));
        assert!((found.mean[0], found.mean[2]) == (24.5, 7.0));
        // Equal up to the last bit of an FP32: that is no direction.
        let alike: Vec<f32> =
            (0..300).map(|i| if i % 7 == 0 { 0.1f32.next_up() } else { 0.1 }).collect();
        assert_eq!(components(&alike, 3, 4).unwrap().directions.len(), 0);
        assert_eq!(components(&[0.0; 30], 3, 4).unwrap().directions.len(), 0);
    }

    #[test]
    fn one_row_that_makes_a_direction_is_named() {
        let mut rows: Vec<f32> = (0..400).map(|i| (i * 37 % 11) as f32).collect();
        rows[4 * 42..][..4].copy_from_slice(&[900.0, -900.0, 0.0, 5.0]);
        let (share, row) = components(&rows, 4, 2).unwrap().leverage[0];
        assert!(share > 0.9 && row == 42, "{share} {row}");
    }

    #[test]
    fn what_has_no_components() {
        assert_eq!(components(&[], 2, 1), None);
        assert_eq!(components(&[1.0; 3], 2, 1), None);
        assert_eq!(components(&[1.0, f32::NAN], 2, 1), None);
        assert_eq!(components(&vec![0.0; WIDTH_MAX + 1], WIDTH_MAX + 1, 1), None);
    }
}
