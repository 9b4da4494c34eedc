//! A CSV file, read once from front to back: bounded, hashed on the way, with a bar that moves.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use csv::{Reader, ReaderBuilder, StringRecord};
use indicatif::ProgressBar;
use sha2::{Digest, Sha256};

use super::progress;
use crate::error::{Error, Result};

/// Largest file.
const BYTES_MAX: u64 = 4 << 30;
/// Longest line.
const LINE_BYTES_MAX: u64 = 4 << 20;
/// Columns of a file.
const COLUMNS_MAX: usize = 100_000;

/// The rows of a file.
pub struct Table {
    name: String,
    reader: Reader<Watched>,
    header: StringRecord,
    record: StringRecord,
    rows: u64,
}

impl Table {
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        let failed = |error: io::Error| Error::invalid(format!("{shown}: {error}"));
        let mut file = File::open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        if bytes > BYTES_MAX {
            return Err(Error::too_large(format!(
                "{shown} has more than {BYTES_MAX} bytes. Fix: take a random sample of the rows"
            )));
        }
        let mut magic = Vec::new();
        file.by_ref().take(4).read_to_end(&mut magic).map_err(failed)?;
        let named = path.extension().is_some_and(|end| end == "parquet" || end == "pq");
        if named || magic == b"PAR1" {
            return Err(Error::unsupported(format!(
                "{shown} is Parquet, which is not read. Fix: python -c \"import pandas; \
                 pandas.read_parquet('{shown}').to_csv('train.csv', index=False)\""
            )));
        }
        let source = Watched {
            inner: BufReader::new(Box::new(io::Cursor::new(magic).chain(file))),
            hash: Sha256::new(),
            bar: progress::of_bytes(bytes),
            read: 0,
            line: 0,
        };
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let mut reader = ReaderBuilder::new().trim(csv::Trim::All).from_reader(source);
        let header = reader.headers().map_err(|error| told(&error))?.clone();
        if header.len() > COLUMNS_MAX {
            return Err(Error::too_large(format!("{shown} has more than {COLUMNS_MAX} columns")));
        }
        let name = name.unwrap_or_default();
        Ok(Self { name, reader, header, record: StringRecord::new(), rows: 0 })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn header(&self) -> &StringRecord {
        &self.header
    }

    /// How many rows were read; the number of the last one, counted from 1 below the header.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The next row with its number.
    pub fn next(&mut self) -> Result<Option<(u64, &StringRecord)>> {
        if !self.reader.read_record(&mut self.record).map_err(|error| told(&error))? {
            return Ok(None);
        }
        self.rows += 1;
        Ok(Some((self.rows, &self.record)))
    }

    /// How many rows there were, and the digest of the file, once it was read to the end.
    pub fn finish(&mut self) -> Result<(u64, String)> {
        let source = self.reader.get_mut();
        io::copy(source, &mut io::sink()).map_err(|error| Error::invalid(error.to_string()))?;
        source.bar.finish_and_clear();
        let digest = std::mem::take(&mut source.hash).finalize();
        let sha256 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok((self.rows, sha256))
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
    line: u64,
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
            Some(end) => (count - end - 1) as u64,
            None => self.line + count as u64,
        };
        // A file that grows while it is read has an end, too.
        if self.line > LINE_BYTES_MAX || self.read > BYTES_MAX {
            return Err(io::Error::other(format!(
                "a line is longer than {LINE_BYTES_MAX} bytes, or the file than {BYTES_MAX}"
            )));
        }
        Ok(count)
    }
}
