//! The JSON of an infer request as it is written, before data is held against shapes and raw
//! tensors are given out. Pure.

use bytes::Bytes;
use jiter::{Jiter, JiterError, Peek};

use crate::error::{Error, Result, quoted};
use crate::server::parameters::{
    OutputParameters, Placement, RequestParameters, Value, Window, bound,
};
use crate::server::rest::json::{NonFinite, read};
use crate::tensor::{DType, RANK_MAX, Shape};

/// Longest request id that comes back.
const ID_BYTES_MAX: usize = 1024;

/// Reads a text that is nothing but the document.
pub fn read(text: &[u8], nonfinite: NonFinite) -> Result<Parts> {
    let reader = read::reader(text, nonfinite);
    Document { reader, text_bytes: text.len(), nonfinite }.read()
}

/// The document's parts.
#[derive(Default)]
pub struct Parts {
    pub id: Option<String>,
    pub parameters: RequestParameters,
    pub inputs: Option<Vec<Input>>,
    pub outputs: Vec<Output>,
}

#[derive(Default)]
pub struct Input {
    pub name: Option<String>,
    pub datatype: Option<DType>,
    pub shape: Option<Shape>,
    pub data: Option<Data>,
    pub binary_bytes: Option<usize>,
    pub window: Option<Window>,
}

/// A listed output.
pub struct Output {
    pub name: String,
    pub binary: bool,
    /// How many of its highest classes are wanted in its place; 0: the tensor itself.
    pub classes: usize,
    pub window: Option<Window>,
}

/// The elements of an input.
pub enum Data {
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
                    let (mut binary_bytes, mut placement) = (None, Placement::default());
                    self.parameters(&what, peek, |name, value| {
                        if name == "binary_data_size" {
                            binary_bytes = Some(size_of_binary(&what, value)?);
                        }
                        placement.read(&what, name, value)
                    })?;
                    input.binary_bytes = binary_bytes;
                    input.window = placement.window(&what)?;
                }
                _ => self.skip(peek)?,
            }
            key = self.next_key()?;
        }
        Ok(input)
    }

    fn output(&mut self, index: usize) -> Result<Output> {
        let mut what = format!("outputs[{index}]");
        let (mut name, mut binary) = (None, false);
        let mut parameters = OutputParameters::default();
        let mut key = self.first_key()?;
        while let Some(found) = key {
            let peek = self.peek()?;
            match found.as_str() {
                "name" => {
                    once(&mut name, self.text(&what, "name", peek)?, &what, "name")?;
                    if let Some(name) = &name {
                        what = format!("output '{}'", quoted(name));
                    }
                }
                "parameters" => self.parameters(&what, peek, |name, value| {
                    if name == "binary_data" {
                        binary = value == Value::Bool(true);
                    }
                    parameters.read(&what, name, value)
                })?,
                _ => self.skip(peek)?,
            }
            key = self.next_key()?;
        }
        let name = name.ok_or_else(|| Error::invalid(format!("{what} has no 'name'")))?;
        let classes = parameters.classes;
        Ok(Output { name, binary, classes, window: parameters.window(&what)? })
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

fn size_of_binary(what: &str, value: Value<'_>) -> Result<usize> {
    let size = match value {
        Value::Int(size) => usize::try_from(size).ok(),
        _ => None,
    };
    size.ok_or_else(|| {
        Error::invalid(format!(
            "{what}: parameter 'binary_data_size' must be a number of bytes, 0 or more"
        ))
    })
}

/// Reads the elements of an input, and counts them. `what` names it in error texts.
pub fn elements(
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

/// The error of an input whose elements are not as many as its shape takes.
pub fn count(what: &str, shape: &Shape, expected: usize, given: Option<usize>) -> Error {
    let given = given.map_or_else(|| "more".to_owned(), |given| given.to_string());
    Error::invalid(format!(
        "{what}: shape {shape} takes {expected} elements, but 'data' holds {given}"
    ))
}
