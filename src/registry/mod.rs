//! The registry: the path of a model version.
//!
//! `scan` lists what lies there, `layout` says whether that is many models or one, `describe` reads
//! each model's configuration, `settle` says what is whole, `source` what ought to serve, `policy`
//! picks the next step, and `worker` takes it: `files` reads the bytes, `integrity` checks them,
//! `loader` makes a [`Servable`], `memory` measures it, `warmup` runs what its author wants run
//! (`assemble` does the same for an ensemble, which `parts` keeps in step with its models), and
//! `table` is swapped atomically. `lifecycle` is the state machine, `model` what the worker
//! remembers, `labels` and `steer` what calls have moved (kept in files by `crate::state`), `route`
//! a traffic policy at work, `events` what the worker hears, `calls` what it is told to do,
//! `manager` the registry from outside, `cards` the model cards that lie there, and `inspect` looks
//! at one model without serving it.
//!
//! What this room must not know: protocols, metrics back-ends, who asks.

mod assemble;
mod calls;
mod cards;
mod describe;
mod events;
mod files;
mod fingerprint;
mod inspect;
mod integrity;
mod labels;
mod layout;
mod lifecycle;
mod loader;
mod manager;
mod memory;
mod model;
mod parts;
mod policy;
mod route;
mod scan;
mod servable;
mod settle;
mod source;
mod steer;
mod table;
mod warmup;
mod worker;

pub use cards::Cards;
pub use inspect::{Inspected, Inspection, inspect};
pub use lifecycle::VersionState;
pub use loader::MemoryFiles;
pub use manager::{Control, LoadOrder, Manager, Progress, TrafficCall};
pub use route::{Counts, OutputCounts, Route};
pub use servable::{Assembly, Servable, Work};
pub use table::{ModelEntry, ModelTable, TableReader, VersionEntry};
