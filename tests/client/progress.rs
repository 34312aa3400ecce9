//! How far a request had come when it failed behind its head: bytes, how much was sent, and by whom it was served.

use std::fs::File;

use ringshot::client::blocking::block_on;
use ringshot::client::{Error, Kind, Phase, RedirectKind, RequestBody, Retry, Sent};
use ringshot_tests::peer::Peer;

use crate::access::{LONG, Way, check, get, millis, origin, post};
use crate::feed::fed;

/// The response had come so far, to a request of which so much was sent.
#[track_caller]
fn assert_progress(error: &Error, peer: &Peer, phase: Phase, sent: Sent, bytes: u64) {
    let told = (error.phase(), error.sent(), error.peer(), error.got_bytes());
    assert_eq!(told, (phase, sent, Some(peer.address()), bytes), "{error}");
}

/// A peer that answers one request of each connection with this, and says no more.
fn saying(response: &'static str) -> Peer {
    Peer::start(move |mut peer| {
        if peer.head() {
            peer.send(response);
        }
        peer.stall();
    })
}

#[test]
fn a_redirect_that_is_not_followed() {
    check(
        |builder| builder,
        |access| {
            const THERE: &str = "HTTP/1.1 307 There\r\nLocation: /b\r\nContent-Length: 2\r\n\r\nok";
            const NOWHERE: &str =
                "HTTP/1.1 302 There\r\nLocation: ftp://h/\r\nContent-Length: 0\r\n\r\n";
            let peer = Peer::start(|mut peer| peer.answer_all(THERE));
            let error = access.fetch(get(&peer.url()).redirects(2)).unwrap_err();
            assert!(matches!(error.kind(), Kind::Redirect(RedirectKind::TooMany { max: 2 })));
            assert_progress(&error, &peer, Phase::Redirect, Sent::All, THERE.len() as u64);
            let peer = saying(NOWHERE);
            let error = access.fetch(get(&peer.url()).redirects(2)).unwrap_err();
            assert_progress(&error, &peer, Phase::Redirect, Sent::All, NOWHERE.len() as u64);
            // It came before the body was there.
            let peer = saying(THERE);
            let (go, gone) = std::sync::mpsc::channel::<()>();
            let pieces = fed(move |_| {
                let _ = gone.recv_timeout(LONG);
            });
            let upload = post(&peer.url(), "").body(RequestBody::stream(pieces)).redirects(2);
            let error = access.fetch(upload).unwrap_err();
            drop(go);
            assert!(matches!(error.kind(), Kind::Redirect(RedirectKind::BodyGone)), "{error}");
            assert_progress(&error, &peer, Phase::Redirect, Sent::Partial, THERE.len() as u64);
        },
    );
}

#[test]
fn a_file_that_takes_nothing() {
    check(
        |builder| builder,
        |access| {
            const ALL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
            const SOME: &str = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello";
            for response in [ALL, SOME] {
                let peer = saying(response);
                let url = peer.url();
                let error = on_client!(access, client => {
                    let body = client.send(get(&url)).await.unwrap().into_body();
                    body.copy_to(&File::open("/dev/null").unwrap()).await.unwrap_err()
                });
                assert!(matches!(error.kind(), Kind::CopyTo(_)), "{error}");
                assert_progress(&error, &peer, Phase::Body, Sent::All, response.len() as u64);
            }
        },
    );
}

#[test]
fn an_engine_that_is_shut_down() {
    check(
        |builder| builder,
        |access| {
            if access.way == Way::Core {
                // There it goes with its task.
                return;
            }
            const SOME: &str = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello";
            let peer = saying(SOME);
            let mut body = block_on(access.client.send(get(&peer.url()))).unwrap().into_body();
            assert_eq!(block_on(body.chunk()).unwrap().unwrap(), "hello");
            access.engine.shutdown().unwrap();
            let error = block_on(body.chunk()).unwrap_err();
            assert!(matches!(error.kind(), Kind::Shutdown), "{error}");
            assert_progress(&error, &peer, Phase::Body, Sent::All, SOME.len() as u64);
        },
    );
}

/// A judge has the whole response, or its error: that is where the request was.
#[test]
fn a_judge_that_panics() {
    let judge = || Retry::budget(1.0).backoff(millis(0)..millis(1)).on(|_| panic!("no verdict"));
    check(
        |builder| builder.retry(judge()),
        |access| {
            let origin = origin();
            let url = origin.url("/bytes/10");
            let fetched = access.get(&url).unwrap_err();
            let batch = block_on(access.client.batch([url]).collect()).remove(0).unwrap_err();
            for error in [fetched, batch] {
                assert!(matches!(error.kind(), Kind::User(message) if message == "no verdict"));
                let told = (error.phase(), error.sent(), error.peer());
                assert_eq!(told, (Phase::Body, Sent::All, Some(origin.address())), "{error}");
                assert!(error.got_bytes() > 10 && error.url().is_some(), "{error}");
            }
            let closing = Peer::start(|mut peer| drop(peer.request()));
            let error = access.fetch(post(&closing.url(), "x")).unwrap_err();
            assert!(matches!(error.kind(), Kind::User(_)), "{error}");
            assert_eq!((error.phase(), error.sent()), (Phase::Head, Sent::All), "{error}");
        },
    );
}
