//! The contract of a version's typed API: which named features a record has, what each may hold,
//! and what a prediction looks like. Derived once at load from signature and manifest; the REST
//! door validates with it, and the OpenAPI document is written from it, so the two can not differ.

use std::collections::HashMap;

use super::manifest::{InputEntry, Manifest, OutputEntry};
use super::signature::{Signature, TensorSpec};
use crate::error::{Error, Result};
use crate::tensor::{DType, Dim};

/// What a record of the typed API holds and what a prediction answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Contract {
    /// Properties of a record, in the order of the tensors and their columns.
    pub fields: Vec<Field>,
    /// Positions of `fields` by name.
    index: HashMap<String, usize>,
    /// Properties of a prediction, in the signature's order.
    pub answers: Vec<Answer>,
    /// Most records in one request.
    pub records_max: usize,
    /// Whether axis 0 of the tensors counts records.
    pub batched: bool,
}

/// One property of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub name: String,
    /// Position of the tensor in the signature.
    pub input: usize,
    pub part: Part,
    pub dtype: DType,
    pub unit: Option<String>,
    pub description: Option<String>,
    /// Plausible values, ends included.
    pub range: Option<[f64; 2]>,
    /// Taken where a record leaves the field out.
    pub default: Option<f64>,
}

/// Which part of its tensor a field fills.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// One column of a `[rows, columns]` tensor.
    Column(usize),
    /// A whole row of these extents.
    Row(Vec<Dim>),
}

/// One property of a prediction.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub name: String,
    /// Position of the tensor in the signature.
    pub output: usize,
    pub dtype: DType,
    /// Extents of one record's part.
    pub dims: Vec<Dim>,
    pub labels: Vec<String>,
    pub unit: Option<String>,
    pub description: Option<String>,
}

impl Field {
    /// Whether a record holds a single value here: a column, or a row of extents `[]` or `[1]`.
    pub fn is_scalar(&self) -> bool {
        match &self.part {
            Part::Column(_) => true,
            Part::Row(dims) => is_single(dims),
        }
    }
}

fn is_single(dims: &[Dim]) -> bool {
    dims.is_empty() || dims == [Dim::Fixed(1)]
}

impl Answer {
    /// Whether labels name the entries of the row (probabilities) or the value itself (a class).
    pub fn labels_name_entries(&self) -> bool {
        !self.labels.is_empty() && self.dims == [Dim::Fixed(self.labels.len())]
    }

    /// Whether one record's part is a single value: `[]` or `[1]`.
    pub fn is_scalar(&self) -> bool {
        is_single(&self.dims)
    }
}

impl Contract {
    pub fn derive(
        signature: &Signature,
        manifest: &Manifest,
        batched: bool,
        records_max: usize,
    ) -> Result<Self> {
        let mut fields = Vec::new();
        for (input, spec) in signature.inputs.iter().enumerate() {
            let entry = manifest.inputs.iter().find(|entry| entry.name == spec.name);
            fields.extend(fields_of(input, spec, entry, batched));
        }
        let answers: Vec<Answer> = (signature.outputs.iter().enumerate())
            .map(|(output, spec)| {
                let entry = manifest.outputs.iter().find(|entry| entry.name == spec.name);
                let mut answer = answer_of(output, spec, entry, batched);
                // A file of labels is Triton's, for its classification, which takes any output.
                let from_file = entry.is_some_and(|entry| entry.labels_file.is_some());
                if from_file && check_labels(&answer).is_err() {
                    answer.labels.clear();
                }
                answer
            })
            .collect();
        unique("feature", fields.iter().map(|field| field.name.as_str()))?;
        unique("output", answers.iter().map(|answer| answer.name.as_str()))?;
        for answer in &answers {
            check_labels(answer)?;
        }
        let records_max = if batched { records_max } else { 1 };
        let names = fields.iter().enumerate();
        let index = names.map(|(position, field)| (field.name.clone(), position)).collect();
        Ok(Self { fields, index, answers, records_max, batched })
    }

    /// Position of the field with this name. Clients mostly keep one order: the field after the
    /// last one found is tried first.
    pub fn field(&self, name: &str, hint: usize) -> Option<usize> {
        if self.fields.get(hint).is_some_and(|field| field.name == name) {
            return Some(hint);
        }
        self.index.get(name).copied()
    }
}

fn fields_of(
    input: usize,
    spec: &TensorSpec,
    entry: Option<&InputEntry>,
    batched: bool,
) -> Vec<Field> {
    let features = entry.map_or(&[][..], |entry| &entry.features);
    if batched && !features.is_empty() {
        let columns = features.iter().enumerate().map(|(column, feature)| Field {
            name: feature.name.clone(),
            input,
            part: Part::Column(column),
            dtype: spec.dtype,
            unit: feature.unit.clone(),
            description: feature.description.clone(),
            range: feature.range,
            default: feature.default,
        });
        return columns.collect();
    }
    vec![Field {
        name: spec.name.clone(),
        input,
        part: Part::Row(if batched { spec.row_dims().to_vec() } else { spec.dims.clone() }),
        dtype: spec.dtype,
        unit: entry.and_then(|entry| entry.unit.clone()),
        description: entry.and_then(|entry| entry.description.clone()),
        range: entry.and_then(|entry| entry.range),
        default: None,
    }]
}

fn answer_of(
    output: usize,
    spec: &TensorSpec,
    entry: Option<&OutputEntry>,
    batched: bool,
) -> Answer {
    Answer {
        name: entry.and_then(|entry| entry.rename.clone()).unwrap_or_else(|| spec.name.clone()),
        output,
        dtype: spec.dtype,
        dims: if batched { spec.row_dims().to_vec() } else { spec.dims.clone() },
        labels: entry.map(|entry| entry.labels.clone()).unwrap_or_default(),
        unit: entry.and_then(|entry| entry.unit.clone()),
        description: entry.and_then(|entry| entry.description.clone()),
    }
}

fn unique<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen = std::collections::HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Error::invalid(format!(
                "two {what}s of the typed API have the name '{name}'; rename one in model.toml"
            )));
        }
    }
    Ok(())
}

/// Labels must name either a class index or every entry of a row.
fn check_labels(answer: &Answer) -> Result<()> {
    let is_index = answer.is_scalar()
        && matches!(
            answer.dtype,
            DType::I64 | DType::I32 | DType::I16 | DType::I8 | DType::U8 | DType::U16 | DType::U32
        );
    if answer.labels.is_empty() || is_index || answer.labels_name_entries() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "outputs: '{}' has {} labels, but it is neither a class index nor a row of {} values",
        answer.name,
        answer.labels.len(),
        answer.labels.len()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature() -> Signature {
        let spec = TensorSpec::of;
        Signature {
            inputs: vec![spec("x", DType::F32, &[-1, 2]), spec("note", DType::Bytes, &[-1])],
            outputs: vec![spec("label", DType::I64, &[-1]), spec("p", DType::F32, &[-1, 2])],
        }
    }

    const TEXT: &str = r#"
        [[inputs]]
        name = "x"
        [[inputs.features]]
        name = "age"
        [[inputs.features]]
        name = "bmi"
        [[outputs]]
        name = "label"
        as = "risk"
        labels = ["low", "high"]
        [[outputs]]
        name = "p"
        labels = ["low", "high"]
    "#;

    #[test]
    fn columns_become_features_and_other_tensors_keep_their_names() {
        let manifest = Manifest::parse(TEXT).unwrap();
        let contract = Contract::derive(&signature(), &manifest, true, 8).unwrap();
        let names: Vec<&str> = contract.fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, ["age", "bmi", "note"]);
        assert_eq!(contract.answers[0].name, "risk");
        assert!(contract.answers[0].is_scalar());
        assert!(contract.answers[1].labels_name_entries());
    }

    #[test]
    fn clashing_names_and_useless_labels_are_refused() {
        let clash = TEXT.replace("bmi", "note");
        let manifest = Manifest::parse(&clash).unwrap();
        assert!(Contract::derive(&signature(), &manifest, true, 8).is_err());
        let three = TEXT.replace(
            r#"name = "p"
        labels = ["low", "high"]"#,
            r#"name = "p"
        labels = ["low", "mid", "high"]"#,
        );
        let manifest = Manifest::parse(&three).unwrap();
        assert!(Contract::derive(&signature(), &manifest, true, 8).is_err());
    }
}
