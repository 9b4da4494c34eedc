//! Tails of distributions: how likely something as extreme is by chance.

use std::f64::consts::{FRAC_2_SQRT_PI, PI};

/// The 97.5 % point of the standard normal distribution: the half width of a 95 % interval.
pub const NORMAL_975: f64 = 1.959_963_984_540_054;

/// Steps of a series or a continued fraction; both are there long before.
const STEPS_MAX: usize = 500;

/// Complementary error function for `z >= 0`, to about 1e-14 of its value.
pub fn erfc(z: f64) -> f64 {
    if z < 2.0 { 1.0 - erf_series(z) } else { erfc_fraction(z) }
}

/// `erf z = 2/sqrt(pi) exp(-z^2) sum 2^n z^(2n+1) / (2n+1)!!`: no term is negative.
fn erf_series(z: f64) -> f64 {
    let mut term = z;
    let mut sum = z;
    for n in 1..STEPS_MAX {
        term *= 2.0 * z * z / (2 * n + 1) as f64;
        sum += term;
        if term <= sum * f64::EPSILON / 4.0 {
            break;
        }
    }
    FRAC_2_SQRT_PI * (-z * z).exp() * sum
}

/// Laplace's continued fraction, by Lentz's method:
/// `erfc z = exp(-z^2) / sqrt(pi) * 1/(z + (1/2)/(z + (2/2)/(z + (3/2)/(z + ...))))`.
fn erfc_fraction(z: f64) -> f64 {
    let (mut f, mut c, mut d) = (z, z, 0.0);
    for n in 1..STEPS_MAX {
        let a = n as f64 / 2.0;
        d = 1.0 / (z + a * d);
        c = z + a / c;
        let delta = c * d;
        f *= delta;
        if (delta - 1.0).abs() < f64::EPSILON {
            break;
        }
    }
    (-z * z).exp() / (PI.sqrt() * f)
}

/// Probability that a chi-square variable of `dof` degrees of freedom is `x` or more.
///
/// Half the degrees are a whole or half number, so the incomplete gamma function is a finite sum:
/// `Q(a + 1, y) = Q(a, y) + y^a exp(-y) / gamma(a + 1)` from `Q(1/2, y) = erfc(sqrt y)` or
/// `Q(1, y) = exp(-y)`.
pub fn chi_square_tail(x: f64, dof: u64) -> f64 {
    // Also what is no number: no degree of freedom and no statistic are no evidence.
    if dof == 0 || x.is_nan() || x <= 0.0 {
        return 1.0;
    }
    let y = x / 2.0;
    let (mut tail, mut a, mut log_gamma) = match dof % 2 {
        // ln gamma(3/2) and ln gamma(2).
        1 => (erfc(y.sqrt()), 0.5, PI.sqrt().ln() - 2f64.ln()),
        _ => ((-y).exp(), 1.0, 0.0),
    };
    for _ in 1..dof.div_ceil(2) {
        // By its logarithm: exp(-y) alone may be zero where the product is not.
        tail += (a * y.ln() - y - log_gamma).exp();
        a += 1.0;
        log_gamma += a.ln();
    }
    tail.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erfc_agrees_with_published_values() {
        // Abramowitz and Stegun, table 7.1 and 7.3.
        for (z, expected) in [
            (0.0, 1.0),
            (0.5, 0.479_500_122_186_953_5),
            (1.0, 0.157_299_207_050_285_1),
            (2.0, 0.004_677_734_981_047_266),
            (3.0, 2.209_049_699_858_544e-5),
        ] {
            assert!((erfc(z) / expected - 1.0).abs() < 1e-12, "{z}: {}", erfc(z));
        }
        let seam = erfc(2.0 - 1e-12) / erfc(2.0);
        assert!((seam - 1.0).abs() < 1e-10);
    }

    #[test]
    fn nothing_extreme_is_certain() {
        assert_eq!(chi_square_tail(0.0, 3), 1.0);
        assert_eq!(chi_square_tail(f64::NAN, 3), 1.0);
        assert_eq!(chi_square_tail(5.0, 0), 1.0);
        // Known in every textbook: 3.841 is the 5 % point of one degree of freedom.
        assert!((chi_square_tail(3.841_458_820_694_124, 1) - 0.05).abs() < 1e-14);
    }
}
