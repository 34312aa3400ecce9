//! How a turn waits: for one completion, or for a few. Decides from what it is told, never waits itself, and reads no clock.
//!
//! While the server is the limit, completions come one by one, and each costs a sleep and a wake-up. Waiting a little for company saves them. In a closed
//! loop that is free exactly as long as it costs no throughput: the mean latency is the requests in flight divided by the throughput (Little's law), so
//! equal throughput means equal mean latency. Against a server that answers after a fixed time it would not be free: each request would wait. So the
//! gathering is put to the test all the time: short slices with and without it alternate, and it stays on only while it costs next to no
//! throughput.

use std::time::Duration;

use crate::clock::Instant;

/// Whether a shard may wait for company.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    /// Each turn starts with the first completion.
    Never,
    /// Turns wait for company while that costs no throughput.
    WhileFree,
    /// Turns wait for all that is in flight, for [`GATHER_TIME`] at most: whoever asks for it has time to lose.
    Always,
}

/// Requests in flight from which gathering is tried.
const IN_FLIGHT_MIN: u32 = 8;
/// Completions a turn that come without waiting, from which there is nothing to gather, since the client itself is then close to being the limit: an eighth of
/// what is in flight, within these bounds.
const ENOUGH: std::ops::RangeInclusive<u32> = 2..=4;
/// Completions to gather: a quarter of what is in flight, at most so many.
const GATHER_MAX: u32 = 32;
/// The same for who asks for all of them: more would wait in the completion queue.
const ALL_MAX: u32 = 256;
/// The longest that a turn gathers.
pub const GATHER_TIME: Duration = Duration::from_micros(50);
/// Throughput with gathering, as a share of that without, from which it counts as free.
const FREE_FROM: f64 = 0.985;
/// Slices of a cycle: the first are tests, four by four, the rest go to the winner.
const CYCLE_SLICES: u32 = 24;
const TEST_SLICES: u32 = 8;
/// How long a slice lasts: many latencies of a server for which waiting could matter. One that takes longer to answer smears a test over its slices, and loses
/// less than 1% to a wait of [`GATHER_TIME`].
const SLICE: Duration = Duration::from_millis(4);
/// Weight of the newest test in the average, once there have been enough.
const NEWEST: f64 = 0.1;

/// Whether a slice gathers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Single = 0,
    Gather = 1,
}

/// What came in the slices of one mode during a test.
#[derive(Debug, Clone, Copy, Default)]
struct Yield {
    bytes: u64,
    nanos: u64,
}

impl Yield {
    fn rate(self) -> f64 {
        self.bytes as f64 / self.nanos.max(1) as f64
    }
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
    /// Turns of the running slice that had completions, and their completions.
    turns: u32,
    completions: u32,
    /// Of the test that is running, by mode.
    yields: [Yield; 2],
    /// Tests so far, and the average of what they found: throughput with gathering as a share of that without.
    tests: u32,
    share: f64,
}

impl Gathering {
    pub(super) fn new(settle: Settle) -> Self {
        Self {
            settle,
            mode: Mode::Single,
            slice: CYCLE_SLICES - 1,
            began: Instant::default(),
            ends: Instant::default(),
            bytes_before: 0,
            turns: 0,
            completions: 0,
            yields: [Yield::default(); 2],
            tests: 0,
            share: 0.0,
        }
    }

    /// Completions to wait for, and how long for more than one.
    #[inline]
    pub(super) fn plan(&self, in_flight: u32) -> (u32, Duration) {
        match self.mode {
            _ if self.settle == Settle::Always => (in_flight.clamp(1, ALL_MAX), GATHER_TIME),
            Mode::Gather if in_flight >= IN_FLIGHT_MIN => {
                ((in_flight / 4).min(GATHER_MAX), GATHER_TIME)
            }
            _ => (1, Duration::ZERO),
        }
    }

    /// Takes note of a turn that reaped so many completions and left so many requests in flight, with `bytes` received so far.
    #[inline]
    pub(super) fn handle_turn(&mut self, reaped: u32, in_flight: u32, bytes: u64, now: Instant) {
        if self.settle != Settle::WhileFree {
            return;
        }
        self.turns += u32::from(reaped > 0);
        self.completions += reaped;
        if now >= self.ends {
            self.end_slice(in_flight, bytes, now);
        }
    }

    fn end_slice(&mut self, in_flight: u32, bytes: u64, now: Instant) {
        let enough = (in_flight / 8).clamp(*ENOUGH.start(), *ENOUGH.end());
        let in_company = self.completions >= enough * self.turns.max(1);
        if self.mode == Mode::Single && in_company {
            // The next slice begins the cycle, should company have become rare by then.
            self.slice = CYCLE_SLICES - 1;
            self.begin_slice(Mode::Single, bytes, now);
            return;
        }
        let test = &mut self.yields[self.mode as usize];
        test.bytes += bytes - self.bytes_before;
        test.nanos += now.nanos_since(self.began);
        if self.slice < TEST_SLICES && self.slice % 4 == 3 {
            self.end_test();
        }
        self.slice = (self.slice + 1) % CYCLE_SLICES;
        if self.slice.is_multiple_of(4) {
            self.yields = [Yield::default(); 2];
        }
        // Single, gather, gather, single: what drifts during a test weighs on both alike.
        let mode = match self.slice {
            slice if slice >= TEST_SLICES => self.winner(),
            slice if matches!(slice % 4, 1 | 2) => Mode::Gather,
            _ => Mode::Single,
        };
        self.begin_slice(mode, bytes, now);
    }

    fn begin_slice(&mut self, mode: Mode, bytes: u64, now: Instant) {
        self.mode = mode;
        self.began = now;
        self.bytes_before = bytes;
        self.ends = now + SLICE;
        self.turns = 0;
        self.completions = 0;
    }

    fn end_test(&mut self) {
        let [single, gather] = self.yields.map(Yield::rate);
        // Without traffic there is nothing to learn.
        if single > 0.0 {
            self.tests = self.tests.saturating_add(1);
            let weight = NEWEST.max(1.0 / f64::from(self.tests));
            self.share += weight * (gather / single - self.share);
        }
    }

    fn winner(&self) -> Mode {
        if self.share >= FREE_FROM { Mode::Gather } else { Mode::Single }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs turns of 0.1 ms against a server whose rate depends on whether turns gather; the share of turns that gathered in the second half.
    fn share_gathering(settle: Settle, single: u64, gather: u64, in_flight: u32) -> f64 {
        share_with_company(settle, single, gather, in_flight, 1)
    }

    /// The same with so many completions a turn.
    fn share_with_company(
        settle: Settle,
        single: u64,
        gather: u64,
        in_flight: u32,
        reaped: u32,
    ) -> f64 {
        let mut gathering = Gathering::new(settle);
        let (mut bytes, mut gathered, turns) = (0, 0, 100_000_u32);
        for turn in 1..=turns {
            let (completions, time) = gathering.plan(in_flight);
            assert_eq!(completions > 1, !time.is_zero());
            bytes += if completions > 1 { gather } else { single };
            gathered += u32::from(completions > 1 && turn > turns / 2);
            gathering.handle_turn(
                reaped,
                in_flight,
                bytes,
                Instant::from_nanos(u64::from(turn) * 100_000),
            );
        }
        f64::from(gathered) / f64::from(turns / 2)
    }

    #[test]
    fn turns_gather_while_that_is_free_and_only_then() {
        // A busy server: the same rate, or a better one.
        assert!(share_gathering(Settle::WhileFree, 1000, 1000, 64) > 0.8);
        assert!(share_gathering(Settle::WhileFree, 1000, 1200, 64) > 0.8);
        // A server that answers after half a millisecond: 50 us of waiting take 5% off.
        assert!(share_gathering(Settle::WhileFree, 1000, 950, 64) < 0.2);
        assert!(share_gathering(Settle::WhileFree, 1000, 980, 64) < 0.2);
        // Nothing comes, few are in flight, or it is forbidden.
        assert!(share_gathering(Settle::WhileFree, 0, 0, 64) < 0.2);
        assert!(share_gathering(Settle::WhileFree, 1000, 1000, 7) == 0.0);
        assert!(share_gathering(Settle::Never, 1000, 1000, 64) == 0.0);
        // Completions come in company by themselves.
        assert!(share_with_company(Settle::WhileFree, 1000, 1000, 64, 5) == 0.0);
        assert!(share_with_company(Settle::WhileFree, 1000, 1000, 64, 3) > 0.8);
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
