//! A JSON body of `/invocations` as the tensors of a request: a data frame by columns or by
//! records, or TensorFlow Serving's two forms. Pure; and no body, however wrong, makes it panic.

use bytes::Bytes;
use jiter::{Jiter, JiterError, Peek};

use super::table::Table;
use crate::error::{Error, Result, quoted};
use crate::model::{Contract, Signature};
use crate::server::rest::json::NonFinite;
use crate::server::rest::json::dense::Rules;
use crate::server::rest::json::read;
use crate::server::rest::tfserving::request::{self as tfserving, Instance};
use crate::tensor::NamedTensor;

/// MLflow's words for a body with none of the four, or with two.
const ONE_OF: &str = "The input must be a JSON dictionary with exactly one of the input fields \
                      {'dataframe_split', 'dataframe_records', 'instances', 'inputs'}";

/// Reads a body.
pub fn decode(
    signature: &Signature,
    contract: &Contract,
    body: &Bytes,
    nonfinite: NonFinite,
) -> Result<Vec<NamedTensor>> {
    let rules = Rules { nonfinite, null_is_nan: true };
    let mut document =
        Document { reader: read::reader(body, nonfinite), signature, contract, rules };
    document.read()
}

fn syntax(error: JiterError) -> Error {
    read::syntax(&error)
}

fn wrong(what: &str, expected: &str, given: Peek) -> Error {
    Error::invalid(format!("'{what}' must be {expected}, got {}", read::kind(given)))
}

struct Document<'a> {
    reader: Jiter<'a>,
    signature: &'a Signature,
    contract: &'a Contract,
    rules: Rules,
}

impl<'a> Document<'a> {
    fn read(&mut self) -> Result<Vec<NamedTensor>> {
        let peek = self.reader.peek().map_err(syntax)?;
        if peek != Peek::Object {
            return Err(Error::invalid(format!("{ONE_OF}. Received {}.", read::kind(peek))));
        }
        let mut found = None;
        let mut key = self.reader.known_object().map_err(syntax)?.map(str::to_owned);
        while let Some(name) = key {
            let peek = self.reader.peek().map_err(syntax)?;
            match name.as_str() {
                "dataframe_split" | "dataframe_records" | "instances" | "inputs"
                    if found.is_some() =>
                {
                    return Err(Error::invalid(ONE_OF));
                }
                "dataframe_split" => found = Some(self.split(peek)?),
                "dataframe_records" => found = Some(self.records("dataframe_records", peek)?),
                "instances" => found = Some(self.instances(peek)?),
                "inputs" => found = Some(self.inputs(peek)?),
                "params" => self.params(peek)?,
                // MLflow passes over what it does not know.
                _ => self.skip(peek)?,
            }
            key = self.reader.next_key().map_err(syntax)?.map(str::to_owned);
        }
        self.reader.finish().map_err(syntax)?;
        found.ok_or_else(|| Error::invalid(ONE_OF))
    }

    fn table(&self) -> Table<'a> {
        Table::new(self.signature, self.contract)
    }

    fn skip(&mut self, peek: Peek) -> Result<()> {
        self.reader.known_skip(peek).map_err(syntax)
    }

    /// Parameters of the inference, which no engine here takes: none, or an empty object.
    fn params(&mut self, peek: Peek) -> Result<()> {
        match peek {
            Peek::Null => self.skip(peek),
            Peek::Object => match self.reader.known_object().map_err(syntax)? {
                None => Ok(()),
                Some(name) => Err(Error::unsupported(format!(
                    "'params': the model takes no parameter '{}'",
                    quoted(name)
                ))),
            },
            _ => Err(wrong("params", "an object", peek)),
        }
    }

    /// `{"columns": [...], "data": [[...], ...]}`, pandas' orient "split".
    fn split(&mut self, peek: Peek) -> Result<Vec<NamedTensor>> {
        if peek != Peek::Object {
            return Err(wrong("dataframe_split", "an object", peek));
        }
        let (mut columns, mut data) = (None, None);
        let mut key = self.reader.known_object().map_err(syntax)?.map(str::to_owned);
        while let Some(name) = key {
            let peek = self.reader.peek().map_err(syntax)?;
            match name.as_str() {
                "columns" if columns.is_none() => columns = Some(self.names(peek)?),
                // It is read once the columns are known, which may stand behind it.
                "data" if data.is_none() => {
                    data = Some((self.reader.clone(), peek));
                    self.skip(peek)?;
                }
                "columns" | "data" => {
                    let text = format!("'dataframe_split' has the key '{name}' twice");
                    return Err(Error::invalid(text));
                }
                // Row names say nothing to a model.
                "index" => self.skip(peek)?,
                _ => {
                    return Err(Error::invalid(format!(
                        "'dataframe_split' has the unexpected key '{}'; expected 'columns', \
                         'data', 'index'",
                        quoted(&name)
                    )));
                }
            }
            key = self.reader.next_key().map_err(syntax)?.map(str::to_owned);
        }
        let Some((mut reader, peek)) = data else {
            return Err(Error::invalid("'dataframe_split' has no 'data'"));
        };
        self.rows(&mut reader, peek, columns)
    }

    /// Names of columns: strings, or the numbers that pandas counts unnamed ones with.
    fn names(&mut self, peek: Peek) -> Result<Vec<String>> {
        if peek != Peek::Array {
            return Err(wrong("columns", "an array of names", peek));
        }
        let mut names = Vec::new();
        let mut next = self.reader.known_array().map_err(syntax)?;
        while let Some(peek) = next {
            names.push(match peek {
                Peek::String => self.reader.known_str().map_err(syntax)?.to_owned(),
                peek if read::is_literal(peek) => {
                    let digits = self.reader.known_number_bytes(peek).map_err(syntax)?;
                    String::from_utf8_lossy(digits).into_owned()
                }
                peek => return Err(wrong("columns", "an array of names", peek)),
            });
            super::table::bound(names.len())?;
            next = self.reader.array_step().map_err(syntax)?;
        }
        Ok(names)
    }

    fn rows(
        &self,
        reader: &mut Jiter<'_>,
        peek: Peek,
        columns: Option<Vec<String>>,
    ) -> Result<Vec<NamedTensor>> {
        if peek != Peek::Array {
            return Err(wrong("data", "an array of rows", peek));
        }
        let mut table = self.table();
        let mut positions = columns.map(|names| table.name_columns(names)).transpose()?;
        let mut row = 0;
        let mut next = reader.known_array().map_err(syntax)?;
        while let Some(peek) = next {
            if peek != Peek::Array {
                return Err(wrong("data", "an array of rows", peek));
            }
            if positions.is_none() {
                positions = Some(table.number_columns(count(reader.clone())?)?);
            }
            let positions = positions.as_deref().unwrap_or_default();
            let mut given = 0;
            let mut cell = reader.known_array().map_err(syntax)?;
            while let Some(peek) = cell {
                match positions.get(given).copied().flatten() {
                    Some(position) => table.cell(position, reader, peek, self.rules)?,
                    None => reader.known_skip(peek).map_err(syntax)?,
                }
                given += 1;
                cell = reader.array_step().map_err(syntax)?;
            }
            if given != positions.len() {
                let expected = positions.len();
                return Err(Error::invalid(format!(
                    "{expected} columns passed, passed data had {given} columns (row {row})"
                )));
            }
            table.end_row()?;
            row += 1;
            next = reader.array_step().map_err(syntax)?;
        }
        table.tensors(&[])
    }

    /// `[{"age": 63, ...}, ...]`, pandas' orient "records".
    fn records(&mut self, what: &str, peek: Peek) -> Result<Vec<NamedTensor>> {
        if peek != Peek::Array {
            return Err(wrong(what, "an array of records", peek));
        }
        let mut table = self.table();
        let mut is_first = true;
        let mut next = self.reader.known_array().map_err(syntax)?;
        while let Some(peek) = next {
            if peek != Peek::Object {
                return Err(wrong(what, "an array of records", peek));
            }
            if std::mem::take(&mut is_first) {
                table.name_columns(keys(self.reader.clone())?)?;
            }
            let mut key = self.reader.known_object().map_err(syntax)?;
            while let Some(name) = key {
                let position = table.named(name)?;
                let peek = self.reader.peek().map_err(syntax)?;
                match position {
                    Some(position) => table.cell(position, &mut self.reader, peek, self.rules)?,
                    None => self.reader.known_skip(peek).map_err(syntax)?,
                }
                key = self.reader.next_key().map_err(syntax)?;
            }
            table.end_row()?;
            next = self.reader.array_step().map_err(syntax)?;
        }
        table.tensors(&[])
    }

    /// Rows: records of columns, or values of the only input.
    fn instances(&mut self, peek: Peek) -> Result<Vec<NamedTensor>> {
        match tfserving::first_instance(&self.reader, peek)? {
            Instance::Named => self.records("instances", peek),
            Instance::Value => {
                let (signature, rules) = (self.signature, self.rules);
                tfserving::only(&mut self.reader, peek, "instances", signature, rules)
            }
        }
    }

    /// Columns: of features, or whole inputs, by name; or the value of the only input.
    fn inputs(&mut self, peek: Peek) -> Result<Vec<NamedTensor>> {
        let (signature, rules) = (self.signature, self.rules);
        if peek != Peek::Object {
            return tfserving::only(&mut self.reader, peek, "inputs", signature, rules);
        }
        let mut table = self.table();
        let mut tensors: Vec<NamedTensor> = Vec::new();
        let mut key = self.reader.known_object().map_err(syntax)?.map(str::to_owned);
        while let Some(name) = key {
            if let Some((_, spec)) = signature.input(&name) {
                if tensors.iter().any(|tensor| tensor.name == spec.name) {
                    return Err(Error::invalid(format!("'inputs' has the key '{name}' twice")));
                }
                tensors.push(tfserving::whole(&mut self.reader, spec, rules)?);
            } else {
                table.column(&name, &mut self.reader, rules)?;
            }
            key = self.reader.next_key().map_err(syntax)?.map(str::to_owned);
        }
        let columns = table.tensors(&tensors)?;
        tensors.extend(columns);
        Ok(tensors)
    }
}

/// How many elements the array that comes next has.
fn count(mut ahead: Jiter<'_>) -> Result<usize> {
    let mut count = 0;
    let mut next = ahead.known_array().map_err(syntax)?;
    while let Some(peek) = next {
        ahead.known_skip(peek).map_err(syntax)?;
        count += 1;
        next = ahead.array_step().map_err(syntax)?;
    }
    Ok(count)
}

/// The keys of the object that comes next, each once.
fn keys(mut ahead: Jiter<'_>) -> Result<Vec<String>> {
    let mut keys: Vec<String> = Vec::new();
    let mut key = ahead.known_object().map_err(syntax)?.map(str::to_owned);
    while let Some(name) = key {
        keys.push(name);
        super::table::bound(keys.len())?;
        ahead.next_skip().map_err(syntax)?;
        key = ahead.next_key().map_err(syntax)?.map(str::to_owned);
    }
    Ok(keys)
}

#[cfg(test)]
mod tests;
