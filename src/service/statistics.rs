//! What has been answered so far, and where the time went.

use super::{Service, Target};
use crate::error::Result;
use crate::model::{ModelId, Selector};
pub use crate::observe::latency::{BOUNDS_US, quantile};
pub use crate::observe::statistics::{BatchTally, Latency, Snapshot, Spread, Tally};

/// The statistics of one version that answers.
#[derive(Clone, Debug)]
pub struct ModelStatistics {
    pub id: ModelId,
    pub seen: Snapshot,
}

impl Service {
    /// Of every version that answers; of one model, or of the version that `selector` names.
    pub fn statistics(
        &self,
        model: Option<&str>,
        selector: Selector<'_>,
    ) -> Result<Vec<ModelStatistics>> {
        let chosen = match (model, selector) {
            (None, _) => self.targets(),
            (Some(model), Selector::Latest) => {
                // An unknown model is an error, one that does not answer an empty list.
                self.model(model)?;
                let of = |target: &Target| target.id().name.as_str() == model;
                self.targets().into_iter().filter(of).collect()
            }
            (Some(model), selector) => vec![self.resolve(model, selector)?],
        };
        let of = |target: Target| {
            let id = target.id().clone();
            ModelStatistics { seen: self.0.statistics.of(&id).snapshot(), id }
        };
        Ok(chosen.into_iter().map(of).collect())
    }

    /// How the times of one version are spread.
    pub fn latency(&self, model: &str, selector: Selector<'_>) -> Result<(ModelId, Latency)> {
        let id = self.resolve(model, selector)?.id().clone();
        Ok((id.clone(), self.0.statistics.of(&id).latency()))
    }
}
