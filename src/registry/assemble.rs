//! From an ensemble's configuration to a [`Servable`]: its steps are ordered and held against the
//! models that serve now. No file is read: the version's folder may be empty.

use std::collections::BTreeMap;
use std::time::Instant;

use super::loader::{Loader, Order};
use super::servable::{Assembly, Servable, Work};
use crate::error::{Error, Result};
use crate::event::LoadCost;
use crate::model::device::Device;
use crate::model::ensemble::{Ensemble, Plan};
use crate::model::manifest::{BackendChoice, Manifest, Refined};
use crate::model::{Contract, Signature};
use crate::scheduler::policy::BatchPolicy;

/// The engine's name and platform, in Triton's words.
const ENSEMBLE: &str = "ensemble";

impl Loader {
    pub(super) fn assemble(
        &self,
        order: &Order,
        ensemble: &Ensemble,
        begun: Instant,
    ) -> Result<Servable> {
        let Order { id, manifest, .. } = order;
        check(manifest)?;
        let declared = manifest.declared_signature()?;
        let Refined { signature, .. } = manifest.refine(&declared)?;
        let table = self.table.load();
        for part in ensemble.models() {
            if let Some(way) = table.path(&part, &id.name) {
                let way: Vec<&str> = way.iter().map(|name| name.as_str()).collect();
                return Err(Error::invalid(format!(
                    "ensemble: {} -> {} is a cycle",
                    id.name,
                    way.join(" -> ")
                )));
            }
        }
        let plan = Plan::new(ensemble, &signature)?;
        let servables = plan.steps.iter().map(|planned| {
            let step = &planned.step;
            table.resolve(&step.model, step.selector()).map_err(|error| {
                let message = format!("ensemble: step '{}': {}", step.model, error.message());
                // It may come, or come back.
                Error::not_ready(message)
            })
        });
        let servables = servables.collect::<Result<Vec<_>>>()?;
        let signatures: Vec<&Signature> = servables.iter().map(|part| &part.signature).collect();
        plan.check(&signature, &signatures)?;

        let mut policy = BatchPolicy::new(&manifest.batching, signature.could_batch());
        // Where nobody says how many, as many as every step takes.
        let least = servables.iter().map(|part| part.batch_size_max()).min().unwrap_or(0);
        let batch_size_max = match manifest.batching.batch_size_max {
            Some(_) => policy.batch_size_max,
            None => policy.batch_size_max.min(least),
        };
        if batch_size_max > least {
            return Err(Error::invalid(format!(
                "ensemble: a request may have {batch_size_max} rows, but one of its models takes \
                 {least} at most. Fix: batch_size_max = {least}"
            )));
        }
        policy.batch_size_max = batch_size_max;
        let batched = batch_size_max > 0;
        let contract = Contract::derive(&signature, manifest, batched, batch_size_max.max(1))?;
        let ledger = self.ledger(id, manifest, &signature, &contract, None)?;
        Ok(Servable {
            id: id.clone(),
            signature,
            contract,
            description: manifest.description.clone(),
            manifest: Manifest::clone(manifest),
            device: Device::Cpu,
            backend: ENSEMBLE,
            platform: ENSEMBLE,
            digest: None,
            data: BTreeMap::new(),
            examples: None,
            work: Work::Ensemble(Assembly { plan, models: self.table.link(), policy }),
            cache: self.cache_of(order),
            sink: self.observe.for_version(id),
            watch: None,
            ledger,
            file_bytes: 0,
            load: LoadCost { time: begun.elapsed(), memory_bytes: None },
        })
    }
}

/// An ensemble has no engine, and so nothing that sets one up.
fn check(manifest: &Manifest) -> Result<()> {
    let wrong = [
        (manifest.backend != BackendChoice::Auto, "backend"),
        (manifest.model_file.is_some(), "model_file"),
        (manifest.engine.instances.is_some(), "engine.instances (instance_group)"),
        (!manifest.warmup.is_empty(), "warmup"),
        (manifest.inputs.iter().any(|input| input.reshape.is_some()), "reshape"),
        (manifest.outputs.iter().any(|output| output.reshape.is_some()), "reshape"),
    ];
    match wrong.iter().find(|(is_wrong, _)| *is_wrong) {
        Some((_, key)) => Err(Error::invalid(format!(
            "{key} is not for an ensemble, which has no engine of its own: say it for its models"
        ))),
        None => Ok(()),
    }
}
