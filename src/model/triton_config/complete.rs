//! Triton's auto-completion: what becomes of a configuration that leaves `max_batch_size` out, once
//! the model file has shown its signature.
//!
//! A configuration that lists inputs and outputs is complete, and stays without batches. One that
//! leaves a list out, or is empty, gets batches where every tensor has a free first extent.

use crate::error::Result;
use crate::model::{Manifest, Signature};

/// Triton's `default-max-batch-size`.
pub const BATCH_SIZE_COMPLETED: usize = 4;

/// The manifest with what only the model file could tell. A manifest that asks for no completion
/// comes back as it is.
pub fn complete(manifest: &Manifest, found: &Signature) -> Result<Manifest> {
    let mut complete = manifest.clone();
    let Some(size) = manifest.batch_size_completed else { return Ok(complete) };
    complete.batch_size_completed = None;
    if !found.could_batch() {
        complete.batching.batch_size_max = Some(0);
        complete.validate()?;
        return Ok(complete);
    }
    complete.batching.batch_size_max = Some(size);
    // With batches, listed extents are those behind the batch axis. Whoever lists the axis, too,
    // said the whole shape, and means the same.
    for entry in &mut complete.inputs {
        let rank = found.input(&entry.name).map(|(_, spec)| spec.dims.len());
        add_batch_axis(rank, &mut entry.shape, &mut entry.reshape);
    }
    for entry in &mut complete.outputs {
        let rank = found.output(&entry.name).map(|(_, spec)| spec.dims.len());
        add_batch_axis(rank, &mut entry.shape, &mut entry.reshape);
    }
    complete.validate()?;
    Ok(complete)
}

fn add_batch_axis(
    rank: Option<usize>,
    shape: &mut Option<Vec<i64>>,
    reshape: &mut Option<Vec<i64>>,
) {
    let engine = reshape.as_ref().or(shape.as_ref());
    if engine.map(|dims| dims.len() + 1) == rank {
        for dims in [shape, reshape].into_iter().flatten() {
            dims.insert(0, -1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TensorSpec;
    use crate::model::triton_config::TritonConfig;
    use crate::tensor::DType;

    fn signature(input: &[i64], output: &[i64]) -> Signature {
        let spec = |name: &str, dims: &[i64]| TensorSpec::of(name, DType::F32, dims);
        Signature { inputs: vec![spec("x", input)], outputs: vec![spec("y", output)] }
    }

    fn completed(text: &str, found: &Signature) -> Result<Manifest> {
        complete(&TritonConfig::from_text(text)?.into_manifest("m")?, found)
    }

    #[test]
    fn silence_gets_batches_where_the_model_can_batch() {
        let batches = signature(&[-1, 2], &[-1]);
        let manifest = completed("", &batches).unwrap();
        assert_eq!(manifest.batching.batch_size_max, Some(BATCH_SIZE_COMPLETED));
        assert!(manifest.batching.join);
        for alone in [signature(&[1, 2], &[-1]), signature(&[-1, 2], &[1])] {
            assert_eq!(completed("", &alone).unwrap().batching.batch_size_max, Some(0));
        }
    }

    #[test]
    fn one_list_alone_is_completed_in_both_spellings() {
        let found = signature(&[-1, 2], &[-1]);
        for dims in ["[2]", "[-1, 2]"] {
            let text = format!("input {{ name: \"x\" data_type: TYPE_FP32 dims: {dims} }}");
            let manifest = completed(&text, &found).unwrap();
            assert_eq!(manifest.inputs[0].shape.as_deref(), Some(&[-1, 2][..]), "{dims}");
            assert!(manifest.refine(&found).is_ok());
        }
    }

    #[test]
    fn both_lists_are_left_alone() {
        let text = "input { name: 'x' data_type: TYPE_FP32 dims: [-1, 2] }
                    output { name: 'y' data_type: TYPE_FP32 dims: -1 }";
        let manifest = completed(text, &signature(&[-1, 2], &[-1])).unwrap();
        assert_eq!(manifest.batching.batch_size_max, Some(0));
    }

    #[test]
    fn preferred_sizes_must_fit_the_completed_size() {
        let text = "dynamic_batching { preferred_batch_size: 8 }";
        let error = completed(text, &signature(&[-1], &[-1])).unwrap_err();
        assert!(error.message().contains("sizes from 1 to 4"), "{error}");
    }
}
