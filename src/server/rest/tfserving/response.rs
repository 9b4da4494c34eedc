//! An answer as the body of `:predict`: rows (`predictions`) or columns (`outputs`). Pure.

use bytes::Bytes;

use crate::server::rest::json::NonFinite;
use crate::server::rest::json::write::{self, Elements};
use crate::tensor::{DType, NamedTensor, Tensor};

/// BYTES outputs of such a name are no text: they travel as base64.
const BYTES_SUFFIX: &str = "_bytes";
/// Characters that one JSON number takes at a guess: what to reserve.
const NUMBER_CHARS: usize = 12;

/// Row by row: values of the only output, or objects by output name. `None` where the outputs have
/// no first axis in common, and so no rows.
pub fn predictions(outputs: &[NamedTensor], nonfinite: NonFinite) -> Option<Bytes> {
    let rows = rows(outputs)?;
    let mut out = begin("predictions", outputs);
    if let [NamedTensor { name, tensor }] = outputs {
        Column::new(name, tensor).whole(&mut out, nonfinite);
    } else {
        let columns: Vec<Column<'_>> =
            outputs.iter().map(|output| Column::new(&output.name, &output.tensor)).collect();
        out.push(b'[');
        for row in 0..rows {
            out.extend_from_slice(if row == 0 { b"{" } else { b",{" });
            for (index, column) in columns.iter().enumerate() {
                column.key(&mut out, index);
                column.row(&mut out, row, rows, nonfinite);
            }
            out.push(b'}');
        }
        out.push(b']');
    }
    out.push(b'}');
    Some(out.into())
}

/// Column by column, under `key`: the value of the only output, or an object by output name.
pub fn columns(key: &str, outputs: &[NamedTensor], nonfinite: NonFinite) -> Bytes {
    let mut out = begin(key, outputs);
    if let [NamedTensor { name, tensor }] = outputs {
        Column::new(name, tensor).whole(&mut out, nonfinite);
    } else {
        out.push(b'{');
        for (index, NamedTensor { name, tensor }) in outputs.iter().enumerate() {
            let column = Column::new(name, tensor);
            column.key(&mut out, index);
            column.whole(&mut out, nonfinite);
        }
        out.push(b'}');
    }
    out.push(b'}');
    out.into()
}

/// The first extent, where all outputs share it.
fn rows(outputs: &[NamedTensor]) -> Option<usize> {
    let mut extents = outputs.iter().map(|output| output.tensor.shape().first().copied());
    let rows = extents.next()??;
    extents.all(|extent| extent == Some(rows)).then_some(rows)
}

fn begin(key: &str, outputs: &[NamedTensor]) -> Vec<u8> {
    // At least a byte per element, so this is no more than a few times the data.
    let elements = |tensor: &Tensor| tensor.data().len() / tensor.dtype().size_min();
    let chars = outputs.iter().map(|output| elements(&output.tensor) * NUMBER_CHARS);
    let mut out = Vec::with_capacity(chars.sum::<usize>() + 64);
    out.push(b'{');
    write::string(&mut out, key);
    out.push(b':');
    out
}

/// One output.
struct Column<'a> {
    name: &'a str,
    tensor: &'a Tensor,
    elements: Elements<'a>,
    count: usize,
}

impl<'a> Column<'a> {
    fn new(name: &'a str, tensor: &'a Tensor) -> Self {
        let elements = Elements::new(tensor);
        let is_raw = tensor.dtype() == DType::Bytes && name.ends_with(BYTES_SUFFIX);
        let elements = if is_raw { elements.in_base64() } else { elements };
        Self { name, tensor, elements, count: tensor.shape().elements().unwrap_or(0) }
    }

    fn key(&self, out: &mut Vec<u8>, index: usize) {
        if index > 0 {
            out.push(b',');
        }
        write::string(out, self.name);
        out.push(b':');
    }

    fn whole(&self, out: &mut Vec<u8>, nonfinite: NonFinite) {
        self.elements.nested(out, self.tensor.shape(), 0, self.count, nonfinite);
    }

    fn row(&self, out: &mut Vec<u8>, row: usize, rows: usize, nonfinite: NonFinite) {
        let each = self.count / rows;
        self.elements.nested(out, self.tensor.shape().row(), row * each, each, nonfinite);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{Shape, strings};

    fn output(name: &str, dtype: DType, shape: &[usize], data: &[u8]) -> NamedTensor {
        let shape = Shape::new(shape.iter().copied());
        let tensor = Tensor::new(name, dtype, shape, data.to_vec().into()).unwrap();
        NamedTensor { name: name.into(), tensor }
    }

    fn both(outputs: &[NamedTensor]) -> (Option<String>, String) {
        let text = |body: Bytes| String::from_utf8(body.to_vec()).unwrap();
        let rule = NonFinite::Strings;
        (predictions(outputs, rule).map(text), text(columns("outputs", outputs, rule)))
    }

    #[test]
    fn one_output_is_bare_and_several_are_named() {
        let y = || output("y", DType::U8, &[2, 2], &[1, 2, 3, 4]);
        let (rows, columns) = both(&[y()]);
        assert_eq!(rows.unwrap(), r#"{"predictions":[[1,2],[3,4]]}"#);
        assert_eq!(columns, r#"{"outputs":[[1,2],[3,4]]}"#);
        let (rows, columns) = both(&[y(), output("z", DType::Bool, &[2], &[0, 1])]);
        assert_eq!(
            rows.unwrap(),
            r#"{"predictions":[{"y":[1,2],"z":false},{"y":[3,4],"z":true}]}"#
        );
        assert_eq!(columns, r#"{"outputs":{"y":[[1,2],[3,4]],"z":[false,true]}}"#);
        let (rows, _) =
            both(&[output("y", DType::U8, &[0, 2], &[]), output("z", DType::U8, &[0], &[])]);
        assert_eq!(rows.unwrap(), r#"{"predictions":[]}"#);
    }

    #[test]
    fn without_a_common_axis_there_are_no_rows() {
        let y = output("y", DType::U8, &[2], &[1, 2]);
        let (rows, columns) = both(&[y, output("z", DType::U8, &[], &[3])]);
        assert_eq!(rows, None);
        assert_eq!(columns, r#"{"outputs":{"y":[1,2],"z":3}}"#);
        assert_eq!(both(&[]).0, None);
    }

    #[test]
    fn what_is_named_bytes_is_base64() {
        let mut word = Vec::new();
        assert!(strings::push(&mut word, b"hi"));
        let (rows, _) = both(&[output("y_bytes", DType::Bytes, &[1], &word)]);
        assert_eq!(rows.unwrap(), r#"{"predictions":[{"b64":"aGk="}]}"#);
        let (rows, _) = both(&[output("y", DType::Bytes, &[1], &word)]);
        assert_eq!(rows.unwrap(), r#"{"predictions":["hi"]}"#);
        let (rows, _) = both(&[output("n_bytes", DType::U8, &[1], &[7])]);
        assert_eq!(rows.unwrap(), r#"{"predictions":[7]}"#, "a number is a number");
    }
}
