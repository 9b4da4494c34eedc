//! A tensor's message in a model file, read without copies.

use bytes::Bytes;

use super::rope::Rope;
use super::{DATA_LOCATION, EXTERNAL_DATA, NAME, Value, field, varint};

/// Fields of a tensor.
const DIMS: u64 = 1;
const DATA_TYPE: u64 = 2;
pub const RAW_DATA: u64 = 9;
/// Elements by type; with `RAW_DATA` all the ways to hold data.
const TYPED_DATA: [u64; 6] = [4, 5, 6, 7, 10, 11];
/// What `DATA_LOCATION` says where the data is in another file.
pub const EXTERNAL: u64 = 1;

/// No tensor has as many; what is packed here grows eightfold.
const DIMS_MAX: usize = 10_000;

/// What a tensor says of itself and of where its data is.
#[derive(Default)]
pub struct Tensor<'a> {
    pub name: &'a [u8],
    pub dims: Vec<u64>,
    pub data_type: u64,
    pub location: u64,
    /// Keys and values.
    pub external: Vec<(&'a [u8], &'a [u8])>,
    /// Its bytes, where it holds them as such.
    pub raw: &'a [u8],
    pub has_own_data: bool,
    /// Everything but the fields that were not wanted.
    pub kept: Rope,
}

impl<'a> Tensor<'a> {
    /// `None` for bytes that are no tensor.
    pub fn read(bytes: &'a Bytes, unwanted: &[u64]) -> Option<Self> {
        let (mut tensor, mut rest) = (Tensor::default(), &bytes[..]);
        while !rest.is_empty() {
            let here = rest;
            let (number, value);
            (number, value, rest) = field(here)?;
            let is_data = number == RAW_DATA || TYPED_DATA.contains(&number);
            match (number, value) {
                (DATA_LOCATION, Value::Number(location)) => tensor.location = location,
                (EXTERNAL_DATA, Value::Bytes(entry)) => tensor.external.push(entry_of(entry)?),
                (DIMS, Value::Number(dim)) => tensor.dims.push(dim),
                (DIMS, Value::Bytes(mut packed)) => {
                    while !packed.is_empty() {
                        let dim;
                        (dim, packed) = varint(packed)?;
                        tensor.dims.push(dim);
                    }
                }
                (DATA_TYPE, Value::Number(data_type)) => tensor.data_type = data_type,
                (NAME, Value::Bytes(name)) => tensor.name = name,
                (RAW_DATA, Value::Bytes(raw)) => {
                    tensor.raw = raw;
                    tensor.has_own_data |= !raw.is_empty();
                }
                (_, Value::Bytes(data)) if is_data => tensor.has_own_data |= !data.is_empty(),
                (_, Value::Number(_)) if is_data => tensor.has_own_data = true,
                _ => {}
            }
            if tensor.dims.len() > DIMS_MAX {
                return None;
            }
            if !unwanted.contains(&number) {
                tensor.kept.push(bytes.slice_ref(&here[..here.len() - rest.len()]));
            }
        }
        Some(tensor)
    }

    pub fn is_elsewhere(&self) -> bool {
        self.location != 0 || !self.external.is_empty()
    }
}

/// An entry of external_data: key and value.
fn entry_of(mut rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut entry = (&[][..], &[][..]);
    while !rest.is_empty() {
        let (number, value);
        (number, value, rest) = field(rest)?;
        match (number, value) {
            (1, Value::Bytes(key)) => entry.0 = key,
            (2, Value::Bytes(value)) => entry.1 = value,
            _ => {}
        }
    }
    Some(entry)
}
