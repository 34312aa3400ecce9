//! Bare loops: the least that a client can do on each kernel interface. They parse nothing, handle no errors but to stop, and mark the limit of the engine.
//!
//! Both send a fixed request, count the bytes of the fixed response, and send again. Connections are made before the clock starts.

pub mod epoll;
pub mod uring;

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use ringshot::sys::process::CpuTime;

/// What a loop runs.
#[derive(Debug, Clone)]
pub struct Load {
    /// The server.
    pub address: SocketAddr,
    /// Connections, each with one request in flight.
    pub connections: usize,
    /// Time that is driven but not measured.
    pub warm_up: Duration,
    /// Time that is measured.
    pub duration: Duration,
    /// The request.
    pub request: Vec<u8>,
    /// Bytes of the response: see [`response_bytes`].
    pub response_bytes: usize,
}

/// What a loop counted in the measured time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// Responses.
    pub requests: u64,
    /// The measured time.
    pub seconds: f64,
    /// CPU time of the loop's thread.
    pub cpu: CpuTime,
}

/// Any failure ends a bare loop.
pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The clock of a loop: warm-up, then the measured time.
#[derive(Debug)]
pub(crate) struct Watch {
    begin: Instant,
    warm_up: Duration,
    duration: Duration,
    measured: Option<(Instant, CpuTime, u64)>,
}

impl Watch {
    pub(crate) fn new(load: &Load) -> Self {
        Self {
            begin: Instant::now(),
            warm_up: load.warm_up,
            duration: load.duration,
            measured: None,
        }
    }

    /// Looks at the clock, once a turn; the figures when time is up.
    #[inline]
    pub(crate) fn look(&mut self, requests: u64) -> Option<Figures> {
        let now = Instant::now();
        match self.measured {
            None if now - self.begin >= self.warm_up => {
                self.measured = Some((now, CpuTime::of_thread(), requests));
                None
            }
            Some((from, cpu, before)) if now - from >= self.duration => Some(Figures {
                requests: requests - before,
                seconds: (now - from).as_secs_f64(),
                cpu: CpuTime::of_thread().since(cpu),
            }),
            _ => None,
        }
    }
}

/// Opens the connections of a load, one after the other.
pub(crate) fn connect(load: &Load) -> Outcome<Vec<TcpStream>> {
    let mut streams = Vec::with_capacity(load.connections);
    for _ in 0..load.connections {
        let stream = TcpStream::connect(load.address)?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    Ok(streams)
}

/// How long the server's response to `request` is, head and body.
///
/// # Errors
/// What the connection reports; a response without `Content-Length`.
pub fn response_bytes(address: SocketAddr, request: &[u8]) -> Outcome<usize> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(request)?;
    let mut seen = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let count = stream.read(&mut piece)?;
        seen.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&seen).to_ascii_lowercase();
        if let Some(end) = text.find("\r\n\r\n") {
            let length = text.split("content-length:").nth(1).ok_or("no Content-Length")?;
            let digits = length.split("\r\n").next().unwrap_or_default().trim();
            return Ok(end + 4 + digits.parse::<usize>()?);
        }
        if count == 0 {
            return Err("the server closed before a whole head".into());
        }
    }
}
