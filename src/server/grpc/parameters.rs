//! Parameters in protobuf, as the doors share them (`server::parameters` says what they mean).

use std::collections::HashMap;

use super::pb::inference::InferParameter;
use super::pb::inference::infer_parameter::ParameterChoice as Choice;
use crate::error::Result;
use crate::server::parameters::{
    OutputParameters, Placement, RequestParameters, Value, Window, bound,
};
use crate::server::shared_memory::Slot;

pub type Parameters = HashMap<String, InferParameter>;

/// Reads the parameters of a request.
pub fn request(parameters: &Parameters) -> Result<RequestParameters> {
    bound("parameters", parameters.len())?;
    let mut read = RequestParameters::default();
    for (name, value) in parameters {
        read.read(name, value_of(value))?;
    }
    Ok(read)
}

/// Where in shared memory an input lies, if it does. `input` names it in error texts.
pub fn input(parameters: &Parameters, input: &str) -> Result<Option<Window>> {
    if parameters.is_empty() {
        return Ok(None);
    }
    let (what, mut placement) = (format!("input '{input}'"), Placement::default());
    for (name, value) in parameters {
        placement.read(&what, name, value_of(value))?;
    }
    placement.window(&what)
}

/// How many of an output's highest classes are wanted in its place (0: the tensor itself), and
/// where in shared memory it is wanted, if it is.
pub fn output(parameters: &Parameters, output: &str) -> Result<(usize, Option<Window>)> {
    if parameters.is_empty() {
        return Ok((0, None));
    }
    let (what, mut read) = (format!("output '{output}'"), OutputParameters::default());
    for (name, value) in parameters {
        read.read(&what, name, value_of(value))?;
    }
    let classes = read.classes;
    Ok((classes, read.window(&what)?))
}

/// Where an output lies that does not travel, and how many bytes of it there are.
pub fn placed(slot: &Slot, bytes: usize) -> Parameters {
    let of = |choice| InferParameter { parameter_choice: Some(choice) };
    let mut parameters = Parameters::from([
        ("shared_memory_region".to_owned(), of(Choice::StringParam(slot.region().to_owned()))),
        ("shared_memory_byte_size".to_owned(), of(Choice::Uint64Param(bytes as u64))),
    ]);
    if slot.offset() > 0 {
        let offset = of(Choice::Uint64Param(slot.offset()));
        parameters.insert("shared_memory_offset".to_owned(), offset);
    }
    parameters
}

fn value_of(parameter: &InferParameter) -> Value<'_> {
    match &parameter.parameter_choice {
        None => Value::Unset,
        Some(Choice::BoolParam(value)) => Value::Bool(*value),
        Some(Choice::Int64Param(value)) => Value::Int(*value),
        Some(Choice::Uint64Param(value)) => Value::Uint(*value),
        Some(Choice::DoubleParam(value)) => Value::Double(*value),
        Some(Choice::StringParam(value)) => Value::Text(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn every_kind_of_value_is_carried_over() {
        let of = |choice| value_of(&InferParameter { parameter_choice: choice }) == Value::Unset;
        assert!(of(None));
        let one = |choice| -> Parameters {
            [("timeout".to_owned(), InferParameter { parameter_choice: Some(choice) })].into()
        };
        let ms =
            RequestParameters { timeout: Some(Duration::from_millis(1)), ..Default::default() };
        assert_eq!(request(&one(Choice::Int64Param(1000))).unwrap(), ms);
        assert_eq!(request(&one(Choice::Uint64Param(1000))).unwrap(), ms);
        assert_eq!(request(&one(Choice::StringParam("1000".into()))).unwrap(), ms);
        assert!(request(&one(Choice::DoubleParam(1.0))).is_err());
        assert!(request(&one(Choice::BoolParam(true))).is_err());
    }
}
