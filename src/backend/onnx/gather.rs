//! Tensors whose data lies in other files of the version's folder, taken into the bytes of the
//! model: an engine gets memory, never a path, and what it gets is what was read and hashed once.
//!
//! A name leads nowhere else, a range lies within its file and is as long as the tensor's shape
//! asks for, and all of it together stays under the limit of a model, however often one range is
//! named. Only the messages around such a tensor are written anew; everything else is a slice.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use bytes::Bytes;

use super::rope::Rope;
use super::tensor::{EXTERNAL, RAW_DATA, Tensor};
use super::{DATA_LOCATION, DEPTH_MAX, EXTERNAL_DATA, Message, Value, field};
use super::{find_elsewhere, malformed};
use crate::backend::ReadFile;
use crate::error::{Error, Result, quoted};

/// The type of tensors of text.
const STRING: u64 = 8;

const FILES_MAX: usize = 1000;
const LOCATION_BYTES_MAX: usize = 1024;

/// The model in one piece; the very same bytes where it already is.
pub fn gather(engine: &str, file: Bytes, bytes_max: u64, read: ReadFile<'_>) -> Result<Bytes> {
    match find_elsewhere(Message::Model, &file, DEPTH_MAX) {
        Some(Some(_)) => {}
        Some(None) => return Ok(file),
        None => return Err(malformed(engine)),
    }
    let left = bytes_max.saturating_sub(file.len() as u64);
    let mut gatherer = Gatherer { engine, read, files: BTreeMap::new(), left, left_to_read: left };
    let rope = gatherer.rewrite(Message::Model, &file, DEPTH_MAX)?;
    Ok(rope.map_or(file, Rope::joined))
}

struct Gatherer<'a> {
    engine: &'a str,
    read: ReadFile<'a>,
    files: BTreeMap<String, Bytes>,
    /// Bytes that tensors may still take, and that files may still have.
    left: u64,
    left_to_read: u64,
}

impl Gatherer<'_> {
    /// The message with the data of its tensors in it; `None` where nothing changes.
    fn rewrite(&mut self, message: Message, bytes: &Bytes, depth: usize) -> Result<Option<Rope>> {
        let depth = depth.checked_sub(1).ok_or_else(|| malformed(self.engine))?;
        if message == Message::Tensor {
            return self.tensor(bytes);
        }
        let (mut rope, mut kept, mut at) = (Rope::default(), 0, 0);
        while at < bytes.len() {
            let (number, value, rest) =
                field(&bytes[at..]).ok_or_else(|| malformed(self.engine))?;
            let end = bytes.len() - rest.len();
            if let (Value::Bytes(inner), Some(message)) = (value, message.field(number))
                && let Some(inner) = self.rewrite(message, &bytes.slice_ref(inner), depth)?
            {
                rope.push(bytes.slice(kept..at));
                rope.push_field(number, inner);
                kept = end;
            }
            at = end;
        }
        if kept == 0 {
            return Ok(None);
        }
        rope.push(bytes.slice(kept..));
        Ok(Some(rope))
    }

    fn tensor(&mut self, bytes: &Bytes) -> Result<Option<Rope>> {
        let tensor = Tensor::read(bytes, &[DATA_LOCATION, EXTERNAL_DATA])
            .ok_or_else(|| malformed(self.engine))?;
        if !tensor.is_elsewhere() {
            return Ok(None);
        }
        let name = quoted(&String::from_utf8_lossy(tensor.name));
        let refuse = |why: String| {
            Error::invalid(format!("the data of tensor '{name}' can not be read: {why}"))
        };
        let place = tensor.place().map_err(refuse)?;
        let file = self.file(&place.location).map_err(|error| refuse(error.message().into()))?;
        let data = place.of(&file).map_err(refuse)?;
        tensor.check_length(data.len()).map_err(refuse)?;
        let left = self.left.checked_sub(data.len() as u64);
        self.left = left.ok_or_else(|| refuse("the model is larger than the limit".into()))?;
        let mut rope = tensor.kept;
        let mut whole = Rope::default();
        whole.push(data);
        rope.push_field(RAW_DATA, whole);
        Ok(Some(rope))
    }

    /// A file of the version's folder; each is read once.
    fn file(&mut self, location: &str) -> Result<Bytes> {
        if let Some(file) = self.files.get(location) {
            return Ok(file.clone());
        }
        if self.files.len() == FILES_MAX {
            return Err(Error::invalid(format!("the model names more than {FILES_MAX} files")));
        }
        let file = (self.read)(location, self.left_to_read)?;
        self.left_to_read = self.left_to_read.saturating_sub(file.len() as u64);
        self.files.insert(location.to_owned(), file.clone());
        Ok(file)
    }
}

impl Tensor<'_> {
    fn place(&self) -> std::result::Result<Place, String> {
        if self.location != EXTERNAL {
            return Err("it names another file, but is not marked as external".into());
        }
        if self.has_own_data {
            return Err("it has data of its own, too".into());
        }
        let mut known: BTreeMap<&str, &str> = BTreeMap::new();
        for (key, value) in &self.external {
            let (Ok(key), Ok(value)) = (str::from_utf8(key), str::from_utf8(value)) else {
                return Err("external_data: expected UTF-8 text".into());
            };
            if !["location", "offset", "length", "checksum"].contains(&key) {
                let key = quoted(key);
                return Err(format!("external_data has the unknown key '{key}'"));
            }
            if known.insert(key, value).is_some() {
                return Err(format!("external_data has two entries '{key}'"));
            }
        }
        let number = |key: &str| match known.get(key) {
            None => Ok(None),
            Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                let number = text.parse::<usize>();
                number.map(Some).map_err(|_| format!("external_data.{key} is out of range"))
            }
            Some(_) => Err(format!("external_data.{key}: expected a number of bytes")),
        };
        let location = known.get("location").copied().unwrap_or_default();
        if !is_inside(location) {
            return Err(format!(
                "its file '{}' is not one of the version's folder: expected a relative path \
                 without '..'",
                quoted(location)
            ));
        }
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
        Ok(Place { location: location.to_owned(), offset, length })
    }

    /// Whether the data is as long as type and shape ask for. Types that are not known here are
    /// the engine's to judge.
    fn check_length(&self, length: usize) -> std::result::Result<(), String> {
        let bits: u64 = match self.data_type {
            STRING => return Err("strings can not lie in another file".into()),
            2 | 3 | 9 | 17..=20 | 24 => 8,
            4 | 5 | 10 | 16 => 16,
            1 | 6 | 12 => 32,
            7 | 11 | 13 | 14 => 64,
            15 => 128,
            21..=23 => 4,
            25 | 26 => 2,
            _ => return Ok(()),
        };
        let elements = self.dims.iter().try_fold(1u64, |product, dim| product.checked_mul(*dim));
        let wanted = elements.and_then(|count| count.checked_mul(bits)).map(|n| n.div_ceil(8));
        match wanted {
            Some(wanted) if wanted == length as u64 => Ok(()),
            Some(wanted) => Err(format!("it has {length} bytes, its shape asks for {wanted}")),
            None => Err("its shape is too large".into()),
        }
    }
}

/// A path of plain names beneath the version's folder. (That no link leads out of it is seen to
/// where it is opened.)
fn is_inside(location: &str) -> bool {
    let fits = (1..=LOCATION_BYTES_MAX).contains(&location.len());
    let is_plain = |part| matches!(part, Component::Normal(_));
    fits && !location.contains(['\\', '\0']) && Path::new(location).components().all(is_plain)
}

/// A range of a file.
struct Place {
    location: String,
    offset: usize,
    /// `None`: to the end of the file.
    length: Option<usize>,
}

impl Place {
    fn of(&self, file: &Bytes) -> std::result::Result<Bytes, String> {
        let length = self.length.or_else(|| file.len().checked_sub(self.offset));
        let end = length.and_then(|length| self.offset.checked_add(length));
        match end.filter(|end| *end <= file.len()) {
            Some(end) => Ok(file.slice(self.offset..end)),
            None => Err(format!(
                "offset {} and length {} reach beyond the {} bytes of '{}'",
                self.offset,
                self.length.map_or("none".to_owned(), |length| length.to_string()),
                file.len(),
                quoted(&self.location)
            )),
        }
    }
}

#[cfg(test)]
mod tests;
