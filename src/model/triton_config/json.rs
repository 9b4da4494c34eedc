//! The way back: the configuration that a model is served with, as Triton's JSON. Names are snake
//! case, enums are words, integers are numbers, and defaults are printed.

use std::collections::BTreeMap;

use super::fields::{
    self, DynamicBatching, Graph, Input, InstanceGroup, Kind, Latest, Output, Reshape,
    ResponseCache, Specific, TritonConfig, Warmup, WarmupInput,
};
use super::into::{ENSEMBLE, ONNX};
use super::{accelerators, parameters};
use crate::error::{Error, Result};
use crate::model::batching::{Batching, QueuePolicy, TimeoutAction};
use crate::model::device::Device;
use crate::model::ensemble::Ensemble;
use crate::model::manifest::{EngineOptions, Manifest, Optimization, VersionPolicy};
use crate::model::warmup::{Sample, SampleData};
use crate::model::{Signature, TensorSpec};
use crate::tensor::DType;

/// A model as it is served: what was asked for, and what came of it.
#[derive(Clone, Copy, Debug)]
pub struct Served<'a> {
    pub name: &'a str,
    pub manifest: &'a Manifest,
    /// As callers see it.
    pub signature: &'a Signature,
    /// Most rows in a batch; 0 where the model has no batches.
    pub batch_size_max: usize,
    pub instances: usize,
    pub device: Device,
    /// The engine's name and platform.
    pub backend: &'a str,
    pub platform: &'a str,
    /// Name of the model file; empty for an engine that has none.
    pub model_file: &'a str,
}

impl TritonConfig {
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| {
            Error::internal("the configuration can not be written").with_detail(error)
        })
    }
}

impl Served<'_> {
    pub fn to_config(&self) -> TritonConfig {
        let manifest = self.manifest;
        let batching = &manifest.batching;
        let batched = self.batch_size_max > 0;
        let ensemble = manifest.ensemble.is_some();
        let joins = !ensemble && self.batch_size_max > 1 && batching.join;
        TritonConfig {
            name: self.name.to_owned(),
            // Triton's word for what both ONNX engines read; no other platform has one.
            platform: match self.platform {
                platform @ (ONNX | ENSEMBLE) => platform.to_owned(),
                _ => String::new(),
            },
            // An ensemble has none.
            backend: if ensemble { String::new() } else { self.backend.to_owned() },
            version_policy: Some(version_policy(&manifest.version_policy)),
            max_batch_size: narrow(self.batch_size_max),
            input: self.inputs(batched),
            output: self.outputs(batched),
            optimization: Some(optimization(&manifest.engine)),
            dynamic_batching: (joins || batching.priority_levels > 0)
                .then(|| dynamic_batching(batching, self.batch_size_max)),
            ensemble_scheduling: manifest.ensemble.as_ref().map(ensembling),
            instance_group: if ensemble { Vec::new() } else { vec![self.instances()] },
            default_model_filename: self.model_file.to_owned(),
            parameters: parameters::write(&manifest.engine, &manifest.identity),
            model_warmup: manifest.warmup.iter().map(warmup).collect(),
            response_cache: manifest.response_cache.then_some(ResponseCache { enable: true }),
            ..TritonConfig::default()
        }
    }

    fn instances(&self) -> InstanceGroup {
        let (kind, gpus) = match self.device {
            Device::Cpu => (Kind::Cpu, Vec::new()),
            Device::Cuda(number) => (Kind::Gpu, vec![number]),
        };
        InstanceGroup {
            name: self.name.to_owned(),
            kind,
            gpus,
            count: narrow(self.instances),
            ..InstanceGroup::default()
        }
    }

    fn inputs(&self, batched: bool) -> Vec<Input> {
        let input = |spec: &TensorSpec| {
            let entry = self.manifest.inputs.iter().find(|entry| entry.name == spec.name);
            Input {
                name: spec.name.clone(),
                data_type: spec.dtype.into(),
                dims: dims(spec, batched),
                reshape: reshape(entry.and_then(|entry| entry.reshape.as_deref()), batched),
                ..Input::default()
            }
        };
        self.signature.inputs.iter().map(input).collect()
    }

    fn outputs(&self, batched: bool) -> Vec<Output> {
        let output = |spec: &TensorSpec| {
            let entry = self.manifest.outputs.iter().find(|entry| entry.name == spec.name);
            let labels = entry.and_then(|entry| entry.labels_file.clone());
            Output {
                name: spec.name.clone(),
                data_type: spec.dtype.into(),
                dims: dims(spec, batched),
                reshape: reshape(entry.and_then(|entry| entry.reshape.as_deref()), batched),
                label_filename: labels.unwrap_or_default(),
                ..Output::default()
            }
        };
        self.signature.outputs.iter().map(output).collect()
    }
}

/// Configuration values are bounded far below; a wider one would be a defect, and harmless here.
fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn dims(spec: &TensorSpec, batched: bool) -> Vec<i64> {
    spec.wire_dims().skip(usize::from(batched)).collect()
}

fn reshape(dims: Option<&[i64]>, batched: bool) -> Option<Reshape> {
    dims.map(|dims| Reshape { shape: dims.iter().skip(usize::from(batched)).copied().collect() })
}

fn version_policy(policy: &VersionPolicy) -> fields::VersionPolicy {
    let mut written = fields::VersionPolicy::default();
    match policy {
        VersionPolicy::Latest(count) => {
            written.latest = Some(Latest { num_versions: narrow(*count) });
        }
        VersionPolicy::All => written.all = Some(fields::All {}),
        VersionPolicy::Specific(versions) => {
            let versions = versions.iter().filter_map(|&version| i64::try_from(version).ok());
            written.specific = Some(Specific { versions: versions.collect() });
        }
    }
    written
}

fn optimization(engine: &EngineOptions) -> fields::Optimization {
    let level = match engine.optimization {
        Optimization::All => 0,
        Optimization::Basic => -1,
        Optimization::Extended => 1,
        Optimization::Off => 2,
    };
    let graph = (level != 0).then_some(Graph { level });
    fields::Optimization { graph, ..accelerators::write(engine) }
}

fn dynamic_batching(batching: &Batching, batch_size_max: usize) -> DynamicBatching {
    let mut sizes: Vec<u32> =
        batching.batch_sizes_preferred.iter().map(|&size| narrow(size)).collect();
    if sizes.is_empty() && batch_size_max > 0 {
        sizes.push(narrow(batch_size_max));
    }
    // Without levels, the common limit is the limit of the one queue.
    let mut default = batching.queue.clone();
    if batching.priority_levels == 0 {
        default.depth_max = default.depth_max.or(batching.queue_depth_max);
    }
    let levels = batching.levels.iter();
    DynamicBatching {
        preferred_batch_size: sizes,
        max_queue_delay_microseconds: batching.queue_delay_us_max.unwrap_or(0),
        preserve_ordering: batching.keep_order,
        priority_levels: batching.priority_levels.into(),
        default_priority_level: batching.priority_default.unwrap_or(0).into(),
        default_queue_policy: (default != QueuePolicy::default()).then(|| queue_policy(&default)),
        priority_queue_policy: levels
            .map(|level| (level.level.into(), queue_policy(&level.queue)))
            .collect(),
    }
}

fn queue_policy(policy: &QueuePolicy) -> fields::QueuePolicy {
    fields::QueuePolicy {
        timeout_action: match policy.timeout_action {
            TimeoutAction::Reject => fields::TimeoutAction::Reject,
            TimeoutAction::Delay => fields::TimeoutAction::Delay,
        },
        default_timeout_microseconds: policy.timeout_us,
        allow_timeout_override: policy.timeout_override,
        max_queue_size: narrow(policy.depth_max.unwrap_or(0)),
    }
}

fn warmup(sample: &Sample) -> Warmup {
    let input = |input: &crate::model::warmup::SampleInput| {
        let mut written = WarmupInput {
            data_type: DType::from_name(&input.datatype).map(Into::into).unwrap_or_default(),
            dims: input.shape.iter().filter_map(|&dim| i64::try_from(dim).ok()).collect(),
            ..WarmupInput::default()
        };
        match &input.data {
            SampleData::Zero => written.zero_data = Some(true),
            SampleData::Random => written.random_data = Some(true),
            SampleData::File(file) => written.input_data_file = Some(file.clone()),
        }
        (input.name.clone(), written)
    };
    Warmup {
        name: sample.name.clone(),
        batch_size: narrow(sample.batch_size),
        inputs: sample.inputs.iter().map(input).collect::<BTreeMap<_, _>>(),
        count: narrow(sample.count),
    }
}

fn ensembling(ensemble: &Ensemble) -> fields::Ensembling {
    let step = |step: &crate::model::ensemble::Step| fields::Step {
        model_name: step.model.clone(),
        model_version: step.version.and_then(|version| i64::try_from(version).ok()).unwrap_or(-1),
        input_map: step.inputs.clone(),
        output_map: step.outputs.clone(),
        ..fields::Step::default()
    };
    fields::Ensembling {
        step: ensemble.steps.iter().map(step).collect(),
        ..fields::Ensembling::default()
    }
}
