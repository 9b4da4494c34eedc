//! JSON as the REST dialects read and write it: tensor elements parsed straight into bytes, and
//! bytes written as numbers, with no tree of values between.
//!
//! Pure. What this room must not know: what an object's keys mean.

pub mod dense;
pub mod read;
pub mod write;

/// How JSON carries a float that is not finite.
///
/// JSON has no such number (RFC 8259, section 6). The strings are protobuf's JSON mapping, which
/// every parser reads; the bare tokens are Triton's, which browsers refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonFinite {
    Strings,
    /// Taken beside the strings, and written in their place.
    Tokens,
    /// Refused, and written as null.
    Null,
}
