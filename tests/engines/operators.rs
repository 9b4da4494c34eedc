//! Operators of `ai.onnx.ml`, one by one and in every mode, on numbers that hit their borders: no
//! engine may have an opinion of its own.

use galen::tensor::{DType, Tensor};

use crate::rig::{assert_close, everywhere, floats, integers, tensor};

const AGREEMENT: f64 = 1e-5;
/// The probit's formula loses digits around a half, and each library loses its own.
const PROBIT_AGREEMENT: f64 = 2e-4;

/// Rows of four that hit thresholds (multiples of a half), zeros, signs and missing values.
fn rows() -> Vec<f64> {
    let mut numbers = Vec::new();
    for row in 0..48u32 {
        for column in 0..4u32 {
            let mixed = (row * 7 + column * 13 + row * row) % 11;
            numbers.push((f64::from(mixed) - 5.0) / if column == 3 { 4.0 } else { 2.0 });
        }
    }
    numbers
}

fn agree(model: &str, inputs: &[Tensor]) {
    let loaded = everywhere(model);
    let answers: Vec<Vec<Tensor>> = loaded.iter().map(|loaded| loaded.run(inputs)).collect();
    for (loaded, pair) in loaded.iter().skip(1).zip(answers.windows(2)) {
        let specs = &loaded.executable.signature().outputs;
        for ((spec, right), found) in specs.iter().zip(&pair[0]).zip(&pair[1]) {
            let probit = spec.name.contains("PROBIT");
            let tolerance = if probit { PROBIT_AGREEMENT } else { AGREEMENT };
            let what = format!("{} of {model} on {}", spec.name, loaded.name());
            assert_close(found, right, tolerance, &what);
        }
    }
}

#[test]
fn operators_agree_on_floats() {
    let mut numbers: Vec<f32> = rows().into_iter().map(|number| number as f32).collect();
    agree("ml-binarizer", &[floats(&[48, 4], &numbers)]);
    for missing in numbers.iter_mut().skip(2).step_by(9) {
        *missing = f32::NAN;
    }
    for model in ["ml-trees", "ml-rows"] {
        agree(model, &[floats(&[48, 4], &numbers)]);
    }
}

#[test]
fn operators_agree_on_doubles_and_integers() {
    let mut numbers = rows();
    agree("ml-rows-double", &[tensor(DType::F64, &[48, 4], &numbers)]);
    // The same f32 as the threshold, and on its other side.
    numbers[0] = 0.5 + 1e-12;
    agree("ml-trees-double", &[tensor(DType::F64, &[48, 4], &numbers)]);
    let whole: Vec<i64> = rows().into_iter().map(|number| number as i64).collect();
    for model in ["ml-trees-int64", "ml-rows-int64"] {
        agree(model, &[integers(&[48, 4], &whole)]);
    }
}

#[test]
fn columns_are_picked_and_wrong_ones_refused() {
    let numbers: Vec<f32> = (0u8..8).map(f32::from).collect();
    let x = floats(&[2, 4], &numbers);
    agree("ml-extract", &[x.clone(), integers(&[3], &[3, 0, 3])]);
    for loaded in everywhere("ml-extract") {
        for wrong in [4, -1] {
            let found = loaded.session().run(&[x.clone(), integers(&[1], &[wrong])]);
            assert!(found.is_err(), "{} picked column {wrong} of 4", loaded.name());
        }
    }
}

#[test]
fn a_missing_value_is_neither_above_nor_below() {
    for loaded in everywhere("ml-binarizer") {
        let missing = floats(&[1, 4], &[0.0, 1.0, f32::NAN, 1.0]);
        assert!(loaded.session().run(&[missing]).is_err(), "{}", loaded.name());
    }
}
