//! Requests with places that are filled anew each time. Compiled before the run; filling allocates nothing once buffers have grown.

use crate::proto::h1;

/// Rows of named columns that templates take values from.
#[derive(Debug)]
pub struct Feed {}

/// A compiled request.
#[derive(Debug)]
pub struct Filled {
    sent: h1::Sent,
}

/// No row is left of a feed that gives each row once: the run is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exhausted;

/// What one core needs to fill requests.
#[derive(Debug)]
pub(super) struct Filler {}

impl Filler {
    /// For core `place` of a run with this seed.
    pub(super) fn new(_seed: u64, _place: usize) -> Self {
        Self {}
    }

    /// Appends request number `index` of the run to `out`.
    pub(super) fn fill(
        &mut self,
        filled: &Filled,
        _feeds: &[std::sync::Arc<Feed>],
        _index: u64,
        _out: &mut Vec<u8>,
    ) -> Result<h1::Sent, Exhausted> {
        Ok(filled.sent)
    }
}
