//! `Expect: 100-continue`: when the body goes, when it stays, and when the request is sent again without (RFC 9110 10.1.1).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ringshot::client::{ClientBuilder, Kind, Request, RequestBody, Timeouts};
use ringshot_tests::peer::Peer;
use ringshot_tests::watch::wait_until;

use crate::access::{LONG, check, millis, origin};
use crate::feed::Endless;
use crate::upload::{Scratch, pattern, plain, put};

fn expecting(url: &str) -> Request {
    put(url, pattern(100_000)).expect_continue()
}

fn quick(builder: ClientBuilder) -> ClientBuilder {
    builder.timeouts(Timeouts { expect: millis(150), ..Timeouts::default() })
}

#[test]
fn the_body_waits_for_100() {
    check(plain, |access| {
        let peer = Peer::start(|mut peer| {
            while peer.head() {
                let early = peer.waits(millis(80));
                peer.send("HTTP/1.1 100 Continue\r\n\r\n");
                let whole = peer.request().is_some_and(|request| request.len() > 100_000);
                peer.send(format!(
                    "HTTP/1.1 200 OK\r\nx: {early} {whole}\r\nContent-Length: 0\r\n\r\n"
                ));
            }
        });
        for n in 0..2 {
            let response = access.fetch(expecting(&peer.url())).unwrap();
            assert_eq!(response.headers()["x"], "false true");
            assert_eq!(response.connection().reused, n > 0);
        }
    });
}

#[test]
fn silence_is_consent() {
    check(quick, |access| {
        let origin = origin();
        let response = access.fetch(expecting(&origin.url("/expect/ignore"))).unwrap();
        let sent = response.timings().sent.unwrap();
        assert!(response.status() == 200 && sent >= millis(149) && sent < LONG, "{sent:?}");
    });
}

/// A final answer instead of 100: the body stays here, and the connection goes.
#[test]
fn a_refusal_saves_the_body() {
    check(plain, |access| {
        let more = Arc::<AtomicBool>::default();
        let seen = Arc::clone(&more);
        let peer = Peer::start(move |mut peer| {
            peer.head();
            peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
            seen.fetch_or(peer.request().is_some(), Ordering::SeqCst);
        });
        let taken = Arc::<AtomicU64>::default();
        let pieces = Endless { piece: pattern(10), left: 100, taken: Arc::clone(&taken) };
        let stream = RequestBody::stream_of(pieces, 1000);
        let stream = put(&peer.url(), stream).expect_continue();
        for request in [expecting(&peer.url()), stream] {
            let response = access.fetch(request).unwrap();
            assert_eq!((response.status().as_u16(), &response.bytes()[..]), (403, &b"no"[..]));
            access.wait_empty();
        }
        assert!(wait_until(LONG, || peer.open() == 0));
        assert!(!more.load(Ordering::SeqCst));
        assert_eq!(taken.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn a_417_is_tried_without() {
    check(plain, |access| {
        let origin = origin();
        let response = access.fetch(expecting(&origin.url("/expect/417"))).unwrap();
        assert_eq!((response.status().as_u16(), response.attempts()), (200, 2));
        let head = access.fetch(put(&origin.url("/headers"), "").expect_continue()).unwrap();
        assert!(!head.text().to_lowercase().contains("expect"), "nothing to wait for");
    });
}

/// The plain header means the same, be it the request's or the client's.
#[test]
fn a_header_says_the_same() {
    let header = |name: &str, value: &str, request: Request| request.header(name, value).unwrap();
    let run = |build: fn(ClientBuilder) -> ClientBuilder, own: Option<&str>| {
        let own = own.map(str::to_owned);
        check(build, move |access| {
            let with = |request| match &own {
                Some(value) => header("Expect", value, request),
                None => request,
            };
            let peer = Peer::start(|mut peer| {
                while peer.head() {
                    let early = peer.waits(millis(80));
                    peer.send("HTTP/1.1 100 Continue\r\n\r\n");
                    let whole = peer.request().is_some();
                    peer.send(format!(
                        "HTTP/1.1 200 OK\r\nx: {early} {whole}\r\nContent-Length: 0\r\n\r\n"
                    ));
                }
            });
            let response = access.fetch(with(put(&peer.url(), pattern(100_000)))).unwrap();
            assert_eq!(response.headers()["x"], "false true");
            let origin = origin();
            let refused = with(put(&origin.url("/expect/417"), "body"));
            let response = access.fetch(refused).unwrap();
            assert_eq!((response.status().as_u16(), response.attempts()), (200, 2));
            // Without content there is nothing to wait with.
            for request in
                [put(&origin.url("/headers"), ""), Request::get(origin.url("/headers")).unwrap()]
            {
                let head = access.fetch(with(request)).unwrap();
                assert!(!head.text().to_lowercase().contains("expect"), "{}", head.text());
            }
            // What is said in two ways is said once.
            let once = with(put(&origin.url("/headers"), "body")).expect_continue();
            let head = access.fetch(once).unwrap().text().to_lowercase();
            assert_eq!(head.matches("expect: 100-continue").count(), 1, "{head}");
            let other = put(&origin.url("/headers"), "body");
            let head = access.fetch(header("Expect", "x", other)).unwrap().text().to_lowercase();
            assert!(head.contains("expect: x") && !head.contains("100-continue"), "{head}");
        });
    };
    run(plain, Some("100-Continue"));
    run(|builder| builder.header("expect", "100-continue"), None);
}

/// What can be made again goes out without the expectation, once; of a stream nothing was taken, but whoever gave it away has none to send again.
#[test]
fn a_417_is_an_end_for_a_stream_alone() {
    check(plain, |access| {
        let peer = Peer::start(|mut peer| {
            if peer.head() {
                peer.send("HTTP/1.1 417 Expectation Failed\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            }
        });
        let (body, scratch) = (pattern(9000), Scratch::new(&pattern(9000)));
        for body in [RequestBody::from(body), RequestBody::file(scratch.open())] {
            let response = access.fetch(put(&peer.url(), body).expect_continue()).unwrap();
            assert_eq!((response.status().as_u16(), response.attempts()), (417, 2));
        }
        let taken = Arc::<AtomicU64>::default();
        let pieces = Endless { piece: pattern(10), left: 100, taken: Arc::clone(&taken) };
        let stream = put(&peer.url(), RequestBody::stream_of(pieces, 1000)).expect_continue();
        let response = access.fetch(stream).unwrap();
        assert_eq!((response.status().as_u16(), response.attempts()), (417, 1));
        assert_eq!(taken.load(Ordering::SeqCst), 0);
        let origin = origin();
        let file = put(&origin.url("/expect/417"), RequestBody::file(scratch.open()));
        let response = access.fetch(file.expect_continue()).unwrap();
        assert_eq!((response.status().as_u16(), response.attempts()), (200, 2));
    });
}

#[test]
fn an_end_after_100_is_told() {
    check(plain, |access| {
        let peer = Peer::start(|mut peer| {
            peer.head();
            peer.send("HTTP/1.1 100 Continue\r\n\r\n");
            peer.request();
        });
        let error = access.fetch(expecting(&peer.url())).unwrap_err();
        assert!(matches!(error.kind(), Kind::InterimOnly { interims: 1 }), "{error}");
        let error = access.get(&peer.url()).unwrap_err();
        assert!(matches!(error.kind(), Kind::InterimOnly { interims: 1 }), "{error}");
    });
}

/// A request that expects nothing, for it has no body to wait with, is not told that its expectation failed.
#[test]
fn a_417_without_an_expectation_is_an_answer() {
    check(plain, |access| {
        let asked = Arc::<AtomicU64>::default();
        let count = Arc::clone(&asked);
        let peer = Peer::start(move |mut peer| {
            while peer.request().is_some() {
                count.fetch_add(1, Ordering::SeqCst);
                peer.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n");
            }
        });
        let bare = Request::new(http::Method::POST, peer.url()).unwrap();
        for request in [bare, put(&peer.url(), "")] {
            let response = access.fetch(request.expect_continue()).unwrap();
            assert_eq!((response.status().as_u16(), response.attempts()), (417, 1));
        }
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    });
}
