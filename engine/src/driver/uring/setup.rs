//! Opening a ring: the flag ladder, from the best tier that this kernel takes down to the lowest that pays. Tries, never asks for a version.

use std::fmt;
use std::io;
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring};
use serde::Serialize;

use crate::driver::Limits;

/// Submission queue entries: one turn's batch; a longer one is submitted in parts.
const SUBMISSION_ENTRIES: u32 = 1024;
/// Completion queue entries a slot: a receive, a send's failure, a cancellation, and room to breathe.
const COMPLETIONS_PER_SLOT: u32 = 4;
/// Completion queue entries, at least and at most.
const COMPLETION_ENTRIES: std::ops::RangeInclusive<u32> = 4096..=65536;

/// What the ring can do, in steps of kernel versions; each includes those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Provided-buffer rings and single-shot receives (Linux 5.19).
    SingleShot,
    /// Multishot receives, cooperative task running (6.0).
    Multishot,
    /// Completions run when the shard asks for them, `DEFER_TASKRUN` (6.1).
    Deferred,
    /// A minimum wait that gathers completions (6.12).
    MinWait,
}

impl Tier {
    /// All tiers, best first.
    pub const LADDER: [Self; 4] =
        [Self::MinWait, Self::Deferred, Self::Multishot, Self::SingleShot];

    /// The kernel version that first has it all.
    #[must_use]
    pub const fn kernel(self) -> &'static str {
        match self {
            Self::SingleShot => "5.19",
            Self::Multishot => "6.0",
            Self::Deferred => "6.1",
            Self::MinWait => "6.12",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::SingleShot => "single-shot receives",
            Self::Multishot => "multishot receives",
            Self::Deferred => "deferred task work",
            Self::MinWait => "deferred task work with a minimum wait",
        })
    }
}

/// How to open a [`super::Uring`].
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Slots and other limits.
    pub limits: Limits,
    /// The best tier to use; the kernel's own if it is lower.
    pub tier: Tier,
    /// Whether sockets are put into the ring's file table.
    pub descriptors: Descriptors,
}

impl Config {
    /// The best that the kernel has, for so many slots.
    #[must_use]
    pub const fn for_slots(slots: u32) -> Self {
        Self { limits: Limits { slots }, tier: Tier::MinWait, descriptors: Descriptors::Fixed }
    }
}

/// How operations name their socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Descriptors {
    /// By place in the ring's file table: less work an operation, one more system call a connection.
    Fixed,
    /// By descriptor: less work a connection.
    Plain,
}

/// Tries to open for want of memory, and the pause between two: more than the kernel was seen to take to give a closed ring's memory back (20 to 40 ms on 6.18).
const OPEN_TRIES: u32 = 10;
const OPEN_PAUSE: Duration = Duration::from_millis(10);

/// Calls `open` again for a tenth of a second while it fails with `ENOMEM`: the memory of a closed ring is charged to the user (`RLIMIT_MEMLOCK`) until the
/// kernel has taken the ring down, some time after the close.
pub(in crate::driver) fn patiently<T>(mut open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut outcome = open();
    for _ in 1..OPEN_TRIES {
        match &outcome {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {
                std::thread::sleep(OPEN_PAUSE);
                outcome = open();
            }
            _ => break,
        }
    }
    outcome
}

/// Opens a ring of at most `tier` for `slots` slots. The calling thread is the only one that may use it.
///
/// # Errors
/// What io_uring_setup(2) says to the lowest tier: `ENOSYS`, `EPERM`, `ENOMEM`, or `EINVAL` before 5.19.
pub(super) fn open(tier: Tier, slots: u32) -> io::Result<(IoUring, Tier)> {
    let mut refusal = io::Error::from_raw_os_error(libc::EINVAL);
    for candidate in Tier::LADDER.into_iter().filter(|candidate| *candidate <= tier) {
        match build(candidate, slots) {
            Ok(ring) if candidate == Tier::MinWait && !ring.params().is_feature_min_timeout() => {}
            Ok(ring) => return Ok((ring, candidate)),
            // EINVAL: a flag that this kernel does not know. Anything else would be said to every tier.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refusal = error,
            Err(error) => return Err(error),
        }
    }
    Err(refusal)
}

/// As [`io_uring::Submitter::submit_with_args`], with a time that is a point on `CLOCK_MONOTONIC`, the ring's clock, not a length. Always runs deferred task work.
///
/// # Errors
/// What io_uring_enter(2) reports: `EINVAL` where `IORING_ENTER_ABS_TIMER` is not known (before 6.12).
#[inline]
pub(super) fn submit_until(
    ring: &mut IoUring,
    want: u32,
    args: &SubmitArgs<'_, '_>,
) -> io::Result<usize> {
    let flags = EnterFlags::EXT_ARG | EnterFlags::ABS_TIMER | EnterFlags::GETEVENTS;
    let queued = ring.submission().len() as u32;
    // SAFETY: the flags say that the argument is of this type, and what is queued comes from `prep`, as for every other submission.
    unsafe { ring.submitter().enter(queued, want, flags.bits(), Some(args)) }
}

/// Whether a wait may end at a point in time: one that has passed ends at once, with `ETIME`.
pub(in crate::driver) fn has_absolute_waits(ring: &mut IoUring) -> bool {
    let passed = Timespec::new().nsec(1);
    let entered = submit_until(ring, 1, &SubmitArgs::new().timespec(&passed));
    entered.is_err_and(|error| error.raw_os_error() == Some(libc::ETIME))
}

/// One rung. `NO_SQARRAY` (6.6) is tried with the best tier only, which has it for certain.
fn build(tier: Tier, slots: u32) -> io::Result<IoUring> {
    let completions = slots
        .saturating_mul(COMPLETIONS_PER_SLOT)
        .clamp(*COMPLETION_ENTRIES.start(), *COMPLETION_ENTRIES.end())
        .next_power_of_two();
    let mut builder = IoUring::builder();
    builder.dontfork().setup_clamp().setup_submit_all().setup_cqsize(completions);
    builder.setup_taskrun_flag();
    match tier {
        Tier::SingleShot => builder.setup_coop_taskrun(),
        Tier::Multishot => builder.setup_coop_taskrun().setup_single_issuer(),
        Tier::Deferred => builder.setup_single_issuer().setup_defer_taskrun(),
        Tier::MinWait => builder.setup_single_issuer().setup_defer_taskrun().setup_no_sqarray(),
    };
    builder.build(SUBMISSION_ENTRIES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_memory_is_waited_out_and_nothing_else_is() {
        let check = |errors: &[i32], expected: Result<u32, i32>, calls: u32| {
            let mut called = 0;
            let outcome = patiently(|| {
                called += 1;
                match errors.get(called as usize - 1) {
                    Some(errno) => Err(io::Error::from_raw_os_error(*errno)),
                    None => Ok(called),
                }
            });
            assert_eq!(outcome.map_err(|error| error.raw_os_error().unwrap()), expected);
            assert_eq!(called, calls);
        };
        check(&[], Ok(1), 1);
        check(&[libc::ENOMEM, libc::ENOMEM], Ok(3), 3);
        check(&[libc::ENOMEM, libc::EPERM], Err(libc::EPERM), 2);
        check(&[libc::EPERM], Err(libc::EPERM), 1);
        check(&[libc::ENOMEM; 100], Err(libc::ENOMEM), OPEN_TRIES);
    }
}
