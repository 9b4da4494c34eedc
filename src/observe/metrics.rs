//! The Prometheus registry. Handles are resolved when a version loads, so that the hot path is a
//! few atomic operations and no look-up; histogram samples are buffered and drained by upkeep.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use super::drift::Complete;
use super::gpu::Reading;
use super::names::{self, Kind};
use super::performance::{Counts, Summary};
use crate::error::{Error, Result};
use crate::event::{
    AlertKind, BatchExecuted, CacheLookedUp, FailureReason, Observe, RequestCompleted,
    ShadowCompared, VersionSink, VersionStateChanged,
};
use crate::infer::{TokenCount, micros};
use crate::model::ModelId;
use crate::model::profile::Exact;

/// The registry of this process's metrics. Not global: a test may have many.
pub struct Metrics {
    recorder: PrometheusRecorder,
    /// Whether somebody drains the samples of histograms; else none are taken.
    is_read: bool,
}

/// Features of a version that have metrics of their own.
const DRIFT_FEATURES_MAX: usize = 100;

const METADATA: Metadata<'_> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

impl Metrics {
    pub fn new() -> Result<Self> {
        let recorder = builder()
            .map_err(|error| Error::internal("the metric buckets are wrong").with_detail(error))?
            .build_recorder();
        for metric in names::ALL {
            let name = KeyName::from_const_str(metric.name);
            let help = metric.help.into();
            match metric.kind {
                Kind::Counter => recorder.describe_counter(name, None::<Unit>, help),
                Kind::Gauge => recorder.describe_gauge(name, None::<Unit>, help),
                Kind::Histogram => recorder.describe_histogram(name, None::<Unit>, help),
            }
        }
        let metrics = Self { recorder, is_read: true };
        let labels = vec![
            Label::from_static_parts("version", env!("CARGO_PKG_VERSION")),
            Label::from_static_parts("target", std::env::consts::ARCH),
        ];
        metrics.gauge(names::BUILD_INFO, labels).set(1.0);
        Ok(metrics)
    }

    /// For a process that nobody asks for metrics: samples that nobody drains would pile up.
    pub fn unread() -> Result<Self> {
        Ok(Self { is_read: false, ..Self::new()? })
    }

    /// Renders the text exposition and does upkeep.
    pub fn handle(&self) -> PrometheusHandle {
        self.recorder.handle()
    }

    /// Rows that were held against training, in all.
    pub fn drift_rows(&self, id: &ModelId, rows: u64, dropped: u64) {
        self.counter(names::DRIFT_ROWS, labels(id)).absolute(rows);
        self.counter(names::DRIFT_DROPPED, labels(id)).absolute(dropped);
    }

    /// What a complete window says; of the first features only, so that label sets stay bounded.
    pub fn drift_window(&self, id: &ModelId, names: &[String], last: &Complete) {
        let window = &last.window;
        let seen = window.feature_scores().chain(window.output_scores());
        let rows = names.iter().zip(&last.verdicts).zip(seen).take(DRIFT_FEATURES_MAX);
        for ((name, verdict), seen) in rows {
            let set = |metric, value: f64| {
                let mut labels = labels(id);
                labels.push(Label::new("feature", name.clone()));
                self.gauge(metric, labels).set(value);
            };
            if let Some(scores) = verdict.scores {
                set(names::DRIFT_PSI, scores.psi);
                set(names::DRIFT_PSI_FLOOR, scores.psi_floor);
            }
            set(names::DRIFT_FEATURE_ALERT, f64::from(u8::from(verdict.is_alert())));
            let quality = seen.accumulator.quality();
            let share = |count: u64| count as f64 / last.window.rows().max(1) as f64;
            set(names::MISSING_SHARE, share(quality.missing));
            set(names::OUT_OF_RANGE_SHARE, share(quality.below_range + quality.above_range));
        }
        let alert = last.is_alert();
        self.gauge(names::DRIFT_ALERT, labels(id)).set(f64::from(u8::from(alert)));
    }

    /// What the raw values of a window say; of the first features only, as above.
    pub fn drift_exact(&self, id: &ModelId, names: &[String], exact: &Exact) {
        let set = |metric, label: &'static str, name: String, value: f64| {
            let mut labels = labels(id);
            labels.push(Label::new(label, name));
            self.gauge(metric, labels).set(value);
        };
        for (name, scores) in names.iter().zip(&exact.scores).take(DRIFT_FEATURES_MAX) {
            let Some(scores) = scores else { continue };
            let set = |metric, value| set(metric, "feature", name.clone(), value);
            set(names::DRIFT_EXACT_KS, scores.ks);
            set(names::DRIFT_EXACT_KS_P, scores.ks_p);
            set(names::DRIFT_EXACT_WASSERSTEIN, scores.distances.wasserstein_normed);
            set(names::DRIFT_EXACT_JS, scores.distances.jensen_shannon);
        }
        for vector in exact.vectors.iter().take(DRIFT_FEATURES_MAX) {
            let set = |metric, value| set(metric, "vector", vector.label(), value);
            set(names::DRIFT_VECTOR_MMD2, vector.mmd2);
            set(names::DRIFT_VECTOR_MMD_P, vector.mmd_p);
            set(names::DRIFT_VECTOR_AUC, vector.auc);
        }
    }

    /// Whether a version is in alert.
    pub fn alert(&self, id: &ModelId, kind: AlertKind, on: bool) {
        let mut labels = labels(id);
        labels.push(Label::from_static_parts("kind", kind.name()));
        self.gauge(names::ALERT, labels).set(f64::from(u8::from(on)));
    }

    /// Counts what became of telling somebody of an alert; a count of 0 lets the first one be seen
    /// as an increase.
    pub fn notification(&self, outcome: &'static str, count: u64) {
        let labels = vec![Label::from_static_parts("outcome", outcome)];
        self.counter(names::NOTIFICATIONS, labels).increment(count);
    }

    /// Counts what became of spans; a count of 0 as above.
    pub fn spans(&self, outcome: &'static str, count: u64) {
        let labels = vec![Label::from_static_parts("outcome", outcome)];
        self.counter(names::SPANS, labels).increment(count);
    }

    /// Counts kept statistics that could not be used, or not be written.
    pub fn snapshot_fault(&self, kind: &'static str, operation: &'static str) {
        let labels = vec![
            Label::from_static_parts("kind", kind),
            Label::from_static_parts("operation", operation),
        ];
        self.counter(names::SNAPSHOT_FAULTS, labels).increment(1);
    }

    /// What became of the labels that were given, in all.
    pub fn feedback(&self, id: &ModelId, counts: &Counts) {
        let outcomes = [
            ("joined", counts.joined),
            ("already_labelled", counts.already),
            ("unknown", counts.unknown),
            ("invalid", counts.invalid),
        ];
        for (outcome, count) in outcomes {
            let mut labels = labels(id);
            labels.push(Label::from_static_parts("outcome", outcome));
            self.counter(names::FEEDBACK_LABELS, labels).absolute(count);
        }
    }

    /// How a version does; a figure that it does not have stays as it was.
    pub fn performance(&self, id: &ModelId, seen: &Summary) {
        let set = |metric, value: Option<f64>| {
            if let Some(value) = value {
                self.gauge(metric, labels(id)).set(value);
            }
        };
        set(names::PERFORMANCE_AUC, seen.auc);
        set(names::PERFORMANCE_BRIER, seen.brier);
        set(names::PERFORMANCE_SENSITIVITY, seen.sensitivity.map(|share| share.value));
        set(names::PERFORMANCE_SPECIFICITY, seen.specificity.map(|share| share.value));
    }

    /// How a GPU does; what it does not say stays as it was.
    pub fn gpu(&self, uuid: &str, reading: &Reading, joules: Option<u64>) {
        let labels = || vec![Label::new("gpu_uuid", uuid.to_owned())];
        for (metric, value) in reading.gauges() {
            if let Some(value) = value {
                self.gauge(metric, labels()).set(value);
            }
        }
        if let Some(joules) = joules {
            self.counter(names::GPU_ENERGY, labels()).absolute(joules);
        }
    }

    fn counter(&self, name: &'static str, labels: Vec<Label>) -> Counter {
        self.recorder.register_counter(&Key::from_parts(name, labels), &METADATA)
    }

    fn gauge(&self, name: &'static str, labels: Vec<Label>) -> Gauge {
        self.recorder.register_gauge(&Key::from_parts(name, labels), &METADATA)
    }

    fn histogram(&self, name: &'static str, labels: Vec<Label>) -> Histogram {
        if !self.is_read {
            return Histogram::noop();
        }
        self.recorder.register_histogram(&Key::from_parts(name, labels), &METADATA)
    }
}

fn builder() -> std::result::Result<PrometheusBuilder, BuildError> {
    let batches =
        [names::BATCH_SIZE, names::BATCH_REQUESTS].map(|name| Matcher::Full(name.to_owned()));
    let mut builder = PrometheusBuilder::new().set_buckets(&names::LATENCY_BUCKETS_US)?;
    for matcher in batches {
        builder = builder.set_buckets_for_metric(matcher, &names::BATCH_BUCKETS)?;
    }
    Ok(builder)
}

fn labels(id: &ModelId) -> Vec<Label> {
    vec![
        Label::new("model", id.name.as_str().to_owned()),
        Label::new("version", id.version.to_string()),
    ]
}

impl Observe for Metrics {
    fn for_version(&self, id: &ModelId) -> Arc<dyn VersionSink> {
        let counter = |name| self.counter(name, labels(id));
        let histogram = |name| self.histogram(name, labels(id));
        let failure = |reason: FailureReason| {
            let mut labels = labels(id);
            labels.push(Label::from_static_parts("reason", reason.label()));
            self.counter(names::REQUEST_FAILURE, labels)
        };
        Arc::new(VersionMetrics {
            success: counter(names::REQUEST_SUCCESS),
            failures: FailureReason::ALL.map(failure),
            invalid: counter(names::REQUEST_INVALID),
            inferences: counter(names::INFERENCE_COUNT),
            executions: counter(names::EXEC_COUNT),
            cache: [
                (counter(names::CACHE_MISSES), counter(names::CACHE_MISS_US)),
                (counter(names::CACHE_HITS), counter(names::CACHE_HIT_US)),
            ],
            shadow_rows: counter(names::SHADOW_ROWS),
            shadow_agreeing: counter(names::SHADOW_AGREEING),
            request: phase(counter(names::REQUEST_US), histogram(names::REQUEST_HISTOGRAM)),
            queue: phase(counter(names::QUEUE_US), histogram(names::QUEUE_HISTOGRAM)),
            input: phase(counter(names::INPUT_US), histogram(names::INPUT_HISTOGRAM)),
            infer: phase(counter(names::INFER_US), histogram(names::INFER_HISTOGRAM)),
            output: phase(counter(names::OUTPUT_US), histogram(names::OUTPUT_HISTOGRAM)),
            batch_size: histogram(names::BATCH_SIZE),
            batch_requests: histogram(names::BATCH_REQUESTS),
            tokens: [names::TOKENS, names::PADDING_TOKENS, names::PADDING_SPARED].map(counter),
            pending: self.gauge(names::PENDING, labels(id)),
        })
    }

    fn version_state_changed(&self, change: &VersionStateChanged) {
        let ready = if change.ready { 1.0 } else { 0.0 };
        self.gauge(names::MODEL_READY, labels(&change.id)).set(ready);
        if let Some(load) = change.load {
            self.gauge(names::LOAD_SECONDS, labels(&change.id)).set(load.time.as_secs_f64());
            // A load beside others can not be measured; what was measured before stays.
            if let Some(bytes) = load.memory_bytes {
                self.gauge(names::LOAD_MEMORY, labels(&change.id)).set(bytes as f64);
            }
        }
    }
}

/// The sum and the distribution of one phase.
struct Phase {
    total_us: Counter,
    histogram: Histogram,
}

fn phase(total_us: Counter, histogram: Histogram) -> Phase {
    Phase { total_us, histogram }
}

impl Phase {
    fn record(&self, time: Duration) {
        self.total_us.increment(micros(time));
        self.histogram.record(time.as_secs_f64() * 1e6);
    }
}

/// All handles of one version.
struct VersionMetrics {
    success: Counter,
    /// In the order of [`FailureReason::ALL`]; all exist from the start, at 0.
    failures: [Counter; 4],
    invalid: Counter,
    inferences: Counter,
    executions: Counter,
    /// Misses and hits: how many, and their time.
    cache: [(Counter, Counter); 2],
    shadow_rows: Counter,
    shadow_agreeing: Counter,
    request: Phase,
    queue: Phase,
    input: Phase,
    infer: Phase,
    output: Phase,
    batch_size: Histogram,
    batch_requests: Histogram,
    /// Given, padding, padding spared.
    tokens: [Counter; 3],
    pending: Gauge,
}

impl VersionSink for VersionMetrics {
    fn request_queued(&self) {
        self.pending.increment(1.0);
    }

    fn requests_dequeued(&self, requests: usize) {
        self.pending.decrement(requests as f64);
    }

    fn batch_executed(&self, batch: BatchExecuted) {
        self.executions.increment(1);
        self.batch_size.record(batch.rows as f64);
        self.batch_requests.record(batch.requests as f64);
        let TokenCount { given, padding, padding_spared } = batch.tokens;
        if given > 0 {
            for (counter, count) in self.tokens.iter().zip([given, padding, padding_spared]) {
                counter.increment(count);
            }
        }
    }

    fn cache_looked_up(&self, lookup: CacheLookedUp) {
        let (count, time_us) = &self.cache[usize::from(lookup.hit)];
        count.increment(1);
        time_us.increment(micros(lookup.time));
    }

    fn shadow_compared(&self, comparison: ShadowCompared) {
        self.shadow_rows.increment(comparison.rows);
        self.shadow_agreeing.increment(comparison.agreeing);
    }

    fn request_completed(&self, request: RequestCompleted) {
        self.success.increment(1);
        self.request.record(request.total);
        if !request.computed {
            return;
        }
        self.inferences.increment(request.rows as u64);
        self.queue.record(request.timings.queue);
        self.input.record(request.timings.compute_input);
        self.infer.record(request.timings.compute_infer);
        self.output.record(request.timings.compute_output);
    }

    fn request_failed(&self, reason: FailureReason, _total: Duration) {
        let index = FailureReason::ALL.iter().position(|&each| each == reason);
        if let Some(counter) = index.and_then(|index| self.failures.get(index)) {
            counter.increment(1);
        }
    }

    fn request_invalid(&self) {
        self.invalid.increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::LoadCost;
    use crate::infer::Timings;
    use crate::model::{ModelName, Version};

    fn id() -> ModelId {
        let name = ModelName::new("m").unwrap();
        ModelId { name, version: Version::parse("3").unwrap() }
    }

    #[test]
    fn names_are_exported_as_they_stand_in_the_list() {
        let metrics = Metrics::new().unwrap();
        let sink = metrics.for_version(&id());
        let us = Duration::from_micros;
        let timings = Timings { queue: us(30), compute_infer: us(7), ..Timings::default() };
        sink.request_completed(RequestCompleted {
            rows: 4,
            total: us(120),
            timings,
            computed: true,
        });
        let tokens = TokenCount { given: 30, padding: 2, padding_spared: 7 };
        sink.batch_executed(BatchExecuted { rows: 4, requests: 1, timings, tokens });
        sink.request_failed(FailureReason::Canceled, us(1));
        let text = metrics.handle().render();
        for line in [
            "nv_inference_request_success{model=\"m\",version=\"3\"} 1",
            "nv_inference_count{model=\"m\",version=\"3\"} 4",
            "nv_inference_request_failure{model=\"m\",version=\"3\",reason=\"CANCELED\"} 1",
            "nv_inference_request_failure{model=\"m\",version=\"3\",reason=\"BACKEND\"} 0",
            "nv_inference_queue_duration_us{model=\"m\",version=\"3\"} 30",
            "nv_inference_request_duration_histogram_us_bucket{model=\"m\",version=\"3\",le=\"100\"} 0",
            "nv_inference_request_duration_histogram_us_bucket{model=\"m\",version=\"3\",le=\"250\"} 1",
            "galen_inference_batch_size_bucket{model=\"m\",version=\"3\",le=\"4\"} 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        let described = |metric: &names::Metric| {
            text.contains(&format!("# TYPE {} {}", metric.name, metric.kind.name()))
        };
        let seen = names::ALL.iter().filter(|metric| described(metric)).count();
        // Those that appear with a state change, a window, an alert, a span, a fault or a GPU are not
        // here yet.
        assert_eq!(seen, names::ALL.len() - 33, "{text}");
    }

    #[test]
    fn samples_that_nobody_reads_are_not_taken() {
        let metrics = Metrics::unread().unwrap();
        let sink = metrics.for_version(&id());
        let (rows, timings, tokens) = (4, Timings::default(), TokenCount::default());
        let total = Duration::from_micros(120);
        sink.request_completed(RequestCompleted { rows, total, timings, computed: true });
        sink.batch_executed(BatchExecuted { rows, requests: 1, timings, tokens });
        let text = metrics.handle().render();
        assert!(text.contains("nv_inference_count{model=\"m\",version=\"3\"} 4"), "{text}");
        assert!(!text.contains("_bucket"), "{text}");
    }

    #[test]
    fn the_memory_of_a_load_is_shown_where_it_was_measured() {
        let metrics = Metrics::new().unwrap();
        let loaded = |memory_bytes| {
            let load = Some(LoadCost { time: Duration::from_millis(250), memory_bytes });
            let (state, ready, gone, reason) = ("ready", true, false, None);
            let change = VersionStateChanged { id: id(), state, ready, gone, reason, load };
            metrics.version_state_changed(&change);
            metrics.handle().render()
        };
        assert!(!loaded(None).contains("galen_model_load_memory_bytes{"));
        for memory_bytes in [Some(4096), None] {
            let text = loaded(memory_bytes);
            let line = "galen_model_load_memory_bytes{model=\"m\",version=\"3\"} 4096\n";
            assert!(text.contains(line), "{text}");
        }
    }
}
