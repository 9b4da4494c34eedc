//! Where in a shared memory object a tensor may lie, and what regions and objects may be called.
//! Pure: whatever a caller claims, nothing overflows and nothing reaches beyond what was
//! registered.

/// A run of bytes whose end can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    offset: u64,
    bytes: u64,
}

impl Span {
    /// `None` where it would end beyond what 64 bits can count.
    pub fn new(offset: u64, bytes: u64) -> Option<Self> {
        offset.checked_add(bytes).map(|_| Self { offset, bytes })
    }

    pub fn offset(self) -> u64 {
        self.offset
    }

    pub fn bytes(self) -> u64 {
        self.bytes
    }

    /// The first byte behind it.
    pub fn end(self) -> u64 {
        self.offset + self.bytes
    }

    /// A part of it, which counts from its start, counted from where it counts itself; `None` where
    /// that is not wholly inside.
    pub fn part(self, inner: Span) -> Option<Span> {
        let inside = inner.end() <= self.bytes;
        inside.then(|| Span { offset: self.offset + inner.offset, bytes: inner.bytes })
    }
}

const REGION_CHARS_MAX: usize = 128;
/// What a file system takes.
const FILE_CHARS_MAX: usize = 255;

/// Whether a region may be called so: `[A-Za-z0-9._-]{1,128}`.
pub fn is_region_name(name: &str) -> bool {
    is_plain(name, REGION_CHARS_MAX)
}

/// The file of a shared memory object, beneath the folder of them all; `None` for a key that could
/// lead elsewhere. Leading slashes do not count, as in `shm_open`.
pub fn file_name(key: &str) -> Option<&str> {
    let name = key.trim_start_matches('/');
    is_plain(name, FILE_CHARS_MAX).then_some(name)
}

/// One component of a path, and no way up.
fn is_plain(name: &str, chars_max: usize) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let fits = (1..=chars_max).contains(&name.len());
    fits && name.bytes().all(legal) && name != "." && name != ".."
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_lead_to_one_file_and_nowhere_else() {
        assert_eq!(file_name("/psm_1a.b"), Some("psm_1a.b"));
        assert_eq!(file_name("psm"), Some("psm"));
        assert_eq!(file_name("//psm"), Some("psm"));
        for key in ["", "/", "..", "/..", ".", "a/b", "/a/", "../a", "a\0", "a\\b", "é", "a b"] {
            assert_eq!(file_name(key), None, "{key:?}");
        }
        assert!(file_name(&"x".repeat(255)).is_some() && file_name(&"x".repeat(256)).is_none());
        assert!(is_region_name("input_0-a.b"));
        for name in ["", "a/b", "a\n", "..", "a b"] {
            assert!(!is_region_name(name), "{name:?}");
        }
        assert!(!is_region_name(&"x".repeat(129)));
    }

    /// Small numbers, and those where 64 bits end.
    fn numbers() -> impl Strategy<Value = u64> {
        prop_oneof![0u64..40, (u64::MAX - 40)..=u64::MAX, any::<u64>()]
    }

    proptest! {
        #[test]
        fn a_part_is_wholly_inside_or_there_is_none(
            offset in numbers(), bytes in numbers(), at in numbers(), length in numbers()
        ) {
            let wide = |a: u64, b: u64| u128::from(a) + u128::from(b);
            let whole = Span::new(offset, bytes);
            prop_assert_eq!(whole.is_some(), wide(offset, bytes) <= u128::from(u64::MAX));
            let (Some(whole), Some(inner)) = (whole, Span::new(at, length)) else { return Ok(()) };
            let part = whole.part(inner);
            prop_assert_eq!(part.is_some(), wide(at, length) <= u128::from(bytes));
            if let Some(part) = part {
                prop_assert_eq!(u128::from(part.offset()), wide(offset, at));
                prop_assert_eq!(part.bytes(), length);
                prop_assert!(part.end() <= whole.end());
            }
        }
    }
}
