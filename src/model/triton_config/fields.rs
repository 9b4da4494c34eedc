//! The fields of Triton's `ModelConfig`: one table, read from both spellings and written back as
//! JSON. Names, order and defaults are Triton's; an unknown field is an error.
//!
//! Beside what Galen does, the table names everything else that Triton knows, as `Never` or
//! `Neutral`, so that it is refused as unsupported and not as a typing error. Read and then
//! without effect is only the name of an instance group.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::refused::{Neutral, Never, Something};
use crate::tensor::DType;

pub(super) type NoList = Neutral<Vec<Something>>;
pub(super) type NoMap = Neutral<BTreeMap<String, Something>>;

/// A model's configuration as Triton writes it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TritonConfig {
    pub name: String,
    pub platform: String,
    pub backend: String,
    pub(super) runtime: Neutral<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_policy: Option<VersionPolicy>,
    pub max_batch_size: u32,
    pub input: Vec<Input>,
    pub output: Vec<Output>,
    pub(super) batch_input: NoList,
    pub(super) batch_output: NoList,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optimization: Option<Optimization>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dynamic_batching: Option<DynamicBatching>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sequence_batching: Option<Never>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ensemble_scheduling: Option<Ensembling>,
    pub instance_group: Vec<InstanceGroup>,
    pub default_model_filename: String,
    pub(super) cc_model_filenames: NoMap,
    pub(super) metric_tags: NoMap,
    pub parameters: BTreeMap<String, Parameter>,
    pub model_warmup: Vec<Warmup>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model_operations: Option<Never>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_transaction_policy: Option<TransactionPolicy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model_repository_agents: Option<Never>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_cache: Option<ResponseCache>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model_metrics: Option<Never>,
}

/// An element type; `TYPE_STRING` is the protocol's BYTES.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum DataType {
    #[default]
    #[serde(rename = "TYPE_INVALID")]
    Invalid,
    #[serde(rename = "TYPE_BOOL")]
    Bool,
    #[serde(rename = "TYPE_UINT8")]
    Uint8,
    #[serde(rename = "TYPE_UINT16")]
    Uint16,
    #[serde(rename = "TYPE_UINT32")]
    Uint32,
    #[serde(rename = "TYPE_UINT64")]
    Uint64,
    #[serde(rename = "TYPE_INT8")]
    Int8,
    #[serde(rename = "TYPE_INT16")]
    Int16,
    #[serde(rename = "TYPE_INT32")]
    Int32,
    #[serde(rename = "TYPE_INT64")]
    Int64,
    #[serde(rename = "TYPE_FP16")]
    Fp16,
    #[serde(rename = "TYPE_FP32")]
    Fp32,
    #[serde(rename = "TYPE_FP64")]
    Fp64,
    #[serde(rename = "TYPE_STRING")]
    String,
    #[serde(rename = "TYPE_BF16")]
    Bf16,
}

/// Both names of every element type.
const DATA_TYPES: [(DataType, DType); 14] = [
    (DataType::Bool, DType::Bool),
    (DataType::Uint8, DType::U8),
    (DataType::Uint16, DType::U16),
    (DataType::Uint32, DType::U32),
    (DataType::Uint64, DType::U64),
    (DataType::Int8, DType::I8),
    (DataType::Int16, DType::I16),
    (DataType::Int32, DType::I32),
    (DataType::Int64, DType::I64),
    (DataType::Fp16, DType::F16),
    (DataType::Fp32, DType::F32),
    (DataType::Fp64, DType::F64),
    (DataType::String, DType::Bytes),
    (DataType::Bf16, DType::BF16),
];

impl DataType {
    /// `None` where no type was given.
    pub fn dtype(self) -> Option<DType> {
        DATA_TYPES.iter().find(|(name, _)| *name == self).map(|(_, dtype)| *dtype)
    }
}

impl From<DType> for DataType {
    fn from(dtype: DType) -> Self {
        let found = DATA_TYPES.iter().find(|(_, known)| *known == dtype);
        found.map_or(DataType::Invalid, |(name, _)| *name)
    }
}

/// What the axes of an image mean. Triton checks the rank against it and does no more, so do we.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum Format {
    #[default]
    #[serde(rename = "FORMAT_NONE")]
    None,
    #[serde(rename = "FORMAT_NHWC")]
    Nhwc,
    #[serde(rename = "FORMAT_NCHW")]
    Nchw,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Input {
    pub name: String,
    pub data_type: DataType,
    pub format: Format,
    pub dims: Vec<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reshape: Option<Reshape>,
    pub(super) is_shape_tensor: Neutral<bool>,
    pub(super) allow_ragged_batch: Neutral<bool>,
    pub(super) optional: Neutral<bool>,
    pub(super) is_non_linear_format_io: Neutral<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Output {
    pub name: String,
    pub data_type: DataType,
    pub dims: Vec<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reshape: Option<Reshape>,
    pub label_filename: String,
    pub(super) is_shape_tensor: Neutral<bool>,
    pub(super) is_non_linear_format_io: Neutral<bool>,
}

/// The shape that the engine sees. An empty one is a shape, too: a scalar for each row.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reshape {
    pub shape: Vec<i64>,
}

/// At most one of the three.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct VersionPolicy {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest: Option<Latest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all: Option<All>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub specific: Option<Specific>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Latest {
    pub num_versions: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct All {}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Specific {
    pub versions: Vec<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Optimization {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graph: Option<Graph>,
    pub(super) priority: Neutral<ModelPriority>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cuda: Option<Cuda>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_accelerators: Option<ExecutionAccelerators>,
    pub input_pinned_memory: PinnedMemory,
    pub output_pinned_memory: PinnedMemory,
    pub(super) gather_kernel_buffer_threshold: Neutral<u32>,
    pub(super) eager_batching: Neutral<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Graph {
    pub level: i32,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cuda {
    pub graphs: bool,
    pub(super) busy_wait_events: Neutral<bool>,
    pub(super) graph_spec: NoList,
    pub(super) output_copy_stream: Neutral<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExecutionAccelerators {
    pub gpu_execution_accelerator: Vec<Accelerator>,
    pub(super) cpu_execution_accelerator: NoList,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Accelerator {
    pub name: String,
    pub parameters: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) enum ModelPriority {
    #[default]
    #[serde(rename = "PRIORITY_DEFAULT")]
    Default,
    #[serde(rename = "PRIORITY_MAX")]
    Max,
    #[serde(rename = "PRIORITY_MIN")]
    Min,
}

/// Staging memory of copies to and from a GPU: on where nothing is said, as on Triton.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedMemory {
    #[serde(default)]
    pub enable: bool,
}

impl Default for PinnedMemory {
    fn default() -> Self {
        Self { enable: true }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DynamicBatching {
    pub preferred_batch_size: Vec<u32>,
    pub max_queue_delay_microseconds: u64,
    pub preserve_ordering: bool,
    pub priority_levels: u64,
    pub default_priority_level: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_queue_policy: Option<QueuePolicy>,
    pub priority_queue_policy: BTreeMap<u64, QueuePolicy>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueuePolicy {
    pub timeout_action: TimeoutAction,
    pub default_timeout_microseconds: u64,
    pub allow_timeout_override: bool,
    pub max_queue_size: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TimeoutAction {
    #[default]
    Reject,
    Delay,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ensembling {
    pub step: Vec<Step>,
    pub(super) max_inflight_responses: Neutral<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Step {
    pub model_name: String,
    pub model_version: i64,
    pub input_map: BTreeMap<String, String>,
    pub output_map: BTreeMap<String, String>,
    pub(super) model_namespace: Neutral<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct InstanceGroup {
    pub name: String,
    pub kind: Kind,
    pub count: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rate_limiter: Option<Never>,
    pub gpus: Vec<u16>,
    pub(super) secondary_devices: NoList,
    pub(super) profile: NoList,
    pub(super) passive: Neutral<bool>,
    pub(super) host_policy: Neutral<String>,
}

/// Where the instances of a group run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum Kind {
    #[default]
    #[serde(rename = "KIND_AUTO")]
    Auto,
    #[serde(rename = "KIND_GPU")]
    Gpu,
    #[serde(rename = "KIND_CPU")]
    Cpu,
    #[serde(rename = "KIND_MODEL")]
    Model,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameter {
    pub string_value: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Warmup {
    pub name: String,
    pub batch_size: u32,
    pub inputs: BTreeMap<String, WarmupInput>,
    pub count: u32,
}

/// At most one of the three kinds of data. The value of the two flags is not asked: as on Triton,
/// saying one chooses it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct WarmupInput {
    pub data_type: DataType,
    pub dims: Vec<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zero_data: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub random_data: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_data_file: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TransactionPolicy {
    pub(super) decoupled: Neutral<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResponseCache {
    pub enable: bool,
}
