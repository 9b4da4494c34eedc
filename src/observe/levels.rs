//! Which levels of lines are logged: each of Triton's switches on its own, which no threshold could
//! say. A layer of the log's filter, with no state of its own.

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Triton's switches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    pub error: bool,
    pub warning: bool,
    pub info: bool,
    /// 1: what helps to find an error in a setting, too; 2 and more: everything.
    pub verbose: u32,
}

impl Levels {
    /// What a threshold lets through.
    pub fn up_to(threshold: LevelFilter) -> Self {
        let verbose =
            u32::from(threshold >= LevelFilter::DEBUG) + u32::from(threshold >= LevelFilter::TRACE);
        Self {
            error: threshold >= LevelFilter::ERROR,
            warning: threshold >= LevelFilter::WARN,
            info: threshold >= LevelFilter::INFO,
            verbose,
        }
    }

    pub fn has(self, level: Level) -> bool {
        match level {
            Level::ERROR => self.error,
            Level::WARN => self.warning,
            Level::INFO => self.info,
            Level::DEBUG => self.verbose >= 1,
            Level::TRACE => self.verbose >= 2,
        }
    }

    /// The threshold that lets all of them through.
    pub fn threshold(self) -> LevelFilter {
        let all = [Level::TRACE, Level::DEBUG, Level::INFO, Level::WARN, Level::ERROR];
        let widest = all.into_iter().find(|level| self.has(*level));
        widest.map_or(LevelFilter::OFF, LevelFilter::from_level)
    }
}

impl<S: Subscriber> Layer<S> for Levels {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.has(*metadata.level()) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        self.has(*metadata.level())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.threshold())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_and_its_switches_are_the_same() {
        use LevelFilter as F;
        for threshold in [F::OFF, F::ERROR, F::WARN, F::INFO, F::DEBUG, F::TRACE] {
            let levels = Levels::up_to(threshold);
            assert_eq!(levels.threshold(), threshold);
            for level in [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE] {
                assert_eq!(levels.has(level), level <= threshold, "{level} of {threshold}");
            }
        }
        let gap = Levels { info: true, ..Levels::default() };
        assert_eq!(gap.threshold(), F::INFO);
        assert!(gap.has(Level::INFO) && !gap.has(Level::WARN) && !gap.has(Level::ERROR));
    }
}
