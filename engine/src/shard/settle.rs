//! How a turn waits: for one completion, or for a few. Decides from what it is told, never waits itself, and reads no clock.
//!
//! While the server is the limit, completions come one by one, and each costs a sleep and a wake-up. Waiting a little for company saves them. In a closed
//! loop that is free exactly as long as it costs no throughput: the mean latency is the requests in flight divided by the throughput (Little's law), so
//! equal throughput means equal mean latency. Against a server that answers after a fixed time it would not be free: each request would wait. So the
//! gathering is put to the test all the time: short slices with and without it alternate, and it stays on only while it costs less than 1% of throughput.

use std::time::Duration;

use crate::clock::Instant;

/// Whether a shard may wait for company.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    /// Each turn starts with the first completion.
    Never,
    /// Turns wait for company while that costs no throughput.
    WhileFree,
}

/// Requests in flight from which gathering is tried.
const IN_FLIGHT_MIN: u32 = 8;
/// Completions to gather: a quarter of what is in flight, at most so many.
const GATHER_MAX: u32 = 32;
/// The longest that a turn gathers.
pub const GATHER_TIME: Duration = Duration::from_micros(100);
/// Throughput with gathering, as a share of that without, from which it counts as free.
const FREE_FROM: f64 = 0.99;
/// Slices of a cycle; the first few alternate, the rest go to the winner.
const CYCLE_SLICES: u32 = 24;
const PROBE_SLICES: u32 = 4;
/// How long a slice lasts: many latencies of a server for which waiting could matter. One that takes longer to answer smears the test over the slices, and
/// loses less than 1% to a wait of [`GATHER_TIME`].
const SLICE: Duration = Duration::from_millis(8);
/// Weight of the newest slice in a mode's average.
const NEWEST: f64 = 0.25;

/// Whether a slice gathers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Single = 0,
    Gather = 1,
}

/// The waiting of one shard, and the test that it is put to.
#[derive(Debug)]
pub(super) struct Gathering {
    settle: Settle,
    mode: Mode,
    slice: u32,
    began: Instant,
    ends: Instant,
    bytes_before: u64,
    /// Bytes a nanosecond by mode, an exponential average; zero before the first slice.
    rates: [f64; 2],
}

impl Gathering {
    pub(super) fn new(settle: Settle) -> Self {
        Self {
            settle,
            mode: Mode::Single,
            slice: 0,
            began: Instant::default(),
            ends: Instant::default(),
            bytes_before: 0,
            rates: [0.0; 2],
        }
    }

    /// Completions to wait for, and how long for more than one.
    #[inline]
    pub(super) fn plan(&self, in_flight: u32) -> (u32, Duration) {
        match self.mode {
            Mode::Gather if in_flight >= IN_FLIGHT_MIN => {
                ((in_flight / 4).min(GATHER_MAX), GATHER_TIME)
            }
            _ => (1, Duration::ZERO),
        }
    }

    /// Takes note of a turn: `bytes` were received so far.
    #[inline]
    pub(super) fn handle_turn(&mut self, bytes: u64, now: Instant) {
        if now >= self.ends && self.settle == Settle::WhileFree {
            self.end_slice(bytes, now);
        }
    }

    fn end_slice(&mut self, bytes: u64, now: Instant) {
        let nanos = now.nanos_since(self.began);
        let received = bytes - self.bytes_before;
        // The first slice of all began at the clock's zero and says nothing; nor does one in which nothing came.
        if self.began > Instant::default() && nanos > 0 && received > 0 {
            let rate = received as f64 / nanos as f64;
            let average = &mut self.rates[self.mode as usize];
            *average = if *average == 0.0 { rate } else { *average + NEWEST * (rate - *average) };
        }
        self.slice = (self.slice + 1) % CYCLE_SLICES;
        self.mode = match self.slice {
            slice if slice >= PROBE_SLICES => self.winner(),
            slice if slice % 2 == 0 => Mode::Single,
            _ => Mode::Gather,
        };
        self.began = now;
        self.bytes_before = bytes;
        self.ends = now + SLICE;
    }

    fn winner(&self) -> Mode {
        let [single, gather] = self.rates;
        if gather > 0.0 && gather >= FREE_FROM * single { Mode::Gather } else { Mode::Single }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs turns of 0.1 ms against a server whose rate depends on whether turns gather; the share of turns that gathered in the second half.
    fn share_gathering(settle: Settle, single: u64, gather: u64, in_flight: u32) -> f64 {
        let mut gathering = Gathering::new(settle);
        let (mut bytes, mut gathered, turns) = (0, 0, 100_000_u32);
        for turn in 1..=turns {
            let (completions, time) = gathering.plan(in_flight);
            assert_eq!(completions > 1, !time.is_zero());
            bytes += if completions > 1 { gather } else { single };
            gathered += u32::from(completions > 1 && turn > turns / 2);
            gathering.handle_turn(bytes, Instant::from_nanos(u64::from(turn) * 100_000));
        }
        f64::from(gathered) / f64::from(turns / 2)
    }

    #[test]
    fn turns_gather_while_that_is_free_and_only_then() {
        // A busy server: the same rate, or a better one.
        assert!(share_gathering(Settle::WhileFree, 1000, 1000, 64) > 0.85);
        assert!(share_gathering(Settle::WhileFree, 1000, 1200, 64) > 0.85);
        // A server that answers after 1 ms: 100 us of waiting take 5% off.
        assert!(share_gathering(Settle::WhileFree, 1000, 950, 64) < 0.15);
        assert!(share_gathering(Settle::WhileFree, 1000, 985, 64) < 0.15);
        // Nothing comes, few are in flight, or it is forbidden.
        assert!(share_gathering(Settle::WhileFree, 0, 0, 64) < 0.15);
        assert!(share_gathering(Settle::WhileFree, 1000, 1000, 7) == 0.0);
        assert!(share_gathering(Settle::Never, 1000, 1000, 64) == 0.0);
    }

    #[test]
    fn never_waits_for_more_than_is_in_flight() {
        let mut gathering = Gathering::new(Settle::WhileFree);
        gathering.mode = Mode::Gather;
        for in_flight in 0..10_000 {
            let (completions, _) = gathering.plan(in_flight);
            assert!(completions <= GATHER_MAX && completions <= in_flight.max(1), "{in_flight}");
        }
    }
}
