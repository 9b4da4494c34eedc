//! How long a batch may form when what is asked for is an answer in a certain time: until what is
//! left of that time is what the engine takes. Larger batches cost less per request, and nobody
//! minds as long as the target holds. (Clipper, NSDI 2017, finds its batch sizes for a target by
//! trial; here the wait follows from the measured run.)
//!
//! Waiting where nobody comes is for nothing: where the next request is not expected before the
//! batch would have to close, it runs at once.

use std::time::{Duration, Instant};

/// What is known of arrivals and runs. It changes with each; the clock is the caller's.
#[derive(Debug)]
pub struct Pace {
    target: Duration,
    /// What a run takes.
    run: Duration,
    /// Time between arrivals, a moving average; it begins as if nobody came.
    gap: Duration,
    last: Option<Instant>,
}

/// A pause counts for so many targets at most, so that it is forgotten soon.
const PAUSE_TARGETS: u32 = 16;

impl Pace {
    pub fn new(target: Duration) -> Self {
        let gap = target * PAUSE_TARGETS;
        Self { target, run: Duration::ZERO, gap, last: None }
    }

    /// A request came.
    pub fn arrived(&mut self, now: Instant) {
        if let Some(last) = self.last {
            let gap = now.saturating_duration_since(last).min(self.target * PAUSE_TARGETS);
            self.gap = self.gap - self.gap / 8 + gap / 8;
        }
        self.last = Some(now);
    }

    /// What a run is expected to take from now on.
    pub fn expect(&mut self, run: Duration) {
        self.run = run;
    }

    /// How long the oldest request may wait for company. A quarter of the run is for runs that are
    /// slower than the average.
    pub fn delay(&self) -> Duration {
        let room = self.target.saturating_sub(self.run + self.run / 4);
        if self.gap < room { room } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Requests every `gap`, after a first one.
    fn steady(pace: &mut Pace, gap: Duration, from: Instant) -> Instant {
        (1..=100).fold(from, |at, _| {
            pace.arrived(at);
            at + gap
        })
    }

    #[test]
    fn what_the_run_does_not_need_may_be_waited() {
        let mut pace = Pace::new(20 * MS);
        steady(&mut pace, MS, Instant::now());
        assert_eq!(pace.delay(), 20 * MS, "a run of which nothing is known");
        pace.expect(4 * MS);
        assert_eq!(pace.delay(), 15 * MS);
        pace.expect(30 * MS);
        assert_eq!(pace.delay(), Duration::ZERO, "the target can not be met: no time is lost");
    }

    #[test]
    fn nobody_waits_for_those_who_do_not_come() {
        let (mut pace, now) = (Pace::new(20 * MS), Instant::now());
        assert_eq!(pace.delay(), Duration::ZERO, "nobody was seen yet");
        let now = steady(&mut pace, 50 * MS, now);
        assert_eq!(pace.delay(), Duration::ZERO);
        let now = steady(&mut pace, MS, now);
        assert_eq!(pace.delay(), 20 * MS);
        // After an hour the next one is alone, and soon it is as before.
        pace.arrived(now + 3_600_000 * MS);
        assert_eq!(pace.delay(), Duration::ZERO);
        let back = now + 3_600_001 * MS;
        (0..8).for_each(|place| pace.arrived(back + place * MS));
        assert_eq!(pace.delay(), 20 * MS);
    }
}
