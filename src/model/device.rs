//! Where a model computes: on the processor, or on a GPU; and what compiles its graph for one.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer};

use crate::error::{Error, Result, quoted};

/// One device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    #[default]
    Cpu,
    /// A GPU by its number, as CUDA counts those that the process may see.
    Cuda(u16),
}

impl fmt::Display for Device {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => out.write_str("cpu"),
            Device::Cuda(number) => write!(out, "cuda:{number}"),
        }
    }
}

/// What was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// The first GPU where the engine can use one, the processor elsewhere.
    #[default]
    Auto,
    /// This device, and no other.
    On(Device),
    /// This device, or where it is not to be had, the processor, which the log says.
    OnOrCpu(Device),
}

impl Placement {
    /// The device to try first, where it is a GPU; `is_there` is asked only by who leaves the
    /// choice to us.
    pub fn gpu(self, is_there: impl FnOnce() -> bool) -> Option<u16> {
        match self {
            Placement::Auto => is_there().then_some(0),
            Placement::On(Device::Cuda(number)) | Placement::OnOrCpu(Device::Cuda(number)) => {
                Some(number)
            }
            Placement::On(Device::Cpu) | Placement::OnOrCpu(Device::Cpu) => None,
        }
    }

    /// Whether the processor may stand in.
    pub fn falls_back(self) -> bool {
        !matches!(self, Placement::On(_))
    }

    /// `auto`, `cpu`, `cuda`, `cuda:1`, `cuda:1 or cpu`; `gpu` is another word for `cuda`.
    pub fn parse(text: &str) -> Result<Self> {
        let (first, falls_back) = match text.trim().strip_suffix(" or cpu") {
            Some(first) => (first.trim(), true),
            None => (text.trim(), false),
        };
        let number = first.strip_prefix("cuda").or_else(|| first.strip_prefix("gpu"));
        let number = match number {
            Some("") => Some(0),
            Some(number) => number.strip_prefix(':').and_then(|number| number.parse().ok()),
            None => None,
        };
        match (first, number, falls_back) {
            ("auto", _, false) => Ok(Placement::Auto),
            ("cpu", _, false) => Ok(Placement::On(Device::Cpu)),
            (_, Some(number), false) => Ok(Placement::On(Device::Cuda(number))),
            (_, Some(number), true) => Ok(Placement::OnOrCpu(Device::Cuda(number))),
            _ => Err(Error::invalid(format!(
                "device: expected \"auto\", \"cpu\", \"cuda:0\" or \"cuda:0 or cpu\", with the \
                 GPU's number; got '{}'",
                quoted(text)
            ))),
        }
    }
}

impl<'de> Deserialize<'de> for Placement {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).map_err(|error| de::Error::custom(error.message()))
    }
}

/// NVIDIA's compiler of graphs, for those parts of one that it can take; CUDA computes the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TensorRt {
    pub precision: Precision,
    /// Scratch memory of the GPU that it may plan with; its own choice where nothing is said.
    pub workspace_bytes_max: Option<u64>,
}

/// The least exact numbers that the compiler may choose. A model answers slightly otherwise with
/// any but the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    #[default]
    Fp32,
    Fp16,
    Bf16,
    /// Of a graph that says how it is quantised (`QuantizeLinear`).
    Int8,
}

impl Precision {
    const ALL: [Self; 4] = [Self::Fp32, Self::Fp16, Self::Bf16, Self::Int8];

    pub fn name(self) -> &'static str {
        match self {
            Precision::Fp32 => "fp32",
            Precision::Fp16 => "fp16",
            Precision::Bf16 => "bf16",
            Precision::Int8 => "int8",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|precision| precision.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_by_name() {
        let parse = |text| Placement::parse(text).unwrap();
        assert_eq!(parse("auto"), Placement::Auto);
        assert_eq!(parse("cpu"), Placement::On(Device::Cpu));
        assert_eq!(parse("cuda"), Placement::On(Device::Cuda(0)));
        assert_eq!(parse("gpu:3"), Placement::On(Device::Cuda(3)));
        assert_eq!(parse("cuda:1 or cpu"), Placement::OnOrCpu(Device::Cuda(1)));
        for wrong in ["", "tpu", "cuda:", "cuda:-1", "cuda1", "cpu:0", "cpu or cpu", "auto or cpu"]
        {
            let error = Placement::parse(wrong).unwrap_err();
            assert!(error.message().starts_with("device: expected"), "{wrong}");
        }
    }

    #[test]
    fn only_who_leaves_the_choice_asks_what_is_there() {
        assert_eq!(Placement::Auto.gpu(|| true), Some(0));
        assert_eq!(Placement::Auto.gpu(|| false), None);
        assert_eq!(Placement::On(Device::Cuda(2)).gpu(|| false), Some(2));
        assert_eq!(Placement::On(Device::Cpu).gpu(|| true), None);
        assert!(!Placement::On(Device::Cuda(2)).falls_back() && Placement::Auto.falls_back());
        assert_eq!(Device::Cuda(2).to_string(), "cuda:2");
    }
}
