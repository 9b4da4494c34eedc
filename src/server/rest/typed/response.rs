//! An answer as `{"predictions": [{"diagnosis": "benign", ...}, ...]}`. Pure.

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::model::ModelId;
use crate::model::contract::{Answer, Contract};
use crate::server::rest::json::NonFinite;
use crate::server::rest::json::write::{self, Elements};
use crate::tensor::{DType, NamedTensor, Tensor};

/// Writes the answer of a request of `records` records: `outputs` are all of the signature's, in
/// its order.
pub fn encode(
    model: &ModelId,
    request_id: &str,
    contract: &Contract,
    records: usize,
    outputs: &[NamedTensor],
) -> Result<Bytes> {
    let answers = contract.answers.iter().map(|answer| {
        let output = outputs.get(answer.output);
        let output = output.ok_or_else(|| Error::internal("the model left out an output"))?;
        Column::new(answer, &output.tensor, contract.batched, records)
    });
    let answers: Vec<Column<'_>> = answers.collect::<Result<_>>()?;
    let mut out = Vec::with_capacity(128 + records * answers.len() * 32);
    out.extend_from_slice(b"{\"model\":\"");
    out.extend_from_slice(model.name.as_str().as_bytes());
    out.extend_from_slice(b"\",\"version\":\"");
    write::integer(&mut out, model.version.number());
    out.extend_from_slice(b"\",\"request_id\":");
    write::string(&mut out, request_id);
    out.extend_from_slice(b",\"predictions\":[");
    for record in 0..records {
        out.extend_from_slice(if record == 0 { b"{" } else { b",{" });
        for (index, answer) in answers.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write::string(&mut out, &answer.answer.name);
            out.push(b':');
            answer.write(&mut out, record)?;
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    Ok(out.into())
}

/// One output tensor, seen record by record.
struct Column<'a> {
    answer: &'a Answer,
    tensor: &'a Tensor,
    elements: Elements<'a>,
    /// Extents of one record's part.
    row: &'a [usize],
    row_elements: usize,
}

impl<'a> Column<'a> {
    fn new(answer: &'a Answer, tensor: &'a Tensor, batched: bool, records: usize) -> Result<Self> {
        let row = if batched { tensor.shape().row() } else { &tensor.shape()[..] };
        if batched && (tensor.shape().is_empty() || tensor.rows() != records) {
            return Err(Error::internal("the model answered with another number of records"));
        }
        let row_elements = row.iter().product();
        Ok(Self { answer, tensor, elements: Elements::new(tensor), row, row_elements })
    }

    fn write(&self, out: &mut Vec<u8>, record: usize) -> Result<()> {
        let start = record * self.row_elements;
        if self.answer.labels_name_entries() && self.row_elements == self.answer.labels.len() {
            out.push(b'{');
            for (index, label) in self.answer.labels.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write::string(out, label);
                out.push(b':');
                self.range(out, start + index, 1);
            }
            out.push(b'}');
            return Ok(());
        }
        if !self.answer.labels.is_empty() {
            let class = self.class(start);
            let label = class.and_then(|class| self.answer.labels.get(class)).ok_or_else(|| {
                Error::internal("the model answered with a class that has no label")
            })?;
            write::string(out, label);
            return Ok(());
        }
        if self.answer.is_scalar() && self.row_elements == 1 {
            self.range(out, start, 1);
        } else {
            self.elements.nested(out, self.row, start, self.row_elements, NonFinite::Null);
        }
        Ok(())
    }

    fn range(&self, out: &mut Vec<u8>, start: usize, count: usize) {
        self.elements.write(out, start..start + count, NonFinite::Null);
    }

    /// The class index that a labelled output holds for a record.
    fn class(&self, element: usize) -> Option<usize> {
        macro_rules! index {
            ($t:ty) => {{
                let start = element * size_of::<$t>();
                let bytes = self.tensor.data().get(start..)?.first_chunk()?;
                usize::try_from(<$t>::from_le_bytes(*bytes)).ok()
            }};
        }
        // The contract gives labels to these types only.
        match self.tensor.dtype() {
            DType::U8 => index!(u8),
            DType::U16 => index!(u16),
            DType::U32 => index!(u32),
            DType::I8 => index!(i8),
            DType::I16 => index!(i16),
            DType::I32 => index!(i32),
            DType::I64 => index!(i64),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Manifest, ModelName, Signature, TensorSpec, Version};
    use crate::tensor::{Number, Shape, shared};

    const MANIFEST: &str = r#"
        [[outputs]]
        name = "label"
        as = "diagnosis"
        labels = ["malignant", "benign"]
        [[outputs]]
        name = "p"
        labels = ["malignant", "benign"]
    "#;

    fn tensor<T: Number>(name: &str, dtype: DType, shape: &[usize], data: Vec<T>) -> NamedTensor {
        let shape = Shape::new(shape.iter().copied());
        let tensor = Tensor::new(name, dtype, shape, shared(data)).unwrap();
        NamedTensor { name: name.into(), tensor }
    }

    fn contract(outputs: &[(&str, DType, &[i64])], manifest: &str) -> Contract {
        let spec = |&(name, dtype, dims): &(&str, DType, &[i64])| TensorSpec::of(name, dtype, dims);
        let signature = Signature {
            inputs: vec![spec(&("x", DType::F32, &[-1]))],
            outputs: outputs.iter().map(spec).collect(),
        };
        Contract::derive(&signature, &Manifest::parse(manifest).unwrap(), true, 8).unwrap()
    }

    fn text(contract: &Contract, records: usize, outputs: &[NamedTensor]) -> Result<String> {
        let model =
            ModelId { name: ModelName::new("m").unwrap(), version: Version::parse("3").unwrap() };
        let body = encode(&model, "r", contract, records, outputs)?;
        Ok(String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn classes_and_probabilities_are_named() {
        let specs: [(&str, DType, &[i64]); 2] =
            [("label", DType::I64, &[-1]), ("p", DType::F32, &[-1, 2])];
        let contract = contract(&specs, MANIFEST);
        let p = tensor("p", DType::F32, &[2, 2], vec![0.25f32, 0.75, 1.0, f32::NAN]);
        let outputs = |classes| [tensor("label", DType::I64, &[2], classes), p.clone()];
        assert_eq!(
            text(&contract, 2, &outputs(vec![1i64, 0])).unwrap(),
            concat!(
                r#"{"model":"m","version":"3","request_id":"r","predictions":["#,
                r#"{"diagnosis":"benign","p":{"malignant":0.25,"benign":0.75}},"#,
                r#"{"diagnosis":"malignant","p":{"malignant":1.0,"benign":null}}]}"#
            )
        );
        assert!(text(&contract, 2, &outputs(vec![1, 2])).is_err(), "a class without a label");
        assert!(text(&contract, 3, &outputs(vec![1, 0])).is_err(), "too few rows");
        assert!(text(&contract, 2, &outputs(vec![1, 0])[..1]).is_err(), "too few outputs");
    }

    #[test]
    fn rows_keep_their_shape_and_single_values_lose_theirs() {
        let specs: [(&str, DType, &[i64]); 3] = [
            ("a", DType::U8, &[-1, 1]),
            ("b", DType::U8, &[-1, 2, 2]),
            ("c", DType::U8, &[-1, 0, 3]),
        ];
        let contract = contract(&specs, "");
        let outputs = [
            tensor("a", DType::U8, &[1, 1], vec![7u8]),
            tensor("b", DType::U8, &[1, 2, 2], vec![1u8, 2, 3, 4]),
            tensor("c", DType::U8, &[1, 0, 3], Vec::<u8>::new()),
        ];
        assert!(
            text(&contract, 1, &outputs).unwrap().contains(r#"{"a":7,"b":[[1,2],[3,4]],"c":[]}"#)
        );
    }
}
