//! Every timeout as itself, in its phase, in time, and not for the wrong reason: http-client.md A6.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::Method;
use ringshot::client::{
    ClientBuilder, Error, Kind, Phase, Request, RequestBody, Sent, SocketOptions, TimeoutKind,
    Timeouts,
};
use ringshot::resolve::{Lookup, Resolve, Resolver};
use ringshot_tests::peer::Peer;
use ringshot_tests::watch::wait_until;

use crate::access::{LONG, OK, check, get, millis, origin};
use crate::feed::{fed, pause};
use crate::names::full_listener;

/// What the timeouts here are, where nothing else is said.
pub(crate) const SHORT: Duration = Duration::from_millis(80);

/// A change to the timeouts, all others being far away.
pub(crate) fn with(
    change: impl Fn(&mut Timeouts) + Sync,
) -> impl Fn(ClientBuilder) -> ClientBuilder + Sync {
    move |builder| {
        let mut timeouts = Timeouts::default();
        change(&mut timeouts);
        builder.timeouts(timeouts)
    }
}

#[track_caller]
pub(crate) fn assert_timeout(error: &Error, kind: TimeoutKind, phase: Phase, sent: Sent) {
    assert!(matches!(error.kind(), Kind::Timeout(passed) if *passed == kind), "{error}");
    assert_eq!((error.phase(), error.sent()), (phase, sent), "{error}");
    assert!(error.is_timeout(), "{error}");
    let elapsed = error.elapsed();
    assert!(elapsed >= SHORT && elapsed < SHORT + millis(600), "{elapsed:?}: {error}");
}

pub(crate) fn check_hang(
    configure: impl Fn(ClientBuilder) -> ClientBuilder + Sync,
    kind: TimeoutKind,
    phase: Phase,
    sent: Sent,
) {
    check(configure, |access| {
        let origin = origin();
        assert_timeout(&access.get(&origin.url("/hang")).unwrap_err(), kind, phase, sent);
        // Whatever may still come would be a stranger's.
        access.wait_empty();
        assert!(wait_until(LONG, || origin.counters().open == 0));
    });
}

#[test]
fn head() {
    check_hang(with(|all| all.head = Some(SHORT)), TimeoutKind::Head, Phase::Head, Sent::All);
}

#[test]
fn of_the_request_instead_of_the_client() {
    check(with(|all| all.total = Some(LONG)), |access| {
        let error = access.fetch(get(&origin().url("/hang")).timeout(SHORT)).unwrap_err();
        assert_timeout(&error, TimeoutKind::Total, Phase::Head, Sent::All);
    });
    check(with(|all| all.total = Some(SHORT)), |access| {
        let response = access.fetch(get(&origin().url("/delay/200")).timeout(LONG));
        assert_eq!(response.unwrap().status(), 200);
    });
}

/// A request that waits because of one that hangs.
pub(crate) fn check_behind(
    configure: impl Fn(ClientBuilder) -> ClientBuilder + Sync,
    kind: TimeoutKind,
    phase: Phase,
) {
    check(configure, |access| {
        let origin = origin();
        let first = access.start(get(&origin.url("/hang")).timeout(LONG));
        access.wait_for(1, |core| core.holding.active.into());
        let error = access.get(&origin.url("/")).unwrap_err();
        assert_timeout(&error, kind, phase, Sent::None);
        assert!(!error.may_have_been_processed());
        first.cancel();
        assert_eq!(access.get(&origin.url("/")).unwrap().status(), 200);
    });
}

#[test]
fn queue() {
    let queue = with(|all| all.queue = Some(SHORT));
    check_behind(|builder| queue(builder.max_in_flight(1)), TimeoutKind::Queue, Phase::Queue);
}

#[test]
fn acquire() {
    let acquire = with(|all| all.acquire = Some(SHORT));
    let one = |builder: ClientBuilder| acquire(builder.max_conns_per_host(1));
    check_behind(one, TimeoutKind::Acquire, Phase::Acquire);
    let one = |builder: ClientBuilder| acquire(builder.max_conns(1));
    check_behind(one, TimeoutKind::Acquire, Phase::Acquire);
}

/// Knows no name, and never says so.
struct Silent;

impl Resolve for Silent {
    fn lookup(&self, _: &str) -> Lookup {
        Box::pin(std::future::pending())
    }
}

/// A name that is never found.
pub(crate) fn check_silent(
    configure: impl Fn(ClientBuilder) -> ClientBuilder + Sync,
    kind: TimeoutKind,
) {
    let silent = || Resolver::builder().resolve_with(Silent).build().unwrap();
    check(
        |builder| configure(builder.resolver(silent())),
        |access| {
            let error = access.get("http://silent.test/").unwrap_err();
            assert_timeout(&error, kind, Phase::Resolve, Sent::None);
            assert_eq!(error.is_connect(), kind == TimeoutKind::Resolve);
            assert!(error.peer().is_none());
            access.wait_empty();
        },
    );
}

#[test]
fn resolve() {
    check_silent(with(|all| all.resolve = Some(SHORT)), TimeoutKind::Resolve);
}

/// A server that takes no connection.
pub(crate) fn check_full(
    configure: impl Fn(ClientBuilder) -> ClientBuilder + Sync,
    kind: TimeoutKind,
) {
    check(configure, |access| {
        let listener = full_listener();
        let error = access.get(&format!("http://{}/", listener.address)).unwrap_err();
        assert_timeout(&error, kind, Phase::Connect, Sent::None);
        let connect = kind == TimeoutKind::Connect;
        assert_eq!((error.is_connect(), error.is_retryable()), (connect, connect));
        assert_eq!(error.peer(), Some(listener.address));
        access.wait_empty();
    });
}

#[test]
fn connect() {
    check_full(with(|all| all.connect = Some(SHORT)), TimeoutKind::Connect);
}

/// A server that takes nothing of a large body.
#[test]
fn send() {
    check(with(|all| all.send = Some(SHORT)), |access| {
        let peer = Peer::start(|mut peer| {
            peer.head();
            peer.stall();
        });
        let body = vec![b'x'; 32 << 20];
        let request = Request::new(Method::POST, peer.url()).unwrap().body(body);
        let begun = Instant::now();
        let error = access.fetch(request).unwrap_err();
        assert!(matches!(error.kind(), Kind::Timeout(TimeoutKind::Send)), "{error}");
        assert_eq!((error.phase(), error.sent()), (Phase::Send, Sent::Partial));
        assert!(begun.elapsed() < LONG);
    });
}

/// Without a byte that it takes: a server that takes them one by one is not one that takes none, whatever the kernels hold.
#[test]
fn send_counts_what_the_server_takes() {
    let patient = |all: &mut Timeouts| {
        (all.send, all.head) = (Some(millis(400)), Some(LONG));
    };
    for send_buffer_bytes in [Some(32 << 10), None] {
        let socket = SocketOptions { send_buffer_bytes, ..SocketOptions::default() };
        check(
            |builder| with(patient)(builder.socket_options(socket)),
            |access| {
                let peer = Peer::start(|mut peer| {
                    peer.read_slowly(2 << 20, 16 << 10, millis(15));
                    peer.send(OK);
                });
                let body = vec![b'x'; 2 << 20];
                let request = Request::new(Method::POST, peer.url()).unwrap().body(body);
                let begun = Instant::now();
                assert_eq!(access.fetch(request).unwrap().status(), 200);
                assert!(begun.elapsed() > millis(1_500), "{:?}", begun.elapsed());
            },
        );
    }
}

/// A server that stops taking a body is given up within its time, and not before.
#[test]
fn send_begins_anew_with_what_the_server_takes() {
    check(with(|all| all.send = Some(millis(300))), |access| {
        let taken = Arc::new(Mutex::new(Instant::now()));
        let last = Arc::clone(&taken);
        let peer = Peer::start(move |mut peer| {
            peer.read_slowly(1 << 20, 64 << 10, millis(30));
            *last.lock().unwrap() = Instant::now();
            peer.stall();
        });
        let body = vec![b'x'; 32 << 20];
        let request = Request::new(Method::POST, peer.url()).unwrap().body(body);
        let error = access.fetch(request).unwrap_err();
        let waited = taken.lock().unwrap().elapsed();
        assert!(matches!(error.kind(), Kind::Timeout(TimeoutKind::Send)), "{error}");
        // What was read last may have been acknowledged before.
        assert!(waited > millis(150) && waited < LONG, "{waited:?}");
    });
}

#[test]
fn read_idle() {
    check(with(|all| all.read_idle = Some(SHORT)), |access| {
        let error = access.get(&origin().url("/stream/1000/10/5000")).unwrap_err();
        assert!(matches!(error.kind(), Kind::Timeout(TimeoutKind::ReadIdle)), "{error}");
        assert_timeout(&error, TimeoutKind::ReadIdle, Phase::Body, Sent::All);
        assert!(error.got_bytes() > 10);
    });
}

// --- And not for the wrong reason ---

pub(crate) fn all_short(all: &mut Timeouts) {
    let short = Some(millis(300));
    (all.queue, all.acquire, all.resolve, all.connect) = (short, short, short, short);
    (all.send, all.head, all.read_idle) = (short, short, short);
}

/// Pieces that come in time, in all for longer than any timeout but the total.
#[test]
fn a_slow_server_is_not_an_idle_one() {
    check(with(all_short), |access| {
        let response = access.get(&origin().url("/stream/100/10/60")).unwrap();
        assert_eq!(response.bytes().len(), 100);
        assert!(response.timings().done.unwrap() > millis(500));
    });
}

/// Whoever reads slowly has only himself to blame.
#[test]
fn a_slow_reader_is_not_an_idle_server() {
    check(with(all_short), |access| {
        let origin = origin();
        let url = origin.url("/bytes/3000000");
        let bytes = on_client!(access, client => {
            let mut response = client.send(get(&url)).await.unwrap();
            let mut bytes = 0;
            while let Some(piece) = response.chunk().await.unwrap() {
                if bytes == 0 {
                    pause(millis(900)).await;
                }
                bytes += piece.len();
            }
            bytes
        });
        assert_eq!(bytes, 3_000_000);
    });
}

/// A body that is slow while nobody reads it is nobody's fault, and one that does not come when somebody does is the server's.
#[test]
fn an_idle_server_that_nobody_waits_for_is_not_idle() {
    check(with(|all| all.read_idle = Some(SHORT)), |access| {
        let peer = Peer::start(|mut peer| {
            peer.head();
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\nhello");
            std::thread::sleep(SHORT * 5);
            peer.send("world");
            peer.stall();
        });
        let url = peer.url();
        let (waited, error) = on_client!(access, client => {
            let mut response = client.send(get(&url)).await.unwrap();
            assert_eq!(response.chunk().await.unwrap().unwrap(), "hello");
            pause(SHORT * 6).await;
            assert_eq!(response.chunk().await.unwrap().unwrap(), "world");
            pause(SHORT * 2).await;
            let begun = Instant::now();
            (begun, response.chunk().await.unwrap_err())
        });
        let waited = waited.elapsed();
        assert!(matches!(error.kind(), Kind::Timeout(TimeoutKind::ReadIdle)), "{error}");
        assert_eq!((error.phase(), error.sent()), (Phase::Body, Sent::All));
        assert!(error.got_bytes() > 10 && error.peer() == Some(peer.address()), "{error}");
        assert!(waited >= SHORT && waited < SHORT + millis(600), "{waited:?}");
        access.wait_empty();
    });
}

#[test]
fn a_slow_maker_is_not_a_server_that_takes_nothing() {
    check(with(all_short), |access| {
        let origin = origin();
        let pieces = fed(|feeder| {
            for piece in ["one ", "two ", "three"] {
                std::thread::sleep(millis(450));
                feeder.push(piece);
            }
        });
        let request = Request::new(Method::POST, origin.url("/echo")).unwrap();
        let response = access.fetch(request.body(RequestBody::stream(pieces))).unwrap();
        assert_eq!(&response.bytes()[..], b"one two three");
    });
}

/// A server that takes a large piece slowly makes progress all the same. (What the kernels hold of it is sent: the head timeout is on then.)
#[test]
fn a_server_that_takes_little_by_little_takes_something() {
    let patient = |all: &mut Timeouts| {
        all_short(all);
        all.head = Some(LONG);
    };
    check(with(patient), |access| {
        let peer = Peer::start(|mut peer| {
            peer.read_slowly(16 << 20, 512 << 10, millis(40));
            peer.send(OK);
        });
        let piece = vec![b'x'; 16 << 20];
        let pieces = fed(move |feeder| feeder.push(piece));
        let request = Request::new(Method::POST, peer.url()).unwrap();
        let begun = Instant::now();
        let response = access.fetch(request.body(RequestBody::stream_of(pieces, 16 << 20)));
        assert_eq!(response.unwrap().status(), 200);
        assert!(begun.elapsed() > millis(900), "{:?}", begun.elapsed());
    });
}

/// The head timeout begins when all was sent.
#[test]
fn what_is_sent_slowly_has_its_time_for_the_answer() {
    check(with(all_short), |access| {
        let pieces = fed(|feeder| {
            for _ in 0..6 {
                std::thread::sleep(millis(100));
                feeder.push("piece");
            }
        });
        let origin = origin();
        let request = Request::new(Method::POST, origin.url("/delay/150")).unwrap();
        let response = access.fetch(request.body(RequestBody::stream(pieces))).unwrap();
        assert_eq!(response.status(), 200);
    });
}

/// What failed has no timers left: whoever keeps it beyond them does not keep the core busy.
#[test]
fn a_body_that_failed_is_over() {
    check(with(|all| all.total = Some(SHORT * 2)), |access| {
        let origin = origin();
        let (cut, small) = (origin.url("/truncate/100"), origin.url("/"));
        let before = access.total(|core| core.counters.turns);
        on_client!(access, client => {
            let mut response = client.send(get(&cut)).await.unwrap();
            pause(SHORT * 4).await;
            while let Ok(Some(_)) = response.chunk().await {}
            assert_eq!(client.send(get(&small)).await.unwrap().status(), 200);
        });
        let turns = access.total(|core| core.counters.turns) - before;
        assert!(turns < 100, "{turns}");
    });
}

/// A timeout of one request is no other's business.
#[test]
fn others_go_on() {
    check(with(|_| {}), |access| {
        let origin = origin();
        let short: Vec<_> =
            (0..8).map(|_| access.start(get(&origin.url("/hang")).timeout(SHORT))).collect();
        let long: Vec<_> = (0..8).map(|_| access.start(get(&origin.url("/delay/200")))).collect();
        short.into_iter().for_each(|request| drop(request.outcome().unwrap_err()));
        long.into_iter().for_each(|request| drop(request.outcome().unwrap()));
        access.wait_idle(8);
    });
}
