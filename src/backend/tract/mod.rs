//! tract, the ONNX engine inside the binary: what serves where ONNX Runtime's library is not found.
//!
//! A call computes on the thread that makes it, whatever `engine.threads` says: tract's own pool
//! would be one more per model beside the instances, which are how this engine uses processors.
//! Tensors of strings and of BF16 it does not have.

mod ops;
mod plan;
mod signature;
mod unread;
mod value;
mod vet;

use std::sync::Arc;

use bytes::Bytes;
use tract_onnx::Onnx;
use tract_onnx::prelude::{Framework, TVec, TractResult, TypedSimpleState};

use self::plan::{Plan, Plans, Source, guard};
use super::{
    Backend, Executable, ModelSource, ReadFile, Session, load_error, one_line, onnx, processor_only,
};
use crate::error::{Error, Result};
use crate::model::{Signature, TensorSpec};
use crate::tensor::{Shape, Tensor};

const NAME: &str = "tract";

pub struct Tract {
    importer: Onnx,
}

impl Tract {
    pub fn new() -> Self {
        let mut importer = tract_onnx::onnx();
        ops::register(&mut importer.op_register);
        Self { importer }
    }
}

impl Backend for Tract {
    fn name(&self) -> &'static str {
        NAME
    }

    fn platform(&self) -> &'static str {
        "tract_onnx"
    }

    fn model_file(&self) -> Option<&'static str> {
        Some(onnx::FILE)
    }

    fn gather(&self, file: Bytes, bytes_max: u64, read: ReadFile<'_>) -> Result<Bytes> {
        onnx::gather(NAME, file, bytes_max, read)
    }

    fn load(&self, source: &ModelSource<'_>) -> Result<Arc<dyn Executable>> {
        let failed = |error: String| load_error(NAME, error);
        processor_only(NAME, source.id, &source.manifest.engine)?;
        onnx::stands_alone(NAME, source.bytes)?;
        let (bytes, labels) = onnx::unpack(NAME, source.bytes)?;
        let bytes = &bytes[..];
        let proto =
            guard(|| self.importer.proto_model_for_read(&mut &bytes[..])).map_err(failed)?;
        let graph = vet::vet(&proto, &self.importer.op_register)?;
        let inputs = signature::inputs(graph)?;
        let imported = guard(|| self.importer.model_for_proto_model(&proto)).map_err(failed)?;
        let (plans, found) = Plans::new(Source {
            graph: imported,
            inputs: inputs.clone(),
            optimization: source.manifest.engine.optimization,
        })
        .map_err(failed)?;
        let outputs = signature::outputs(graph, &found)?;
        let signature = Signature { inputs, outputs };
        Ok(Arc::new(Model { signature, labels, plans: Arc::new(plans) }))
    }
}

struct Model {
    signature: Signature,
    labels: onnx::Classes,
    plans: Arc<Plans>,
}

impl Executable for Model {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn labels(&self) -> &[(String, Vec<String>)] {
        &self.labels
    }

    fn session(&self) -> Result<Box<dyn Session>> {
        Ok(Box::new(Instance {
            plans: Arc::clone(&self.plans),
            outputs: self.signature.outputs.clone(),
            state: None,
        }))
    }
}

struct Instance {
    plans: Arc<Plans>,
    outputs: Vec<TensorSpec>,
    /// What the last plan works in, if nothing of one call can be left there for the next.
    state: Option<(Arc<Plan>, TypedSimpleState)>,
}

impl Session for Instance {
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        if inputs.iter().any(|input| input.data().is_empty()) {
            return self.answer_empty(inputs);
        }
        let plan = self.plans.find(inputs)?;
        // Taken out: a call that fails may leave anything in there, and the next one starts afresh.
        let state = self.state.take().filter(|(of, _)| Arc::ptr_eq(of, &plan));
        let (values, state) = guard(|| {
            let mut state = match state {
                Some((_, state)) => state,
                None => plan.runnable.spawn()?,
            };
            let inputs = inputs.iter().map(value::to_tract).collect::<TractResult<TVec<_>>>()?;
            Ok((state.run(inputs)?, state))
        })
        .map_err(|error| {
            Error::internal("the model failed on this input").with_detail(one_line(&error))
        })?;
        let extents = plan.bind(inputs).unwrap_or_default();
        // A recurrent layer goes on where it stopped: good for one stream in pieces, and another
        // patient's data where every call is its own.
        if state.op_states.iter().all(Option::is_none) {
            self.state = Some((plan, state));
        }
        let outputs = self.outputs.iter().zip(&values);
        outputs.map(|(spec, value)| value::from_tract(spec, value, &extents)).collect()
    }
}

impl Instance {
    /// Answers a request without elements by its shapes alone: tract's kernels are written for data
    /// that is there.
    fn answer_empty(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let nothing = |shape: &Shape| shape.elements() == Some(0);
        let shapes = self.plans.shapes(inputs).filter(|shapes| shapes.iter().all(nothing));
        let shapes = shapes.ok_or_else(|| {
            Error::unsupported("tract does not run this model on a tensor without elements")
        })?;
        let outputs = self.outputs.iter().zip(shapes);
        outputs.map(|(spec, shape)| Tensor::zeros(spec.dtype, shape)).collect()
    }
}
