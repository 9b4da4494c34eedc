//! The wire form of BYTES tensors: each element is a little-endian `u32` length and that many
//! bytes.
//! (Open Inference Protocol, "Binary Tensor Data Extension".) Elements may hold any byte, NUL too.

/// Bytes of the length in front of every element.
pub const PREFIX: usize = 4;

/// Walks the elements; stops with `None` in place of an element that the data does not hold.
pub fn elements(data: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut rest = data;
    let mut broken = false;
    std::iter::from_fn(move || {
        if rest.is_empty() || broken {
            return None;
        }
        let element = split_first(rest);
        match element {
            Some((_, tail)) => rest = tail,
            None => broken = true,
        }
        Some(element.map(|(head, _)| head))
    })
}

fn split_first(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (prefix, rest) = data.split_first_chunk::<PREFIX>()?;
    let length = usize::try_from(u32::from_le_bytes(*prefix)).ok()?;
    rest.split_at_checked(length)
}

/// How many elements the data holds; `None` where a length lies.
pub fn count(data: &[u8]) -> Option<usize> {
    elements(data).try_fold(0usize, |count, element| element.map(|_| count + 1))
}

/// Byte offset at which element `index` begins; the end for `index == count`.
pub fn offset(data: &[u8], index: usize) -> Option<usize> {
    elements(data)
        .take(index)
        .try_fold(0usize, |offset, element| element.map(|bytes| offset + PREFIX + bytes.len()))
}

/// Appends one element; `false` where it is longer than its length can say.
#[must_use]
pub fn push(out: &mut Vec<u8>, element: &[u8]) -> bool {
    let Ok(length) = u32::try_from(element.len()) else { return false };
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(element);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_lying_length_is_seen() {
        assert_eq!(count(&[5, 0, 0, 0, b'a']), None);
        assert_eq!(count(&[1, 0, 0]), None);
        assert_eq!(count(&[0xff, 0xff, 0xff, 0xff, 1, 2, 3]), None);
        assert_eq!(count(&[]), Some(0));
    }

    proptest! {
        #[test]
        fn elements_round_trip(words in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..20), 0..20)) {
            let mut data = Vec::new();
            for word in &words {
                prop_assert!(push(&mut data, word));
            }
            prop_assert_eq!(count(&data), Some(words.len()));
            let back: Vec<_> = elements(&data).map(|e| e.unwrap().to_vec()).collect();
            prop_assert_eq!(back, words);
        }

        #[test]
        fn arbitrary_bytes_never_panic(data in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = count(&data);
            let _ = offset(&data, 3);
        }
    }
}
