//! Ctrl-C and SIGTERM: the first asks for an end, the second ends the process at once.

use std::io::{ErrorKind, Read, Result, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level::pipe};

use crate::exit::{Failure, INTERRUPTED_TWICE};

/// The byte that [`Waker`] writes; signal-hook writes `X`.
const DONE: u8 = b'.';

/// Waits for signals without polling: they arrive as bytes on a socket pair.
#[derive(Debug)]
pub(crate) struct Interrupts {
    signals: UnixStream,
    wake: Arc<UnixStream>,
    seen: Arc<AtomicBool>,
}

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    /// A signal arrived.
    Signal,
    /// The waker fired: there is nothing left to wait for.
    Done,
    /// The time is up.
    Tick,
}

/// Ends a wait when it is dropped, also by a panic.
#[derive(Debug)]
pub(crate) struct Waker(Arc<UnixStream>);

impl Interrupts {
    /// Takes over SIGINT and SIGTERM for the rest of the process.
    pub(crate) fn install() -> std::result::Result<Self, Failure> {
        Self::open().map_err(|error| {
            Failure::unusable(format_args!("can't handle signals: {error}: close some files"))
        })
    }

    fn open() -> Result<Self> {
        let (signals, wake) = UnixStream::pair()?;
        let seen = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order, so that the first signal finds the flag unset.
            flag::register_conditional_shutdown(signal, INTERRUPTED_TWICE, Arc::clone(&seen))?;
            flag::register(signal, Arc::clone(&seen))?;
            pipe::register(signal, wake.try_clone()?)?;
        }
        Ok(Self { signals, wake: Arc::new(wake), seen })
    }

    /// Whether a signal has arrived since the start.
    pub(crate) fn seen(&self) -> bool {
        self.seen.load(Ordering::Relaxed)
    }

    /// What ends a wait when it is dropped. It needs no file descriptor of its own.
    pub(crate) fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.wake))
    }

    /// Blocks until a signal, the waker, or the end of `tick`, if there is one.
    pub(crate) fn wait(&self, tick: Option<Duration>) -> Wake {
        let mut bytes = [0; 16];
        let read =
            self.signals.set_read_timeout(tick).and_then(|()| (&self.signals).read(&mut bytes));
        match read {
            Ok(count) if bytes[..count].contains(&DONE) => Wake::Done,
            Ok(0) => Wake::Done,
            Ok(_) => Wake::Signal,
            Err(error) if is_tick(error.kind()) => Wake::Tick,
            Err(_) => Wake::Done,
        }
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        // It fails only when the waiting side is gone.
        let _ = (&*self.0).write_all(&[DONE]);
    }
}

fn is_tick(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_signals_and_the_waker_end_a_wait() {
        let interrupts = Interrupts::open().unwrap();
        let tick = Some(Duration::from_millis(1));
        assert_eq!(interrupts.wait(tick), Wake::Tick);
        assert!(!interrupts.seen());
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert_eq!(interrupts.wait(None), Wake::Signal);
        assert!(interrupts.seen());
        drop(interrupts.waker());
        assert_eq!(interrupts.wait(None), Wake::Done);
    }
}
