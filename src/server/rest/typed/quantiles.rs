//! Quantiles of a feature in a window, as JSON and as CSV.

use serde::Serialize;
use utoipa::ToSchema;

use crate::stats::drift::Accumulator;

/// Values that so many percent of all do not exceed; within 1.33 % in rank.
#[derive(Serialize, ToSchema)]
pub struct Quantiles {
    p01: f64,
    p05: f64,
    p25: f64,
    p50: f64,
    p75: f64,
    p95: f64,
    p99: f64,
}

const SHARES: [f64; 7] = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99];
/// Of CSV.
pub const COLUMNS: &str = ",p01,p05,p25,p50,p75,p95,p99";

impl Quantiles {
    pub fn of(seen: &Accumulator) -> Option<Self> {
        let [p01, p05, p25, p50, p75, p95, p99] = seen.quantiles(SHARES)?;
        Some(Self { p01, p05, p25, p50, p75, p95, p99 })
    }

    /// Cells of CSV; empty ones of what has none.
    pub fn cells(of: Option<&Self>) -> [String; SHARES.len()] {
        let Some(Self { p01, p05, p25, p50, p75, p95, p99 }) = of else {
            return Default::default();
        };
        [p01, p05, p25, p50, p75, p95, p99].map(f64::to_string)
    }
}
