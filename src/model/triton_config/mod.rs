//! `config.pbtxt`, Triton's configuration of a model, read as it is, and the way back for clients
//! that ask for it.
//!
//! ```text
//! text     bytes of config.pbtxt  -> tree     comments, braces, lists, strings, numbers
//! tree     JSON                   -> tree     the `config` of a load request
//! de       tree                   -> fields   serde, with line, path and nearest name
//! fields   the table of fields: what is done, what is refused by its name
//! into     fields                 -> Manifest what the rest of Galen works with
//! complete Manifest, signature    -> Manifest the batch size that a silent author gets
//! json     Manifest, as served    -> fields   -> JSON
//! ```
//!
//! What Galen does not do is refused and named, never passed over. What this room must not know:
//! files, engines, protocols.

mod accelerators;
mod complete;
mod de;
pub mod fields;
mod into;
pub mod json;
mod parameters;
mod refused;
mod text;
mod tree;

pub use complete::{BATCH_SIZE_COMPLETED, complete};
pub use fields::TritonConfig;

use super::Manifest;
use crate::error::Result;

/// The name of the file in a model's directory.
pub const FILE: &str = "config.pbtxt";

impl TritonConfig {
    /// Reads the text format; an error names the line, the field, and for an unknown name the
    /// nearest known one.
    pub fn from_text(text: &str) -> Result<Self> {
        de::from_fields(&text::parse(text)?)
    }

    /// Reads the JSON form, as a load request carries it and [`json`] writes it.
    pub fn from_json(text: &str) -> Result<Self> {
        de::from_fields(&tree::from_json(text)?)
    }

    /// What the configuration means for the model of this name.
    pub fn into_manifest(self, model: &str) -> Result<Manifest> {
        into::manifest(self, model)
    }
}

#[cfg(test)]
mod tests;
