//! Bodies of `/invocations` as the OpenAPI document describes them.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A request: one of the first four.
#[derive(ToSchema)]
#[expect(dead_code, reason = "read straight into tensors; this is its description")]
pub struct Invocation {
    dataframe_split: Option<DataframeSplit>,
    /// One object of named features per row.
    dataframe_records: Option<Vec<HashMap<String, Value>>>,
    /// Rows: values for a model of one input, objects by name otherwise.
    instances: Option<Vec<Value>>,
    /// Columns: a value for a model of one input, an object by name otherwise.
    inputs: Option<Value>,
    /// Empty, or left out.
    params: Option<HashMap<String, Value>>,
}

/// pandas' orient "split".
#[derive(ToSchema)]
#[expect(dead_code, reason = "read straight into tensors; this is its description")]
pub struct DataframeSplit {
    /// Without names, columns are taken in the model's order.
    columns: Option<Vec<String>>,
    /// Passed over.
    index: Option<Vec<Value>>,
    data: Vec<Vec<Value>>,
}

/// An answer: values for a model of one output, objects by output name otherwise.
#[derive(ToSchema)]
#[expect(dead_code, reason = "written straight from tensors; this is its description")]
pub struct Predictions {
    predictions: Vec<Value>,
}

/// An error of MLflow's.
#[derive(Serialize, ToSchema)]
pub struct MlflowError {
    /// `BAD_REQUEST`, `RESOURCE_DOES_NOT_EXIST`, `TEMPORARILY_UNAVAILABLE`...
    #[schema(value_type = String)]
    pub error_code: &'static str,
    pub message: String,
}
