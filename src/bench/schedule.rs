//! When the requests of an open loop are due. Pure: seeded, and no clock.

use std::time::Duration;

/// How far apart requests are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// As of one clock.
    Constant,
    /// As of many callers who do not know of each other: the gaps are exponential.
    Poisson,
}

/// Same numbers in every run.
const SEED: u64 = 0x67_61_6c_65_6e;

/// Due times from the start, ascending, without end.
#[derive(Clone, Debug)]
pub struct Schedule {
    rate: f64,
    arrivals: Arrivals,
    random: fastrand::Rng,
    /// How many were given.
    count: u64,
    /// The last one, in seconds.
    at: f64,
}

impl Schedule {
    /// `rate` requests per second, above 0.
    pub fn new(rate: f64, arrivals: Arrivals) -> Self {
        Self { rate, arrivals, random: fastrand::Rng::with_seed(SEED), count: 0, at: 0.0 }
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.at = match self.arrivals {
            // Not by adding up: the error would grow.
            Arrivals::Constant => self.count as f64 / self.rate,
            // Above 0, or the logarithm would have no end.
            Arrivals::Poisson => self.at - (1.0 - self.random.f64()).ln() / self.rate,
        };
        self.count += 1;
        Duration::try_from_secs_f64(self.at).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_rate_does_not_drift() {
        let mut schedule = Schedule::new(3.0, Arrivals::Constant);
        assert_eq!(schedule.next(), Some(Duration::ZERO));
        assert_eq!(schedule.nth(2_999_998), Some(Duration::from_secs_f64(2_999_999.0 / 3.0)));
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread_of_chance() {
        let times = |_: ()| Schedule::new(50.0, Arrivals::Poisson).take(20_001);
        let seconds: Vec<f64> = times(()).map(|time| time.as_secs_f64()).collect();
        assert!(seconds.is_sorted());
        let gaps: Vec<f64> = seconds.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let spread = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean * 50.0 - 1.0).abs() < 0.03, "{mean}");
        // An exponential's standard deviation is its mean.
        assert!((spread.sqrt() / mean - 1.0).abs() < 0.05, "{}", spread.sqrt() / mean);
        assert!(times(()).eq(times(())), "it is the same every time");
    }
}
