//! What a graph must be before tract's importer may see it. The importer looks operators up by bare
//! name, and fails inside on a graph that does not hold together; here each is one clear refusal.
//!
//! What this file must not know: shapes, types, and how anything is computed.

use std::collections::{BTreeSet, HashSet};

use tract_onnx::model::OnnxOpRegister;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto};

use super::unread::unread;
use crate::error::{Error, Result, quoted};

/// Whose operators tract knows. One of any other domain may share its name with one of these.
const DOMAINS: [&str; 4] = ["", "ai.onnx", "ai.onnx.ml", "com.microsoft"];

/// Checks a model and the graphs inside it; gives the outermost.
pub fn vet<'a>(model: &'a ModelProto, operators: &OnnxOpRegister) -> Result<&'a GraphProto> {
    let graph = model.graph.as_ref().ok_or_else(|| refusal("the file holds no graph"))?;
    let mut unknown = BTreeSet::new();
    each_node(graph, &mut |node| {
        if !is_known(node, operators) {
            let domain = if node.domain.is_empty() { "" } else { " of " };
            unknown.insert(quoted(&format!("{}{domain}{}", node.op_type, node.domain)));
        }
    });
    if !unknown.is_empty() {
        let names = unknown.into_iter().collect::<Vec<_>>().join(", ");
        return Err(Error::unsupported(format!(
            "tract can not load the model: it has no operator for {names}; the onnxruntime engine \
             may"
        )));
    }
    let mut misread = None;
    each_node(graph, &mut |node| {
        misread = misread.or_else(|| unread(node).map(|attribute| (node, attribute)));
    });
    if let Some((node, attribute)) = misread {
        return Err(Error::unsupported(format!(
            "tract can not load the model: it would pass over '{attribute}' of the {} '{}' and \
             answer wrongly; the onnxruntime engine may do it",
            node.op_type,
            quoted(&node.name)
        )));
    }
    produces_its_outputs(graph)?;
    Ok(graph)
}

fn refusal(reason: &str) -> Error {
    Error::invalid(format!("tract can not load the model: {reason}"))
}

/// The nodes of a graph and of those inside it. The reader of the file bounds how deep graphs nest,
/// and so this recursion.
fn each_node<'a>(graph: &'a GraphProto, see: &mut impl FnMut(&'a NodeProto)) {
    for node in &graph.node {
        see(node);
        for attribute in &node.attribute {
            for inner in attribute.g.iter().chain(&attribute.graphs) {
                each_node(inner, see);
            }
        }
    }
}

fn is_known(node: &NodeProto, operators: &OnnxOpRegister) -> bool {
    DOMAINS.contains(&node.domain.as_str()) && operators.0.contains_key(&node.op_type)
}

fn produces_its_outputs(graph: &GraphProto) -> Result<()> {
    let given = graph.input.iter().map(|input| &input.name);
    let constant = graph.initializer.iter().map(|tensor| &tensor.name);
    let computed = graph.node.iter().flat_map(|node| &node.output);
    let names: HashSet<&String> = given.chain(constant).chain(computed).collect();
    match graph.output.iter().find(|output| !names.contains(&output.name)) {
        Some(output) => {
            Err(refusal(&format!("nothing computes its output '{}'", quoted(&output.name))))
        }
        None if graph.output.is_empty() => Err(refusal("it has no output")),
        None => Ok(()),
    }
}
