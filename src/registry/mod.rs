//! The registry: the path of a model version.
//!
//! `scan` lists what lies there, `describe` reads each model's configuration, `settle` says what is
//! whole, `source` what ought to serve, `policy` picks the next step, and `worker` takes it:
//! `files` reads the bytes, `integrity` checks them, `loader` makes a [`Servable`], `warmup` runs
//! what its author wants run, and `table` is swapped atomically. `lifecycle` is the state
//! machine, `model` what the worker remembers, `labels` what calls have moved, `calls` what the
//! worker is told to do, and `manager` the registry from outside.
//!
//! What this room must not know: protocols, metrics back-ends, who asks.

mod calls;
mod describe;
mod files;
mod fingerprint;
mod integrity;
mod labels;
mod lifecycle;
mod loader;
mod manager;
mod model;
mod policy;
mod scan;
mod servable;
mod settle;
mod source;
mod table;
mod warmup;
mod worker;

pub use lifecycle::VersionState;
pub use loader::MemoryFiles;
pub use manager::{Control, LoadOrder, Manager, Progress};
pub use servable::Servable;
pub use table::{ModelEntry, ModelTable, TableReader, VersionEntry};
