//! The `ringshot` command on a terminal that nobody looks at: what its live view costs.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::contest::{Run, Score};

/// Lines and columns of the terminal.
const SIZE: (u16, u16) = (40, 120);

/// The command, if it was built beside this program.
#[must_use]
pub fn command() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.with_file_name("ringshot");
    path.is_file().then_some(path)
}

/// A terminal's two ends: where the view is read, and what the command has as its own.
fn open() -> io::Result<(File, OwnedFd)> {
    let (mut master, mut slave) = (-1, -1);
    let size = libc::winsize { ws_row: SIZE.0, ws_col: SIZE.1, ws_xpixel: 0, ws_ypixel: 0 };
    let (name, settings) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: the pointers are null or to values that live as long as the call (openpty(3)).
    let opened = unsafe {
        libc::openpty(&raw mut master, &raw mut slave, name, settings, &raw const size as *mut _)
    };
    if opened != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both are open, and nobody else has them.
    let [master, slave] = [master, slave].map(|end| unsafe { OwnedFd::from_raw_fd(end) });
    Ok((master.into(), slave))
}

/// A closed loop from `core`, shown as `live` says (`full`, `off`).
#[must_use]
pub fn run(
    command: PathBuf,
    live: &'static str,
    core: usize,
    url: &str,
    connections: u32,
    duration: Duration,
) -> Run<'static> {
    let url = url.to_owned();
    Box::new(move || {
        let (mut screen, terminal) = open()?;
        let child = Command::new(&command)
            .args(["run", &url, "--output", "json", "--live", live, "--connections"])
            .args([&connections.to_string(), "--cores", &core.to_string()])
            .args(["--duration", &format!("{}ms", duration.as_millis())])
            .env("TERM", "xterm-256color")
            .stdin(Stdio::from(terminal.try_clone()?))
            .stderr(Stdio::from(terminal))
            .stdout(Stdio::piped())
            .spawn()?;
        // To its end, which is an error once the command has closed its side.
        let watcher = thread::spawn(move || {
            let (mut drawn, mut buffer) = (0, [0; 65536]);
            while let Ok(bytes @ 1..) = screen.read(&mut buffer) {
                drawn += bytes;
            }
            drawn
        });
        let output = child.wait_with_output()?;
        let drawn = watcher.join().map_err(|_| "the watcher panicked")?;
        if live == "full" && drawn < usize::from(SIZE.0) * usize::from(SIZE.1) {
            return Err(format!("only {drawn} bytes were drawn").into());
        }
        let result: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let figure = |name: &str| result[name].as_f64().ok_or("the result has another shape");
        Ok(Score {
            rate: figure("requests_per_second")?,
            cpu_us: figure("cpu_us_per_request")?,
            ..Score::default()
        })
    })
}
