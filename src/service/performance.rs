//! Answers held against what became true: taking labels, and the report on one version.

use std::sync::Arc;
use std::time::Instant;

use super::Service;
use crate::error::{Error, Result, Violation};
use crate::model::{ModelId, Selector};
use crate::observe::metrics::Metrics;
pub use crate::observe::performance::{CASES_MIN, Feedback, Label, Report, Subgroup, Summary};
use crate::observe::performance::{Fault, Joined, Ledger};

/// Labels in one call.
pub const LABELS_MAX: usize = 1000;

/// What became of the labels of one call.
#[derive(Clone, Debug, Default)]
pub struct FeedbackReport {
    pub joined: u64,
    /// Their answers had a label before, which stands.
    pub already: u64,
    /// No such answer, or not any more.
    pub unknown: u64,
    /// Every label that could not be joined, those included.
    pub invalid: Vec<Violation>,
}

impl Service {
    /// How a version does; `None` where its answers are not remembered.
    pub fn performance(
        &self,
        model: &str,
        selector: Selector<'_>,
    ) -> Result<(ModelId, Option<Report>)> {
        let id = self.resolve(model, selector)?.id().clone();
        let report = self.0.statistics.performance.of(&id);
        Ok((id, report.map(|ledger| ledger.report(Instant::now()))))
    }

    /// Joins labels with the answers that they are for. Without a version in the selector, any
    /// version of the model may have given them. Fails if not one label could be joined or had been
    /// before.
    pub fn feedback(
        &self,
        model: &str,
        selector: Selector<'_>,
        labels: &[Feedback],
    ) -> Result<FeedbackReport> {
        let id = self.resolve(model, selector)?.id().clone();
        let own = self.0.statistics.performance.of(&id);
        let ledgers = match selector {
            Selector::Latest => self.0.statistics.performance.of_model(model),
            _ => own.clone().into_iter().collect(),
        };
        // Whose fault it is where nobody knows the answer.
        let usual = own.or_else(|| ledgers.last().cloned()).ok_or_else(|| undeclared(&id))?;
        if !(1..=LABELS_MAX).contains(&labels.len()) {
            let given = labels.len();
            let text = format!("labels: expected 1 to {LABELS_MAX} in a call, got {given}");
            return Err(Error::invalid(text));
        }
        let now = Instant::now();
        let mut report = FeedbackReport::default();
        for (place, label) in labels.iter().enumerate() {
            let knows = |ledger: &&Arc<Ledger>| ledger.knows(label);
            let ledger = ledgers.iter().rev().find(knows).unwrap_or(&usual);
            let outcome = ledger.join(label, now);
            let fault = match outcome {
                Ok(Joined::Now) => {
                    report.joined += 1;
                    continue;
                }
                Ok(Joined::Before) => {
                    report.already += 1;
                    continue;
                }
                Ok(Joined::Unknown) => {
                    report.unknown += 1;
                    Fault {
                        pointer: "/prediction_id".to_owned(),
                        code: "unknown",
                        message: "no such row of an answer is remembered, or not any more".into(),
                    }
                }
                Err(fault) => fault,
            };
            let Fault { pointer, code, message } = fault;
            let pointer = format!("/labels/{place}{pointer}");
            report.invalid.push(Violation { pointer, code, message });
        }
        if report.invalid.len() < labels.len() {
            return Ok(report);
        }
        let first = report.invalid.first().map(|v| format!("{}: {}", v.pointer, v.message));
        let text = format!("no label could be joined: {}", first.unwrap_or_default());
        Err(Error::invalid(text).with_violations(report.invalid))
    }

    /// Tells the metrics how every version does. It takes a sort of its labelled answers. What is
    /// given back does not keep the service, and so not the registry, alive.
    pub fn publisher(&self, metrics: Arc<Metrics>) -> impl Fn() + Send + Sync + use<> {
        let statistics = Arc::clone(&self.0.statistics);
        move || statistics.performance.publish(&metrics)
    }
}

fn undeclared(id: &ModelId) -> Error {
    let text = format!("the answers of model '{id}' are not remembered: it has no [performance]");
    Error::not_found(text)
}
