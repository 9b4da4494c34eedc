//! How far a batch is worth growing. Running requests together saves what a call costs besides its
//! rows: most of it where calls are short or a GPU waits to be filled, and nothing where one row
//! keeps a processor busy, or where a batch leaves its caches. There everybody in a batch would
//! wait for all of it, for nothing. So runs are measured by their size, and a batch grows to the
//! smallest one that costs about as little per row as any. (Clipper, NSDI 2017, looks for the
//! largest batch that meets a target; this looks for the smallest that is worth it.)
//!
//! Sizes are told apart by powers of two. Now and then a batch is held to another size than the
//! best known one, so that what was measured in bad times, or never, is measured again.

use std::time::Duration;

/// Batches of (2^(c-1), 2^c] rows are of class c.
const CLASSES: usize = 17;
/// Sizes that cost so much more than the cheapest one are as good as it.
const TOLERANCE: f64 = 1.03;
/// What a batch costs around its run, beyond what is measured: its callers and its instance are
/// woken for it, once for all of them.
const AROUND: Duration = Duration::from_micros(20);
/// Of so many runs, one is held to another size: to one that is not known, while there are such,
/// or to the half or the double.
const SEARCH_EVERY: u32 = 4;
const REVIEW_EVERY: u32 = 16;
/// A class is known from so many runs on: the first one of a size may have to set things up.
const RUNS_KNOWN: u8 = 2;

/// What is known of the runs of one class.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    /// Nanoseconds for each byte of input, as rows may be of different sizes: what is believed, and
    /// what the last run took.
    each: f64,
    last: f64,
    runs: u8,
}

impl Cost {
    /// Falls at once, and rises when two runs in a row say so: one that was interrupted says
    /// nothing about its size.
    fn learn(&mut self, each: f64) {
        self.each = if self.runs == 0 || each < self.each {
            each
        } else {
            f64::midpoint(self.each, each.min(self.last.max(self.each)))
        };
        self.last = each;
        self.runs = self.runs.saturating_add(1);
    }

    fn known(&self) -> Option<f64> {
        (self.runs >= RUNS_KNOWN).then_some(self.each)
    }
}

/// The sizes of one model's batches, by what they cost.
#[derive(Debug)]
pub struct Growth {
    costs: [Cost; CLASSES],
    /// The class of a batch that may not grow further.
    top: usize,
    /// The smallest class worth growing to; `None`: nothing is known.
    best: Option<usize>,
    /// Runs so far, around and around.
    turn: u32,
}

impl Growth {
    pub fn new(rows_max: usize) -> Self {
        let costs = [Cost::default(); CLASSES];
        Self { costs, top: class_of(rows_max), best: None, turn: 0 }
    }

    /// A batch of so many rows need not wait for more.
    pub fn enough(&self) -> usize {
        self.best.map_or(usize::MAX, |best| 1 << best)
    }

    /// Most rows for a batch that is formed now, of so many requests that wait.
    pub fn rows_max(&self, waiting: usize) -> usize {
        let Some(best) = self.best else { return usize::MAX };
        let top = class_of(waiting).min(self.top);
        let unknown = || self.costs.iter().take(top + 1).position(|cost| cost.known().is_none());
        let searched = self.turn.is_multiple_of(SEARCH_EVERY).then(unknown).flatten();
        let class = match (searched, self.turn % (2 * REVIEW_EVERY)) {
            (Some(class), _) => class,
            (None, 0) => best.saturating_sub(1),
            (None, REVIEW_EVERY) => best + 1,
            _ => best,
        };
        1 << class
    }

    /// A batch of so many rows ran.
    pub fn ran(&mut self, rows: usize, bytes: usize, took: Duration) {
        self.turn = self.turn.wrapping_add(1);
        if rows == 0 || bytes == 0 {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
        let each = (took + AROUND).as_nanos() as f64 / bytes as f64;
        self.costs[class_of(rows)].learn(each);
        let known = || self.costs.iter().map(Cost::known).enumerate();
        let least = known().filter_map(|(_, cost)| cost).fold(f64::INFINITY, f64::min);
        let is_good = |cost: Option<f64>| cost.is_some_and(|cost| cost <= least * TOLERANCE);
        self.best = known().find(|&(_, cost)| is_good(cost)).map(|(class, _)| class);
    }
}

fn class_of(rows: usize) -> usize {
    (rows.next_power_of_two().trailing_zeros() as usize).min(CLASSES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs batches of what waits, as far as they may grow; what `call` gives for a number of rows
    /// is what they take. Gives back how far they grew, in the median.
    fn grown(growth: &mut Growth, waiting: usize, call: impl Fn(usize) -> u64) -> usize {
        let mut sizes: Vec<usize> = (0..400)
            .map(|_| {
                let rows = waiting.min(growth.rows_max(waiting));
                growth.ran(rows, rows * 100, Duration::from_micros(call(rows)));
                rows
            })
            .collect();
        sizes.drain(..200);
        sizes.sort_unstable();
        sizes[sizes.len() / 2]
    }

    #[test]
    fn a_batch_grows_while_its_rows_become_cheaper() {
        let mut growth = Growth::new(64);
        assert_eq!(growth.rows_max(64), usize::MAX, "nothing is known");
        assert_eq!(grown(&mut growth, 64, |rows| 1_000 + rows as u64), 64);
        // With the 20 us around it, a call of 32 rows costs 13.9 us a row, one of 64 costs 12.9.
        assert_eq!(grown(&mut Growth::new(64), 64, |rows| 40 + 12 * rows as u64), 64);
    }

    #[test]
    fn rows_that_keep_a_processor_busy_run_alone() {
        assert_eq!(grown(&mut Growth::new(64), 64, |rows| 10_000 * rows as u64), 1);
        // What surrounds a run of a fifth of a millisecond is worth sharing by four.
        assert_eq!(grown(&mut Growth::new(64), 64, |rows| 200 * rows as u64), 4);
    }

    #[test]
    fn a_batch_that_leaves_the_cache_is_too_large() {
        let call = |rows: usize| rows as u64 * if rows > 16 { 1_300 } else { 1_000 } + 2_000;
        assert_eq!(grown(&mut Growth::new(64), 64, call), 16);
    }

    #[test]
    fn what_changes_is_noticed() {
        let mut growth = Growth::new(64);
        assert_eq!(grown(&mut growth, 64, |rows| 10_000 * rows as u64), 1);
        grown(&mut growth, 64, |_| 10_000);
        assert_eq!(grown(&mut growth, 64, |_| 10_000), 64);
        assert_eq!(grown(&mut growth, 64, |rows| 10_000 * rows as u64), 1);
    }

    #[test]
    fn a_run_that_is_interrupted_changes_nothing() {
        let mut growth = Growth::new(64);
        grown(&mut growth, 64, |rows| 1_000 * rows as u64 + 3_000);
        let before = growth.best;
        growth.ran(32, 3_200, Duration::from_secs(1));
        growth.ran(64, 6_400, Duration::from_secs(1));
        assert_eq!(growth.best, before);
    }

    #[test]
    fn rows_of_different_sizes_are_compared_by_their_bytes() {
        let mut growth = Growth::new(64);
        // Short rows come alone, and long ones together: a byte costs the same.
        for _ in 0..100 {
            growth.ran(1, 10_000, Duration::from_millis(10));
            growth.ran(16, 1_600_000, Duration::from_millis(1_600));
        }
        assert_eq!(growth.best, Some(0));
    }

    #[test]
    fn every_number_of_rows_has_a_class() {
        for (rows, class) in [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (64, 6), (65, 7)] {
            assert_eq!(class_of(rows), class);
        }
        assert_eq!(class_of(crate::model::batching::BATCH_SIZE_LIMIT), CLASSES - 1);
    }
}
