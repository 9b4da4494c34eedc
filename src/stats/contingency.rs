//! Two rows of counts over the same categories: are they from one distribution?

use super::tails::chi_square_tail;

/// Pearson's chi-square test of a 2 x K table, without continuity correction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChiSquare {
    pub statistic: f64,
    pub dof: u64,
    pub p: f64,
    /// Cramer's V with Bergsma's bias correction, 0 to 1.
    pub cramers_v: f64,
}

/// Tests two rows. A category that neither has is no column of the table. `None` where a row is
/// empty or the rows do not fit; with one column, nothing can differ: p is 1.
pub fn chi_square(a: &[u64], b: &[u64]) -> Option<ChiSquare> {
    let sum = |row: &[u64]| row.iter().sum::<u64>() as f64;
    let (n, m) = (sum(a), sum(b));
    if a.len() != b.len() || n == 0.0 || m == 0.0 {
        return None;
    }
    let columns = || a.iter().zip(b).filter(|(a, b)| **a + **b > 0);
    let total = n + m;
    let statistic: f64 = columns()
        .map(|(&a, &b)| {
            let column = (a + b) as f64;
            let part = |seen: u64, row: f64| {
                let expected = column * row / total;
                (seen as f64 - expected).powi(2) / expected
            };
            part(a, n) + part(b, m)
        })
        .sum();
    let kinds = columns().count();
    let dof = kinds.saturating_sub(1) as u64;
    Some(ChiSquare {
        statistic,
        dof,
        p: chi_square_tail(statistic, dof),
        cramers_v: cramers_v(statistic, total, kinds),
    })
}

/// `phi2' = max(0, chi2/n - (k-1)(r-1)/(n-1))`, divided by the lesser of `k' - 1` and `r' - 1`
/// where `k' = k - (k-1)^2/(n-1)`; r is 2 rows.
fn cramers_v(statistic: f64, n: f64, kinds: usize) -> f64 {
    let (k, r) = (kinds as f64, 2.0);
    let corrected = |size: f64| size - (size - 1.0).powi(2) / (n - 1.0) - 1.0;
    let phi2 = (statistic / n - (k - 1.0) * (r - 1.0) / (n - 1.0)).max(0.0);
    let scale = corrected(k).min(corrected(r));
    if scale > 0.0 { (phi2 / scale).sqrt().min(1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_table_without_anything_to_differ() {
        assert_eq!(chi_square(&[3, 0], &[0, 0]), None);
        assert_eq!(chi_square(&[3], &[1, 2]), None);
        let one = chi_square(&[3, 0], &[5, 0]).unwrap();
        assert_eq!((one.dof, one.p, one.cramers_v), (0, 1.0, 0.0));
        let tiny = chi_square(&[1, 0], &[0, 1]).unwrap();
        assert!(tiny.cramers_v.is_finite());
    }

    proptest! {
        #[test]
        fn rows_and_columns_may_change_places(
            pairs in proptest::collection::vec((0u64..50, 0u64..50), 2..10)
        ) {
            let (mut a, mut b): (Vec<u64>, Vec<u64>) = pairs.into_iter().unzip();
            a[0] += 1;
            b[0] += 1;
            let first = chi_square(&a, &b).unwrap();
            prop_assert!((0.0..=1.0).contains(&first.p) && (0.0..=1.0).contains(&first.cramers_v));
            let swapped = chi_square(&b, &a).unwrap();
            prop_assert!((swapped.statistic - first.statistic).abs() < 1e-9);
            a.reverse();
            b.reverse();
            prop_assert!((chi_square(&a, &b).unwrap().p - first.p).abs() < 1e-9);
            prop_assert!(chi_square(&a, &a).unwrap().statistic < 1e-9);
        }
    }
}
