//! The identity engine: answers with its inputs. It shows what the server itself costs, and stands
//! for slow models in tests. Its signature is declared in `model.toml`: output `i` is input `i`.

use std::sync::Arc;
use std::time::Duration;

use super::{Backend, Executable, ModelSource, Session};
use crate::error::{Error, Result};
use crate::model::Signature;
use crate::tensor::Tensor;

pub struct Identity;

impl Backend for Identity {
    fn name(&self) -> &'static str {
        "identity"
    }

    fn platform(&self) -> &'static str {
        "galen_identity"
    }

    fn model_file(&self) -> Option<&'static str> {
        None
    }

    fn load(&self, source: &ModelSource<'_>) -> Result<Arc<dyn Executable>> {
        let signature = source.manifest.declared_signature()?;
        let same = signature.inputs.len() == signature.outputs.len()
            && (signature.inputs.iter().zip(&signature.outputs))
                .all(|(input, output)| input.dtype == output.dtype && input.dims == output.dims);
        if !same {
            return Err(Error::invalid(
                "identity: expected as many [[outputs]] as [[inputs]], each with the datatype and \
                 shape of its input",
            ));
        }
        let delay = Duration::from_micros(source.manifest.identity.delay_us);
        Ok(Arc::new(Echo { signature, delay }))
    }
}

struct Echo {
    signature: Signature,
    delay: Duration,
}

impl Executable for Echo {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn session(&self) -> Result<Box<dyn Session>> {
        Ok(Box::new(EchoSession { delay: self.delay }))
    }
}

struct EchoSession {
    delay: Duration,
}

impl Session for EchoSession {
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        if !self.delay.is_zero() {
            // Sessions run on their own threads, never on a runtime thread.
            std::thread::sleep(self.delay);
        }
        Ok(inputs.to_vec())
    }
}
