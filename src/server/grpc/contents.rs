//! Typed contents (`fp32_contents` and its siblings) as the bytes of a tensor. Pure.

use bytes::Bytes;

use super::pb::inference::InferTensorContents;
use crate::error::{Error, Result};
use crate::tensor::{DType, Shape, shared, strings};

/// The bytes of one input. Exactly the field that belongs to its datatype may be filled, with
/// exactly as many elements as its shape takes; both are checked before anything is allocated.
pub fn into_bytes(
    model: &str,
    input: &str,
    dtype: DType,
    shape: &Shape,
    contents: InferTensorContents,
) -> Result<Bytes> {
    let Some(field) = field(dtype) else {
        return Err(Error::invalid(format!(
            "input '{input}' has datatype {dtype}, which has no typed contents: send it in \
             raw_input_contents"
        )));
    };
    let filled = filled(&contents);
    if let Some((other, _)) = filled.iter().find(|(name, count)| *count > 0 && *name != field) {
        return Err(Error::invalid(format!(
            "input '{input}' has datatype {dtype}, whose data belongs into {field}, but {other} is \
             filled"
        )));
    }
    let given = filled.iter().map(|(_, count)| count).sum::<usize>();
    if shape.elements() != Some(given) {
        return Err(if given == 0 {
            missing(model, input)
        } else {
            let expected = shape.elements().map_or("more".to_owned(), |count| count.to_string());
            Error::invalid(format!(
                "input '{input}' holds {given} elements in {field}, but its shape {shape} takes \
                 {expected}"
            ))
        });
    }
    let whole = match dtype {
        DType::Bool => Some(contents.bool_contents.into_iter().map(u8::from).collect()),
        DType::I8 => narrow::<i8, _>(contents.int_contents),
        DType::I16 => narrow::<i16, _>(contents.int_contents),
        DType::I32 => Some(shared(contents.int_contents)),
        DType::I64 => Some(shared(contents.int64_contents)),
        DType::U8 => narrow::<u8, _>(contents.uint_contents),
        DType::U16 => narrow::<u16, _>(contents.uint_contents),
        DType::U32 => Some(shared(contents.uint_contents)),
        DType::U64 => Some(shared(contents.uint64_contents)),
        DType::F32 => Some(shared(contents.fp32_contents)),
        DType::F64 => Some(shared(contents.fp64_contents)),
        DType::Bytes => joined(&contents.bytes_contents),
        // Refused above: they have no field.
        DType::F16 | DType::BF16 => None,
    };
    whole.ok_or_else(|| {
        Error::invalid(format!("input '{input}' has an element outside the range of {dtype}"))
    })
}

/// Triton's words for an input that is named but sent nowhere: its clients match on them.
pub fn missing(model: &str, input: &str) -> Error {
    Error::invalid(format!(
        "unable to find data for input tensor '{input}' for model '{model}' in request."
    ))
}

/// The field that carries a datatype; `None` where only raw bytes do.
fn field(dtype: DType) -> Option<&'static str> {
    match dtype {
        DType::Bool => Some("bool_contents"),
        DType::I8 | DType::I16 | DType::I32 => Some("int_contents"),
        DType::I64 => Some("int64_contents"),
        DType::U8 | DType::U16 | DType::U32 => Some("uint_contents"),
        DType::U64 => Some("uint64_contents"),
        DType::F32 => Some("fp32_contents"),
        DType::F64 => Some("fp64_contents"),
        DType::Bytes => Some("bytes_contents"),
        DType::F16 | DType::BF16 => None,
    }
}

/// Every field with its number of elements.
fn filled(contents: &InferTensorContents) -> [(&'static str, usize); 8] {
    [
        ("bool_contents", contents.bool_contents.len()),
        ("int_contents", contents.int_contents.len()),
        ("int64_contents", contents.int64_contents.len()),
        ("uint_contents", contents.uint_contents.len()),
        ("uint64_contents", contents.uint64_contents.len()),
        ("fp32_contents", contents.fp32_contents.len()),
        ("fp64_contents", contents.fp64_contents.len()),
        ("bytes_contents", contents.bytes_contents.len()),
    ]
}

/// Numbers that travel in 32 bits but are 8 or 16 bits wide; `None` where one does not fit.
fn narrow<N, W>(numbers: Vec<W>) -> Option<Bytes>
where
    N: TryFrom<W> + bytemuck::NoUninit + Send + 'static,
{
    let narrow = numbers.into_iter().map(|number| N::try_from(number).ok());
    narrow.collect::<Option<Vec<N>>>().map(shared)
}

/// Strings, each led by its length; `None` where one is longer than its length can say.
fn joined(elements: &[Bytes]) -> Option<Bytes> {
    let length = elements.iter().map(|element| strings::PREFIX + element.len()).sum();
    let mut out = Vec::with_capacity(length);
    elements.iter().all(|element| strings::push(&mut out, element)).then(|| out.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(dtype: DType, shape: &[usize], contents: InferTensorContents) -> Result<Bytes> {
        into_bytes("m", "x", dtype, &Shape::new(shape.iter().copied()), contents)
    }

    fn refused(dtype: DType, shape: &[usize], contents: InferTensorContents, part: &str) {
        let error = read(dtype, shape, contents).unwrap_err();
        assert!(error.message().contains(part), "{error}");
    }

    fn ints(numbers: &[i32]) -> InferTensorContents {
        InferTensorContents { int_contents: numbers.to_vec(), ..Default::default() }
    }

    #[test]
    fn small_integers_are_range_checked() {
        assert_eq!(read(DType::I8, &[2], ints(&[-128, 127])).unwrap()[..], [0x80, 0x7f]);
        refused(DType::I8, &[2], ints(&[-128, 128]), "outside the range of INT8");
        refused(DType::I16, &[1], ints(&[-32_769]), "outside the range of INT16");
        let uints = |numbers: &[u32]| InferTensorContents {
            uint_contents: numbers.to_vec(),
            ..Default::default()
        };
        assert_eq!(read(DType::U16, &[1], uints(&[65_535])).unwrap()[..], [0xff, 0xff]);
        refused(DType::U8, &[1], uints(&[256]), "outside the range of UINT8");
    }

    #[test]
    fn only_the_field_of_the_datatype_may_be_filled() {
        refused(DType::F32, &[1], ints(&[1]), "belongs into fp32_contents, but int_contents is");
        let two = InferTensorContents { bool_contents: vec![true], ..ints(&[1]) };
        refused(DType::I32, &[1], two, "but bool_contents is filled");
        refused(DType::F16, &[0], InferTensorContents::default(), "send it in raw_input_contents");
        refused(DType::BF16, &[1], ints(&[1]), "send it in raw_input_contents");
    }

    #[test]
    fn the_count_is_held_against_the_shape() {
        refused(DType::I32, &[2, 2], ints(&[1]), "holds 1 elements in int_contents, but its shape");
        refused(DType::I32, &[usize::MAX, 2], ints(&[1]), "takes more");
        refused(DType::I32, &[1], ints(&[]), "unable to find data for input tensor 'x'");
        assert_eq!(read(DType::I32, &[0, 2], ints(&[])).unwrap().len(), 0);
        assert_eq!(read(DType::I32, &[], ints(&[1])).unwrap().len(), 4);
    }

    proptest! {
        #[test]
        fn numbers_and_strings_become_the_bytes_of_the_wire(
            numbers in proptest::collection::vec(any::<i64>(), 0..20),
            words in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 0..20),
        ) {
            let expected: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
            let shape = [numbers.len()];
            let contents = InferTensorContents { int64_contents: numbers, ..Default::default() };
            prop_assert_eq!(&read(DType::I64, &shape, contents).unwrap()[..], &expected[..]);

            let bytes_contents = words.iter().cloned().map(Bytes::from).collect();
            let contents = InferTensorContents { bytes_contents, ..Default::default() };
            let data = read(DType::Bytes, &[words.len()], contents).unwrap();
            let back: Vec<_> = strings::elements(&data).map(|e| e.unwrap().to_vec()).collect();
            prop_assert_eq!(back, words);
        }
    }
}
