//! How late things are that have a schedule: bare loops that keep one and send nothing, and the requests of any program, by the clock of the server that gets them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use ringshot::clock::Instant;
use ringshot::load::Histogram;
use ringshot::sys::{affinity, process};

use crate::bare::Outcome;

/// How a bare loop waits for the next thing that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bare {
    /// It reads the clock over and over: what it is late by, the machine took away.
    Spinning,
    /// It sleeps until then, with the least timer slack: what the kernel adds to that.
    Sleeping,
    /// It sleeps for whole milliseconds, as epoll_wait(2) counts them and wrk2 and others wait.
    Milliseconds,
}

impl Bare {
    /// How late a loop on `core` is that keeps a schedule of `rate` a second for `length`, and sends nothing.
    ///
    /// # Errors
    /// If its thread panics.
    pub fn lag(self, core: usize, rate: f64, length: Duration) -> Outcome<Histogram> {
        let thread = thread::spawn(move || {
            let _ = affinity::pin(core);
            process::set_timer_slack(Duration::from_nanos(1));
            let mut lag = Histogram::new();
            let period = Duration::from_secs_f64(1.0 / rate);
            let start = Instant::now();
            let (mut due, mut now) = (start, start);
            while now < start + length {
                self.wait(due - now);
                now = Instant::now();
                while due <= now {
                    lag.record(now.nanos_since(due));
                    due = due + period;
                }
            }
            lag
        });
        thread.join().map_err(|_| "a bare loop panicked".into())
    }

    fn wait(self, left: Duration) {
        match self {
            Self::Spinning => {}
            Self::Sleeping => thread::sleep(left),
            Self::Milliseconds => {
                thread::sleep(Duration::from_millis(left.as_micros().div_ceil(1_000) as u64));
            }
        }
    }
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\nHello, world!";

/// A server that notes when each request came: a thread a connection, which reads as soon as there is something.
#[derive(Debug)]
pub struct Arrivals {
    /// Where it listens.
    pub address: SocketAddr,
    stamps: Arc<Mutex<Vec<Instant>>>,
}

impl Arrivals {
    /// Starts one on `core`. Its threads end with their connections, and the one that accepts with the process.
    ///
    /// # Errors
    /// What bind(2) reports.
    pub fn start(core: usize) -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let stamps = Arc::<Mutex<Vec<Instant>>>::default();
        let all = Arc::clone(&stamps);
        thread::spawn(move || {
            let _ = affinity::pin(core);
            for stream in listener.incoming().flatten() {
                let stamps = Arc::clone(&all);
                // It has the core of the thread that starts it.
                thread::spawn(move || answer(stream, &stamps));
            }
        });
        Ok(Self { address, stamps })
    }

    /// How late requests came since the last call, by a schedule of `rate` a second whose start is such that none came early; the first tenth is left out.
    #[must_use]
    pub fn lateness(&self, rate: f64) -> Histogram {
        let mut stamps =
            std::mem::take(&mut *self.stamps.lock().unwrap_or_else(PoisonError::into_inner));
        stamps.sort_unstable();
        let first = stamps.len() / 10;
        let late: Vec<f64> = stamps[first..]
            .iter()
            .enumerate()
            .map(|(place, stamp)| {
                stamp.nanos_since(stamps[first]) as f64 - place as f64 * 1e9 / rate
            })
            .collect();
        let least = late.iter().copied().fold(0.0, f64::min);
        let mut lateness = Histogram::new();
        late.iter().for_each(|late| lateness.record((late - least) as u64));
        lateness
    }
}

fn answer(mut stream: TcpStream, stamps: &Mutex<Vec<Instant>>) {
    let mut buffer = [0; 4096];
    let _ = stream.set_nodelay(true);
    while let Ok(1..) = stream.read(&mut buffer) {
        let now = Instant::now();
        stamps.lock().unwrap_or_else(PoisonError::into_inner).push(now);
        if stream.write_all(ANSWER).is_err() {
            return;
        }
    }
}
