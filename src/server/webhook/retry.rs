//! What follows an attempt to tell an alert. Pure: no clock, no chance of its own.

use std::time::{Duration, Instant};

use crate::config::AlertsConfig;

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Taken,
    /// It will not be taken another time, either.
    Refused,
    /// Another time it may be.
    Failed,
}

impl Answer {
    /// By the status of HTTP. A redirection is not followed: the address is the operator's.
    pub fn of(status: u16) -> Self {
        match status {
            200..=299 => Answer::Taken,
            408 | 425 | 429 | 500..=599 => Answer::Failed,
            _ => Answer::Refused,
        }
    }
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Done,
    GiveUp,
    At(Instant),
}

/// After attempt `attempt` (from 0). Pauses double, up to a minute; `random` (0 to 1) takes up to a
/// half off, so that servers which failed together do not come back together.
pub fn next(
    config: &AlertsConfig,
    attempt: u32,
    answer: Answer,
    now: Instant,
    random: f64,
) -> Next {
    match answer {
        Answer::Taken => Next::Done,
        Answer::Refused => Next::GiveUp,
        Answer::Failed if attempt >= config.retries => Next::GiveUp,
        Answer::Failed => {
            let doubled = config.backoff.saturating_mul(1 << attempt.min(16));
            let pause = doubled.min(PAUSE_MAX).mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0);
            Next::At(now + pause)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_attempts_end() {
        let config = AlertsConfig {
            webhook: None,
            timeout: Duration::ZERO,
            retries: 40,
            backoff: Duration::from_secs(1),
        };
        let now = Instant::now();
        let pause = |attempt, random| match next(&config, attempt, Answer::Failed, now, random) {
            Next::At(at) => (at - now).as_secs_f64(),
            other => panic!("{other:?}"),
        };
        let pauses: Vec<f64> = (0..8).map(|attempt| pause(attempt, 0.0)).collect();
        assert_eq!(pauses, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
        assert_eq!((pause(1, 1.0), pause(1, 0.5), pause(39, 0.0)), (1.0, 1.5, 60.0));
        assert_eq!(next(&config, 40, Answer::Failed, now, 0.0), Next::GiveUp);
        assert_eq!(next(&config, 0, Answer::Refused, now, 0.0), Next::GiveUp);
        assert_eq!(next(&config, 99, Answer::Taken, now, 0.0), Next::Done);
    }

    #[test]
    fn a_receiver_that_is_busy_or_broken_is_asked_again() {
        let of = |status| Answer::of(status);
        assert!([200, 202, 204].map(of).iter().all(|answer| *answer == Answer::Taken));
        assert!([408, 429, 500, 503].map(of).iter().all(|answer| *answer == Answer::Failed));
        assert!([301, 307, 400, 401, 404, 413].map(of).iter().all(|a| *a == Answer::Refused));
    }
}
