//! Protobuf messages to and from Galen's own types. No table, no clock, no queue; pure but for
//! inputs that lie in shared memory, which are copied from there; and no message, however wrong,
//! makes it panic.

use bytes::Bytes;

use super::pb::inference as pb;
use super::{contents, parameters};
use crate::error::{Error, Result, quoted};
use crate::infer::{InferRequest, InferResponse};
use crate::model::{ModelId, TensorSpec};
use crate::server::parameters::{Window, bound};
use crate::server::shared_memory::{self, Access, Slot};
use crate::service::ModelView;
use crate::tensor::{DType, NamedTensor, Shape, Tensor};

/// A request, and where in shared memory its listed outputs are wanted.
#[derive(Debug)]
pub struct Decoded {
    pub request: InferRequest,
    pub slots: Vec<Option<Slot>>,
}

/// A request as it came, decoded. `model` names the version's model in error texts.
pub fn request(
    model: &str,
    message: pb::ModelInferRequest,
    mut memory: Access<'_>,
) -> Result<Decoded> {
    let pb::ModelInferRequest { inputs, outputs, raw_input_contents: raw, .. } = message;
    bound("inputs", inputs.len())?;
    bound("outputs", outputs.len())?;
    let asked = parameters::request(&message.parameters)?;
    let given = raw.len();
    let (mut taken, mut raw) = (0, raw.into_iter());
    let mut tensors = Vec::with_capacity(inputs.len());
    for tensor in inputs {
        // What error texts call it: the caller's name is not trusted to be short or printable.
        let name = quoted(&tensor.name);
        let window = parameters::input(&tensor.parameters, &name)?;
        // Raw entries belong to the inputs that are not in shared memory, in their order.
        taken += usize::from(window.is_none());
        let place = match window {
            Some(window) => Place::Shared(window),
            None if given > 0 => Place::Raw(raw.next()),
            None => Place::Typed,
        };
        tensors.push(input(model, &name, tensor, place, &mut memory)?);
    }
    if given > taken {
        return Err(Error::invalid(format!(
            "expected {taken} entries in raw_input_contents, one for each input, but got {given} \
             for model '{model}'"
        )));
    }
    let (mut names, mut classes, mut slots) = (Vec::new(), Vec::new(), Vec::new());
    for output in outputs {
        let name = quoted(&output.name);
        let (count, window) = parameters::output(&output.parameters, &name)?;
        names.push(output.name);
        classes.push(count);
        slots.push(window.map(|window| memory.output(&name, &window)).transpose()?);
    }
    let (timeout, priority) = (asked.timeout, asked.priority);
    let request = InferRequest { inputs: tensors, outputs: names, classes, timeout, priority };
    Ok(Decoded { request, slots })
}

/// Where the elements of an input are.
enum Place {
    /// In its typed contents; the message has no raw entries.
    Typed,
    /// In its raw entry, if there is one left for it.
    Raw(Option<Bytes>),
    Shared(Window),
}

fn input(
    model: &str,
    name: &str,
    message: pb::model_infer_request::InferInputTensor,
    place: Place,
    memory: &mut Access<'_>,
) -> Result<NamedTensor> {
    let dtype = DType::from_name(&message.datatype).ok_or_else(|| {
        Error::invalid(format!(
            "input '{name}' has unknown datatype '{}'; expected one of {}",
            quoted(&message.datatype),
            DType::ALL.map(DType::name).join(", ")
        ))
    })?;
    let shape = Shape::from_request(name, &message.shape)?;
    let data = match (place, message.contents) {
        (Place::Shared(_), Some(_)) => {
            return Err(Error::invalid(format!(
                "contents field must not be specified for '{name}' for model '{model}', which is \
                 in shared memory"
            )));
        }
        (Place::Shared(window), None) => memory.input(name, &window)?,
        (Place::Raw(_), Some(_)) => {
            return Err(Error::invalid(format!(
                "contents field must not be specified when using raw_input_contents for '{name}' \
                 for model '{model}'"
            )));
        }
        (Place::Raw(Some(raw)), None) => raw,
        (Place::Typed, Some(typed)) => contents::into_bytes(model, name, dtype, &shape, typed)?,
        (Place::Typed | Place::Raw(None), None) => return Err(contents::missing(model, name)),
    };
    let tensor = Tensor::new(name, dtype, shape, data)?;
    Ok(NamedTensor { name: message.name, tensor })
}

/// Puts the outputs that do not travel where they are wanted.
pub fn deliver(answer: &InferResponse, slots: &[Option<Slot>]) -> Result<()> {
    let pairs = answer.outputs.iter().zip(slots);
    shared_memory::deliver(pairs.filter_map(|(output, slot)| Some((output, slot.as_ref()?))))
}

/// An answer: always raw, whatever form the request had, as Triton's clients expect it.
/// What lies in shared memory travels as its place alone.
pub fn response(
    model: &ModelId,
    id: String,
    answer: InferResponse,
    slots: &[Option<Slot>],
) -> pb::ModelInferResponse {
    let slots = slots.iter().map(Option::as_ref).chain(std::iter::repeat(None));
    let (outputs, raw_output_contents) = answer
        .outputs
        .into_iter()
        .zip(slots)
        .map(|(NamedTensor { name, tensor }, slot)| {
            let bytes = tensor.data().len();
            let output = pb::model_infer_response::InferOutputTensor {
                name,
                datatype: tensor.dtype().name().to_owned(),
                shape: extents(tensor.shape()),
                parameters: slot.map(|slot| parameters::placed(slot, bytes)).unwrap_or_default(),
                ..Default::default()
            };
            (output, if slot.is_some() { Bytes::new() } else { tensor.into_data() })
        })
        .unzip();
    pb::ModelInferResponse {
        model_name: model.name.to_string(),
        model_version: model.version.to_string(),
        id,
        outputs,
        raw_output_contents,
        ..Default::default()
    }
}

fn extents(shape: &Shape) -> Vec<i64> {
    // A tensor that fits into memory has no extent beyond i64.
    shape.iter().map(|&extent| i64::try_from(extent).unwrap_or(i64::MAX)).collect()
}

/// What a model takes and gives, and in which versions.
pub fn metadata(view: &ModelView) -> pb::ModelMetadataResponse {
    let target = &view.target;
    pb::ModelMetadataResponse {
        name: target.id().name.to_string(),
        versions: view.versions.iter().map(ToString::to_string).collect(),
        platform: target.platform().to_owned(),
        inputs: target.signature().inputs.iter().map(tensor_metadata).collect(),
        outputs: target.signature().outputs.iter().map(tensor_metadata).collect(),
        ..Default::default()
    }
}

fn tensor_metadata(spec: &TensorSpec) -> pb::model_metadata_response::TensorMetadata {
    pb::model_metadata_response::TensorMetadata {
        name: spec.name.clone(),
        datatype: spec.dtype.name().to_owned(),
        shape: spec.wire_dims().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::Timings;
    use crate::model::{ModelName, Version};
    use crate::server::parameters::TENSORS_MAX;
    use crate::server::shared_memory::Regions;
    use pb::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
    use proptest::prelude::*;
    use prost::Message;

    /// A server without shared memory.
    fn request(model: &str, message: pb::ModelInferRequest) -> Result<InferRequest> {
        super::request(model, message, Regions::new(false).access(0)).map(|read| read.request)
    }

    fn input_of(name: &str, datatype: &str, shape: &[i64]) -> InferInputTensor {
        InferInputTensor {
            name: name.into(),
            datatype: datatype.into(),
            shape: shape.to_vec(),
            ..Default::default()
        }
    }

    fn raw(inputs: Vec<InferInputTensor>, raw: &[&'static [u8]]) -> pb::ModelInferRequest {
        let raw_input_contents = raw.iter().map(|bytes| Bytes::from_static(bytes)).collect();
        pb::ModelInferRequest { inputs, raw_input_contents, ..Default::default() }
    }

    fn typed(mut input: InferInputTensor) -> InferInputTensor {
        let contents = pb::InferTensorContents { int_contents: vec![1], ..Default::default() };
        input.contents = Some(contents);
        input
    }

    #[test]
    fn raw_entries_belong_to_the_inputs_in_order() {
        let inputs = vec![input_of("a", "UINT8", &[2]), input_of("b", "INT8", &[1])];
        let decoded = request("m", raw(inputs, &[&[1, 2], &[3]])).unwrap();
        assert_eq!(decoded.inputs[0].name, "a");
        assert_eq!(decoded.inputs[1].tensor.data()[..], [3]);
        assert!(decoded.outputs.is_empty());
    }

    #[test]
    fn every_broken_request_is_named() {
        let refused = |message: pb::ModelInferRequest, part: &str| {
            let error = request("m", message).unwrap_err();
            assert_eq!(error.kind(), crate::error::ErrorKind::InvalidInput);
            assert!(error.message().contains(part), "{error}");
        };
        let a = || input_of("a", "UINT8", &[1]);
        refused(raw(vec![a()], &[]), "unable to find data for input tensor 'a' for model 'm'");
        refused(raw(vec![a(), input_of("b", "INT8", &[1])], &[&[1]]), "input tensor 'b'");
        refused(raw(vec![a()], &[&[1], &[2]]), "expected 1 entries in raw_input_contents");
        refused(raw(vec![typed(a())], &[&[1]]), "must not be specified when using raw_input");
        refused(raw(vec![a()], &[&[1, 2]]), "takes 1 bytes, got 2");
        refused(raw(vec![input_of("a\n", "fp32", &[1])], &[&[1]]), "'a\\n' has unknown datatype");
        refused(raw(vec![input_of("a", "UINT8", &[-1])], &[&[1]]), "negative dimension");
        refused(raw(vec![input_of("a", "UINT8", &[1 << 62, 4])], &[&[1]]), "more elements");
        let many = vec![a(); TENSORS_MAX + 1];
        refused(raw(many, &[]), "names 4097 inputs");
        let outputs = vec![InferRequestedOutputTensor::default(); TENSORS_MAX + 1];
        refused(pb::ModelInferRequest { outputs, ..Default::default() }, "names 4097 outputs");
    }

    #[test]
    fn an_answer_is_raw_and_names_its_version() {
        let shape = Shape::new([1, 2]);
        let tensor = Tensor::new("y", DType::U8, shape, Bytes::from_static(&[7, 8])).unwrap();
        let outputs = vec![NamedTensor { name: "y".into(), tensor }];
        let id =
            ModelId { name: ModelName::new("m").unwrap(), version: Version::parse("3").unwrap() };
        let answer = InferResponse { outputs, timings: Timings::default() };
        let message = response(&id, "r".into(), answer, &[]);
        assert_eq!((message.model_name.as_str(), message.model_version.as_str()), ("m", "3"));
        assert_eq!(message.id, "r");
        assert_eq!(message.outputs[0].datatype, "UINT8");
        assert_eq!(message.outputs[0].shape, [1, 2]);
        assert_eq!(message.outputs[0].contents, None);
        assert_eq!(message.raw_output_contents, [Bytes::from_static(&[7, 8])]);
    }

    fn any_input() -> impl Strategy<Value = InferInputTensor> {
        let names = DType::ALL.map(DType::name).to_vec();
        let datatype = prop_oneof![9 => proptest::sample::select(names).prop_map(str::to_owned),
            1 => any::<String>()];
        let extent = prop_oneof![8 => 0i64..4, 1 => any::<i64>()];
        let contents = proptest::option::of((
            proptest::collection::vec(any::<i32>(), 0..4),
            proptest::collection::vec(any::<u32>(), 0..2),
            proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..4), 0..3),
        ));
        let shape = proptest::collection::vec(extent, 0..4);
        (any::<String>(), datatype, shape, contents).prop_map(
            |(name, datatype, shape, contents)| {
                let contents = contents.map(|(ints, uints, words)| pb::InferTensorContents {
                    int_contents: ints,
                    uint_contents: uints,
                    bytes_contents: words.into_iter().map(Bytes::from).collect(),
                    ..Default::default()
                });
                InferInputTensor { name, datatype, shape, contents, ..Default::default() }
            },
        )
    }

    proptest! {
        #[test]
        fn any_message_is_decoded_or_refused(
            inputs in proptest::collection::vec(any_input(), 0..4),
            raw in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..4)) {
            let names: Vec<String> = inputs.iter().map(|input| input.name.clone()).collect();
            let raw_input_contents = raw.into_iter().map(Bytes::from).collect();
            let rest = pb::ModelInferRequest::default();
            let message = pb::ModelInferRequest { inputs, raw_input_contents, ..rest };
            match request("m", message) {
                Ok(decoded) => prop_assert_eq!(decoded.inputs.len(), names.len()),
                Err(error) => prop_assert!(error.message().chars().count() < 600),
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(data in proptest::collection::vec(any::<u8>(), 0..256)) {
            if let Ok(message) = pb::ModelInferRequest::decode(&data[..]) {
                let _ = request("m", message);
            }
        }

        #[test]
        fn what_was_sent_raw_is_what_arrives(
            rows in proptest::collection::vec(any::<[u8; 8]>(), 0..6),
            dtype in proptest::sample::select(
                vec![DType::U64, DType::I64, DType::F64, DType::U8, DType::F16])) {
            let size = dtype.size().unwrap();
            let data: Vec<u8> = rows.iter().flat_map(|row| row[..size].to_vec()).collect();
            let extent = i64::try_from(rows.len()).unwrap();
            let message = pb::ModelInferRequest {
                inputs: vec![input_of("x", dtype.name(), &[extent])],
                raw_input_contents: vec![data.clone().into()],
                ..Default::default()
            };
            let wire = Bytes::from(message.encode_to_vec());
            let decoded = request("m", pb::ModelInferRequest::decode(wire).unwrap()).unwrap();
            prop_assert_eq!(&decoded.inputs[0].tensor.data()[..], &data[..]);
        }
    }
}
