//! Of which requests spans are recorded. Pure: a trace is told from its id, so that every server
//! that knows the same share decides alike.

use crate::infer::TraceContext;

/// W3C's flag, in a `traceparent`: the caller records this trace.
pub const SAMPLED: u8 = 1;

/// What a request with a parent says is done; of the others, a share is recorded.
#[derive(Clone, Copy, Debug)]
pub struct Sampler {
    /// Ids below are recorded: their last 63 bits count, as in OpenTelemetry's
    /// `TraceIdRatioBased`.
    bound: u64,
}

impl Sampler {
    /// `percent` is 0 to 100.
    pub fn new(percent: f64) -> Self {
        // Exact at both ends; a float beyond the type's range is its largest value.
        Self { bound: (percent / 100.0 * (1u64 << 63) as f64) as u64 }
    }

    pub fn records(self, trace: &TraceContext) -> bool {
        match trace.parent_id {
            0 => (trace.trace_id as u64) >> 1 < self.bound,
            _ => trace.flags & SAMPLED == SAMPLED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(trace_id: u128) -> TraceContext {
        TraceContext { trace_id, ..TraceContext::default() }
    }

    #[test]
    fn a_parent_decides_whatever_the_share_is() {
        for percent in [0.0, 50.0, 100.0] {
            let parent = |flags| TraceContext { parent_id: 7, flags, ..root(u128::MAX) };
            let of = |flags| Sampler::new(percent).records(&parent(flags));
            assert_eq!([0, 1, 2, 3].map(of), [false, true, false, true], "{percent}");
        }
    }

    #[test]
    fn roots_are_told_from_the_last_bits_of_their_id() {
        // OpenTelemetry's own sampler wrote it: tests/tools/make_sampling_golden.py.
        let golden = include_str!("../../../tests/golden/trace_sampling.json");
        let golden: serde_json::Value = serde_json::from_str(golden).unwrap();
        let percents = golden["percents"].as_array().unwrap().iter().filter_map(|p| p.as_f64());
        let samplers: Vec<Sampler> = percents.map(Sampler::new).collect();
        let cases = golden["cases"].as_array().unwrap();
        assert!(cases.len() > 50 && samplers.len() > 5);
        for case in cases {
            let id = case["trace_id"].as_str().unwrap();
            let trace = root(u128::from_str_radix(id, 16).unwrap());
            let found: Vec<bool> = samplers.iter().map(|each| each.records(&trace)).collect();
            assert_eq!(serde_json::json!(found), case["sampled"], "{id}");
        }
    }

    #[test]
    fn the_share_is_kept() {
        let mut random = fastrand::Rng::with_seed(7);
        let sampler = Sampler::new(30.0);
        let recorded = (0..10_000).filter(|_| sampler.records(&root(random.u128(1..)))).count();
        // Within four standard deviations.
        assert!((2817..=3183).contains(&recorded), "{recorded}");
    }
}
