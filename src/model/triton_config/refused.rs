//! How a field that Triton has and Galen does not is written down in [`fields`](super::fields): it
//! may be said as long as it asks for nothing, and is refused by its name otherwise. Nothing that
//! was written is passed over in silence.

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny};
use serde::{Serialize, Serializer};

use super::de::REFUSED;

/// A field that must be absent: even an empty message of it means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Never {}

impl<'de> Deserialize<'de> for Never {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(D::Error::custom(REFUSED))
    }
}

impl Serialize for Never {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        match *self {}
    }
}

/// A field that must hold its default: false, 0, nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Neutral<T>(T);

impl<'de, T: Deserialize<'de> + Default + PartialEq> Deserialize<'de> for Neutral<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = T::deserialize(deserializer)?;
        if value == T::default() { Ok(Self(value)) } else { Err(D::Error::custom(REFUSED)) }
    }
}

/// What stands inside a list or map that must be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Something;

impl<'de> Deserialize<'de> for Something {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

impl Serialize for Something {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}
