//! How far predicted quantities are from the true ones.

/// Errors in the unit of the quantity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Errors {
    /// Mean of predicted minus true: above 0, predictions are too high.
    pub mean: f64,
    /// Mean of the absolute errors.
    pub absolute: f64,
    /// Root of the mean squared error.
    pub root_mean_square: f64,
}

impl Errors {
    /// `None` of nothing, or where a number is not finite.
    pub fn of(predicted: &[f64], truth: &[f64]) -> Option<Self> {
        let fits = predicted.len() == truth.len() && !predicted.is_empty();
        if !fits || !predicted.iter().chain(truth).all(|value| value.is_finite()) {
            return None;
        }
        let mean = |of: fn(f64) -> f64| {
            let errors = predicted.iter().zip(truth).map(|(predicted, truth)| predicted - truth);
            errors.map(of).sum::<f64>() / predicted.len() as f64
        };
        Some(Self {
            mean: mean(|error| error),
            absolute: mean(f64::abs),
            root_mean_square: mean(|error| error * error).sqrt(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_a_sign_a_size_and_a_weight() {
        let errors = Errors::of(&[3.0, 1.0], &[0.0, 2.0]).unwrap();
        assert_eq!((errors.mean, errors.absolute), (1.0, 2.0));
        assert_eq!(errors.root_mean_square, 5f64.sqrt());
        for (predicted, truth) in [(&[][..], &[][..]), (&[1.0], &[f64::NAN]), (&[1.0], &[])] {
            assert_eq!(Errors::of(predicted, truth), None);
        }
    }
}
