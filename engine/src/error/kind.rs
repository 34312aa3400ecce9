//! What can go wrong, how far a request had come, and whose fault it is. Plain data.

use crate::proto::h1;
use crate::proto::url::UrlError;
use crate::sys::Errno;

/// What went wrong.
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// # let client = engine.client().build()?;
/// use ringshot::client::{Kind, TimeoutKind};
///
/// let hasty = engine.client().timeout(std::time::Duration::from_millis(20)).build()?;
/// let error = block_on(hasty.get(origin.url("/hang")).fetch()).unwrap_err();
/// match error.kind() {
///     Kind::Timeout(TimeoutKind::Total) => println!("too slow: {error}"),
///     other => panic!("{}", other.name()),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Kind {
    /// The URL can't be fetched as it is.
    Url(UrlError),
    /// The request can't go on the wire as it is.
    Request(h1::RequestError),
    /// The caller asked for what can't be: values of a builder that contradict each other or leave their range, a header that is none, a core that the engine does not have, a client of
    /// another engine, or a call that blocks in a task of a core.
    Config(String),
    /// The host's name has no address, or nobody could say.
    Resolve {
        /// What is wrong, and the next step.
        problem: String,
        /// Whether the same name may well be found a moment later: nobody could say. Otherwise the
        /// name or the resolver has to change, which are the caller's.
        is_temporary: bool,
    },
    /// No address of the host could be connected to. Of several it is the last that failed, but a
    /// lack of a route to one hides no answer of another; the error's line names the others.
    Connect(Errno),
    /// As many requests wait for a connection as `max_waiters` allows.
    PoolFull {
        /// The limit, in requests.
        max_waiters: u32,
    },
    /// A timeout passed.
    Timeout(TimeoutKind),
    /// The response is no HTTP/1.
    Parse(h1::Error),
    /// The response does not say where its body ends, or breaks the chunked coding.
    Framing(h1::Error),
    /// The response was cut short.
    Truncated {
        /// Body bytes announced, where they were.
        expected: Option<u64>,
        /// Bytes that came, of the body or, without one, of the head.
        got: u64,
    },
    /// Interim responses came, and then the connection's end instead of a final one (RFC 9110 15.2).
    InterimOnly {
        /// How many interim responses came.
        interims: u8,
    },
    /// The response broke a limit of ours.
    Limit(LimitKind),
    /// The server closed the connection before a byte of the response.
    Closed,
    /// The connection broke.
    Io(Errno),
    /// A redirect that was not followed.
    Redirect(RedirectKind),
    /// The request's body could not be read, or was not as long as announced.
    RequestBody(String),
    /// The file that a body was copied to did not take it.
    CopyTo(String),
    /// The work was cancelled: by a sibling's failure, or because the time to drain its batch was over. Deadlines and the engine's end have kinds of their own.
    Canceled,
    /// The engine was shut down.
    Shutdown,
    /// A closure of the caller's panicked.
    User(String),
}

/// Which timeout passed, from the start of its phase.
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// # let client = engine.client().build()?;
/// use ringshot::client::{Kind, TimeoutKind, Timeouts};
///
/// let head = Some(std::time::Duration::from_millis(20));
/// let hasty = engine.client().timeouts(Timeouts { head, ..Timeouts::default() }).build()?;
/// let error = block_on(hasty.get(origin.url("/hang")).fetch()).unwrap_err();
/// assert!(matches!(error.kind(), Kind::Timeout(TimeoutKind::Head)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TimeoutKind {
    /// Waiting for one of `max_in_flight` permits.
    Queue,
    /// Waiting for a connection.
    Acquire,
    /// Resolving the name.
    Resolve,
    /// Connecting: one address, or all of them.
    Connect,
    /// Sending, without progress.
    Send,
    /// From the end of sending to the response head.
    Head,
    /// Between two pieces of the body.
    ReadIdle,
    /// The whole request.
    Total,
    /// The batch that the request belongs to.
    Deadline,
}

/// Which limit a response broke.
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// # let client = engine.client().build()?;
/// use ringshot::client::{Kind, LimitKind};
///
/// let error = block_on(client.get(origin.url("/bytes/10")).max_body_bytes(5).fetch()).unwrap_err();
/// assert!(matches!(error.kind(), Kind::Limit(LimitKind::Body { max_bytes: 5 })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitKind {
    /// A limit on heads and trailers.
    Protocol(h1::Limit),
    /// The body is longer than may be held in memory.
    Body {
        /// The limit, in bytes.
        max_bytes: u64,
    },
}

/// Why a redirect was not followed.
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// # let client = engine.client().build()?;
/// use ringshot::client::{Kind, RedirectKind};
///
/// let error = block_on(client.get(origin.url("/redirect/3")).redirects(2).fetch()).unwrap_err();
/// assert!(matches!(error.kind(), Kind::Redirect(RedirectKind::TooMany { max: 2 })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedirectKind {
    /// More of them than allowed.
    TooMany {
        /// The limit.
        max: u32,
    },
    /// `Location` is no URL that can be fetched. (Without one the response is no redirect, and no error.)
    Location(String),
    /// The method and body would have to be sent again, but the body is gone.
    BodyGone,
}

/// How far a request had come.
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// # let client = engine.client().build()?;
/// use ringshot::client::{Phase, Sent};
///
/// let error = block_on(client.get(origin.url("/truncate/5")).fetch()).unwrap_err();
/// assert_eq!((error.phase(), error.sent()), (Phase::Body, Sent::All));
/// assert!(Phase::Head < Phase::Body);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Building the request.
    Build,
    /// Waiting to be sent again, after an attempt that failed.
    Backoff,
    /// Waiting for a permit of `max_in_flight`, or for room in a core's mailbox.
    Queue,
    /// Waiting for a connection.
    Acquire,
    /// Resolving the name.
    Resolve,
    /// Connecting.
    Connect,
    /// Sending head and body.
    Send,
    /// Waiting for the response head.
    Head,
    /// Reading the body.
    Body,
    /// Following a redirect.
    Redirect,
}

/// How much of a request the kernel had accepted.
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// # let client = engine.client().build()?;
/// use ringshot::client::Sent;
///
/// let error = block_on(client.get("http://127.0.0.1:1/").fetch()).unwrap_err();
/// assert_eq!(error.sent(), Sent::None); // so whatever it was, it may be sent again
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub enum Sent {
    /// Nothing: no server can have seen it.
    #[default]
    None,
    /// A part.
    Partial,
    /// All of it.
    All,
}

/// Who has to change something.
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// # let client = engine.client().build()?;
/// use ringshot::client::Fault;
///
/// let error = block_on(client.get("no URL").send()).unwrap_err();
/// assert_eq!(error.fault(), Fault::Caller);
/// let error = block_on(client.get(origin.url("/truncate/5")).fetch()).unwrap_err();
/// assert_eq!(error.fault(), Fault::Server);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// Whoever made the request: URL, a name that there is not, headers, limits, a closure.
    Caller,
    /// This machine: descriptors, ports, memory.
    Machine,
    /// The server broke the protocol, or cut a response short.
    Server,
    /// The network or the server: unreachable, slow, reset.
    Network,
}

impl Kind {
    /// The kind of a protocol error.
    pub(crate) fn of_protocol(error: h1::Error) -> Self {
        match error {
            h1::Error::Parse(_) | h1::Error::Unsolicited => Self::Parse(error),
            h1::Error::Framing(_) | h1::Error::Chunked(_) => Self::Framing(error),
            h1::Error::Limit(limit) => Self::Limit(LimitKind::Protocol(limit)),
            h1::Error::ClosedIdle | h1::Error::EmptyReply => Self::Closed,
            h1::Error::InterimOnly { interims } => Self::InterimOnly { interims },
            h1::Error::TruncatedHead { got } => Self::Truncated { expected: None, got },
            h1::Error::TruncatedBody { expected, got } => {
                Self::Truncated { expected: Some(expected), got }
            }
            h1::Error::TruncatedChunked { got } => Self::Truncated { expected: None, got },
        }
    }

    /// The phase that it can only have happened in.
    pub(crate) fn phase(&self) -> Option<Phase> {
        match self {
            Self::Resolve { .. } | Self::Timeout(TimeoutKind::Resolve) => Some(Phase::Resolve),
            Self::Connect(_) | Self::Timeout(TimeoutKind::Connect) => Some(Phase::Connect),
            Self::RequestBody(_) => Some(Phase::Send),
            _ => None,
        }
    }

    /// A short stable name for counting. It never changes between releases.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Url(_) => "url",
            Self::Request(_) => "request",
            Self::Config(_) => "config",
            Self::Resolve { .. } => "resolve",
            Self::Connect(_) => "connect",
            Self::PoolFull { .. } => "pool_full",
            Self::Timeout(kind) => kind.name(),
            Self::Parse(_) => "parse",
            Self::Framing(_) => "framing",
            Self::Truncated { .. } => "truncated",
            Self::InterimOnly { .. } => "interim_only",
            Self::Limit(_) => "limit",
            Self::Closed => "closed",
            Self::Io(_) => "io",
            Self::Redirect(_) => "redirect",
            Self::RequestBody(_) => "request_body",
            Self::CopyTo(_) => "copy_to",
            Self::Canceled => "canceled",
            Self::Shutdown => "shutdown",
            Self::User(_) => "user",
        }
    }
}

impl TimeoutKind {
    /// A short stable name for counting.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queue => "timeout_queue",
            Self::Acquire => "timeout_acquire",
            Self::Resolve => "timeout_resolve",
            Self::Connect => "timeout_connect",
            Self::Send => "timeout_send",
            Self::Head => "timeout_head",
            Self::ReadIdle => "timeout_read_idle",
            Self::Total => "timeout_total",
            Self::Deadline => "timeout_deadline",
        }
    }
}
