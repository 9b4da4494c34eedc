//! A window as it is written down: counts and moments, to be taken up after a restart or added to
//! those of another replica.

use serde::{Deserialize, Serialize};

use super::window::Window;
use crate::stats::drift::{COUNT_LIMIT, SavedAccumulator};

/// A window in a file. It fits any window of the same profile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedWindow {
    pub rows: u64,
    features: Vec<SavedAccumulator>,
    outputs: Vec<SavedAccumulator>,
}

impl Window {
    pub fn save(&self) -> SavedWindow {
        let saved = |seen: super::window::FeatureScores<'_>| seen.accumulator.save();
        SavedWindow {
            rows: self.rows(),
            features: self.feature_scores().map(saved).collect(),
            outputs: self.output_scores().map(saved).collect(),
        }
    }

    /// Adds what was written down; `false`, and nothing, where it does not fit.
    #[must_use]
    pub fn add(&mut self, saved: &SavedWindow) -> bool {
        let mut all = saved.features.iter().chain(&saved.outputs);
        if saved.rows > COUNT_LIMIT || !all.all(SavedAccumulator::is_bounded) {
            return false;
        }
        let mut sum = self.clone();
        let (features, outputs) = sum.accumulators_mut();
        let fits = features.len() == saved.features.len()
            && outputs.len() == saved.outputs.len()
            && features.iter_mut().zip(&saved.features).all(|(seen, saved)| seen.add(saved))
            && outputs.iter_mut().zip(&saved.outputs).all(|(seen, saved)| seen.add(saved));
        if fits {
            sum.observe_rows(saved.rows);
            *self = sum;
        }
        fits
    }
}
