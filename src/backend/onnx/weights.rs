//! The large constants of a model, taken out of its file, so that all sessions of the model can use
//! one copy of each. What is left of the file names them as data in another file, of which an
//! engine that is given the values has nothing to read.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::rope::Rope;
use super::tensor::{EXTERNAL, RAW_DATA, Tensor};
use super::{DATA_LOCATION, DEPTH_MAX, EXTERNAL_DATA, Message, Value, field, fields, text};
use crate::tensor::DType;

/// Fields of a model and of its graph.
const GRAPH: u64 = 7;
const INITIALIZER: u64 = 5;
const GRAPH_INPUT: u64 = 11;
const INPUT_NAME: u64 = 1;
const NODE_INPUT: u64 = 1;

/// A constant this large is worth sharing; smaller ones are shapes, scales and biases.
const BYTES_MIN: usize = 4096;
/// Where the file says that the data is. There is no such file.
const LOCATION: &str = "shared";

/// A constant of the model's graph.
#[derive(Debug)]
pub struct Weight {
    pub name: String,
    pub dtype: DType,
    pub dims: Vec<usize>,
    /// Little-endian and row-major, as many as type and extents ask for.
    pub data: Bytes,
}

/// The file without its large constants, and those. Anything out of the ordinary stays where it
/// is, for the engine to judge. `None` where there is nothing to take out.
pub fn take_out(file: &Bytes) -> Option<(Bytes, Vec<Weight>)> {
    let (mut out, mut weights) = (Rope::default(), Vec::new());
    for (number, value, raw) in fields(file)? {
        match value {
            Value::Bytes(graph) if number == GRAPH => {
                out.push_field(GRAPH, rewrite_graph(file, graph, &mut weights)?);
            }
            _ => out.push(file.slice_ref(raw)),
        }
    }
    let names: BTreeSet<&str> = weights.iter().map(|weight| weight.name.as_str()).collect();
    // Of two with one name, nobody knows which is meant.
    (!weights.is_empty() && names.len() == weights.len()).then(|| (out.joined(), weights))
}

fn rewrite_graph(file: &Bytes, graph: &[u8], weights: &mut Vec<Weight>) -> Option<Rope> {
    let fields = fields(graph)?;
    let mut wanted = BTreeSet::new();
    find_used(Message::Graph, graph, DEPTH_MAX, &mut wanted)?;
    for (number, value, _) in &fields {
        if let (&GRAPH_INPUT, Value::Bytes(input)) = (number, value) {
            wanted.remove(text(input, INPUT_NAME)?.as_bytes());
        }
    }
    let mut out = Rope::default();
    for (number, value, raw) in fields {
        let replaced = match (number, value) {
            (INITIALIZER, Value::Bytes(tensor)) => split(&file.slice_ref(tensor), &wanted)?,
            _ => None,
        };
        match replaced {
            Some((tensor, weight)) => {
                out.push_field(number, tensor);
                weights.push(weight);
            }
            None => out.push(file.slice_ref(raw)),
        }
    }
    Some(out)
}

/// Names that nodes take as inputs, those of subgraphs too. An engine forgets constants that nobody
/// uses as it reads the file, and then wonders what a value for one is given for.
fn find_used<'a>(
    message: Message,
    bytes: &'a [u8],
    depth: usize,
    used: &mut BTreeSet<&'a [u8]>,
) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let (number, value);
        (number, value, rest) = field(rest)?;
        let Value::Bytes(inner) = value else { continue };
        match message.field(number) {
            Some(Message::Tensor | Message::Sparse) => {}
            Some(message) => find_used(message, inner, depth, used)?,
            None if (message, number) == (Message::Node, NODE_INPUT) => {
                used.insert(inner);
            }
            None => {}
        }
    }
    Some(())
}

/// The tensor without its data, and what it holds; `Some(None)` for one that is not wanted. (A
/// constant that is an input too is a default, which callers may replace.)
fn split(bytes: &Bytes, wanted: &BTreeSet<&[u8]>) -> Option<Option<(Rope, Weight)>> {
    if bytes.len() < BYTES_MIN {
        return Some(None);
    }
    let tensor = Tensor::read(bytes, &[RAW_DATA])?;
    let weight = weight(bytes, &tensor).filter(|_| wanted.contains(tensor.name));
    Some(weight.map(|weight| {
        let mut rope = tensor.kept;
        rope.push_number(DATA_LOCATION, EXTERNAL);
        let length = weight.data.len().to_string();
        for (key, value) in [("location", LOCATION.to_owned()), ("length", length)] {
            let mut entry = Rope::default();
            entry.push_field(1, Bytes::from_static(key.as_bytes()));
            entry.push_field(2, Bytes::from(value));
            rope.push_field(EXTERNAL_DATA, entry);
        }
        (rope, weight)
    }))
}

fn weight(bytes: &Bytes, tensor: &Tensor<'_>) -> Option<Weight> {
    let dtype = dtype(tensor.data_type)?;
    let dims = tensor.dims.iter().map(|dim| usize::try_from(*dim).ok());
    let dims = dims.collect::<Option<Vec<usize>>>()?;
    let count = dims.iter().try_fold(1usize, |product, dim| product.checked_mul(*dim))?;
    let length = count.checked_mul(dtype.size()?)?;
    let name = str::from_utf8(tensor.name).ok()?;
    let is_plain = !tensor.is_elsewhere() && !name.is_empty() && !name.contains('\0');
    (is_plain && length >= BYTES_MIN && tensor.raw.len() == length).then(|| Weight {
        name: name.to_owned(),
        dtype,
        dims,
        data: bytes.slice_ref(tensor.raw),
    })
}

/// The types that weights have, by their numbers in onnx.proto.
fn dtype(data_type: u64) -> Option<DType> {
    Some(match data_type {
        1 => DType::F32,
        2 => DType::U8,
        3 => DType::I8,
        10 => DType::F16,
        11 => DType::F64,
        16 => DType::BF16,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(number: u64, inner: &[u8]) -> Vec<u8> {
        let mut rope = Rope::default();
        rope.push_field(number, Bytes::copy_from_slice(inner));
        rope.joined().to_vec()
    }

    /// A tensor of `count` numbers of type `data_type`, with so many bytes.
    fn tensor(name: &str, data_type: u64, count: u64, bytes: usize) -> Vec<u8> {
        let mut rope = Rope::default();
        rope.push_number(1, count);
        rope.push_number(2, data_type);
        rope.push_field(8, Bytes::copy_from_slice(name.as_bytes()));
        rope.push_field(RAW_DATA, Bytes::from(vec![7; bytes]));
        rope.joined().to_vec()
    }

    /// Of these constants, with a node that uses `large` and a subgraph that uses the others.
    fn model(tensors: &[Vec<u8>], inputs: &[&str]) -> Bytes {
        let node = message(1, &message(1, b"large"));
        let branch = message(1, &[message(1, b"w"), message(1, b"half")].concat());
        let subgraph = message(1, &message(5, &message(6, &branch)));
        let tensors = tensors.iter().flat_map(|tensor| message(INITIALIZER, tensor));
        let inputs =
            inputs.iter().flat_map(|name| message(GRAPH_INPUT, &message(1, name.as_bytes())));
        let graph = [node, subgraph, tensors.collect(), inputs.collect()].concat();
        message(GRAPH, &graph).into()
    }

    #[test]
    fn what_is_large_goes_out_and_the_rest_stays() {
        let (small, large) = (tensor("small", 1, 4, 16), tensor("large", 1, 2048, 8192));
        let file = model(&[small.clone(), large, tensor("half", 10, 2048, 4096)], &["x"]);
        let (rest, weights) = take_out(&file).unwrap();
        let of = |weight: &Weight| (weight.name.clone(), weight.dtype, weight.dims.clone());
        assert_eq!(of(&weights[0]), ("large".to_owned(), DType::F32, vec![2048]));
        assert_eq!(of(&weights[1]), ("half".to_owned(), DType::F16, vec![2048]));
        assert!(weights[0].data.iter().all(|byte| *byte == 7) && weights[0].data.len() == 8192);
        assert!(rest.len() < 256, "{}", rest.len());
        assert!(rest.windows(small.len()).any(|window| window == small));
        // An engine that were not given the values would have to look for a file.
        assert!(crate::backend::onnx::stands_alone("x", &rest).is_err());
    }

    #[test]
    fn what_is_out_of_the_ordinary_stays() {
        let large = || tensor("w", 1, 2048, 8192);
        for (what, file) in [
            ("nothing large", model(&[tensor("w", 1, 4, 16)], &[])),
            ("an input with a default", model(&[large()], &["w"])),
            ("data of another length", model(&[tensor("w", 1, 2048, 8188)], &[])),
            ("text", model(&[tensor("w", 8, 2048, 8192)], &[])),
            ("one that nobody uses", model(&[tensor("nobody", 1, 2048, 8192)], &[])),
            ("no name", model(&[tensor("", 1, 2048, 8192)], &[])),
            ("two of one name", model(&[large(), large()], &[])),
            ("data elsewhere", model(&[[large(), vec![14 << 3, 1]].concat()], &[])),
            ("an endless shape", model(&[tensor("w", 1, u64::MAX, 8192)], &[])),
            ("no model", Bytes::from_static(&[0xff; 64])),
        ] {
            assert!(take_out(&file).is_none(), "{what}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = take_out(&bytes.into());
        }
    }
}
