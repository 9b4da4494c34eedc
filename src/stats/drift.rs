//! Drift of one feature in streaming mode: what training looked like, an accumulator of what is
//! seen since, and the scores of one against the other.
//!
//! An accumulator has fixed memory and no lock: give every worker its own, [`Accumulator::merge`]
//! them now and then, [`Accumulator::reset`] them when a window ends.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::bins::Edges;
use super::categories::{Categories, Known};
use super::contingency::{ChiSquare, chi_square};
use super::divergence::{self, Base};
use super::moments::Moments;
use super::sketch::Sketch;

/// Least values in a window for an alarm: with fewer, chance alone looks like drift.
pub const COUNT_MIN: u64 = 500;
/// The population stability index that is commonly held for a shift.
pub const PSI_ALARM: f64 = 0.25;
/// An alarm is also so many times above what chance alone would give.
pub const FLOOR_TIMES: f64 = 3.0;

/// A feature (or an output) as it was in training.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    pub shape: Shape,
    /// By bin or category. Of categories, the last count is of the rare ones without a name.
    pub counts: Vec<u64>,
    pub missing: u64,
    /// Plausible values that the model's author declares, ends included.
    pub range: Option<[f64; 2]>,
    /// Where training values lay.
    pub trained: Option<[f64; 2]>,
    /// The population stability index that rows without drift hardly exceed, where held-out rows
    /// told it.
    pub psi_limit: Option<f64>,
}

/// Largest count that is taken from elsewhere: sums of them do not overflow.
pub const COUNT_LIMIT: u64 = 1 << 40;

/// How values are sorted into counts.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    Numeric(Edges),
    Categorical(Arc<Known>),
}

impl Reference {
    /// An empty accumulator for this feature.
    pub fn accumulator(self: &Arc<Self>) -> Accumulator {
        let counts = match &self.shape {
            Shape::Numeric(edges) => Counts::Numeric(vec![0; edges.bins()]),
            Shape::Categorical(known) => Counts::Categorical(Categories::new(Arc::clone(known))),
        };
        Accumulator {
            reference: Arc::clone(self),
            counts,
            moments: Moments::default(),
            quality: Quality::default(),
            sketch: None,
        }
    }

    /// Values that training had.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// What was wrong, or at least unusual, with values. Values outside a range are counted in their
/// bins too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quality {
    /// Left out, or NaN, which is how tables write it.
    pub missing: u64,
    /// Text where a number belongs.
    pub wrong_type: u64,
    pub infinite: u64,
    pub below_range: u64,
    pub above_range: u64,
    pub below_trained: u64,
    pub above_trained: u64,
}

impl Quality {
    fn merge(&mut self, other: &Self) {
        self.missing += other.missing;
        self.wrong_type += other.wrong_type;
        self.infinite += other.infinite;
        self.below_range += other.below_range;
        self.above_range += other.above_range;
        self.below_trained += other.below_trained;
        self.above_trained += other.above_trained;
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Counts {
    Numeric(Vec<u64>),
    Categorical(Categories),
}

/// What was seen of one feature in a window.
#[derive(Clone, Debug, PartialEq)]
pub struct Accumulator {
    reference: Arc<Reference>,
    counts: Counts,
    moments: Moments,
    quality: Quality,
    sketch: Option<Box<Sketch>>,
}

impl Accumulator {
    /// Sees quantiles, too, if it is of numbers.
    pub fn sketching(mut self) -> Self {
        self.sketch = matches!(self.counts, Counts::Numeric(_)).then(Box::default);
        self
    }

    /// Adds a number; of a categorical feature, the position of the category (a class index).
    pub fn push(&mut self, value: f64) {
        if value.is_nan() {
            self.quality.missing += 1;
            return;
        }
        match (&mut self.counts, &self.reference.shape) {
            (Counts::Categorical(categories), _) => {
                let is_position = value >= 0.0 && value.fract() == 0.0;
                categories.push_position(if is_position { value as usize } else { usize::MAX });
            }
            (Counts::Numeric(_), _) if value.is_infinite() => self.quality.infinite += 1,
            (Counts::Numeric(counts), Shape::Numeric(edges)) => {
                if let Some(count) = counts.get_mut(edges.index(value)) {
                    *count += 1;
                }
                self.moments.push(value);
                if let Some(sketch) = &mut self.sketch {
                    sketch.push(value);
                }
                let quality = &mut self.quality;
                if let Some([low, high]) = self.reference.range {
                    quality.below_range += u64::from(value < low);
                    quality.above_range += u64::from(value > high);
                }
                if let Some([low, high]) = self.reference.trained {
                    quality.below_trained += u64::from(value < low);
                    quality.above_trained += u64::from(value > high);
                }
            }
            (Counts::Numeric(_), Shape::Categorical(_)) => {}
        }
    }

    /// Adds a category by its name.
    pub fn push_text(&mut self, name: &str) {
        match &mut self.counts {
            Counts::Categorical(categories) => categories.push(name),
            Counts::Numeric(_) => self.quality.wrong_type += 1,
        }
    }

    /// Adds a record that has no value here.
    pub fn push_missing(&mut self) {
        self.quality.missing += 1;
    }

    /// Adds what another accumulator of the same reference has seen.
    pub fn merge(&mut self, other: &Self) {
        match (&mut self.counts, &other.counts) {
            (Counts::Numeric(counts), Counts::Numeric(more)) => {
                counts.iter_mut().zip(more).for_each(|(count, more)| *count += more);
            }
            (Counts::Categorical(counts), Counts::Categorical(more)) => counts.merge(more),
            _ => {}
        }
        self.moments.merge(&other.moments);
        self.quality.merge(&other.quality);
        if let (Some(sketch), Some(other)) = (&mut self.sketch, &other.sketch) {
            sketch.merge(other);
        }
    }

    /// Forgets the window; the memory stays.
    pub fn reset(&mut self) {
        match &mut self.counts {
            Counts::Numeric(counts) => counts.fill(0),
            Counts::Categorical(categories) => categories.reset(),
        }
        self.moments = Moments::default();
        self.quality = Quality::default();
        if let Some(sketch) = &mut self.sketch {
            sketch.reset();
        }
    }

    pub fn reference(&self) -> &Arc<Reference> {
        &self.reference
    }

    /// By bin or category, as [`Reference::counts`].
    pub fn counts(&self) -> Vec<u64> {
        match &self.counts {
            Counts::Numeric(counts) => counts.clone(),
            Counts::Categorical(categories) => {
                categories.counts().iter().copied().chain([categories.unseen()]).collect()
            }
        }
    }

    /// Values that were there and could be counted.
    pub fn present(&self) -> u64 {
        match &self.counts {
            Counts::Numeric(_) => self.moments.count(),
            Counts::Categorical(categories) => categories.total(),
        }
    }

    /// Values of a category that training does not name.
    pub fn unseen(&self) -> u64 {
        match &self.counts {
            Counts::Numeric(_) => 0,
            Counts::Categorical(categories) => categories.unseen(),
        }
    }

    pub fn quality(&self) -> &Quality {
        &self.quality
    }

    /// Of numeric features only.
    pub fn moments(&self) -> &Moments {
        &self.moments
    }

    /// Values that so large shares (0 to 1) of all do not exceed, nearly. Only of what saw every
    /// value: counts from elsewhere may have come without.
    pub fn quantiles<const N: usize>(&self, shares: [f64; N]) -> Option<[f64; N]> {
        let sketch = self.sketch.as_ref()?;
        let is_whole = sketch.count() == self.moments.count();
        sketch.quantiles(shares).filter(|_| is_whole)
    }

    /// Whether all of two values or more were the same number, as of a sensor that hangs.
    pub fn is_constant(&self) -> bool {
        self.moments.count() > 1 && self.moments.min() == self.moments.max()
    }
}

/// An accumulator as it is written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedAccumulator {
    /// By bin or category; of categories, the last is of new ones.
    counts: Vec<u64>,
    moments: Moments,
    quality: Quality,
    /// Where quantiles are asked for: [`Sketch::to_text`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sketch: Option<String>,
}

impl SavedAccumulator {
    /// Whether no count is beyond [`COUNT_LIMIT`].
    pub fn is_bounded(&self) -> bool {
        let Quality {
            missing,
            wrong_type,
            infinite,
            below_range,
            above_range,
            below_trained,
            above_trained,
        } = self.quality;
        let values = [missing, wrong_type, infinite, self.moments.count()];
        let outside = [below_range, above_range, below_trained, above_trained];
        let mut all = self.counts.iter().chain(&values).chain(&outside);
        all.all(|count| *count <= COUNT_LIMIT)
    }
}

impl Accumulator {
    /// What it has seen. New categories lose their names: they came from requests.
    pub fn save(&self) -> SavedAccumulator {
        SavedAccumulator {
            counts: self.counts(),
            moments: self.moments,
            quality: self.quality,
            sketch: self.sketch.as_ref().map(|sketch| sketch.to_text()),
        }
    }

    /// Adds what was written down; `false` where it does not fit.
    #[must_use]
    pub fn add(&mut self, saved: &SavedAccumulator) -> bool {
        // Where nobody asks for quantiles here, what others saw of them is not read.
        let sketch = saved.sketch.as_deref().filter(|_| self.sketch.is_some());
        let sketch = sketch.map(Sketch::from_text);
        let agrees = |sketch: &Option<Sketch>| {
            sketch.as_ref().is_some_and(|sketch| sketch.count() <= saved.moments.count())
        };
        if !sketch.as_ref().is_none_or(agrees) {
            return false;
        }
        let fits = match &mut self.counts {
            Counts::Numeric(counts) if counts.len() == saved.counts.len() => {
                counts.iter_mut().zip(&saved.counts).for_each(|(count, more)| *count += more);
                true
            }
            Counts::Numeric(_) => false,
            Counts::Categorical(categories) => categories.add(&saved.counts),
        };
        if fits {
            self.moments.merge(&saved.moments);
            self.quality.merge(&saved.quality);
            if let (Some(own), Some(Some(sketch))) = (&mut self.sketch, &sketch) {
                own.merge(sketch);
            }
        }
        fits
    }
}

/// How a window compares with training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// Values in the window and in training.
    pub current: u64,
    pub reference: u64,
    /// Population stability index, and what chance alone would make of it.
    pub psi: f64,
    pub psi_floor: f64,
    /// What it must exceed for an alarm.
    pub psi_limit: f64,
    /// In nats, of the window from training.
    pub kullback_leibler: f64,
    /// Jensen-Shannon distance in base 2, 0 to 1.
    pub jensen_shannon: f64,
    /// 0 to 1.
    pub hellinger: f64,
    /// 0 to 1.
    pub total_variation: f64,
    /// 0 to 1.
    pub l_infinity: f64,
    /// For the p that a correction for many features takes.
    pub chi_square: ChiSquare,
    /// Share of missing values in the window, less that of training: -1 to 1.
    pub missing_change: f64,
}

impl Scores {
    /// Whether this window speaks for drift. Alert when two in a row do.
    pub fn is_alarming(&self) -> bool {
        self.current >= COUNT_MIN && self.psi > self.psi_limit
    }
}

/// Scores a window against the reference; `None` while one of them is empty.
pub fn score(reference: &Reference, current: &Accumulator) -> Option<Scores> {
    let (mut p, mut q) = (current.counts(), reference.counts.clone());
    // No rare category on either side is no category.
    if matches!(reference.shape, Shape::Categorical(_))
        && p.last() == Some(&0)
        && q.last() == Some(&0)
    {
        p.pop();
        q.pop();
    }
    let (n, m) = (current.present(), reference.total());
    let missing = |missing: u64, present: u64| {
        let all = missing + present;
        if all == 0 { 0.0 } else { missing as f64 / all as f64 }
    };
    let psi_floor = divergence::psi_noise_floor(p.len(), n, m);
    let psi_limit = PSI_ALARM.max(FLOOR_TIMES * psi_floor).max(reference.psi_limit.unwrap_or(0.0));
    Some(Scores {
        current: n,
        reference: m,
        psi: divergence::psi(&p, &q)?,
        psi_floor,
        psi_limit,
        kullback_leibler: divergence::kullback_leibler(&p, &q)?,
        jensen_shannon: divergence::jensen_shannon(&p, &q, Base::Two)?,
        hellinger: divergence::hellinger(&p, &q)?,
        total_variation: divergence::total_variation(&p, &q)?,
        l_infinity: divergence::l_infinity(&p, &q)?,
        chi_square: chi_square(&p, &q)?,
        missing_change: missing(current.quality.missing, n) - missing(reference.missing, m),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numeric() -> Arc<Reference> {
        Arc::new(Reference {
            shape: Shape::Numeric(Edges::new(vec![1.0, 2.0]).unwrap()),
            counts: vec![10, 20, 30],
            missing: 0,
            range: Some([0.0, 10.0]),
            trained: Some([0.5, 3.0]),
            psi_limit: None,
        })
    }

    fn categorical() -> Arc<Reference> {
        let known = Known::new(vec!["low".into(), "high".into()]).unwrap();
        Arc::new(Reference {
            shape: Shape::Categorical(Arc::new(known)),
            counts: vec![70, 30, 0],
            missing: 0,
            range: None,
            trained: None,
            psi_limit: None,
        })
    }

    #[test]
    fn every_value_is_counted_once_and_its_faults_too() {
        let mut window = numeric().accumulator();
        for value in [-1.0, 0.2, 1.0, 2.5, 11.0, f64::NAN, f64::INFINITY] {
            window.push(value);
        }
        window.push_missing();
        window.push_text("x");
        assert_eq!((window.counts(), window.present()), (vec![2, 1, 2], 5));
        let expected = Quality {
            missing: 2,
            wrong_type: 1,
            infinite: 1,
            below_range: 1,
            above_range: 1,
            below_trained: 2,
            above_trained: 1,
        };
        assert_eq!((*window.quality(), window.is_constant()), (expected, false));
        window.reset();
        assert_eq!(window, numeric().accumulator());
        assert_eq!(score(&numeric(), &window), None);
        window.push(2.0);
        window.push(2.0);
        assert!(window.is_constant());
    }

    #[test]
    fn categories_come_by_name_and_by_position() {
        let mut window = categorical().accumulator();
        for value in [0.0, 1.0, 2.0, 0.5, -1.0, f64::INFINITY] {
            window.push(value);
        }
        window.push_text("high");
        window.push_text("other");
        assert_eq!((window.counts(), window.unseen(), window.present()), (vec![1, 2, 5], 5, 8));
        // A column that both lack is none.
        let mut plain = categorical().accumulator();
        (0..70).for_each(|_| plain.push_text("low"));
        (0..30).for_each(|_| plain.push_text("high"));
        let scores = score(&categorical(), &plain).unwrap();
        assert_eq!((scores.psi, scores.chi_square.dof, scores.chi_square.p), (0.0, 1, 1.0));
    }

    #[test]
    fn few_values_never_alarm() {
        let mut window = numeric().accumulator();
        (0..COUNT_MIN - 1).for_each(|_| window.push(0.0));
        let few = score(&numeric(), &window).unwrap();
        assert!(few.psi > 1.0 && !few.is_alarming());
        window.push(0.0);
        assert!(score(&numeric(), &window).unwrap().is_alarming());
        window.push_missing();
        assert!(score(&numeric(), &window).unwrap().missing_change > 0.0);
    }

    #[test]
    fn held_out_rows_raise_the_limit_and_never_lower_it() {
        let limited = |limit| Arc::new(Reference { psi_limit: limit, ..(*numeric()).clone() });
        let alarm = |reference: Arc<Reference>| {
            let mut window = reference.accumulator();
            (0..COUNT_MIN).for_each(|i| window.push(if i % 5 < 2 { 1.5 } else { 0.0 }));
            score(&reference, &window).unwrap()
        };
        let psi = alarm(numeric()).psi;
        assert!(alarm(numeric()).is_alarming() && psi > PSI_ALARM);
        assert!(alarm(limited(Some(0.01))).is_alarming());
        assert_eq!(alarm(limited(Some(psi + 0.1))).psi_limit, psi + 0.1);
        assert!(!alarm(limited(Some(psi + 0.1))).is_alarming());
    }

    proptest! {
        #[test]
        fn parts_of_a_window_add_up_to_it(
            a in proptest::collection::vec(-2.0..12.0f64, 0..40),
            b in proptest::collection::vec(-2.0..12.0f64, 0..40),
        ) {
            let of = |values: &[f64]| {
                let mut window = numeric().accumulator();
                values.iter().for_each(|&value| window.push(value));
                window
            };
            let mut merged = of(&a);
            merged.merge(&of(&b));
            let whole = of(&[a, b].concat());
            prop_assert_eq!(merged.counts(), whole.counts());
            prop_assert_eq!(merged.quality(), whole.quality());
            prop_assert_eq!(score(&numeric(), &merged), score(&numeric(), &whole));
        }
    }
}
