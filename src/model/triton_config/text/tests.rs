//! The text format by example, and by property: nothing makes the parser panic, and what is
//! printed is read back.

use proptest::prelude::*;

use super::*;

fn one(text: &str) -> Value {
    let mut fields = parse(text).unwrap();
    assert_eq!(fields.len(), 1, "{text}");
    fields.remove(0).value
}

fn message(text: &str) -> String {
    parse(text).unwrap_err().message().to_owned()
}

#[test]
fn scalars_are_read_in_every_notation() {
    for (text, value) in [
        ("a: 7", Value::Integer(7)),
        ("a: -7", Value::Integer(-7)),
        ("a: - 7", Value::Integer(-7)),
        ("a: 0x1F", Value::Integer(31)),
        ("a: 017", Value::Integer(15)),
        ("a: 0", Value::Integer(0)),
        ("a: 18446744073709551615", Value::Integer(i128::from(u64::MAX))),
        ("a: -9223372036854775808", Value::Integer(i128::from(i64::MIN))),
        ("a: 1.5", Value::Float(1.5)),
        ("a: .5f", Value::Float(0.5)),
        ("a: -1e-3", Value::Float(-0.001)),
        ("a: 10F", Value::Float(10.0)),
        ("a: -inf", Value::Float(f64::NEG_INFINITY)),
        ("a: TYPE_FP32", Value::Word("TYPE_FP32".into())),
        ("a: true", Value::Word("true".into())),
        ("a: \"x\" 'y'\n\"z\"", Value::Text("xyz".into())),
        (r#"a: "\n\x41\101\u00e9\"\'""#, Value::Text("\nAA\u{e9}\"'".into())),
        ("a: \"# no comment\" # a comment", Value::Text("# no comment".into())),
    ] {
        assert_eq!(one(text), value, "{text}");
    }
}

#[test]
fn messages_lists_and_separators_are_read_in_every_spelling() {
    let dims = |text: &str| {
        let fields = parse(text).unwrap();
        fields.into_iter().map(|field| field.value).collect::<Vec<_>>()
    };
    let two = vec![Value::Integer(1), Value::Integer(2)];
    for text in ["a: 1 a: 2", "a: [1, 2]", "a:1,a:2;", "a: [\n1,\n2\n]"] {
        assert_eq!(dims(text), two, "{text}");
    }
    assert_eq!(dims("a: []"), []);
    let inner =
        || Value::Message(vec![Field { name: "b".into(), line: 1, value: Value::Integer(1) }]);
    for text in ["a { b: 1 }", "a: { b: 1 }", "a < b: 1 >", "a: <b:1;>", "a [ { b: 1 } ]"] {
        assert_eq!(dims(text), [inner()], "{text}");
    }
    assert_eq!(dims("a [ {b: 1}, <b: 1> ]"), [inner(), inner()]);
}

#[test]
fn every_error_names_its_line() {
    for (text, part) in [
        ("a: 1\nb", "line 2: expected ':' behind 'b', got the end of the file"),
        ("a 1", "line 1: expected ':' behind 'a', got '1'"),
        ("\n\na {\n b: 1\n", "line 3: this message is never closed by '}'"),
        ("a { b: 1 >", "line 1: expected the name of a field, got '>'"),
        ("a: 1\n}", "line 2: expected the name of a field, got '}'"),
        ("a: [1\n2]", "line 2: expected ',' or ']' in 'a', got '2'"),
        ("a: [1, ]", "line 1: expected the value of 'a', got ']'"),
        ("a: \"x\ny\"", "line 1: a string is not closed before the end of its line"),
        ("a: '\\q'", "line 1: a string holds an unknown escape"),
        ("a: '\\xff'", "line 1: a string is not valid UTF-8"),
        ("a: 1x", "line 1: '1x' is not a number"),
        ("a: 09", "line 1: '09' is not a number"),
        ("a: 18446744073709551616", "is not a number"),
        ("a: - b", "line 1: 'b' is not a number"),
        ("a: 1 \u{e9}", "line 1: '\u{e9}' means nothing here"),
        ("[x.y]: 1", "line 1: expected the name of a field, got '['"),
    ] {
        let message = message(text);
        assert!(message.contains(part), "{text:?}: {message}");
    }
}

#[test]
fn depth_and_size_are_bounded() {
    assert!(message(&"a {".repeat(100_000)).contains("more than 32 deep"));
    assert!(message(&" ".repeat(BYTES_MAX + 1)).contains("at most"));
}

fn print(fields: &[Field], out: &mut String) {
    for Field { name, value, .. } in fields {
        out.push_str(name);
        match value {
            Value::Message(inner) => {
                out.push_str(" {\n");
                print(inner, out);
                out.push('}');
            }
            Value::Integer(number) => out.push_str(&format!(": {number}")),
            Value::Float(number) => out.push_str(&format!(": {number:e}f")),
            Value::Word(word) => out.push_str(&format!(": {word}")),
            Value::Text(text) => {
                let bytes = text.bytes().map(|byte| format!("\\{byte:03o}"));
                out.push_str(&format!(": \"{}\"", bytes.collect::<String>()));
            }
            Value::Object(_) | Value::Loose(_) => unreachable!("the text format has none"),
        }
        out.push('\n');
    }
}

fn without_lines(fields: &[Field]) -> Vec<Field> {
    let value = |value: &Value| match value {
        Value::Message(inner) => Value::Message(without_lines(inner)),
        other => other.clone(),
    };
    let bare = |f: &Field| Field { name: f.name.clone(), line: 0, value: value(&f.value) };
    fields.iter().map(bare).collect()
}

fn any_fields() -> impl Strategy<Value = Vec<Field>> {
    let scalar = prop_oneof![
        any::<i64>().prop_map(|n| Value::Integer(n.into())),
        any::<u64>().prop_map(|n| Value::Integer(n.into())),
        (-1e30f64..1e30).prop_map(Value::Float),
        "[A-Z_]{1,8}"
            .prop_filter("a float", |w| named_float(w, 1.0).is_none())
            .prop_map(Value::Word),
        any::<String>().prop_map(Value::Text),
    ];
    let field = |value: BoxedStrategy<Value>| {
        ("[a-z_][a-z0-9_]{0,8}", value).prop_map(|(name, value)| Field { name, line: 0, value })
    };
    let leaf = proptest::collection::vec(field(scalar.boxed()), 0..4);
    leaf.prop_recursive(4, 32, 4, move |inner| {
        proptest::collection::vec(field(inner.prop_map(Value::Message).boxed()), 0..4)
    })
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(fields in any_fields()) {
        let mut text = String::new();
        print(&fields, &mut text);
        prop_assert_eq!(without_lines(&parse(&text).unwrap()), fields);
    }

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        let _ = parse(&text);
    }

    #[test]
    fn arbitrary_symbols_never_panic(text in "[a-c:{}<>\\[\\],;\"'\\\\#\n0x9.eE+-]{0,60}") {
        let _ = parse(&text);
    }
}
