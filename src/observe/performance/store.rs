//! Answers that wait for their label, and those that have it. Pure: no clock, no lock.
//!
//! Two rings. One holds a score for every row that was answered, until it is too old or there are
//! too many of them: at most 130 bytes a row, with its place in the index. The other holds the last
//! [`PAIRS_MAX`] scores with what became true: 24 bytes each. Of a request id there is a keyed
//! digest only, for it may say who the patient is.

use std::collections::hash_map::{Entry, RandomState};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::model::performance::{GROUPS_MAX, NAME_CHARS_MAX, Outcome, Truth};

/// Pairs of score and truth that figures are made of.
pub const PAIRS_MAX: usize = 10_000;
/// Answers that are searched for those without a label.
const SEARCHED_MAX: usize = 10 * PAIRS_MAX;
/// Different values of one subgroup.
pub const VALUES_MAX: usize = 32;
/// Stands for "no value of this subgroup was given".
const NO_VALUE: u8 = u8::MAX;

/// A score, and what became true.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    pub score: f64,
    /// Of a class, 1 for the positive one and 0 for others; otherwise the quantity.
    pub truth: f64,
    /// Places in the lists of values, one for each subgroup.
    values: [u8; GROUPS_MAX],
}

impl Pair {
    /// With one place for each subgroup; `None` for more than there may be.
    pub fn new(score: f64, truth: f64, places: Vec<u8>) -> Option<Self> {
        let mut values = [NO_VALUE; GROUPS_MAX];
        values.get_mut(..places.len())?.copy_from_slice(&places);
        Some(Self { score, truth, values })
    }

    /// Place of its value in the list of a subgroup; 255 where it has none.
    pub fn place(&self, group: usize) -> u8 {
        self.values.get(group).copied().unwrap_or(NO_VALUE)
    }

    /// Whether it belongs to this value of this subgroup.
    pub fn is_of(&self, group: usize, value: usize) -> bool {
        usize::from(self.place(group)) == value
    }
}

/// What somebody says became true.
#[derive(Clone, Debug, PartialEq)]
pub enum Label {
    Class(String),
    Quantity(f64),
}

/// A label for one row of one answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Feedback {
    pub prediction_id: String,
    pub row: u32,
    pub label: Label,
    pub groups: BTreeMap<String, String>,
}

/// What became of a label that is well formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// It was joined with its answer.
    Now,
    /// There was a label already; the first one stands.
    Before,
    /// There is no such answer, or not any more.
    Unknown,
}

/// What is wrong with a label: where, which rule, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// JSON pointer below the label.
    pub pointer: String,
    pub code: &'static str,
    pub message: String,
}

/// Counts since the version began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    pub joined: u64,
    pub already: u64,
    pub unknown: u64,
    pub invalid: u64,
    /// Answers that left without a label: too old, too many, or their id was used again.
    pub expired: u64,
    /// Rows whose score could not be used.
    pub unusable: u64,
}

/// What outlives a restart.
#[derive(Clone, Debug)]
pub struct Kept {
    pub outcome: Outcome,
    pub counts: Counts,
    pub pending: usize,
    pub values: Vec<Vec<String>>,
    pub pairs: Vec<Pair>,
}

/// Digest of a request id and a row.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key(u64, u64);

impl Key {
    fn of(self, row: u32) -> Self {
        Self(self.0.wrapping_add(u64::from(row)), self.1)
    }
}

struct Slot {
    key: Key,
    score: f64,
    /// Milliseconds since the store began.
    at: u64,
    labelled: bool,
}

/// The answers of one version.
pub struct Store {
    outcome: Outcome,
    begun: Instant,
    hashers: [RandomState; 2],
    /// In the order of their arrival; the first one has the number `first`.
    slots: VecDeque<Slot>,
    first: u64,
    index: HashMap<Key, u64>,
    pending: usize,
    pairs: VecDeque<Pair>,
    /// Values of each subgroup, in the order in which they came.
    values: Vec<Vec<String>>,
    pub counts: Counts,
}

impl Store {
    pub fn new(outcome: Outcome, now: Instant) -> Self {
        let values = vec![Vec::new(); outcome.groups.len()];
        Self {
            outcome,
            begun: now,
            hashers: [RandomState::new(), RandomState::new()],
            slots: VecDeque::new(),
            first: 0,
            index: HashMap::new(),
            pending: 0,
            pairs: VecDeque::new(),
            values,
            counts: Counts::default(),
        }
    }

    /// What outlives a restart.
    pub fn keep(&self) -> Kept {
        Kept {
            outcome: self.outcome.clone(),
            counts: self.counts,
            pending: self.pending,
            values: self.values.clone(),
            pairs: self.pairs.iter().copied().collect(),
        }
    }

    /// Takes up what another process kept. Answers that waited then can not be labelled any more.
    pub fn resume(&mut self, kept: Kept) {
        self.counts = kept.counts;
        self.counts.expired += kept.pending as u64;
        self.values = kept.values;
        self.pairs = kept.pairs.into();
    }

    /// Remembers the scores of an answer, one a row. An id that is used again means the newest
    /// answer.
    pub fn remember(&mut self, id: &str, scores: &[Option<f64>], now: Instant) {
        self.expire(now);
        let at = self.age(now);
        let base = self.key(id);
        for (row, score) in (0..).zip(scores) {
            let Some(score) = *score else {
                self.counts.unusable += 1;
                continue;
            };
            if self.slots.len() >= self.outcome.keep {
                self.drop_first();
            }
            let key = base.of(row);
            let number = self.first + self.slots.len() as u64;
            if let Some(before) = self.index.insert(key, number)
                && let Some(slot) = self.slot(before).filter(|slot| !slot.labelled)
            {
                // Nobody can name it any more.
                slot.labelled = true;
                self.pending -= 1;
                self.counts.expired += 1;
            }
            self.slots.push_back(Slot { key, score, at, labelled: false });
            self.pending += 1;
        }
    }

    /// Forgets answers that are too old.
    pub fn expire(&mut self, now: Instant) {
        let keep = Duration::from_secs(self.outcome.keep_seconds).as_millis() as u64;
        let age = self.age(now);
        while self.slots.front().is_some_and(|slot| age.saturating_sub(slot.at) >= keep) {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        let Some(slot) = self.slots.pop_front() else { return };
        if let Entry::Occupied(entry) = self.index.entry(slot.key)
            && *entry.get() == self.first
        {
            entry.remove();
        }
        self.first += 1;
        if !slot.labelled {
            self.pending -= 1;
            self.counts.expired += 1;
        }
    }

    /// Joins a label with its answer. The first label of an answer stands.
    pub fn join(&mut self, feedback: &Feedback, now: Instant) -> Result<Joined, Fault> {
        self.expire(now);
        let read = self.truth(&feedback.label).and_then(|truth| Ok((truth, self.check(feedback)?)));
        let (truth, places) = read.inspect_err(|_| self.counts.invalid += 1)?;
        let key = self.key(&feedback.prediction_id).of(feedback.row);
        let number = self.index.get(&key).copied();
        let Some(slot) = number.and_then(|number| self.slot(number)) else {
            self.counts.unknown += 1;
            return Ok(Joined::Unknown);
        };
        if slot.labelled {
            self.counts.already += 1;
            return Ok(Joined::Before);
        }
        slot.labelled = true;
        let score = slot.score;
        let mut values = [NO_VALUE; GROUPS_MAX];
        for (group, value) in places {
            if let (Some(mine), Some(place)) = (values.get_mut(group), self.place(group, value)) {
                *mine = place;
            }
        }
        if self.pairs.len() >= PAIRS_MAX {
            self.pairs.pop_front();
        }
        self.pairs.push_back(Pair { score, truth, values });
        self.pending -= 1;
        self.counts.joined += 1;
        Ok(Joined::Now)
    }

    /// Whether there is such an answer, labelled or not.
    pub fn knows(&self, feedback: &Feedback) -> bool {
        self.index.contains_key(&self.key(&feedback.prediction_id).of(feedback.row))
    }

    fn truth(&self, label: &Label) -> Result<f64, Fault> {
        let fault = |code, message: String| Fault { pointer: "/label".into(), code, message };
        match (&self.outcome.truth, label) {
            (Truth::Class { labels, positive, .. }, Label::Class(label)) => {
                let place = labels.iter().position(|known| known == label);
                let place = place.ok_or_else(|| {
                    fault("range", format!("expected one of {}", labels.join(", ")))
                })?;
                Ok(f64::from(u8::from(place == *positive)))
            }
            (Truth::Quantity, Label::Quantity(value)) if value.is_finite() => Ok(*value),
            (Truth::Class { .. }, _) => Err(fault("type", "expected the name of a class".into())),
            (Truth::Quantity, _) => Err(fault("type", "expected a finite number".into())),
        }
    }

    /// The subgroups that a label names, with their values.
    fn check<'a>(&self, feedback: &'a Feedback) -> Result<Vec<(usize, &'a str)>, Fault> {
        let declared = &self.outcome.groups;
        let place = |(name, value): (&'a String, &'a String)| {
            let Some(group) = declared.iter().position(|known| known == name) else {
                let message = match declared.is_empty() {
                    true => "the model declares no subgroups".to_owned(),
                    false => format!("expected subgroups among {}", declared.join(", ")),
                };
                return Err(Fault { pointer: "/groups".into(), code: "unknown", message });
            };
            let known = self.values.get(group).map(Vec::as_slice).unwrap_or_default();
            let pointer = format!("/groups/{}", pointer_part(&declared[group]));
            if !(1..=NAME_CHARS_MAX).contains(&value.chars().count()) {
                let message = format!("expected 1 to {NAME_CHARS_MAX} characters");
                return Err(Fault { pointer, code: "length", message });
            }
            if known.len() >= VALUES_MAX && !known.contains(value) {
                let message = format!("expected no more than {VALUES_MAX} different values");
                return Err(Fault { pointer, code: "range", message });
            }
            Ok((group, value.as_str()))
        };
        feedback.groups.iter().map(place).collect()
    }

    /// Place of a value among those of its subgroup, which it joins if it is new.
    fn place(&mut self, group: usize, value: &str) -> Option<u8> {
        let known = self.values.get_mut(group)?;
        let place = known.iter().position(|known| known == value).unwrap_or_else(|| {
            known.push(value.to_owned());
            known.len() - 1
        });
        u8::try_from(place).ok()
    }

    fn slot(&mut self, number: u64) -> Option<&mut Slot> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.slots.get_mut(place)
    }

    fn key(&self, id: &str) -> Key {
        let [a, b] = &self.hashers;
        Key(a.hash_one(id), b.hash_one(id))
    }

    fn age(&self, now: Instant) -> u64 {
        let age = now.saturating_duration_since(self.begun).as_millis();
        u64::try_from(age).unwrap_or(u64::MAX)
    }

    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Answers that have no label yet.
    pub fn pending(&self) -> usize {
        self.pending
    }

    pub fn pairs(&self) -> impl Iterator<Item = &Pair> {
        self.pairs.iter()
    }

    pub fn values(&self) -> &[Vec<String>] {
        &self.values
    }

    /// Scores of the newest answers without a label, [`PAIRS_MAX`] at most. The search is bounded,
    /// for requests wait meanwhile.
    pub fn pending_scores(&self) -> Vec<f64> {
        let newest = self.slots.iter().rev().take(SEARCHED_MAX).filter(|slot| !slot.labelled);
        newest.take(PAIRS_MAX).map(|slot| slot.score).collect()
    }
}

/// A name as one part of a JSON pointer.
fn pointer_part(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
