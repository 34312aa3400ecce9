//! The origin of a comparison: this same program as a child process, so that its CPU time is not the client's.
//!
//! It ends when its standard input does, which the kernel closes with the parent, however that dies.
//! It has a process group of its own: a Ctrl-C at the terminal must not end it before the client is done.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::cores::format_ranges;
use crate::exit::Failure;
use crate::placement::Placement;
use crate::serve::url_in;

/// How long the child may take to end by itself.
const END_MAX: Duration = Duration::from_secs(2);

/// A running `ringshot serve`; dropping it ends it.
#[derive(Debug)]
pub(super) struct OriginProcess {
    child: Child,
    /// Held open, so that the child can write its last line.
    _stdout: BufReader<ChildStdout>,
    url: String,
}

impl OriginProcess {
    /// Starts it on the origin's cores and waits until it accepts connections.
    pub(super) fn start(placement: &Placement, body_bytes: u64) -> Result<Self, Failure> {
        let cores = placement.origin_cores.as_deref().unwrap_or_default();
        let mut child = spawn(&format_ranges(cores), body_bytes).map_err(Failure::unusable)?;
        let stdout = child.stdout.take().ok_or_else(|| Failure::unusable("no origin output"))?;
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        let read = stdout.read_line(&mut line);
        match (read, url_in(&line)) {
            (Ok(_), Some(url)) => Ok(Self { url: url.to_owned(), child, _stdout: stdout }),
            _ => Err(failed(child)),
        }
    }

    /// Where it listens.
    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for OriginProcess {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        end(&mut self.child);
    }
}

fn spawn(cores: &str, body_bytes: u64) -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .args(["serve", "--port", "0", "--until-stdin-closes", "--cores", cores])
        .args(["--body-bytes", &body_bytes.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
}

/// What the child said before it gave up.
fn failed(mut child: Child) -> Failure {
    drop(child.stdin.take());
    end(&mut child);
    let mut said = String::new();
    if let Some(stderr) = &mut child.stderr {
        // What can't be read is not shown; that it failed is.
        let _ = stderr.read_to_string(&mut said);
    }
    let reason = said.trim().trim_start_matches("ringshot: ");
    Failure::unusable(format_args!("the origin did not start: {reason}: give a URL of a server"))
}

/// Waits for the child, and kills it if it does not end.
fn end(child: &mut Child) {
    let deadline = Instant::now() + END_MAX;
    while Instant::now() < deadline {
        match child.try_wait() {
            Ok(None) => thread::sleep(Duration::from_millis(5)),
            _ => return,
        }
    }
    // Both fail only if it is gone.
    let _ = child.kill();
    let _ = child.wait();
}
