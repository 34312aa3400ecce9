//! How much one turn takes in. Arithmetic only.
//!
//! A socket whose peer is as fast as this core never runs dry: whoever reaped until nothing was left would see to no timer, no task and no other socket as long as
//! that peer likes.

/// Completions after which a turn reaps no more: what one wait of the epoll driver tells.
const TURN_COMPLETIONS_MAX: usize = 512;
/// Bytes received after which it does not, either: some milliseconds' work where they are chunks of one byte, and enough that a turn costs next to nothing of it.
const TURN_BYTES_MAX: u64 = 1 << 20;

/// What a turn has taken in.
#[derive(Debug)]
pub(crate) struct Intake {
    completions: usize,
    /// Bytes received at which it ends.
    bytes_end: u64,
}

impl Intake {
    /// For a turn that begins when so many bytes have been received.
    #[inline]
    pub(crate) fn from(bytes_received: u64) -> Self {
        Self { completions: 0, bytes_end: bytes_received.saturating_add(TURN_BYTES_MAX) }
    }

    /// Takes note of one reaping, and of the bytes received until its end. Whether the turn reaps again: what it leaves is the next one's, whose wait does not sleep.
    #[inline]
    pub(crate) fn goes_on(&mut self, reaped: usize, bytes_received: u64) -> bool {
        self.completions += reaped;
        reaped > 0 && self.completions < TURN_COMPLETIONS_MAX && bytes_received < self.bytes_end
    }

    /// Completions so far.
    #[inline]
    pub(crate) fn completions(&self) -> usize {
        self.completions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Completions of a turn whose reapings all bring `reaped` completions and `bytes` bytes, until there were `total`.
    fn check(reaped: usize, bytes: u64, total: usize, expected: usize) {
        let (mut intake, mut received) = (Intake::from(7), 7);
        loop {
            let came = reaped.min(total - intake.completions());
            received += if came > 0 { bytes } else { 0 };
            if !intake.goes_on(came, received) {
                break;
            }
        }
        assert_eq!(intake.completions(), expected, "{reaped} {bytes}");
    }

    #[test]
    fn a_turn_ends_when_nothing_is_left_or_when_it_has_had_enough() {
        check(16, 0, 0, 0);
        check(16, 0, 100, 100);
        check(16, 4096, usize::MAX, 512);
        check(256, 0, usize::MAX, 512);
        check(300, 0, usize::MAX, 600);
        check(2, 256 << 10, usize::MAX, 8);
        check(1, 1 << 30, usize::MAX, 1);
    }
}
