//! A table of rows in a file, read once from front to back and never held: CSV or Parquet, whose
//! difference ends here.

mod columns;
mod parquet;
mod text;

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use columns::Held;

use crate::digest::hex;
use crate::error::{Error, Result};

/// Largest file.
const BYTES_MAX: u64 = 4 << 30;
/// Longest line of a text file, and longest text in a cell.
const TEXT_BYTES_MAX: usize = 4 << 20;
/// Columns of a file.
const COLUMNS_MAX: usize = 100_000;

/// What stands in a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    /// No value.
    Missing,
    Number(f64),
    /// A value of a file that knows texts from numbers.
    Text(&'a str),
    /// Characters of a file that has nothing else: whoever reads them says what they are.
    Written(&'a str),
}

impl<'a> Cell<'a> {
    /// The text that it is; none where there is no value.
    pub fn text(self) -> Option<&'a str> {
        match self {
            Cell::Missing => Some(""),
            Cell::Number(_) => None,
            Cell::Text(text) | Cell::Written(text) => Some(text),
        }
    }
}

/// One row; rows count from 1, below the header.
pub struct Row<'a> {
    pub number: u64,
    cells: Cells<'a>,
}

enum Cells<'a> {
    Written(&'a csv::StringRecord),
    Typed(&'a [Held]),
}

impl Row<'_> {
    /// The cell of a column, by its place in the header.
    pub fn cell(&self, place: usize) -> Cell<'_> {
        match self.cells {
            Cells::Written(record) => Cell::Written(record.get(place).unwrap_or_default()),
            Cells::Typed(cells) => cells.get(place).map_or(Cell::Missing, Held::cell),
        }
    }

    #[cfg(test)]
    pub fn written(number: u64, record: &csv::StringRecord) -> Row<'_> {
        Row { number, cells: Cells::Written(record) }
    }
}

/// The rows of a file.
pub struct Table {
    name: String,
    rows: u64,
    reader: Reader,
}

enum Reader {
    Text(Box<text::Reader>),
    Parquet(Box<parquet::Reader>),
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
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        let mut magic = Vec::new();
        file.by_ref().take(parquet::MAGIC.len() as u64).read_to_end(&mut magic).map_err(failed)?;
        let reader = if magic == parquet::MAGIC {
            file.rewind().map_err(failed)?;
            Reader::Parquet(Box::new(parquet::Reader::open(file, &name)?))
        } else {
            Reader::Text(Box::new(text::Reader::open(magic, file, bytes)?))
        };
        let table = Self { name, rows: 0, reader };
        if table.header().len() > COLUMNS_MAX {
            return Err(Error::too_large(format!("{shown} has more than {COLUMNS_MAX} columns")));
        }
        Ok(table)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names of the columns; a list is as many columns as it has elements.
    pub fn header(&self) -> &[String] {
        match &self.reader {
            Reader::Text(reader) => reader.header(),
            Reader::Parquet(reader) => reader.header(),
        }
    }

    /// Reads these columns only, and says which of them hold no feature; `true` asks for texts.
    pub fn select(&mut self, columns: &[(usize, bool)]) -> Result<()> {
        match &mut self.reader {
            Reader::Text(_) => Ok(()),
            Reader::Parquet(reader) => reader.select(columns),
        }
    }

    /// How many rows were read.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    pub fn next(&mut self) -> Result<Option<Row<'_>>> {
        let number = self.rows + 1;
        let cells = match &mut self.reader {
            Reader::Text(reader) => reader.next()?.map(Cells::Written),
            Reader::Parquet(reader) => reader.next(number)?.map(Cells::Typed),
        };
        self.rows += u64::from(cells.is_some());
        Ok(cells.map(|cells| Row { number, cells }))
    }

    /// How many rows there were, and the digest of the file, once it was read to the end.
    pub fn finish(&mut self) -> Result<(u64, String)> {
        let digest = match &mut self.reader {
            Reader::Text(reader) => reader.finish(),
            Reader::Parquet(reader) => reader.finish(),
        };
        let digest = digest.map_err(|error| Error::invalid(error.to_string()))?;
        Ok((self.rows, hex(&digest)))
    }
}

#[cfg(test)]
mod tests;
