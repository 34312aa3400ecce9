//! Clients that ask for much at once: who reads is answered, however slowly the origin can send.

use super::{check_counters, on_each, plain};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use ringshot::origin::{Config, Origin};
use ringshot_tests::client::Client;

/// What each answer begins with, and nothing else holds.
const START: &str = "HTTP/1.1 ";

/// Another thread sends so many requests, and half-closes if it is to; this one reads all answers.
fn check(origin: &Origin, request: &[u8], count: usize, end: Option<Shutdown>) {
    let mut client = Client::connect(origin.address());
    let mut sender = client.0.get_ref().try_clone().expect("a socket");
    let before = origin.counters().served;
    let seen = std::thread::scope(|scope| {
        scope.spawn(|| {
            sender.write_all(&request.repeat(count)).expect("the origin reads");
            if let Some(end) = end {
                sender.shutdown(end).expect("a socket");
            }
        });
        let (mut piece, mut seen, mut rest) = (vec![0; 1 << 16], 0, Vec::new());
        while seen < count {
            let bytes = match client.0.read(&mut piece) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read.expect("no reset"),
            };
            assert!(bytes > 0, "cut off after {seen} of {count}");
            rest.extend_from_slice(&piece[..bytes]);
            seen += String::from_utf8_lossy(&rest).matches(START).count();
            // The beginning of the next one may be the end of this piece.
            rest.drain(..rest.len().saturating_sub(START.len() - 1));
        }
        seen
    });
    assert_eq!(seen, count);
    check_counters(origin, |now| now.served == before + count as u64 && now.in_progress == 0);
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes()
}

fn echo(bytes: usize) -> Vec<u8> {
    let head = format!("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: {bytes}\r\n\r\n");
    [head.as_bytes(), &vec![b'x'; bytes]].concat()
}

#[test]
fn who_reads_is_answered_however_much_he_asks_for() {
    on_each(plain, |origin| {
        for path in ["/", "/bytes/5", "/status/404", "/delay/10", "/headers"] {
            check(origin, &get(path), 10_000, None);
        }
        check(origin, &echo(64 << 10), 300, None);
        check(origin, &echo(500_000), 40, None);
        check_counters(origin, |now| now.open == 0);
    });
    let delayed = |config| Config { delay: Duration::from_millis(5), ..config };
    on_each(delayed, |origin| check(origin, &get("/"), 10_000, None));
}

/// A client that says that it is done is still answered what it asked for, if nothing of it has to wait for its time.
#[test]
fn who_closes_his_side_and_reads_is_answered() {
    on_each(plain, |origin| {
        check(origin, &get("/"), 10_000, Some(Shutdown::Write));
        check(origin, &echo(64 << 10), 300, Some(Shutdown::Write));
    });
}
