//! The body of `:predict` as the tensors of a request: rows (`instances`) or columns (`inputs`),
//! typed by the signature, shaped by their nesting. Pure; and no body, however wrong, makes it
//! panic.
//!
//! MLflow calls these two forms "TF Serving's" and takes them too; where it reads them otherwise,
//! the rules say so.

use bytes::Bytes;
use jiter::{Jiter, JiterError, Peek};

use crate::error::{Error, Result, quoted};
use crate::model::{Signature, TensorSpec};
use crate::server::rest::json::NonFinite;
use crate::server::rest::json::dense::{self, Dense, Rules};
use crate::server::rest::json::read;
use crate::tensor::NamedTensor;

/// The one signature that a model has.
pub const SIGNATURE_NAME: &str = "serving_default";

/// How the request is written, and so its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Row,
    Column,
}

/// Reads a body.
pub fn decode(
    signature: &Signature,
    body: &Bytes,
    nonfinite: NonFinite,
) -> Result<(Format, Vec<NamedTensor>)> {
    let rules = Rules { nonfinite, null_is_nan: false };
    let mut reader = read::reader(body, nonfinite);
    let peek = reader.peek().map_err(syntax)?;
    if peek != Peek::Object {
        return Err(Error::invalid(format!(
            "the request must be a JSON object, got {}",
            read::kind(peek)
        )));
    }
    let mut found = None;
    let mut key = reader.known_object().map_err(syntax)?.map(str::to_owned);
    while let Some(name) = key {
        let peek = reader.peek().map_err(syntax)?;
        match name.as_str() {
            "signature_name" => check_signature_name(&mut reader, peek)?,
            "instances" | "inputs" if found.is_some() => {
                return Err(Error::invalid(
                    "Not formatted correctly expecting only one of 'inputs' or 'instances' keys \
                     to exist, once",
                ));
            }
            "instances" => {
                let tensors = instances(&mut reader, peek, signature, rules)?;
                found = Some((Format::Row, tensors));
            }
            "inputs" => {
                let tensors = inputs(&mut reader, peek, signature, rules)?;
                found = Some((Format::Column, tensors));
            }
            // Unknown keys are passed over, as TensorFlow Serving does.
            _ => reader.known_skip(peek).map_err(syntax)?,
        }
        key = reader.next_key().map_err(syntax)?.map(str::to_owned);
    }
    reader.finish().map_err(syntax)?;
    found.ok_or_else(|| Error::invalid("Missing 'inputs' or 'instances' key"))
}

fn syntax(error: JiterError) -> Error {
    read::syntax(&error)
}

fn check_signature_name(reader: &mut Jiter<'_>, peek: Peek) -> Result<()> {
    if peek != Peek::String {
        return Err(Error::invalid(format!(
            "'signature_name' key must be a string value, got {}",
            read::kind(peek)
        )));
    }
    match reader.known_str().map_err(syntax)? {
        "" | SIGNATURE_NAME => Ok(()),
        name => Err(Error::not_found(format!(
            "Serving signature name: \"{}\" not found in signature def; the model has \
             \"{SIGNATURE_NAME}\"",
            quoted(name)
        ))),
    }
}

/// Row by row: a list of values for a model of one input, or a list of objects by input name.
pub fn instances(
    reader: &mut Jiter<'_>,
    peek: Peek,
    signature: &Signature,
    rules: Rules,
) -> Result<Vec<NamedTensor>> {
    match first_instance(reader, peek)? {
        Instance::Named => named_rows(reader, signature, rules),
        Instance::Value => only(reader, peek, "instances", signature, rules),
    }
}

/// What the rows of a request are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instance {
    /// Objects by name.
    Named,
    /// Values of the only input.
    Value,
}

/// Looks at the first row without reading it.
pub fn first_instance(reader: &Jiter<'_>, peek: Peek) -> Result<Instance> {
    if peek != Peek::Array {
        return Err(Error::invalid(format!(
            "Expecting 'instances' to be a list/array, got {}",
            read::kind(peek)
        )));
    }
    let mut ahead = reader.clone();
    match ahead.known_array().map_err(syntax)? {
        None => Err(Error::invalid("No values in 'instances' array")),
        Some(Peek::Object) if !dense::is_base64(ahead) => Ok(Instance::Named),
        Some(_) => Ok(Instance::Value),
    }
}

/// Column by column: a value for a model of one input, or an object by input name.
fn inputs(
    reader: &mut Jiter<'_>,
    peek: Peek,
    signature: &Signature,
    rules: Rules,
) -> Result<Vec<NamedTensor>> {
    if peek != Peek::Object || dense::is_base64(reader.clone()) {
        return only(reader, peek, "inputs", signature, rules);
    }
    let mut tensors: Vec<NamedTensor> = Vec::with_capacity(signature.inputs.len());
    let mut key = reader.known_object().map_err(syntax)?;
    while let Some(name) = key {
        let Some((_, spec)) = signature.input(name) else { return Err(stranger(signature, name)) };
        if tensors.iter().any(|tensor| tensor.name == spec.name) {
            return Err(Error::invalid(format!("'inputs' has the key '{}' twice", spec.name)));
        }
        tensors.push(whole(reader, spec, rules)?);
        key = reader.next_key().map_err(syntax)?;
    }
    let is_given = |spec: &TensorSpec| tensors.iter().any(|tensor| tensor.name == spec.name);
    match signature.inputs.iter().find(|spec| !is_given(spec)) {
        Some(TensorSpec { name, .. }) => {
            Err(Error::invalid(format!("Missing named input: {name} in 'inputs' object")))
        }
        None => Ok(tensors),
    }
}

/// The tensor of one input, behind its name.
pub fn whole(reader: &mut Jiter<'_>, spec: &TensorSpec, rules: Rules) -> Result<NamedTensor> {
    let peek = reader.peek().map_err(syntax)?;
    let mut dense = Dense::new(spec.dtype);
    dense
        .read(reader, peek, rules)
        .map_err(|fault| fault.error(&format!("inputs.{}", spec.name), spec.dtype))?;
    Ok(NamedTensor { name: spec.name.clone(), tensor: dense.tensor(&spec.name)? })
}

/// The tensor of the only input, which needs no name.
pub fn only(
    reader: &mut Jiter<'_>,
    peek: Peek,
    key: &str,
    signature: &Signature,
    rules: Rules,
) -> Result<Vec<NamedTensor>> {
    let [spec] = &signature.inputs[..] else {
        let expected = if key == "instances" { "list of objects" } else { "an object" };
        return Err(Error::invalid(format!(
            "{key} is a plain value/list, but expecting {expected} as multiple input tensors \
             required: {}",
            names(signature)
        )));
    };
    let mut dense = Dense::new(spec.dtype);
    dense.read(reader, peek, rules).map_err(|fault| fault.error(key, spec.dtype))?;
    Ok(vec![NamedTensor { name: spec.name.clone(), tensor: dense.tensor(&spec.name)? }])
}

fn named_rows(
    reader: &mut Jiter<'_>,
    signature: &Signature,
    rules: Rules,
) -> Result<Vec<NamedTensor>> {
    let specs = &signature.inputs;
    let mut columns: Vec<Dense> = specs.iter().map(|spec| Dense::rows(spec.dtype)).collect();
    let mut row = 0;
    let mut next = reader.known_array().map_err(syntax)?;
    while let Some(peek) = next {
        if peek != Peek::Object {
            return Err(Error::invalid(format!(
                "Expecting object but got {} at item {row} of input list",
                read::kind(peek)
            )));
        }
        let mut key = reader.known_object().map_err(syntax)?;
        while let Some(name) = key {
            let Some((index, spec)) = signature.input(name) else {
                return Err(failed(row, &stranger(signature, name)));
            };
            if columns[index].items() > row {
                let twice = Error::invalid(format!("the key '{}' stands twice", spec.name));
                return Err(failed(row, &twice));
            }
            let peek = reader.peek().map_err(syntax)?;
            columns[index].push(reader, peek, rules).map_err(|fault| {
                fault.error(&format!("instances[{row}].{}", spec.name), spec.dtype)
            })?;
            key = reader.next_key().map_err(syntax)?;
        }
        row += 1;
        if columns.iter().any(|column| column.items() < row) {
            return Err(Error::invalid(format!(
                "Failed to process element: {} of 'instances' list. JSON object keys must be \
                 equal to: {}",
                row - 1,
                names(signature)
            )));
        }
        next = reader.array_step().map_err(syntax)?;
    }
    let named = specs.iter().zip(columns).map(|(spec, column)| {
        Ok(NamedTensor { name: spec.name.clone(), tensor: column.tensor(&spec.name)? })
    });
    named.collect()
}

fn failed(row: usize, error: &Error) -> Error {
    Error::invalid(format!(
        "Failed to process element: {row} of 'instances' list. Error: {}",
        error.message()
    ))
}

fn stranger(signature: &Signature, name: &str) -> Error {
    Error::invalid(format!(
        "JSON object: does not have named input: '{}'; the model has {}",
        quoted(name),
        names(signature)
    ))
}

fn names(signature: &Signature) -> String {
    signature.inputs.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
