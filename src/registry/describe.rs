//! The configuration of one model as it lies in its directory: Galen's own `model.toml` or Triton's
//! `config.pbtxt`, never both.
//!
//! What this file must not know: what the configuration means.

use std::path::Path;

use super::files::Root;
use super::fingerprint::Fingerprint;
use super::warmup;
use crate::error::{Error, Result};
use crate::model::manifest::{self, Manifest};
use crate::model::triton_config::{self, TritonConfig};
use crate::model::warmup::SampleData;

/// Largest configuration file that is read.
const TEXT_BYTES_MAX: u64 = 1 << 20;
const FILES: [&str; 2] = [manifest::FILE, triton_config::FILE];

/// How the configuration in a folder looks from outside.
pub fn fingerprint(folder: &Path) -> Fingerprint {
    Fingerprint::of_files(folder, &FILES)
}

/// How the files look that a configuration names beside itself: labels and the data of warm-ups.
pub fn files_beside(folder: &Path, manifest: &Manifest) -> Fingerprint {
    let labels = manifest.outputs.iter().filter_map(|output| output.labels_file.clone());
    let inputs = manifest.warmup.iter().flat_map(|sample| &sample.inputs);
    let data = inputs.filter_map(|input| match &input.data {
        SampleData::File(name) => Some(format!("{}/{name}", warmup::FOLDER)),
        SampleData::Zero | SampleData::Random => None,
    });
    let names: Vec<String> = labels.chain(data).collect();
    Fingerprint::of_files(folder, &names.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The name of the file, where there is one.
pub fn file(folder: &Path) -> Option<&'static str> {
    FILES.into_iter().find(|file| folder.join(file).exists())
}

/// What the configuration in a folder beneath the registry says of the model `name`; the default
/// where there is none.
pub fn read(root: &Root, folder: &Path, name: &str) -> Result<Manifest> {
    let text = |file: &str| root.read_text(&folder.join(file), TEXT_BYTES_MAX);
    match FILES.map(text) {
        [Ok(None), Ok(None)] => Ok(Manifest::default()),
        [own, Ok(None)] => {
            let parsed =
                own?.map_or_else(|| Ok(Manifest::default()), |text| Manifest::parse(&text));
            parsed.map_err(|error| within(manifest::FILE, &error))
        }
        [Ok(None), tritons] => {
            let config = TritonConfig::from_text(&tritons?.unwrap_or_default());
            let manifest = config.and_then(|config| config.into_manifest(name));
            manifest.map_err(|error| within(triton_config::FILE, &error))
        }
        _ => Err(Error::invalid(format!(
            "{} and {} lie side by side; expected one of them",
            manifest::FILE,
            triton_config::FILE
        ))),
    }
}

fn within(file: &str, error: &Error) -> Error {
    Error::new(error.kind(), format!("{file}: {}", error.message()))
}
