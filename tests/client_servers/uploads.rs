//! Bodies to nginx: stored and compared, from memory, files and streams; and refused while they are being sent.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use http::Method;
use ringshot::client::{BoxError, Kind, Request, RequestBody};
use ringshot_tests::servers::{Nginx, Settings, content};

use super::rig::{Case, Rig, each, get, post};

const SERVER: &str = "location /put/ { alias stored/; dav_methods PUT; create_full_put_path on; } \
    location = /small-only { client_max_body_size 64k; proxy_pass http://127.0.0.1:1; }";

fn start() -> Option<Nginx> {
    Nginx::start_with(Settings { server: SERVER, ..Settings::default() })
}

/// Pieces of odd sizes, with a pause after each: it is woken only in a later turn.
struct Pieces {
    rest: Bytes,
    next_bytes: usize,
    pauses: bool,
}

impl Pieces {
    fn of(bytes: Vec<u8>) -> Self {
        Self { rest: bytes.into(), next_bytes: 1, pauses: false }
    }
}

impl Stream for Pieces {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pauses = !self.pauses;
        if self.pauses {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let count = self.next_bytes.min(self.rest.len());
        self.next_bytes = self.next_bytes * 3 % 100_003;
        let piece = self.rest.split_to(count);
        Poll::Ready((!piece.is_empty()).then_some(Ok(piece)))
    }
}

/// A body of one of four kinds.
fn body(kind: usize, bytes: Vec<u8>, folder: &PathBuf) -> RequestBody {
    match kind % 4 {
        0 => bytes.into(),
        1 => RequestBody::stream(Pieces::of(bytes)),
        2 => {
            let length = bytes.len() as u64;
            RequestBody::stream_of(Pieces::of(bytes), length)
        }
        _ => {
            std::fs::create_dir_all(folder).unwrap();
            let path = folder.join(format!("{:?}-{}", std::thread::current().id(), bytes.len()));
            File::create(&path).unwrap().write_all(&bytes).unwrap();
            RequestBody::file(File::open(path).unwrap())
        }
    }
}

const SIZES: [usize; 6] = [1, 100, 16 << 10, (64 << 10) + 1, 300_000, 2 << 20];

#[test]
fn bodies_of_every_kind_are_stored_as_they_were() {
    let Some(nginx) = start() else { return };
    each(|case| check_stored(case, &nginx));
}

fn check_stored(case: Case, nginx: &Nginx) {
    let rig = Rig::new(case, |client| client.max_conns_per_host(8));
    let count = 4 * SIZES.len();
    let name = |number: usize| format!("{case}-{number}");
    for expects in [false, true] {
        let request = |number: usize| {
            let bytes = content(SIZES[number / 4]);
            let url = nginx.url(&format!("/put/{}", name(number)));
            let request = Request::new(Method::PUT, &url).unwrap();
            let request = request.body(body(number, bytes, &nginx.file("sent")));
            if expects { request.expect_continue() } else { request }
        };
        let outcomes = rig.fetch_all((0..count).map(request).collect());
        for (number, outcome) in outcomes.into_iter().enumerate() {
            let status = outcome.unwrap().status().as_u16();
            assert!(matches!(status, 201 | 204), "{case}: {status}");
            let path = nginx.file("stored").join(name(number));
            let stored = std::fs::read(path).unwrap();
            assert!(stored == content(SIZES[number / 4]), "{case}: {number}, {}", stored.len());
        }
    }
    rig.check_at_rest();
    assert_eq!(rig.count(|counters| counters.responses), 2 * count as u64);
}

#[test]
fn bodies_that_are_refused_while_they_are_sent() {
    let Some(nginx) = start() else { return };
    each(|case| {
        let rig = Rig::new(case, |client| client.max_conns_per_host(8));
        let (url, bytes) = (nginx.url("/small-only"), content(2 << 20));
        for _ in 0..3 {
            let request = |kind: usize| {
                post(&url, Vec::new()).body(body(kind, bytes.clone(), &nginx.file("sent")))
            };
            for (kind, outcome) in
                rig.fetch_all((0..8).map(request).collect()).into_iter().enumerate()
            {
                let response = outcome
                    .unwrap_or_else(|error| panic!("{case}, kind {kind}: {error} {error:?}"));
                assert_eq!(response.status(), 413, "{case}");
                assert!(response.text().contains("413"), "{case}: all of it came");
            }
            rig.check_at_rest();
            assert_eq!(rig.holding().idle, 0, "{case}: none of them is used again");
        }
        let small = rig.fetch_all(vec![post(&url, content(100)), get(&nginx.url("/small"))]);
        let statuses: Vec<_> = small.into_iter().map(|o| o.unwrap().status().as_u16()).collect();
        assert_eq!(statuses, [502, 200], "{case}");
    });
}

#[test]
fn bodies_that_do_not_keep_their_word() {
    let Some(nginx) = start() else { return };
    each(|case| {
        let rig = Rig::new(case, |client| client);
        let url = nginx.url("/put/wrong");
        for announced in [99, 101] {
            let body = RequestBody::stream_of(Pieces::of(content(100)), announced);
            let request = Request::new(Method::PUT, &url).unwrap().body(body);
            let error = rig.fetch_all(vec![request]).remove(0).unwrap_err();
            assert!(matches!(error.kind(), Kind::RequestBody(_)), "{case}: {error}");
        }
        rig.check_at_rest();
        assert_eq!(rig.holding().idle, 0);
        assert!(!nginx.file("stored/wrong").exists());
    });
}
