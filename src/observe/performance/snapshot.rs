//! Labelled answers over a restart: a file per version, whole or not at all. It holds scores, what
//! became true and values of subgroups, and no id: neither whose they are nor how a late label
//! could find its answer. Answers that still wait are therefore not kept.

use std::path::Path;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::store::{Counts, Kept, PAIRS_MAX, Pair, Store, VALUES_MAX};
use crate::error::{Error, Result};
use crate::model::ModelId;
use crate::model::performance::{NAME_CHARS_MAX, Outcome, Truth};
use crate::state;
use crate::stats::drift::COUNT_LIMIT;

/// The only format there is.
const SCHEMA: &str = "galen.labelled/1";

/// The file. Numbers are the base64 of 64-bit floats, little end first: a score at the threshold
/// must stay there to the last bit.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Snapshot {
    schema: String,
    declared: Declared,
    saved_at_s: u64,
    counts: Counts,
    /// Answers that waited for their label.
    pending: u64,
    /// Values of each subgroup.
    values: Vec<Vec<String>>,
    scores: String,
    truths: String,
    /// For each subgroup, the place of every pair's value; 255 for none.
    places: Vec<String>,
}

/// What the pairs are of: those of another model file or declaration are no use.
#[derive(PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    /// SHA-256 of the model file, where there is one.
    file: String,
    outcome: String,
    groups: Vec<String>,
}

impl Declared {
    fn of(outcome: &Outcome, file: &str) -> Self {
        let told = match &outcome.truth {
            Truth::Quantity => "a quantity".to_owned(),
            Truth::Class { labels, positive, read } => {
                format!("class {positive} of {labels:?} by {read:?}")
            }
        };
        let outcome_text = format!("output {}: {told}", outcome.output());
        Self { file: file.to_owned(), outcome: outcome_text, groups: outcome.groups.clone() }
    }
}

fn numbers(values: impl Iterator<Item = f64>) -> String {
    STANDARD.encode(values.flat_map(f64::to_le_bytes).collect::<Vec<u8>>())
}

fn from_numbers(text: &str) -> Option<Vec<f64>> {
    let bytes = STANDARD.decode(text).ok()?;
    let (values, rest) = bytes.as_chunks::<8>();
    rest.is_empty().then(|| values.iter().map(|value| f64::from_le_bytes(*value)).collect())
}

/// Writes down what a version's labels say.
pub fn save(folder: &Path, id: &ModelId, file: &str, kept: &Kept, now: SystemTime) -> Result<()> {
    let Kept { outcome, counts, pending, values, pairs } = kept;
    let place = |group| pairs.iter().map(|pair| pair.place(group)).collect::<Vec<u8>>();
    let snapshot = Snapshot {
        schema: SCHEMA.to_owned(),
        declared: Declared::of(outcome, file),
        saved_at_s: state::seconds(now),
        counts: *counts,
        pending: *pending as u64,
        values: values.clone(),
        scores: numbers(pairs.iter().map(|pair| pair.score)),
        truths: numbers(pairs.iter().map(|pair| pair.truth)),
        places: (0..values.len()).map(|group| STANDARD.encode(place(group))).collect(),
    };
    state::save(folder, &state::version_file(id), &snapshot)
}

/// Takes up what the last process wrote down, and says when it did. Without a file, or with one of
/// another model file or declaration, nothing.
pub fn restore(
    folder: &Path,
    id: &ModelId,
    file: &str,
    store: &mut Store,
) -> Result<Option<SystemTime>> {
    let Some(kept) = state::open::<Option<Snapshot>>(folder, &state::version_file(id))? else {
        return Ok(None);
    };
    if kept.schema != SCHEMA || kept.declared != Declared::of(store.outcome(), file) {
        tracing::info!(model = %id, "another model or declaration: labels are counted from anew");
        return Ok(None);
    }
    let saved_at = state::moment(kept.saved_at_s);
    let read = read(kept, store.outcome()).zip(saved_at);
    let (kept, saved_at) = read.ok_or_else(|| Error::invalid("the labelled answers are none"))?;
    store.resume(kept);
    Ok(Some(saved_at))
}

/// What a file says, where it can have been written by this program.
fn read(snapshot: Snapshot, outcome: &Outcome) -> Option<Kept> {
    let scores = from_numbers(&snapshot.scores)?;
    let truths = from_numbers(&snapshot.truths)?;
    let places: Vec<Vec<u8>> =
        snapshot.places.iter().map(|text| STANDARD.decode(text).ok()).collect::<Option<_>>()?;
    let values = snapshot.values;
    let is_class = outcome.truth != Truth::Quantity;
    let fits = |score: f64, truth: f64| match is_class {
        true => (0.0..=1.0).contains(&score) && (truth == 0.0 || truth == 1.0),
        false => score.is_finite() && truth.is_finite(),
    };
    let known = |values: &Vec<String>| {
        values.len() <= VALUES_MAX
            && values.iter().all(|value| (1..=NAME_CHARS_MAX).contains(&value.chars().count()))
    };
    let same = scores.len() == truths.len() && places.iter().all(|list| list.len() == scores.len());
    let groups = values.len() == outcome.groups.len() && places.len() == values.len();
    let counts = snapshot.counts;
    let pending = usize::try_from(snapshot.pending).ok().filter(|p| *p as u64 <= COUNT_LIMIT)?;
    let all = [counts.joined, counts.already, counts.unknown, counts.invalid];
    let all = all.iter().chain([&counts.expired, &counts.unusable]);
    let bounded = scores.len() <= PAIRS_MAX && { all }.all(|count| *count <= COUNT_LIMIT);
    if !(same && groups && bounded && values.iter().all(known)) {
        return None;
    }
    let pair = |(row, (score, truth)): (usize, (&f64, &f64))| {
        let mine = places.iter().map(|list| list.get(row).copied());
        let pair = Pair::new(*score, *truth, mine.collect::<Option<Vec<u8>>>()?)?;
        let within = (values.iter().enumerate()).all(|(group, values)| {
            let place = pair.place(group);
            place == u8::MAX || usize::from(place) < values.len()
        });
        (within && fits(*score, *truth)).then_some(pair)
    };
    let pairs = scores.iter().zip(&truths).enumerate().map(pair).collect::<Option<Vec<Pair>>>()?;
    Some(Kept { outcome: outcome.clone(), counts, pending, values, pairs })
}
