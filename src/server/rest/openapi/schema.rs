//! JSON schemas of features and outputs, from the same contract that requests are held against.

use serde_json::json;
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, SchemaType, Type};
use utoipa::openapi::{KnownFormat, Object, ObjectBuilder, RefOr, Schema, SchemaFormat};

use crate::model::contract::{Answer, Contract, Field, Part};
use crate::tensor::{DType, Dim};

/// What a record must look like.
pub fn record(contract: &Contract) -> Schema {
    let mut record = ObjectBuilder::new()
        .schema_type(Type::Object)
        .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)));
    for field in &contract.fields {
        record = record.property(&field.name, field_schema(field));
        if field.default.is_none() {
            record = record.required(&field.name);
        }
    }
    record.into()
}

/// What a prediction looks like.
pub fn prediction(contract: &Contract) -> Schema {
    let mut prediction = ObjectBuilder::new().schema_type(Type::Object);
    for answer in &contract.answers {
        prediction =
            prediction.property(&answer.name, answer_schema(answer)).required(&answer.name);
    }
    prediction.into()
}

fn field_schema(field: &Field) -> RefOr<Schema> {
    let mut element = scalar(field.dtype);
    if let Some([low, high]) = field.range {
        element.minimum = Some(low.into());
        element.maximum = Some(high.into());
    }
    let text = description(field.description.as_deref(), field.unit.as_deref());
    if field.is_scalar() {
        element.description = text;
        element.default = field.default.map(|default| json!(default));
        return Schema::from(element).into();
    }
    let dims = match &field.part {
        Part::Row(dims) => &dims[..],
        Part::Column(_) => &[],
    };
    nested(dims, element.into(), text)
}

fn answer_schema(answer: &Answer) -> RefOr<Schema> {
    let text = description(answer.description.as_deref(), answer.unit.as_deref());
    if answer.labels_name_entries() {
        let mut entries = ObjectBuilder::new().schema_type(Type::Object).description(text);
        for label in &answer.labels {
            entries = entries.property(label, answered(answer.dtype)).required(label);
        }
        return Schema::from(entries).into();
    }
    if !answer.labels.is_empty() {
        let class = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(answer.labels.iter().map(String::as_str)))
            .description(text);
        return Schema::from(class).into();
    }
    let mut element = answered(answer.dtype);
    if answer.is_scalar() {
        element.description = text;
        return Schema::from(element).into();
    }
    nested(&answer.dims, element.into(), text)
}

/// Arrays in arrays around an element, outermost extent first; the text describes the whole.
fn nested(dims: &[Dim], element: Schema, text: Option<String>) -> RefOr<Schema> {
    let (last, outer) = match dims.split_first() {
        None => return element.into(),
        Some((first, rest)) => (first, nested(rest, element, None)),
    };
    let extent = match last {
        Dim::Fixed(extent) => Some(*extent),
        Dim::Any => None,
    };
    let array = ArrayBuilder::new().items(outer).min_items(extent).max_items(extent);
    Schema::from(array.description(text)).into()
}

/// An element as the typed API writes it: floats that are not finite become null.
fn answered(dtype: DType) -> Object {
    let mut object = scalar(dtype);
    (object.minimum, object.maximum) = (None, None);
    if dtype.is_float() {
        object.schema_type = SchemaType::from_iter([Type::Number, Type::Null]);
    }
    object
}

/// An element as the typed API reads it, bounded by what its datatype can hold.
fn scalar(dtype: DType) -> Object {
    let float = |format: KnownFormat, max: f64| {
        let number = ObjectBuilder::new()
            .schema_type(Type::Number)
            .format(Some(SchemaFormat::KnownFormat(format)));
        number.minimum(Some(-max)).maximum(Some(max)).build()
    };
    let integer = |low: i64, high: u64| {
        let (low, high) = (isize::try_from(low), usize::try_from(high));
        let integer = ObjectBuilder::new().schema_type(Type::Integer);
        integer.minimum(low.ok()).maximum(high.ok()).build()
    };
    match dtype {
        DType::Bool => ObjectBuilder::new().schema_type(Type::Boolean).build(),
        DType::Bytes => ObjectBuilder::new().schema_type(Type::String).build(),
        DType::F16 => float(KnownFormat::Float, half::f16::MAX.to_f64()),
        DType::BF16 => float(KnownFormat::Float, half::bf16::MAX.to_f64()),
        DType::F32 => float(KnownFormat::Float, f64::from(f32::MAX)),
        DType::F64 => float(KnownFormat::Double, f64::MAX),
        DType::U8 => integer(0, u8::MAX.into()),
        DType::U16 => integer(0, u16::MAX.into()),
        DType::U32 => integer(0, u32::MAX.into()),
        DType::U64 => integer(0, u64::MAX),
        DType::I8 => integer(i8::MIN.into(), i8::MAX as u64),
        DType::I16 => integer(i16::MIN.into(), i16::MAX as u64),
        DType::I32 => integer(i32::MIN.into(), i32::MAX as u64),
        DType::I64 => integer(i64::MIN, i64::MAX as u64),
    }
}

fn description(text: Option<&str>, unit: Option<&str>) -> Option<String> {
    match (text, unit) {
        (Some(text), Some(unit)) => Some(format!("{text} [{unit}]")),
        (None, Some(unit)) => Some(format!("[{unit}]")),
        (text, None) => text.map(str::to_owned),
    }
}
