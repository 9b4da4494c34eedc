//! `model.toml`: how one model is to be served. Everything is optional for a model file that
//! carries its own signature; what is written is checked against it.
//!
//! Unknown keys are errors: a typing error must not become a silent default.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::Deserialize;

use super::Label;
use super::signature::{Signature, TensorSpec};
use crate::error::{Error, Result, quoted};
use crate::tensor::{DType, Dim};

/// The name of the file in a model's directory.
pub const FILE: &str = "model.toml";

/// The serving configuration of one model.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Manifest {
    /// One sentence for the catalogue and the OpenAPI document.
    pub description: Option<String>,
    pub backend: BackendChoice,
    pub version_policy: VersionPolicy,
    /// Names for versions, which requests may use in the version slot. A labelled version serves
    /// beside those that the policy chooses.
    pub labels: BTreeMap<String, u64>,
    pub batching: Batching,
    pub engine: EngineOptions,
    pub identity: IdentityOptions,
    pub inputs: Vec<InputEntry>,
    pub outputs: Vec<OutputEntry>,
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
    /// Answers with its inputs: for tests and overhead measurements.
    Identity,
}

impl BackendChoice {
    pub const NAMES: [&str; 4] = ["auto", "onnxruntime", "tract", "identity"];

    pub fn name(self) -> &'static str {
        match self {
            BackendChoice::Auto => "auto",
            BackendChoice::Onnxruntime => "onnxruntime",
            BackendChoice::Tract => "tract",
            BackendChoice::Identity => "identity",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        use BackendChoice::{Auto, Identity, Onnxruntime, Tract};
        [Auto, Onnxruntime, Tract, Identity].into_iter().find(|choice| choice.name() == name)
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

/// How requests share a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Batching {
    /// Most rows in one engine call, and in one request. 0 turns batching off.
    pub batch_size_max: Option<usize>,
    /// How long the oldest request may wait for company. 0: run whatever is there at once.
    pub queue_delay_us_max: Option<u64>,
    /// Most requests that may wait; one more is refused as overload.
    pub queue_depth_max: Option<usize>,
}

/// How the engine is set up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineOptions {
    /// Sessions that run side by side, each on its own thread.
    pub instances: Option<usize>,
    /// Threads inside one engine call; 0 takes the processors this process may use.
    pub threads: Option<usize>,
    pub optimization: Optimization,
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
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputEntry {
    pub name: String,
    /// Name in the typed API, where the tensor's own is not what a reader expects.
    #[serde(rename = "as")]
    pub rename: Option<String>,
    pub datatype: Option<String>,
    pub shape: Option<Vec<i64>>,
    pub description: Option<String>,
    pub unit: Option<String>,
    /// Class names in index order.
    #[serde(default)]
    pub labels: Vec<String>,
}

impl Manifest {
    /// Parses `model.toml`; the error names line, key and the nearest valid key.
    pub fn parse(text: &str) -> Result<Self> {
        let manifest: Self = crate::config::toml_from_str(text)?;
        manifest.validate()?;
        Ok(manifest)
    }

    fn validate(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::invalid(message));
        if self.engine.instances.is_some_and(|n| !(1..=INSTANCES_MAX).contains(&n)) {
            return wrong(format!("engine.instances: expected 1 to {INSTANCES_MAX}"));
        }
        if self.engine.threads.is_some_and(|n| n > THREADS_MAX) {
            return wrong(format!("engine.threads: expected 0 to {THREADS_MAX}"));
        }
        if self.batching.batch_size_max.is_some_and(|n| n > BATCH_SIZE_LIMIT) {
            return wrong(format!("batching.batch_size_max: expected 0 to {BATCH_SIZE_LIMIT}"));
        }
        if self.batching.queue_depth_max.is_some_and(|n| !(1..=QUEUE_DEPTH_LIMIT).contains(&n)) {
            return wrong(format!("batching.queue_depth_max: expected 1 to {QUEUE_DEPTH_LIMIT}"));
        }
        if self.batching.queue_delay_us_max.is_some_and(|us| us > QUEUE_DELAY_US_LIMIT) {
            return wrong(format!(
                "batching.queue_delay_us_max: expected 0 to {QUEUE_DELAY_US_LIMIT}"
            ));
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

    /// The signature that the manifest declares in full, for an engine that has no model file.
    pub fn declared_signature(&self) -> Result<Signature> {
        let inputs = self
            .inputs
            .iter()
            .map(|entry| declared(&entry.name, entry.datatype.as_deref(), entry.shape.as_deref()));
        let outputs = self
            .outputs
            .iter()
            .map(|entry| declared(&entry.name, entry.datatype.as_deref(), entry.shape.as_deref()));
        let signature = Signature {
            inputs: inputs.collect::<Result<_>>()?,
            outputs: outputs.collect::<Result<_>>()?,
        };
        if signature.inputs.is_empty() {
            return Err(Error::invalid(
                "inputs: expected at least one [[inputs]] with name, datatype and shape",
            ));
        }
        Ok(signature)
    }

    /// The signature of the model file, checked against what the manifest says of it, with the
    /// extents that only the manifest knows filled in.
    pub fn refine(&self, found: &Signature) -> Result<Signature> {
        self.check_against(found)?;
        let mut refined = found.clone();
        let inputs = self.inputs.iter().map(|entry| (&entry.name, &entry.shape));
        for (spec, shape) in pair(&mut refined.inputs, inputs) {
            fill_in(spec, shape);
        }
        let outputs = self.outputs.iter().map(|entry| (&entry.name, &entry.shape));
        for (spec, shape) in pair(&mut refined.outputs, outputs) {
            fill_in(spec, shape);
        }
        Ok(refined)
    }

    /// Checks what the manifest says of tensors against what the model file says.
    fn check_against(&self, found: &Signature) -> Result<()> {
        for entry in &self.inputs {
            let spec = find("inputs", &entry.name, &found.inputs)?;
            let (datatype, shape) = (entry.datatype.as_deref(), entry.shape.as_deref());
            check_entry("inputs", spec, datatype, shape)?;
            check_features(spec, &entry.features)?;
        }
        for entry in &self.outputs {
            let spec = find("outputs", &entry.name, &found.outputs)?;
            let (datatype, shape) = (entry.datatype.as_deref(), entry.shape.as_deref());
            check_entry("outputs", spec, datatype, shape)?;
        }
        Ok(())
    }
}

/// Bounds of configuration values: far beyond use, near enough to catch a slipped digit.
pub const INSTANCES_MAX: usize = 64;
pub const THREADS_MAX: usize = 256;
pub const BATCH_SIZE_LIMIT: usize = 65_536;
pub const QUEUE_DEPTH_LIMIT: usize = 1_000_000;
pub const QUEUE_DELAY_US_LIMIT: u64 = 60_000_000;

fn declared(name: &str, datatype: Option<&str>, shape: Option<&[i64]>) -> Result<TensorSpec> {
    let (Some(datatype), Some(shape)) = (datatype, shape) else {
        return Err(Error::invalid(format!(
            "tensor '{name}': expected datatype and shape, as no model file carries them"
        )));
    };
    Ok(TensorSpec {
        name: name.to_owned(),
        dtype: dtype(name, datatype)?,
        dims: dims(name, shape)?,
    })
}

fn dtype(name: &str, text: &str) -> Result<DType> {
    DType::from_name(text).ok_or_else(|| {
        let names = DType::ALL.map(DType::name).join(", ");
        Error::invalid(format!("datatype of '{name}': expected one of {names}; got '{text}'"))
    })
}

fn dims(name: &str, shape: &[i64]) -> Result<Vec<Dim>> {
    shape.iter().map(|&dim| Dim::from_wire(dim)).collect::<Option<_>>().ok_or_else(|| {
        Error::invalid(format!("shape of '{name}': extents are -1 (any) or 0 and more"))
    })
}

fn find<'a>(list: &str, name: &str, specs: &'a [TensorSpec]) -> Result<&'a TensorSpec> {
    specs.iter().find(|spec| spec.name == name).ok_or_else(|| {
        let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        Error::invalid(format!("{list}: the model has no tensor '{name}'; it has {names:?}"))
    })
}

fn pair<'a>(
    specs: &'a mut [TensorSpec],
    entries: impl Iterator<Item = (&'a String, &'a Option<Vec<i64>>)>,
) -> impl Iterator<Item = (&'a mut TensorSpec, &'a [i64])> {
    let shapes: Vec<_> = entries.collect();
    specs.iter_mut().filter_map(move |spec| {
        let (_, shape) = shapes.iter().find(|(name, _)| **name == spec.name)?;
        Some((spec, shape.as_deref()?))
    })
}

/// Takes the extents that the model file leaves open. Ranks were checked to be equal.
fn fill_in(spec: &mut TensorSpec, shape: &[i64]) {
    for (dim, declared) in spec.dims.iter_mut().zip(shape) {
        if let (Dim::Any, Some(fixed)) = (*dim, Dim::from_wire(*declared)) {
            *dim = fixed;
        }
    }
}

fn check_entry(
    list: &str,
    spec: &TensorSpec,
    datatype: Option<&str>,
    shape: Option<&[i64]>,
) -> Result<()> {
    let name = &spec.name;
    if let Some(text) = datatype
        && dtype(name, text)? != spec.dtype
    {
        return Err(Error::invalid(format!(
            "{list}: '{name}' is declared as {text}, but the model file says {}",
            spec.dtype
        )));
    }
    let Some(shape) = shape else { return Ok(()) };
    let declared = dims(name, shape)?;
    // An engine may know less than the author ("any" for a fixed extent), never something else.
    let fits = |(a, b): (&Dim, &Dim)| a == b || *a == Dim::Any || *b == Dim::Any;
    if declared.len() != spec.dims.len() || !declared.iter().zip(&spec.dims).all(fits) {
        return Err(Error::invalid(format!(
            "{list}: '{name}' is declared with shape {shape:?}, but the model file says {}",
            spec.dims_text()
        )));
    }
    Ok(())
}

fn check_features(spec: &TensorSpec, features: &[Feature]) -> Result<()> {
    let name = &spec.name;
    if features.is_empty() {
        return Ok(());
    }
    let is_number = spec.dtype != DType::Bytes && spec.dtype != DType::Bool;
    if spec.dims.len() != 2 || !spec.dims[1].admits(features.len()) || !is_number {
        return Err(Error::invalid(format!(
            "inputs: '{name}' has {} features, but the model file says {} {}; features name the \
             columns of a numeric tensor of shape [rows, features]",
            features.len(),
            spec.dtype,
            spec.dims_text()
        )));
    }
    for (i, feature) in features.iter().enumerate() {
        if features[..i].iter().any(|other| other.name == feature.name) {
            return Err(Error::invalid(format!(
                "inputs: '{name}' has two features named '{}'",
                feature.name
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_an_error_with_line_and_nearest_name() {
        let error = Manifest::parse("backend = \"auto\"\n[batching]\nbatch_sise_max = 4\n");
        let message = error.unwrap_err().message().to_owned();
        assert!(message.contains("line 3"), "{message}");
        assert!(message.contains("did you mean 'batch_size_max'"), "{message}");
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
        let check = |text: &str| Manifest::parse(text).unwrap().check_against(&found);
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
