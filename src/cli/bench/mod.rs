//! `galen bench`: loads a running server, and says how it does.

pub mod args;
mod text;

use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, LocalSet};
use tokio_util::sync::CancellationToken;

use super::{failure, print_json, progress, runtime, usage};
use crate::bench::door::{Door, Prepared};
use crate::bench::report::{Report, Run, SCHEMA};
use crate::bench::{Address, Asked, Load, Subject, drive};
use crate::error::{Error, Result};
use args::BenchArgs;

/// How often the bar moves.
const TICK: Duration = Duration::from_millis(200);

/// What is to be done, once every flag is known to be right.
struct Job {
    subject: Subject,
    grpc: Address,
    doors: Vec<Door>,
    loads: Vec<Load>,
    /// The request of --data.
    asked: Option<Asked>,
}

pub fn run(args: BenchArgs) -> ExitCode {
    let job = match Job::new(&args) {
        Ok(job) => job,
        Err(error) => return usage(&error),
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return failure(&error),
    };
    let report = match LocalSet::new().block_on(&runtime, job.run(args.model)) {
        Ok(report) => report,
        Err(error) => return failure(&error),
    };
    if args.json {
        if let Err(error) = print_json(&report) {
            return failure(&error);
        }
    } else {
        print!("{}", text::render(&report));
    }
    let answered = report.runs.iter().any(|run| run.succeeded > 0);
    if answered { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Job {
    fn new(args: &BenchArgs) -> Result<Self> {
        let named = |flag: &str, error: &Error| Error::invalid(format!("--{flag}: {error}"));
        let url = Address::parse(&args.url).map_err(|error| named("url", &error))?;
        let grpc = Address::parse(&args.grpc).map_err(|error| named("grpc", &error))?;
        let asked = match args.data()? {
            Some(text) => Some(Asked::from_file(&text).map_err(|error| named("data", &error))?),
            None => None,
        };
        let job = Self {
            subject: Subject::parse(url, &args.model)?,
            grpc,
            doors: args.door.clone(),
            loads: args.loads()?,
            asked,
        };
        if let Some(asked) = &job.asked {
            // What the file lacks is known before the server is asked.
            job.prepared(asked).map_err(|error| named("data", &error))?;
        }
        Ok(job)
    }

    /// The request of every door.
    fn prepared(&self, asked: &Asked) -> Result<Vec<(Door, Prepared)>> {
        let doors = self.doors.iter();
        doors.map(|&door| Ok((door, door.prepare(&self.subject, &self.grpc, asked)?))).collect()
    }

    async fn run(self, model: String) -> Result<Report> {
        let facts = self.subject.facts().await?;
        let asked = match &self.asked {
            Some(asked) => asked.clone(),
            None => Asked::from_facts(&facts, &self.subject)?,
        };
        let ended = CancellationToken::new();
        let interrupted = ended.clone();
        tokio::spawn(async move {
            // Where the signal can not be heard, it ends the process as it always does.
            if tokio::signal::ctrl_c().await.is_ok() {
                interrupted.cancel();
            }
        });
        let mut bar = Bar::over(&self.loads, self.doors.len());
        let mut report = Report { schema: SCHEMA, model, server: facts.server, runs: Vec::new() };
        for (door, prepared) in self.prepared(&asked)? {
            let Prepared { target, source, bytes } = prepared;
            let target = Rc::new(target);
            for load in &self.loads {
                if ended.is_cancelled() {
                    break;
                }
                let moving = bar.during(door, load);
                let statistics = async || self.subject.statistics().await;
                let outcome = drive::drive(&target, load, &ended, statistics).await;
                moving.abort();
                report.runs.push(Run::new(door, source, bytes, load, &outcome?));
                bar.over_with(load);
            }
        }
        bar.bar.finish_and_clear();
        Ok(report)
    }
}

/// How far all loads have come, by their time.
struct Bar {
    bar: indicatif::ProgressBar,
    /// Of the loads that are over.
    ms: u64,
}

impl Bar {
    fn over(loads: &[Load], doors: usize) -> Self {
        let ms = loads.iter().map(length_ms).sum::<u64>() * doors as u64;
        Self { bar: progress::of_time(ms), ms: 0 }
    }

    /// Moves while one load runs.
    fn during(&self, door: Door, load: &Load) -> JoinHandle<()> {
        let (bar, from, length) = (self.bar.clone(), self.ms, length_ms(load));
        bar.set_message(door.name());
        tokio::spawn(async move {
            let begun = Instant::now();
            let mut ticks = tokio::time::interval(TICK);
            while !bar.is_hidden() {
                ticks.tick().await;
                let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                bar.set_position(from + ms.min(length));
            }
        })
    }

    /// It may have ended early.
    fn over_with(&mut self, load: &Load) {
        self.ms += length_ms(load);
        self.bar.set_position(self.ms);
    }
}

fn length_ms(load: &Load) -> u64 {
    u64::try_from((load.warm_up + load.duration).as_millis()).unwrap_or(u64::MAX)
}
