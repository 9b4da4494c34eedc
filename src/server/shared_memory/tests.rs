//! Regions over files in a folder of the test's own.

use super::*;
use crate::tensor::{DType, Shape, Tensor};
use std::fs;
use std::os::unix::fs::symlink;

/// A folder that stands in for that of the objects; it goes away with this value.
struct Objects(PathBuf);

impl Objects {
    fn new(test: &str) -> (Self, Regions) {
        let name = format!("galen-shm-{}-{test}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        let regions = Regions(Some(Arc::new(Room::beneath(&path))));
        (Self(path), regions)
    }

    fn file(&self, name: &str, data: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, data).unwrap();
        path
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn window(region: &str, offset: u64, byte_size: u64) -> Window {
    Window { region: region.to_owned(), offset, byte_size }
}

fn output(data: &'static [u8]) -> NamedTensor {
    let shape = Shape::new([data.len()]);
    let tensor = Tensor::new("y", DType::U8, shape, Bytes::from_static(data)).unwrap();
    NamedTensor { name: "y".to_owned(), tensor }
}

fn refused<T: std::fmt::Debug>(outcome: Result<T>, kind: ErrorKind, part: &str) {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.message().contains(part), "{error}");
    assert!(!error.message().contains("galen-shm"), "a path is shown: {error}");
}

#[test]
fn inputs_are_read_and_outputs_written_at_their_places() {
    let (objects, regions) = Objects::new("places");
    let path = objects.file("psm", b"..abcdef..");
    regions.register("r", "/psm", 2, 6).unwrap();
    let mut access = regions.access(100);
    assert_eq!(access.input("x", &window("r", 0, 6)).unwrap(), "abcdef");
    assert_eq!(access.input("x", &window("r", 4, 2)).unwrap(), "ef");
    assert_eq!(access.input("x", &window("r", 6, 0)).unwrap(), "");
    let slot = access.output("y", &window("r", 1, 4)).unwrap();
    assert_eq!((slot.region(), slot.offset()), ("r", 1));
    deliver([(&output(b"XY"), &slot)].into_iter()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"..aXYdef..");
    let five = output(b"12345");
    let refusal = deliver([(&output(b"Z"), &slot), (&five, &slot)].into_iter());
    refused(refusal, ErrorKind::InvalidInput, "(4 bytes) should be at least 5 bytes to hold");
    assert_eq!(fs::read(&path).unwrap(), b"..aXYdef..", "nothing is written in part");
}

#[test]
fn nothing_beyond_a_region_can_be_reached() {
    let (objects, regions) = Objects::new("beyond");
    objects.file("psm", b"..abcdef..");
    regions.register("r", "psm", 2, 6).unwrap();
    let mut access = regions.access(usize::MAX);
    for (offset, bytes) in [(0, 7), (6, 1), (7, 0), (u64::MAX, 1), (1, u64::MAX), (5, 2)] {
        let place = window("r", offset, bytes);
        refused(access.input("x", &place), ErrorKind::InvalidInput, "input 'x': invalid offset");
        refused(access.output("y", &place), ErrorKind::InvalidInput, "output 'y': invalid offset");
    }
    refused(access.input("x", &window("q", 0, 1)), ErrorKind::NotFound, "region: 'q'");
    for (offset, bytes) in [(0, 11), (10, 1), (u64::MAX, u64::MAX), (11, u64::MAX - 5)] {
        refused(
            regions.register("s", "psm", offset, bytes),
            ErrorKind::InvalidInput,
            "'offset' and 'byte_size' reach beyond the object",
        );
    }
    refused(regions.register("s", "psm", 0, 0), ErrorKind::InvalidInput, "1 or more");
    assert_eq!(regions.status(None).unwrap().len(), 1);
}

#[test]
fn an_object_that_shrinks_is_an_error_and_does_not_grow_again() {
    let (objects, regions) = Objects::new("shrinks");
    let path = objects.file("psm", b"abcdef");
    regions.register("r", "psm", 0, 6).unwrap();
    let slot = regions.access(10).output("y", &window("r", 0, 6)).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(3).unwrap();
    let read = regions.access(10).input("x", &window("r", 0, 6));
    refused(read, ErrorKind::InvalidInput, "smaller than it was");
    let written = deliver([(&output(b"123456"), &slot)].into_iter());
    refused(written, ErrorKind::InvalidInput, "smaller than it was");
    assert_eq!(fs::read(&path).unwrap(), b"abc");
}

#[test]
fn only_plain_files_of_one_name_are_opened() {
    let (objects, regions) = Objects::new("plain");
    let path = objects.file("real", b"abc");
    symlink(&path, objects.0.join("link")).unwrap();
    objects.file("one", b"abc");
    fs::hard_link(objects.0.join("one"), objects.0.join("two")).unwrap();
    fs::create_dir(objects.0.join("folder")).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, objects.0.join("fifo"), fifo, Mode::RUSR | Mode::WUSR, 0)
        .unwrap();
    for key in ["link", "two", "folder", "fifo", "absent", "../real", "/..", "folder/x", ""] {
        let outcome = regions.register("r", key, 0, 1);
        refused(outcome, ErrorKind::InvalidInput, "'r': its 'key' names no shared memory object");
    }
    for name in ["", "a/b", "a\n", "é", ".."] {
        refused(regions.register(name, "real", 0, 1), ErrorKind::InvalidInput, "the name of a");
    }
    regions.register("r", "real", 0, 3).unwrap();
}

#[test]
fn regions_are_listed_bounded_and_forgotten() {
    let (objects, regions) = Objects::new("listed");
    objects.file("psm", b"abcdef");
    regions.register("r", "/psm", 1, 2).unwrap();
    let again = regions.register("r", "psm", 0, 1);
    refused(again, ErrorKind::AlreadyExists, "region 'r' already in manager");
    let status =
        RegionStatus { name: "r".to_owned(), key: "/psm".to_owned(), offset: 1, byte_size: 2 };
    let expected = [status];
    assert_eq!(regions.status(Some("r")).unwrap(), expected);
    assert_eq!(regions.status(None).unwrap(), expected);
    let slot = regions.access(10).output("y", &window("r", 0, 2)).unwrap();
    regions.unregister(Some("r")).unwrap();
    regions.unregister(Some("r")).unwrap();
    refused(regions.status(Some("r")), ErrorKind::NotFound, "region: 'r'");
    // Work that had begun finishes.
    deliver([(&output(b"XY"), &slot)].into_iter()).unwrap();
    for number in 0..REGIONS_MAX {
        regions.register(&format!("r{number}"), "psm", 0, 1).unwrap();
    }
    let one_more = regions.register("more", "psm", 0, 1);
    refused(one_more, ErrorKind::InvalidInput, "256 shared memory regions");
    regions.unregister(None).unwrap();
    assert!(regions.status(None).unwrap().is_empty());
}

#[test]
fn a_request_takes_no_more_than_its_limit_in_all() {
    let (objects, regions) = Objects::new("limit");
    objects.file("psm", b"abcdef");
    regions.register("r", "psm", 0, 6).unwrap();
    let mut access = regions.access(10);
    access.input("x", &window("r", 0, 6)).unwrap();
    let more = access.input("x", &window("r", 0, 6));
    refused(more, ErrorKind::TooLarge, "larger than the limit of 10 bytes");
    access.input("x", &window("r", 0, 4)).unwrap();
}

#[test]
fn where_it_is_off_every_call_names_the_switch() {
    let regions = Regions::new(false);
    assert!(!regions.are_allowed());
    let off = "--allow-client-shm=true";
    refused(regions.register("r", "psm", 0, 1), ErrorKind::Unsupported, off);
    refused(regions.unregister(None), ErrorKind::Unsupported, off);
    refused(regions.status(None), ErrorKind::Unsupported, off);
    let input = regions.access(10).input("x", &window("r", 0, 1));
    refused(input, ErrorKind::Unsupported, "input 'x' is in shared memory, which is off");
    let output = regions.access(10).output("y", &window("r", 0, 1));
    refused(output, ErrorKind::Unsupported, off);
}
