//! A small ring without the driver, to try one feature at a time. Lends the kernel static memory only, and never waits without end.

use std::io;
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{Builder, IoUring, cqueue, squeue};

use crate::driver::uring::patiently;
use crate::sys::Errno;

/// Submission queue entries; the completion queue has twice as many.
pub(super) const ENTRIES: u32 = 8;
/// The longest that a trial waits for a completion.
const WAIT: Duration = Duration::from_millis(500);

/// What a trial found: yes or no, and how that was found.
pub(super) type Verdict = Result<String, String>;

/// One ring, of one trial.
pub(super) struct Bare {
    ring: IoUring,
}

impl Bare {
    /// A ring without any flag.
    pub(super) fn open() -> Result<Self, String> {
        Self::with(|_| {})
    }

    /// A ring with the flags that `set` sets.
    pub(super) fn with(set: impl FnOnce(&mut Builder)) -> Result<Self, String> {
        let mut builder = IoUring::builder();
        builder.dontfork();
        set(&mut builder);
        let ring = patiently(|| builder.build(ENTRIES));
        Ok(Self { ring: ring.map_err(|error| refused("io_uring_setup", &error))? })
    }

    /// The ring itself, for registering and for its feature bits.
    pub(super) fn ring(&self) -> &IoUring {
        &self.ring
    }

    /// The ring itself, to enter it.
    pub(super) fn ring_mut(&mut self) -> &mut IoUring {
        &mut self.ring
    }

    /// Queues an entry.
    ///
    /// # Safety
    /// It lends no memory but static one: the ring may close over it.
    pub(super) unsafe fn push(&mut self, entry: &squeue::Entry) -> Result<(), String> {
        // SAFETY: what it lends outlives every ring, as the caller has seen to.
        let pushed = unsafe { self.ring.submission().push(entry) };
        pushed.map_err(|_| "the submission queue is full".to_owned())
    }

    /// Hands over what is queued, without waiting.
    pub(super) fn submit(&self) -> io::Result<usize> {
        self.ring.submit()
    }

    /// Hands over what is queued and waits for the next completion.
    pub(super) fn next(&mut self) -> Result<cqueue::Entry, String> {
        if let Some(entry) = self.ring.completion().next() {
            return Ok(entry);
        }
        self.enter(1, SubmitArgs::new().timespec(&timespec(WAIT)))?;
        self.ring.completion().next().ok_or_else(|| "no completion came".to_owned())
    }

    /// The result of the next completion, which must be of the entry `user_data`.
    pub(super) fn result_of(&mut self, user_data: u64) -> Result<i32, String> {
        let entry = self.next()?;
        if entry.user_data() == user_data {
            Ok(entry.result())
        } else {
            Err(format!("a completion of another operation came: {}", outcome(entry.result())))
        }
    }

    /// io_uring_enter(2) with an extended argument. That time is up is no error here.
    pub(super) fn enter(&self, want: usize, args: SubmitArgs<'_, '_>) -> Result<(), String> {
        match self.ring.submitter().submit_with_args(want, &args) {
            Ok(_) => Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::ETIME) => Ok(()),
            Err(error) => Err(refused("io_uring_enter", &error)),
        }
    }
}

pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec::new().sec(duration.as_secs()).nsec(duration.subsec_nanos())
}

/// An answer of the kernel to a call of this name.
pub(super) fn refused(call: &str, error: &io::Error) -> String {
    format!("{call}: {}", Errno::of(error))
}

/// A completion's result in words.
pub(super) fn outcome(result: i32) -> String {
    if result < 0 { Errno(-result).to_string() } else { result.to_string() }
}
