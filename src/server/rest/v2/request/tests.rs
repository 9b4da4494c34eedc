//! Bodies that clients send, and bodies that nobody should.

use super::*;
use crate::error::ErrorKind;
use crate::server::shared_memory::Regions;
use proptest::prelude::*;

/// A server without shared memory.
fn read(
    model: &str,
    body: &Bytes,
    json_bytes: Option<usize>,
    nonfinite: NonFinite,
) -> Result<Decoded> {
    decode(model, body, json_bytes, nonfinite, Regions::new(false).access(0))
}

fn forms(decoded: &Decoded) -> (Vec<bool>, bool) {
    let is_binary = |form: &Form| matches!(form, Form::Binary);
    (decoded.forms.iter().map(is_binary).collect(), is_binary(&decoded.form_default))
}

fn json(text: &str) -> Result<Decoded> {
    read("m", &Bytes::copy_from_slice(text.as_bytes()), None, NonFinite::Strings)
}

fn binary(text: &str, raw: &[u8]) -> Result<Decoded> {
    let body = [text.as_bytes(), raw].concat();
    read("m", &body.into(), Some(text.len()), NonFinite::Strings)
}

fn refused(outcome: Result<Decoded>, part: &str) {
    let error = outcome.expect_err(part);
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(error.message().contains(part), "{error}");
}

#[test]
fn an_ordinary_request_is_read_whatever_the_order_of_its_keys() {
    for text in [
        r#"{"id": "7", "inputs": [{"name": "x", "shape": [1, 2], "datatype": "INT8", "data": [1, -2]}],
            "outputs": [{"name": "y"}], "parameters": {"timeout": 5000}}"#,
        r#"{"outputs": [{"parameters": {}, "name": "y"}], "parameters": {"timeout": 5000}, "model_name": [],
            "inputs": [{"data": [[1, -2]], "datatype": "INT8", "extra": {}, "shape": [1, 2], "name": "x"}], "id": "7"}"#,
    ] {
        let decoded = json(text).unwrap();
        assert_eq!(decoded.id.as_deref(), Some("7"));
        assert_eq!(decoded.request.inputs[0].name, "x");
        assert_eq!(decoded.request.inputs[0].tensor.data()[..], [1, 0xfe]);
        assert_eq!(decoded.request.outputs, ["y"]);
        assert_eq!(decoded.request.timeout.unwrap().as_millis(), 5);
        assert_eq!(forms(&decoded), (vec![false], false));
    }
}

#[test]
fn raw_tensors_follow_the_json_in_the_order_of_the_inputs() {
    let text = r#"{"inputs": [
        {"name": "a", "shape": [2], "datatype": "UINT8", "parameters": {"binary_data_size": 2}},
        {"name": "b", "shape": [1], "datatype": "UINT8", "data": [9]},
        {"name": "c", "shape": [0], "datatype": "FP32", "parameters": {"binary_data_size": 0}},
        {"name": "d", "shape": [1], "datatype": "UINT8", "parameters": {"binary_data_size": 1}}],
        "outputs": [{"name": "y", "parameters": {"binary_data": true}}, {"name": "z"}],
        "parameters": {"binary_data_output": true}}"#;
    let decoded = binary(text, &[1, 2, 3]).unwrap();
    let bytes: Vec<&[u8]> =
        decoded.request.inputs.iter().map(|input| &input.tensor.data()[..]).collect();
    assert_eq!(bytes, [&[1, 2][..], &[9], &[], &[3]]);
    assert_eq!(forms(&decoded), (vec![true, false], true));
    refused(binary(text, &[1, 2]), "unexpected size for input 'd'");
    refused(binary(text, &[1, 2, 3, 4]), "unexpected additional input data");
    let body = Bytes::from_static(b"{}");
    refused(read("m", &body, Some(3), NonFinite::Strings), "but the body has 2 bytes");
}

#[test]
fn every_broken_body_is_named() {
    let one = |rest: &str| format!(r#"{{"inputs": [{{"name": "x", {rest}}}]}}"#);
    for (text, part) in [
        ("", "failed to parse the request JSON"),
        ("{", "failed to parse the request JSON"),
        ("[]", "must be a JSON object, got an array"),
        ("{}", "has no 'inputs'"),
        ("{} x", "failed to parse"),
        (r#"{"inputs": {}}"#, "'inputs' must be an array of objects, got an object"),
        (r#"{"inputs": [1]}"#, "'inputs' must be an array of objects, got a number"),
        (r#"{"inputs": [], "inputs": []}"#, "has the key 'inputs' twice"),
        (r#"{"inputs": [], "id": 7}"#, "'id' must be a string, got a number"),
        (r#"{"inputs": [{}]}"#, "inputs[0] has no 'name'"),
        (r#"{"inputs": [], "outputs": [{}]}"#, "outputs[0] has no 'name'"),
        (r#"{"inputs": [], "parameters": {"timeout": -1}}"#, "parameter 'timeout'"),
        (&one(r#""shape": [1], "datatype": "INT8""#), "unable to find data for input tensor 'x'"),
        (&one(r#""datatype": "INT8", "data": [1]"#), "input 'x' has no 'shape'"),
        (&one(r#""shape": [1], "data": [1]"#), "input 'x' has no 'datatype'"),
        (&one(r#""shape": [-1], "datatype": "INT8", "data": [1]"#), "'shape' must be an array of"),
        (&one(r#""shape": [1.0], "datatype": "INT8", "data": [1]"#), "'shape' must be an array of"),
        (&one(r#""shape": [true], "datatype": "INT8", "data": [1]"#), "got a boolean"),
        (&one(r#""shape": [9223372036854775808], "datatype": "INT8", "data": [1]"#), "below 2^63"),
        (
            &one(r#""shape": [4611686018427387904, 4], "datatype": "INT8", "data": [1]"#),
            "addressed",
        ),
        (&one(r#""shape": [1], "datatype": "int8", "data": [1]"#), "unknown datatype 'int8'"),
        (
            &one(r#""shape": [2], "datatype": "INT8", "data": [1]"#),
            "takes 2 elements, but 'data' holds 1",
        ),
        (
            &one(r#""shape": [1], "datatype": "INT8", "data": [1, 2]"#),
            "takes 1 elements, but 'data' holds more",
        ),
        (
            &one(r#""shape": [1], "datatype": "INT8", "data": [128]"#),
            "element 0 of 'data' is outside the range of INT8",
        ),
        (
            &one(r#""shape": [1], "datatype": "INT8", "data": [1.5]"#),
            "is no INT8: got a number with a fraction",
        ),
        (
            &one(r#""data": ["secret"], "shape": [1], "datatype": "FP32""#),
            "is no FP32: got a string",
        ),
        (
            &one(r#""shape": [1], "datatype": "INT8", "data": 1"#),
            "'data' must be an array, got a number",
        ),
        (
            &one(r#""shape": [1], "datatype": "INT8", "data": [1], "data": [2]"#),
            "has the key 'data' twice",
        ),
        (
            &one(
                r#""shape": [1], "datatype": "INT8", "data": [1], "parameters": {"binary_data_size": 1}"#,
            ),
            "has more than one of 'data' and",
        ),
        (
            &one(r#""shape": [1], "datatype": "INT8", "parameters": {"binary_data_size": -1}"#),
            "'binary_data_size' must be a number of bytes",
        ),
        (
            &one(r#""shape": [1], "datatype": "INT8", "parameters": {"binary_data_size": 1}"#),
            "the body holds 0 more bytes",
        ),
    ] {
        refused(json(text), part);
        assert!(!json(text).err().unwrap().message().contains("secret"));
    }
}

#[test]
fn deep_nesting_and_many_tensors_cost_little() {
    refused(json(&"[".repeat(1_000_000)), "must be a JSON object");
    let deep = format!(r#"{{"x": {}"#, "[".repeat(1_000_000));
    refused(json(&deep), "recursion limit exceeded");
    let deep = format!(
        r#"{{"inputs": [{{"name": "x", "shape": [1], "datatype": "INT8", "data": {}"#,
        "[".repeat(200_000)
    );
    refused(json(&deep), "nested deeper");
    let many = format!(r#"{{"inputs": [{}]}}"#, vec!["{}"; 5000].join(","));
    refused(json(&many), "names 4097 inputs");
}

proptest! {
    #[test]
    fn arbitrary_bodies_never_panic(
        body in proptest::collection::vec(any::<u8>(), 0..200), at in proptest::option::of(0usize..250)) {
        let _ = read("m", &body.into(), at, NonFinite::Tokens);
    }

    #[test]
    fn mutated_requests_never_panic(at in 0usize..1000, byte in any::<u8>()) {
        let text = r#"{"id": "7", "inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.5, -2e3],
            "parameters": {"a": 1}}], "outputs": [{"name": "y"}], "parameters": {"timeout": 5000}}"#;
        let mut body = text.as_bytes().to_vec();
        let cut = at % body.len();
        body[cut] = byte;
        let _ = read("m", &body.clone().into(), None, NonFinite::Strings);
        body.truncate(cut);
        let _ = read("m", &body.into(), None, NonFinite::Strings);
    }
}
