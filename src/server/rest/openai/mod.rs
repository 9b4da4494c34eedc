//! `POST /v1/embeddings`, in the shape that OpenAI's clients use: texts in, vectors out, from any
//! model that takes one text a row and gives one vector a row.
//!
//! More texts than one request of the model may hold are asked for in several.

pub mod bodies;
mod request;
mod response;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use axum::routing::post;

use super::path::context;
use super::{Door, reply};
use crate::error::{Error, ErrorKind, Result, quoted};
use crate::infer::InferRequest;
use crate::model::{Selector, Signature};
use crate::server::status::http_status;
use crate::service::Target;
use crate::tensor::{DType, Dim, NamedTensor};
use bodies::{EmbeddingRequest, EmbeddingResponse, OpenAiError, OpenAiProblem};
use request::Asked;
use response::Embeddings;

/// The tag of this dialect.
pub const TAG: &str = "OpenAI";

pub fn routes() -> Router<Door> {
    Router::new().route("/v1/embeddings", post(embeddings))
}

/// Embeddings of texts
///
/// `model` is a name, or `name/version` with a number or a label.
#[utoipa::path(post, path = "/v1/embeddings", tag = TAG, operation_id = "openai_embeddings",
    request_body(content = EmbeddingRequest),
    responses((status = 200, body = EmbeddingResponse, description = "OK"),
        (status = 400, body = OpenAiError, description = "The request does not fit the model"),
        (status = 404, body = OpenAiError, description = "No such model"),
        (status = 408, body = OpenAiError, description = "The body did not arrive in time"),
        (status = 413, body = OpenAiError, description = "The body is too large"),
        (status = 415, body = OpenAiError, description = "Its Content-Encoding is not supported"),
        (status = 429, body = OpenAiError, description = "The queue is full; see Retry-After"),
        (status = 503, body = OpenAiError, description = "Not ready"),
        (status = 504, body = OpenAiError, description = "The deadline passed")))]
pub async fn embeddings(State(door): State<Door>, request: Request) -> Response<Body> {
    answer(&door, request).await.unwrap_or_else(|error| refuse(&error))
}

async fn answer(door: &Door, request: Request) -> Result<Response<Body>> {
    let context = context(request.extensions())?;
    let (parts, body) = request.into_parts();
    // The model is named in the body, so the body is read before anybody can be told of it.
    let body = super::body::collect(&parts.headers, body, door.body_bytes_max).await?;
    let asked = Asked::parse(&body)?;
    let (name, version) = asked.model.split_once('/').unwrap_or((asked.model, ""));
    let selector = Selector::parse(name, version)?;
    let target = door.service.route(&context, name, selector)?;
    let embedder = target.decoded(&context, Embedder::of(&target, asked.dimensions))?;
    let mut found = Embeddings::new(asked.encoding, asked.texts.len());
    for texts in asked.texts.chunks(target.batch_size_max().max(1)) {
        let tensor = target.decode(&context, || request::tensor(embedder.text, texts))?;
        let inputs = vec![NamedTensor { name: embedder.text.to_owned(), tensor }];
        let outputs = embedder.outputs();
        let request = InferRequest { inputs, outputs, ..InferRequest::default() };
        let answer = target.infer(&context, request).await?;
        found.add(&answer.outputs)?;
    }
    Ok(reply::reply(StatusCode::OK, reply::JSON, found.into_body(asked.model)))
}

/// The names that matter of a model that can do this.
struct Embedder<'a> {
    text: &'a str,
    vector: &'a str,
    /// How many tokens each text had, where the model tells.
    count: Option<&'a str>,
}

impl<'a> Embedder<'a> {
    fn of(target: &'a Target, dimensions: Option<usize>) -> Result<Self> {
        let Signature { inputs, outputs } = target.signature();
        let vectors = |spec: &&crate::model::TensorSpec| {
            spec.dtype == DType::F32 && matches!(spec.dims[..], [Dim::Any, Dim::Fixed(_)])
        };
        let vector = outputs.iter().find(|spec| spec.name == "embedding");
        let vector = vector.filter(vectors).or_else(|| outputs.iter().find(vectors));
        let text = match &inputs[..] {
            [text] if text.dtype == DType::Bytes && text.dims == [Dim::Any] => Some(text),
            _ => None,
        };
        let (Some(text), Some(vector)) = (text, vector) else {
            return Err(Error::invalid(format!(
                "model '{}' gives no embeddings of text: expected one BYTES input of shape [-1] \
                 and an FP32 output of shape [-1, n]",
                quoted(target.id().name.as_str())
            )));
        };
        if let (Some(asked), Dim::Fixed(extent)) = (dimensions, vector.dims[1])
            && asked != extent
        {
            return Err(Error::invalid(format!(
                "dimensions: this model's embeddings have {extent}, and can not be shortened"
            )));
        }
        let count = outputs.iter().find(|spec| spec.name == "token_count");
        let count = count.filter(|spec| spec.dtype == DType::I32 && spec.dims.len() == 1);
        Ok(Self { text: &text.name, vector: &vector.name, count: count.map(|c| c.name.as_str()) })
    }

    fn outputs(&self) -> Vec<String> {
        std::iter::once(self.vector).chain(self.count).map(str::to_owned).collect()
    }
}

/// An error in OpenAI's form.
fn refuse(error: &Error) -> Response<Body> {
    let kind = match error.kind() {
        ErrorKind::Overloaded => "rate_limit_error",
        ErrorKind::Unauthenticated => "authentication_error",
        ErrorKind::PermissionDenied => "permission_error",
        ErrorKind::NotReady | ErrorKind::DeadlineExceeded | ErrorKind::Internal => "server_error",
        _ => "invalid_request_error",
    };
    let code = (error.kind() == ErrorKind::NotFound).then_some("model_not_found");
    let problem =
        OpenAiProblem { message: error.message().to_owned(), r#type: kind, param: None, code };
    let response = reply::json(http_status(error.kind()), &OpenAiError { error: problem });
    reply::with_advice(response, error)
}
