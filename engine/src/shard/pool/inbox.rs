//! Bytes of a response's body that nobody has read yet. Plain state, without a limit of its own: whoever fills it looks at how much there is.

use std::collections::VecDeque;

use bytes::Bytes;

/// A shorter piece is joined with those before and behind it. It would cost several times its own bytes to keep alone, and it is the server that says how many there are.
const SMALL_PIECE_BYTES: usize = 1024;
/// Bytes that are joined, at most.
const JOINED_BYTES_MAX: usize = 16 << 10;
/// Up to so many joined bytes are copied when they are taken, and their memory waits for the next response: what a task allocates and frees in one poll is the
/// allocator's last block each time, while blocks for all responses of a turn are more than it keeps at hand.
const COPIED_BYTES_MAX: usize = 256;
/// Memory that stays with a place between responses: bytes for joined pieces, and room for pieces.
const KEPT_BYTES_MAX: usize = 1024;
const KEPT_PIECES_MAX: usize = 16;

/// Unread bytes, in pieces. Invariant: no piece is empty, and `joined` came after all of `pieces`.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pieces: VecDeque<Bytes>,
    joined: Vec<u8>,
    /// Of all of them.
    bytes: usize,
}

impl Inbox {
    /// Adds a piece, which is not empty.
    #[inline]
    pub(super) fn push(&mut self, piece: &[u8]) {
        debug_assert!(!piece.is_empty());
        self.bytes += piece.len();
        let is_small = piece.len() < SMALL_PIECE_BYTES;
        let fits = is_small && self.joined.len() + piece.len() <= JOINED_BYTES_MAX;
        if !fits && !self.joined.is_empty() {
            let joined = self.take_joined();
            self.pieces.push_back(joined);
        }
        if is_small {
            self.joined.extend_from_slice(piece);
        } else {
            self.pieces.push_back(Bytes::copy_from_slice(piece));
        }
    }

    /// The next piece.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let piece = match self.pieces.pop_front() {
            Some(piece) => piece,
            None if self.joined.is_empty() => return None,
            None => self.take_joined(),
        };
        self.bytes -= piece.len();
        Some(piece)
    }

    fn take_joined(&mut self) -> Bytes {
        if self.joined.len() > COPIED_BYTES_MAX {
            return std::mem::take(&mut self.joined).into();
        }
        let joined = Bytes::copy_from_slice(&self.joined);
        self.joined.clear();
        joined
    }

    /// Whether there is one piece, or none.
    #[inline]
    pub(super) fn is_one(&self) -> bool {
        self.pieces.len() + usize::from(!self.joined.is_empty()) <= 1
    }

    /// Bytes in it.
    #[inline]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets what is in it, and keeps a little of its memory.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.bytes = 0;
        self.pieces.clear();
        self.joined.clear();
        if self.pieces.capacity() > KEPT_PIECES_MAX {
            self.pieces = VecDeque::new();
        }
        if self.joined.capacity() > KEPT_BYTES_MAX {
            self.joined = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Inbox {
        /// Bytes of memory, without what an allocator adds.
        fn held_bytes(&self) -> usize {
            let rooms = self.pieces.capacity() * size_of::<Bytes>();
            // A joined piece may have grown to twice its bytes.
            let pieces: usize = self.pieces.iter().map(|piece| 2 * piece.len()).sum();
            rooms + pieces + self.joined.capacity()
        }
    }

    /// An inbox of `sizes` again and again, `total` bytes or a little more.
    fn filled(sizes: &[usize], total: usize) -> (Inbox, Vec<u8>) {
        let (mut inbox, mut all) = (Inbox::default(), Vec::new());
        for (number, size) in sizes.iter().cycle().enumerate() {
            if all.len() >= total {
                break;
            }
            let piece = vec![number as u8; *size];
            inbox.push(&piece);
            all.extend(piece);
        }
        (inbox, all)
    }

    fn check(sizes: &[usize], total: usize) {
        let (mut inbox, all) = filled(sizes, total);
        assert_eq!(inbox.bytes(), all.len());
        let held = inbox.held_bytes();
        assert!(held <= 3 * all.len() + 1024, "{sizes:?}: {held} for {}", all.len());
        let mut taken: Vec<u8> = Vec::new();
        let pieces =
            std::iter::from_fn(|| inbox.pop()).inspect(|piece| taken.extend(piece)).count();
        assert_eq!((taken == all, inbox.bytes()), (true, 0), "{sizes:?}");
        assert!(pieces <= 1 + 2 * all.len() / SMALL_PIECE_BYTES, "{sizes:?}: {pieces} pieces");
        let (mut inbox, _) = filled(sizes, total);
        inbox.clear();
        assert_eq!((inbox.bytes(), inbox.pop()), (0, None), "{sizes:?}");
        assert!(inbox.held_bytes() <= 1024 + 16 * size_of::<Bytes>(), "{sizes:?}");
    }

    #[test]
    fn what_is_kept_costs_little_more_than_its_bytes_in_whatever_pieces_it_comes() {
        for total in [1, 100, 1023, 1024, 64 << 10, 1 << 20] {
            check(&[1], total);
            check(&[7, 1, 300], total);
            check(&[1024, 1], total);
            check(&[1, 1023], total);
            check(&[256 << 10, 1], total);
        }
    }

    #[test]
    fn one_piece_is_known_as_one() {
        let is_one = |sizes: &[usize]| {
            let mut inbox = Inbox::default();
            sizes.iter().for_each(|size| inbox.push(&vec![0; *size]));
            inbox.is_one()
        };
        assert!(is_one(&[]) && is_one(&[1]) && is_one(&[1, 1, 1]) && is_one(&[1 << 20]));
        assert!(!is_one(&[1 << 20, 1]) && !is_one(&[1, 1 << 20]) && !is_one(&[1000; 20]));
    }
}
