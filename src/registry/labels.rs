//! Labels that were moved by a call, kept across restarts beside the registry.
//!
//! `model.toml` declares labels; a call moves one; the move holds until `model.toml` itself says
//! something else about that label. So neither an operator's edit nor a call is silently undone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::{Label, Manifest, ModelName, Version};
use crate::state;

/// The name of the file in the state folder.
const FILE: &str = "labels.json";

/// A label that was moved by a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Move {
    /// Where it points now; `None`: it was taken away.
    version: Option<u64>,
    /// What `model.toml` said then.
    declared: Option<u64>,
}

type Moves = BTreeMap<String, Move>;

/// All moves, and where they are kept.
pub struct LabelStore {
    folder: PathBuf,
    models: BTreeMap<String, Moves>,
}

impl LabelStore {
    /// Reads what was kept. A file that can not be read is an error: starting without it would
    /// point labels, and so traffic, somewhere else.
    pub fn open(folder: &Path) -> Result<Self> {
        let models = state::open(folder, FILE).map_err(|error| {
            Error::invalid(format!(
                "{}; it holds the labels that were moved by calls: restore it, or remove it to go \
                 back to those of model.toml",
                error.message()
            ))
        })?;
        Ok(Self { folder: folder.to_owned(), models })
    }

    /// The labels of a model as they stand.
    pub fn of(&self, model: &ModelName, manifest: &Manifest) -> BTreeMap<Label, Version> {
        let moves = self.models.get(model.as_str());
        effective(&manifest.labels, moves.unwrap_or(&Moves::new()))
    }

    /// Moves a label, or takes it away, and keeps that.
    pub fn set(
        &mut self,
        model: &ModelName,
        manifest: &Manifest,
        label: &Label,
        version: Option<Version>,
    ) -> Result<()> {
        let before = self.models.clone();
        let declared = manifest.labels.get(label.as_str()).copied();
        let moved = Move { version: version.map(Version::number), declared };
        let moves = self.models.entry(model.to_string()).or_default();
        if moved.version == declared {
            moves.remove(label.as_str());
        } else {
            moves.insert(label.to_string(), moved);
        }
        self.models.retain(|_, moves| !moves.is_empty());
        state::save(&self.folder, FILE, &self.models).inspect_err(|_| self.models = before)
    }
}

/// What `model.toml` declares, with the moves that still hold.
fn effective(declared: &BTreeMap<String, u64>, moves: &Moves) -> BTreeMap<Label, Version> {
    let mut numbers: BTreeMap<&str, u64> =
        declared.iter().map(|(label, version)| (label.as_str(), *version)).collect();
    for (label, moved) in moves {
        if declared.get(label).copied() != moved.declared {
            continue;
        }
        match moved.version {
            Some(version) => numbers.insert(label, version),
            None => numbers.remove(label.as_str()),
        };
    }
    let pair = |(label, number): (&str, u64)| Some((Label::new(label)?, Version::new(number)?));
    numbers.into_iter().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use std::fs;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("galen-labels-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    fn manifest(text: &str) -> Manifest {
        Manifest::parse(text).unwrap()
    }

    fn shown(labels: &BTreeMap<Label, Version>) -> String {
        labels.iter().map(|(label, version)| format!("{label}={version} ")).collect()
    }

    #[test]
    fn a_move_is_kept_until_the_configuration_says_something_else() {
        let path = folder("kept");
        let model = ModelName::new("m").unwrap();
        let stable = Label::new("stable").unwrap();
        let one = manifest("labels = { stable = 1, canary = 2 }");
        let mut store = LabelStore::open(&path).unwrap();
        assert_eq!(shown(&store.of(&model, &one)), "canary=2 stable=1 ");
        store.set(&model, &one, &stable, Version::new(7)).unwrap();
        store.set(&model, &one, &Label::new("canary").unwrap(), None).unwrap();

        let store = LabelStore::open(&path).unwrap();
        assert_eq!(shown(&store.of(&model, &one)), "stable=7 ");
        let edited = manifest("labels = { stable = 3, canary = 2 }");
        assert_eq!(shown(&store.of(&model, &edited)), "stable=3 ");
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_broken_file_is_no_empty_file_and_a_failed_write_changes_nothing() {
        let path = folder("broken");
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join(FILE), "{").unwrap();
        assert!(LabelStore::open(&path).is_err());
        // A file where the folder should be.
        let blocked = path.join(FILE);
        let mut store = LabelStore { folder: blocked, models: BTreeMap::new() };
        let model = ModelName::new("m").unwrap();
        let stable = Label::new("stable").unwrap();
        let error = store.set(&model, &manifest(""), &stable, Version::new(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotReady);
        assert!(store.of(&model, &manifest("")).is_empty());
        fs::remove_dir_all(path).unwrap();
    }
}
