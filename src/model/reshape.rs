//! The shape that callers see and the one that the engine sees, where they are not the same: a
//! model that wants `[rows]` can be served as `[rows, 1]`. The elements stay as they are.
//!
//! Free extents keep their order: the first free one here is the first free one there. Pure.

use super::signature::Signature;
use crate::error::{Error, Result};
use crate::tensor::{Dim, Shape, Tensor, write_dims};

/// The two shapes of one tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reshape {
    callers: Vec<Dim>,
    engines: Vec<Dim>,
}

/// The reshapes of a model, by the positions of its tensors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reshapes {
    pub inputs: Vec<Option<Reshape>>,
    pub outputs: Vec<Option<Reshape>>,
}

impl Reshapes {
    pub(super) fn none(signature: &Signature) -> Self {
        Self {
            inputs: vec![None; signature.inputs.len()],
            outputs: vec![None; signature.outputs.len()],
        }
    }

    pub fn is_empty(&self) -> bool {
        self.inputs.iter().chain(&self.outputs).all(Option::is_none)
    }
}

impl Reshape {
    /// Two shapes that hold as many elements, whatever the free extents are: as many of them on
    /// both sides, and between any two as many elements.
    pub fn new(name: &str, callers: Vec<Dim>, engines: Vec<Dim>) -> Result<Self> {
        if runs(&callers).is_some() && runs(&callers) == runs(&engines) {
            return Ok(Self { callers, engines });
        }
        let mut message = format!("reshape of '{name}': the shape ");
        // Writing into a String can not fail.
        let _ = write_dims(&mut message, callers.iter());
        message.push_str(" can not become ");
        let _ = write_dims(&mut message, engines.iter());
        message.push_str(": expected as many -1 in both, and as many elements between them");
        Err(Error::invalid(message))
    }

    pub fn callers(&self) -> &[Dim] {
        &self.callers
    }

    pub fn engines(&self) -> &[Dim] {
        &self.engines
    }

    /// A caller's tensor as the engine wants it; `None` where it has another shape than declared.
    pub fn to_engine(&self, tensor: Tensor) -> Option<Tensor> {
        turned(tensor, &self.callers, &self.engines)
    }

    /// The engine's tensor as callers get it; `None` where it has another shape than declared.
    pub fn to_caller(&self, tensor: Tensor) -> Option<Tensor> {
        turned(tensor, &self.engines, &self.callers)
    }
}

/// Elements in each run of known extents between the free ones; `None` where they can not be
/// counted.
fn runs(dims: &[Dim]) -> Option<Vec<usize>> {
    let run = |dims: &[Dim]| {
        let extents = dims.iter().map(|dim| match dim {
            Dim::Fixed(extent) => *extent,
            Dim::Any => 1,
        });
        Shape::new(extents).elements()
    };
    dims.split(|dim| *dim == Dim::Any).map(run).collect()
}

fn turned(tensor: Tensor, from: &[Dim], to: &[Dim]) -> Option<Tensor> {
    let shape = tensor.shape();
    let fits =
        shape.len() == from.len() && from.iter().zip(shape.iter()).all(|(d, &e)| d.admits(e));
    if !fits {
        return None;
    }
    let mut free = from.iter().zip(shape.iter()).filter(|(dim, _)| **dim == Dim::Any);
    let extents = to.iter().map(|dim| match dim {
        Dim::Fixed(extent) => Some(*extent),
        Dim::Any => free.next().map(|(_, extent)| *extent),
    });
    let turned = Shape::new(extents.collect::<Option<Vec<_>>>()?);
    tensor.reshaped(turned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::DType;
    use proptest::prelude::*;

    fn dims(wire: &[i64]) -> Vec<Dim> {
        wire.iter().map(|&dim| Dim::from_wire(dim).unwrap()).collect()
    }

    fn reshape(callers: &[i64], engines: &[i64]) -> Result<Reshape> {
        Reshape::new("x", dims(callers), dims(engines))
    }

    fn tensor(shape: &[usize]) -> Tensor {
        Tensor::zeros(DType::F32, Shape::new(shape.iter().copied())).unwrap()
    }

    #[test]
    fn only_shapes_of_as_many_elements_become_each_other() {
        for (callers, engines) in [
            (&[-1, 1][..], &[-1][..]),
            (&[1], &[]),
            (&[-1, 4], &[-1, 2, 2]),
            (&[-1, 4, -1], &[-1, 2, 2, 1, -1]),
        ] {
            assert!(reshape(callers, engines).is_ok(), "{callers:?} {engines:?}");
        }
        for (callers, engines) in [
            (&[-1, 2][..], &[-1][..]),
            (&[-1, 4], &[4, -1]),
            (&[-1, 1], &[1]),
            (&[2, 2], &[5]),
            (&[i64::MAX, i64::MAX], &[i64::MAX, i64::MAX]),
        ] {
            let error = reshape(callers, engines).unwrap_err();
            assert!(error.message().starts_with("reshape of 'x'"), "{error}");
        }
    }

    #[test]
    fn free_extents_keep_their_order() {
        let plan = reshape(&[-1, 1, -1, 6], &[-1, -1, 2, 3]).unwrap();
        let there = plan.to_engine(tensor(&[4, 1, 5, 6])).unwrap();
        assert_eq!(there.shape().to_string(), "[4,5,2,3]");
        let back = plan.to_caller(there).unwrap();
        assert_eq!(back.shape().to_string(), "[4,1,5,6]");
        assert!(plan.to_engine(tensor(&[4, 2, 5, 6])).is_none());
        assert!(plan.to_caller(tensor(&[4])).is_none());
    }

    proptest! {
        #[test]
        fn there_and_back_changes_nothing(
            parts in proptest::collection::vec((1usize..4, 1usize..4, any::<bool>()), 0..5)) {
            // Each part stands as one extent here and as two there, or is free.
            let (mut callers, mut engines, mut shape) = (vec![], vec![], vec![]);
            for (a, b, free) in parts {
                if free {
                    callers.push(Dim::Any);
                    engines.push(Dim::Any);
                } else {
                    callers.push(Dim::Fixed(a * b));
                    engines.extend([Dim::Fixed(a), Dim::Fixed(b)]);
                }
                shape.push(a * b);
            }
            let plan = Reshape::new("x", callers, engines).unwrap();
            let there = plan.to_engine(tensor(&shape)).unwrap();
            prop_assert_eq!(plan.to_caller(there).unwrap(), tensor(&shape));
        }
    }
}
