//! scikit-learn's exporters end a classifier with `ZipMap`: a list of maps from class to
//! probability in place of a tensor. [`unpack`] takes it out of the file: the output becomes the
//! tensor of probabilities that the node was given, and the classes become its labels.
//!
//! Numbers of fields are those of onnx.proto. What is not changed is copied as it stands.

use bytes::Bytes;

use super::rope::Rope;
use super::{Value, fields, text};
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
fn rewrite(file: &Bytes) -> Option<Option<(Bytes, Classes)>> {
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
    let mut out = Rope::default();
    for (number, value, raw) in fields(file)? {
        match value {
            Value::Bytes(graph) if number == GRAPH => {
                out.push_field(GRAPH, rewrite_graph(file, graph, &maps)?);
            }
            _ => out.push(file.slice_ref(raw)),
        }
    }
    let classes = maps.into_iter().map(|map| (map.output, map.classes)).collect();
    Some(Some((out.joined(), classes)))
}

fn rewrite_graph(file: &Bytes, graph: &[u8], maps: &[ZipMap]) -> Option<Rope> {
    let mut out = Rope::default();
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
            Some(replaced) => out.push_field(number, replaced),
            None => out.push(file.slice_ref(raw)),
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
    fn identity(&self) -> Rope {
        message(&[
            (NODE_INPUT, &self.input),
            (NODE_OUTPUT, &self.output),
            (NODE_OPERATOR, "Identity"),
        ])
    }

    /// The output as FP32 `[-1, classes]`.
    fn tensor(&self) -> Rope {
        let [mut columns, mut shape, mut tensor, mut kind] =
            std::array::from_fn(|_| Rope::default());
        columns.push_number(1, self.classes.len() as u64);
        shape.push_field(1, Rope::default());
        shape.push_field(1, columns);
        // FLOAT is element type 1.
        tensor.push_number(1, 1);
        tensor.push_field(2, shape);
        kind.push_field(1, tensor);
        let mut output = message(&[(1, &self.output)]);
        output.push_field(2, kind);
        output
    }
}

/// Texts by their fields.
fn message(texts: &[(u64, &str)]) -> Rope {
    let mut message = Rope::default();
    for (number, text) in texts {
        message.push_field(*number, Bytes::copy_from_slice(text.as_bytes()));
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with(parts: &[(u64, &[u8])]) -> Vec<u8> {
        let mut out = Rope::default();
        for (number, inner) in parts {
            out.push_field(*number, Bytes::copy_from_slice(inner));
        }
        out.joined().to_vec()
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
        let (identity, tensor) = (map.identity().joined(), map.tensor().joined());
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
