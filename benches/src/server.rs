//! The origin in a process of its own: the benchmark program starts itself again with `--origin`.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ringshot::driver::DriverKind;
use ringshot::origin::{Config, Origin};

use crate::bare::Outcome;

const FLAG: &str = "--origin";

/// If this process was started as an origin, serves until its standard input closes, and returns `true`.
///
/// # Errors
/// What [`Origin::start`] reports.
pub fn serve_if_asked() -> Outcome<bool> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, flag, core, body_bytes] = &arguments[..] else { return Ok(false) };
    if flag != FLAG {
        return Ok(false);
    }
    let config = Config {
        cores: vec![core.parse()?],
        driver: DriverKind::IoUring,
        body_bytes: body_bytes.parse()?,
        ..Config::on_loopback()
    };
    let origin = Origin::start(&config).or_else(|_| {
        // No io_uring here: the same origin on epoll.
        Origin::start(&Config { driver: DriverKind::Epoll, ..config })
    })?;
    use std::io::Write;
    writeln!(std::io::stdout(), "{}", origin.address())?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    origin.stop()?;
    Ok(true)
}

/// An origin in a child process; it ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Starts one on `core`.
    ///
    /// # Errors
    /// If the child can't start or says no address.
    pub fn start(core: usize, body_bytes: u64) -> Outcome<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([FLAG, &core.to_string(), &body_bytes.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        Ok(Self { child, address: line.trim().parse()? })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It ends by itself; should it not, it is killed.
        std::thread::sleep(Duration::from_millis(50));
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
