//! What `galen explain` knows of a model, as plain data: what `--json` prints and `text` lays out.

use std::collections::BTreeMap;

use serde::Serialize;

use super::settings::{Asked, Setting, settings};
use crate::config::RegistryConfig;
use crate::error::Result;
use crate::model::manifest::VersionPolicy;
use crate::model::mend::{Dialect, mends};
use crate::model::triton_config::{self, complete};
use crate::model::{Manifest, Signature, TensorSpec, Version};
use crate::registry::{Inspected, Inspection};

/// One model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Facts {
    pub model: String,
    /// The name of the configuration file; `None` where there is none.
    pub configuration: Option<String>,
    /// Why no version can be tried.
    pub problem: Option<String>,
    pub version_policy: String,
    /// Versions that lie there, and those of them that would serve.
    pub versions_found: Vec<u64>,
    pub versions_served: Vec<u64>,
    pub labels: BTreeMap<String, u64>,
    pub versions: Vec<VersionFacts>,
}

/// One version.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VersionFacts {
    pub version: u64,
    /// `ready`, `left out` (it loads, and nothing asks for it) or `failed`.
    pub state: &'static str,
    /// Why it is not ready.
    pub reason: Option<String>,
    pub file: Option<FileFacts>,
    pub load_ms: Option<u64>,
    /// Growth of resident memory while it loaded, warm-up included.
    pub load_memory_bytes: Option<u64>,
    pub settings: Vec<Setting>,
    /// How it does on every engine of this build.
    pub engines: Vec<EngineFacts>,
    pub tensors: Vec<TensorFacts>,
    /// What would have to stand in the configuration, as it can be pasted.
    pub fix: Option<String>,
}

/// Whether an engine serves the version.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EngineFacts {
    pub engine: &'static str,
    pub serves: bool,
    /// Why it does not.
    pub reason: Option<String>,
}

/// A model file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FileFacts {
    pub name: String,
    pub bytes: u64,
    pub sha256: String,
    /// Digests of the files that it names for its data.
    pub data_sha256: BTreeMap<String, String>,
}

/// One tensor: in the model file, in the configuration, and as callers see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorFacts {
    /// `input` or `output`.
    pub kind: &'static str,
    pub name: String,
    pub model: Option<String>,
    /// As the configuration says it, batch axis included; `None` where it says nothing.
    pub configured: Option<String>,
    pub served: Option<String>,
    pub contradiction: bool,
}

impl Facts {
    pub fn of(inspection: &Inspection, config: &RegistryConfig) -> Self {
        let of = |version: &Inspected| VersionFacts::of(inspection, version, config);
        let labels = inspection.labels.iter();
        Self {
            model: inspection.name.to_string(),
            configuration: inspection.config_file.map(str::to_owned),
            problem: inspection.problem.as_ref().map(|error| error.message().to_owned()),
            version_policy: policy_text(&inspection.manifest.version_policy),
            versions_found: inspection.versions.iter().map(|version| version.number()).collect(),
            versions_served: inspection.wanted.iter().map(|version| version.number()).collect(),
            labels: labels.map(|(name, version)| (name.to_string(), version.number())).collect(),
            versions: inspection.inspected.iter().map(of).collect(),
        }
    }
}

impl EngineFacts {
    fn of((engine, outcome): &(&'static str, Result<()>)) -> Self {
        let reason = outcome.as_ref().err().map(|error| error.message().to_owned());
        Self { engine, serves: outcome.is_ok(), reason }
    }
}

impl VersionFacts {
    fn of(inspection: &Inspection, version: &Inspected, config: &RegistryConfig) -> Self {
        let servable = version.outcome.as_ref().ok();
        let is_wanted = inspection.wanted.contains(&version.version);
        let (state, reason) = match &version.outcome {
            Ok(_) if is_wanted => ("ready", None),
            Ok(_) => {
                ("left out", Some(left_out(&inspection.manifest.version_policy, version.version)))
            }
            Err(error) => {
                let detail = error.detail().map(|detail| format!(" ({detail})"));
                let text = format!("{}{}", error.message(), detail.unwrap_or_default());
                ("failed", Some(text))
            }
        };
        let configured = (version.found.as_ref())
            .and_then(|found| complete(&inspection.manifest, found).ok())
            .unwrap_or_else(|| inspection.manifest.clone());
        let file = servable.and_then(|servable| {
            let sha256 = servable.digest.clone()?;
            let name = servable.model_file().to_owned();
            let data_sha256 = servable.data.clone();
            Some(FileFacts { name, bytes: servable.file_bytes, sha256, data_sha256 })
        });
        let asked = Asked {
            file: inspection.config_file,
            manifest: &inspection.manifest,
            backend_default: config.backend,
            onnxruntime_missing: inspection.onnxruntime_missing.as_ref(),
            engine: inspection.engine.as_ref().ok().copied(),
            device: servable.map(|servable| servable.device),
            served: servable.map(|servable| (&servable.signature, servable.policy())),
        };
        let served = servable.map(|servable| &servable.signature);
        Self {
            version: version.version.number(),
            state,
            reason,
            file,
            load_ms: servable
                .map(|servable| u64::try_from(servable.load.time.as_millis()).unwrap_or(u64::MAX)),
            load_memory_bytes: servable.and_then(|servable| servable.load.memory_bytes),
            settings: settings(&asked),
            engines: version.engines.iter().map(EngineFacts::of).collect(),
            tensors: tensors(version.found.as_ref(), &configured, served),
            fix: version.found.as_ref().filter(|_| servable.is_none()).and_then(|found| {
                fix(&configured, found, inspection.config_file == Some(triton_config::FILE))
            }),
        }
    }
}

/// The changes that make the configuration fit, as one text.
fn fix(configured: &Manifest, found: &Signature, is_tritons: bool) -> Option<String> {
    let dialect = if is_tritons { Dialect::Pbtxt } else { Dialect::Toml };
    let batched = configured.batching.batch_size_max.is_some_and(|size| size > 0);
    let batched = batched && found.could_batch();
    let fragments: Vec<String> =
        mends(configured, found).iter().map(|mend| mend.write(dialect, batched)).collect();
    (!fragments.is_empty()).then(|| fragments.join("\n"))
}

fn policy_text(policy: &VersionPolicy) -> String {
    match policy {
        VersionPolicy::Latest(count) => format!("latest = {count}"),
        VersionPolicy::All => "all".to_owned(),
        VersionPolicy::Specific(versions) => format!("specific = {versions:?}"),
    }
}

fn left_out(policy: &VersionPolicy, version: Version) -> String {
    format!(
        "it loads, but version_policy is {} and no label names it. Fix: a label, as in labels = {{ \
         NAME = {version} }}, or version_policy = \"all\"",
        policy_text(policy)
    )
}

/// The signature's tensors in its order, then what only the configuration knows.
pub fn tensors(
    found: Option<&Signature>,
    configured: &Manifest,
    served: Option<&Signature>,
) -> Vec<TensorFacts> {
    let text = |spec: &TensorSpec| format!("{} {}", spec.dtype, spec.dims_text());
    let mut rows = Vec::new();
    for (list, kind) in [("inputs", "input"), ("outputs", "output")] {
        let specs = |signature: &Signature| match list {
            "inputs" => signature.inputs.clone(),
            _ => signature.outputs.clone(),
        };
        let found = found.map(specs).unwrap_or_default();
        let served = served.map(specs).unwrap_or_default();
        let entries: Vec<_> = configured.declared().filter(|entry| entry.list == list).collect();
        let extra = entries.iter().map(|entry| entry.name);
        let extra = extra.filter(|name| !found.iter().any(|spec| spec.name == *name));
        let names: Vec<&str> = found.iter().map(|spec| spec.name.as_str()).chain(extra).collect();
        for name in names {
            let spec = found.iter().find(|spec| spec.name == name);
            let entry = entries.iter().find(|entry| entry.name == name);
            let fits = entry.is_none_or(|entry| {
                spec.is_some_and(|spec| entry.contradiction(spec).is_none()) || found.is_empty()
            });
            rows.push(TensorFacts {
                kind,
                name: name.to_owned(),
                model: spec.map(text),
                configured: entry.and_then(|entry| entry.text()),
                served: served.iter().find(|spec| spec.name == name).map(text),
                contradiction: !fits,
            });
        }
    }
    rows
}
