//! Models joined to one: which step runs which model, and which tensors go where. Data only; no
//! engine of Galen runs it yet, and a model that has it is refused at load.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::{Error, Result};

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
        for Step { model, inputs, outputs, .. } in &self.steps {
            if super::ModelName::new(model).is_none() || inputs.is_empty() || outputs.is_empty() {
                return Err(Error::invalid(format!(
                    "ensemble.steps: '{}': expected a model's name, its inputs and its outputs",
                    crate::error::quoted(model)
                )));
            }
        }
        Ok(())
    }
}
