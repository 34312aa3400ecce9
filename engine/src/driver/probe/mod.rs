//! What this kernel and this container allow, found by trying, each "no" with its reason and remedy. Never asks for a version, never prints, changes nothing.
//!
//! | file | what it is |
//! |---|---|
//! | `blocked` | why `io_uring` can't be used: classified, in words |
//! | `surroundings` | what /proc says, where there is one |
//! | `self_test` | the `io_uring` driver at work on a connection to itself |
//! | `features` | each feature tried by itself |
//! | `bare` | a ring without the driver, for those trials |
//!
//! A release number decides nothing: distributions backport and take away, containers filter. See `docs/kernel-support.md`.

mod bare;
mod blocked;
mod features;
mod self_test;
mod surroundings;

use std::io;
use std::sync::OnceLock;

use serde::Serialize;

pub use blocked::Blocked;

use super::uring::{Config, Tier, Uring};
use super::{DriverChoice, DriverKind};
use crate::sys::Errno;
use surroundings::Surroundings;

/// What [`probe`] found.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Probe {
    /// The kernel's release (uname(2)), for reading only.
    pub kernel: String,
    /// The best tier that passed its self-test; `None` if `io_uring` can't be used.
    pub tier: Option<Tier>,
    /// Why it can't be used; `None` if it can.
    pub blocked: Option<Blocked>,
    /// Each feature by itself, oldest first.
    pub features: Vec<Feature>,
}

/// One feature of `io_uring`, tried.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Feature {
    /// Its name in the kernel's documentation.
    pub name: &'static str,
    /// The first kernel of kernel.org that has it.
    pub since: &'static str,
    /// Whether it works here.
    pub available: bool,
    /// How that was found, or what the kernel answered.
    pub reason: String,
    /// What this engine uses it for, or why it does not.
    pub used_for: &'static str,
}

/// The driver to run on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Choice {
    /// The driver.
    pub kind: DriverKind,
    /// The best tier that passed its self-test, if the driver is `io_uring`.
    pub tier: Option<Tier>,
    /// One line to show when `auto` fell back to epoll.
    pub notice: Option<String>,
}

/// Tries everything: some twenty small rings on the calling thread, a few milliseconds.
#[must_use]
pub fn probe() -> Probe {
    let best = best();
    let tier = best.as_ref().ok().copied();
    let blocked = best.err();
    let features = features::all(blocked.as_ref());
    Probe { kernel: surroundings::kernel_release(), tier, blocked, features }
}

/// Picks the driver: `io_uring` only if it passes its self-test and has room for `shards`, the connections that each core is to have. All of their rings are
/// opened at the same time, on the calling thread, and closed again: about a millisecond, and a tenth of a second where memory for rings is short.
///
/// # Errors
/// [`Blocked`] if `io_uring` was insisted on and can't be used.
pub fn choose(choice: DriverChoice, shards: &[u32]) -> Result<Choice, Blocked> {
    let fits = || best().and_then(|tier| open_all(tier, shards));
    match choice {
        DriverChoice::Epoll => Ok(Choice::epoll(None)),
        DriverChoice::IoUring => fits().map(Choice::io_uring),
        DriverChoice::Auto => {
            Ok(fits().map_or_else(|blocked| Choice::epoll(Some(&blocked)), Choice::io_uring))
        }
    }
}

/// Whether there is room for the rings of all shards: one that passes its self-test says nothing of what is left for the next.
fn open_all(tier: Tier, shards: &[u32]) -> Result<Tier, Blocked> {
    let open = |slots: &u32| Uring::open(Config { tier, ..Config::for_slots(*slots) });
    let opened: io::Result<Vec<Uring>> = shards.iter().map(open).collect();
    opened.map(|_| tier).map_err(|error| refused(Errno::of(&error)))
}

/// Why a ring was refused though one of the same tier passed its self-test.
fn refused(errno: Errno) -> Blocked {
    match errno {
        // The kernel is not too old.
        Errno(libc::EINVAL) => Blocked::Other(errno),
        _ => Blocked::classify(errno, Surroundings::read()),
    }
}

/// The error of a driver that could not be opened though its self-test passed: with what to do.
pub(crate) fn explain(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(errno) => io::Error::new(error.kind(), refused(Errno(errno))),
        None => error,
    }
}

impl Choice {
    fn io_uring(tier: Tier) -> Self {
        Self { kind: DriverKind::IoUring, tier: Some(tier), notice: None }
    }

    fn epoll(instead: Option<&Blocked>) -> Self {
        let notice = instead.map(|blocked| {
            format!("running on epoll: {}. {}", blocked.problem(), blocked.remedy())
        });
        Self { kind: DriverKind::Epoll, tier: None, notice }
    }
}

/// The best tier that passes its self-test. What keeps the lowest tier from working is what blocks.
fn best() -> Result<Tier, Blocked> {
    let mut failed = String::new();
    for tier in Tier::LADDER {
        match self_test::run(tier) {
            Ok(opened) => return Ok(opened),
            Err(Trouble::Refused(errno)) => {
                return Err(Blocked::classify(errno, Surroundings::read()));
            }
            Err(Trouble::Wrong(what)) => failed = what,
        }
    }
    Err(Blocked::SelfTest { what: failed })
}

/// The best tier that passes its self-test: tried at the first call, and remembered once one has passed.
///
/// # Errors
/// [`Blocked`] if none does.
pub fn best_tier() -> Result<Tier, Blocked> {
    static BEST: OnceLock<Tier> = OnceLock::new();
    match BEST.get() {
        Some(tier) => Ok(*tier),
        None => best().inspect(|tier| {
            // Another thread may have been first, with the same answer.
            let _ = BEST.set(*tier);
        }),
    }
}

/// What stopped a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Trouble {
    /// The kernel, or a filter before it, refused a system call that every tier needs.
    Refused(Errno),
    /// Something else than what was expected happened.
    Wrong(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(errno) => write!(f, "the ring was refused: {errno}"),
            Self::Wrong(what) => f.write_str(what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoll_is_chosen_without_a_look_at_io_uring() {
        let choice = choose(DriverChoice::Epoll, &[]);
        assert_eq!(choice, Ok(Choice { kind: DriverKind::Epoll, tier: None, notice: None }));
    }

    #[test]
    fn the_notice_is_one_line_and_does_not_tell_to_do_what_is_done() {
        let notice = Choice::epoll(Some(&Blocked::SwitchedOff { value: 2 })).notice;
        let expected = "running on epoll: io_uring_setup: EPERM: kernel.io_uring_disabled is 2. Set it to 0 (sysctl kernel.io_uring_disabled=0)";
        assert_eq!(notice.as_deref(), Some(expected));
    }

    #[test]
    fn what_is_said_of_a_ring_that_is_refused_later_follows_the_errno() {
        let check = |errno: i32, words: &[&str], not: &[&str]| {
            let text = explain(io::Error::from_raw_os_error(errno)).to_string();
            assert!(words.iter().all(|word| text.contains(word)), "{text}");
            assert!(!not.iter().any(|word| text.contains(word)), "{text}");
        };
        check(libc::ENOMEM, &["ENOMEM", "ulimit -l"], &[]);
        check(libc::EMFILE, &["EMFILE", "ulimit -n"], &["ulimit -l"]);
        check(libc::EPERM, &["EPERM"], &["ulimit"]);
        check(libc::EINVAL, &["EINVAL"], &["ulimit", "5.19"]);
        check(libc::EIO, &["EIO"], &["ulimit"]);
    }

    #[test]
    fn the_choice_follows_the_probe() {
        let probe = probe();
        assert_eq!(probe.tier.is_some(), probe.blocked.is_none());
        match choose(DriverChoice::IoUring, &[]) {
            Ok(choice) => {
                assert_eq!((choice.kind, choice.tier), (DriverKind::IoUring, probe.tier));
            }
            Err(blocked) => assert_eq!(Some(blocked), probe.blocked),
        }
        let auto = choose(DriverChoice::Auto, &[]).unwrap();
        assert_eq!(auto.kind == DriverKind::IoUring, probe.tier.is_some());
        assert_eq!(auto.notice.is_some(), probe.blocked.is_some());
    }
}
