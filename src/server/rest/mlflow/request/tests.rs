//! The bodies that MLflow documents, in all their forms, and every way not to write them.

use super::*;
use crate::error::ErrorKind;
use crate::model::{Manifest, TensorSpec};
use crate::server::rest::mlflow::csv;
use crate::tensor::DType;
use proptest::prelude::*;

const MANIFEST: &str = r#"
    [[inputs]]
    name = "x"
    [[inputs.features]]
    name = "age"
    range = [0.0, 120.0]
    [[inputs.features]]
    name = "bmi"
    [[inputs.features]]
    name = "dose"
    default = 0.5
    [[inputs]]
    name = "count"
"#;

struct Rig {
    signature: Signature,
    contract: Contract,
}

fn rig(inputs: &[(&str, DType, &[i64])], manifest: &str) -> Rig {
    let spec = |&(name, dtype, dims): &(&str, DType, &[i64])| TensorSpec::of(name, dtype, dims);
    let signature = Signature { inputs: inputs.iter().map(spec).collect(), outputs: Vec::new() };
    let manifest = Manifest::parse(manifest).unwrap();
    let contract = Contract::derive(&signature, &manifest, true, 8).unwrap();
    Rig { signature, contract }
}

/// Three features of one tensor, and a tensor of its own.
fn features() -> Rig {
    rig(&[("x", DType::F32, &[-1, 3]), ("count", DType::I64, &[-1, 1])], MANIFEST)
}

/// A matrix of which nothing more is known, as a model of MLflow's with a tensor signature.
fn matrix() -> Rig {
    rig(&[("x", DType::F32, &[-1, 2])], "")
}

impl Rig {
    fn json(&self, text: &str) -> Result<String> {
        let body = Bytes::copy_from_slice(text.as_bytes());
        show(decode(&self.signature, &self.contract, &body, NonFinite::Strings)?)
    }

    fn csv(&self, text: &str) -> Result<String> {
        let body = Bytes::copy_from_slice(text.as_bytes());
        show(csv::decode(&self.signature, &self.contract, &body)?)
    }

    fn refused(&self, text: &str) -> String {
        let is_json = text.is_empty() || text.starts_with(['{', '[', '7']);
        let outcome = if is_json { self.json(text) } else { self.csv(text) };
        let error = outcome.expect_err(text);
        assert!(!error.message().contains("SECRET"), "{error}");
        error.message().to_owned()
    }
}

fn show(tensors: Vec<NamedTensor>) -> Result<String> {
    let mut shown: Vec<String> = tensors
        .iter()
        .map(|NamedTensor { name, tensor }| {
            format!("{name}{} {:?}", tensor.shape(), tensor.to_f64s().unwrap_or_default())
        })
        .collect();
    shown.sort_unstable();
    Ok(shown.join("; "))
}

#[test]
fn every_form_of_a_data_frame_is_the_same_tensors() {
    let expected = "count[2,1] [7.0, 8.0]; x[2,3] [63.0, 21.5, 1.0, 50.0, 30.0, 2.0]";
    for text in [
        r#"{"dataframe_split": {"columns": ["bmi", "count", "age", "dose"],
            "data": [[21.5, 7, 63, 1], [30, 8, 50, 2]]}}"#,
        r#"{"dataframe_split": {"index": [0, 1], "data": [[21.5, 7, 63, 1], [30, 8.0, 50, 2]],
            "columns": ["bmi", "count", "age", "dose"]}, "params": {}}"#,
        r#"{"dataframe_split": {"data": [[63, 21.5, 1, 7], [50, 30, 2, 8]]}, "params": null}"#,
        r#"{"dataframe_split": {"columns": ["bed", "bmi", "count", "age", "dose"],
            "data": [["a", 21.5, 7, 63, 1], [null, 30, 8, 50, 2]]}}"#,
        r#"{"dataframe_records": [{"age": 63, "bmi": 21.5, "dose": 1, "count": 7},
            {"count": 8, "dose": 2, "bmi": 30, "age": 50, "bed": {}}]}"#,
        r#"{"instances": [{"age": 63, "bmi": 21.5, "dose": 1, "count": 7},
            {"age": 50, "bmi": 30, "dose": 2, "count": 8}]}"#,
        r#"{"inputs": {"age": [63, 50], "bmi": [21.5, 30], "dose": [1, 2], "count": [[7], [8]]}}"#,
        r#"{"inputs": {"count": [[7], [8]], "x": [[63, 21.5, 1], [50, 30, 2]]}}"#,
        r#"{"dataframe_records": [{"x": [63, 21.5, 1], "count": 7},
            {"x": [50, 30, 2], "count": 8}], "other": [{}]}"#,
    ] {
        assert_eq!(features().json(text).expect(text), expected, "{text}");
    }
    for text in [
        "bmi,count,age,dose\n21.5,7,63,1\n30,8,50,2\n",
        ",age,bmi,dose,count\r\n0,63,21.5,1.0,7\r\n1,50,30,2,8.0",
        "\"age\",bed,bmi,count,dose\n63,\"a, \"\"b\"\"\",21.5,7,1\n50,,3e1,8,2\n",
    ] {
        assert_eq!(features().csv(text).expect(text), expected, "{text}");
    }
}

/// `serving_input_example.json`, as MLflow 3 writes it beside a model: of a column signature, and
/// of a tensor signature.
#[test]
fn mlflows_own_examples_are_read() {
    let columns = r#"{"dataframe_split": {"columns": ["mean_radius", "mean_texture"], "data": [
        [13.399999618530273, 20.520000457763672], [13.210000038146973, 25.25]]}}"#;
    let manifest = r#"
        [[inputs]]
        name = "input"
        [[inputs.features]]
        name = "mean_radius"
        [[inputs.features]]
        name = "mean_texture"
    "#;
    let expected = "input[2,2] [13.399999618530273, 20.520000457763672, 13.210000038146973, 25.25]";
    let specs: [(&str, DType, &[i64]); 1] = [("input", DType::F32, &[-1, 2])];
    assert_eq!(rig(&specs, manifest).json(columns).unwrap(), expected);
    let tensor = r#"{"inputs": [
        [13.399999618530273, 20.520000457763672], [13.210000038146973, 25.25]]}"#;
    assert_eq!(rig(&specs, "").json(tensor).unwrap(), expected);
}

#[test]
fn a_matrix_needs_no_names() {
    let expected = "x[2,2] [1.0, 2.0, 3.0, 4.0]";
    for text in [
        r#"{"inputs": [[1, 2], [3, 4]]}"#,
        r#"{"instances": [[1, 2], [3, 4]]}"#,
        r#"{"inputs": {"x": [[1, 2], [3, 4]]}}"#,
        r#"{"instances": [{"x": [1, 2]}, {"x": [3, 4]}]}"#,
        r#"{"dataframe_records": [{"x": [1, 2]}, {"x": [3, 4]}]}"#,
        r#"{"dataframe_split": {"data": [[1, 2], [3, 4]]}}"#,
        r#"{"dataframe_split": {"columns": [0, 1], "data": [[1, 2], [3, 4]]}}"#,
        r#"{"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [3, 4]]}}"#,
        r#"{"dataframe_records": [{"a": 1, "b": 2}, {"b": 4, "a": 3}]}"#,
    ] {
        assert_eq!(matrix().json(text).expect(text), expected, "{text}");
    }
    assert_eq!(matrix().csv("a,b\n1,2\n3,4\n").unwrap(), expected);
    let words = rig(&[("t", DType::Bytes, &[-1, 2])], "");
    let body = Bytes::from_static(b"a,b\nx,\"y\nz\"\n");
    let tensors = csv::decode(&words.signature, &words.contract, &body).unwrap();
    assert_eq!(tensors[0].tensor.data()[..], *b"\x01\0\0\0x\x03\0\0\0y\nz");
}

#[test]
fn what_is_missing_is_nan_or_the_default_or_an_error() {
    let rig = features();
    let expected = "count[2,1] [7.0, 8.0]; x[2,3] [NaN, 21.5, 0.5, 50.0, NaN, 0.5]";
    for text in [
        r#"{"dataframe_split": {"columns": ["bmi", "count", "age"],
            "data": [[21.5, 7, null], [null, 8, 50]]}}"#,
        r#"{"dataframe_records": [{"bmi": 21.5, "count": 7}, {"age": 50, "count": 8}]}"#,
        r#"{"inputs": {"age": [null, 50], "bmi": [21.5, null], "count": [[7], [8]]}}"#,
    ] {
        assert_eq!(rig.json(text).expect(text), expected, "{text}");
    }
    assert_eq!(rig.csv("bmi,count,age\n21.5,7,\nNaN,8,50\n").unwrap(), expected);
    let some = r#"{"dataframe_records": [{"age": 1, "bmi": 2, "count": 3},
        {"age": 1, "bmi": 2, "count": 3, "dose": 4}]}"#;
    assert!(rig.json(some).unwrap().contains("[1.0, 2.0, 0.5, 1.0, 2.0, 4.0]"));
    for text in [
        r#"{"dataframe_records": [{"age": 1, "bmi": 2, "count": null}]}"#,
        r#"{"dataframe_records": [{"age": 1, "bmi": 2, "count": 3}, {"age": 1, "bmi": 2}]}"#,
        r#"{"dataframe_records": [{"age": 1, "bmi": 2}, {"age": 1, "bmi": 2, "count": 3}]}"#,
        "age,bmi,count\n1,2,NA\n",
    ] {
        let message = rig.refused(text);
        assert!(message.starts_with("Incompatible input types for column count."), "{message}");
    }
}

#[test]
fn mistakes_are_named_in_mlflows_words() {
    let rig = features();
    for (text, part) in [
        ("{}", "exactly one of the input fields"),
        ("[]", "exactly one of the input fields"),
        ("7", "Received a number"),
        (
            r#"{"inputs": {"age": [1]}, "instances": []}"#,
            "Model is missing inputs ['bmi', 'count'].",
        ),
        (r#"{"dataframe_split": {"data": []}, "inputs": []}"#, "Model is missing inputs"),
        (
            r#"{"dataframe_records": [{"agee": 1, "bmi": 2}]}"#,
            "Model is missing inputs ['age', 'count']. Note that there were extra inputs: ['agee']",
        ),
        ("agee,bmi\n1,2\n", "Model is missing inputs ['age', 'count']. Note that there were extra"),
        (
            "age,bmi,count\n1,SECRET,3\n",
            "Incompatible input types for column bmi. Can not safely convert text to FP32 (row 0).",
        ),
        ("age,bmi,count\n1,2,3\n1,2\n", "line 3: expected 3 fields, got 2"),
        ("age,bmi,count\n1,2,3.5\n", "convert a number with a fraction to INT64"),
        ("age,age,bmi,count\n", "column 'age' stands twice"),
        (r#"{"dataframe_split": []}"#, "'dataframe_split' must be an object, got an array"),
        (r#"{"dataframe_split": {}}"#, "'dataframe_split' has no 'data'"),
        (r#"{"dataframe_split": {"data": 1}}"#, "'data' must be an array of rows, got a number"),
        (r#"{"dataframe_split": {"data": [1]}}"#, "'data' must be an array of rows, got a number"),
        (r#"{"dataframe_split": {"data": [], "data": []}}"#, "has the key 'data' twice"),
        (r#"{"dataframe_split": {"data": [], "dtype": []}}"#, "unexpected key 'dtype'"),
        (r#"{"dataframe_split": {"data": [[1]]}}"#, "expects 4 columns, but the data has 1"),
        (r#"{"dataframe_split": {"columns": [true]}}"#, "an array of names, got a boolean"),
        (
            r#"{"dataframe_split": {"columns": ["age", "bmi", "count"], "data": [[1, 2, 3], [1]]}}"#,
            "3 columns passed, passed data had 1 columns (row 1)",
        ),
        (
            r#"{"dataframe_split": {"columns": ["age", "bmi", "count"], "data": [["SECRET", 2, 3]]}}"#,
            "column age. Can not safely convert a string to FP32 (row 0).",
        ),
        (r#"{"dataframe_records": {}}"#, "'dataframe_records' must be an array of records"),
        (r#"{"dataframe_records": [7]}"#, "'dataframe_records' must be an array of records"),
        (r#"{"dataframe_records": [{"age": 1, "age": 1}]}"#, "column 'age' stands twice"),
        (
            r#"{"dataframe_records": [{"age": 1}, {"age": 1, "age": 1}]}"#,
            "row 1 has the column 'age'",
        ),
        (
            r#"{"dataframe_records": [{"age": [1], "bmi": 2, "count": 3}]}"#,
            "column age: expected 1 single values, got values of shape [1,1]",
        ),
        (r#"{"dataframe_records": [{"age": 1e39}]}"#, "column age, row 0 is outside the range"),
        (r#"{"inputs": {"age": [1], "bmi": [1, 2]}}"#, "The length of values for each input"),
        (r#"{"inputs": {"age": [1], "x": [[1, 2, 3]], "count": [[1]]}}"#, "'x' is given twice"),
        (r#"{"inputs": {"count": 1, "count": 1}}"#, "'inputs' has the key 'count' twice"),
        (r#"{"inputs": [[1]]}"#, "expecting an object as multiple input tensors"),
        (r#"{"instances": []}"#, "No values in 'instances' array"),
        (r#"{"instances": {}}"#, "Expecting 'instances' to be a list/array"),
        (r#"{"inputs": {"age": [NaN]}}"#, "failed to parse the request JSON"),
        (r#"{"params": [], "inputs": 1}"#, "'params' must be an object, got an array"),
        ("", "failed to parse the request JSON"),
    ] {
        let message = rig.refused(text);
        assert!(message.contains(part), "{text}: {message}");
    }
    let params = rig.json(r#"{"params": {"threshold": 0.5}, "inputs": 1}"#).unwrap_err();
    assert_eq!(params.kind(), ErrorKind::Unsupported);
    let short = format!("[{{\"age\": 1, \"bmi\": 2, \"count\": 3}}{}]", ", {}".repeat(8));
    let records = format!("{{\"dataframe_records\": {short}}}");
    assert!(rig.refused(&records).contains("Can not safely convert null to INT64 (row 1)"));
    let long = format!("age,bmi,count\n{}", "1,2,3\n".repeat(9));
    assert!(rig.refused(&long).contains("batch-size must be <= 8"));
    let column = format!(r#"{{"inputs": {{"age": {:?}}}}}"#, [1; 9]);
    assert!(rig.refused(&column).contains("batch-size must be <= 8"));
    let hole = r#"{"dataframe_records": [{"a": 1, "b": 2}, {"a": 3}]}"#;
    assert!(matrix().refused(hole).contains("row 1 has no value for column 'b'"));
    let wide = format!("{}\n", "a,".repeat(100_000));
    assert!(rig.refused(&wide).contains("at most 65536 columns"));
}

proptest! {
    #[test]
    fn arbitrary_bodies_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        for Rig { signature, contract } in [features(), matrix()] {
            let body = Bytes::from(body.clone());
            let _ = decode(&signature, &contract, &body, NonFinite::Tokens);
            let _ = csv::decode(&signature, &contract, &body);
        }
    }

    #[test]
    fn cut_and_bent_bodies_never_panic(at in 0usize..1000, byte in any::<u8>(), form in 0usize..5) {
        let text = [
            r#"{"dataframe_split": {"columns": ["bmi", "age", "count"], "data": [[1, 2, 3], [4, 5, 6]]}}"#,
            r#"{"dataframe_records": [{"age": 1, "bmi": 2, "count": 3}, {"age": 1, "bmi": null, "count": 3}]}"#,
            r#"{"inputs": {"age": [1, 2], "bmi": [3, 4], "count": [[5], [6]]}, "params": {}}"#,
            r#"{"instances": [{"x": [1, 2, 3], "count": 4}, {"x": [5, 6, 7], "count": 8}]}"#,
            "age,bmi,count\n1,2,3\n4,\"5\",6\n",
        ][form];
        let mut body = text.as_bytes().to_vec();
        let cut = at % body.len();
        body[cut] = byte;
        let cut = body[..cut].to_vec();
        for Rig { signature, contract } in [features(), matrix()] {
            for body in [Bytes::from(body.clone()), Bytes::from(cut.clone())] {
                let _ = decode(&signature, &contract, &body, NonFinite::Strings);
                let _ = csv::decode(&signature, &contract, &body);
            }
        }
    }
}
