//! How a request fails, in a word for counting and in a sentence for people. Decides nothing.

use std::borrow::Cow;
use std::fmt;

use crate::proto::h1;
use crate::sys::Errno;

/// How a request failed, or the dial that it was waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection: the dial failed.
    Connect(Errno),
    /// No connection within the connect timeout.
    ConnectTimeout,
    /// The connection broke, by error number.
    Reset(Errno),
    /// The server closed the connection before a byte of the response.
    ClosedEarly,
    /// No whole response within the response timeout.
    Timeout,
    /// The response was not HTTP, or was cut short.
    Protocol(h1::Error),
    /// It was pipelined behind a request that failed as [`Failure::Protocol`]: where its own response would begin is not known.
    BehindFailed,
    /// Still unanswered when the shard was closed.
    Cancelled,
}

impl Failure {
    /// The kind of [`Failure::Cancelled`].
    pub const CANCELLED: &'static str = "cancelled";

    /// A short stable name for counting. It never changes between releases.
    #[must_use]
    pub fn kind(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Connect(_) => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::Reset(_) | Self::ClosedEarly => "reset",
            Self::Timeout => "timeout",
            Self::BehindFailed => "behind_failed",
            Self::Cancelled => Self::CANCELLED,
            Self::Protocol(error) => return format!("protocol_{}", error.kind_name()).into(),
        })
    }
}

impl Failure {
    /// What those failed of that were sent on the same connection after the request that failed of this.
    #[must_use]
    pub(super) fn of_those_behind(self) -> Self {
        match self {
            Self::Protocol(_) => Self::BehindFailed,
            // The connection broke under all of them.
            failure => failure,
        }
    }

    /// The system's error number, where there is one.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Connect(errno) | Self::Reset(errno) => Some(*errno),
            _ => None,
        }
    }
}

impl fmt::Display for Failure {
    /// What happened, and what to do where that is known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(errno) => write!(f, "connect: {errno}{}", errno.remedy()),
            Self::ConnectTimeout => f.write_str("connect: no answer within the connect timeout"),
            Self::Reset(errno) => write!(f, "the connection broke: {errno}"),
            Self::ClosedEarly => f.write_str("the server closed the connection before answering"),
            Self::Timeout => f.write_str("no whole response within the timeout"),
            Self::Protocol(error) => write!(f, "the response can't be used: {error}"),
            Self::BehindFailed => {
                f.write_str("a response before it on its connection can't be used")
            }
            Self::Cancelled => f.write_str("still unanswered when the run ended"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_have_a_stable_word_and_a_helpful_sentence() {
        let check = |failure: Failure, kind: &str, words: &str| {
            assert_eq!(failure.kind(), kind);
            assert!(failure.to_string().contains(words), "{failure}");
        };
        check(Failure::Connect(Errno(libc::EADDRNOTAVAIL)), "connect", "ip_local_port_range");
        check(Failure::Connect(Errno(libc::EMFILE)), "connect", "ulimit -n");
        check(Failure::Connect(Errno(libc::EHOSTUNREACH)), "connect", "EHOSTUNREACH");
        check(Failure::ConnectTimeout, "connect_timeout", "connect timeout");
        check(Failure::Reset(Errno(libc::ECONNRESET)), "reset", "ECONNRESET");
        check(Failure::ClosedEarly, "reset", "before answering");
        check(Failure::Timeout, "timeout", "within the timeout");
        assert_eq!(Failure::Timeout.of_those_behind(), Failure::Timeout);
        assert_eq!(Failure::BehindFailed.of_those_behind(), Failure::BehindFailed);
        let cut = h1::Error::TruncatedBody { expected: 5, got: 2 };
        check(Failure::Protocol(cut), "protocol_truncated_body", "2 of 5");
        check(Failure::BehindFailed, "behind_failed", "a response before it");
        check(Failure::Cancelled, "cancelled", "when the run ended");
    }
}
