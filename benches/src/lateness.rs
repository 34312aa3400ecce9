//! Bare loops that keep a schedule and send nothing: how late the machine makes them is the least that a load generator can be.

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
