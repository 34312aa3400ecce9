//! What a response must be, and whether one is. No sending, no counting.

use crate::proto::h1;

/// What a response must be; what is empty is not looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expect {
    /// Statuses that are all right.
    pub statuses: Vec<std::ops::RangeInclusive<u16>>,
}

/// How a response was not what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unexpected {
    /// `status`, `header`, `body` or `hash`.
    pub(super) what: &'static str,
    /// The difference, in words.
    pub(super) example: String,
}

/// What was seen of the response that a connection is receiving.
#[derive(Debug, Default)]
pub(super) struct Check {}

impl Check {
    /// Its head is there.
    pub(super) fn handle_head(&mut self, _expect: &Expect, _head: &h1::Head<'_>) {}

    /// A piece of its body is there.
    pub(super) fn handle_body(&mut self, _expect: &Expect, _piece: &[u8]) {}

    /// It is whole.
    pub(super) fn end(&mut self, expect: &Expect, status: u16) -> Result<(), Unexpected> {
        let right = expect.statuses.iter().any(|range| range.contains(&status));
        if expect.statuses.is_empty() || right {
            return Ok(());
        }
        Err(Unexpected { what: "status", example: format!("status {status} was not expected") })
    }
}
