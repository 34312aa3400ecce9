//! A body put together from its pieces, within a limit. One piece is handed on as it is; more are joined.

use bytes::{Bytes, BytesMut};

/// What has come so far. Invariant: `first` is empty once `joined` is not.
#[derive(Debug)]
pub(super) struct Gathered {
    max: u64,
    first: Bytes,
    joined: BytesMut,
}

/// The body is longer than may be held.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Gathered {
    /// Nothing yet, and `max` bytes at most.
    pub(super) fn new(max: u64) -> Self {
        Self { max, first: Bytes::new(), joined: BytesMut::new() }
    }

    pub(super) fn push(&mut self, piece: Bytes) -> Result<(), TooLong> {
        if (self.first.len() + self.joined.len() + piece.len()) as u64 > self.max {
            return Err(TooLong);
        }
        if self.first.is_empty() && self.joined.is_empty() {
            self.first = piece;
        } else {
            self.joined.extend_from_slice(&std::mem::take(&mut self.first));
            self.joined.extend_from_slice(&piece);
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Bytes {
        if self.joined.is_empty() { self.first } else { self.joined.freeze() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_piece_is_not_copied_and_more_are_joined() {
        let piece = Bytes::from_static(b"abc");
        let mut one = Gathered::new(3);
        one.push(piece.clone()).unwrap();
        assert_eq!(one.finish().as_ptr(), piece.as_ptr());
        let mut two = Gathered::new(7);
        two.push(piece.clone()).unwrap();
        two.push(Bytes::new()).unwrap();
        two.push(piece.clone()).unwrap();
        assert_eq!(two.push(piece.slice(..2)), Err(TooLong));
        assert_eq!(two.finish(), "abcabc");
        assert_eq!(Gathered::new(0).finish(), "");
        assert_eq!(Gathered::new(2).push(piece), Err(TooLong));
    }
}
