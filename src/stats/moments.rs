//! Count, mean, variance and extremes of a stream, in fixed memory.
//!
//! Welford's recurrence for one value, Chan, Golub and LeVeque's for two streams (1983): no sum of
//! squares, which would cancel where the mean is large beside the spread.

use serde::{Deserialize, Serialize};

/// Moments of the finite values pushed so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Moments {
    count: u64,
    mean: f64,
    /// Sum of squared differences from the mean.
    m2: f64,
    min: f64,
    max: f64,
}

/// JSON has no infinity, which the extremes of nothing are.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    count: u64,
    mean: f64,
    m2: f64,
    min: Option<f64>,
    max: Option<f64>,
}

impl From<Written> for Moments {
    fn from(Written { count, mean, m2, min, max }: Written) -> Self {
        match (min, max) {
            (Some(min), Some(max)) if count > 0 => Self { count, mean, m2, min, max },
            _ => Self::default(),
        }
    }
}

impl From<Moments> for Written {
    fn from(moments: Moments) -> Self {
        let Moments { count, mean, m2, .. } = moments;
        Self { count, mean, m2, min: moments.min(), max: moments.max() }
    }
}

impl Default for Moments {
    fn default() -> Self {
        Self { count: 0, mean: 0.0, m2: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY }
    }
}

impl Moments {
    /// Adds one value. The caller keeps what is not finite away: it would spoil the mean for good.
    pub fn push(&mut self, value: f64) {
        self.count += 1;
        let delta = value - self.mean;
        self.mean += delta / self.count as f64;
        self.m2 += delta * (value - self.mean);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// Adds what another stream has seen.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        let (n, m) = (self.count as f64, other.count as f64);
        let delta = other.mean - self.mean;
        self.count += other.count;
        self.mean += delta * m / (n + m);
        self.m2 += other.m2 + delta * delta * n * m / (n + m);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.mean)
    }

    /// Standard deviation of the population (divided by n).
    pub fn std_pop(&self) -> Option<f64> {
        (self.count > 0).then(|| (self.m2 / self.count as f64).max(0.0).sqrt())
    }

    /// Standard deviation of a sample (divided by n - 1).
    pub fn std_sample(&self) -> Option<f64> {
        (self.count > 1).then(|| (self.m2 / (self.count - 1) as f64).max(0.0).sqrt())
    }

    pub fn min(&self) -> Option<f64> {
        (self.count > 0).then_some(self.min)
    }

    pub fn max(&self) -> Option<f64> {
        (self.count > 0).then_some(self.max)
    }
}

impl Extend<f64> for Moments {
    fn extend<I: IntoIterator<Item = f64>>(&mut self, values: I) {
        values.into_iter().for_each(|value| self.push(value));
    }
}

impl FromIterator<f64> for Moments {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut moments = Self::default();
        moments.extend(values);
        moments
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values() -> impl Strategy<Value = Vec<f64>> {
        proptest::collection::vec(-1e6..1e6f64, 0..40)
    }

    fn close(a: &Moments, b: &Moments) -> bool {
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * (1.0 + a.abs());
        a.count == b.count
            && near(a.mean, b.mean)
            && near(a.m2, b.m2)
            && (a.min, a.max) == (b.min, b.max)
    }

    fn merged(a: &Moments, b: &Moments) -> Moments {
        let mut out = *a;
        out.merge(b);
        out
    }

    proptest! {
        #[test]
        fn merging_is_commutative_associative_and_as_if_pushed(
            a in values(), b in values(), c in values(),
        ) {
            let of = |list: &[f64]| list.iter().copied().collect::<Moments>();
            let (x, y, z) = (of(&a), of(&b), of(&c));
            prop_assert!(close(&merged(&x, &y), &merged(&y, &x)));
            prop_assert!(close(&merged(&merged(&x, &y), &z), &merged(&x, &merged(&y, &z))));
            let all: Vec<f64> = a.iter().chain(&b).chain(&c).copied().collect();
            prop_assert!(close(&merged(&merged(&x, &y), &z), &of(&all)));
        }
    }

    #[test]
    fn a_large_mean_does_not_eat_the_spread() {
        let moments: Moments = (0..4).map(|i| 1e9 + f64::from(i)).collect();
        assert_eq!(moments.std_pop(), Some(1.25f64.sqrt()));
        assert_eq!((moments.min(), moments.max()), (Some(1e9), Some(1e9 + 3.0)));
        assert_eq!(Moments::default().mean(), None);
        assert_eq!(Moments::from_iter([3.0]).std_sample(), None);
    }
}
