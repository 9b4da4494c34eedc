//! What is declared of a model so that its answers can be held against what became true: which
//! output, which class is the positive one, at which threshold, and which subgroups labels may
//! name. Data and decisions; pure.

use serde::Deserialize;

use super::contract::{Answer, Contract};
use super::signature::Signature;
use crate::error::{Error, Result, quoted};
use crate::tensor::Tensor;

/// Limits of the declaration.
pub const KEEP_MAX: usize = 1_000_000;
/// Two years.
pub const KEEP_SECONDS_MAX: u64 = 63_072_000;
pub const GROUPS_MAX: usize = 8;
pub const NAME_CHARS_MAX: usize = 64;

/// A probability is taken as one if it is so little beyond 0 or 1: what single precision leaves.
const ROUNDING: f64 = 1e-6;

/// `[performance]` of `model.toml`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Performance {
    /// Name of the output, its own or that of the typed API.
    pub output: String,
    /// Label of the positive class; none for an output that is a quantity.
    pub positive: Option<String>,
    /// Label of the other class, for an output that is one probability without labels.
    pub negative: Option<String>,
    /// From this score on, the positive class is called.
    #[serde(default = "threshold")]
    pub threshold: f64,
    /// Answers that are remembered while they wait for their label.
    #[serde(default = "keep")]
    pub keep: usize,
    /// How long they are.
    #[serde(default = "keep_seconds")]
    pub keep_seconds: u64,
    /// Names of the subgroups that a label may come with.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Figures that an alert guards.
    #[serde(default)]
    pub at_least: AtLeast,
}

/// What figures ought to be, 0 to 1: those that come with an interval, so that chance is no alert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AtLeast {
    pub sensitivity: Option<f64>,
    pub specificity: Option<f64>,
    pub ppv: Option<f64>,
    pub npv: Option<f64>,
}

impl AtLeast {
    /// By their names.
    pub fn each(&self) -> [(&'static str, Option<f64>); 4] {
        [
            ("sensitivity", self.sensitivity),
            ("specificity", self.specificity),
            ("ppv", self.ppv),
            ("npv", self.npv),
        ]
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn threshold() -> f64 {
    0.5
}

fn keep() -> usize {
    100_000
}

fn keep_seconds() -> u64 {
    604_800
}

impl Performance {
    pub(super) fn validate(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::invalid(format!("performance.{message}")));
        if !(0.0..=1.0).contains(&self.threshold) {
            return wrong("threshold: expected 0 to 1".into());
        }
        if !(1..=KEEP_MAX).contains(&self.keep) {
            return wrong(format!("keep: expected 1 to {KEEP_MAX}"));
        }
        if !(1..=KEEP_SECONDS_MAX).contains(&self.keep_seconds) {
            return wrong(format!("keep_seconds: expected 1 to {KEEP_SECONDS_MAX}"));
        }
        if self.groups.len() > GROUPS_MAX {
            return wrong(format!("groups: expected {GROUPS_MAX} names or fewer"));
        }
        for (place, name) in self.groups.iter().enumerate() {
            if !(1..=NAME_CHARS_MAX).contains(&name.chars().count()) {
                return wrong(format!("groups: a name has 1 to {NAME_CHARS_MAX} characters"));
            }
            if self.groups.iter().take(place).any(|other| other == name) {
                return wrong(format!("groups: '{}' stands there twice", quoted(name)));
            }
        }
        for (name, least) in self.at_least.each() {
            if least.is_some_and(|least| !(0.0..=1.0).contains(&least)) {
                return wrong(format!("at_least.{name}: expected 0 to 1"));
            }
        }
        if self.negative.is_some() && self.negative == self.positive {
            return wrong("negative: expected another label than that of positive".into());
        }
        Ok(())
    }

    /// The declaration, held against what the version answers.
    pub fn resolve(&self, signature: &Signature, contract: &Contract) -> Result<Outcome> {
        let wrong = |message: String| Err(Error::invalid(format!("performance.{message}")));
        let is = |answer: &&Answer| {
            let own = signature.outputs.get(answer.output).map(|spec| spec.name.as_str());
            answer.name == self.output || own == Some(self.output.as_str())
        };
        let Some(answer) = contract.answers.iter().find(is) else {
            let names: Vec<&str> = contract.answers.iter().map(|a| a.name.as_str()).collect();
            let (name, names) = (quoted(&self.output), names.join(", "));
            return wrong(format!("output: there is no output '{name}'; there are {names}"));
        };
        let is_float = answer.dtype.is_float();
        let positive = |labels: &[String]| {
            let wanted = self.positive.as_deref();
            labels.iter().position(|label| Some(label.as_str()) == wanted).ok_or_else(|| {
                let name = &answer.name;
                Error::invalid(format!("performance.positive: expected a label of '{name}'"))
            })
        };
        let labels = answer.labels.clone();
        if !labels.is_empty() && self.negative.is_some() {
            return wrong(format!("negative: '{}' has labels of its own", answer.name));
        }
        let truth = if !labels.is_empty() && answer.labels_name_entries() && is_float {
            let positive = positive(&labels)?;
            Truth::Class { labels, positive, read: Read::Entry }
        } else if !labels.is_empty() && answer.is_scalar() {
            let positive = positive(&labels)?;
            Truth::Class { labels, positive, read: Read::Index }
        } else if labels.is_empty() && answer.is_scalar() && is_float {
            match (&self.positive, &self.negative) {
                (Some(yes), Some(no)) => Truth::Class {
                    labels: vec![no.clone(), yes.clone()],
                    positive: 1,
                    read: Read::Value,
                },
                (None, None) => Truth::Quantity,
                _ => {
                    return wrong(format!(
                        "positive: '{}' has no labels: expected both positive and negative for a \
                         probability, neither for a quantity",
                        answer.name
                    ));
                }
            }
        } else {
            return wrong(format!(
                "output: '{}' is neither a row of probabilities with labels, nor a class with \
                 labels, nor one number a record",
                answer.name
            ));
        };
        if truth == Truth::Quantity && !self.at_least.is_empty() {
            return wrong("at_least: a quantity has no such figures".into());
        }
        Ok(Outcome {
            output: answer.output,
            batched: contract.batched,
            truth,
            threshold: self.threshold,
            keep: self.keep,
            keep_seconds: self.keep_seconds,
            groups: self.groups.clone(),
            at_least: self.at_least,
        })
    }
}

/// A declaration that fits its version.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Position in the signature.
    output: usize,
    batched: bool,
    pub truth: Truth,
    pub threshold: f64,
    pub keep: usize,
    pub keep_seconds: u64,
    pub groups: Vec<String>,
    pub at_least: AtLeast,
}

/// What becomes true.
#[derive(Clone, Debug, PartialEq)]
pub enum Truth {
    /// One of these classes; the score is the probability of the positive one, or 1 and 0 where the
    /// output is a class.
    Class { labels: Vec<String>, positive: usize, read: Read },
    /// A number; the score is the one that was predicted.
    Quantity,
}

/// Where a score stands in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The positive class's entry of a row.
    Entry,
    /// The value itself.
    Value,
    /// Whether the value is the positive class.
    Index,
}

impl Outcome {
    /// Position of the output in the signature.
    pub fn output(&self) -> usize {
        self.output
    }

    /// Whether scores are probabilities, and not calls or quantities.
    pub fn is_probability(&self) -> bool {
        matches!(self.truth, Truth::Class { read: Read::Entry | Read::Value, .. })
    }

    /// One score a row of an answer, in the signature's order; `None` for a row that has none: no
    /// probability, not finite. Nothing where the answer is not of the form that was declared.
    pub fn scores(&self, outputs: &[Tensor]) -> Vec<Option<f64>> {
        let Some(tensor) = outputs.get(self.output) else { return Vec::new() };
        let rows = if self.batched { tensor.rows() } else { 1 };
        let Some(values) = tensor.to_f64s().filter(|values| rows > 0 && !values.is_empty()) else {
            return Vec::new();
        };
        let score = |row: &[f64]| match &self.truth {
            Truth::Quantity => row.first().copied().filter(|value| value.is_finite()),
            Truth::Class { positive, read: Read::Index, .. } => {
                row.first().map(|class| f64::from(u8::from(*class == *positive as f64)))
            }
            Truth::Class { positive, read, .. } => {
                let place = if *read == Read::Entry { *positive } else { 0 };
                let score = row.get(place).copied();
                let is_close = |score: &f64| (-ROUNDING..=1.0 + ROUNDING).contains(score);
                score.filter(is_close).map(|score| score.clamp(0.0, 1.0))
            }
        };
        values.chunks(values.len().div_ceil(rows)).map(score).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Manifest, TensorSpec};
    use crate::tensor::{DType, Shape, shared};

    const OUTPUTS: &str = "[[outputs]]\nname = \"c\"\nas = \"diagnosis\"\nlabels = [\"b\", \"m\"]\n\
                           [[outputs]]\nname = \"p\"\nlabels = [\"b\", \"m\"]\n";

    fn resolve(text: &str) -> Result<Outcome> {
        let spec = TensorSpec::of;
        let signature = Signature {
            inputs: vec![spec("x", DType::F32, &[-1, 2])],
            outputs: vec![
                spec("c", DType::I64, &[-1]),
                spec("p", DType::F32, &[-1, 2]),
                spec("y", DType::F64, &[-1, 1]),
            ],
        };
        let manifest = Manifest::parse(&format!("{OUTPUTS}[performance]\n{text}"))?;
        let contract = Contract::derive(&signature, &manifest, true, 8)?;
        manifest.performance.unwrap().resolve(&signature, &contract)
    }

    fn answer() -> Vec<Tensor> {
        let shape = |dims: &[usize]| Shape::new(dims.iter().copied());
        let p = shared(vec![0.25f32, 0.75, 1.0, 1e-9, f32::NAN, 0.5, 0.0, 1.5]);
        vec![
            Tensor::new("c", DType::I64, shape(&[4]), shared(vec![1i64, 0, 1, 7])).unwrap(),
            Tensor::new("p", DType::F32, shape(&[4, 2]), p).unwrap(),
            Tensor::new("y", DType::F64, shape(&[4, 1]), shared(vec![0.1, f64::NAN, 0.3, -4.0]))
                .unwrap(),
        ]
    }

    #[test]
    fn scores_are_read_from_rows_classes_and_numbers() {
        for (text, expected) in [
            ("output = \"p\"\npositive = \"b\"", vec![Some(0.25), Some(1.0), None, Some(0.0)]),
            (
                "output = \"diagnosis\"\npositive = \"m\"",
                vec![Some(1.0), Some(0.0), Some(1.0), Some(0.0)],
            ),
            ("output = \"y\"", vec![Some(0.1), None, Some(0.3), Some(-4.0)]),
            (
                "output = \"y\"\npositive = \"m\"\nnegative = \"b\"",
                vec![Some(0.1), None, Some(0.3), None],
            ),
        ] {
            assert_eq!(resolve(text).unwrap().scores(&answer()), expected, "{text}");
        }
        assert!(resolve("output = \"p\"\npositive = \"b\"").unwrap().scores(&[]).is_empty());
    }

    #[test]
    fn what_does_not_fit_is_refused_by_its_key() {
        for (text, key) in [
            ("output = \"q\"", "output: there is no output 'q'; there are diagnosis, p, y"),
            ("output = \"p\"", "positive: expected a label of 'p'"),
            ("output = \"p\"\npositive = \"x\"", "positive: expected a label of 'p'"),
            ("output = \"p\"\npositive = \"b\"\nnegative = \"m\"", "negative: 'p' has labels"),
            ("output = \"y\"\npositive = \"b\"", "positive: 'y' has no labels"),
            ("output = \"y\"\npositive = \"b\"\nnegative = \"b\"", "negative: expected another"),
            ("output = \"y\"\nthreshold = 1.5", "threshold: expected 0 to 1"),
            ("output = \"y\"\nthreshold = nan", "threshold: expected 0 to 1"),
            ("output = \"y\"\nkeep = 0", "keep: expected 1 to 1000000"),
            ("output = \"y\"\nkeep = 1000001", "keep: expected 1 to 1000000"),
            ("output = \"y\"\nkeep_seconds = 0", "keep_seconds: expected 1 to 63072000"),
            ("output = \"y\"\nat_least = { ppv = 1.1 }", "at_least.ppv: expected 0 to 1"),
            ("output = \"y\"\nat_least = { ppv = 0.9 }", "at_least: a quantity has no"),
            ("output = \"y\"\ngroups = [\"a\", \"a\"]", "groups: 'a' stands there twice"),
            ("output = \"y\"\ngroups = [\"\"]", "groups: a name has 1 to 64 characters"),
            (
                "output = \"y\"\ngroups = [\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\"]",
                "groups: expected 8 names or fewer",
            ),
        ] {
            let error = resolve(text).unwrap_err();
            let expected = format!("performance.{key}");
            assert!(error.message().contains(&expected), "{text}: {error}");
        }
    }
}
