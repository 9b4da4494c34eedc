//! Configurations as users have them: what they mean, what is refused and how, and the way back.

use proptest::prelude::*;

use super::json::Served;
use super::*;
use crate::error::ErrorKind;
use crate::model::batching::{QueuePolicy, TimeoutAction};
use crate::model::device::{Device, Precision, TensorRt};
use crate::model::manifest::{BackendChoice, EngineOptions, Optimization, VersionPolicy};
use crate::model::warmup::SampleData;
use crate::model::{Signature, TensorSpec};

/// One of everything that is supported.
const EVERYTHING: &str = include_str!("../../../tests/fixtures/triton/everything/config.pbtxt");

fn manifest(text: &str) -> Result<Manifest> {
    TritonConfig::from_text(text)?.into_manifest("m")
}

fn refused(text: &str) -> (ErrorKind, String) {
    let error = manifest(text).expect_err(text);
    (error.kind(), error.message().to_owned())
}

#[test]
fn everything_that_is_supported_means_something() {
    let config = TritonConfig::from_text(EVERYTHING).unwrap();
    let manifest = config.into_manifest("everything").unwrap();
    assert_eq!(manifest.backend, BackendChoice::Identity);
    assert_eq!(manifest.model_file.as_deref(), Some("weights.bin"));
    assert_eq!(manifest.version_policy, VersionPolicy::Specific(vec![1, 3]));
    assert_eq!(manifest.engine.instances, Some(3));
    assert_eq!(manifest.engine.optimization, Optimization::Extended);
    assert_eq!(manifest.identity.delay_us, 1000);
    assert!(manifest.response_cache);
    assert_eq!(manifest.batch_size_completed, None);

    let batching = &manifest.batching;
    assert_eq!(batching.batch_size_max, Some(8));
    assert!(batching.join);
    assert_eq!(batching.batch_sizes_preferred, [4, 8]);
    assert_eq!(batching.queue_delay_us_max, Some(100));
    assert_eq!((batching.priority_levels, batching.priority_default), (3, Some(2)));
    assert_eq!(batching.queue.depth_max, Some(64));
    let first = QueuePolicy {
        timeout_us: 5000,
        timeout_action: TimeoutAction::Delay,
        timeout_override: true,
        depth_max: Some(16),
    };
    assert_eq!((batching.levels[0].level, &batching.levels[0].queue), (1, &first));
    assert_eq!(batching.queue_depth_max, Some(64 + 64 + 16), "all levels together");

    let (x, y) = (&manifest.inputs[0], &manifest.outputs[0]);
    assert_eq!((x.datatype.as_deref(), y.datatype.as_deref()), (Some("FP32"), Some("FP32")));
    assert_eq!(x.shape.as_deref(), Some(&[-1, 1][..]), "dims leave the batch axis out");
    assert_eq!(x.reshape.as_deref(), Some(&[-1][..]), "a scalar for each row");
    assert_eq!(y.labels_file.as_deref(), Some("labels.txt"));
    assert_eq!(manifest.inputs[2].datatype.as_deref(), Some("BYTES"));

    let [zero, others] = manifest.warmup.as_slice() else { panic!("two samples") };
    assert_eq!((zero.batch_size, zero.count), (1, 1));
    assert_eq!((others.batch_size, others.count), (4, 2));
    let data: Vec<&SampleData> = others.inputs.iter().map(|input| &input.data).collect();
    let file = SampleData::File("image.bin".into());
    assert_eq!(data, [&file, &SampleData::Zero, &SampleData::Random]);
}

#[test]
fn without_batches_dims_are_the_whole_shape() {
    let lists = "input { name: 'x' data_type: TYPE_FP32 dims: [2, -1] }
                 output { name: 'y' data_type: TYPE_INT64 dims: 1 reshape { } }";
    let manifest = manifest(lists).unwrap();
    assert_eq!(manifest.inputs[0].shape.as_deref(), Some(&[2, -1][..]));
    assert_eq!(manifest.outputs[0].reshape.as_deref(), Some(&[][..]));
    assert_eq!(manifest.batching.batch_size_max, Some(0));
}

#[test]
fn requests_share_a_batch_only_where_a_scheduler_says_so() {
    let lists = "input { name: 'x' data_type: TYPE_FP32 dims: 1 }
                 output { name: 'y' data_type: TYPE_FP32 dims: 1 }";
    let join = |text: &str| manifest(text).unwrap().batching.join;
    assert!(!join(&format!("max_batch_size: 8 {lists}")), "listed in full, and no scheduler");
    assert!(join(&format!("max_batch_size: 8 dynamic_batching {{ }} {lists}")));
    assert!(join("max_batch_size: 8"), "completed");
}

#[test]
fn an_empty_file_leaves_everything_to_the_model() {
    let manifest = manifest("# nothing\n").unwrap();
    assert_eq!(manifest.batch_size_completed, Some(BATCH_SIZE_COMPLETED));
    let nothing = Manifest { batch_size_completed: Some(4), ..Manifest::default() };
    let batching = Manifest { batching: manifest.batching.clone(), ..nothing };
    assert_eq!(manifest, batching);
}

#[test]
fn version_policies_read_as_on_triton() {
    let policy = |text: &str| manifest(&format!("version_policy: {text}")).unwrap().version_policy;
    assert_eq!(policy("{ }"), VersionPolicy::Latest(1));
    assert_eq!(policy("{ latest { } }"), VersionPolicy::Latest(1));
    assert_eq!(policy("{ latest { num_versions: 2 } }"), VersionPolicy::Latest(2));
    assert_eq!(policy("{ all { } }"), VersionPolicy::All);
    assert_eq!(policy("{ specific { versions: [1, 3] } }"), VersionPolicy::Specific(vec![1, 3]));
}

#[test]
fn an_unknown_name_is_an_error_with_line_and_nearest_name() {
    for (text, message) in [
        (
            "name: 'm'\nmax_batch_sise: 4",
            "line 2: unknown field 'max_batch_sise'; did you mean 'max_batch_size'?",
        ),
        (
            "\ninput {\n name: 'x'\n dim: 1 }",
            "line 4: input: unknown field 'dim'; did you mean 'dims'?",
        ),
        ("zebra: 1", "line 1: unknown field 'zebra'"),
        ("input { data_type: FP32 }", "line 1: input.data_type: expected one of "),
        ("input { data_type: TYPE_FP31 }", "got 'TYPE_FP31'; did you mean 'TYPE_FP3"),
        (
            "parameters { key: 'a' walue { } }",
            "line 1: parameters: unknown field 'walue'; did you mean 'value'?",
        ),
    ] {
        let (kind, given) = refused(text);
        assert!(given.contains(message), "{text:?}: {given}");
        assert_eq!(kind, ErrorKind::InvalidInput, "{text}");
    }
}

/// Every field that Triton knows and Galen does not do. None is passed over.
#[test]
fn what_is_not_supported_is_refused_by_its_name() {
    for (text, name) in [
        ("sequence_batching { }", "sequence_batching"),
        ("batch_input { kind: BATCH_ELEMENT_COUNT }", "batch_input"),
        ("batch_output { }", "batch_output"),
        ("model_operations { op_library_filename: 'x.so' }", "model_operations"),
        ("model_repository_agents { agents { name: 'checksum' } }", "model_repository_agents"),
        ("model_metrics { }", "model_metrics"),
        ("model_transaction_policy { decoupled: true }", "model_transaction_policy.decoupled"),
        ("metric_tags { key: 'ward' value: '3' }", "metric_tags"),
        ("cc_model_filenames { key: '7.5' value: 'x.plan' }", "cc_model_filenames"),
        ("runtime: 'x.so'", "runtime"),
        ("input { is_shape_tensor: true }", "input.is_shape_tensor"),
        ("input { allow_ragged_batch: true }", "input.allow_ragged_batch"),
        ("input { optional: true }", "input.optional"),
        ("input { is_non_linear_format_io: true }", "input.is_non_linear_format_io"),
        ("output { is_shape_tensor: true }", "output.is_shape_tensor"),
        ("output { is_non_linear_format_io: true }", "output.is_non_linear_format_io"),
        ("optimization { cuda { busy_wait_events: true } }", "optimization.cuda.busy_wait_events"),
        ("optimization { cuda { graph_spec { } } }", "optimization.cuda.graph_spec"),
        ("optimization { cuda { output_copy_stream: true } }", "cuda.output_copy_stream"),
        (
            "optimization { execution_accelerators { cpu_execution_accelerator { name: 'x' } } }",
            "optimization.execution_accelerators.cpu_execution_accelerator",
        ),
        (
            "optimization { execution_accelerators { gpu_execution_accelerator { name: 'x' } } }",
            "optimization.execution_accelerators: 'x'",
        ),
        (
            "optimization { execution_accelerators { gpu_execution_accelerator { name: 'tensorrt'
             parameters { key: 'trt_engine_cache_path' value: '/tmp' } } } }",
            "parameter 'trt_engine_cache_path' of tensorrt",
        ),
        ("optimization { priority: PRIORITY_MAX }", "optimization.priority"),
        (
            "optimization { gather_kernel_buffer_threshold: 1 }",
            "optimization.gather_kernel_buffer_threshold",
        ),
        ("optimization { eager_batching: true }", "optimization.eager_batching"),
        ("instance_group { kind: KIND_MODEL }", "instance_group: KIND_MODEL"),
        ("instance_group { gpus: [ 0, 1 ] }", "instance_group.gpus"),
        (
            "instance_group { kind: KIND_CPU } instance_group { kind: KIND_GPU }",
            "more than one device",
        ),
        ("instance_group { rate_limiter { } }", "instance_group.rate_limiter"),
        ("instance_group { secondary_devices { } }", "instance_group.secondary_devices"),
        ("instance_group { profile: '1' }", "instance_group.profile"),
        ("instance_group { passive: true }", "instance_group.passive"),
        ("instance_group { host_policy: 'cpu' }", "instance_group.host_policy"),
        (
            "ensemble_scheduling { max_inflight_responses: 1 }",
            "ensemble_scheduling.max_inflight_responses",
        ),
        (
            "ensemble_scheduling { step { model_namespace: 'x' } }",
            "ensemble_scheduling.step.model_namespace",
        ),
        ("platform: 'tensorrt_plan'", "platform: 'tensorrt_plan'"),
        ("backend: 'python'", "backend: 'python'"),
        (
            "parameters { key: 'cudnn_conv_algo_search' value { string_value: '1' } }",
            "parameters: 'cudnn_conv_algo_search'",
        ),
        (
            "parameters { key: 'execution_node' value { string_value: '1' } }",
            "did you mean 'execution_mode'",
        ),
    ] {
        let (kind, message) = refused(text);
        assert!(
            message.contains(name) && message.contains("is not supported"),
            "{text}: {message}"
        );
        assert_eq!(kind, ErrorKind::Unsupported, "{text}");
    }
}

#[test]
fn what_is_said_of_gpus_is_read_and_written_the_same() {
    let text = "
        instance_group { kind: KIND_GPU gpus: [ 1 ] }
        parameters { key: 'gpu_mem_limit' value { string_value: '4000000000' } }
        optimization {
          input_pinned_memory { enable: false }
          execution_accelerators {
            gpu_execution_accelerator : [ {
              name : 'tensorrt'
              parameters { key: 'precision_mode' value: 'FP16' }
              parameters { key: 'max_workspace_size_bytes' value: '1073741824' }
            } ]
          }
        }";
    let engine = manifest(text).unwrap().engine;
    let tensorrt =
        TensorRt { precision: Precision::Fp16, workspace_bytes_max: Some(1_073_741_824) };
    assert_eq!(engine.tensorrt, Some(tensorrt));
    assert_eq!(engine.pinned_memory, Some(false));
    assert_eq!(engine.gpu_memory_bytes_max, Some(4_000_000_000));
    let mut again = EngineOptions::default();
    accelerators::read(&accelerators::write(&engine), &mut again).unwrap();
    assert_eq!((again.tensorrt, again.pinned_memory), (engine.tensorrt, engine.pinned_memory));

    let graphs = manifest("optimization { cuda { graphs: true } }").unwrap().engine;
    assert!(graphs.cuda_graph && graphs.pinned_memory.is_none());
    let mut again = EngineOptions::default();
    accelerators::read(&accelerators::write(&graphs), &mut again).unwrap();
    assert_eq!(again, graphs);

    for (wrong, expected) in [
        (
            "key: 'precision_mode' value: 'FP64'",
            "precision_mode: expected FP32, FP16, BF16 or INT8",
        ),
        ("key: 'max_workspace_size_bytes' value: '-1'", "expected a number of bytes, got '-1'"),
        ("key: 'max_workspace_size_bytes' value: '0'", "workspace_bytes_max: expected 1 or more"),
        ("key: 'precision' value: 'FP16'", "did you mean 'precision_mode'?"),
    ] {
        let (_, message) = refused(&format!(
            "optimization {{ execution_accelerators {{ gpu_execution_accelerator {{
             name: 'tensorrt' parameters {{ {wrong} }} }} }} }}"
        ));
        assert!(message.contains(expected), "{wrong}: {message}");
    }
    let (_, message) =
        refused("instance_group { kind: KIND_CPU } optimization { cuda { graphs: true } }");
    assert!(message.contains("engine.cuda_graph needs a GPU"), "{message}");
}

#[test]
fn what_asks_for_nothing_may_be_said() {
    let text = "
        runtime: '' metric_tags { } input [ ] batch_input [ ]
        model_transaction_policy { decoupled: false }
        optimization {
          input_pinned_memory { enable: false } output_pinned_memory { enable: true }
          priority: PRIORITY_DEFAULT gather_kernel_buffer_threshold: 0 eager_batching: false
        }
        instance_group [ { name: 'a' kind: KIND_CPU count: 1 passive: false gpus: [ ] } ]
        input { name: 'x' data_type: TYPE_FP32 dims: [3, 8, 8] format: FORMAT_NCHW optional: false }";
    assert!(manifest(&text.replace("metric_tags { }", "")).is_ok());
    assert!(manifest(text).is_err(), "an entry without a key is no silence");
    assert!(TritonConfig::from_json(r#"{"metric_tags": {}, "batch_input": []}"#).is_ok());
}

#[test]
fn a_wrong_value_names_its_field() {
    for (text, part) in [
        ("name: 'other'", "name: 'other' is not the name of the model's folder, 'm'"),
        ("name: other", "line 1: name: expected a string in quotes, got 'other'"),
        ("max_batch_size: -1", "line 1: max_batch_size: invalid value: integer `-1`"),
        ("max_batch_size: 'x'", "max_batch_size: expected an integer, got a string"),
        ("max_batch_size: 1\nmax_batch_size: 2", "line 2: max_batch_size: is given twice"),
        ("version_policy { all { } latest { } }", "version_policy: expected one of"),
        ("version_policy { specific { } }", "no version is named"),
        ("version_policy { specific { versions: 0 } }", "expected positive integers"),
        ("input { data_type: TYPE_FP32 dims: 1 }", "input: expected a name"),
        ("input { name: 'x' dims: 1 }", "input 'x': expected a data_type"),
        ("input { name: 'x' data_type: TYPE_FP32 }", "input 'x': expected dims; a scalar"),
        ("input { name: 'x' data_type: TYPE_FP32 dims: 0 }", "input 'x': dims are -1"),
        ("input { name: 'x' data_type: TYPE_FP32 dims: 2 reshape { shape: 3 } }", "reshape of 'x'"),
        ("input { name: 'x' data_type: TYPE_FP32 dims: 2 format: FORMAT_NHWC }", "takes 3 dims"),
        (
            "output { name: 'y' data_type: TYPE_FP32 dims: 1 label_filename: '../x' }",
            "labels_file of 'y'",
        ),
        ("default_model_filename: '../model.onnx'", "model_file"),
        ("platform: 'onnxruntime_onnx' backend: 'identity'", "does not run on backend 'identity'"),
        ("platform: 'ensemble'", "there is no ensemble_scheduling"),
        ("optimization { graph { level: 3 } }", "optimization.graph.level: expected -1"),
        (
            "max_batch_size: 4 dynamic_batching { preferred_batch_size: 8 }",
            "preferred_batch_size: expected sizes from 1 to max_batch_size, 4",
        ),
        (
            "dynamic_batching { priority_levels: 2 }",
            "default_priority_level: expected one of the 2",
        ),
        (
            "dynamic_batching { priority_levels: 18446744073709551615 default_priority_level: 1 }",
            "at most 256",
        ),
        ("dynamic_batching { priority_queue_policy { key: 1 value { } } }", "there is no level 1"),
        (
            "dynamic_batching { preserve_ordering: true } instance_group { count: 2 }",
            "keep_order takes one instance",
        ),
        (
            "parameters { key: 'intra_op_thread_count' value { string_value: 'x' } }",
            "expected a number",
        ),
        ("parameters { key: 'execution_mode' value { string_value: '2' } }", "expected 0 or 1"),
        (
            "parameters { key: 'a' value { } } parameters { key: 'a' value { } }",
            "two entries have one key",
        ),
        ("parameters { value { } }", "expected one key in each entry"),
        ("model_warmup { name: 'w' batch_size: 0 }", "warmup 'w': batch_size"),
        (
            "model_warmup { name: 'w' batch_size: 1 inputs { key: 'x' value { data_type: TYPE_FP32 dims: 1 } } }",
            "expected one of zero_data",
        ),
        (
            "model_warmup { name: 'w' batch_size: 1 inputs { key: 'x' value { data_type: TYPE_FP32 dims: -1 zero_data: true } } }",
            "dims without -1",
        ),
        ("ensemble_scheduling { }", "ensemble.steps: expected 1 to"),
    ] {
        let (kind, message) = refused(text);
        assert!(message.contains(part), "{text:?}: {message}");
        assert_eq!(kind, ErrorKind::InvalidInput, "{text}");
    }
}

#[test]
fn an_ensemble_is_read_as_data() {
    let text = "platform: 'ensemble'
        ensemble_scheduling { step [ {
          model_name: 'clean' model_version: -1
          input_map { key: 'raw' value: 'signal' }
          output_map { key: 'out' value: 'cleaned' } } ] }";
    let ensemble = manifest(text).unwrap().ensemble.unwrap();
    assert_eq!(ensemble.steps[0].version, None);
    assert_eq!(ensemble.steps[0].inputs["raw"], "signal");
}

#[test]
fn json_reads_as_the_text_does() {
    let config = TritonConfig::from_text(EVERYTHING).unwrap();
    let json = config.to_json().unwrap();
    assert_eq!(TritonConfig::from_json(&json).unwrap(), config);
    // The JSON of protobuf writes 64-bit integers as strings.
    let text = r#"{"input": [{"name": "x", "data_type": "TYPE_FP32", "dims": ["3", -1]}]}"#;
    assert_eq!(TritonConfig::from_json(text).unwrap().input[0].dims, [3, -1]);
    let error = TritonConfig::from_json(r#"{"dynamic_batching": {"priority_level": 1}}"#);
    let message = error.unwrap_err().message().to_owned();
    assert_eq!(
        message,
        "dynamic_batching: unknown field 'priority_level'; did you mean 'priority_levels'?"
    );
}

#[test]
fn a_served_model_is_described_in_tritons_words() {
    let manifest = manifest("max_batch_size: 8 dynamic_batching { }").unwrap();
    let spec = TensorSpec::of;
    use crate::tensor::DType;
    let signature = Signature {
        inputs: vec![spec("x", DType::F32, &[-1, 16])],
        outputs: vec![spec("y", DType::Bytes, &[-1, -1])],
    };
    let served = Served {
        name: "m",
        manifest: &manifest,
        signature: &signature,
        batch_size_max: 8,
        instances: 1,
        device: Device::Cpu,
        backend: "onnxruntime",
        platform: "onnxruntime_onnx",
        model_file: "model.onnx",
    };
    let golden = include_str!("../../../tests/fixtures/triton/served.json");
    let golden: serde_json::Value = serde_json::from_str(golden).unwrap();
    let written: serde_json::Value =
        serde_json::from_str(&served.to_config().to_json().unwrap()).unwrap();
    assert_eq!(written, golden, "{written:#}");
}

#[test]
fn what_is_written_back_means_the_same() {
    let config = TritonConfig::from_text(EVERYTHING).unwrap();
    let manifest = config.into_manifest("everything").unwrap();
    let signature = manifest.refine(&manifest.declared_signature().unwrap()).unwrap().signature;
    let served = Served {
        name: "everything",
        manifest: &manifest,
        signature: &signature,
        batch_size_max: 8,
        instances: 3,
        device: Device::Cpu,
        backend: "identity",
        platform: "galen_identity",
        model_file: "weights.bin",
    };
    let again = TritonConfig::from_json(&served.to_config().to_json().unwrap()).unwrap();
    assert_eq!(again.into_manifest("everything").unwrap(), manifest);
}

proptest! {
    #[test]
    fn arbitrary_text_is_a_manifest_or_an_error(text in any::<String>()) {
        let _ = manifest(&text);
    }

    /// Pieces of real configurations in any order, cut anywhere.
    #[test]
    fn shuffled_configurations_never_panic(
        seed in proptest::collection::vec(0usize..1000, 1..30), cut in 0usize..4000) {
        let lines: Vec<&str> = EVERYTHING.lines().collect();
        let text: Vec<&str> = seed.iter().map(|&n| lines[n % lines.len()]).collect();
        let _ = manifest(&text.join("\n"));
        let _ = manifest(EVERYTHING.get(..cut).unwrap_or(EVERYTHING));
    }
}
