//! Whole models: the demo models of `models/` and the scikit-learn exports of `tests/engines`. What
//! trained them says what is right (`examples.json`), and no engine may say something else.

use std::fs;
use std::path::{Path, PathBuf};

use galen::model::examples::ExampleTensor;
use galen::model::{Examples, Manifest, TensorSpec};
use galen::tensor::{DType, Tensor};

use crate::rig::{
    Loaded, assert_all_close, engines, everywhere, floats, integers, load, read, root, row,
};

/// Engines may round differently, but not so that anyone could tell.
const AGREEMENT: f64 = 1e-5;

/// What a model must do on every engine that loads it.
fn check(model: &str, loaded: &[Loaded], examples: &[u8]) {
    let mut answers: Vec<Vec<Tensor>> = Vec::new();
    for loaded in loaded {
        let what = format!("{model} on {}", loaded.name());
        let signature = loaded.executable.signature();
        let examples = Examples::parse(examples, signature)
            .unwrap_or_else(|error| panic!("{what}: {error:?}"));
        let inputs = in_order(&signature.inputs, &examples.inputs);
        let right = in_order(&signature.outputs, &examples.outputs);

        let mut session = loaded.session();
        let mut run = |inputs: &[Tensor]| {
            session.run(inputs).unwrap_or_else(|error| panic!("{what}: {error:?}"))
        };
        let batch = run(&inputs);
        assert_all_close(&batch, &right, examples.tolerance, &what);
        for index in 0..inputs[0].rows() {
            let pick = |list: &[Tensor]| list.iter().map(|t| row(t, index)).collect::<Vec<_>>();
            let alone = run(&pick(&inputs));
            let what = format!("{what}, row {index} alone");
            assert_all_close(&alone, &pick(&batch), AGREEMENT, &what);
        }
        answers.push(batch);
    }
    for (pair, answers) in loaded.windows(2).zip(answers.windows(2)) {
        let signatures = [&pair[0], &pair[1]].map(|loaded| loaded.executable.signature());
        assert_eq!(signatures[0], signatures[1], "{model}: engines read it differently");
        assert_all_close(&answers[1], &answers[0], AGREEMENT, &format!("{model}: engines differ"));
    }
}

fn in_order(specs: &[TensorSpec], examples: &[ExampleTensor]) -> Vec<Tensor> {
    let find = |spec: &TensorSpec| examples.iter().find(|tensor| tensor.name == spec.name);
    specs.iter().map(|spec| tensor(find(spec).expect("an example of each tensor"))).collect()
}

fn tensor(example: &ExampleTensor) -> Tensor {
    match DType::from_name(&example.datatype) {
        Some(DType::F32) => {
            // null is a missing value.
            let number = |value: &serde_json::Value| value.as_f64().map_or(f32::NAN, |n| n as f32);
            floats(&example.shape, &example.data.iter().map(number).collect::<Vec<_>>())
        }
        Some(DType::I64) => {
            let number = |value: &serde_json::Value| value.as_i64().expect("an integer");
            integers(&example.shape, &example.data.iter().map(number).collect::<Vec<_>>())
        }
        other => panic!("an example of {other:?}"),
    }
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
    paths.sort();
    paths
}

#[test]
fn demo_models_answer_as_their_training_did() {
    let mut checked = 0;
    for model in folders(&root().join("models")).into_iter().filter(|path| path.is_dir()) {
        for version in folders(&model).into_iter().filter(|path| path.is_dir()) {
            if !version.join("model.onnx").is_file() {
                continue;
            }
            let manifest = String::from_utf8(read(&model.join("model.toml")).to_vec());
            let manifest = Manifest::parse(&manifest.expect("UTF-8")).expect("a valid manifest");
            let bytes = read(&version.join("model.onnx"));
            let loaded: Vec<Loaded> = engines()
                .into_iter()
                .map(|engine| {
                    let executable = load(engine, &bytes, &manifest)
                        .unwrap_or_else(|error| panic!("{}: {error:?}", version.display()));
                    manifest
                        .refine(executable.signature())
                        .unwrap_or_else(|error| panic!("{}: {error:?}", version.display()));
                    Loaded { engine, executable }
                })
                .collect();
            let examples = read(&version.join("examples.json"));
            check(&version.display().to_string(), &loaded, &examples);
            checked += 1;
        }
    }
    assert_eq!(checked, 5, "the demo models with a file");
}

#[test]
fn scikit_learn_exports_answer_as_scikit_learn_does() {
    let mut checked = 0;
    for examples in folders(&root().join("tests/engines")) {
        if examples.extension().is_some_and(|extension| extension == "json") {
            let model = examples.file_stem().and_then(|stem| stem.to_str()).expect("a name");
            check(model, &everywhere(model), &read(&examples));
            checked += 1;
        }
    }
    assert!(checked > 10, "{checked} exports");
}
