//! The doors: every protocol Galen speaks, as thin adapters over [`crate::service::Service`].
//!
//! `listen` accepts connections, `patience` bounds them and `framing` refuses requests whose end is
//! unclear; `layers` is what every request passes, and `inflow` how its body comes in;
//! `rest` and `grpc` are the two doors, which never see each other; `dashboard` is the pages that
//! people see on the first; `scrape` is the metrics port; `webhook` and `otlp` are the doors that
//! only go out, for alerts and for spans, over what `outgoing` has.
//! What the doors must agree on: `status`, `parameters`, `extensions`, `shared_memory`,
//! `log_settings`, `trace_settings` and `time`.

pub mod dashboard;
mod extensions;
mod framing;
pub mod grpc;
mod inflow;
pub mod layers;
pub mod listen;
mod log_settings;
pub mod otlp;
mod outgoing;
mod parameters;
mod patience;
pub mod rest;
pub mod scrape;
pub mod shared_memory;
mod status;
mod streams;
mod time;
mod trace_settings;
pub mod webhook;

/// A door's routes, ready for [`layers`].
pub use axum::Router;
