//! How one model is to be served, as `model.toml` says it. Everything is optional for a model file
//! that carries its own signature; what is written is checked against it.
//!
//! Unknown keys are errors: a typing error must not become a silent default. Triton's
//! `config.pbtxt` is read into the same structure (`model::triton_config`), so that nobody else
//! has to know which of the two lay there.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::Deserialize;

use super::Label;
use super::device::{Device, Placement, TensorRt};
use super::ensemble::Ensemble;
use super::performance::Performance;
use super::refine::{Declared, INPUTS, OUTPUTS, check_entry, check_features, fill_in, find};
use super::reshape::Reshapes;
use super::signature::Signature;
use super::traffic::Traffic;
use super::transformer::TransformerOptions;
use super::warmup;
use crate::error::{Error, Result, quoted};
use crate::tensor::{DType, Dim};

pub use super::batching::{BATCH_SIZE_LIMIT, QUEUE_DELAY_US_LIMIT, QUEUE_DEPTH_LIMIT};
pub use super::batching::{Batching, LevelPolicy, QueuePolicy, TimeoutAction};

/// The name of the file in a model's directory.
pub const FILE: &str = "model.toml";

/// The serving configuration of one model.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Manifest {
    /// One sentence for the catalogue and the OpenAPI document.
    pub description: Option<String>,
    pub backend: BackendChoice,
    /// Name of the model file in a version's folder, where it is not the engine's usual one.
    pub model_file: Option<String>,
    pub version_policy: VersionPolicy,
    /// Names for versions, which requests may use in the version slot. A labelled version serves
    /// beside those that the policy chooses.
    pub labels: BTreeMap<String, u64>,
    pub batching: Batching,
    pub engine: EngineOptions,
    pub identity: IdentityOptions,
    pub transformer: TransformerOptions,
    pub inputs: Vec<InputEntry>,
    pub outputs: Vec<OutputEntry>,
    /// Requests that every instance answers before the version is ready.
    pub warmup: Vec<warmup::Sample>,
    /// Whether answers of this model may be kept and given again to an equal request.
    pub response_cache: bool,
    /// Where requests go that name no version.
    pub traffic: Option<Traffic>,
    /// How its answers are held against what became true.
    pub performance: Option<Performance>,
    /// Set for a model that is made of other models.
    pub ensemble: Option<Ensemble>,
    /// What a batch holds at most where neither author nor operator said so and the model file
    /// shows that it can batch: Triton's auto-completion, only for a `config.pbtxt` that asks
    /// for it by its silence.
    #[serde(skip)]
    pub batch_size_completed: Option<usize>,
}

/// Which engine computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendChoice {
    /// ONNX Runtime where its library is found, otherwise the embedded engine.
    #[default]
    Auto,
    Onnxruntime,
    Tract,
    /// Transformers from safetensors; chosen where the version has such a file.
    Candle,
    /// Answers with its inputs: for tests and overhead measurements.
    Identity,
}

impl BackendChoice {
    pub const NAMES: [&str; 5] = ["auto", "onnxruntime", "tract", "candle", "identity"];

    pub fn name(self) -> &'static str {
        match self {
            BackendChoice::Auto => "auto",
            BackendChoice::Onnxruntime => "onnxruntime",
            BackendChoice::Tract => "tract",
            BackendChoice::Candle => "candle",
            BackendChoice::Identity => "identity",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        use BackendChoice::{Auto, Candle, Identity, Onnxruntime, Tract};
        [Auto, Onnxruntime, Tract, Candle, Identity]
            .into_iter()
            .find(|choice| choice.name() == name)
    }
}

/// Which versions are to be served (Triton's three policies).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VersionPolicy {
    /// The n highest versions.
    Latest(usize),
    All,
    /// Exactly these.
    Specific(Vec<u64>),
}

impl Default for VersionPolicy {
    fn default() -> Self {
        VersionPolicy::Latest(1)
    }
}

/// How the engine is set up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineOptions {
    /// Sessions that run side by side, each on its own thread.
    pub instances: Option<usize>,
    pub device: Placement,
    /// Memory of the GPU that one instance may take.
    pub gpu_memory_bytes_max: Option<u64>,
    /// Whether tensors go to a GPU and come back through memory that it reads and writes itself.
    /// On where nothing is said.
    pub pinned_memory: Option<bool>,
    /// Whether what a GPU has to do for a shape is recorded and then started as one piece.
    pub cuda_graph: bool,
    pub tensorrt: Option<TensorRt>,
    /// Threads inside one engine call; 0 takes those that all models share, as many as this
    /// process may use processors.
    pub threads: Option<usize>,
    /// Threads that run parts of the graph side by side, where `parallel` is on; 0 as above.
    pub threads_between: Option<usize>,
    /// Whether parts of the graph that do not need each other run side by side.
    pub parallel: bool,
    pub optimization: Optimization,
    /// Whether the engine keeps memory for its next call. On where nothing is said.
    pub memory_arena: Option<bool>,
    /// Whether the engine plans its memory after the first call. On where nothing is said.
    pub memory_pattern: Option<bool>,
    /// Libraries with operators that the model needs, by the names that the server allows.
    pub operators: Vec<String>,
}

impl EngineOptions {
    /// What is said of a GPU has to be true of one.
    fn validate_gpu(&self) -> Result<()> {
        let asked = self.asks_for_gpu();
        if self.device == Placement::On(Device::Cpu)
            && let Some(option) = asked
        {
            return Err(Error::invalid(format!("{option} needs a GPU; engine.device is \"cpu\"")));
        }
        let Some(tensorrt) = self.tensorrt else { return Ok(()) };
        if tensorrt.workspace_bytes_max == Some(0) {
            let message = "engine.tensorrt.workspace_bytes_max: expected 1 or more";
            return Err(Error::invalid(message));
        }
        if self.cuda_graph {
            let message = "engine.tensorrt and engine.cuda_graph: expected one of them";
            return Err(Error::invalid(message));
        }
        Ok(())
    }

    /// The option that an engine without GPUs of ONNX Runtime's can not fulfil.
    pub fn asks_for_gpu(&self) -> Option<&'static str> {
        let options =
            [("engine.tensorrt", self.tensorrt.is_some()), ("engine.cuda_graph", self.cuda_graph)];
        options.into_iter().find_map(|(option, is_set)| is_set.then_some(option))
    }
}

/// Graph optimisation before serving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimization {
    Off,
    Basic,
    Extended,
    #[default]
    All,
}

/// Options of the identity engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdentityOptions {
    /// Time that every engine call takes: stands for a slow model in tests.
    pub delay_us: u64,
}

/// What is known of one input tensor.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputEntry {
    pub name: String,
    pub datatype: Option<String>,
    pub shape: Option<Vec<i64>>,
    /// The shape that the engine sees, where it is not the one that callers send.
    pub reshape: Option<Vec<i64>>,
    pub description: Option<String>,
    /// Unit of every element (UCUM).
    pub unit: Option<String>,
    /// Plausible values of every element, ends included.
    pub range: Option<[f64; 2]>,
    /// Names of the columns of the last axis, in order.
    #[serde(default)]
    pub features: Vec<Feature>,
}

/// One named column of an input tensor.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    pub name: String,
    pub description: Option<String>,
    /// Unit of measure (UCUM code).
    pub unit: Option<String>,
    /// Plausible values, ends included; the typed API refuses what lies outside.
    pub range: Option<[f64; 2]>,
    /// Taken where a record leaves the feature out; without it the feature is required.
    pub default: Option<f64>,
}

/// What is known of one output tensor.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputEntry {
    pub name: String,
    /// Name in the typed API, where the tensor's own is not what a reader expects.
    #[serde(rename = "as")]
    pub rename: Option<String>,
    pub datatype: Option<String>,
    pub shape: Option<Vec<i64>>,
    /// The shape that the engine gives, where it is not the one that callers get.
    pub reshape: Option<Vec<i64>>,
    pub description: Option<String>,
    pub unit: Option<String>,
    /// Class names in index order.
    #[serde(default)]
    pub labels: Vec<String>,
    /// A text file beside this one with one class name a line, in place of `labels`.
    pub labels_file: Option<String>,
}

impl Manifest {
    /// Parses `model.toml`; the error names line, key and the nearest valid key.
    pub fn parse(text: &str) -> Result<Self> {
        let manifest: Self = crate::config::toml_from_str(text)?;
        manifest.validate()?;
        Ok(manifest)
    }

    pub(super) fn validate(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::invalid(message));
        if self.engine.instances.is_some_and(|n| !(1..=INSTANCES_MAX).contains(&n)) {
            return wrong(format!("engine.instances: expected 1 to {INSTANCES_MAX}"));
        }
        let threads = [self.engine.threads, self.engine.threads_between];
        if threads.into_iter().flatten().any(|n| n > THREADS_MAX) {
            return wrong(format!("engine.threads: expected 0 to {THREADS_MAX}"));
        }
        if self.batching.keep_order && self.engine.instances.is_some_and(|n| n > 1) {
            return wrong(
                "batching.keep_order takes one instance; engine.instances is more".into(),
            );
        }
        if self.engine.gpu_memory_bytes_max == Some(0) {
            return wrong("engine.gpu_memory_bytes_max: expected 1 or more".into());
        }
        self.engine.validate_gpu()?;
        self.batching.validate()?;
        self.transformer.validate()?;
        warmup::validate(&self.warmup)?;
        self.ensemble.as_ref().map_or(Ok(()), Ensemble::validate)?;
        self.traffic.as_ref().map_or(Ok(()), Traffic::validate)?;
        self.performance.as_ref().map_or(Ok(()), Performance::validate)?;
        if self.model_file.as_deref().is_some_and(|name| !is_file_name(name)) {
            return wrong("model_file: expected the name of a file in the version's folder".into());
        }
        for OutputEntry { name, labels, labels_file, .. } in &self.outputs {
            if labels_file.as_deref().is_some_and(|file| !is_file_name(file)) {
                return wrong(format!(
                    "labels_file of '{name}': expected the name of a file beside the configuration"
                ));
            }
            if labels_file.is_some() && !labels.is_empty() {
                return wrong(format!("output '{name}' has both labels and labels_file"));
            }
        }
        for entry in self.declared() {
            entry.reshape()?;
        }
        if self.identity.delay_us > QUEUE_DELAY_US_LIMIT {
            return wrong(format!("identity.delay_us: expected 0 to {QUEUE_DELAY_US_LIMIT}"));
        }
        if self.version_policy == VersionPolicy::Latest(0) {
            return wrong("version_policy: latest must be 1 or more".into());
        }
        for (label, version) in &self.labels {
            if Label::new(label).is_none() {
                return wrong(format!(
                    "labels: '{}' is no label: expected up to {} of A-Z a-z 0-9 . _ -, beginning \
                     with a letter",
                    quoted(label),
                    Label::CHARS_MAX
                ));
            }
            if *version == 0 {
                return wrong(format!("labels.{label}: expected a version, 1 or more"));
            }
        }
        let ranges = self.inputs.iter().flat_map(|input| {
            let own = input.range.map(|range| (&input.name, range));
            own.into_iter()
                .chain(input.features.iter().filter_map(|f| f.range.map(|range| (&f.name, range))))
        });
        for (name, [low, high]) in ranges {
            if low.partial_cmp(&high).is_none_or(Ordering::is_gt) {
                return wrong(format!("range of '{name}': expected [low, high] with low <= high"));
            }
        }
        Ok(())
    }

    /// The signature that the manifest declares in full, for an engine that has no model file: what
    /// the engine sees.
    pub fn declared_signature(&self) -> Result<Signature> {
        let specs = |list| self.declared().filter(move |e| e.list == list).map(|e| e.spec());
        let signature = Signature {
            inputs: specs(INPUTS).collect::<Result<_>>()?,
            outputs: specs(OUTPUTS).collect::<Result<_>>()?,
        };
        if signature.inputs.is_empty() {
            return Err(Error::invalid(
                "inputs: expected at least one [[inputs]] with name, datatype and shape",
            ));
        }
        Ok(signature)
    }

    /// The signature of the model file, checked against what the manifest says of it, with the
    /// extents that only the manifest knows filled in, and as callers see it.
    pub fn refine(&self, found: &Signature) -> Result<Refined> {
        let mut signature = found.clone();
        let mut reshapes = Reshapes::none(found);
        for entry in self.declared() {
            let (specs, plans) = match entry.list {
                INPUTS => (&mut signature.inputs, &mut reshapes.inputs),
                _ => (&mut signature.outputs, &mut reshapes.outputs),
            };
            let index = find(&entry, specs)?;
            check_entry(&entry, &specs[index])?;
            if let Some(shape) = entry.engine_shape() {
                fill_in(&mut specs[index], shape);
            }
            if let Some(reshape) = entry.reshape()? {
                specs[index].dims = reshape.callers().to_vec();
                plans[index] = Some(reshape);
            }
        }
        for entry in self.inputs.iter().filter(|entry| !entry.features.is_empty()) {
            if let Some((_, spec)) = signature.input(&entry.name) {
                check_features(spec, &entry.features)?;
            }
        }
        Ok(Refined { signature, reshapes })
    }

    /// Takes the class names that a model's own files give, for outputs whose classes nobody named
    /// here.
    pub fn name_classes(&mut self, found: &[(String, Vec<String>)]) {
        for (name, labels) in found {
            match self.outputs.iter_mut().find(|entry| entry.name == *name) {
                Some(entry) if entry.labels.is_empty() => entry.labels.clone_from(labels),
                Some(_) => {}
                None => {
                    let (name, labels) = (name.clone(), labels.clone());
                    self.outputs.push(OutputEntry { name, labels, ..OutputEntry::default() });
                }
            }
        }
    }

    /// What the manifest says of tensors, inputs and outputs alike.
    pub fn declared(&self) -> impl Iterator<Item = Declared<'_>> {
        let inputs = self.inputs.iter().map(|entry| Declared {
            list: INPUTS,
            name: &entry.name,
            datatype: entry.datatype.as_deref(),
            shape: entry.shape.as_deref(),
            reshape: entry.reshape.as_deref(),
        });
        let outputs = self.outputs.iter().map(|entry| Declared {
            list: OUTPUTS,
            name: &entry.name,
            datatype: entry.datatype.as_deref(),
            shape: entry.shape.as_deref(),
            reshape: entry.reshape.as_deref(),
        });
        inputs.chain(outputs)
    }
}

/// A signature as callers see it, and what lies between it and the engine's.
#[derive(Clone, Debug, PartialEq)]
pub struct Refined {
    pub signature: Signature,
    pub reshapes: Reshapes,
}

/// Bounds as those of `batching`.
pub const INSTANCES_MAX: usize = 64;
pub const THREADS_MAX: usize = 256;

/// Whether this is the plain name of a file: nothing that leads out of its folder.
pub(super) fn is_file_name(name: &str) -> bool {
    let plain = !name.contains(['/', '\\', '\0']) && name != "." && name != "..";
    plain && !name.is_empty() && name.len() <= 255
}

pub(super) fn dtype(name: &str, text: &str) -> Result<DType> {
    DType::from_name(text).ok_or_else(|| {
        let names = DType::ALL.map(DType::name).join(", ");
        Error::invalid(format!("datatype of '{name}': expected one of {names}; got '{text}'"))
    })
}

pub(super) fn dims(name: &str, shape: &[i64]) -> Result<Vec<Dim>> {
    shape.iter().map(|&dim| Dim::from_wire(dim)).collect::<Option<_>>().ok_or_else(|| {
        Error::invalid(format!("shape of '{name}': extents are -1 (any) or 0 and more"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TensorSpec;
    use crate::tensor::DType;

    #[test]
    fn an_unknown_key_is_an_error_with_line_and_nearest_name() {
        let error = Manifest::parse("backend = \"auto\"\n[batching]\nbatch_sise_max = 4\n");
        let message = error.unwrap_err().message().to_owned();
        assert!(message.contains("line 3"), "{message}");
        assert!(message.contains("did you mean 'batch_size_max'"), "{message}");
    }

    #[test]
    fn the_readmes_example_is_read() {
        let readme = include_str!("../../README.md");
        let (_, rest) = readme.split_once("```toml\n# description").expect("it is there");
        let (text, _) = rest.split_once("```").expect("it ends");
        let manifest = Manifest::parse(&format!("#{text}")).unwrap();
        assert_eq!(manifest.batching.queue, QueuePolicy::default());
        assert_eq!(manifest.warmup.len(), 1);
    }

    #[test]
    fn version_policies_read_as_documented() {
        let policy = |text: &str| Manifest::parse(text).unwrap().version_policy;
        assert_eq!(policy(""), VersionPolicy::Latest(1));
        assert_eq!(policy("version_policy = \"all\""), VersionPolicy::All);
        assert_eq!(policy("version_policy = { latest = 2 }"), VersionPolicy::Latest(2));
        let three = policy("version_policy = { specific = [1, 3] }");
        assert_eq!(three, VersionPolicy::Specific(vec![1, 3]));
    }

    #[test]
    fn limits_and_ranges_are_checked() {
        for text in [
            "[engine]\ninstances = 0",
            "[engine]\nthreads = 100000",
            "[batching]\nqueue_depth_max = 0",
            "version_policy = { latest = 0 }",
            "[[inputs]]\nname = \"x\"\nrange = [2.0, 1.0]",
            "[[inputs]]\nname = \"x\"\nrange = [nan, 1.0]",
        ] {
            assert!(Manifest::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_manifest_that_contradicts_its_model_is_refused() {
        let found = Signature {
            inputs: vec![TensorSpec {
                name: "x".into(),
                dtype: DType::F32,
                dims: vec![Dim::Any, Dim::Fixed(2)],
            }],
            outputs: vec![],
        };
        let check = |text: &str| Manifest::parse(text).unwrap().refine(&found).map(|_| ());
        assert!(check("[[inputs]]\nname = \"x\"\nshape = [-1, 2]").is_ok());
        assert!(check("[[inputs]]\nname = \"x\"\nshape = [-1, 3]").is_err());
        assert!(check("[[inputs]]\nname = \"x\"\ndatatype = \"INT64\"").is_err());
        assert!(check("[[inputs]]\nname = \"y\"").is_err());
        let one = "[[inputs]]\nname = \"x\"\n[[inputs.features]]\nname = \"a\"\n";
        assert!(check(one).is_err());
        assert!(check(&format!("{one}[[inputs.features]]\nname = \"a\"\n")).is_err());
        assert!(check(&format!("{one}[[inputs.features]]\nname = \"b\"\n")).is_ok());
    }
}
