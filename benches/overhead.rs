//! What Galen costs around a model: the identity engine behind every door, at 1, 8 and 64 callers,
//! beside what axum and tonic cost by themselves.
//!
//! Two faces: without arguments it starts a server and prints a table; with `--drive` it loads
//! whatever answers at an address and prints one line of JSON, which is what `compare/` uses, so
//! that every server is loaded by the same hand.

#[path = "overhead/echo.rs"]
mod echo;
#[path = "overhead/floor.rs"]
mod floor;
#[path = "overhead/server.rs"]
mod server;

use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use floor::Floor;
use galen::bench::answer::Status;
use galen::bench::{self, Address, Door, Load, Outcome, Pace, Subject, Target, grpc, rest};
use galen::tensor::{DType, NamedTensor, Shape, Tensor};
use server::Server;

type Result<T> = std::result::Result<T, String>;

const JSON: &str = "application/json";

#[derive(Parser)]
struct Args {
    /// Seconds that one cell is measured
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Seconds before that
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    /// How often the whole table is gone through
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// Callers; the table knows 1, 8 and 64 unless it is told otherwise
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 64])]
    callers: Vec<usize>,
    /// Only doors whose name holds this
    #[arg(long, default_value = "")]
    door: String,
    /// Load this instead: http://host:port/path or grpc://host:port/model[/version]
    #[arg(long)]
    drive: Option<String>,
    /// Its body, or the tensor's bytes
    #[arg(long, requires = "drive")]
    body: Option<PathBuf>,
    #[arg(long, default_value = JSON)]
    content_type: String,
    /// Further headers, `name: value`
    #[arg(long)]
    header: Vec<String>,
    /// The tensor of a gRPC call, `name:FP32:1,30`
    #[arg(long, default_value = "")]
    tensor: String,
    /// Process whose tree is asked for its processor time
    #[arg(long)]
    pid: Option<u32>,
    /// This is the other process, which only says what it heard
    #[arg(long, hide = true)]
    floor: bool,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = match &args.drive {
        Some(url) => drive(&args, url),
        None if args.floor => floor::serve(),
        None => table(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("overhead: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Args {
    fn load(&self, callers: usize, pid: Option<u32>) -> Load {
        let seconds = |seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        Load {
            pace: Pace::Closed { callers },
            warm_up: seconds(self.warm_up),
            duration: seconds(self.seconds),
            requests: None,
            grace: Duration::from_secs(10),
            pid,
        }
    }
}

/// A failure ends it: a server that refuses work is fast, and its numbers would mean nothing.
fn run(target: &Rc<Target>, load: &Load) -> Result<Outcome> {
    let outcome = bench::run(target, load).map_err(|error| error.to_string())?;
    if let Some((status, failed)) = outcome.tally.failed.first_key_value() {
        let said = if *status == Status::Unanswered { "in time" } else { &failed.text };
        return Err(format!("{} requests failed: {status} {said}", failed.count));
    }
    if outcome.tally.succeeded == 0 {
        return Err("no request was answered in time".to_owned());
    }
    Ok(outcome)
}

fn quantile_us(outcome: &Outcome, share: f64) -> f64 {
    outcome.tally.latency.quantile_us(share).unwrap_or(f64::NAN)
}

/// One address, one line of JSON for each number of callers.
fn drive(args: &Args, url: &str) -> Result<()> {
    let body = match &args.body {
        Some(path) => std::fs::read(path).map_err(|error| format!("{path:?}: {error}"))?.into(),
        None => Bytes::new(),
    };
    let target = Rc::new(target(args, url, body)?);
    for &callers in &args.callers {
        let outcome = run(&target, &args.load(callers, args.pid))?;
        let line = serde_json::json!({
            "callers": callers,
            "requests": outcome.tally.succeeded,
            "per_second": outcome.per_second(),
            "p50_us": quantile_us(&outcome, 0.5),
            "p99_us": quantile_us(&outcome, 0.99),
            "cpu_us": outcome.cpu_us(),
        });
        println!("{line}");
    }
    Ok(())
}

fn target(args: &Args, url: &str, body: Bytes) -> Result<Target> {
    let text = |error: galen::error::Error| error.to_string();
    let wrong = || format!("no address like http://host:port/path: {url}");
    let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
    let slash = rest.find('/').ok_or_else(wrong)?;
    let (address, path) = rest.split_at(slash);
    let address = Address::parse(address).map_err(text)?;
    if scheme == "grpc" {
        let (model, version) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
        let input = tensor(&args.tensor, body)?;
        return Ok(Target::Grpc(
            grpc::Target::new(address, model, version, &[input]).map_err(text)?,
        ));
    }
    let target = rest::Target::new(address, path, &args.content_type, &args.header, body);
    Ok(Target::Http(target.map_err(text)?))
}

/// `name:FP32:1,30` and its bytes.
fn tensor(text: &str, data: Bytes) -> Result<NamedTensor> {
    let wrong = || format!("no tensor like name:FP32:1,30: {text}");
    let mut parts = text.splitn(3, ':');
    let (Some(name), Some(dtype), Some(shape)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(wrong());
    };
    let dtype = DType::from_name(dtype).ok_or_else(wrong)?;
    let shape: std::result::Result<Vec<usize>, _> = shape.split(',').map(str::parse).collect();
    let shape = Shape::new(shape.map_err(|_| wrong())?);
    let tensor = Tensor::new(name, dtype, shape, data).map_err(|error| error.to_string())?;
    Ok(NamedTensor { name: name.to_owned(), tensor })
}

struct Cell {
    door: &'static str,
    callers: usize,
    target: Rc<Target>,
    pid: u32,
    outcomes: Vec<Outcome>,
}

fn table(args: &Args) -> Result<()> {
    let (server, floor) = (Server::start()?, Floor::start()?);
    let doors = doors(&server)?.into_iter().map(|door| (server.pid(), door));
    let floors = floors(&floor)?.into_iter().map(|door| (floor.pid(), door));
    let doors: Vec<_> = doors.chain(floors).collect();
    let mut cells = Vec::new();
    for &callers in &args.callers {
        for &(pid, (door, ref target)) in &doors {
            if door.contains(&args.door) {
                let target = Rc::clone(target);
                cells.push(Cell { door, callers, target, pid, outcomes: Vec::new() });
            }
        }
    }
    // Round after round, so that a disturbance meets every cell and not all of one.
    for _ in 0..args.repeats.max(1) {
        for cell in &mut cells {
            let load = args.load(cell.callers, Some(cell.pid));
            cell.outcomes.push(run(&cell.target, &load)?);
        }
    }
    println!("| door | callers | requests/s | p50 us | p99 us | server CPU us/request |");
    println!("|---|---:|---:|---:|---:|---:|");
    for Cell { door, callers, outcomes, .. } in &cells {
        let of = |number: fn(&Outcome) -> f64| outcomes.iter().map(number).collect::<Vec<f64>>();
        println!(
            "| {door} | {callers} | {:.0} | {:.0} | {:.0} | {:.1} |",
            median(of(Outcome::per_second)),
            median(of(|outcome| quantile_us(outcome, 0.5))),
            median(of(|outcome| quantile_us(outcome, 0.99))),
            least(of(|outcome| outcome.cpu_us().unwrap_or(f64::NAN))),
        );
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Every disturbance adds to a cost, and none takes from it.
fn least(values: Vec<f64>) -> f64 {
    values.into_iter().fold(f64::NAN, f64::min)
}

/// The same row of numbers at every door.
fn doors(server: &Server) -> Result<Vec<(&'static str, Rc<Target>)>> {
    let text = |error: galen::error::Error| error.to_string();
    let asked = echo::asked().map_err(text)?;
    let http = Address::parse(&server.http).map_err(text)?;
    let grpc = Address::parse(&server.grpc).map_err(text)?;
    let subject = Subject::parse(http, echo::MODEL).map_err(text)?;
    let named = [
        ("gRPC raw", Door::Grpc),
        ("REST binary", Door::RestBinary),
        ("REST JSON", Door::RestJson),
        ("REST typed", Door::RestTyped),
    ];
    let target = |(name, door): (&'static str, Door)| {
        let prepared = door.prepare(&subject, &grpc, &asked).map_err(text)?;
        Ok((name, Rc::new(prepared.target)))
    };
    named.into_iter().map(target).collect()
}

/// What the floor is asked: the same numbers.
fn floors(floor: &Floor) -> Result<[(&'static str, Rc<Target>); 2]> {
    let text = |error: galen::error::Error| error.to_string();
    let http = Address::parse(&floor.http).map_err(text)?;
    let grpc = Address::parse(&floor.grpc).map_err(text)?;
    let json = serde_json::json!({"inputs": echo::body()["inputs"]}).to_string();
    let json = rest::Target::new(http, floor::PATH, JSON, &[], json.into()).map_err(text)?;
    let tensors = echo::asked().and_then(|asked| asked.tensors()).map_err(text)?;
    let tensors = grpc::Target::new(grpc, echo::MODEL, "", &tensors).map_err(text)?;
    Ok([
        ("echo: tonic", Rc::new(Target::Grpc(tensors))),
        ("echo: axum JSON", Rc::new(Target::Http(json))),
    ])
}
