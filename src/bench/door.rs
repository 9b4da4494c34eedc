//! One request in the words of each door.

use serde_json::{Value, json};

use super::address::Address;
use super::request::{Asked, Source};
use super::subject::Subject;
use super::{Target, grpc, rest};
use crate::error::{Error, Result};
use crate::model::examples::ExampleTensor;

const JSON: &str = "application/json";
const OCTETS: &str = "application/octet-stream";

/// The ways to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// `/v2` with its tensors in JSON.
    RestJson,
    /// `/v2` with raw tensors behind the JSON, and raw outputs.
    RestBinary,
    /// Records of named features.
    RestTyped,
    /// `ModelInfer` with raw tensors.
    Grpc,
}

/// A door's request, ready to be sent.
pub struct Prepared {
    pub target: Target,
    pub source: Source,
    /// Of its body.
    pub bytes: usize,
}

impl Door {
    pub const ALL: [Door; 4] = [Door::RestJson, Door::RestBinary, Door::RestTyped, Door::Grpc];

    pub fn name(self) -> &'static str {
        match self {
            Door::RestJson => "rest-json",
            Door::RestBinary => "rest-binary",
            Door::RestTyped => "rest-typed",
            Door::Grpc => "grpc",
        }
    }

    /// `grpc` is the address of that door.
    pub fn prepare(self, subject: &Subject, grpc: &Address, asked: &Asked) -> Result<Prepared> {
        if self == Door::RestTyped {
            let (body, source) = asked.records.as_ref().ok_or_else(|| self.lacks("records"))?;
            let body = body.to_string();
            let bytes = body.len();
            let address = subject.address.clone();
            let target = rest::Target::new(address, &subject.predict(), JSON, &[], body.into())?;
            return Ok(Prepared { target: Target::Http(target), source: *source, bytes });
        }
        let (inputs, source) = asked.inputs.as_ref().ok_or_else(|| self.lacks("inputs"))?;
        let source = *source;
        let (head, raw) = match self {
            Door::Grpc => {
                let Subject { model, version, .. } = subject;
                let tensors = asked.tensors()?;
                let target = grpc::Target::new(grpc.clone(), model, version, &tensors)?;
                let bytes = target.bytes();
                return Ok(Prepared { target: Target::Grpc(target), source, bytes });
            }
            Door::RestBinary => binary(inputs, asked)?,
            _ => (json!({"inputs": inputs.iter().map(with_data).collect::<Vec<_>>()}), None),
        };
        let head = head.to_string();
        let length = format!("inference-header-content-length: {}", head.len());
        let (content_type, headers) =
            if raw.is_some() { (OCTETS, vec![length]) } else { (JSON, vec![]) };
        let body = [head.into_bytes(), raw.unwrap_or_default()].concat();
        let bytes = body.len();
        let (address, path) = (subject.address.clone(), subject.infer());
        let target = rest::Target::new(address, &path, content_type, &headers, body.into())?;
        Ok(Prepared { target: Target::Http(target), source, bytes })
    }

    fn lacks(self, what: &str) -> Error {
        let door = self.name();
        Error::invalid(format!("there are no '{what}' to send, which the door {door} takes"))
    }
}

fn head(tensor: &ExampleTensor) -> Value {
    json!({"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape})
}

fn with_data(tensor: &ExampleTensor) -> Value {
    let mut value = head(tensor);
    value["data"] = json!(tensor.data);
    value
}

/// The JSON of the binary tensor extension, and what follows it.
fn binary(inputs: &[ExampleTensor], asked: &Asked) -> Result<(Value, Option<Vec<u8>>)> {
    let mut raw = Vec::new();
    let mut heads = Vec::new();
    for (input, tensor) in inputs.iter().zip(asked.tensors()?) {
        let mut value = head(input);
        value["parameters"] = json!({"binary_data_size": tensor.tensor.data().len()});
        heads.push(value);
        raw.extend_from_slice(tensor.tensor.data());
    }
    let parameters = json!({"binary_data_output": true});
    Ok((json!({"inputs": heads, "parameters": parameters}), Some(raw)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Asked {
        let text = r#"{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2],
            "data": [1, 2.5]}], "records": [{"x": [1, 2.5]}]}"#;
        Asked::from_file(text.as_bytes()).unwrap()
    }

    fn prepared(door: Door, asked: &Asked) -> Result<Prepared> {
        let address = Address::Tcp("a:1".into());
        door.prepare(&Subject::parse(address.clone(), "m/2")?, &address, asked)
    }

    fn http(door: Door) -> (String, String, Vec<u8>, Option<usize>) {
        let Target::Http(target) = prepared(door, &asked()).unwrap().target else { panic!() };
        let (path, headers, body) = target.parts();
        let length = headers.get("inference-header-content-length");
        let length = length.map(|length| length.to_str().unwrap().parse().unwrap());
        let content_type = headers["content-type"].to_str().unwrap();
        (path.to_owned(), content_type.to_owned(), body.to_vec(), length)
    }

    #[test]
    fn each_door_gets_the_same_numbers_in_its_own_words() {
        let (path, content_type, body, length) = http(Door::RestJson);
        assert_eq!((&*path, &*content_type), ("/v2/models/m/versions/2/infer", JSON));
        let body: Value = serde_json::from_slice(&body).unwrap();
        let wanted = json!({"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2.5]});
        assert_eq!((body, length), (json!({"inputs": [wanted]}), None));

        let (_, content_type, body, length) = http(Door::RestBinary);
        let (head, raw) = body.split_at(length.unwrap());
        let head: Value = serde_json::from_slice(head).unwrap();
        assert_eq!(content_type, OCTETS);
        assert_eq!(head["inputs"][0]["parameters"]["binary_data_size"], 8);
        assert_eq!(raw, [1f32.to_le_bytes(), 2.5f32.to_le_bytes()].concat());

        let (path, content_type, body, _) = http(Door::RestTyped);
        assert_eq!((&*path, &*content_type), ("/models/m/versions/2/predict", JSON));
        assert_eq!(body, br#"{"records":[{"x":[1,2.5]}]}"#);

        assert!(matches!(prepared(Door::Grpc, &asked()).unwrap().target, Target::Grpc(_)));
    }

    #[test]
    fn what_a_file_lacks_is_told_by_the_door() {
        let bare = Asked { inputs: None, records: None };
        for door in Door::ALL {
            let error = prepared(door, &bare).err().unwrap();
            assert!(error.message().contains(door.name()), "{error}");
        }
    }
}
