//! How much one turn takes in, and how old it may be.
//!
//! A socket whose peer is as fast as this core never runs dry: whoever reaped until nothing was left would see to no timer, no task and no other socket as long as
//! that peer likes.

use std::io;
use std::time::Duration;

use crate::driver::{Driver, Wait};

/// Completions after which a turn reaps no more: what one wait of the epoll driver tells.
const TURN_COMPLETIONS_MAX: usize = 512;
/// Bytes received after which it does not, either: some milliseconds' work where they are chunks of one byte, and enough that a turn costs next to nothing of it.
const TURN_BYTES_MAX: u64 = 1 << 20;

/// How old the news of sockets may be that a turn acts on: after a longer wait, or with a task that keeps the core for longer, what has ended meanwhile must serve nobody,
/// and what was answered in time is no timeout.
pub(super) const NEWS_AGE_MAX: Duration = Duration::from_millis(1);
/// Looks that bring in what came in a long time: of some twenty events each, more than one turn takes in.
const LOOKS_MAX: u32 = 64;

/// Brings in all that has come, where it is long since the last look.
///
/// # Errors
/// Only when the driver is lost.
#[cold]
pub(super) fn catch_up(driver: &mut impl Driver) -> io::Result<()> {
    for _ in 0..LOOKS_MAX {
        if !driver.has_more() {
            break;
        }
        driver.wait(Wait::LOOK)?;
    }
    Ok(())
}

/// Turns in a row that end nothing for its lateness, at most.
const PUT_OFF_MAX: u32 = 8;

/// What came in a long time is more than one turn takes in: what seems late may have been answered in time, and is ended by a later turn.
#[derive(Debug, Default)]
pub(super) struct Lateness {
    is_late: bool,
    put_off: u32,
}

impl Lateness {
    /// This turn takes in what came in a long time.
    pub(super) fn note(&mut self) {
        self.is_late = true;
    }

    /// Whether this turn, whose last reaping brought so many completions, may end what is past its deadline.
    #[inline]
    pub(super) fn may_expire(&mut self, reaped_last: usize) -> bool {
        let more = std::mem::take(&mut self.is_late) && reaped_last > 0;
        let puts_off = more && self.put_off < PUT_OFF_MAX;
        self.put_off = if puts_off { self.put_off + 1 } else { 0 };
        !puts_off
    }
}

/// What a turn has taken in.
#[derive(Debug)]
pub(crate) struct Intake {
    completions: usize,
    /// Bytes received at which it ends.
    bytes_end: u64,
}

impl Intake {
    /// For a turn that begins when so many bytes have been received.
    #[inline]
    pub(crate) fn from(bytes_received: u64) -> Self {
        Self { completions: 0, bytes_end: bytes_received.saturating_add(TURN_BYTES_MAX) }
    }

    /// Takes note of one reaping, and of the bytes received until its end. Whether the turn reaps again: what it leaves is the next one's, whose wait does not sleep.
    #[inline]
    pub(crate) fn goes_on(&mut self, reaped: usize, bytes_received: u64) -> bool {
        self.completions += reaped;
        reaped > 0 && self.completions < TURN_COMPLETIONS_MAX && bytes_received < self.bytes_end
    }

    /// Completions so far.
    #[inline]
    pub(crate) fn completions(&self) -> usize {
        self.completions
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::driver::{Epoll, Limits};
    use crate::driver::{Event, Op, Slot, Window};

    /// Completions of a turn whose reapings all bring `reaped` completions and `bytes` bytes, until there were `total`.
    fn check(reaped: usize, bytes: u64, total: usize, expected: usize) {
        let (mut intake, mut received) = (Intake::from(7), 7);
        loop {
            let came = reaped.min(total - intake.completions());
            received += if came > 0 { bytes } else { 0 };
            if !intake.goes_on(came, received) {
                break;
            }
        }
        assert_eq!(intake.completions(), expected, "{reaped} {bytes}");
    }

    #[test]
    fn a_turn_ends_when_nothing_is_left_or_when_it_has_had_enough() {
        check(16, 0, 0, 0);
        check(16, 0, 100, 100);
        check(16, 4096, usize::MAX, 512);
        check(256, 0, usize::MAX, 512);
        check(300, 0, usize::MAX, 600);
        check(2, 256 << 10, usize::MAX, 8);
        check(1, 1 << 30, usize::MAX, 1);
    }

    #[test]
    fn what_is_late_is_put_off_for_some_turns_where_there_is_more() {
        let mut lateness = Lateness::default();
        assert!(lateness.may_expire(0) && lateness.may_expire(9));
        lateness.note();
        assert!(lateness.may_expire(0));
        for _ in 0..2 {
            for _ in 0..PUT_OFF_MAX {
                lateness.note();
                assert!(!lateness.may_expire(9));
            }
            lateness.note();
            assert!(lateness.may_expire(9));
        }
    }

    /// Where the process was stopped between the end of a wait and the next reading of the clock, what came meanwhile is brought in with the rest.
    #[test]
    fn what_came_since_the_wait_is_brought_in() {
        const SOCKETS: u32 = 3;
        let mut driver = Epoll::open(Limits { slots: SOCKETS }).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut far: Vec<TcpStream> = Vec::new();
        for index in 0..SOCKETS {
            let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            near.set_nonblocking(true).unwrap();
            far.push(listener.accept().unwrap().0);
            let slot = Slot::first(index);
            driver.try_submit(slot, Op::Adopt { socket: near.into() }).unwrap();
            driver.try_submit(slot, Op::Receive(Window::Stream)).unwrap();
        }
        far[0].write_all(b"in time").unwrap();
        driver
            .wait(Wait { completions: 1, timeout: Duration::from_secs(10), ..Wait::LOOK })
            .unwrap();
        far[1..].iter_mut().for_each(|far| far.write_all(b"in time").unwrap());
        catch_up(&mut driver).unwrap();
        assert!(!driver.has_more());
        let mut told = Vec::new();
        while driver.reap(&mut told) > 0 {}
        let received = told.iter().filter(|it| matches!(it.event, Event::Received(..)));
        assert_eq!(received.count(), SOCKETS as usize);
    }
}
