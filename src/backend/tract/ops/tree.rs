//! Ensembles of decision trees as flat arrays: built from lists of nodes and votes, which are
//! checked once, so that a walk needs no check and always ends.
//!
//! What this file must not know: the names of attributes, and what scores become afterwards.

use std::collections::{HashMap, HashSet};

use tract_onnx::tract_hir::internal::*;

/// Nodes as a model file lists them, one entry of each list per node.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nodes<'a> {
    pub trees: &'a [i64],
    pub ids: &'a [i64],
    pub features: &'a [i64],
    pub modes: &'a [&'a str],
    pub values: &'a [f32],
    pub yes: &'a [i64],
    pub no: &'a [i64],
    /// Where a missing value (NaN) counts as "yes"; empty for nowhere.
    pub missing_yes: &'a [i64],
}

/// Votes of the leaves, one entry of each list per vote.
#[derive(Clone, Copy, Debug, Default)]
pub struct Votes<'a> {
    pub trees: &'a [i64],
    pub nodes: &'a [i64],
    pub targets: &'a [i64],
    pub weights: &'a [f32],
}

/// How the votes of the trees for one target become its score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    Sum,
    Average,
    Min,
    Max,
}

/// The score of one target, and whether any leaf voted for it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    pub value: f32,
    pub voted: bool,
}

#[derive(Debug)]
pub struct Ensemble {
    roots: Vec<u32>,
    nodes: Vec<Node>,
    leaves: Leaves,
    /// How many features a row must have.
    features: usize,
    targets: usize,
    aggregate: Aggregate,
    /// Every node asks "at most?", and nowhere does a missing value count as "yes".
    plain: bool,
}

/// Sixteen bytes, four to a cache line.
#[derive(Clone, Copy, Debug)]
struct Node {
    threshold: f32,
    /// The feature's position, and `LESS`, `EQUAL`, `MISSING_YES` above it.
    feature: u32,
    /// Where "no" and "yes" lead: a node, or a leaf with `LEAF` above its position.
    next: [u32; 2],
}

const LEAF: u32 = 1 << 31;
const MISSING_YES: u32 = 1 << 31;
const LESS: u32 = 1 << 30;
const EQUAL: u32 = 1 << 29;
const FEATURE: u32 = EQUAL - 1;

/// What a leaf adds.
#[derive(Debug)]
enum Leaves {
    /// Every leaf has one vote, and all are for the same target: boosting with two classes, or a
    /// regression.
    One { target: usize, weights: Vec<f32> },
    /// Leaf `i` has the votes from `starts[i]` to `starts[i + 1]`.
    Many { starts: Vec<u32>, votes: Vec<(u32, f32)> },
}

/// Types a feature may have: thresholds are compared in it, as ONNX Runtime does.
pub trait Feature: Copy + PartialOrd + From<f32> {}
impl Feature for f32 {}
impl Feature for f64 {}

impl Ensemble {
    /// Rows that pass through a tree together, so that it stays in the cache.
    const ROWS: usize = 16;

    pub fn build(
        nodes: &Nodes<'_>,
        votes: &Votes<'_>,
        targets: usize,
        aggregate: Aggregate,
    ) -> TractResult<Self> {
        Builder::new(nodes, votes, targets)?.build(aggregate)
    }

    pub fn features(&self) -> usize {
        self.features
    }

    pub fn targets(&self) -> usize {
        self.targets
    }

    /// The scores of all rows, `targets` for each. A row has `columns` features.
    pub fn scores<T: Feature>(&self, rows: &[T], columns: usize) -> TractResult<Vec<Score>> {
        ensure!(columns >= self.features && columns > 0, "the rows have too few columns");
        let mut scores = vec![Score::default(); rows.len() / columns * self.targets];
        let blocks = rows.chunks(columns * Self::ROWS);
        for (rows, scores) in blocks.zip(scores.chunks_mut(self.targets * Self::ROWS)) {
            for &root in &self.roots {
                let each = rows.chunks_exact(columns).zip(scores.chunks_exact_mut(self.targets));
                for (row, scores) in each {
                    let leaf = if self.plain {
                        self.leaf::<T, true>(root, row)
                    } else {
                        self.leaf::<T, false>(root, row)
                    };
                    self.vote(leaf, scores);
                }
            }
        }
        if self.aggregate == Aggregate::Average {
            let trees = self.roots.len() as f32;
            scores.iter_mut().for_each(|score| score.value /= trees);
        }
        Ok(scores)
    }

    fn leaf<T: Feature, const PLAIN: bool>(&self, root: u32, row: &[T]) -> usize {
        let mut at = root;
        while at & LEAF == 0 {
            let node = &self.nodes[at as usize];
            let value = row[(node.feature & FEATURE) as usize];
            let yes = if PLAIN { value <= T::from(node.threshold) } else { node.says_yes(value) };
            at = node.next[usize::from(yes)];
        }
        (at & !LEAF) as usize
    }

    fn vote(&self, leaf: usize, scores: &mut [Score]) {
        match &self.leaves {
            Leaves::One { target, weights } => {
                scores[*target].take(weights[leaf], self.aggregate);
            }
            Leaves::Many { starts, votes } => {
                let range = starts[leaf] as usize..starts[leaf + 1] as usize;
                for &(target, weight) in &votes[range] {
                    scores[target as usize].take(weight, self.aggregate);
                }
            }
        }
    }
}

impl Score {
    fn take(&mut self, weight: f32, aggregate: Aggregate) {
        self.value = match aggregate {
            Aggregate::Sum | Aggregate::Average => self.value + weight,
            Aggregate::Min if self.voted => self.value.min(weight),
            Aggregate::Max if self.voted => self.value.max(weight),
            Aggregate::Min | Aggregate::Max => weight,
        };
        self.voted = true;
    }
}

impl Node {
    /// The three questions that are left of six: "greater" is "at most" with its answers swapped.
    fn new(
        mode: &str,
        feature: u32,
        threshold: f32,
        missing_yes: bool,
    ) -> TractResult<(Self, bool)> {
        let (kind, swapped) = match mode {
            "BRANCH_LEQ" => (0, false),
            "BRANCH_LT" => (LESS, false),
            "BRANCH_EQ" => (EQUAL, false),
            "BRANCH_GT" => (0, true),
            "BRANCH_GTE" => (LESS, true),
            "BRANCH_NEQ" => (EQUAL, true),
            other => bail!("unknown mode of a node: '{other}'"),
        };
        // A missing value answers "no" to every question but "unequal", unless it counts as "yes".
        // Where answers are swapped, so is what it must answer.
        let missing = if swapped { !missing_yes && mode != "BRANCH_NEQ" } else { missing_yes };
        let flags = kind | if missing { MISSING_YES } else { 0 };
        Ok((Self { threshold, feature: feature | flags, next: [LEAF; 2] }, swapped))
    }

    fn says_yes<T: Feature>(&self, value: T) -> bool {
        let threshold = T::from(self.threshold);
        let yes = if self.feature & EQUAL != 0 {
            value == threshold
        } else if self.feature & LESS != 0 {
            value < threshold
        } else {
            value <= threshold
        };
        // Only NaN is not comparable, not even with itself.
        yes || (self.feature & MISSING_YES != 0 && value.partial_cmp(&value).is_none())
    }
}

/// How far the search for a tree's nodes got at one of them.
#[derive(Clone, Copy)]
enum Visit {
    New,
    /// On the path from the root.
    Open,
    /// Below it everything is known; it is this reference.
    Done(u32),
}

struct Builder<'a> {
    listed: &'a Nodes<'a>,
    /// Position in the lists of node `id` of a tree.
    positions: HashMap<(i64, i64), usize>,
    /// Per listed node, its votes.
    votes: Vec<Vec<(u32, f32)>>,
    visits: Vec<Visit>,
    targets: usize,
    features: usize,
    nodes: Vec<Node>,
    leaves: Vec<Vec<(u32, f32)>>,
}

impl<'a> Builder<'a> {
    fn new(listed: &'a Nodes<'a>, votes: &Votes<'_>, targets: usize) -> TractResult<Self> {
        let count = listed.trees.len();
        let lengths = [
            listed.ids.len(),
            listed.features.len(),
            listed.modes.len(),
            listed.values.len(),
            listed.yes.len(),
            listed.no.len(),
        ];
        ensure!(count > 0, "an ensemble without nodes");
        ensure!(u32::try_from(count).is_ok_and(|count| count < LEAF), "too many nodes");
        ensure!(lengths.iter().all(|&length| length == count), "lists of nodes differ in length");
        let missing = listed.missing_yes.len();
        ensure!(missing == 0 || missing == count, "lists of nodes differ in length");
        let mut positions = HashMap::with_capacity(count);
        for (position, id) in listed.trees.iter().zip(listed.ids).enumerate() {
            let id = (*id.0, *id.1);
            ensure!(
                positions.insert(id, position).is_none(),
                "tree {} has two nodes with the id {}",
                id.0,
                id.1
            );
        }
        let mut builder = Self {
            listed,
            positions,
            votes: vec![Vec::new(); count],
            visits: vec![Visit::New; count],
            targets,
            features: 0,
            nodes: Vec::new(),
            leaves: Vec::new(),
        };
        builder.count_votes(votes)?;
        Ok(builder)
    }

    fn count_votes(&mut self, votes: &Votes<'_>) -> TractResult<()> {
        let count = votes.trees.len();
        let lengths = [votes.nodes.len(), votes.targets.len(), votes.weights.len()];
        ensure!(lengths.iter().all(|&length| length == count), "lists of votes differ in length");
        ensure!(u32::try_from(count).is_ok(), "too many votes");
        let mut seen = HashSet::with_capacity(count);
        for vote in 0..count {
            let position = self.position(votes.trees[vote], votes.nodes[vote])?;
            let target = u32::try_from(votes.targets[vote]).ok();
            let target = target.filter(|target| (*target as usize) < self.targets);
            let Some(target) = target else {
                bail!("a vote for {} of {} targets", votes.targets[vote], self.targets);
            };
            ensure!(seen.insert((position, target)), "a leaf has two votes for the same target");
            self.votes[position].push((target, votes.weights[vote]));
        }
        Ok(())
    }

    fn position(&self, tree: i64, id: i64) -> TractResult<usize> {
        let position = self.positions.get(&(tree, id)).copied();
        position.with_context(|| format!("tree {tree} has no node {id}"))
    }

    fn build(mut self, aggregate: Aggregate) -> TractResult<Ensemble> {
        let mut roots = Vec::new();
        let mut seen = HashSet::new();
        for (position, tree) in self.listed.trees.iter().enumerate() {
            // The first node that is listed of a tree is its root.
            if seen.insert(*tree) {
                roots.push(self.reach(position)?);
            }
        }
        let plain = self.nodes.iter().all(|node| node.feature & !FEATURE == 0);
        Ok(Ensemble {
            roots,
            nodes: self.nodes,
            leaves: Leaves::new(self.leaves)?,
            features: self.features,
            targets: self.targets,
            aggregate,
            plain,
        })
    }

    /// Lays out what lies beneath a node, depth first, and gives its reference. Children come
    /// before their parents, so that every walk ends.
    ///
    /// Two nodes may lead to the same third: exporters write "is one of" so. A way back to a node
    /// on the path is refused.
    fn reach(&mut self, root: usize) -> TractResult<u32> {
        let mut path = vec![root];
        while let Some(&position) = path.last() {
            match self.visits[position] {
                Visit::Done(_) => {
                    path.pop();
                }
                Visit::New if self.listed.modes[position] == "LEAF" => {
                    let leaf = u32::try_from(self.leaves.len())? | LEAF;
                    self.leaves.push(std::mem::take(&mut self.votes[position]));
                    self.visits[position] = Visit::Done(leaf);
                }
                Visit::New => {
                    self.visits[position] = Visit::Open;
                    for child in self.children(position)? {
                        match self.visits[child] {
                            Visit::New => path.push(child),
                            Visit::Done(_) => {}
                            Visit::Open => {
                                bail!("tree {} goes round in a circle", self.listed.trees[position])
                            }
                        }
                    }
                }
                Visit::Open => {
                    let node = self.node(position)?;
                    self.visits[position] = Visit::Done(u32::try_from(self.nodes.len())?);
                    self.nodes.push(node);
                }
            }
        }
        match self.visits[root] {
            Visit::Done(reference) => Ok(reference),
            Visit::New | Visit::Open => bail!("a tree without an end"),
        }
    }

    /// Where "no" and "yes" lead, as positions in the lists.
    fn children(&self, position: usize) -> TractResult<[usize; 2]> {
        let tree = self.listed.trees[position];
        let (no, yes) = (self.listed.no[position], self.listed.yes[position]);
        Ok([self.position(tree, no)?, self.position(tree, yes)?])
    }

    fn node(&mut self, position: usize) -> TractResult<Node> {
        let listed = self.listed;
        let threshold = listed.values[position];
        ensure!(!threshold.is_nan(), "a threshold that is not a number");
        let feature = u32::try_from(listed.features[position]).ok();
        let feature = feature.filter(|feature| *feature <= FEATURE);
        let Some(feature) = feature else {
            bail!("a feature at {}", listed.features[position]);
        };
        self.features = self.features.max(feature as usize + 1);
        let missing_yes = listed.missing_yes.get(position).is_some_and(|flag| *flag != 0);
        let (mut node, swapped) =
            Node::new(listed.modes[position], feature, threshold, missing_yes)?;
        let mut next = [LEAF; 2];
        for (reference, child) in next.iter_mut().zip(self.children(position)?) {
            *reference = match self.visits[child] {
                Visit::Done(reference) => reference,
                // A child that is on the path again leads back to it.
                Visit::New | Visit::Open => {
                    bail!("tree {} goes round in a circle", listed.trees[position])
                }
            };
        }
        if swapped {
            next.reverse();
        }
        node.next = next;
        Ok(node)
    }
}

impl Leaves {
    fn new(leaves: Vec<Vec<(u32, f32)>>) -> TractResult<Self> {
        if let Some(&[(target, _)]) = leaves.first().map(Vec::as_slice) {
            let weight = |votes: &Vec<(u32, f32)>| match votes[..] {
                [(own, weight)] if own == target => Some(weight),
                _ => None,
            };
            if let Some(weights) = leaves.iter().map(weight).collect() {
                return Ok(Self::One { target: target as usize, weights });
            }
        }
        let mut starts = vec![0];
        let mut votes = Vec::new();
        for own in leaves {
            votes.extend(own);
            starts.push(u32::try_from(votes.len())?);
        }
        Ok(Self::Many { starts, votes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MODES: [&str; 6] =
        ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"];
    const FEATURES: usize = 3;
    const TARGETS: usize = 2;

    /// Nodes and votes as a file has them, with lists of their own.
    #[derive(Clone, Debug, Default)]
    struct Listed {
        trees: Vec<i64>,
        ids: Vec<i64>,
        features: Vec<i64>,
        modes: Vec<&'static str>,
        values: Vec<f32>,
        yes: Vec<i64>,
        no: Vec<i64>,
        missing_yes: Vec<i64>,
        vote_nodes: Vec<(i64, i64)>,
        vote_targets: Vec<i64>,
        vote_weights: Vec<f32>,
    }

    /// What one inner node asks: feature, mode, threshold, and whether a missing value is "yes".
    type Question = (usize, usize, i8, bool);

    /// Node `n` has the children `2n + 1` and `2n + 2`; those after the questions are leaves. Ids
    /// are scattered, so that nothing may take them for positions.
    fn id(node: usize) -> i64 {
        node as i64 * 7 + 3
    }

    impl Listed {
        fn add_tree(&mut self, tree: i64, questions: &[Question], votes: &[(bool, i8)]) {
            for node in 0..=2 * questions.len() {
                let question = questions.get(node);
                let &(feature, mode, threshold, missing) = question.unwrap_or(&(0, 0, 0, false));
                let (yes, no) = match question {
                    Some(_) => (id(2 * node + 1), id(2 * node + 2)),
                    None => (0, 0),
                };
                self.trees.push(tree);
                self.ids.push(id(node));
                self.features.push(feature as i64);
                self.modes.push(question.map_or("LEAF", |_| MODES[mode]));
                self.values.push(f32::from(threshold) / 2.0);
                self.yes.push(yes);
                self.no.push(no);
                self.missing_yes.push(missing.into());
                let (both, weight) = votes[node % votes.len()];
                for target in 0..if both { TARGETS } else { 1 } {
                    self.vote_nodes.push((tree, id(node)));
                    self.vote_targets.push(target as i64);
                    self.vote_weights.push(f32::from(weight) + target as f32);
                }
            }
        }

        fn build(&self, aggregate: Aggregate) -> TractResult<Ensemble> {
            let (trees, nodes): (Vec<i64>, Vec<i64>) = self.vote_nodes.iter().copied().unzip();
            let listed = Nodes {
                trees: &self.trees,
                ids: &self.ids,
                features: &self.features,
                modes: &self.modes,
                values: &self.values,
                yes: &self.yes,
                no: &self.no,
                missing_yes: &self.missing_yes,
            };
            let votes = Votes {
                trees: &trees,
                nodes: &nodes,
                targets: &self.vote_targets,
                weights: &self.vote_weights,
            };
            Ensemble::build(&listed, &votes, TARGETS, aggregate)
        }

        fn place(&self, tree: i64, id: i64) -> usize {
            (0..self.ids.len()).find(|&n| (self.trees[n], self.ids[n]) == (tree, id)).unwrap()
        }

        /// The leaf for a row, found as the specification tells it.
        fn leaf(&self, place: usize, row: &[f32]) -> usize {
            let (value, threshold) = (row[self.features[place] as usize], self.values[place]);
            let yes = match self.modes[place] {
                "BRANCH_LEQ" => value <= threshold,
                "BRANCH_LT" => value < threshold,
                "BRANCH_GTE" => value >= threshold,
                "BRANCH_GT" => value > threshold,
                "BRANCH_EQ" => value == threshold,
                "BRANCH_NEQ" => value != threshold,
                _ => return place,
            };
            let yes = yes || (value.is_nan() && self.missing_yes[place] != 0);
            let next = if yes { self.yes[place] } else { self.no[place] };
            self.leaf(self.place(self.trees[place], next), row)
        }

        fn scores(&self, row: &[f32], aggregate: Aggregate) -> Vec<Score> {
            let mut given = vec![Vec::new(); TARGETS];
            let trees: std::collections::BTreeSet<i64> = self.trees.iter().copied().collect();
            for &tree in &trees {
                let leaf = self.leaf(self.place(tree, id(0)), row);
                for (vote, node) in self.vote_nodes.iter().enumerate() {
                    if *node == (tree, self.ids[leaf]) {
                        given[self.vote_targets[vote] as usize].push(self.vote_weights[vote]);
                    }
                }
            }
            let score = |votes: &Vec<f32>| {
                let sum: f32 = votes.iter().sum();
                let some = |fold: fn(f32, f32) -> f32| votes.iter().copied().reduce(fold);
                let value = match aggregate {
                    Aggregate::Sum => sum,
                    Aggregate::Average => sum / trees.len() as f32,
                    Aggregate::Min => some(f32::min).unwrap_or(0.0),
                    Aggregate::Max => some(f32::max).unwrap_or(0.0),
                };
                Score { value, voted: !votes.is_empty() }
            };
            given.iter().map(score).collect()
        }
    }

    fn question() -> impl Strategy<Value = Question> {
        (0..FEATURES, 0..MODES.len(), -2i8..=2, any::<bool>())
    }

    fn questions(mode: Option<usize>) -> impl Strategy<Value = Vec<Question>> {
        let own = move |(feature, any, threshold, missing)| {
            // In a plain ensemble all ask "at most?", and nothing is said about missing values.
            let missing = missing && mode.is_none();
            (feature, mode.unwrap_or(any), threshold, missing)
        };
        proptest::collection::vec(question().prop_map(own), 0..12)
    }

    fn rows() -> impl Strategy<Value = Vec<f32>> {
        let number = prop_oneof![
            4 => (-3i8..=3).prop_map(|n| f32::from(n) / 2.0),
            1 => Just(f32::NAN),
            1 => Just(f32::INFINITY),
        ];
        proptest::collection::vec(number, FEATURES * 20)
    }

    fn agrees(trees: &[Vec<Question>], votes: &[(bool, i8)], rows: &[f32], aggregate: Aggregate) {
        let mut listed = Listed::default();
        for (tree, questions) in trees.iter().enumerate() {
            listed.add_tree(tree as i64 * 5, questions, votes);
        }
        let found = listed.build(aggregate).unwrap().scores(rows, FEATURES).unwrap();
        for (row, found) in rows.chunks(FEATURES).zip(found.chunks(TARGETS)) {
            assert_eq!(found, listed.scores(row, aggregate), "{row:?}");
        }
        let exact: Vec<f64> = rows.iter().copied().map(f64::from).collect();
        let again = listed.build(aggregate).unwrap().scores(&exact, FEATURES).unwrap();
        assert_eq!(again, found);
    }

    proptest! {
        #[test]
        fn trees_are_walked_as_they_are_written(
            mixed in proptest::collection::vec(questions(None), 1..4),
            plain in proptest::collection::vec(questions(Some(0)), 1..4),
            votes in proptest::collection::vec((any::<bool>(), -4i8..4), 1..5),
            rows in rows(),
            aggregate in 0usize..4,
        ) {
            use Aggregate::{Average, Max, Min, Sum};
            let aggregate = [Sum, Average, Min, Max][aggregate];
            agrees(&mixed, &votes, &rows, aggregate);
            agrees(&plain, &votes, &rows, aggregate);
        }

        #[test]
        fn any_lists_are_refused_or_end(
            yes in proptest::collection::vec(0i64..8, 6),
            no in proptest::collection::vec(0i64..8, 6),
            leaves in proptest::collection::vec(any::<bool>(), 6),
            rows in rows(),
        ) {
            let mode = |leaf: &bool| if *leaf { "LEAF" } else { "BRANCH_LEQ" };
            let listed = Listed {
                trees: vec![0; 6],
                ids: (0..6).collect(),
                features: vec![0; 6],
                modes: leaves.iter().map(mode).collect(),
                values: vec![0.0; 6],
                yes,
                no,
                ..Listed::default()
            };
            if let Ok(ensemble) = listed.build(Aggregate::Sum) {
                ensemble.scores(&rows, FEATURES).unwrap();
            }
        }
    }

    #[test]
    fn a_threshold_parts_doubles_that_are_the_same_float() {
        let mut listed = Listed::default();
        listed.add_tree(0, &[(0, 0, 1, false)], &[(false, 0), (false, 1), (false, 2)]);
        let ensemble = listed.build(Aggregate::Sum).unwrap();
        let scores = ensemble.scores(&[0.5f64, 0.5 + 1e-12], 1).unwrap();
        assert_eq!([scores[0].value, scores[2].value], [1.0, 2.0]);
    }
}
