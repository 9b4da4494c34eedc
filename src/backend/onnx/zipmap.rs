//! scikit-learn's exporters end a classifier with `ZipMap`: a list of maps from class to
//! probability in place of a tensor. [`unpack`] takes it out of the file: the output becomes the
//! tensor of probabilities that the node was given, and the classes become its labels.
//!
//! Numbers of fields are those of onnx.proto. What is not changed is copied as it stands.

use bytes::Bytes;

use super::{Value, field};
use crate::error::Result;

/// A model's output and the names of its entries.
pub type Classes = Vec<(String, Vec<String>)>;

/// Fields of a model, a graph, a node and an attribute.
const GRAPH: u64 = 7;
const NODE: u64 = 1;
const GRAPH_OUTPUT: u64 = 12;
const NODE_INPUT: u64 = 1;
const NODE_OUTPUT: u64 = 2;
const NODE_OPERATOR: u64 = 4;
const NODE_ATTRIBUTE: u64 = 5;
const ATTRIBUTE_NAME: u64 = 1;
const ATTRIBUTE_INTS: u64 = 8;
const ATTRIBUTE_STRINGS: u64 = 9;

/// The file without `ZipMap`, and what the classes of its outputs are called. A file without one
/// comes back as it is.
pub fn unpack(engine: &str, file: &Bytes) -> Result<(Bytes, Classes)> {
    rewrite(file).map_or_else(
        || Err(super::malformed(engine)),
        |rewritten| Ok(rewritten.unwrap_or_else(|| (file.clone(), Vec::new()))),
    )
}

/// `None` for bytes that are no model; `Some(None)` where nothing is to be done.
fn rewrite(file: &[u8]) -> Option<Option<(Bytes, Classes)>> {
    let mut maps = Vec::new();
    for (number, value, _) in fields(file)? {
        if let (GRAPH, Value::Bytes(graph)) = (number, value) {
            for (number, value, _) in fields(graph)? {
                if let (NODE, Value::Bytes(node)) = (number, value) {
                    maps.extend(ZipMap::read(node)?);
                }
            }
        }
    }
    if maps.is_empty() {
        return Some(None);
    }
    let mut out = Vec::with_capacity(file.len());
    for (number, value, raw) in fields(file)? {
        match value {
            Value::Bytes(graph) if number == GRAPH => {
                message(&mut out, GRAPH, &rewrite_graph(graph, &maps)?);
            }
            _ => out.extend_from_slice(raw),
        }
    }
    let classes = maps.into_iter().map(|map| (map.output, map.classes)).collect();
    Some(Some((out.into(), classes)))
}

fn rewrite_graph(graph: &[u8], maps: &[ZipMap]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(graph.len());
    for (number, value, raw) in fields(graph)? {
        let replaced = match (number, value) {
            (NODE, Value::Bytes(node)) => ZipMap::read(node)?.map(|map| map.identity()),
            (GRAPH_OUTPUT, Value::Bytes(output)) => {
                let name = text(output, 1)?;
                maps.iter().find(|map| map.output == name).map(ZipMap::tensor)
            }
            _ => None,
        };
        match replaced {
            Some(replaced) => message(&mut out, number, &replaced),
            None => out.extend_from_slice(raw),
        }
    }
    Some(out)
}

/// One `ZipMap` node.
struct ZipMap {
    input: String,
    output: String,
    classes: Vec<String>,
}

impl ZipMap {
    /// `Some(None)` for another operator.
    fn read(node: &[u8]) -> Option<Option<Self>> {
        if text(node, NODE_OPERATOR)? != "ZipMap" {
            return Some(None);
        }
        let mut classes = Vec::new();
        for (number, value, _) in fields(node)? {
            let (NODE_ATTRIBUTE, Value::Bytes(attribute)) = (number, value) else { continue };
            let name = text(attribute, ATTRIBUTE_NAME)?;
            for (number, value, _) in fields(attribute)? {
                match (name.as_str(), number, value) {
                    ("classlabels_strings", ATTRIBUTE_STRINGS, Value::Bytes(class)) => {
                        classes.push(String::from_utf8_lossy(class).into_owned());
                    }
                    ("classlabels_int64s", ATTRIBUTE_INTS, Value::Number(class)) => {
                        classes.push(class.cast_signed().to_string());
                    }
                    ("classlabels_int64s", ATTRIBUTE_INTS, Value::Bytes(mut packed)) => {
                        while !packed.is_empty() {
                            let class;
                            (class, packed) = super::varint(packed)?;
                            classes.push(class.cast_signed().to_string());
                        }
                    }
                    _ => {}
                }
            }
        }
        Some(Some(Self {
            input: text(node, NODE_INPUT)?,
            output: text(node, NODE_OUTPUT)?,
            classes,
        }))
    }

    /// The node that hands the probabilities on as they are.
    fn identity(&self) -> Vec<u8> {
        let mut node = Vec::new();
        message(&mut node, NODE_INPUT, self.input.as_bytes());
        message(&mut node, NODE_OUTPUT, self.output.as_bytes());
        message(&mut node, NODE_OPERATOR, b"Identity");
        node
    }

    /// The output as FP32 `[-1, classes]`.
    fn tensor(&self) -> Vec<u8> {
        let (mut shape, mut columns) = (Vec::new(), vec![1 << 3]);
        write_varint(&mut columns, self.classes.len() as u64);
        message(&mut shape, 1, &[]);
        message(&mut shape, 1, &columns);
        // FLOAT is element type 1.
        let mut tensor = vec![1 << 3, 1];
        message(&mut tensor, 2, &shape);
        let (mut kind, mut output) = (Vec::new(), Vec::new());
        message(&mut kind, 1, &tensor);
        message(&mut output, 1, self.output.as_bytes());
        message(&mut output, 2, &kind);
        output
    }
}

/// The fields of a message with their raw bytes.
fn fields(mut bytes: &[u8]) -> Option<Vec<(u64, Value<'_>, &[u8])>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (number, value, rest) = field(bytes)?;
        found.push((number, value, &bytes[..bytes.len() - rest.len()]));
        bytes = rest;
    }
    Some(found)
}

/// The first text in a field; empty where there is none.
fn text(message: &[u8], wanted: u64) -> Option<String> {
    let found = fields(message)?.into_iter().find_map(|(number, value, _)| match value {
        Value::Bytes(text) if number == wanted => Some(String::from_utf8_lossy(text).into_owned()),
        _ => None,
    });
    Some(found.unwrap_or_default())
}

fn message(out: &mut Vec<u8>, number: u64, inner: &[u8]) {
    write_varint(out, number << 3 | 2);
    write_varint(out, inner.len() as u64);
    out.extend_from_slice(inner);
}

fn write_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with(parts: &[(u64, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        parts.iter().for_each(|(number, inner)| message(&mut out, *number, inner));
        out
    }

    #[test]
    fn a_map_becomes_the_tensor_it_was_made_of() {
        let attribute = with(&[(1, b"classlabels_strings"), (9, b"benign"), (9, b"malignant")]);
        let node = with(&[(1, b"p"), (2, b"probability"), (4, b"ZipMap"), (5, &attribute)]);
        let other = with(&[(1, b"x"), (2, b"p"), (4, b"Softmax")]);
        let output = with(&[(1, b"probability"), (2, b"a sequence of maps")]);
        let graph = with(&[(1, &other), (1, &node), (12, &output)]);
        let file = Bytes::from(with(&[(2, b"producer"), (7, &graph)]));
        let (unpacked, classes) = unpack("x", &file).unwrap();
        let names = ["benign", "malignant"].map(str::to_owned).to_vec();
        assert_eq!(classes, [("probability".to_owned(), names)]);
        let map = ZipMap::read(&node).unwrap().unwrap();
        let (identity, tensor) = (map.identity(), map.tensor());
        let graph = with(&[(1, &other), (1, &identity), (12, &tensor)]);
        assert_eq!(unpacked, with(&[(2, b"producer"), (7, &graph)]));

        let numbers =
            [&with(&[(1, b"classlabels_int64s")])[..], &[8 << 3, 3, 8 << 3 | 2, 1, 4]].concat();
        let node = with(&[(1, b"p"), (2, b"o"), (4, b"ZipMap"), (5, &numbers)]);
        assert_eq!(ZipMap::read(&node).unwrap().unwrap().classes, ["3", "4"]);
    }

    #[test]
    fn a_file_without_one_stays_as_it_is() {
        let file = Bytes::from(with(&[(7, &with(&[(1, &with(&[(4, b"Softmax")]))]))]));
        let (same, classes) = unpack("x", &file).unwrap();
        assert!(classes.is_empty() && same.as_ptr() == file.as_ptr());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = unpack("x", &bytes.into());
        }
    }
}
