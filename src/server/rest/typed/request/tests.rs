//! Records that fit their contract, and every way not to.

use super::*;
use crate::error::ErrorKind;
use crate::model::{Manifest, ModelName, TensorSpec, Version};
use proptest::prelude::*;

const MANIFEST: &str = r#"
    [[inputs]]
    name = "x"
    [[inputs.features]]
    name = "age"
    unit = "a"
    range = [0.0, 120.0]
    [[inputs.features]]
    name = "a/b"
    default = 0.5
    [[inputs]]
    name = "wave"
    range = [-5.0, 5.0]
"#;

struct Rig {
    model: ModelId,
    signature: Signature,
    contract: Contract,
}

fn rig() -> Rig {
    let spec = TensorSpec::of;
    let signature = Signature {
        inputs: vec![
            spec("x", DType::F32, &[-1, 2]),
            spec("wave", DType::F32, &[-1, 1, -1]),
            spec("note", DType::Bytes, &[-1]),
            spec("count", DType::U8, &[-1, 1]),
        ],
        outputs: vec![spec("y", DType::F32, &[-1])],
    };
    let manifest = Manifest::parse(MANIFEST).unwrap();
    let contract = Contract::derive(&signature, &manifest, true, 3).unwrap();
    let model =
        ModelId { name: ModelName::new("m").unwrap(), version: Version::parse("1").unwrap() };
    Rig { model, signature, contract }
}

fn read(text: &str) -> Result<InferRequest> {
    let Rig { model, signature, contract } = rig();
    let body = Bytes::copy_from_slice(text.as_bytes());
    decode(&model, &signature, &contract, &body).map(|decoded| decoded.request)
}

/// `pointer code` of every violation.
fn faults(text: &str) -> Vec<String> {
    let error = read(text).expect_err(text);
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(!error.violations().is_empty(), "{error}");
    for violation in error.violations() {
        assert!(!violation.message.contains("SECRET"), "{violation:?}");
    }
    error.violations().iter().map(|v| format!("{} {}", v.pointer, v.code)).collect()
}

#[test]
fn records_become_rows_and_features_columns() {
    let request = read(
        r#"{"records": [
            {"age": 63, "a/b": 1.5, "wave": [[1, -2]], "note": "é", "count": 7},
            {"count": 8, "note": "", "wave": [[3, 4]], "age": 0}]}"#,
    )
    .unwrap();
    let names: Vec<&str> = request.inputs.iter().map(|input| &*input.name).collect();
    assert_eq!(names, ["x", "wave", "note", "count"]);
    let shapes: Vec<String> =
        request.inputs.iter().map(|input| input.tensor.shape().to_string()).collect();
    assert_eq!(shapes, ["[2,2]", "[2,1,2]", "[2]", "[2,1]"]);
    let floats = |index: usize| -> Vec<f32> {
        let data = request.inputs[index].tensor.data();
        data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    assert_eq!(floats(0), [63.0, 1.5, 0.0, 0.5]);
    assert_eq!(floats(1), [1.0, -2.0, 3.0, 4.0]);
    assert_eq!(request.inputs[2].tensor.data()[..], *b"\x02\0\0\0\xc3\xa9\0\0\0\0");
    assert_eq!(request.inputs[3].tensor.data()[..], [7, 8]);
}

#[test]
fn every_broken_rule_is_listed_with_its_place() {
    assert_eq!(
        faults(
            r#"{"records": [
                {"age": 121, "a/b": "SECRET", "wave": [[1, 9]], "note": 7, "count": 256, "agge": 1},
                {"age": 1, "age": 2, "wave": [[1], [2]], "note": "x"},
                "SECRET"], "extra": {}}"#
        ),
        [
            "/records/0/age range",
            "/records/0/a~1b type",
            "/records/0/wave/0/1 range",
            "/records/0/note type",
            "/records/0/count range",
            "/records/0/agge unknown",
            "/records/1/age duplicate",
            "/records/1/wave length",
            "/records/1/count missing",
            "/records/2 type",
            "/extra unknown",
        ]
    );
}

#[test]
fn shapes_of_documents_and_rows_are_held_to() {
    let one = |wave: &str| {
        format!(r#"{{"records": [{{"age": 1, "wave": {wave}, "note": "", "count": 1}}]}}"#)
    };
    assert!(read(&one("[[]]")).is_ok(), "a free extent may be 0");
    assert_eq!(faults(&one("[]")), ["/records/0/wave length"]);
    assert_eq!(faults(&one("[1]")), ["/records/0/wave/0 type"]);
    assert_eq!(faults(&one("[[1, null, [[]]]]")), ["/records/0/wave/0/1 type"]);
    assert_eq!(faults(&one("[[1e39]]")), ["/records/0/wave/0/0 range"]);
    let two =
        one("[[1]]").replace("]}", r#", {"age": 1, "wave": [[1, 2]], "note": "", "count": 1}]}"#);
    assert_eq!(faults(&two), ["/records/1/wave length"]);
    assert_eq!(faults("[]"), [" type"]);
    assert_eq!(faults("{}"), ["/records missing"]);
    assert_eq!(faults(r#"{"records": {}}"#), ["/records type"]);
    assert_eq!(faults(r#"{"records": []}"#), ["/records length"]);
    let record = r#"{"age": 1, "wave": [[1]], "note": "", "count": 1}"#;
    let four = format!(r#"{{"records": [{}]}}"#, [record; 4].join(","));
    assert_eq!(faults(&four), ["/records length"]);
    for text in
        ["", "{", "{\"records\": [{\"age\": NaN}]}", "{\"records\": [{\"age\": 1]}", "{} {}"]
    {
        let error = read(text).err().unwrap();
        assert!(error.violations().is_empty(), "no JSON, no rules: {error}");
    }
}

#[test]
fn the_list_of_faults_is_bounded() {
    let strangers: Vec<String> = (0..1000).map(|i| format!("\"{i}\": 1")).collect();
    let text = format!("{{\"records\": [{{{}}}]}}", strangers.join(","));
    let error = read(&text).err().unwrap();
    assert_eq!(error.violations().len(), VIOLATIONS_MAX);
    assert!(error.message().contains("the first 64"));
}

#[test]
fn what_was_meant_is_guessed() {
    let error = read(r#"{"records": [{"agee": 1}]}"#).err().unwrap();
    assert!(error.violations()[0].message.contains("did you mean 'age'"), "{error:?}");
    let range = &read(r#"{"records": [{"age": 121}]}"#).err().unwrap();
    assert_eq!(range.violations()[0].message, "expected a number from 0 to 120 [a]");
}

proptest! {
    #[test]
    fn arbitrary_bodies_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let Rig { model, signature, contract } = rig();
        let _ = decode(&model, &signature, &contract, &body.into());
    }

    #[test]
    fn cut_and_bent_bodies_never_panic(at in 0usize..1000, byte in any::<u8>()) {
        let text = r#"{"records": [{"age": 63, "a/b": 1.5, "wave": [[1, -2]], "note": "x", "count": 7}, {"age": 1}]}"#;
        let mut body = text.as_bytes().to_vec();
        let cut = at % body.len();
        let Rig { model, signature, contract } = rig();
        body[cut] = byte;
        let _ = decode(&model, &signature, &contract, &body.clone().into());
        body.truncate(cut);
        let _ = decode(&model, &signature, &contract, &body.into());
    }
}
