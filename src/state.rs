//! Files in the state folder, which keep what calls have changed across restarts.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};
use crate::model::ModelId;

/// The name of a version's file: neither part holds anything that a path could mind.
pub fn version_file(id: &ModelId) -> String {
    format!("{}-{}.json", id.name, id.version)
}

/// A moment as files hold it: seconds since 1970.
pub fn seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The moment that a file tells; `None` for one that no clock can show.
pub fn moment(seconds: u64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Mode of the files.
const OWNER_ONLY: u32 = 0o600;

/// What was kept; nothing was, where there is no file. A broken file is an error, not an empty one.
pub fn open<T: DeserializeOwned + Default>(folder: &Path, name: &str) -> Result<T> {
    let path = folder.join(name);
    let broken = |error: String| Error::invalid(format!("{}: {error}", path.display()));
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| broken(error.to_string())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(T::default()),
        Err(error) => Err(broken(error.to_string())),
    }
}

/// Whole or not at all: written aside, flushed, renamed. For the server's user alone: what became
/// true of patients is among it, without their names.
pub fn save(folder: &Path, name: &str, content: &impl Serialize) -> Result<()> {
    let write = || -> std::io::Result<()> {
        fs::create_dir_all(folder)?;
        let aside = folder.join(format!("{name}.tmp"));
        let mut options = fs::OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(OWNER_ONLY).open(&aside)?;
        // One that a crash left behind keeps the mode that it had.
        file.set_permissions(fs::Permissions::from_mode(OWNER_ONLY))?;
        file.write_all(&serde_json::to_vec_pretty(content)?)?;
        file.sync_all()?;
        fs::rename(aside, folder.join(name))?;
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(|error| {
        let message = "the change can not be kept: the state folder can not be written to";
        Error::new(ErrorKind::NotReady, message)
            .with_detail(format!("{}: {error}", folder.display()))
    })
}
