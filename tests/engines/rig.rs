//! What the contract suite stands on: the engines of this build, the models of `tests/engines`,
//! tensors, and the one idea of "equal" that every comparison uses.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytemuck::Pod;
use bytes::Bytes;
use galen::backend::{Backend, Engines, Executable, ModelSource, Session};
use galen::config::OnnxRuntimeConfig;
use galen::error::{Error, ErrorKind};
use galen::model::manifest::{BackendChoice, EngineOptions};
use galen::model::{Manifest, ModelId, ModelName, Version};
use galen::tensor::{DType, Shape, Tensor};

/// What an engine does not do: engine, model, a word its refusal must hold, and why it is so.
pub const EXCEPTIONS: &[(&str, &str, &str, &str)] = &[
    ("tract", "identity-string", "BYTES", "tract computes with no tensors of words"),
    ("tract", "identity-bf16", "BF16", "tract has no BF16"),
    ("tract", "sklearn-svc", "SVMClassifier", "support vector machines are not written for tract"),
];

/// The engines of this build that read ONNX.
pub fn engines() -> Vec<BackendChoice> {
    let built = [
        (BackendChoice::Onnxruntime, cfg!(feature = "onnxruntime")),
        (BackendChoice::Tract, cfg!(feature = "tract")),
    ];
    built.into_iter().filter(|(_, built)| *built).map(|(engine, _)| engine).collect()
}

/// One probe for all tests: ONNX Runtime is loaded once per process.
fn probe() -> &'static Engines {
    static ENGINES: OnceLock<Engines> = OnceLock::new();
    ENGINES.get_or_init(|| {
        let named = std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from);
        let own = |name: &str| root().join("target/lib").join(name);
        let own = ["libonnxruntime.so", "libonnxruntime.dylib"].map(own);
        let candidates = Vec::from_iter(named.into_iter().chain(own));
        let config = OnnxRuntimeConfig { candidates, ..OnnxRuntimeConfig::default() };
        let engines = Engines::probe(BackendChoice::Auto, &config);
        if let Some(error) = engines.onnxruntime_missing()
            && cfg!(feature = "onnxruntime")
        {
            panic!("half of the contract suite has no engine. Run `make onnxruntime`. {error:?}");
        }
        engines
    })
}

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub fn model_bytes(name: &str) -> Bytes {
    read(&root().join(format!("tests/engines/{name}.onnx")))
}

pub fn read(path: &Path) -> Bytes {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into()
}

/// Loads bytes on one engine.
pub fn load(
    engine: BackendChoice,
    bytes: &Bytes,
    manifest: &Manifest,
) -> Result<Arc<dyn Executable>, Error> {
    let name = ModelName::new("case").expect("a legal name");
    let id = ModelId { name, version: Version::parse("1").expect("a legal version") };
    let beside = &BTreeMap::new();
    probe().choose(engine, "")?.load(&ModelSource { id: &id, bytes, beside, manifest })
}

/// The engine of a model's wish and file.
pub fn engine(wish: BackendChoice, file: &str) -> Result<&'static Arc<dyn Backend>, Error> {
    probe().choose(wish, file)
}

/// One thread per call: what the demo models are served with on two cores, and no noise in timing.
pub fn manifest() -> Manifest {
    let engine = EngineOptions { threads: Some(1), ..EngineOptions::default() };
    Manifest { engine, ..Manifest::default() }
}

/// A model on one engine.
pub struct Loaded {
    pub engine: BackendChoice,
    pub executable: Arc<dyn Executable>,
}

impl Loaded {
    pub fn session(&self) -> Box<dyn Session> {
        self.executable.session().unwrap_or_else(|error| panic!("{}: {error:?}", self.name()))
    }

    pub fn run(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        self.session().run(inputs).unwrap_or_else(|error| panic!("{}: {error:?}", self.name()))
    }

    pub fn name(&self) -> &'static str {
        self.engine.name()
    }
}

/// A model of `tests/engines` on every engine, without those that are excused; whose refusals are
/// looked at instead.
pub fn everywhere(model: &str) -> Vec<Loaded> {
    let bytes = model_bytes(model);
    let mut loaded = Vec::new();
    for engine in engines() {
        let excuse = EXCEPTIONS.iter().find(|(e, m, ..)| (*e, *m) == (engine.name(), model));
        match (load(engine, &bytes, &manifest()), excuse) {
            (Ok(executable), None) => loaded.push(Loaded { engine, executable }),
            (Err(error), Some((_, _, word, _))) => {
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{}: {error:?}", engine.name());
                assert!(error.message().contains(word), "{}: {error:?}", engine.name());
            }
            (Err(error), None) => panic!("{} refuses {model}: {error:?}", engine.name()),
            (Ok(_), Some((.., why))) => panic!("{} loads {model}, although {why}", engine.name()),
        }
    }
    loaded
}

pub fn tensor<T: Pod>(dtype: DType, shape: &[usize], data: &[T]) -> Tensor {
    let bytes = Bytes::copy_from_slice(bytemuck::cast_slice(data));
    Tensor::new("case", dtype, Shape::new(shape.iter().copied()), bytes).expect("a whole tensor")
}

pub fn floats(shape: &[usize], data: &[f32]) -> Tensor {
    tensor(DType::F32, shape, data)
}

pub fn integers(shape: &[usize], data: &[i64]) -> Tensor {
    tensor(DType::I64, shape, data)
}

/// The numbers of a tensor of any type that models answer in.
pub fn numbers(tensor: &Tensor) -> Vec<f64> {
    let data = tensor.data();
    match tensor.dtype() {
        DType::F32 => cast::<f32>(data).into_iter().map(f64::from).collect(),
        DType::F64 => cast::<f64>(data),
        DType::I32 => cast::<i32>(data).into_iter().map(f64::from).collect(),
        DType::I64 => cast::<i64>(data).into_iter().map(|number| number as f64).collect(),
        DType::U8 => data.iter().copied().map(f64::from).collect(),
        other => panic!("no numbers in {other}"),
    }
}

fn cast<T: Pod>(data: &[u8]) -> Vec<T> {
    bytemuck::allocation::pod_collect_to_vec(data)
}

/// Equal within `tolerance`, absolute below one and relative above; NaN equals NaN.
pub fn equal(a: f64, b: f64, tolerance: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * a.abs().max(1.0)
}

#[track_caller]
pub fn assert_close(found: &Tensor, expected: &Tensor, tolerance: f64, what: &str) {
    assert_eq!(found.dtype(), expected.dtype(), "{what}");
    assert_eq!(found.shape(), expected.shape(), "{what}");
    for (at, (f, e)) in numbers(found).into_iter().zip(numbers(expected)).enumerate() {
        assert!(equal(f, e, tolerance), "{what}: element {at} is {f}, expected {e}");
    }
}

#[track_caller]
pub fn assert_all_close(found: &[Tensor], expected: &[Tensor], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_close(found, expected, tolerance, &format!("{what}, output {at}"));
    }
}

/// One row of a batch, as a batch of one.
pub fn row(tensor: &Tensor, index: usize) -> Tensor {
    let width = tensor.data().len() / tensor.rows();
    let data = tensor.data().slice(index * width..(index + 1) * width);
    Tensor::new("row", tensor.dtype(), tensor.shape().with_rows(1), data).expect("a whole tensor")
}
