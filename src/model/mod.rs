//! What a model is, as plain data: its name and versions, its signature, the configuration beside
//! it, and the contract of its typed API.
//!
//! What this room must not know: files, engines, protocols.

pub mod batching;
pub mod card;
pub mod contract;
pub mod device;
pub mod ensemble;
pub mod examples;
pub mod manifest;
pub mod mend;
pub mod mlmodel;
pub mod performance;
pub mod profile;
pub mod refine;
pub mod reshape;
pub mod signature;
pub mod traffic;
pub mod transformer;
pub mod triton_config;
pub mod warmup;

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result, quoted};

pub use contract::Contract;
pub use examples::Examples;
pub use manifest::Manifest;
pub use profile::Profile;
pub use signature::{Signature, TensorSpec};

/// A model's name: a directory of the registry, and a segment of every URL.
///
/// `[A-Za-z0-9._-]{1,128}`, not `.` or `..`: nothing a file system or a URL could read as a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelName(Arc<str>);

impl ModelName {
    pub const CHARS_MAX: usize = 128;

    pub fn new(name: &str) -> Option<Self> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let fits = (1..=Self::CHARS_MAX).contains(&name.len());
        (fits && name.bytes().all(legal) && name != "." && name != "..").then(|| Self(name.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for ModelName {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

/// A version: a positive integer with no leading zero, as Triton and TensorFlow Serving write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

impl Version {
    /// `[1-9][0-9]{0,17}`: always fits a signed 64-bit integer, which clients use.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() <= 18 && text.bytes().all(|byte| byte.is_ascii_digit());
        (digits && !text.starts_with('0')).then(|| text.parse().ok().map(Self)).flatten()
    }

    /// From a number of the configuration, within what [`Version::parse`] reads.
    pub fn new(number: u64) -> Option<Self> {
        (1..=999_999_999_999_999_999).contains(&number).then_some(Self(number))
    }

    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One version of one model.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelId {
    pub name: ModelName,
    pub version: Version,
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.version)
    }
}

/// A name that points at one version of a model and can be moved: `stable`, `canary`, `champion`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(Arc<str>);

impl Label {
    pub const CHARS_MAX: usize = 64;

    /// `[A-Za-z_][A-Za-z0-9_.-]{0,63}`, but not `latest`: nothing that reads as a version.
    pub fn new(text: &str) -> Option<Self> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let fits = text.len() <= Self::CHARS_MAX && text.bytes().all(legal);
        (begins && fits && text != LATEST).then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for Label {
    fn borrow(&self) -> &str {
        &self.0
    }
}

const LATEST: &str = "latest";

/// How a request names the version it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector<'a> {
    /// The highest version that is ready.
    Latest,
    Exact(Version),
    /// The version that a label points at.
    Label(&'a str),
}

impl<'a> Selector<'a> {
    /// Reads the version slot of a request: empty or `latest`, a number, or a label, which may
    /// follow an `@` as MLflow writes aliases.
    pub fn parse(model: &str, text: &'a str) -> Result<Self> {
        let label = text.strip_prefix('@').unwrap_or(text);
        match text {
            "" | LATEST => Ok(Selector::Latest),
            _ if Label::new(label).is_some() => Ok(Selector::Label(label)),
            text => Version::parse(text).map(Selector::Exact).ok_or_else(|| {
                Error::invalid(format!(
                    "version '{}' of model '{}' is not a positive integer, a label or 'latest'",
                    quoted(text),
                    quoted(model)
                ))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_paths_are_refused() {
        for bad in ["", ".", "..", "a/b", "a\\b", "a b", "é", "a\0", &"x".repeat(129)] {
            assert_eq!(ModelName::new(bad), None, "{bad:?}");
        }
        for good in ["a", "breast-cancer", "v1.2_x", "...", &"x".repeat(128)] {
            assert!(ModelName::new(good).is_some(), "{good:?}");
        }
    }

    #[test]
    fn a_version_slot_holds_a_number_or_a_label() {
        let read = |text| Selector::parse("m", text).ok();
        assert_eq!(read(""), Some(Selector::Latest));
        assert_eq!(read("latest"), Some(Selector::Latest));
        assert_eq!(read("7"), Version::parse("7").map(Selector::Exact));
        assert_eq!(read("stable"), Some(Selector::Label("stable")));
        assert_eq!(read("@champion"), Some(Selector::Label("champion")));
        for bad in ["0", "07", "-1", "@", "@latest", "@1", "a b", "a/b", &"x".repeat(65)] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn versions_are_positive_integers_without_leading_zero() {
        for bad in ["", "0", "01", "-1", "+1", "1.0", "1e3", "9999999999999999999", "a"] {
            assert_eq!(Version::parse(bad), None, "{bad:?}");
        }
        assert_eq!(Version::parse("999999999999999999").unwrap().number(), 999_999_999_999_999_999);
    }
}
