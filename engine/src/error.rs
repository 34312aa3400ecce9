//! What a request can end in instead of a response: one typed error that names kind, phase, fault, URL, peer and attempt. Decides nothing.

use std::error::Error as StdError;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use crate::proto::h1;
use crate::proto::url::UrlError;
use crate::sys::Errno;

/// Why a request has no response, or its body no end. 8 bytes, so that a `Result` of a response stays small.
///
/// Shown with `{}` it is the whole chain in one line:
/// `GET http://127.0.0.1:9/: connect to 127.0.0.1:9: ECONNREFUSED (Connection refused): nothing listens there, or its backlog is full (attempt 1, 0.3 ms)`.
///
/// ```
/// use ringshot::client::{Fault, Kind, Phase, Sent};
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// # let client = engine.client().build()?;
/// let error = block_on(client.get("http://127.0.0.1:1/?token=secret").send()).unwrap_err();
/// assert!(error.to_string().starts_with("GET http://127.0.0.1:1/?...: connect to 127.0.0.1:1: ECONNREFUSED"));
/// assert!(matches!(error.kind(), Kind::Connect(_)));
/// assert_eq!((error.phase(), error.fault(), error.sent()), (Phase::Connect, Fault::Network, Sent::None));
/// assert!(error.is_retryable() && !error.may_have_been_processed());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Error(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    kind: Kind,
    phase: Phase,
    request: Option<Request>,
    peer: Option<SocketAddr>,
    attempt: u8,
    reused: bool,
    sent: Sent,
    idempotent: bool,
    got_bytes: u64,
    elapsed: Duration,
}

/// Which request.
#[derive(Debug, Clone)]
struct Request {
    method: Method,
    url: String,
}

/// What went wrong.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Kind {
    /// The URL can't be fetched as it is.
    Url(UrlError),
    /// The request can't go on the wire as it is.
    Request(h1::RequestError),
    /// The builder was given values that contradict each other or leave their range.
    Config(String),
    /// The host's name has no address, or nobody could say.
    Resolve(String),
    /// No address of the host could be connected to; the number is of the last one tried.
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
    /// The work was cancelled: by a sibling's failure, a deadline of the batch, or the engine's end.
    Canceled,
    /// The engine was shut down.
    Shutdown,
    /// A closure of the caller's panicked.
    User(String),
}

/// Which timeout passed, from the start of its phase.
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
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedirectKind {
    /// More of them than allowed.
    TooMany {
        /// The limit.
        max: u32,
    },
    /// `Location` is missing or no URL.
    Location(String),
    /// The method and body would have to be sent again, but the body is gone.
    BodyGone,
}

/// How far a request had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Building the request.
    Build,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// Whoever made the request: URL, headers, limits, a closure.
    Caller,
    /// This machine: descriptors, ports, memory.
    Machine,
    /// The server broke the protocol, or cut a response short.
    Server,
    /// The network or the server: unreachable, slow, reset.
    Network,
}

impl Error {
    /// An error at a phase, with nothing known of the request yet.
    #[must_use]
    pub(crate) fn new(kind: Kind, phase: Phase) -> Self {
        // Where there was a response, there was a request.
        let answered = matches!(phase, Phase::Body | Phase::Redirect);
        Self(Box::new(Inner {
            kind,
            phase,
            request: None,
            peer: None,
            attempt: 1,
            reused: false,
            sent: if answered { Sent::All } else { Sent::None },
            idempotent: false,
            got_bytes: 0,
            elapsed: Duration::ZERO,
        }))
    }

    /// A body that is longer than may be held.
    pub(crate) fn body_too_long(max_bytes: u64, peer: Option<SocketAddr>, reused: bool) -> Self {
        let progress = Progress { peer, reused, sent: Sent::All, got_bytes: max_bytes };
        let kind = Kind::Limit(LimitKind::Body { max_bytes });
        Self::new(kind, Phase::Body).with_progress(&progress)
    }

    /// What the shard's side knew.
    pub(crate) fn with_progress(mut self, progress: &Progress) -> Self {
        self.0.peer = progress.peer;
        self.0.reused = progress.reused;
        self.0.sent = progress.sent;
        self.0.got_bytes = progress.got_bytes;
        self
    }

    /// Which request it was. `url` must not hold secrets.
    pub(crate) fn with_request(mut self, method: &Method, url: String) -> Self {
        self.0.idempotent = method.is_idempotent();
        self.0.request = Some(Request { method: method.clone(), url });
        self
    }

    pub(crate) fn with_attempt(mut self, attempt: u8, elapsed: Duration) -> Self {
        self.0.attempt = attempt;
        self.0.elapsed = elapsed;
        self
    }

    pub(crate) fn idempotent(mut self, idempotent: bool) -> Self {
        self.0.idempotent |= idempotent;
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.0.kind
    }

    /// How far the request had come.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.0.phase
    }

    /// The URL without userinfo, query or fragment; `None` when it could not be parsed.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        self.0.request.as_ref().map(|request| request.url.as_str())
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> Option<&Method> {
        self.0.request.as_ref().map(|request| &request.method)
    }

    /// The address of the server, once a connection was tried.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.0.peer
    }

    /// Which attempt failed: 1 for the first.
    #[must_use]
    pub fn attempt(&self) -> u8 {
        self.0.attempt
    }

    /// Whether the connection had carried another request before.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        self.0.reused
    }

    /// How much of the request the kernel had accepted.
    #[must_use]
    pub fn sent(&self) -> Sent {
        self.0.sent
    }

    /// Bytes of the response that had come, head included.
    #[must_use]
    pub fn got_bytes(&self) -> u64 {
        self.0.got_bytes
    }

    /// From the submission to the error.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed
    }

    /// Whether a timeout passed.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self.0.kind, Kind::Timeout(_))
    }

    /// Whether no connection came about: the name, the address, or the time for either.
    #[must_use]
    pub fn is_connect(&self) -> bool {
        use TimeoutKind::{Connect, Resolve};
        matches!(
            self.0.kind,
            Kind::Resolve(_) | Kind::Connect(_) | Kind::Timeout(Connect | Resolve)
        )
    }

    /// Whether the server may have acted on the request.
    ///
    /// `false` only where that is certain: not a byte of it left this machine. Use it to decide whether a request that is not idempotent may be repeated.
    #[must_use]
    pub fn may_have_been_processed(&self) -> bool {
        self.0.sent != Sent::None
    }

    /// Whether sending it again may help and can do no harm: the failure is of the passing kind, and either nothing was sent or the method is idempotent
    /// (RFC 9110 9.2.2).
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        let passing = match &self.0.kind {
            Kind::Resolve(_) | Kind::Connect(_) | Kind::Closed | Kind::Io(_) => true,
            Kind::Truncated { .. } | Kind::PoolFull { .. } => true,
            Kind::Timeout(kind) => !matches!(kind, TimeoutKind::Total | TimeoutKind::Deadline),
            _ => false,
        };
        passing && (self.0.idempotent || !self.may_have_been_processed())
    }

    /// Who has to change something.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match &self.0.kind {
            Kind::Url(_) | Kind::Request(_) | Kind::Config(_) | Kind::PoolFull { .. } => {
                Fault::Caller
            }
            Kind::RequestBody(_) | Kind::User(_) | Kind::Canceled | Kind::Shutdown => Fault::Caller,
            Kind::Timeout(TimeoutKind::Queue | TimeoutKind::Acquire | TimeoutKind::Deadline) => {
                Fault::Caller
            }
            Kind::Connect(errno) | Kind::Io(errno) if errno.is_ours() => Fault::Machine,
            Kind::Parse(_) | Kind::Framing(_) | Kind::Truncated { .. } | Kind::Limit(_) => {
                Fault::Server
            }
            Kind::Redirect(_) => Fault::Server,
            _ => Fault::Network,
        }
    }
}

/// What the shard's side knows of a request that failed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) reused: bool,
    pub(crate) sent: Sent,
    pub(crate) got_bytes: u64,
}

impl Kind {
    /// The kind of a protocol error.
    pub(crate) fn of_protocol(error: h1::Error) -> Self {
        match error {
            h1::Error::Parse(_) | h1::Error::Unsolicited => Self::Parse(error),
            h1::Error::Framing(_) | h1::Error::Chunked(_) => Self::Framing(error),
            h1::Error::Limit(limit) => Self::Limit(LimitKind::Protocol(limit)),
            h1::Error::ClosedIdle | h1::Error::EmptyReply => Self::Closed,
            h1::Error::InterimOnly { .. } => Self::Truncated { expected: None, got: 0 },
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
            Self::Resolve(_) | Self::Timeout(TimeoutKind::Resolve) => Some(Phase::Resolve),
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
            Self::Resolve(_) => "resolve",
            Self::Connect(_) => "connect",
            Self::PoolFull { .. } => "pool_full",
            Self::Timeout(kind) => kind.name(),
            Self::Parse(_) => "parse",
            Self::Framing(_) => "framing",
            Self::Truncated { .. } => "truncated",
            Self::Limit(_) => "limit",
            Self::Closed => "closed",
            Self::Io(_) => "io",
            Self::Redirect(_) => "redirect",
            Self::RequestBody(_) => "request_body",
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

    fn sentence(self) -> &'static str {
        match self {
            Self::Queue => "no permit came free within the queue timeout; raise max_in_flight",
            Self::Acquire => {
                "no connection came free within the acquire timeout; raise the limits on connections"
            }
            Self::Resolve => "the name was not resolved within the resolve timeout",
            Self::Connect => "no connection within the connect timeout",
            Self::Send => "the server took nothing more within the send timeout",
            Self::Head => "no response head within the head timeout",
            Self::ReadIdle => "nothing more of the body came within the read_idle timeout",
            Self::Total => "not finished within the total timeout",
            Self::Deadline => "not finished within the deadline of the batch",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(error) => write!(f, "{error}"),
            Self::Request(error) => write!(f, "{error}"),
            Self::Config(problem) | Self::Resolve(problem) => f.write_str(problem),
            Self::Connect(errno) => write!(f, "{errno}{}", errno.remedy()),
            Self::PoolFull { max_waiters } => {
                write!(f, "{max_waiters} requests wait for a connection already (max_waiters)")
            }
            Self::Timeout(kind) => f.write_str(kind.sentence()),
            Self::Parse(error) | Self::Framing(error) => write!(f, "{error}"),
            Self::Truncated { expected: Some(expected), got } => {
                write!(f, "the server closed the connection after {got} of {expected} body bytes")
            }
            Self::Truncated { expected: None, got } => {
                write!(f, "the server closed the connection after {got} bytes, before the end")
            }
            Self::Limit(LimitKind::Protocol(limit)) => write!(f, "{limit}"),
            Self::Limit(LimitKind::Body { max_bytes }) => {
                write!(
                    f,
                    "the body is longer than {max_bytes} bytes; read it in chunks, or raise the limit"
                )
            }
            Self::Closed => f.write_str("the server closed the connection before answering"),
            Self::Io(errno) => write!(f, "the connection broke: {errno}{}", errno.remedy()),
            Self::Redirect(kind) => write!(f, "{kind}"),
            Self::RequestBody(problem) => write!(f, "the request body: {problem}"),
            Self::Canceled => f.write_str("cancelled"),
            Self::Shutdown => f.write_str("the engine was shut down"),
            Self::User(message) => write!(f, "a closure panicked: {message}"),
        }
    }
}

impl fmt::Display for RedirectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany { max } => write!(f, "more than {max} redirects"),
            Self::Location(problem) => write!(f, "the redirect leads nowhere: {problem}"),
            Self::BodyGone => f.write_str("the redirect asks for the request body again, which was a stream; send it as bytes"),
        }
    }
}

impl Phase {
    fn verb(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Queue => "queue",
            Self::Acquire => "acquire a connection",
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Send => "send",
            Self::Head => "wait for the head",
            Self::Body => "read the body",
            Self::Redirect => "redirect",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        if let Some(request) = &inner.request {
            write!(f, "{} {}: ", request.method, request.url)?;
        }
        write!(f, "{}", inner.phase.verb())?;
        match inner.peer {
            Some(peer) if inner.phase == Phase::Connect => write!(f, " to {peer}")?,
            Some(peer) => write!(f, " ({peer})")?,
            None => {}
        }
        let millis = inner.elapsed.as_secs_f64() * 1e3;
        write!(f, ": {} (attempt {}, {millis:.1} ms)", inner.kind, inner.attempt)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0.kind {
            Kind::Url(error) => Some(error),
            Kind::Request(error) => Some(error),
            Kind::Parse(error) | Kind::Framing(error) => Some(error),
            _ => None,
        }
    }
}

/// A stream's own error, as text that can be shared.
pub(crate) fn text_of(error: &(dyn StdError + Send + Sync)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

const _: () = assert!(size_of::<Error>() == 8);
const _: fn() = || {
    fn is_shareable<T: Send + Sync + 'static>() {}
    is_shareable::<Error>();
    is_shareable::<Arc<Error>>();
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_that_says_what_where_and_what_next() {
        let progress = Progress { peer: "10.0.0.1:80".parse().ok(), ..Progress::default() };
        let error = Error::new(Kind::Connect(Errno(libc::ECONNREFUSED)), Phase::Connect)
            .with_progress(&progress)
            .with_request(&Method::GET, "http://h/".to_owned())
            .with_attempt(1, Duration::from_micros(300));
        let line = "GET http://h/: connect to 10.0.0.1:80: ECONNREFUSED (Connection refused): nothing listens there, or its backlog is full (attempt 1, 0.3 ms)";
        assert_eq!(error.to_string(), line);
        assert!(error.is_connect() && error.is_retryable() && !error.may_have_been_processed());
        assert_eq!((error.fault(), error.kind().name()), (Fault::Network, "connect"));
    }

    #[test]
    fn what_may_have_been_processed_is_repeated_only_if_idempotent() {
        let check = |method: &Method, sent: Sent, retryable: bool| {
            let progress = Progress { sent, ..Progress::default() };
            let error = Error::new(Kind::Closed, Phase::Head)
                .with_progress(&progress)
                .with_request(method, String::new());
            assert_eq!(error.is_retryable(), retryable, "{method} {sent:?}");
        };
        check(&Method::GET, Sent::All, true);
        check(&Method::POST, Sent::All, false);
        check(&Method::POST, Sent::Partial, false);
        check(&Method::POST, Sent::None, true);
        let total = Error::new(Kind::Timeout(TimeoutKind::Total), Phase::Acquire);
        assert!(total.is_timeout() && !total.is_retryable());
    }

    #[test]
    fn every_kind_has_a_fault() {
        let check = |kind: Kind, fault: Fault| {
            assert_eq!(Error::new(kind.clone(), Phase::Head).fault(), fault, "{kind}");
        };
        check(Kind::Connect(Errno(libc::EMFILE)), Fault::Machine);
        check(Kind::Connect(Errno(libc::EHOSTUNREACH)), Fault::Network);
        check(Kind::Truncated { expected: Some(5), got: 2 }, Fault::Server);
        check(Kind::PoolFull { max_waiters: 1 }, Fault::Caller);
        check(Kind::Timeout(TimeoutKind::Acquire), Fault::Caller);
        check(Kind::Timeout(TimeoutKind::Head), Fault::Network);
    }
}
