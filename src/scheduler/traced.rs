//! What a batch's span is to tell: which of its requests have spans that are recorded. Nothing, and
//! nothing is allocated, where none has. No clock, no channel.

use std::time::Instant;

use crate::event::BatchTraced;
use crate::infer::{Run, SpanId, Timings};

/// Requests that a batch's span names; of a larger batch, the first.
const MEMBERS_MAX: usize = 128;

/// A batch with at least one such request.
pub struct Traced {
    span: SpanId,
    begun: Instant,
    requests: usize,
    members: Vec<SpanId>,
    members_left_out: usize,
}

impl Traced {
    /// Of the requests of a batch, each with its span or none.
    pub fn of(
        requests: impl ExactSizeIterator<Item = Option<SpanId>> + Clone,
        begun: Instant,
    ) -> Option<Self> {
        let count = requests.len();
        let recorded = requests.flatten();
        recorded.clone().next()?;
        let members: Vec<SpanId> = recorded.clone().take(MEMBERS_MAX).collect();
        let members_left_out = recorded.count() - members.len();
        Some(Self { span: SpanId::root(), begun, requests: count, members, members_left_out })
    }

    /// To be told once.
    pub fn told(&mut self, rows: usize, timings: Timings, failed: bool) -> BatchTraced {
        BatchTraced {
            span: self.span,
            begun: self.begun,
            timings,
            rows,
            requests: self.requests,
            members: std::mem::take(&mut self.members),
            members_left_out: self.members_left_out,
            failed,
        }
    }

    /// The run as one of its requests had it: told to those whose spans are recorded.
    pub fn run(traced: Option<&Self>, span: Option<SpanId>, timings: Timings) -> Vec<Run> {
        let run = traced.zip(span).map(|(traced, _)| Run {
            batch: traced.span,
            begun: traced.begun,
            timings,
            step: None,
        });
        run.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(span_id: u64) -> SpanId {
        SpanId { trace_id: 1, span_id }
    }

    #[test]
    fn a_batch_without_recorded_requests_tells_nothing() {
        let now = Instant::now();
        assert!(Traced::of([None, None].into_iter(), now).is_none());
        assert!(Traced::run(None, Some(span(1)), Timings::default()).is_empty());
    }

    #[test]
    fn those_that_are_recorded_are_named_up_to_a_limit() {
        let now = Instant::now();
        let spans = (0..300).map(|id| (id % 2 == 1).then(|| span(id)));
        let mut traced = Traced::of(spans.collect::<Vec<_>>().into_iter(), now).unwrap();
        let told = traced.told(300, Timings::default(), false);
        assert_eq!((told.requests, told.rows, told.begun), (300, 300, now));
        assert_eq!((told.members.len(), told.members_left_out), (MEMBERS_MAX, 22));
        assert_eq!((told.members[0], told.members[1]), (span(1), span(3)));
        let runs = Traced::run(Some(&traced), Some(span(1)), Timings::default());
        assert_eq!((runs.len(), runs[0].batch), (1, told.span));
        assert!(Traced::run(Some(&traced), None, Timings::default()).is_empty());
    }
}
