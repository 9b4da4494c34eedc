//! One contract for all engines: what a model gives, and what it may not do, must not depend on the
//! engine that a machine happens to have. A case is written once and runs on every engine of the
//! build; `rig::EXCEPTIONS` lists what an engine does not do, and that it says so.
//!
//! The models are written by `tests/tools/make_engine_models.py`. ONNX Runtime's library is the one
//! at `ORT_DYLIB_PATH`, or in `target/lib`, where `make onnxruntime` puts it.

#[path = "engines/models.rs"]
mod models;
#[path = "engines/operators.rs"]
mod operators;
#[path = "engines/refusals.rs"]
mod refusals;
#[path = "engines/rig.rs"]
mod rig;
#[path = "engines/transformers.rs"]
mod transformers;

use std::thread;

use bytes::Bytes;
use galen::model::Manifest;
use galen::model::manifest::{EngineOptions, Optimization};
use galen::tensor::{DType, Shape, Tensor, strings};

use rig::{
    Loaded, assert_close, engines, everywhere, floats, integers, load, model_bytes, numbers, read,
    root,
};

/// A tensor of two rows in which every byte is another one, so that none can be lost or swapped.
fn pattern(dtype: DType, elements: usize) -> Tensor {
    let size = dtype.size().expect("a type of fixed size");
    let byte = |at: usize| match dtype {
        DType::Bool => u8::from(at.is_multiple_of(3)),
        // Some of these are no numbers to a float; they are to come back all the same.
        _ => (at * 37 + 5).to_le_bytes()[0],
    };
    let data: Vec<u8> = (0..elements * size).map(byte).collect();
    Tensor::new("case", dtype, Shape::new([2, elements / 2]), data.into()).expect("a whole tensor")
}

fn words(words: &[&[u8]]) -> Tensor {
    let mut data = Vec::new();
    assert!(words.iter().all(|word| strings::push(&mut data, word)));
    Tensor::new("case", DType::Bytes, Shape::new([1, words.len()]), data.into())
        .expect("a whole tensor")
}

#[test]
fn every_type_comes_back_as_it_went() {
    for model in ["identity", "identity-bf16"] {
        for loaded in everywhere(model) {
            let specs = &loaded.executable.signature().inputs;
            let inputs: Vec<Tensor> = specs.iter().map(|spec| pattern(spec.dtype, 6)).collect();
            assert_eq!(loaded.run(&inputs), inputs, "{}", loaded.name());
        }
    }
    let numbers = everywhere("identity");
    let types = |loaded: &Loaded| loaded.executable.signature().inputs.len();
    assert!(numbers.iter().all(|loaded| types(loaded) == 12), "all but BF16 and BYTES");
}

/// A slice of a request's buffer lies where it lies; engines want their numbers aligned.
#[test]
fn tensors_need_no_alignment() {
    for loaded in everywhere("affine") {
        let aligned = floats(&[1, 4], &[1.0, 2.0, 3.0, 4.0]);
        let mut buffer = vec![0];
        buffer.extend_from_slice(aligned.data());
        for skip in [0, 1] {
            let data = Bytes::from([&vec![0; skip], &buffer[1..]].concat()).slice(skip..);
            let shape = aligned.shape().clone();
            let shifted = Tensor::new("x", DType::F32, shape, data).expect("a whole tensor");
            assert_eq!(loaded.run(&[shifted]), loaded.run(std::slice::from_ref(&aligned)));
        }
    }
}

#[test]
fn words_come_back_as_they_went() {
    let long = "x".repeat(10_000);
    let all: [&[u8]; 4] = [b"", "Grüße, 世界".as_bytes(), b"two\nlines", long.as_bytes()];
    for loaded in everywhere("identity-string") {
        let sent = words(&all);
        assert_eq!(loaded.run(std::slice::from_ref(&sent)), [sent], "{}", loaded.name());
    }
}

#[test]
fn signatures_say_what_the_file_says() {
    let dims = |loaded: &Loaded| {
        let signature = loaded.executable.signature();
        let all = signature.inputs.iter().chain(&signature.outputs);
        all.map(|spec| format!("{} {} {}", spec.name, spec.dtype, spec.dims_text()))
            .collect::<Vec<_>>()
    };
    let cases: &[(&str, &[&str])] = &[
        ("affine", &["x FP32 [-1,4]", "y FP32 [-1,3]"]),
        ("unnamed", &["a FP32 [-1,2]", "b FP32 [-1,1]", "both FP32 [-1,3]", "sum FP32 [-1,1]"]),
        ("two-names", &["a FP32 [-1]", "b FP32 [-1]", "sum FP32 [-1]"]),
        ("pick", &["table FP32 [-1,2]", "places INT64 [-1]", "picked FP32 [-1,2]"]),
        ("scalar", &["x FP32 []", "y FP32 []", "most FP32 []"]),
        ("dims", &["x FP32 [-1,3]", "dims INT64 [2]", "size INT64 []"]),
        ("quantised", &["x FP32 [-1,4]", "y FP32 [-1,3]", "q UINT8 [-1,3]"]),
        ("identity-string", &["string BYTES [-1,-1]", "string_out BYTES [-1,-1]"]),
    ];
    for (model, expected) in cases {
        for loaded in everywhere(model) {
            assert_eq!(dims(&loaded), *expected, "{model} on {}", loaded.name());
        }
    }
}

#[test]
fn shapes_may_change_with_every_call() {
    for loaded in everywhere("affine") {
        let mut session = loaded.session();
        for rows in [3, 1, 7, 2, 64, 1] {
            let x: Vec<f32> = (0u16..).map(f32::from).take(rows * 4).collect();
            let y = session.run(&[floats(&[rows, 4], &x)]).expect("an answer");
            assert_eq!(**y[0].shape(), [rows, 3], "{}", loaded.name());
            // Row by row in plain arithmetic: weights go from -1 to 1 in eleven steps.
            let weight = |at: usize| -1.0 + at as f64 * 2.0 / 11.0;
            let column = |row: usize, column: usize| {
                let sum: f64 =
                    (0..4).map(|k| f64::from(x[row * 4 + k]) * weight(k * 3 + column)).sum();
                sum + [0.5, -0.5, 0.0][column]
            };
            for (at, found) in numbers(&y[0]).into_iter().enumerate() {
                let right = column(at / 3, at % 3);
                assert!((found - right).abs() < 1e-3, "{}: {found} {right}", loaded.name());
            }
        }
    }
    for loaded in everywhere("conv") {
        let mut session = loaded.session();
        for (rows, time) in [(1, 8), (3, 5), (1, 1), (2, 100)] {
            let x = vec![0.5; rows * 2 * time];
            let y = session.run(&[floats(&[rows, 2, time], &x)]).expect("an answer");
            assert_eq!(**y[0].shape(), [rows, 3], "{}", loaded.name());
        }
    }
}

/// Files that do not name their axes, name one twice, or count two things on first axes.
#[test]
fn axes_need_no_names() {
    for loaded in everywhere("unnamed") {
        let inputs = [floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0]), floats(&[2, 1], &[5.0, 6.0])];
        let outputs = loaded.run(&inputs);
        let both = floats(&[2, 3], &[1.0, 2.0, 5.0, 3.0, 4.0, 6.0]);
        assert_eq!(outputs, [both, floats(&[2, 1], &[8.0, 13.0])], "{}", loaded.name());
    }
    for loaded in everywhere("pick") {
        let mut session = loaded.session();
        let table = floats(&[3, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        for places in [&[2i64][..], &[0, 2, 1], &[1, 1, 1, 1, 0]] {
            let inputs = [table.clone(), integers(&[places.len()], places)];
            let picked = session.run(&inputs).expect("an answer");
            let right: Vec<f64> =
                places.iter().flat_map(|&at| [at as f64 * 2.0, at as f64 * 2.0 + 1.0]).collect();
            assert_eq!(numbers(&picked[0]), right, "{}", loaded.name());
        }
    }
    for loaded in everywhere("two-names") {
        let mut session = loaded.session();
        // More lengths than an engine may keep plans for.
        for length in (1..40).chain([3, 1]) {
            let x: Vec<f32> = (0u8..).map(f32::from).take(length).collect();
            let one = floats(&[1], &[0.5]);
            for other in [&floats(&[length], &x), &one] {
                let sum = session.run(&[floats(&[length], &x), other.clone()]).expect("a sum");
                let last = length as f64 - 1.0;
                let add = if other.rows() == length && length > 1 { last } else { 0.5 };
                let right = if length == 1 { numbers(other)[0] } else { last + add };
                assert_eq!(numbers(&sum[0]).last(), Some(&right), "{}", loaded.name());
            }
        }
    }
}

#[test]
fn scalars_have_no_axes() {
    for loaded in everywhere("scalar") {
        let outputs = loaded.run(&[floats(&[], &[2.5])]);
        assert_eq!(outputs, [floats(&[], &[5.0]), floats(&[], &[2.5])], "{}", loaded.name());
    }
    for loaded in everywhere("total") {
        let outputs = loaded.run(&[floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])]);
        assert_eq!(outputs, [floats(&[], &[21.0])], "{}", loaded.name());
    }
    for loaded in everywhere("dims") {
        let outputs = loaded.run(&[floats(&[2, 3], &[0.0; 6])]);
        assert_eq!(outputs, [integers(&[2], &[2, 3]), integers(&[], &[6])], "{}", loaded.name());
    }
}

#[test]
fn eight_bits_stay_within_a_step() {
    let x: Vec<f32> = (0u8..40).map(|at| (f32::from(at) - 20.0) / 8.0).collect();
    let answers: Vec<_> =
        everywhere("quantised").iter().map(|loaded| loaded.run(&[floats(&[10, 4], &x)])).collect();
    for pair in answers.windows(2) {
        // Halves may be rounded either way: one step of 0.1.
        assert_close(&pair[1][0], &pair[0][0], 0.1001, "dequantised");
        for (a, b) in pair[0][1].data().iter().zip(pair[1][1].data()) {
            assert!(a.abs_diff(*b) <= 1, "{a} and {b}");
        }
    }
}

/// Whatever a call leaves behind, it may not reach the next caller's answer.
#[test]
fn calls_know_nothing_of_each_other() {
    let mut answers = Vec::new();
    for loaded in everywhere("lstm") {
        let mut session = loaded.session();
        let x: Vec<f32> = (0u8..24).map(|at| f32::from(at) / 12.0 - 1.0).collect();
        let first = session.run(&[floats(&[4, 3, 2], &x)]).expect("an answer");
        for between in [floats(&[4, 3, 2], &[9.0; 24]), floats(&[2, 1, 2], &[-9.0; 4])] {
            session.run(&[between]).expect("an answer");
            let again = session.run(&[floats(&[4, 3, 2], &x)]).expect("an answer");
            assert_eq!(again, first, "{}", loaded.name());
        }
        answers.push(first);
    }
    for pair in answers.windows(2) {
        rig::assert_all_close(&pair[1], &pair[0], 1e-5, "lstm: engines differ");
    }
}

/// One executable, a session per thread, and each thread its own numbers.
#[test]
fn sessions_run_side_by_side() {
    for loaded in everywhere("affine") {
        let lone = loaded.session().run(&[floats(&[1, 4], &[1.0; 4])]).expect("an answer");
        let (zero, slope) = (0.5, numbers(&lone[0])[0] - 0.5);
        thread::scope(|scope| {
            for number in 1u8..=8 {
                let loaded = &loaded;
                scope.spawn(move || {
                    let mut session = loaded.session();
                    for turn in 0..200 {
                        let rows = 1 + (turn + usize::from(number)) % 5;
                        let x = floats(&[rows, 4], &vec![f32::from(number); rows * 4]);
                        let y = session.run(&[x]).expect("an answer");
                        let right = zero + slope * f64::from(number);
                        for row in numbers(&y[0]).chunks(3) {
                            assert!((row[0] - right).abs() < 1e-4, "{} {right}", row[0]);
                        }
                    }
                });
            }
        });
    }
    // More lengths than an engine may keep plans for, where it needs one for each.
    for loaded in everywhere("pairs") {
        thread::scope(|scope| {
            for start in [1, 10, 20, 30] {
                let loaded = &loaded;
                scope.spawn(move || {
                    let mut session = loaded.session();
                    for length in (start..start + 20).chain([start]) {
                        let x: Vec<f32> = (0u8..).map(f32::from).take(2 * length).collect();
                        let pairs = session.run(&[floats(&[2 * length], &x)]).expect("pairs");
                        assert_eq!(pairs, [floats(&[length, 2], &x)], "{}", loaded.name());
                    }
                });
            }
        });
    }
}

#[test]
fn options_change_the_speed_and_not_the_answer() {
    let optimizations =
        [Optimization::Off, Optimization::Basic, Optimization::Extended, Optimization::All];
    for path in ["models/breast-cancer/1", "models/breast-cancer/2", "models/ecg-rhythm/1"] {
        let bytes = read(&root().join(path).join("model.onnx"));
        for engine in engines() {
            let mut answers: Vec<Vec<Tensor>> = Vec::new();
            for optimization in optimizations {
                for threads in [Some(0), Some(1), Some(2), None] {
                    let options = EngineOptions {
                        optimization,
                        threads,
                        instances: None,
                        ..EngineOptions::default()
                    };
                    let manifest = Manifest { engine: options, ..Manifest::default() };
                    let executable = load(engine, &bytes, &manifest).expect("a loaded model");
                    let spec = &executable.signature().inputs[0];
                    let shape = spec.wire_dims().map(|dim| usize::try_from(dim).unwrap_or(3));
                    let shape = Vec::from_iter(shape);
                    let x: Vec<f32> =
                        (0..shape.iter().product()).map(|at: usize| (at % 17) as f32).collect();
                    let loaded = Loaded { engine, executable };
                    answers.push(loaded.run(&[floats(&shape, &x)]));
                }
            }
            for answer in &answers[1..] {
                rig::assert_all_close(answer, &answers[0], 1e-5, path);
            }
        }
    }
}

#[test]
fn two_inputs_and_two_outputs_keep_their_order() {
    let bytes = read(&root().join("models/add-sub/1/model.onnx"));
    for engine in engines() {
        let executable = load(engine, &bytes, &rig::manifest()).expect("a loaded model");
        let loaded = Loaded { engine, executable };
        let (a, b) = (floats(&[1, 16], &[3.0; 16]), floats(&[1, 16], &[1.0; 16]));
        let outputs = loaded.run(&[a, b]);
        assert_eq!(outputs, [floats(&[1, 16], &[4.0; 16]), floats(&[1, 16], &[2.0; 16])]);
    }
}

#[test]
fn the_suite_knows_its_exceptions() {
    for (engine, model, ..) in rig::EXCEPTIONS {
        assert!(!model_bytes(model).is_empty());
        assert!(["onnxruntime", "tract"].contains(engine));
        everywhere(model);
    }
}
