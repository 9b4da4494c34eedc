//! `profile.json` beside a version, `galen.profile/1`: what features and outputs looked like in
//! training. Drift is measured against it.
//!
//! It holds aggregates only, and no count of fewer than [`COUNT_MIN`] rows, so that it discloses
//! nobody; `build` says how. Features have the names that `slots` gives them; `projection` reduces
//! vectors to a few numbers. Who asks for it has raw values in it, too (`samples`): they are
//! compared with those that a window has `kept`, as `exact` says.

mod build;
mod exact;
mod kept;
mod projection;
mod samples;
mod saved;
mod slots;
mod window;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::contract::Contract;
use crate::digest::sha256;
use crate::error::{Error, Result, nearest, quoted};
use crate::stats::bins::Edges;
use crate::stats::categories::Known;
use crate::stats::drift::{Reference, Shape};
use crate::stats::held_out::psi_limit;

pub use build::{COUNT_MIN, Collected, Collector, ROWS_MIN};
pub use exact::{Exact, ExactScores, VectorScores};
pub use kept::{Kept, VALUES_MAX};
pub use projection::{COMPONENTS, Projection, Side, Vector};
pub use samples::{SAMPLES_MAX, SAMPLES_MIN, Sample, Samples, VectorSample};
pub use saved::SavedWindow;
pub use slots::{COLUMNS_MAX, SLOTS_MAX, Seen, Slot, Slots, Take};
pub use window::{FeatureScores, Window};

/// The name of the file in a version's directory.
pub const FILE: &str = "profile.json";
/// The only format there is.
pub const SCHEMA: &str = "galen.profile/1";
/// Largest file that is read, in bytes.
pub const BYTES_MAX: u64 = 16 << 20;
/// Categories with a name; values of further ones count as other.
pub const CATEGORIES_MAX: usize = 200;

/// The file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    pub schema: String,
    pub source: Source,
    /// SHA-256 of the model file that gave the outputs, in hex, for an engine that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_sha256: Option<String>,
    /// The rows that `psi_limit` of features and outputs comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<Source>,
    /// How vectors are reduced; those that have none here are not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub projections: Vec<Projection>,
    /// Raw values, where they were asked for.
    #[serde(default, skip_serializing_if = "Samples::is_empty")]
    pub samples: Samples,
    pub features: Vec<Feature>,
    pub outputs: Vec<Feature>,
}

/// Where the rows came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The file's name, without its folder.
    pub name: String,
    pub rows: u64,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
}

/// One feature or output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Feature {
    Numeric(Numeric),
    Categorical(Categorical),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Numeric {
    pub name: String,
    /// Unit of measure (UCUM code).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Plausible values, ends included, as the author declared them then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<[f64; 2]>,
    /// Rows with a finite value.
    pub count: u64,
    pub missing: u64,
    pub mean: f64,
    pub std_pop: f64,
    /// Rounded outwards: not the value of one row.
    pub min: f64,
    pub max: f64,
    pub bins: Bins,
    /// Means of groups of rows of equal size in ascending order, 100 at most and each of
    /// [`COUNT_MIN`] rows at least: a sample that stands for the training data.
    pub group_means: Vec<f64>,
    /// The population stability index that one window in a thousand of held-out rows exceeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub psi_limit: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bins {
    pub rule: Rule,
    /// Inner edges, ascending: bin `i` is `[e_i, e_i+1)`, the first and the last are open.
    pub edges: Vec<f64>,
    /// One more than there are edges.
    pub counts: Vec<u64>,
}

/// How edges were chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// At the deciles.
    Deciles,
    /// Between the values, of which there were few.
    Values,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Categorical {
    pub name: String,
    /// Rows with a value, as far as they are counted below.
    pub count: u64,
    pub missing: u64,
    pub categories: Vec<Category>,
    /// Rows of categories that are too rare to be named.
    pub other: u64,
    /// As of numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub psi_limit: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Category {
    pub name: String,
    pub count: u64,
}

impl Feature {
    pub fn name(&self) -> &str {
        match self {
            Feature::Numeric(feature) => &feature.name,
            Feature::Categorical(feature) => &feature.name,
        }
    }

    pub fn psi_limit(&self) -> Option<f64> {
        match self {
            Feature::Numeric(feature) => feature.psi_limit,
            Feature::Categorical(feature) => feature.psi_limit,
        }
    }

    fn set_psi_limit(&mut self, limit: f64) {
        match self {
            Feature::Numeric(feature) => feature.psi_limit = Some(limit),
            Feature::Categorical(feature) => feature.psi_limit = Some(limit),
        }
    }

    fn missing(&self) -> u64 {
        match self {
            Feature::Numeric(feature) => feature.missing,
            Feature::Categorical(feature) => feature.missing,
        }
    }

    fn count(&self) -> u64 {
        match self {
            Feature::Numeric(feature) => feature.count,
            Feature::Categorical(feature) => feature.count,
        }
    }
}

impl Profile {
    /// Reads the file and checks it against the contract of the version that it lies beside. Puts
    /// features and outputs into the order of [`Slots`].
    pub fn parse(bytes: &[u8], contract: &Contract) -> Result<Self> {
        if bytes.len() as u64 > BYTES_MAX {
            return Err(wrong(format!("more than {BYTES_MAX} bytes")));
        }
        let mut profile: Self =
            serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        if profile.schema != SCHEMA {
            return Err(wrong(format!("schema: expected \"{SCHEMA}\"")));
        }
        let mut vectors = Vector::all(contract, Side::Input);
        vectors.extend(Vector::all(contract, Side::Output));
        for (place, projection) in profile.projections.iter().enumerate() {
            projection.check(&vectors)?;
            let same = |p: &Projection| p.of == projection.of && p.name == projection.name;
            if profile.projections[..place].iter().any(same) {
                return Err(wrong(format!("projections: '{}' comes twice", projection.name)));
            }
        }
        let rows = profile.source.rows;
        let ordered = |what, features: Vec<Feature>, slots: &Slots| -> Result<Vec<Feature>> {
            let features = in_order(what, features, &slots.list)?;
            for (feature, slot) in features.iter().zip(&slots.list) {
                check(feature, slot, rows)?;
            }
            Ok(features)
        };
        let inputs = profile.slots(contract, Side::Input)?;
        let outputs = profile.slots(contract, Side::Output)?;
        profile.features = ordered("feature", profile.features, &inputs)?;
        profile.outputs = ordered("output", profile.outputs, &outputs)?;
        profile.samples.check(&profile.features, &profile.outputs, &profile.projections)?;
        Ok(profile)
    }

    /// What is watched of inputs or outputs, in the order of features or outputs.
    pub fn slots(&self, contract: &Contract, side: Side) -> Result<Slots> {
        let (slots, features) = match side {
            Side::Input => (Slots::inputs(contract)?, &self.features),
            Side::Output => (Slots::outputs(contract)?, &self.outputs),
        };
        let names: HashSet<&str> = features.iter().map(Feature::name).collect();
        let slots = slots.with_free_texts(|name| names.contains(name))?;
        slots.projected(contract, side, &self.projections)
    }

    /// Sets the limits that held-out rows tell, which a window of this profile has seen. One number
    /// a feature is left of them.
    pub fn hold_out(&mut self, source: Source, window: &Window) {
        let seen = window.feature_scores().chain(window.output_scores());
        let features = self.features.iter_mut().chain(&mut self.outputs);
        for (feature, seen) in features.zip(seen) {
            let accumulator = seen.accumulator;
            let limit = psi_limit(&accumulator.counts(), &accumulator.reference().counts);
            if let Some(limit) = limit {
                feature.set_psi_limit((limit * 1000.0).ceil() / 1000.0);
            }
        }
        self.held_out = Some(source);
    }

    /// SHA-256 of what it says, in hex: statistics that were counted against it fit no other.
    pub fn digest(&self) -> Result<String> {
        Ok(sha256(self.to_json()?.as_bytes()))
    }

    /// The file's text: one line per feature, projection and sample.
    pub fn to_json(&self) -> Result<String> {
        let (schema, source) = (text(&self.schema)?, text(&self.source)?);
        let mut out = format!("{{\n \"schema\": {schema},\n \"source\": {source},\n");
        if let Some(digest) = &self.model_sha256 {
            out += &format!(" \"model_sha256\": {},\n", text(digest)?);
        }
        if let Some(source) = &self.held_out {
            out += &format!(" \"held_out\": {},\n", text(source)?);
        }
        if !self.projections.is_empty() {
            out += &format!(" \"projections\": [{}\n ],\n", lines(&self.projections)?);
        }
        if !self.samples.is_empty() {
            let Samples { columns, vectors } = &self.samples;
            let (columns, vectors) = (lines(columns)?, lines(vectors)?);
            out += &format!(
                " \"samples\": {{\n \"columns\": [{columns}\n ],\n \"vectors\": [{vectors}\n ]}},\n"
            );
        }
        let (features, outputs) = (lines(&self.features)?, lines(&self.outputs)?);
        out += &format!(" \"features\": [{features}\n ],\n \"outputs\": [{outputs}\n ]\n}}\n");
        Ok(out)
    }
}

fn text(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::internal("the profile could not be written").with_detail(error))
}

fn lines<T: Serialize>(list: &[T]) -> Result<String> {
    let line = |value| text(value).map(|line| format!("\n  {line}"));
    Ok(list.iter().map(line).collect::<Result<Vec<_>>>()?.join(","))
}

fn wrong(message: impl std::fmt::Display) -> Error {
    Error::invalid(format!("{FILE}: {message}"))
}

/// The features in the order of the slots: each once, and no other.
fn in_order(what: &str, features: Vec<Feature>, slots: &[Slot]) -> Result<Vec<Feature>> {
    let places: HashMap<&str, usize> =
        slots.iter().enumerate().map(|(place, slot)| (slot.name.as_str(), place)).collect();
    let mut ordered: Vec<Option<Feature>> = slots.iter().map(|_| None).collect();
    for feature in features {
        let name = feature.name();
        let Some(&place) = places.get(name) else {
            let near = nearest(name, slots.iter().map(|slot| slot.name.as_str()));
            let hint = near.map(|near| format!("; did you mean '{near}'?")).unwrap_or_default();
            let name = quoted(name);
            return Err(wrong(format!("the model has no {what} '{name}'{hint}")));
        };
        if ordered[place].is_some() {
            return Err(wrong(format!("{what} '{name}' comes twice")));
        }
        ordered[place] = Some(feature);
    }
    let absent = ordered.iter().zip(slots).find(|(feature, _)| feature.is_none());
    if let Some((_, slot)) = absent {
        return Err(wrong(format!("{what} '{}' of the model is missing", slot.name)));
    }
    Ok(ordered.into_iter().flatten().collect())
}

fn check(feature: &Feature, slot: &Slot, rows: u64) -> Result<()> {
    let name = &slot.name;
    let fails = |why: &str| Err(wrong(format!("'{name}': {why}")));
    if feature.psi_limit().is_some_and(|limit| limit < 0.0) {
        return fails("psi_limit: expected 0 or more");
    }
    if feature.count().checked_add(feature.missing()).is_none_or(|all| all > rows) {
        return fails("more rows than source.rows");
    }
    match feature {
        Feature::Numeric(_) if slot.is_categorical() => {
            fails("expected type \"categorical\", as its values are categories")
        }
        Feature::Categorical(_) if !slot.is_categorical() => {
            fails("expected type \"numeric\", as its values are numbers")
        }
        Feature::Numeric(feature) => match numeric_fault(feature, slot) {
            Some(why) => fails(why),
            None => Ok(()),
        },
        Feature::Categorical(feature) => match categorical_fault(feature, slot) {
            Some(why) => fails(why),
            None => Ok(()),
        },
    }
}

fn numeric_fault(feature: &Numeric, slot: &Slot) -> Option<&'static str> {
    let Numeric { bins, min, max, .. } = feature;
    let ascending = |list: &[f64]| list.windows(2).all(|pair| pair[0] <= pair[1]);
    let total = sum(bins.counts.iter().copied());
    if Edges::new(bins.edges.clone()).is_none() {
        return Some("bins.edges: expected up to 1000 finite numbers, each above the one before");
    }
    if bins.counts.len() != bins.edges.len() + 1 {
        return Some("bins.counts: expected one more than bins.edges");
    }
    if total != Some(feature.count) || feature.count == 0 {
        return Some("bins.counts: expected the sum to be count, and above 0");
    }
    if min.partial_cmp(max).is_none_or(std::cmp::Ordering::is_gt) {
        return Some("expected min <= max");
    }
    if feature.range.is_some_and(|[low, high]| low > high) {
        return Some("range: expected [low, high] with low <= high");
    }
    if feature.std_pop < 0.0 {
        return Some("std_pop: expected 0 or more");
    }
    if feature.group_means.len() > 100 || !ascending(&feature.group_means) {
        return Some("group_means: expected up to 100 numbers in ascending order");
    }
    if feature.unit.is_some() && slot.unit.is_some() && feature.unit != slot.unit {
        return Some("unit: not the unit that the model's configuration declares");
    }
    None
}

fn categorical_fault(feature: &Categorical, slot: &Slot) -> Option<&'static str> {
    let names: Vec<String> = feature.categories.iter().map(|c| c.name.clone()).collect();
    let total = sum(feature.categories.iter().map(|c| c.count).chain([feature.other]));
    if names.len() > CATEGORIES_MAX.max(slot.labels.len()) {
        return Some("categories: more than are read");
    }
    if !slot.labels.is_empty() && names.iter().any(|name| !slot.labels.contains(name)) {
        return Some("categories: one is no label of this output");
    }
    if Known::new(names).is_none() {
        return Some("categories: one comes twice");
    }
    if total != Some(feature.count) || feature.count == 0 {
        return Some("categories: expected the sum with other to be count, and above 0");
    }
    None
}

fn sum(mut counts: impl Iterator<Item = u64>) -> Option<u64> {
    counts.try_fold(0u64, u64::checked_add)
}

/// What an accumulator is made from. The feature was checked against the slot.
fn reference(feature: &Feature, slot: &Slot) -> Arc<Reference> {
    Arc::new(match feature {
        Feature::Numeric(numeric) => Reference {
            shape: Shape::Numeric(Edges::new(numeric.bins.edges.clone()).unwrap_or_default()),
            counts: numeric.bins.counts.clone(),
            missing: numeric.missing,
            // What holds is what the configuration says today.
            range: slot.range.or(numeric.range),
            trained: Some([numeric.min, numeric.max]),
            psi_limit: numeric.psi_limit,
        },
        Feature::Categorical(categorical) => {
            let given = |name: &String| {
                let found = categorical.categories.iter().find(|c| c.name == *name);
                found.map_or(0, |category| category.count)
            };
            // Positions are class indices where there are labels.
            let names: Vec<String> = if slot.labels.is_empty() {
                categorical.categories.iter().map(|c| c.name.clone()).collect()
            } else {
                slot.labels.clone()
            };
            let counts = names.iter().map(given).chain([categorical.other]).collect();
            Reference {
                shape: Shape::Categorical(Arc::new(Known::new(names).unwrap_or_default())),
                counts,
                missing: categorical.missing,
                range: None,
                trained: None,
                psi_limit: categorical.psi_limit,
            }
        }
    })
}

#[cfg(test)]
mod tests;
