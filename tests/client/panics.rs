//! Panics of the caller's code where nobody of its own is there to catch them: they are told, with whose they were.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use http::Method;
use ringshot::client::blocking::block_on;
use ringshot::client::{BoxError, CoreCtx, Kind, Phase, Request, RequestBody, Sent};
use ringshot_tests::peer::Peer;

use crate::access::{LONG, OK};
use crate::feed::{Fed, fed};
use crate::isolation::engines;

/// A body that is made for a while, and then can't be.
struct PanicsLater(Fed);

impl Stream for PanicsLater {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let piece = Pin::new(&mut self.0).poll_next(cx);
        assert!(!piece.is_ready(), "no more pieces today");
        piece
    }
}

#[test]
fn a_panic_behind_the_head_says_whose_it_was() {
    let peer = Peer::start(|mut peer| {
        if peer.head() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        }
        peer.stall();
    });
    for (engine, discards) in
        engines().flat_map(|engine| [false, true].map(|it| (engine.clone(), it)))
    {
        let client = engine.client().build().unwrap();
        let (go, came) = std::sync::mpsc::channel::<()>();
        let pieces = fed(move |feeder| {
            let _ = came.recv_timeout(LONG);
            feeder.push("never sent");
        });
        let request = Request::new(Method::POST, peer.url()).unwrap();
        let request = request.body(RequestBody::stream(PanicsLater(pieces)));
        let response = block_on(client.send(request)).unwrap();
        go.send(()).unwrap();
        let body = response.into_body();
        let error = match discards {
            true => block_on(body.discard()).unwrap_err(),
            false => block_on(body.bytes()).unwrap_err(),
        };
        assert!(
            matches!(error.kind(), Kind::User(message) if message.contains("today")),
            "{error}"
        );
        assert_eq!((error.url(), error.attempt()), (Some(&*peer.url()), 1), "{error}");
        assert!(error.method().is_some() && error.may_have_been_processed(), "{error}");
    }
}

/// Where the request stood is told, not guessed.
#[test]
fn a_panic_says_where_its_request_stood() {
    for engine in engines() {
        let peer = Peer::start(|mut peer| {
            peer.request();
            peer.send(OK);
            if peer.head() {
                peer.stall();
            }
        });
        let client = engine.client().max_conns_per_host(1).build().unwrap();
        let get = || client.get(peer.url()).fetch();
        assert_eq!(block_on(get()).unwrap().status(), 200);
        let pieces = PanicsLater(fed(|feeder| feeder.push("never sent")));
        let request = Request::new(Method::POST, peer.url()).unwrap();
        let error = block_on(client.send(request.body(RequestBody::stream(pieces)))).unwrap_err();
        assert!(matches!(error.kind(), Kind::User(_)), "{error}");
        let stood = (error.peer(), error.is_reused(), error.sent(), error.phase());
        assert_eq!(stood, (Some(peer.address()), true, Sent::Partial, Phase::Send), "{error}");
        assert_eq!((error.attempt(), error.url()), (1, Some(&*peer.url())), "{error}");
    }
}

/// What a task panicked with may itself panic when it goes: the task's panic is told all the same.
#[test]
fn a_panic_whose_payload_panics_is_told_as_one() {
    struct Payload;
    impl Drop for Payload {
        fn drop(&mut self) {
            assert!(std::thread::panicking(), "dropped");
        }
    }
    for engine in engines() {
        let panics = async |_: CoreCtx| std::panic::panic_any(Payload);
        let error = block_on(engine.run_on::<_, _, ()>(0, panics)).unwrap_err();
        assert!(matches!(error.kind(), Kind::User(_)), "{error}");
        assert_eq!(block_on(engine.run_on(0, async |_| 5)).unwrap(), 5);
    }
}
