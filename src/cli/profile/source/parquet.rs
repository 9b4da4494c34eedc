//! A Parquet file: numbers, flags, texts and lists of them, row by row. Columns that nobody asks
//! for are not decoded; of the others a page is in memory at a time.
//!
//! The crate asserts where a file contradicts itself, and its messages can hold a cell. Neither
//! leaves this file: a damaged one is told by its row. Its footer is read as deep as it says, so
//! that one made to harm can end the command.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use indicatif::ProgressBar;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::{ReaderIter, TreeBuilder};
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type, TypePtr};
use sha2::{Digest, Sha256};

use super::columns::{Held, Kind, kind, push};
use super::{BYTES_MAX, TEXT_BYTES_MAX};
use crate::cli::progress;
use crate::error::{Error, Result, quoted};

/// The first bytes of such a file.
pub const MAGIC: &[u8] = b"PAR1";
/// As many rows as a text file can have.
const ROWS_MAX: u64 = BYTES_MAX / 2;
/// Rows in which the first list of a column is looked for.
const LOOKAHEAD: u64 = 1000;

pub struct Reader {
    name: String,
    file: File,
    reader: SerializedFileReader<File>,
    columns: Vec<Column>,
    header: Vec<String>,
    rows: Rows,
    cells: Vec<Held>,
    bar: ProgressBar,
}

struct Column {
    field: TypePtr,
    kind: Kind,
    is_list: bool,
    /// Its place in the header, where a list has one for each element.
    first: usize,
    len: usize,
}

/// Where reading stands, and what is read.
struct Rows {
    columns: Vec<usize>,
    schema: SchemaDescPtr,
    next_group: usize,
    group: Option<ReaderIter>,
}

impl Reader {
    pub fn open(file: File, name: &str) -> Result<Self> {
        let failed = |error: io::Error| Error::invalid(format!("{name}: {error}"));
        let handle = file.try_clone().map_err(failed)?;
        let reader = guard(|| SerializedFileReader::new(handle)).map_err(|error| {
            let why = error.map_or("its footer is damaged".to_owned(), |error| error.to_string());
            Error::invalid(format!("{name} can not be read as Parquet: {why}"))
        })?;
        let meta = reader.metadata().file_metadata();
        let bar = progress::of_rows(meta.num_rows().try_into().unwrap_or(0));
        let fields = meta.schema().get_fields().iter();
        let columns = fields.map(|field| {
            let (kind, is_list) = kind(field);
            Column { field: field.clone(), kind, is_list, first: 0, len: 1 }
        });
        let columns: Vec<Column> = columns.collect();
        let lists = |(at, column): (usize, &Column)| {
            let is_read = column.is_list && !matches!(column.kind, Kind::Other(_));
            is_read.then_some(at)
        };
        let lists: Vec<usize> = columns.iter().enumerate().filter_map(lists).collect();
        let name = name.to_owned();
        let (header, cells) = (Vec::new(), Vec::new());
        let rows = Rows::of(&reader, &columns, Vec::new())?;
        let mut this = Self { name, file, reader, columns, header, rows, cells, bar };
        this.measure(lists)?;
        Ok(this)
    }

    /// Lays out the header, for which the lengths of lists are looked up in the first rows.
    fn measure(&mut self, lists: Vec<usize>) -> Result<()> {
        let mut unknown = lists.clone();
        self.rows = Rows::of(&self.reader, &self.columns, lists)?;
        for number in 1..=LOOKAHEAD {
            if unknown.is_empty() {
                break;
            }
            let Some(row) = self.rows.next(&self.reader, &self.name, number)? else { break };
            for (&at, field) in self.rows.columns.iter().zip(row) {
                let mut cells = Vec::new();
                let known = push(&mut cells, field).is_some() && cells != [Held::Missing];
                if known && let Some(place) = unknown.iter().position(|other| *other == at) {
                    unknown.swap_remove(place);
                    self.columns[at].len = cells.len();
                }
            }
        }
        for column in &mut self.columns {
            column.first = self.header.len();
            let name = column.field.name();
            match column.is_list && !matches!(column.kind, Kind::Other(_)) {
                true => self.header.extend((0..column.len).map(|i| format!("{name}[{i}]"))),
                false => self.header.push(name.to_owned()),
            }
        }
        Ok(())
    }

    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// Reads these places of the header from now on; `true` asks for texts.
    pub fn select(&mut self, places: &[(usize, bool)]) -> Result<()> {
        let mut chosen = Vec::new();
        for &(place, is_text) in places {
            let at = self.columns.partition_point(|column| column.first <= place) - 1;
            let column = &self.columns[at];
            let what = match (column.kind, is_text) {
                (Kind::Other(what), _) => what,
                (Kind::Number, true) => "a number, and its feature a text",
                _ => {
                    chosen.push(at);
                    continue;
                }
            };
            return Err(Error::invalid(format!(
                "{}: column '{}' is {what}; expected numbers, flags or texts, or lists of them",
                self.name,
                quoted(column.field.name())
            )));
        }
        if chosen.is_empty() {
            return Err(Error::invalid(format!("{}: no column is a feature", self.name)));
        }
        chosen.sort_unstable();
        chosen.dedup();
        self.cells = vec![Held::Missing; self.header.len()];
        self.rows = Rows::of(&self.reader, &self.columns, chosen)?;
        Ok(())
    }

    /// The cells of the next row, by their places in the header.
    pub fn next(&mut self, number: u64) -> Result<Option<&[Held]>> {
        let Self { name, reader, columns, rows, cells, bar, .. } = self;
        if number > ROWS_MAX {
            return Err(Error::too_large(format!(
                "{name} has more than {ROWS_MAX} rows. Fix: take a random sample of them"
            )));
        }
        let Some(row) = rows.next(reader, name, number)? else { return Ok(None) };
        for (&at, field) in rows.columns.iter().zip(row) {
            let Column { field: schema, first, len, is_list, .. } = &columns[at];
            let place = &mut cells[*first..first + len];
            let mut read = Vec::with_capacity(*len);
            let wrong = |what: String| {
                Error::invalid(format!("row {number}: '{}' {what}", quoted(schema.name())))
            };
            push(&mut read, field).ok_or_else(|| {
                wrong(format!(
                    "holds a text of more than {TEXT_BYTES_MAX} bytes, or what its schema does \
                     not say"
                ))
            })?;
            if *is_list && read == [Held::Missing] {
                place.fill(Held::Missing);
            } else if read.len() == *len {
                place.iter_mut().zip(read).for_each(|(place, cell)| *place = cell);
            } else {
                return Err(wrong(format!(
                    "has {} elements; expected {len}, as in the first list",
                    read.len()
                )));
            }
        }
        bar.inc(1);
        Ok(Some(cells))
    }

    /// SHA-256 of the whole file.
    pub fn finish(&mut self) -> io::Result<[u8; 32]> {
        self.bar.finish_and_clear();
        self.file.rewind()?;
        let mut hash = Sha256::new();
        let mut piece = vec![0; 1 << 16];
        loop {
            match self.file.read(&mut piece)? {
                0 => return Ok(hash.finalize().into()),
                count => hash.update(&piece[..count]),
            }
        }
    }
}

impl Rows {
    fn of(
        reader: &SerializedFileReader<File>,
        all: &[Column],
        columns: Vec<usize>,
    ) -> Result<Self> {
        let fields: Vec<TypePtr> = columns.iter().map(|&at| all[at].field.clone()).collect();
        for group in reader.metadata().row_groups() {
            let chunks = group.columns().iter();
            let mut read = chunks.filter(|chunk| {
                let parts = chunk.column_path().parts();
                fields.iter().any(|field| parts.first().is_some_and(|root| root == field.name()))
            });
            let codec = read.find_map(|chunk| match chunk.compression() {
                Compression::UNCOMPRESSED | Compression::SNAPPY => None,
                Compression::GZIP(_) | Compression::ZSTD(_) => None,
                other => Some((chunk.column_path().string(), other.to_string())),
            });
            if let Some((column, codec)) = codec {
                let codec = codec.split('(').next().unwrap_or_default();
                return Err(Error::unsupported(format!(
                    "column '{}' is compressed by {codec}; expected Snappy, gzip, Zstandard or \
                     none",
                    quoted(&column)
                )));
            }
        }
        let name = reader.metadata().file_metadata().schema().name();
        let schema = guard(|| Type::group_type_builder(name).with_fields(fields).build());
        let schema = schema.map_err(|_| Error::internal("a part of a Parquet schema is none"))?;
        let schema = Arc::new(SchemaDescriptor::new(Arc::new(schema)));
        Ok(Self { columns, schema, next_group: 0, group: None })
    }

    /// The next row: a field for each column.
    fn next(
        &mut self,
        reader: &SerializedFileReader<File>,
        name: &str,
        number: u64,
    ) -> Result<Option<impl Iterator<Item = parquet::record::Field> + use<>>> {
        let row = guard(|| {
            loop {
                if let Some(row) = self.group.as_mut().and_then(Iterator::next) {
                    return row.map(Some);
                }
                if self.next_group >= reader.num_row_groups() {
                    return Ok(None);
                }
                let group = reader.get_row_group(self.next_group)?;
                self.next_group += 1;
                self.group = Some(TreeBuilder::new().as_iter(self.schema.clone(), &*group)?);
            }
        });
        let row = row.map_err(|_| {
            Error::invalid(format!(
                "row {number} of {name} can not be read: the file is damaged, or encoded in a way \
                 that is not known"
            ))
        })?;
        Ok(row.map(|row| row.into_columns().into_iter().map(|(_, field)| field)))
    }
}

/// Runs the crate's code; an assertion that failed there has no error.
fn guard<T>(
    work: impl FnOnce() -> std::result::Result<T, ParquetError>,
) -> std::result::Result<T, Option<ParquetError>> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| None)?.map_err(Some)
}
