//! What is fixed for a shard's life. Plain data.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use super::Settle;
use crate::proto::h1;

/// What a shard sends and to whom: everything that is fixed for its life.
#[derive(Debug, Clone)]
pub struct Config {
    /// The servers: each with its addresses, in the order in which they are tried. Neither is empty. Lane `n` goes to number `n` modulo their count.
    pub targets: Vec<Vec<SocketAddr>>,
    /// Local addresses, which connections are spread over; empty to leave the choice to the system.
    pub sources: Vec<IpAddr>,
    /// Connections to each server that other shards make beside this one and that have the first local addresses: this one goes on with the next.
    pub sources_taken: u64,
    /// Lanes, 1 to the driver's slots.
    pub lanes: u32,
    /// The requests that are the same each time.
    pub templates: Vec<Copies>,
    /// Requests unanswered at a time on one connection, 1 to [`h1::PIPELINE_DEPTH_MAX`].
    pub pipeline: u32,
    /// From the start of a dial to its end.
    pub connect_timeout: Duration,
    /// From a request being sent to the end of its response.
    pub response_timeout: Duration,
    /// Requests after which a connection is closed and made anew, at least 1; `u64::MAX` for no limit.
    pub requests_per_connection: u64,
    /// Whether heads are looked at.
    pub heads: Heads,
    /// Whether bodies are looked at.
    pub body: Body,
    /// How turns wait for company.
    pub settle: Settle,
    /// Limits of the protocol.
    pub limits: h1::Limits,
}

/// A request that is the same each time.
#[derive(Debug, Clone)]
pub struct Copies {
    /// The request, repeated, so that several go out in one send.
    pub bytes: Rc<[u8]>,
    /// Bytes of one request; `bytes` is a multiple of it.
    pub request_bytes: u32,
    /// What the protocol must know of each request.
    pub sent: h1::Sent,
}

impl Copies {
    /// `count` copies of a request.
    #[must_use]
    pub fn new(request: &[u8], sent: h1::Sent, count: u32) -> Self {
        let bytes = request.repeat(count as usize).into();
        Self { bytes, request_bytes: request.len() as u32, sent }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        (self.bytes.len() as u32) / self.request_bytes.max(1)
    }
}

impl Config {
    /// One request to one server over `lanes` lanes, with `pipeline` requests on each: what is to be different is set afterwards.
    #[must_use]
    pub fn new(peers: Vec<SocketAddr>, copies: Copies, lanes: u32, pipeline: u32) -> Self {
        Self {
            targets: vec![peers],
            sources: Vec::new(),
            sources_taken: 0,
            lanes,
            templates: vec![copies],
            pipeline,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(30),
            requests_per_connection: u64::MAX,
            heads: Heads::Ignore,
            body: Body::Discard,
            settle: Settle::WhileFree,
            limits: h1::Limits::default(),
        }
    }
}

/// What becomes of heads, but for what the protocol needs of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heads {
    /// Nobody looks: those seen before need no parsing.
    Ignore,
    /// [`Handler::handle_head`](super::Handler::handle_head) gets each.
    Tell,
}

/// What becomes of bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Nobody looks: large ones are thrown away inside the kernel.
    Discard,
    /// [`Handler::handle_body`](super::Handler::handle_body) gets every byte.
    Read,
}
