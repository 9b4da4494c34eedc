//! The Rust types behind the numeric datatypes, and the way from a datatype to its type.

use bytemuck::Pod;
use half::{bf16, f16};

/// A type whose values are the elements of a numeric tensor.
pub trait Number: Pod + Send + PartialOrd {
    /// The nearest value of this type.
    fn from_f64(value: f64) -> Self;

    fn to_f64(self) -> f64;

    /// Whether the value lies between two bounds, ends included.
    ///
    /// Float bounds are rounded to the type first: 0.3 as FP32 lies within `[0.0, 0.3]`.
    fn within(self, range: [f64; 2]) -> bool;
}

macro_rules! integers {
    ($($t:ty)*) => {$(
        impl Number for $t {
            fn from_f64(value: f64) -> Self {
                value as $t
            }

            fn to_f64(self) -> f64 {
                self as f64
            }

            fn within(self, [low, high]: [f64; 2]) -> bool {
                (low..=high).contains(&(self as f64))
            }
        }
    )*};
}
integers! { u8 u16 u32 u64 i8 i16 i32 i64 }

macro_rules! floats {
    ($($t:ty, $from:expr;)*) => {$(
        impl Number for $t {
            fn from_f64(value: f64) -> Self {
                $from(value)
            }

            fn to_f64(self) -> f64 {
                self.into()
            }

            fn within(self, [low, high]: [f64; 2]) -> bool {
                ($from(low)..=$from(high)).contains(&self)
            }
        }
    )*};
}
floats! {
    f16, f16::from_f64;
    bf16, bf16::from_f64;
    f32, |value: f64| value as f32;
    f64, |value: f64| value;
}

/// Runs `$body` with the Rust type of a numeric datatype, which `$t` names there; `$other` for BOOL
/// and BYTES, whose elements have no number type.
macro_rules! numeric {
    ($dtype:expr, $t:ident => $body:expr, _ => $other:expr) => {
        numeric!(@arms $dtype, $t, $body, $other;
            U8 u8, U16 u16, U32 u32, U64 u64, I8 i8, I16 i16, I32 i32, I64 i64,
            F16 half::f16, BF16 half::bf16, F32 f32, F64 f64)
    };
    (@arms $dtype:expr, $t:ident, $body:expr, $other:expr; $($name:ident $type:ty),*) => {
        match $dtype {
            $($crate::tensor::DType::$name => {
                type $t = $type;
                $body
            })*
            $crate::tensor::DType::Bool | $crate::tensor::DType::Bytes => $other,
        }
    };
}
pub(crate) use numeric;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::DType;

    #[test]
    fn bounds_are_rounded_as_the_value_was() {
        assert!(0.3f32.within([0.0, 0.3]));
        assert!(f64::from(0.3f32) > 0.3, "or there would be nothing to round");
        assert!(!0.31f32.within([0.0, 0.3]));
        assert!(!0u8.within([0.5, 3.0]));
        assert!(!f32::NAN.within([0.0, 1.0]));
        assert!(f16::from_f64(0.1).within([0.1, 0.1]));
    }

    #[test]
    fn every_numeric_datatype_has_a_type_of_its_size() {
        for dtype in DType::ALL {
            let size = numeric!(dtype, T => Some(size_of::<T>()), _ => None);
            assert_eq!(size.is_some(), !matches!(dtype, DType::Bool | DType::Bytes));
            assert!(size.is_none() || size == dtype.size());
        }
    }
}
