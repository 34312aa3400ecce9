//! A request's body on its way: whole, or in pieces as somebody makes them. Sends nothing.

use std::collections::VecDeque;
use std::task::Waker;

use bytes::Bytes;

use crate::proto::h1;

/// A request's body.
#[derive(Debug, Default)]
pub(crate) enum Outgoing {
    #[default]
    None,
    /// All of it, in memory: `sent` bytes of it were handed to the driver.
    Whole { bytes: Bytes, sent: usize },
    /// Pieces, as somebody makes them.
    Pieces(Pieces),
}

impl Outgoing {
    pub(super) fn is_chunked(&self) -> bool {
        matches!(self, Self::Pieces(pieces) if pieces.chunked)
    }

    /// Whether the same bytes can go out again.
    pub(super) fn is_replayable(&self) -> bool {
        !matches!(self, Self::Pieces(pieces) if pieces.touched)
    }

    /// Whether all of it was handed to the driver.
    #[inline]
    pub(super) fn is_sent(&self) -> bool {
        match self {
            Self::None => true,
            Self::Whole { bytes, sent } => *sent == bytes.len(),
            Self::Pieces(pieces) => pieces.finished && pieces.ready.is_empty(),
        }
    }

    /// Whether the server has all it was promised: its maker may not have said yet that there is no more.
    #[inline]
    pub(super) fn is_out(&self) -> bool {
        match self {
            Self::Pieces(pieces) => {
                pieces.ready.is_empty() && (pieces.finished || pieces.count.is_complete())
            }
            Self::None | Self::Whole { .. } => self.is_sent(),
        }
    }
}

/// A body that is made while it is sent.
#[derive(Debug)]
pub(crate) struct Pieces {
    /// Made and not sent; bounded by the maker, who asks for room.
    pub(super) ready: VecDeque<Bytes>,
    pub(super) finished: bool,
    pub(super) count: h1::BodyCount,
    pub(super) chunked: bool,
    pub(super) maker: Option<Waker>,
    /// Whether any piece was taken: the request can't be sent again then.
    pub(super) touched: bool,
}

impl Pieces {
    /// A body of this length that somebody makes.
    pub(crate) fn new(length: h1::BodyLength) -> Self {
        Self {
            ready: VecDeque::new(),
            finished: false,
            count: h1::BodyCount::new(length),
            chunked: length == h1::BodyLength::Chunked,
            maker: None,
            touched: false,
        }
    }

    pub(super) fn push(&mut self, piece: Bytes) -> Result<(), h1::BodyError> {
        self.count.handle_bytes(piece.len() as u64)?;
        if piece.is_empty() {
            return Ok(());
        }
        self.touched = true;
        if self.chunked {
            let mut framed = Vec::with_capacity(piece.len() + 16);
            h1::encode_chunk(&piece, &mut framed);
            self.ready.push_back(framed.into());
        } else {
            self.ready.push_back(piece);
        }
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Result<(), h1::BodyError> {
        self.count.handle_end()?;
        if self.chunked && !self.finished {
            self.ready.push_back(Bytes::from_static(h1::LAST_CHUNK));
            self.touched = true;
        }
        self.finished = true;
        Ok(())
    }
}
