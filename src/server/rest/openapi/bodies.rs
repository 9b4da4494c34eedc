//! Bodies of the REST door as the document describes them: those that are sent as they stand here,
//! and those that are read and written without ever being such a value.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// An error of the Open Inference Protocol.
#[derive(Serialize, ToSchema)]
pub struct ErrorBody {
    pub error: String,
}

/// An error of the typed API (RFC 9457).
#[derive(Serialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the status says what kind of problem it is.
    #[schema(value_type = String)]
    pub r#type: &'static str,
    #[schema(value_type = String)]
    pub title: &'static str,
    pub status: u16,
    pub detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Every broken rule of the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<ProblemEntry>,
}

/// One broken rule.
#[derive(Serialize, ToSchema)]
pub struct ProblemEntry {
    /// JSON pointer (RFC 6901) to the offending place.
    pub pointer: String,
    /// `missing`, `type`, `range`, `unknown`, `duplicate` or `length`.
    #[schema(value_type = String)]
    pub code: &'static str,
    /// What was expected; never the value that was given.
    pub message: String,
}

/// An inference request.
#[derive(ToSchema)]
#[expect(dead_code, reason = "read straight into tensors; this is its description")]
pub struct InferRequest {
    /// Comes back with the answer.
    id: Option<String>,
    /// `timeout` (microseconds), `priority`, `binary_data_output`; unknown ones are passed over.
    parameters: Option<HashMap<String, Value>>,
    inputs: Vec<InferInput>,
    /// The wanted outputs; without them, all.
    outputs: Option<Vec<InferOutputWish>>,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "read straight into tensors; this is its description")]
pub struct InferInput {
    name: String,
    /// `BOOL`, `UINT8` to `UINT64`, `INT8` to `INT64`, `FP16`, `BF16`, `FP32`, `FP64` or `BYTES`.
    datatype: String,
    shape: Vec<u64>,
    /// `binary_data_size`, where the elements follow the JSON; `shared_memory_region`, `_offset`
    /// and `_byte_size`, where they lie in shared memory.
    parameters: Option<HashMap<String, Value>>,
    /// The elements, flat or nested, row by row. Floats may be "NaN", "Infinity" and "-Infinity".
    data: Option<Vec<Value>>,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "read straight into a list of names; this is its description")]
pub struct InferOutputWish {
    name: String,
    /// `binary_data`: true to have it raw; `classification`: a number of classes in its place;
    /// `shared_memory_region`, `_offset` and `_byte_size`: where to put it.
    parameters: Option<HashMap<String, Value>>,
}

/// An answer.
#[derive(ToSchema)]
#[expect(dead_code, reason = "written straight from tensors; this is its description")]
pub struct InferResponse {
    id: Option<String>,
    model_name: String,
    /// The version that computed it.
    model_version: String,
    outputs: Vec<InferOutput>,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "written straight from tensors; this is its description")]
pub struct InferOutput {
    name: String,
    datatype: String,
    shape: Vec<u64>,
    /// `binary_data_size`, where the output is raw; `shared_memory_region`, `_offset` and
    /// `_byte_size`, where it lies in shared memory.
    parameters: Option<HashMap<String, Value>>,
    /// The elements, flat.
    data: Option<Vec<Value>>,
}
