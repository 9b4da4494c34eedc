//! How much resident memory a load cost: the process before and after it, which says something
//! only of a load that ran alone.
//!
//! Requests to other models go on meanwhile and count too, and the first model on an engine pays
//! for what the engine keeps for all: this is a measure, not an account.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::heap;

/// Tells loads that ran alone from those that ran beside others.
#[derive(Debug, Default)]
pub struct Loads {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// A load that is under way; counts as ended when it is dropped.
#[derive(Debug)]
pub struct Measure<'a> {
    loads: &'a Loads,
    /// How many had begun, this one included.
    number: u64,
    /// Resident memory at its begin, where no other load was under way.
    before: Option<u64>,
    _heap: heap::Loading,
}

impl Loads {
    pub fn begin(&self) -> Measure<'_> {
        let ended = self.ended.load(Ordering::SeqCst);
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let alone = ended + 1 == number;
        let before = alone.then(resident_bytes).flatten();
        Measure { loads: self, number, before, _heap: heap::Loading::begin() }
    }
}

impl Measure<'_> {
    /// Growth since the begin. `None` where another load ran meanwhile, where the process shrank
    /// (something else was let go), and where the system does not tell.
    pub fn growth(&self) -> Option<u64> {
        let after = resident_bytes()?;
        let alone = self.loads.begun.load(Ordering::SeqCst) == self.number;
        after.checked_sub(self.before?).filter(|_| alone)
    }
}

impl Drop for Measure<'_> {
    fn drop(&mut self) {
        self.loads.ended.fetch_add(1, Ordering::SeqCst);
    }
}

/// Resident memory of this process, where Linux's `/proc` tells it.
pub fn resident_bytes() -> Option<u64> {
    parse(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// The line `VmRSS:   1234 kB`. (`statm` has the same number in pages, and nowhere their size.)
fn parse(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_text_is_read() {
        assert_eq!(parse("Name:\tgalen\nVmHWM:\t  9 kB\nVmRSS:\t   12 kB\n"), Some(12 * 1024));
        for wrong in ["", "VmRSS:\t12 MB\n", "VmRSS:\tx kB", "VmRSS: 18446744073709551615 kB"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert_eq!(resident_bytes().is_some(), cfg!(target_os = "linux"));
    }

    /// Growth says that it was alone; how much it was is another matter.
    #[test]
    fn only_a_load_that_ran_alone_is_measured() {
        let loads = Loads::default();
        let is_measured = |measure: &Measure<'_>| {
            measure.before.is_some() && {
                let others = measure.loads.begun.load(Ordering::SeqCst) != measure.number;
                assert!(!others || measure.growth().is_none(), "another one began");
                !others
            }
        };
        let first = loads.begin();
        assert_eq!(is_measured(&first), cfg!(target_os = "linux"));
        let second = loads.begin();
        assert!(!is_measured(&first) && !is_measured(&second));
        drop(first);
        let third = loads.begin();
        assert!(!is_measured(&third), "the second is still under way");
        drop((second, third));
        assert_eq!(is_measured(&loads.begin()), cfg!(target_os = "linux"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_is_kept_is_seen() {
        const BYTES: usize = 64 << 20;
        let loads = Loads::default();
        let measure = loads.begin();
        let kept = std::hint::black_box(vec![1u8; BYTES]);
        let growth = measure.growth();
        drop(kept);
        // Other tests of this process allocate and free meanwhile.
        assert!(growth.is_some_and(|bytes| bytes > (BYTES / 2) as u64), "{growth:?}");
    }
}
