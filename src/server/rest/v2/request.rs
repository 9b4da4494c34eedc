//! The body of `POST /v2/models/{model}/infer` as a request: JSON, and behind it the raw tensors of
//! the binary extension. Pure but for inputs that lie in shared memory, which are copied from
//! there; and no body, however wrong, makes it panic.

use bytes::Bytes;

use super::document::{self, Data, Parts};
use crate::error::{Error, Result, quoted};
use crate::infer::InferRequest;
use crate::server::rest::json::{NonFinite, read};
use crate::server::shared_memory::{Access, Slot};
use crate::tensor::{NamedTensor, Tensor};

/// A decoded request, with what the answer needs to know of it.
#[derive(Debug)]
pub struct Decoded {
    pub id: Option<String>,
    pub request: InferRequest,
    /// For each output that the request lists: how it comes back.
    pub forms: Vec<Form>,
    /// The same for all outputs, where the request lists none.
    pub form_default: Form,
}

/// How an output comes back.
#[derive(Debug)]
pub enum Form {
    Json,
    /// Behind the JSON.
    Binary,
    Shared(Slot),
}

impl Form {
    pub fn binary(wanted: bool) -> Self {
        if wanted { Form::Binary } else { Form::Json }
    }
}

/// Reads a body. `json_bytes` is the header `Inference-Header-Content-Length`: where the JSON ends
/// and the raw tensors begin; without it, all of the body is JSON.
pub fn decode(
    model: &str,
    body: &Bytes,
    json_bytes: Option<usize>,
    nonfinite: NonFinite,
    memory: Access<'_>,
) -> Result<Decoded> {
    let (text, raw) = match json_bytes {
        Some(length) if length > body.len() => {
            return Err(Error::invalid(format!(
                "Inference-Header-Content-Length is {length}, but the body has {} bytes",
                body.len()
            )));
        }
        Some(length) => (body.slice(..length), body.slice(length..)),
        None => (body.clone(), Bytes::new()),
    };
    let parts = document::read(&text, nonfinite)?;
    assemble(model, parts, &text, raw, nonfinite, memory)
}

/// Puts the parts together: every input gets its data, from the JSON or from behind it.
fn assemble(
    model: &str,
    parts: Parts,
    text: &Bytes,
    mut raw: Bytes,
    nonfinite: NonFinite,
    mut memory: Access<'_>,
) -> Result<Decoded> {
    let Some(inputs) = parts.inputs else {
        return Err(Error::invalid("the request has no 'inputs'"));
    };
    let mut tensors = Vec::with_capacity(inputs.len());
    for (index, input) in inputs.into_iter().enumerate() {
        let Some(name) = input.name else {
            return Err(Error::invalid(format!("inputs[{index}] has no 'name'")));
        };
        let shown = quoted(&name);
        let missing = |key: &str| Error::invalid(format!("input '{shown}' has no '{key}'"));
        let shape = input.shape.ok_or_else(|| missing("shape"))?;
        let dtype = input.datatype.ok_or_else(|| missing("datatype"))?;
        let data = match (input.data, input.binary_bytes, input.window) {
            (Some(data), None, None) => {
                let what = format!("input '{shown}'");
                let (given, bytes) = match data {
                    Data::Read(given, bytes) => (given, bytes),
                    Data::At(start) => {
                        let mut reader = read::reader(&text[start..], nonfinite);
                        let bytes = text.len();
                        document::elements(&mut reader, &what, dtype, &shape, bytes, nonfinite)?
                    }
                };
                match shape.elements() {
                    Some(expected) if expected != given => {
                        return Err(document::count(&what, &shape, expected, Some(given)));
                    }
                    _ => bytes,
                }
            }
            (None, Some(size), None) if size > raw.len() => {
                return Err(Error::invalid(format!(
                    "unexpected size for input '{shown}': the body holds {} more bytes, \
                     'binary_data_size' is {size}",
                    raw.len()
                )));
            }
            (None, Some(size), None) => raw.split_to(size),
            (None, None, Some(window)) => memory.input(&shown, &window)?,
            // Triton's words, which its clients match on.
            (None, None, None) => {
                return Err(Error::invalid(format!(
                    "unable to find data for input tensor '{shown}' for model '{model}' in request."
                )));
            }
            _ => {
                return Err(Error::invalid(format!(
                    "input '{shown}' has more than one of 'data' and the parameters \
                     'binary_data_size' and 'shared_memory_region'"
                )));
            }
        };
        let tensor = Tensor::new(&shown, dtype, shape, data)?;
        tensors.push(NamedTensor { name, tensor });
    }
    if !raw.is_empty() {
        return Err(Error::invalid(format!(
            "unexpected additional input data for model '{model}': {} bytes are left behind the \
             last input",
            raw.len()
        )));
    }
    let mut request = InferRequest {
        inputs: tensors,
        timeout: parts.parameters.timeout,
        priority: parts.parameters.priority,
        ..InferRequest::default()
    };
    let mut forms = Vec::with_capacity(parts.outputs.len());
    for output in parts.outputs {
        forms.push(match &output.window {
            Some(window) => Form::Shared(memory.output(&quoted(&output.name), window)?),
            None => Form::binary(output.binary),
        });
        request.outputs.push(output.name);
        request.classes.push(output.classes);
    }
    let form_default = Form::binary(parts.parameters.binary_output);
    Ok(Decoded { id: parts.id, request, forms, form_default })
}

#[cfg(test)]
mod tests;
