//! The `io_uring` driver at work on a connection to itself: connect, receive, send, discard, wait, close. Bounded in time; sends to loopback only.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::Trouble;
use crate::driver::uring::{Config, Descriptors, Tier, Uring};
use crate::driver::{
    Armed, Completion, Confirm, Driver, End, Event, Limits, Op, Slot, Span, Wait, Window,
};
use crate::sys::socket::{self, Blocking, Share};
use crate::sys::{Errno, monotonic};

/// The longest that one wait of the test blocks.
const WAIT: Duration = Duration::from_millis(100);
/// Waits before an answer is given up: a second.
const WAITS_MAX: u32 = 10;
/// The minimum wait that is tried: far below [`WAIT`], so that a busy machine does not hide the difference.
const SETTLE: Duration = Duration::from_micros(100);
/// Tries of the minimum wait, which a busy machine may spoil.
const SETTLE_TRIES: u32 = 3;
/// Bytes that are discarded.
const DISCARDED: [u8; 96] = [b'-'; 96];

/// The slot of the only connection.
const SLOT: Slot = Slot::first(0);

/// One thing that the driver must be able to do.
type Step = fn(&mut Rig) -> Result<(), Trouble>;

const STEPS: [(&str, Step); 5] = [
    ("receive", Rig::receive),
    ("send", Rig::send),
    ("discard", Rig::discard_if_possible),
    ("minimum wait", Rig::minimum_wait),
    ("close", Rig::close),
];

/// Tests the best tier up to `tier` that the kernel opens, with both kinds of descriptors, and says which it was.
pub(super) fn run(tier: Tier) -> Result<Tier, Trouble> {
    let mut opened = tier;
    for descriptors in [Descriptors::Fixed, Descriptors::Plain] {
        let mut rig = Rig::open(tier, descriptors)?;
        opened = rig.driver.tier();
        for (name, step) in STEPS {
            step(&mut rig).map_err(|trouble| match trouble {
                Trouble::Wrong(what) => Trouble::Wrong(format!("{name} ({opened}): {what}")),
                refused @ Trouble::Refused(_) => refused,
            })?;
        }
    }
    Ok(opened)
}

/// A driver, a connection that it has in [`SLOT`], and the other end of it.
pub(super) struct Rig {
    driver: Uring,
    far: Socket,
    /// Whether the connection is TCP: others can't be discarded from.
    tcp: bool,
    seen: Vec<Completion>,
}

impl Rig {
    /// Opens a driver of at most `tier` and connects it to this very thread.
    pub(super) fn open(tier: Tier, descriptors: Descriptors) -> Result<Self, Trouble> {
        let config = Config { tier, descriptors, limits: Limits { slots: 1 } };
        let mut driver =
            Uring::open(config).map_err(|error| Trouble::Refused(Errno::of(&error)))?;
        let mut seen = Vec::new();
        let (far, tcp) = match tcp_listener() {
            Some((listener, peer)) => (connect(&mut driver, &mut seen, &listener, peer)?, true),
            None => (adopt(&mut driver)?, false),
        };
        let ready = socket::set_blocking(&far, Blocking::Yes)
            .and_then(|()| far.set_read_timeout(Some(WAIT * WAITS_MAX)))
            .and_then(|()| if tcp { far.set_tcp_nodelay(true) } else { Ok(()) });
        ready.map_err(no_connection)?;
        Ok(Self { driver, far, tcp, seen })
    }

    /// The tier that the kernel opened.
    pub(super) fn tier(&self) -> Tier {
        self.driver.tier()
    }

    /// Two pieces, of one receive where it repeats, out of provided buffers; then one is cancelled.
    pub(super) fn receive(&mut self) -> Result<(), Trouble> {
        self.submit(Op::Receive(Window::Stream))?;
        let mut armed = self.expect_bytes(b"first", Window::Stream)?;
        if self.driver.tier() >= Tier::Multishot && armed == Armed::No {
            return wrong("a receive that should repeat ended after one piece");
        }
        if armed == Armed::No {
            self.submit(Op::Receive(Window::Stream))?;
        }
        armed = self.expect_bytes(b"second", Window::Stream)?;
        if armed == Armed::No {
            self.submit(Op::Receive(Window::Stream))?;
        }
        self.submit(Op::Stop)?;
        match self.event()? {
            Event::ReceiveEnded(End::Stopped) => Ok(()),
            other => wrong(&format!("a cancelled receive ended in {other:?}")),
        }
    }

    /// A quiet send that arrives without a completion, and one that is told.
    pub(super) fn send(&mut self) -> Result<(), Trouble> {
        let before = self.driver.counters().completions;
        self.send_one(b"quiet", Confirm::OnFailure)?;
        self.send_one(b"told", Confirm::Always)?;
        match self.event()? {
            Event::Sent if self.driver.counters().completions == before + 1 => Ok(()),
            Event::Sent => wrong("a send that should be quiet had a completion"),
            other => wrong(&format!("a send ended in {other:?}")),
        }
    }

    /// Bytes dropped in the kernel, and none more than asked for.
    pub(super) fn discard(&mut self) -> Result<(), Trouble> {
        if !self.tcp {
            return wrong("there is no TCP on loopback to try it on");
        }
        self.far.write_all(&DISCARDED).map_err(no_connection)?;
        self.far.write_all(b"kept").map_err(no_connection)?;
        let mut left = DISCARDED.len() as u64;
        while left > 0 {
            self.submit(Op::Discard { bytes: left })?;
            match self.event()? {
                Event::Discarded { bytes, .. } if (1..=left).contains(&bytes) => left -= bytes,
                other => return wrong(&format!("asked for {left} bytes, saw {other:?}")),
            }
        }
        self.submit(Op::Receive(Window::Once))?;
        self.expect_rest(b"kept", Window::Once).map(|_| ())
    }

    fn discard_if_possible(&mut self) -> Result<(), Trouble> {
        if self.tcp { self.discard() } else { Ok(()) }
    }

    /// One completion where two are waited for: the minimum wait ends it, not the timeout.
    fn minimum_wait(&mut self) -> Result<(), Trouble> {
        if self.driver.tier() < Tier::MinWait {
            return Ok(());
        }
        for _ in 0..SETTLE_TRIES {
            self.send_one(b"timed", Confirm::Always)?;
            let before = monotonic().unwrap_or(0);
            self.wait(Wait { completions: 2, settle: SETTLE, ..Wait::one(WAIT) })?;
            let waited = Duration::from_nanos(monotonic().unwrap_or(0).saturating_sub(before));
            let event = self.event()?;
            if !matches!(event, Event::Sent) {
                return wrong(&format!("a send ended in {event:?}"));
            }
            if waited < WAIT {
                return Ok(());
            }
        }
        wrong("the wait did not end before its timeout")
    }

    /// A receive in flight is cancelled by its descriptor, and the slot's end told once.
    fn close(&mut self) -> Result<(), Trouble> {
        self.submit(Op::Receive(Window::Stream))?;
        self.wait(Wait::LOOK)?;
        self.submit(Op::Close)?;
        match self.event()? {
            Event::Closed => {}
            other => return wrong(&format!("a closed slot told {other:?}")),
        }
        // To the end, since a bare read may be interrupted by the task work of rings that this thread has closed.
        match self.far.read_to_end(&mut Vec::new()) {
            Ok(0) => Ok(()),
            other => wrong(&format!("the other end saw {other:?} instead of the end")),
        }
    }

    /// Sends `bytes` and sees them arrive; they may be told later.
    fn send_one(&mut self, bytes: &[u8], confirm: Confirm) -> Result<(), Trouble> {
        let template = self.driver.register(Rc::from(bytes)).map_err(no_connection)?;
        let span = Span { template, start: 0, bytes: bytes.len() as u32 };
        self.submit(Op::Send { span, confirm })?;
        self.wait(Wait::LOOK)?;
        let mut arrived = vec![0; bytes.len()];
        match self.far.read_exact(&mut arrived) {
            Ok(()) if arrived == bytes => Ok(()),
            Ok(()) => wrong("other bytes arrived than were sent"),
            Err(error) => wrong(&format!("what was sent did not arrive: {error}")),
        }
    }

    fn expect_bytes(&mut self, bytes: &[u8], window: Window) -> Result<Armed, Trouble> {
        self.far.write_all(bytes).map_err(no_connection)?;
        self.expect_rest(bytes, window)
    }

    /// Receives until all of `bytes` are there, and says whether the last piece's receive goes on.
    fn expect_rest(&mut self, bytes: &[u8], window: Window) -> Result<Armed, Trouble> {
        let mut rest = bytes;
        loop {
            let (lent, armed) = match self.event()? {
                Event::Received(lent, armed) => (lent, armed),
                other => return wrong(&format!("waiting for {} bytes, saw {other:?}", rest.len())),
            };
            let piece = self.driver.bytes(&lent);
            let after = if piece.is_empty() { None } else { rest.strip_prefix(piece) };
            self.driver.give_back(lent);
            match after {
                Some([]) => return Ok(armed),
                Some(left) => rest = left,
                None => return wrong("other bytes were received than were sent"),
            }
            if armed == Armed::No {
                self.submit(Op::Receive(window))?;
            }
        }
    }

    fn submit(&mut self, op: Op) -> Result<(), Trouble> {
        submit(&mut self.driver, op)
    }

    fn wait(&mut self, wait: Wait) -> Result<(), Trouble> {
        enter(&mut self.driver, wait)
    }

    fn event(&mut self) -> Result<Event, Trouble> {
        next_event(&mut self.driver, &mut self.seen)
    }
}

/// A listener on loopback, IPv4 or else IPv6, that can be reached without `io_uring`; `None` in a network namespace where neither is up.
fn tcp_listener() -> Option<(OwnedFd, SocketAddr)> {
    let hosts = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    hosts.into_iter().find_map(|host| {
        let listener = socket::listen((host, 0).into(), Share::Alone, Blocking::No).ok()?;
        let peer = socket::local_address(&listener).ok()?;
        let plain = socket::for_peer(peer, Blocking::Yes).ok()?;
        socket::connect(&plain, &peer.into()).ok()?;
        socket::accept(&listener).ok()?;
        Some((listener, peer))
    })
}

/// Connects through the driver, and accepts by hand.
fn connect(
    driver: &mut Uring,
    seen: &mut Vec<Completion>,
    listener: &OwnedFd,
    peer: SocketAddr,
) -> Result<Socket, Trouble> {
    let socket = socket::for_peer(peer, driver.blocking()).map_err(no_connection)?;
    submit(driver, Op::Connect { socket, peer })?;
    match next_event(driver, seen)? {
        Event::Connected => {}
        other => return wrong(&format!("connect to loopback: {other:?}")),
    }
    let accepted = socket::accept(listener)
        .map_err(|errno| no_connection(io::Error::from_raw_os_error(errno.0)))?;
    Ok(accepted.into())
}

/// A connected pair where loopback is down.
fn adopt(driver: &mut Uring) -> Result<Socket, Trouble> {
    let (near, far) = Socket::pair(Domain::UNIX, Type::STREAM, None).map_err(no_connection)?;
    submit(driver, Op::Adopt { socket: near.into() })?;
    Ok(far)
}

fn submit(driver: &mut Uring, op: Op) -> Result<(), Trouble> {
    driver.try_submit(SLOT, op).map_err(|full| Trouble::Wrong(format!("no room for {:?}", full.op)))
}

/// Filters may let a ring be set up and forbid entering it.
fn enter(driver: &mut Uring, wait: Wait) -> Result<(), Trouble> {
    driver.wait(wait).map_err(|error| match Errno::of(&error) {
        errno @ Errno(libc::EPERM | libc::ENOSYS | libc::EACCES) => Trouble::Refused(errno),
        errno => Trouble::Wrong(format!("io_uring_enter: {errno}")),
    })
}

fn next_event(driver: &mut Uring, seen: &mut Vec<Completion>) -> Result<Event, Trouble> {
    for _ in 0..WAITS_MAX {
        if seen.is_empty() {
            enter(driver, Wait::one(WAIT))?;
            driver.reap(seen);
        }
        if !seen.is_empty() {
            return Ok(seen.remove(0).event);
        }
    }
    wrong("no completion came within a second")
}

fn wrong<T>(what: &str) -> Result<T, Trouble> {
    Err(Trouble::Wrong(what.to_owned()))
}

/// The test could not be made; of want of descriptors the driver would die as well.
fn no_connection(error: io::Error) -> Trouble {
    match Errno::of(&error) {
        errno @ Errno(libc::EMFILE | libc::ENFILE) => Trouble::Refused(errno),
        errno => Trouble::Wrong(format!("no connection to test with: {errno}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every rung of the ladder that this kernel has: the same operations, with other means.
    #[test]
    fn every_tier_that_opens_passes() {
        for tier in Tier::LADDER {
            match run(tier) {
                Ok(opened) => assert!(opened <= tier, "{opened:?} for {tier:?}"),
                Err(Trouble::Refused(errno)) => {
                    assert_ne!(errno, Errno(libc::EINVAL), "before Linux 5.19?");
                    println!("skipped: {errno}");
                }
                Err(Trouble::Wrong(what)) => panic!("{tier:?}: {what}"),
            }
        }
    }

    #[test]
    fn a_pair_does_where_loopback_is_down() {
        let config = Config::for_slots(1);
        let Ok(mut driver) = Uring::open(config) else { return };
        let far = adopt(&mut driver).unwrap();
        far.set_read_timeout(Some(WAIT)).unwrap();
        let mut rig = Rig { driver, far, tcp: false, seen: Vec::new() };
        for (name, step) in STEPS {
            assert_eq!(step(&mut rig), Ok(()), "{name}");
        }
    }

    /// What goes wrong is told as what was expected and what came instead.
    #[test]
    fn an_unexpected_answer_is_told() {
        let check = |break_it: fn(&mut Rig), step: Step, words: &str| {
            let Ok(mut rig) = Rig::open(Tier::MinWait, Descriptors::Fixed) else { return };
            break_it(&mut rig);
            match step(&mut rig) {
                Err(Trouble::Wrong(what)) => assert!(what.contains(words), "{what}"),
                other => panic!("{words}: {other:?}"),
            }
        };
        let hang_up: fn(&mut Rig) = |rig| rig.far.shutdown(std::net::Shutdown::Write).unwrap();
        check(|rig| rig.far.write_all(b"noise").unwrap(), Rig::receive, "other bytes");
        check(|rig| rig.tcp = false, Rig::discard, "no TCP");
        check(hang_up, Rig::receive, "EPIPE");
        check(|rig| rig.submit(Op::Close).unwrap(), Rig::send, "did not arrive");
        check(|rig| rig.submit(Op::Close).unwrap(), Rig::receive, "saw Closed");
    }
}
