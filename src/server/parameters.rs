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

/// Where in shared memory a tensor lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    pub region: String,
    /// In bytes, from the start of the region.
    pub offset: u64,
    pub byte_size: u64,
}

/// The parameters of an input or output that say where it lies, as far as they have come.
#[derive(Debug, Default)]
pub struct Placement {
    region: Option<String>,
    offset: u64,
    byte_size: Option<u64>,
}

impl Placement {
    /// Reads one parameter; whatever says something else is passed over.
    pub fn read(&mut self, tensor: &str, name: &str, value: Value<'_>) -> Result<()> {
        let bytes = || unsigned(name, "number of bytes", value).map_err(|error| of(tensor, &error));
        match name {
            "shared_memory_region" => match value {
                Value::Text(region) => self.region = Some(region.to_owned()),
                _ => {
                    let message = "parameter 'shared_memory_region' is not a string";
                    return Err(of(tensor, &Error::invalid(message)));
                }
            },
            "shared_memory_offset" => self.offset = bytes()?,
            "shared_memory_byte_size" => self.byte_size = Some(bytes()?),
            _ => {}
        }
        Ok(())
    }

    /// The place in shared memory; `None` for a tensor that travels with the message.
    pub fn window(self, tensor: &str) -> Result<Option<Window>> {
        let Self { region, offset, byte_size } = self;
        let Some(region) = region else { return Ok(None) };
        let byte_size = byte_size.ok_or_else(|| {
            of(tensor, &Error::invalid("parameter 'shared_memory_byte_size' is missing"))
        })?;
        Ok(Some(Window { region, offset, byte_size }))
    }
}

fn of(tensor: &str, error: &Error) -> Error {
    Error::invalid(format!("{tensor}: {}", error.message()))
}

/// What the parameters of an output ask for.
#[derive(Debug, Default)]
pub struct OutputParameters {
    /// How many of its highest classes are wanted in its place; 0: the tensor itself.
    pub classes: usize,
    placement: Placement,
}

impl OutputParameters {
    /// Reads one parameter. `output` names it in error texts.
    pub fn read(&mut self, output: &str, name: &str, value: Value<'_>) -> Result<()> {
        if name == "classification" {
            self.classes = classes_of(output, value)?;
        }
        self.placement.read(output, name, value)
    }

    /// The place in shared memory; `None` for an output that travels with the answer.
    pub fn window(self, output: &str) -> Result<Option<Window>> {
        let window = self.placement.window(output)?;
        if self.classes > 0 && window.is_some() {
            return Err(Error::invalid(format!(
                "{output}: classes do not go into shared memory; leave out 'classification' or \
                 'shared_memory_region'"
            )));
        }
        Ok(window)
    }
}

fn classes_of(output: &str, value: Value<'_>) -> Result<usize> {
    let count = match value {
        Value::Int(count) => usize::try_from(count).ok(),
        Value::Uint(count) => usize::try_from(count).ok(),
        value if value.is_neutral() => Some(0),
        _ => None,
    };
    count.ok_or_else(|| {
        Error::invalid(format!(
            "{output}: parameter 'classification' is not a number of classes, 0 or more"
        ))
    })
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
    fn classes_are_counted() {
        let classes = |value| {
            let mut output = OutputParameters::default();
            output.read("output 'y'", "classification", value).map(|()| output.classes)
        };
        assert_eq!(classes(Value::Int(3)).unwrap(), 3);
        assert_eq!(classes(Value::Unset).unwrap(), 0);
        for bad in [Value::Int(-1), Value::Text("many")] {
            let error = classes(bad).unwrap_err();
            assert!(error.message().starts_with("output 'y': parameter 'class"), "{error}");
        }
        let mut output = OutputParameters::default();
        output.read("y", "classification", Value::Int(1)).unwrap();
        output.read("y", "shared_memory_region", Value::Text("r")).unwrap();
        output.read("y", "shared_memory_byte_size", Value::Int(1)).unwrap();
        assert!(output.window("y").unwrap_err().message().contains("do not go into shared memory"));
    }

    fn placed(parameters: &[(&str, Value<'_>)]) -> Result<Option<Window>> {
        let mut placement = Placement::default();
        for (name, value) in parameters {
            placement.read("input 'x'", name, *value)?;
        }
        placement.window("input 'x'")
    }

    #[test]
    fn three_parameters_place_a_tensor() {
        let (region, size) = ("shared_memory_region", "shared_memory_byte_size");
        let offset = "shared_memory_offset";
        let named = (region, Value::Text("r"));
        let window = |offset| Window { region: "r".into(), offset, byte_size: 8 };
        assert_eq!(placed(&[named, (size, Value::Int(8))]).unwrap(), Some(window(0)));
        let far = (offset, Value::Uint(u64::MAX));
        let placement = placed(&[(size, Value::Text("8")), far, named]).unwrap();
        assert_eq!(placement, Some(window(u64::MAX)));
        assert_eq!(placed(&[("ward", Value::Int(1)), (size, Value::Int(8))]).unwrap(), None);
        for (bad, text) in [
            (&[named][..], "'shared_memory_byte_size' is missing"),
            (&[named, (size, Value::Int(-1))], "'shared_memory_byte_size' is not a number of"),
            (&[named, (offset, Value::Double(0.5))], "'shared_memory_offset' is not a number of"),
            (&[(region, Value::Int(1))], "'shared_memory_region' is not a string"),
        ] {
            let error = placed(bad).unwrap_err();
            assert!(error.message().starts_with("input 'x': "), "{error}");
            assert!(error.message().contains(text), "{error}");
        }
    }
}
