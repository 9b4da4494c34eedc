//! Maximum mean discrepancy with a Gaussian kernel (Gretton et al., 2012).

use super::Rows;
use crate::stats::bins::quantile;

/// Random partings of the pooled rows that the observed one is held against.
pub const PERMUTATIONS: usize = 100;
const SEED: u64 = 20_240_229;

/// What the test says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Discrepancy {
    /// The unbiased estimate of MMD squared; a little below 0 at times where there is no drift.
    pub mmd2: f64,
    /// Share of partings that are as far apart, the observed one among them.
    pub p: f64,
}

/// Tests two samples. `None` where their rows differ in length, or one has fewer than two.
///
/// The kernel is `exp(-d^2 / (2 s^2))`, `s^2` half the median squared distance of all pairs.
pub fn discrepancy(a: &Rows, b: &Rows) -> Option<Discrepancy> {
    let (n, total) = (a.count(), a.count() + b.count());
    if a.width != b.width || n < 2 || total - n < 2 {
        return None;
    }
    let kernel = Kernel::of(a, b);
    let mut order: Vec<usize> = (0..total).collect();
    let mmd2 = kernel.mmd2(&order, n);
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut as_far = 1;
    for _ in 0..PERMUTATIONS {
        random.shuffle(&mut order);
        as_far += usize::from(kernel.mmd2(&order, n) >= mmd2);
    }
    Some(Discrepancy { mmd2, p: as_far as f64 / (PERMUTATIONS + 1) as f64 })
}

/// The kernel's values for all pairs of the pooled rows.
struct Kernel {
    values: Vec<f64>,
    /// Of each row.
    sums: Vec<f64>,
    size: usize,
}

impl Kernel {
    fn of(a: &Rows, b: &Rows) -> Self {
        let rows: Vec<&[f64]> = a.iter().chain(b.iter()).collect();
        let size = rows.len();
        let mut values = vec![0.0; size * size];
        let mut distances = Vec::with_capacity(size * (size - 1) / 2);
        for i in 0..size {
            for j in 0..i {
                let squares = rows[i].iter().zip(rows[j]).map(|(x, y)| (x - y) * (x - y));
                let distance = squares.sum::<f64>();
                values[i * size + j] = distance;
                distances.push(distance);
            }
        }
        // Rows that are all the same have no scale; any will do.
        let scale = Some(median(distances)).filter(|median| *median > 0.0).unwrap_or(1.0);
        for i in 0..size {
            for j in 0..i {
                let value = (-values[i * size + j] / scale).exp();
                values[i * size + j] = value;
                values[j * size + i] = value;
            }
        }
        let sums = values.chunks_exact(size).map(|row| row.iter().sum()).collect();
        Self { values, sums, size }
    }

    /// The estimate where the first `n` of `order` are one sample and the rest the other. Only the
    /// pairs in the smaller sample are summed up: the other sums follow from those of whole rows.
    fn mmd2(&self, order: &[usize], n: usize) -> f64 {
        let (first, second) = order.split_at(n);
        let (few, rest) = if n <= second.len() { (first, second) } else { (second, first) };
        let within = |&i: &usize| -> f64 {
            let values = &self.values[i * self.size..][..self.size];
            few.iter().map(|&j| values[j]).sum()
        };
        // The diagonal is 0 here: a row is not its own neighbour.
        let inside: f64 = few.iter().map(within).sum();
        let across = few.iter().map(|&i| self.sums[i]).sum::<f64>() - inside;
        let outside = self.sums.iter().sum::<f64>() - 2.0 * across - inside;
        let (n, m) = (few.len() as f64, rest.len() as f64);
        inside / (n * (n - 1.0)) + outside / (m * (m - 1.0)) - 2.0 * across / (n * m)
    }
}

/// The middle value, or the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    quantile(&values, 0.5).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize, shift: f64, seed: u64) -> Rows {
        let mut random = fastrand::Rng::with_seed(seed);
        let data: Vec<f64> = (0..count * 3).map(|_| random.f64() + shift).collect();
        Rows::new(&data, 3).unwrap()
    }

    #[test]
    fn a_shift_is_found_and_the_same_source_is_not() {
        let reference = rows(60, 0.0, 1);
        let same = discrepancy(&reference, &rows(50, 0.0, 2)).unwrap();
        let moved = discrepancy(&reference, &rows(50, 0.5, 2)).unwrap();
        assert!(same.p > 0.05 && same.mmd2.abs() < 0.02, "{same:?}");
        assert!(moved.p < 0.02 && moved.mmd2 > 0.1, "{moved:?}");
        assert_eq!(discrepancy(&reference, &rows(50, 0.5, 2)), Some(moved), "seeded");
    }

    #[test]
    fn what_can_not_be_compared() {
        let one = Rows::new(&[1.0], 1).unwrap();
        assert_eq!(discrepancy(&one, &one), None);
        assert_eq!(Rows::new(&[1.0, 2.0, 3.0], 2), None);
        assert_eq!(Rows::new(&[1.0, f64::NAN], 2), None);
        assert_eq!(Rows::new(&[], 2), None);
        let equal = Rows::new(&[1.0; 8], 2).unwrap();
        assert_eq!(discrepancy(&equal, &equal).unwrap().p, 1.0);
        assert_eq!(Rows::new(&vec![0.5; 5000], 2).unwrap().count(), super::super::ROWS_MAX);
    }
}
