//! A data frame as the tensors of a request: columns go to features and inputs by name, or by their
//! order where they have none. Pure.
//!
//! The words of the errors are MLflow's, less the data that it repeats in them. A feature's
//! plausible range is not held against the table: that is the typed API's.

use std::collections::HashMap;

use jiter::{Jiter, Peek};

use crate::error::{Error, Result, quoted};
use crate::model::contract::{Contract, Field, Part};
use crate::model::{Signature, TensorSpec};
use crate::server::rest::json::dense::{Dense, Misplaced, Rules, Why};
use crate::server::rest::json::read::{self, Misfit};
use crate::tensor::{DType, Dim, NamedTensor, Shape, Tensor, strings};

/// More columns than any frame we know has; what a header may make us hold.
const COLUMNS_MAX: usize = 65_536;
/// Unknown columns that an error lists.
const STRANGERS_SHOWN: usize = 8;

/// Where a column goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A property of the contract's records.
    Field(usize),
    /// A whole input whose columns are features.
    Input(usize),
    /// The next column of the only input, a matrix whose columns have no names.
    Matrix,
}

/// A table while it comes in, row by row.
pub struct Table<'a> {
    signature: &'a Signature,
    contract: &'a Contract,
    columns: Vec<Column>,
    /// By name: the position in `columns`; `None` for one that the model does not know.
    header: HashMap<String, Option<usize>>,
    strangers: Vec<String>,
    rows: usize,
    /// Cells may be missing, so a long table can be a short text: without a bound on its rows, what
    /// we hold would have none.
    rows_max: usize,
}

struct Column {
    name: String,
    place: Place,
    dense: Dense,
}

impl<'a> Table<'a> {
    pub fn new(signature: &'a Signature, contract: &'a Contract) -> Self {
        let (columns, header) = (Vec::new(), HashMap::new());
        let (strangers, rows_max) = (Vec::new(), contract.records_max);
        Self { signature, contract, columns, header, strangers, rows: 0, rows_max }
    }

    /// Names the columns; gives back the position of each, `None` for those to be passed over.
    pub fn name_columns(&mut self, names: Vec<String>) -> Result<Vec<Option<usize>>> {
        bound(names.len())?;
        let fields = &self.contract.fields[..];
        let is_matrix = self.matrix().is_some()
            && !names.iter().any(|name| fields.iter().any(|field| field.name == *name));
        self.unbound(is_matrix);
        let placed = names.into_iter().map(|name| {
            let place = if is_matrix { Some(Place::Matrix) } else { self.place(&name) };
            self.add(name, place)
        });
        placed.collect()
    }

    /// Columns without names are taken in the model's order.
    pub fn number_columns(&mut self, count: usize) -> Result<Vec<Option<usize>>> {
        bound(count)?;
        let fields = &self.contract.fields;
        if self.matrix().is_none() && count != fields.len() {
            return Err(Error::invalid(format!(
                "Model expects {} columns, but the data has {count} and no column names",
                fields.len()
            )));
        }
        let is_matrix = self.matrix().is_some();
        self.unbound(is_matrix);
        let placed = (0..count).map(|index| {
            let place = if is_matrix { Place::Matrix } else { Place::Field(index) };
            self.add(index.to_string(), Some(place))
        });
        placed.collect()
    }

    /// The rows of a matrix are no records where the model does not batch.
    fn unbound(&mut self, is_matrix: bool) {
        if is_matrix && !self.contract.batched {
            self.rows_max = usize::MAX;
        }
    }

    fn bound_rows(&self, rows: usize) -> Result<()> {
        if rows > self.rows_max {
            let max = self.rows_max;
            return Err(Error::invalid(format!("inference request batch-size must be <= {max}")));
        }
        Ok(())
    }

    /// The only input, where it is a matrix and nothing is known of its columns.
    fn matrix(&self) -> Option<&'a TensorSpec> {
        match (&self.signature.inputs[..], &self.contract.fields[..]) {
            ([spec], [Field { part: Part::Row(_), .. }]) if spec.dims.len() == 2 => Some(spec),
            _ => None,
        }
    }

    fn place(&self, name: &str) -> Option<Place> {
        let field = self.contract.field(name, self.columns.len()).map(Place::Field);
        field.or_else(|| self.signature.input(name).map(|(index, _)| Place::Input(index)))
    }

    fn add(&mut self, name: String, place: Option<Place>) -> Result<Option<usize>> {
        let dtype = match place {
            None => None,
            Some(Place::Field(index)) => self.contract.fields.get(index).map(|field| field.dtype),
            Some(Place::Input(index)) => self.signature.inputs.get(index).map(|spec| spec.dtype),
            Some(Place::Matrix) => self.matrix().map(|spec| spec.dtype),
        };
        let position = dtype.map(|_| self.columns.len());
        if self.header.insert(name.clone(), position).is_some() {
            return Err(Error::invalid(format!("column '{}' stands twice", quoted(&name))));
        }
        match (place, dtype) {
            (Some(place), Some(dtype)) => {
                self.columns.push(Column { name, place, dense: Dense::rows(dtype) });
            }
            // MLflow passes over what the model does not know.
            _ if self.strangers.len() < STRANGERS_SHOWN => self.strangers.push(quoted(&name)),
            _ => {}
        }
        Ok(position)
    }

    /// The position of the column that a record names. One that no record had before it comes in
    /// with its rows so far missing.
    pub fn named(&mut self, name: &str) -> Result<Option<usize>> {
        if let Some(&position) = self.header.get(name) {
            return Ok(position);
        }
        bound(self.header.len() + 1)?;
        let place = self.place(name);
        let position = self.add(name.to_owned(), place)?;
        if let Some(position) = position {
            for _ in 0..self.rows {
                self.skip(position)?;
            }
        }
        Ok(position)
    }

    /// Reads the cell of the row at work.
    pub fn cell(
        &mut self,
        position: usize,
        reader: &mut Jiter<'_>,
        peek: Peek,
        rules: Rules,
    ) -> Result<()> {
        let row = self.rows;
        let Some(column) = self.columns.get_mut(position) else { return Ok(()) };
        if column.dense.items() > row {
            return Err(Error::invalid(format!(
                "row {row} has the column '{}' twice",
                column.name
            )));
        }
        column.dense.push(reader, peek, rules).map_err(|fault| misfit(column, row, &fault))
    }

    /// Takes a cell that is one value, written by `put` as the bytes of an element.
    pub fn single(
        &mut self,
        position: usize,
        put: impl FnOnce(DType, &mut Vec<u8>) -> std::result::Result<(), Misfit>,
    ) -> Result<()> {
        let row = self.rows;
        let Some(column) = self.columns.get_mut(position) else { return Ok(()) };
        column.dense.single(put).map_err(|fault| misfit(column, row, &fault))
    }

    /// A cell that is missing: the feature's default, otherwise what null is. Whole inputs and the
    /// columns of a matrix have neither.
    fn skip(&mut self, position: usize) -> Result<()> {
        let row = self.rows;
        let Some(column) = self.columns.get_mut(position) else { return Ok(()) };
        let default = |index: usize| self.contract.fields.get(index).and_then(|f| f.default);
        let outcome = match column.place {
            Place::Field(index) => match default(index) {
                Some(default) => column.dense.push_number(default),
                None => column.dense.push_null(),
            },
            Place::Input(_) | Place::Matrix => {
                let name = quoted(&column.name);
                return Err(Error::invalid(format!("row {row} has no value for column '{name}'")));
            }
        };
        outcome.map_err(|fault| misfit(column, row, &fault))
    }

    /// Ends a row: columns that it left out are missing in it.
    pub fn end_row(&mut self) -> Result<()> {
        self.bound_rows(self.rows + 1)?;
        for position in 0..self.columns.len() {
            if self.columns[position].dense.items() == self.rows {
                self.skip(position)?;
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// Takes a whole column of features, behind its name.
    pub fn column(&mut self, name: &str, reader: &mut Jiter<'_>, rules: Rules) -> Result<()> {
        let place = self.place(name);
        let position = self.add(name.to_owned(), place)?;
        let peek = reader.peek().map_err(|error| read::syntax(&error))?;
        let Some(column) = position.and_then(|position| self.columns.get_mut(position)) else {
            return reader.known_skip(peek).map_err(|error| read::syntax(&error));
        };
        column.dense = Dense::new(column.dense.dtype());
        let outcome = column.dense.read(reader, peek, rules);
        outcome.map_err(|fault| misfit(column, 0, &fault))?;
        let rows = column.dense.shape().first().copied().unwrap_or(0);
        if self.columns.len() > 1 && rows != self.rows {
            return Err(Error::invalid(
                "The length of values for each input/column name are not the same",
            ));
        }
        self.rows = rows;
        self.bound_rows(rows)
    }

    /// The tensors, of inputs that have not come in another way.
    pub fn tensors(self, others: &[NamedTensor]) -> Result<Vec<NamedTensor>> {
        let Self { signature, contract, columns, strangers, rows, .. } = self;
        let mut whole: Vec<Option<Dense>> = signature.inputs.iter().map(|_| None).collect();
        let mut fields: Vec<Option<Dense>> = contract.fields.iter().map(|_| None).collect();
        let mut matrix = Vec::new();
        for column in columns {
            match column.place {
                Place::Field(index) => fields[index] = Some(column.dense),
                Place::Input(index) => whole[index] = Some(column.dense),
                Place::Matrix => matrix.push(column),
            }
        }
        let is_other = |spec: &TensorSpec| others.iter().any(|other| other.name == spec.name);
        let is_given = |(spec, whole): (&TensorSpec, &Option<Dense>)| {
            whole.is_some() || !matrix.is_empty() || is_other(spec)
        };
        let given: Vec<bool> = signature.inputs.iter().zip(&whole).map(is_given).collect();
        let missing: Vec<&str> = (contract.fields.iter().zip(&fields))
            .filter(|(field, dense)| {
                dense.is_none() && field.default.is_none() && !given[field.input]
            })
            .map(|(field, _)| field.name.as_str())
            .collect();
        if !missing.is_empty() {
            return Err(missing_columns(&missing, &strangers));
        }
        let mut tensors = Vec::with_capacity(signature.inputs.len());
        for (index, spec) in signature.inputs.iter().enumerate() {
            let mine = || contract.fields.iter().enumerate().filter(|(_, f)| f.input == index);
            if given[index] && mine().any(|(field, _)| fields[field].is_some()) {
                return Err(Error::invalid(format!(
                    "input '{}' is given twice: whole and by its columns",
                    spec.name
                )));
            }
            let tensor = if let Some(dense) = whole[index].take() {
                dense.tensor(&spec.name)?
            } else if !matrix.is_empty() {
                let columns = std::mem::take(&mut matrix).into_iter();
                let columns = columns.map(|column| (column.name, column.dense)).collect();
                interleave(spec, columns, rows)?
            } else if is_other(spec) {
                continue;
            } else if let Some((field, Field { part: Part::Row(dims), .. })) = mine().next() {
                let Some(dense) = fields[field].take() else { continue };
                row_by_row(spec, dense, dims, contract.batched)?
            } else {
                let columns = mine().map(|(position, field)| {
                    let dense = fields[position].take();
                    let dense = dense.map_or_else(|| constant(field, rows), Ok)?;
                    Ok((field.name.clone(), dense))
                });
                let columns = columns.collect::<Result<_>>()?;
                interleave(spec, columns, rows)?
            };
            tensors.push(NamedTensor { name: spec.name.clone(), tensor });
        }
        Ok(tensors)
    }
}

/// Refuses a table wider than any we know.
pub fn bound(columns: usize) -> Result<()> {
    if columns > COLUMNS_MAX {
        return Err(Error::invalid(format!("at most {COLUMNS_MAX} columns are supported")));
    }
    Ok(())
}

fn misfit(column: &Column, row: usize, fault: &Misplaced) -> Error {
    let (name, dtype) = (quoted(&column.name), column.dense.dtype());
    match &fault.why {
        Why::Element(Misfit::Kind(given)) => Error::invalid(format!(
            "Incompatible input types for column {name}. Can not safely convert {given} to \
             {dtype} (row {row})."
        )),
        _ => fault.error(&format!("column {name}, row {row}"), dtype),
    }
}

fn missing_columns(missing: &[&str], strangers: &[String]) -> Error {
    let list = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
        names.join(", ")
    };
    let mut message = format!("Model is missing inputs [{}].", list(missing));
    if !strangers.is_empty() {
        let strangers: Vec<&str> = strangers.iter().map(String::as_str).collect();
        message += &format!(" Note that there were extra inputs: [{}]", list(&strangers));
    }
    Error::invalid(message)
}

/// A column of the feature's default alone.
fn constant(field: &Field, rows: usize) -> Result<Dense> {
    let mut dense = Dense::rows(field.dtype);
    for _ in 0..rows {
        dense
            .push_number(field.default.unwrap_or_default())
            .map_err(|fault| fault.error(&field.name, field.dtype))?;
    }
    Ok(dense)
}

/// A column whose cells are whole rows of an input.
fn row_by_row(spec: &TensorSpec, dense: Dense, dims: &[Dim], batched: bool) -> Result<Tensor> {
    let mut shape = dense.shape().to_vec();
    // A single value need not be wrapped into a list of one.
    if dims == [Dim::Fixed(1)] && shape.len() == 1 {
        shape.push(1);
    }
    if !batched {
        let rows = shape.remove(0);
        if rows != 1 {
            return Err(Error::invalid(format!(
                "the model takes one row per request, the data has {rows}"
            )));
        }
    }
    Tensor::new(&spec.name, spec.dtype, Shape::new(shape), dense.into_data().into())
}

/// Columns of single values as the matrix that they are the columns of.
fn interleave(spec: &TensorSpec, columns: Vec<(String, Dense)>, rows: usize) -> Result<Tensor> {
    let width = columns.len();
    let mut datas = Vec::with_capacity(width);
    for (name, dense) in columns {
        if dense.shape()[..] != [rows] {
            return Err(Error::invalid(format!(
                "column {}: expected {rows} single values, got values of shape {}",
                quoted(&name),
                dense.shape()
            )));
        }
        datas.push(dense.into_data());
    }
    let mut out = Vec::with_capacity(datas.iter().map(Vec::len).sum());
    if let Some(size) = spec.dtype.size() {
        for row in 0..rows {
            for data in &datas {
                out.extend_from_slice(data.get(row * size..(row + 1) * size).unwrap_or_default());
            }
        }
    } else {
        let mut words: Vec<_> = datas.iter().map(|data| strings::elements(data)).collect();
        for _ in 0..rows {
            for word in words.iter_mut().filter_map(|words| words.next().flatten()) {
                // It was written by us, and so fits.
                let _ = strings::push(&mut out, word);
            }
        }
    }
    Tensor::new(&spec.name, spec.dtype, Shape::new([rows, width]), out.into())
}
