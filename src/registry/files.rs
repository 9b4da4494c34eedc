//! Reading files of the registry so that nothing outside it can be read, and nothing can be
//! swapped between check and use: a file is opened once, beneath the registry, without following
//! links, as a regular file of bounded size, and what follows works on those bytes only.
//!
//! (Path traversal through ONNX external data, symbolic and hard links, and FIFOs that hang a
//! loader are the known attacks on model servers.)

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use bytes::Bytes;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// An open registry directory.
pub struct Root {
    directory: OwnedFd,
}

impl Root {
    /// Opens the directory itself; this one path is the operator's and may be a link.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| {
            Error::invalid(format!("model registry {}: {error}", path.display()))
        })?;
        Ok(Self { directory })
    }

    /// The whole content of a file beneath the registry; `None` where there is none.
    pub fn read(&self, path: &Path, bytes_max: u64) -> Result<Option<Bytes>> {
        let refuse = |why: String| Error::invalid(format!("{}: {why}", path.display()));
        // NONBLOCK: opening a FIFO must not wait for somebody to write to it.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match open_beneath(&self.directory, path, flags) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(Errno::LOOP | Errno::XDEV) => {
                return Err(refuse("symbolic links are not followed in a registry".into()));
            }
            Err(error) => return Err(refuse(error.to_string())),
        };
        let metadata = file.metadata().map_err(|error| refuse(error.to_string()))?;
        if !metadata.is_file() {
            return Err(refuse("expected a regular file".into()));
        }
        if links(&metadata) > 1 {
            return Err(refuse("hard links are not read in a registry; copy the file".into()));
        }
        if metadata.len() > bytes_max {
            return Err(refuse(format!(
                "the file has {} bytes, more than the limit of {bytes_max}",
                metadata.len()
            )));
        }
        // The size may change while reading: the limit holds all the same.
        let mut data = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        let limit = bytes_max.saturating_add(1);
        file.take(limit).read_to_end(&mut data).map_err(|error| refuse(error.to_string()))?;
        if data.len() as u64 != metadata.len() {
            return Err(refuse("the file changed while it was read".into()));
        }
        Ok(Some(data.into()))
    }

    /// Whether a regular file lies there, beneath the registry and behind no link.
    pub fn is_file(&self, path: &Path) -> bool {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = open_beneath(&self.directory, path, flags).map(File::from);
        file.ok().and_then(|file| file.metadata().ok()).is_some_and(|found| found.is_file())
    }

    /// As [`Root::read`], for a text that must be UTF-8.
    pub fn read_text(&self, path: &Path, bytes_max: u64) -> Result<Option<String>> {
        let Some(data) = self.read(path, bytes_max)? else { return Ok(None) };
        String::from_utf8(data.into())
            .map(Some)
            .map_err(|_| Error::invalid(format!("{}: expected UTF-8 text", path.display())))
    }
}

#[cfg(target_os = "linux")]
fn open_beneath(directory: &OwnedFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    use rustix::fs::ResolveFlags;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(directory, path, flags, Mode::empty(), resolve) {
        // Kernels before 5.6, and sandboxes that hide the call.
        Err(Errno::NOSYS | Errno::PERM) => walk_beneath(directory, path, flags),
        other => other,
    }
}

#[cfg(not(target_os = "linux"))]
fn open_beneath(directory: &OwnedFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    walk_beneath(directory, path, flags)
}

/// The same without `openat2`: one plain name at a time, following no link.
fn walk_beneath(directory: &OwnedFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let names: Vec<_> = path.components().collect();
    let plain = names.iter().all(|name| matches!(name, std::path::Component::Normal(_)));
    let Some((last, folders)) = names.split_last().filter(|_| plain) else {
        return Err(Errno::XDEV);
    };
    let into = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = directory.try_clone().map_err(|_| Errno::MFILE)?;
    for folder in folders {
        at = rustix::fs::openat(&at, folder.as_os_str(), into, Mode::empty())?;
    }
    rustix::fs::openat(&at, last.as_os_str(), flags, Mode::empty())
}

fn links(metadata: &std::fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    metadata.nlink()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("galen-files-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(path.join("m/1")).unwrap();
        path
    }

    #[test]
    fn only_small_regular_files_beneath_the_root_are_read() {
        let path = folder("read");
        std::fs::write(path.join("m/1/model.onnx"), b"abc").unwrap();
        let outside = path.with_extension("outside");
        std::fs::write(&outside, b"secret").unwrap();
        std::os::unix::fs::symlink(&outside, path.join("m/1/link")).unwrap();
        std::os::unix::fs::symlink(path.join("m"), path.join("linked")).unwrap();
        std::fs::write(path.join("m/1/one"), b"x").unwrap();
        std::fs::hard_link(path.join("m/1/one"), path.join("m/1/two")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path.join("m/1/fifo"),
            rustix::fs::FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();

        let root = Root::open(&path).unwrap();
        let read = |name: &str, max| root.read(Path::new(name), max);
        assert_eq!(read("m/1/model.onnx", 3).unwrap().unwrap(), &b"abc"[..]);
        assert!(read("m/1/absent", 3).unwrap().is_none());
        assert!(read("m/1/model.onnx/x", 3).unwrap().is_none());
        for (name, max) in [
            ("m/1/model.onnx", 2),
            ("m/1/link", 100),
            ("linked/1/model.onnx", 100),
            ("m/1/two", 100),
            ("m/1/fifo", 100),
            ("m/1", 100),
            ("../x", 100),
            ("m/../../x", 100),
        ] {
            assert!(read(name, max).is_err(), "{name}");
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let walk = |name: &str| walk_beneath(&root.directory, Path::new(name), flags);
        assert!(walk("m/1/model.onnx").is_ok());
        for name in ["m/1/link", "linked/1/model.onnx", "../x", "/etc/passwd", ""] {
            assert!(walk(name).is_err(), "{name}");
        }
        std::fs::remove_dir_all(&path).unwrap();
        std::fs::remove_file(&outside).unwrap();
    }
}
