//! A server that notes when each request came and when it was answered: the truth about a load generator's figures. A thread a connection, which reads as soon as there is something.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use ringshot::clock::Instant;
use ringshot::load::Histogram;
use ringshot::sys::affinity;

use crate::bare::Outcome;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\nHello, world!";

/// How long a [`Witness`] waits before it answers.
#[derive(Debug, Clone, Copy)]
pub enum Manner {
    /// As long each time; not at all if that is zero.
    Fixed(Duration),
    /// The first, but every fifth time the second.
    Bimodal(Duration, Duration),
    /// The first delay, and nothing is answered from the second to the third after the first request.
    Stall(Duration, [Duration; 2]),
}

/// One request.
#[derive(Debug, Clone, Copy)]
struct Seen {
    came: Instant,
    answered: Instant,
}

#[derive(Debug)]
struct Shared {
    manner: Manner,
    seen: Mutex<Vec<Seen>>,
    requests: AtomicU64,
}

/// A server that sees all.
#[derive(Debug)]
pub struct Witness {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Witness {
    /// Starts one on `core`. Its threads end with their connections, and the one that accepts with the process.
    ///
    /// # Errors
    /// What bind(2) reports.
    pub fn start(core: usize, manner: Manner) -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared =
            Arc::new(Shared { manner, seen: Mutex::default(), requests: AtomicU64::new(0) });
        let all = Arc::clone(&shared);
        thread::spawn(move || {
            let _ = affinity::pin(core);
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&all);
                // It has the core of the thread that starts it.
                thread::spawn(move || shared.answer(stream));
            }
        });
        Ok(Self { address, shared })
    }

    /// How late requests came since the last call, by a schedule of `rate` a second whose start is such that none came early; the first tenth is left out.
    #[must_use]
    pub fn lateness(&self, rate: f64) -> Histogram {
        let mut came: Vec<Instant> = self.take().iter().map(|seen| seen.came).collect();
        came.sort_unstable();
        let first = came.len() / 10;
        let due = |place: usize| place as f64 * 1e9 / rate;
        let late: Vec<f64> = came[first..]
            .iter()
            .enumerate()
            .map(|(place, came_at)| came_at.nanos_since(came[first]) as f64 - due(place))
            .collect();
        let least = late.iter().copied().fold(0.0, f64::min);
        histogram(late.iter().map(|late| (late - least) as u64))
    }

    /// How long requests were here since the last call.
    #[must_use]
    pub fn delays(&self) -> Histogram {
        histogram(self.take().iter().map(|seen| seen.answered.nanos_since(seen.came)))
    }

    fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn histogram(nanos: impl Iterator<Item = u64>) -> Histogram {
    let mut histogram = Histogram::new();
    nanos.for_each(|nanos| histogram.record(nanos));
    histogram
}

impl Shared {
    fn answer(&self, mut stream: TcpStream) {
        let mut buffer = [0; 4096];
        let _ = stream.set_nodelay(true);
        while let Ok(1..) = stream.read(&mut buffer) {
            let came = Instant::now();
            self.wait(came);
            let answered = Instant::now();
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(Seen { came, answered });
            if stream.write_all(ANSWER).is_err() {
                return;
            }
        }
    }

    fn wait(&self, came: Instant) {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let delay = match self.manner {
            Manner::Fixed(delay) => delay,
            Manner::Bimodal(_, slow) if number % 5 == 4 => slow,
            Manner::Bimodal(fast, _) => fast,
            Manner::Stall(delay, [from, to]) => {
                let begun = self.begun(came);
                let stalls = (begun + from..begun + to).contains(&came);
                if stalls { (begun + to) - came + delay } else { delay }
            }
        };
        if !delay.is_zero() {
            thread::sleep(delay);
        }
    }

    /// When the first request came.
    fn begun(&self, came: Instant) -> Instant {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.first().map_or(came, |first| first.came)
    }
}
