//! The path of a request, from the name of a model to its answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::traffic::Ticket;
use super::{Service, ensemble};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{FailureReason, LoadCost, RequestCompleted};
use crate::infer::{Computed, InferRequest, InferResponse, RequestContext, Served, Timings};
use crate::model::triton_config::TritonConfig;
use crate::model::{Contract, Examples, ModelId, Selector, Signature};
use crate::registry::{Servable, Work};
use crate::scheduler::{Terms, rows_of};
use crate::tensor::{NamedTensor, Tensor, classes};

/// A version that was looked up once and is pinned: what decodes a request is what computes it.
/// (TensorFlow Serving looks up twice and can type a request with one version and run another.)
#[derive(Clone)]
pub struct Target {
    servable: Arc<Servable>,
    /// There where the model's traffic policy had a choice.
    pub(super) ticket: Option<Box<Ticket>>,
}

impl Service {
    /// Pins the version that a request means.
    pub fn resolve(&self, name: &str, selector: Selector<'_>) -> Result<Target> {
        let table = self.0.table.load();
        Ok(Target::of(Arc::clone(table.resolve(name, selector)?)))
    }
}

impl Target {
    pub(super) fn of(servable: Arc<Servable>) -> Self {
        Self { servable, ticket: None }
    }

    pub fn id(&self) -> &ModelId {
        &self.servable.id
    }

    pub fn signature(&self) -> &Signature {
        &self.servable.signature
    }

    pub fn contract(&self) -> &Contract {
        &self.servable.contract
    }

    pub fn platform(&self) -> &'static str {
        self.servable.platform
    }

    /// The engine's name.
    pub fn backend(&self) -> &'static str {
        self.servable.backend
    }

    /// SHA-256 of the model file, for an engine that has one.
    pub fn digest(&self) -> Option<&str> {
        self.servable.digest.as_deref()
    }

    /// SHA-256 of the files that the model file names for its data, by their names.
    pub fn data_digests(&self) -> &BTreeMap<String, String> {
        &self.servable.data
    }

    /// Size of the model file and of those, for an engine that has one.
    pub fn file_bytes(&self) -> Option<u64> {
        self.servable.digest.as_ref().map(|_| self.servable.file_bytes)
    }

    /// What loading took.
    pub fn load_cost(&self) -> LoadCost {
        self.servable.load
    }

    pub fn description(&self) -> Option<&str> {
        self.servable.description.as_deref()
    }

    /// How the version is served, in Triton's terms.
    pub fn triton_config(&self) -> TritonConfig {
        self.servable.triton_config()
    }

    /// Most rows in one request; 0 where a request is one inference.
    pub fn batch_size_max(&self) -> usize {
        self.servable.batch_size_max()
    }

    pub fn examples(&self) -> Option<&Examples> {
        self.servable.examples.as_ref()
    }

    /// Decodes a request for this version; where its queue is full, refuses it before that.
    pub fn decode<T>(
        &self,
        context: &RequestContext,
        decode: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        self.expect_room(context)?;
        self.decoded(context, decode())
    }

    fn expect_room(&self, context: &RequestContext) -> Result<()> {
        let outcome = match (&self.servable.work, &self.servable.cache) {
            (Work::Queue(scheduler), None) => scheduler.expect_room(),
            // What a cache has needs no room, and an ensemble's steps have queues of their own.
            (Work::Queue(_), Some(_)) | (Work::Ensemble(_), _) => Ok(()),
        };
        outcome.inspect_err(|error| {
            self.failed(context, error);
            if let Some(ticket) = &self.ticket {
                ticket.settle(self.id().name.as_str(), context.received_at.elapsed(), true);
            }
            self.record(context, 0, None);
        })
    }

    /// Counts a request that a door could not decode for this version, and passes the outcome on.
    pub fn decoded<T>(&self, context: &RequestContext, outcome: Result<T>) -> Result<T> {
        outcome.inspect_err(|_| {
            self.servable.sink.request_invalid();
            self.record(context, 0, None);
        })
    }

    /// Checks a request against the signature, queues it, and waits for its answer.
    pub async fn infer(
        &self,
        context: &RequestContext,
        request: InferRequest,
    ) -> Result<InferResponse> {
        let servable = &self.servable;
        let signature = &servable.signature;
        let model = servable.id.name.as_str();
        let selected = self.decoded(context, signature.select(model, &request.outputs))?;
        let classes = request.classes;
        let inputs = self.decoded(context, signature.arrange(model, request.inputs))?;
        let rows = rows_of(model, servable.batch_size_max(), &inputs);
        let rows = self.decoded(context, rows)?;
        let terms = Terms {
            received_at: context.received_at,
            deadline: context.deadline,
            priority: request.priority,
            timeout: request.timeout,
            span: context.span,
        };
        let call = Call { context, terms, depth: 0 };
        let outcome = match &self.ticket {
            None => self.answer(call, rows, inputs).await,
            // What few requests go through is boxed, here and below: all would carry room for it.
            Some(ticket) => Box::pin(self.answer_routed(ticket, call, rows, inputs)).await,
        };
        self.record(context, rows, outcome.as_ref().ok());
        let computed = outcome?;
        let timings = computed.timings;
        let mut outputs = choose(signature, computed.outputs, &selected)?;
        for (output, &count) in outputs.iter_mut().zip(&classes).filter(|(_, count)| **count > 0) {
            self.classify(output, count)?;
        }
        Ok(InferResponse { outputs, timings })
    }

    /// Puts an output's highest classes in its place.
    fn classify(&self, output: &mut NamedTensor, count: usize) -> Result<()> {
        let entries = &self.servable.manifest.outputs;
        let entry = entries.iter().find(|entry| entry.name == output.name);
        let labels = entry.map_or(&[][..], |entry| &entry.labels);
        let batched = self.servable.batch_size_max() > 0;
        output.tensor = classes::top(&output.tensor, count, labels, batched)?;
        Ok(())
    }

    /// Computes, or finds an answer that was kept, and counts the outcome. The inputs are in the
    /// signature's order.
    pub(super) async fn answer(
        &self,
        call: Call<'_>,
        rows: usize,
        inputs: Vec<Tensor>,
    ) -> Result<Computed> {
        let servable = &self.servable;
        let received_at = call.context.received_at;
        let guard = Guard { target: self, received_at, answered: false };
        let asked = servable.watch.as_ref().map(|_| inputs.clone());
        let (outcome, computed) = match &servable.cache {
            None => (self.compute(call, inputs).await, true),
            Some(cache) => {
                let compute = self.compute(call, inputs.clone());
                match Box::pin(cache.answer(&inputs, call.terms.deadline, compute)).await {
                    Ok((answer, looked)) => {
                        servable.sink.cache_looked_up(looked);
                        (Ok(answer), !looked.hit)
                    }
                    Err(error) => (Err(error), true),
                }
            }
        };
        guard.disarm();
        let answer = outcome.inspect_err(|error| self.failed(call.context, error))?;
        let (total, timings) = (received_at.elapsed(), answer.timings);
        servable.sink.request_completed(RequestCompleted { rows, total, timings, computed });
        if let Some((watch, inputs)) = servable.watch.as_ref().zip(asked) {
            watch.answered(&inputs, &answer.outputs);
        }
        if let Some(ledger) = &servable.ledger {
            ledger.answered(&call.context.id, &answer.outputs);
        }
        Ok(answer)
    }

    async fn answer_routed(
        &self,
        ticket: &Ticket,
        call: Call<'_>,
        rows: usize,
        inputs: Vec<Tensor>,
    ) -> Result<Computed> {
        let copy = ticket.mirrors().then(|| inputs.clone());
        let outcome = self.answer(call, rows, inputs).await;
        // Requests that do not fit the signature never come here: what fails, fails in the engine
        // or its queue.
        let failed = outcome.is_err();
        ticket.settle(self.id().name.as_str(), call.context.received_at.elapsed(), failed);
        if let (Ok(answer), Some(copy)) = (&outcome, copy) {
            ticket.mirror(self, copy, answer);
        }
        outcome
    }

    pub(super) async fn compute(&self, call: Call<'_>, inputs: Vec<Tensor>) -> Result<Computed> {
        match &self.servable.work {
            Work::Queue(scheduler) => scheduler.submit(inputs, call.terms)?.wait().await,
            // An ensemble may be a step of another, too.
            Work::Ensemble(assembly) => Box::pin(ensemble::run(assembly, call, inputs)).await,
        }
    }

    fn failed(&self, context: &RequestContext, error: &Error) {
        let reason = match error.kind() {
            ErrorKind::DeadlineExceeded | ErrorKind::Overloaded | ErrorKind::NotReady => {
                FailureReason::Rejected
            }
            ErrorKind::Cancelled => FailureReason::Canceled,
            ErrorKind::Internal | ErrorKind::InvalidInput => FailureReason::Backend,
            _ => FailureReason::Other,
        };
        self.servable.sink.request_failed(reason, context.received_at.elapsed());
        if let Some(detail) = error.detail() {
            tracing::warn!(request_id = %context.id, model = %self.id(), %error, detail, "failed");
        }
    }

    fn record(&self, context: &RequestContext, rows: usize, computed: Option<&Computed>) {
        let served = Served {
            model: self.id().clone(),
            rows,
            batch_rows: computed.map_or(0, |computed| computed.batch_rows),
            timings: computed.map_or_else(Timings::default, |computed| computed.timings),
            // None, and nothing is copied, where no spans are recorded.
            runs: computed.map_or_else(Vec::new, |computed| computed.runs.clone()),
        };
        // A context belongs to one request; a second record would be of the same one.
        let _ = context.record.set(served);
    }
}

/// What a request carries down to the models that compute for it.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub context: &'a RequestContext,
    pub terms: Terms,
    /// How many ensembles it has come through.
    pub depth: usize,
}

/// The asked outputs in the asked order.
fn choose(
    signature: &Signature,
    outputs: Vec<Tensor>,
    selected: &[usize],
) -> Result<Vec<NamedTensor>> {
    let mut outputs: Vec<Option<_>> = outputs.into_iter().map(Some).collect();
    selected
        .iter()
        .map(|&index| {
            let tensor = outputs.get_mut(index).and_then(Option::take);
            let spec = signature.outputs.get(index);
            match (tensor, spec) {
                (Some(tensor), Some(spec)) => Ok(NamedTensor { name: spec.name.clone(), tensor }),
                _ => Err(Error::internal("the model answered with fewer outputs than it declares")),
            }
        })
        .collect()
}

/// Notices that the caller left: the waiting future was dropped before it had an answer.
struct Guard<'a> {
    target: &'a Target,
    received_at: Instant,
    answered: bool,
}

impl Guard<'_> {
    fn disarm(mut self) {
        self.answered = true;
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if !self.answered {
            let total = self.received_at.elapsed();
            self.target.servable.sink.request_failed(FailureReason::Canceled, total);
        }
    }
}
