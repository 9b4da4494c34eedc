//! Where what a compiler made of models is kept, so that it is made once and not at each start.
//!
//! A model's folder is named by the digest of its bytes: TensorRT tells what it kept apart by the
//! graph alone, and a new version of a model is mostly the same graph with other weights.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::digest::sha256;

/// What is kept is run: others may read it, and nobody else write it.
const MODE: u32 = 0o755;
const OTHERS_WRITE: u32 = 0o022;

/// The folder of a model, which is there afterwards; none where nothing can be kept, which the log
/// says.
pub fn folder(kept: &Path, model: &[u8]) -> Option<PathBuf> {
    let path = kept.join(sha256(model));
    match make(&path) {
        Ok(()) => Some(path),
        Err(error) => {
            let (folder, reason) = (path.display(), error.to_string());
            tracing::warn!(%folder, reason, "what is compiled is not kept: each load compiles");
            None
        }
    }
}

fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(MODE).create(path)?;
    if fs::metadata(path)?.permissions().mode() & OTHERS_WRITE != 0 {
        return Err(io::Error::other("others may write to it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_has_its_own_folder_that_others_can_not_write() {
        let kept = std::env::temp_dir().join(format!("galen-compiled-{}", std::process::id()));
        let one = folder(&kept, b"one").unwrap();
        assert_eq!(folder(&kept, b"one").unwrap(), one);
        assert_ne!(folder(&kept, b"two").unwrap(), one);
        // By `printf one | sha256sum`.
        assert!(one.ends_with("7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"));
        fs::set_permissions(&one, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(folder(&kept, b"one"), None);
        fs::remove_dir_all(&kept).unwrap();
        fs::write(&kept, "").unwrap();
        assert_eq!(folder(&kept, b"one"), None);
        fs::remove_file(&kept).unwrap();
    }
}
