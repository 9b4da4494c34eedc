//! How large a population stability index gets without drift, learnt from held-out rows: rows of
//! the same source that training did not see.
//!
//! Without drift, the index of `n` rows against `m` is about `(1/n + 1/m)` times a chi-square of
//! `bins - 1` degrees of freedom (B. Yurdakul and J. Naranjo, Statistical properties of the
//! population stability index, Journal of Risk Model Validation 14(4), 2020). The part with `m` is
//! the reference's own error: it is the same in every window, so that waiting for a second window
//! is no protection from it. Held-out rows show it, with whatever else tells training rows from
//! new ones (a model is surer of what it was trained on). Windows are drawn from them with
//! replacement (the bootstrap: B. Efron, Annals of Statistics 7(1), 1979), and the limit is the
//! 99.9 % quantile of the gamma distribution with the mean, spread and skewness of their index: of
//! the draws alone, so high a quantile would be that of the two largest. It holds the error of the
//! held-out rows too, so it errs to the side of silence, by about a chi-square over their number.

use super::divergence::psi;
use super::drift::COUNT_MIN;

/// Windows that are drawn.
const WINDOWS: usize = 2000;
/// Of the normal distribution.
const NORMAL_999: f64 = 3.090_232_306_167_813_5;
const SEED: u64 = 0x6865_6c64;

/// The index that one window in a thousand of rows like these is above, against `reference`; of the
/// smallest windows that are judged, so that larger ones are above it more rarely. The counts are
/// by the same bins; `None` where one of them is empty.
pub fn psi_limit(held_out: &[u64], reference: &[u64]) -> Option<f64> {
    let total: u64 = held_out.iter().sum();
    psi(held_out, reference)?;
    let ends: Vec<u64> = held_out
        .iter()
        .scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        })
        .collect();
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut drawn = vec![0u64; held_out.len()];
    let window = |_| {
        drawn.fill(0);
        for _ in 0..COUNT_MIN {
            let row = random.u64(0..total);
            let bin = ends.partition_point(|end| *end <= row);
            if let Some(count) = drawn.get_mut(bin) {
                *count += 1;
            }
        }
        psi(&drawn, reference)
    };
    let found = (0..WINDOWS).map(window).collect::<Option<Vec<f64>>>()?;
    let moment = |power, about: f64| {
        found.iter().map(|psi| (psi - about).powi(power)).sum::<f64>() / WINDOWS as f64
    };
    let mean = moment(1, 0.0);
    let deviation = moment(2, mean).sqrt();
    let skewness = moment(3, mean) / deviation.powi(3);
    Some(mean + deviation * skewed(skewness).unwrap_or(NORMAL_999))
}

/// The 99.9 % quantile of a gamma distribution of mean 0 and deviation 1, moved to its place (E.
/// Wilson and M. Hilferty, PNAS 17, 1931); `None` for one that is not skewed.
fn skewed(skewness: f64) -> Option<f64> {
    let cube = (1.0 + skewness * NORMAL_999 / 6.0 - skewness * skewness / 36.0).powi(3);
    (skewness.abs() > 1e-6).then(|| 2.0 / skewness * (cube - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::tails::NORMAL_975;

    #[test]
    fn of_a_large_sample_it_is_the_quantile_of_chi_square() {
        // As in training: what is left is the error of the window. chi2(9) is below 27.88 in 999
        // of 1000 cases.
        let (held_out, reference) = ([100_000; 10], [100_000; 10]);
        let limit = psi_limit(&held_out, &reference).unwrap();
        let expected = 27.88 / COUNT_MIN as f64;
        assert!((limit / expected - 1.0).abs() < 0.08, "{limit}, expected {expected}");
        assert_eq!(psi_limit(&held_out, &reference), Some(limit), "the same at every time");
    }

    #[test]
    fn what_held_out_rows_are_off_by_is_in_it() {
        let (held_out, reference) = ([10, 15, 20, 5, 22, 11, 17, 12, 20, 11], [43; 10]);
        let off = psi(&held_out, &reference).unwrap();
        let limit = psi_limit(&held_out, &reference).unwrap();
        // The delta method: gradient of the index by the window's shares.
        let total: u64 = held_out.iter().sum();
        let shares: Vec<f64> = held_out.iter().map(|c| *c as f64 / total as f64).collect();
        let slope = |p: f64| (p / 0.1f64).ln() + 1.0 - 0.1 / p;
        let mean: f64 = shares.iter().map(|p| p * slope(*p)).sum();
        let square: f64 = shares.iter().map(|p| p * slope(*p).powi(2)).sum();
        let n = COUNT_MIN as f64;
        let deviation = ((square - mean * mean) / n).sqrt();
        let middle = off + 9.0 / n;
        // The upper thousandth of a normal lies 3.09 deviations out.
        assert!(limit > middle + NORMAL_975 * deviation, "{limit}, {middle}, {deviation}");
        assert!(limit < middle + 5.0 * deviation, "{limit}, {middle}, {deviation}");
    }

    #[test]
    fn quantiles_of_chi_squares_come_out() {
        // Mean k, variance 2 k, skewness sqrt(8 / k); quantiles as scipy.stats.chi2 has them.
        for (k, quantile) in
            [(1.0f64, 10.827_57), (3.0, 16.266_24), (9.0, 27.877_16), (99.0, 148.230_4)]
        {
            let found = k + (2.0 * k).sqrt() * skewed((8.0 / k).sqrt()).unwrap();
            assert!((found / quantile - 1.0).abs() < 0.04, "{k}: {found}");
        }
        assert_eq!(skewed(0.0), None);
        assert!((skewed(1e-5).unwrap() - NORMAL_999).abs() < 1e-4);
        // Where every window is the same, there is no spread.
        assert_eq!(psi_limit(&[7], &[5]), Some(0.0));
    }

    #[test]
    fn without_rows_there_is_no_limit() {
        assert_eq!(psi_limit(&[0, 0], &[1, 1]), None);
        assert_eq!(psi_limit(&[1, 1], &[0, 0]), None);
        assert_eq!(psi_limit(&[1], &[1, 1]), None);
        assert_eq!(psi_limit(&[], &[]), None);
    }
}
