//! The registry as callers see it and what they may do to it: index, load, unload, labels.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Service;
use crate::error::{Error, Result, quoted};
use crate::model::triton_config::TritonConfig;
use crate::model::{ModelName, Version};
use crate::registry::{LoadOrder, MemoryFiles, VersionState};

/// One line of the index, in Triton's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    pub name: ModelName,
    /// `None` for a model of which no version was ever tried.
    pub version: Option<Version>,
    pub state: Option<&'static str>,
    pub reason: Option<String>,
}

/// What a call to load a model brings along, as it came.
#[derive(Default)]
pub struct LoadCall {
    /// A configuration in Triton's JSON.
    pub config: Option<String>,
    /// Files by their path beneath the model's directory.
    pub files: BTreeMap<String, Bytes>,
}

/// Files, and bytes of them all, that one call may bring.
const FILES_MAX: usize = 64;

impl Service {
    /// Every model and version with its state; `ready`: only what answers.
    pub fn index(&self, ready: bool) -> Vec<IndexEntry> {
        let mut index = Vec::new();
        for model in self.catalog() {
            if model.versions.is_empty() && !ready {
                let (name, reason) = (model.name.clone(), model.problem.clone());
                let state = reason.is_some().then_some("UNAVAILABLE");
                index.push(IndexEntry { name, version: None, state, reason });
            }
            for version in &model.versions {
                let (state, retired) = in_tritons_words(version.state);
                if ready && state != "READY" {
                    continue;
                }
                let reason = version.reason.clone().or(retired.map(str::to_owned));
                index.push(IndexEntry {
                    name: model.name.clone(),
                    version: Some(version.version),
                    state: Some(state),
                    reason,
                });
            }
        }
        index
    }

    /// Loads a model, or what has changed of it; answers when that is over.
    pub async fn load(&self, model: &str, call: LoadCall) -> Result<()> {
        let manifest = match call.config {
            Some(text) => Some(TritonConfig::from_json(&text)?.into_manifest(model)?),
            None => None,
        };
        let files = if call.files.is_empty() { None } else { Some(check_files(call.files)?) };
        self.0.control.load(model, LoadOrder { manifest, files }).await
    }

    /// Takes a model out; answers when it gets no new requests.
    /// `dependents`: with it, the models of an ensemble that no other ensemble uses.
    pub async fn unload(&self, model: &str, dependents: bool) -> Result<()> {
        self.0.control.unload(model, dependents).await
    }

    /// Points a label at a version, or takes it away.
    pub async fn set_label(
        &self,
        model: &str,
        label: &str,
        version: Option<Version>,
    ) -> Result<()> {
        self.0.control.set_label(model, label, version).await
    }
}

fn in_tritons_words(state: VersionState) -> (&'static str, Option<&'static str>) {
    match state {
        VersionState::Ready => ("READY", None),
        VersionState::Draining => ("UNLOADING", None),
        VersionState::Unloaded => ("UNAVAILABLE", Some("unloaded")),
        VersionState::Failed => ("UNAVAILABLE", None),
        state if state.is_coming() => ("LOADING", None),
        _ => ("UNKNOWN", None),
    }
}

/// Files that come with a call stay in memory, under names that lead nowhere else.
fn check_files(files: BTreeMap<String, Bytes>) -> Result<MemoryFiles> {
    if files.len() > FILES_MAX {
        return Err(Error::invalid(format!(
            "the call brings {} files; at most {FILES_MAX} are supported",
            files.len()
        )));
    }
    for path in files.keys() {
        let mut parts = path.split('/');
        let version = parts.next().and_then(Version::parse);
        let name = parts.next().filter(|name| ModelName::new(name).is_some());
        if version.is_none() || name.is_none() || parts.next().is_some() {
            return Err(Error::invalid(format!(
                "parameter 'file:{}': expected 'file:VERSION/NAME', such as 'file:1/model.onnx'",
                quoted(path)
            )));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_call_lie_in_a_version_folder_and_nowhere_else() {
        let check = |path: &str| check_files([(path.to_owned(), Bytes::new())].into());
        assert!(check("1/model.onnx").is_ok());
        for path in [
            "",
            "model.onnx",
            "../1/model.onnx",
            "1/../x",
            "/1/x",
            "1/",
            "01/x",
            "1/a/b",
            "1\\x",
            "x/model.onnx",
            "1/..",
        ] {
            assert!(check(path).is_err(), "{path}");
        }
    }
}
