//! What is said of a benchmark: `galen.bench/1`, the same for every release that says so. Times are
//! microseconds, shares 0 to 1; what was not measured is null.

use serde::Serialize;

use super::door::Door;
use super::drive::{Load, Outcome, Pace};
use super::histogram::Histogram;
use super::request::Source;
use super::schedule::Arrivals;
use super::statistics::Served;

pub const SCHEMA: &str = "galen.bench/1";

/// All loads of one command.
#[derive(Debug, Serialize)]
pub struct Report {
    pub schema: &'static str,
    /// MODEL or MODEL/VERSION, as it was asked for.
    pub model: String,
    /// The server's name and version, as it calls itself.
    pub server: String,
    pub runs: Vec<Run>,
}

/// One load on one door.
#[derive(Debug, Serialize)]
pub struct Run {
    pub door: &'static str,
    /// `closed` or `open`.
    #[serde(rename = "loop")]
    pub kind: &'static str,
    /// Of a closed loop.
    pub callers: Option<usize>,
    /// Of an open loop: requests per second that were due.
    pub rate: Option<f64>,
    /// And how: `constant` or `poisson`.
    pub arrivals: Option<&'static str>,
    /// Where the request comes from: `file`, `example` or `made up`.
    pub request: &'static str,
    pub request_bytes: usize,
    /// The measured time.
    pub seconds: f64,
    /// Requests that were due in it. They succeeded, failed, or were dropped.
    pub requests: u64,
    pub succeeded: u64,
    pub failed: u64,
    /// Not sent, since too many were in flight.
    pub dropped: u64,
    /// Good answers per second.
    pub per_second: f64,
    /// Of those that succeeded, from when they were due.
    pub latency_us: Option<Latency>,
    /// Failures by status, HTTP's or gRPC's.
    pub errors: Vec<Errors>,
    /// After which time a refusal for too much work came (429), in the median.
    pub refused_after_us: Option<f64>,
    /// Of an open loop: how late the generator itself was. It is part of the latency.
    pub late_us: Option<Late>,
    /// The server's processor time per answer.
    pub cpu_us: Option<f64>,
    /// What the server says of the requests since the warm-up began, whoever sent them.
    pub served: Option<Served>,
}

#[derive(Debug, Serialize)]
pub struct Latency {
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p99_9: f64,
    pub max: f64,
}

#[derive(Debug, Serialize)]
pub struct Late {
    pub p50: f64,
    pub p99: f64,
}

#[derive(Debug, Serialize)]
pub struct Errors {
    pub status: String,
    pub count: u64,
    /// What the server said to the first of them, shortened.
    pub first: String,
}

impl Latency {
    fn of(times: &Histogram) -> Option<Self> {
        Some(Self {
            mean: tenths(times.mean_us()?),
            p50: tenths(times.quantile_us(0.5)?),
            p90: tenths(times.quantile_us(0.9)?),
            p99: tenths(times.quantile_us(0.99)?),
            p99_9: tenths(times.quantile_us(0.999)?),
            max: tenths(times.max_us()?),
        })
    }
}

/// More digits would say nothing.
fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

impl Run {
    pub fn new(door: Door, source: Source, bytes: usize, load: &Load, outcome: &Outcome) -> Self {
        let tally = &outcome.tally;
        let (kind, callers, rate, arrivals) = match load.pace {
            Pace::Closed { callers } => ("closed", Some(callers), None, None),
            Pace::Open { rate, arrivals, .. } => {
                let arrivals = match arrivals {
                    Arrivals::Constant => "constant",
                    Arrivals::Poisson => "poisson",
                };
                ("open", None, Some(rate), Some(arrivals))
            }
        };
        let errors = tally.failed.iter().map(|(status, failed)| Errors {
            status: status.to_string(),
            count: failed.count,
            first: failed.text.clone(),
        });
        let late = tally.late.quantile_us(0.5).zip(tally.late.quantile_us(0.99));
        Self {
            door: door.name(),
            kind,
            callers,
            rate,
            arrivals,
            request: source.name(),
            request_bytes: bytes,
            seconds: outcome.took.as_secs_f64(),
            requests: tally.due(),
            succeeded: tally.latency.count(),
            failed: tally.failures(),
            dropped: tally.dropped,
            per_second: tenths(outcome.per_second()),
            latency_us: Latency::of(&tally.latency),
            errors: errors.collect(),
            refused_after_us: tally.refused.quantile_us(0.5).map(tenths),
            late_us: late.map(|(p50, p99)| Late { p50: tenths(p50), p99: tenths(p99) }),
            cpu_us: outcome.cpu_us().map(tenths),
            served: outcome.served,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::answer::{Failure, Status};
    use crate::bench::tally::Tally;
    use std::time::Duration;

    #[test]
    fn the_document_keeps_its_shape() {
        let mut tally = Tally::default();
        tally.record(Duration::from_micros(100), &Ok(()));
        tally.arrived(&Ok(()));
        tally.record(Duration::from_micros(50), &Err(Failure::new(Status::Grpc(8), "full")));
        tally.dropped = 3;
        let took = Duration::from_secs(2);
        let cpu = Some(Duration::from_micros(40));
        let outcome = Outcome { tally, took, cpu, served: None };
        let pace = Pace::Open { rate: 3.0, arrivals: Arrivals::Poisson, in_flight_max: 1 };
        let zero = Duration::ZERO;
        let load =
            Load { pace, warm_up: zero, duration: took, requests: None, grace: zero, pid: None };
        let run = Run::new(Door::Grpc, Source::Example, 7, &load, &outcome);
        let report =
            Report { schema: SCHEMA, model: "m/1".into(), server: "s 1".into(), runs: vec![run] };
        let wanted = serde_json::json!({
            "schema": "galen.bench/1", "model": "m/1", "server": "s 1",
            "runs": [{
                "door": "grpc", "loop": "open", "callers": null, "rate": 3.0,
                "arrivals": "poisson", "request": "example", "request_bytes": 7, "seconds": 2.0,
                "requests": 5, "succeeded": 1, "failed": 1, "dropped": 3, "per_second": 0.5,
                "latency_us": {"mean": 100.0, "p50": 100.0, "p90": 100.0, "p99": 100.0,
                    "p99_9": 100.0, "max": 100.0},
                "errors": [{"status": "RESOURCE_EXHAUSTED", "count": 1, "first": "full"}],
                "refused_after_us": 50.0, "late_us": null, "cpu_us": 40.0, "served": null,
            }]
        });
        let mut given = serde_json::to_value(&report).unwrap();
        for time in ["p50", "p90", "p99", "p99_9"] {
            // A percentile lies somewhere in its bucket.
            let value = &mut given["runs"][0]["latency_us"][time];
            assert!((value.as_f64().unwrap() - 100.0).abs() < 1.0, "{time}: {value}");
            *value = 100.0.into();
        }
        let refused = &mut given["runs"][0]["refused_after_us"];
        assert!((refused.as_f64().unwrap() - 50.0).abs() < 0.5, "{refused}");
        *refused = 50.0.into();
        assert_eq!(given, wanted);
    }
}
