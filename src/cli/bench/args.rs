//! Flags of `galen bench`, as clap reads them, and what they mean.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::bench::{Arrivals, Door, Load, Pace};
use crate::error::{Error, Result, quoted};

/// Where nothing else says when a load ends: by requests alone.
const DURATION_MAX: Duration = Duration::from_secs(600);
/// More would be no load but a flood.
const RATE_MAX: f64 = 1e6;
const CALLERS_MAX: usize = 10_000;

#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Asks a running server for the model's metadata, sends one request over and \
                        over, and prints latency, throughput and errors for every door and load.\n\
                        \nA closed loop (--callers) shows what the server can do: each caller \
                        waits for its answer. An open loop (--rate) shows what users would wait: \
                        requests are due whatever the server does, and their latency counts from \
                        then.\n\nThe request is the one in --data, else the example that the \
                        server's OpenAPI document has, else one made up from the signature; the \
                        output says which. Requests count in the server's metrics and drift like \
                        anybody's: do not load a server that patients depend on.\n\nExit code 1 if \
                        no request succeeded, 64 for a wrong flag.\n\nExamples:\n  galen bench \
                        breast-cancer --callers 1,8,64\n  galen bench breast-cancer/2 --door grpc \
                        --rate 100,500 --arrivals poisson --json"
)]
pub struct BenchArgs {
    /// The model, or one version of it: a number or a label
    #[arg(value_name = "MODEL[/VERSION]")]
    pub model: String,

    /// The REST door: http://HOST:PORT or unix:/path/to.sock
    #[arg(long, value_name = "ADDR", env = "GALEN_BENCH_URL")]
    #[arg(default_value = "http://127.0.0.1:8000")]
    pub url: String,

    /// The gRPC door: HOST:PORT or unix:/path/to.sock
    #[arg(long, value_name = "ADDR", env = "GALEN_BENCH_GRPC", default_value = "127.0.0.1:8001")]
    pub grpc: String,

    /// What is asked, and how; repeatable
    #[arg(long, value_name = "DOOR", env = "GALEN_BENCH_DOOR", value_enum, value_delimiter = ',')]
    #[arg(default_value = "rest-json")]
    pub door: Vec<Door>,

    /// Closed loops with so many callers each [default: 8, without --rate]
    #[arg(long, value_name = "N,...", env = "GALEN_BENCH_CALLERS", value_delimiter = ',')]
    pub callers: Vec<usize>,

    /// Open loops with so many requests per second each
    #[arg(long, value_name = "R,...", env = "GALEN_BENCH_RATE", value_delimiter = ',')]
    pub rate: Vec<f64>,

    /// How requests of an open loop are spread
    #[arg(long, value_name = "HOW", env = "GALEN_BENCH_ARRIVALS", value_enum)]
    #[arg(default_value = "constant")]
    pub arrivals: Arrivals,

    /// Of an open loop: requests that may be without an answer; what is due beyond is dropped
    #[arg(long, value_name = "N", env = "GALEN_BENCH_IN_FLIGHT", default_value_t = 256)]
    pub in_flight: usize,

    /// How long each load is measured, as 5s or 500ms [default: 5s; 10 minutes with --requests]
    #[arg(long, value_name = "TIME", env = "GALEN_BENCH_DURATION", value_parser = duration)]
    pub duration: Option<Duration>,

    /// How long it runs before that
    #[arg(long, value_name = "TIME", env = "GALEN_BENCH_WARM_UP", value_parser = duration)]
    #[arg(default_value = "1s")]
    pub warm_up: Duration,

    /// End each load after so many requests
    #[arg(long, value_name = "N", env = "GALEN_BENCH_REQUESTS")]
    pub requests: Option<u64>,

    /// How long answers are waited for after the end
    #[arg(long, value_name = "TIME", env = "GALEN_BENCH_TIMEOUT", value_parser = duration)]
    #[arg(default_value = "10s")]
    pub timeout: Duration,

    /// The request: JSON with `inputs` (as /v2 takes them), `records` (the typed API), or both
    #[arg(long, value_name = "FILE", env = "GALEN_BENCH_DATA")]
    pub data: Option<PathBuf>,

    /// The server's process on this machine, to say what a request costs it (Linux)
    #[arg(long, value_name = "PID", env = "GALEN_BENCH_PID")]
    pub pid: Option<u32>,

    /// Print JSON (galen.bench/1)
    #[arg(long)]
    pub json: bool,
}

impl ValueEnum for Door {
    fn value_variants<'a>() -> &'a [Self] {
        &Door::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.name()))
    }
}

impl ValueEnum for Arrivals {
    fn value_variants<'a>() -> &'a [Self] {
        &[Arrivals::Constant, Arrivals::Poisson]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(match self {
            Arrivals::Constant => "constant",
            Arrivals::Poisson => "poisson",
        }))
    }
}

/// `500ms`, `5s`, `2m`, or seconds without a unit.
fn duration(text: &str) -> std::result::Result<Duration, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "ms" => 1e-3,
        "s" | "" => 1.0,
        "m" => 60.0,
        _ => f64::NAN,
    };
    let time = number.parse::<f64>().ok().map(|number| number * seconds);
    let time = time.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.filter(|time| *time <= Duration::from_secs(86_400))
        .ok_or_else(|| "expected a time up to a day, as 500ms, 5s or 2m".to_owned())
}

impl BenchArgs {
    /// The loads that each door gets, in order.
    pub fn loads(&self) -> Result<Vec<Load>> {
        let within = |flag: &str, given: usize, most: usize| {
            if (1..=most).contains(&given) {
                return Ok(given);
            }
            Err(Error::invalid(format!("--{flag}: expected 1 to {most}, got {given}")))
        };
        let default: &[usize] = if self.rate.is_empty() { &[8] } else { &[] };
        let callers = if self.callers.is_empty() { default } else { &self.callers };
        let mut paces = Vec::new();
        for &callers in callers {
            paces.push(Pace::Closed { callers: within("callers", callers, CALLERS_MAX)? });
        }
        let in_flight_max = within("in-flight", self.in_flight, CALLERS_MAX)?;
        for &rate in &self.rate {
            if !(rate > 0.0 && rate <= RATE_MAX) {
                return Err(Error::invalid(format!(
                    "--rate: expected requests per second, above 0 and up to {RATE_MAX}, got {rate}"
                )));
            }
            paces.push(Pace::Open { rate, arrivals: self.arrivals, in_flight_max });
        }
        let usual = if self.requests.is_some() { DURATION_MAX } else { Duration::from_secs(5) };
        let duration = self.duration.unwrap_or(usual);
        if duration.is_zero() || self.requests == Some(0) {
            return Err(Error::invalid("--duration and --requests: expected more than 0"));
        }
        let load = |pace| Load {
            pace,
            warm_up: self.warm_up,
            duration,
            requests: self.requests,
            grace: self.timeout,
            pid: self.pid,
        };
        Ok(paces.into_iter().map(load).collect())
    }

    /// The file in --data, as far as it may be read.
    pub fn data(&self) -> Result<Option<Vec<u8>>> {
        /// More than a request may have by default.
        const BYTES_MAX: u64 = 256 << 20;
        let Some(path) = &self.data else { return Ok(None) };
        let shown = quoted(&path.display().to_string());
        let failed = |error: std::io::Error| Error::invalid(format!("{shown}: {error}"));
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(failed)?;
        let mut bounded = std::io::Read::take(file, BYTES_MAX + 1);
        std::io::Read::read_to_end(&mut bounded, &mut bytes).map_err(failed)?;
        if bytes.len() as u64 > BYTES_MAX {
            return Err(Error::too_large(format!("{shown} has more than {BYTES_MAX} bytes")));
        }
        Ok(Some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Cli, Command};
    use clap::Parser;

    fn parse(flags: &[&str]) -> std::result::Result<BenchArgs, clap::Error> {
        let words = ["galen", "bench", "m"].iter().chain(flags);
        match Cli::try_parse_from(words)?.command {
            Command::Bench(args) => Ok(*args),
            other => panic!("{other:?}"),
        }
    }

    fn paces(flags: &[&str]) -> Vec<Pace> {
        parse(flags).unwrap().loads().unwrap().iter().map(|load| load.pace).collect()
    }

    #[test]
    fn loads_are_closed_unless_a_rate_is_given() {
        let closed = |callers| Pace::Closed { callers };
        let open = |rate| Pace::Open { rate, arrivals: Arrivals::Poisson, in_flight_max: 256 };
        assert_eq!(paces(&[]), [closed(8)]);
        assert_eq!(paces(&["--callers", "1,64"]), [closed(1), closed(64)]);
        assert_eq!(paces(&["--rate", "0.5", "--arrivals", "poisson"]), [open(0.5)]);
        let both = ["--rate=2,3", "--callers=4", "--arrivals=poisson"];
        assert_eq!(paces(&both), [closed(4), open(2.0), open(3.0)]);
    }

    #[test]
    fn what_would_never_end_or_never_begin_is_refused() {
        for flags in [
            ["--callers", "0"],
            ["--callers", "99999"],
            ["--rate", "0"],
            ["--rate", "inf"],
            ["--rate", "nan"],
            ["--in-flight", "0"],
            ["--requests", "0"],
            ["--duration", "0s"],
        ] {
            let error = parse(&flags).unwrap().loads().unwrap_err();
            assert!(error.message().contains(flags[0]), "{flags:?}: {error}");
        }
    }

    #[test]
    fn times_have_units_and_doors_have_neighbours() {
        let ms = |text: &str| duration(text).map(|time| time.as_millis()).ok();
        assert_eq!([ms("5s"), ms("5"), ms("250ms")], [Some(5000), Some(5000), Some(250)]);
        assert_eq!([ms("1.5m"), ms("0")], [Some(90_000), Some(0)]);
        assert_eq!([ms(""), ms("s"), ms("-1s"), ms("5h"), ms("1e9")], [None; 5]);
        let doors = parse(&["--door", "grpc", "--door", "rest-typed"]).unwrap().door;
        assert_eq!(doors, [Door::Grpc, Door::RestTyped]);
        let error = parse(&["--door", "rest-jsn"]).unwrap_err();
        assert!(error.to_string().contains("rest-json"), "{error}");
        let error = parse(&["--caller", "1"]).unwrap_err();
        assert!(error.to_string().contains("--callers"), "{error}");
    }
}
