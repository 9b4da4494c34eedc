//! The view that most `ai.onnx.ml` operators have of their input: rows of numbers. A tensor with
//! one axis is a single row.

use tract_onnx::tract_hir::internal::*;

use super::Outlet;

/// A tensor as rows of `f32`, which is what these operators compute in.
pub struct Rows<'a> {
    tensor: Cow<'a, Tensor>,
    pub columns: usize,
}

impl<'a> Rows<'a> {
    pub fn of(tensor: &'a Tensor) -> TractResult<Self> {
        let columns = match *tensor.shape() {
            [columns] | [_, columns] => columns,
            _ => bail!("expected one or two axes, found {}", tensor.rank()),
        };
        Ok(Self { tensor: tensor.cast_to::<f32>()?, columns })
    }

    /// All numbers, row after row.
    pub fn numbers(&self) -> TractResult<&[f32]> {
        self.tensor.try_as_plain_ram()?.as_slice::<f32>()
    }
}

/// Rows and columns of an input before it is computed; either may not be known yet.
pub fn extents((dtype, dims): &Outlet) -> TractResult<(TDim, TDim)> {
    ensure!(dtype.is_number() || *dtype == bool::datum_type(), "expected numbers, found {dtype:?}");
    match &dims[..] {
        [columns] => Ok((1.to_dim(), columns.clone())),
        [rows, columns] => Ok((rows.clone(), columns.clone())),
        _ => bail!("expected one or two axes, found {}", dims.len()),
    }
}

/// One number for all columns, or one for each.
#[derive(Clone, Debug)]
pub struct PerColumn(Box<[f32]>);

impl PerColumn {
    pub fn new(numbers: &[f32]) -> TractResult<Self> {
        ensure!(!numbers.is_empty(), "expected one number, or one for each column; found none");
        Ok(Self(numbers.into()))
    }

    /// Whether the list serves so many columns; before they are known it may.
    pub fn check(&self, columns: &TDim) -> TractResult<()> {
        let given = self.0.len();
        match columns.to_usize() {
            Ok(columns) if given != 1 && given != columns => {
                bail!("{given} numbers for {columns} columns")
            }
            _ => Ok(()),
        }
    }

    /// Replaces every number of the rows by `f(number, the one of its column)`.
    pub fn apply(&self, rows: &mut [f32], f: impl Fn(f32, f32) -> f32) {
        if let [one] = *self.0 {
            rows.iter_mut().for_each(|number| *number = f(*number, one));
            return;
        }
        for row in rows.chunks_mut(self.0.len()) {
            row.iter_mut().zip(&self.0).for_each(|(number, own)| *number = f(*number, *own));
        }
    }
}
