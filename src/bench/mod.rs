//! The load generator behind `galen bench`: callers of a running server, and what they measure.
//!
//! - [`subject`] asks the server for the model; [`request`] makes what is sent; [`door`] writes it
//!   in the words of each protocol.
//! - [`drive`] runs one load, closed or open, over [`rest`] or [`grpc`] callers; [`schedule`] says
//!   when requests of an open loop are due.
//! - [`tally`], [`histogram`], [`cpu`] and [`statistics`] are what is measured; [`report`] is what
//!   is said of it.
//!
//! It is a caller, not a part of the server: it uses none of it but its plain data and the messages
//! of its protocols. `benches/` measures with it, too.

pub mod address;
pub mod answer;
pub mod cpu;
pub mod door;
pub mod drive;
pub mod grpc;
pub mod histogram;

pub mod report;
pub mod request;
pub mod rest;
pub mod schedule;
pub mod statistics;
pub mod subject;
pub mod tally;

use std::rc::Rc;

use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

pub use address::Address;
pub use door::Door;
pub use drive::{Load, Outcome, Pace};
pub use request::Asked;
pub use schedule::Arrivals;
pub use subject::Subject;

use crate::error::{Error, Result};
use answer::Answer;

/// Where a caller sends its request, over and over, and what it sends.
pub enum Target {
    Http(rest::Target),
    Grpc(grpc::Target),
}

impl Target {
    async fn caller(&self) -> Result<Caller> {
        Ok(match self {
            Target::Http(target) => Caller::Http(target.caller().await?),
            Target::Grpc(target) => Caller::Grpc(target.caller().await?),
        })
    }
}

/// One caller: one request at a time.
enum Caller {
    Http(rest::Caller),
    Grpc(grpc::Caller),
}

impl Caller {
    async fn call(&mut self) -> Answer {
        match self {
            Caller::Http(caller) => caller.call().await,
            Caller::Grpc(caller) => caller.call().await,
        }
    }
}

/// Runs one load on this thread, for who has no runtime.
pub fn run(target: &Rc<Target>, load: &Load) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime
        .map_err(|error| Error::internal("the runtime could not be started").with_detail(error))?;
    let never = CancellationToken::new();
    let outcome = drive::drive(target, load, &never, async || None);
    LocalSet::new().block_on(&runtime, outcome)
}
