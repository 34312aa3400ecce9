//! A server for one short text over HTTP/1.1: `GET /metrics`, one request a connection, one connection at a time. Bounded in bytes and time, so that
//! a client that sends nothing, or never stops, holds nobody up for long.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Longest request head.
const REQUEST_BYTES_MAX: usize = 8 * 1024;
/// Longest that a connection lasts.
const CONNECTION_MAX: Duration = Duration::from_secs(2);
/// Longest wait for a client to close after its answer: closing first could take the answer from it.
const LINGER_MAX: Duration = Duration::from_millis(200);
/// Wait after a connection could not be accepted, which may go on failing at once.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Metrics,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    TooLarge,
}

/// Why a wait for a socket ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ready {
    Yes,
    /// Not in time, or the run is over.
    No,
}

/// Answers with what `render` says, until the other side of `ended` closes.
pub(super) fn serve(
    listener: &TcpListener,
    ended: &UnixStream,
    render: &mut dyn FnMut() -> String,
) {
    while wait(listener, ended, None) == Ready::Yes {
        match listener.accept() {
            // What fails here concerns that client alone, and it notices.
            Ok((connection, _)) => drop(answer(&connection, ended, render)),
            Err(_) => drop(wait(ended, ended, Some(ACCEPT_RETRY))),
        }
    }
}

/// Waits until `socket` can be read, for at most `limit`.
fn wait(socket: impl AsFd, ended: &UnixStream, limit: Option<Duration>) -> Ready {
    let mut files = [PollFd::new(ended, PollFlags::IN), PollFd::new(&socket, PollFlags::IN)];
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    loop {
        match poll(&mut files, limit.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(count) if count > 0 && files[0].revents().is_empty() => return Ready::Yes,
            _ => return Ready::No,
        }
    }
}

fn answer(
    connection: &TcpStream,
    ended: &UnixStream,
    render: &mut dyn FnMut() -> String,
) -> io::Result<()> {
    let deadline = Instant::now() + CONNECTION_MAX;
    connection.set_nonblocking(false)?;
    connection.set_write_timeout(Some(CONNECTION_MAX))?;
    let answer = read_request(connection, ended, deadline)?;
    let body = if answer == Answer::Metrics { render() } else { format!("{}\n", answer.status()) };
    (&*connection).write_all(response(answer, &body).as_bytes())?;
    connection.shutdown(Shutdown::Write)?;
    linger(connection, ended)
}

/// Reads up to the end of the head; there is no body in what we answer.
fn read_request(
    mut connection: &TcpStream,
    ended: &UnixStream,
    deadline: Instant,
) -> io::Result<Answer> {
    let (mut head, mut filled) = ([0; REQUEST_BYTES_MAX], 0);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || wait(connection, ended, Some(left)) == Ready::No {
            return Err(ErrorKind::TimedOut.into());
        }
        let count = connection.read(&mut head[filled..])?;
        filled += count;
        match head[..filled].windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            Some(end) => return Ok(Answer::to(&head[..end])),
            None if filled == head.len() => return Ok(Answer::TooLarge),
            None if count == 0 => return Ok(Answer::BadRequest),
            None => {}
        }
    }
}

/// Reads on until the client closes.
fn linger(mut connection: &TcpStream, ended: &UnixStream) -> io::Result<()> {
    let deadline = Instant::now() + LINGER_MAX;
    let mut rest = [0; REQUEST_BYTES_MAX];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero()
            || wait(connection, ended, Some(left)) == Ready::No
            || connection.read(&mut rest)? == 0
        {
            return Ok(());
        }
    }
}

impl Answer {
    /// By the request line of a head (RFC 9112 section 3).
    fn to(head: &[u8]) -> Self {
        let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        match words[..] {
            [method, target, version] if is_http_1(version) && !method.is_empty() => {
                let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
                match (method, path) {
                    (b"GET", b"/metrics") => Self::Metrics,
                    (_, b"/metrics") => Self::MethodNotAllowed,
                    _ => Self::NotFound,
                }
            }
            _ => Self::BadRequest,
        }
    }

    fn status(self) -> &'static str {
        match self {
            Self::Metrics => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found: /metrics is here",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::TooLarge => "431 Request Header Fields Too Large",
        }
    }
}

fn is_http_1(version: &[u8]) -> bool {
    matches!(version, b"HTTP/1.1" | b"HTTP/1.0")
}

fn response(answer: Answer, body: &str) -> String {
    let kind = match answer {
        Answer::Metrics => "text/plain; version=0.0.4; charset=utf-8",
        _ => "text/plain; charset=utf-8",
    };
    let allow = if answer == Answer::MethodNotAllowed { "Allow: GET\r\n" } else { "" };
    format!(
        "HTTP/1.1 {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{allow}Connection: close\r\n\r\n{body}",
        answer.status(),
        body.len(),
    )
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// What a server answers to each of `requests`, each on a connection of its own, and how long all took.
    fn answers(requests: &[&[u8]]) -> (Vec<String>, Duration) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let (end, ended) = UnixStream::pair().unwrap();
        let start = Instant::now();
        let talk = |request: &&[u8]| {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            client.write_all(request).unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).unwrap();
            String::from_utf8(answer).unwrap()
        };
        thread::scope(|scope| {
            scope.spawn(|| serve(&listener, &ended, &mut || "figures 1\n".to_owned()));
            let answers = requests.iter().map(talk).collect();
            drop(end);
            (answers, start.elapsed())
        })
    }

    fn check(request: &[u8], status: &str) {
        let (answers, _) = answers(&[request]);
        let expected = format!("HTTP/1.1 {status}");
        assert!(answers[0].starts_with(&expected), "{status}: {}", answers[0]);
        assert!(answers[0].contains("\r\nConnection: close\r\n"), "{}", answers[0]);
    }

    #[test]
    fn the_metrics_are_at_their_path() {
        let request = b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n";
        let (answers, _) = answers(&[request, request]);
        assert_eq!(answers[0], answers[1]);
        for part in ["HTTP/1.1 200 OK\r\n", "version=0.0.4", "Content-Length: 10\r\n"] {
            assert!(answers[0].contains(part), "no {part:?} in {}", answers[0]);
        }
        assert!(answers[0].ends_with("\r\n\r\nfigures 1\n"));
        check(b"GET /metrics?debug HTTP/1.0\r\n\r\n", "200");
    }

    #[test]
    fn the_rest_is_refused() {
        check(b"GET / HTTP/1.1\r\n\r\n", "404");
        check(b"POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed\r\n");
        check(b"GET /metrics\r\n\r\n", "400");
        check(b"GET /metrics HTTP/2.0\r\n\r\n", "400");
        check(b"\r\n\r\n", "400");
        let endless = [b"GET /metrics HTTP/1.1\r\nA: ".as_slice(), &[b'a'; 20_000]].concat();
        check(&endless, "431");
    }

    #[test]
    fn a_silent_client_holds_nobody_up_for_long() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let (end, ended) = UnixStream::pair().unwrap();
        let silent = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        thread::scope(|scope| {
            let server = scope.spawn(|| serve(&listener, &ended, &mut String::new));
            let mut next = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            next.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
            let mut answer = Vec::new();
            next.read_to_end(&mut answer).unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 200 OK"));
            // Another that is silent does not keep the end waiting.
            let _third = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            drop(end);
            let start = Instant::now();
            server.join().unwrap();
            assert!(start.elapsed() < CONNECTION_MAX / 2, "{:?}", start.elapsed());
        });
        drop(silent);
    }

    #[test]
    fn the_end_comes_without_a_client() {
        assert!(answers(&[]).1 < CONNECTION_MAX);
    }
}
