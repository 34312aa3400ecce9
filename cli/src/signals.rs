//! Ctrl-C and SIGTERM: the first asks for an end, the second ends the process at once.

use std::io::{Read, Result, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{SigId, flag, low_level, low_level::pipe};

use crate::exit::{Failure, INTERRUPTED_TWICE};

/// The byte that [`Waker`] writes; signal-hook writes `X`.
const DONE: u8 = b'.';

/// Waits for signals without polling: they arrive as bytes on a socket pair.
#[derive(Debug)]
pub(crate) struct Interrupts {
    signals: UnixStream,
    wake: Arc<UnixStream>,
    arming: Arc<Arming>,
}

/// How the first signal arms the second.
///
/// Two signals at once are handled on two threads at once. Each then sets a flag of its own and looks at the other's, so that one of them at
/// least is the second; a flag for both would leave each to believe that it came first.
#[derive(Debug, Default)]
struct Arming {
    interrupt: Arc<AtomicBool>,
    terminate: Arc<AtomicBool>,
    /// The actions that set the flags; none while signals are held back.
    actions: Mutex<Vec<SigId>>,
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

impl Interrupts {
    /// Takes over SIGINT and SIGTERM for the rest of the process.
    pub(crate) fn install() -> std::result::Result<Self, Failure> {
        Self::open().map_err(|error| {
            Failure::unusable(format_args!("can't handle signals: {error}: close some files"))
        })
    }

    fn open() -> Result<Self> {
        let (signals, wake) = UnixStream::pair()?;
        let arming = Arc::<Arming>::default();
        for (signal, own, other) in arming.signals() {
            // Before the flags are set, so that the first signal finds none.
            for seen in [own, other] {
                end_if(signal, seen)?;
            }
            pipe::register(signal, wake.try_clone()?)?;
        }
        arming.register()?;
        Ok(Self { signals, wake: Arc::new(wake), arming })
    }

    /// Whether a signal has arrived since the start.
    pub(crate) fn seen(&self) -> bool {
        let Arming { interrupt, terminate, .. } = &*self.arming;
        [interrupt, terminate].iter().any(|seen| seen.load(Ordering::Relaxed))
    }

    /// What ends a wait when it is dropped. It needs no file descriptor of its own.
    pub(crate) fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.wake))
    }

    /// From now on signals only end waits, until [`Interrupts::arm`] or the end of what is returned.
    pub(crate) fn hold_back(&self) -> HeldBack {
        self.arming.unregister();
        HeldBack(Arc::clone(&self.arming))
    }

    /// The next signal ends the process: for a first one that came while signals were held back, or as a key.
    pub(crate) fn arm(&self) {
        self.arming.interrupt.store(true, Ordering::Relaxed);
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

impl Arming {
    /// Each signal, its own flag, and the other's.
    fn signals(&self) -> [(i32, &Arc<AtomicBool>, &Arc<AtomicBool>); 2] {
        let (interrupt, terminate) = (&self.interrupt, &self.terminate);
        [(SIGINT, interrupt, terminate), (SIGTERM, terminate, interrupt)]
    }

    fn register(&self) -> Result<()> {
        let mut actions = self.actions.lock().unwrap_or_else(PoisonError::into_inner);
        for (signal, own, other) in self.signals() {
            actions.push(flag::register(signal, Arc::clone(own))?);
            actions.push(end_if(signal, other)?);
        }
        Ok(())
    }

    fn unregister(&self) {
        let mut actions = self.actions.lock().unwrap_or_else(PoisonError::into_inner);
        for action in actions.drain(..) {
            low_level::unregister(action);
        }
    }
}

/// From now on the signal ends the process at once if `seen` is set by then.
fn end_if(signal: i32, seen: &Arc<AtomicBool>) -> Result<SigId> {
    flag::register_conditional_shutdown(signal, INTERRUPTED_TWICE, Arc::clone(seen))
}

impl Drop for HeldBack {
    fn drop(&mut self) {
        // It worked before; if not now, signals still end waits.
        let _ = self.0.register();
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
    fn ticks_signals_and_the_waker_end_a_wait() {
        let interrupts = Interrupts::open().unwrap();
        let tick = Some(Duration::from_millis(1));
        assert_eq!(interrupts.wait(tick, None), Wake::Tick);
        assert!(!interrupts.seen());
        low_level::raise(SIGTERM).unwrap();
        assert_eq!(interrupts.wait(None, None), Wake::Signal);
        assert!(interrupts.seen());
        drop(interrupts.waker());
        assert_eq!(interrupts.wait(None, None), Wake::Done);
    }

    #[test]
    fn keys_end_a_wait_and_signals_come_first() {
        let interrupts = Interrupts::open().unwrap();
        let (keys, mut typist) = UnixStream::pair().unwrap();
        let wait = || interrupts.wait(Some(Duration::from_millis(1)), Some(keys.as_fd()));
        assert_eq!(wait(), Wake::Tick);
        typist.write_all(b"q").unwrap();
        assert_eq!(wait(), Wake::Keys);
        drop(interrupts.waker());
        assert_eq!(wait(), Wake::Done);
    }

    #[test]
    fn signals_held_back_arm_nothing() {
        let arming = Arc::<Arming>::default();
        arming.register().unwrap();
        arming.unregister();
        assert!(arming.actions.lock().unwrap().is_empty());
        drop(HeldBack(Arc::clone(&arming)));
        assert_eq!(arming.actions.lock().unwrap().len(), 4);
        for (_, seen, _) in arming.signals() {
            assert!(!seen.load(Ordering::Relaxed));
        }
    }
}
