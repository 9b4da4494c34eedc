//! A model's signature: the names, types and shapes it takes and gives, and the check that every
//! door applies to a request before it may queue.
//!
//! The words of the errors are Triton's where its clients match on them.

use std::fmt::Write;

use crate::error::{Error, Result, quoted};
use crate::tensor::{DType, Dim, NamedTensor, Shape, Tensor, write_dims};

/// One tensor of a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    pub name: String,
    pub dtype: DType,
    /// The full shape, batch axis included.
    pub dims: Vec<Dim>,
}

impl TensorSpec {
    /// For tests: dimensions in wire form, -1 for "any".
    #[cfg(test)]
    pub fn of(name: &str, dtype: DType, dims: &[i64]) -> Self {
        let dims = dims.iter().map(|&dim| Dim::from_wire(dim).expect("a dimension")).collect();
        Self { name: name.into(), dtype, dims }
    }

    pub fn admits(&self, shape: &Shape) -> bool {
        self.dims.len() == shape.len()
            && self.dims.iter().zip(shape.iter()).all(|(dim, &extent)| dim.admits(extent))
    }

    /// Extents behind the batch axis.
    pub fn row_dims(&self) -> &[Dim] {
        self.dims.get(1..).unwrap_or(&[])
    }

    /// The shape in wire form, -1 for "any".
    pub fn wire_dims(&self) -> impl Iterator<Item = i64> + '_ {
        self.dims.iter().map(|dim| dim.to_wire())
    }

    pub fn dims_text(&self) -> String {
        let mut text = String::new();
        // Writing into a String can not fail.
        let _ = write_dims(&mut text, self.dims.iter());
        text
    }
}

/// What a model takes and gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    pub inputs: Vec<TensorSpec>,
    pub outputs: Vec<TensorSpec>,
}

impl Signature {
    /// Whether axis 0 of every tensor is free, which is what a batch axis looks like.
    ///
    /// This is Triton's auto-completion rule. It says what is possible; the loader's probe with two
    /// rows says whether the model keeps its promise.
    pub fn could_batch(&self) -> bool {
        let free = |spec: &TensorSpec| spec.dims.first() == Some(&Dim::Any);
        !self.inputs.is_empty()
            && !self.outputs.is_empty()
            && self.inputs.iter().chain(&self.outputs).all(free)
    }

    pub fn input(&self, name: &str) -> Option<(usize, &TensorSpec)> {
        self.inputs.iter().enumerate().find(|(_, spec)| spec.name == name)
    }

    pub fn output(&self, name: &str) -> Option<(usize, &TensorSpec)> {
        self.outputs.iter().enumerate().find(|(_, spec)| spec.name == name)
    }

    /// Checks the tensors of a request and puts them into the signature's order.
    pub fn arrange(&self, model: &str, tensors: Vec<NamedTensor>) -> Result<Vec<Tensor>> {
        let mut slots: Vec<Option<Tensor>> = self.inputs.iter().map(|_| None).collect();
        // Bounded work for a request with thousands of inputs: stop at the first that does not fit.
        for NamedTensor { name, tensor } in tensors {
            let Some((index, spec)) = self.input(&name) else {
                return Err(self.unknown("input", model, &name, &self.inputs));
            };
            check_input(model, spec, &tensor)?;
            if slots[index].replace(tensor).is_some() {
                return Err(Error::invalid(format!(
                    "input '{name}' already exists in request for model '{model}'"
                )));
            }
        }
        let given = slots.iter().flatten().count();
        if given == slots.len() {
            return Ok(slots.into_iter().flatten().collect());
        }
        let missing: Vec<&str> = (self.inputs.iter().zip(&slots))
            .filter(|(_, slot)| slot.is_none())
            .map(|(spec, _)| spec.name.as_str())
            .collect();
        Err(Error::invalid(format!(
            "expected {} inputs but got {given} inputs for model '{model}'; missing required \
             input(s) {missing:?}",
            slots.len(),
        )))
    }

    /// Positions of the outputs that a request names; all of them where it names none.
    pub fn select(&self, model: &str, names: &[String]) -> Result<Vec<usize>> {
        if names.is_empty() {
            return Ok((0..self.outputs.len()).collect());
        }
        let mut chosen = Vec::with_capacity(names.len().min(self.outputs.len()));
        for name in names {
            let Some((index, _)) = self.output(name) else {
                return Err(self.unknown("output", model, name, &self.outputs));
            };
            if chosen.contains(&index) {
                return Err(Error::invalid(format!(
                    "output '{name}' already requested for model '{model}'"
                )));
            }
            chosen.push(index);
        }
        Ok(chosen)
    }

    fn unknown(&self, what: &str, model: &str, name: &str, specs: &[TensorSpec]) -> Error {
        let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        Error::invalid(format!(
            "unexpected inference {what} '{}' for model '{model}'; the model has {names:?}",
            quoted(name)
        ))
    }
}

fn check_input(model: &str, spec: &TensorSpec, tensor: &Tensor) -> Result<()> {
    let name = &spec.name;
    if tensor.dtype() != spec.dtype {
        return Err(Error::invalid(format!(
            "inference input '{name}' data-type is '{}', but model '{model}' expects '{}'",
            tensor.dtype(),
            spec.dtype
        )));
    }
    if spec.admits(tensor.shape()) {
        return Ok(());
    }
    let mut message = format!("unexpected shape for input '{name}' for model '{model}'. Expected ");
    // Writing into a String can not fail.
    let _ = write_dims(&mut message, spec.dims.iter());
    let _ = write!(message, ", got {}", tensor.shape());
    Err(Error::invalid(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn spec(name: &str, dims: &[i64]) -> TensorSpec {
        TensorSpec::of(name, DType::U8, dims)
    }

    fn signature() -> Signature {
        Signature {
            inputs: vec![spec("a", &[-1, 2]), spec("b", &[-1])],
            outputs: vec![spec("y", &[-1]), spec("z", &[-1])],
        }
    }

    fn named(name: &str, dtype: DType, shape: &[usize]) -> NamedTensor {
        let shape = Shape::new(shape.iter().copied());
        let bytes = Bytes::from(vec![0; shape.elements().unwrap() * dtype.size().unwrap()]);
        let tensor = Tensor::new(name, dtype, shape, bytes).unwrap();
        NamedTensor { name: name.into(), tensor }
    }

    #[test]
    fn inputs_come_out_in_the_signatures_order() {
        let tensors = vec![named("b", DType::U8, &[3]), named("a", DType::U8, &[3, 2])];
        let arranged = signature().arrange("m", tensors).unwrap();
        assert_eq!(arranged[0].shape().to_string(), "[3,2]");
        assert_eq!(arranged[1].shape().to_string(), "[3]");
    }

    #[test]
    fn every_misfit_is_named() {
        let refused = |tensors: Vec<NamedTensor>, part: &str| {
            let error = signature().arrange("m", tensors).unwrap_err();
            assert!(error.message().contains(part), "{error}");
        };
        let a = || named("a", DType::U8, &[1, 2]);
        refused(vec![a()], "expected 2 inputs but got 1 inputs");
        refused(vec![a(), a()], "input 'a' already exists");
        refused(vec![named("c", DType::U8, &[1])], "unexpected inference input 'c'");
        refused(vec![named("b", DType::I8, &[1])], "data-type is 'INT8', but model 'm' expects");
        refused(vec![named("a", DType::U8, &[1, 3])], "Expected [-1,2], got [1,3]");
        refused(vec![named("a", DType::U8, &[2])], "Expected [-1,2], got [2]");
    }

    #[test]
    fn outputs_are_chosen_by_name_in_the_asked_order() {
        let names = |list: &[&str]| list.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        let signature = signature();
        assert_eq!(signature.select("m", &[]).unwrap(), [0, 1]);
        assert_eq!(signature.select("m", &names(&["z", "y"])).unwrap(), [1, 0]);
        assert!(signature.select("m", &names(&["z", "z"])).is_err());
        assert!(signature.select("m", &names(&["q"])).is_err());
    }
}
