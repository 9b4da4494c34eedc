//! Whether a window speaks for drift, feature by feature, and why. Pure.
//!
//! A monitor that cries wolf is switched off: a score must be large, be well above what chance
//! gives, and stand up among all the features that were looked at (Benjamini-Hochberg); and an
//! alarm becomes an alert when the next window raises it, too.

use crate::model::profile::{Feature, FeatureScores, Numeric, Profile, Window};
use crate::stats::drift::{Accumulator, COUNT_MIN, Scores};
use crate::stats::multiplicity::benjamini_hochberg;

/// False discoveries among the features that are called significant.
const FALSE_DISCOVERIES: f64 = 0.05;
/// A share of missing, infinite or new values that is news: so much more than in training, and so
/// many standard errors.
const MISSING_MORE: f64 = 0.02;
const UNSEEN_MORE: f64 = 0.01;
const INFINITE_MORE: f64 = 0.01;
const OUTSIDE_MORE: f64 = 0.05;
const ERRORS: f64 = 4.0;
/// A mean that is so many times that of training, nearly all values beyond what training saw: not
/// other patients, another unit.
const UNIT_TIMES: f64 = 3.0;
const UNIT_OUTSIDE: f64 = 0.9;
/// Standard deviations that a mean of training lies from 0 at least, or it is no measure: that of a
/// principal component is 0, but for rounding.
const UNIT_MEAN: f64 = 0.05;
/// Windows in a row that make an alert of an alarm.
pub const WINDOWS: u32 = 2;

/// What a window says of one feature or output.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub scores: Option<Scores>,
    /// Whether its test stands up among all of them.
    pub significant: bool,
    /// Enough values to say anything.
    pub sufficient: bool,
    /// Whether values are distributed otherwise.
    pub drift: Finding,
    /// Whether values are wrong in themselves: missing, of another unit, of a new category.
    pub quality: Finding,
}

/// What a window says of one question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Finding {
    /// Why this window is alarming; none where it is not.
    pub reasons: Vec<String>,
    /// Windows in a row that were.
    pub streak: u32,
}

impl Finding {
    pub fn is_alert(&self) -> bool {
        self.streak >= WINDOWS
    }

    /// Held against the window before. One with too little to say anything leaves what was said.
    fn after(reasons: Vec<String>, before: Option<&Self>, sufficient: bool) -> Self {
        let before = before.map_or(0, |finding| finding.streak);
        let streak = match (sufficient, reasons.is_empty()) {
            (false, _) => before,
            (true, true) => 0,
            (true, false) => before.saturating_add(1),
        };
        Self { reasons, streak }
    }
}

impl Verdict {
    pub fn is_alert(&self) -> bool {
        self.drift.is_alert() || self.quality.is_alert()
    }

    /// Why this window is alarming, for whatever it is.
    pub fn reasons(&self) -> Vec<String> {
        self.quality.reasons.iter().chain(&self.drift.reasons).cloned().collect()
    }
}

/// Judges a complete window: features first, then outputs. `before` is the verdict on the window
/// before it, in the same order, or nothing.
pub fn judge(profile: &Profile, window: &Window, before: &[Verdict]) -> Vec<Verdict> {
    let pairs = || {
        let features = profile.features.iter().zip(window.feature_scores());
        features.chain(profile.outputs.iter().zip(window.output_scores()))
    };
    let p = |scores: &Option<Scores>| scores.map_or(1.0, |scores| scores.chi_square.p);
    let tests: Vec<f64> = pairs().map(|(_, seen)| p(&seen.scores)).collect();
    let significant = benjamini_hochberg(&tests, FALSE_DISCOVERIES);
    let verdict = |(place, (feature, seen)): (usize, (&Feature, FeatureScores<'_>))| {
        let significant = significant.get(place).copied().unwrap_or(false);
        let sufficient = all(seen.accumulator) >= COUNT_MIN;
        let before = before.get(place);
        let (drift, quality) = match sufficient {
            true => (drift(&seen, significant), quality(feature, &seen)),
            false => Default::default(),
        };
        let drift = Finding::after(drift, before.map(|verdict| &verdict.drift), sufficient);
        let quality = Finding::after(quality, before.map(|verdict| &verdict.quality), sufficient);
        Verdict { scores: seen.scores, significant, sufficient, drift, quality }
    };
    pairs().enumerate().map(verdict).collect()
}

/// Records of a window, with those that have no value.
fn all(seen: &Accumulator) -> u64 {
    let quality = seen.quality();
    seen.present() + quality.missing + quality.infinite + quality.wrong_type
}

fn drift(seen: &FeatureScores<'_>, significant: bool) -> Vec<String> {
    let alarming = seen.scores.filter(|scores| significant && scores.is_alarming());
    let reason =
        alarming.map(|scores| format!("psi {:.2}, above {:.2}", scores.psi, scores.psi_limit));
    reason.into_iter().collect()
}

fn quality(feature: &Feature, seen: &FeatureScores<'_>) -> Vec<String> {
    let mut reasons = Vec::new();
    let window = seen.accumulator;
    if let Feature::Numeric(numeric) = feature
        && let Some(times) = other_unit(numeric, window)
    {
        reasons.push(format!(
            "the values are about {times:.3} times those of training: is it another unit?"
        ));
    }
    let (quality, rows) = (window.quality(), all(window));
    let reference = window.reference();
    let trained = reference.total() + reference.missing;
    let usual = |count: u64| if trained == 0 { 0.0 } else { count as f64 / trained as f64 };
    let mut more = |what: &str, count: u64, usual: f64, least: f64| {
        let share = count as f64 / rows as f64;
        let spread = (usual.max(1.0 / rows as f64) * (1.0 - usual) / rows as f64).sqrt();
        if share - usual >= least && share - usual > ERRORS * spread {
            reasons.push(format!(
                "{:.1} % {what}, {:.1} % in training",
                share * 100.0,
                usual * 100.0
            ));
        }
    };
    more("missing", quality.missing, usual(reference.missing), MISSING_MORE);
    more("infinite", quality.infinite, 0.0, INFINITE_MORE);
    more("of another type", quality.wrong_type, 0.0, INFINITE_MORE);
    let outside = quality.below_range + quality.above_range;
    more("outside the declared range", outside, 0.0, OUTSIDE_MORE);
    if matches!(feature, Feature::Numeric(numeric) if numeric.std_pop == 0.0) {
        let others = quality.below_trained + quality.above_trained;
        more("unlike the one value of training", others, 0.0, OUTSIDE_MORE);
    }
    if let Feature::Categorical(categorical) = feature {
        more("of new categories", window.unseen(), usual(categorical.other), UNSEEN_MORE);
    }
    let varied = matches!(feature, Feature::Numeric(numeric) if numeric.std_pop > 0.0);
    if varied && window.is_constant() {
        reasons.push("every value is the same number".to_owned());
    }
    reasons
}

/// How many times the values of training these are, where that looks like another unit.
fn other_unit(trained: &Numeric, window: &Accumulator) -> Option<f64> {
    let moments = window.moments();
    let quality = window.quality();
    let outside = (quality.below_trained + quality.above_trained) as f64;
    let measures = trained.mean != 0.0 && trained.mean.abs() > UNIT_MEAN * trained.std_pop;
    let times = moments.mean().filter(|_| measures)? / trained.mean;
    let far = times > UNIT_TIMES || (times > 0.0 && times < 1.0 / UNIT_TIMES);
    (far && outside >= UNIT_OUTSIDE * moments.count() as f64).then_some(times)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::profile::{Bins, Rule};
    use crate::stats::bins::Edges;
    use crate::stats::drift::{Reference, Shape};

    fn trained(mean: f64, std_pop: f64, [min, max]: [f64; 2]) -> Numeric {
        let bins = Bins { rule: Rule::Deciles, edges: vec![0.0], counts: vec![50, 50] };
        Numeric {
            name: "x".into(),
            unit: None,
            range: None,
            count: 100,
            missing: 0,
            mean,
            std_pop,
            min,
            max,
            bins,
            group_means: Vec::new(),
            psi_limit: None,
        }
    }

    fn window(trained: &Numeric, values: &[f64]) -> Accumulator {
        let reference = Reference {
            shape: Shape::Numeric(Edges::new(trained.bins.edges.clone()).unwrap()),
            counts: trained.bins.counts.clone(),
            missing: 0,
            range: None,
            trained: Some([trained.min, trained.max]),
            psi_limit: None,
        };
        let mut window = Arc::new(reference).accumulator();
        values.iter().for_each(|&value| window.push(value));
        window
    }

    /// A hundred values of 9, where training had -1 to 1 with this mean.
    fn times(mean: f64) -> Option<f64> {
        let trained = trained(mean, 0.5, [-1.0, 1.0]);
        other_unit(&trained, &window(&trained, &[9.0; 100]))
    }

    /// As the norm of an embedding that a model scales to 1: of one bin, whose index can not move.
    #[test]
    fn what_was_constant_in_training_is_missed_when_it_is_not() {
        let told = |others: usize, std_pop: f64| {
            let numeric = trained(1.0, std_pop, [1.0, 1.0]);
            let values: Vec<f64> = (0..100).map(|i| if i < others { 0.5 } else { 1.0 }).collect();
            let accumulator = window(&numeric, &values);
            let seen = FeatureScores { name: "x", accumulator: &accumulator, scores: None };
            quality(&Feature::Numeric(numeric), &seen)
        };
        assert_eq!(told(20, 0.0), ["20.0 % unlike the one value of training, 0.0 % in training"]);
        assert!(told(4, 0.0).is_empty() && told(20, 0.1).is_empty());
    }

    #[test]
    fn a_mean_of_nothing_measures_no_unit() {
        assert_eq!(times(0.9), Some(10.0));
        assert_eq!([times(1e-8), times(0.0), times(0.02)], [None; 3]);
    }
}
