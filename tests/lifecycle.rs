//! The registry while it lives: versions come, change, break and go under requests that must not
//! notice.

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use galen::backend::Engines;
use galen::config::{ControlMode, RegistryConfig};
use galen::event::Unobserved;
use galen::infer::{InferRequest, RequestContext};
use galen::model::manifest::BackendChoice;
use galen::model::{Selector, Version};
use galen::registry::{Manager, Progress, VersionState};
use galen::service::{LoadCall, Service};
use galen::tensor::{DType, NamedTensor, Shape, Tensor};
use support::{PATIENCE, Registry, tensors};
use tokio::sync::watch;

struct Rig {
    registry: Registry,
    service: Service,
    progress: watch::Receiver<Progress>,
}

impl Rig {
    async fn new(registry: Registry, change: impl FnOnce(&mut RegistryConfig)) -> Self {
        let mut config = registry.config();
        change(&mut config);
        let engines = Engines::probe(BackendChoice::Identity, &Default::default());
        let manager = Manager::start(&config, engines, Arc::new(Unobserved)).unwrap();
        let mut progress = manager.progress.clone();
        let settled = progress.wait_for(|progress| progress.settled);
        tokio::time::timeout(PATIENCE, settled).await.unwrap().unwrap();
        Self {
            registry,
            service: Service::new(manager, Arc::default(), None, Default::default(), false),
            progress,
        }
    }

    /// Waits until the table is as wanted.
    async fn until(&mut self, what: &str, is: impl Fn(&Service) -> bool) {
        let service = self.service.clone();
        let there = self.progress.wait_for(|_| is(&service));
        let outcome = tokio::time::timeout(PATIENCE, there).await.map(|seen| seen.is_ok());
        assert_eq!(outcome, Ok(true), "{what}; there is {:?}", self.service.catalog());
    }

    fn states(&self, model: &str) -> String {
        let Ok(status) = self.service.model(model) else { return String::new() };
        status.versions.iter().map(|v| format!("{}={} ", v.version, v.state)).collect()
    }

    fn latest(&self, model: &str) -> Option<u64> {
        let target = self.service.resolve(model, Selector::Latest).ok()?;
        Some(target.id().version.number())
    }
}

fn serves(model: &'static str, version: u64) -> impl Fn(&Service) -> bool {
    move |service| {
        let target = service.resolve(model, Selector::Latest);
        target.is_ok_and(|target| target.id().version.number() == version)
    }
}

fn state_is(model: &'static str, version: u64, state: VersionState) -> impl Fn(&Service) -> bool {
    move |service| {
        let versions = service.model(model).map(|model| model.versions).unwrap_or_default();
        versions.iter().any(|v| v.version.number() == version && v.state == state)
    }
}

fn registry() -> Registry {
    let registry = Registry::new();
    registry.model("m", &[1, 2], "", &tensors(&[DType::F32]));
    registry
}

/// A version appears whole: written aside, then renamed.
fn publish(registry: &Path, model: &str, version: u64) {
    let aside = registry.join(model).join(format!(".{version}"));
    fs::create_dir_all(&aside).unwrap();
    fs::write(aside.join("note"), version.to_string()).unwrap();
    fs::rename(&aside, registry.join(model).join(version.to_string())).unwrap();
}

async fn ask(service: &Service, model: &str) -> galen::error::Result<u64> {
    let target = service.resolve(model, Selector::Latest)?;
    let now = std::time::Instant::now();
    let context = RequestContext::internal("test", now, PATIENCE);
    let data = 1.5f32.to_le_bytes().to_vec();
    let tensor = Tensor::new("FP32", DType::F32, Shape::new([1]), data.into())?;
    let inputs = vec![NamedTensor { name: "FP32".into(), tensor }];
    let request = InferRequest { inputs, ..InferRequest::default() };
    let answer = target.infer(&context, request).await?;
    assert_eq!(answer.outputs[0].tensor.data()[..], 1.5f32.to_le_bytes());
    Ok(target.id().version.number())
}

#[tokio::test]
async fn versions_come_and_go_with_their_folders() {
    let mut rig = Rig::new(registry(), |_| {}).await;
    assert_eq!(rig.latest("m"), Some(2));
    publish(rig.registry.path(), "m", 3);
    rig.until("3 serves", serves("m", 3)).await;
    rig.until("2 leaves", state_is("m", 2, VersionState::Unloaded)).await;
    assert!(rig.service.readiness().ready);
    fs::remove_dir_all(rig.registry.path().join("m/3")).unwrap();
    rig.until("2 is back", serves("m", 2)).await;
    rig.registry.model("n", &[7], "", &tensors(&[DType::F32]));
    rig.until("n came", serves("n", 7)).await;
    fs::remove_dir_all(rig.registry.path().join("m")).unwrap();
    rig.until("m went", |service| service.model("m").is_err()).await;
    assert_eq!(rig.latest("n"), Some(7));
}

#[tokio::test]
async fn a_broken_configuration_or_version_disturbs_nothing() {
    let mut rig = Rig::new(registry(), |_| {}).await;
    let config = rig.registry.path().join("m/model.toml");
    let good = fs::read_to_string(&config).unwrap();
    fs::write(&config, "bakend = 1").unwrap();
    let complains = |service: &Service| {
        let problem = service.model("m").ok().and_then(|model| model.problem);
        problem.is_some_and(|problem| problem.contains("did you mean 'backend'"))
    };
    rig.until("the mistake is shown", complains).await;
    assert_eq!(rig.latest("m"), Some(2), "and what serves, serves on");

    // A configuration that reads well, but fits no version.
    let output = "name = \"FP32_out\"\ndatatype = ";
    let misfit = good.replace(&format!("{output}\"FP32\""), &format!("{output}\"INT8\""));
    assert_ne!(misfit, good);
    fs::write(&config, misfit).unwrap();
    let reason = |service: &Service| {
        let versions = service.model("m").map(|model| model.versions).unwrap_or_default();
        versions.iter().any(|version| version.reason.is_some())
    };
    rig.until("the reason is shown", reason).await;
    assert_eq!(rig.states("m"), "2=ready ");
    fs::write(&config, &good).unwrap();
    rig.until("all is well", |service| {
        service.model("m").is_ok_and(|m| m.problem.is_none() && m.versions[0].reason.is_none())
    })
    .await;
}

/// A directory that is one model, as KServe mounts it, beneath the registry of a test.
fn mount(name: &str) -> Registry {
    let registry = Registry::new();
    fs::create_dir_all(registry.path().join(name)).unwrap();
    registry.model(name, &[], "", &tensors(&[DType::F32]));
    fs::write(registry.path().join(name).join("model.onnx"), "of no interest to identity").unwrap();
    registry
}

fn mounted(config: &mut RegistryConfig, name: &str) {
    config.models.push(name);
    config.state = config.models.join(".galen");
}

#[tokio::test]
async fn a_directory_that_is_one_model_lives_like_any_other() {
    let mut rig = Rig::new(mount("ward"), |config| mounted(config, "ward")).await;
    assert_eq!(rig.latest("ward"), Some(1));
    assert_eq!(ask(&rig.service, "ward").await.unwrap(), 1);
    let file = rig.registry.path().join("ward/model.onnx");
    fs::remove_file(&file).unwrap();
    rig.until("it went", |service| service.model("ward").is_err()).await;
    fs::write(&file, "").unwrap();
    rig.until("it came back", serves("ward", 1)).await;
    // A folder with a version beside it: what serves, serves on, until one of the two is gone.
    let version = rig.registry.path().join("ward/m/1");
    fs::create_dir_all(&version).unwrap();
    assert_eq!(ask(&rig.service, "ward").await.unwrap(), 1);
}

#[tokio::test]
async fn a_directory_that_is_one_model_may_be_named() {
    let rig = Rig::new(mount("ward"), |config| {
        mounted(config, "ward");
        config.model_name = galen::model::ModelName::new("heart");
    })
    .await;
    assert_eq!((rig.latest("heart"), rig.latest("ward")), (Some(1), None));
}

#[test]
fn a_model_and_a_registry_at_once_is_neither() {
    for folder in ["1", "m/1"] {
        let registry = mount("ward");
        fs::create_dir_all(registry.path().join("ward").join(folder)).unwrap();
        let mut config = registry.config();
        mounted(&mut config, "ward");
        let engines = Engines::probe(BackendChoice::Identity, &Default::default());
        let error = Manager::start(&config, engines, Arc::new(Unobserved)).err().unwrap();
        let message = error.message();
        assert!(message.contains("model.onnx lies directly inside"), "{message}");
    }
}

#[tokio::test]
async fn a_file_of_labels_counts_as_configuration() {
    let registry = Registry::new();
    let entries =
        tensors(&[DType::F32]).replace("_out\"\n", "_out\"\nlabels_file = \"labels.txt\"\n");
    registry.model("m", &[1], "", &entries);
    let labels = registry.path().join("m/labels.txt");
    fs::write(&labels, "low\nhigh\n").unwrap();
    let mut rig = Rig::new(registry, |_| {}).await;
    assert_eq!(rig.latest("m"), Some(1));
    let reason = |service: &Service| service.model("m").unwrap().versions[0].reason.clone();
    fs::remove_file(&labels).unwrap();
    let misses = |service: &Service| {
        reason(service).is_some_and(|reason| reason.contains("no file labels.txt"))
    };
    rig.until("it is missed", misses).await;
    assert_eq!(rig.latest("m"), Some(1), "and what serves, serves on");
    fs::write(&labels, "low\n").unwrap();
    rig.until("it is read again", |service| reason(service).is_none()).await;
}

#[tokio::test]
async fn the_data_of_a_warm_up_counts_as_configuration() {
    let registry = Registry::new();
    let sample = "[[warmup]]\nname = \"one\"\ninputs = [{ name = \"FP32\", datatype = \"FP32\", \
                  shape = [], data = { file = \"row.bin\" } }]\n";
    registry.model("m", &[1], "", &(tensors(&[DType::F32]) + sample));
    let folder = registry.path().join("m/warmup");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("row.bin"), 1.5f32.to_le_bytes()).unwrap();
    let mut rig = Rig::new(registry, |_| {}).await;
    assert_eq!(rig.latest("m"), Some(1));
    fs::write(folder.join("row.bin"), "too long").unwrap();
    let reason = |service: &Service| service.model("m").unwrap().versions[0].reason.clone();
    rig.until("it does not fit", |service| reason(service).is_some()).await;
    assert_eq!(rig.latest("m"), Some(1), "and what serves, serves on");
}

#[tokio::test]
async fn half_written_versions_wait_until_they_are_quiet() {
    // Far longer than the pauses of the writer, however busy the machine is.
    let settle = Duration::from_millis(1500);
    let mut rig = Rig::new(registry(), |config| config.settle = settle).await;
    let folder = rig.registry.path().join("m/3");
    fs::create_dir_all(&folder).unwrap();
    for block in 0..5 {
        fs::write(folder.join("note"), "x".repeat(block)).unwrap();
        tokio::time::sleep(settle / 10).await;
        assert_eq!(rig.latest("m"), Some(2), "while it is being written");
    }
    rig.until("3 serves", serves("m", 3)).await;
}

#[tokio::test]
async fn digests_say_when_a_version_is_whole() {
    let mut rig = Rig::new(registry(), |_| {}).await;
    let folder = rig.registry.path().join("m/3");
    fs::create_dir_all(&folder).unwrap();
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    fs::write(folder.join("SHA256SUMS"), format!("{abc}  note\n")).unwrap();
    rig.until("its list comes first", state_is("m", 3, VersionState::Failed)).await;
    fs::write(folder.join("note"), "ab").unwrap();
    assert_eq!(rig.latest("m"), Some(2));
    fs::write(folder.join("note"), "abc").unwrap();
    rig.until("3 is whole", serves("m", 3)).await;
}

#[tokio::test]
async fn calls_load_and_unload_beside_the_directory() {
    let mut rig = Rig::new(registry(), |_| {}).await;
    rig.service.unload("m", false).await.unwrap();
    assert_eq!(rig.latest("m"), None);
    rig.until("2 is gone", state_is("m", 2, VersionState::Unloaded)).await;
    let error = rig.service.resolve("m", Selector::Latest).err().unwrap();
    assert_eq!(error.message(), "Request for unknown model: 'm' has no available versions");
    rig.service.load("m", LoadCall::default()).await.unwrap();
    assert_eq!(rig.latest("m"), Some(2));

    rig.service.unload("m", false).await.unwrap();
    publish(rig.registry.path(), "m", 3);
    rig.until("its files changed", serves("m", 3)).await;
    for call in
        [rig.service.load("x", LoadCall::default()).await, rig.service.unload("x", false).await]
    {
        assert_eq!(call.unwrap_err().kind(), galen::error::ErrorKind::NotFound);
    }
    let error = rig.service.load("../m", LoadCall::default()).await.unwrap_err();
    assert_eq!(error.kind(), galen::error::ErrorKind::NotFound);
}

#[tokio::test]
async fn tritons_modes_leave_the_word_to_one_side() {
    let rig = Rig::new(registry(), |config| config.control = ControlMode::Poll).await;
    assert_eq!(rig.latest("m"), Some(2));
    let error = rig.service.load("m", LoadCall::default()).await.unwrap_err();
    assert!(error.message().contains("not allowed if polling is enabled"), "{error}");

    let registry = registry();
    registry.model("n", &[1], "", &tensors(&[DType::F32]));
    let explicit = |config: &mut RegistryConfig| {
        config.control = ControlMode::Explicit;
        config.startup = vec!["n".to_owned()];
    };
    let rig = Rig::new(registry, explicit).await;
    assert_eq!((rig.latest("m"), rig.latest("n")), (None, Some(1)));
    rig.service.load("m", LoadCall::default()).await.unwrap();
    assert_eq!(rig.latest("m"), Some(2));
}

/// Whoever makes the calls waits for the server to be ready first.
#[tokio::test]
async fn a_server_that_nobody_has_asked_for_a_model_is_ready() {
    let explicit = |config: &mut RegistryConfig| config.control = ControlMode::Explicit;
    let rig = Rig::new(registry(), explicit).await;
    assert!(rig.service.readiness().ready);
    rig.service.load("m", LoadCall::default()).await.unwrap();
    assert!(rig.service.readiness().ready);
    rig.service.unload("m", false).await.unwrap();
    assert!(rig.service.readiness().ready, "as was wanted");
    fs::write(rig.registry.path().join("m/model.toml"), "backend = \"tract\"").unwrap();
    rig.service.load("m", LoadCall::default()).await.unwrap_err();
    assert!(!rig.service.readiness().ready, "what was wanted does not serve");
}

#[tokio::test]
async fn files_may_come_with_the_call() {
    let rig = Rig::new(registry(), |_| {}).await;
    let call = |path: &str| {
        let files = [(path.to_owned(), bytes::Bytes::from_static(b"x"))].into();
        LoadCall { files, ..LoadCall::default() }
    };
    rig.service.load("m", call("5/note")).await.unwrap();
    assert_eq!(rig.latest("m"), Some(5));
    assert_eq!(ask(&rig.service, "m").await.unwrap(), 5);
    let error = rig.service.load("m", call("../5/note")).await.unwrap_err();
    assert!(error.message().contains("expected 'file:VERSION/NAME'"), "{error}");
    rig.service.load("m", LoadCall::default()).await.unwrap();
    assert_eq!(rig.latest("m"), Some(2), "the directory again");
}

#[tokio::test]
async fn labels_are_moved_and_kept() {
    let registry = Registry::new();
    registry.model("m", &[1, 2, 3], "labels = { stable = 1 }", &tensors(&[DType::F32]));
    let rig = Rig::new(registry, |_| {}).await;
    assert_eq!(rig.states("m"), "1=ready 3=ready ", "the labelled one serves besides");
    let version_of = |service: &Service, label: &str| {
        service.resolve("m", Selector::Label(label)).map(|target| target.id().version.number())
    };
    assert_eq!(version_of(&rig.service, "stable").unwrap(), 1);
    let error = version_of(&rig.service, "canary").unwrap_err();
    assert_eq!(error.message(), "Request for unknown model: 'm' label 'canary' is not found");
    let two = Version::new(2);
    rig.service.set_label("m", "canary", Version::new(3)).await.unwrap();
    rig.service.set_label("m", "stable", two).await.unwrap();
    let error = rig.service.set_label("m", "stable", Version::new(9)).await.unwrap_err();
    assert_eq!(error.kind(), galen::error::ErrorKind::NotFound);
    assert!(rig.service.set_label("m", "latest", two).await.is_err());

    // Another server over the same directory, as after a restart.
    let config = rig.registry.config();
    let engines = Engines::probe(BackendChoice::Identity, &Default::default());
    let manager = Manager::start(&config, engines, Arc::new(Unobserved)).unwrap();
    let mut progress = manager.progress.clone();
    progress.wait_for(|progress| progress.settled).await.unwrap();
    let service = Service::new(manager, Arc::default(), None, Default::default(), false);
    assert_eq!(version_of(&service, "stable").unwrap(), 2);
    assert_eq!(version_of(&service, "canary").unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_do_not_notice_two_hundred_swaps() {
    let mut rig = Rig::new(registry(), |_| {}).await;
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (service, stop) = (rig.service.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let (mut count, mut last) = (0u64, 0);
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let version = ask(&service, "m").await.expect("every request is answered");
                    assert!(version >= last, "versions go forward only");
                    (count, last) = (count + 1, version);
                }
                count
            })
        })
        .collect();
    for version in 3..203 {
        publish(rig.registry.path(), "m", version);
        rig.until("the new one serves", move |service| serves("m", version)(service)).await;
        fs::remove_dir_all(rig.registry.path().join("m").join((version - 1).to_string())).unwrap();
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for caller in callers {
        assert!(caller.await.unwrap() > 0);
    }
}
