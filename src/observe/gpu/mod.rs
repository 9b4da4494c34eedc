//! How NVIDIA's GPUs do, where the driver's library (NVML) is: asked every two seconds on a thread
//! of its own, so that a driver that hangs holds up neither a request nor a scrape.
//!
//! What this room must not know: whether a model computes on a GPU.

mod nvml;
mod reading;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::oneshot;

use super::metrics::Metrics;
use crate::error::{Error, Result};
use reading::Meter;
pub use reading::Reading;

/// As Triton does.
const INTERVAL: Duration = Duration::from_secs(2);
/// What the end of the process grants a driver that is still being asked.
const PATIENCE: Duration = Duration::from_secs(1);
/// GPUs that have metrics of their own.
const GPUS_MAX: u32 = 64;

/// A GPU that can be asked.
trait Gpu {
    fn uuid(&self) -> &str;
    fn read(&self) -> std::result::Result<Reading, Gone>;
}

/// Why a GPU can not be asked any more.
#[derive(Debug)]
struct Gone(String);

/// The thread that asks; it ends with this.
pub struct Sampling {
    stop: SyncSender<()>,
    ended: oneshot::Receiver<()>,
}

impl Sampling {
    /// Starts it. Opening the library may take seconds, so that is done there, too; where there is
    /// no library the thread ends at once.
    pub fn start(metrics: Arc<Metrics>) -> Result<Self> {
        let (stop, stopped) = sync_channel(0);
        let (end, ended) = oneshot::channel();
        std::thread::Builder::new()
            .name("galen-gpus".to_owned())
            .spawn(move || {
                run(&metrics, &stopped);
                // Nobody need be waiting.
                let _ = end.send(());
            })
            .map_err(|error| {
                Error::internal("the thread for GPUs could not be started").with_detail(error)
            })?;
        Ok(Self { stop, ended })
    }

    /// Lets the library go before the process does, but waits for no driver that hangs.
    pub async fn end(self) {
        drop(self.stop);
        // Late or not: there is nothing more to be done.
        let _ = tokio::time::timeout(PATIENCE, self.ended).await;
    }
}

fn run(metrics: &Metrics, stopped: &Receiver<()>) {
    let library = match nvml::Library::open() {
        Ok(Some(library)) => library,
        Ok(None) => return,
        Err(error) => {
            tracing::warn!(reason = %error, detail = error.detail(), "GPUs are not measured");
            return;
        }
    };
    let mut gpus: Vec<_> = library.gpus().into_iter().map(Measured::new).collect();
    tracing::info!(gpus = gpus.len(), "GPUs are measured");
    while !gpus.is_empty() {
        sample(&mut gpus, metrics);
        if stopped.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

/// A GPU, and what it has consumed since it was first asked.
struct Measured<G> {
    gpu: G,
    energy: Meter,
}

impl<G: Gpu> Measured<G> {
    fn new(gpu: G) -> Self {
        Self { gpu, energy: Meter::default() }
    }
}

/// Asks each GPU. One that has gone is told of once and not asked again; its metrics stay as they
/// were.
fn sample<G: Gpu>(gpus: &mut Vec<Measured<G>>, metrics: &Metrics) {
    gpus.retain_mut(|Measured { gpu, energy }| match gpu.read() {
        Ok(reading) => {
            let joules = reading.energy_mj.map(|now_mj| energy.joules(now_mj));
            metrics.gpu(gpu.uuid(), &reading, joules);
            true
        }
        Err(Gone(reason)) => {
            tracing::warn!(gpu_uuid = gpu.uuid(), reason, "a GPU has gone");
            false
        }
    });
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::observe::sink::Sink;

    /// Consumes a joule and a half between two looks, and goes after so many.
    struct Fake {
        uuid: &'static str,
        looks: Cell<u64>,
        looks_max: u64,
    }

    impl Fake {
        fn new(uuid: &'static str, looks_max: u64) -> Measured<Self> {
            Measured::new(Self { uuid, looks: Cell::new(0), looks_max })
        }
    }

    impl Gpu for Fake {
        fn uuid(&self) -> &str {
            self.uuid
        }

        fn read(&self) -> std::result::Result<Reading, Gone> {
            let looks = self.looks.get();
            self.looks.set(looks + 1);
            if looks >= self.looks_max {
                return Err(Gone("it fell off the bus".to_owned()));
            }
            let energy_mj = Some(7_000_000 + 1_500 * looks);
            Ok(Reading { power_mw: Some(51_091), energy_mj, ..Reading::default() })
        }
    }

    #[test]
    fn energy_counts_from_the_first_look() {
        let metrics = Metrics::new().unwrap();
        let mut gpus = vec![Fake::new("GPU-a", u64::MAX)];
        for joules in [0, 1, 3, 4] {
            sample(&mut gpus, &metrics);
            let text = metrics.handle().render();
            let line = format!("nv_energy_consumption{{gpu_uuid=\"GPU-a\"}} {joules}\n");
            assert!(text.contains(&line), "{line}\n{text}");
        }
    }

    #[test]
    fn what_a_gpu_does_not_say_is_left_out() {
        let metrics = Metrics::new().unwrap();
        sample(&mut vec![Fake::new("GPU-a", u64::MAX)], &metrics);
        let text = metrics.handle().render();
        assert!(text.contains("nv_gpu_power_usage{gpu_uuid=\"GPU-a\"} 51.091\n"), "{text}");
        for name in ["utilization", "memory_total_bytes", "memory_used_bytes", "power_limit"] {
            assert!(!text.contains(&format!("nv_gpu_{name}")), "{name}\n{text}");
        }
    }

    #[test]
    fn a_gpu_that_has_gone_is_told_of_once_and_the_others_stay() {
        let metrics = Metrics::new().unwrap();
        let mut gpus = vec![Fake::new("GPU-a", 1), Fake::new("GPU-b", 9)];
        let sink = Sink::default();
        let log = tracing_subscriber::fmt().with_writer(sink.clone()).finish();
        tracing::subscriber::with_default(log, || {
            for _ in 0..4 {
                sample(&mut gpus, &metrics);
            }
        });
        let told = sink.take();
        assert_eq!(told.matches("a GPU has gone").count(), 1, "{told}");
        assert!(told.contains("GPU-a") && told.contains("it fell off the bus"), "{told}");
        let text = metrics.handle().render();
        assert!(text.contains("nv_energy_consumption{gpu_uuid=\"GPU-a\"} 0\n"), "{text}");
        assert!(text.contains("nv_energy_consumption{gpu_uuid=\"GPU-b\"} 4\n"), "{text}");
    }
}
