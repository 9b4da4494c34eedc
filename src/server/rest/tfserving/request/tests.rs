//! Rows and columns as TensorFlow Serving documents them, and every way not to write them.

use super::*;
use crate::error::ErrorKind;
use crate::tensor::DType;
use proptest::prelude::*;

fn signature(inputs: &[(&str, DType, &[i64])]) -> Signature {
    let spec = |&(name, dtype, dims): &(&str, DType, &[i64])| TensorSpec::of(name, dtype, dims);
    Signature { inputs: inputs.iter().map(spec).collect(), outputs: Vec::new() }
}

fn one() -> Signature {
    signature(&[("x", DType::F32, &[-1, 2])])
}

fn two() -> Signature {
    signature(&[("x", DType::F32, &[-1, 2]), ("tag_bytes", DType::Bytes, &[-1])])
}

fn read(signature: &Signature, text: &str) -> Result<String> {
    let body = Bytes::copy_from_slice(text.as_bytes());
    let (format, tensors) = decode(signature, &body, NonFinite::Strings)?;
    let shown = tensors.iter().map(|NamedTensor { name, tensor }| {
        format!("{name}{} {:?}", tensor.shape(), tensor.to_f64s().unwrap_or_default())
    });
    Ok(format!("{format:?} {}", shown.collect::<Vec<_>>().join("; ")))
}

fn refused(signature: &Signature, text: &str) -> String {
    let error = read(signature, text).expect_err(text);
    assert!(!error.message().contains("SECRET"), "{error}");
    error.message().to_owned()
}

#[test]
fn one_input_needs_no_name() {
    let row = "Row x[2,2] [1.0, 2.0, 3.0, 4.0]";
    let column = "Column x[2,2] [1.0, 2.0, 3.0, 4.0]";
    for (text, expected) in [
        (r#"{"instances": [[1, 2], [3, 4]]}"#, row),
        (r#"{"instances": [{"x": [1, 2]}, {"x": [3, 4]}]}"#, row),
        (r#"{"signature_name": "serving_default", "instances": [[1, 2], [3, 4]], "a": 1}"#, row),
        (r#"{"signature_name": "", "inputs": [[1, 2], [3, 4]]}"#, column),
        (r#"{"inputs": {"x": [[1, 2], [3, 4]]}}"#, column),
        (r#"{"inputs": 7}"#, "Column x[] [7.0]"),
        (r#"{"instances": [1, "NaN"]}"#, "Row x[2] [1.0, NaN]"),
    ] {
        assert_eq!(read(&one(), text).unwrap(), expected, "{text}");
    }
}

#[test]
fn several_inputs_are_named() {
    let signature = two();
    let row = r#"{"instances": [
        {"x": [1, 2], "tag_bytes": {"b64": "/w=="}}, {"tag_bytes": "b", "x": [3, 4]}]}"#;
    assert_eq!(read(&signature, row).unwrap(), "Row x[2,2] [1.0, 2.0, 3.0, 4.0]; tag_bytes[2] []");
    let column = r#"{"inputs": {"tag_bytes": ["a"], "x": [[1, 2]]}}"#;
    assert_eq!(read(&signature, column).unwrap(), "Column tag_bytes[1] []; x[1,2] [1.0, 2.0]");
    let text = signature_of_bytes(r#"{"instances": [{"b64": "/wA="}, "b"]}"#);
    assert_eq!(text, *b"\x02\0\0\0\xff\0\x01\0\0\0b");
    let text = signature_of_bytes(r#"{"inputs": {"b64": "/wA="}}"#);
    assert_eq!(text, *b"\x02\0\0\0\xff\0");
}

fn signature_of_bytes(text: &str) -> Vec<u8> {
    let signature = signature(&[("t", DType::Bytes, &[-1])]);
    let body = Bytes::copy_from_slice(text.as_bytes());
    let (_, tensors) = decode(&signature, &body, NonFinite::Strings).unwrap();
    tensors[0].tensor.data().to_vec()
}

#[test]
fn mistakes_are_named_in_tensorflow_servings_words() {
    for (text, part) in [
        ("{}", "Missing 'inputs' or 'instances' key"),
        ("[]", "must be a JSON object, got an array"),
        (r#"{"instances": [1], "inputs": [1]}"#, "expecting only one of"),
        (r#"{"inputs": [1], "inputs": [1]}"#, "expecting only one of"),
        (r#"{"instances": "SECRET"}"#, "Expecting 'instances' to be a list/array, got a string"),
        (r#"{"instances": []}"#, "No values in 'instances' array"),
        (r#"{"instances": [[1, "SECRET"]]}"#, "instances[0][1] is no FP32: got a string"),
        (r#"{"instances": [[1, 2], [3]]}"#, "instances[1] has 1 elements, but the lists before"),
        (r#"{"instances": [[1, 2], {"x": 1}]}"#, "instances[1] is a value, but there were lists"),
        (r#"{"instances": [{"x": [1, 2]}, {"x": [3]}]}"#, "instances[1].x has 1 elements"),
        (r#"{"instances": [{"x": [1, 2]}, [3]]}"#, "Expecting object but got an array at item 1"),
        (
            r#"{"instances": [{"y": 1}]}"#,
            "element: 0 of 'instances' list. Error: JSON object: does",
        ),
        (r#"{"instances": [{"x": 1, "x": 1}]}"#, "the key 'x' stands twice"),
        (r#"{"instances": [{}]}"#, "keys must be equal to: x"),
        (r#"{"inputs": {}}"#, "Missing named input: x in 'inputs' object"),
        (r#"{"inputs": {"x": [[1e39]]}}"#, "inputs.x[0][0] is outside the range of FP32"),
        (r#"{"inputs": {"x": 1, "x": 1}}"#, "has the key 'x' twice"),
        (r#"{"inputs": {"y": 1}}"#, "does not have named input: 'y'; the model has x"),
        (r#"{"inputs": [1], "signature_name": 7}"#, "must be a string value, got a number"),
        (r#"{"inputs": [NaN]}"#, "failed to parse the request JSON"),
        (r#"{"inputs": [1]"#, "failed to parse the request JSON"),
        (r#"{"inputs": [1]} {}"#, "failed to parse the request JSON"),
        ("", "failed to parse the request JSON"),
    ] {
        let message = refused(&one(), text);
        assert!(message.contains(part), "{text}: {message}");
    }
    assert!(refused(&two(), r#"{"instances": [1]}"#).contains("required: x,tag_bytes"));
    assert!(refused(&two(), r#"{"inputs": [1]}"#).contains("expecting an object as multiple"));
    let other = read(&one(), r#"{"signature_name": "other", "inputs": [1]}"#).unwrap_err();
    assert_eq!(other.kind(), ErrorKind::NotFound);
    assert!(other.message().starts_with("Serving signature name: \"other\" not found"), "{other}");
}

#[test]
fn bare_tokens_follow_the_doors_rule() {
    let body = Bytes::from_static(br#"{"instances": [[NaN, -Infinity]]}"#);
    let (_, tensors) = decode(&one(), &body, NonFinite::Tokens).unwrap();
    assert_eq!(tensors[0].tensor.to_f64s().unwrap()[1], f64::NEG_INFINITY);
}

proptest! {
    #[test]
    fn arbitrary_bodies_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&two(), &body.into(), NonFinite::Tokens);
    }

    #[test]
    fn cut_and_bent_bodies_never_panic(at in 0usize..1000, byte in any::<u8>(), row in any::<bool>()) {
        let text = if row {
            r#"{"instances": [{"x": [1, 2], "tag_bytes": {"b64": "/w=="}}, {"tag_bytes": "b", "x": [3, 4]}]}"#
        } else {
            r#"{"signature_name": "", "inputs": {"tag_bytes": ["a", {"b64": "YQ"}], "x": [[1, 2], [3, 4]]}}"#
        };
        let mut body = text.as_bytes().to_vec();
        let cut = at % body.len();
        body[cut] = byte;
        let _ = decode(&two(), &body.clone().into(), NonFinite::Strings);
        body.truncate(cut);
        let _ = decode(&two(), &body.into(), NonFinite::Strings);
    }
}
