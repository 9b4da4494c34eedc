//! The steps of a transformer between its multiplications, each in one walk over memory. The
//! library has them as several operations with a tensor in between, and exponentials by one call
//! each; on a processor that is as much time as the multiplications themselves.
//!
//! On another device, the library's own operations do the same: the tests hold one against the
//! other.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// How a layer turns its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x·Φ(x), exactly: `gelu` in the configurations.
    Gelu,
    /// With the hyperbolic tangent: `gelu_new`, `gelu_pytorch_tanh`.
    GeluTanh,
    Relu,
    Tanh,
}

impl Activation {
    fn of(self, x: f32) -> f32 {
        match self {
            Activation::Gelu => 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2)),
            Activation::GeluTanh => {
                const SQRT_2_OVER_PI: f32 = 0.797_884_6;
                0.5 * x * (1.0 + tanh(SQRT_2_OVER_PI * (x + 0.044_715 * x * x * x)))
            }
            Activation::Relu => x.max(0.0),
            Activation::Tanh => tanh(x),
        }
    }

    /// The library's own.
    fn of_tensor(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Activation::Gelu => x.gelu_erf(),
            Activation::GeluTanh => x.gelu(),
            Activation::Relu => x.relu(),
            Activation::Tanh => x.tanh(),
        }
    }
}

/// `activation(x + bias)`; x has any shape that ends with the extent of the bias.
pub fn bias_activation(x: &Tensor, bias: &Tensor, activation: Activation) -> Result<Tensor> {
    if x.device().is_cpu() {
        return x.apply_op2_no_bwd(bias, &BiasActivation(activation));
    }
    activation.of_tensor(&x.broadcast_add(bias)?)
}

/// `activation(a) * b`, where every row of x is a and b side by side.
pub fn gated(x: &Tensor, activation: Activation) -> Result<Tensor> {
    if x.device().is_cpu() {
        return x.apply_op1_no_bwd(&Gated(activation));
    }
    let half = x.dim(D::Minus1)? / 2;
    let a = x.narrow(D::Minus1, 0, half)?.contiguous()?;
    activation.of_tensor(&a)? * x.narrow(D::Minus1, half, half)?
}

/// `softmax(scale * x)` over the last axis.
pub fn scaled_softmax(x: &Tensor, scale: f32) -> Result<Tensor> {
    if x.device().is_cpu() {
        return x.apply_op1_no_bwd(&ScaledSoftmax(scale));
    }
    candle_nn::ops::softmax_last_dim(&(x * f64::from(scale))?)
}

/// A layer norm.
#[derive(Clone, Debug)]
pub struct Norm {
    pub weight: Tensor,
    pub bias: Tensor,
    pub epsilon: f32,
}

impl Norm {
    /// `norm(x)`.
    pub fn of(&self, x: &Tensor) -> Result<Tensor> {
        candle_nn::ops::layer_norm(x, &self.weight, &self.bias, self.epsilon)
    }

    /// `norm(x + bias + residual)`, where `bias` belongs to the layer that made x.
    pub fn of_sum(&self, x: &Tensor, bias: &Tensor, residual: &Tensor) -> Result<Tensor> {
        if x.device().is_cpu() {
            return x.apply_op2_no_bwd(residual, &SumNorm { bias, norm: self });
        }
        self.of(&(x.broadcast_add(bias)? + residual)?)
    }
}

struct BiasActivation(Activation);

impl CustomOp2 for BiasActivation {
    fn name(&self) -> &'static str {
        "bias-activation"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, bias) = (floats(x, x_layout)?, floats(bias, bias_layout)?);
        let mut sum = rows_of(x, bias.len())?;
        // One arm for each, so that the walk over the numbers has no branch in it.
        match self.0 {
            Activation::Gelu => each(&mut sum, bias, |x| Activation::Gelu.of(x)),
            Activation::GeluTanh => each(&mut sum, bias, |x| Activation::GeluTanh.of(x)),
            Activation::Relu => each(&mut sum, bias, |x| Activation::Relu.of(x)),
            Activation::Tanh => each(&mut sum, bias, |x| Activation::Tanh.of(x)),
        }
        Ok((CpuStorage::F32(sum), x_layout.shape().clone()))
    }
}

fn each(x: &mut [f32], bias: &[f32], of: impl Fn(f32) -> f32 + Sync) {
    x.par_chunks_mut(bias.len()).for_each(|row| {
        for (x, bias) in row.iter_mut().zip(bias) {
            *x = of(*x + bias);
        }
    });
}

struct Gated(Activation);

impl CustomOp1 for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, columns) = layout.shape().dims2()?;
        let half = columns / 2;
        if half == 0 || !columns.is_multiple_of(2) {
            bail!("expected rows of two halves")
        }
        let x = floats(x, layout)?;
        let mut out = vec![0.0; rows * half];
        let rows_of_both = out.par_chunks_mut(half).zip(x.par_chunks(columns));
        rows_of_both.for_each(|(out, row)| {
            let (a, b) = row.split_at(half);
            for (out, (a, b)) in out.iter_mut().zip(a.iter().zip(b)) {
                *out = self.0.of(*a) * b;
            }
        });
        Ok((CpuStorage::F32(out), Shape::from((rows, half))))
    }
}

struct ScaledSoftmax(f32);

impl CustomOp1 for ScaledSoftmax {
    fn name(&self) -> &'static str {
        "scaled-softmax"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let columns = layout.shape().dim(D::Minus1)?;
        let mut x = rows_of(floats(x, layout)?, columns)?;
        let scale = self.0;
        x.par_chunks_mut(columns).for_each(|row| {
            let most = row.iter().fold(f32::NEG_INFINITY, |most, &x| most.max(x));
            for x in row.iter_mut() {
                *x = exp(scale * (*x - most));
            }
            let sum: f32 = row.iter().sum();
            let each = sum.recip();
            row.iter_mut().for_each(|x| *x *= each);
        });
        Ok((CpuStorage::F32(x), layout.shape().clone()))
    }
}

struct SumNorm<'a> {
    bias: &'a Tensor,
    norm: &'a Norm,
}

impl CustomOp2 for SumNorm<'_> {
    fn name(&self) -> &'static str {
        "sum-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let parts = [self.bias, &self.norm.weight, &self.norm.bias];
        let [bias, weight, shift] = parts.map(Tensor::to_vec1::<f32>);
        let (bias, weight, shift) = (bias?, weight?, shift?);
        let (x, residual) = (floats(x, x_layout)?, floats(residual, residual_layout)?);
        if residual.len() != x.len() || weight.len() != bias.len() || shift.len() != bias.len() {
            bail!("the parts of a sum differ in their extents")
        }
        let mut sum = rows_of(x, bias.len())?;
        let count = bias.len() as f32;
        let rows = sum.par_chunks_mut(bias.len()).zip(residual.par_chunks(bias.len()));
        rows.for_each(|(row, residual)| {
            for (x, (residual, bias)) in row.iter_mut().zip(residual.iter().zip(&bias)) {
                *x += residual + bias;
            }
            let mean = row.iter().sum::<f32>() / count;
            // Around the mean: the difference of two large squares would be less exact.
            let square: f32 = row.iter().map(|x| (x - mean) * (x - mean)).sum();
            let by = (square / count + self.norm.epsilon).sqrt().recip();
            for (x, (weight, shift)) in row.iter_mut().zip(weight.iter().zip(&shift)) {
                *x = (*x - mean) * by * weight + shift;
            }
        });
        Ok((CpuStorage::F32(sum), x_layout.shape().clone()))
    }
}

fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let (CpuStorage::F32(numbers), Some((start, end))) = (storage, layout.contiguous_offsets())
    else {
        bail!("expected FP32 numbers that lie next to each other")
    };
    Ok(&numbers[start..end])
}

/// A copy to work on, which is whole rows.
fn rows_of(x: &[f32], columns: usize) -> Result<Vec<f32>> {
    if columns == 0 || !x.len().is_multiple_of(columns) {
        bail!("expected rows of {columns} numbers")
    }
    Ok(x.to_vec())
}

/// e^x to a relative error below 3e-7, without a branch or a call, so that compilers vectorise it:
/// x = n ln 2 + r with |r| <= ln 2 / 2, and the Taylor polynomial of degree 7 for e^r.
fn exp(x: f32) -> f32 {
    /// Added and taken away again, it rounds to a whole number: 1.5 * 2^23.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts, the first of which is exact when multiplied by a small whole number.
    const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
    let x = x.clamp(-87.0, 88.0);
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = x - n * LN_2.0 - n * LN_2.1;
    let p = 1.0 / 720.0 + r * (1.0 / 5040.0);
    let p = 1.0 / 24.0 + r * (1.0 / 120.0 + r * p);
    let p = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * p)));
    let exponent = rounded.to_bits().wrapping_sub(ROUND.to_bits());
    p * f32::from_bits((exponent << 23).wrapping_add(1.0f32.to_bits()))
}

/// The error function to an absolute error below 5e-7: Abramowitz and Stegun, Handbook of
/// Mathematical Functions, 7.1.26.
fn erf(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let p = -1.453_152 + t * 1.061_405_4;
    let p = t * (0.254_829_6 + t * (-0.284_496_74 + t * (1.421_413_7 + t * p)));
    (1.0 - p * exp(-x * x)).copysign(x)
}

fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (exp(2.0 * x) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn numbers(count: u16, scale: f32) -> Vec<f32> {
        // A walk that meets no number twice.
        (0..count).map(|n| ((f32::from(n) * 0.618_034).fract() - 0.5) * scale).collect()
    }

    fn tensor(shape: (usize, usize), scale: f32) -> Tensor {
        let count = u16::try_from(shape.0 * shape.1).unwrap();
        Tensor::from_vec(numbers(count, scale), shape, &Device::Cpu).unwrap()
    }

    fn apart(a: &Tensor, b: &Tensor) -> f32 {
        (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn functions_are_as_exact_as_they_say() {
        for x in numbers(20_000, 170.0) {
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 3e-7, "exp({x})");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(-1e9) < 1e-37 && exp(f32::NEG_INFINITY) < 1e-37);
        // Of the error function and its kin, the library's own are the oracle.
        for (activation, scale) in
            [(Activation::Gelu, 12.0), (Activation::GeluTanh, 12.0), (Activation::Tanh, 30.0)]
        {
            let x = tensor((100, 200), scale);
            let bias = tensor((1, 200), 1.0).flatten_all().unwrap();
            let sum = x.broadcast_add(&bias).unwrap();
            let exact = activation.of_tensor(&sum);
            let own = bias_activation(&x, &bias, activation).unwrap();
            assert!(apart(&own, &exact.unwrap()) < 3e-6, "{activation:?}");
        }
    }

    #[test]
    fn a_step_gives_what_the_librarys_operations_give() {
        let x = tensor((40, 64), 9.0);
        let soft = candle_nn::ops::softmax_last_dim(&(&x * 0.25).unwrap()).unwrap();
        assert!(apart(&scaled_softmax(&x, 0.25).unwrap(), &soft) < 1e-6);

        for activation in [Activation::Gelu, Activation::Relu] {
            let zeros = Tensor::zeros(32, candle_core::DType::F32, &Device::Cpu).unwrap();
            let a = x.narrow(1, 0, 32).unwrap().contiguous().unwrap();
            let a = bias_activation(&a, &zeros, activation).unwrap();
            let product = (a * x.narrow(1, 32, 32).unwrap()).unwrap();
            assert!(apart(&gated(&x, activation).unwrap(), &product) < 1e-5);
        }

        let [bias, weight, shift] =
            [0.5, 2.0, 3.0].map(|scale| tensor((1, 64), scale).flatten_all().unwrap());
        let norm = Norm { weight, bias: shift, epsilon: 1e-12 };
        let residual = tensor((40, 64), 3.0);
        let sum = (x.broadcast_add(&bias).unwrap() + &residual).unwrap();
        let expected = norm.of(&sum).unwrap();
        assert!(apart(&norm.of_sum(&x, &bias, &residual).unwrap(), &expected) < 1e-5);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let x = tensor((4, 6), 1.0);
        let bias = tensor((1, 5), 1.0).flatten_all().unwrap();
        assert!(bias_activation(&x, &bias, Activation::Relu).is_err());
        assert!(scaled_softmax(&x.t().unwrap(), 1.0).is_err(), "not next to each other");
    }
}
