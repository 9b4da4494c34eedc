//! What the columns of a Parquet file hold, as its schema says, and their values as cells.

use parquet::basic::{ConvertedType, LogicalType, Repetition, Type as Physical};
use parquet::data_type::Decimal;
use parquet::record::Field;
use parquet::schema::types::Type;

use super::{Cell, TEXT_BYTES_MAX};

/// What a column holds, or the elements of its lists.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Numbers and flags.
    Number,
    Text,
    /// What no feature is made of, in words.
    Other(&'static str),
}

/// A cell that was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Held {
    #[default]
    Missing,
    Number(f64),
    Text(String),
}

impl Held {
    pub fn cell(&self) -> Cell<'_> {
        match self {
            Held::Missing => Cell::Missing,
            Held::Number(number) => Cell::Number(*number),
            Held::Text(text) => Cell::Text(text),
        }
    }
}

/// What a column holds, and whether in lists.
pub fn kind(field: &Type) -> (Kind, bool) {
    if field.get_basic_info().repetition() == Repetition::REPEATED {
        return (Kind::Other("a repeated field that is no LIST"), false);
    }
    if field.is_primitive() {
        return (single(field), false);
    }
    match element(field).map(kind) {
        Some((Kind::Other(_), _)) => (Kind::Other("a list of what is no number or text"), true),
        Some((kind, _)) => (kind, true),
        None => (Kind::Other("a struct or a map"), false),
    }
}

/// What a list is a list of; it may be lists again.
fn element(list: &Type) -> Option<&Type> {
    if list.get_basic_info().converted_type() != ConvertedType::LIST {
        return None;
    }
    let [repeated] = list.get_fields() else { return None };
    if repeated.is_primitive() {
        return None;
    }
    let [element] = repeated.get_fields() else { return None };
    Some(element)
}

fn single(field: &Type) -> Kind {
    use {ConvertedType as Converted, LogicalType as Logical};
    let info = field.get_basic_info();
    match (field.get_physical_type(), info.logical_type_ref(), info.converted_type()) {
        (_, Some(Logical::Date), _) | (_, _, Converted::DATE) => Kind::Other("a date"),
        (_, Some(Logical::Time(_)), _)
        | (_, _, Converted::TIME_MILLIS | Converted::TIME_MICROS) => Kind::Other("a time"),
        (Physical::INT96, ..)
        | (_, Some(Logical::Timestamp(_)), _)
        | (_, _, Converted::TIMESTAMP_MILLIS | Converted::TIMESTAMP_MICROS) => {
            Kind::Other("a timestamp")
        }
        (_, Some(Logical::Decimal(_)), _) | (_, _, Converted::DECIMAL) => Kind::Number,
        (Physical::BYTE_ARRAY, _, Converted::UTF8 | Converted::ENUM | Converted::JSON) => {
            Kind::Text
        }
        (Physical::FIXED_LEN_BYTE_ARRAY, Some(Logical::Float16), _) => Kind::Number,
        (Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY, ..) => {
            Kind::Other("binary, and not marked as UTF-8 text")
        }
        _ => Kind::Number,
    }
}

/// Adds the value of a field, of lists all elements in their order; `None` where it has none that
/// `Kind` tells of.
pub fn push(cells: &mut Vec<Held>, field: Field) -> Option<()> {
    let cell = match field {
        Field::Null => Held::Missing,
        Field::Bool(flag) => Held::Number(f64::from(u8::from(flag))),
        Field::Byte(x) => Held::Number(x.into()),
        Field::Short(x) => Held::Number(x.into()),
        Field::Int(x) => Held::Number(x.into()),
        Field::Long(x) => Held::Number(x as f64),
        Field::UByte(x) => Held::Number(x.into()),
        Field::UShort(x) => Held::Number(x.into()),
        Field::UInt(x) => Held::Number(x.into()),
        Field::ULong(x) => Held::Number(x as f64),
        Field::Float16(x) => number(x.to_f64()),
        Field::Float(x) => number(x.into()),
        Field::Double(x) => number(x),
        Field::Decimal(x) => number(decimal(&x)?),
        Field::Str(text) if text.len() <= TEXT_BYTES_MAX => Held::Text(text),
        Field::ListInternal(list) => {
            return list.elements().iter().try_for_each(|one| push(cells, one.clone()));
        }
        _ => return None,
    };
    cells.push(cell);
    Some(())
}

/// NaN is how data frames write that there is no value.
fn number(value: f64) -> Held {
    if value.is_nan() { Held::Missing } else { Held::Number(value) }
}

/// The nearest number, as if its digits had been written down and read.
fn decimal(value: &Decimal) -> Option<f64> {
    let bytes = value.data();
    let sign = if bytes.first()? >> 7 == 1 { 0xff } else { 0 };
    let mut wide = [sign; 16];
    let start = wide.len().checked_sub(bytes.len())?;
    wide.get_mut(start..)?.copy_from_slice(bytes);
    format!("{}e{}", i128::from_be_bytes(wide), -i64::from(value.scale())).parse().ok()
}
