//! System shared memory, Triton's extension: tensors that lie in memory which a client on the same
//! host shares with the server. Both doors use this one room; `bounds` is its pure part.
//!
//! A POSIX shared memory object is a file. It is opened once, when a region of it is registered,
//! and then read and written at checked places: never mapped, so that a client that shrinks it
//! gets an error and not the server a SIGBUS, and never by a path again. What is read is copied
//! before it is checked, so that nobody can change it in between. Such a file lies in memory: a
//! copy of what a request may bring costs less than parsing a body of that size, so it is made
//! where it is asked for.
//!
//! Whoever may register a region reaches every object that the server's user may open: it is off
//! unless the operator wants it. What this file must not know: either protocol.

mod bounds;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use rustix::fs::{Mode, OFlags};

use super::parameters::Window;
use crate::error::{Error, ErrorKind, Result, quoted};
use crate::tensor::NamedTensor;
use bounds::{Span, file_name, is_region_name};

/// Where the C library keeps the objects that `shm_open` names.
const OBJECTS: &str = "/dev/shm";
/// Regions at a time; each holds a file open.
const REGIONS_MAX: usize = 256;
const SWITCH: &str = "--allow-client-shm=true";

/// The regions that clients have registered; nothing at all where that is not allowed.
#[derive(Clone, Debug, Default)]
pub struct Regions(Option<Arc<Room>>);

#[derive(Debug)]
struct Room {
    objects: PathBuf,
    regions: RwLock<BTreeMap<String, Arc<Region>>>,
}

#[derive(Debug)]
struct Region {
    name: String,
    key: String,
    file: File,
    /// Its place in the object.
    span: Span,
}

/// One region, as a client registered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionStatus {
    pub name: String,
    pub key: String,
    pub offset: u64,
    pub byte_size: u64,
}

impl Regions {
    pub fn new(allowed: bool) -> Self {
        Self(allowed.then(|| Arc::new(Room::beneath(Path::new(OBJECTS)))))
    }

    pub fn are_allowed(&self) -> bool {
        self.0.is_some()
    }

    fn room(&self) -> Result<&Room> {
        self.0.as_deref().ok_or_else(|| {
            Error::unsupported(format!(
                "system shared memory is off on this server; it is started with {SWITCH}"
            ))
        })
    }

    /// Opens `byte_size` bytes of the object `key`, from `offset` on, under a name.
    pub fn register(&self, name: &str, key: &str, offset: u64, byte_size: u64) -> Result<()> {
        let room = self.room()?;
        if !is_region_name(name) {
            return Err(Error::invalid(format!(
                "the name of a shared memory region is 1 to 128 of A-Z, a-z, 0-9, '.', '_' and \
                 '-', but '{}' is not",
                quoted(name)
            )));
        }
        let refuse = |why: &str| {
            Error::invalid(format!("failed to register shared memory region '{name}': {why}"))
        };
        if byte_size == 0 {
            return Err(refuse("'byte_size' must be 1 or more"));
        }
        // One answer whatever is wrong with an object: it tells nothing about those of others.
        let file = file_name(key).and_then(|file| open(&room.objects.join(file)));
        let (file, file_bytes) =
            file.ok_or_else(|| refuse("its 'key' names no shared memory object"))?;
        let span = Span::new(offset, byte_size).filter(|span| span.end() <= file_bytes);
        let span =
            span.ok_or_else(|| refuse("'offset' and 'byte_size' reach beyond the object"))?;
        let (name, key) = (name.to_owned(), key.to_owned());
        room.insert(Region { name, key, file, span })
    }

    /// Forgets one region, or all of them. One that is not there is forgotten already.
    pub fn unregister(&self, name: Option<&str>) -> Result<()> {
        let mut regions = self.room()?.regions.write().unwrap_or_else(PoisonError::into_inner);
        match name {
            Some(name) => drop(regions.remove(name)),
            None => regions.clear(),
        }
        Ok(())
    }

    /// One region, or all of them in order of name.
    pub fn status(&self, name: Option<&str>) -> Result<Vec<RegionStatus>> {
        let room = self.room()?;
        match name {
            Some(name) => room.find(name).map(|region| vec![region.status()]),
            None => {
                let regions = room.regions.read().unwrap_or_else(PoisonError::into_inner);
                Ok(regions.values().map(|region| region.status()).collect())
            }
        }
    }

    /// The regions as one request may use them: its inputs come to at most `bytes_max` bytes.
    pub fn access(&self, bytes_max: usize) -> Access<'_> {
        Access { regions: self, bytes_max, bytes_left: bytes_max as u64 }
    }

    /// Where a tensor lies. `what` names it in the error: "input 'x'".
    fn slot(&self, what: &str, window: &Window) -> Result<Slot> {
        let Some(room) = self.0.as_deref() else {
            return Err(Error::unsupported(format!(
                "{what} is in shared memory, which is off on this server; it is started with \
                 {SWITCH}"
            )));
        };
        let region = room.find(&window.region)?;
        let place = Span::new(window.offset, window.byte_size);
        let place = place.and_then(|inner| region.span.part(inner)).ok_or_else(|| {
            Error::invalid(format!(
                "{what}: invalid offset + byte size for shared memory region: '{}'",
                region.name
            ))
        })?;
        Ok(Slot { region, place, offset: window.offset })
    }
}

impl Room {
    fn beneath(objects: &Path) -> Self {
        Self { objects: objects.to_owned(), regions: RwLock::default() }
    }

    fn insert(&self, region: Region) -> Result<()> {
        let mut regions = self.regions.write().unwrap_or_else(PoisonError::into_inner);
        let count = regions.len();
        match regions.entry(region.name.clone()) {
            Entry::Occupied(_) => Err(Error::new(
                ErrorKind::AlreadyExists,
                format!("shared memory region '{}' already in manager", region.name),
            )),
            Entry::Vacant(_) if count >= REGIONS_MAX => Err(Error::invalid(format!(
                "{REGIONS_MAX} shared memory regions are registered, which is as many as there \
                 may be: unregister one first"
            ))),
            Entry::Vacant(place) => {
                place.insert(Arc::new(region));
                Ok(())
            }
        }
    }

    fn find(&self, name: &str) -> Result<Arc<Region>> {
        let regions = self.regions.read().unwrap_or_else(PoisonError::into_inner);
        regions.get(name).map(Arc::clone).ok_or_else(|| {
            // Triton's words.
            let name = quoted(name);
            Error::not_found(format!("Unable to find shared memory region: '{name}'"))
        })
    }
}

impl Region {
    fn status(&self) -> RegionStatus {
        RegionStatus {
            name: self.name.clone(),
            key: self.key.clone(),
            offset: self.span.offset(),
            byte_size: self.span.bytes(),
        }
    }
}

/// A file with its size; only a regular one, of one name, and behind no link.
fn open(path: &Path) -> Option<(File, u64)> {
    // NONBLOCK: opening a FIFO must not wait for somebody at its other end.
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    let metadata = file.metadata().ok()?;
    (metadata.is_file() && metadata.nlink() == 1).then_some((file, metadata.len()))
}

/// What one request may do with the regions.
pub struct Access<'a> {
    regions: &'a Regions,
    bytes_max: usize,
    bytes_left: u64,
}

impl Access<'_> {
    /// The bytes of an input.
    pub fn input(&mut self, name: &str, window: &Window) -> Result<Bytes> {
        let slot = self.regions.slot(&format!("input '{name}'"), window)?;
        let left = self.bytes_left.checked_sub(window.byte_size);
        self.bytes_left = left.ok_or_else(|| {
            Error::too_large(format!(
                "the inputs in shared memory are larger than the limit of {} bytes",
                self.bytes_max
            ))
        })?;
        slot.read()
    }

    /// The place of an output.
    pub fn output(&self, name: &str, window: &Window) -> Result<Slot> {
        self.regions.slot(&format!("output '{name}'"), window)
    }
}

/// A checked place in a region, which stays open as long as somebody holds one.
#[derive(Clone, Debug)]
pub struct Slot {
    region: Arc<Region>,
    /// Counted from the start of the object.
    place: Span,
    /// Counted from the start of the region.
    offset: u64,
}

impl Slot {
    pub fn region(&self) -> &str {
        &self.region.name
    }

    pub fn offset(&self) -> u64 {
        self.offset
    }

    fn read(&self) -> Result<Bytes> {
        // Before memory is taken for it: the object may have shrunk since it was registered.
        self.check_size()?;
        let bytes = usize::try_from(self.place.bytes()).map_err(|_| self.shrunk())?;
        let mut data = vec![0; bytes];
        let read = self.region.file.read_exact_at(&mut data, self.place.offset());
        read.map_err(|error| self.shrunk().with_detail(error))?;
        Ok(data.into())
    }

    fn write(&self, data: &[u8]) -> Result<()> {
        let written = self.region.file.write_all_at(data, self.place.offset());
        written.map_err(|error| {
            let message =
                format!("shared memory region '{}' could not be written", self.region.name);
            Error::invalid(message).with_detail(error)
        })
    }

    /// Whether the object still holds all of it: writing beyond its end would make it grow.
    fn check_size(&self) -> Result<()> {
        let metadata = self.region.file.metadata();
        let size = metadata.map_err(|error| self.shrunk().with_detail(error))?.len();
        if self.place.end() <= size { Ok(()) } else { Err(self.shrunk()) }
    }

    fn shrunk(&self) -> Error {
        let name = &self.region.name;
        Error::invalid(format!(
            "shared memory region '{name}' is smaller than it was when it was registered"
        ))
    }
}

/// Writes outputs where their callers want them. Each is checked before the first byte is written.
pub fn deliver<'a>(
    outputs: impl Iterator<Item = (&'a NamedTensor, &'a Slot)> + Clone,
) -> Result<()> {
    for (NamedTensor { name, tensor }, slot) in outputs.clone() {
        let (bytes, room) = (tensor.data().len(), slot.place.bytes());
        if bytes as u64 > room {
            // Triton's words.
            return Err(Error::invalid(format!(
                "shared memory size specified with the request for output '{name}' ({room} bytes) \
                 should be at least {bytes} bytes to hold the results"
            )));
        }
        slot.check_size()?;
    }
    for (output, slot) in outputs {
        slot.write(output.tensor.data())?;
    }
    Ok(())
}

/// The answer to whoever wants to share a GPU's memory.
pub fn no_cuda() -> Error {
    Error::unsupported(
        "CUDA shared memory is not supported; system shared memory is, where it is allowed",
    )
}

#[cfg(test)]
mod tests;
