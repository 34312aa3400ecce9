//! Starting the binary, waiting for it, and what it said. A program that does not end in time is killed, and its words are shown.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take. Far more than any of it takes: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(5);

/// The drivers that this machine allows.
pub(crate) fn drivers() -> Vec<&'static str> {
    if io_uring_works() { vec!["io_uring", "epoll"] } else { vec!["epoll"] }
}

/// Whether this machine allows `io_uring`; says so when it does not.
pub(crate) fn io_uring_works() -> bool {
    let found = doctor();
    let blocked = &found["io_uring"]["blocked"];
    if !blocked.is_null() {
        println!("skipped on io_uring: {blocked}");
    }
    blocked.is_null()
}

/// The cores that this process may use.
pub(crate) fn cores() -> Vec<u64> {
    let found = doctor();
    let cores = found["cores"].as_array().expect("cores");
    cores.iter().map(|core| core["core"].as_u64().expect("a number")).collect()
}

pub(crate) fn doctor() -> Value {
    ringshot(&["doctor", "-o", "json"]).json()
}

/// Runs the binary to its end.
pub(crate) fn ringshot(args: &[&str]) -> Ended {
    Program::start(args).wait()
}

/// The binary with `args`, not started yet.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringshot"));
    command.args(args);
    command
}

/// How a program ended and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Standard output as JSON, which must be all of it.
    pub(crate) fn json(&self) -> Value {
        let parsed = serde_json::from_str(&self.stdout);
        parsed.unwrap_or_else(|error| panic!("stdout holds not only JSON: {error}: {self:#?}"))
    }

    /// It ended with `code`; the JSON it printed.
    pub(crate) fn json_with_code(&self, code: i32) -> Value {
        assert_eq!(self.code(), Some(code), "{self:#?}");
        self.json()
    }

    /// It printed one line on stderr, which holds `parts`, and nothing else; exit code 2.
    pub(crate) fn check_refused(&self, parts: &[&str]) {
        assert_eq!(self.code(), Some(2), "{self:#?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:#?}");
        assert!(self.stderr.starts_with("ringshot: ") && self.stderr.ends_with('\n'), "{self:#?}");
        assert_eq!(self.stdout, "");
        for part in parts {
            assert!(self.stderr.contains(part), "no {part:?} in {:?}", self.stderr);
        }
    }
}

/// A running program; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    stdout: Heard,
    stderr: Heard,
}

impl Program {
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::spawn(&mut command(args))
    }

    pub(crate) fn spawn(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let stdout = Heard::from(child.stdout.take().expect("a pipe"));
        let stderr = Heard::from(child.stderr.take().expect("a pipe"));
        Self { child, stdout, stderr }
    }

    /// Sends a signal by name, such as `-INT`.
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill starts").success(), "{signal}");
    }

    /// Waits until a line of stdout holds `part`, and gives that line.
    pub(crate) fn stdout_line(&mut self, part: &str) -> String {
        let heard = self.stdout.text.clone();
        self.line(&heard, part)
    }

    /// Waits until a line of stderr holds `part`, and gives that line.
    pub(crate) fn stderr_line(&mut self, part: &str) -> String {
        let heard = self.stderr.text.clone();
        self.line(&heard, part)
    }

    fn line(&mut self, heard: &Mutex<String>, part: &str) -> String {
        let find = || {
            let text = heard.lock().expect("no panic").clone();
            text.split_inclusive('\n')
                .find(|line| line.contains(part) && line.ends_with('\n'))
                .map(|line| line.trim_end().to_owned())
        };
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let ended = self.child.try_wait().expect("a child").is_some();
            match find() {
                Some(line) => return line,
                None if ended => break,
                None => thread::sleep(POLL),
            }
        }
        let _ = self.child.kill();
        panic!("no line with {part:?}: {self:#?}");
    }

    /// Waits for its end.
    pub(crate) fn wait(self) -> Ended {
        self.wait_for(PATIENCE)
    }

    /// Waits for its end, which must come within `limit`.
    pub(crate) fn wait_for(mut self, limit: Duration) -> Ended {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return Ended { status, stdout: self.stdout.all(), stderr: self.stderr.all() };
            }
            if Instant::now() >= deadline {
                let _ = self.child.kill();
                panic!("still running after {limit:?}: {self:#?}");
            }
            thread::sleep(POLL);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What came through a pipe so far.
#[derive(Debug)]
struct Heard {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Heard {
    fn from(pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::<Mutex<String>>::default();
        let shared = Arc::clone(&text);
        let reader = thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
                shared.lock().expect("no panic").push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Self { text, reader: Some(reader) }
    }

    /// All of it, once the program has ended.
    fn all(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader does not panic");
        }
        self.text.lock().expect("no panic").clone()
    }
}

/// A running `ringshot serve`.
#[derive(Debug)]
pub(crate) struct Server {
    program: Program,
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut program = Program::start(&[&["serve", "--port", "0"], args].concat());
        let line = program.stdout_line("serving http://");
        let url = line.split(' ').find(|word| word.starts_with("http://")).expect("a URL");
        Self { url: url.to_owned(), program }
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://").trim_end_matches('/')
    }

    /// Ends it, and says how many requests it claims to have served.
    pub(crate) fn stop(self) -> u64 {
        self.program.signal("-INT");
        let ended = self.program.wait();
        assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""), "{ended:#?}");
        let last = ended.stdout.lines().last().expect("a last line");
        let served = last.strip_prefix("served ").and_then(|rest| rest.split(' ').next());
        served.expect("a number").replace(',', "").parse().expect("a number")
    }
}
