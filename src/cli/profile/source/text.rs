//! A CSV file: its lines are bounded, and its bytes hashed as they pass, with a bar that moves.

use std::fs::File;
use std::io::{self, BufReader, Read};

use csv::{ReaderBuilder, StringRecord};
use indicatif::ProgressBar;
use sha2::{Digest, Sha256};

use super::{BYTES_MAX, TEXT_BYTES_MAX};
use crate::cli::progress;
use crate::error::{Error, Result};

pub struct Reader {
    reader: csv::Reader<Watched>,
    header: Vec<String>,
    record: StringRecord,
}

impl Reader {
    /// `start` holds the bytes of the file that were taken from it already.
    pub fn open(start: Vec<u8>, file: File, bytes: u64) -> Result<Self> {
        let source = Watched {
            inner: BufReader::new(Box::new(io::Cursor::new(start).chain(file))),
            hash: Sha256::new(),
            bar: progress::of_bytes(bytes),
            read: 0,
            line: 0,
        };
        let mut reader = ReaderBuilder::new().trim(csv::Trim::All).from_reader(source);
        let header = reader.headers().map_err(|error| told(&error))?;
        let header = header.iter().map(str::to_owned).collect();
        Ok(Self { reader, header, record: StringRecord::new() })
    }

    pub fn header(&self) -> &[String] {
        &self.header
    }

    pub fn next(&mut self) -> Result<Option<&StringRecord>> {
        let found = self.reader.read_record(&mut self.record).map_err(|error| told(&error))?;
        Ok(found.then_some(&self.record))
    }

    /// SHA-256 of the whole file.
    pub fn finish(&mut self) -> io::Result<[u8; 32]> {
        let source = self.reader.get_mut();
        io::copy(source, &mut io::sink())?;
        source.bar.finish_and_clear();
        Ok(std::mem::take(&mut source.hash).finalize().into())
    }
}

/// Where a file is no table. The crate's texts name lines and counts, never a cell.
fn told(error: &csv::Error) -> Error {
    Error::invalid(error.to_string())
}

/// The bytes as they pass.
struct Watched {
    inner: BufReader<Box<dyn Read>>,
    hash: Sha256,
    bar: ProgressBar,
    read: u64,
    /// Bytes since the last end of a line.
    line: usize,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let bytes = &buffer[..count];
        self.hash.update(bytes);
        self.read += count as u64;
        self.bar.set_position(self.read);
        // One longer than the buffer (8 KiB) is seen, a shorter one is harmless.
        self.line = match bytes.iter().rposition(|&byte| byte == b'\n') {
            Some(end) => count - end - 1,
            None => self.line + count,
        };
        // A file that grows while it is read has an end, too.
        if self.line > TEXT_BYTES_MAX || self.read > BYTES_MAX {
            return Err(io::Error::other(format!(
                "a line is longer than {TEXT_BYTES_MAX} bytes, or the file than {BYTES_MAX}"
            )));
        }
        Ok(count)
    }
}
