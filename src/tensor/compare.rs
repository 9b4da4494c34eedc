//! Two tensors that should say the same: where they do, and by how much they do not.

use super::Tensor;

/// How an answer compares with the one that is expected.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Whether each row agrees, in every element.
    pub agrees: Vec<bool>,
    /// Numbers that were compared; none for strings.
    pub elements: u64,
    pub difference_sum: f64,
    pub difference_max: f64,
}

/// Compares row by row. Floating-point numbers agree within `tolerance` (absolute), everything else
/// agrees when it is equal; a NaN agrees with a NaN. `None` where types or shapes differ.
pub fn compare(given: &Tensor, expected: &Tensor, tolerance: f64) -> Option<Comparison> {
    if given.dtype() != expected.dtype() || given.shape() != expected.shape() {
        return None;
    }
    let rows = given.rows();
    let (Some(numbers), Some(wanted)) = (given.to_f64s(), expected.to_f64s()) else {
        let (given, wanted) = (strings(given)?, strings(expected)?);
        let width = (given.len() / rows.max(1)).max(1);
        let agrees = given.chunks(width).zip(wanted.chunks(width)).map(|(a, b)| a == b);
        return Some(Comparison { agrees: agrees.collect(), ..Comparison::default() });
    };
    let tolerance = if expected.dtype().is_float() { tolerance } else { 0.0 };
    let width = (numbers.len() / rows.max(1)).max(1);
    let mut comparison = Comparison::default();
    for (row, wanted) in numbers.chunks(width).zip(wanted.chunks(width)) {
        let mut agrees = true;
        for (number, wanted) in row.iter().zip(wanted) {
            let same = number == wanted || (number.is_nan() && wanted.is_nan());
            let difference = if same { 0.0 } else { (number - wanted).abs() };
            // NaN is no agreement; and no difference that could be added up.
            agrees &= difference <= tolerance;
            if difference.is_finite() {
                comparison.difference_sum += difference;
                comparison.difference_max = comparison.difference_max.max(difference);
            }
            comparison.elements += 1;
        }
        comparison.agrees.push(agrees);
    }
    Some(comparison)
}

fn strings(tensor: &Tensor) -> Option<Vec<&[u8]>> {
    super::strings::elements(tensor.data()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{DType, Shape, shared};

    fn floats(shape: [usize; 2], data: &[f32]) -> Tensor {
        Tensor::new("x", DType::F32, Shape::new(shape), shared(data.to_vec())).unwrap()
    }

    #[test]
    fn rows_agree_one_by_one() {
        let expected = floats([2, 2], &[1.0, 2.0, 3.0, f32::NAN]);
        let compared = |data: &[f32]| compare(&floats([2, 2], data), &expected, 0.1).unwrap();
        let same = compared(&[1.0, 2.05, 3.0, f32::NAN]);
        assert_eq!((same.agrees, same.elements), (vec![true, true], 4));
        assert!((same.difference_max - 0.05).abs() < 1e-6);
        let other = compared(&[1.0, 2.5, 3.0, 1.0]);
        assert_eq!((other.agrees, other.difference_max), (vec![false, false], 0.5));
        assert_eq!(compare(&floats([1, 4], &[0.0; 4]), &expected, 0.1), None);
        let empty = floats([0, 2], &[]);
        assert_eq!(compare(&empty, &empty, 0.1).unwrap().agrees, Vec::<bool>::new());
    }

    #[test]
    fn classes_and_strings_must_be_equal() {
        let integers = |data: Vec<i64>| {
            Tensor::new("x", DType::I64, Shape::new([data.len()]), shared(data)).unwrap()
        };
        let compared = compare(&integers(vec![1, 2]), &integers(vec![1, 3]), 5.0).unwrap();
        assert_eq!(compared.agrees, [true, false]);
        let text = |words: &[&str]| {
            let mut data = Vec::new();
            for word in words {
                data.extend_from_slice(&u32::try_from(word.len()).unwrap().to_le_bytes());
                data.extend_from_slice(word.as_bytes());
            }
            Tensor::new("x", DType::Bytes, Shape::new([words.len()]), data.into()).unwrap()
        };
        let compared = compare(&text(&["a", "bc"]), &text(&["ab", "c"]), 0.0).unwrap();
        assert_eq!(compared.agrees, [false, false]);
        let compared = compare(&text(&["a", "bc"]), &text(&["a", "c"]), 0.0).unwrap();
        assert_eq!(compared.agrees, [true, false]);
    }
}
