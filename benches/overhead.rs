//! What Galen costs around a model: the identity engine behind every door, at 1, 8 and 64 callers.
//!
//! Two faces: without arguments it starts a server and prints a table; with `--drive` it loads
//! whatever answers at an address and prints one line of JSON, which is what `compare/` uses, so
//! that every server is loaded by the same hand.

mod load;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use load::server::{INPUT, MODEL, Server, WIDTH};
use load::{Load, Outcome, Result, Target, grpc, http};

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
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = match &args.drive {
        Some(url) => drive(&args, url),
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
        Load { callers, warm_up: seconds(self.warm_up), measured: seconds(self.seconds), pid }
    }
}

/// One address, one line of JSON for each number of callers.
fn drive(args: &Args, url: &str) -> Result<()> {
    let body = match &args.body {
        Some(path) => std::fs::read(path).map_err(|error| format!("{path:?}: {error}"))?.into(),
        None => Bytes::new(),
    };
    let target = if url.starts_with("grpc:") {
        Target::Grpc(grpc::Target::new(url, &args.tensor, body)?)
    } else {
        Target::Http(http::Target::new(url, &args.content_type, &args.header, body)?)
    };
    for &callers in &args.callers {
        let outcome = load::run(&target, args.load(callers, args.pid))?;
        let line = serde_json::json!({
            "callers": callers,
            "requests": outcome.requests,
            "per_second": outcome.per_second(),
            "p50_us": outcome.quantile_us(0.5),
            "p99_us": outcome.quantile_us(0.99),
            "cpu_us": outcome.cpu_us(),
        });
        println!("{line}");
    }
    Ok(())
}

struct Cell {
    door: &'static str,
    callers: usize,
    target: Target,
    outcomes: Vec<Outcome>,
}

fn table(args: &Args) -> Result<()> {
    let server = Server::start()?;
    let mut cells = Vec::new();
    for &callers in &args.callers {
        for (door, target) in doors(&server)? {
            if door.contains(&args.door) {
                cells.push(Cell { door, callers, target, outcomes: Vec::new() });
            }
        }
    }
    // Round after round, so that a disturbance meets every cell and not all of one.
    for _ in 0..args.repeats.max(1) {
        for cell in &mut cells {
            let load = args.load(cell.callers, Some(server.pid()));
            cell.outcomes.push(load::run(&cell.target, load)?);
        }
    }
    println!("| door | callers | requests/s | p50 us | p99 us | server CPU us/request |");
    println!("|---|---:|---:|---:|---:|---:|");
    for Cell { door, callers, outcomes, .. } in &cells {
        let of = |number: fn(&Outcome) -> f64| outcomes.iter().map(number).collect::<Vec<f64>>();
        println!(
            "| {door} | {callers} | {:.0} | {:.0} | {:.0} | {:.1} |",
            median(of(Outcome::per_second)),
            median(of(|outcome| outcome.quantile_us(0.5))),
            median(of(|outcome| outcome.quantile_us(0.99))),
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
fn doors(server: &Server) -> Result<Vec<(&'static str, Target)>> {
    let numbers: Vec<f32> = (0..WIDTH as u16).map(|n| 0.37 * f32::from(n) + 0.01).collect();
    let raw: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let data = serde_json::to_string(&numbers).map_err(|error| error.to_string())?;
    let infer = format!("http://{}/v2/models/{MODEL}/infer", server.http);
    let head = format!(r#"{{"name":"{INPUT}","datatype":"FP32","shape":[1,{WIDTH}]"#);

    let json = format!(r#"{{"inputs":[{head},"data":{data}}}]}}"#);
    let size = raw.len();
    let binary = r#""parameters":{"binary_data_output":true}"#;
    let lead =
        format!(r#"{{"inputs":[{head},"parameters":{{"binary_data_size":{size}}}}}],{binary}}}"#);
    let length = [format!("inference-header-content-length: {}", lead.len())];
    let body = [lead.as_bytes(), &raw].concat();
    let typed = format!("http://{}/models/{MODEL}/predict", server.http);
    let record = format!(r#"{{"records":[{{"{INPUT}":{data}}}]}}"#);
    let octets = "application/octet-stream";
    let rpc = format!("grpc://{}/{MODEL}", server.grpc);
    let tensor = format!("{INPUT}:FP32:1,{WIDTH}");
    Ok(vec![
        ("gRPC raw", Target::Grpc(grpc::Target::new(&rpc, &tensor, raw.into())?)),
        ("REST binary", Target::Http(http::Target::new(&infer, octets, &length, body.into())?)),
        ("REST JSON", Target::Http(http::Target::new(&infer, JSON, &[], json.into())?)),
        ("REST typed", Target::Http(http::Target::new(&typed, JSON, &[], record.into())?)),
    ])
}
