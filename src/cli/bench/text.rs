//! The report of a benchmark laid out for a reader. Pure.

use std::fmt::Write;

use crate::bench::report::{Report, Run};

/// Writing into a String can not fail.
macro_rules! line {
    ($out:ident, $($part:tt)*) => {{ let _ = writeln!($out, $($part)*); }};
}

const HEAD: [&str; 13] = [
    "door",
    "load",
    "answers/s",
    "p50 ms",
    "p90 ms",
    "p99 ms",
    "p99.9 ms",
    "max ms",
    "failed",
    "CPU us",
    "batch",
    "queue",
    "compute",
];
/// From this share of the latency on, the generator's lateness is worth a line.
const NOTABLE: f64 = 0.1;
/// Columns that are words; the others are numbers, and end below each other.
const WORDS: usize = 2;

pub fn render(report: &Report) -> String {
    let mut out = String::new();
    line!(out, "{} on {}", report.model, report.server);
    for request in requests(report) {
        line!(out, "  {request}");
    }
    out.push('\n');
    let rows: Vec<[String; HEAD.len()]> = report.runs.iter().map(row).collect();
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].len());
        widths.max().unwrap_or(0).max(HEAD[column].len())
    };
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    write_row(&mut out, HEAD.iter().copied(), &widths);
    for row in &rows {
        write_row(&mut out, row.iter().map(String::as_str), &widths);
    }
    let notes: Vec<String> = report.runs.iter().flat_map(notes).collect();
    if !notes.is_empty() {
        out.push('\n');
    }
    for note in notes {
        line!(out, "{note}");
    }
    out
}

/// What each door was asked.
fn requests(report: &Report) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    for run in &report.runs {
        let source = match run.request {
            "file" => "the file's request",
            "example" => "the server's example",
            _ => "made up from the signature",
        };
        let text = format!("{}: {source}, {} bytes", run.door, run.request_bytes);
        if !told.contains(&text) {
            told.push(text);
        }
    }
    told
}

fn load(run: &Run) -> String {
    match (run.callers, run.rate) {
        (Some(1), _) => "1 caller".to_owned(),
        (Some(callers), _) => format!("{callers} callers"),
        (_, Some(rate)) => format!("{rate}/s {}", run.arrivals.unwrap_or_default()),
        _ => String::new(),
    }
}

fn row(run: &Run) -> [String; HEAD.len()] {
    let none = || "-".to_owned();
    let ms = |us: Option<f64>| us.map_or_else(none, milliseconds);
    let latency = run.latency_us.as_ref();
    let share = |share: Option<f64>| share.map_or_else(none, percent);
    let served = run.served.as_ref();
    let batch = served.and_then(|served| served.rows_per_batch);
    [
        run.door.to_owned(),
        load(run),
        format!("{:.0}", run.per_second),
        ms(latency.map(|latency| latency.p50)),
        ms(latency.map(|latency| latency.p90)),
        ms(latency.map(|latency| latency.p99)),
        ms(latency.map(|latency| latency.p99_9)),
        ms(latency.map(|latency| latency.max)),
        (run.failed + run.dropped).to_string(),
        run.cpu_us.map_or_else(none, |us| format!("{us:.1}")),
        batch.map_or_else(none, |rows| format!("{rows:.1}")),
        share(served.map(|served| served.queue_share)),
        share(served.map(|served| served.compute_share)),
    ]
}

/// Three digits, whatever the magnitude.
fn milliseconds(us: f64) -> String {
    let ms = us / 1e3;
    match ms {
        ..10.0 => format!("{ms:.3}"),
        ..100.0 => format!("{ms:.1}"),
        _ => format!("{ms:.0}"),
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn write_row<'a>(out: &mut String, cells: impl Iterator<Item = &'a str>, widths: &[usize]) {
    let mut text = String::new();
    for (column, (cell, &width)) in cells.zip(widths).enumerate() {
        if column < WORDS {
            let _ = write!(text, "{cell:width$}  ");
        } else {
            let _ = write!(text, "{cell:>width$}  ");
        }
    }
    line!(out, "{}", text.trim_end());
}

/// What the table has no room for.
fn notes(run: &Run) -> Vec<String> {
    let place = format!("{}, {}", run.door, load(run));
    let mut notes = Vec::new();
    for error in &run.errors {
        let said = if error.first.is_empty() { "" } else { ": " };
        let (status, count, first) = (&error.status, error.count, &error.first);
        notes.push(format!("{place}: {count} failed with {status}{said}{first}"));
    }
    if let Some(us) = run.refused_after_us {
        let ms = milliseconds(us);
        notes.push(format!("{place}: a full queue was told after {ms} ms in the median"));
    }
    if run.dropped > 0 {
        let dropped = run.dropped;
        notes.push(format!("{place}: {dropped} were due while too many were in flight"));
    }
    if let Some((late, latency)) = run.late_us.as_ref().zip(run.latency_us.as_ref())
        && late.p50 > NOTABLE * latency.p50
    {
        let ms = milliseconds(late.p50);
        notes.push(format!("{place}: of the p50, {ms} ms are the load generator's own lateness"));
    }
    if let Some(share) = run.served.map(|served| served.cached_share).filter(|share| *share > 0.0) {
        let share = percent(share);
        notes.push(format!("{place}: {share} were answered with a kept answer, not computed"));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::{Errors, Late, Latency, SCHEMA};
    use crate::bench::statistics::Served;

    #[test]
    fn a_reader_gets_a_table_and_what_went_wrong() {
        let latency =
            Latency { mean: 1.0, p50: 93.4, p90: 9999.0, p99: 12_345.0, p99_9: 1e6, max: 1e6 };
        let served = Served {
            requests: 10,
            requests_per_batch: Some(3.5),
            rows_per_batch: Some(3.5),
            request_us: 1.0,
            queue_share: 0.625,
            compute_share: 0.25,
            cached_share: 0.5,
        };
        let run = Run {
            door: "grpc",
            kind: "open",
            callers: None,
            rate: Some(250.0),
            arrivals: Some("poisson"),
            request: "example",
            request_bytes: 180,
            seconds: 5.0,
            requests: 15,
            succeeded: 10,
            failed: 2,
            dropped: 3,
            per_second: 2.0,
            latency_us: Some(latency),
            errors: vec![Errors { status: "X".into(), count: 2, first: "full".into() }],
            refused_after_us: Some(1500.0),
            late_us: Some(Late { p50: 50.0, p99: 60.0 }),
            cpu_us: Some(81.6),
            served: Some(served),
        };
        let report =
            Report { schema: SCHEMA, model: "m/1".into(), server: "s 1".into(), runs: vec![run] };
        let wanted = "\
m/1 on s 1
  grpc: the server's example, 180 bytes

door  load           answers/s  p50 ms  p90 ms  p99 ms  p99.9 ms  max ms  failed  CPU us  batch  queue  compute
grpc  250/s poisson          2   0.093   9.999    12.3      1000    1000       5    81.6    3.5   62 %     25 %

grpc, 250/s poisson: 2 failed with X: full
grpc, 250/s poisson: a full queue was told after 1.500 ms in the median
grpc, 250/s poisson: 3 were due while too many were in flight
grpc, 250/s poisson: of the p50, 0.050 ms are the load generator's own lateness
grpc, 250/s poisson: 50 % were answered with a kept answer, not computed
";
        assert_eq!(render(&report), wanted);
    }
}
