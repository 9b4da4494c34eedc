//! When a folder that somebody may still be writing is taken as whole. Pure: the caller says what
//! it saw and when.
//!
//! With a list of digests, the digests decide, and looking twice is enough before they are
//! computed. Without, the folder must have been quiet for the settle time: either its files are
//! older than that, or nothing about them changed while we watched.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use super::fingerprint::Fingerprint;
use crate::model::ModelId;

/// What was seen of each version, and since when.
#[derive(Debug)]
pub struct Settle {
    time: Duration,
    seen: HashMap<ModelId, Seen>,
}

#[derive(Debug)]
struct Seen {
    print: Fingerprint,
    since: Instant,
}

impl Settle {
    pub fn new(time: Duration) -> Self {
        Self { time, seen: HashMap::new() }
    }

    /// Takes note of how a version looks, and says whether it is whole as far as one can see.
    pub fn is_quiet(
        &mut self,
        id: &ModelId,
        print: Fingerprint,
        now: Instant,
        wall: SystemTime,
    ) -> bool {
        let age = wall.duration_since(print.newest).unwrap_or_default();
        match self.seen.get_mut(id) {
            Some(seen) if seen.print == print => {
                let watched = now.saturating_duration_since(seen.since);
                print.has_digests || watched >= self.time || age >= self.time
            }
            Some(seen) => {
                *seen = Seen { print, since: now };
                age >= self.time
            }
            None => {
                self.seen.insert(id.clone(), Seen { print, since: now });
                age >= self.time
            }
        }
    }

    /// Forgets versions that are not there any more.
    pub fn retain(&mut self, is_there: impl Fn(&ModelId) -> bool) {
        self.seen.retain(|id, _| is_there(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ModelName, Version};

    const SECOND: Duration = Duration::from_secs(1);

    fn id() -> ModelId {
        ModelId { name: ModelName::new("m").unwrap(), version: Version::parse("1").unwrap() }
    }

    fn print(name: &str) -> (std::path::PathBuf, Fingerprint) {
        let path = std::env::temp_dir().join(format!("galen-settle-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("model.onnx"), name).unwrap();
        let print = Fingerprint::of(&path);
        (path, print)
    }

    #[test]
    fn fresh_files_must_rest_and_old_ones_need_not() {
        let (path, print) = print("rest");
        let now = Instant::now();
        let mut settle = Settle::new(SECOND);
        let mut ask =
            |watched, age| settle.is_quiet(&id(), print, now + watched, print.newest + age);
        assert!(!ask(Duration::ZERO, SECOND / 2));
        assert!(!ask(SECOND / 2, SECOND / 2));
        assert!(ask(SECOND, SECOND / 2), "unchanged while watched");
        let mut settle = Settle::new(SECOND);
        assert!(settle.is_quiet(&id(), print, now, print.newest + SECOND), "old when first seen");
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_change_starts_the_clock_again() {
        let ((one, first), (two, second)) = (print("one"), print("two"));
        let now = Instant::now();
        let mut settle = Settle::new(SECOND);
        assert!(!settle.is_quiet(&id(), first, now, first.newest));
        assert!(!settle.is_quiet(&id(), second, now + SECOND, first.newest));
        assert!(!settle.is_quiet(&id(), second, now + SECOND * 3 / 2, first.newest));
        assert!(settle.is_quiet(&id(), second, now + SECOND * 2, first.newest));
        settle.retain(|_| false);
        assert!(settle.seen.is_empty());
        for path in [one, two] {
            std::fs::remove_dir_all(path).unwrap();
        }
    }

    #[test]
    fn digests_spare_the_wait() {
        let (path, _) = print("sums");
        std::fs::write(path.join("SHA256SUMS"), "").unwrap();
        let print = Fingerprint::of(&path);
        let now = Instant::now();
        let mut settle = Settle::new(SECOND);
        assert!(!settle.is_quiet(&id(), print, now, print.newest), "seen once");
        assert!(settle.is_quiet(&id(), print, now, print.newest), "seen twice");
        std::fs::remove_dir_all(path).unwrap();
    }
}
