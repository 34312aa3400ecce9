//! Every kind of error: its line, its phase, whose fault it is, and what it says of the request (http-client.md A7).

use std::sync::Arc;

use http::Method;
use ringshot::client::{
    ClientBuilder, Error, Fault, Kind, Phase, Request, RequestBody, Sent, Timeouts,
};
use ringshot::resolve::{Answer, Lookup, Resolve, ResolveError, Resolver};
use ringshot_tests::peer::{Conversation, Peer};

use crate::access::{Access, LONG, OK, check, get, millis, post};
use crate::feed::fed;

/// What is expected of an error.
struct Expected {
    kind: &'static str,
    /// What its line is, without the URL at its beginning and the time at its end; `PEER` is the server's address.
    line: &'static str,
    phase: Phase,
    fault: Fault,
    sent: Sent,
    /// What `is_timeout`, `is_connect`, `is_retryable` and `may_have_been_processed` say.
    says: [bool; 4],
}

#[track_caller]
fn assert_error(error: &Error, url: &str, peer: &str, expected: &Expected) {
    let line = error.to_string();
    assert_eq!(line.lines().count(), 1, "{line:?}");
    let shown = url.split('?').next().unwrap();
    let begins = format!(
        "{} {shown}{}: ",
        error.method().unwrap(),
        if url.contains('?') { "?..." } else { "" }
    );
    let rest = line
        .strip_prefix(&begins)
        .unwrap_or_else(|| panic!("{line:?} does not begin with {begins:?}"));
    let (rest, tail) = rest.rsplit_once(" (attempt ").unwrap();
    assert!(
        tail.starts_with(&format!("{}, ", error.attempt())) && tail.ends_with(" ms)"),
        "{line:?}"
    );
    assert_eq!(rest, expected.line.replace("PEER", peer));
    assert_eq!(error.kind().name(), expected.kind);
    assert_eq!(
        (error.phase(), error.fault(), error.sent()),
        (expected.phase, expected.fault, expected.sent),
        "{line}"
    );
    let says = [
        error.is_timeout(),
        error.is_connect(),
        error.is_retryable(),
        error.may_have_been_processed(),
    ];
    assert_eq!(says, expected.says, "{line}");
    assert_eq!(error.url().map(|url| url.contains("secret")), Some(false));
}

/// Knows no name.
struct Unknown;

impl Resolve for Unknown {
    fn lookup(&self, host: &str) -> Lookup {
        let outcome = match host {
            "empty.test" => Ok(Answer::default()),
            "busy.test" => Err(ResolveError::Busy { name: Arc::from(host), queued: 1 }),
            _ => Err(ResolveError::NotFound { name: Arc::from(host) }),
        };
        Box::pin(async move { outcome })
    }
}

fn setup(builder: ClientBuilder) -> ClientBuilder {
    let timeouts = Timeouts { head: Some(millis(1_000)), ..Timeouts::default() };
    let resolver = Resolver::builder().resolve_with(Unknown).build().unwrap();
    builder.timeouts(timeouts).resolver(resolver).max_body_bytes(10)
}

/// What a request to a peer with this script ends in.
fn check_peer(script: fn(Conversation), request: fn(&str) -> Request, expected: &Expected) {
    check(setup, |access| {
        let peer = Peer::start(script);
        let url = format!("{}a?secret=1", peer.url());
        let error = access.fetch(request(&url)).unwrap_err();
        assert_error(&error, &url, &peer.address().to_string(), expected);
        assert_eq!(error.peer(), Some(peer.address()));
    });
}

fn answering(mut peer: Conversation, response: &str) {
    peer.request();
    peer.send(response);
}

#[test]
fn closed() {
    let expected = Expected {
        kind: "closed",
        line: "wait for the head (PEER): the server closed the connection before answering",
        phase: Phase::Head,
        fault: Fault::Network,
        sent: Sent::All,
        says: [false, false, true, true],
    };
    check_peer(|peer| answering(peer, ""), get, &expected);
    let unsafe_to_repeat = Expected { says: [false, false, false, true], ..expected };
    check_peer(|peer| answering(peer, ""), |url| post(url, "x"), &unsafe_to_repeat);
}

#[test]
fn io() {
    let expected = Expected {
        kind: "io",
        line: "wait for the head (PEER): the connection broke: ECONNRESET (Connection reset by peer)",
        phase: Phase::Head,
        fault: Fault::Network,
        sent: Sent::All,
        says: [false, false, true, true],
    };
    let reset = |mut peer: Conversation| {
        peer.request();
        peer.reset();
    };
    check_peer(reset, get, &expected);
}

#[test]
fn truncated() {
    let expected = Expected {
        kind: "truncated",
        line: "read the body (PEER): the server closed the connection after 3 of 9 body bytes",
        phase: Phase::Body,
        fault: Fault::Server,
        sent: Sent::All,
        says: [false, false, true, true],
    };
    let cut = |peer| answering(peer, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
    check_peer(cut, get, &expected);
    // In the body, too, it is known that the request may be repeated.
    check_peer(cut, |url| post(url, "x").idempotent(), &Expected { ..expected });
}

#[test]
fn limit() {
    let expected = Expected {
        kind: "limit",
        line: "read the body: the body is longer than 10 bytes; read it in chunks, or raise the limit",
        phase: Phase::Body,
        fault: Fault::Server,
        sent: Sent::All,
        says: [false, false, false, true],
    };
    check(setup, |access| {
        let peer = Peer::start(|peer| {
            answering(peer, "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world");
        });
        let error = access.get(&peer.url()).unwrap_err();
        let line = error.to_string();
        assert!(
            line.contains(
                "the body is longer than 10 bytes; read it in chunks, or raise the limit"
            ),
            "{line}"
        );
        let known = (error.kind().name(), error.phase(), error.fault(), error.is_retryable());
        assert_eq!(known, (expected.kind, expected.phase, expected.fault, false));
        assert!(error.may_have_been_processed(), "{line}");
        assert_eq!(error.url(), Some(peer.url().as_str()));
    });
}

#[test]
fn parse_and_framing() {
    let expected = |kind, line| Expected {
        kind,
        line,
        phase: Phase::Head,
        fault: Fault::Server,
        sent: Sent::All,
        says: [false, false, false, true],
    };
    check(setup, |access| {
        for (response, expected) in [
            ("SSH-2.0-x\r\n\r\n", expected("parse", "")),
            ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", expected("framing", "")),
        ] {
            let peer = Peer::start(move |peer| answering(peer, response));
            let error = access.get(&peer.url()).unwrap_err();
            let known = (error.kind().name(), error.phase(), error.fault(), error.sent());
            assert_eq!(
                known,
                (expected.kind, expected.phase, expected.fault, expected.sent),
                "{error}"
            );
            assert!(
                !error.is_retryable() && std::error::Error::source(&error).is_some(),
                "{error}"
            );
            assert!(error.got_bytes() > 0 && !error.to_string().contains('\n'));
        }
    });
}

#[test]
fn timeout() {
    let expected = Expected {
        kind: "timeout_head",
        line: "wait for the head (PEER): no response head within the head timeout",
        phase: Phase::Head,
        fault: Fault::Network,
        sent: Sent::All,
        says: [true, false, true, true],
    };
    check_peer(|mut peer| peer.read_to_end(), get, &expected);
}

#[test]
fn request_body() {
    let expected = Expected {
        kind: "request_body",
        line: "send (PEER): the request body: no more ink",
        phase: Phase::Send,
        fault: Fault::Caller,
        sent: Sent::Partial,
        says: [false, false, false, true],
    };
    let failing = |url: &str| {
        let pieces = fed(|feeder| {
            std::thread::sleep(millis(50));
            feeder.fail("no more ink");
        });
        Request::new(Method::PUT, url).unwrap().body(RequestBody::stream(pieces))
    };
    check_peer(|mut peer| peer.read_to_end(), failing, &expected);
}

#[test]
fn connect() {
    check(setup, |access| {
        let address = Peer::start(drop).address();
        let url = format!("http://user:secret@{address}/x?secret#secret");
        let error = access.get(&url).unwrap_err();
        let expected = Expected {
            kind: "connect",
            line: "connect to PEER: ECONNREFUSED (Connection refused): nothing listens there, or its backlog is full",
            phase: Phase::Connect,
            fault: Fault::Network,
            sent: Sent::None,
            says: [false, true, true, false],
        };
        assert_error(&error, &format!("http://{address}/x?"), &address.to_string(), &expected);
        assert_eq!(error.peer(), Some(address));
        assert_eq!(error.url().unwrap(), format!("http://{address}/x?..."));
    });
}

#[test]
fn resolve() {
    check(setup, |access| {
        for (name, fault, may_pass) in [
            ("none.test", Fault::Caller, false),
            ("empty.test", Fault::Caller, false),
            ("999.0.0.1", Fault::Caller, false),
            ("busy.test", Fault::Network, true),
        ] {
            let error = access.get(&format!("http://{name}/")).unwrap_err();
            let known = (error.kind().name(), error.phase(), error.fault(), error.sent());
            assert_eq!(known, ("resolve", Phase::Resolve, fault, Sent::None), "{error}");
            assert_eq!(error.is_retryable(), may_pass, "{error}");
            assert!(error.is_connect() && error.peer().is_none(), "{error}");
            assert!(
                error.to_string().starts_with(&format!("GET http://{name}/: resolve: ")),
                "{error}"
            );
            assert!(!error.may_have_been_processed());
        }
    });
}

#[test]
fn what_is_wrong_with_a_request_is_the_callers() {
    check(setup, |access| {
        for url in ["https://h/", "ftp://h/", "http://", "h", "http://a b/", "http://h:99999/"] {
            let error = Request::get(url).unwrap_err();
            assert_eq!((error.kind().name(), error.phase()), ("url", Phase::Build), "{url}");
            assert_eq!(
                (error.fault(), error.url(), error.is_retryable()),
                (Fault::Caller, None, false)
            );
        }
        let url = "ftp://h/";
        let error = on_client!(access, client => client.get(url).send().await.unwrap_err());
        assert_eq!(error.kind().name(), "url");
        let error = get("http://h/").header("a b", "c").unwrap_err();
        assert_eq!((error.kind().name(), error.fault()), ("config", Fault::Caller));
        let wrong: [fn(ClientBuilder) -> ClientBuilder; 5] = [
            |builder| builder.max_in_flight(0),
            |builder| builder.max_conns(0),
            |builder| builder.max_conns_per_host(0),
            |builder| builder.max_connecting_per_host(0),
            |builder| builder.header("a b", "c"),
        ];
        for wrong in wrong {
            let error = wrong(access.engine.client()).build().unwrap_err();
            assert_eq!((error.kind().name(), error.phase()), ("config", Phase::Build), "{error}");
        }
        let error = access.engine.client().max_conns(u32::MAX).build().unwrap_err();
        assert!(error.to_string().contains("ulimit -n"), "{error}");
    });
}

/// How long it took, by whom it was tried, whether it was the first on its connection.
#[test]
fn an_error_knows_its_request() {
    let reused = |access: &Access| {
        let peer = Peer::start(|mut peer| {
            peer.request();
            peer.send(OK);
            peer.request();
            std::thread::sleep(millis(30));
        });
        assert_eq!(access.get(&peer.url()).unwrap().status(), 200);
        access.wait_idle(1);
        access.fetch(post(&peer.url(), "x")).unwrap_err()
    };
    check(
        |builder| builder,
        |access| {
            let error = reused(access);
            assert!(error.is_reused() && error.method() == Some(&Method::POST), "{error}");
            assert!(error.elapsed() >= millis(29) && error.elapsed() < LONG, "{error}");
            assert_eq!((error.attempt(), error.got_bytes()), (1, 0));
            let copy = error.clone();
            assert_eq!(copy.to_string(), error.to_string());
        },
    );
}

/// A server that answers the first request and goes away with the second.
fn dying_server() -> (String, std::thread::JoinHandle<()>) {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        assert!(peer.read(&mut request).unwrap() > 0);
        peer.write_all(OK.as_bytes()).unwrap();
        drop(listener);
        assert!(peer.read(&mut request).unwrap() > 0);
    });
    (url, server)
}

#[test]
fn what_earlier_attempts_sent_is_not_forgotten() {
    check(
        |client| client,
        |access| {
            let (url, server) = dying_server();
            let put = || Request::new(Method::PUT, &*url).unwrap().body("once");
            assert_eq!(access.fetch(put()).unwrap().status(), 200);
            // It dies on its reused connection, and nobody listens for the fresh one.
            let error = access.fetch(put()).unwrap_err();
            assert!(matches!(error.kind(), Kind::Connect(_)), "{error}");
            assert!(error.may_have_been_processed() && error.is_retryable(), "{error}");
            assert!(!error.is_reused(), "{error}");
            server.join().unwrap();
        },
    );
}

#[test]
fn what_led_to_a_redirect_is_not_forgotten() {
    check(
        |client| client.redirects(3),
        |access| {
            let peer = Peer::start(|mut peer| {
                peer.request();
                peer.send("HTTP/1.1 303 See Other\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
            });
            let post = Request::new(Method::POST, peer.url()).unwrap().body("once");
            let error = access.fetch(post).unwrap_err();
            assert!(matches!(error.kind(), Kind::Connect(_)), "{error}");
            // The GET may be repeated, what led to it may not.
            assert!(error.may_have_been_processed() && !error.is_retryable(), "{error}");
        },
    );
}
