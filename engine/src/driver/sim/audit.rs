//! What a simulation says of itself: what is left, what the caller did wrong, what was seen, what happened. Changes nothing.

use super::super::{Event, Slot};
use super::config::Logging;
use super::{Happening, Sim};

/// Lines that are kept; later ones only change the digest.
const LINES_MAX: usize = 1 << 20;

/// What is left of a simulation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// Sockets that were not closed, descriptors with them.
    pub sockets: usize,
    /// Slots whose `Closed` was not told.
    pub slots: usize,
    /// Buffers that were lent and not given back.
    pub buffers: usize,
    /// Operations that have not told their end, and completions that were not reaped.
    pub operations: usize,
    /// How often the caller broke the contract.
    pub violations: u64,
    /// The first violations, in words.
    pub examples: Vec<String>,
}

impl Audit {
    /// Whether nothing is left and nothing was done wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let left = self.sockets + self.slots + self.buffers + self.operations;
        left == 0 && self.violations == 0
    }
}

/// How often the rare things happened: a check that never saw one proves nothing about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// Operations handed back for want of room.
    pub full: u64,
    /// Closes among them.
    pub full_closes: u64,
    /// Receives and discards that ended for no reason.
    pub interruptions: u64,
    /// Discards that took less than there was.
    pub short_discards: u64,
    /// Stops that found their stream ended, which the caller had not been told.
    pub late_stops: u64,
    /// Completions told between `Close` and `Closed`.
    pub afterlives: u64,
    /// Sends that failed.
    pub send_failures: u64,
    /// Connections that broke.
    pub resets: u64,
}

impl Seen {
    /// Adds what another simulation saw.
    pub fn merge(&mut self, other: &Self) {
        self.full += other.full;
        self.full_closes += other.full_closes;
        self.interruptions += other.interruptions;
        self.short_discards += other.short_discards;
        self.late_stops += other.late_stops;
        self.afterlives += other.afterlives;
        self.send_failures += other.send_failures;
        self.resets += other.resets;
    }
}

/// One thing that happened: an operation that was executed, or a completion that was handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// When, in virtual nanoseconds.
    pub at: u64,
    /// To which slot.
    pub slot: Slot,
    /// What.
    pub what: &'static str,
    /// Bytes, or an error number.
    pub number: u64,
}

#[derive(Debug)]
pub(super) struct Log {
    logging: Logging,
    lines: Vec<Line>,
    digest: u64,
}

impl Log {
    pub(super) fn new(logging: Logging) -> Self {
        Self { logging, lines: Vec::new(), digest: 0xCBF2_9CE4_8422_2325 }
    }

    /// The digest is FNV-1a over the numbers of each line.
    pub(super) fn note(&mut self, line: Line) {
        let kind = line.what.bytes().fold(0, |sum: u64, byte| sum.rotate_left(7) ^ u64::from(byte));
        let slot = u64::from(line.slot.index) << 32 | u64::from(line.slot.generation);
        for number in [line.at, slot, kind, line.number] {
            self.digest = (self.digest ^ number).wrapping_mul(0x0100_0000_01B3).rotate_left(17);
        }
        if self.logging == Logging::On && self.lines.len() < LINES_MAX {
            self.lines.push(line);
        }
    }
}

/// An event for the log.
pub(super) fn words(event: &Event) -> (&'static str, u64) {
    match event {
        Event::Connected => ("connected", 0),
        Event::ConnectFailed(errno) => ("connect failed", errno.0 as u64),
        Event::Sent => ("sent", 0),
        Event::SendFailed { errno, .. } => ("send failed", errno.0 as u64),
        Event::Received(lent, super::super::Armed::Yes) => ("received", lent.bytes.into()),
        Event::Received(lent, super::super::Armed::No) => ("received last", lent.bytes.into()),
        Event::Discarded { bytes, .. } => ("discarded", *bytes),
        Event::ReceiveEnded(end) => ("receive ended", end_number(*end)),
        Event::Accepted(_) => ("accepted", 0),
        Event::AcceptFailed(errno) => ("accept failed", errno.0 as u64),
        Event::Closed => ("closed", 0),
    }
}

fn end_number(end: super::super::End) -> u64 {
    match end {
        super::super::End::Eof => 0,
        super::super::End::Starved => 1000,
        super::super::End::Stopped => 1001,
        super::super::End::Failed(errno) => errno.0 as u64,
    }
}

impl Sim {
    /// What is left, and what the caller did wrong.
    #[must_use]
    pub fn audit(&self) -> Audit {
        let untold = self.agenda.iter().filter(|it| matches!(it, Happening::Tell(_))).count();
        Audit {
            sockets: self.sockets.iter().flatten().filter(|it| it.descriptor.is_some()).count(),
            slots: self.rules.open(),
            buffers: self.small.lent() + self.large.lent(),
            operations: self.rules.pending() + self.queue.len() + self.ready.len() + untold,
            violations: self.rules.count,
            examples: self.rules.kept.clone(),
        }
    }

    /// How often the rare things happened.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.seen
    }

    /// A number of all that happened: equal for equal runs.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.log.digest
    }

    /// All that happened, with [`Logging::On`].
    #[must_use]
    pub fn log(&self) -> &[Line] {
        &self.log.lines
    }
}
