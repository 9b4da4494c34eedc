//! Which numbers of which tensors are watched, and under which names. Derived from the contract, so
//! that the profile, what is gathered from traffic and the typed API mean the same.
//!
//! | tensor | names |
//! |---|---|
//! | a column with a name, or one value a record | the contract's |
//! | up to [`COLUMNS_MAX`] values a record without names | `x[0]`, `x[1]`, ... |
//! | probabilities with labels | `p[malignant]`, `p[benign]` |
//! | longer: one channel of a signal, or all of it | `x.mean`, `x.std` |
//! | up to [`COLUMNS_MAX`] channels on a record's first axis | `ecg[0].mean`, `ecg[0].std`, ... |
//! | a vector that the profile has a projection of | `x.norm`, `x.pc1`, ... too |
//! | a text | `note`, and `note.length`: its characters; an empty one has no length |
//! | a free text, where the profile has them | `note.words`, `note.symbols`, `note.non_ascii` too |
//!
//! What is said of a free text needs no tokenizer, so that it means the same for every engine and
//! costs one pass over the characters. Tokens of a text are watched all the same: transformers
//! answer with their number (`token_count`), which is an output like any other. Unknown tokens are
//! not: of the vocabularies that are read those of bytes have none, and of the others it takes a
//! foreign script or damaged characters, which `non_ascii` shows.
//!
//! A class index with labels and BYTES are categories, everything else is numbers. BYTES with more
//! than one element a record are not watched.

use std::collections::HashSet;
use std::sync::Arc;

use super::projection::{Projection, Side, Vector, euclidean};
use crate::error::{Error, Result};
use crate::model::contract::{Answer, Contract, Field, Part};
use crate::stats::moments::Moments;
use crate::tensor::{DType, Dim, Tensor, strings};

/// Most unnamed values, and most channels, of one tensor that are watched one by one.
pub const COLUMNS_MAX: usize = 64;
/// Most features of a model.
pub const SLOTS_MAX: usize = 4096;

/// One watched feature or output.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    pub name: String,
    /// Position of the tensor in the signature.
    pub tensor: usize,
    pub take: Take,
    /// Names of the classes where the value is a class index.
    pub labels: Vec<String>,
    pub unit: Option<String>,
    /// Plausible values, ends included.
    pub range: Option<[f64; 2]>,
}

/// What is taken of a record's part of the tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Take {
    Element(usize),
    /// Mean of channel `index` of `of`.
    Mean {
        index: usize,
        of: usize,
    },
    /// Standard deviation (of the population) of channel `index` of `of`.
    Std {
        index: usize,
        of: usize,
    },
    /// The text of the only element.
    Text,
    /// Characters of the only element.
    Length,
    /// What white space parts in the only element.
    Words,
    /// Share of its characters that are neither letters nor white space.
    Symbols,
    /// Share of its characters that are not ASCII: another script, or a broken encoding.
    NonAscii,
    /// Euclidean length of a vector.
    Norm,
    /// Where a vector lies on a direction of its projection.
    Score(usize),
}

/// One value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Seen<'a> {
    Number(f64),
    Text(&'a str),
}

/// What is said of free texts beside their length, by the end of its name.
const OF_FREE_TEXT: [(&str, Take); 3] =
    [("words", Take::Words), ("symbols", Take::Symbols), ("non_ascii", Take::NonAscii)];

impl Slot {
    /// Whether values are categories.
    pub fn is_categorical(&self) -> bool {
        !self.labels.is_empty() || self.take == Take::Text
    }
}

/// All that is watched of the inputs, or of the outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Slots {
    /// In the order of the tensors.
    pub list: Vec<Slot>,
    batched: bool,
    /// How vectors are reduced, by the position of their tensor.
    projections: Vec<(usize, Arc<Projection>)>,
}

impl Slots {
    pub fn inputs(contract: &Contract) -> Result<Self> {
        Self::new(contract.fields.iter().flat_map(of_field).collect(), contract.batched)
    }

    pub fn outputs(contract: &Contract) -> Result<Self> {
        Self::new(contract.answers.iter().flat_map(of_answer).collect(), contract.batched)
    }

    fn new(list: Vec<Slot>, batched: bool) -> Result<Self> {
        if list.len() > SLOTS_MAX {
            let count = list.len();
            return Err(Error::unsupported(format!(
                "drift is not measured of more than {SLOTS_MAX} features; the model has {count}"
            )));
        }
        let mut seen = HashSet::new();
        if let Some(twice) = list.iter().find(|slot| !seen.insert(&slot.name)) {
            let name = &twice.name;
            return Err(Error::unsupported(format!("two features are called '{name}'")));
        }
        Ok(Self { list, batched, projections: Vec::new() })
    }

    /// These, and what is watched of vectors by their projections: those of this side, which were
    /// checked against the contract.
    pub fn projected(
        mut self,
        contract: &Contract,
        side: Side,
        projections: &[Projection],
    ) -> Result<Self> {
        for vector in Vector::all(contract, side) {
            let of_it =
                |projection: &&Projection| projection.of == side && projection.name == vector.name;
            let Some(projection) = projections.iter().find(of_it) else { continue };
            // Slots of one tensor stand together: it is read once.
            let after = self.list.iter().rposition(|slot| slot.tensor <= vector.tensor);
            let place = after.map_or(0, |after| after + 1);
            self.list.splice(place..place, projection.slots(vector.tensor));
            self.projections.push((vector.tensor, Arc::new(projection.clone())));
        }
        Ok(Self { projections: self.projections, ..Self::new(self.list, self.batched)? })
    }

    /// These, and what is watched of free texts where `has` knows the name.
    pub fn with_free_texts(self, has: impl Fn(&str) -> bool) -> Result<Self> {
        let more = |slot: &Slot| -> Vec<Slot> {
            let text = slot.name.strip_suffix(".length").filter(|_| slot.take == Take::Length);
            let named = |text: &str| {
                OF_FREE_TEXT.map(|(end, take)| Slot {
                    name: format!("{text}.{end}"),
                    take,
                    ..slot.clone()
                })
            };
            let all = text.map(named).into_iter().flatten();
            all.filter(|slot| has(&slot.name)).collect()
        };
        let list = self.list.iter().flat_map(|slot| [vec![slot.clone()], more(slot)].concat());
        Ok(Self { projections: self.projections, ..Self::new(list.collect(), self.batched)? })
    }

    /// Tells every value of every record: position of the slot, of the record, and the value. The
    /// tensors are all of the signature's, in its order.
    pub fn read(&self, tensors: &[Tensor], mut seen: impl FnMut(usize, usize, Seen<'_>)) {
        let same = |a: &Slot, b: &Slot| a.tensor == b.tensor;
        let mut first = 0;
        for slots in self.list.chunk_by(same) {
            let tensor = slots.first().and_then(|slot| tensors.get(slot.tensor));
            if let Some(tensor) = tensor {
                self.read_tensor(tensor, slots, |slot, row, value| seen(first + slot, row, value));
            }
            first += slots.len();
        }
    }

    fn read_tensor(
        &self,
        tensor: &Tensor,
        slots: &[Slot],
        mut seen: impl FnMut(usize, usize, Seen<'_>),
    ) {
        let Some(values) = tensor.to_f64s() else {
            for (row, text) in strings::elements(tensor.data()).flatten().enumerate() {
                let text = String::from_utf8_lossy(text);
                for (position, slot) in slots.iter().enumerate() {
                    let number = slot.take.of_text(&text).map(Seen::Number);
                    seen(position, row, number.unwrap_or(Seen::Text(&text)));
                }
            }
            return;
        };
        let rows = if self.batched { tensor.rows() } else { 1 };
        let width = values.len().checked_div(rows).unwrap_or(0).max(1);
        let tensor = slots.first().map(|slot| slot.tensor);
        let projection = self.projections.iter().find(|(of, _)| Some(*of) == tensor);
        let projection = projection.map(|(_, projection)| projection.as_ref());
        for (row, values) in values.chunks_exact(width).enumerate() {
            for (position, slot) in slots.iter().enumerate() {
                if let Some(value) = slot.take.of(values, projection) {
                    seen(position, row, Seen::Number(value));
                }
            }
        }
    }
}

impl Take {
    /// All that a text without a value has none of.
    pub const OF_TEXT: [Take; 5] =
        [Take::Text, Take::Length, Take::Words, Take::Symbols, Take::NonAscii];

    pub(super) fn is_of_free_text(self) -> bool {
        matches!(self, Take::Words | Take::Symbols | Take::NonAscii)
    }

    /// The number that is taken of a text, where it is one; NaN of an empty text.
    fn of_text(self, text: &str) -> Option<f64> {
        let all = text.chars().count() as f64;
        let count = |is: fn(&char) -> bool| text.chars().filter(is).count() as f64;
        let number = match self {
            Take::Length => all,
            Take::Words => text.split_whitespace().count() as f64,
            Take::Symbols => count(|c| !c.is_alphabetic() && !c.is_whitespace()) / all,
            Take::NonAscii => count(|c| !c.is_ascii()) / all,
            _ => return None,
        };
        Some(if text.is_empty() { f64::NAN } else { number })
    }

    /// The value in a record's numbers, where it is there.
    pub(super) fn of(self, record: &[f64], projection: Option<&Projection>) -> Option<f64> {
        let channel = |index: usize, of: usize| -> Option<Moments> {
            let length = record.len().checked_div(of)?;
            let values = record.get(index.checked_mul(length)?..)?.get(..length)?;
            Some(values.iter().copied().collect())
        };
        match self {
            Take::Element(index) => record.get(index).copied(),
            Take::Mean { index, of } => channel(index, of)?.mean(),
            Take::Std { index, of } => channel(index, of)?.std_pop(),
            Take::Norm => Some(euclidean(record)),
            Take::Score(place) => projection?.score(record, place),
            Take::Text | Take::Length => None,
            Take::Words | Take::Symbols | Take::NonAscii => None,
        }
    }
}

fn of_field(field: &Field) -> Vec<Slot> {
    let take = match field.part {
        Part::Column(column) => Some(Take::Element(column)),
        Part::Row(_) => None,
    };
    let slot = |name: String, take: Take| Slot {
        name,
        tensor: field.input,
        take,
        labels: Vec::new(),
        unit: field.unit.clone(),
        // The mean of a signal lies in the signal's range, its spread need not.
        range: field.range.filter(|_| !matches!(take, Take::Std { .. })),
    };
    let dims = match &field.part {
        Part::Row(dims) => dims.as_slice(),
        Part::Column(_) => &[],
    };
    match take {
        Some(take) => vec![slot(field.name.clone(), take)],
        None => of_row(&field.name, field.dtype, dims, slot),
    }
}

fn of_answer(answer: &Answer) -> Vec<Slot> {
    let slot = |name: String, take: Take| Slot {
        name,
        tensor: answer.output,
        take,
        labels: if answer.is_scalar() && take != Take::Length {
            answer.labels.clone()
        } else {
            Vec::new()
        },
        unit: answer.unit.clone(),
        range: None,
    };
    if answer.labels_name_entries() && !answer.is_scalar() {
        let entries = answer.labels.iter().enumerate();
        let named = |(index, label): (usize, &String)| {
            slot(format!("{}[{label}]", answer.name), Take::Element(index))
        };
        return entries.map(named).collect();
    }
    of_row(&answer.name, answer.dtype, &answer.dims, slot)
}

fn of_row(
    name: &str,
    dtype: DType,
    dims: &[Dim],
    slot: impl Fn(String, Take) -> Slot,
) -> Vec<Slot> {
    let is_single = dims.is_empty() || dims == [Dim::Fixed(1)];
    let few = |dim: &Dim| match dim {
        Dim::Fixed(extent) => Some(*extent).filter(|extent| (1..=COLUMNS_MAX).contains(extent)),
        Dim::Any => None,
    };
    if dtype == DType::Bytes {
        let length = || Slot { unit: None, ..slot(format!("{name}.length"), Take::Length) };
        let text = || slot(name.to_owned(), Take::Text);
        return if is_single { vec![text(), length()] } else { Vec::new() };
    }
    if is_single {
        return vec![slot(name.to_owned(), Take::Element(0))];
    }
    if let [dim] = dims
        && let Some(columns) = few(dim)
    {
        return (0..columns).map(|i| slot(format!("{name}[{i}]"), Take::Element(i))).collect();
    }
    let of = dims.first().filter(|_| dims.len() > 1).and_then(few).unwrap_or(1);
    let channels = (0..of).flat_map(|index| {
        let channel = if of == 1 { name.to_owned() } else { format!("{name}[{index}]") };
        [
            slot(format!("{channel}.mean"), Take::Mean { index, of }),
            slot(format!("{channel}.std"), Take::Std { index, of }),
        ]
    });
    channels.collect()
}
