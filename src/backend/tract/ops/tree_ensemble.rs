//! `TreeEnsembleClassifier` and `TreeEnsembleRegressor`: attributes in, scores out. The trees
//! themselves are `tree`'s.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::classes::{Labels, OneScore, winner};
use super::post::PostTransform;
use super::rows::{Rows, extents};
use super::tree::{Aggregate, Ensemble, Nodes, Score, Votes};
use super::{Custom, Operator, Outlet, list};

/// More than any model has; what a file may make every row allocate.
const TARGETS_MAX: usize = 1 << 16;

pub fn classifier(node: &NodeProto) -> TractResult<Custom> {
    let labels = Labels::of(node, "classlabels_int64s", "classlabels_strings")?;
    let transform = PostTransform::of(node)?;
    let trees = Trees::of(node, "class", labels.count(), Aggregate::Sum)?;
    let one_for_all = labels.count() == 2 && trees.base.len() < 2;
    ensure!(
        !(one_for_all && transform == PostTransform::Probit),
        "PROBIT of a single score for two classes is not defined"
    );
    let (ids, weights) = (list::<i64>(node, "class_ids")?, list::<f32>(node, "class_weights")?);
    let rule = if ids.windows(2).any(|pair| pair[0] != pair[1]) {
        Rule::Both
    } else if weights.iter().all(|&weight| weight >= 0.0) {
        Rule::Share
    } else {
        Rule::Sign
    };
    Ok(Custom::new(Classifier { labels, trees, transform, rule }))
}

pub fn regressor(node: &NodeProto) -> TractResult<Custom> {
    let targets = node.get_attr_opt::<usize>("n_targets")?.unwrap_or(1);
    let aggregate = match node.get_attr_opt::<&str>("aggregate_function")?.unwrap_or("SUM") {
        "SUM" => Aggregate::Sum,
        "AVERAGE" => Aggregate::Average,
        "MIN" => Aggregate::Min,
        "MAX" => Aggregate::Max,
        other => bail!("unknown aggregate_function '{other}'"),
    };
    let trees = Trees::of(node, "target", targets, aggregate)?;
    Ok(Custom::new(Regressor { trees, transform: PostTransform::of(node)? }))
}

#[derive(Debug)]
struct Trees {
    ensemble: Ensemble,
    /// Added to the score of each target; empty for nothing.
    base: Vec<f32>,
}

impl Trees {
    fn of(
        node: &NodeProto,
        votes: &str,
        targets: usize,
        aggregate: Aggregate,
    ) -> TractResult<Self> {
        super::refuse(
            node,
            &[
                "base_values_as_tensor",
                "nodes_hitrates_as_tensor",
                "nodes_values_as_tensor",
                &format!("{votes}_weights_as_tensor"),
            ],
        )?;
        ensure!((1..=TARGETS_MAX).contains(&targets), "{targets} targets");
        let modes = node.get_attr_opt_vec::<&str>("nodes_modes")?.unwrap_or_default();
        let nodes = Nodes {
            trees: list(node, "nodes_treeids")?,
            ids: list(node, "nodes_nodeids")?,
            features: list(node, "nodes_featureids")?,
            modes: &modes,
            values: list(node, "nodes_values")?,
            yes: list(node, "nodes_truenodeids")?,
            no: list(node, "nodes_falsenodeids")?,
            missing_yes: list(node, "nodes_missing_value_tracks_true")?,
        };
        let votes = Votes {
            trees: list(node, &format!("{votes}_treeids"))?,
            nodes: list(node, &format!("{votes}_nodeids"))?,
            targets: list(node, &format!("{votes}_ids"))?,
            weights: list(node, &format!("{votes}_weights"))?,
        };
        let base = list::<f32>(node, "base_values")?.to_vec();
        // Exports of two classes that share one score have one base value, too.
        let one_for_two = targets == 2 && base.len() == 1;
        ensure!(
            base.is_empty() || base.len() == targets || one_for_two,
            "{} base_values for {targets} targets",
            base.len()
        );
        Ok(Self { ensemble: Ensemble::build(&nodes, &votes, targets, aggregate)?, base })
    }

    fn check(&self, input: &Outlet) -> TractResult<TDim> {
        let (rows, columns) = extents(input)?;
        let needs = self.ensemble.features();
        if let Ok(columns) = columns.to_usize() {
            ensure!(columns >= needs, "the trees ask for {needs} columns, found {columns}");
        }
        Ok(rows)
    }

    /// The votes of the trees, `targets` scores for each row, without the base values.
    fn scores(&self, input: &Tensor) -> TractResult<Vec<Score>> {
        let rows = Rows::of(input)?;
        if input.datum_type() == f64::datum_type() {
            // A threshold may lie between two f64 that are the same f32.
            let exact = input.try_as_plain_ram()?;
            return self.ensemble.scores(exact.as_slice::<f64>()?, rows.columns);
        }
        self.ensemble.scores(rows.numbers()?, rows.columns)
    }
}

/// Which of two classes wins, and what their scores mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// All leaves vote for one and the same class, with shares of one: above a half it wins.
    Share,
    /// All leaves vote for one and the same class, with any weights: above zero it wins.
    Sign,
    /// The leaves vote for both classes.
    Both,
}

#[derive(Debug)]
struct Classifier {
    labels: Labels,
    trees: Trees,
    transform: PostTransform,
    rule: Rule,
}

impl Classifier {
    /// Makes the votes of a row its scores; gives the winner.
    fn several(&self, votes: &mut [Score], scores: &mut [f32]) -> usize {
        for (vote, base) in votes.iter_mut().zip(&self.trees.base) {
            *vote = Score { value: vote.value + base, voted: true };
        }
        let candidate = |vote: &Score| if vote.voted { vote.value } else { f32::NEG_INFINITY };
        for (score, vote) in scores.iter_mut().zip(&*votes) {
            *score = candidate(vote);
        }
        let winner = winner(scores);
        self.present(votes, scores);
        winner
    }

    /// The same for two classes. What a class without votes, or with base values, means here is
    /// ONNX Runtime's reading of a specification that does not say; see the tests.
    fn two(&self, votes: &mut [Score], scores: &mut [f32]) -> usize {
        let [zero, one] = votes else { return 0 };
        match self.trees.base[..] {
            [_, base] if one.voted => {
                one.value = base + zero.value;
                zero.value = -one.value;
            }
            [base_zero, base_one] => {
                zero.value += base_zero;
                one.value += base_one;
            }
            [base] => zero.value += base,
            _ => {}
        }
        let decisive = if one.voted { *one } else { *zero };
        let value = if decisive.voted { decisive.value } else { 0.0 };
        let border = if self.rule == Rule::Share { 0.5 } else { 0.0 };
        let winner = usize::from(value > border);
        if one.voted || self.trees.base.len() == 2 {
            self.present(votes, scores);
        } else {
            let one_score =
                if self.rule == Rule::Share { OneScore::Share } else { OneScore::Opposite };
            scores.copy_from_slice(&one_score.split(zero.value, self.transform));
        }
        winner
    }

    /// A class without votes scores nothing, whatever its base value.
    fn present(&self, votes: &[Score], scores: &mut [f32]) {
        for (score, vote) in scores.iter_mut().zip(votes) {
            *score = if vote.voted { vote.value } else { 0.0 };
        }
        self.transform.apply(scores);
    }
}

impl Operator for Classifier {
    fn name(&self) -> &'static str {
        "TreeEnsembleClassifier"
    }

    fn outputs(&self) -> usize {
        2
    }

    fn outlets(&self, inputs: &[Outlet]) -> TractResult<TVec<Outlet>> {
        Ok(self.labels.outlets(self.trees.check(&inputs[0])?))
    }

    fn eval(&self, inputs: &[TValue]) -> TractResult<TVec<Tensor>> {
        let mut votes = self.trees.scores(&inputs[0])?;
        let classes = self.labels.count();
        let mut scores = vec![0.0; votes.len()];
        let rows = votes.chunks_exact_mut(classes).zip(scores.chunks_exact_mut(classes));
        let winners: Vec<usize> = match classes {
            2 => rows.map(|(votes, scores)| self.two(votes, scores)).collect(),
            _ => rows.map(|(votes, scores)| self.several(votes, scores)).collect(),
        };
        let shape = [winners.len(), classes];
        Ok(tvec![self.labels.pick(&winners)?, Tensor::from_shape(&shape, &scores)?])
    }
}

#[derive(Debug)]
struct Regressor {
    trees: Trees,
    transform: PostTransform,
}

impl Operator for Regressor {
    fn name(&self) -> &'static str {
        "TreeEnsembleRegressor"
    }

    fn outlets(&self, inputs: &[Outlet]) -> TractResult<TVec<Outlet>> {
        let rows = self.trees.check(&inputs[0])?;
        let targets = self.trees.ensemble.targets().to_dim();
        Ok(tvec![(f32::datum_type(), tvec![rows, targets])])
    }

    fn eval(&self, inputs: &[TValue]) -> TractResult<TVec<Tensor>> {
        let targets = self.trees.ensemble.targets();
        let votes = self.trees.scores(&inputs[0])?;
        let mut scores: Vec<f32> = votes.iter().map(|vote| vote.value).collect();
        for row in scores.chunks_exact_mut(targets) {
            row.iter_mut().zip(&self.trees.base).for_each(|(score, base)| *score += base);
            match row {
                [score] => *score = self.transform.apply_to_one(*score),
                several => self.transform.apply(several),
            }
        }
        Ok(tvec![Tensor::from_shape(&[scores.len() / targets, targets], &scores)?])
    }
}
