//! Bodies of `:predict` as the OpenAPI document describes them. They are read and written without
//! ever being such a value.

use serde_json::Value;
use utoipa::ToSchema;

/// A request: rows or columns, one of the two.
#[derive(ToSchema)]
#[expect(dead_code, reason = "read straight into tensors; this is its description")]
pub struct PredictRequest {
    /// `serving_default`, or nothing.
    signature_name: Option<String>,
    /// Rows: values for a model of one input, objects by input name otherwise. BYTES may be
    /// `{"b64": "..."}`.
    instances: Option<Vec<Value>>,
    /// Columns: a value for a model of one input, an object by input name otherwise.
    inputs: Option<Value>,
}

/// An answer in the form of its request.
#[derive(ToSchema)]
#[expect(dead_code, reason = "written straight from tensors; this is its description")]
pub struct PredictResponse {
    /// For `instances`: values for a model of one output, objects by output name otherwise.
    predictions: Option<Vec<Value>>,
    /// For `inputs`: a value for a model of one output, an object by output name otherwise.
    outputs: Option<Value>,
}
