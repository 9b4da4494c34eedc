//! What must hold of an ONNX file before an engine sees it: that its bytes are all of the model. An
//! engine would follow a tensor to another file, found from wherever the server was started, and
//! nobody has verified that one. [`gather()`] takes such files in; [`stands_alone`] has the last
//! word.
//!
//! The protobuf wire format is walked by a table of the messages on the way to tensors; nothing is
//! copied. What this file must not know: graphs, operators, and the engines.

mod gather;
mod rope;
mod tensor;
mod weights;
mod zipmap;

pub use gather::gather;
pub use weights::{Weight, take_out};
pub use zipmap::{Classes, unpack};

use crate::error::{Error, Result, quoted};

/// The usual name of a model file.
pub const FILE: &str = "model.onnx";

/// As deep as protobuf's own readers go.
const DEPTH_MAX: usize = 100;

/// Refuses a model with a tensor whose data is elsewhere.
pub fn stands_alone(engine: &str, file: &[u8]) -> Result<()> {
    match find_elsewhere(Message::Model, file, DEPTH_MAX) {
        Some(None) => Ok(()),
        Some(Some(name)) => Err(Error::unsupported(format!(
            "{engine} can not load the model: the data of tensor '{}' is in another file; save the \
             model in one file",
            quoted(&name)
        ))),
        None => Err(malformed(engine)),
    }
}

fn malformed(engine: &str) -> Error {
    super::load_error(engine, "it is not an ONNX file, or not a whole one")
}

/// Messages that hold tensors, or others that do.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Message {
    Model,
    Training,
    Function,
    Graph,
    Node,
    Attribute,
    Sparse,
    Tensor,
}

impl Message {
    /// The message in a field, by its number in onnx.proto.
    fn field(self, number: u64) -> Option<Message> {
        use Message::{Attribute, Function, Graph, Model, Node, Sparse, Tensor, Training};
        Some(match (self, number) {
            (Model, 7) => Graph,
            (Model, 20) => Training,
            (Model, 25) => Function,
            (Training, 1 | 2) => Graph,
            (Function, 7) => Node,
            (Function, 11) => Attribute,
            (Graph, 1) => Node,
            (Graph, 5) => Tensor,
            (Graph, 15) => Sparse,
            (Node, 5) => Attribute,
            (Attribute, 5 | 10) => Tensor,
            (Attribute, 6 | 11) => Graph,
            (Attribute, 22 | 23) => Sparse,
            (Sparse, 1 | 2) => Tensor,
            _ => return None,
        })
    }
}

/// Fields of a tensor.
const NAME: u64 = 8;
const EXTERNAL_DATA: u64 = 13;
const DATA_LOCATION: u64 = 14;

/// The name of the first tensor whose data is elsewhere; `None` for bytes that are no such message.
fn find_elsewhere(message: Message, bytes: &[u8], depth: usize) -> Option<Option<String>> {
    let depth = depth.checked_sub(1)?;
    let (mut rest, mut elsewhere, mut name) = (bytes, false, &[][..]);
    while !rest.is_empty() {
        let (number, value);
        (number, value, rest) = field(rest)?;
        match value {
            Value::Number(location) => {
                elsewhere |= (message, number) == (Message::Tensor, DATA_LOCATION) && location != 0;
            }
            Value::Bytes(inner) => {
                if let Some(message) = message.field(number)
                    && let Some(found) = find_elsewhere(message, inner, depth)?
                {
                    return Some(Some(found));
                }
                if message == Message::Tensor && number == NAME {
                    name = inner;
                }
                elsewhere |= (message, number) == (Message::Tensor, EXTERNAL_DATA);
            }
        }
    }
    Some(elsewhere.then(|| String::from_utf8_lossy(name).into_owned()))
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// One field, and what comes after it. Groups are older than ONNX; no file has them.
fn field(bytes: &[u8]) -> Option<(u64, Value<'_>, &[u8])> {
    let (tag, rest) = varint(bytes)?;
    // Beyond 32 bits readers differ in which field they see.
    let tag = u64::from(u32::try_from(tag).ok()?);
    let (value, rest) = match tag & 7 {
        0 => {
            let (number, rest) = varint(rest)?;
            (Value::Number(number), rest)
        }
        1 => (Value::Number(0), rest.get(8..)?),
        2 => {
            let (length, rest) = varint(rest)?;
            let (inner, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            (Value::Bytes(inner), rest)
        }
        5 => (Value::Number(0), rest.get(4..)?),
        _ => return None,
    };
    Some((tag >> 3, value, rest))
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

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    const BYTES_MAX: usize = 10;
    let mut number = 0u64;
    for (place, byte) in bytes.iter().enumerate().take(BYTES_MAX) {
        number |= u64::from(byte & 0x7f).wrapping_shl(7 * u32::try_from(place).ok()?);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[place + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(number: u8, inner: &[u8]) -> Vec<u8> {
        let length = u16::try_from(inner.len()).unwrap();
        let [low, high] = [length & 0x7f, length >> 7].map(|bits| u8::try_from(bits).unwrap());
        [&[number << 3 | 2, low | 0x80, high], inner].concat()
    }

    /// A tensor `w` in an attribute of a node of a graph in an attribute of a node of the model.
    fn model(tensor: &[u8]) -> Vec<u8> {
        let tensor = [message(8, b"w"), tensor.to_vec()].concat();
        let inner = message(6, &message(1, &message(5, &message(5, &tensor))));
        message(7, &message(1, &message(5, &inner)))
    }

    #[test]
    fn data_elsewhere_is_found_however_deep() {
        assert!(stands_alone("x", &model(&message(9, &[0; 4]))).is_ok());
        for elsewhere in [&[14 << 3, 1][..], &message(13, &message(1, b"location"))] {
            let error = stands_alone("x", &model(elsewhere)).unwrap_err();
            assert!(error.message().contains("'w' is in another file"), "{error}");
        }
        // In the data of a tensor the same bytes mean nothing.
        assert!(stands_alone("x", &model(&message(9, &model(&[14 << 3, 1])))).is_ok());
    }

    #[test]
    fn what_is_cut_short_or_endless_is_no_model() {
        let whole = model(&[]);
        for end in 1..whole.len() {
            assert!(stands_alone("x", &whole[..end]).is_err(), "the first {end} bytes");
        }
        assert!(stands_alone("x", &[0xff; 64]).is_err());
        // Field 14 with a bit beyond the 32 of a tag, which some readers cut off.
        let tag = 1u64 << 32 | 14 << 3;
        let bytes =
            (0..5).map(|place| (tag >> (7 * place)) as u8 & 0x7f | (u8::from(place < 4) << 7));
        assert!(stands_alone("x", &model(&bytes.chain([1]).collect::<Vec<_>>())).is_err());
        let nest = |depth| {
            (0..depth).fold(Vec::new(), |inner, _| message(6, &message(1, &message(5, &inner))))
        };
        let model = |depth| message(7, &message(1, &message(5, &nest(depth))));
        assert!(stands_alone("x", &model(20)).is_ok());
        assert!(stands_alone("x", &model(40)).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = stands_alone("x", &bytes);
        }
    }
}
