//! Runs the warm-up that a model's configuration asks for, on every session, before any request.
//!
//! Unlike the loader's own probe with zeros, which a model may refuse, these samples are the
//! author's: a version that can not answer them is not ready.

use bytes::Bytes;

use crate::backend::Session;
use crate::error::{Error, Result, quoted};
use crate::model::warmup::{BYTES_MAX, Sample, SampleData};
use crate::model::{ModelId, Signature};
use crate::scheduler::policy::BatchPolicy;
use crate::tensor::{NamedTensor, Tensor};

/// The folder of the data files, in a model's directory.
pub const FOLDER: &str = "warmup";
/// Largest data file that is read.
pub const DATA_BYTES_MAX: u64 = BYTES_MAX as u64;

/// Reads a file of the model's directory.
type Read<'a> = &'a dyn Fn(&str) -> Result<Option<Bytes>>;

pub fn run(
    read: Read<'_>,
    id: &ModelId,
    samples: &[Sample],
    signature: &Signature,
    policy: &BatchPolicy,
    sessions: &mut [Box<dyn Session>],
) -> Result<()> {
    for sample in samples {
        let failed = |error: Error| {
            let message = format!("warmup '{}': {}", quoted(&sample.name), error.message());
            Error::new(error.kind(), message).with_detail(error.detail().unwrap_or_default())
        };
        let inputs = inputs(read, id, sample, signature, policy).map_err(failed)?;
        for session in sessions.iter_mut() {
            for _ in 0..sample.count {
                session.run(&inputs).map_err(failed)?;
            }
        }
    }
    Ok(())
}

fn inputs(
    read: Read<'_>,
    id: &ModelId,
    sample: &Sample,
    signature: &Signature,
    policy: &BatchPolicy,
) -> Result<Vec<Tensor>> {
    let rows = match (policy.batch_size_max, sample.batch_size) {
        (0, 1) => None,
        (max, size) if size <= max => Some(size),
        (max, size) => {
            return Err(Error::invalid(format!(
                "batch_size is {size}, but the model takes at most {}",
                max.max(1)
            )));
        }
    };
    let tensor = |input: &crate::model::warmup::SampleInput| {
        let file = match &input.data {
            SampleData::File(name) => read(&format!("{FOLDER}/{name}"))?,
            SampleData::Zero | SampleData::Random => None,
        };
        Ok(NamedTensor { name: input.name.clone(), tensor: input.tensor(rows, file)? })
    };
    let tensors = sample.inputs.iter().map(tensor).collect::<Result<_>>()?;
    signature.arrange(id.name.as_str(), tensors)
}
