//! Hand-made models, hostile and good: what `gather` makes of them.

use super::*;
use crate::backend::onnx::{NAME, stands_alone};
use proptest::prelude::*;

const FILE: &[u8] = &[9, 9, 9, 9, 1, 2, 3, 4, 5, 6, 7, 8];

fn message(number: u64, inner: &[u8]) -> Vec<u8> {
    let mut rope = Rope::default();
    let mut whole = Rope::default();
    whole.push(Bytes::copy_from_slice(inner));
    rope.push_field(number, whole);
    rope.joined().to_vec()
}

fn entry(key: &str, value: &str) -> Vec<u8> {
    message(EXTERNAL_DATA, &[message(1, key.as_bytes()), message(2, value.as_bytes())].concat())
}

/// `w`, two floats.
fn head() -> Vec<u8> {
    [&[8, 2, 16, 1][..], &message(NAME, b"w")].concat()
}

fn elsewhere(entries: &[(&str, &str)]) -> Vec<u8> {
    let entries = entries.iter().map(|(key, value)| entry(key, value));
    [head(), entries.collect::<Vec<_>>().concat(), vec![14 << 3, 1]].concat()
}

/// A tensor everywhere that a model can hold one: an initializer, both parts of a sparse one, the
/// attributes of a node in a subgraph, those of a function, and a training graph.
fn model(tensor: &[u8]) -> Vec<u8> {
    let sparse = [message(1, tensor), message(2, tensor)].concat();
    let attribute = [message(5, tensor), message(10, tensor), message(22, &sparse)].concat();
    let node = message(5, &attribute);
    let inner = [message(5, tensor), message(15, &sparse), message(1, &node)].concat();
    let subgraph = message(1, &message(5, &message(6, &inner)));
    let graph = [message(2, b"graph"), inner, subgraph].concat();
    let function = message(25, &[message(7, &node), message(11, &attribute)].concat());
    let training = message(20, &message(1, &graph));
    [vec![8, 10], message(7, &graph), function, training].concat()
}

const TENSORS: u64 = 7 * 2 + 7 * 2 + 8;

fn gathered(model: Vec<u8>, bytes_max: u64) -> Result<Bytes> {
    let mut read = |name: &str, _| match name {
        "w.bin" | "sub/w.bin" => Ok(Bytes::from_static(FILE)),
        _ => Err(Error::invalid("no such file")),
    };
    gather("x", model.into(), bytes_max, &mut read)
}

#[test]
fn data_is_taken_in_wherever_a_tensor_can_be() {
    let raw = [head(), message(RAW_DATA, &FILE[4..])].concat();
    for entries in [
        &[("location", "w.bin"), ("offset", "4"), ("length", "8")][..],
        &[("location", "sub/w.bin"), ("offset", "4"), ("checksum", "x")],
    ] {
        let whole = gathered(model(&elsewhere(entries)), 1 << 20).unwrap();
        assert_eq!(whole, model(&raw));
        assert!(stands_alone("x", &whole).is_ok());
    }
}

#[test]
fn a_model_in_one_piece_is_not_copied() {
    let file = Bytes::from(model(&[head(), message(RAW_DATA, &FILE[4..])].concat()));
    let mut read = |_: &str, _| unreachable!("nothing is elsewhere");
    let whole = gather("x", file.clone(), 1 << 20, &mut read).unwrap();
    assert_eq!(whole.as_ptr(), file.as_ptr());
}

#[test]
fn what_leads_elsewhere_or_does_not_fit_is_refused() {
    let place = |location: &str, offset: &str, length: &str| {
        elsewhere(&[("location", location), ("offset", offset), ("length", length)])
    };
    let marked = |location: u8| [head(), entry("location", "w.bin"), vec![14 << 3, location]];
    for (tensor, part) in [
        (place("../w.bin", "4", "8"), "'../w.bin' is not one of the version's folder"),
        (place("sub/../../w.bin", "4", "8"), "without '..'"),
        (place("/etc/passwd", "4", "8"), "expected a relative path"),
        (place("", "4", "8"), "expected a relative path"),
        (place("..\\w.bin", "4", "8"), "expected a relative path"),
        (place("absent", "4", "8"), "no such file"),
        (place("*/_ORT_MEM_ADDR_/*", "4", "8"), "no such file"),
        (place("w.bin", "5", "8"), "offset 5 and length 8 reach beyond the 12 bytes of 'w.bin'"),
        (place("w.bin", "13", "0"), "reach beyond"),
        (elsewhere(&[("location", "w.bin"), ("offset", "99")]), "offset 99 and length none"),
        (place("w.bin", "18446744073709551615", "8"), "reach beyond"),
        (place("w.bin", "18446744073709551616", "8"), "external_data.offset is out of range"),
        (place("w.bin", "-4", "8"), "external_data.offset: expected a number of bytes"),
        (place("w.bin", "4", "7"), "it has 7 bytes, its shape asks for 8"),
        (elsewhere(&[("location", "w.bin")]), "it has 12 bytes, its shape asks for 8"),
        (elsewhere(&[("location", "w.bin"), ("location", "x")]), "two entries 'location'"),
        (elsewhere(&[("location", "w.bin"), ("prepacked_0", "x")]), "unknown key 'prepacked_0'"),
        (elsewhere(&[]), "not one of the version's folder"),
        ([head(), entry("location", "w.bin")].concat(), "is not marked as external"),
        (marked(2).concat(), "is not marked as external"),
        ([place("w.bin", "4", "8"), message(RAW_DATA, &[0; 8])].concat(), "data of its own"),
        ([place("w.bin", "4", "8"), vec![4 << 3 | 5, 0, 0, 0, 0]].concat(), "data of its own"),
        // The last type given holds: strings.
        ([place("w.bin", "4", "8"), vec![16, 8]].concat(), "strings can not"),
        // Extents: one more of 2^62.
        (
            [
                place("w.bin", "4", "8"),
                vec![8, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40],
            ]
            .concat(),
            "its shape is too large",
        ),
    ] {
        let error = gathered(model(&tensor), 1 << 20).unwrap_err();
        assert!(error.message().contains(part), "{part}: {error}");
        assert!(error.message().starts_with("the data of tensor 'w' can not be read"), "{error}");
    }
}

#[test]
fn one_range_named_often_counts_every_time() {
    let model = model(&elsewhere(&[("location", "w.bin"), ("offset", "4")]));
    let enough = model.len() as u64 + TENSORS * 8;
    assert!(gathered(model.clone(), enough).is_ok());
    let error = gathered(model, enough - 1).unwrap_err();
    assert!(error.message().contains("larger than the limit"), "{error}");
}

#[test]
fn a_file_is_read_once_and_within_what_is_left() {
    let bytes = model(&elsewhere(&[("location", "w.bin"), ("offset", "4")]));
    let (mut calls, length) = (0, bytes.len() as u64);
    let mut read = |_: &str, bytes_max| {
        calls += 1;
        assert_eq!(bytes_max, (1 << 20) - length);
        Ok(Bytes::from_static(FILE))
    };
    assert!(gather("x", bytes.into(), 1 << 20, &mut read).is_ok());
    assert_eq!(calls, 1);
}

proptest! {
    /// Whatever the bytes are: no panic, and what comes out has nothing elsewhere.
    #[test]
    fn damaged_models_are_refused_or_whole(at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = model(&elsewhere(&[("location", "w.bin"), ("offset", "4")]));
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(whole) = gathered(bytes, 1 << 20) {
            prop_assert!(stands_alone("x", &whole).is_ok());
        }
    }
}
