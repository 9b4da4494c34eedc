//! A uniform sample of the rows that pass, in fixed memory: those with the smallest of random keys
//! (bottom-k sampling). Samples of parts, merged in any order, are the sample of the whole.
//!
//! There is no generator in here: whoever adds a row gives it its key.

use std::collections::BinaryHeap;

/// Up to so many rows, each of as many numbers; those that were not set are NaN.
#[derive(Clone, Debug)]
pub struct Reservoir {
    width: usize,
    rows_max: usize,
    /// Keys with the beginnings of their rows, the largest key on top.
    keys: BinaryHeap<(u64, usize)>,
    numbers: Vec<f64>,
}

impl Reservoir {
    /// Takes up memory with the first row: 8 bytes a number and 16 a row.
    pub fn new(width: usize, rows_max: usize) -> Self {
        Self { width, rows_max, keys: BinaryHeap::new(), numbers: Vec::new() }
    }

    /// Makes room for a row with this key, and says where in [`Self::numbers_mut`] it begins;
    /// `None` where it is not kept.
    pub fn place(&mut self, key: u64) -> Option<usize> {
        if self.keys.len() < self.rows_max {
            if self.keys.is_empty() {
                self.keys.reserve_exact(self.rows_max);
                self.numbers.reserve_exact(self.rows_max * self.width);
            }
            let start = self.numbers.len();
            self.keys.push((key, start));
            self.numbers.resize(start + self.width, f64::NAN);
            return Some(start);
        }
        let mut last = self.keys.peek_mut()?;
        if last.0 <= key {
            return None;
        }
        let start = last.1;
        *last = (key, start);
        drop(last);
        self.numbers.get_mut(start..)?.get_mut(..self.width)?.fill(f64::NAN);
        Some(start)
    }

    /// Of all rows, one after the other.
    pub fn numbers_mut(&mut self) -> &mut [f64] {
        &mut self.numbers
    }

    /// Adds the rows of another sample that is as wide.
    pub fn merge(&mut self, other: &Self) {
        for &(key, from) in &other.keys {
            let Some(to) = self.place(key) else { continue };
            let rows = (other.row(from), self.numbers.get_mut(to..));
            if let (Some(from), Some(to)) = rows {
                to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
            }
        }
    }

    /// Forgets all rows; the memory stays.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.numbers.clear();
    }

    /// Gives away all rows, with their memory, and begins anew.
    pub fn take(&mut self) -> Self {
        let empty = Self::new(self.width, self.rows_max);
        std::mem::replace(self, empty)
    }

    pub fn rows_max(&self) -> usize {
        self.rows_max
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// By their keys: in random order, and in the same one however samples were merged.
    pub fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.sorted().into_iter().filter_map(|(_, start)| self.row(start))
    }

    fn row(&self, start: usize) -> Option<&[f64]> {
        self.numbers.get(start..)?.get(..self.width)
    }

    fn sorted(&self) -> Vec<(u64, usize)> {
        let mut keys: Vec<(u64, usize)> = self.keys.iter().copied().collect();
        keys.sort_unstable();
        keys
    }
}

/// Whether the same rows are kept, wherever they lie; NaN is NaN.
impl PartialEq for Reservoir {
    fn eq(&self, other: &Self) -> bool {
        let keys = |sample: &Self| sample.sorted().into_iter().map(|(key, _)| key);
        let bits = |sample: &Self| -> Vec<u64> {
            sample.rows().flatten().map(|value| value.to_bits()).collect()
        };
        (self.width, self.rows_max) == (other.width, other.rows_max)
            && keys(self).eq(keys(other))
            && bits(self) == bits(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A sample of these keys, each row of its key and its key's negative.
    fn of(keys: &[u64], rows_max: usize) -> Reservoir {
        let mut sample = Reservoir::new(2, rows_max);
        for &key in keys {
            if let Some(start) = sample.place(key) {
                sample.numbers_mut()[start] = key as f64;
                sample.numbers_mut()[start + 1] = -(key as f64);
            }
        }
        sample
    }

    #[test]
    fn what_was_not_set_is_nan_and_none_is_kept_of_none() {
        let mut sample = of(&[5, 3], 2);
        let start = sample.place(1).unwrap();
        sample.numbers_mut()[start + 1] = 7.0;
        let rows: Vec<&[f64]> = sample.rows().collect();
        assert!(rows[0][0].is_nan() && rows[0][1] == 7.0 && rows[1] == [3.0, -3.0]);
        assert_eq!(sample.place(4), None);
        sample.clear();
        assert!(sample.is_empty() && sample == Reservoir::new(2, 2));
        assert_ne!(sample, Reservoir::new(2, 3));
        assert_eq!(Reservoir::new(2, 0).place(1), None);
        assert_eq!(Reservoir::new(0, 1).place(1), Some(0));
    }

    /// 2,000 samples of 10 out of 100 rows: each row in a tenth of them, within four standard
    /// errors.
    #[test]
    fn every_row_is_as_likely_early_or_late() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut times = [0u32; 100];
        for _ in 0..2000 {
            let mut sample = Reservoir::new(1, 10);
            for row in 0..100 {
                if let Some(start) = sample.place(random.u64(..)) {
                    sample.numbers_mut()[start] = f64::from(row);
                }
            }
            sample.rows().for_each(|row| times[row[0] as usize] += 1);
        }
        assert!(times.iter().all(|times| times.abs_diff(200) < 54), "{times:?}");
    }

    proptest! {
        #[test]
        fn parts_in_any_order_make_the_sample_of_the_whole(
            keys in proptest::collection::hash_set(any::<u64>(), 0..60),
            rows_max in 0usize..30,
            cuts in (0usize..60, 0usize..60),
        ) {
            let keys: Vec<u64> = keys.into_iter().collect();
            let (first, second) = (cuts.0.min(cuts.1), cuts.0.max(cuts.1));
            let (first, second) = (first.min(keys.len()), second.min(keys.len()));
            let parts = [&keys[..first], &keys[first..second], &keys[second..]];
            let whole = of(&keys, rows_max);
            for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
                let mut merged = Reservoir::new(2, rows_max);
                order.iter().for_each(|&part| merged.merge(&of(parts[part], rows_max)));
                prop_assert_eq!(&merged, &whole);
            }
            // The smallest keys, in their order.
            let mut smallest = keys.clone();
            smallest.sort_unstable();
            smallest.truncate(rows_max);
            let kept: Vec<f64> = whole.rows().map(|row| row[0]).collect();
            let expected: Vec<f64> = smallest.iter().map(|&key| key as f64).collect();
            prop_assert_eq!(kept, expected);
            prop_assert_eq!(whole.len(), smallest.len());
        }
    }
}
