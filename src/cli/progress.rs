//! How far something has come: a line that moves on a terminal, nothing elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;

use crate::registry::Progress;

/// Shows progress until every version is ready or has failed.
pub async fn show(mut progress: watch::Receiver<Progress>) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{spinner} loading {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    loop {
        let now = progress.borrow_and_update().clone();
        bar.set_length(now.total as u64);
        bar.set_position((now.ready + now.failed) as u64);
        if let Some(current) = now.current {
            bar.set_message(current);
        }
        if now.settled || progress.changed().await.is_err() {
            break;
        }
    }
    bar.finish_and_clear();
}

/// A bar over the bytes of a file.
pub fn of_bytes(total: u64) -> ProgressBar {
    bar(total, "{spinner} {bar:40} {bytes}/{total_bytes} {msg}")
}

/// A bar over the rows of a table.
pub fn of_rows(total: u64) -> ProgressBar {
    bar(total, "{spinner} {bar:40} {pos}/{len} rows {msg}")
}

/// A bar over what a command knows to take, in milliseconds.
pub fn of_time(total: u64) -> ProgressBar {
    bar(total, "{spinner} {bar:40} {percent} % {msg}")
}

fn bar(total: u64, form: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total);
    if let Ok(style) = ProgressStyle::with_template(form) {
        bar.set_style(style);
    }
    bar
}
