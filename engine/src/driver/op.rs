//! What a driver is asked to do, and what it says happened. Plain data.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use super::{Lent, Payload, Slot};
use crate::sys::Errno;

/// One operation on a slot's socket. The driver owns the socket from `Connect`, `Adopt` or `Listen` until `Closed`.
#[derive(Debug)]
pub enum Op {
    /// Takes the socket over and connects it to the peer. Ends in `Connected` or `ConnectFailed`.
    Connect {
        /// A socket of the peer's family, from `sys::socket`.
        socket: OwnedFd,
        /// Where to.
        peer: SocketAddr,
    },
    /// Takes a connected socket over. Has no completion.
    Adopt {
        /// The socket, as an `Accepted` gave it.
        socket: OwnedFd,
    },
    /// Takes a listener over and accepts until closed: an `Accepted` each.
    Listen {
        /// The listening socket.
        socket: OwnedFd,
    },
    /// Has a listener go on after an `AcceptFailed`.
    Accept,
    /// Sends a part of a registered template. At most one is in flight on a slot, unless all are quiet.
    Send {
        /// What to send.
        span: Span,
        /// Whether success is told.
        confirm: Confirm,
    },
    /// Sends bytes that the driver owns from here until the kernel is done with them. At most one with [`Confirm::Always`] is in flight on a slot; any number
    /// of quiet ones may be, whatever the peer does: they go out whole and in order.
    SendBytes {
        /// What to send; not empty.
        bytes: Payload,
        /// Whether success is told.
        confirm: Confirm,
    },
    /// Receives into buffers of the driver. At most one receive or discard is in flight on a slot.
    Receive(Window),
    /// Throws away up to this many bytes, without copying where the kernel can. Ends in `Discarded` or `ReceiveEnded`.
    Discard {
        /// At most so many; fewer may be discarded.
        bytes: u64,
    },
    /// Ends a receive or discard that is in flight; its end is told by `ReceiveEnded(Stopped)`, unless it ended by itself first.
    Stop,
    /// From now on closing the socket resets the connection: the peer sees `ECONNRESET`, and what it was not sent is dropped (socket(7), `SO_LINGER` with
    /// zero). Has no completion.
    ResetOnClose,
    /// Cancels what is in flight, closes the socket, and tells `Closed`, the slot's last completion.
    Close,
}

/// A part of a template registered with the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Which template.
    pub template: TemplateId,
    /// First byte.
    pub start: u32,
    /// Bytes; not zero.
    pub bytes: u32,
}

/// Names bytes that a driver keeps until it is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TemplateId(pub u32);

/// Whether a send tells its success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirm {
    /// Only a failure is told: for small sends, whose success the response shows.
    OnFailure,
    /// `Sent` or `SendFailed` is told.
    Always,
}

/// How a receive reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// Small pieces, repeated until it ends: for small responses.
    Stream,
    /// One small piece: for the head before a large body.
    Once,
    /// One piece as large as the driver has: for large bodies that are wanted.
    Bulk,
}

/// Something happened to a slot.
#[derive(Debug)]
pub struct Completion {
    /// Whose.
    pub slot: Slot,
    /// What.
    pub event: Event,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// The socket is connected.
    Connected,
    /// The connect failed; only `Close` makes sense now.
    ConnectFailed(Errno),
    /// A send with [`Confirm::Always`] has been taken by the kernel whole.
    Sent,
    /// A send failed, whole or in part; the connection can't be used any more. Sends behind it fail too, in order.
    SendFailed {
        /// Why.
        errno: Errno,
        /// Bytes of this send that the kernel had accepted before. Zero: the peer has seen none of it.
        taken: u64,
    },
    /// Bytes came.
    Received(Lent, Armed),
    /// Bytes were discarded.
    Discarded {
        /// So many, not zero.
        bytes: u64,
        /// Whether the driver knows that more is to be had: see [`Lent::has_more`].
        has_more: bool,
    },
    /// A receive or discard is over without bytes.
    ReceiveEnded(End),
    /// A listener accepted a connection.
    Accepted(OwnedFd),
    /// A listener could not accept (`EMFILE` and its like), and does not try again before [`Op::Accept`]: at once it would fail again.
    AcceptFailed(Errno),
    /// The slot's socket is closed and nothing of it is in flight. Its last completion.
    Closed,
}

/// Whether a receive goes on after a completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Armed {
    /// More will come without asking.
    Yes,
    /// It is over: ask again to go on.
    No,
}

/// How a receive ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The peer closed its side.
    Eof,
    /// No buffer was free; ask again once buffers have been given back.
    Starved,
    /// It was stopped, by the caller or because the driver begins anew; ask again to go on.
    Stopped,
    /// The connection failed.
    Failed(Errno),
}
