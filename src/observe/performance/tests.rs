//! Answers that come, wait, are labelled and go, against a plain list of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use proptest::prelude::*;

use super::report::{CASES_MIN, Seen};
use super::snapshot;
use super::store::{Counts, Fault, Feedback, Joined, Label, PAIRS_MAX, Store, VALUES_MAX};
use crate::model::performance::{Outcome, Performance};
use crate::model::{Contract, Manifest, ModelId, ModelName, Signature, TensorSpec, Version};
use crate::tensor::DType;

fn outcome(text: &str) -> Outcome {
    let spec = |name: &str, dims: &[i64]| TensorSpec::of(name, DType::F64, dims);
    let (inputs, outputs) =
        (vec![spec("x", &[-1, 2])], vec![spec("p", &[-1, 2]), spec("y", &[-1])]);
    let signature = Signature { inputs, outputs };
    let text = format!("[performance]\n{text}\n[[outputs]]\nname = \"p\"\nlabels = [\"b\", \"m\"]");
    let manifest = Manifest::parse(&text).unwrap();
    let contract = Contract::derive(&signature, &manifest, true, 8).unwrap();
    let declared: Performance = manifest.performance.unwrap();
    declared.resolve(&signature, &contract).unwrap()
}

fn classes(keep: usize) -> Outcome {
    outcome(&format!(
        "output = \"p\"\npositive = \"m\"\nkeep = {keep}\nkeep_seconds = 100\n\
         groups = [\"sex\", \"a/b\"]"
    ))
}

fn label(id: &str, row: u32, label: &str) -> Feedback {
    Feedback {
        prediction_id: id.to_owned(),
        row,
        label: Label::Class(label.to_owned()),
        groups: BTreeMap::new(),
    }
}

fn grouped(name: &str, value: &str) -> Feedback {
    let groups = BTreeMap::from([(name.to_owned(), value.to_owned())]);
    Feedback { groups, ..label("r", 0, "m") }
}

fn at(begun: Instant, seconds: u64) -> Instant {
    begun + Duration::from_secs(seconds)
}

#[test]
fn a_label_is_joined_once_and_only_with_its_row() {
    let now = Instant::now();
    let mut store = Store::new(classes(10), now);
    store.remember("r", &[Some(0.25), None, Some(0.75)], now);
    assert_eq!(store.pending(), 2);
    for (feedback, expected) in [
        (label("r", 2, "m"), Joined::Now),
        (label("r", 2, "b"), Joined::Before),
        (label("r", 1, "m"), Joined::Unknown),
        (label("r", 3, "m"), Joined::Unknown),
        (label("s", 0, "m"), Joined::Unknown),
        (label("r", 0, "b"), Joined::Now),
    ] {
        assert_eq!(store.join(&feedback, now), Ok(expected), "{feedback:?}");
    }
    let pairs: Vec<_> = store.pairs().map(|pair| (pair.score, pair.truth)).collect();
    assert_eq!(pairs, [(0.75, 1.0), (0.25, 0.0)]);
    assert_eq!(store.pending(), 0);
    let counts = Counts { joined: 2, already: 1, unknown: 3, unusable: 1, ..Counts::default() };
    assert_eq!(store.counts, counts);
}

#[test]
fn an_answer_is_forgotten_when_its_time_is_over() {
    let begun = Instant::now();
    let mut store = Store::new(classes(10), begun);
    store.remember("r", &[Some(0.5), Some(0.5)], begun);
    assert_eq!(store.join(&label("r", 0, "m"), at(begun, 99)), Ok(Joined::Now));
    assert_eq!(store.join(&label("r", 0, "m"), at(begun, 100)), Ok(Joined::Unknown));
    assert_eq!(store.join(&label("r", 1, "m"), at(begun, 100)), Ok(Joined::Unknown));
    // Only the one that never had a label is missed.
    assert_eq!((store.pending(), store.counts.expired), (0, 1));
    assert_eq!(store.pairs().count(), 1);
}

#[test]
fn an_id_that_is_used_again_means_the_newest_answer() {
    let now = Instant::now();
    let mut store = Store::new(classes(10), now);
    store.remember("r", &[Some(0.1)], now);
    store.remember("r", &[Some(0.9)], now);
    assert_eq!((store.pending(), store.counts.expired), (1, 1));
    assert_eq!(store.join(&label("r", 0, "m"), now), Ok(Joined::Now));
    store.remember("r", &[Some(0.3)], now);
    assert_eq!(store.join(&label("r", 0, "m"), now), Ok(Joined::Now));
    let scores: Vec<f64> = store.pairs().map(|pair| pair.score).collect();
    assert_eq!(scores, [0.9, 0.3]);
}

#[test]
fn faults_name_the_place_and_never_the_value() {
    let now = Instant::now();
    let mut store = Store::new(classes(10), now);
    store.remember("r", &[Some(0.1)], now);
    let number = Feedback { label: Label::Quantity(1.0), ..label("r", 0, "") };
    for (feedback, pointer, code) in [
        (label("r", 0, "secret"), "/label", "range"),
        (number, "/label", "type"),
        (grouped("secret", "F"), "/groups", "unknown"),
        (grouped("sex", ""), "/groups/sex", "length"),
        (grouped("a/b", &"secret".repeat(11)), "/groups/a~1b", "length"),
    ] {
        let fault = store.join(&feedback, now).unwrap_err();
        assert_eq!((fault.pointer.as_str(), fault.code), (pointer, code), "{fault:?}");
        assert!(!fault.message.contains("secret"), "{fault:?}");
    }
    assert_eq!((store.counts.invalid, store.pending()), (5, 1));
    assert!(store.values().iter().all(Vec::is_empty), "a label that failed leaves nothing");
    let mut quantity = Store::new(outcome("output = \"y\""), now);
    let nan = Feedback { label: Label::Quantity(f64::NAN), ..label("r", 0, "") };
    for feedback in [nan, label("r", 0, "m")] {
        let Fault { code, .. } = quantity.join(&feedback, now).unwrap_err();
        assert_eq!(code, "type");
    }
}

#[test]
fn values_of_a_subgroup_and_pairs_are_bounded() {
    let now = Instant::now();
    let rows = PAIRS_MAX + 50;
    let mut store = Store::new(classes(rows), now);
    store.remember("r", &vec![Some(0.5); rows], now);
    for row in 0..VALUES_MAX as u32 {
        let feedback = Feedback { row, ..grouped("sex", &row.to_string()) };
        assert_eq!(store.join(&feedback, now), Ok(Joined::Now));
    }
    let fault = store.join(&Feedback { row: 40, ..grouped("sex", "new") }, now).unwrap_err();
    assert_eq!((fault.pointer.as_str(), fault.code), ("/groups/sex", "range"));
    let known = Feedback { row: 40, ..grouped("sex", "7") };
    assert_eq!(store.join(&known, now), Ok(Joined::Now));
    for row in 41..rows as u32 {
        assert_eq!(store.join(&label("r", row, "b"), now), Ok(Joined::Now));
    }
    assert_eq!((store.pairs().count(), store.counts.joined), (PAIRS_MAX, rows as u64 - 8));
    assert_eq!(store.values()[0].len(), VALUES_MAX);
}

#[test]
fn a_subgroup_is_shown_from_thirty_cases_on() {
    let now = Instant::now();
    let mut store = Store::new(classes(100), now);
    store.remember("r", &[Some(0.5); 60], now);
    for row in 0..CASES_MIN as u32 {
        assert!(Seen::of(&store).report().groups.iter().all(|group| group.summary.is_none()));
        assert_eq!(store.join(&Feedback { row, ..grouped("sex", "F") }, now), Ok(Joined::Now));
    }
    let report = Seen::of(&store).report();
    let [group] = &report.groups[..] else { panic!("{report:?}") };
    assert_eq!(group.summary.as_ref().unwrap().cases, CASES_MIN);
    assert_eq!(report.estimate.unwrap().0, 30);
}

#[test]
fn quantities_have_errors_and_no_calls() {
    let now = Instant::now();
    let mut store = Store::new(outcome("output = \"y\""), now);
    store.remember("r", &[Some(3.0), Some(1.0)], now);
    for (row, truth) in [(0, 0.0), (1, 2.0)] {
        let feedback = Feedback { label: Label::Quantity(truth), ..label("r", row, "") };
        assert_eq!(store.join(&feedback, now), Ok(Joined::Now));
    }
    let report = Seen::of(&store).report();
    let errors = report.overall.errors.unwrap();
    assert_eq!((errors.mean, errors.absolute), (1.0, 2.0));
    assert_eq!((report.threshold, report.overall.sensitivity), (None, None));
    assert!(report.calibration.is_empty() && report.estimate.is_none());
}

/// A row of an answer in the plain list: id, row, when, whether it is labelled.
type Entry = (u8, u32, u64, bool);

#[test]
fn what_is_labelled_outlives_a_restart_and_what_waits_does_not() {
    let folder = std::env::temp_dir().join(format!("galen-labelled-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    let id = ModelId { name: ModelName::new("m").unwrap(), version: Version::new(1).unwrap() };
    let now = Instant::now();
    let scores = [0.5, f64::from_bits(0.5f64.to_bits() - 1), 1.0 / 3.0, 0.9];
    let mut before = Store::new(classes(10), now);
    before.remember("r", &scores.map(Some), now);
    for row in 0..3 {
        let groups = BTreeMap::from([("sex".to_owned(), ["F", "M"][row as usize % 2].to_owned())]);
        let given = Feedback { row, groups, ..label("r", row, ["m", "b"][row as usize % 2]) };
        assert_eq!(before.join(&given, now), Ok(Joined::Now));
    }
    let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let save = |store: &Store| snapshot::save(&folder, &id, "abc", &store.keep(), moment).unwrap();
    save(&before);
    let restore = |outcome: Outcome, file: &str| {
        let mut store = Store::new(outcome, now);
        snapshot::restore(&folder, &id, file, &mut store).map(|at| (at, store))
    };

    let (at, mut after) = restore(classes(10), "abc").unwrap();
    assert_eq!(at, Some(moment));
    // To the last bit.
    assert!(after.pairs().eq(before.pairs()));
    assert_eq!(after.values(), before.values());
    let counts = Counts { expired: 1, ..before.counts };
    assert_eq!((after.counts, after.pending()), (counts, 0));
    assert_eq!(after.join(&label("r", 3, "m"), now), Ok(Joined::Unknown));
    let overall = |store: &Store| Seen::of(store).overall();
    assert_eq!(overall(&after), overall(&before));
    let path = folder.join("m-1.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let ids = ["\"r\"", "key", "0.5"];
    assert!(!ids.iter().any(|id| text.contains(id)), "{text}");

    // Another model file, or another declaration: from the start, and no error.
    let other = "output = \"p\"\npositive = \"b\"\ngroups = [\"sex\", \"a/b\"]";
    for (outcome, file) in [(classes(10), "abd"), (outcome(other), "abc")] {
        let (at, store) = restore(outcome, file).unwrap();
        assert_eq!((at, store.counts), (None, Counts::default()));
    }
    // What was cut off, and what nobody can have written, is refused.
    std::fs::write(&path, &text[..text.len() / 2]).unwrap();
    assert!(restore(classes(10), "abc").is_err());
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut spoilt = |place: &str, with: serde_json::Value| {
        let sound = std::mem::replace(value.pointer_mut(place).unwrap(), with);
        std::fs::write(&path, value.to_string()).unwrap();
        assert!(restore(classes(10), "abc").is_err(), "{place}");
        *value.pointer_mut(place).unwrap() = sound;
    };
    // Of 2.0 where a probability belongs, and of one pair too few.
    spoilt("/scores", "AAAAAAAAAEAAAAAAAAAAQAAAAAAAAABA".into());
    spoilt("/truths", "AAAAAAAA8D8AAAAAAAAAAA==".into());
    spoilt("/places/0", "AAEC".into());
    spoilt("/places/1", "AA==".into());
    spoilt("/values", serde_json::json!([["F", "M"]]));
    spoilt("/values/0/1", "".into());
    spoilt("/counts/joined", u64::MAX.into());
    spoilt("/pending", u64::MAX.into());
    std::fs::write(&path, text).unwrap();
    assert!(restore(classes(10), "abc").is_ok());
    std::fs::remove_dir_all(folder).unwrap();
}

proptest! {
    /// The store agrees with a list that is searched from its end, and never holds more than it
    /// may.
    #[test]
    fn the_store_is_bounded_and_forgets_in_order(
        steps in proptest::collection::vec((0u8..6, 0u32..4, 0u64..40, any::<bool>()), 1..200),
        keep in 1usize..12,
    ) {
        let begun = Instant::now();
        let mut store = Store::new(classes(keep), begun);
        let mut list: Vec<Entry> = Vec::new();
        let (mut now, mut joined) = (0, 0);
        for (id, rows, wait, answers) in steps {
            now += wait;
            list.retain(|entry| now - entry.2 < 100);
            if answers {
                store.remember(&id.to_string(), &vec![Some(0.5); rows as usize], at(begun, now));
                for row in 0..rows {
                    if list.len() >= keep {
                        list.remove(0);
                    }
                    list.push((id, row, now, false));
                }
            } else {
                let found = list.iter_mut().rev().find(|entry| (entry.0, entry.1) == (id, rows));
                let expected = match found {
                    None => Joined::Unknown,
                    Some(entry) if entry.3 => Joined::Before,
                    Some(entry) => {
                        entry.3 = true;
                        joined += 1;
                        Joined::Now
                    }
                };
                let outcome = store.join(&label(&id.to_string(), rows, "m"), at(begun, now));
                prop_assert_eq!(outcome, Ok(expected));
            }
            store.expire(at(begun, now));
            let reachable = |place: usize, entry: &Entry| {
                let later = list.get(place + 1..).unwrap_or_default();
                !entry.3 && !later.iter().any(|other| (other.0, other.1) == (entry.0, entry.1))
            };
            let pending = list.iter().enumerate().filter(|(place, e)| reachable(*place, e)).count();
            prop_assert_eq!(store.pending(), pending);
            prop_assert!(store.pending() <= keep && store.pending_scores().len() == pending);
            prop_assert_eq!(store.pairs().count() as u64, joined);
        }
    }
}
