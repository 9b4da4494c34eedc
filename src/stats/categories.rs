//! Counts by category, in bounded memory: the categories of the training data, a few new ones by
//! name, and the rest as one number.
//!
//! New names come from requests. They may be looked at, but belong in no log and no metric.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// New categories that are remembered by name.
pub const NEW_MAX: usize = 32;
/// Bytes of a new category's name; a longer one is counted without its name.
pub const NAME_BYTES_MAX: usize = 64;

/// The categories of the training data, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    names: Vec<String>,
    index: HashMap<String, usize>,
}

impl Known {
    /// `None` where a name comes twice.
    pub fn new(names: Vec<String>) -> Option<Self> {
        let index: HashMap<String, usize> =
            names.iter().enumerate().map(|(position, name)| (name.clone(), position)).collect();
        (index.len() == names.len()).then_some(Self { names, index })
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub fn position(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }
}

/// Counts of one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Categories {
    known: Arc<Known>,
    counts: Vec<u64>,
    new: BTreeMap<String, u64>,
    overflow: u64,
}

impl Categories {
    pub fn new(known: Arc<Known>) -> Self {
        let counts = vec![0; known.names.len()];
        Self { known, counts, new: BTreeMap::new(), overflow: 0 }
    }

    pub fn push(&mut self, name: &str) {
        match self.known.position(name) {
            Some(position) => self.counts[position] += 1,
            None => self.push_new(name, 1),
        }
    }

    /// Counts a category by its position; a position that there is not is a new category.
    pub fn push_position(&mut self, position: usize) {
        match self.counts.get_mut(position) {
            Some(count) => *count += 1,
            None => self.overflow += 1,
        }
    }

    fn push_new(&mut self, name: &str, count: u64) {
        if let Some(known) = self.new.get_mut(name) {
            *known += count;
        } else if self.new.len() < NEW_MAX && name.len() <= NAME_BYTES_MAX {
            self.new.insert(name.to_owned(), count);
        } else {
            self.overflow += count;
        }
    }

    /// Adds the counts of another window with the same known categories.
    ///
    /// Which new categories keep their names may depend on the order; how many values were new
    /// never does.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        other.new.iter().for_each(|(name, count)| self.push_new(name, *count));
        self.overflow += other.overflow;
    }

    /// Adds counts in the order of the known categories, and of new ones behind them; `false` where
    /// there are more or fewer.
    #[must_use]
    pub fn add(&mut self, counts: &[u64]) -> bool {
        let Some((new, known)) = counts.split_last() else { return false };
        if known.len() != self.counts.len() {
            return false;
        }
        self.counts.iter_mut().zip(known).for_each(|(count, more)| *count += more);
        self.overflow += new;
        true
    }

    pub fn reset(&mut self) {
        self.counts.fill(0);
        self.new.clear();
        self.overflow = 0;
    }

    /// In the order of the known categories.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Values of a category that the training data do not have.
    pub fn unseen(&self) -> u64 {
        self.new.values().sum::<u64>() + self.overflow
    }

    /// New categories by name, as far as they are remembered.
    pub fn new_names(&self) -> &BTreeMap<String, u64> {
        &self.new
    }

    pub fn total(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.unseen()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn known() -> Arc<Known> {
        Arc::new(Known::new(vec!["a".into(), "b".into()]).unwrap())
    }

    fn of(words: &[u8]) -> Categories {
        let mut categories = Categories::new(known());
        words.iter().for_each(|&word| categories.push(&char::from(b'a' + word).to_string()));
        categories
    }

    #[test]
    fn memory_is_bounded_whatever_comes() {
        let mut categories = Categories::new(known());
        for index in 0..1000 {
            categories.push(&format!("x{index}"));
        }
        categories.push(&"y".repeat(NAME_BYTES_MAX + 1));
        categories.push("a");
        categories.push_position(1);
        categories.push_position(2);
        assert_eq!(categories.new_names().len(), NEW_MAX);
        assert_eq!((categories.counts(), categories.unseen()), (&[1, 1][..], 1002));
        categories.reset();
        assert_eq!(categories, Categories::new(known()));
        assert_eq!(Known::new(vec!["a".into(), "a".into()]), None);
    }

    proptest! {
        #[test]
        fn merging_is_commutative_and_associative(
            a in proptest::collection::vec(0u8..8, 0..30),
            b in proptest::collection::vec(0u8..8, 0..30),
            c in proptest::collection::vec(0u8..8, 0..30),
        ) {
            let merged = |mut left: Categories, right: &Categories| {
                left.merge(right);
                left
            };
            let (x, y, z) = (of(&a), of(&b), of(&c));
            prop_assert_eq!(merged(x.clone(), &y), merged(y.clone(), &x));
            let left = merged(merged(x.clone(), &y), &z);
            prop_assert_eq!(left, merged(x, &merged(y, &z)));
        }
    }
}
