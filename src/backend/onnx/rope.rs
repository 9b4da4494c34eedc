//! A message that is written anew from pieces of an old one, which are slices of it and not copies.

use bytes::{BufMut, Bytes, BytesMut};

/// Bytes in pieces, joined once at the end.
#[derive(Default)]
pub struct Rope {
    pieces: Vec<Bytes>,
    length: usize,
}

impl From<Bytes> for Rope {
    fn from(piece: Bytes) -> Self {
        Self { length: piece.len(), pieces: vec![piece] }
    }
}

impl Rope {
    pub fn push(&mut self, piece: Bytes) {
        self.length += piece.len();
        self.pieces.push(piece);
    }

    /// A field of the wire type for messages and bytes.
    pub fn push_field(&mut self, number: u64, inner: impl Into<Rope>) {
        let inner = inner.into();
        self.push_head(number << 3 | 2, inner.length as u64);
        self.length += inner.length;
        self.pieces.extend(inner.pieces);
    }

    /// A field of the wire type for numbers.
    pub fn push_number(&mut self, number: u64, value: u64) {
        self.push_head(number << 3, value);
    }

    fn push_head(&mut self, tag: u64, value: u64) {
        let mut head = BytesMut::new();
        for mut number in [tag, value] {
            while number > 0x7f {
                head.put_u8((number & 0x7f) as u8 | 0x80);
                number >>= 7;
            }
            head.put_u8(number as u8);
        }
        self.push(head.freeze());
    }

    pub fn joined(self) -> Bytes {
        let mut whole = BytesMut::with_capacity(self.length);
        for piece in self.pieces {
            whole.extend_from_slice(&piece);
        }
        whole.freeze()
    }
}
