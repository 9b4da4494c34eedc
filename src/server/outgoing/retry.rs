//! What follows an attempt to send something. Pure: no clock, no chance of its own.

use std::time::{Duration, Instant};

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Taken,
    /// It will not be taken another time, either.
    Refused,
    /// Another time it may be, after as long as the receiver asks for.
    Failed(Option<Duration>),
}

/// How often, and how soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Attempts after the first one.
    pub retries: u32,
    /// Before the first of these; it doubles.
    pub backoff: Duration,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Done,
    GiveUp,
    At(Instant),
}

/// After attempt `attempt` (from 0). Pauses double, up to a minute; `random` (0 to 1) takes up to a
/// half off, so that servers which failed together do not come back together. What the receiver
/// asks for is waited at least, and no more than a minute of it.
pub fn next(patience: Patience, attempt: u32, answer: Answer, now: Instant, random: f64) -> Next {
    match answer {
        Answer::Taken => Next::Done,
        Answer::Refused => Next::GiveUp,
        Answer::Failed(_) if attempt >= patience.retries => Next::GiveUp,
        Answer::Failed(asked) => {
            let doubled = patience.backoff.saturating_mul(1 << attempt.min(16));
            let pause = doubled.min(PAUSE_MAX).mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0);
            Next::At(now + pause.max(asked.unwrap_or_default().min(PAUSE_MAX)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { retries: 40, backoff: Duration::from_secs(1) };

    #[test]
    fn pauses_double_up_to_a_minute_and_attempts_end() {
        let now = Instant::now();
        let failed = Answer::Failed(None);
        let pause = |attempt, random| match next(PATIENCE, attempt, failed, now, random) {
            Next::At(at) => (at - now).as_secs_f64(),
            other => panic!("{other:?}"),
        };
        let pauses: Vec<f64> = (0..8).map(|attempt| pause(attempt, 0.0)).collect();
        assert_eq!(pauses, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
        assert_eq!((pause(1, 1.0), pause(1, 0.5), pause(39, 0.0)), (1.0, 1.5, 60.0));
        assert_eq!(next(PATIENCE, 40, failed, now, 0.0), Next::GiveUp);
        assert_eq!(next(PATIENCE, 0, Answer::Refused, now, 0.0), Next::GiveUp);
        assert_eq!(next(PATIENCE, 99, Answer::Taken, now, 0.0), Next::Done);
    }

    #[test]
    fn what_the_receiver_asks_for_is_waited_within_bounds() {
        let now = Instant::now();
        for (attempt, asked, expected) in [(0, 7, 7), (4, 7, 16), (0, 0, 1), (0, 86_400, 60)] {
            let answer = Answer::Failed(Some(Duration::from_secs(asked)));
            let at = now + Duration::from_secs(expected);
            assert_eq!(next(PATIENCE, attempt, answer, now, 0.0), Next::At(at), "{asked}");
        }
    }
}
