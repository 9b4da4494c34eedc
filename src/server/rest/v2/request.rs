//! The body of `POST /v2/models/{model}/infer` as a request: JSON, and behind it the raw tensors of
//! the binary extension. Pure; and no body, however wrong, makes it panic.

use bytes::Bytes;
use jiter::{Jiter, JiterError, Peek};

use crate::error::{Error, Result, quoted};
use crate::infer::InferRequest;
use crate::server::parameters::{RequestParameters, Value, bound, check_input, classes_of_output};
use crate::server::rest::json::{NonFinite, read};
use crate::tensor::{DType, NamedTensor, RANK_MAX, Shape, Tensor};

/// A decoded request, with what the answer needs to know of it.
pub struct Decoded {
    pub id: Option<String>,
    pub request: InferRequest,
    /// For each output that the request lists: whether it wants it binary.
    pub binary: Vec<bool>,
    /// The same for all outputs, where the request lists none.
    pub binary_default: bool,
}

/// Longest request id that comes back.
const ID_BYTES_MAX: usize = 1024;

/// Reads a body. `json_bytes` is the header `Inference-Header-Content-Length`: where the JSON ends
/// and the raw tensors begin; without it, all of the body is JSON.
pub fn decode(
    model: &str,
    body: &Bytes,
    json_bytes: Option<usize>,
    nonfinite: NonFinite,
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
    let reader = read::reader(&text, nonfinite);
    let parts = Document { reader, text_bytes: text.len(), nonfinite }.read()?;
    assemble(model, parts, &text, raw, nonfinite)
}

/// The document as it is written, before data is held against shapes.
#[derive(Default)]
struct Parts {
    id: Option<String>,
    parameters: RequestParameters,
    inputs: Option<Vec<Input>>,
    outputs: Vec<Output>,
}

#[derive(Default)]
struct Input {
    name: Option<String>,
    datatype: Option<DType>,
    shape: Option<Shape>,
    data: Option<Data>,
    binary_bytes: Option<usize>,
}

/// A listed output.
struct Output {
    name: String,
    binary: bool,
    /// How many of its highest classes are wanted in its place; 0: the tensor itself.
    classes: usize,
}

/// The elements of an input.
enum Data {
    /// Read already, as type and shape stood before them.
    Read(usize, Bytes),
    /// Passed over: they begin at this index of the text.
    At(usize),
}

/// A key that stands twice would leave it to chance which one counts.
fn once<T>(slot: &mut Option<T>, value: T, what: &str, key: &str) -> Result<()> {
    if slot.replace(value).is_some() {
        return Err(Error::invalid(format!("{what} has the key '{key}' twice")));
    }
    Ok(())
}

fn wrong(what: &str, key: &str, expected: &str, given: Peek) -> Error {
    Error::invalid(format!("{what}: '{key}' must be {expected}, got {}", read::kind(given)))
}

fn syntax(error: JiterError) -> Error {
    read::syntax(&error)
}

struct Document<'a> {
    reader: Jiter<'a>,
    text_bytes: usize,
    nonfinite: NonFinite,
}

impl Document<'_> {
    fn read(&mut self) -> Result<Parts> {
        let peek = self.peek()?;
        if peek != Peek::Object {
            return Err(Error::invalid(format!(
                "the request must be a JSON object, got {}",
                read::kind(peek)
            )));
        }
        let mut parts = Parts::default();
        let mut key = self.first_key()?;
        while let Some(name) = key {
            let peek = self.peek()?;
            match name.as_str() {
                "id" => {
                    let id = self.text("request", "id", peek)?;
                    if id.len() > ID_BYTES_MAX {
                        return Err(Error::invalid(format!(
                            "request: 'id' is longer than {ID_BYTES_MAX} bytes"
                        )));
                    }
                    once(&mut parts.id, id, "request", "id")?;
                }
                "parameters" => {
                    let target = &mut parts.parameters;
                    self.parameters("request", peek, |name, value| target.read(name, value))?;
                }
                "inputs" => {
                    let inputs = self.list("inputs", peek, Self::input)?;
                    once(&mut parts.inputs, inputs, "request", "inputs")?;
                }
                "outputs" => parts.outputs = self.list("outputs", peek, Self::output)?,
                // Unknown keys are passed over, as Triton does.
                _ => self.skip(peek)?,
            }
            key = self.next_key()?;
        }
        self.reader.finish().map_err(syntax)?;
        Ok(parts)
    }

    /// An array of objects.
    fn list<T>(
        &mut self,
        what: &str,
        peek: Peek,
        item: impl Fn(&mut Self, usize) -> Result<T>,
    ) -> Result<Vec<T>> {
        if peek != Peek::Array {
            return Err(wrong("request", what, "an array of objects", peek));
        }
        let mut items = Vec::new();
        let mut next = self.reader.known_array().map_err(syntax)?;
        while let Some(peek) = next {
            bound(what, items.len() + 1)?;
            if peek != Peek::Object {
                return Err(wrong("request", what, "an array of objects", peek));
            }
            items.push(item(self, items.len())?);
            next = self.reader.array_step().map_err(syntax)?;
        }
        Ok(items)
    }

    fn input(&mut self, index: usize) -> Result<Input> {
        let mut input = Input::default();
        let mut what = format!("inputs[{index}]");
        let mut key = self.first_key()?;
        while let Some(name) = key {
            let peek = self.peek()?;
            match name.as_str() {
                "name" => {
                    let name = self.text(&what, "name", peek)?;
                    once(&mut input.name, name, &what, "name")?;
                    if let Some(name) = &input.name {
                        what = format!("input '{}'", quoted(name));
                    }
                }
                "datatype" => {
                    let name = self.text(&what, "datatype", peek)?;
                    let dtype = DType::from_name(&name).ok_or_else(|| {
                        Error::invalid(format!(
                            "{what} has unknown datatype '{}'; expected one of {}",
                            quoted(&name),
                            DType::ALL.map(DType::name).join(", ")
                        ))
                    })?;
                    once(&mut input.datatype, dtype, &what, "datatype")?;
                }
                "shape" => {
                    let shape = self.shape(&what, peek)?;
                    once(&mut input.shape, shape, &what, "shape")?;
                }
                "data" => {
                    let data = self.data(&what, &input, peek)?;
                    once(&mut input.data, data, &what, "data")?;
                }
                "parameters" => {
                    let tensor = quoted(input.name.as_deref().unwrap_or_default());
                    let mut binary_bytes = None;
                    self.parameters(&what, peek, |name, value| {
                        if name == "binary_data_size" {
                            binary_bytes = Some(size_of_binary(&tensor, value)?);
                        }
                        check_input(&tensor, name)
                    })?;
                    input.binary_bytes = binary_bytes;
                }
                _ => self.skip(peek)?,
            }
            key = self.next_key()?;
        }
        Ok(input)
    }

    fn output(&mut self, index: usize) -> Result<Output> {
        let what = format!("outputs[{index}]");
        let (mut name, mut binary, mut classes) = (None, false, 0);
        let mut key = self.first_key()?;
        while let Some(found) = key {
            let peek = self.peek()?;
            match found.as_str() {
                "name" => once(&mut name, self.text(&what, "name", peek)?, &what, "name")?,
                "parameters" => {
                    let tensor = quoted(name.as_deref().unwrap_or_default());
                    self.parameters(&what, peek, |name, value| {
                        if name == "binary_data" {
                            binary = value == Value::Bool(true);
                        }
                        if let Some(wanted) = classes_of_output(&tensor, name, value)? {
                            classes = wanted;
                        }
                        Ok(())
                    })?;
                }
                _ => self.skip(peek)?,
            }
            key = self.next_key()?;
        }
        let name = name.ok_or_else(|| Error::invalid(format!("{what} has no 'name'")))?;
        Ok(Output { name, binary, classes })
    }

    fn shape(&mut self, what: &str, peek: Peek) -> Result<Shape> {
        let extents = "an array of integers, 0 or more";
        if peek != Peek::Array {
            return Err(wrong(what, "shape", extents, peek));
        }
        let mut dims: Vec<usize> = Vec::new();
        let mut next = self.reader.known_array().map_err(syntax)?;
        while let Some(peek) = next {
            if dims.len() == RANK_MAX {
                return Err(Error::invalid(format!(
                    "{what} has more than {RANK_MAX} dimensions in its shape"
                )));
            }
            if !read::is_literal(peek) {
                return Err(wrong(what, "shape", extents, peek));
            }
            let digits = self.reader.known_number_bytes(peek).map_err(syntax)?;
            let dim = str::from_utf8(digits).ok().and_then(|digits| digits.parse::<i64>().ok());
            // What does not fit 63 bits fits no client's shape either.
            let dim = dim.and_then(|dim| usize::try_from(dim).ok()).ok_or_else(|| {
                Error::invalid(format!("{what}: 'shape' must be {extents}, below 2^63"))
            })?;
            dims.push(dim);
            next = self.reader.array_step().map_err(syntax)?;
        }
        Ok(Shape::new(dims))
    }

    /// The elements, where type and shape are known by now; otherwise their place.
    fn data(&mut self, what: &str, input: &Input, peek: Peek) -> Result<Data> {
        if peek != Peek::Array {
            return Err(wrong(what, "data", "an array", peek));
        }
        let (Some(dtype), Some(shape)) = (input.datatype, &input.shape) else {
            let start = self.reader.current_index();
            self.skip(peek)?;
            return Ok(Data::At(start));
        };
        let (reader, bytes) = (&mut self.reader, self.text_bytes);
        let (count, data) = elements(reader, what, dtype, shape, bytes, self.nonfinite)?;
        Ok(Data::Read(count, data))
    }

    /// Hands every parameter to `take`. Values that are no scalars count as unset.
    fn parameters(
        &mut self,
        what: &str,
        peek: Peek,
        mut take: impl FnMut(&str, Value<'_>) -> Result<()>,
    ) -> Result<()> {
        if peek != Peek::Object {
            return Err(wrong(what, "parameters", "an object", peek));
        }
        let mut count = 0;
        let mut key = self.first_key()?;
        while let Some(name) = key {
            count += 1;
            bound("parameters", count)?;
            let peek = self.peek()?;
            match peek {
                Peek::True | Peek::False => {
                    let value = self.reader.known_bool(peek).map_err(syntax)?;
                    take(&name, Value::Bool(value))?;
                }
                Peek::String => {
                    take(&name, Value::Text(self.reader.known_str().map_err(syntax)?))?;
                }
                peek if peek.is_num() => {
                    let digits = self.reader.known_number_bytes(peek).map_err(syntax)?;
                    take(&name, number(digits))?;
                }
                peek => {
                    self.skip(peek)?;
                    take(&name, Value::Unset)?;
                }
            }
            key = self.next_key()?;
        }
        Ok(())
    }

    fn text(&mut self, what: &str, key: &str, peek: Peek) -> Result<String> {
        match peek {
            Peek::String => self.reader.known_str().map(str::to_owned).map_err(syntax),
            peek => Err(wrong(what, key, "a string", peek)),
        }
    }

    fn peek(&mut self) -> Result<Peek> {
        self.reader.peek().map_err(syntax)
    }

    fn first_key(&mut self) -> Result<Option<String>> {
        self.reader.known_object().map(|key| key.map(str::to_owned)).map_err(syntax)
    }

    fn next_key(&mut self) -> Result<Option<String>> {
        self.reader.next_key().map(|key| key.map(str::to_owned)).map_err(syntax)
    }

    fn skip(&mut self, peek: Peek) -> Result<()> {
        self.reader.known_skip(peek).map_err(syntax)
    }
}

fn number(digits: &[u8]) -> Value<'static> {
    let text = str::from_utf8(digits).unwrap_or_default();
    if let Ok(value) = text.parse() {
        Value::Int(value)
    } else if let Ok(value) = text.parse() {
        Value::Uint(value)
    } else {
        text.parse().map_or(Value::Unset, Value::Double)
    }
}

fn size_of_binary(input: &str, value: Value<'_>) -> Result<usize> {
    let size = match value {
        Value::Int(size) => usize::try_from(size).ok(),
        _ => None,
    };
    size.ok_or_else(|| {
        Error::invalid(format!(
            "input '{input}': parameter 'binary_data_size' must be a number of bytes, 0 or more"
        ))
    })
}

fn elements(
    reader: &mut Jiter<'_>,
    what: &str,
    dtype: DType,
    shape: &Shape,
    text_bytes: usize,
    nonfinite: NonFinite,
) -> Result<(usize, Bytes)> {
    let expected = shape.elements().ok_or_else(|| {
        Error::invalid(format!(
            "{what} has shape {shape}, which has more elements than can be addressed"
        ))
    })?;
    read::tensor(reader, dtype, expected, text_bytes, nonfinite).map_err(|misplaced| {
        let at = misplaced.index;
        match misplaced.misfit {
            read::Misfit::Syntax(error) => read::syntax(&error),
            read::Misfit::Kind(given) => {
                Error::invalid(format!("{what}: element {at} of 'data' is no {dtype}: got {given}"))
            }
            read::Misfit::Range => Error::invalid(format!(
                "{what}: element {at} of 'data' is outside the range of {dtype}"
            )),
            read::Misfit::Depth => Error::invalid(format!(
                "{what}: 'data' is nested deeper than {RANK_MAX} dimensions"
            )),
            read::Misfit::Surplus => count(what, shape, expected, None),
        }
    })
}

fn count(what: &str, shape: &Shape, expected: usize, given: Option<usize>) -> Error {
    let given = given.map_or_else(|| "more".to_owned(), |given| given.to_string());
    Error::invalid(format!(
        "{what}: shape {shape} takes {expected} elements, but 'data' holds {given}"
    ))
}

/// Puts the parts together: every input gets its data, from the JSON or from behind it.
fn assemble(
    model: &str,
    parts: Parts,
    text: &Bytes,
    mut raw: Bytes,
    nonfinite: NonFinite,
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
        let data = match (input.data, input.binary_bytes) {
            (Some(_), Some(_)) => {
                return Err(Error::invalid(format!(
                    "input '{shown}' has both 'data' and the parameter 'binary_data_size'"
                )));
            }
            (Some(data), None) => {
                let what = format!("input '{shown}'");
                let (given, bytes) = match data {
                    Data::Read(given, bytes) => (given, bytes),
                    Data::At(start) => {
                        let mut reader = read::reader(&text[start..], nonfinite);
                        elements(&mut reader, &what, dtype, &shape, text.len(), nonfinite)?
                    }
                };
                match shape.elements() {
                    Some(expected) if expected != given => {
                        return Err(count(&what, &shape, expected, Some(given)));
                    }
                    _ => bytes,
                }
            }
            (None, Some(size)) if size > raw.len() => {
                return Err(Error::invalid(format!(
                    "unexpected size for input '{shown}': the body holds {} more bytes, \
                     'binary_data_size' is {size}",
                    raw.len()
                )));
            }
            (None, Some(size)) => raw.split_to(size),
            // Triton's words, which its clients match on.
            (None, None) => {
                return Err(Error::invalid(format!(
                    "unable to find data for input tensor '{shown}' for model '{model}' in request."
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
    let mut binary = Vec::with_capacity(parts.outputs.len());
    for output in parts.outputs {
        request.outputs.push(output.name);
        request.classes.push(output.classes);
        binary.push(output.binary);
    }
    Ok(Decoded { id: parts.id, request, binary, binary_default: parts.parameters.binary_output })
}

#[cfg(test)]
mod tests;
