//! A test in network and mount namespaces of its own (namespaces(7)): it starts its own binary again, with itself as the only test. The machine's network and
//! files stay as they are.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::servers::{REQUIRE, die_with_parent};
use crate::watch::announce;

/// Set in the child, to the name of its test.
const INSIDE: &str = "RINGSHOT_NAMESPACE";
/// Seconds after which a child is ended (alarm(2)).
const CHILD_SECONDS_MAX: u32 = 120;
/// What a child says when its body has run: that it exits well proves nothing, if its name matched no test.
const DONE: &str = "ran in its namespace: ";
/// What a child says instead when it can't.
const UNABLE: &str = "unable to enter its namespace: ";

/// Runs `body` as the test called `test`, in namespaces where nothing is but an own loopback interface, or skips with a notice.
///
/// # Panics
/// When `body` does, when the child runs for more than two minutes, or when there are no namespaces and [`REQUIRE`] is 1.
pub fn within(test: &str, body: impl FnOnce()) {
    match std::env::var(INSIDE) {
        Ok(inside) if inside == test => match enter() {
            Ok(()) => {
                body();
                announce(&format!("{DONE}{test}"));
            }
            Err(error) => announce(&format!("{UNABLE}{error}")),
        },
        _ => run_child(test),
    }
}

fn run_child(test: &str) {
    let mut command = Command::new(std::env::current_exe().expect("a path of our own"));
    command.args(["--exact", test, "--nocapture"]).env(INSIDE, test);
    let maps = Maps::of_this_user();
    let prepare = move || {
        maps.unshare()?;
        // SAFETY: alarm(2) takes a number. It is kept over execve(2).
        unsafe { libc::alarm(CHILD_SECONDS_MAX) };
        // After unshare(2), which clears it.
        die_with_parent()
    };
    // SAFETY: between fork and exec the closure makes system calls and touches memory made before the fork only.
    unsafe { command.pre_exec(prepare) };
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return skip(test, &error.to_string()),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    if let Some(reason) = said.lines().find_map(|line| line.strip_prefix(UNABLE)) {
        return skip(test, reason);
    }
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{test} in its namespace: {}\n{out}\n{said}", output.status);
    if said.contains("SKIPPED") {
        announce(said.trim_end());
        return;
    }
    assert!(said.contains(&format!("{DONE}{test}")), "no test is called {test}: {out}\n{said}");
}

fn skip(test: &str, reason: &str) {
    assert!(std::env::var_os(REQUIRE).is_none_or(|value| value != "1"), "no namespace: {reason}");
    announce(&format!(
        "SKIPPED {test}: this machine allows it no namespace: {reason}. Run it as root, or allow user namespaces (user_namespaces(7))"
    ));
}

/// What to write where, so that whoever starts the child is root in its user namespace (user_namespaces(7)).
struct Maps {
    users: CString,
    groups: CString,
}

impl Maps {
    fn of_this_user() -> Self {
        // SAFETY: geteuid(2) takes nothing and always succeeds.
        let user = unsafe { libc::geteuid() };
        // SAFETY: getegid(2) takes nothing and always succeeds.
        let group = unsafe { libc::getegid() };
        let map = |id: u32| CString::new(format!("0 {id} 1")).expect("no NUL");
        Self { users: map(user), groups: map(group) }
    }

    /// Leaves the namespaces of network and mounts; who may not do so by itself gets a user namespace in which it may. Allocates nothing.
    fn unshare(&self) -> io::Result<()> {
        let own = libc::CLONE_NEWNET | libc::CLONE_NEWNS;
        // SAFETY: unshare(2) takes a number.
        if unsafe { libc::unshare(own) } == 0 {
            return Ok(());
        }
        // SAFETY: as above.
        done(unsafe { libc::unshare(own | libc::CLONE_NEWUSER) })?;
        write(c"/proc/self/setgroups", c"deny")?;
        write(c"/proc/self/uid_map", &self.users)?;
        write(c"/proc/self/gid_map", &self.groups)
    }
}

/// Writes a short text, without the allocations of the standard library.
fn write(path: &std::ffi::CStr, text: &std::ffi::CStr) -> io::Result<()> {
    // SAFETY: `path` ends in NUL and outlives the call.
    let file = unsafe { libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) };
    done(file)?;
    // SAFETY: the kernel reads as many bytes of `text` as it has.
    let written = unsafe { libc::write(file, text.as_ptr().cast(), text.count_bytes()) };
    let result = done(if written < 0 { -1 } else { 0 });
    // SAFETY: the descriptor is ours, and not used again.
    unsafe { libc::close(file) };
    result
}

fn done(status: i32) -> io::Result<()> {
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// In the child: mounts that nobody else sees, and a loopback interface that is up.
fn enter() -> io::Result<()> {
    mount(None, "/", libc::MS_REC | libc::MS_PRIVATE)?;
    raise_loopback()
}

/// Puts a file in the place of another, for this namespace only.
///
/// # Errors
/// Those of mount(2); `ENOENT` if there is nothing at `place`.
pub fn replace(place: &str, with: &Path, text: &str) -> io::Result<()> {
    fs::write(with, text)?;
    mount(Some(with), place, libc::MS_BIND)
}

fn mount(source: Option<&Path>, target: &str, flags: libc::c_ulong) -> io::Result<()> {
    let source = source.map_or_else(String::new, |path| path.display().to_string());
    let (source, target) = (CString::new(source)?, CString::new(target)?);
    let (kind, data) = (std::ptr::null(), std::ptr::null());
    // SAFETY: both paths end in NUL and outlive the call; a type and data are not looked at for these flags (mount(2)).
    done(unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind, flags, data) })
}

/// Brings `lo` up, with which it gets `127.0.0.1` and `::1` (netdevice(7)).
fn raise_loopback() -> io::Result<()> {
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))?;
    let mut name = [0; libc::IFNAMSIZ];
    (name[0], name[1]) = (b'l' as libc::c_char, b'o' as libc::c_char);
    let flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    let request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags },
    };
    // SAFETY: the request is a valid ifreq with a name and flags, which SIOCSIFFLAGS reads.
    done(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) })
}
