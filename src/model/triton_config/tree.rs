//! A configuration as it was written, before anyone asks what its fields mean: named values, each
//! with the line it stands on. Both spellings end here, the text format and JSON.
//!
//! What this file must not know: which fields there are.

use serde_json::Value as Json;

use crate::error::{Error, Result, quoted};

/// One `name: value`. A list is as many fields of one name, as protobuf has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub name: String,
    /// Counted from 1; 0 where the spelling has no lines.
    pub line: usize,
    pub value: Value,
}

/// What a field holds, as far as its spelling tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `{ ... }` of the text format, where a map is a list of messages with `key` and `value`.
    Message(Vec<Field>),
    /// An object of JSON, where a map is an object.
    Object(Vec<Field>),
    /// Wide enough for both 64-bit kinds.
    Integer(i128),
    Float(f64),
    /// A bare word of the text format: an enum's name or a boolean.
    Word(String),
    /// A quoted string of the text format.
    Text(String),
    /// A string of JSON: a text, an enum's name, or a 64-bit integer.
    Loose(String),
}

/// Reads the JSON spelling: an object whose keys are the fields' names.
pub fn from_json(text: &str) -> Result<Vec<Field>> {
    let json: Json = serde_json::from_str(text)
        .map_err(|error| Error::invalid(format!("the configuration is not JSON: {error}")))?;
    match json {
        Json::Object(object) => fields(object),
        _ => Err(Error::invalid("the configuration is not a JSON object")),
    }
}

fn fields(object: serde_json::Map<String, Json>) -> Result<Vec<Field>> {
    let mut fields = Vec::with_capacity(object.len());
    for (name, json) in object {
        match json {
            Json::Array(elements) => {
                for element in elements {
                    let value = value(&name, element)?.ok_or_else(|| nested(&name))?;
                    fields.push(Field { name: name.clone(), line: 0, value });
                }
            }
            json => {
                let value = value(&name, json)?;
                fields.extend(value.map(|value| Field { name, line: 0, value }));
            }
        }
    }
    Ok(fields)
}

/// `None` for null, which says no more than leaving the field out.
fn value(name: &str, json: Json) -> Result<Option<Value>> {
    Ok(Some(match json {
        Json::Null => return Ok(None),
        Json::Bool(flag) => Value::Word(flag.to_string()),
        Json::Number(number) => match number.as_i128() {
            Some(integer) => Value::Integer(integer),
            None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::Loose(text),
        Json::Object(object) => Value::Object(fields(object)?),
        Json::Array(_) => return Err(nested(name)),
    }))
}

fn nested(name: &str) -> Error {
    Error::invalid(format!("{}: a list holds neither lists nor null", quoted(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_become_fields_and_null_is_silence() {
        let fields = from_json(r#"{"dims": [1, -1], "name": "x", "reshape": null}"#).unwrap();
        let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, ["dims", "dims", "name"]);
        assert_eq!(fields[1].value, Value::Integer(-1));
        assert_eq!(fields[2].value, Value::Loose("x".into()));
        for bad in ["", "[]", "{\"a\": [[1]]}", "{\"a\": [null]}", "{\"a\": 1,}"] {
            assert!(from_json(bad).is_err(), "{bad}");
        }
    }
}
