//! Operators against numbers from elsewhere, and against attributes that lie. Unless a test says
//! otherwise, the expected numbers are what ONNX Runtime 1.32.0 answers for the same node.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, NodeProto};
use tract_onnx::tract_hir::internal::*;

use super::{Custom, encode, linear, scale, tree_ensemble};

#[derive(Clone, Copy)]
enum Attribute<'a> {
    Integer(i64),
    Float(f32),
    Word(&'a str),
    Integers(&'a [i64]),
    Floats(&'a [f32]),
    Words(&'a [&'a str]),
}
use Attribute::{Float, Floats, Integer, Integers, Word, Words};

type Attributes<'a> = Vec<(&'a str, Attribute<'a>)>;

fn node(attributes: &Attributes<'_>) -> NodeProto {
    let attribute = |(name, value): &(&str, Attribute<'_>)| {
        let mut attribute = AttributeProto { name: (*name).to_owned(), ..Default::default() };
        let kind = match value {
            Integer(value) => {
                attribute.i = *value;
                AttributeType::Int
            }
            Float(value) => {
                attribute.f = *value;
                AttributeType::Float
            }
            Word(value) => {
                attribute.s = value.as_bytes().to_vec();
                AttributeType::String
            }
            Integers(values) => {
                attribute.ints = values.to_vec();
                AttributeType::Ints
            }
            Floats(values) => {
                attribute.floats = values.to_vec();
                AttributeType::Floats
            }
            Words(values) => {
                attribute.strings = values.iter().map(|word| word.as_bytes().to_vec()).collect();
                AttributeType::Strings
            }
        };
        attribute.r#type = kind as i32;
        attribute
    };
    NodeProto { attribute: attributes.iter().map(attribute).collect(), ..Default::default() }
}

/// Runs an operator as a plan would: outlets first, and the answer must keep to them.
fn run(operator: &Custom, input: &Tensor) -> TractResult<TVec<Tensor>> {
    let known = (input.datum_type(), input.shape().iter().map(ToDim::to_dim).collect());
    let outlets = operator.0.outlets(&[known])?;
    let answers = operator.0.eval(&[input.clone().into_tvalue()])?;
    assert_eq!(answers.len(), operator.0.outputs());
    for ((dtype, dims), answer) in outlets.iter().zip(&answers) {
        let dims: Vec<usize> = dims.iter().map(|dim| dim.to_usize().unwrap()).collect();
        assert_eq!((*dtype, &dims[..]), (answer.datum_type(), answer.shape()));
    }
    Ok(answers)
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec()
}

fn integers(tensor: &Tensor) -> Vec<i64> {
    tensor.try_as_plain_ram().unwrap().as_slice::<i64>().unwrap().to_vec()
}

#[track_caller]
fn close(found: &Tensor, expected: &[f32]) {
    let found = floats(found);
    assert_eq!(found.len(), expected.len());
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() < 1e-5, "{found:?} is not {expected:?}");
    }
}

/// One question, `x <= 0`: two leaves, the first for "yes". Votes are (leaf, class, weight).
struct Stump {
    nodes: Vec<i64>,
    classes: Vec<i64>,
    weights: Vec<f32>,
}

impl Stump {
    fn new(votes: &[(i64, i64, f32)]) -> Self {
        Self {
            nodes: votes.iter().map(|vote| vote.0).collect(),
            classes: votes.iter().map(|vote| vote.1).collect(),
            weights: votes.iter().map(|vote| vote.2).collect(),
        }
    }

    fn attributes(&self) -> Attributes<'_> {
        vec![
            ("nodes_treeids", Integers(&[0, 0, 0])),
            ("nodes_nodeids", Integers(&[0, 1, 2])),
            ("nodes_featureids", Integers(&[0, 0, 0])),
            ("nodes_modes", Words(&["BRANCH_LEQ", "LEAF", "LEAF"])),
            ("nodes_values", Floats(&[0.0, 0.0, 0.0])),
            ("nodes_truenodeids", Integers(&[1, 0, 0])),
            ("nodes_falsenodeids", Integers(&[2, 0, 0])),
            ("class_treeids", Integers(&[0, 0, 0, 0][..self.nodes.len()])),
            ("class_nodeids", Integers(&self.nodes)),
            ("class_ids", Integers(&self.classes)),
            ("class_weights", Floats(&self.weights)),
            ("classlabels_int64s", Integers(&[0, 1])),
        ]
    }
}

#[test]
fn two_classes_mean_what_they_mean_to_onnx_runtime() {
    type Votes<'a> = &'a [(i64, i64, f32)];
    const SIGNED: Votes<'_> = &[(1, 0, 0.7), (2, 0, -0.3)];
    const SHARES: Votes<'_> = &[(1, 0, 0.7), (2, 0, 0.3)];
    const POSITIVE: Votes<'_> = &[(1, 1, 0.7), (2, 1, 0.3)];
    const APART: Votes<'_> = &[(1, 0, 0.7), (2, 1, 0.3)];
    const BOTH: Votes<'_> = &[(1, 0, 0.7), (1, 1, 0.3), (2, 0, 0.2), (2, 1, 0.8)];
    type Case<'a> = (Votes<'a>, &'a [f32], &'a str, [i64; 2], [f32; 4]);
    let cases: &[Case<'_>] = &[
        (SIGNED, &[], "NONE", [1, 0], [-0.7, 0.7, 0.3, -0.3]),
        (SIGNED, &[], "LOGISTIC", [1, 0], [0.331_81, 0.668_19, 0.574_44, 0.425_56]),
        (SIGNED, &[], "SOFTMAX", [1, 0], [-0.7, 0.7, 0.3, -0.3]),
        (SIGNED, &[0.1], "NONE", [1, 0], [-0.8, 0.8, 0.2, -0.2]),
        (SIGNED, &[0.1], "LOGISTIC", [1, 0], [0.310_03, 0.689_97, 0.549_83, 0.450_17]),
        (SIGNED, &[0.1, 0.25], "NONE", [1, 0], [0.8, 0.0, -0.2, 0.0]),
        (SIGNED, &[0.1, 0.25], "SOFTMAX", [1, 0], [0.689_97, 0.310_03, 0.450_17, 0.549_83]),
        (SHARES, &[], "NONE", [1, 0], [0.3, 0.7, 0.7, 0.3]),
        (SHARES, &[], "SOFTMAX_ZERO", [1, 0], [0.3, 0.7, 0.7, 0.3]),
        (SHARES, &[0.1], "LOGISTIC", [1, 0], [0.310_03, 0.689_97, 0.401_31, 0.598_69]),
        (POSITIVE, &[], "NONE", [1, 0], [0.0, 0.7, 0.0, 0.3]),
        (POSITIVE, &[0.1], "SOFTMAX", [1, 0], [0.331_81, 0.668_19, 0.425_56, 0.574_44]),
        (POSITIVE, &[0.1, 0.25], "LOGISTIC", [0, 0], [0.5, 0.562_18, 0.5, 0.562_18]),
        (APART, &[], "NONE", [1, 1], [-0.7, 0.7, 0.0, 0.3]),
        (APART, &[0.1, 0.25], "SOFTMAX", [1, 1], [0.689_97, 0.310_03, 0.437_82, 0.562_18]),
        (BOTH, &[], "NONE", [1, 1], [0.7, 0.3, 0.2, 0.8]),
        (BOTH, &[0.1], "SOFTMAX", [1, 1], [0.622_46, 0.377_54, 0.377_54, 0.622_46]),
        (BOTH, &[0.1, 0.25], "LOGISTIC", [1, 1], [0.278_88, 0.721_12, 0.389_36, 0.610_64]),
    ];
    for (votes, base, transform, labels, scores) in cases {
        let stump = Stump::new(votes);
        let mut attributes = stump.attributes();
        attributes.push(("base_values", Floats(base)));
        attributes.push(("post_transform", Word(transform)));
        let operator = tree_ensemble::classifier(&node(&attributes)).unwrap();
        let answers = run(&operator, &tensor2(&[[-1f32], [1.0]])).unwrap();
        assert_eq!(integers(&answers[0]), labels, "{votes:?} {base:?} {transform}");
        close(&answers[1], scores);
    }
}

#[test]
fn words_name_classes_too_and_one_axis_is_one_row() {
    let stump = Stump::new(&[(1, 0, 0.7), (2, 0, 0.3)]);
    let mut attributes = stump.attributes();
    attributes.retain(|(name, _)| *name != "classlabels_int64s");
    attributes.push(("classlabels_strings", Words(&["low", "high"])));
    let operator = tree_ensemble::classifier(&node(&attributes)).unwrap();
    let answers = run(&operator, &tensor1(&[1f32])).unwrap();
    assert_eq!(answers[0], tensor1(&["low".to_owned()]));
    close(&answers[1], &[0.7, 0.3]);
}

#[test]
fn lying_attributes_are_refused_at_load() {
    let stump = Stump::new(&[(1, 0, 0.7), (2, 0, 0.3)]);
    let lies: &[(&str, Attribute<'_>, &str)] = &[
        ("nodes_treeids", Integers(&[0, 0]), "differ in length"),
        ("nodes_treeids", Integers(&[]), "without nodes"),
        ("nodes_values", Floats(&[0.0]), "differ in length"),
        ("nodes_values", Floats(&[f32::NAN, 0.0, 0.0]), "not a number"),
        ("nodes_missing_value_tracks_true", Integers(&[1]), "differ in length"),
        ("nodes_nodeids", Integers(&[0, 1, 1]), "two nodes with the id 1"),
        ("nodes_truenodeids", Integers(&[0, 0, 0]), "circle"),
        ("nodes_truenodeids", Integers(&[9, 0, 0]), "no node 9"),
        ("nodes_falsenodeids", Integers(&[-1, 0, 0]), "no node -1"),
        ("nodes_featureids", Integers(&[-1, 0, 0]), "a feature at -1"),
        ("nodes_featureids", Integers(&[1 << 40, 0, 0]), "a feature at"),
        ("nodes_modes", Words(&["BRANCH_MAYBE", "LEAF", "LEAF"]), "BRANCH_MAYBE"),
        ("class_ids", Integers(&[0, 2]), "a vote for 2 of 2"),
        ("class_ids", Integers(&[0]), "differ in length"),
        ("class_nodeids", Integers(&[1, 1]), "two votes"),
        ("class_nodeids", Integers(&[1, 7]), "no node 7"),
        ("classlabels_int64s", Integers(&[0]), "at least two classes"),
        ("classlabels_int64s", Integers(&[]), "the classes"),
        ("classlabels_strings", Words(&["a", "b"]), "the classes"),
        ("base_values", Floats(&[1.0, 2.0, 3.0]), "3 base_values"),
        ("post_transform", Word("PROBIT"), "not defined"),
        ("post_transform", Word("CUBIC"), "CUBIC"),
        ("nodes_values_as_tensor", Integer(0), "nodes_values_as_tensor"),
        ("nodes_values", Integers(&[0, 0, 0]), "nodes_values"),
    ];
    for (name, lie, word) in lies {
        let mut attributes = stump.attributes();
        attributes.retain(|(other, _)| other != name);
        attributes.push((name, *lie));
        let error = tree_ensemble::classifier(&node(&attributes)).expect_err(name);
        assert!(format!("{error:#}").contains(word), "{name}: {error:#}");
    }
}

#[test]
fn ways_that_meet_are_fine_and_ways_back_are_not() {
    // "is 1 or 3": two questions that lead to the same leaf, as exporters write it.
    let attributes = |back: &'static [i64]| -> Attributes<'static> {
        vec![
            ("nodes_treeids", Integers(&[0, 0, 0, 0])),
            ("nodes_nodeids", Integers(&[0, 1, 2, 3])),
            ("nodes_featureids", Integers(&[0, 0, 0, 0])),
            ("nodes_modes", Words(&["BRANCH_EQ", "BRANCH_EQ", "LEAF", "LEAF"])),
            ("nodes_values", Floats(&[1.0, 3.0, 0.0, 0.0])),
            ("nodes_truenodeids", Integers(&[2, 2, 0, 0])),
            ("nodes_falsenodeids", Integers(back)),
            ("target_treeids", Integers(&[0, 0])),
            ("target_nodeids", Integers(&[2, 3])),
            ("target_ids", Integers(&[0, 0])),
            ("target_weights", Floats(&[10.0, 20.0])),
            ("n_targets", Integer(1)),
        ]
    };
    let operator = tree_ensemble::regressor(&node(&attributes(&[1, 3, 0, 0]))).unwrap();
    let answers = run(&operator, &tensor2(&[[1f32], [2.0], [3.0]])).unwrap();
    close(&answers[0], &[10.0, 20.0, 10.0]);
    let error = tree_ensemble::regressor(&node(&attributes(&[1, 0, 0, 0]))).unwrap_err();
    assert!(error.to_string().contains("circle"), "{error:#}");
    let mut many = attributes(&[1, 3, 0, 0]);
    many.retain(|(name, _)| *name != "n_targets");
    many.push(("n_targets", Integer(i64::MAX)));
    assert!(tree_ensemble::regressor(&node(&many)).is_err());
}

#[test]
fn rows_of_another_width_are_refused_before_and_while_running() {
    let stump = Stump::new(&[(1, 0, 0.7), (2, 0, 0.3)]);
    let mut attributes = stump.attributes();
    attributes.retain(|(name, _)| *name != "nodes_featureids");
    attributes.push(("nodes_featureids", Integers(&[2, 0, 0])));
    let weights = ("coefficients", Floats(&[1.0, 2.0, 3.0]));
    let numbers = || ("scale", Floats(&[1.0, 2.0, 3.0]));
    let operators = [
        tree_ensemble::classifier(&node(&attributes)).unwrap(),
        linear::regressor(&node(&vec![weights])).unwrap(),
        scale::scaler(&node(&vec![numbers(), ("offset", Floats(&[0.0; 3]))])).unwrap(),
    ];
    for operator in operators {
        let narrow = tensor2(&[[1f32, 2.0]]);
        let known = (f32::datum_type(), tvec![1.to_dim(), 2.to_dim()]);
        assert!(operator.0.outlets(&[known]).is_err(), "{operator:?}");
        assert!(operator.0.eval(&[narrow.into_tvalue()]).is_err(), "{operator:?}");
    }
}

#[test]
fn linear_models_score_and_label_as_onnx_runtime() {
    let x = tensor2(&[[0.2f32, 0.3], [-0.5, 0.1]]);
    type Case<'a> = (&'a [f32], &'a [f32], &'a str, [i64; 2], &'a [f32]);
    const TWO: &[f32] = &[1.0, 2.0, -1.0, 0.5];
    const THREE: &[f32] = &[1.0, 2.0, -1.0, 0.5, 0.3, 0.0];
    let cases: &[Case<'_>] = &[
        (&[1.0, 2.0], &[0.1], "NONE", [20, 10], &[0.1, 0.9, 1.2, -0.2]),
        (&[1.0, 2.0], &[0.1], "LOGISTIC", [20, 10], &[0.289_05, 0.710_95, 0.549_83, 0.450_17]),
        (&[1.0, 2.0], &[0.1], "SOFTMAX", [20, 10], &[0.1, 0.9, 1.2, -0.2]),
        (TWO, &[0.1, 0.2], "NONE", [10, 20], &[0.9, 0.15, -0.2, 0.75]),
        (TWO, &[0.1, 0.2], "SOFTMAX", [10, 20], &[0.679_18, 0.320_82, 0.278_88, 0.721_12]),
        (
            THREE,
            &[0.1, 0.2, 0.0],
            "LOGISTIC",
            [10, 20],
            &[0.710_95, 0.537_43, 0.515, 0.450_17, 0.679_18, 0.462_57],
        ),
    ];
    for (coefficients, intercepts, transform, labels, scores) in cases {
        let classes = [10, 20, 30];
        let attributes = vec![
            ("coefficients", Floats(coefficients)),
            ("intercepts", Floats(intercepts)),
            ("post_transform", Word(transform)),
            ("classlabels_ints", Integers(&classes[..intercepts.len().max(2)])),
        ];
        let operator = linear::classifier(&node(&attributes)).unwrap();
        let answers = run(&operator, &x).unwrap();
        assert_eq!(integers(&answers[0]), labels, "{coefficients:?} {transform}");
        close(&answers[1], scores);
    }
    let regressor = |transform| {
        let attributes = vec![
            ("coefficients", Floats(&[1.0, 2.0][..])),
            ("intercepts", Floats(&[0.1])),
            transform,
        ];
        run(&linear::regressor(&node(&attributes)).unwrap(), &x).unwrap()
    };
    // One target: ONNX Runtime leaves the logistic out.
    close(&regressor(("post_transform", Word("LOGISTIC")))[0], &[0.9, -0.2]);
    close(&regressor(("post_transform", Word("NONE")))[0], &[0.9, -0.2]);
}

#[test]
fn linear_attributes_that_lie_are_refused() {
    let refused = |attributes: Attributes<'_>| {
        assert!(linear::classifier(&node(&attributes)).is_err());
    };
    let labels = || ("classlabels_ints", Integers(&[1, 2]));
    refused(vec![labels(), ("intercepts", Floats(&[0.0; 2]))]);
    refused(vec![labels(), ("coefficients", Floats(&[0.0; 4]))]);
    let three = ("intercepts", Floats(&[0.0; 3]));
    refused(vec![labels(), ("coefficients", Floats(&[0.0; 6])), three]);
    let two = ("intercepts", Floats(&[0.0; 2]));
    refused(vec![labels(), ("coefficients", Floats(&[0.0; 5])), two]);
    let probit = ("post_transform", Word("PROBIT"));
    let one = ("intercepts", Floats(&[0.0]));
    refused(vec![labels(), ("coefficients", Floats(&[0.0; 5])), one, probit]);
    let targets = vec![("coefficients", Floats(&[0.0; 4])), ("targets", Integer(0))];
    assert!(linear::regressor(&node(&targets)).is_err());
}

#[test]
fn numbers_are_scaled_and_normalised() {
    let x = tensor2(&[[0.2f32, -0.3, 0.1], [0.0, 0.0, 0.0], [-1.0, -2.0, -4.0]]);
    let normalised = |norm| {
        let operator = scale::normalizer(&node(&vec![("norm", Word(norm))])).unwrap();
        run(&operator, &x).unwrap()
    };
    close(&normalised("MAX")[0], &[1.0, -1.5, 0.5, 0.0, 0.0, 0.0, 1.0, 2.0, 4.0]);
    let l1 = [0.333_33, -0.5, 0.166_67, 0.0, 0.0, 0.0, -0.142_86, -0.285_71, -0.571_43];
    close(&normalised("L1")[0], &l1);
    let l2 = [0.534_52, -0.801_78, 0.267_26, 0.0, 0.0, 0.0, -0.218_22, -0.436_44, -0.872_87];
    close(&normalised("L2")[0], &l2);
    let scaler = |offset, scale| {
        scale::scaler(&node(&vec![("offset", Floats(offset)), ("scale", Floats(scale))]))
    };
    let operator = scaler(&[1.0, 2.0, 3.0], &[1.0, 2.0, 0.5]).unwrap();
    close(&run(&operator, &tensor1(&[1i64, 1, 1])).unwrap()[0], &[0.0, -2.0, -1.0]);
    assert!(scaler(&[1.0, 2.0], &[1.0]).is_err());
    assert!(scaler(&[], &[]).is_err());
}

/// Expected: the definition of the operator.
#[test]
fn missing_values_are_replaced() {
    let imputer = |missing| {
        let by = ("imputed_value_floats", Floats(&[9.0, 8.0][..]));
        scale::imputer(&node(&vec![by, ("replaced_value_float", Float(missing))])).unwrap()
    };
    let x = tensor2(&[[f32::NAN, 1.0], [0.0, f32::NAN]]);
    close(&run(&imputer(f32::NAN), &x).unwrap()[0], &[9.0, 1.0, 0.0, 8.0]);
    close(&run(&imputer(1.0), &tensor2(&[[0f32, 1.0]])).unwrap()[0], &[0.0, 8.0]);
    assert!(scale::imputer(&node(&vec![("imputed_value_int64s", Integers(&[1]))])).is_err());
}

/// Expected: the definition of the operators.
#[test]
fn categories_become_numbers_and_others_do_not() {
    let one_hot = |zeros| {
        let categories = ("cats_int64s", Integers(&[3, 5][..]));
        encode::one_hot_encoder(&node(&vec![categories, ("zeros", Integer(zeros))])).unwrap()
    };
    let x = tensor2(&[[5i64], [4]]);
    let answers = run(&one_hot(1), &x).unwrap();
    assert_eq!(answers[0].shape(), [2, 1, 2]);
    close(&answers[0], &[0.0, 1.0, 0.0, 0.0]);
    assert!(run(&one_hot(0), &x).is_err());
    let encoder = |values| {
        encode::label_encoder(&node(&vec![("keys_int64s", Integers(&[3, 5])), values])).unwrap()
    };
    let answers = run(&encoder(("values_int64s", Integers(&[30, 50]))), &x).unwrap();
    assert_eq!(integers(&answers[0]), [50, -1]);
    close(&run(&encoder(("values_floats", Floats(&[0.3, 0.5]))), &x).unwrap()[0], &[0.5, 0.0]);
    let lies = [
        vec![("keys_int64s", Integers(&[1, 2])), ("values_int64s", Integers(&[1]))],
        vec![("keys_strings", Words(&["a"])), ("values_int64s", Integers(&[1]))],
        vec![("keys_floats", Floats(&[f32::NAN])), ("values_int64s", Integers(&[1]))],
    ];
    assert!(lies.iter().all(|lie| encode::label_encoder(&node(lie)).is_err()));
}
