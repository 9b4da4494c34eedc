//! Where the files of a model lie beneath the registry: in a folder for each model, with one for
//! each version; or in the registry directory itself, which then is one model, as KServe mounts it.

use std::path::{Path, PathBuf};

use super::describe;
use super::scan::{folders, version_names};
use crate::error::{Error, Result, quoted};
use crate::model::{ModelId, ModelName, Version, mlmodel};

/// The model file of an ONNX version.
pub const MODEL_FILE: &str = "model.onnx";
/// That of a transformer in Hugging Face's layout.
pub const WEIGHTS_FILE: &str = "model.safetensors";

/// What makes a directory a model and no registry, where it lies directly inside.
const MARKS: [&str; 3] = [MODEL_FILE, mlmodel::FILE, WEIGHTS_FILE];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    #[default]
    Folders,
    /// The directory is the one version of the one model.
    Single,
}

impl Layout {
    /// The only version of a directory that is a model.
    pub fn only_version() -> Option<Version> {
        Version::new(1)
    }

    /// How models lie in a directory. Both at once is an error: one of them would be passed over.
    pub fn of(path: &Path) -> Result<Self> {
        let is_there = |mark: &&&str| path.join(mark).symlink_metadata().is_ok();
        let Some(mark) = MARKS.iter().find(is_there) else { return Ok(Layout::Folders) };
        for name in folders(path)? {
            let folder = path.join(&name);
            let is_model = || {
                let has_versions = version_names(&folder).is_ok_and(|names| !names.is_empty());
                has_versions || describe::file(&folder).is_some()
            };
            if Version::parse(&name).is_some() || is_model() {
                return Err(Error::invalid(format!(
                    "model registry {}: {mark} lies directly inside, which makes the directory one \
                     model, but so does the folder {}/, which makes it a registry; expected one of \
                     them",
                    path.display(),
                    quoted(&name)
                )));
            }
        }
        Ok(Layout::Single)
    }

    /// The folder of a model beneath the registry.
    pub fn model(self, name: &ModelName) -> PathBuf {
        match self {
            Layout::Folders => PathBuf::from(name.as_str()),
            Layout::Single => PathBuf::new(),
        }
    }

    /// The folder of a version beneath the registry.
    pub fn version(self, id: &ModelId) -> PathBuf {
        match self {
            Layout::Folders => self.model(&id.name).join(id.version.to_string()),
            Layout::Single => PathBuf::new(),
        }
    }
}

/// The name of a directory that is a model: what the operator says, or the directory's own.
pub fn single_name(path: &Path, said: Option<&ModelName>) -> Result<ModelName> {
    if let Some(name) = said {
        return Ok(name.clone());
    }
    let whole = path.canonicalize().ok();
    let own = whole.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy());
    own.as_deref().and_then(ModelName::new).ok_or_else(|| {
        Error::invalid(format!(
            "model registry {}: the directory is one model, and its own name can not be a model's; \
             give it one with --model-name",
            path.display()
        ))
    })
}
