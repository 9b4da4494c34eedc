//! Two samples of embeddings compared: maximum mean discrepancy, and a classifier that tries to
//! tell them apart. Embeddings are long: reduce them first (the profile's PCA), for the cost of
//! both grows with their length.

mod classifier;
mod mmd;

pub use classifier::{FOLDS, auc, auc_in_folds};
pub use mmd::{Discrepancy, PERMUTATIONS, discrepancy};

/// Most rows of one sample that are compared; of more, so many evenly spaced ones are taken.
pub const ROWS_MAX: usize = 1000;
/// Longest row that is compared.
pub const WIDTH_MAX: usize = 256;

/// Rows of equal length.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    data: Vec<f64>,
    width: usize,
}

impl Rows {
    /// From row-major data. `None` unless there is a whole number of rows (one at least), 1 to
    /// [`WIDTH_MAX`] numbers long, all finite.
    pub fn new(data: &[f64], width: usize) -> Option<Self> {
        let whole = (1..=WIDTH_MAX).contains(&width) && data.len().is_multiple_of(width);
        if !whole || data.is_empty() || data.iter().any(|x| !x.is_finite()) {
            return None;
        }
        let rows = data.len() / width;
        let kept = rows.min(ROWS_MAX);
        let chosen = (0..kept).map(|i| i * rows / kept);
        let data = chosen.flat_map(|row| &data[row * width..][..width]).copied().collect();
        Some(Self { data, width })
    }

    pub fn count(&self) -> usize {
        self.data.len() / self.width
    }

    fn iter(&self) -> impl Iterator<Item = &[f64]> {
        self.data.chunks_exact(self.width)
    }
}
