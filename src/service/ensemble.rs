//! An ensemble at work: each step runs as soon as what it takes is there, behind the queue of its
//! own model, where it shares batches with everybody else's requests. Tensors are handed on, not
//! copied.

use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::Target;
use super::inference::Call;
use crate::error::{Error, Result};
use crate::infer::{Computed, Timings};
use crate::model::ensemble::PlannedStep;
use crate::registry::{Assembly, ModelTable};
use crate::scheduler::rows_of;
use crate::tensor::{NamedTensor, Tensor};

/// Loading refuses circles; this bounds what two loads at once could still make.
const DEPTH_MAX: usize = 8;

/// Runs all steps. The first that fails ends it: the others' requests are taken back.
pub(super) async fn run(
    assembly: &Assembly,
    call: Call<'_>,
    inputs: Vec<Tensor>,
) -> Result<Computed> {
    if call.depth >= DEPTH_MAX {
        return Err(Error::internal(format!("ensembles are nested more than {DEPTH_MAX} deep")));
    }
    let plan = &assembly.plan;
    let reader = assembly.models.upgrade();
    let reader = reader.ok_or_else(|| Error::not_ready("the registry has ended"))?;
    // One table for the whole request: two steps that ask the same model get the same version.
    let table = reader.load_full();
    let mut tensors: Vec<Option<Tensor>> = inputs.into_iter().map(Some).collect();
    tensors.resize(plan.tensors, None);
    let mut waiting: Vec<usize> = (0..plan.steps.len()).collect();
    let mut running = FuturesUnordered::new();
    let mut timings = Timings::default();
    let mut runs = Vec::new();
    loop {
        waiting.retain(|&index| {
            let Some(step) = plan.steps.get(index) else { return false };
            match taken(step, &tensors) {
                Some(inputs) => running.push(one(index, step, &table, call, inputs)),
                None => return true,
            }
            false
        });
        let Some(done) = running.next().await else { break };
        let (index, computed) = done?;
        timings = sum(timings, computed.timings);
        runs.extend(computed.runs);
        let outputs = plan.steps.get(index).map(|step| &step.outputs[..]).unwrap_or_default();
        for ((_, position), tensor) in outputs.iter().zip(computed.outputs) {
            if let Some(slot) = tensors.get_mut(*position) {
                *slot = Some(tensor);
            }
        }
    }
    let output = |position: &usize| tensors.get(*position).cloned().flatten();
    let outputs: Option<Vec<Tensor>> = plan.outputs.iter().map(output).collect();
    let outputs = outputs.ok_or_else(|| Error::internal("an ensemble left an output out"))?;
    Ok(Computed { outputs, timings, batch_rows: 0, runs })
}

/// What a step takes, once all of it is there.
fn taken(step: &PlannedStep, tensors: &[Option<Tensor>]) -> Option<Vec<NamedTensor>> {
    let named = |(name, position): &(String, usize)| {
        let tensor = tensors.get(*position)?.clone()?;
        Some(NamedTensor { name: name.clone(), tensor })
    };
    step.inputs.iter().map(named).collect()
}

/// One step: its outputs in the order in which the plan lists them.
async fn one(
    index: usize,
    planned: &PlannedStep,
    table: &ModelTable,
    call: Call<'_>,
    inputs: Vec<NamedTensor>,
) -> Result<(usize, Computed)> {
    let step = &planned.step;
    let outcome = async {
        let target = Target::of(table.resolve(&step.model, step.selector())?.clone());
        let signature = target.signature();
        let names: Vec<String> = planned.outputs.iter().map(|(name, _)| name.clone()).collect();
        let selected = signature.select(&step.model, &names)?;
        let inputs = signature.arrange(&step.model, inputs)?;
        let rows = rows_of(&step.model, target.batch_size_max(), &inputs)?;
        let mut terms = call.terms;
        terms.received_at = Instant::now();
        let call = Call { terms, depth: call.depth + 1, ..call };
        let mut computed = target.answer(call, rows, inputs).await?;
        let outputs = selected.iter().filter_map(|&index| computed.outputs.get(index).cloned());
        computed.outputs = outputs.collect();
        for run in &mut computed.runs {
            run.step.get_or_insert_with(|| target.id().clone());
        }
        Ok(computed)
    };
    match outcome.await {
        Ok(computed) => Ok((index, computed)),
        Err(error) => Err(named(&step.model, &error)),
    }
}

/// The same error, which says in whose name it speaks.
fn named(model: &str, error: &Error) -> Error {
    let message = format!("ensemble step '{model}': {}", error.message());
    let mut named = Error::new(error.kind(), message);
    if let Some(detail) = error.detail() {
        named = named.with_detail(detail);
    }
    match error.retry_after() {
        Some(after) => named.with_retry_after(after),
        None => named,
    }
}

fn sum(a: Timings, b: Timings) -> Timings {
    Timings {
        queue: a.queue + b.queue,
        compute_input: a.compute_input + b.compute_input,
        compute_infer: a.compute_infer + b.compute_infer,
        compute_output: a.compute_output + b.compute_output,
    }
}
