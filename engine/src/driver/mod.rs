//! The kernel edge: operations in, completions out. Never calls back, reads no clock but to wait until a point in time, knows no HTTP.
//!
//! # The contract
//!
//! A [`Driver`] serves one thread. It owns *slots*, each of which may hold a socket, and is driven by three calls:
//!
//! - [`Driver::try_submit`] takes an operation or hands it back ([`Full`]). It may execute it at once or later; it never blocks. Operations on one slot
//!   take effect in the order of their submission.
//! - [`Driver::wait`] hands queued operations to the kernel and waits as [`Wait`] says. It returns early with or without completions, after a signal too.
//! - [`Driver::reap`] appends completions to a list of the caller's, at most [`REAP_MAX`] of them, and returns how many; zero means that none are left. The
//!   caller acts on what it reaped in between: reap, then act. It reaps until zero or until it has had enough, since a peer that is fast enough keeps a socket
//!   readable for ever; while completions are left, [`Driver::wait`] does not sleep, and takes note of what else has happened.
//!
//! What holds for every driver, and what the simulator takes to its limits:
//!
//! 1. **Every operation ends.** A connect, a confirmed send, a receive, a discard ends in its completion; after `Close` exactly one `Closed` comes for the
//!    slot's generation, after all others, and none after it. `Adopt`, `Stop` and quiet sends have no completion of their own when all is well.
//! 2. **Completions come in any order** between slots, and between the sends and receives of one slot. A quiet send's failure may come after the response.
//! 3. **Any piece may be partial.** A receive brings one byte or many; a discard fewer than asked. A send is whole or failed, and says how much of it went out.
//! 4. **A receive may end at any time** ([`Armed::No`], [`End::Starved`], [`End::Stopped`]); the caller asks again. `Eof` and `Failed` are final.
//! 5. **Lent bytes** belong to the caller until [`Driver::give_back`]; each `Lent` is given back once, and before the next `wait` if the caller can, since
//!    buffers are few. A driver takes no other driver's, of which it can say nothing ([`Lender`]).
//! 6. **Memory lent to the kernel** is owned by the driver: templates and buffers live as long as the driver, and what is in flight has ended before they are freed.
//!    Bytes of `SendBytes` live until the kernel is done with them, after `Close` too; then a buffer waits for [`Driver::buffer`], shared bytes are let go.
//! 7. **A stale slot** (an older generation) in `try_submit` is ignored.
//! 8. **At most** one receive or discard and one confirmed send are in flight on a slot.
//! 9. **Sends keep their order.** Behind `SendBytes` that the peer leaves no room for, all sends of the slot wait in the driver: as many as the caller leaves
//!    outstanding. Quiet sends of templates are for what fits into the socket's send buffer;
//!    nothing of theirs waits for room in order, and what waits is cut off by `Close`.
//! 10. **A failed send** ([`Event::SendFailed`]) fails the sends that wait behind it too, each with its own completion and none of its bytes sent.
//!
//! Slots are numbered by the caller below [`Limits::slots`]; a slot's index may be used again, with the next generation, after its `Closed`.

mod epoll;
mod lent;
#[cfg(test)]
mod loopback;
mod op;
mod payload;
pub mod probe;
pub mod sim;
mod token;
pub mod uring;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

pub use epoll::Epoll;
pub use lent::{Lender, Lent};
pub use op::{Armed, Completion, Confirm, End, Event, Op, Span, TemplateId, Window};
pub use payload::{BUFFER_BYTES_KEPT, BUFFERS_KEPT, Payload};
pub use token::{GENERATIONS, Kind, Slot, Token};
pub use uring::Uring;

use crate::clock::Instant;
use crate::sys::socket::Blocking;

/// Most completions that one [`Driver::reap`] appends.
pub const REAP_MAX: usize = 256;

/// A piece of a [`Window::Stream`] or [`Window::Once`] with fewer bytes was all that there was: no driver's pieces are smaller where more is to be had.
pub const SMALL_PIECE_BYTES: u32 = 4096;

/// Reaps, each after a [`Driver::wait`], by which a receive that is armed tells what [`Lent::has_more`] announced: one that polls first takes two (seen on 6.18).
pub const REAPS_TO_TELL: u64 = 2;

/// The contract between a shard and the kernel: see the module's head.
pub trait Driver {
    /// Which of the drivers this is, for reports.
    fn name(&self) -> &'static str;

    /// Whether sockets handed to this driver must block.
    fn blocking(&self) -> Blocking;

    /// Keeps `bytes` until the driver is dropped, so that sends can refer to them.
    ///
    /// # Errors
    /// `InvalidInput` for more than `u32::MAX` bytes or none.
    fn register(&mut self, bytes: Rc<[u8]>) -> io::Result<TemplateId>;

    /// Takes an operation.
    ///
    /// # Errors
    /// [`Full`] hands the operation back when the queue has no room: submit it again after the next [`Driver::wait`].
    fn try_submit(&mut self, slot: Slot, op: Op) -> Result<(), Full>;

    /// Submits what is queued and waits.
    ///
    /// # Errors
    /// Only what no retry can mend: the driver is lost, and with it what was in flight.
    fn wait(&mut self, wait: Wait) -> io::Result<()>;

    /// Whether the kernel may hold events that the last [`Driver::wait`] did not bring, as one that looks once may where many have come, or that ended long ago: another
    /// one brings more of them.
    fn has_more(&mut self) -> bool {
        false
    }

    /// Appends completions to `into`, at most [`REAP_MAX`], and returns how many.
    fn reap(&mut self, into: &mut Vec<Completion>) -> usize;

    /// An empty buffer for [`Payload::Buffer`], with the room that it had when it was last sent. In a steady state nothing is allocated.
    fn buffer(&mut self) -> Vec<u8>;

    /// Watches an eventfd (`sys::eventfd`, not blocking): from now on [`Driver::wait`] returns early when another thread signals it. The driver drains it and
    /// tells nothing. At most one is watched, until the driver is dropped.
    ///
    /// # Errors
    /// `AlreadyExists` for a second one; `EBUSY` if the queue has no room; what epoll_ctl(2) reports.
    fn watch(&mut self, wakes: OwnedFd) -> io::Result<()>;

    /// A descriptor that says when there is something to reap, for a host that sleeps elsewhere than in [`Driver::wait`].
    ///
    /// The order is: wait without blocking, reap, and sleep if that was zero. What [`Driver::watch`] watches is not sure to sound the alarm: a signal by an eventfd does
    /// not travel through a ring to a second eventfd more than once (seen on 6.18 with `DEFER_TASKRUN`). Such a host watches both.
    ///
    /// # Errors
    /// `EMFILE` when descriptors run out, what `io_uring_register(2)` reports; `Unsupported` from a simulation.
    fn alarm(&mut self) -> io::Result<Alarm>;

    /// Bytes that the peer has acknowledged since the slot's socket was connected; `None` where that can't be asked. It grows while a send waits for room, of which
    /// the driver learns late.
    fn acknowledged(&mut self, _slot: Slot) -> Option<u64> {
        None
    }

    /// The bytes of a lent buffer.
    ///
    /// # Panics
    /// If another driver lent it: whoever serves several has mixed them up.
    fn bytes(&self, lent: &Lent) -> &[u8];

    /// Takes a lent buffer back.
    ///
    /// # Panics
    /// If another driver lent it.
    fn give_back(&mut self, lent: Lent);

    /// What the driver counted since it was opened.
    fn counters(&self) -> Counters;
}

/// What a sleeping host listens to. It must not be kept longer than the driver, after which it is silent.
#[derive(Debug)]
pub enum Alarm {
    /// An eventfd, blocking, so that a read through a ring waits: read it to sleep. It is signalled once for what happens until the next
    /// [`Driver::wait`].
    Counter(OwnedFd),
    /// A descriptor that polls as readable; it can't be read.
    Readable(OwnedFd),
}

/// How [`Driver::wait`] waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// Completions to wait for; zero submits and looks without waiting.
    pub completions: u32,
    /// After this time one completion is enough (a kernel without `min_wait` ignores `completions` above one). Zero: no such time.
    pub settle: Duration,
    /// After this time return in any case.
    pub timeout: Duration,
    /// From when `timeout` counts, if that is not the call: submitting takes time, by which a wait that begins after it would be late.
    pub since: Option<Instant>,
}

impl Wait {
    /// Submits and looks, without waiting.
    pub const LOOK: Self =
        Self { completions: 0, settle: Duration::ZERO, timeout: Duration::ZERO, since: None };

    /// Waits for one completion, for at most `timeout`.
    #[must_use]
    pub const fn one(timeout: Duration) -> Self {
        Self { completions: 1, timeout, ..Self::LOOK }
    }
}

/// The queue has no room for an operation, which comes back.
#[derive(Debug)]
pub struct Full {
    /// What was not taken.
    pub op: Op,
}

/// Limits of a driver, each fixed when it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Slots, that is sockets, 1 to [`SLOTS_MAX`].
    pub slots: u32,
}

/// Most slots of one driver.
pub const SLOTS_MAX: u32 = 1 << 20;

/// What a driver counted. Monotonic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// System calls made, those of opening and closing sockets included.
    pub system_calls: u64,
    /// Calls that waited or could have.
    pub waits: u64,
    /// Completions handed out.
    pub completions: u64,
    /// Times the completion queue overflowed into the kernel's list (`io_uring`).
    pub queue_overflows: u64,
    /// Receives that found no buffer (`io_uring`).
    pub buffers_starved: u64,
}

/// The drivers of the real kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DriverKind {
    /// `io_uring`(7).
    IoUring,
    /// epoll(7).
    Epoll,
}

impl fmt::Display for DriverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        })
    }
}

impl DriverKind {
    /// The driver with this [name](Driver::name), if it is one of these.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::IoUring, Self::Epoll].into_iter().find(|kind| kind.to_string() == name)
    }
}

/// What a user asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DriverChoice {
    /// `io_uring` where it works, else epoll with a notice.
    #[default]
    Auto,
    /// `io_uring` or an error.
    IoUring,
    /// epoll.
    Epoll,
}

impl FromStr for DriverChoice {
    type Err = UnknownDriver;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "io_uring" => Ok(Self::IoUring),
            "epoll" => Ok(Self::Epoll),
            _ => Err(UnknownDriver(text.to_owned())),
        }
    }
}

/// A driver's name that there is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no driver is called {0:?}: use auto, io_uring or epoll")]
pub struct UnknownDriver(pub String);

/// Appends a template to a driver's list: the part of [`Driver::register`] that all drivers share.
fn keep_template(templates: &mut Vec<Rc<[u8]>>, bytes: Rc<[u8]>) -> io::Result<TemplateId> {
    if bytes.is_empty() || u32::try_from(bytes.len()).is_err() {
        let problem = "a template must hold 1 to 2^32 - 1 bytes";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    templates.push(bytes);
    Ok(TemplateId(templates.len() as u32 - 1))
}

/// Keeps what [`Driver::watch`] was given: at most one.
fn keep_wakes<T>(place: &mut Option<T>, wakes: T) -> io::Result<()> {
    if place.is_some() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    *place = Some(wakes);
    Ok(())
}
