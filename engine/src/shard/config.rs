//! What is fixed for a shard's life. Plain data.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::Settle;
use crate::proto::h1;

/// What a shard sends and to whom: everything that is fixed for its life.
#[derive(Debug, Clone)]
pub struct Config {
    /// Addresses of the server, in the order in which they are tried. Not empty.
    pub peers: Vec<SocketAddr>,
    /// Lanes, 1 to the driver's slots.
    pub lanes: u32,
    /// The request, repeated `copies` times, so that several go out in one send.
    pub requests: Rc<[u8]>,
    /// Bytes of one request; `requests` is a multiple of it.
    pub request_bytes: u32,
    /// What the protocol must know of each request.
    pub sent: h1::Sent,
    /// Requests unanswered at a time on one connection, 1 to [`h1::PIPELINE_DEPTH_MAX`].
    pub pipeline: u32,
    /// From the start of a dial to its end.
    pub connect_timeout: Duration,
    /// From a request being sent to the end of its response.
    pub response_timeout: Duration,
    /// Whether bodies are looked at.
    pub body: Body,
    /// How turns wait for company.
    pub settle: Settle,
    /// Limits of the protocol.
    pub limits: h1::Limits,
}

/// What becomes of bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Nobody looks: large ones are thrown away inside the kernel.
    Discard,
    /// [`Handler::handle_body`](super::Handler::handle_body) gets every byte.
    Read,
}
