//! How far apart two distributions are, given as counts over the same bins or categories.
//!
//! Counts become shares of their sum. All are 0 where the shares are equal; without any count on
//! one side there is nothing to compare, and the answer is `None`. `p` is the current window, `q`
//! the reference.

/// What a share of zero becomes where a logarithm is taken of it: a ten-thousandth, or a millionth
/// of the smallest share where that is smaller still (Evidently's rule).
const FILL: f64 = 1e-4;

/// The unit of a distance that comes from logarithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// Natural logarithm, nats: Evidently's.
    E,
    /// Logarithm to base 2, bits: NannyML's. The Jensen-Shannon distance is then 1 at most.
    Two,
}

/// Shares of the sum; `None` where the two do not fit or one is empty.
fn shares(p: &[u64], q: &[u64]) -> Option<(Vec<f64>, Vec<f64>)> {
    let of = |counts: &[u64]| {
        let total: u64 = counts.iter().sum();
        let share = |&count: &u64| count as f64 / total as f64;
        (total > 0).then(|| counts.iter().map(share).collect::<Vec<f64>>())
    };
    if p.len() != q.len() {
        return None;
    }
    of(p).zip(of(q))
}

/// Evidently's rule for zeros; the shares then sum to a little more than 1.
fn fill(mut shares: Vec<f64>) -> Vec<f64> {
    let smallest = shares.iter().copied().filter(|&share| share > 0.0).fold(1.0, f64::min);
    let fill = if smallest <= FILL { smallest / 1e6 } else { FILL };
    shares.iter_mut().filter(|share| **share == 0.0).for_each(|share| *share = fill);
    shares
}

/// Population stability index: the sum of `(p - q) ln(p / q)`, zeros filled, in nats. 0 or more.
pub fn psi(p: &[u64], q: &[u64]) -> Option<f64> {
    psi_with(p, q, fill)
}

/// The same with shares below `floor` lifted to it (Deepchecks: 0.01), in place of the rule above.
pub fn psi_floored(p: &[u64], q: &[u64], floor: f64) -> Option<f64> {
    psi_with(p, q, |shares| shares.into_iter().map(|share| share.max(floor)).collect())
}

fn psi_with(p: &[u64], q: &[u64], fill: impl Fn(Vec<f64>) -> Vec<f64>) -> Option<f64> {
    let (p, q) = shares(p, q)?;
    let (p, q) = (fill(p), fill(q));
    Some(p.iter().zip(&q).map(|(p, q)| (p - q) * (p / q).ln()).sum())
}

/// What [`psi`] is to be expected without any drift, of `bins` bins and samples of `n` and `m`: a
/// score is news only well above it.
pub fn psi_noise_floor(bins: usize, n: u64, m: u64) -> f64 {
    if n == 0 || m == 0 {
        return f64::INFINITY;
    }
    bins.saturating_sub(1) as f64 * (1.0 / n as f64 + 1.0 / m as f64)
}

/// Kullback-Leibler divergence of `p` from `q`, zeros filled and both scaled to sum 1, in nats.
pub fn kullback_leibler(p: &[u64], q: &[u64]) -> Option<f64> {
    let (p, q) = shares(p, q)?;
    let scale = |shares: Vec<f64>| {
        let total: f64 = shares.iter().sum();
        shares.into_iter().map(|share| share / total).collect::<Vec<f64>>()
    };
    let (p, q) = (scale(fill(p)), scale(fill(q)));
    Some(p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum())
}

/// Jensen-Shannon *distance*: the square root of the divergence. 0 to 1 in base 2, to 0.8326 in
/// base e.
pub fn jensen_shannon(p: &[u64], q: &[u64], base: Base) -> Option<f64> {
    let (p, q) = shares(p, q)?;
    let part = |x: f64, middle: f64| if x > 0.0 { x * (x / middle).ln() } else { 0.0 };
    let nats: f64 = p
        .iter()
        .zip(&q)
        .map(|(&p, &q)| {
            let middle = f64::midpoint(p, q);
            part(p, middle) + part(q, middle)
        })
        .sum();
    let unit = match base {
        Base::E => 1.0,
        Base::Two => std::f64::consts::LN_2,
    };
    Some((nats / 2.0 / unit).max(0.0).sqrt())
}

/// Hellinger distance, 0 to 1.
pub fn hellinger(p: &[u64], q: &[u64]) -> Option<f64> {
    let (p, q) = shares(p, q)?;
    let overlap: f64 = p.iter().zip(&q).map(|(p, q)| (p * q).sqrt()).sum();
    Some((1.0 - overlap).max(0.0).sqrt())
}

/// Total variation distance: half the sum of differences, 0 to 1.
pub fn total_variation(p: &[u64], q: &[u64]) -> Option<f64> {
    let (p, q) = shares(p, q)?;
    Some(p.iter().zip(&q).map(|(p, q)| (p - q).abs()).sum::<f64>() / 2.0)
}

/// The largest difference of any share, 0 to 1.
pub fn l_infinity(p: &[u64], q: &[u64]) -> Option<f64> {
    let (p, q) = shares(p, q)?;
    Some(p.iter().zip(&q).map(|(p, q)| (p - q).abs()).fold(0.0, f64::max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_is_compared_with_nothing() {
        assert_eq!(psi(&[0, 0], &[1, 2]), None);
        assert_eq!(hellinger(&[1, 2], &[1, 2, 3]), None);
        assert_eq!(psi_noise_floor(10, 0, 5), f64::INFINITY);
        // The expectation that 300 simulations had (mean 0.037).
        assert!((psi_noise_floor(10, 500, 500) - 0.036).abs() < 1e-12);
    }

    #[test]
    fn a_very_small_share_is_not_overtaken_by_the_fill() {
        let (p, q) = ([1, 99_999, 0], [50_000, 50_000, 0]);
        let filled = fill(shares(&p, &q).unwrap().0);
        assert_eq!(filled[2], 1e-5 / 1e6);
        assert!(psi(&p, &q).unwrap().is_finite());
    }

    proptest! {
        #[test]
        fn distances_keep_to_their_ranges(
            pairs in proptest::collection::vec((0u64..100, 0u64..100), 2..20),
            turn in 0usize..20,
        ) {
            let (mut p, mut q): (Vec<u64>, Vec<u64>) = pairs.into_iter().unzip();
            p[0] += 1;
            q[1] += 1;
            let js = |p: &[u64], q: &[u64]| jensen_shannon(p, q, Base::Two);
            let bounded = [hellinger, total_variation, l_infinity, js];
            for distance in bounded {
                let d = distance(&p, &q).unwrap();
                prop_assert!((0.0..=1.0 + 1e-12).contains(&d), "{d}");
                prop_assert!((distance(&q, &p).unwrap() - d).abs() < 1e-12, "symmetric");
            }
            prop_assert!(psi(&p, &q).unwrap() >= 0.0);
            prop_assert!(kullback_leibler(&p, &q).unwrap() >= -1e-12);
            let all = [psi, kullback_leibler, hellinger, total_variation, l_infinity, js];
            let (turn, length) = (turn % p.len(), p.len());
            let turned = |list: &[u64]| {
                let mut list = list.to_vec();
                list.rotate_left(turn);
                list
            };
            for distance in all {
                // The square root under Hellinger and Jensen-Shannon makes 1e-16 to 1e-8.
                prop_assert!(distance(&p, &p).unwrap().abs() < 1e-7);
                let twice: Vec<u64> = p.iter().map(|count| count * 2).collect();
                prop_assert!(distance(&p, &twice).unwrap().abs() < 1e-7);
                let (d, e) = (distance(&p, &q), distance(&turned(&p), &turned(&q)));
                prop_assert!((d.unwrap() - e.unwrap()).abs() < 1e-9, "{length}");
            }
        }
    }
}
