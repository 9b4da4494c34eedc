//! Models joined to one: which step runs which model, and which tensors go where. What is written
//! (Triton's `ensemble_scheduling`, `[ensemble]` in `model.toml`); [`Plan`] is what can be run.

mod plan;

use std::collections::BTreeMap;

use serde::Deserialize;

pub use plan::{Plan, PlannedStep};

use super::{ModelName, Selector, Version};
use crate::error::{Error, Result, quoted};

const STEPS_MAX: usize = 256;

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ensemble {
    pub steps: Vec<Step>,
}

/// One model of an ensemble.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub model: String,
    /// Without it, the highest version that is ready.
    pub version: Option<u64>,
    /// From the names of the step's inputs to tensors of the ensemble.
    #[serde(default)]
    pub inputs: BTreeMap<String, String>,
    /// From the names of the step's outputs to tensors of the ensemble.
    #[serde(default)]
    pub outputs: BTreeMap<String, String>,
}

impl Ensemble {
    pub(super) fn validate(&self) -> Result<()> {
        if !(1..=STEPS_MAX).contains(&self.steps.len()) {
            return Err(Error::invalid(format!("ensemble.steps: expected 1 to {STEPS_MAX} steps")));
        }
        for Step { model, version, inputs, outputs } in &self.steps {
            let named = ModelName::new(model).is_some() && version.is_none_or(|number| number > 0);
            if !named || inputs.is_empty() || outputs.is_empty() {
                return Err(Error::invalid(format!(
                    "ensemble.steps: '{}': expected a model's name, its inputs and its outputs, \
                     and a version that is 1 or more, if any",
                    quoted(model)
                )));
            }
        }
        Ok(())
    }

    /// The models it is made of, each once.
    pub fn models(&self) -> Vec<ModelName> {
        let mut names: Vec<ModelName> =
            self.steps.iter().filter_map(|step| ModelName::new(&step.model)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl Step {
    /// The version that it asks for.
    pub fn selector(&self) -> Selector<'static> {
        self.version.and_then(Version::new).map_or(Selector::Latest, Selector::Exact)
    }
}
