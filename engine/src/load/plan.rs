//! What a run shall do: plain data, checked once in [`Plan::check`].

use std::net::SocketAddr;
use std::time::Duration;

use crate::driver::DriverKind;

/// Most connections a plan may ask for, over all cores.
pub const CONNECTIONS_MAX: u32 = 1 << 20;
/// Most requests that may be on the wire on one connection.
pub const PIPELINE_MAX: u32 = crate::proto::h1::PIPELINE_DEPTH_MAX;
/// The longest duration and the longest timeout of a plan.
pub const DURATION_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// When a run stops sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// After this time on the clock.
    After(Duration),
    /// After exactly this many requests, over all cores.
    Requests(u64),
}

/// How long the stages of a request may take; each class ends in its own outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From the start of a dial to a connected socket.
    pub connect: Duration,
    /// From a request being sent to the last byte of its response.
    pub response: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), response: Duration::from_secs(30) }
    }
}

/// Whether a connection serves more than one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepAlive {
    /// Connections are reused until the server closes them.
    On,
    /// Each request says `Connection: close` and gets a connection of its own.
    Off,
}

/// One closed-loop run: each of `connections` sends its next request when the response is in.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The server's addresses, in the order in which they are tried; connections rotate over them.
    pub peers: Vec<SocketAddr>,
    /// The request, encoded: see [`crate::load::Template`].
    pub template: crate::load::Template,
    /// Connections over all cores, 1 to [`CONNECTIONS_MAX`]; spread evenly, the remainder to the first cores.
    pub connections: u32,
    /// Requests in flight on one connection, 1 to [`PIPELINE_MAX`].
    pub pipeline: u32,
    /// The cores that send, each on a thread pinned to it. Not empty, no duplicates.
    pub cores: Vec<usize>,
    /// The driver of every core.
    pub driver: DriverKind,
    /// Whether connections are reused.
    pub keep_alive: KeepAlive,
    /// When to stop sending.
    pub stop: Stop,
    /// Time that is driven but not measured, before the clock starts.
    pub warm_up: Duration,
    /// How long responses may still arrive after the end; what is in flight then is cancelled.
    pub drain: Duration,
    /// Limits of each stage.
    pub timeouts: Timeouts,
}

/// Why a plan can't be run: the caller's fault, found before anything is sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// No core to run on.
    #[error("no core to run on: name at least one")]
    NoCores,
    /// A core that this machine has not, or that this process may not use.
    #[error("core {core} does not exist here or is not in this process's affinity mask (there are: {available})")]
    NoSuchCore {
        /// The core asked for.
        core: usize,
        /// The cores that there are.
        available: String,
    },
    /// A core named twice.
    #[error("core {0} is named twice")]
    CoreTwice(usize),
    /// A number outside its range.
    #[error("{what} must be {min} to {max}, not {value}")]
    OutOfRange {
        /// What the number counts.
        what: &'static str,
        /// The value asked for.
        value: u64,
        /// The smallest that is allowed.
        min: u64,
        /// The largest that is allowed.
        max: u64,
    },
    /// Fewer connections than cores.
    #[error("{connections} connections can't be spread over {cores} cores: use at least one a core, or fewer cores")]
    FewerConnectionsThanCores {
        /// Connections asked for.
        connections: u32,
        /// Cores asked for.
        cores: usize,
    },
    /// More connections than file descriptors.
    #[error("{connections} connections need {needed} file descriptors, but the limit is {limit}: raise it with `ulimit -n {needed}` (hard limit {hard})")]
    FileLimit {
        /// Connections asked for.
        connections: u32,
        /// Descriptors needed.
        needed: u64,
        /// The soft limit that holds.
        limit: u64,
        /// The hard limit.
        hard: u64,
    },
    /// No address to connect to.
    #[error("no address to connect to")]
    NoPeer,
}
