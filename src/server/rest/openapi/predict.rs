//! The typed operation of one version, with working examples.

use serde_json::{Map, Value, json};
use utoipa::openapi::path::{HttpMethod, OperationBuilder, PathItem};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, Type};
use utoipa::openapi::{ContentBuilder, ObjectBuilder, Ref, Required, ResponseBuilder, Schema};

use super::schema;
use crate::model::contract::{Answer, Contract, Field, Part};
use crate::model::examples::{ExampleTensor, Examples};
use crate::service::Target;

/// Statuses that are answered with a problem, and what they mean here.
const PROBLEMS: [(&str, &str); 9] = [
    ("400", "The body is not JSON"),
    ("404", "No such model or version"),
    ("408", "The body did not arrive in time"),
    ("413", "The body is too large"),
    ("415", "Its Content-Encoding is not supported"),
    ("422", "The records do not fit the model's contract; `errors` lists every broken rule"),
    ("429", "The queue is full; `Retry-After` says when to come back"),
    ("503", "The version is not ready"),
    ("504", "The deadline passed first"),
];

/// Name of a schema of this version.
fn name(target: &Target, what: &str) -> String {
    format!("{}.{}.{what}", target.id().name, target.id().version)
}

/// Schemas of a record, a prediction, and the bodies that hold them.
pub fn schemas(target: &Target) -> Vec<(String, Schema)> {
    let contract = target.contract();
    let list = |item: &str| ArrayBuilder::new().items(Ref::from_schema_name(name(target, item)));
    let records = list("Record").min_items(Some(1)).max_items(Some(contract.records_max));
    let request = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("records", Schema::from(records))
        .required("records")
        .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)));
    let text = |description: &str| {
        Schema::from(ObjectBuilder::new().schema_type(Type::String).description(Some(description)))
    };
    let response = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("model", text("The model that answered"))
        .property("version", text("The version that computed the answer"))
        .property("request_id", text("Also in the header x-request-id"))
        .property("predictions", Schema::from(list("Prediction")))
        .required("model")
        .required("version")
        .required("request_id")
        .required("predictions");
    vec![
        (name(target, "Record"), schema::record(contract)),
        (name(target, "Prediction"), schema::prediction(contract)),
        (name(target, "Request"), request.into()),
        (name(target, "Response"), response.into()),
    ]
}

/// The operation, under the version's own path or the model's.
pub fn operation(target: &Target, exact: bool) -> PathItem {
    let (model, version) = (&target.id().name, target.id().version);
    let examples = target.examples().and_then(|examples| of(target, examples));
    let (asked, answered) = examples.unzip();
    let content = |schema: &str, example: Option<Value>| {
        let schema = Ref::from_schema_name(name(target, schema));
        ContentBuilder::new().schema(Some(schema)).example(example).build()
    };
    let request = RequestBodyBuilder::new()
        .content("application/json", content("Request", asked))
        .required(Some(Required::True));
    let success = ResponseBuilder::new()
        .description("One prediction per record, in order")
        .content("application/json", content("Response", answered));
    let mut operation = OperationBuilder::new()
        .tag(model.as_str())
        .description(target.description())
        .request_body(Some(request.build()))
        .response("200", success.build());
    for (status, description) in PROBLEMS {
        let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let response = ResponseBuilder::new()
            .description(description)
            .content("application/problem+json", problem);
        operation = operation.response(status, response.build());
    }
    // A name may hold what an operation id may not.
    let id = model.as_str().replace(['-', '.'], "_");
    let operation = if exact {
        operation
            .operation_id(Some(format!("predict_{id}_v{version}")))
            .summary(Some(format!("Predict with {model}, version {version}")))
    } else {
        operation
            .operation_id(Some(format!("predict_{id}")))
            .summary(Some(format!("Predict with {model}, the highest version that is ready")))
    };
    PathItem::new(HttpMethod::Post, operation.build())
}

/// The first held-out row, as a request and its answer.
fn of(target: &Target, examples: &Examples) -> Option<(Value, Value)> {
    let contract = target.contract();
    let signature = target.signature();
    let tensor = |tensors: &[ExampleTensor], name: &str| {
        tensors.iter().position(|tensor| tensor.name == name)
    };
    let mut record = Map::new();
    for field in &contract.fields {
        let index = tensor(&examples.inputs, &signature.inputs[field.input].name)?;
        let row = row(contract, &examples.inputs[index])?;
        record.insert(field.name.clone(), asked(field, &row)?);
    }
    let mut prediction = Map::new();
    for answer in &contract.answers {
        let index = tensor(&examples.outputs, &signature.outputs[answer.output].name)?;
        let row = row(contract, &examples.outputs[index])?;
        prediction.insert(answer.name.clone(), answered(answer, &row)?);
    }
    let id = target.id();
    let answer = json!({
        "model": id.name.as_str(),
        "version": id.version.to_string(),
        "request_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "predictions": [prediction],
    });
    Some((json!({"records": [record]}), answer))
}

/// One record's part of a tensor: extents and elements.
struct ExampleRow<'a> {
    dims: &'a [usize],
    data: &'a [Value],
}

fn row<'a>(contract: &Contract, tensor: &'a ExampleTensor) -> Option<ExampleRow<'a>> {
    if contract.batched {
        return Some(ExampleRow { dims: tensor.shape.get(1..)?, data: tensor.row(0)? });
    }
    Some(ExampleRow { dims: &tensor.shape, data: &tensor.data })
}

fn asked(field: &Field, row: &ExampleRow<'_>) -> Option<Value> {
    match field.part {
        Part::Column(column) => row.data.get(column).cloned(),
        Part::Row(_) if field.is_scalar() => row.data.first().cloned(),
        Part::Row(_) => nested(row.dims, row.data),
    }
}

fn answered(answer: &Answer, row: &ExampleRow<'_>) -> Option<Value> {
    if answer.labels_name_entries() {
        let entries = answer.labels.iter().cloned().zip(row.data.iter().cloned());
        return Some(Value::Object(entries.collect()));
    }
    let first = row.data.first();
    if !answer.labels.is_empty() {
        let class = usize::try_from(first?.as_u64()?).ok()?;
        return answer.labels.get(class).map(|label| json!(label));
    }
    if answer.is_scalar() { first.cloned() } else { nested(row.dims, row.data) }
}

fn nested(dims: &[usize], data: &[Value]) -> Option<Value> {
    let Some((&extent, inner)) = dims.split_first() else { return data.first().cloned() };
    let each = data.len().checked_div(extent).unwrap_or(0);
    let parts = (0..extent).map(|index| nested(inner, data.get(index * each..)?.get(..each)?));
    parts.collect::<Option<Vec<_>>>().map(Value::Array)
}
