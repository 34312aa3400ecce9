//! Names for slots and operations, packed into the 64 bits that a kernel queue carries. Plain data.

/// Names one use of one slot: the index says where, the generation says which use, so that what arrives late is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot {
    /// Place in the tables, below the driver's `slots`.
    pub index: u32,
    /// Which use of the place, modulo 2^24.
    pub generation: u32,
}

/// Generations wrap at this number: 24 bits of a token.
pub const GENERATIONS: u32 = 1 << 24;

impl Slot {
    /// The first use of the place `index`.
    #[must_use]
    pub const fn first(index: u32) -> Self {
        Self { index, generation: 0 }
    }

    /// The next use of the same place.
    #[must_use]
    pub const fn next(self) -> Self {
        Self { index: self.index, generation: (self.generation + 1) % GENERATIONS }
    }
}

/// Which operation of a slot a completion belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A connect.
    Connect = 0,
    /// A send that tells its success.
    Send = 1,
    /// A send that tells only its failure.
    SendQuiet = 2,
    /// A receive that repeats.
    Stream = 3,
    /// A receive of one piece.
    Once = 4,
    /// A discard.
    Discard = 5,
    /// A listener's accept.
    Accept = 6,
    /// A cancellation of the others.
    Cancel = 7,
    /// A receive of one large piece.
    Bulk = 8,
    /// A send of the caller's bytes that has a completion.
    Bytes = 9,
    /// A send of the caller's bytes that has one only if it can't go out at once.
    BytesQuiet = 10,
    /// A wake from another thread; of no slot.
    Wake = 11,
    /// A poll for the end of a connection.
    Sentry = 12,
}

const KINDS: [Kind; 13] = [
    Kind::Connect,
    Kind::Send,
    Kind::SendQuiet,
    Kind::Stream,
    Kind::Once,
    Kind::Discard,
    Kind::Accept,
    Kind::Cancel,
    Kind::Bulk,
    Kind::Bytes,
    Kind::BytesQuiet,
    Kind::Wake,
    Kind::Sentry,
];

/// Slot and kind in 64 bits: index in the low 32, then 24 of generation, then 8 of kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// Whose operation.
    pub slot: Slot,
    /// Which of its operations.
    pub kind: Kind,
}

impl Token {
    /// Packs the token; [`Token::unpack`] is its inverse.
    #[inline]
    #[must_use]
    pub const fn pack(self) -> u64 {
        self.slot.index as u64
            | ((self.slot.generation % GENERATIONS) as u64) << 32
            | (self.kind as u64) << 56
    }

    /// Unpacks what [`Token::pack`] made; `None` for a kind that there is not.
    #[inline]
    #[must_use]
    pub fn unpack(bits: u64) -> Option<Self> {
        let kind = *KINDS.get((bits >> 56) as usize)?;
        let generation = (bits >> 32) as u32 % GENERATIONS;
        Some(Self { slot: Slot { index: bits as u32, generation }, kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_is_reversible_and_generations_wrap() {
        for kind in KINDS {
            for (index, generation) in [(0, 0), (7, 1), (u32::MAX, GENERATIONS - 1)] {
                let token = Token { slot: Slot { index, generation }, kind };
                assert_eq!(Token::unpack(token.pack()), Some(token));
            }
        }
        assert_eq!(Token::unpack(u64::MAX), None);
        let last = Slot { index: 3, generation: GENERATIONS - 1 };
        assert_eq!(last.next(), Slot::first(3));
    }
}
