//! Ctrl-C and SIGTERM: the first asks for an end, the second ends the process at once. A thread of its own takes them, so that a second one works wherever the others are.

use std::io::{Read, Result, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::{self, pipe};

use crate::exit::{Failure, INTERRUPTED_TWICE};

/// The byte that [`Waker`] writes.
const DONE: u8 = b'.';
/// The byte that stands for a signal.
const SIGNAL: u8 = b'X';
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
    /// A signal arrived.
    Signal,
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
    /// Takes over SIGINT and SIGTERM for the rest of the process.
    pub(crate) fn install() -> std::result::Result<Self, Failure> {
        Self::open().map_err(|error| {
            Failure::unusable(format_args!(
                "can't handle signals: {error}: close some files, or end some threads"
            ))
        })
    }

    fn open() -> Result<Self> {
        let (caught, handlers) = UnixStream::pair()?;
        let (signals, wake) = UnixStream::pair()?;
        for signal in [SIGINT, SIGTERM] {
            pipe::register(signal, handlers.try_clone()?)?;
        }
        let (wake, arming) = (Arc::new(wake), Arc::<Arming>::default());
        let (waking, armed) = (Arc::clone(&wake), Arc::clone(&arming));
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || pass_on(caught, &waking, &armed))?;
        Ok(Self { signals, wake, arming })
    }

    /// Whether a signal has arrived since the start.
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
            Ok(count) if count > 0 && !bytes[..count].contains(&DONE) => Wake::Signal,
            _ => Wake::Done,
        }
    }
}

/// Tells whoever waits of each signal, and ends the process when one asks for that.
fn pass_on(mut caught: UnixStream, waking: &UnixStream, arming: &Arming) {
    // It is read to its end whatever interrupts it: nobody else takes signals.
    while caught.read_exact(&mut [0]).is_ok() {
        if arming.handle_signal(Instant::now()) == Wish::EndAtOnce {
            low_level::exit(INTERRUPTED_TWICE);
        }
        // It fails only when nobody waits any more.
        let _ = (&*waking).write_all(&[SIGNAL]);
    }
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
