//! Rows of a table as tensors of a version: cells find their feature by the header.

use std::collections::{HashMap, HashSet};

use super::source::{Cell, Row};
use crate::error::{Error, Result, nearest, quoted};
use crate::model::Signature;
use crate::model::contract::{Contract, Field, Part};
use crate::model::profile::Take;
use crate::tensor::{DType, Dim, Number, Shape, Tensor, numeric, strings};

/// Cells that say that there is no value.
const MISSING: &[&str] = &["", "NA", "NaN", "nan", "null"];

/// Where the cells of every feature stand.
pub struct Layout<'a> {
    contract: &'a Contract,
    signature: &'a Signature,
    /// By field of the contract.
    sources: Vec<Source>,
    /// Extents of a record's part, by tensor; `None` where its columns have names.
    dims: HashMap<usize, Vec<usize>>,
    ignored: Vec<String>,
}

enum Source {
    /// One cell for every element.
    Columns(Vec<usize>),
    /// No column: the default of the contract.
    Absent,
}

/// Values that only stand in for a missing one: tensor, part and row.
pub type StandIns = HashSet<(usize, Take, usize)>;

impl<'a> Layout<'a> {
    pub fn new(
        contract: &'a Contract,
        signature: &'a Signature,
        header: &[String],
    ) -> Result<Self> {
        let mut places: HashMap<&str, usize> = HashMap::new();
        for (place, name) in header.iter().enumerate() {
            if places.insert(name, place).is_some() {
                return Err(Error::invalid(format!("two columns are called '{}'", quoted(name))));
            }
        }
        let mut dims = HashMap::new();
        let mut sources = Vec::new();
        let mut used = HashSet::new();
        for field in &contract.fields {
            let columns = columns(field, &places);
            if let Part::Row(extents) = &field.part {
                dims.insert(field.input, resolved(field, extents, columns.len())?);
            }
            used.extend(columns.iter().copied());
            sources.push(match (columns.is_empty(), field.default) {
                (false, _) => Source::Columns(columns),
                (true, Some(_)) => Source::Absent,
                (true, None) => return Err(absent(field, header)),
            });
        }
        let strangers = header.iter().enumerate().filter(|(place, _)| !used.contains(place));
        let ignored = strangers.map(|(_, name)| quoted(name)).collect();
        Ok(Self { contract, signature, sources, dims, ignored })
    }

    /// Columns that are no feature.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// The columns that are a feature's, and whether it is a text.
    pub fn used(&self) -> Vec<(usize, bool)> {
        let pairs = self.contract.fields.iter().zip(&self.sources);
        let places = pairs.flat_map(|(field, source)| {
            let columns = match source {
                Source::Columns(columns) => columns.as_slice(),
                Source::Absent => &[],
            };
            columns.iter().map(|&place| (place, field.dtype == DType::Bytes))
        });
        places.collect()
    }

    pub fn batch(&self) -> Batch<'_> {
        let data = self.signature.inputs.iter().map(|_| Vec::new()).collect();
        Batch { layout: self, data, rows: 0, stand_ins: HashSet::new() }
    }
}

/// The columns of a feature: its own, or `x[0]`, `x[1]`, ... up to the first that is not there.
fn columns(field: &Field, places: &HashMap<&str, usize>) -> Vec<usize> {
    if field.is_scalar()
        && let Some(&place) = places.get(field.name.as_str())
    {
        return vec![place];
    }
    let by_index = |index: usize| places.get(format!("{}[{index}]", field.name).as_str()).copied();
    (0..).map_while(by_index).collect()
}

fn absent(field: &Field, header: &[String]) -> Error {
    let name = &field.name;
    let wanted = if field.is_scalar() { name.clone() } else { format!("{name}[0]") };
    let near = nearest(&wanted, header.iter().map(String::as_str));
    let hint = near.map(|near| format!("; is it '{}'?", quoted(near))).unwrap_or_default();
    Error::invalid(format!("there is no column '{wanted}' in the header{hint}"))
}

/// The extents of a record's part; one that is free is what the columns make it.
fn resolved(field: &Field, dims: &[Dim], columns: usize) -> Result<Vec<usize>> {
    let fixed: Vec<Option<usize>> = dims
        .iter()
        .map(|dim| match dim {
            Dim::Fixed(extent) => Some(*extent),
            Dim::Any => None,
        })
        .collect();
    let known: usize = fixed.iter().flatten().product();
    let free = fixed.iter().filter(|extent| extent.is_none()).count();
    let rest = columns.checked_div(known).unwrap_or(0);
    // Without a column of its own, the default fills a single element.
    let fits = match free {
        0 => columns == known || columns == 0,
        _ => columns == 0 || rest * known == columns,
    };
    if free > 1 || !fits {
        return Err(Error::invalid(format!(
            "'{}' has {columns} columns, which do not fill {}",
            field.name,
            Shape::new(fixed.iter().map(|extent| extent.unwrap_or(0)))
        )));
    }
    Ok(fixed.into_iter().map(|extent| extent.unwrap_or(rest)).collect())
}

/// Rows that go through the model together.
pub struct Batch<'a> {
    layout: &'a Layout<'a>,
    data: Vec<Vec<u8>>,
    rows: usize,
    stand_ins: StandIns,
}

impl Batch<'_> {
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Adds a row; an error names row and column, and no cell.
    pub fn push(&mut self, row: &Row<'_>) -> Result<()> {
        let number = row.number;
        for (field, source) in self.layout.contract.fields.iter().zip(&self.layout.sources) {
            let wrong = |what: &str| {
                Error::invalid(format!("row {number}: '{}' {what}", quoted(&field.name)))
            };
            let out = &mut self.data[field.input];
            let take = match field.part {
                Part::Column(column) => Take::Element(column),
                Part::Row(_) if field.dtype == DType::Bytes => Take::Text,
                Part::Row(_) => Take::Element(0),
            };
            let cells: &[usize] = match source {
                Source::Columns(columns) => columns,
                Source::Absent => {
                    self.stand_ins.insert((field.input, take, self.rows));
                    push_number(out, field.dtype, field.default.unwrap_or(0.0)).map_err(&wrong)?;
                    continue;
                }
            };
            for &place in cells {
                let cell = row.cell(place);
                let is_missing = match cell {
                    Cell::Missing => true,
                    Cell::Number(_) => false,
                    // A text may be any, where a file can say that there is none.
                    Cell::Text(text) => field.dtype != DType::Bytes && MISSING.contains(&text),
                    Cell::Written(text) => MISSING.contains(&text),
                };
                if is_missing && field.is_scalar() {
                    let takes = match take {
                        Take::Text => &Take::OF_TEXT[..],
                        _ => std::slice::from_ref(&take),
                    };
                    let all = takes.iter().map(|take| (field.input, *take, self.rows));
                    self.stand_ins.extend(all);
                }
                if field.dtype == DType::Bytes {
                    let text = cell.text().ok_or_else(|| wrong("is no text"))?;
                    if !strings::push(out, text.as_bytes()) {
                        return Err(wrong("is longer than BYTES can hold"));
                    }
                } else if is_missing {
                    let value = field.default.unwrap_or(f64::NAN);
                    push_number(out, field.dtype, value)
                        .map_err(|_| wrong("is empty, and the model has no default for it"))?;
                } else {
                    let value = value_of(field.dtype, cell).ok_or_else(|| wrong("is no number"))?;
                    push_number(out, field.dtype, value).map_err(&wrong)?;
                }
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// The tensors in the signature's order, and what in them is no value of the table.
    pub fn finish(self) -> Result<(Vec<Tensor>, StandIns)> {
        let Self { layout, data, rows, stand_ins } = self;
        let batch = layout.contract.batched.then_some(rows);
        let tensors = layout.signature.inputs.iter().enumerate().zip(data);
        let tensors = tensors.map(|((position, spec), data)| {
            let columns = || {
                let fields = layout.contract.fields.iter();
                vec![fields.filter(|field| field.input == position).count()]
            };
            let dims = layout.dims.get(&position).cloned().unwrap_or_else(columns);
            let shape = Shape::new(batch.into_iter().chain(dims));
            Tensor::new(&spec.name, spec.dtype, shape, data.into())
        });
        Ok((tensors.collect::<Result<_>>()?, stand_ins))
    }
}

fn value_of(dtype: DType, cell: Cell<'_>) -> Option<f64> {
    match cell {
        Cell::Missing => None,
        Cell::Number(number) => Some(number),
        Cell::Text(text) | Cell::Written(text) => match text {
            "true" | "True" | "TRUE" if dtype == DType::Bool => Some(1.0),
            "false" | "False" | "FALSE" if dtype == DType::Bool => Some(0.0),
            text => text.parse().ok(),
        },
    }
}

/// Appends a number, or says why the datatype can not hold it.
fn push_number(
    out: &mut Vec<u8>,
    dtype: DType,
    value: f64,
) -> std::result::Result<(), &'static str> {
    const MISFIT: &str = "does not fit the feature's datatype";
    if dtype == DType::Bool {
        let is_flag = value == 0.0 || value == 1.0;
        out.push(u8::from(value == 1.0));
        return if is_flag { Ok(()) } else { Err(MISFIT) };
    }
    numeric!(dtype, T => {
        let held = T::from_f64(value);
        let exact = held.to_f64() == value;
        let rounded = dtype.is_float() && (value.is_nan() || held.to_f64().is_finite());
        out.extend_from_slice(bytemuck::bytes_of(&held));
        if exact || rounded { Ok(()) } else { Err(MISFIT) }
    }, _ => Err(MISFIT))
}

#[cfg(test)]
mod tests {
    use csv::StringRecord;

    use super::*;
    use crate::model::{Manifest, TensorSpec};

    fn signature() -> Signature {
        let spec =
            |name: &str, dtype, dims: Vec<Dim>| TensorSpec { name: name.into(), dtype, dims };
        Signature {
            inputs: vec![
                spec("x", DType::F32, vec![Dim::Any, Dim::Fixed(2)]),
                spec("w", DType::I32, vec![Dim::Any, Dim::Any, Dim::Fixed(2)]),
                spec("note", DType::Bytes, vec![Dim::Any]),
            ],
            outputs: vec![spec("y", DType::F32, vec![Dim::Any])],
        }
    }

    fn contract(signature: &Signature) -> Contract {
        let text = "[[inputs]]\nname = \"x\"\n[[inputs.features]]\nname = \"age\"\ndefault = 50.0\n\
                    [[inputs.features]]\nname = \"bmi\"\n";
        Contract::derive(signature, &Manifest::parse(text).unwrap(), true, 8).unwrap()
    }

    fn record(cells: &[&str]) -> StringRecord {
        StringRecord::from(cells.to_vec())
    }

    fn header(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    const HEADER: &[&str] = &["bmi", "age", "note", "w[0]", "w[1]", "w[2]", "w[3]", "outcome"];

    #[test]
    fn cells_find_their_tensors() {
        let signature = signature();
        let contract = contract(&signature);
        let layout = Layout::new(&contract, &signature, &header(HEADER)).unwrap();
        assert_eq!(layout.ignored(), ["outcome"]);
        let mut batch = layout.batch();
        let cells = record(&["21.5", "40", "a", "1", "2", "3", "4", "1"]);
        batch.push(&Row::written(2, &cells)).unwrap();
        let cells = record(&["NA", "", "", "1", "2", "3", "4", "1"]);
        batch.push(&Row::written(3, &cells)).unwrap();
        let (tensors, missing) = batch.finish().unwrap();
        let shapes: Vec<String> = tensors.iter().map(|t| t.shape().to_string()).collect();
        assert_eq!(shapes, ["[2,2]", "[2,2,2]", "[2]"]);
        let numbers = tensors[0].to_f64s().unwrap();
        assert_eq!(numbers[..3], [40.0, 21.5, 50.0]);
        assert!(numbers[3].is_nan());
        let texts = Take::OF_TEXT.map(|take| (2, take, 1));
        let expected = [(0, Take::Element(0), 1), (0, Take::Element(1), 1)];
        let expected = expected.into_iter().chain(texts);
        assert_eq!(missing, expected.collect());
    }

    #[test]
    fn what_does_not_fit_is_named_without_its_value() {
        let signature = signature();
        let contract = contract(&signature);
        let refused = |names: &[&str], part: &str| {
            let error = Layout::new(&contract, &signature, &header(names)).err().unwrap();
            assert!(error.message().contains(part), "{error}");
        };
        refused(&["age", "BMI"], "no column 'bmi'");
        refused(&["age", "age"], "two columns are called 'age'");
        refused(&["bmi", "note"], "no column 'w[0]'");
        refused(&["bmi", "note", "w[0]", "w[1]", "w[2]"], "'w' has 3 columns");
        let layout = Layout::new(&contract, &signature, &header(HEADER)).unwrap();
        for (cells, part) in [
            (["secret", "40", "a", "1", "2", "3", "4", ""], "row 7: 'bmi' is no number"),
            (["1e300", "40", "a", "1", "2", "3", "4", ""], "'bmi' does not fit"),
            (["1", "40", "a", "1.5", "2", "3", "4", ""], "'w' does not fit"),
            (["1", "40", "a", "", "2", "3", "4", ""], "'w' is empty"),
        ] {
            let cells = record(&cells);
            let error = layout.batch().push(&Row::written(7, &cells)).unwrap_err();
            assert!(error.message().contains(part), "{error}");
            assert!(!error.message().contains("secret"));
        }
    }
}
