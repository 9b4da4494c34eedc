//! Galen as a child process, over a registry of its own that holds the identity model.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::{Result, echo};

/// A running server; it ends, and its registry goes, when this is dropped.
pub struct Server {
    child: Child,
    folder: PathBuf,
    pub http: String,
    pub grpc: String,
}

impl Server {
    /// Starts it and waits until the model is there. It logs as it does in production, one line
    /// per request, into a pipe that somebody reads.
    pub fn start() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("galen-bench-{}", std::process::id()));
        let text = |error: io::Error| error.to_string();
        echo::registry(&folder).map_err(text)?;
        let child = Command::new(env!("CARGO_BIN_EXE_galen"))
            .args(["serve", "--log-format", "json", "--models"])
            .arg(&folder)
            .args(["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--metrics", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(text)?;
        let mut server = Self { child, folder, http: String::new(), grpc: String::new() };
        server.wait()?;
        Ok(server)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait(&mut self) -> Result<()> {
        let log = self.child.stderr.take().ok_or("the server has no log")?;
        let mut log = BufReader::with_capacity(1 << 16, log);
        let (mut line, mut said, mut is_ready) = (String::new(), String::new(), false);
        while !is_ready || self.http.is_empty() || self.grpc.is_empty() {
            line.clear();
            let length = log.read_line(&mut line).map_err(|error| error.to_string())?;
            if length == 0 {
                return Err(format!("the server ended before it was ready:\n{said}"));
            }
            said.push_str(&line);
            match (value(&line, "message"), value(&line, "door"), value(&line, "address")) {
                (Some("listening"), Some("http"), Some(at)) => self.http = at.to_owned(),
                (Some("listening"), Some("grpc"), Some(at)) => self.grpc = at.to_owned(),
                (Some("version ready"), ..) => is_ready = true,
                _ => {}
            }
        }
        // A log that nobody reads would fill its pipe.
        std::thread::spawn(move || io::copy(&mut log, &mut io::sink()));
        Ok(())
    }
}

/// The text under a key of one line of JSON; enough for lines that are our own.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("\"{key}\":\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

impl Drop for Server {
    fn drop(&mut self) {
        // It holds nothing that an orderly end would save.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
