//! Operators of `ai.onnx.ml`, which scikit-learn exports are made of, as tract operators: those
//! that tract lacks, and those where its answers are not ONNX Runtime's.
//!
//! Where the specification is silent, or ONNX Runtime departs from it, these follow ONNX Runtime: a
//! model must not change its answers with the engine that a machine happens to have. Attributes are
//! checked when the model is loaded, so that nothing here can fail on them while it runs.
//!
//! What this room must not know: plans, sessions, and where a model comes from.

mod classes;
mod encode;
mod linear;
mod post;
mod rows;
mod scale;
#[cfg(test)]
mod tests;
mod tree;
mod tree_ensemble;

use tract_onnx::model::OnnxOpRegister;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

/// Type and extents of one tensor, as far as they are known before it is computed.
type Outlet = (DatumType, TVec<TDim>);

/// What an operator is, apart from how tract wants to see one.
trait Operator: std::fmt::Debug + Send + Sync + 'static {
    fn name(&self) -> &'static str;

    fn inputs(&self) -> usize {
        1
    }

    fn outputs(&self) -> usize {
        1
    }

    /// The outlets of what it computes, or why it can not compute with these.
    fn outlets(&self, inputs: &[Outlet]) -> TractResult<TVec<Outlet>>;

    fn eval(&self, inputs: &[TValue]) -> TractResult<TVec<Tensor>>;
}

/// How an operator is made from its node.
type Maker = fn(&NodeProto) -> TractResult<Custom>;

/// Adds the operators to tract's, in place of its own where it has one of the same name.
pub(super) fn register(operators: &mut OnnxOpRegister) {
    macro_rules! add {
        ($($name:literal => $make:path),* $(,)?) => {
            $(operators.insert($name, |_, node| build(node, $make));)*
        };
    }
    add! {
        "ArrayFeatureExtractor" => encode::array_feature_extractor,
        "Binarizer" => scale::binarizer,
        "Imputer" => scale::imputer,
        "LabelEncoder" => encode::label_encoder,
        "LinearClassifier" => linear::classifier,
        "LinearRegressor" => linear::regressor,
        "Normalizer" => scale::normalizer,
        "OneHotEncoder" => encode::one_hot_encoder,
        "Scaler" => scale::scaler,
        "TreeEnsembleClassifier" => tree_ensemble::classifier,
        "TreeEnsembleRegressor" => tree_ensemble::regressor,
    }
}

/// What tract's importer calls; no operator here has a subgraph, whose inputs it would list.
fn build(node: &NodeProto, make: Maker) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    Ok((expand(make(node)?), Vec::new()))
}

/// An [`Operator`] in tract's clothes, from type inference to evaluation.
#[derive(Clone, Debug)]
struct Custom(Arc<dyn Operator>);

impl Custom {
    fn new(operator: impl Operator) -> Self {
        Self(Arc::new(operator))
    }
}

impl PartialEq for Custom {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Custom {}

impl Expansion for Custom {
    fn name(&self) -> StaticName {
        self.0.name().into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(self.0.outputs())
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, self.0.inputs())?;
        check_output_arity(outputs, self.0.outputs())?;
        solver.given_all(inputs.iter().map(|input| &input.datum_type), move |solver, types| {
            solver.given_all(inputs.iter().map(|input| &input.shape), move |solver, shapes| {
                let known: Vec<Outlet> = types.iter().copied().zip(shapes).collect();
                for (output, (dtype, shape)) in outputs.iter().zip(self.0.outlets(&known)?) {
                    solver.equals(&output.datum_type, dtype)?;
                    solver.equals(&output.shape, shape)?;
                }
                Ok(())
            })
        })
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, self.clone(), inputs)
    }
}

impl Op for Custom {
    fn name(&self) -> StaticName {
        self.0.name().into()
    }

    op_as_typed_op!();
}

impl EvalOp for Custom {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        Ok(self.0.eval(&inputs)?.into_iter().map(IntoTValue::into_tvalue).collect())
    }
}

impl TypedOp for Custom {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let known: Vec<Outlet> =
            inputs.iter().map(|fact| (fact.datum_type, fact.shape.to_tvec())).collect();
        let outlets = self.0.outlets(&known)?;
        Ok(outlets.into_iter().map(|(dtype, shape)| dtype.fact(shape)).collect())
    }

    as_op!();
}

/// A list attribute that is empty where the node leaves it out.
fn list<'a, T: tract_onnx::pb_helpers::AttrSliceType<'a>>(
    node: &'a NodeProto,
    name: &str,
) -> TractResult<&'a [T]> {
    Ok(node.get_attr_opt_slice(name)?.unwrap_or(&[]))
}

/// Refuses attributes that would change the answer but are not understood.
fn refuse(node: &NodeProto, names: &[&str]) -> TractResult<()> {
    let found = node.attribute.iter().find(|attribute| names.contains(&attribute.name.as_str()));
    match found {
        Some(attribute) => bail!(
            "{} with the attribute '{}' is not supported by this engine",
            node.op_type,
            attribute.name
        ),
        None => Ok(()),
    }
}
