//! An origin whose process has no file descriptor left: it says so, does not spin, and goes on when there are some again. A process of its own, for the limit is the process's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use ringshot::driver::DriverKind;
use ringshot::origin::{Config, Origin};
use ringshot::sys::process;
use ringshot_tests::load::drivers;

const PATIENCE: Duration = Duration::from_secs(10);

/// Lowers the limit to what is open and `more`.
fn leave_descriptors(more: u64) {
    let soft = process::open_files().unwrap() + more;
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: process::file_limit().hard };
    // SAFETY: `limit` is a valid rlimit that the call reads (setrlimit(2)).
    let status = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(status, 0);
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what} is still to come");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_origin_without_descriptors_rests_and_goes_on() {
    for driver in drivers() {
        // A ring accepts by the limit that holds when it begins to.
        leave_descriptors(64);
        let config = Config { driver, ..Config::on_loopback() };
        let origin = Origin::start(&config).unwrap();
        let address = origin.address();
        // All but one descriptor are taken; the client's end takes that.
        let mut others: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        others.pop();
        let mut client = TcpStream::connect(address).unwrap();
        wait_until("a failure", || origin.counters().accept_failures > 0);
        thread::sleep(Duration::from_millis(500));
        let failures = origin.counters().accept_failures;
        assert!(failures < 50, "{driver}: {failures} failures in half a second");
        assert_eq!(origin.counters().accepted, 0, "{driver}");
        others.clear();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        let mut answer = [0; 12];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200", "{driver}");
        drop(client);
        check_dead(&origin, driver);
    }
}

/// Many have come and gone while there was no descriptor, and then there is one: it does not
/// rest behind each of them.
fn check_dead(origin: &Origin, driver: DriverKind) {
    /// Three times as many as `PATIENCE` has rests.
    const DEAD: u64 = 300;
    let counted = || origin.counters().accepted;
    let before = counted();
    wait_until("the client's end", || origin.counters().open == 0);
    let mut others: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    others.pop();
    for _ in 0..DEAD {
        // The descriptor of each client's end is the last, for which the origin does not wait long.
        wait_until("a descriptor", || TcpStream::connect(origin.address()).is_ok());
    }
    wait_until(&format!("{driver}: the last of them"), || counted() - before >= DEAD);
}
