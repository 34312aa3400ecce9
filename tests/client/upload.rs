//! Request bodies of every kind, byte for byte: items 57, 61, 67, 68 and 71 of B2.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};

use bytes::Bytes;
use http::Method;
use ringshot::client::{
    ClientBuilder, Error, Kind, Phase, Request, RequestBody, Sent, TimeoutKind, Timeouts,
};
use ringshot_tests::peer::Peer;
use ringshot_tests::watch::wait_until;

use crate::access::{LONG, OK, check, millis, origin};
use crate::feed::{Endless, Fed, fed};

pub(crate) fn plain(builder: ClientBuilder) -> ClientBuilder {
    builder
}

/// Bytes whose place shows.
pub(crate) fn pattern(bytes: usize) -> Bytes {
    (0..bytes).map(|at| (at % 251) as u8).collect::<Vec<_>>().into()
}

pub(crate) fn put(url: &str, body: impl Into<RequestBody>) -> Request {
    Request::new(Method::PUT, url).unwrap().body(body)
}

/// A file of the test's own, gone with it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let nth = NEXT.fetch_add(1, Ordering::SeqCst);
        let path =
            std::env::temp_dir().join(format!("ringshot-upload-{}-{nth}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }

    pub(crate) fn open(&self) -> File {
        File::open(&self.0).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Pieces of `bytes`, of sizes that fit nothing.
fn in_pieces(bytes: Bytes) -> Fed {
    fed(move |feeder| {
        let mut rest = bytes;
        for size in [1, 0, 7000, 40_000].into_iter().cycle() {
            if rest.is_empty() {
                return;
            }
            feeder.push(rest.split_to(size.min(rest.len())));
        }
    })
}

const SIZES: [usize; 7] = [0, 1, 16_383, 16_384, 16_385, 131_073, 1 << 20];

#[test]
fn bodies_arrive_as_they_were_made() {
    check(plain, |access| {
        let origin = origin();
        let url = origin.url("/echo");
        for size in SIZES {
            let body = pattern(size);
            let scratch = Scratch::new(&body);
            let kinds: [RequestBody; 5] = [
                body.clone().into(),
                RequestBody::file(scratch.open()),
                RequestBody::stream(in_pieces(body.clone())),
                RequestBody::stream_of(in_pieces(body.clone()), size as u64),
                RequestBody::stream(fed({
                    let body = body.clone();
                    move |feeder| feeder.push(body)
                })),
            ];
            for (nth, kind) in kinds.into_iter().enumerate() {
                let response = access.fetch(put(&url, kind)).unwrap();
                assert!(response.bytes()[..] == body[..], "{size} bytes, kind {nth}");
                assert!(response.timings().sent.is_some(), "{size} bytes, kind {nth}");
            }
        }
        assert_eq!(origin.counters().accepted, 1);
    });
}

#[test]
fn a_large_body_arrives() {
    const TOTAL: usize = 64 << 20;
    check(plain, |access| {
        let peer = Peer::start(|mut peer| {
            let whole = peer.read_slowly(TOTAL, 1 << 20, millis(0));
            peer.send(if whole { OK } else { "" });
            peer.stall();
        });
        let taken = Arc::<AtomicU64>::default();
        let pieces = Endless { piece: pattern(1 << 20), left: 64, taken: Arc::clone(&taken) };
        let body = RequestBody::stream_of(pieces, TOTAL as u64);
        assert_eq!(access.fetch(put(&peer.url(), body)).unwrap().status(), 200);
        assert_eq!(taken.load(Ordering::SeqCst), 64);
    });
}

/// A server that takes nothing holds the maker back.
#[test]
fn a_maker_is_held_back() {
    check(plain, |access| {
        let peer = Peer::start(|mut peer| {
            peer.head();
            peer.stall();
        });
        let taken = Arc::<AtomicU64>::default();
        let pieces = Endless { piece: pattern(64 << 10), left: 1 << 20, taken: Arc::clone(&taken) };
        let request = access.start(put(&peer.url(), RequestBody::stream(pieces)));
        let mut before = u64::MAX;
        let still = || {
            let now = taken.load(Ordering::SeqCst);
            std::thread::sleep(millis(150));
            let stands = now > 0 && now == before;
            before = now;
            stands
        };
        assert!(wait_until(LONG, still));
        assert!(before < 256, "{before} pieces of 64 KiB");
        request.cancel();
        access.wait_empty();
    });
}

#[test]
fn a_large_file_arrives() {
    check(plain, |access| {
        let body = pattern(5_000_000);
        let scratch = Scratch::new(&body);
        let origin = origin();
        let response = access.fetch(put(&origin.url("/echo"), RequestBody::file(scratch.open())));
        // The origin echoes no more than a megabyte.
        assert_eq!(response.unwrap().status(), 413);
        let seen = Arc::<AtomicU64>::default();
        let count = Arc::clone(&seen);
        let peer = Peer::start(move |mut peer| {
            while let Some(request) = peer.request() {
                count.store(request.len() as u64, Ordering::SeqCst);
                peer.send(OK);
            }
        });
        let response = access.fetch(put(&peer.url(), RequestBody::file(scratch.open())));
        assert_eq!(response.unwrap().status(), 200);
        let seen = seen.load(Ordering::SeqCst);
        assert!((5_000_000..5_001_000).contains(&seen), "{seen}");
    });
}

/// What is appended after the head went out was not announced, and is not sent.
#[test]
fn a_file_that_grows_is_sent_as_announced() {
    check(plain, |access| {
        let scratch = Scratch::new(&pattern(1_000_000));
        let path = scratch.0.clone();
        let (stop, stopped) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (over, done) = (Arc::clone(&stop), Arc::clone(&stopped));
        std::thread::spawn(move || {
            let mut file = File::options().append(true).open(path).unwrap();
            while !over.load(Ordering::SeqCst) {
                file.write_all(&[b'+'; 5_000]).unwrap();
            }
            done.store(true, Ordering::SeqCst);
        });
        let origin = origin();
        for _ in 0..5 {
            let body = RequestBody::file(scratch.open());
            assert_eq!(access.fetch(put(&origin.url("/"), body)).unwrap().status(), 200);
        }
        stop.store(true, Ordering::SeqCst);
        assert!(wait_until(LONG, || stopped.load(Ordering::SeqCst)));
    });
}

/// A body that can't be what was announced ends its request and its connection, and the server never sees a whole one.
fn check_broken(body: impl Fn() -> RequestBody + Sync, words: &str) {
    check(plain, |access| {
        let whole = Arc::<AtomicBool>::default();
        let seen = Arc::clone(&whole);
        let peer = Peer::start(move |mut peer| {
            if peer.request().is_some() {
                seen.store(true, Ordering::SeqCst);
            }
        });
        let error: Error = access.fetch(put(&peer.url(), body())).unwrap_err();
        assert!(matches!(error.kind(), Kind::RequestBody(_)), "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!((error.phase(), error.is_retryable()), (Phase::Send, false), "{error}");
        access.wait_empty();
        assert!(wait_until(LONG, || peer.open() == 0));
        assert!(!whole.load(Ordering::SeqCst), "{error}");
    });
}

/// Only a regular file says how long it is.
#[test]
fn what_is_no_file_is_refused_before_anything_is_sent() {
    check(plain, |access| {
        let peer = Peer::start(|mut peer| peer.read_to_end());
        let (reader, _writer) = std::io::pipe().unwrap();
        let pipe = File::from(std::os::fd::OwnedFd::from(reader));
        for (file, what) in [
            (pipe, "a pipe or a device"),
            (File::open(std::env::temp_dir()).unwrap(), "a directory"),
            (File::open("/dev/null").unwrap(), "a pipe or a device"),
        ] {
            let error = access.fetch(put(&peer.url(), RequestBody::file(file))).unwrap_err();
            assert!(matches!(error.kind(), Kind::RequestBody(_)), "{error}");
            assert_eq!((error.phase(), error.sent()), (Phase::Build, Sent::None), "{error}");
            assert!(error.to_string().contains(&format!("{what} is no regular file")), "{error}");
        }
        assert_eq!(peer.accepted(), 0);
    });
}

/// A file that is made as it is read has no length before.
#[test]
fn a_file_of_unknown_length_is_read_to_its_end() {
    check(plain, |access| {
        let origin = origin();
        let file = || File::open("/proc/self/limits").unwrap();
        let expected = std::fs::read("/proc/self/limits").unwrap();
        let request = put(&origin.url("/echo"), RequestBody::file(file()));
        let response = access.fetch(request).unwrap();
        assert!(!expected.is_empty());
        assert_eq!(&response.bytes()[..], &expected[..]);
        let empty = Scratch::new(b"");
        let request = put(&origin.url("/echo"), RequestBody::file(empty.open()));
        assert_eq!(access.fetch(request).unwrap().bytes().len(), 0);
    });
}

#[test]
fn a_body_that_is_too_short_is_told() {
    check_broken(|| RequestBody::stream_of(fed(|feeder| feeder.push("four")), 5), "");
    check_broken(|| RequestBody::stream_of(fed(|_| {}), 5), "");
}

#[test]
fn a_body_that_is_too_long_is_told() {
    check_broken(|| RequestBody::stream_of(fed(|feeder| feeder.push("sixsix")), 5), "");
}

/// Pieces that a thread has made, and a maker that lives until `go` does.
fn open_ended(piece: &'static str) -> (Fed, Sender<()>) {
    let (go, gone) = channel::<()>();
    let pieces = fed(move |feeder| {
        feeder.push(piece);
        let _ = gone.recv_timeout(LONG);
        feeder.push("late");
    });
    (pieces, go)
}

/// The server has all that it was promised: from then on it is its answer that is waited for, whatever the maker still does.
#[test]
fn all_that_was_announced_is_all() {
    let timeouts = Timeouts { head: Some(millis(80)), ..Timeouts::default() };
    check(
        |builder| builder.timeouts(timeouts),
        |access| {
            for piece in ["0123456789", ""] {
                let peer = Peer::start(|mut peer| {
                    peer.request();
                    peer.stall();
                });
                let (pieces, _go) = open_ended(piece);
                let body = RequestBody::stream_of(pieces, piece.len() as u64);
                let error = access.fetch(put(&peer.url(), body)).unwrap_err();
                assert!(matches!(error.kind(), Kind::Timeout(TimeoutKind::Head)), "{error}");
                assert_eq!((error.phase(), error.sent()), (Phase::Head, Sent::All), "{error}");
            }
        },
    );
}

/// What comes behind the length before the response does is too much; nobody waits for it.
#[test]
fn a_surplus_is_told_unless_the_response_comes_first() {
    check(plain, |access| {
        let peer = Peer::start(|mut peer| peer.answer_all(OK));
        let two = Endless { piece: "ab".into(), left: 2, taken: Arc::default() };
        let body = RequestBody::stream_of(two, 2);
        let error = access.fetch(put(&peer.url(), body)).unwrap_err();
        assert!(matches!(error.kind(), Kind::RequestBody(_)), "{error}");
        access.wait_empty();
        for _ in 0..2 {
            let (pieces, go) = open_ended("ab");
            let body = RequestBody::stream_of(pieces, 2);
            let response = access.fetch(put(&peer.url(), body)).unwrap();
            assert!(response.status() == 200 && response.timings().sent.is_some());
            drop(go);
            access.wait_idle(1);
        }
        assert_eq!(peer.accepted(), 2);
        let silent = Peer::start(|mut peer| peer.read_to_end());
        let (pieces, go) = open_ended("ab");
        let late = access.start(put(&silent.url(), RequestBody::stream_of(pieces, 2)));
        assert!(wait_until(LONG, || silent.accepted() == 1));
        drop(go);
        let error = late.outcome().unwrap_err();
        assert!(matches!(error.kind(), Kind::RequestBody(_)), "{error}");
        assert_eq!(error.phase(), Phase::Send, "{error}");
    });
}

#[test]
fn a_body_that_fails_is_told() {
    let failing = |length: Option<u64>| {
        let pieces = fed(|feeder| {
            feeder.push("some");
            feeder.fail("the disk is on fire");
        });
        match length {
            Some(length) => RequestBody::stream_of(pieces, length),
            None => RequestBody::stream(pieces),
        }
    };
    // What is chunked has no length that `Peer::request` could wait for: its end is what never comes.
    check_broken(move || failing(Some(1000)), "the disk is on fire");
    check(plain, |access| {
        let body = RequestBody::stream(fed(|feeder| feeder.fail("the disk is on fire")));
        let origin = origin();
        let error = access.fetch(put(&origin.url("/echo"), body)).unwrap_err();
        assert!(error.to_string().contains("the disk is on fire"), "{error}");
        assert!(wait_until(LONG, || origin.counters().open == 0));
        assert_eq!(origin.counters().served, 0);
    });
}

/// The server answers without reading all: the response counts, the connection goes (RFC 9112 9.5).
#[test]
fn an_early_answer_ends_the_upload() {
    check(plain, |access| {
        let peer = Peer::start(|mut peer| {
            peer.head();
            peer.send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig");
            peer.stall();
        });
        let taken = Arc::<AtomicU64>::default();
        let pieces = Endless { piece: pattern(64 << 10), left: 1 << 20, taken: Arc::clone(&taken) };
        let kinds: [RequestBody; 2] = [pattern(64 << 20).into(), RequestBody::stream(pieces)];
        for body in kinds {
            let response = access.fetch(put(&peer.url(), body)).unwrap();
            assert_eq!((response.status().as_u16(), &response.bytes()[..]), (413, &b"big"[..]));
            access.wait_empty();
        }
        let after = taken.load(Ordering::SeqCst);
        std::thread::sleep(millis(50));
        assert_eq!(taken.load(Ordering::SeqCst), after);
    });
}

/// Never chunked to a server that is known to speak HTTP/1.0, even one that closes after each response.
#[test]
fn nothing_is_chunked_for_an_old_server() {
    check(plain, |access| {
        for keeps in ["Connection: keep-alive\r\n", ""] {
            let chunked = Arc::<AtomicBool>::default();
            let seen = Arc::clone(&chunked);
            let peer = Peer::start(move |mut peer| {
                while let Some(request) = peer.request() {
                    let text = String::from_utf8_lossy(&request).to_lowercase();
                    seen.fetch_or(text.contains("chunked"), Ordering::SeqCst);
                    peer.send(format!("HTTP/1.0 200 OK\r\n{keeps}Content-Length: 0\r\n\r\n"));
                    if keeps.is_empty() {
                        return;
                    }
                }
            });
            assert_eq!(access.get(&peer.url()).unwrap().status(), 200);
            let pieces = fed(|feeder| feeder.push("x"));
            let error = access.fetch(put(&peer.url(), RequestBody::stream(pieces))).unwrap_err();
            assert!(matches!(error.kind(), Kind::RequestBody(_)), "{error}");
            assert!(error.to_string().contains("HTTP/1.0"), "{error}");
            let pieces = fed(|feeder| feeder.push("x"));
            let known = put(&peer.url(), RequestBody::stream_of(pieces, 1));
            assert_eq!(access.fetch(known).unwrap().status(), 200);
            assert!(!chunked.load(Ordering::SeqCst));
        }
    });
}
