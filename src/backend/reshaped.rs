//! A model whose engine sees other shapes than its callers: the shapes are turned on the way in and
//! on the way out, the engine and everyone above see only their own.

use std::sync::Arc;

use super::{Executable, Session};
use crate::error::{Error, Result};
use crate::infer::TokenCount;
use crate::model::Signature;
use crate::model::device::Device;
use crate::model::reshape::{Reshape, Reshapes};
use crate::tensor::Tensor;

/// The model as its callers see it; the very same where nothing is turned.
pub fn reshaped(
    inner: Arc<dyn Executable>,
    signature: &Signature,
    reshapes: Reshapes,
) -> Arc<dyn Executable> {
    if reshapes.is_empty() {
        return inner;
    }
    Arc::new(Reshaped { inner, signature: signature.clone(), reshapes: Arc::new(reshapes) })
}

struct Reshaped {
    inner: Arc<dyn Executable>,
    signature: Signature,
    reshapes: Arc<Reshapes>,
}

impl Executable for Reshaped {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn labels(&self) -> &[(String, Vec<String>)] {
        self.inner.labels()
    }

    fn device(&self) -> Device {
        self.inner.device()
    }

    fn session(&self) -> Result<Box<dyn Session>> {
        let inner = self.inner.session()?;
        Ok(Box::new(ReshapedSession { inner, reshapes: Arc::clone(&self.reshapes) }))
    }
}

struct ReshapedSession {
    inner: Box<dyn Session>,
    reshapes: Arc<Reshapes>,
}

impl Session for ReshapedSession {
    fn tokens(&self) -> TokenCount {
        self.inner.tokens()
    }

    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let inputs = turn(inputs.to_vec(), &self.reshapes.inputs, Reshape::to_engine)
            .ok_or_else(|| Error::invalid("an input has another shape than the model declares"))?;
        let outputs = self.inner.run(&inputs)?;
        turn(outputs, &self.reshapes.outputs, Reshape::to_caller).ok_or_else(|| {
            Error::internal("the model's answer has another shape than it declares")
                .with_detail("an output can not be reshaped as the configuration says")
        })
    }
}

fn turn(
    tensors: Vec<Tensor>,
    reshapes: &[Option<Reshape>],
    way: impl Fn(&Reshape, Tensor) -> Option<Tensor>,
) -> Option<Vec<Tensor>> {
    let mut reshapes = reshapes.iter();
    let turned = tensors.into_iter().map(|tensor| match reshapes.next().and_then(Option::as_ref) {
        Some(reshape) => way(reshape, tensor),
        None => Some(tensor),
    });
    turned.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TensorSpec;
    use crate::tensor::{DType, Dim, Shape};

    /// Answers with its inputs, and remembers how it saw them.
    struct Echo(Signature);

    impl Executable for Echo {
        fn signature(&self) -> &Signature {
            &self.0
        }

        fn session(&self) -> Result<Box<dyn Session>> {
            Ok(Box::new(EchoSession))
        }
    }

    struct EchoSession;

    impl Session for EchoSession {
        fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
            assert_eq!(inputs[0].shape().to_string(), "[3]", "the engine sees its own shape");
            Ok(inputs.to_vec())
        }
    }

    #[test]
    fn shapes_are_turned_on_both_ways() {
        let spec =
            TensorSpec { name: "x".into(), dtype: DType::U8, dims: vec![Dim::Any, Dim::Fixed(1)] };
        let signature = Signature { inputs: vec![spec.clone()], outputs: vec![spec.clone()] };
        let reshape = || Some(Reshape::new("x", spec.dims.clone(), vec![Dim::Any]).unwrap());
        let plans = Reshapes { inputs: vec![reshape()], outputs: vec![reshape()] };
        let model = reshaped(Arc::new(Echo(signature.clone())), &signature, plans);
        let tensor =
            |shape: &[usize]| Tensor::zeros(DType::U8, Shape::new(shape.iter().copied())).unwrap();
        let mut session = model.session().unwrap();
        let outputs = session.run(&[tensor(&[3, 1])]).unwrap();
        assert_eq!(outputs[0].shape().to_string(), "[3,1]");
        assert!(session.run(&[tensor(&[3, 2])]).is_err());
    }
}
