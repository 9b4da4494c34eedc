//! The demo models' profiles against what the server loads: they fit their contracts, held-out rows
//! are no drift from them, and a shift is.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use galen::backend::Engines;
use galen::config::{ControlMode, Digests, RegistryConfig};
use galen::event::Unobserved;
use galen::model::examples::ExampleTensor;
use galen::model::manifest::BackendChoice;
use galen::model::profile::{FILE, Profile, Window};
use galen::registry::Manager;
use galen::service::{Service, Target};
use galen::stats::multiplicity::benjamini_hochberg;
use galen::tensor::{Tensor, shared};

const PATIENCE: Duration = Duration::from_secs(60);

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models")
}

/// Every demo version, on the engine that is built in.
async fn demo() -> Service {
    let state = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("demo-{}", std::process::id()));
    let config = RegistryConfig {
        models: models(),
        backend: BackendChoice::Tract,
        onnxruntime: Default::default(),
        model_bytes_max: 1 << 20,
        digests: Digests::Verify,
        control: ControlMode::None,
        startup: Vec::new(),
        poll: Duration::from_secs(1),
        cache_bytes_max: 0,
        model_name: None,
        settle: Duration::ZERO,
        state,
    };
    let engines = Engines::probe(BackendChoice::Tract, &Default::default());
    let manager = Manager::start(&config, engines, Arc::new(Unobserved)).unwrap();
    let mut progress = manager.progress.clone();
    let settled = progress.wait_for(|progress| progress.settled);
    tokio::time::timeout(PATIENCE, settled).await.unwrap().unwrap();
    Service::new(manager, Arc::default(), None, Default::default(), false)
}

fn profile_of(target: &Target) -> Option<Profile> {
    let id = target.id();
    let path = models().join(id.name.as_str()).join(id.version.to_string()).join(FILE);
    let bytes = fs::read(path).ok()?;
    Some(Profile::parse(&bytes, target.contract()).unwrap_or_else(|error| panic!("{id}: {error}")))
}

/// The held-out rows, in the signature's order.
fn rows(tensors: &[ExampleTensor]) -> Vec<Tensor> {
    let all = |tensor: &ExampleTensor| tensor.rows(0..tensor.shape[0]).unwrap().tensor;
    tensors.iter().map(all).collect()
}

/// Features that differ from training, at a false discovery rate of 1 %.
///
/// Not outputs: a model is surer of rows that it was trained on, which for boosted trees is far
/// enough from held-out rows to be found.
fn drifted(window: &Window) -> Vec<&str> {
    let all: Vec<_> = window.feature_scores().collect();
    let p: Vec<f64> = all.iter().map(|one| one.scores.map_or(1.0, |s| s.chi_square.p)).collect();
    let found = all.iter().zip(benjamini_hochberg(&p, 0.01)).filter(|(_, found)| *found);
    found.map(|(one, _)| one.name).collect()
}

#[tokio::test]
async fn held_out_rows_are_no_drift_and_a_shift_is() {
    let mut seen = Vec::new();
    for target in demo().await.targets() {
        let Some(profile) = profile_of(&target) else { continue };
        let id = target.id().to_string();
        assert_eq!(profile.model_sha256.as_deref(), target.digest(), "{id}");
        let mut window = Window::new(&profile, target.contract()).unwrap();
        let examples = target.examples().unwrap();
        let inputs = rows(&examples.inputs);
        window.observe_inputs(&inputs);
        window.observe_outputs(&rows(&examples.outputs));
        for one in window.feature_scores().chain(window.output_scores()) {
            let scores = one.scores.unwrap();
            assert_eq!(scores.current as usize, examples.rows(), "{id} {}", one.name);
            assert!(!scores.is_alarming(), "{id} {}: too few rows for an alarm", one.name);
        }
        // The strip of the ECG changes with time, and a few windows of it are no sample.
        if id.starts_with("ecg") {
            seen.push(id);
            continue;
        }
        assert_eq!(drifted(&window), Vec::<&str>::new(), "{id}");

        let width = inputs[0].shape()[1];
        let values = inputs[0].to_f64s().unwrap().into_iter().enumerate();
        // The first feature as in another unit.
        let scaled =
            values.map(|(i, x)| if i % width == 0 { x as f32 * 2.5 } else { x as f32 }).collect();
        let name = &target.signature().inputs[0].name;
        let (dtype, shape) = (inputs[0].dtype(), inputs[0].shape().clone());
        let shifted = Tensor::new(name, dtype, shape, shared::<f32>(scaled)).unwrap();
        window.reset();
        window.observe_inputs(&[shifted]);
        let first = window.feature_scores().next().unwrap().name;
        assert_eq!(drifted(&window), [first], "{id}");
        seen.push(id);
    }
    seen.sort();
    let all = ["breast-cancer/1", "breast-cancer/2", "diabetes-progression/1", "ecg-rhythm/1"];
    assert_eq!(seen, all);
}
