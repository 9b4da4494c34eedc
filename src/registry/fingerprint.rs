//! What a folder looks like from outside: enough to see that its files changed, without reading
//! them.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use super::integrity;

/// Files of one folder that are looked at; more change nothing.
const FILES_MAX: usize = 10_000;
/// Folders in folders that are looked at.
const DEPTH_MAX: usize = 8;

/// Names, sizes, times and inodes of all files beneath a folder, in one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    digest: [u8; 16],
    /// The youngest of all modification and change times.
    pub newest: SystemTime,
    /// Whether a list of digests says when the folder is whole.
    pub has_digests: bool,
}

impl Fingerprint {
    /// Looks at a folder, or at one file. What can not be read looks like nothing.
    pub fn of(path: &Path) -> Self {
        let mut walk = Walk::new();
        walk.visit(path, "", 0);
        walk.finish(path.join(integrity::FILE).is_file())
    }

    /// As [`Fingerprint::of`], without names that begin with a dot: there a server keeps what is
    /// not the model's.
    pub fn of_visible(path: &Path) -> Self {
        let mut walk = Walk { visible: true, ..Walk::new() };
        walk.visit(path, "", 0);
        walk.finish(path.join(integrity::FILE).is_file())
    }

    /// Looks at some files of a folder.
    pub fn of_files(folder: &Path, names: &[&str]) -> Self {
        let mut walk = Walk::new();
        for name in names {
            walk.visit(&folder.join(name), name, 0);
        }
        walk.finish(false)
    }

    /// Of bytes that lie in no file.
    pub fn of_content(content: &[u8]) -> Self {
        let mut digest = [0; 16];
        digest.copy_from_slice(&Sha256::digest(content)[..16]);
        Self { digest, newest: SystemTime::UNIX_EPOCH, has_digests: false }
    }

    /// Of nothing.
    pub fn nothing() -> Self {
        Self { digest: [0; 16], newest: SystemTime::UNIX_EPOCH, has_digests: false }
    }

    /// Of two things, as one.
    pub fn and(self, other: Fingerprint) -> Self {
        Self::of_content(&self.with(other))
    }

    /// One value for two things that must both stay the same.
    pub fn with(self, other: Fingerprint) -> [u8; 32] {
        let mut both = [0; 32];
        both[..16].copy_from_slice(&self.digest);
        both[16..].copy_from_slice(&other.digest);
        both
    }
}

struct Walk {
    hash: Sha256,
    newest: SystemTime,
    files: usize,
    /// Leaves out names that begin with a dot.
    visible: bool,
}

impl Walk {
    fn new() -> Self {
        Self { hash: Sha256::new(), newest: SystemTime::UNIX_EPOCH, files: 0, visible: false }
    }

    fn finish(self, has_digests: bool) -> Fingerprint {
        let mut digest = [0; 16];
        digest.copy_from_slice(&self.hash.finalize()[..16]);
        Fingerprint { digest, newest: self.newest, has_digests }
    }

    fn visit(&mut self, path: &Path, name: &str, depth: usize) {
        let Ok(metadata) = std::fs::symlink_metadata(path) else { return };
        if !metadata.is_dir() {
            self.note(name, &metadata);
            return;
        }
        if depth == DEPTH_MAX {
            return;
        }
        let Ok(entries) = std::fs::read_dir(path) else { return };
        let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        names.sort_unstable();
        let hidden = |name: &std::ffi::OsString| name.as_encoded_bytes().starts_with(b".");
        names.retain(|name| !self.visible || !hidden(name));
        for child in names {
            if self.files == FILES_MAX {
                return;
            }
            let shown = format!("{name}/{}", child.to_string_lossy());
            self.visit(&path.join(&child), &shown, depth + 1);
        }
    }

    fn note(&mut self, name: &str, metadata: &Metadata) {
        self.files += 1;
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        self.hash.update(name.as_bytes());
        self.hash.update([0]);
        for number in [modified.0, modified.1, changed.0, changed.1] {
            self.hash.update(number.to_le_bytes());
        }
        self.hash.update(metadata.len().to_le_bytes());
        self.hash.update(metadata.ino().to_le_bytes());
        for (seconds, nanos) in [modified, changed] {
            let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            let nanos = Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
            let time = SystemTime::UNIX_EPOCH.checked_add(seconds + nanos);
            self.newest = self.newest.max(time.unwrap_or(SystemTime::UNIX_EPOCH));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_change_of_a_file_is_seen() {
        let path = std::env::temp_dir().join(format!("galen-print-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(path.join("sub")).unwrap();
        std::fs::write(path.join("sub/a"), "1").unwrap();
        let first = Fingerprint::of(&path);
        assert_eq!(Fingerprint::of(&path), first);
        assert!(!first.has_digests);
        // The same size, another inode.
        std::fs::write(path.join("b"), "2").unwrap();
        std::fs::rename(path.join("b"), path.join("sub/a")).unwrap();
        let second = Fingerprint::of(&path);
        assert_ne!(second, first);
        std::fs::write(path.join(integrity::FILE), "").unwrap();
        assert!(Fingerprint::of(&path).has_digests);
        let visible = Fingerprint::of_visible(&path);
        std::fs::write(path.join(".state"), "").unwrap();
        assert_eq!(Fingerprint::of_visible(&path), visible);
        std::fs::write(path.join("c"), "").unwrap();
        assert_ne!(Fingerprint::of_visible(&path), visible);
        std::fs::remove_dir_all(&path).unwrap();
        assert_ne!(Fingerprint::of(&path), second);
    }
}
