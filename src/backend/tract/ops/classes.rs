//! The end of every classifier: the label of the winner, and its scores made presentable.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::Outlet;
use super::post::{PostTransform, logistic};

/// The names of the classes.
#[derive(Clone, Debug)]
pub enum Labels {
    Integers(Vec<i64>),
    Words(Vec<String>),
}

impl Labels {
    /// Of the two attributes, one must name at least two classes.
    pub fn of(node: &NodeProto, integers: &str, words: &str) -> TractResult<Self> {
        let integers = super::list::<i64>(node, integers)?;
        let words = node.get_attr_opt_vec::<String>(words)?.unwrap_or_default();
        let labels = match (integers, &words[..]) {
            ([], [_, ..]) => Self::Words(words),
            ([_, ..], []) => Self::Integers(integers.to_vec()),
            _ => bail!("expected the classes as integers or as words"),
        };
        ensure!(labels.count() >= 2, "expected at least two classes");
        Ok(labels)
    }

    pub fn count(&self) -> usize {
        match self {
            Self::Integers(labels) => labels.len(),
            Self::Words(labels) => labels.len(),
        }
    }

    /// The outlets of a classifier: a label for each row, and a score for each class.
    pub fn outlets(&self, rows: TDim) -> TVec<Outlet> {
        let dtype = match self {
            Self::Integers(_) => i64::datum_type(),
            Self::Words(_) => String::datum_type(),
        };
        let scores = tvec![rows.clone(), self.count().to_dim()];
        tvec![(dtype, tvec![rows]), (f32::datum_type(), scores)]
    }

    /// The labels of these classes.
    pub fn pick(&self, classes: &[usize]) -> TractResult<Tensor> {
        fn pick<T: Clone>(labels: &[T], classes: &[usize]) -> Option<Vec<T>> {
            classes.iter().map(|&class| labels.get(class).cloned()).collect()
        }
        let tensor = match self {
            Self::Integers(labels) => pick(labels, classes).map(|picked| tensor1(&picked)),
            Self::Words(labels) => pick(labels, classes).map(|picked| tensor1(&picked)),
        };
        tensor.context("a class without a label")
    }
}

/// The first of the classes with the highest score.
pub fn winner(scores: &[f32]) -> usize {
    let mut best = 0;
    for (class, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = class;
        }
    }
    best
}

/// How one score speaks for two classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OneScore {
    /// It is a probability: the other class has the rest of one.
    Share,
    /// It is a distance from the border: the other class has its opposite.
    Opposite,
}

impl OneScore {
    /// The scores of the negative and the positive class, from that of the positive one.
    ///
    /// As in ONNX Runtime, a softmax over one score leaves it alone.
    pub fn split(self, score: f32, transform: PostTransform) -> [f32; 2] {
        match (self, transform) {
            (_, PostTransform::Logistic) => [logistic(-score), logistic(score)],
            (Self::Share, _) => [1.0 - score, score],
            (Self::Opposite, _) => [-score, score],
        }
    }
}
