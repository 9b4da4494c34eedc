//! A model's configuration in protobuf. Pure: Triton's words on both sides, so that most of it is
//! copying; the enums have Triton's numbers in their order.

use super::pb::inference as pb;
use super::pb::inference::model_version_policy::PolicyChoice;
use crate::model::triton_config::TritonConfig;
use crate::model::triton_config::fields::{
    self, DynamicBatching, Input, InstanceGroup, Optimization, Output, PinnedMemory, QueuePolicy,
    Reshape, VersionPolicy,
};

pub fn config(config: TritonConfig) -> pb::ModelConfig {
    let parameters = config.parameters.into_iter();
    pb::ModelConfig {
        name: config.name,
        platform: config.platform,
        version_policy: config.version_policy.map(version_policy),
        max_batch_size: narrow(config.max_batch_size),
        input: config.input.into_iter().map(input).collect(),
        output: config.output.into_iter().map(output).collect(),
        instance_group: config.instance_group.into_iter().map(instance_group).collect(),
        default_model_filename: config.default_model_filename,
        dynamic_batching: config.dynamic_batching.map(dynamic_batching),
        optimization: config.optimization.and_then(optimization),
        parameters: parameters
            .map(|(name, value)| (name, pb::ModelParameter { string_value: value.string_value }))
            .collect(),
        backend: config.backend,
        response_cache: config
            .response_cache
            .map(|cache| pb::ModelResponseCache { enable: cache.enable }),
    }
}

/// None where all is as it is without one.
fn optimization(policy: Optimization) -> Option<pb::ModelOptimizationPolicy> {
    use pb::model_optimization_policy::execution_accelerators::Accelerator;
    use pb::model_optimization_policy::{Cuda, ExecutionAccelerators, Graph, PinnedMemoryBuffer};
    if policy == Optimization::default() {
        return None;
    }
    let pinned = |memory: PinnedMemory| Some(PinnedMemoryBuffer { enable: memory.enable });
    let accelerators = policy.execution_accelerators.map(|all| {
        let accelerator = |it: fields::Accelerator| Accelerator {
            name: it.name,
            parameters: it.parameters.into_iter().collect(),
        };
        let gpu = all.gpu_execution_accelerator.into_iter().map(accelerator);
        ExecutionAccelerators { gpu_execution_accelerator: gpu.collect() }
    });
    Some(pb::ModelOptimizationPolicy {
        graph: policy.graph.map(|graph| Graph { level: graph.level }),
        cuda: policy.cuda.map(|cuda| Cuda { graphs: cuda.graphs }),
        execution_accelerators: accelerators,
        input_pinned_memory: pinned(policy.input_pinned_memory),
        output_pinned_memory: pinned(policy.output_pinned_memory),
    })
}

fn version_policy(policy: VersionPolicy) -> pb::ModelVersionPolicy {
    use pb::model_version_policy::{All, Latest, Specific};
    let latest = policy.latest.map(|latest| {
        let num_versions = latest.num_versions;
        PolicyChoice::Latest(Latest { num_versions })
    });
    let all = policy.all.map(|_| PolicyChoice::All(All {}));
    let specific = policy.specific.map(|specific| {
        let versions = specific.versions;
        PolicyChoice::Specific(Specific { versions })
    });
    pb::ModelVersionPolicy { policy_choice: latest.or(all).or(specific) }
}

fn input(input: Input) -> pb::ModelInput {
    pb::ModelInput {
        name: input.name,
        data_type: input.data_type as i32,
        format: input.format as i32,
        dims: input.dims,
        reshape: input.reshape.map(reshape),
    }
}

fn output(output: Output) -> pb::ModelOutput {
    pb::ModelOutput {
        name: output.name,
        data_type: output.data_type as i32,
        dims: output.dims,
        label_filename: output.label_filename,
        reshape: output.reshape.map(reshape),
    }
}

fn reshape(reshape: Reshape) -> pb::ModelTensorReshape {
    pb::ModelTensorReshape { shape: reshape.shape }
}

fn instance_group(group: InstanceGroup) -> pb::ModelInstanceGroup {
    let (count, kind) = (narrow(group.count), group.kind as i32);
    pb::ModelInstanceGroup { name: group.name, count, kind }
}

fn dynamic_batching(batching: DynamicBatching) -> pb::ModelDynamicBatching {
    let levels = batching.priority_queue_policy.into_iter();
    pb::ModelDynamicBatching {
        preferred_batch_size: batching.preferred_batch_size.into_iter().map(narrow).collect(),
        max_queue_delay_microseconds: batching.max_queue_delay_microseconds,
        preserve_ordering: batching.preserve_ordering,
        priority_levels: batching.priority_levels,
        default_priority_level: batching.default_priority_level,
        default_queue_policy: batching.default_queue_policy.map(queue_policy),
        priority_queue_policy: levels
            .map(|(level, policy)| (level, queue_policy(policy)))
            .collect(),
    }
}

fn queue_policy(policy: QueuePolicy) -> pb::ModelQueuePolicy {
    pb::ModelQueuePolicy {
        timeout_action: policy.timeout_action as i32,
        default_timeout_microseconds: policy.default_timeout_microseconds,
        allow_timeout_override: policy.allow_timeout_override,
        max_queue_size: policy.max_queue_size,
    }
}

/// Counts that were checked to be small travel as signed numbers.
fn narrow(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::triton_config::fields::{DataType, Format, Kind, TimeoutAction};
    use crate::tensor::DType;

    #[test]
    fn the_enums_have_tritons_numbers() {
        for dtype in DType::ALL {
            let ours = DataType::from(dtype);
            let name = match dtype {
                DType::Bytes => "TYPE_STRING".to_owned(),
                dtype => format!("TYPE_{dtype}"),
            };
            assert_eq!(pb::DataType::from_str_name(&name).map(|t| t as i32), Some(ours as i32));
        }
        assert_eq!(Kind::Cpu as i32, pb::model_instance_group::Kind::Cpu as i32);
        assert_eq!(Kind::Model as i32, pb::model_instance_group::Kind::Model as i32);
        assert_eq!(Format::Nchw as i32, pb::model_input::Format::Nchw as i32);
        assert_eq!(
            TimeoutAction::Delay as i32,
            pb::model_queue_policy::TimeoutAction::Delay as i32
        );
    }
}
