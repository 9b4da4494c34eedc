//! Quantiles of a stream in little memory: Apache DataSketches' KLL (Karnin, Lang and Liberty,
//! 2016).
//!
//! A quantile that it gives has its rank within 1.33 % of all values in 99 of 100 cases, however
//! many they were; of up to 200 values it is exact. It keeps some six hundred single
//! values at most, which belong to no row any more, and writes them down in the form that
//! DataSketches' libraries in other languages read.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use datasketches::common::SearchCriteria;
use datasketches::kll::{KllFloat, KllSketch};

/// KLL's `k`: the default of every such library.
const ACCURACY: u16 = 200;

/// A sketch of finite numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sketch(KllSketch<KllFloat<f64>>);

impl Sketch {
    /// Adds one value. The caller keeps what is not finite away.
    pub fn push(&mut self, value: f64) {
        if let Ok(value) = KllFloat::<f64>::new(value) {
            self.0.update(value);
        }
    }

    /// Adds what another sketch has seen.
    pub fn merge(&mut self, other: &Self) {
        // Sketches of one accuracy fit.
        let _ = self.0.merge(&other.0);
    }

    pub fn reset(&mut self) {
        self.0.reset();
    }

    /// Values that were seen.
    pub fn count(&self) -> u64 {
        self.0.n()
    }

    /// The least values that so large shares (0 to 1) of all do not exceed; `None` before any.
    pub fn quantiles<const N: usize>(&self, shares: [f64; N]) -> Option<[f64; N]> {
        let found = self.0.quantiles(&shares, SearchCriteria::Inclusive).ok()??;
        let found: Vec<f64> = found.into_iter().map(KllFloat::into_inner).collect();
        found.try_into().ok()
    }

    /// The bytes of DataSketches' own form (`kll_doubles_sketch`), in base64.
    pub fn to_text(&self) -> String {
        STANDARD.encode(self.0.serialize())
    }

    /// `None` where it is none, or of another accuracy.
    pub fn from_text(text: &str) -> Option<Self> {
        let sketch = KllSketch::deserialize(&STANDARD.decode(text).ok()?).ok()?;
        (sketch.k() == ACCURACY && sketch.min_k() == ACCURACY).then_some(Self(sketch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Three times the error that 99 of 100 sketches keep.
    const RANK_ERROR: f64 = 0.04;
    const SHARES: [f64; 5] = [0.01, 0.25, 0.5, 0.75, 0.99];

    fn of(values: impl IntoIterator<Item = f64>) -> Sketch {
        let mut sketch = Sketch::default();
        values.into_iter().for_each(|value| sketch.push(value));
        sketch
    }

    #[test]
    fn few_values_are_told_exactly_and_none_not_at_all() {
        assert_eq!(of([]).quantiles(SHARES), None);
        let sketch = of((1..=100).rev().map(f64::from));
        assert_eq!(sketch.quantiles(SHARES), Some([1.0, 25.0, 50.0, 75.0, 99.0]));
        assert_eq!(sketch.count(), 100);
        assert_eq!(of([f64::NAN, 7.0]).quantiles([0.5]), Some([7.0]));
    }

    #[test]
    fn many_are_told_by_their_rank_in_bounded_memory() {
        let mut random = fastrand::Rng::with_seed(1);
        let sketch = of((0..1_000_000).map(|_| random.f64()));
        let found = sketch.quantiles(SHARES).unwrap();
        for (found, share) in found.into_iter().zip(SHARES) {
            assert!((found - share).abs() < RANK_ERROR, "{share}: {found}");
        }
        assert!(sketch.to_text().len() < 8192, "{}", sketch.to_text().len());
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let sketch = of((0..10_000).map(f64::from));
        let text = sketch.to_text();
        let read = Sketch::from_text(&text).unwrap();
        assert_eq!((read.count(), read.quantiles(SHARES)), (10_000, sketch.quantiles(SHARES)));
        assert_eq!(Sketch::from_text(&of([]).to_text()).map(|none| none.count()), Some(0));
        let coarse = KllSketch::<KllFloat<f64>>::new(8).unwrap();
        for wrong in ["", "AAAA", "?", &text[..400], &STANDARD.encode(coarse.serialize())] {
            assert_eq!(Sketch::from_text(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn parts_in_any_order_are_as_good_as_the_whole(
            parts in prop::collection::vec(1usize..3000, 1..8), seed in 0u64..1000
        ) {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut all = Vec::new();
            let mut whole = Sketch::default();
            for count in parts {
                let part: Vec<f64> = (0..count).map(|_| random.f64()).collect();
                whole.merge(&of(part.iter().copied()));
                all.extend(part);
            }
            prop_assert_eq!(whole.count(), all.len() as u64);
            for (found, share) in whole.quantiles(SHARES).unwrap().into_iter().zip(SHARES) {
                // A value's rank is a whole step: from what is less to what is not more.
                let rank = |count: usize| count as f64 / all.len() as f64;
                let less = rank(all.iter().filter(|&&value| value < found).count());
                let upto = rank(all.iter().filter(|&&value| value <= found).count());
                prop_assert!(less - RANK_ERROR < share && share < upto + RANK_ERROR);
            }
        }

        /// Another replica may send anything.
        #[test]
        fn no_bytes_do_harm(at in 0usize..500, byte: u8, cut in 0usize..600) {
            let mut bytes = of((0..10_000).map(f64::from)).0.serialize();
            let place = at % bytes.len();
            bytes[place] = byte;
            bytes.truncate(bytes.len().saturating_sub(cut % 3 * cut));
            if let Some(read) = Sketch::from_text(&STANDARD.encode(bytes)) {
                let mut sum = of([1.0]);
                sum.merge(&read);
                let _ = sum.quantiles(SHARES);
            }
        }
    }
}
