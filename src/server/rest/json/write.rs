//! Tensor elements as JSON text, appended to a buffer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use half::{bf16, f16};

use super::NonFinite;
use crate::tensor::{DType, Tensor, strings};

/// All elements of a tensor, flat, with their brackets. Bytes that are no UTF-8 become U+FFFD: JSON
/// is text, and who needs the bytes asks for binary.
pub fn elements(out: &mut Vec<u8>, tensor: &Tensor, nonfinite: NonFinite) {
    let whole = 0..tensor.shape().elements().unwrap_or(0);
    out.push(b'[');
    Elements::new(tensor).write(out, whole, nonfinite);
    out.push(b']');
}

/// The elements of one tensor, to be written in parts.
pub struct Elements<'a> {
    dtype: DType,
    data: &'a [u8],
    /// Where each element of a BYTES tensor begins.
    words: Vec<&'a [u8]>,
    base64: bool,
}

impl<'a> Elements<'a> {
    pub fn new(tensor: &'a Tensor) -> Self {
        let data: &[u8] = tensor.data();
        let words = match tensor.dtype() {
            DType::Bytes => strings::elements(data).flatten().collect(),
            _ => Vec::new(),
        };
        Self { dtype: tensor.dtype(), data, words, base64: false }
    }

    /// BYTES as `{"b64": "..."}`, TensorFlow Serving's form for what is no text.
    #[must_use]
    pub fn in_base64(mut self) -> Self {
        self.base64 = true;
        self
    }

    /// Arrays in arrays of these extents, which hold `count` elements from `start` on; the bare
    /// element where there are no extents.
    pub fn nested(
        &self,
        out: &mut Vec<u8>,
        extents: &[usize],
        start: usize,
        count: usize,
        nonfinite: NonFinite,
    ) {
        let Some((&extent, inner)) = extents.split_first() else {
            return self.write(out, start..start + 1, nonfinite);
        };
        out.push(b'[');
        if inner.is_empty() {
            self.write(out, start..start + count, nonfinite);
        } else {
            let each = count.checked_div(extent).unwrap_or(0);
            for index in 0..extent {
                if index > 0 {
                    out.push(b',');
                }
                self.nested(out, inner, start + index * each, each, nonfinite);
            }
        }
        out.push(b']');
    }

    /// Elements `range`, separated by commas. The range lies within the tensor.
    pub fn write(&self, out: &mut Vec<u8>, range: std::ops::Range<usize>, nonfinite: NonFinite) {
        macro_rules! numbers {
            ($t:ty, $write:expr) => {{
                const SIZE: usize = size_of::<$t>();
                let bytes = self.data.get(range.start * SIZE..range.end * SIZE).unwrap_or(&[]);
                for (i, chunk) in bytes.as_chunks::<SIZE>().0.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    $write(out, <$t>::from_le_bytes(*chunk));
                }
            }};
        }
        macro_rules! integers {
            ($t:ty) => {
                numbers!($t, |out: &mut Vec<u8>, value: $t| integer(out, value))
            };
        }
        match self.dtype {
            DType::U8 => integers!(u8),
            DType::U16 => integers!(u16),
            DType::U32 => integers!(u32),
            DType::U64 => integers!(u64),
            DType::I8 => integers!(i8),
            DType::I16 => integers!(i16),
            DType::I32 => integers!(i32),
            DType::I64 => integers!(i64),
            DType::F16 => {
                numbers!(f16, |out: &mut Vec<u8>, v: f16| float(out, v.to_f32(), nonfinite))
            }
            DType::BF16 => {
                numbers!(bf16, |out: &mut Vec<u8>, v: bf16| float(out, v.to_f32(), nonfinite))
            }
            DType::F32 => numbers!(f32, |out: &mut Vec<u8>, v: f32| float(out, v, nonfinite)),
            DType::F64 => numbers!(f64, |out: &mut Vec<u8>, v: f64| float(out, v, nonfinite)),
            DType::Bool => numbers!(u8, |out: &mut Vec<u8>, value: u8| {
                out.extend_from_slice(if value == 0 { b"false" } else { b"true" });
            }),
            DType::Bytes => {
                for (i, word) in self.words.get(range).unwrap_or(&[]).iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    if self.base64 {
                        out.extend_from_slice(b"{\"b64\":\"");
                        out.extend_from_slice(STANDARD.encode(word).as_bytes());
                        out.extend_from_slice(b"\"}");
                    } else {
                        string(out, &String::from_utf8_lossy(word));
                    }
                }
            }
        }
    }
}

pub fn integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// The shortest decimal that reads back as the same number.
fn float<F: zmij::Float + Into<f64> + Copy>(out: &mut Vec<u8>, value: F, nonfinite: NonFinite) {
    let wide: f64 = value.into();
    if wide.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
        return;
    }
    let word = match (wide.is_nan(), wide > 0.0) {
        (true, _) => "NaN",
        (false, true) => "Infinity",
        (false, false) => "-Infinity",
    };
    match nonfinite {
        NonFinite::Strings => string(out, word),
        NonFinite::Tokens => out.extend_from_slice(word.as_bytes()),
        NonFinite::Null => out.extend_from_slice(b"null"),
    }
}

/// A string with its quotes, escaped.
pub fn string(out: &mut Vec<u8>, text: &str) {
    // Writing a string into memory can not fail.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{Shape, shared};
    use proptest::prelude::*;

    fn text(dtype: DType, elements_of: usize, data: Vec<u8>, nonfinite: NonFinite) -> String {
        let tensor = Tensor::new("y", dtype, Shape::new([elements_of]), data.into()).unwrap();
        let mut out = Vec::new();
        elements(&mut out, &tensor, nonfinite);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_booleans_and_strings_look_like_json() {
        let ints: Vec<u8> = [-3i16, 7].iter().flat_map(|n| n.to_le_bytes()).collect();
        assert_eq!(text(DType::I16, 2, ints, NonFinite::Strings), "[-3,7]");
        assert_eq!(text(DType::Bool, 2, vec![0, 1], NonFinite::Strings), "[false,true]");
        let mut words = Vec::new();
        assert!(strings::push(&mut words, b"a\"\n") && strings::push(&mut words, &[0xff]));
        assert_eq!(text(DType::Bytes, 2, words, NonFinite::Strings), "[\"a\\\"\\n\",\"\u{fffd}\"]");
        assert_eq!(text(DType::F32, 0, vec![], NonFinite::Strings), "[]");
    }

    #[test]
    fn what_is_not_finite_follows_the_rule() {
        let data: Vec<u8> = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.5]
            .iter()
            .flat_map(|n| n.to_le_bytes())
            .collect();
        let with = |rule| text(DType::F32, 4, data.clone(), rule);
        assert_eq!(with(NonFinite::Strings), "[\"NaN\",\"Infinity\",\"-Infinity\",1.5]");
        assert_eq!(with(NonFinite::Tokens), "[NaN,Infinity,-Infinity,1.5]");
        assert_eq!(with(NonFinite::Null), "[null,null,null,1.5]");
    }

    #[test]
    fn extents_become_brackets_and_bytes_base64() {
        let tensor = |shape: &[usize], dtype, data: Vec<u8>| {
            Tensor::new("y", dtype, Shape::new(shape.iter().copied()), data.into()).unwrap()
        };
        let nested = |tensor: &Tensor, base64: bool| {
            let (mut out, count) = (Vec::new(), tensor.shape().elements().unwrap());
            let elements = Elements::new(tensor);
            let elements = if base64 { elements.in_base64() } else { elements };
            elements.nested(&mut out, tensor.shape(), 0, count, NonFinite::Strings);
            String::from_utf8(out).unwrap()
        };
        let cube = tensor(&[2, 1, 2], DType::U8, vec![1, 2, 3, 4]);
        assert_eq!(nested(&cube, false), "[[[1,2]],[[3,4]]]");
        assert_eq!(nested(&tensor(&[2, 0], DType::U8, vec![]), false), "[[],[]]");
        assert_eq!(nested(&tensor(&[], DType::U8, vec![7]), false), "7");
        assert_eq!(nested(&tensor(&[0, usize::MAX, 9], DType::U8, vec![]), false), "[]");
        let mut word = Vec::new();
        assert!(strings::push(&mut word, &[0xff, 0]));
        assert_eq!(nested(&tensor(&[1], DType::Bytes, word), true), r#"[{"b64":"/wA="}]"#);
    }

    proptest! {
        #[test]
        fn floats_read_back_to_the_bit(numbers in proptest::collection::vec(any::<f64>(), 0..20)) {
            let numbers: Vec<f64> = numbers.into_iter().filter(|n| n.is_finite()).collect();
            let tensor =
                Tensor::new("y", DType::F64, Shape::new([numbers.len()]), shared(numbers.clone()));
            let mut out = Vec::new();
            elements(&mut out, &tensor.unwrap(), NonFinite::Strings);
            let text = str::from_utf8(&out).unwrap().trim_matches(['[', ']']);
            let words = text.split(',').filter(|word| !word.is_empty());
            let back: Vec<f64> = words.map(|word| word.parse().unwrap()).collect();
            prop_assert_eq!(back.len(), numbers.len());
            prop_assert!(back.iter().zip(&numbers).all(|(a, b)| a.to_bits() == b.to_bits()));
        }
    }
}
