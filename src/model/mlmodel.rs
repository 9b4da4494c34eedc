//! `MLmodel`, the file in which MLflow says what a model directory holds: one model in one or more
//! flavours. Galen serves the flavour `onnx`. Pure.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde::Deserialize;

use crate::error::{Error, Result, quoted};

/// The name of the file in a model directory.
pub const FILE: &str = "MLmodel";
const ONNX: &str = "onnx";

#[derive(Deserialize)]
struct MlModel {
    #[serde(default)]
    flavors: BTreeMap<String, Option<Flavor>>,
}

/// What every flavour may have; the rest is not Galen's.
#[derive(Deserialize)]
struct Flavor {
    data: Option<serde_json::Value>,
}

/// Path of the ONNX file beneath the directory.
pub fn onnx_file(text: &str) -> Result<String> {
    let wrong = |why: String| Error::invalid(format!("{FILE}: {why}"));
    let model: MlModel =
        serde_saphyr::from_str(text).map_err(|error| wrong(one_line(&error.to_string())))?;
    let Some(flavor) = model.flavors.get(ONNX) else {
        let names: Vec<String> = model.flavors.keys().map(|name| quoted(name)).collect();
        let has = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return Err(Error::unsupported(format!(
            "{FILE}: no flavor '{ONNX}', which is the one that Galen serves; there is {has}. Fix: \
             save the model with mlflow.onnx"
        )));
    };
    let data = flavor.as_ref().and_then(|flavor| flavor.data.as_ref()?.as_str());
    let data = data.ok_or_else(|| {
        wrong(format!("flavors.{ONNX}.data: expected the path of the model file"))
    })?;
    let is_plain = |part| matches!(part, Component::Normal(_));
    let fits = !data.is_empty() && !data.contains(['\\', '\0']);
    if !fits || !Path::new(data).components().all(is_plain) {
        return Err(wrong(format!(
            "flavors.{ONNX}.data: '{}' is not in the model's directory: expected a relative path \
             without '..'",
            quoted(data)
        )));
    }
    Ok(data.to_owned())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(400).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As MLflow 3 writes it.
    const WRITTEN: &str = "\
artifact_path: model
flavors:
  onnx:
    code: null
    data: model.onnx
    onnx_version: 1.22.0
    providers:
    - CUDAExecutionProvider
    - CPUExecutionProvider
  python_function:
    data: model.onnx
    env:
      conda: conda.yaml
      virtualenv: python_env.yaml
    loader_module: mlflow.onnx
    python_version: 3.12.3
mlflow_version: 3.6.0
model_size_bytes: 1234
signature:
  inputs: '[{\"type\": \"tensor\", \"tensor-spec\": {\"dtype\": \"float32\", \"shape\": [-1, 4]}}]'
utc_time_created: '2026-01-01 00:00:00.000000'
";

    #[test]
    fn the_model_file_is_found() {
        assert_eq!(onnx_file(WRITTEN).unwrap(), "model.onnx");
        let deeper = WRITTEN.replace("data: model.onnx", "data: data/model.onnx");
        assert_eq!(onnx_file(&deeper).unwrap(), "data/model.onnx");
    }

    #[test]
    fn other_flavours_and_other_places_are_refused() {
        let sklearn = "flavors:\n  python_function:\n    model_path: model.pkl\n  sklearn:\n    \
                       pickled_model: model.pkl\n";
        let onnx = |data: &str| format!("flavors:\n  onnx:\n    data: {data}\n");
        for (text, part) in [
            (sklearn.to_owned(), "no flavor 'onnx'"),
            (sklearn.to_owned(), "there is python_function, sklearn"),
            (String::from("artifact_path: model"), "there is none"),
            (onnx("../model.onnx"), "without '..'"),
            (onnx("/etc/passwd"), "is not in the model's directory"),
            (onnx("''"), "is not in the model's directory"),
            (onnx("[1]"), "expected the path of the model file"),
            (String::from("flavors:\n  onnx: null\n"), "expected the path of the model file"),
            (String::from("flavors: ["), "MLmodel: "),
        ] {
            let error = onnx_file(&text).unwrap_err();
            assert!(error.message().contains(part), "{text}: {error}");
        }
    }
}
