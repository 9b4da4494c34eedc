//! gzip and deflate, both ways. What comes in is unpacked under the same limit as any body, while
//! it is unpacked, so that a small bomb stays small; what goes out is packed where the caller asks
//! for it and it is worth the while. Pure.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};

use crate::error::{Error, ErrorKind, Result};

/// Smaller answers cost more to pack than to send.
const PACKED_BYTES_MIN: usize = 4096;

/// A content coding (RFC 9110, section 8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    /// The zlib format, whatever the name says.
    Deflate,
}

impl Coding {
    pub fn name(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Deflate => "deflate",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        match name {
            "gzip" | "x-gzip" => Some(Coding::Gzip),
            "deflate" => Some(Coding::Deflate),
            _ => None,
        }
    }

    /// The coding of a request's body; `None` for a plain one.
    pub fn of_request(header: Option<&str>) -> Result<Option<Self>> {
        let name = header.unwrap_or("").trim().to_ascii_lowercase();
        match name.as_str() {
            "" | "identity" => Ok(None),
            name => Self::from_name(name).map(Some).ok_or_else(|| {
                let message = "the request body has a Content-Encoding that is not supported; \
                               expected gzip, deflate or identity";
                Error::new(ErrorKind::UnsupportedEncoding, message)
            }),
        }
    }

    /// The coding that an `Accept-Encoding` prefers among ours; `None` for a plain answer.
    pub fn of_answer(accept: Option<&str>, bytes: usize) -> Option<Self> {
        if bytes < PACKED_BYTES_MIN {
            return None;
        }
        let weighed = accept?.split(',').filter_map(|part| {
            let (name, parameters) = part.split_once(';').unwrap_or((part, ""));
            let coding = Self::from_name(&name.trim().to_ascii_lowercase())?;
            let weight = parameters.trim().strip_prefix("q=").map_or(Some(1.0), |q| q.parse().ok());
            Some((coding, weight.filter(|weight: &f32| *weight > 0.0)?))
        });
        // Of equals, the first one named.
        weighed.reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|(c, _)| c)
    }

    /// Unpacks a body to at most `bytes_max` bytes.
    pub fn unpack(self, packed: &[u8], bytes_max: usize) -> Result<Bytes> {
        let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
        let mut whole = Vec::new();
        let outcome = match self {
            Coding::Gzip => MultiGzDecoder::new(packed).take(limit).read_to_end(&mut whole),
            Coding::Deflate => ZlibDecoder::new(packed).take(limit).read_to_end(&mut whole),
        };
        let name = self.name();
        outcome
            .map_err(|_| Error::invalid(format!("the request body is not valid {name} data")))?;
        if whole.len() > bytes_max {
            return Err(Error::too_large(format!(
                "the unpacked request body is larger than the limit of {bytes_max} bytes"
            )));
        }
        Ok(whole.into())
    }

    /// Packs an answer; `None` where that fails, which memory does not.
    pub fn pack(self, plain: &[u8]) -> Option<Bytes> {
        let out = Vec::with_capacity(plain.len() / 2);
        let packed = match self {
            Coding::Gzip => {
                let mut encoder = GzEncoder::new(out, Compression::fast());
                encoder.write_all(plain).and_then(|()| encoder.finish())
            }
            Coding::Deflate => {
                let mut encoder = ZlibEncoder::new(out, Compression::fast());
                encoder.write_all(plain).and_then(|()| encoder.finish())
            }
        };
        packed.ok().map(Bytes::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_caller_gets_the_coding_it_prefers() {
        let of = |accept| Coding::of_answer(Some(accept), PACKED_BYTES_MIN);
        assert_eq!(of("gzip, deflate"), Some(Coding::Gzip));
        assert_eq!(of("deflate, gzip;q=0.5"), Some(Coding::Deflate));
        assert_eq!(of("gzip;q=0, deflate;q=0.1, br"), Some(Coding::Deflate));
        assert_eq!(of("br, identity"), None);
        assert_eq!(of("gzip;q=x"), None);
        assert_eq!(Coding::of_answer(Some("gzip"), PACKED_BYTES_MIN - 1), None);
        assert_eq!(Coding::of_answer(None, 1 << 20), None);
        assert_eq!(Coding::of_request(Some("Identity")).unwrap(), None);
        assert_eq!(Coding::of_request(Some("GZIP")).unwrap(), Some(Coding::Gzip));
        let refused = Coding::of_request(Some("br")).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::UnsupportedEncoding);
    }

    #[test]
    fn a_bomb_stays_small() {
        for coding in [Coding::Gzip, Coding::Deflate] {
            let bomb = coding.pack(&vec![b'['; 10 << 20]).unwrap();
            assert!(bomb.len() < 100 << 10);
            let error = coding.unpack(&bomb, 1 << 20).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooLarge);
            assert_eq!(coding.unpack(&bomb, 10 << 20).unwrap().len(), 10 << 20);
            let cut = coding.unpack(&bomb[..bomb.len() / 2], 20 << 20).unwrap_err();
            assert_eq!(cut.kind(), ErrorKind::InvalidInput);
        }
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(plain in proptest::collection::vec(any::<u8>(), 0..2000)) {
            for coding in [Coding::Gzip, Coding::Deflate] {
                let packed = coding.pack(&plain).unwrap();
                prop_assert_eq!(&coding.unpack(&packed, plain.len()).unwrap()[..], &plain[..]);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(packed in proptest::collection::vec(any::<u8>(), 0..200)) {
            for coding in [Coding::Gzip, Coding::Deflate] {
                let _ = coding.unpack(&packed, 1000);
            }
        }
    }
}
