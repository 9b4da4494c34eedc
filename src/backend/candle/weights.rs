//! The tensors of a `.safetensors` file, by name. The format is a header of names, types, shapes
//! and places, and numbers; nothing in it can run. The `safetensors` crate checks the header (its
//! size, that places lie within the file and do not overlap) before anything is taken from it.
//!
//! Whatever type a file has, FP32 is computed: half precision on a processor is slower, and less
//! exact.

use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use super::kernels::Norm;
use crate::error::{Error, Result, quoted};

/// The weights of one file, and where in its names we stand.
#[derive(Clone)]
pub struct Weights<'a> {
    file: &'a SafeTensors<'a>,
    device: &'a Device,
    prefix: String,
}

impl<'a> Weights<'a> {
    pub fn new(file: &'a SafeTensors<'a>, device: &'a Device) -> Self {
        Self { file, device, prefix: String::new() }
    }

    /// The weights beneath a name.
    pub fn at(&self, name: &str) -> Self {
        let prefix = format!("{}{name}.", self.prefix);
        Self { prefix, ..self.clone() }
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.file.tensor(&self.full(name)).is_ok()
    }

    /// A tensor that must have this shape.
    pub fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let full = self.full(name);
        let view = self.file.tensor(&full).map_err(|_| {
            Error::invalid(format!(
                "candle can not load the model: model.safetensors has no tensor '{}'; expected \
                 one of shape {shape:?}, as config.json describes the model",
                quoted(&full)
            ))
        })?;
        if view.shape() != shape {
            return Err(Error::invalid(format!(
                "candle can not load the model: tensor '{}' has shape {:?}, but config.json asks \
                 for {shape:?}",
                quoted(&full),
                view.shape()
            )));
        }
        let tensor = self.convert(&view).ok_or_else(|| {
            Error::unsupported(format!(
                "candle can not load the model: tensor '{}' is {:?}; expected F32, F16, BF16 or \
                 F64",
                quoted(&full),
                view.dtype()
            ))
        })?;
        tensor.map_err(|error| super::load_error(super::NAME, error))
    }

    /// `weight` and `bias` of a linear layer from `columns` to `rows`.
    pub fn linear(&self, rows: usize, columns: usize) -> Result<Linear> {
        Linear::new(self.get("weight", &[rows, columns])?, self.get("bias", &[rows])?)
    }

    /// A convolution whose steps are as wide as it is: a linear layer from `channels * height *
    /// width` numbers to `rows`.
    pub fn convolution(&self, rows: usize, kernel: [usize; 3]) -> Result<Linear> {
        let [channels, height, width] = kernel;
        let weight = self.get("weight", &[rows, channels, height, width])?;
        let weight = weight.flatten(1, 3).map_err(|e| super::load_error(super::NAME, e))?;
        Linear::new(weight, self.get("bias", &[rows])?)
    }

    /// `weight` of a linear layer that adds nothing.
    pub fn linear_without_bias(&self, rows: usize, columns: usize) -> Result<Linear> {
        Linear::new(self.get("weight", &[rows, columns])?, self.zeros(rows)?)
    }

    /// `weight` of a layer norm that adds nothing.
    pub fn norm_without_bias(&self, extent: usize, epsilon: f32) -> Result<Norm> {
        Ok(Norm { weight: self.get("weight", &[extent])?, bias: self.zeros(extent)?, epsilon })
    }

    fn zeros(&self, extent: usize) -> Result<Tensor> {
        let zeros = Tensor::zeros(extent, DType::F32, self.device);
        zeros.map_err(|error| super::load_error(super::NAME, error))
    }

    /// Some linear layers from the same numbers, as one.
    pub fn joined(&self, names: &[&str], rows: usize, columns: usize) -> Result<Linear> {
        let joined = |part: &str, shape: &[usize]| {
            let parts = names.iter().map(|name| self.at(name).get(part, shape));
            let parts = parts.collect::<Result<Vec<_>>>()?;
            Tensor::cat(&parts, 0).map_err(|error| super::load_error(super::NAME, error))
        };
        Linear::new(joined("weight", &[rows, columns])?, joined("bias", &[rows])?)
    }

    /// `weight` and `bias` of a layer norm; checkpoints that came from TensorFlow say `gamma` and
    /// `beta`.
    pub fn norm(&self, extent: usize, epsilon: f32) -> Result<Norm> {
        let old = !self.has("weight") && self.has("gamma");
        let (weight, bias) = if old { ("gamma", "beta") } else { ("weight", "bias") };
        let (weight, bias) = (self.get(weight, &[extent])?, self.get(bias, &[extent])?);
        Ok(Norm { weight, bias, epsilon })
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn convert(&self, view: &TensorView<'_>) -> Option<candle_core::Result<Tensor>> {
        let dtype = match view.dtype() {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            Dtype::F64 => DType::F64,
            _ => return None,
        };
        let tensor = Tensor::from_raw_buffer(view.data(), dtype, view.shape(), self.device);
        Some(tensor.and_then(|tensor| tensor.to_dtype(DType::F32)))
    }
}

/// `x W^T + b`, of which the bias is left to the step behind it.
#[derive(Clone, Debug)]
pub struct Linear {
    /// As it is multiplied: `[columns, rows]`. Turning it in every call costs a tenth of a small
    /// one.
    turned: Tensor,
    pub bias: Tensor,
}

impl Linear {
    fn new(weight: Tensor, bias: Tensor) -> Result<Self> {
        let turned = weight.t().and_then(|turned| turned.contiguous());
        let turned = turned.map_err(|error| super::load_error(super::NAME, error))?;
        Ok(Self { turned, bias })
    }

    /// `x W^T`.
    pub fn product(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        x.matmul(&self.turned)
    }

    /// `x W^T + b`.
    pub fn of(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.product(x)?.broadcast_add(&self.bias)
    }
}

/// Opens a file whose header is whole.
pub fn open(bytes: &[u8]) -> Result<SafeTensors<'_>> {
    SafeTensors::deserialize(bytes).map_err(|error| {
        Error::invalid(format!(
            "candle can not load the model: model.safetensors is not a whole safetensors file: \
             {error}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of one FP16 tensor `a.w` with two numbers.
    fn file() -> Vec<u8> {
        let data: Vec<u8> =
            [1.5, -2.0].map(half::f16::from_f32).map(half::f16::to_le_bytes).concat();
        let view = TensorView::new(Dtype::F16, vec![2], &data).unwrap();
        safetensors::serialize([("a.w", view)], None).unwrap()
    }

    #[test]
    fn numbers_come_out_whole_and_by_name() {
        let bytes = file();
        let file = open(&bytes).unwrap();
        let weights = Weights::new(&file, &Device::Cpu).at("a");
        let tensor = weights.get("w", &[2]).unwrap();
        assert_eq!(tensor.to_vec1::<f32>().unwrap(), [1.5, -2.0]);
        let error = weights.get("w", &[3]).unwrap_err();
        assert!(error.message().contains("has shape [2], but config.json asks for [3]"), "{error}");
        let error = weights.get("v", &[3]).unwrap_err();
        assert!(error.message().contains("has no tensor 'a.v'"), "{error}");
    }

    #[test]
    fn what_is_cut_short_or_lies_is_refused() {
        let bytes = file();
        for end in 0..bytes.len() {
            assert!(open(&bytes[..end]).is_err(), "the first {end} bytes");
        }
        let mut lying = bytes.clone();
        lying[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(open(&lying).is_err());
        // Python's pickle, as PyTorch writes it.
        assert!(open(b"\x80\x02}q\x00X\x01\x00\x00\x00wq\x01.").is_err());
    }
}
