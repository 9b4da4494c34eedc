//! Nesting that is a tensor, and every way not to be one.

use super::*;
use proptest::prelude::*;

const STRICT: Rules = Rules { nonfinite: NonFinite::Strings, null_is_nan: false };
const PANDAS: Rules = Rules { nonfinite: NonFinite::Strings, null_is_nan: true };

fn read(text: &str, dtype: DType, rules: Rules) -> std::result::Result<Tensor, String> {
    let mut reader = read::reader(text.as_bytes(), rules.nonfinite);
    let peek = reader.peek().map_err(|error| error.to_string())?;
    let mut dense = Dense::new(dtype);
    dense
        .read(&mut reader, peek, rules)
        .map_err(|fault| fault.error("x", dtype).message().to_owned())?;
    Ok(dense.tensor("x").unwrap())
}

fn shape(text: &str) -> String {
    read(text, DType::U8, STRICT).map_or_else(|error| error, |tensor| tensor.shape().to_string())
}

#[test]
fn the_nesting_is_the_shape() {
    for (text, expected) in [
        ("7", "[]"),
        ("[]", "[0]"),
        ("[1, 2, 3]", "[3]"),
        ("[[1, 2], [3, 4], [5, 6]]", "[3,2]"),
        ("[[], []]", "[2,0]"),
        ("[[[1]], [[2]]]", "[2,1,1]"),
        ("[[[]], [[]]]", "[2,1,0]"),
    ] {
        assert_eq!(shape(text), expected, "{text}");
    }
    let tensor = read("[[1, 2], [3, 4]]", DType::U8, STRICT).unwrap();
    assert_eq!(tensor.data()[..], [1, 2, 3, 4]);
}

#[test]
fn ragged_lists_are_refused_with_their_place() {
    for (text, expected) in [
        ("[[1, 2], [3]]", "x[1] has 1 elements, but the lists before it have 2"),
        ("[[1], [2, 3]]", "x[1] has 2 elements, but the lists before it have 1"),
        ("[[], [1]]", "x[1] has 1 elements, but the lists before it have 0"),
        ("[1, [2]]", "x[1] is a list, but there were values before it"),
        ("[[1], 2]", "x[1] is a value, but there were lists before it"),
        ("[[], 2]", "x[1] is a value, but there were lists before it"),
        ("[[[1]], [2]]", "x[1][0] is a value, but there were lists before it"),
        ("[[1, \"SECRET\"]]", "x[0][1] is no UINT8: got a string"),
        ("[[1, 256]]", "x[0][1] is outside the range of UINT8"),
        ("[null]", "x[0] is no UINT8: got null"),
        ("{}", "x is no UINT8: got an object"),
    ] {
        assert_eq!(shape(text), expected, "{text}");
    }
    let deep = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    assert!(shape(&deep(RANK_MAX)).starts_with("[1,"));
    assert!(shape(&deep(RANK_MAX + 1)).ends_with("is nested deeper than 16 dimensions"));
    assert!(shape(&"[".repeat(1_000_000)).ends_with("is nested deeper than 16 dimensions"));
}

#[test]
fn null_is_nan_where_the_rules_say_so() {
    let floats = read("[null, 1]", DType::F32, PANDAS).unwrap();
    assert!(floats.to_f64s().unwrap()[0].is_nan());
    assert!(read("[null]", DType::F32, STRICT).is_err());
    assert!(read("[null]", DType::I64, PANDAS).is_err());
}

#[test]
fn bytes_come_as_text_or_base64() {
    let bytes = |text: &str| read(text, DType::Bytes, STRICT).map(|t| t.data().to_vec());
    assert_eq!(bytes(r#"["é", {"b64": "/wA="}]"#).unwrap(), *b"\x02\0\0\0\xc3\xa9\x02\0\0\0\xff\0");
    assert_eq!(bytes(r#"{"b64": "/wA"}"#).unwrap(), *b"\x02\0\0\0\xff\0", "without padding");
    assert_eq!(
        bytes(r#"[{"b64": "SE?"}]"#).unwrap_err(),
        "x[0] is no BYTES: got text that is no base64"
    );
    for text in [r#"[{"b64": 1}]"#, r#"[{"b64": "", "b": 1}]"#, "[{}]", r#"[{"c": ""}]"#] {
        assert_eq!(bytes(text).unwrap_err(), "x[0] is no BYTES: got an object", "{text}");
    }
}

#[test]
fn rows_are_pushed_one_by_one() {
    let mut rows = Dense::rows(DType::F32);
    let mut reader = read::reader(b"[1, 2] [3, 4] [5]", NonFinite::Strings);
    for fits in [true, true, false] {
        let peek = reader.peek().unwrap();
        assert_eq!(rows.push(&mut reader, peek, STRICT).is_ok(), fits);
    }
    let mut column = Dense::rows(DType::F32);
    column.push_number(1.5).unwrap();
    column.push_null().unwrap();
    assert_eq!(column.shape().to_string(), "[2]");
    assert!(Dense::rows(DType::I32).push_null().is_err());
    assert_eq!(Dense::rows(DType::F32).tensor("x").unwrap().shape().to_string(), "[0]");
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "[-\\[\\]{}0-9eE.,:\" NaIftyb64]{0,40}") {
        for dtype in DType::ALL {
            for nonfinite in [NonFinite::Strings, NonFinite::Tokens, NonFinite::Null] {
                let _ = read(&text, dtype, Rules { nonfinite, null_is_nan: true });
            }
        }
    }

    #[test]
    fn what_is_written_is_read_back(
        rows in 0usize..4, columns in 0usize..4, seed in any::<u32>()) {
        let data: Vec<u8> = (0..rows * columns)
            .flat_map(|i| (seed.wrapping_mul(i as u32) as f32).to_le_bytes())
            .collect();
        let tensor = Tensor::new("x", DType::F32, Shape::new([rows, columns]), data.into()).unwrap();
        let mut text = Vec::new();
        super::super::write::Elements::new(&tensor)
            .nested(&mut text, tensor.shape(), 0, rows * columns, NonFinite::Strings);
        let back = read(str::from_utf8(&text).unwrap(), DType::F32, STRICT).unwrap();
        // Without rows, nothing says how many columns there would be.
        prop_assert!(back == tensor || rows == 0);
    }
}
