//! The two-sample Kolmogorov-Smirnov test, two-sided.
//!
//! Exact by counting lattice paths up to [`EXACT_MAX`] values a side, as SciPy does; beyond, the
//! distribution of the one-sample statistic at the effective sample size (Simard and L'Ecuyer,
//! Journal of Statistical Software 39(11), 2011).
//!
//! Cost: exact is O(n m D), 25 million steps at most for 5,000 against 5,000: for the background.

use super::samples::sorted;

/// Most values on either side for the exact probability.
pub const EXACT_MAX: usize = 10_000;

/// The test's answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kolmogorov {
    /// The largest difference of the two distribution functions, 0 to 1.
    pub statistic: f64,
    /// The probability of one as large or larger if both samples come from one distribution.
    pub p: f64,
}

/// Tests two samples; what is not finite is left out. `None` where one side is empty.
pub fn two_sample(a: &[f64], b: &[f64]) -> Option<Kolmogorov> {
    let (a, b) = (sorted(a), sorted(b));
    let gap = Gap::of(&a, &b)?;
    let p = if a.len().max(b.len()) <= EXACT_MAX { gap.exact() } else { gap.asymptotic() };
    Some(Kolmogorov { statistic: gap.statistic(), p })
}

/// The largest difference as a whole number of `1 / lcm(n, m)`, so that no rounding decides a tie.
struct Gap {
    n: u64,
    m: u64,
    divisor: u64,
    steps: u64,
}

impl Gap {
    fn of(a: &[f64], b: &[f64]) -> Option<Self> {
        let (n, m) = (a.len() as u64, b.len() as u64);
        if n == 0 || m == 0 {
            return None;
        }
        let (mut i, mut j, mut largest) = (0, 0, 0);
        while i < a.len() && j < b.len() {
            let value = a[i].min(b[j]);
            i += a[i..].iter().take_while(|&&x| x <= value).count();
            j += b[j..].iter().take_while(|&&x| x <= value).count();
            largest = (i as u64 * m).abs_diff(j as u64 * n).max(largest);
        }
        let divisor = gcd(n, m);
        Some(Self { n, m, divisor, steps: largest / divisor })
    }

    fn statistic(&self) -> f64 {
        (self.steps * self.divisor) as f64 / (self.n as f64 * self.m as f64)
    }

    /// The share of lattice paths from (0, 0) to (n, m) that leave the band, by the last step:
    /// `v(i, j) = i/(i+j) v(i-1, j) + j/(i+j) v(i, j-1)`, and 1 outside. Sums of what is positive:
    /// even a tiny probability keeps its digits.
    fn exact(&self) -> f64 {
        if self.steps == 0 {
            return 1.0;
        }
        let (up, along) = (self.m / self.divisor, self.n / self.divisor);
        // Of a row, what lies in the band: both of its ends only ever rise.
        let mut row = vec![1.0; self.m as usize + 1];
        for i in 0..=self.n {
            let middle = i * up;
            let first = middle.checked_sub(self.steps).map_or(0, |below| below / along + 1);
            let end = ((middle + self.steps - 1) / along + 1).min(self.m + 1);
            let mut left = 1.0;
            for (j, cell) in (first..end).zip(row.iter_mut().skip(first as usize)) {
                if i + j == 0 {
                    *cell = 0.0;
                } else {
                    *cell = (i as f64 * *cell + j as f64 * left) / (i + j) as f64;
                }
                left = *cell;
            }
        }
        row.last().copied().unwrap_or(1.0).min(1.0)
    }

    fn asymptotic(&self) -> f64 {
        let (n, m) = (self.n as f64, self.m as f64);
        one_sample_tail((n * m / (n + m)).round(), self.statistic())
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Probability that the one-sample statistic of `n` values is `d` or more.
fn one_sample_tail(n: f64, d: f64) -> f64 {
    let reach = n * d * d;
    if n * d <= 0.5 {
        return 1.0;
    }
    if d >= 1.0 || reach > 370.0 {
        return 0.0;
    }
    // So far out, both one-sided tails at once are rarer than 1e-7 of either.
    if reach >= 4.0 || (n > 140.0 && reach >= 2.2) {
        return (2.0 * one_sided_tail(n, d)).clamp(0.0, 1.0);
    }
    let below = if n <= 140.0 { durbin(n, d) } else { pelz_good(n, d) };
    (1.0 - below).clamp(0.0, 1.0)
}

/// Birnbaum and Tingey's sum for the one-sided statistic; terms by their logarithms.
fn one_sided_tail(n: f64, d: f64) -> f64 {
    let mut log_choose = 0.0;
    let mut sum = 0.0;
    for j in 0..=(n * (1.0 - d)).floor() as u64 {
        let j = j as f64;
        let rest = 1.0 - d - j / n;
        let power = if n > j { (n - j) * rest.max(0.0).ln() } else { 0.0 };
        sum += (log_choose + (j - 1.0) * (d + j / n).ln() + power).exp();
        log_choose += (n - j).ln() - (j + 1.0).ln();
    }
    d * sum
}

/// The distribution function by Durbin's matrix (Marsaglia, Tsang and Wang, 2003).
fn durbin(n: f64, d: f64) -> f64 {
    let k = (n * d).ceil();
    let h = k - n * d;
    let size = 2 * k as usize - 1;
    let power = |times: usize| h.powi(times as i32);
    let entry = |i: usize, j: usize| {
        if j > i + 1 {
            return 0.0;
        }
        let mut entry = 1.0;
        if j == 0 {
            entry -= power(i + 1);
        }
        if i + 1 == size {
            entry -= power(size - j);
        }
        if j == 0 && i + 1 == size && 2.0 * h > 1.0 {
            entry += (2.0 * h - 1.0).powi(size as i32);
        }
        entry / (1..=i + 1 - j).map(|g| g as f64).product::<f64>()
    };
    let row = |i: usize| (0..size).map(|j| entry(i, j)).collect();
    let matrix: Matrix = (0..size).map(row).collect();
    let middle = k as usize - 1;
    let raised = to_power(&matrix, n as u32);
    let scale: f64 = (1..=n as u32).map(|i| f64::from(i) / n).product();
    (raised[middle][middle] * scale).clamp(0.0, 1.0)
}

type Matrix = Vec<Vec<f64>>;

fn to_power(matrix: &Matrix, exponent: u32) -> Matrix {
    if exponent <= 1 {
        return matrix.clone();
    }
    let half = to_power(matrix, exponent / 2);
    let square = product(&half, &half);
    if exponent.is_multiple_of(2) { square } else { product(&square, matrix) }
}

fn product(a: &Matrix, b: &Matrix) -> Matrix {
    let columns = b.first().map_or(0, Vec::len);
    let row = |row: &Vec<f64>| {
        let cell = |column: usize| row.iter().zip(b).map(|(x, line)| x * line[column]).sum();
        (0..columns).map(cell).collect()
    };
    a.iter().map(row).collect()
}

/// Pelz and Good's expansion of the distribution function in powers of `1 / sqrt n` (1976).
fn pelz_good(n: f64, d: f64) -> f64 {
    use std::f64::consts::PI;
    let z = n.sqrt() * d;
    let (pi2, z2) = (PI * PI, z * z);
    let (pi4, pi6, z4, z6) = (pi2 * pi2, pi2 * pi2 * pi2, z2 * z2, z2 * z2 * z2);
    let mut sums = [0.0; 4];
    let mut extra = [0.0; 2];
    for k in 0..=(16.0 * z / PI).ceil() as u64 {
        let odd = (2 * k + 1) as f64;
        let (o2, weight) = (odd * odd, (-pi2 * odd * odd / (8.0 * z2)).exp());
        let (o4, o6) = (o2 * o2, o2 * o2 * o2);
        sums[0] += weight;
        sums[1] += weight * (pi2 * o2 / 4.0 - z2);
        sums[2] += weight
            * (6.0 * z6
                + 2.0 * z4
                + pi2 * (2.0 * z4 - 5.0 * z2) * o2 / 4.0
                + pi4 * (1.0 - 2.0 * z2) * o4 / 16.0);
        sums[3] += weight
            * (-30.0 * z6 - 90.0 * z4 * z4
                + pi2 * (135.0 * z4 - 96.0 * z6) * o2 / 4.0
                + pi4 * (212.0 * z4 - 60.0 * z2) * o4 / 16.0
                + pi6 * (5.0 - 30.0 * z2) * o6 / 64.0);
        let whole = ((k + 1) * (k + 1)) as f64;
        let weight = (-pi2 * whole / (2.0 * z2)).exp();
        extra[0] += weight * whole;
        extra[1] += weight * whole * (3.0 * z2 - pi2 * whole);
    }
    let root = (2.0 * PI).sqrt();
    let terms = [
        root / z * sums[0],
        root / (6.0 * z4) * sums[1],
        root / (72.0 * z6 * z) * sums[2] - pi2 * root / (36.0 * z2 * z) * extra[0],
        root / (6480.0 * z6 * z4) * sums[3] + pi2 * root / (216.0 * z6) * extra[1],
    ];
    let in_powers = terms.iter().zip(0..).map(|(term, power)| term / n.sqrt().powi(power));
    in_powers.sum::<f64>().clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_samples_are_no_evidence() {
        let values = [1.0, 2.0, 2.0, 3.0];
        assert_eq!(two_sample(&values, &values), Some(Kolmogorov { statistic: 0.0, p: 1.0 }));
        assert_eq!(two_sample(&values, &[f64::NAN]), None);
        let apart = two_sample(&[1.0, 2.0], &[3.0, 4.0]).unwrap();
        // Two of the six orders of 2 and 2 values are as extreme.
        assert!((apart.p - 1.0 / 3.0).abs() < 1e-15 && apart.statistic == 1.0);
    }

    #[test]
    fn the_expansion_meets_the_matrix() {
        for d in [0.05, 0.08, 0.11] {
            let (matrix, expansion) = (durbin(140.0, d), pelz_good(140.0, d));
            assert!((matrix - expansion).abs() < 1e-5, "{d}: {matrix} {expansion}");
        }
    }

    proptest! {
        #[test]
        fn the_answer_is_in_range_and_knows_no_order(
            a in proptest::collection::vec(0i8..20, 1..30),
            b in proptest::collection::vec(0i8..20, 1..30),
        ) {
            let plain = |list: &[i8]| list.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
            let (mut x, y) = (plain(&a), plain(&b));
            let first = two_sample(&x, &y).unwrap();
            prop_assert!((0.0..=1.0).contains(&first.p) && (0.0..=1.0).contains(&first.statistic));
            x.reverse();
            prop_assert_eq!(two_sample(&x, &y).unwrap(), first);
            let back = two_sample(&y, &x).unwrap();
            prop_assert!((back.p - first.p).abs() < 1e-12 && back.statistic == first.statistic);
        }
    }
}
