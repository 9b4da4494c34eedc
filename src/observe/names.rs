//! Every metric's name, kind and help text, in one closed list. README's table is checked against
//! it by a test. Names and units are Triton's, so that its dashboards work; the always-on latency
//! histograms carry the names of Triton's open proposal (triton-inference-server/core#474).

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident = $kind:ident $name:literal $help:literal;)*) => {
        $(pub const $constant: &str = $name;)*
        /// All of them, in the order of the README's table.
        pub const ALL: &[Metric] = &[
            $(Metric { name: $name, kind: Kind::$kind, help: $help },)*
        ];
    };
}

metrics! {
    REQUEST_SUCCESS = Counter "nv_inference_request_success"
        "Requests answered.";
    REQUEST_FAILURE = Counter "nv_inference_request_failure"
        "Requests that were admitted and failed, or were shed, by reason.";
    REQUEST_INVALID = Counter "galen_inference_request_invalid"
        "Requests refused because they do not fit the model's signature or contract.";
    INFERENCE_COUNT = Counter "nv_inference_count"
        "Inferences performed: rows of all answered requests.";
    EXEC_COUNT = Counter "nv_inference_exec_count"
        "Engine calls; a batch of several requests is one.";
    REQUEST_US = Counter "nv_inference_request_duration_us"
        "Cumulative request time, from door to answer, in microseconds.";
    QUEUE_US = Counter "nv_inference_queue_duration_us"
        "Cumulative time in the queue, in microseconds.";
    INPUT_US = Counter "nv_inference_compute_input_duration_us"
        "Cumulative time of joining inputs, in microseconds.";
    INFER_US = Counter "nv_inference_compute_infer_duration_us"
        "Cumulative time of engine calls, in microseconds.";
    OUTPUT_US = Counter "nv_inference_compute_output_duration_us"
        "Cumulative time of parting outputs, in microseconds.";
    CACHE_HITS = Counter "nv_cache_num_hits_per_model"
        "Requests answered from kept answers, or with an equal request.";
    CACHE_MISSES = Counter "nv_cache_num_misses_per_model"
        "Requests of models with a response cache that had to be computed.";
    CACHE_HIT_US = Counter "nv_cache_hit_duration_per_model"
        "Cumulative time of finding kept answers, in microseconds.";
    CACHE_MISS_US = Counter "nv_cache_miss_duration_per_model"
        "Cumulative time of looking in vain and keeping the new answer, in microseconds.";
    SHADOW_ROWS = Counter "galen_shadow_rows"
        "Rows that this version computed as a shadow and that were compared.";
    SHADOW_AGREEING = Counter "galen_shadow_rows_agreeing"
        "Of these, rows in which every output agrees with the answer that was given.";
    REQUEST_HISTOGRAM = Histogram "nv_inference_request_duration_histogram_us"
        "Request time, from door to answer, in microseconds.";
    QUEUE_HISTOGRAM = Histogram "nv_inference_queue_duration_histogram_us"
        "Time in the queue, in microseconds.";
    INPUT_HISTOGRAM = Histogram "nv_inference_compute_input_duration_histogram_us"
        "Time of joining inputs, in microseconds.";
    INFER_HISTOGRAM = Histogram "nv_inference_compute_infer_duration_histogram_us"
        "Time of engine calls, in microseconds.";
    OUTPUT_HISTOGRAM = Histogram "nv_inference_compute_output_duration_histogram_us"
        "Time of parting outputs, in microseconds.";
    BATCH_SIZE = Histogram "galen_inference_batch_size"
        "Rows of each engine call.";
    BATCH_REQUESTS = Histogram "galen_inference_batch_requests"
        "Requests that shared each engine call.";
    TOKENS = Counter "galen_inference_tokens"
        "Tokens of text that engine calls computed, special ones included.";
    PADDING_TOKENS = Counter "galen_inference_padding_tokens"
        "Padding that was computed with them.";
    PADDING_SPARED = Counter "galen_inference_padding_tokens_spared"
        "Padding that was not computed: what making all texts of a call equally long would add.";
    DRIFT_PSI = Gauge "galen_drift_psi"
        "Population stability index of the last window against training, by feature.";
    DRIFT_PSI_FLOOR = Gauge "galen_drift_psi_floor"
        "What the population stability index is to be expected by chance alone.";
    DRIFT_FEATURE_ALERT = Gauge "galen_drift_feature_alert"
        "1 while two windows in a row were alarming for this feature, 0 otherwise.";
    DRIFT_ALERT = Gauge "galen_drift_alert"
        "1 while any feature or output of the version is in alert, 0 otherwise.";
    DRIFT_ROWS = Counter "galen_drift_rows"
        "Rows that were held against training.";
    DRIFT_DROPPED = Counter "galen_drift_rows_dropped"
        "Rows that were not, because every window was busy.";
    DRIFT_EXACT_KS = Gauge "galen_drift_exact_ks"
        "Kolmogorov-Smirnov statistic of raw values of a window against training, by feature.";
    DRIFT_EXACT_KS_P = Gauge "galen_drift_exact_ks_p"
        "Probability of one as large if nothing had changed.";
    DRIFT_EXACT_WASSERSTEIN = Gauge "galen_drift_exact_wasserstein"
        "Wasserstein distance of the same values, in standard deviations of training.";
    DRIFT_EXACT_JS = Gauge "galen_drift_exact_jensen_shannon"
        "Jensen-Shannon distance of the same values, base e.";
    DRIFT_VECTOR_MMD2 = Gauge "galen_drift_vector_mmd2"
        "Squared maximum mean discrepancy of a window's vectors from training, by vector.";
    DRIFT_VECTOR_MMD_P = Gauge "galen_drift_vector_mmd_p"
        "Probability of one as large if nothing had changed, by permutation.";
    DRIFT_VECTOR_AUC = Gauge "galen_drift_vector_auc"
        "Area under the ROC curve of a classifier that is to tell the same vectors apart.";
    MISSING_SHARE = Gauge "galen_quality_missing_share"
        "Share of the last window that has no value, by feature.";
    OUT_OF_RANGE_SHARE = Gauge "galen_quality_out_of_range_share"
        "Share of the last window outside the declared range, by feature.";
    PERFORMANCE_AUC = Gauge "galen_performance_auc"
        "Area under the ROC curve of the last labelled answers.";
    PERFORMANCE_BRIER = Gauge "galen_performance_brier"
        "Brier score of the last labelled answers; 0 is best.";
    PERFORMANCE_SENSITIVITY = Gauge "galen_performance_sensitivity"
        "Share of the positive cases among the last labelled answers that were called so.";
    PERFORMANCE_SPECIFICITY = Gauge "galen_performance_specificity"
        "Share of the negative cases among the last labelled answers that were called so.";
    FEEDBACK_LABELS = Counter "galen_feedback_labels"
        "Labels that were given, by what became of them.";
    ALERT = Gauge "galen_alert"
        "1 while the version is in alert, 0 after it was, by kind: drift, quality, performance.";
    NOTIFICATIONS = Counter "galen_alert_notifications"
        "Messages to the webhook, by outcome: delivered, retried (one attempt), dropped.";
    SPANS = Counter "galen_spans_total"
        "Spans of requests and batches, by outcome: exported, dropped.";
    SNAPSHOT_FAULTS = Counter "galen_snapshot_faults"
        "Kept statistics that could not be used or written, by kind and operation (read, write).";
    PENDING = Gauge "nv_inference_pending_request_count"
        "Requests waiting in the queue now.";
    MODEL_READY = Gauge "galen_model_ready"
        "1 while the version answers, 0 while it does not.";
    LOAD_SECONDS = Gauge "nv_model_load_duration_secs"
        "How long the version took to load, in seconds.";
    LOAD_MEMORY = Gauge "galen_model_load_memory_bytes"
        "Growth of resident memory while the version loaded, if nothing else did, in bytes.";
    GPU_UTILIZATION = Gauge "nv_gpu_utilization"
        "Share of the last moment in which the GPU was busy (0.0 - 1.0).";
    GPU_MEMORY_TOTAL = Gauge "nv_gpu_memory_total_bytes"
        "Memory of the GPU, in bytes.";
    GPU_MEMORY_USED = Gauge "nv_gpu_memory_used_bytes"
        "Memory of the GPU that is in use, by whomever, in bytes.";
    GPU_POWER = Gauge "nv_gpu_power_usage"
        "What the GPU draws now, in watts.";
    GPU_POWER_LIMIT = Gauge "nv_gpu_power_limit"
        "What it may draw, in watts.";
    GPU_ENERGY = Counter "nv_energy_consumption"
        "Energy that the GPU has consumed since the server started, in joules.";
    BUILD_INFO = Gauge "galen_build_info"
        "Always 1; its labels tell the build.";
}

/// Upper bounds of latency buckets in microseconds: about two and a half per decade from 10 us (a
/// tiny model) to 10 s (a very slow one).
pub const LATENCY_BUCKETS_US: [f64; 19] = [
    10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 2.5e4, 5e4, 1e5, 2.5e5, 5e5, 1e6,
    2.5e6, 5e6, 1e7,
];

/// Upper bounds of batch buckets: powers of two, as batches are sized.
pub const BATCH_BUCKETS: [f64; 11] =
    [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_lists_every_metric() {
        let readme = include_str!("../../README.md");
        for metric in ALL {
            let row = format!("| `{}` | {} | {} |", metric.name, metric.kind.name(), metric.help);
            assert!(readme.contains(&row), "README.md lacks the row\n{row}");
        }
    }
}
