//! Requests that died with a connection: repeated once, on a fresh one, exactly where that can do no harm (http-client.md A5, items 72 and 75 of B2).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::Method;
use ringshot::client::{ClientBuilder, Error, Fetched, Kind, Phase, Request, RetryStale, Sent};
use ringshot_tests::peer::{Conversation, Peer, response_of};

use crate::access::{Access, OK, check, get, millis, post};

/// How a connection dies when the second request on it is there.
#[derive(Debug, Clone, Copy)]
enum Death {
    End,
    Reset,
    /// An answer that speaks of the connection, not of the request.
    Says408,
    /// The same, with a body that comes after its head.
    Begins408,
    /// Half a status line: a response has begun.
    Begun,
}

const DEATHS: [Death; 4] = [Death::End, Death::Reset, Death::Says408, Death::Begins408];

fn die(mut peer: Conversation, death: Death) {
    match death {
        Death::End => {}
        Death::Reset => peer.reset(),
        Death::Says408 => {
            peer.send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlate");
        }
        Death::Begins408 => {
            peer.send(
                "HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\nConnection: close\r\n\r\nla",
            );
            std::thread::sleep(millis(30));
            peer.send("te");
        }
        Death::Begun => {
            peer.send("HTTP/1.1 2");
        }
    }
}

/// A peer whose first `deadly` connections answer one request and die of the second; later ones answer all. Counts requests.
fn deadly(death: Death, deadly: u64) -> (Peer, Arc<AtomicU64>) {
    let (requests, connections) = (Arc::<AtomicU64>::default(), AtomicU64::new(0));
    let count = Arc::clone(&requests);
    let peer = Peer::start(move |mut peer| {
        let nth = connections.fetch_add(1, Ordering::SeqCst);
        let mut answered = 0;
        while peer.request().is_some() {
            let all = count.fetch_add(1, Ordering::SeqCst) + 1;
            // The first connection answers its first request; a deadly one nothing else.
            if nth < deadly && (nth > 0 || answered > 0) {
                return die(peer, death);
            }
            answered += 1;
            peer.send(format!("HTTP/1.1 200 OK\r\nx-count: {all}\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    (peer, requests)
}

/// Sends a first request, then `request`; its outcome and how often it went out.
fn second(
    access: &Access,
    death: Death,
    connections: u64,
    request: impl FnOnce(&str) -> Request,
) -> (Result<Fetched, Error>, u64) {
    let (peer, requests) = deadly(death, connections);
    assert_eq!(access.get(&peer.url()).unwrap().status(), 200);
    access.wait_idle(1);
    let outcome = access.fetch(request(&peer.url()));
    (outcome, requests.load(Ordering::SeqCst) - 1)
}

fn plain(builder: ClientBuilder) -> ClientBuilder {
    builder
}

fn check_repeated(request: fn(&str) -> Request) {
    check(plain, |access| {
        for death in DEATHS {
            let (outcome, sent) = second(access, death, 1, request);
            let response = outcome.unwrap();
            assert_eq!((response.status().as_u16(), sent), (200, 2), "{death:?}");
            assert!(!response.connection().reused, "{death:?}");
            assert_eq!(response.attempts(), 2, "{death:?}");
        }
        assert_eq!(access.total(|core| core.counters.stale_retries), 4);
    });
}

#[test]
fn idempotent_requests_are_repeated() {
    check_repeated(get);
    check_repeated(|url| Request::new(Method::DELETE, url).unwrap());
    check_repeated(|url| Request::new(Method::PUT, url).unwrap().body("again".repeat(100_000)));
    check_repeated(|url| {
        Request::new(Method::from_bytes(b"QUERY").unwrap(), url).unwrap().body("q")
    });
}

#[test]
fn what_says_that_it_is_idempotent_is_repeated() {
    check_repeated(|url| post(url, "x").idempotent());
    check_repeated(|url| post(url, "x").header("idempotency-key", "k").unwrap());
}

fn check_not_repeated(
    access: &Access,
    death: Death,
    request: fn(&str) -> Request,
) -> Option<Error> {
    let (outcome, sent) = second(access, death, 1, request);
    assert_eq!(sent, 1, "{death:?}");
    match outcome {
        Err(error) => {
            assert!(error.is_reused() && error.attempt() == 1, "{error}");
            Some(error)
        }
        Ok(response) => {
            assert_eq!(response.status(), 408, "{death:?}");
            assert_eq!(&response.bytes()[..], b"late");
            None
        }
    }
}

/// A `POST` that may have been processed is not sent twice; a 408 is then its answer.
#[test]
fn other_requests_are_not_repeated() {
    check(plain, |access| {
        for death in [Death::End, Death::Reset] {
            let error = check_not_repeated(access, death, |url| post(url, "x")).unwrap();
            assert!(matches!(error.kind(), Kind::Closed | Kind::Io(_)), "{error}");
            assert!(error.may_have_been_processed() && !error.is_retryable(), "{error}");
            assert_eq!(
                (error.sent(), error.phase(), error.got_bytes()),
                (Sent::All, Phase::Head, 0)
            );
        }
        assert!(check_not_repeated(access, Death::Says408, |url| post(url, "x")).is_none());
        assert_eq!(access.total(|core| core.counters.stale_retries), 0);
    });
}

#[test]
fn nothing_is_repeated_if_that_was_said() {
    check(
        |builder| builder.retry_stale(RetryStale::No),
        |access| {
            for death in [Death::End, Death::Reset] {
                let error = check_not_repeated(access, death, get).unwrap();
                assert!(matches!(error.kind(), Kind::Closed | Kind::Io(_)), "{error}");
                assert!(error.is_retryable(), "{error}");
            }
            assert!(check_not_repeated(access, Death::Says408, get).is_none());
        },
    );
}

/// A response that has begun shows that the request was taken up.
#[test]
fn a_request_whose_response_had_begun_is_not_repeated() {
    check(plain, |access| {
        let error = check_not_repeated(access, Death::Begun, get).unwrap();
        assert!(matches!(error.kind(), Kind::Truncated { expected: None, got: 10 }), "{error}");
        assert_eq!(error.got_bytes(), 10);
    });
}

/// The repeated request is not repeated again, and says so.
#[test]
fn nothing_is_repeated_twice() {
    check(plain, |access| {
        for death in [Death::End, Death::Reset] {
            let (outcome, sent) = second(access, death, 3, get);
            let error = outcome.unwrap_err();
            assert_eq!((sent, error.is_reused(), error.attempt()), (2, false, 2), "{error}");
        }
        // To a request on a fresh connection a 408 is an answer.
        let (outcome, sent) = second(access, Death::Says408, 3, get);
        assert_eq!((outcome.unwrap().status().as_u16(), sent), (408, 2));
    });
}

#[test]
fn nothing_is_repeated_that_died_on_a_fresh_connection() {
    check(plain, |access| {
        for death in [Death::End, Death::Reset] {
            let peer = Peer::start(move |mut peer| {
                peer.request();
                die(peer, death);
            });
            let error = access.get(&peer.url()).unwrap_err();
            assert_eq!(
                (error.attempt(), error.is_reused(), peer.accepted()),
                (1, false, 1),
                "{error}"
            );
        }
    });
}

/// The connection was closed long before the request: whatever the method, what never left this machine is sent again.
#[test]
fn what_was_never_sent_is_repeated_whatever_its_method() {
    check(plain, |access| {
        for n in 0..30 {
            let peer = Peer::start(|mut peer| {
                peer.request();
                peer.send(OK);
            });
            assert_eq!(access.get(&peer.url()).unwrap().status(), 200);
            // Between the server's end and our hearing of it.
            if n % 2 == 0 {
                std::thread::yield_now();
            } else {
                access.wait_empty();
            }
            match access.fetch(post(&peer.url(), "once")) {
                Ok(response) => assert_eq!(response.status(), 200),
                Err(error) => assert!(error.may_have_been_processed() && n % 2 == 0, "{error}"),
            }
        }
    });
}

/// A body that was read from a file is read again.
#[test]
fn a_file_is_repeated() {
    check(plain, |access| {
        let path =
            std::env::temp_dir().join(format!("ringshot-stale-{:?}", std::thread::current().id()));
        std::fs::write(&path, "f".repeat(300_000)).unwrap();
        let file = || std::fs::File::open(&path).unwrap();
        let (peer, requests) = deadly(Death::End, 1);
        assert_eq!(access.get(&peer.url()).unwrap().status(), 200);
        access.wait_idle(1);
        let body = ringshot::client::RequestBody::file(file());
        let response =
            access.fetch(Request::new(Method::PUT, peer.url()).unwrap().body(body)).unwrap();
        assert_eq!((response.status().as_u16(), response.attempts()), (200, 2));
        assert_eq!(requests.load(Ordering::SeqCst), 3);
        std::fs::remove_file(&path).unwrap();
    });
}

/// What stands behind a response is not the next request's answer, and an end that came with it loses none: a request that waits for the connection goes to another.
#[test]
fn what_came_behind_a_response_is_nobodys() {
    let one_connection = |builder: ClientBuilder| builder.max_conns_per_host(1);
    let check_all = |peer: &Peer, what: &str| {
        check(one_connection, |access| {
            let started: Vec<_> = (0..12).map(|_| access.start(post(&peer.url(), "x"))).collect();
            for started in started {
                let response = started.outcome().unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!((response.status().as_u16(), response.bytes()[0]), (200, b'x'));
            }
            assert_eq!(access.total(|core| core.counters.stale_retries), 0);
        });
    };
    for bytes in [64, 4096, 8192, 20 << 10] {
        let surplus = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL";
        let all = [response_of(bytes), surplus.to_vec()].concat();
        check_all(
            &Peer::start(move |mut peer| peer.answer_all(&all)),
            &format!("{bytes} and more"),
        );
        let all = response_of(bytes);
        check_all(
            &Peer::start(move |mut peer| {
                if peer.request().is_some() {
                    peer.send_last(&all);
                }
            }),
            &format!("{bytes} and the end"),
        );
    }
}
