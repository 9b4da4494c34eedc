//! Parameters in protobuf, as the doors share them (`server::parameters` says what they mean).

use std::collections::HashMap;

use super::pb::inference::InferParameter;
use super::pb::inference::infer_parameter::ParameterChoice as Choice;
use crate::error::Result;
use crate::server::parameters::{RequestParameters, Value, bound, check_input, classes_of_output};

type Parameters = HashMap<String, InferParameter>;

/// Reads the parameters of a request.
pub fn request(parameters: &Parameters) -> Result<RequestParameters> {
    bound("parameters", parameters.len())?;
    let mut read = RequestParameters::default();
    for (name, value) in parameters {
        read.read(name, value_of(value))?;
    }
    Ok(read)
}

/// Refuses what an input may not ask for.
pub fn input(parameters: &Parameters, input: &str) -> Result<()> {
    parameters.keys().try_for_each(|name| check_input(input, name))
}

/// How many of an output's highest classes are wanted in its place; 0: the tensor itself.
pub fn output(parameters: &Parameters, output: &str) -> Result<usize> {
    parameters.iter().try_fold(0, |classes, (name, value)| {
        Ok(classes_of_output(output, name, value_of(value))?.unwrap_or(classes))
    })
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
