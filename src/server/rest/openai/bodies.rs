//! The bodies of OpenAI's embeddings, as the document describes them.

use serde::Serialize;
use utoipa::ToSchema;

/// A request for embeddings.
#[derive(ToSchema)]
#[expect(dead_code, reason = "read into borrowed text; this is its description")]
pub struct EmbeddingRequest {
    /// A model's name, or `name/version`.
    model: String,
    /// One text, or up to 2048.
    input: EmbeddingInput,
    /// `float` (the default) or `base64`: the little-endian bytes of FP32.
    encoding_format: Option<String>,
    /// Only the model's own number is taken.
    dimensions: Option<u32>,
    /// Passed over.
    user: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "read into borrowed text; this is its description")]
pub enum EmbeddingInput {
    One(String),
    Many(Vec<String>),
}

/// Embeddings in the order of the texts.
#[derive(ToSchema)]
#[expect(dead_code, reason = "written without such a value; this is its description")]
pub struct EmbeddingResponse {
    /// Always `list`.
    object: String,
    data: Vec<Embedding>,
    model: String,
    usage: EmbeddingUsage,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "written without such a value; this is its description")]
pub struct Embedding {
    /// Always `embedding`.
    object: String,
    index: u32,
    /// The numbers; a string for `base64`.
    embedding: Vec<f32>,
}

/// Tokens of all texts; 0 from a model that does not count them.
#[derive(ToSchema)]
#[expect(dead_code, reason = "written without such a value; this is its description")]
pub struct EmbeddingUsage {
    prompt_tokens: u64,
    total_tokens: u64,
}

/// An error of this dialect.
#[derive(Serialize, ToSchema)]
pub struct OpenAiError {
    pub error: OpenAiProblem,
}

#[derive(Serialize, ToSchema)]
pub struct OpenAiProblem {
    pub message: String,
    #[schema(value_type = String)]
    pub r#type: &'static str,
    #[schema(value_type = Option<String>)]
    pub param: Option<&'static str>,
    #[schema(value_type = Option<String>)]
    pub code: Option<&'static str>,
}
