//! What `post_transform` does to the scores of one row.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostTransform {
    None,
    Softmax,
    Logistic,
    SoftmaxZero,
    Probit,
}

impl PostTransform {
    pub fn of(node: &NodeProto) -> TractResult<Self> {
        Ok(match node.get_attr_opt::<&str>("post_transform")?.unwrap_or("NONE") {
            "NONE" => Self::None,
            "SOFTMAX" => Self::Softmax,
            "LOGISTIC" => Self::Logistic,
            "SOFTMAX_ZERO" => Self::SoftmaxZero,
            "PROBIT" => Self::Probit,
            other => bail!("unknown post_transform '{other}'"),
        })
    }

    /// Transforms a row of several scores.
    pub fn apply(self, scores: &mut [f32]) {
        match self {
            Self::None => {}
            Self::Softmax => softmax(scores),
            Self::Logistic => scores.iter_mut().for_each(|score| *score = logistic(*score)),
            Self::SoftmaxZero => softmax_zero(scores),
            Self::Probit => scores.iter_mut().for_each(|score| *score = probit(*score)),
        }
    }

    /// Transforms the one score of a regression. ONNX Runtime leaves out all but the probit there.
    pub fn apply_to_one(self, score: f32) -> f32 {
        if self == Self::Probit { probit(score) } else { score }
    }
}

/// From the absolute value, so that `exp` never overflows.
pub fn logistic(score: f32) -> f32 {
    let upper = 1.0 / (1.0 + (-score.abs()).exp());
    if score < 0.0 { 1.0 - upper } else { upper }
}

fn softmax(scores: &mut [f32]) {
    let most = scores.iter().copied().fold(f32::MIN, f32::max);
    let mut sum = 0.0;
    for score in &mut *scores {
        *score = (*score - most).exp();
        sum += *score;
    }
    scores.iter_mut().for_each(|score| *score /= sum);
}

/// Softmax over the scores that are not zero; those that are stay so.
fn softmax_zero(scores: &mut [f32]) {
    const ZERO: f32 = 1e-7;
    let most = scores.iter().copied().fold(f32::MIN, f32::max);
    let mut sum = 0.0;
    for score in &mut *scores {
        if score.abs() > ZERO {
            *score = (*score - most).exp();
            sum += *score;
        } else {
            *score *= (-most).exp();
        }
    }
    // All of them zero: nothing to share out, and nothing to divide by.
    if sum > 0.0 {
        scores.iter_mut().for_each(|score| *score /= sum);
    }
}

/// The quantile of the normal distribution, in the approximation of the inverse error function that
/// ONNX Runtime uses (Winitzki 2008), constants included: a better one would be another answer.
fn probit(score: f32) -> f32 {
    const A: f32 = 0.147;
    #[expect(clippy::approx_constant, reason = "ONNX Runtime's constant, to its digits")]
    const PI: f32 = 3.14159;
    let x = 2.0 * score - 1.0;
    let log = ((1.0 - x) * (1.0 + x)).ln();
    let half = 2.0 / (PI * A) + 0.5 * log;
    // Two large numbers that nearly cancel: around a score of a half this is good to four digits
    // only, in ONNX Runtime too.
    let erf_inv = (-half + (half * half - (1.0 / A) * log).sqrt()).sqrt();
    std::f32::consts::SQRT_2 * if x < 0.0 { -erf_inv } else { erf_inv }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: &[f32], expected: &[f32]) {
        for (f, e) in found.iter().zip(expected) {
            assert!((f - e).abs() < 1e-5, "{found:?} is not {expected:?}");
        }
    }

    /// Expected: what ONNX Runtime 1.32.0 answers for these scores of a `LinearClassifier`.
    #[test]
    fn scores_are_transformed_as_by_onnx_runtime() {
        let transformed = |transform: PostTransform| {
            let mut scores = [0.9, 0.15, 0.06];
            transform.apply(&mut scores);
            scores
        };
        close(&transformed(PostTransform::None), &[0.9, 0.15, 0.06]);
        close(&transformed(PostTransform::Logistic), &[0.710_95, 0.537_43, 0.515]);
        close(&transformed(PostTransform::Softmax), &[0.525_19, 0.248_08, 0.226_73]);
        close(&transformed(PostTransform::Probit), &[1.281_71, -1.036_61, -1.554_72]);
        let mut scores = [0.0, 0.7, -0.2];
        PostTransform::SoftmaxZero.apply(&mut scores);
        close(&scores, &[0.0, 0.710_95, 0.289_05]);
    }

    #[test]
    fn extreme_scores_stay_numbers() {
        let mut scores = [1e30, -1e30, 0.0];
        PostTransform::Softmax.apply(&mut scores);
        close(&scores, &[1.0, 0.0, 0.0]);
        let mut scores = [0.0, 0.0];
        PostTransform::SoftmaxZero.apply(&mut scores);
        close(&scores, &[0.0, 0.0]);
        close(&[logistic(-200.0), logistic(200.0)], &[0.0, 1.0]);
    }
}
