//! Which request a body away from its core belongs to, and what its errors say of it. Reads nothing.

use std::time::Duration;

use http::Method;

use super::Target;
use super::engine::Time;
use super::response::{ConnInfo, Meta};
use crate::clock::Instant;
use crate::error::{Error, Progress, Sent};
use crate::shard::pool::exchange::Stamps;

/// Which request a body belongs to, and how much of it may be held.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) method: Method,
    pub(crate) target: Target,
    pub(crate) max_body_bytes: u64,
    /// Where its engine has the time from.
    pub(super) time: Time,
}

/// What is known of the request once its head has come.
#[derive(Debug)]
pub(super) struct Subject {
    method: Method,
    target: Target,
    connection: ConnInfo,
    attempts: u8,
    /// How much was sent when the head came.
    sent: Sent,
    submitted: Instant,
    /// The last moment that the core has told of.
    told: Instant,
    time: Time,
}

impl Subject {
    pub(super) fn of(meta: &mut Meta, origin: Origin) -> Self {
        let Stamps { submitted, sent, first_byte, done, .. } = meta.stamps;
        let all = sent != Instant::default();
        Self {
            method: origin.method,
            target: meta.target.take().unwrap_or(origin.target),
            connection: meta.connection,
            attempts: meta.attempts,
            sent: if all { Sent::All } else { Sent::Partial },
            submitted,
            told: first_byte.max(done),
            time: origin.time,
        }
    }

    /// Where it went.
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// The end has come, and with it when what happened.
    pub(super) fn end(&mut self, stamps: &Stamps) {
        self.told = stamps.done;
        if stamps.sent != Instant::default() {
            self.sent = Sent::All;
        }
    }

    /// How far it has come, with so many bytes of the response.
    pub(super) fn progress(&self, got_bytes: u64) -> Progress {
        let ConnInfo { peer, reused, .. } = self.connection;
        Progress { peer, reused, sent: self.sent, got_bytes }
    }

    /// An error with what it is about.
    pub(super) fn name(&self, error: Error) -> Error {
        error
            .with_request(&self.method, self.target.redacted())
            .with_attempt(self.attempts, self.elapsed())
    }

    /// How long it has taken; where time stands still between two turns, until the last moment that is known.
    fn elapsed(&self) -> Duration {
        let now = match self.time {
            Time::Clock => Instant::now(),
            Time::Turns => self.told,
        };
        now - self.submitted
    }
}
