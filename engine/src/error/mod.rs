//! What a request can end in instead of a response: one typed error that names kind, phase, fault, URL, peer and attempt. Decides nothing.

mod kind;
mod text;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Method;

pub use kind::{Fault, Kind, LimitKind, Phase, RedirectKind, Sent, TimeoutKind};
pub(crate) use text::{message_of_panic, text_of, text_of_others};

/// Why a request has no response, or its body no end. 8 bytes, so that a `Result` of a response stays small.
///
/// Shown with `{}` it is the whole chain in one line, whoever wrote a part of it: lines of a resolver's or a body's error are joined, control characters escaped.
/// `GET http://127.0.0.1:9/: connect to 127.0.0.1:9: ECONNREFUSED (Connection refused): nothing listens there, or its backlog is full (attempt 1, 0.3 ms)`.
/// Where several addresses of a host failed, it is about the one that tells most, and the line says
/// what became of others: `...; 10.0.0.2:80: no answer; [2001:db8::1]:80: ENETUNREACH (attempt ...`.
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
/// assert!(matches!(error.kind(), Kind::Connect(_)) && error.is_connect());
/// assert_eq!((error.method(), error.is_reused(), error.got_bytes()), (Some(&http::Method::GET), false, 0));
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
    /// What became of the host's other addresses.
    others: Option<Arc<str>>,
    attempt: u8,
    reused: bool,
    sent: Sent,
    idempotent: bool,
    got_bytes: u64,
    elapsed: Duration,
}

/// What came before an attempt of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct History {
    /// The most that was sent.
    pub(crate) sent: Sent,
    /// Whether all of it may be sent twice (RFC 9110 9.2.2).
    pub(crate) idempotent: bool,
}

impl Default for History {
    fn default() -> Self {
        Self { sent: Sent::None, idempotent: true }
    }
}

/// Which request.
#[derive(Debug, Clone)]
struct Request {
    method: Method,
    url: String,
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
            others: None,
            attempt: 1,
            reused: false,
            sent: if answered { Sent::All } else { Sent::None },
            idempotent: false,
            got_bytes: 0,
            elapsed: Duration::ZERO,
        }))
    }

    /// A body that is longer than may be held.
    pub(crate) fn body_too_long(max_bytes: u64, progress: &Progress) -> Self {
        let kind = Kind::Limit(LimitKind::Body { max_bytes });
        Self::new(kind, Phase::Body).with_progress(progress)
    }

    /// A body that its file did not take.
    pub(crate) fn not_copied(problem: &std::io::Error, progress: &Progress) -> Self {
        Self::new(Kind::CopyTo(problem.to_string()), Phase::Body).with_progress(progress)
    }

    /// What the shard's side knew.
    pub(crate) fn with_progress(mut self, progress: &Progress) -> Self {
        self.0.peer = progress.peer;
        self.0.reused = progress.reused;
        self.0.sent = progress.sent;
        self.0.got_bytes = progress.got_bytes;
        self
    }

    /// What became of the host's other addresses, from [`text_of_others`].
    pub(crate) fn with_others(mut self, others: Option<Arc<str>>) -> Self {
        self.0.others = others;
        self
    }

    /// The same, but that something else went wrong.
    pub(crate) fn turned_into(mut self, kind: Kind) -> Self {
        (self.0.kind, self.0.others) = (kind, None);
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

    /// The caller says that the request may be sent twice, whatever its method.
    pub(crate) fn idempotent(mut self) -> Self {
        self.0.idempotent = true;
        self
    }

    /// What came before.
    pub(crate) fn after(mut self, history: History) -> Self {
        self.0.sent = self.0.sent.max(history.sent);
        self.0.idempotent &= history.idempotent;
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

    /// The address of the server, once a connection was tried; of several, the one that the kind is about.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.0.peer
    }

    /// Which attempt failed: 1 for the first.
    #[must_use]
    pub fn attempt(&self) -> u8 {
        self.0.attempt
    }

    /// Whether the connection had carried another request before; `false` where there was none.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        self.0.reused
    }

    /// How much of the request the kernel had accepted.
    #[must_use]
    pub fn sent(&self) -> Sent {
        self.0.sent
    }

    /// Bytes of the response that had come, head included; those that were thrown away in the kernel too. Where a [`Body`](crate::client::Body) was longer than was
    /// allowed, it is those of its head and of the pieces that were taken: more may have waited on the core.
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
            Kind::Resolve { .. } | Kind::Connect(_) | Kind::Timeout(Connect | Resolve)
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
            Kind::Resolve { is_temporary, .. } => *is_temporary,
            Kind::Connect(_) | Kind::Closed | Kind::Io(_) => true,
            Kind::Truncated { .. } | Kind::InterimOnly { .. } | Kind::PoolFull { .. } => true,
            Kind::Timeout(kind) => !matches!(kind, TimeoutKind::Total | TimeoutKind::Deadline),
            _ => false,
        };
        passing && (self.0.idempotent || !self.may_have_been_processed())
    }

    /// Who has to change something. Where the total timeout or a batch's deadline passed, it is whom
    /// the request was waiting for then: a limit of the caller's, or the network and the server.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match &self.0.kind {
            Kind::Url(_) | Kind::Request(_) | Kind::Config(_) | Kind::PoolFull { .. } => {
                Fault::Caller
            }
            Kind::Resolve { is_temporary: false, .. } => Fault::Caller,
            Kind::RequestBody(_) | Kind::CopyTo(_) | Kind::User(_) => Fault::Caller,
            Kind::Canceled | Kind::Shutdown => Fault::Caller,
            Kind::Timeout(TimeoutKind::Queue | TimeoutKind::Acquire) => Fault::Caller,
            // Spent on limits of the caller's, before anybody else was asked for anything.
            Kind::Timeout(TimeoutKind::Total | TimeoutKind::Deadline)
                if matches!(self.0.phase, Phase::Build | Phase::Queue | Phase::Acquire) =>
            {
                Fault::Caller
            }
            Kind::Connect(errno) | Kind::Io(errno) if errno.is_ours() => Fault::Machine,
            Kind::Parse(_) | Kind::Framing(_) | Kind::Truncated { .. } | Kind::Limit(_) => {
                Fault::Server
            }
            Kind::InterimOnly { .. } | Kind::Redirect(_) => Fault::Server,
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

const _: () = assert!(size_of::<Error>() == 8);

const _: fn() = || {
    fn is_shareable<T: Send + Sync + 'static>() {}
    is_shareable::<Error>();
    is_shareable::<Arc<Error>>();
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Errno;

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

    #[test]
    fn a_timeout_of_all_is_the_fault_of_whom_it_was_waiting_for() {
        for kind in [TimeoutKind::Total, TimeoutKind::Deadline] {
            let check = |phase: Phase, fault: Fault| {
                let error = Error::new(Kind::Timeout(kind), phase);
                assert_eq!(error.fault(), fault, "{error}");
            };
            check(Phase::Queue, Fault::Caller);
            check(Phase::Acquire, Fault::Caller);
            check(Phase::Resolve, Fault::Network);
            check(Phase::Connect, Fault::Network);
            check(Phase::Head, Fault::Network);
            check(Phase::Body, Fault::Network);
        }
    }
}
