//! The repository and the statistics in protobuf.

use std::collections::BTreeMap;

use super::pb::inference as pb;
use super::pb::inference::model_repository_parameter::ParameterChoice as Choice;
use crate::error::{Error, Result, quoted};
use crate::server::parameters::check_repository;
use crate::service::{BatchTally, IndexEntry, LoadCall, ModelStatistics, Tally};

pub fn index(entries: Vec<IndexEntry>) -> pb::RepositoryIndexResponse {
    let model = |entry: IndexEntry| pb::repository_index_response::ModelIndex {
        name: entry.name.to_string(),
        version: entry.version.map(|version| version.to_string()).unwrap_or_default(),
        state: entry.state.unwrap_or_default().to_owned(),
        reason: entry.reason.unwrap_or_default(),
    };
    pb::RepositoryIndexResponse { models: entries.into_iter().map(model).collect() }
}

/// What a load call brings along: `config`, and `file:<path>` with bytes.
pub fn load(request: pb::RepositoryModelLoadRequest) -> Result<(String, LoadCall)> {
    check_repository(&request.repository_name)?;
    let mut call = LoadCall { config: None, files: BTreeMap::new() };
    for (name, value) in request.parameters {
        match (name.as_str(), value.parameter_choice) {
            ("config", Some(Choice::StringParam(text))) => call.config = Some(text),
            (name, Some(Choice::BytesParam(bytes))) if name.starts_with("file:") => {
                call.files.insert(name["file:".len()..].to_owned(), bytes);
            }
            (name, _) => {
                return Err(Error::invalid(format!(
                    "parameter '{}': expected 'config' with a string, or 'file:VERSION/NAME' with \
                     bytes",
                    quoted(name)
                )));
            }
        }
    }
    Ok((request.model_name, call))
}

/// The name of the model to unload, and whether those it depends on go with it.
pub fn unload(request: pb::RepositoryModelUnloadRequest) -> Result<(String, bool)> {
    check_repository(&request.repository_name)?;
    let mut dependents = false;
    for (name, value) in request.parameters {
        match (name.as_str(), value.parameter_choice) {
            ("unload_dependents", Some(Choice::BoolParam(with))) => dependents = with,
            (name, _) => {
                return Err(Error::invalid(format!(
                    "parameter '{}': expected 'unload_dependents' with a boolean",
                    quoted(name)
                )));
            }
        }
    }
    Ok((request.model_name, dependents))
}

pub fn statistics(all: Vec<ModelStatistics>) -> pb::ModelStatisticsResponse {
    pb::ModelStatisticsResponse { model_stats: all.into_iter().map(model_statistics).collect() }
}

fn model_statistics(one: ModelStatistics) -> pb::ModelStatistics {
    let seen = one.seen;
    let batch = |(size, tally): (usize, BatchTally)| pb::InferBatchStatistics {
        batch_size: size as u64,
        compute_input: duration(tally.compute_input),
        compute_infer: duration(tally.compute_infer),
        compute_output: duration(tally.compute_output),
    };
    pb::ModelStatistics {
        name: one.id.name.to_string(),
        version: one.id.version.to_string(),
        last_inference: seen.last_inference_ms,
        inference_count: seen.inferences,
        execution_count: seen.executions,
        inference_stats: Some(pb::InferStatistics {
            success: duration(seen.success),
            fail: duration(seen.fail),
            queue: duration(seen.queue),
            compute_input: duration(seen.compute_input),
            compute_infer: duration(seen.compute_infer),
            compute_output: duration(seen.compute_output),
            cache_hit: duration(seen.cache_hit),
            cache_miss: duration(seen.cache_miss),
        }),
        batch_stats: seen.batches.into_iter().map(batch).collect(),
    }
}

fn duration(tally: Tally) -> Option<pb::StatisticDuration> {
    Some(pb::StatisticDuration { count: tally.count, ns: tally.ns })
}
