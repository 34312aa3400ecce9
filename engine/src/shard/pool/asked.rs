//! What futures ask of the pool of their core, and what it asks of whoever resolves names. Plain values.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::config::Shared;
use super::exchange::Exchange;
use super::origin::Origin;
use super::slab::Id;
use crate::error::Kind;

/// What a future asks of the pool, where more than an exchange has to be named: see [`Ask::Else`].
#[derive(Debug)]
pub(super) enum Command {
    /// Take a client in, under this number.
    Join(u32, Arc<Shared>),
    /// Nobody uses a client on this core any more.
    Leave(u32),
    /// The body of an exchange's request can't go on.
    Abort(Id, String),
    /// Wake a sleeper after so long.
    Sleep(Id, Duration),
    /// A name was resolved.
    Resolved(Id, Result<Vec<SocketAddr>, Kind>),
}

/// What a future asks of the pool. Small enough to stay in registers until it is where the pool reads it: what is written in small parts and read at once makes the processor wait.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ask {
    /// The next command.
    Else,
    /// Begin with it.
    Start,
    /// Its future is gone.
    Drop,
    /// It had ended when its future went, and its place is free: see [`Asked::over`].
    Over,
    /// The same of one that held a permit.
    OverWithPermit,
    /// A permit that no exchange holds any more is free.
    Permit,
    /// Bytes of its body were read, or somebody waits for more of it: receive on.
    Read,
    /// Throw the rest of its body away, and tell the end.
    Discard,
    /// There is more of its request's body, or its end.
    Send,
}

/// An [`Ask`] and whom it is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) ask: Ask,
    first: u32,
    second: u32,
}

impl Asked {
    #[inline]
    pub(super) fn of(ask: Ask, id: Id) -> Self {
        Self { ask, first: id.index, second: id.generation }
    }

    /// Of an exchange that is no more: its client and its host.
    #[inline]
    pub(super) fn over(exchange: &Exchange) -> Self {
        let ask = if exchange.has_permit { Ask::OverWithPermit } else { Ask::Over };
        Self { ask, first: exchange.client, second: exchange.host }
    }

    /// Of a permit of this client.
    pub(super) fn permit(client: u32) -> Self {
        Self { ask: Ask::Permit, first: client, second: 0 }
    }

    #[inline]
    pub(super) fn id(self) -> Id {
        Id { index: self.first, generation: self.second }
    }

    #[inline]
    pub(super) fn client(self) -> u32 {
        self.first
    }

    #[inline]
    pub(super) fn host(self) -> u32 {
        self.second
    }
}

/// What the pool asks of whoever resolves names.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// A dial waits for the addresses of a name: answer with [`Desk::resolved`].
    Wanted { dial: Id, client: u32, origin: Arc<Origin> },
    /// The dial waits no longer.
    GivenUp { dial: Id },
    /// None of a name's addresses could be connected to.
    Unreachable { client: u32, origin: Arc<Origin> },
    /// Nothing is left of a client, and nothing asked before this is unanswered: its number may be given to another.
    Left { client: u32 },
}
