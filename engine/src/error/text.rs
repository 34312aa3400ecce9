//! Errors as text: one line that says what, where, and what next.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;

use super::{Error, Kind, LimitKind, Phase, RedirectKind, TimeoutKind};

/// Addresses that an error's line names besides its own.
const OTHERS_MAX: usize = 3;

/// The text that something panicked with; `not a text` if it threw something else.
pub(crate) fn message_of_panic(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("not a text")
}

/// A text of somebody else's in one line: its lines joined, what else would move a terminal's cursor escaped.
struct OneLine<'a>(&'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.0.lines().map(str::trim).filter(|line| !line.is_empty());
        for (n, line) in lines.enumerate() {
            if n > 0 {
                f.write_str("; ")?;
            }
            for letter in line.chars() {
                match letter {
                    '\u{2028}' | '\u{2029}' => write!(f, "{}", letter.escape_unicode())?,
                    _ if letter.is_control() => write!(f, "{}", letter.escape_debug())?,
                    _ => f.write_char(letter)?,
                }
            }
        }
        Ok(())
    }
}

impl TimeoutKind {
    fn sentence(self) -> &'static str {
        match self {
            Self::Queue => "no permit came free within the queue timeout; raise max_in_flight",
            Self::Acquire => {
                "no connection came free or was made within the acquire timeout; raise it, or the limits on connections"
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
            Self::Config(problem) | Self::Resolve { problem, .. } => {
                write!(f, "{}", OneLine(problem))
            }
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
            Self::InterimOnly { interims } => {
                let responses = if *interims == 1 { "response" } else { "responses" };
                write!(
                    f,
                    "the server closed the connection after {interims} interim {responses} and no final one"
                )
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
            Self::RequestBody(problem) => write!(f, "the request body: {}", OneLine(problem)),
            Self::CopyTo(problem) => write!(f, "copying to the file: {}", OneLine(problem)),
            Self::Canceled => f.write_str("cancelled"),
            Self::Shutdown => f.write_str("the engine was shut down"),
            Self::User(message) => write!(f, "a closure panicked: {}", OneLine(message)),
        }
    }
}

impl fmt::Display for RedirectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany { max } => write!(f, "more than {max} redirects"),
            Self::Location(problem) => {
                write!(f, "the redirect leads nowhere: {}", OneLine(problem))
            }
            Self::BodyGone => f.write_str("the redirect asks for the request body again, which was a stream; send it as bytes"),
        }
    }
}

impl Phase {
    fn verb(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Backoff => "wait for another attempt",
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
        write!(f, ": {}{}", inner.kind, inner.others.as_deref().unwrap_or_default())?;
        if inner.phase == Phase::Build {
            // Nothing was attempted.
            return Ok(());
        }
        let millis = inner.elapsed.as_secs_f64() * 1e3;
        write!(f, " (attempt {}, {millis:.1} ms)", inner.attempt)
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

/// What became of addresses of a host, but for the one that is `told`: the end of an error's line.
pub(crate) fn text_of_others(
    failed: &[(SocketAddr, Kind)],
    told: Option<SocketAddr>,
) -> Option<Arc<str>> {
    let others = failed.iter().filter(|(address, _)| Some(*address) != told);
    let mut text = String::new();
    for (address, kind) in others.clone().take(OTHERS_MAX) {
        let outcome = match kind {
            Kind::Connect(errno) => errno.name(),
            _ => "no answer".to_owned(),
        };
        text = format!("{text}; {address}: {outcome}");
    }
    match others.count().saturating_sub(OTHERS_MAX) {
        0 => {}
        more => text = format!("{text}; {more} more failed"),
    }
    (!text.is_empty()).then(|| text.into())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::url::{Url, UrlError};
    use crate::sys::Errno;

    /// Texts of others: a panic of `assert_eq!`, a stream's error, a resolver's, a line of a list.
    #[test]
    fn an_error_is_one_line_whoever_wrote_it() {
        let foreign = "left differs\n  left: 1\r\n\n right: \"é\"\x1b[1m\ttold\u{2028}";
        let shown = r#"left differs; left: 1; right: "é"\u{1b}[1m\ttold"#;
        for (kind, before) in [
            (Kind::User(foreign.into()), "a closure panicked: "),
            (Kind::RequestBody(foreign.into()), "the request body: "),
            (Kind::CopyTo(foreign.into()), "copying to the file: "),
            (Kind::Resolve { problem: foreign.into(), is_temporary: false }, ""),
            (Kind::Config(foreign.into()), ""),
            (
                Kind::Redirect(RedirectKind::Location(foreign.into())),
                "the redirect leads nowhere: ",
            ),
        ] {
            let line = Error::new(kind, Phase::Build).to_string();
            assert_eq!(line, format!("build: {before}{shown}"));
        }
        let inside = Kind::User("a\u{2028}b\u{85}c".into()).to_string();
        assert_eq!(inside, r"a closure panicked: a\u{2028}b\u{85}c");
    }

    #[test]
    fn other_addresses_are_few_and_not_the_one_that_is_told() {
        let at = |last: u8| SocketAddr::from(([10, 0, 0, last], 80));
        let refused = Kind::Connect(Errno(libc::ECONNREFUSED));
        let mut failed =
            vec![(at(1), refused.clone()), (at(2), Kind::Timeout(TimeoutKind::Connect))];
        let check = |failed: &[(SocketAddr, Kind)], expected: Option<&str>| {
            assert_eq!(text_of_others(failed, Some(at(1))).as_deref(), expected);
        };
        check(&failed[..1], None);
        check(&failed, Some("; 10.0.0.2:80: no answer"));
        failed.extend((3..=6).map(|last| (at(last), refused.clone())));
        let all = "; 10.0.0.2:80: no answer; 10.0.0.3:80: ECONNREFUSED; 10.0.0.4:80: ECONNREFUSED; 2 more failed";
        check(&failed, Some(all));
    }

    #[test]
    fn a_url_from_a_list_is_shown_in_one_line() {
        for text in [
            "h\n\u{1b}[2J",
            "http:h\n\u{1b}",
            "http://h/\n\u{1b}",
            "ht\ntp://\u{1b}",
            "http://h:\n\u{1b}",
        ] {
            let error: UrlError = Url::parse(text).unwrap_err();
            let line = Error::new(Kind::Url(error), Phase::Build).to_string();
            assert!(!line.contains(char::is_control), "{line:?}");
        }
    }
}
