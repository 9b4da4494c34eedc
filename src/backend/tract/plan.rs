//! What tract computes with: one plan for inputs of every shape where it can make one, otherwise a
//! plan for each combination of shapes that comes along, of which a few are kept.
//!
//! What this file must not know: protocols, files, and the bytes of a tensor.

use std::collections::{HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use tract_onnx::prelude::{
    DatumType, InferenceFact, InferenceModel, InferenceModelExt, IntoRunnable, SymbolValues, TDim,
    ToDim, TractResult, TypedModel, TypedSimplePlan,
};
use tract_onnx::tract_core::internal::ShapeFact;
use tract_onnx::tract_hir::infer::Factoid;

use super::super::one_line;
use super::value::datum_type;
use crate::error::{Error, Result};
use crate::model::TensorSpec;
use crate::model::manifest::Optimization;
use crate::tensor::{Dim, Shape, Tensor};

/// Extents to try a model with that has no general plan: an axis may have to be even, or longer
/// than a window over it.
const PROBES: [usize; 3] = [1, 2, 64];

/// Plans for single combinations of shapes; each may hold its own copy of packed weights.
const FIXED_MAX: usize = 16;

/// Type and extents of one output; extents may hang on those of the inputs.
#[derive(Clone)]
pub struct Outlet {
    pub dtype: DatumType,
    pub shape: ShapeFact,
}

/// A graph made ready to run.
pub struct Plan {
    pub runnable: Arc<TypedSimplePlan>,
    inputs: Vec<ShapeFact>,
    outputs: Vec<Outlet>,
}

/// The plans of one model, shared by its sessions.
pub struct Plans {
    general: Option<Arc<Plan>>,
    /// What plans for single shapes are made from; gone where none will ever be needed, since it
    /// keeps the weights a second time.
    source: Option<Source>,
    /// The most recently used last. A caller who varies shapes pays for a plan each time.
    fixed: Mutex<VecDeque<(Vec<Shape>, Arc<Plan>)>>,
}

/// A graph that plans are made from.
pub struct Source {
    pub graph: InferenceModel,
    pub inputs: Vec<TensorSpec>,
    pub optimization: Optimization,
}

/// What loading learns of the outputs.
pub struct Found {
    pub outputs: Vec<Outlet>,
    /// Whether that holds for inputs of every shape.
    pub general: bool,
}

impl Plans {
    /// Makes the plan for inputs of every shape; where that fails, tries some shapes, to know
    /// whether the model works at all.
    pub fn new(source: Source) -> std::result::Result<(Self, Found), String> {
        // Most models count rows on the first axis of all their inputs, also where the file does
        // not say so; without the common name, their sums could not be typed.
        let general = source
            .build(|source| source.open_facts(true))
            .or_else(|_| source.build(|source| source.open_facts(false)));
        match general {
            Ok(plan) => {
                let found = Found { outputs: plan.outputs.clone(), general: true };
                let source = if plan.is_unconditional() { None } else { Some(source) };
                Ok((Self { general: Some(Arc::new(plan)), source, fixed: Mutex::default() }, found))
            }
            Err(error) => {
                // The error of the general plan speaks of the model as it is written.
                let outputs = source.probe().ok_or(error)?.outputs;
                let found = Found { outputs, general: false };
                Ok((Self { general: None, source: Some(source), fixed: Mutex::default() }, found))
            }
        }
    }

    /// The plan for these inputs, made now if it must be.
    pub fn find(&self, inputs: &[Tensor]) -> Result<Arc<Plan>> {
        let general = self.general.as_ref().filter(|plan| plan.bind(inputs).is_some());
        if let Some(plan) = general {
            return Ok(Arc::clone(plan));
        }
        let shapes: Vec<Shape> = inputs.iter().map(|input| input.shape().clone()).collect();
        if let Some(plan) = self.recall(&shapes) {
            return Ok(plan);
        }
        let refused = || Error::invalid("the model refused the shapes of its inputs");
        let source = self.source.as_ref().ok_or_else(refused)?;
        // Not under the lock: other sessions go on with the plans that are there.
        let plan = source.build(|source| source.fixed_facts(&shapes));
        let plan = Arc::new(plan.map_err(|error| refused().with_detail(one_line(&error)))?);
        self.keep(shapes, Arc::clone(&plan));
        Ok(plan)
    }

    /// The shapes of the outputs for these inputs, where the general plan tells them.
    pub fn shapes(&self, inputs: &[Tensor]) -> Option<Vec<Shape>> {
        self.general.as_ref().and_then(|plan| plan.shapes(inputs))
    }

    fn recall(&self, shapes: &[Shape]) -> Option<Arc<Plan>> {
        let mut fixed = self.fixed.lock().unwrap_or_else(PoisonError::into_inner);
        let place = fixed.iter().position(|(own, _)| own == shapes)?;
        let found = fixed.remove(place)?;
        let plan = Arc::clone(&found.1);
        fixed.push_back(found);
        Some(plan)
    }

    fn keep(&self, shapes: Vec<Shape>, plan: Arc<Plan>) {
        let mut fixed = self.fixed.lock().unwrap_or_else(PoisonError::into_inner);
        if fixed.len() == FIXED_MAX {
            fixed.pop_front();
        }
        fixed.push_back((shapes, plan));
    }
}

impl Source {
    fn probe(&self) -> Option<Plan> {
        PROBES.iter().find_map(|&probe| {
            let shape = |spec: &TensorSpec| {
                Shape::new(spec.dims.iter().map(|dim| match dim {
                    Dim::Fixed(extent) => *extent,
                    Dim::Any => probe,
                }))
            };
            let shapes: Vec<Shape> = self.inputs.iter().map(shape).collect();
            self.build(|source| source.fixed_facts(&shapes)).ok()
        })
    }

    /// Facts in which every axis without an extent has a name. The file's own names stand.
    fn open_facts(&self, rows_in_common: bool) -> TractResult<Vec<InferenceFact>> {
        let symbols = &self.graph.symbols;
        let rows = symbols.new_with_prefix("rows");
        self.facts(|axis, declared| match declared {
            Some(named) => named,
            None if axis == 0 && rows_in_common => rows.to_dim(),
            None => symbols.new_with_prefix("axis").to_dim(),
        })
    }

    fn fixed_facts(&self, shapes: &[Shape]) -> TractResult<Vec<InferenceFact>> {
        let fact = |(spec, shape): (&TensorSpec, &Shape)| typed_fact(spec, shape.iter().copied());
        Ok(self.inputs.iter().zip(shapes).map(fact).collect())
    }

    /// Asks for each axis that has no extent, with the name that the file gives it, if any.
    fn facts(
        &self,
        mut name: impl FnMut(usize, Option<TDim>) -> TDim,
    ) -> TractResult<Vec<InferenceFact>> {
        let mut facts = Vec::with_capacity(self.inputs.len());
        for (input, spec) in self.inputs.iter().enumerate() {
            let mut declared = self.graph.input_fact(input)?.shape.dims();
            let dims: Vec<TDim> = (spec.dims.iter().enumerate())
                .map(|(axis, dim)| {
                    let declared = declared.next().and_then(Factoid::concretize);
                    match dim {
                        Dim::Fixed(extent) => extent.to_dim(),
                        Dim::Any => name(axis, declared),
                    }
                })
                .collect();
            facts.push(typed_fact(spec, dims));
        }
        Ok(facts)
    }

    fn build(
        &self,
        facts: impl Fn(&Self) -> TractResult<Vec<InferenceFact>>,
    ) -> std::result::Result<Plan, String> {
        guard(|| {
            let mut graph = self.graph.clone();
            for (input, fact) in facts(self)?.into_iter().enumerate() {
                graph.set_input_fact(input, fact)?;
            }
            let typed = graph.into_typed()?;
            let model = match self.optimization {
                Optimization::Off => typed,
                Optimization::Basic => typed.into_decluttered()?,
                Optimization::Extended | Optimization::All => typed.into_optimized()?,
            };
            Plan::new(model)
        })
    }
}

fn typed_fact(spec: &TensorSpec, dims: impl IntoIterator<Item = impl Into<TDim>>) -> InferenceFact {
    let dims: Vec<TDim> = dims.into_iter().map(Into::into).collect();
    let fact = InferenceFact::shape(dims);
    match datum_type(spec.dtype) {
        Some(dtype) => fact.with_datum_type(dtype),
        None => fact,
    }
}

impl Plan {
    fn new(model: TypedModel) -> TractResult<Self> {
        let count = model.inputs.len();
        let inputs = (0..count)
            .map(|input| Ok(model.input_fact(input)?.shape.clone()))
            .collect::<TractResult<_>>()?;
        let outputs = (0..model.outputs.len())
            .map(|output| {
                let fact = model.output_fact(output)?;
                Ok(Outlet { dtype: fact.datum_type, shape: fact.shape.clone() })
            })
            .collect::<TractResult<_>>()?;
        Ok(Self { runnable: model.into_runnable()?, inputs, outputs })
    }

    /// Whether no input could contradict it: every name of an axis stands for one axis.
    fn is_unconditional(&self) -> bool {
        let mut seen = HashSet::new();
        self.inputs.iter().flat_map(|fact| fact.iter()).all(|dim| match dim {
            TDim::Val(_) => true,
            TDim::Sym(name) => seen.insert(name),
            _ => false,
        })
    }

    /// The extents that these inputs give to the plan's names; `None` where they contradict it.
    pub fn bind(&self, inputs: &[Tensor]) -> Option<SymbolValues> {
        let mut known = SymbolValues::default();
        for (fact, input) in self.inputs.iter().zip(inputs) {
            if fact.rank() != input.shape().len() {
                return None;
            }
            for (dim, &extent) in fact.iter().zip(input.shape().iter()) {
                let extent = i64::try_from(extent).ok()?;
                match dim {
                    TDim::Val(fixed) if *fixed != extent => return None,
                    TDim::Val(_) => {}
                    TDim::Sym(name) => match known.get(name) {
                        Some(other) if other != extent => return None,
                        Some(_) => {}
                        None => known.set(name, extent),
                    },
                    other => match other.eval(&known).as_i64() {
                        Some(value) if value != extent => return None,
                        _ => {}
                    },
                }
            }
        }
        Some(known)
    }

    /// The shapes of the outputs for these inputs, unless they hang on values.
    fn shapes(&self, inputs: &[Tensor]) -> Option<Vec<Shape>> {
        let known = self.bind(inputs)?;
        let extent = |dim: &TDim| usize::try_from(dim.eval_to_i64(&known).ok()?).ok();
        let shape = |outlet: &Outlet| -> Option<Shape> {
            let extents: Option<Vec<usize>> = outlet.shape.iter().map(extent).collect();
            extents.map(Shape::new)
        };
        self.outputs.iter().map(shape).collect()
    }
}

/// Runs tract's code. It asserts where other libraries return an error, and neither a file nor a
/// value may end the thread with that.
pub fn guard<T>(work: impl FnOnce() -> TractResult<T>) -> std::result::Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| format!("{error:#}")),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(text.unwrap_or_else(|| "an assertion failed".to_owned()))
        }
    }
}
