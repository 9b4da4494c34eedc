//! The settings beside a request, an input or an output: which ones mean something here, which are
//! refused, and which are nobody's business. Pure, and the same on every door.

use std::time::Duration;

use crate::error::{Error, Result, quoted};

/// Inputs, and outputs, that one request may name: far more than models have.
pub const TENSORS_MAX: usize = 4096;

/// Refuses a request that names more inputs or outputs than any sane one.
pub fn bound(what: &str, given: usize) -> Result<()> {
    if given > TENSORS_MAX {
        return Err(Error::invalid(format!(
            "the request names {given} {what}; at most {TENSORS_MAX} are supported"
        )));
    }
    Ok(())
}

/// Galen has one repository, which has no name.
pub fn check_repository(name: &str) -> Result<()> {
    if name.is_empty() {
        return Ok(());
    }
    Err(Error::unsupported("naming a repository is not supported: there is one, without a name"))
}

/// A parameter's value, as either protocol writes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Unset,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(&'a str),
}

impl Value<'_> {
    /// Whether it says no more than leaving the parameter out would.
    fn is_neutral(self) -> bool {
        match self {
            Value::Unset | Value::Bool(false) | Value::Int(0) | Value::Uint(0) => true,
            Value::Text(text) => text.is_empty() || text == "0",
            Value::Double(number) => number == 0.0,
            Value::Bool(true) | Value::Int(_) | Value::Uint(_) => false,
        }
    }
}

/// What the parameters of a whole request ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestParameters {
    /// The caller's own bound on its wait.
    pub timeout: Option<Duration>,
    /// 1 is the most urgent; 0 means the model's default.
    pub priority: u64,
    /// REST: outputs that the request does not list come as binary.
    pub binary_output: bool,
}

impl RequestParameters {
    /// Reads one parameter. Whatever is not reserved is passed over, as the protocol wants it.
    pub fn read(&mut self, name: &str, value: Value<'_>) -> Result<()> {
        match name {
            "timeout" => self.timeout = timeout_of(value)?,
            "priority" => self.priority = unsigned("priority", "number", value)?,
            "binary_data_output" => self.binary_output = value == Value::Bool(true),
            "sequence_id" | "sequence_start" | "sequence_end" if !value.is_neutral() => {
                return Err(Error::unsupported(format!(
                    "parameter '{name}': sequences are not supported"
                )));
            }
            // A promise about streams, of which no door has any: nothing to do.
            "triton_enable_empty_final_response" => {}
            name if name.starts_with("triton_") => {
                return Err(Error::invalid(format!(
                    "parameter '{}' is reserved: names that begin with 'triton_' are not for \
                     callers",
                    quoted(name)
                )));
            }
            _ => {}
        }
        Ok(())
    }
}

/// Refuses what an input may not ask for.
pub fn check_input(input: &str, name: &str) -> Result<()> {
    refuse_shared_memory("input", input, name)
}

/// Reads a parameter of an output: how many of its highest classes are wanted in its place.
/// Refuses what an output may not ask for.
pub fn classes_of_output(output: &str, name: &str, value: Value<'_>) -> Result<Option<usize>> {
    refuse_shared_memory("output", output, name)?;
    if name != "classification" {
        return Ok(None);
    }
    let count = match value {
        Value::Int(count) => usize::try_from(count).ok(),
        Value::Uint(count) => usize::try_from(count).ok(),
        value if value.is_neutral() => Some(0),
        _ => None,
    };
    count.map(Some).ok_or_else(|| {
        Error::invalid(format!(
            "output '{output}': parameter 'classification' is not a number of classes, 0 or more"
        ))
    })
}

fn refuse_shared_memory(what: &str, tensor: &str, name: &str) -> Result<()> {
    if name == "shared_memory_region" {
        return Err(Error::unsupported(format!(
            "{what} '{tensor}' is in shared memory, which is not supported"
        )));
    }
    Ok(())
}

/// A time-out in microseconds; 0 means none, as on Triton.
fn timeout_of(value: Value<'_>) -> Result<Option<Duration>> {
    let micros = unsigned("timeout", "number of microseconds", value)?;
    Ok((micros > 0).then(|| Duration::from_micros(micros)))
}

/// A number of 0 or more, in every form that clients send.
fn unsigned(name: &str, what: &str, value: Value<'_>) -> Result<u64> {
    let number = match value {
        Value::Int(number) => u64::try_from(number).ok(),
        Value::Uint(number) => Some(number),
        Value::Text(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| Error::invalid(format!("parameter '{name}' is not a {what}, 0 or more")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn request(name: &str, value: Value<'_>) -> Result<RequestParameters> {
        let mut parameters = RequestParameters::default();
        parameters.read(name, value).map(|()| parameters)
    }

    #[test]
    fn a_timeout_is_read_in_every_form_clients_send() {
        let ms = Some(Duration::from_millis(1));
        let read = |value| request("timeout", value).map(|parameters| parameters.timeout);
        assert_eq!(read(Value::Int(1000)).unwrap(), ms);
        assert_eq!(read(Value::Uint(1000)).unwrap(), ms);
        assert_eq!(read(Value::Text("1000")).unwrap(), ms);
        assert_eq!(read(Value::Int(0)).unwrap(), None);
        assert!(read(Value::Uint(u64::MAX)).unwrap().is_some());
        for bad in [
            Value::Unset,
            Value::Int(-1),
            Value::Bool(true),
            Value::Double(1.0),
            Value::Text(""),
            Value::Text("-1"),
            Value::Text("99999999999999999999"),
        ] {
            assert_eq!(read(bad).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn a_priority_is_a_number() {
        let read = |value| request("priority", value).map(|parameters| parameters.priority);
        assert_eq!(read(Value::Uint(2)).unwrap(), 2);
        assert_eq!(read(Value::Int(0)).unwrap(), 0);
        for bad in [Value::Int(-1), Value::Bool(true), Value::Text("high")] {
            assert_eq!(read(bad).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn sequences_are_refused_only_where_there_is_one() {
        for (name, value) in [
            ("sequence_id", Value::Int(0)),
            ("sequence_id", Value::Text("")),
            ("sequence_start", Value::Bool(false)),
            ("sequence_end", Value::Bool(false)),
        ] {
            assert_eq!(request(name, value).unwrap(), RequestParameters::default());
        }
        for value in [Value::Int(7), Value::Uint(7), Value::Text("visit")] {
            let error = request("sequence_id", value).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.message().contains("'sequence_id'"), "{error}");
        }
        assert!(request("sequence_start", Value::Bool(true)).is_err());
    }

    #[test]
    fn tritons_own_names_are_reserved_and_strangers_are_passed_over() {
        let error = request("triton_\nx", Value::Int(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.message().contains("'triton_\\nx'"), "{error}");
        for name in ["triton_enable_empty_final_response", "ward", ""] {
            assert!(request(name, Value::Bool(true)).is_ok(), "{name}");
        }
        assert!(request("binary_data_output", Value::Bool(true)).unwrap().binary_output);
    }

    #[test]
    fn classes_are_counted_and_shared_memory_is_refused_by_name() {
        let classes = |value| classes_of_output("y", "classification", value);
        assert_eq!(classes(Value::Int(3)).unwrap(), Some(3));
        assert_eq!(classes(Value::Unset).unwrap(), Some(0));
        assert!(classes(Value::Int(-1)).is_err());
        assert!(classes(Value::Text("many")).is_err());
        let region = "shared_memory_region";
        assert!(check_input("x", region).unwrap_err().message().contains("input 'x'"));
        let refused = classes_of_output("y", region, Value::Text("r")).unwrap_err();
        assert!(refused.message().contains("output 'y'"));
        assert_eq!(classes_of_output("y", "binary_data", Value::Bool(true)).unwrap(), None);
    }
}
