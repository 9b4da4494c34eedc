//! How often a request asks the allocator, and for how much: the identity engine behind every door.
//!
//! The server runs in this process, under an allocator that counts; its callers run in another one,
//! which is this program again, so that nothing of theirs is counted. What is: connections, HTTP,
//! routing, decoding, the queue, the engine's call, encoding. Nothing is logged.
//!
//! Counts hardly depend on the machine, nor on what else it does.

#[path = "overhead/echo.rs"]
mod echo;

use std::alloc::System;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;
use galen::app::App;
use galen::bench::{self, Address, Door, Load, Pace, Subject};
use galen::config::{Config, Overlay};
use galen::error::{Error, Result};
use galen::observe::telemetry::LogControl;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[derive(Parser)]
struct Args {
    /// Requests that are counted, for each door and number of callers
    #[arg(long, default_value_t = 5000)]
    requests: u64,
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8])]
    callers: Vec<usize>,
    /// This is the other process: the door to load
    #[arg(long, hide = true, requires_all = ["http", "grpc"])]
    load: Option<String>,
    #[arg(long, hide = true)]
    http: Option<String>,
    #[arg(long, hide = true)]
    grpc: Option<String>,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = match &args.load {
        Some(door) => load(&args, door),
        None => table(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("allocations: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The callers' process.
fn load(args: &Args, door: &str) -> Result<()> {
    let unknown = || Error::invalid(format!("no door: {door}"));
    let door = Door::ALL.into_iter().find(|one| one.name() == door).ok_or_else(unknown)?;
    let address = |text: &Option<String>| Address::parse(text.as_deref().unwrap_or_default());
    let subject = Subject::parse(address(&args.http)?, echo::MODEL)?;
    let prepared = door.prepare(&subject, &address(&args.grpc)?, &echo::asked()?)?;
    let patience = Duration::from_secs(60);
    let load = Load {
        pace: Pace::Closed { callers: args.callers.first().copied().unwrap_or(1) },
        warm_up: Duration::ZERO,
        duration: patience,
        requests: Some(args.requests),
        grace: patience,
        pid: None,
    };
    let outcome = bench::run(&Rc::new(prepared.target), &load)?;
    let succeeded = outcome.tally.latency.count();
    if succeeded == args.requests {
        return Ok(());
    }
    Err(Error::internal(format!("of {} requests, {succeeded} succeeded", args.requests)))
}

fn table(args: &Args) -> Result<()> {
    let failed = |error: std::io::Error| Error::internal(error.to_string());
    let folder = Folder(std::env::temp_dir().join(format!("galen-allocs-{}", std::process::id())));
    echo::registry(&folder.0).map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(failed)?;
    let any = || Some("127.0.0.1:0".to_owned());
    let config = Config::load(Overlay {
        models: Some(folder.0.clone()),
        http: any(),
        grpc: any(),
        metrics: Some("off".to_owned()),
        // Nothing else is to happen meanwhile.
        model_control_mode: Some("none".to_owned()),
        drift: Some(false),
        ..Overlay::default()
    })?;
    let app = runtime.block_on(async {
        let app = App::start(&config, LogControl::default()).await?;
        let settled = app.progress().wait_for(|progress| progress.settled).await.is_ok();
        if settled { Ok(app) } else { Err(Error::internal("loading ended early")) }
    })?;
    println!("| door | callers | allocations/request | reallocations/request | bytes/request |");
    println!("|---|---:|---:|---:|---:|");
    for door in Door::ALL {
        for &callers in &args.callers {
            let ask = |requests: u64| ask(&app, door, callers, requests);
            ask(args.requests.div_ceil(5))?;
            let region = Region::new(ALLOCATOR);
            ask(args.requests)?;
            let Stats { allocations, reallocations, bytes_allocated, .. } = region.change();
            let each = |count: usize| count as f64 / args.requests as f64;
            println!(
                "| {} | {callers} | {:.1} | {:.1} | {:.0} |",
                door.name(),
                each(allocations),
                each(reallocations),
                each(bytes_allocated),
            );
        }
    }
    Ok(())
}

/// Lets the other process send its requests.
fn ask(app: &App, door: Door, callers: usize, requests: u64) -> Result<()> {
    let failed = |error: std::io::Error| Error::internal(error.to_string());
    let addresses = app.addresses();
    let address = |address: &Option<String>| address.clone().unwrap_or_default();
    let (callers, requests) = (callers.to_string(), requests.to_string());
    let done = Command::new(std::env::current_exe().map_err(failed)?)
        .args(["--load", door.name(), "--callers", &callers, "--requests", &requests])
        .args(["--http", &address(&addresses.http), "--grpc", &address(&addresses.grpc)])
        .status()
        .map_err(failed)?;
    if done.success() { Ok(()) } else { Err(Error::internal("the callers failed")) }
}

/// A folder that goes with this value.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
