//! What tract's importer reads past: attributes that it does not look at, so that it would compute
//! something else than the model says. A wrong answer is worse than none: such a model is refused.
//!
//! Found by running the ONNX project's own tests (tests/e2e/test_onnx_suite.py) against tract 0.23;
//! where a later tract reads one of these, its line goes.
//!
//! What this file must not know: shapes, types, and how anything is computed.

use tract_onnx::pb::{AttributeProto, NodeProto};

/// The values of an attribute that stand for what tract computes without it.
enum Fits {
    Word(&'static [&'static str]),
    /// Names in this order, once for each direction.
    Words(&'static [&'static str]),
    Int(i64),
    Float(f32),
    Nothing,
}

use Fits::{Float, Int, Nothing, Word, Words};

const RECURRENT: &[&str] = &["LSTM", "GRU", "RNN"];

const UNREAD: &[(&[&str], &str, Fits)] = &[
    (RECURRENT, "direction", Word(&["forward", "bidirectional"])),
    (RECURRENT, "clip", Nothing),
    (&["LSTM"], "activations", Words(&["Sigmoid", "Tanh", "Tanh"])),
    (&["GRU"], "activations", Words(&["Sigmoid", "Tanh"])),
    (&["RNN"], "activations", Words(&["Tanh"])),
    (&["LSTM"], "input_forget", Int(0)),
    (&["Celu"], "alpha", Float(1.0)),
    (&["SpaceToDepth"], "mode", Word(&["DCR"])),
    (&["Attention"], "left_window_size", Int(-1)),
    (&["Attention"], "right_window_size", Int(-1)),
];

/// Where an attention's earlier keys come in.
const PAST_KEY: usize = 4;

/// The attribute of a node that tract would not do justice to, if there is one.
pub fn unread(node: &NodeProto) -> Option<&str> {
    let op = node.op_type.as_str();
    let misread = node.attribute.iter().find(|attribute| {
        UNREAD.iter().any(|(ops, name, fits)| {
            ops.contains(&op) && attribute.name == *name && !fits.hold(attribute)
        })
    });
    misread.map(|attribute| attribute.name.as_str()).or_else(|| combination(node))
}

/// Attributes that tract does read, but not together with others.
fn combination(node: &NodeProto) -> Option<&str> {
    let find = |name: &str| node.attribute.iter().find(|attribute| attribute.name == name);
    let is_set = |name: &str| find(name).is_some_and(|attribute| attribute.i != 0);
    match node.op_type.as_str() {
        "Attention" if is_set("is_causal") => {
            let past = node.input.get(PAST_KEY).is_some_and(|name| !name.is_empty());
            past.then_some("is_causal")
        }
        op if RECURRENT.contains(&op) && is_set("layout") => {
            find("direction").is_some_and(|way| way.s == b"bidirectional").then_some("layout")
        }
        _ => None,
    }
}

impl Fits {
    fn hold(&self, attribute: &AttributeProto) -> bool {
        let is = |word: &str, bytes: &[u8]| word.as_bytes().eq_ignore_ascii_case(bytes);
        match self {
            Word(words) => words.iter().any(|word| is(word, &attribute.s)),
            Words(words) => {
                let pairs = attribute.strings.iter().zip(words.iter().cycle());
                attribute.strings.len().is_multiple_of(words.len())
                    && pairs.into_iter().all(|(given, word)| is(word, given))
            }
            Int(value) => attribute.i == *value,
            Float(value) => attribute.f.to_bits() == value.to_bits(),
            Nothing => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(op: &str, attributes: &[AttributeProto]) -> NodeProto {
        NodeProto { op_type: op.to_owned(), attribute: attributes.to_vec(), ..NodeProto::default() }
    }

    fn word(name: &str, word: &str) -> AttributeProto {
        AttributeProto { name: name.into(), s: word.into(), ..AttributeProto::default() }
    }

    fn words(words: &[&str]) -> AttributeProto {
        let strings = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        AttributeProto { name: "activations".into(), strings, ..AttributeProto::default() }
    }

    fn int(name: &str, i: i64) -> AttributeProto {
        AttributeProto { name: name.into(), i, ..AttributeProto::default() }
    }

    fn float(name: &str, f: f32) -> AttributeProto {
        AttributeProto { name: name.into(), f, ..AttributeProto::default() }
    }

    #[test]
    fn what_tract_computes_anyway_is_taken() {
        for (op, attributes) in [
            ("LSTM", vec![word("direction", "bidirectional"), int("hidden_size", 3)]),
            ("LSTM", vec![words(&["Sigmoid", "Tanh", "Tanh", "sigmoid", "tanh", "tanh"])]),
            ("GRU", vec![word("direction", "forward"), int("layout", 1)]),
            ("GRU", vec![int("linear_before_reset", 1), words(&["Sigmoid", "Tanh"])]),
            ("RNN", vec![words(&["Tanh"])]),
            ("Celu", vec![float("alpha", 1.0)]),
            ("Elu", vec![float("alpha", 2.0)]),
            ("SpaceToDepth", vec![word("mode", "DCR")]),
            ("DepthToSpace", vec![word("mode", "CRD")]),
            ("Attention", vec![int("is_causal", 1), int("left_window_size", -1)]),
        ] {
            assert_eq!(unread(&node(op, &attributes)), None, "{op} {attributes:?}");
        }
    }

    #[test]
    fn what_it_would_read_past_is_named() {
        for (op, attributes) in [
            ("LSTM", vec![word("direction", "reverse")]),
            ("GRU", vec![words(&["Sigmoid", "Relu"])]),
            ("LSTM", vec![words(&["Sigmoid", "Tanh"])]),
            ("RNN", vec![words(&["Relu"])]),
            ("RNN", vec![float("clip", 3.0)]),
            ("LSTM", vec![int("input_forget", 1)]),
            ("GRU", vec![int("layout", 1), word("direction", "bidirectional")]),
            ("Celu", vec![float("alpha", 2.0)]),
            ("SpaceToDepth", vec![word("mode", "CRD")]),
            ("Attention", vec![int("right_window_size", 2)]),
        ] {
            let node = node(op, &attributes);
            assert_eq!(unread(&node), Some(attributes[0].name.as_str()), "{op}");
        }
        let mut attention = node("Attention", &[int("is_causal", 1)]);
        attention.input = ["q", "k", "v", "", "past"].map(String::from).to_vec();
        assert_eq!(unread(&attention), Some("is_causal"));
    }
}
