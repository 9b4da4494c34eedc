//! What lies in the registry directory: models, their configuration, their versions. Reads only.
//!
//! Ignored, as they are how half-written things look: names that begin with a dot or end in `.tmp`
//! or `.part`. Ignored, as they are no models: plain files, and folders with neither a version
//! folder nor a configuration.

use std::path::Path;

use super::describe;
use super::files::Root;
use super::fingerprint::Fingerprint;
use super::layout::{Layout, single_name};
use crate::error::{Error, Result, quoted};
use crate::model::{Manifest, ModelName, Version};

/// Most models, and most versions of one: a bound on what a directory can make us do.
const ENTRIES_MAX: usize = 10_000;

/// One model directory.
#[derive(Debug)]
pub struct Candidate {
    pub name: ModelName,
    pub layout: Layout,
    /// How its configuration looks from outside.
    pub config: Fingerprint,
    /// The configuration, or why it can not be used; read only where it looks new.
    pub manifest: Option<Result<Manifest>>,
    /// In ascending order.
    pub versions: Vec<(Version, Fingerprint)>,
}

/// What a scan found.
#[derive(Debug, Default)]
pub struct Scan {
    pub candidates: Vec<Candidate>,
    /// Folders that look like models but can not be one, with the reason.
    pub strangers: Vec<String>,
}

impl Scan {
    /// Whether the directory is itself a model.
    pub fn is_single(&self) -> bool {
        self.candidates.iter().any(|candidate| candidate.layout == Layout::Single)
    }
}

/// Lists the registry. `known` says how the configuration of a model looked when it was read;
/// `said` is the name of the model where the directory is one.
pub fn scan(
    root: &Root,
    path: &Path,
    said: Option<&ModelName>,
    known: &dyn Fn(&ModelName) -> Option<Fingerprint>,
) -> Result<Scan> {
    let mut scan = Scan::default();
    let layout = Layout::of(path)?;
    if let (Layout::Single, Some(version)) = (layout, Layout::only_version()) {
        let name = single_name(path, said)?;
        let config = describe::fingerprint(path);
        let read = || describe::read(root, &layout.model(&name), name.as_str());
        let manifest = (known(&name) != Some(config)).then(read);
        let versions = vec![(version, Fingerprint::of_visible(path))];
        scan.candidates.push(Candidate { name, layout, config, manifest, versions });
        return Ok(scan);
    }
    for name in folders(path)? {
        let folder = path.join(&name);
        // A folder that vanishes while we look is one that is not there.
        let Ok(versions) = versions(&folder) else { continue };
        let config = describe::fingerprint(&folder);
        if versions.is_empty() && describe::file(&folder).is_none() {
            continue;
        }
        let Some(name) = ModelName::new(&name) else {
            scan.strangers.push(format!(
                "'{}' is not a model name: expected up to {} of A-Z a-z 0-9 . _ -",
                quoted(&name),
                ModelName::CHARS_MAX
            ));
            continue;
        };
        let read = || describe::read(root, &layout.model(&name), name.as_str());
        let manifest = (known(&name) != Some(config)).then(read);
        scan.candidates.push(Candidate { name, layout, config, manifest, versions });
    }
    scan.candidates.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(scan)
}

/// The versions that have a folder here.
pub fn version_names(path: &Path) -> Result<Vec<Version>> {
    Ok(folders(path)?.iter().filter_map(|name| Version::parse(name)).collect())
}

fn versions(path: &Path) -> Result<Vec<(Version, Fingerprint)>> {
    let mut versions = version_names(path)?;
    versions.sort_unstable();
    let print = |version: Version| (version, Fingerprint::of(&path.join(version.to_string())));
    Ok(versions.into_iter().map(print).collect())
}

/// Names of the folders in a folder, the ignored ones left out. Links are not followed.
pub fn folders(path: &Path) -> Result<Vec<String>> {
    let refuse = |error: std::io::Error| {
        Error::invalid(format!("model registry {}: {error}", path.display()))
    };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(refuse)? {
        let entry = entry.map_err(refuse)?;
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let name = entry.file_name().to_string_lossy().into_owned();
        let hidden = name.starts_with('.') || name.ends_with(".tmp") || name.ends_with(".part");
        if !is_folder || hidden {
            continue;
        }
        if names.len() == ENTRIES_MAX {
            return Err(Error::invalid(format!(
                "model registry {}: more than {ENTRIES_MAX} folders",
                path.display()
            )));
        }
        names.push(name);
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_written_and_foreign_folders_are_passed_over() {
        let path = std::env::temp_dir().join(format!("galen-scan-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        for folder in [
            "a/1",
            "a/2",
            "a/10",
            "a/03",
            "a/4.tmp",
            "a/.5",
            "a/x",
            "b.tmp/1",
            ".c/1",
            "training",
            "bad name/1",
            "d",
            "e",
            "f/1",
        ] {
            std::fs::create_dir_all(path.join(folder)).unwrap();
        }
        std::fs::write(path.join("d/model.toml"), "bakend = 1").unwrap();
        std::fs::write(path.join("e/config.pbtxt"), "name: \"e\"\nbakend: \"x\"").unwrap();
        std::fs::write(path.join("f/config.pbtxt"), "").unwrap();
        std::fs::write(path.join("f/model.toml"), "").unwrap();
        std::fs::write(path.join("README.md"), "").unwrap();
        let scan = scan(&Root::open(&path).unwrap(), &path, None, &|_| None).unwrap();
        std::fs::remove_dir_all(&path).unwrap();

        let names: Vec<&str> = scan.candidates.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["a", "d", "e", "f"]);
        let versions: Vec<u64> = scan.candidates[0].versions.iter().map(|v| v.0.number()).collect();
        assert_eq!(versions, [1, 2, 10]);
        for (index, part) in [
            (1, "model.toml: line 1: unknown field `bakend`"),
            (1, "did you mean 'backend'"),
            (2, "config.pbtxt: line 2: unknown field 'bakend'; did you mean 'backend'?"),
            (3, "model.toml and config.pbtxt lie side by side"),
        ] {
            let manifest = scan.candidates[index].manifest.as_ref().unwrap();
            let error = manifest.as_ref().unwrap_err();
            assert!(error.message().contains(part), "{error}");
        }
        assert_eq!(scan.strangers.len(), 1);
    }
}
