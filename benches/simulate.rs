//! How the scheduler does on machines that are not here: 1 to 64 cores, 1 to 500 models, callers who
//! come in bursts. A simulation in simulated time around the real `BatchQueue`; the same every time,
//! on any machine. README.md says what it assumes.
//!
//! First it is held against the theory of queues, where that has an answer: it ends if it is off.

#[path = "simulate/model.rs"]
mod model;
#[path = "simulate/plot.rs"]
mod plot;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use galen::scheduler::policy::BatchPolicy;
use model::{Arrivals, Cost, Outcome, Scenario};
use plot::{Line, Panel};

#[derive(Parser)]
struct Args {
    /// Simulated seconds that are measured
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4, 8, 16, 32, 64])]
    cores: Vec<usize>,
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100, 500])]
    models: Vec<usize>,
    /// Of what all cores could compute without batches, how much is asked for
    #[arg(long, default_value_t = 0.6)]
    load: f64,
    /// Where the plot is written
    #[arg(long, default_value = "target/simulate.svg")]
    svg: PathBuf,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// A CNN over an ECG on ONNX Runtime: 0.67 ms a row, and batches save next to nothing.
const ECG: Cost = Cost { call_ns: 10_000, row_ns: 660_000, door_ns: 25_000 };
/// Gradient boosting over a table: 4.3 us alone, 45 us for 32 rows.
const TABLE: Cost = Cost { call_ns: 3_000, row_ns: 1_300, door_ns: 25_000 };

const BURSTS: Arrivals =
    Arrivals::Bursts { on: Duration::from_millis(200), off: Duration::from_millis(200) };

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = check(&args).and_then(|()| tables(&args));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("simulate: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Args {
    fn scenario(&self, cores: usize, models: usize) -> Scenario {
        Scenario {
            cores,
            models,
            instances_over_need: 3.0,
            load: self.load,
            arrivals: BURSTS,
            cost: ECG,
            policy: BatchPolicy::default(),
            warm_up: Duration::from_secs(2),
            measured: Duration::try_from_secs_f64(self.seconds).unwrap_or_default(),
        }
    }
}

/// One core, one model, no batches, callers as by chance: the mean wait of such a queue (M/D/1) is
/// known from Pollaczek and Khinchine.
fn check(args: &Args) -> Result<(), String> {
    println!("| load | mean in theory us | simulated us |\n|---:|---:|---:|");
    for load in [0.3, 0.6, 0.8] {
        let policy = BatchPolicy { batch_size_max: 0, ..BatchPolicy::default() };
        let measured = Duration::from_secs(300);
        let scenario =
            Scenario { load, policy, arrivals: Arrivals::Poisson, measured, ..args.scenario(1, 1) };
        let service = ECG.of(1) as f64 / 1e3;
        let theory = service * (1.0 + load / (2.0 * (1.0 - load)));
        let outcome = model::run(&scenario);
        let mean = outcome.latency.mean_us().unwrap_or(f64::NAN);
        println!("| {load} | {theory:.0} | {mean:.0} |");
        let is_near = (mean / theory - 1.0).abs() < 0.03;
        let is_used = (outcome.utilisation / load - 1.0).abs() < 0.03;
        if !is_near || !is_used {
            return Err(format!("off at load {load}: {mean:.0} us, {:.3}", outcome.utilisation));
        }
    }
    Ok(())
}

const HEAD: &str = "p50 ms | p99 ms | utilisation | rows/batch | refused |";

fn figures(outcome: &Outcome) -> String {
    let ms = |share| outcome.latency.quantile_us(share).unwrap_or(f64::NAN) / 1e3;
    let asked = outcome.latency.count() + outcome.refused;
    format!(
        "{:.2} | {:.2} | {:.0} % | {:.1} | {:.1} % |",
        ms(0.5),
        ms(0.99),
        outcome.utilisation * 100.0,
        outcome.rows_per_batch(),
        outcome.refused as f64 * 100.0 / asked.max(1) as f64,
    )
}

fn tables(args: &Args) -> Result<(), String> {
    let (mut p99, mut used) = (Vec::new(), Vec::new());
    println!("\n| models | cores | {HEAD}\n|---:|---:|---:|---:|---:|---:|---:|");
    for &models in &args.models {
        let (mut late, mut busy) = (Vec::new(), Vec::new());
        for &cores in &args.cores {
            let outcome = model::run(&args.scenario(cores, models));
            println!("| {models} | {cores} | {}", figures(&outcome));
            let ms = outcome.latency.quantile_us(0.99).unwrap_or(f64::NAN) / 1e3;
            late.push((cores as f64, ms));
            busy.push((cores as f64, outcome.utilisation));
        }
        let name = format!("{models} model{}", if models == 1 { "" } else { "s" });
        p99.push(Line { name: name.clone(), points: late });
        used.push(Line { name, points: busy });
    }
    policies(args);
    let x_title = "cores";
    let panels = [
        Panel { title: "p99, ms", x_title, logarithmic: true, lines: p99 },
        Panel { title: "busy cores, share", x_title, logarithmic: false, lines: used },
    ];
    std::fs::write(&args.svg, plot::svg(&panels))
        .map_err(|error| format!("{}: {error}", args.svg.display()))?;
    println!("\nPlotted in {}", args.svg.display());
    Ok(())
}

/// What waiting for company brings, and what it costs.
fn policies(args: &Args) {
    println!("\n| cost | batching | load | {HEAD}\n|---|---|---:|---:|---:|---:|---:|---:|");
    let delayed =
        |us| BatchPolicy { queue_delay_max: Duration::from_micros(us), ..BatchPolicy::default() };
    let targeted =
        |us| BatchPolicy { latency_target: Some(Duration::from_micros(us)), ..delayed(0) };
    let alone = BatchPolicy { batch_size_max: 0, ..BatchPolicy::default() };
    let all = BatchPolicy { preferred: vec![BatchPolicy::BATCH_SIZE_MAX], ..delayed(0) };
    for (name, cost) in [("ECG", ECG), ("table", TABLE)] {
        for (batching, policy) in [
            ("none", alone.clone()),
            ("all that waits", all.clone()),
            ("as far as it pays (the default)", delayed(0)),
            ("after 1 ms", delayed(1_000)),
            ("after 5 ms", delayed(5_000)),
            ("within 10 ms", targeted(10_000)),
            ("within 50 ms", targeted(50_000)),
        ] {
            for load in [0.3, 0.7, 0.95] {
                let policy = policy.clone();
                let scenario = Scenario { cost, policy, load, ..args.scenario(2, 10) };
                let outcome = model::run(&scenario);
                println!("| {name} | {batching} | {load} | {}", figures(&outcome));
            }
        }
    }
}
