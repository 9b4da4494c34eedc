//! From a [`tree`](super::tree) to typed structures, through serde: the structures of
//! [`fields`](super::fields) are the one table of known fields for both spellings.
//!
//! What it adds to serde is what an operator needs: the line, the path to the field, and the
//! nearest known name.

use std::collections::HashMap;
use std::fmt::{self, Display, Write};

use serde::de::value::StrDeserializer;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer,
    MapAccess, SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::tree::{Field, Value};
use crate::error::{Error, nearest, quoted};

/// How a structure says that a field asks for something Galen does not do.
pub const REFUSED: &str = "is not supported";

/// Reads a whole configuration.
pub fn from_fields<'a, T: Deserialize<'a>>(fields: &'a [Field]) -> Result<T, Error> {
    T::deserialize(Message(fields)).map_err(Error::from)
}

/// What is wrong, and where.
#[derive(Debug)]
pub struct Wrong {
    line: usize,
    /// Names of the fields down to the wrong one.
    path: Vec<String>,
    message: String,
}

impl Wrong {
    fn new(message: impl Into<String>) -> Self {
        Self { line: 0, path: Vec::new(), message: message.into() }
    }

    /// Adds a field on the way out; the innermost line is the nearest to the fault.
    fn within(mut self, name: &str, line: usize) -> Self {
        self.path.insert(0, quoted(name));
        self.on(line)
    }

    fn on(mut self, line: usize) -> Self {
        self.line = if self.line == 0 { line } else { self.line };
        self
    }
}

impl Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        let path = self.path.join(".");
        match (path.as_str(), self.message.starts_with(REFUSED)) {
            ("", _) => f.write_str(&self.message),
            (path, true) => write!(f, "{path} {}", self.message),
            (path, false) => write!(f, "{path}: {}", self.message),
        }
    }
}

impl std::error::Error for Wrong {}

impl From<Wrong> for Error {
    fn from(wrong: Wrong) -> Self {
        if wrong.message.starts_with(REFUSED) {
            Error::unsupported(wrong.to_string())
        } else {
            Error::invalid(wrong.to_string())
        }
    }
}

impl serde::de::Error for Wrong {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("unknown field '{}'{}", quoted(field), near(field, expected)))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let known = expected.join(", ");
        let near = near(variant, expected);
        Self::new(format!("expected one of {known}, got '{}'{near}", quoted(variant)))
    }
}

fn near(given: &str, expected: &'static [&'static str]) -> String {
    let mut text = String::new();
    if let Some(name) = nearest(given, expected.iter().copied()) {
        // Writing into a String can not fail.
        let _ = write!(text, "; did you mean '{name}'?");
    }
    text
}

/// The fields of one message.
struct Message<'a>(&'a [Field]);

impl<'de> Deserializer<'de> for Message<'de> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let mut groups: Vec<Group<'de>> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for field in self.0 {
            let place = *places.entry(field.name.as_str()).or_insert(groups.len());
            match groups.get_mut(place) {
                Some(group) => group.fields.push(field),
                None => groups.push(Group { name: &field.name, fields: vec![field] }),
            }
        }
        visitor.visit_map(Groups { groups: groups.into_iter(), current: None })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

/// All fields of one name in a message. There is at least one.
struct Group<'a> {
    name: &'a str,
    fields: Vec<&'a Field>,
}

struct Groups<'a> {
    groups: std::vec::IntoIter<Group<'a>>,
    current: Option<Group<'a>>,
}

impl<'de> MapAccess<'de> for Groups<'de> {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Wrong> {
        self.current = self.groups.next();
        let Some(group) = &self.current else { return Ok(None) };
        seed.deserialize(Key(group.name)).map(Some).map_err(|wrong| wrong.on(group.line()))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Wrong> {
        let group = self.current.take().ok_or_else(|| Wrong::new("a value without its name"))?;
        let (name, line) = (group.name, group.line());
        seed.deserialize(group).map_err(|wrong| wrong.within(name, line))
    }
}

/// The name of a field; in a map of JSON, where keys are strings, it can stand for an integer.
struct Key<'a>(&'a str);

impl<'de> Deserializer<'de> for Key<'de> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_borrowed_str(self.0)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.0.parse() {
            Ok(number) => visitor.visit_u64(number),
            Err(_) => Err(Wrong::new(format!("expected an integer, got '{}'", quoted(self.0)))),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

impl<'a> Group<'a> {
    fn line(&self) -> usize {
        self.fields.first().map_or(0, |field| field.line)
    }

    /// The only field, where the structure holds only one value.
    fn only(self) -> Result<One<'a>, Wrong> {
        match self.fields.as_slice() {
            [field] => Ok(One(&field.value)),
            [_, second, ..] => Err(Wrong::new("is given twice").on(second.line)),
            [] => Err(Wrong::new("has no value")),
        }
    }

    /// The entries of a map: messages of `key` and `value`, or the object itself.
    fn entries(self) -> Result<Entries<'a>, Wrong> {
        let mut entries: Vec<(usize, One<'a>, &'a Value)> = Vec::new();
        match self.fields.as_slice() {
            [Field { value: Value::Object(fields), .. }] => {
                return Ok(Entries::Object(Message(fields)));
            }
            fields => {
                for field in fields {
                    let Value::Message(parts) = &field.value else {
                        let message = "expected entries { key: ... value: ... }";
                        return Err(Wrong::new(message).on(field.line));
                    };
                    if let Some(other) = parts.iter().find(|f| f.name != "key" && f.name != "value")
                    {
                        return Err(
                            Wrong::unknown_field(&other.name, &["key", "value"]).on(other.line)
                        );
                    }
                    let part = |name| {
                        let mut parts = parts.iter().filter(|part| part.name == name);
                        let only = parts.next().filter(|_| parts.next().is_none());
                        only.map(|part| &part.value).ok_or_else(|| {
                            Wrong::new(format!("expected one {name} in each entry")).on(field.line)
                        })
                    };
                    let (key, value) = (part("key")?, part("value")?);
                    if entries.iter().any(|(_, other, _)| other.0 == key) {
                        return Err(Wrong::new("two entries have one key").on(field.line));
                    }
                    entries.push((field.line, One(key), value));
                }
            }
        }
        Ok(Entries::Pairs { pairs: entries.into_iter(), value: None })
    }
}

macro_rules! only {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
            self.only()?.$method(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Group<'de> {
    type Error = Wrong;

    only! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32
        deserialize_i64 deserialize_i128 deserialize_u8 deserialize_u16 deserialize_u32
        deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64 deserialize_char
        deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf deserialize_unit
        deserialize_identifier
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_seq(List(self.fields.into_iter()))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.entries()? {
            Entries::Object(message) => message.deserialize_any(visitor),
            pairs => visitor.visit_map(pairs),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        self.only()?.deserialize_struct(name, fields, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        self.only()?.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { unit_struct tuple tuple_struct }
}

struct List<'a>(std::vec::IntoIter<&'a Field>);

impl<'de> SeqAccess<'de> for List<'de> {
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Wrong> {
        let Some(field) = self.0.next() else { return Ok(None) };
        let element = seed.deserialize(One(&field.value));
        element.map(Some).map_err(|wrong| wrong.on(field.line))
    }
}

enum Entries<'a> {
    Object(Message<'a>),
    Pairs {
        pairs: std::vec::IntoIter<(usize, One<'a>, &'a Value)>,
        value: Option<(usize, &'a Value)>,
    },
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Wrong> {
        let Entries::Pairs { pairs, value } = self else { return Ok(None) };
        let Some((line, key, found)) = pairs.next() else { return Ok(None) };
        *value = Some((line, found));
        seed.deserialize(key).map(Some).map_err(|wrong| wrong.on(line))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Wrong> {
        let Entries::Pairs { value: Some((line, value)), .. } = self else {
            return Err(Wrong::new("a value without its key"));
        };
        seed.deserialize(One(value)).map_err(|wrong| wrong.on(*line))
    }
}

/// One value.
struct One<'a>(&'a Value);

impl One<'_> {
    fn unexpected(&self, expected: &str) -> Wrong {
        let given = match self.0 {
            Value::Message(_) | Value::Object(_) => "a message".to_owned(),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Word(word) => format!("'{}'", quoted(word)),
            Value::Text(_) | Value::Loose(_) => "a string".to_owned(),
        };
        Wrong::new(format!("expected {expected}, got {given}"))
    }

    fn integer<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Wrong> {
        let number = match self.0 {
            Value::Integer(number) => Some(*number),
            // The JSON of protobuf writes 64-bit integers as strings.
            Value::Loose(text) => text.parse().ok(),
            _ => None,
        };
        let number = number.ok_or_else(|| self.unexpected("an integer"))?;
        // The visitor knows the width that the structure wants, and refuses what does not fit.
        match (i64::try_from(number), u64::try_from(number)) {
            (Ok(number), _) => visitor.visit_i64(number),
            (_, Ok(number)) => visitor.visit_u64(number),
            _ => Err(self.unexpected("a 64-bit integer")),
        }
    }
}

macro_rules! integers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
            self.integer(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for One<'de> {
    type Error = Wrong;

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.0 {
            Value::Message(fields) | Value::Object(fields) => {
                Message(fields).deserialize_any(visitor)
            }
            Value::Integer(_) => self.integer(visitor),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Word(text) | Value::Text(text) | Value::Loose(text) => visitor.visit_str(text),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let word = match self.0 {
            Value::Word(word) => word.as_str(),
            Value::Integer(0) => "false",
            Value::Integer(1) => "true",
            _ => "",
        };
        match word {
            "true" | "True" | "t" => visitor.visit_bool(true),
            "false" | "False" | "f" => visitor.visit_bool(false),
            _ => Err(self.unexpected("true or false")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.0 {
            Value::Text(text) | Value::Loose(text) => visitor.visit_str(text),
            _ => Err(self.unexpected("a string in quotes")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.deserialize_str(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match self.0 {
            Value::Word(word) | Value::Loose(word) => visitor.visit_enum(Named(word)),
            _ => Err(self.unexpected(&format!("one of {}", variants.join(", ")))),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match self.0 {
            Value::Message(fields) | Value::Object(fields) => {
                Message(fields).deserialize_any(visitor)
            }
            _ => Err(self.unexpected("a message { ... }")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        f32 f64 char bytes byte_buf unit unit_struct seq tuple tuple_struct map identifier
    }
}

/// The name of an enum's value.
struct Named<'a>(&'a str);

impl<'de> EnumAccess<'de> for Named<'de> {
    type Error = Wrong;
    type Variant = <StrDeserializer<'de, Wrong> as EnumAccess<'de>>::Variant;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self::Variant), Wrong> {
        let name: StrDeserializer<'de, Wrong> = self.0.into_deserializer();
        name.variant_seed(seed)
    }
}
