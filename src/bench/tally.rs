//! What came of the requests of one run. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::answer::{Answer, Failure, Status};
use super::histogram::Histogram;

/// Requests that failed alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failed {
    pub count: u64,
    /// What the server said to the first of them.
    pub text: String,
}

/// The requests that were due in the measured time, whenever their answers came.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// From when a request was due until its answer was there, of those that succeeded.
    pub latency: Histogram,
    /// The same, of those that the server refused because it had too much to do.
    pub refused: Histogram,
    pub failed: BTreeMap<Status, Failed>,
    /// How long after they were due requests were sent: what the generator itself adds.
    pub late: Histogram,
    /// Due, but not sent: as many were in flight as may be, or the run ended first.
    pub dropped: u64,
    /// Answers that came within the measured time, whenever they were asked for.
    pub answered: u64,
    /// Of these, the good ones.
    pub succeeded: u64,
}

impl Tally {
    /// A request that was due in the measured time has its answer.
    pub fn record(&mut self, took: Duration, answer: &Answer) {
        match answer {
            Ok(()) => self.latency.record(took),
            Err(failure) => {
                if failure.status.is_overload() {
                    self.refused.record(took);
                }
                self.fail(failure, 1);
            }
        }
    }

    /// An answer came while it was measured.
    pub fn arrived(&mut self, answer: &Answer) {
        let heard = !matches!(answer, Err(Failure { status: Status::Connection, .. }));
        self.answered += u64::from(heard);
        self.succeeded += u64::from(answer.is_ok());
    }

    pub fn unanswered(&mut self, count: u64) {
        if count > 0 {
            self.fail(&Failure::new(Status::Unanswered, ""), count);
        }
    }

    fn fail(&mut self, failure: &Failure, count: u64) {
        let failed = self.failed.entry(failure.status).or_default();
        if failed.count == 0 {
            failed.text.clone_from(&failure.text);
        }
        failed.count += count;
    }

    /// Requests that were sent and failed.
    pub fn failures(&self) -> u64 {
        self.failed.values().map(|failed| failed.count).sum()
    }

    /// Requests that were due.
    pub fn due(&self) -> u64 {
        self.latency.count() + self.failures() + self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_kept_apart_by_status_with_the_first_text() {
        let mut tally = Tally::default();
        let ms = Duration::from_millis;
        let failed = |code, text: &str| Err(Failure::new(Status::Http(code), text));
        tally.record(ms(5), &Ok(()));
        tally.record(ms(1), &failed(429, "full"));
        tally.record(ms(3), &failed(429, "still full"));
        tally.record(ms(9), &failed(400, "input 'x'"));
        tally.unanswered(0);
        tally.unanswered(2);
        let seen: Vec<(String, u64, &str)> = (tally.failed.iter())
            .map(|(status, failed)| (status.to_string(), failed.count, &*failed.text))
            .collect();
        let wanted = [("400", 1, "input 'x'"), ("429", 2, "full"), ("unanswered", 2, "")];
        assert_eq!(seen, wanted.map(|(status, count, text)| (status.to_owned(), count, text)));
        assert_eq!((tally.latency.count(), tally.failures(), tally.due()), (1, 5, 6));
        assert_eq!(tally.refused.max_us(), Some(3000.0));
    }

    #[test]
    fn what_no_server_said_is_no_answer() {
        let mut tally = Tally::default();
        tally.arrived(&Ok(()));
        tally.arrived(&Err(Failure::new(Status::Grpc(8), "")));
        tally.arrived(&Err(Failure::connection("refused")));
        assert_eq!((tally.answered, tally.succeeded), (2, 1));
    }
}
