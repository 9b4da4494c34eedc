//! What the server tells about itself: metrics and logs. Hears facts through
//! [`crate::event`]; only [`gpu`] asks for its own.
//!
//! What this room must not know: who produces the facts, and any payload.

pub mod alerts;
pub mod drift;
mod ecs_line;
pub mod gpu;
pub mod hub;
mod json_line;
pub mod latency;
mod levels;
mod lines;
pub mod metrics;
pub mod names;
pub mod performance;
#[cfg(test)]
mod sink;
pub mod statistics;
pub mod telemetry;
