//! An answer as the body of `/v2/.../infer`: JSON, and behind it the outputs that the caller wants
//! binary. Pure.

use bytes::Bytes;

use super::request::{Decoded, Form};
use crate::error::Result;
use crate::model::ModelId;
use crate::server::rest::json::{NonFinite, write};
use crate::server::shared_memory::{Slot, deliver};
use crate::tensor::{NamedTensor, Shape};

/// How the caller wants its answer, kept while the request is at work.
pub struct Wishes {
    id: Option<String>,
    /// For each listed output; empty where none is listed.
    forms: Vec<Form>,
    form_default: Form,
}

impl Wishes {
    /// Takes what the answer needs out of a decoded request.
    pub fn of(decoded: &mut Decoded) -> Self {
        Self {
            id: decoded.id.take(),
            forms: std::mem::take(&mut decoded.forms),
            form_default: std::mem::replace(&mut decoded.form_default, Form::Json),
        }
    }

    /// How output `index` of the answer, which has the request's order, comes back.
    fn form(&self, index: usize) -> &Form {
        self.forms.get(index).unwrap_or(&self.form_default)
    }

    fn is_binary(&self, index: usize) -> bool {
        matches!(self.form(index), Form::Binary)
    }

    fn slot(&self, index: usize) -> Option<&Slot> {
        match self.form(index) {
            Form::Shared(slot) => Some(slot),
            Form::Json | Form::Binary => None,
        }
    }

    /// Puts the outputs that do not travel where they are wanted.
    pub fn deliver(&self, outputs: &[NamedTensor]) -> Result<()> {
        let outputs = outputs.iter().enumerate();
        deliver(outputs.filter_map(|(index, output)| Some((output, self.slot(index)?))))
    }
}

/// A body and, where raw tensors follow it, the length of its JSON.
pub struct Encoded {
    pub body: Bytes,
    pub json_bytes: Option<usize>,
}

/// Characters that one JSON number takes at a guess: what to reserve.
const NUMBER_CHARS: usize = 12;
/// The same for what surrounds the numbers of one output.
const OUTPUT_CHARS: usize = 128;

pub fn encode(
    model: &ModelId,
    wishes: &Wishes,
    outputs: &[NamedTensor],
    nonfinite: NonFinite,
) -> Encoded {
    let mut out = Vec::with_capacity(capacity(wishes, outputs));
    out.push(b'{');
    if let Some(id) = &wishes.id {
        out.extend_from_slice(b"\"id\":");
        write::string(&mut out, id);
        out.push(b',');
    }
    // A model's name needs no escapes, and a version is a number.
    out.extend_from_slice(b"\"model_name\":\"");
    out.extend_from_slice(model.name.as_str().as_bytes());
    out.extend_from_slice(b"\",\"model_version\":\"");
    write::integer(&mut out, model.version.number());
    out.extend_from_slice(b"\",\"outputs\":[");
    let mut raw_bytes = 0;
    for (index, NamedTensor { name, tensor }) in outputs.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"name\":");
        write::string(&mut out, name);
        out.extend_from_slice(b",\"datatype\":\"");
        out.extend_from_slice(tensor.dtype().name().as_bytes());
        out.extend_from_slice(b"\",\"shape\":");
        shape(&mut out, tensor.shape());
        let bytes = tensor.data().len();
        match wishes.form(index) {
            Form::Binary => {
                out.extend_from_slice(b",\"parameters\":{\"binary_data_size\":");
                write::integer(&mut out, bytes);
                out.push(b'}');
                raw_bytes += bytes;
            }
            Form::Shared(slot) => placed(&mut out, slot, bytes),
            Form::Json => {
                out.extend_from_slice(b",\"data\":");
                write::elements(&mut out, tensor, nonfinite);
            }
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    if raw_bytes == 0 {
        return Encoded { body: out.into(), json_bytes: None };
    }
    let json_bytes = Some(out.len());
    for (index, output) in outputs.iter().enumerate() {
        if wishes.is_binary(index) {
            out.extend_from_slice(output.tensor.data());
        }
    }
    Encoded { body: out.into(), json_bytes }
}

/// Where an output lies that does not travel.
fn placed(out: &mut Vec<u8>, slot: &Slot, bytes: usize) {
    out.extend_from_slice(b",\"parameters\":{\"shared_memory_region\":");
    write::string(out, slot.region());
    if slot.offset() > 0 {
        out.extend_from_slice(b",\"shared_memory_offset\":");
        write::integer(out, slot.offset());
    }
    out.extend_from_slice(b",\"shared_memory_byte_size\":");
    write::integer(out, bytes);
    out.push(b'}');
}

fn capacity(wishes: &Wishes, outputs: &[NamedTensor]) -> usize {
    let of = |(index, output): (usize, &NamedTensor)| {
        let tensor = &output.tensor;
        let data = match wishes.form(index) {
            Form::Binary => tensor.data().len(),
            // At least a byte per element, so this is no more than a few times the data.
            Form::Json => tensor.data().len() / tensor.dtype().size_min() * NUMBER_CHARS,
            Form::Shared(_) => OUTPUT_CHARS,
        };
        data + output.name.len() + OUTPUT_CHARS
    };
    outputs.iter().enumerate().map(of).sum::<usize>() + OUTPUT_CHARS
}

fn shape(out: &mut Vec<u8>, shape: &Shape) {
    out.push(b'[');
    for (axis, &extent) in shape.iter().enumerate() {
        if axis > 0 {
            out.push(b',');
        }
        write::integer(out, extent);
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ModelName, Version};
    use crate::tensor::{DType, Tensor, shared};

    fn encoded(id: Option<&str>, binary: Vec<bool>, binary_default: bool) -> Encoded {
        let model =
            ModelId { name: ModelName::new("m").unwrap(), version: Version::parse("3").unwrap() };
        let tensor = |shape: [usize; 2], data: Vec<f32>| {
            Tensor::new("t", DType::F32, Shape::new(shape), shared(data)).unwrap()
        };
        let outputs = [
            NamedTensor { name: "y".into(), tensor: tensor([1, 2], vec![0.5, f32::NAN]) },
            NamedTensor { name: "\"z".into(), tensor: tensor([1, 0], vec![]) },
        ];
        let forms = binary.into_iter().map(Form::binary).collect();
        let form_default = Form::binary(binary_default);
        let wishes = Wishes { id: id.map(str::to_owned), forms, form_default };
        encode(&model, &wishes, &outputs, NonFinite::Strings)
    }

    #[test]
    fn json_has_tritons_keys_in_tritons_order() {
        let Encoded { body, json_bytes } = encoded(Some("7\n"), vec![], false);
        let expected = concat!(
            r#"{"id":"7\n","model_name":"m","model_version":"3","outputs":["#,
            r#"{"name":"y","datatype":"FP32","shape":[1,2],"data":[0.5,"NaN"]},"#,
            r#"{"name":"\"z","datatype":"FP32","shape":[1,0],"data":[]}]}"#
        );
        assert_eq!(str::from_utf8(&body).unwrap(), expected);
        assert_eq!(json_bytes, None);
    }

    #[test]
    fn binary_outputs_follow_the_json() {
        let Encoded { body, json_bytes } = encoded(None, vec![true, true], false);
        let (json, raw) = body.split_at(json_bytes.unwrap());
        let expected = concat!(
            r#"{"model_name":"m","model_version":"3","outputs":["#,
            r#"{"name":"y","datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":8}},"#,
            r#"{"name":"\"z","datatype":"FP32","shape":[1,0],"parameters":{"binary_data_size":0}}]}"#
        );
        assert_eq!(str::from_utf8(json).unwrap(), expected);
        assert_eq!(raw[..4], 0.5f32.to_le_bytes());
        // Nothing raw, no header: as Triton does it.
        assert_eq!(encoded(None, vec![false, true], true).json_bytes, None);
        assert!(encoded(None, vec![], true).json_bytes.is_some());
    }
}
