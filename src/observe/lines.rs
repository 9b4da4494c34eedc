//! Log lines on their way to standard error: gathered in memory, and written by a thread of its
//! own a few at a time. A request pays for a copy; it never wakes anybody but for the first line
//! after a silence, and never waits for a slow reader.
//!
//! What this file must not know: what a line says.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Bytes that may wait; lines beyond that are dropped and counted.
const BYTES_MAX: usize = 16 << 20;
/// How long the writer lets lines gather. Long beside a request, short beside a reader's patience.
const GATHER: Duration = Duration::from_millis(10);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.waiting.len() + line.len() > BYTES_MAX {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let is_first = state.waiting.is_empty();
        state.waiting.extend_from_slice(line);
        drop(state);
        if is_first {
            self.changed.notify_one();
        }
    }

    /// Writes until the log is closed and everything is out.
    fn write_all(&self, mut out: impl Write) {
        let mut lines = Vec::new();
        loop {
            let mut state = self.lock();
            while state.waiting.is_empty() && !state.closed {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if !state.closed {
                // Not ended early by lines: those only ring when nothing was waiting.
                let gathered = self.changed.wait_timeout(state, GATHER);
                state = gathered.unwrap_or_else(PoisonError::into_inner).0;
            }
            std::mem::swap(&mut state.waiting, &mut lines);
            let closed = state.closed;
            drop(state);
            // A log that can not be written can not be complained about.
            let _ = out.write_all(&lines);
            let dropped = self.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                let text = "\"level\":\"WARN\",\"message\":\"log lines were dropped\"";
                let _ = writeln!(out, "{{{text},\"lines\":{dropped}}}");
            }
            lines.clear();
            if closed {
                return;
            }
        }
    }
}

/// Where the log's formatter writes.
#[derive(Clone)]
pub struct Lines(Arc<Shared>);

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Lines;

    fn make_writer(&'a self) -> Lines {
        self.clone()
    }
}

/// Writes what is left, when it is dropped.
pub struct LogGuard {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// Starts the writer.
pub fn start() -> io::Result<(Lines, LogGuard)> {
    let shared = Arc::new(Shared::default());
    let writing = Arc::clone(&shared);
    let writer = std::thread::Builder::new()
        .name("galen-log".to_owned())
        .spawn(move || writing.write_all(io::stderr()))?;
    Ok((Lines(Arc::clone(&shared)), LogGuard { shared, writer: Some(writer) }))
}
