//! Ctrl-C, SIGTERM and SIGHUP: the first asks for an end, the second ends the process at once. A thread of its own takes them, so that a second one works wherever the others are.
//! SIGQUIT and SIGTSTP do what they do by default, once the terminal has been given back by whoever holds it.

use std::ffi::c_int;
use std::io::{Read, Result, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;
use signal_hook::low_level;

use crate::exit::{Failure, INTERRUPTED_TWICE};

/// The byte that [`Waker`] writes.
const DONE: u8 = b'.';
/// The byte that stands for a signal that asks for an end.
const SIGNAL: u8 = b'X';
/// The bytes that stand for signals that are to do what they do by default, the one that ends the process first.
const BY_DEFAULT: [(u8, c_int); 2] = [(b'Q', SIGQUIT), (b'Z', SIGTSTP)];
/// What comes so soon after the first is no second wish: timeout(1) signals its child and then the whole group.
const GRACE: Duration = Duration::from_millis(100);

/// Waits for signals without polling: they arrive as bytes on a socket pair.
#[derive(Debug)]
pub(crate) struct Interrupts {
    signals: UnixStream,
    wake: Arc<UnixStream>,
    arming: Arc<Arming>,
}

/// How the first signal arms the second.
#[derive(Debug, Default)]
struct Arming(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// When the first came.
    first: Option<Instant>,
    /// How many want that signals only end waits.
    held_back: u32,
}

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    /// A signal arrived that asks for an end.
    Signal,
    /// One arrived that is left to whoever waits, because it holds the terminal: [`act_by_default`].
    ByDefault(c_int),
    /// The waker fired: there is nothing left to wait for.
    Done,
    /// The keys can be read.
    Keys,
    /// The time is up.
    Tick,
}

/// Ends a wait when it is dropped, also by a panic.
#[derive(Debug)]
pub(crate) struct Waker(Arc<UnixStream>);

/// While it lives, no signal ends the process by itself, because there is something to put in order first.
#[derive(Debug)]
pub(crate) struct HeldBack(Arc<Arming>);

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    End,
    EndAtOnce,
}

impl Interrupts {
    /// Takes over the signals that end or stop a process politely, for the rest of this one.
    pub(crate) fn install() -> std::result::Result<Self, Failure> {
        Self::open().map_err(|error| {
            Failure::unusable(format_args!(
                "can't handle signals: {error}: close some files, or end some threads"
            ))
        })
    }

    fn open() -> Result<Self> {
        let caught = Signals::new(taken())?;
        let (signals, wake) = UnixStream::pair()?;
        let (wake, arming) = (Arc::new(wake), Arc::<Arming>::default());
        let (waking, armed) = (Arc::clone(&wake), Arc::clone(&arming));
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || pass_on(caught, &waking, &armed))?;
        Ok(Self { signals, wake, arming })
    }

    /// Whether a signal that asks for an end has arrived since the start.
    pub(crate) fn seen(&self) -> bool {
        self.arming.state().first.is_some()
    }

    /// What ends a wait when it is dropped. It needs no file descriptor of its own.
    pub(crate) fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.wake))
    }

    /// From now on signals only end waits, until the end of what is returned.
    pub(crate) fn hold_back(&self) -> HeldBack {
        self.arming.state().held_back += 1;
        HeldBack(Arc::clone(&self.arming))
    }

    /// The next signal ends the process, as if one had come: for a first one that came as a key.
    pub(crate) fn arm(&self) {
        self.arming.state().first.get_or_insert_with(Instant::now);
    }

    /// Blocks until a signal, the waker, a key, or the end of `tick`, as far as there are any.
    pub(crate) fn wait(&self, tick: Option<Duration>, keys: Option<BorrowedFd<'_>>) -> Wake {
        let mut files = vec![PollFd::new(&self.signals, PollFlags::IN)];
        files.extend(keys.map(|keys| PollFd::from_borrowed_fd(keys, PollFlags::IN)));
        let tick = tick.and_then(|tick| Timespec::try_from(tick).ok());
        match poll(&mut files, tick.as_ref()) {
            Ok(0) | Err(Errno::INTR) => Wake::Tick,
            Ok(_) if !files[0].revents().is_empty() => self.read(),
            Ok(_) => Wake::Keys,
            Err(_) => Wake::Done,
        }
    }

    fn read(&self) -> Wake {
        let mut bytes = [0; 16];
        match (&self.signals).read(&mut bytes) {
            Ok(count) if count > 0 => wake_of(&bytes[..count]),
            _ => Wake::Done,
        }
    }
}

/// What several bytes come to: of those who ask for different things, the one after which there is least left to do.
fn wake_of(bytes: &[u8]) -> Wake {
    let [(quit, by_quit), (_, by_stop)] = BY_DEFAULT;
    match bytes {
        _ if bytes.contains(&quit) => Wake::ByDefault(by_quit),
        _ if bytes.contains(&DONE) => Wake::Done,
        _ if bytes.contains(&SIGNAL) => Wake::Signal,
        _ => Wake::ByDefault(by_stop),
    }
}

/// The signals that are handled. What nohup(1) or a shell without job control had us ignore stays so.
fn taken() -> Vec<c_int> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = ignored_in(&status);
    let is_heard = |signal: &c_int| ignored & (1 << (signal - 1)) == 0;
    let others = [SIGHUP, SIGQUIT, SIGTSTP].into_iter().filter(is_heard);
    [SIGINT, SIGTERM].into_iter().chain(others).collect()
}

/// The mask of ignored signals in proc_pid_status(5), the first signal in its lowest bit.
fn ignored_in(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Tells whoever waits of each signal, and does itself what needs nobody to put something in order first.
fn pass_on(mut caught: Signals, waking: &UnixStream, arming: &Arming) {
    for signal in caught.forever() {
        let left_to_default = BY_DEFAULT.iter().find(|(_, known)| *known == signal);
        let byte = match left_to_default {
            Some(_) if arming.state().held_back == 0 => {
                act_by_default(signal);
                continue;
            }
            Some((byte, _)) => *byte,
            None if arming.handle_signal(Instant::now()) == Wish::EndAtOnce => {
                low_level::exit(INTERRUPTED_TWICE)
            }
            None => SIGNAL,
        };
        // It fails only when nobody waits any more.
        let _ = (&*waking).write_all(&[byte]);
    }
}

/// Dies of SIGQUIT; or stops with SIGTSTP, and returns when the process goes on.
pub(crate) fn act_by_default(signal: c_int) {
    // It fails only for signals that nobody knows.
    let _ = low_level::emulate_default_handler(signal);
}

impl Arming {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle_signal(&self, now: Instant) -> Wish {
        let mut state = self.state();
        let first = *state.first.get_or_insert(now);
        match now.duration_since(first) >= GRACE && state.held_back == 0 {
            true => Wish::EndAtOnce,
            false => Wish::End,
        }
    }
}

impl Drop for HeldBack {
    fn drop(&mut self) {
        self.0.state().held_back -= 1;
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        // It fails only when the waiting side is gone.
        let _ = (&*self.0).write_all(&[DONE]);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn ticks_signals_keys_and_the_waker_end_a_wait() {
        let interrupts = Interrupts::open().unwrap();
        let tick = Some(Duration::from_millis(1));
        assert_eq!(interrupts.wait(tick, None), Wake::Tick);
        assert!(!interrupts.seen());
        low_level::raise(SIGTERM).unwrap();
        assert_eq!(interrupts.wait(None, None), Wake::Signal);
        assert!(interrupts.seen());
        drop(interrupts.waker());
        assert_eq!(interrupts.wait(None, None), Wake::Done);
        // In the same test: a signal goes to all who wait for one.
        let (keys, mut typist) = UnixStream::pair().unwrap();
        let interrupts = Interrupts::open().unwrap();
        let wait = || interrupts.wait(tick, Some(keys.as_fd()));
        assert_eq!(wait(), Wake::Tick);
        typist.write_all(b"q").unwrap();
        assert_eq!(wait(), Wake::Keys);
        drop(interrupts.waker());
        assert_eq!(wait(), Wake::Done);
    }

    #[test]
    fn what_comes_at_once_is_told_by_what_ends_more() {
        let check = |bytes: &[u8], expected| assert_eq!(wake_of(bytes), expected, "{bytes:?}");
        check(b"X", Wake::Signal);
        check(b"ZX", Wake::Signal);
        check(b"ZXX.", Wake::Done);
        check(b".Q", Wake::ByDefault(SIGQUIT));
        check(b"Z", Wake::ByDefault(SIGTSTP));
    }

    #[test]
    fn signals_that_were_ignored_stay_so() {
        assert_eq!(ignored_in("SigBlk:\t0\nSigIgn:\t0000000000001001\nSigCgt:\t0\n"), 0x1001);
        assert_eq!(ignored_in(""), 0);
        assert!(taken().contains(&SIGINT) && taken().contains(&SIGTERM));
    }

    #[test]
    fn the_second_ends_the_process_unless_it_is_the_first_again() {
        let (arming, start) = (Arc::<Arming>::default(), Instant::now());
        let check = |millis, expected| {
            let now = start + Duration::from_millis(millis);
            assert_eq!(arming.handle_signal(now), expected, "after {millis} ms");
        };
        check(0, Wish::End);
        check(99, Wish::End);
        check(100, Wish::EndAtOnce);
        arming.state().held_back += 1;
        let held_back = HeldBack(Arc::clone(&arming));
        check(200, Wish::End);
        drop(held_back);
        check(201, Wish::EndAtOnce);
    }
}
