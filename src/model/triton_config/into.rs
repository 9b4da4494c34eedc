//! What a Triton configuration means in Galen's own terms, field by field.

use std::collections::BTreeMap;

use super::complete::BATCH_SIZE_COMPLETED;
use super::fields::{
    self, DataType, DynamicBatching, Ensembling, Format, InstanceGroup, Kind, Reshape,
    TritonConfig, Warmup, WarmupInput,
};
use super::{accelerators, parameters};
use crate::error::{Error, Result, quoted};
use crate::model::Manifest;
use crate::model::batching::{
    Batching, LevelPolicy, PRIORITY_LEVELS_LIMIT, QUEUE_DEPTH_LIMIT, QueuePolicy, TimeoutAction,
};
use crate::model::device::{Device, Placement};
use crate::model::ensemble::{Ensemble, Step};
use crate::model::manifest::{
    BackendChoice, EngineOptions, IdentityOptions, InputEntry, Optimization, OutputEntry,
    VersionPolicy,
};
use crate::model::transformer::TransformerOptions;
use crate::model::warmup::{Sample, SampleData, SampleInput};

/// The manifest of the model in the folder `model`.
pub fn manifest(config: TritonConfig, model: &str) -> Result<Manifest> {
    if !config.name.is_empty() && config.name != model {
        return Err(Error::invalid(format!(
            "name: '{}' is not the name of the model's folder, '{model}'",
            quoted(&config.name)
        )));
    }
    let ensemble = config.ensemble_scheduling.as_ref().map(ensemble).transpose()?;
    if ensemble.is_none() && config.platform == ENSEMBLE {
        return Err(Error::invalid("platform is 'ensemble', but there is no ensemble_scheduling"));
    }
    let backend = backend(&config)?;
    let (engine, identity) = engine(&config, backend)?;
    let batched = config.max_batch_size > 0;
    let is_complete = !config.input.is_empty() && !config.output.is_empty();
    let manifest = Manifest {
        description: None,
        backend,
        model_file: Some(config.default_model_filename.clone()).filter(|name| !name.is_empty()),
        version_policy: version_policy(config.version_policy.as_ref())?,
        labels: BTreeMap::new(),
        batching: batching(&config, is_complete)?,
        engine,
        identity,
        inputs: config.input.iter().map(|i| input(i, batched)).collect::<Result<_>>()?,
        outputs: config.output.iter().map(|o| output(o, batched)).collect::<Result<_>>()?,
        warmup: config.model_warmup.into_iter().map(sample).collect::<Result<_>>()?,
        response_cache: config.response_cache.is_some_and(|cache| cache.enable),
        transformer: TransformerOptions::default(),
        traffic: None,
        performance: None,
        ensemble,
        batch_size_completed: (!batched && !is_complete).then_some(BATCH_SIZE_COMPLETED),
    };
    manifest.validate()?;
    Ok(manifest)
}

/// The platform of an ensemble.
pub const ENSEMBLE: &str = "ensemble";
/// The platform of an ONNX model.
pub const ONNX: &str = "onnxruntime_onnx";

fn backend(config: &TritonConfig) -> Result<BackendChoice> {
    let by_platform = match config.platform.as_str() {
        "" | ENSEMBLE => None,
        ONNX => Some(BackendChoice::Onnxruntime),
        other => {
            return Err(Error::unsupported(format!(
                "platform: '{}' is not supported; Galen serves {ONNX}",
                quoted(other)
            )));
        }
    };
    let by_backend = match config.backend.as_str() {
        "" => None,
        name => Some(BackendChoice::from_name(name).ok_or_else(|| {
            let known = BackendChoice::NAMES.join(", ");
            let name = quoted(name);
            Error::unsupported(format!(
                "backend: '{name}' is not supported; expected one of {known}"
            ))
        })?),
    };
    match (by_platform, by_backend) {
        (Some(a), Some(b)) if a != b => Err(Error::invalid(format!(
            "platform '{}' does not run on backend '{}'",
            config.platform, config.backend
        ))),
        (a, b) => Ok(b.or(a).unwrap_or_default()),
    }
}

fn version_policy(policy: Option<&fields::VersionPolicy>) -> Result<VersionPolicy> {
    let Some(fields::VersionPolicy { latest, all, specific }) = policy else {
        return Ok(VersionPolicy::default());
    };
    match (latest, all, specific) {
        (None, None, None) => Ok(VersionPolicy::default()),
        // 0 is what protobuf makes of silence.
        (Some(latest), None, None) => {
            Ok(VersionPolicy::Latest(latest.num_versions.max(1) as usize))
        }
        (None, Some(_), None) => Ok(VersionPolicy::All),
        (None, None, Some(specific)) if !specific.versions.is_empty() => {
            let versions = specific.versions.iter().map(|&version| u64::try_from(version).ok());
            let versions: Option<Vec<u64>> = versions.collect();
            versions.filter(|list| !list.contains(&0)).map(VersionPolicy::Specific).ok_or_else(
                || Error::invalid("version_policy.specific.versions: expected positive integers"),
            )
        }
        (None, None, Some(_)) => {
            Err(Error::invalid("version_policy.specific: no version is named"))
        }
        _ => Err(Error::invalid("version_policy: expected one of latest, all and specific")),
    }
}

fn engine(
    config: &TritonConfig,
    backend: BackendChoice,
) -> Result<(EngineOptions, IdentityOptions)> {
    let (instances, device) = instances(&config.instance_group)?;
    let mut engine = EngineOptions { instances, device, ..EngineOptions::default() };
    let graph = config.optimization.as_ref().and_then(|optimization| optimization.graph.as_ref());
    engine.optimization = match graph.map_or(0, |graph| graph.level) {
        0 => Optimization::All,
        -1 => Optimization::Basic,
        1 => Optimization::Extended,
        2 => Optimization::Off,
        level => {
            return Err(Error::invalid(format!(
                "optimization.graph.level: expected -1 (basic), 0 (all), 1 (extended) or 2 (off), \
                 got {level}"
            )));
        }
    };
    if let Some(optimization) = &config.optimization {
        accelerators::read(optimization, &mut engine)?;
    }
    let mut identity = IdentityOptions::default();
    parameters::read(&config.parameters, backend, &mut engine, &mut identity)?;
    Ok((engine, identity))
}

/// Instances of all groups together, and where they compute: all on one device.
fn instances(groups: &[InstanceGroup]) -> Result<(Option<usize>, Placement)> {
    let mut placed = None;
    let mut instances = 0usize;
    for group in groups {
        let placement = match (group.kind, &group.gpus[..]) {
            (Kind::Auto, []) => Placement::Auto,
            (Kind::Cpu, []) => Placement::On(Device::Cpu),
            (Kind::Gpu, []) => Placement::On(Device::Cuda(0)),
            (Kind::Gpu | Kind::Auto, [number]) => Placement::On(Device::Cuda(*number)),
            (Kind::Cpu, _) => {
                return Err(Error::invalid("instance_group: KIND_CPU has no gpus"));
            }
            (Kind::Gpu | Kind::Auto, _) => {
                return Err(Error::unsupported(
                    "instance_group.gpus: more than one GPU is not supported for a model",
                ));
            }
            (Kind::Model, _) => {
                return Err(Error::unsupported(
                    "instance_group: KIND_MODEL is not supported; expected KIND_CPU, KIND_GPU or \
                     KIND_AUTO",
                ));
            }
        };
        // A group that leaves the choice goes where the others are.
        if matches!(placed, None | Some(Placement::Auto)) {
            placed = Some(placement);
        }
        if placement != Placement::Auto && placed != Some(placement) {
            return Err(Error::unsupported(
                "instance_group: more than one device is not supported for a model; expected the \
                 same kind and gpus in every group",
            ));
        }
        instances = instances.saturating_add(group.count.max(1) as usize);
    }
    Ok(((!groups.is_empty()).then_some(instances), placed.unwrap_or_default()))
}

fn batching(config: &TritonConfig, is_complete: bool) -> Result<Batching> {
    let max = config.max_batch_size as usize;
    let dynamic = config.dynamic_batching.clone().unwrap_or_default();
    let mut sizes: Vec<usize> =
        dynamic.preferred_batch_size.iter().map(|&size| size as usize).collect();
    sizes.sort_unstable();
    sizes.dedup();
    // Of a model whose size is completed, `complete` asks the same.
    let too_large = sizes.last().is_some_and(|&size| size > max) && (max > 0 || is_complete);
    if sizes.first() == Some(&0) || too_large {
        return Err(Error::invalid(format!(
            "dynamic_batching.preferred_batch_size: expected sizes from 1 to max_batch_size, {max}"
        )));
    }
    let (levels, priority_default) = priorities(&dynamic)?;
    let queue = dynamic.default_queue_policy.as_ref().map(queue_policy).unwrap_or_default();
    let policies = dynamic.priority_queue_policy.iter().map(|(&level, policy)| LevelPolicy {
        // A level beyond the type is no level, which `validate` says.
        level: u32::try_from(level).unwrap_or(u32::MAX),
        queue: queue_policy(policy),
    });
    let policies: Vec<LevelPolicy> = policies.collect();
    Ok(Batching {
        batch_size_max: (max > 0 || is_complete).then_some(max),
        // Without a scheduler a batch is one request's, except where completion adds one.
        join: config.dynamic_batching.is_some() || !is_complete,
        batch_sizes_preferred: sizes,
        queue_delay_us_max: Some(dynamic.max_queue_delay_microseconds),
        latency_target_us: None,
        queue_depth_max: depth(levels, &queue, &policies),
        keep_order: dynamic.preserve_ordering,
        priority_levels: levels,
        priority_default,
        queue,
        levels: policies,
    })
}

fn priorities(dynamic: &DynamicBatching) -> Result<(u32, Option<u32>)> {
    let levels = dynamic.priority_levels;
    if levels > u64::from(PRIORITY_LEVELS_LIMIT) {
        return Err(Error::invalid(format!(
            "dynamic_batching.priority_levels: at most {PRIORITY_LEVELS_LIMIT} are supported"
        )));
    }
    let default = dynamic.default_priority_level;
    if (levels == 0 && default != 0) || (levels > 0 && !(1..=levels).contains(&default)) {
        return Err(Error::invalid(format!(
            "dynamic_batching.default_priority_level: expected one of the {levels} priority_levels"
        )));
    }
    let narrow = |level: u64| u32::try_from(level).ok().filter(|&level| level > 0);
    Ok((narrow(levels).unwrap_or(0), narrow(default)))
}

fn queue_policy(policy: &fields::QueuePolicy) -> QueuePolicy {
    QueuePolicy {
        timeout_us: policy.default_timeout_microseconds,
        timeout_action: match policy.timeout_action {
            fields::TimeoutAction::Reject => TimeoutAction::Reject,
            fields::TimeoutAction::Delay => TimeoutAction::Delay,
        },
        timeout_override: policy.allow_timeout_override,
        depth_max: (policy.max_queue_size > 0).then_some(policy.max_queue_size as usize),
    }
}

/// The common limit: as much as the levels' own limits allow together. Where one has none, Galen's
/// default is the limit, as no queue is without one.
fn depth(levels: u32, queue: &QueuePolicy, policies: &[LevelPolicy]) -> Option<usize> {
    let own = |level: u32| {
        let policy = policies.iter().find(|policy| policy.level == level);
        policy.map_or(queue, |policy| &policy.queue).depth_max
    };
    let sum = (1..=levels.max(1)).map(own).sum::<Option<usize>>();
    sum.map(|sum| if levels > 1 { sum.min(QUEUE_DEPTH_LIMIT) } else { sum })
}

fn input(input: &fields::Input, batched: bool) -> Result<InputEntry> {
    let name = tensor_name("input", &input.name)?;
    if input.format != Format::None && input.dims.len() != 3 {
        return Err(Error::invalid(format!(
            "input '{name}': an image format takes 3 dims, without the batch axis"
        )));
    }
    Ok(InputEntry {
        datatype: Some(datatype("input", &name, input.data_type)?),
        shape: Some(shape("input", &name, &input.dims, batched)?),
        reshape: reshape("input", &name, input.reshape.as_ref(), batched)?,
        name,
        description: None,
        unit: None,
        range: None,
        features: Vec::new(),
    })
}

fn output(output: &fields::Output, batched: bool) -> Result<OutputEntry> {
    let name = tensor_name("output", &output.name)?;
    Ok(OutputEntry {
        datatype: Some(datatype("output", &name, output.data_type)?),
        shape: Some(shape("output", &name, &output.dims, batched)?),
        reshape: reshape("output", &name, output.reshape.as_ref(), batched)?,
        name,
        rename: None,
        description: None,
        unit: None,
        labels: Vec::new(),
        labels_file: Some(output.label_filename.clone()).filter(|file| !file.is_empty()),
    })
}

fn tensor_name(what: &str, name: &str) -> Result<String> {
    if name.is_empty() {
        return Err(Error::invalid(format!("{what}: expected a name")));
    }
    Ok(name.to_owned())
}

fn datatype(what: &str, name: &str, data_type: DataType) -> Result<String> {
    let dtype = data_type.dtype().ok_or_else(|| {
        Error::invalid(format!("{what} '{}': expected a data_type", quoted(name)))
    })?;
    Ok(dtype.name().to_owned())
}

fn shape(what: &str, name: &str, dims: &[i64], batched: bool) -> Result<Vec<i64>> {
    let wrong = |why: &str| Error::invalid(format!("{what} '{}': {why}", quoted(name)));
    if dims.is_empty() {
        return Err(wrong(
            "expected dims; a scalar for each row is dims: [ 1 ] and reshape: { shape: [ ] }",
        ));
    }
    if dims.iter().any(|&dim| dim < 1 && dim != -1) {
        return Err(wrong("dims are -1 (any), or 1 and more"));
    }
    Ok(with_batch_axis(dims, batched))
}

fn reshape(
    what: &str,
    name: &str,
    reshape: Option<&Reshape>,
    batched: bool,
) -> Result<Option<Vec<i64>>> {
    let Some(Reshape { shape: dims }) = reshape else { return Ok(None) };
    if dims.iter().any(|&dim| dim < 1 && dim != -1) {
        let name = quoted(name);
        let message = format!("{what} '{name}': reshape extents are -1 (any), or 1 and more");
        return Err(Error::invalid(message));
    }
    Ok(Some(with_batch_axis(dims, batched)))
}

fn with_batch_axis(dims: &[i64], batched: bool) -> Vec<i64> {
    batched.then_some(-1).into_iter().chain(dims.iter().copied()).collect()
}

fn sample(warmup: Warmup) -> Result<Sample> {
    let inputs = warmup.inputs.into_iter().map(|(name, input)| sample_input(name, input));
    Ok(Sample {
        name: warmup.name,
        batch_size: warmup.batch_size as usize,
        count: warmup.count.max(1) as usize,
        inputs: inputs.collect::<Result<_>>()?,
    })
}

fn sample_input(name: String, input: WarmupInput) -> Result<SampleInput> {
    let wrong =
        |why: &str| Error::invalid(format!("model_warmup: input '{}': {why}", quoted(&name)));
    let data = match (input.zero_data, input.random_data, input.input_data_file) {
        (Some(_), None, None) => SampleData::Zero,
        (None, Some(_), None) => SampleData::Random,
        (None, None, Some(file)) => SampleData::File(file),
        _ => {
            return Err(wrong("expected one of zero_data, random_data and input_data_file"));
        }
    };
    let shape: Option<Vec<usize>> =
        input.dims.iter().map(|&dim| usize::try_from(dim).ok()).collect();
    let shape = shape.ok_or_else(|| wrong("expected dims without -1"))?;
    Ok(SampleInput {
        datatype: datatype("model_warmup: input", &name, input.data_type)?,
        name,
        shape,
        data,
    })
}

fn ensemble(ensembling: &Ensembling) -> Result<Ensemble> {
    let steps = ensembling.step.iter().map(|step| {
        let version = match step.model_version {
            // Left out, or said to be the latest.
            0 | -1 => None,
            version => Some(u64::try_from(version).map_err(|_| {
                Error::invalid("ensemble_scheduling.step.model_version: expected -1, or a version")
            })?),
        };
        Ok(Step {
            model: step.model_name.clone(),
            version,
            inputs: step.input_map.clone(),
            outputs: step.output_map.clone(),
        })
    });
    Ok(Ensemble { steps: steps.collect::<Result<_>>()? })
}
