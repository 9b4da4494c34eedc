//! Operators that replace every number by another: `Scaler`, `Normalizer`, `Imputer`, `Binarizer`.
//! The first two take any numbers and answer in `f32`; the others take `f32` alone.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::rows::{PerColumn, Rows, extents};
use super::{Custom, Operator, Outlet, list};

pub fn scaler(node: &NodeProto) -> TractResult<Custom> {
    let (offset, scale) = (list::<f32>(node, "offset")?, list::<f32>(node, "scale")?);
    ensure!(
        offset.len() == scale.len(),
        "{} offsets and {} scales: expected as many of both",
        offset.len(),
        scale.len()
    );
    let change = Change::Scale { offset: PerColumn::new(offset)?, scale: PerColumn::new(scale)? };
    Ok(Custom::new(change))
}

pub fn binarizer(node: &NodeProto) -> TractResult<Custom> {
    let threshold = node.get_attr_opt::<f32>("threshold")?.unwrap_or(0.0);
    Ok(Custom::new(Change::Threshold(threshold)))
}

pub fn normalizer(node: &NodeProto) -> TractResult<Custom> {
    let norm = match node.get_attr_opt::<&str>("norm")?.unwrap_or("MAX") {
        "MAX" => Norm::Max,
        "L1" => Norm::L1,
        "L2" => Norm::L2,
        other => bail!("unknown norm '{other}'"),
    };
    Ok(Custom::new(Change::Norm(norm)))
}

pub fn imputer(node: &NodeProto) -> TractResult<Custom> {
    super::refuse(node, &["imputed_value_int64s", "replaced_value_int64"])?;
    let by = PerColumn::new(list::<f32>(node, "imputed_value_floats")?)?;
    let missing = node.get_attr_opt::<f32>("replaced_value_float")?.unwrap_or(0.0);
    Ok(Custom::new(Change::Impute { missing, by }))
}

#[derive(Debug)]
enum Change {
    Scale { offset: PerColumn, scale: PerColumn },
    Norm(Norm),
    Impute { missing: f32, by: PerColumn },
    Threshold(f32),
}

#[derive(Clone, Copy, Debug)]
enum Norm {
    Max,
    L1,
    L2,
}

impl Norm {
    /// What a row is divided by. The largest number may be negative: the specification says
    /// `X / max(X)`, and ONNX Runtime takes its word.
    fn of(self, row: &[f32]) -> f32 {
        match self {
            Norm::Max => row.iter().copied().fold(f32::MIN, f32::max),
            Norm::L1 => row.iter().map(|number| number.abs()).sum(),
            Norm::L2 => row.iter().map(|number| number * number).sum::<f32>().sqrt(),
        }
    }
}

impl Change {
    fn check(&self, columns: &TDim) -> TractResult<()> {
        match self {
            Change::Scale { offset: numbers, .. } | Change::Impute { by: numbers, .. } => {
                numbers.check(columns)
            }
            Change::Norm(_) | Change::Threshold(_) => Ok(()),
        }
    }

    fn apply(&self, numbers: &mut [f32], columns: usize) -> TractResult<()> {
        match self {
            Change::Scale { offset, scale } => {
                offset.apply(numbers, |number, offset| number - offset);
                scale.apply(numbers, |number, scale| number * scale);
            }
            Change::Norm(norm) => {
                for row in numbers.chunks_mut(columns.max(1)) {
                    let by = norm.of(row);
                    // A row of zeros has no direction; it stays.
                    if by != 0.0 {
                        row.iter_mut().for_each(|number| *number /= by);
                    }
                }
            }
            Change::Impute { missing, by } if missing.is_nan() => {
                by.apply(numbers, |number, by| if number.is_nan() { by } else { number });
            }
            Change::Impute { missing, by } => {
                by.apply(numbers, |number, by| if number == *missing { by } else { number });
            }
            Change::Threshold(threshold) => {
                // Neither above nor below; ONNX Runtime refuses it, too.
                ensure!(!numbers.iter().any(|number| number.is_nan()), "a missing value");
                numbers.iter_mut().for_each(|number| {
                    *number = if *number > *threshold { 1.0 } else { 0.0 };
                });
            }
        }
        Ok(())
    }
}

impl Operator for Change {
    fn name(&self) -> &'static str {
        match self {
            Change::Scale { .. } => "Scaler",
            Change::Norm(_) => "Normalizer",
            Change::Impute { .. } => "Imputer",
            Change::Threshold(_) => "Binarizer",
        }
    }

    fn outlets(&self, inputs: &[Outlet]) -> TractResult<TVec<Outlet>> {
        let (_, columns) = extents(&inputs[0])?;
        self.check(&columns)?;
        let (dtype, shape) = &inputs[0];
        // These answer in the type they are given.
        let keeps_type = matches!(self, Change::Impute { .. } | Change::Threshold(_));
        ensure!(
            !keeps_type || *dtype == f32::datum_type(),
            "expected FP32 numbers, found {dtype:?}"
        );
        Ok(tvec![(f32::datum_type(), shape.clone())])
    }

    fn eval(&self, inputs: &[TValue]) -> TractResult<TVec<Tensor>> {
        let rows = Rows::of(&inputs[0])?;
        self.check(&rows.columns.to_dim())?;
        let mut numbers = rows.numbers()?.to_vec();
        self.apply(&mut numbers, rows.columns)?;
        Ok(tvec![Tensor::from_shape(inputs[0].shape(), &numbers)?])
    }
}
