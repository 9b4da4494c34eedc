//! What the server counts itself (`/v2/models/{model}/stats`, Triton's statistics), before and
//! after a run: how requests were batched, and where their time went. Pure.

use serde::{Deserialize, Serialize};

/// Sums over the versions that the body lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    requests: u64,
    rows: u64,
    batches: u64,
    cached: u64,
    request_ns: u64,
    queue_ns: u64,
    compute_ns: u64,
}

#[derive(Deserialize)]
struct Body {
    model_stats: Vec<Version>,
}

#[derive(Deserialize)]
struct Version {
    inference_count: u64,
    execution_count: u64,
    inference_stats: Phases,
}

#[derive(Deserialize)]
struct Phases {
    success: Sum,
    queue: Sum,
    compute_input: Sum,
    compute_infer: Sum,
    compute_output: Sum,
    #[serde(default)]
    cache_hit: Sum,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Sum {
    count: u64,
    ns: u64,
}

impl Statistics {
    /// `None` where the server has no such statistics.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let body: Body = serde_json::from_slice(body).ok()?;
        let mut all = Self::default();
        for version in body.model_stats {
            let phases = version.inference_stats;
            all.requests += phases.success.count;
            all.rows += version.inference_count;
            all.batches += version.execution_count;
            all.cached += phases.cache_hit.count;
            all.request_ns += phases.success.ns;
            all.queue_ns += phases.queue.ns;
            all.compute_ns +=
                phases.compute_input.ns + phases.compute_infer.ns + phases.compute_output.ns;
        }
        Some(all)
    }

    /// What has come since `before`; `None` where nothing was answered, or the server has
    /// forgotten what was.
    pub fn since(self, before: Self) -> Option<Served> {
        let requests = self.requests.checked_sub(before.requests).filter(|&count| count > 0)?;
        let batches = self.batches.checked_sub(before.batches)?;
        let rows = self.rows.checked_sub(before.rows)?;
        let cached = self.cached.checked_sub(before.cached)?;
        let request_ns = self.request_ns.checked_sub(before.request_ns)? as f64;
        let share = |ns: u64| if request_ns > 0.0 { ns as f64 / request_ns } else { 0.0 };
        // Answers that were kept ran in no batch.
        let per_batch = |count: u64| (batches > 0).then(|| count as f64 / batches as f64);
        Some(Served {
            requests,
            requests_per_batch: per_batch(requests.saturating_sub(cached)),
            rows_per_batch: per_batch(rows),
            request_us: request_ns / 1e3 / requests as f64,
            queue_share: share(self.queue_ns.checked_sub(before.queue_ns)?),
            compute_share: share(self.compute_ns.checked_sub(before.compute_ns)?),
            cached_share: cached as f64 / requests as f64,
        })
    }
}

/// What the server says of the requests it answered since the warm-up began, whoever sent them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Served {
    pub requests: u64,
    /// Requests that shared an engine call, in the mean; null where there was none.
    pub requests_per_batch: Option<f64>,
    /// Their rows.
    pub rows_per_batch: Option<f64>,
    /// Mean time from the first byte at the door to the answer.
    pub request_us: f64,
    /// Of that time, how much was waiting for a batch, 0 to 1.
    pub queue_share: f64,
    /// And how much was joining, computing and parting one; what is left is the door's.
    pub compute_share: f64,
    /// Requests that were answered with a kept answer, 0 to 1.
    pub cached_share: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(requests: u64, ns: u64) -> String {
        let sum = |count: u64, ns: u64| format!(r#"{{"count": {count}, "ns": {ns}}}"#);
        let [request, queue, compute] = [ns, ns / 2, ns / 10].map(|ns| sum(requests, ns));
        format!(
            r#"{{"model_stats": [{{"name": "m", "version": "1", "last_inference": 0,
            "inference_count": {rows}, "execution_count": {batches}, "inference_stats": {{
            "success": {request}, "fail": {compute}, "queue": {queue}, "compute_input": {compute},
            "compute_infer": {compute}, "compute_output": {compute}}}, "batch_stats": []}}]}}"#,
            rows = requests * 3,
            batches = requests / 4,
        )
    }

    fn parsed(requests: u64, ns: u64) -> Statistics {
        Statistics::parse(body(requests, ns).as_bytes()).unwrap()
    }

    #[test]
    fn what_lies_between_two_looks_is_taken_apart() {
        let served = parsed(140, 3000).since(parsed(100, 1000)).unwrap();
        let wanted = Served {
            requests: 40,
            requests_per_batch: Some(4.0),
            rows_per_batch: Some(12.0),
            request_us: 0.05,
            queue_share: 0.5,
            compute_share: 0.3,
            cached_share: 0.0,
        };
        assert_eq!(served, wanted);
    }

    #[test]
    fn a_server_that_forgot_or_knows_nothing_tells_nothing() {
        assert_eq!(parsed(100, 1000).since(parsed(100, 1000)), None);
        assert_eq!(parsed(10, 100).since(parsed(100, 1000)), None);
        assert_eq!(Statistics::parse(b"{}"), None);
        assert_eq!(Statistics::parse(b"nothing"), None);
    }
}
