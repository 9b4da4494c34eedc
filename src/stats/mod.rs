//! Statistics of features and predictions: what drift, data quality and performance are measured
//! with. Plain maths over numbers that somebody else gathered; every random choice is seeded, so
//! the same data always give the same answer.
//!
//! Two ways to compare a window with the training data. *Streaming*: bins frozen in the reference
//! profile, counts only ([`drift`], [`bins`], [`categories`], [`divergence`]); cheap, of fixed
//! memory, mergeable. *Exact*: two samples of raw values ([`samples`], [`kolmogorov`],
//! [`embedding`]), of which the window's is a [`reservoir`]; as SciPy and Evidently compute it, for
//! the background.
//!
//! Quantiles of a stream are a [`sketch`]'s. Vectors are reduced to a few numbers first
//! ([`components`]).
//!
//! What this room must not know: clocks, locks, models, files.

pub mod bins;
pub mod categories;
pub mod components;
pub mod contingency;
pub mod divergence;
pub mod drift;
pub mod embedding;
pub mod held_out;
pub mod kolmogorov;
pub mod log_linear;
pub mod moments;
pub mod multiplicity;
pub mod performance;
pub mod reservoir;
pub mod samples;
pub mod sketch;
pub mod tails;

#[cfg(test)]
mod tests;
