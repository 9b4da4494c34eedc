//! What no engine may do with a bad file or a bad value: end the process, hang, or answer anyway.

use bytes::Bytes;
use galen::error::{Error, ErrorKind};
use galen::model::manifest::{BackendChoice, EngineOptions, Optimization};
use galen::model::{Manifest, TensorSpec};
use galen::tensor::{DType, Shape, Tensor, strings};

use crate::rig::{
    engines, everywhere, floats, integers, load, manifest, model_bytes, numbers, read, root,
};

fn refusal(engine: BackendChoice, bytes: &Bytes, what: &str) -> Error {
    match load(engine, bytes, &manifest()) {
        Ok(_) => panic!("{} loads {what}", engine.name()),
        Err(error) => error,
    }
}

#[test]
fn files_that_are_no_models_are_refused() {
    let whole = read(&root().join("models/breast-cancer/2/model.onnx"));
    let junk = Bytes::from_static(&[0xff; 64]);
    let text = Bytes::from_static(b"<!doctype html><title>404</title>");
    for engine in engines() {
        for (what, bytes) in
            [("nothing", Bytes::new()), ("junk", junk.clone()), ("a web page", text.clone())]
        {
            let error = refusal(engine, &bytes, what);
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
            assert!(error.message().starts_with(engine.name()), "{error:?}");
        }
        for part in [1, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
            refusal(engine, &whole.slice(..part), &format!("the first {part} bytes"));
        }
    }
}

/// Flipped bits may leave a valid model; what they may not do is end the thread.
#[test]
fn damaged_files_never_panic() {
    for model in ["affine", "conv", "ml-rows", "pairs", "quantised", "sklearn-forest"] {
        let bytes = model_bytes(model);
        for engine in engines() {
            for at in (0..bytes.len()).step_by(bytes.len() / 48 + 1) {
                let mut damaged = bytes.to_vec();
                damaged[at] ^= 0x15;
                let _ = load(engine, &damaged.into(), &manifest());
            }
        }
    }
}

#[test]
fn graphs_that_do_not_hold_together_are_refused() {
    for engine in engines() {
        for (model, word) in
            [("unknown-operator", "NoSuchThing"), ("foreign-operator", "org.example")]
        {
            let error = refusal(engine, &model_bytes(model), model);
            assert!(error.message().contains(word), "{error:?}");
        }
        refusal(engine, &model_bytes("no-output"), "a graph whose output nothing computes");
    }
}

/// A model is the bytes that were verified; a file beside them was not.
#[test]
fn data_in_other_files_is_not_read() {
    for engine in engines() {
        // What an engine optimises decides whether it would look at the file.
        for optimization in [Optimization::Off, Optimization::All] {
            let options = EngineOptions { optimization, ..EngineOptions::default() };
            let manifest = Manifest { engine: options, ..Manifest::default() };
            let error = match load(engine, &model_bytes("external"), &manifest) {
                Ok(_) => panic!("{} reads a file that the model names", engine.name()),
                Err(error) => error,
            };
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
            assert!(error.message().contains("another file"), "{error:?}");
        }
    }
}

#[test]
fn a_value_that_a_model_refuses_leaves_the_session_usable() {
    for loaded in everywhere("gather") {
        let mut session = loaded.session();
        for _ in 0..3 {
            let error = session.run(&[integers(&[2], &[1, 99])]).expect_err("place 99 of 10");
            assert!(
                matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Internal),
                "{}: {error:?}",
                loaded.name()
            );
            assert!(!error.message().contains("99"), "the caller's text repeats a value: {error}");
            let picked = session.run(&[integers(&[2], &[1, 9])]).expect("an answer");
            assert_eq!(numbers(&picked[0]), [1.0, 9.0], "{}", loaded.name());
        }
    }
}

#[test]
fn a_shape_that_a_model_refuses_leaves_the_session_usable() {
    for loaded in everywhere("pairs") {
        let mut session = loaded.session();
        for _ in 0..3 {
            let odd = session.run(&[floats(&[3], &[1.0, 2.0, 3.0])]);
            assert!(odd.is_err(), "{} makes pairs of three", loaded.name());
            let even = session.run(&[floats(&[4], &[1.0, 2.0, 3.0, 4.0])]).expect("two pairs");
            assert_eq!(even, [floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0])], "{}", loaded.name());
        }
    }
}

/// A batch without rows is legal: it has an answer without rows, or none; but not a panic.
#[test]
fn an_empty_batch_is_answered_or_refused() {
    let answer = |inputs: &[Tensor], model: &str| {
        for loaded in everywhere(model) {
            let mut session = loaded.session();
            match session.run(inputs) {
                Ok(outputs) => {
                    let empty = outputs.iter().all(|output| output.data().is_empty());
                    assert!(empty, "{model} on {}: {outputs:?}", loaded.name());
                }
                Err(error) => {
                    let typed = matches!(
                        error.kind(),
                        ErrorKind::InvalidInput | ErrorKind::Unsupported | ErrorKind::Internal
                    );
                    assert!(typed, "{model} on {}: {error:?}", loaded.name());
                }
            }
        }
    };
    answer(&[floats(&[0, 4], &[])], "affine");
    answer(&[floats(&[0, 4], &[])], "ml-trees");
    answer(&[floats(&[0, 4], &[])], "ml-rows");
    answer(&[floats(&[0, 2, 8], &[])], "conv");
    answer(&[floats(&[0], &[]), floats(&[0], &[])], "two-names");
    for loaded in everywhere("identity").iter().chain(&everywhere("identity-string")) {
        let nothing = |spec: &TensorSpec| {
            Tensor::new("x", spec.dtype, Shape::new([0, 3]), Bytes::new()).expect("an empty tensor")
        };
        let inputs: Vec<Tensor> =
            loaded.executable.signature().inputs.iter().map(nothing).collect();
        assert_eq!(loaded.run(&inputs), inputs, "{}", loaded.name());
    }
    for loaded in everywhere("affine") {
        let outputs = loaded.run(&[floats(&[0, 4], &[])]);
        assert_eq!(outputs, [floats(&[0, 3], &[])], "{}", loaded.name());
    }
    // A sum over nothing is something: engines may know it or say that they do not.
    for loaded in everywhere("total") {
        if let Ok(outputs) = loaded.session().run(&[floats(&[0, 3], &[])]) {
            assert_eq!(outputs, [floats(&[], &[0.0])], "{}", loaded.name());
        }
    }
}

#[test]
fn words_that_an_engine_would_change_are_refused() {
    for loaded in everywhere("identity-string") {
        for word in [&b"a\0b"[..], b"\xff\xfe"] {
            let mut data = Vec::new();
            assert!(strings::push(&mut data, word));
            let shape = Shape::new([1, 1]);
            let sent = Tensor::new("x", DType::Bytes, shape, data.into()).expect("a whole tensor");
            let error = loaded.session().run(&[sent]).expect_err("a refusal");
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{}: {error:?}", loaded.name());
        }
    }
}
