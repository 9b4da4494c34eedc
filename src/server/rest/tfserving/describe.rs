//! What TensorFlow Serving says of a model: the states of its versions, and its signature, in the
//! JSON form of TensorFlow's own messages, by their own names. Pure.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::request::SIGNATURE_NAME;
use crate::model::{ModelId, Signature, TensorSpec, Version};
use crate::service::{ModelStatus, VersionStatus};
use crate::tensor::DType;

/// The states of a model's versions; `name` and `ready` are what KServe's clients look for under
/// the same path.
#[derive(Serialize, ToSchema)]
pub struct GetModelStatusResponse {
    /// Highest version first.
    model_version_status: Vec<ModelVersionStatus>,
    name: String,
    ready: bool,
}

#[derive(Serialize, ToSchema)]
pub struct ModelVersionStatus {
    version: String,
    /// `START`, `LOADING`, `AVAILABLE`, `UNLOADING` or `END`.
    #[schema(value_type = String)]
    state: &'static str,
    status: StatusProto,
}

#[derive(Serialize, ToSchema)]
pub struct StatusProto {
    /// `OK`, or `UNKNOWN` for a version that failed.
    #[schema(value_type = String)]
    error_code: &'static str,
    error_message: String,
}

impl GetModelStatusResponse {
    /// Of all versions, or of one.
    pub fn of(status: &ModelStatus, version: Option<Version>, ready: bool) -> Self {
        let asked = |entry: &&VersionStatus| version.is_none_or(|asked| asked == entry.version);
        let versions = status.versions.iter().rev().filter(asked).map(|entry| ModelVersionStatus {
            version: entry.version.to_string(),
            state: state(entry.state.name()),
            status: StatusProto {
                error_code: if entry.reason.is_some() { "UNKNOWN" } else { "OK" },
                error_message: entry.reason.clone().unwrap_or_default(),
            },
        });
        let model_version_status = versions.collect();
        Self { model_version_status, name: status.name.to_string(), ready }
    }
}

/// Galen's word for a state in TensorFlow Serving's.
fn state(name: &str) -> &'static str {
    match name {
        "new" => "START",
        "verifying" | "loading" | "warming" => "LOADING",
        "ready" => "AVAILABLE",
        "draining" | "unloading" => "UNLOADING",
        _ => "END",
    }
}

/// A model's signature.
#[derive(Serialize, ToSchema)]
pub struct GetModelMetadataResponse {
    model_spec: ModelSpec,
    metadata: SignatureDefField,
}

#[derive(Serialize, ToSchema)]
pub struct ModelSpec {
    name: String,
    /// Always empty.
    #[schema(value_type = String)]
    signature_name: &'static str,
    version: String,
}

#[derive(Serialize, ToSchema)]
pub struct SignatureDefField {
    signature_def: SignatureDefMap,
}

#[derive(Serialize, ToSchema)]
pub struct SignatureDefMap {
    /// By the name of the signature, which is always `serving_default`.
    #[schema(value_type = std::collections::HashMap<String, SignatureDef>)]
    signature_def: BTreeMap<&'static str, SignatureDef>,
}

#[derive(Serialize, ToSchema)]
pub struct SignatureDef {
    inputs: BTreeMap<String, TensorInfo>,
    outputs: BTreeMap<String, TensorInfo>,
    #[schema(value_type = String)]
    method_name: &'static str,
}

#[derive(Serialize, ToSchema)]
pub struct TensorInfo {
    /// `DT_FLOAT` and so on.
    #[schema(value_type = String)]
    dtype: &'static str,
    tensor_shape: TensorShapeProto,
    name: String,
}

#[derive(Serialize, ToSchema)]
pub struct TensorShapeProto {
    dim: Vec<TensorShapeDim>,
    unknown_rank: bool,
}

#[derive(Serialize, ToSchema)]
pub struct TensorShapeDim {
    /// "-1" for an extent that each request may choose.
    size: String,
    #[schema(value_type = String)]
    name: &'static str,
}

impl GetModelMetadataResponse {
    pub fn of(id: &ModelId, signature: &Signature) -> Self {
        let side = |specs: &[TensorSpec]| {
            specs.iter().map(|spec| (spec.name.clone(), TensorInfo::of(spec))).collect()
        };
        let signature = SignatureDef {
            inputs: side(&signature.inputs),
            outputs: side(&signature.outputs),
            method_name: "tensorflow/serving/predict",
        };
        let model_spec = ModelSpec {
            name: id.name.to_string(),
            signature_name: "",
            version: id.version.to_string(),
        };
        let signature_def = BTreeMap::from([(SIGNATURE_NAME, signature)]);
        let metadata = SignatureDefField { signature_def: SignatureDefMap { signature_def } };
        Self { model_spec, metadata }
    }
}

impl TensorInfo {
    fn of(spec: &TensorSpec) -> Self {
        // 64-bit integers are strings in protobuf's JSON.
        let dim = spec.wire_dims().map(|size| TensorShapeDim { size: size.to_string(), name: "" });
        Self {
            dtype: dtype(spec.dtype),
            tensor_shape: TensorShapeProto { dim: dim.collect(), unknown_rank: false },
            name: format!("{}:0", spec.name),
        }
    }
}

fn dtype(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "DT_BOOL",
        DType::U8 => "DT_UINT8",
        DType::U16 => "DT_UINT16",
        DType::U32 => "DT_UINT32",
        DType::U64 => "DT_UINT64",
        DType::I8 => "DT_INT8",
        DType::I16 => "DT_INT16",
        DType::I32 => "DT_INT32",
        DType::I64 => "DT_INT64",
        DType::F16 => "DT_HALF",
        DType::BF16 => "DT_BFLOAT16",
        DType::F32 => "DT_FLOAT",
        DType::F64 => "DT_DOUBLE",
        DType::Bytes => "DT_STRING",
    }
}
