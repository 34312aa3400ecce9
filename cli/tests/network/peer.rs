//! Servers that `ringshot serve` is not: silent, broken or watched. Each ends with the test process at the latest.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::program::PATIENCE;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Most connections that a peer takes.
const CONNECTIONS_MAX: usize = 10_000;

/// A listener with a thread for each connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) url: String,
    /// Requests that arrived: each read is taken for one.
    requests: Arc<AtomicU64>,
    callers: Arc<Mutex<Vec<IpAddr>>>,
}

impl Peer {
    /// Answers every request.
    pub(crate) fn healthy() -> Self {
        Self::start(|stream, _| stream.write_all(OK).is_ok())
    }

    /// Takes connections and requests, and says nothing.
    pub(crate) fn silent() -> Self {
        Self::start(|_, _| true)
    }

    /// Says what is no HTTP.
    pub(crate) fn garbage() -> Self {
        Self::start(|stream, _| stream.write_all(b"\x00\x01 this is no HTTP\r\n\r\n").is_ok())
    }

    /// Promises more than it sends, and closes.
    pub(crate) fn truncating() -> Self {
        Self::start(|stream, _| {
            // The client may be gone already.
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort");
            false
        })
    }

    /// Closes instead of each third answer.
    pub(crate) fn flaky() -> Self {
        Self::start(|stream, number| !number.is_multiple_of(3) && stream.write_all(OK).is_ok())
    }

    /// Refuses what comes within 5 ms after another request.
    pub(crate) fn touchy() -> Self {
        static LAST: Mutex<Option<Instant>> = Mutex::new(None);
        Self::start(|stream, _| {
            let now = Instant::now();
            let before = LAST.lock().expect("no panic").replace(now);
            let refuses = before.is_some_and(|before| now - before < Duration::from_millis(5));
            let refusal = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(if refuses { refusal } else { OK }).is_ok()
        })
    }

    /// `answer` is told the number of the request over all connections, from 1, and says whether to go on.
    fn start(answer: fn(&mut TcpStream, u64) -> bool) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let requests = Arc::<AtomicU64>::default();
        let callers = Arc::<Mutex<Vec<IpAddr>>>::default();
        let (counter, caller) = (Arc::clone(&requests), Arc::clone(&callers));
        thread::spawn(move || {
            for stream in listener.incoming().take(CONNECTIONS_MAX).flatten() {
                let from = stream.peer_addr().expect("a connection").ip();
                caller.lock().expect("a list").push(from);
                let counter = Arc::clone(&counter);
                thread::spawn(move || attend(stream, &counter, answer));
            }
        });
        Self { url, requests, callers }
    }

    /// Where connections came from, sorted; the list begins anew.
    pub(crate) fn take_callers(&self) -> Vec<IpAddr> {
        let mut callers = std::mem::take(&mut *self.callers.lock().expect("a list"));
        callers.sort_unstable();
        callers
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Waits until so many requests have arrived.
    pub(crate) fn wait_for(&self, requests: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.requests() < requests {
            assert!(Instant::now() < deadline, "{} of {requests} requests", self.requests());
            thread::sleep(Duration::from_millis(2));
        }
    }
}

fn attend(mut stream: TcpStream, requests: &AtomicU64, answer: fn(&mut TcpStream, u64) -> bool) {
    stream.set_nodelay(true).expect("a socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).is_ok_and(|bytes| bytes > 0) {
        let number = requests.fetch_add(1, Ordering::Relaxed) + 1;
        if !answer(&mut stream, number) {
            return;
        }
    }
}

/// A URL at which nothing listens.
pub(crate) fn dead_url() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    format!("http://{}/", listener.local_addr().expect("an address"))
}
