//! An ensemble that can be run: its steps in an order in which each finds what it takes, and the
//! tensors that pass between them by position. Pure.

use std::collections::BTreeMap;

use super::{Ensemble, Step};
use crate::error::{Error, Result};
use crate::model::{Signature, TensorSpec};
use crate::tensor::Dim;

/// A checked ensemble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// In an order in which they may run one by one; those that do not need each other may run
    /// side by side.
    pub steps: Vec<PlannedStep>,
    /// How many tensors there are. The first are the ensemble's inputs, in the signature's order.
    pub tensors: usize,
    /// Where the ensemble's outputs are, in the signature's order.
    pub outputs: Vec<usize>,
}

/// One step, with its tensors by position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedStep {
    pub step: Step,
    /// Names of the model's inputs, and the tensors they take.
    pub inputs: Vec<(String, usize)>,
    /// Names of the model's outputs that are used, and the tensors they make.
    pub outputs: Vec<(String, usize)>,
}

impl Plan {
    /// Orders the steps. An error where a tensor is made twice or never, where an input is used
    /// nowhere, and where steps wait for each other.
    pub fn new(ensemble: &Ensemble, signature: &Signature) -> Result<Self> {
        let mut makers: BTreeMap<&str, usize> = BTreeMap::new();
        let mut name_of = |name| {
            let position = makers.len();
            makers.insert(name, position).map_or(Ok(()), |_| {
                Err(wrong(format!("tensor '{name}' is made twice: each has one source")))
            })
        };
        for spec in &signature.inputs {
            name_of(spec.name.as_str())?;
        }
        for tensor in ensemble.steps.iter().flat_map(|step| step.outputs.values()) {
            name_of(tensor.as_str())?;
        }
        let steps = ensemble.steps.iter().map(|step| planned(step, &makers));
        let waiting: Vec<PlannedStep> = steps.collect::<Result<_>>()?;
        for (position, spec) in signature.inputs.iter().enumerate() {
            let takes =
                |step: &PlannedStep| step.inputs.iter().any(|(_, tensor)| *tensor == position);
            if !waiting.iter().any(takes) {
                return Err(wrong(format!("no step takes the ensemble's input '{}'", spec.name)));
            }
        }
        let inputs = signature.inputs.len();
        let outputs = signature.outputs.iter().map(|spec| {
            let made = makers.get(spec.name.as_str()).copied().filter(|tensor| *tensor >= inputs);
            made.ok_or_else(|| {
                wrong(format!("no step makes the ensemble's output '{}'", spec.name))
            })
        });
        let outputs = outputs.collect::<Result<_>>()?;
        Ok(Self { steps: in_order(waiting, inputs)?, tensors: makers.len(), outputs })
    }

    /// Holds the signatures of the steps' models, in the order of `steps`, against each other and
    /// against the ensemble's own.
    pub fn check(&self, own: &Signature, models: &[&Signature]) -> Result<()> {
        let mut made: Vec<Option<(String, &TensorSpec)>> = vec![None; self.tensors];
        for (slot, spec) in made.iter_mut().zip(&own.inputs) {
            *slot = Some((format!("the ensemble's input '{}'", spec.name), spec));
        }
        for (PlannedStep { step, inputs, outputs }, signature) in self.steps.iter().zip(models) {
            let model = &step.model;
            for spec in &signature.inputs {
                if !inputs.iter().any(|(name, _)| *name == spec.name) {
                    return Err(wrong(format!(
                        "step '{model}': nothing goes to its input '{}'",
                        spec.name
                    )));
                }
            }
            for (name, tensor) in inputs {
                let takes = format!("step '{model}', input '{name}'");
                let (_, spec) =
                    signature.input(name).ok_or_else(|| unknown(model, "input", name))?;
                let source = made.get(*tensor).and_then(Option::as_ref);
                // Every step comes after its sources.
                let Some((source, given)) = source else { continue };
                fits(source, given, &takes, spec)?;
            }
            for (name, tensor) in outputs {
                let (_, spec) =
                    signature.output(name).ok_or_else(|| unknown(model, "output", name))?;
                if let Some(slot) = made.get_mut(*tensor) {
                    *slot = Some((format!("step '{model}', output '{name}'"), spec));
                }
            }
        }
        for (spec, tensor) in own.outputs.iter().zip(&self.outputs) {
            if let Some((source, given)) = made.get(*tensor).and_then(Option::as_ref) {
                fits(source, given, &format!("the ensemble's output '{}'", spec.name), spec)?;
            }
        }
        Ok(())
    }
}

fn planned(step: &Step, makers: &BTreeMap<&str, usize>) -> Result<PlannedStep> {
    let positions = |map: &BTreeMap<String, String>| -> Result<Vec<(String, usize)>> {
        let position = |(name, tensor): (&String, &String)| match makers.get(tensor.as_str()) {
            Some(position) => Ok((name.clone(), *position)),
            None => Err(wrong(format!(
                "step '{}' takes '{tensor}', which is no input of the ensemble and which no step \
                 makes",
                step.model
            ))),
        };
        map.iter().map(position).collect()
    };
    let (inputs, outputs) = (positions(&step.inputs)?, positions(&step.outputs)?);
    Ok(PlannedStep { step: step.clone(), inputs, outputs })
}

/// Kahn's topological order, stable where there is a choice.
fn in_order(mut waiting: Vec<PlannedStep>, inputs: usize) -> Result<Vec<PlannedStep>> {
    let mut order: Vec<PlannedStep> = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let is_there = |tensor: usize| {
            let made = |step: &PlannedStep| step.outputs.iter().any(|(_, made)| *made == tensor);
            tensor < inputs || order.iter().any(made)
        };
        let runs = |step: &PlannedStep| step.inputs.iter().all(|(_, tensor)| is_there(*tensor));
        let Some(next) = waiting.iter().position(runs) else {
            let names: Vec<&str> = waiting.iter().map(|step| step.step.model.as_str()).collect();
            return Err(wrong(format!(
                "the steps {} wait for each other in a cycle",
                names.join(", ")
            )));
        };
        order.push(waiting.remove(next));
    }
    Ok(order)
}

fn fits(source: &str, given: &TensorSpec, target: &str, wanted: &TensorSpec) -> Result<()> {
    let agree = |(a, b): (&Dim, &Dim)| match (a, b) {
        (Dim::Fixed(a), Dim::Fixed(b)) => a == b,
        _ => true,
    };
    let same_rank = given.dims.len() == wanted.dims.len();
    let shapes = same_rank && given.dims.iter().zip(&wanted.dims).all(agree);
    if shapes && given.dtype == wanted.dtype {
        return Ok(());
    }
    Err(wrong(format!(
        "{source} is {} {}, but {target} is {} {}",
        given.dtype,
        given.dims_text(),
        wanted.dtype,
        wanted.dims_text()
    )))
}

fn unknown(model: &str, what: &str, name: &str) -> Error {
    wrong(format!("step '{model}': the model has no {what} '{name}'"))
}

fn wrong(message: String) -> Error {
    Error::invalid(format!("ensemble: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::DType;
    use proptest::prelude::*;

    fn spec(text: &str) -> TensorSpec {
        let (name, dims) = text.split_once(':').unwrap_or((text, "-1"));
        let dims: Vec<i64> = dims.split(',').map(|dim| dim.parse().unwrap()).collect();
        TensorSpec::of(name, DType::F32, &dims)
    }

    fn signature(inputs: &[&str], outputs: &[&str]) -> Signature {
        let specs = |list: &[&str]| list.iter().map(|text| spec(text)).collect();
        Signature { inputs: specs(inputs), outputs: specs(outputs) }
    }

    /// `model: in=tensor in2=tensor -> out=tensor`
    fn step(text: &str) -> Step {
        let (model, rest) = text.split_once(": ").unwrap();
        let (inputs, outputs) = rest.split_once(" -> ").unwrap();
        let map = |text: &str| {
            let pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
            pairs.map(|(name, tensor)| (name.to_owned(), tensor.to_owned())).collect()
        };
        let (inputs, outputs) = (map(inputs), map(outputs));
        Step { model: model.to_owned(), version: None, inputs, outputs }
    }

    fn plan(steps: &[&str], signature: &Signature) -> Result<Plan> {
        let steps = steps.iter().map(|text| step(text)).collect();
        Plan::new(&Ensemble { steps }, signature)
    }

    fn order(plan: &Plan) -> Vec<&str> {
        plan.steps.iter().map(|step| step.step.model.as_str()).collect()
    }

    #[test]
    fn steps_come_after_what_they_take() {
        let own = signature(&["x"], &["y"]);
        let steps = ["c: p=u q=v -> r=y", "b: p=u -> q=v", "a: p=x -> q=u"];
        let plan = plan(&steps, &own).unwrap();
        assert_eq!(order(&plan), ["a", "b", "c"]);
        assert_eq!((plan.tensors, &plan.outputs[..]), (4, &[1][..]));
    }

    #[test]
    fn what_can_not_run_is_refused_by_name() {
        let own = signature(&["x"], &["y"]);
        for (steps, expected) in [
            (&["a: p=z -> q=y", "b: p=x -> q=u"][..], "step 'a' takes 'z'"),
            (&["a: p=x -> q=y", "b: p=x -> q=y"], "'y' is made twice"),
            (&["a: p=x -> q=x"], "'x' is made twice"),
            (&["a: p=x -> q=u"], "no step makes the ensemble's output 'y'"),
            (&["a: p=u -> q=y", "b: p=y -> q=u"], "no step takes the ensemble's input 'x'"),
            (&["a: p=x r=v -> q=u", "b: p=u -> q=v r=y"], "a, b wait for each other"),
        ] {
            let error = plan(steps, &own).unwrap_err();
            assert!(error.message().contains(expected), "{error}");
        }
    }

    #[test]
    fn types_and_shapes_must_meet() {
        let own = signature(&["x:-1,3"], &["y:-1,2"]);
        let plan = plan(&["a: p=x -> q=u", "b: p=u -> q=y"], &own).unwrap();
        let check = |a: &Signature, b: &Signature| plan.check(&own, &[a, b]);
        let a = signature(&["p:-1,3"], &["q:-1,4"]);
        let b = signature(&["p:-1,-1"], &["q:-1,2"]);
        assert!(check(&a, &b).is_ok());
        let mut doubles = b.clone();
        doubles.inputs[0].dtype = DType::F64;
        for (a, b, expected) in [
            (&a, &doubles, "output 'q' is FP32 [-1,4], but step 'b', input 'p' is FP64 [-1,-1]"),
            (&a, &signature(&["p:-1,5"], &["q:-1,2"]), "but step 'b', input 'p' is FP32 [-1,5]"),
            (&a, &signature(&["p:-1,4"], &["q:-1"]), "but the ensemble's output 'y' is"),
            (&a, &signature(&["p:-1,4", "r"], &["q:-1,2"]), "nothing goes to its input 'r'"),
            (&a, &signature(&["r:-1,4"], &["q:-1,2"]), "nothing goes to its input 'r'"),
            (&a, &signature(&["p:-1,4"], &["r:-1,2"]), "the model has no output 'q'"),
            (&signature(&["p:-1,7"], &["q:-1,4"]), &b, "the ensemble's input 'x' is FP32 [-1,3]"),
        ] {
            let error = check(a, b).unwrap_err();
            assert!(error.message().contains(expected), "{error}");
        }
    }

    proptest! {
        /// A chain in any written order runs in the one order that there is.
        #[test]
        fn every_order_of_writing_gives_the_order_of_running(
            shuffled in Just((0usize..8).collect::<Vec<_>>()).prop_shuffle()) {
            let own = signature(&["t0"], &["t8"]);
            let text: Vec<String> =
                shuffled.iter().map(|i| format!("m{i}: p=t{i} -> q=t{}", i + 1)).collect();
            let steps: Vec<&str> = text.iter().map(String::as_str).collect();
            let plan = plan(&steps, &own).unwrap();
            prop_assert_eq!(order(&plan), ["m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7"]);
        }
    }
}
