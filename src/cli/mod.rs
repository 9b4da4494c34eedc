//! The command line: what was typed, as plain data, and what the process does about it.
//!
//! The only room that prints. Exit codes: 0 done, 1 failed, 64 wrong usage or configuration
//! (`EX_USAGE` of sysexits.h), before any port is bound.

mod args;
mod bench;
mod check;
mod explain;
mod profile;
mod progress;
mod serve;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::error::{Error, Result};
use crate::heap;
use args::{Cli, Command};

/// `EX_USAGE`.
const USAGE: u8 = 64;

/// Parses the arguments and runs the command.
pub fn main() -> ExitCode {
    heap::settle();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors, and go to standard output.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match cli.command {
        Command::Serve(args) => serve::run(*args),
        Command::Check(args) => check::run(*args),
        Command::Explain(args) => explain::run(*args),
        Command::Profile(args) => profile::run(*args),
        Command::Bench(args) => bench::run(*args),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "galen", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
    }
}

/// One thread for a command that asks and waits.
fn runtime() -> Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Error::internal("the runtime could not be started").with_detail(error))
}

/// Prints what a program is to read.
fn print_json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value);
    println!("{}", text.map_err(|error| Error::internal("no JSON").with_detail(error))?);
    Ok(())
}

/// Tells the user what is wrong with what they wrote.
fn usage(error: &Error) -> ExitCode {
    eprintln!("galen: {error}");
    if let Some(detail) = error.detail() {
        eprintln!("       {detail}");
    }
    ExitCode::from(USAGE)
}

/// Tells the user why it did not work.
fn failure(error: &Error) -> ExitCode {
    eprintln!("galen: {error}");
    if let Some(detail) = error.detail() {
        eprintln!("       {detail}");
    }
    ExitCode::FAILURE
}
