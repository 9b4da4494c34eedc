//! A look at a `ModelInferRequest` before it is decoded: how many fields it holds.
//!
//! A field costs two bytes on the wire and up to 300 in memory: 64 MiB of empty inputs would become
//! 10 GB of structures. So fields are counted first, and a message with more of them than any sane
//! request has is refused. Nothing is allocated here, and a tensor's bytes are stepped over.
//!
//! Pure.

/// Fields of a message and of its inputs and outputs, contents aside.
pub const FIELDS_MAX: usize = 1 << 16;
/// Elements of typed contents that stand as fields of their own: BYTES, and unpacked numbers.
pub const ELEMENTS_MAX: usize = 1 << 20;

/// Field numbers of `ModelInferRequest`.
const INPUTS: u64 = 5;
const OUTPUTS: u64 = 6;
/// Field number of `ModelInferRequest.InferInputTensor`.
const CONTENTS: u64 = 5;

/// Whether a message stays within both bounds; what is no protobuf is left to the decoder.
pub fn is_bounded(message: &[u8]) -> bool {
    let mut fields = Budget(FIELDS_MAX);
    let mut elements = Budget(ELEMENTS_MAX);
    for (number, payload) in Fields(message) {
        if !fields.take() {
            return false;
        }
        let fits = match number {
            INPUTS => Fields(payload).all(|(number, payload)| {
                let fits = number != CONTENTS || Fields(payload).all(|_| elements.take());
                fits && fields.take()
            }),
            OUTPUTS => Fields(payload).all(|_| fields.take()),
            _ => true,
        };
        if !fits {
            return false;
        }
    }
    true
}

struct Budget(usize);

impl Budget {
    fn take(&mut self) -> bool {
        self.0.checked_sub(1).inspect(|rest| self.0 = *rest).is_some()
    }
}

/// The fields of one message: number and, for a length-delimited one, its payload. Ends early at
/// what can not be read.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let key = varint(&mut self.0)?;
        let payload = match key & 7 {
            0 => varint(&mut self.0).map(|_| &[][..])?,
            1 => take(&mut self.0, 8).map(|_| &[][..])?,
            2 => {
                let length = usize::try_from(varint(&mut self.0)?).ok()?;
                take(&mut self.0, length)?
            }
            // The two ends of a group, which no message of ours has.
            3 | 4 => &[],
            5 => take(&mut self.0, 4).map(|_| &[][..])?,
            _ => return None,
        };
        Some((key >> 3, payload))
    }
}

fn take<'a>(data: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, tail) = data.split_at_checked(length)?;
    *data = tail;
    Some(head)
}

/// A base-128 number of at most ten bytes.
fn varint(data: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..70).step_by(7) {
        let (byte, tail) = data.split_first()?;
        *data = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::pb::inference as pb;
    use super::*;
    use proptest::prelude::*;
    use prost::Message;

    fn strings(count: usize) -> Vec<u8> {
        let contents = pb::InferTensorContents {
            bytes_contents: vec![Default::default(); count],
            ..Default::default()
        };
        let contents = Some(contents);
        let input = pb::model_infer_request::InferInputTensor { contents, ..Default::default() };
        pb::ModelInferRequest { inputs: vec![input], ..Default::default() }.encode_to_vec()
    }

    #[test]
    fn fields_and_elements_are_counted_where_a_caller_can_multiply_them() {
        let empty_inputs = |count| [0x2a, 0].repeat(count);
        assert!(is_bounded(&empty_inputs(FIELDS_MAX)));
        assert!(!is_bounded(&empty_inputs(FIELDS_MAX + 1)));
        let nested = |tag: u8, inner: Vec<u8>| {
            let mut message = vec![tag];
            prost::encode_length_delimiter(inner.len(), &mut message).unwrap();
            message.extend(inner);
            message
        };
        // Parameters of an input, and of an output.
        assert!(!is_bounded(&nested(0x2a, [0x22, 0].repeat(FIELDS_MAX))));
        assert!(!is_bounded(&nested(0x32, [0x12, 0].repeat(FIELDS_MAX))));
        assert!(is_bounded(&strings(ELEMENTS_MAX)));
        assert!(!is_bounded(&strings(ELEMENTS_MAX + 1)));
    }

    #[test]
    fn a_big_tensor_is_one_field() {
        let raw_input_contents = vec![vec![0; 8 * FIELDS_MAX].into()];
        let contents = pb::InferTensorContents {
            int64_contents: vec![0; 2 * ELEMENTS_MAX],
            ..Default::default()
        };
        let contents = Some(contents);
        let input = pb::model_infer_request::InferInputTensor { contents, ..Default::default() };
        let inputs = vec![input];
        let request = pb::ModelInferRequest { inputs, raw_input_contents, ..Default::default() };
        assert!(is_bounded(&request.encode_to_vec()));
    }

    #[test]
    fn numbers_of_ten_bytes_are_read_and_longer_ones_are_not() {
        let mut longest: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(varint(&mut longest), Some(u64::MAX));
        assert_eq!(varint(&mut [0xff; 11].as_slice()), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(data in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = is_bounded(&data);
        }
    }
}
