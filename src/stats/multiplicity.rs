//! Many tests at once: of a hundred features without drift, five have p below 0.05.

/// Which of the tests are discoveries at a false discovery rate of `q` (Benjamini and Hochberg,
/// 1995): all up to the largest `i` with `p_(i) <= q i / n`. In the order of `p`; what is no number
/// is no discovery, but was a test.
pub fn benjamini_hochberg(p: &[f64], q: f64) -> Vec<bool> {
    let mut ascending: Vec<f64> = p.iter().copied().filter(|p| !p.is_nan()).collect();
    ascending.sort_unstable_by(f64::total_cmp);
    let tests = p.len() as f64;
    let largest = (ascending.iter().enumerate())
        .rfind(|(place, p)| **p <= q * (place + 1) as f64 / tests)
        .map(|(_, p)| *p);
    p.iter().map(|p| largest.is_some_and(|largest| *p <= largest)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_papers_own_example() {
        // Benjamini and Hochberg (1995), section 4: 15 tests, 4 discoveries at 0.05 (Bonferroni 3).
        let p = [
            0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262,
            0.5719, 0.6528, 0.7590, 1.0,
        ];
        let found = benjamini_hochberg(&p, 0.05);
        assert_eq!(found.iter().filter(|found| **found).count(), 4);
        assert_eq!(benjamini_hochberg(&[], 0.05), Vec::<bool>::new());
        assert_eq!(benjamini_hochberg(&[f64::NAN, 0.01], 0.05), [false, true]);
        assert_eq!(benjamini_hochberg(&[f64::NAN, 0.03], 0.05), [false, false]);
    }

    proptest! {
        #[test]
        fn between_bonferroni_and_no_correction(
            p in proptest::collection::vec(0.0..1.0f64, 1..40)
        ) {
            let found = benjamini_hochberg(&p, 0.05);
            for (p, found) in p.iter().zip(&found) {
                prop_assert!(!found || *p <= 0.05);
            }
            let n = p.len() as f64;
            prop_assert!(p.iter().zip(&found).all(|(p, found)| *found || *p > 0.05 / n));
        }
    }
}
