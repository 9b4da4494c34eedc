//! What is asked: the user's own request, else the server's example, else one made up from what
//! the server says that the model takes. Pure.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::subject::{Facts, Input, Subject};
use crate::error::{Error, Result, quoted};
use crate::model::Version;
use crate::model::examples::ExampleTensor;
use crate::tensor::{DType, NamedTensor};

/// Same numbers in every run.
const SEED: u64 = 0x62_65_6e_63_68;
/// Elements of a tensor that is made up: an FP32 of 64 MiB, the default limit of a body.
const ELEMENTS_MAX: usize = 16 << 20;
/// How deep a schema may nest.
const DEPTH_MAX: usize = 16;
/// A range that is wider says what the datatype holds, not what is plausible.
const WIDTH_MAX: f64 = 1e9;

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    File,
    Example,
    MadeUp,
}

impl Source {
    pub fn name(self) -> &'static str {
        match self {
            Source::File => "file",
            Source::Example => "example",
            Source::MadeUp => "made up",
        }
    }
}

/// One request, as tensors and as records of the typed API; whichever there is.
#[derive(Clone, Debug)]
pub struct Asked {
    pub inputs: Option<(Vec<ExampleTensor>, Source)>,
    /// The whole body, `{"records": [...]}`.
    pub records: Option<(Value, Source)>,
}

#[derive(Deserialize)]
struct File {
    inputs: Option<Vec<ExampleTensor>>,
    records: Option<Vec<Value>>,
}

impl Asked {
    /// What a user's file asks: `inputs` as `/v2` writes them, `records` as the typed API does, or
    /// both.
    pub fn from_file(text: &[u8]) -> Result<Self> {
        let file: File = serde_json::from_slice(text)
            .map_err(|error| Error::invalid(format!("it is no request in JSON: {error}")))?;
        if file.inputs.is_none() && file.records.is_none() {
            return Err(Error::invalid(
                "it has neither 'inputs', as /v2 takes them, nor 'records', as the typed API does",
            ));
        }
        let flat = |mut tensor: ExampleTensor| {
            tensor.data = flattened(tensor.data);
            tensor
        };
        let inputs = file.inputs.map(|list| (list.into_iter().map(flat).collect(), Source::File));
        let records = file.records.map(|records| (json!({"records": records}), Source::File));
        let asked = Self { inputs, records };
        // What can not be sent is told now.
        if asked.inputs.is_some() {
            asked.tensors()?;
        }
        Ok(asked)
    }

    /// What the server suggests, and what it leaves open made up.
    pub fn from_facts(facts: &Facts, subject: &Subject) -> Result<Self> {
        let operation = facts.document.as_ref().and_then(|document| {
            let content = operation(document, subject)?.get("requestBody")?.get("content")?;
            Some((document, content.get("application/json")?))
        });
        let example = operation.and_then(|(_, content)| content.get("example").cloned());
        let from_example = example.as_ref().and_then(|example| {
            let record = example.get("records")?.as_array()?.first()?.as_object()?;
            of_record(record, &facts.inputs)
        });
        let inputs = match from_example {
            Some(inputs) => (inputs, Source::Example),
            None => (made_up(&facts.inputs)?, Source::MadeUp),
        };
        let records = example.map(|example| (example, Source::Example)).or_else(|| {
            let (document, content) = operation?;
            let mut random = fastrand::Rng::with_seed(SEED);
            let body = of_schema(document, content.get("schema")?, &mut random, 0)?;
            Some((body, Source::MadeUp))
        });
        Ok(Self { inputs: Some(inputs), records })
    }

    /// The tensors with their bytes.
    pub fn tensors(&self) -> Result<Vec<NamedTensor>> {
        let inputs = self.inputs.iter().flat_map(|(inputs, _)| inputs);
        let tensor = |tensor: &ExampleTensor| {
            let rows = *tensor.shape.first().unwrap_or(&0);
            let whole = tensor.shape.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent));
            if whole != Some(tensor.data.len()) {
                let name = quoted(&tensor.name);
                return Err(Error::invalid(format!(
                    "input '{name}' does not hold as many elements as its shape says"
                )));
            }
            tensor.rows(0..rows)
        };
        inputs.map(tensor).collect()
    }
}

/// Nested lists as one, row by row.
fn flattened(data: Vec<Value>) -> Vec<Value> {
    if !data.iter().any(Value::is_array) {
        return data;
    }
    let parts = data.into_iter().flat_map(|part| match part {
        Value::Array(parts) => flattened(parts),
        other => vec![other],
    });
    parts.collect()
}

/// The typed operation of a model.
fn operation<'a>(document: &'a Value, subject: &Subject) -> Option<&'a Value> {
    let paths = document.get("paths")?;
    // Versions are listed by number; a label's is the model's own as far as anybody can tell.
    let exact = Version::parse(&subject.version).and_then(|_| paths.get(subject.predict()));
    let any = || paths.get(format!("/models/{}/predict", subject.model));
    exact.or_else(any)?.get("post")
}

/// The tensors of a record whose properties are the inputs themselves. One with columns for
/// properties does not say in which order they stand.
fn of_record(record: &Map<String, Value>, inputs: &[Input]) -> Option<Vec<ExampleTensor>> {
    let tensor = |input: &Input| {
        let value = record.get(&input.name)?;
        let mut dims = extents(value)?;
        if dims.is_empty() {
            // A single value, whether its row is [] or [1].
            dims = vec![1; input.shape.len()];
        } else if dims.len() + 1 == input.shape.len() {
            dims.insert(0, 1);
        }
        let data = flattened(vec![value.clone()]);
        let fits = |(&extent, &dim): (&usize, &i64)| dim < 0 || i64::try_from(extent) == Ok(dim);
        let whole = dims.iter().product::<usize>() == data.len();
        let fits = dims.len() == input.shape.len() && dims.iter().zip(&input.shape).all(fits);
        (fits && whole).then(|| ExampleTensor {
            name: input.name.clone(),
            datatype: input.datatype.clone(),
            shape: dims,
            data,
        })
    };
    inputs.iter().map(tensor).collect()
}

/// Of nested lists that are as long as the first of them.
fn extents(value: &Value) -> Option<Vec<usize>> {
    let mut dims = Vec::new();
    let mut inner = value;
    while let Value::Array(parts) = inner {
        dims.push(parts.len());
        inner = parts.first()?;
    }
    (dims.len() <= DEPTH_MAX).then_some(dims)
}

/// Tensors of one row: floats from 0 to 1, integers 0 or 1, so that an index stays one.
fn made_up(inputs: &[Input]) -> Result<Vec<ExampleTensor>> {
    let mut random = fastrand::Rng::with_seed(SEED);
    let tensor = |input: &Input| {
        let dtype = input.dtype()?;
        // What is left open is one.
        let extents = input.shape.iter().map(|&dim| usize::try_from(dim).unwrap_or(1));
        let shape: Vec<usize> = extents.collect();
        let count = shape.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent));
        let count = count.filter(|&count| count <= ELEMENTS_MAX).ok_or_else(|| {
            let name = quoted(&input.name);
            Error::too_large(format!("input '{name}' is too large to be made up; use --data"))
        })?;
        let data = (0..count).map(|_| element(dtype, &mut random)).collect();
        let (name, datatype) = (input.name.clone(), input.datatype.clone());
        Ok(ExampleTensor { name, datatype, shape, data })
    };
    inputs.iter().map(tensor).collect()
}

fn element(dtype: DType, random: &mut fastrand::Rng) -> Value {
    match dtype {
        DType::Bool => json!(random.bool()),
        DType::Bytes => json!("a"),
        dtype if dtype.is_float() => json!(rounded(random.f64())),
        _ => json!(random.u8(0..2)),
    }
}

/// As people write numbers.
fn rounded(number: f64) -> f64 {
    (number * 1e4).round() / 1e4
}

/// A value that a schema of the document allows, with every property it has.
fn of_schema(
    document: &Value,
    schema: &Value,
    random: &mut fastrand::Rng,
    depth: usize,
) -> Option<Value> {
    if depth > DEPTH_MAX {
        return None;
    }
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let named = document.pointer(reference.strip_prefix('#')?)?;
        return of_schema(document, named, random, depth + 1);
    }
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    let range = bound("minimum").zip(bound("maximum"));
    let (low, high) = range.filter(|(low, high)| high - low < WIDTH_MAX).unwrap_or((0.0, 1.0));
    match schema.get("type")?.as_str()? {
        "object" => {
            let properties = schema.get("properties")?.as_object()?;
            let of = |(name, schema): (&String, &Value)| {
                Some((name.clone(), of_schema(document, schema, random, depth + 1)?))
            };
            properties.iter().map(of).collect::<Option<Map<_, _>>>().map(Value::Object)
        }
        "array" => {
            let count = schema.get("minItems").and_then(Value::as_u64).unwrap_or(1);
            let count = usize::try_from(count).ok().filter(|&count| count <= ELEMENTS_MAX)?;
            let items = schema.get("items")?;
            let of = |_| of_schema(document, items, random, depth + 1);
            (0..count).map(of).collect::<Option<Vec<_>>>().map(Value::Array)
        }
        "number" => {
            let number = low + (high - low) * random.f64();
            Some(json!(rounded(number).clamp(low, high)))
        }
        "integer" => Some(json!((low + (high - low) * random.f64()).round() as i64)),
        "boolean" => Some(json!(random.bool())),
        "string" => Some(json!("a")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Address;

    fn input(name: &str, datatype: &str, shape: &[i64]) -> Input {
        Input { name: name.into(), datatype: datatype.into(), shape: shape.into() }
    }

    fn subject(target: &str) -> Subject {
        Subject::parse(Address::Tcp("a:1".into()), target).unwrap()
    }

    fn facts(inputs: Vec<Input>, document: Value) -> Facts {
        Facts { server: String::new(), inputs, document: Some(document) }
    }

    fn document(content: &Value) -> Value {
        let post = json!({"post": {"requestBody": {"content": {"application/json": content}}}});
        json!({
            "paths": {"/models/m/predict": post},
            "components": {"schemas": {
                "R": {"type": "object", "properties": {"records": {"type": "array", "minItems": 1,
                    "items": {"$ref": "#/components/schemas/Record"}}}},
                "Record": {"type": "object", "properties": {
                    "age": {"type": "number", "minimum": 40, "maximum": 41},
                    "wide": {"type": "number", "minimum": -3.4e38, "maximum": 3.4e38},
                    "sex": {"type": "integer", "minimum": 1, "maximum": 2},
                    "ecg": {"type": "array", "minItems": 2, "items": {"type": "array",
                        "minItems": 3, "items": {"type": "boolean"}}},
                    "note": {"type": "string"}}}}}
        })
    }

    #[test]
    fn a_file_may_nest_its_data_and_must_fit_its_own_shape() {
        let text = r#"{"id": "7", "inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 2],
            "data": [[1, 2], [3, 4.5]]}], "records": [{"x": [1, 2]}]}"#;
        let asked = Asked::from_file(text.as_bytes()).unwrap();
        let tensors = asked.tensors().unwrap();
        assert_eq!(tensors[0].tensor.to_f64s(), Some(vec![1.0, 2.0, 3.0, 4.5]));
        assert_eq!(asked.records.unwrap(), (json!({"records": [{"x": [1, 2]}]}), Source::File));
        for (text, words) in [
            ("[1]", "no request"),
            ("{}", "neither"),
            (
                r#"{"inputs": [{"name": "x", "datatype": "FP32", "shape": [3], "data": [1]}]}"#,
                "'x'",
            ),
            (r#"{"inputs": [{"name": "x", "datatype": "F32", "shape": [1], "data": [1]}]}"#, "'x'"),
            (r#"{"inputs": [{"name": "x", "datatype": "FP32", "shape": [], "data": [1]}]}"#, "'x'"),
        ] {
            let error = Asked::from_file(text.as_bytes()).unwrap_err();
            assert!(error.message().contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn the_servers_example_is_taken_and_turned_into_tensors_where_it_names_them() {
        let example = json!({"records": [{"x": [[1, 2], [3, 4]], "n": 5}]});
        let document = document(&json!({"example": example}));
        let inputs = vec![input("x", "FP32", &[-1, 2, -1]), input("n", "INT64", &[-1, 1])];
        let asked = Asked::from_facts(&facts(inputs, document.clone()), &subject("m/3")).unwrap();
        assert_eq!(asked.records.as_ref().unwrap(), &(example, Source::Example));
        let (tensors, source) = asked.inputs.as_ref().unwrap();
        assert_eq!(*source, Source::Example);
        let shapes: Vec<_> = tensors.iter().map(|tensor| &tensor.shape[..]).collect();
        assert_eq!(shapes, [&[1, 2, 2][..], &[1, 1]]);
        assert_eq!(tensors[0].data, [1, 2, 3, 4].map(|n| json!(n)));
        // Columns that are properties do not say where they stand.
        let columns = facts(vec![input("features", "FP32", &[-1, 30])], document);
        let asked = Asked::from_facts(&columns, &subject("m")).unwrap();
        let (tensors, source) = asked.inputs.unwrap();
        assert_eq!((source, &tensors[0].shape[..]), (Source::MadeUp, &[1, 30][..]));
    }

    #[test]
    fn without_an_example_a_record_is_made_within_its_ranges() {
        let document = document(&json!({"schema": {"$ref": "#/components/schemas/R"}}));
        let asked = Asked::from_facts(&facts(vec![], document), &subject("m")).unwrap();
        let (body, source) = asked.records.unwrap();
        let record = &body["records"][0];
        assert_eq!(source, Source::MadeUp);
        assert!((40.0..=41.0).contains(&record["age"].as_f64().unwrap()), "{record}");
        assert!((0.0..=1.0).contains(&record["wide"].as_f64().unwrap()), "{record}");
        assert!([1, 2].contains(&record["sex"].as_i64().unwrap()), "{record}");
        assert_eq!(record["ecg"].as_array().map(Vec::len), Some(2));
        assert_eq!(record["ecg"][1].as_array().map(Vec::len), Some(3));
        assert_eq!(record["note"], "a");
    }

    #[test]
    fn every_datatype_can_be_made_up_and_is_the_same_every_time() {
        let inputs: Vec<Input> =
            DType::ALL.iter().map(|dtype| input("x", dtype.name(), &[-1, 4])).collect();
        let make = || {
            let inputs = Some((made_up(&inputs).unwrap(), Source::MadeUp));
            Asked { inputs, records: None }.tensors().unwrap()
        };
        let bytes = |tensors: Vec<NamedTensor>| -> Vec<_> {
            tensors.into_iter().map(|tensor| tensor.tensor.into_data()).collect()
        };
        assert_eq!(bytes(make()), bytes(make()));
        let huge = [input("x", "FP32", &[-1, 1 << 40])];
        assert!(made_up(&huge).unwrap_err().message().contains("--data"));
    }

    #[test]
    fn a_document_that_never_ends_is_left() {
        let document = json!({
            "paths": {"/models/m/predict": {"post": {"requestBody": {"content": {
                "application/json": {"schema": {"$ref": "#/components/a"}}}}}}},
            "components": {"a": {"$ref": "#/components/a"}}
        });
        let asked = Asked::from_facts(&facts(vec![], document), &subject("m")).unwrap();
        assert!(asked.records.is_none());
    }
}
