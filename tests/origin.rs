//! The origin's paths, each on both drivers, as a plain blocking client sees them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "origin/counts.rs"]
mod counts;
#[path = "origin/pipelines.rs"]
mod pipelines;

use std::io::{ErrorKind, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ringshot::origin::{Config, Counters, Origin};
use ringshot_tests::client::Client;
use ringshot_tests::load::{RUN_MAX, drivers, next_core};
use ringshot_tests::watch::wait_until;

/// Runs `check` against an origin of each driver.
fn on_each(change: impl Fn(Config) -> Config, check: impl Fn(&Origin)) {
    for driver in drivers() {
        let base = Config { driver, cores: vec![next_core()], ..Config::on_loopback() };
        let origin = Origin::start(&change(base)).expect("an origin");
        check(&origin);
        origin.stop().expect("it ends");
    }
}

fn plain(config: Config) -> Config {
    config
}

/// The origin's numbers come to be as `expected`.
fn check_counters(origin: &Origin, expected: impl Fn(&Counters) -> bool) {
    let reached = wait_until(RUN_MAX, || expected(&origin.counters()));
    assert!(reached, "{:?}", origin.counters());
}

fn elapsed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let done = work();
    (start.elapsed(), done)
}

#[test]
fn two_lines_make_an_origin() {
    let origin = Origin::start(&Config::on_loopback()).expect("an origin");
    assert!(origin.url("/delay/5").starts_with("http://127.0.0.1:"));
    Client::connect(origin.address()).get("/").check(200, "Hello, world\n");
}

#[test]
fn an_upload_without_end_keeps_nobody_waiting() {
    on_each(plain, |origin| {
        let address = origin.address();
        let stop = AtomicBool::new(false);
        let upload = || {
            let mut client = Client::connect(address);
            client.ask("POST", "/", "Transfer-Encoding: chunked\r\n\r\n");
            let chunks = b"1\r\nx\r\n".repeat(20_000);
            let begun = Instant::now();
            while !stop.load(Ordering::Relaxed) && begun.elapsed() < RUN_MAX / 4 {
                client.send(&chunks);
            }
        };
        std::thread::scope(|scope| {
            let upload = scope.spawn(upload);
            let (waited, ()) = elapsed(|| {
                for _ in 0..20 {
                    std::thread::sleep(Duration::from_millis(5));
                    Client::connect(address).get("/").check(200, "Hello, world\n");
                }
            });
            stop.store(true, Ordering::Relaxed);
            upload.join().unwrap();
            assert!(waited < RUN_MAX / 8, "{waited:?}");
        });
    });
}

#[test]
fn heads_that_are_at_odds_are_refused_and_old_clients_told() {
    on_each(plain, |origin| {
        let refused = |head: &str, status: u16| {
            let mut client = Client::connect(origin.address());
            client.send(head);
            assert_eq!(client.answer().status(), status, "{head:.80}");
            client.check_end();
        };
        let lengths = "Content-Length: 2\r\nContent-Length: 3\r\n\r\nab";
        refused(&format!("POST / HTTP/1.1\r\nHost: h\r\n{lengths}"), 400);
        refused("GET / HTTP/1.1\r\n\r\n", 400);
        refused("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400);
        refused("CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n", 501);
        let fields = "A: b\r\n".repeat(128);
        refused(&format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n"), 431);
        refused("GET / HTTP/1.2\r\nHost: h\r\nConnection: close\r\n\r\n", 200);
        // One byte too many: none is left unread, over which the close would be a reset.
        refused(&format!("GET / HTTP/1.1\r\nA: {}", "a".repeat((64 << 10) - 18)), 431);
        let mut old = Client::connect(origin.address());
        for path in ["/", "/status/404", "/"] {
            old.send(format!("GET {path} HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
            assert_eq!(old.answer().field("connection"), Some("keep-alive"), "{path}");
        }
    });
}

#[test]
fn statuses_and_texts() {
    on_each(plain, |origin| {
        let mut client = Client::connect(origin.address());
        client.get("/status/404").check(404, "404 Not Found\n");
        client.get("/status/204").check(204, "");
        client.get("/status/304").check(304, "");
        client.get("/status/205").check(205, "");
        client.get("/bytes/5?status=500").check(500, "Hello");
        client.get("/fail/0").check(200, "Hello, world\n");
        client.get("/fail/100").check(503, "503 Service Unavailable\n");
        let later = client.get("/retry-after/7");
        assert_eq!((later.status(), later.field("retry-after")), (503, Some("7")));
        client.get("/headers?x").check(200, "GET /headers?x HTTP/1.1\r\nHost: a\n");
        let refused = client.get("/bytes/x");
        refused.check(400, "/bytes/N: N must be a number from 0 to 1073741824, not \"x\"\n");
        client.get("/").check(200, "Hello, world\n");
    });
}

#[test]
fn bodies_of_every_framing() {
    on_each(plain, |origin| {
        let mut client = Client::connect(origin.address());
        for bytes in [0, 1, 13, 16_384, 16_385, 300_000, 5_000_000] {
            client.get(&format!("/bytes/{bytes}")).check_letters(bytes);
            client.get(&format!("/chunked/{bytes}")).check_letters(bytes);
        }
        let trailers = client.get("/chunked/100?trailers");
        assert_eq!(trailers.field("trailer"), Some("X-Body-Bytes"));
        trailers.check_letters(100);
        let unframed = client.get("/bytes/300000?unframed");
        assert_eq!(unframed.field("content-length"), None);
        unframed.check_letters(300_000);
        let mut old = Client::connect(origin.address());
        old.send("GET /chunked/20000 HTTP/1.0\r\n\r\n");
        old.answer().check_letters(20_000);
    });
}

#[test]
fn delays_and_streams_take_their_time() {
    on_each(plain, |origin| {
        let mut client = Client::connect(origin.address());
        let least = |millis, path: &str| {
            let (time, answer) = elapsed(|| client.get(path));
            assert!(time >= Duration::from_millis(millis), "{path}: {time:?}");
            answer.check_letters(13);
        };
        let mut least = least;
        least(30, "/delay/30");
        least(30, "/delay/10?delay=20");
        least(30, "/lognormal/30/0");
        least(30, "/stream/13/4/10");
        least(30, "/stream/13/4/10?chunked");
        least(0, "/lognormal/1/50");
    });
}

#[test]
fn random_numbers_follow_the_seed() {
    let statuses = |seed: u64| {
        let origin = Origin::start(&Config { seed, ..Config::on_loopback() }).expect("an origin");
        let mut client = Client::connect(origin.address());
        let failed: Vec<bool> = (0..64).map(|_| client.get("/fail/50").status() == 503).collect();
        failed
    };
    assert_eq!(statuses(7), statuses(7));
    assert_ne!(statuses(7), statuses(8));
    let failed = statuses(9).iter().filter(|failed| **failed).count();
    assert!((10..54).contains(&failed), "{failed} of 64");
}

#[test]
fn connections_end_as_told() {
    on_each(plain, |origin| {
        let mut client = Client::connect(origin.address());
        let answer = client.get("/close?delay=5");
        assert_eq!((answer.status(), answer.field("connection")), (200, Some("close")));
        client.check_end();

        let mut client = Client::connect(origin.address());
        client.get("/").check_letters(13);
        client.ask("GET", "/abort", "\r\n");
        client.check_end();

        let mut client = Client::connect(origin.address());
        client.ask("GET", "/truncate/1000", "\r\n");
        assert_eq!(client.head().field("content-length"), Some("1000"));
        let mut half = Vec::new();
        client.0.read_to_end(&mut half).expect("an end, no reset");
        assert_eq!(half.len(), 500);

        let mut client = Client::connect(origin.address());
        client.ask("GET", "/reset", "\r\n");
        assert_eq!(client.head().field("content-length"), Some("1000"));
        let error = client.0.read_to_end(&mut Vec::new()).expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        check_counters(origin, |now| now.open == 0 && now.in_progress == 0 && now.accepted == 4);
    });
}

#[test]
fn redirects_lead_to_an_answer() {
    on_each(plain, |origin| {
        let mut client = Client::connect(origin.address());
        let (mut path, mut hops) = ("/redirect/3?status=307".to_owned(), 0);
        let last = loop {
            let answer = client.get(&path);
            let Some(location) = answer.field("location") else { break answer };
            assert_eq!(answer.status(), 307);
            (path, hops) = (location.to_owned(), hops + 1);
        };
        last.check(200, "Hello, world\n");
        assert_eq!(hops, 3);
        let away = client.get("/redirect-to?url=http%3A%2F%2Fh%2F%3Fq");
        assert_eq!((away.status(), away.field("location")), (302, Some("http://h/?q")));
    });
}

#[test]
fn request_bodies_of_both_lengths_are_read() {
    on_each(plain, |origin| {
        let mut client = Client::connect(origin.address());
        let chunked =
            "Transfer-Encoding: chunked\r\n\r\n5;x=1\r\nhello\r\n1\r\n!\r\n0\r\nA: b\r\n\r\n";
        client.ask("POST", "/echo", chunked);
        client.answer().check(200, "hello!");
        client.ask("POST", "/", chunked);
        client.answer().check(200, "Hello, world\n");
        client.ask("POST", "/echo", "Content-Length: 1048576\r\n\r\n");
        let body: Vec<u8> = (0..1 << 20).map(|byte| byte as u8).collect();
        client.send(&body);
        assert!(client.answer().body == body);
        client.ask("POST", "/echo", "Content-Length: 1048577\r\n\r\n");
        client.send(vec![0; 1_048_577]);
        client.answer().check(413, "413 Payload Too Large\n");
        client.ask("POST", "/delay/1", "Content-Length: 3\r\n\r\nabc");
        client.answer().check_letters(13);
        client.ask("POST", "/echo", "Transfer-Encoding: chunked\r\n\r\nnonsense\r\n");
        client.answer().check(400, "");
        client.check_end();
    });
}

#[test]
fn expectations_are_met_refused_or_ignored() {
    on_each(plain, |origin| {
        let expecting = "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n";
        let mut client = Client::connect(origin.address());
        for path in ["/expect", "/", "/echo"] {
            client.ask("POST", path, expecting);
            assert_eq!(client.head().status(), 100, "{path}");
            client.send("hello");
            assert_eq!(client.answer().status(), 200);
        }
        client.ask("POST", "/expect/ignore", expecting);
        client.send("hello");
        assert_eq!(client.answer().status(), 200);
        client.ask("POST", "/expect/417", "Content-Length: 5\r\n\r\nhello");
        assert_eq!(client.answer().status(), 200);
        client.ask("POST", "/expect/417", expecting);
        client.answer().check(417, "417 Expectation Failed\n");
        client.check_end();
        let mut client = Client::connect(origin.address());
        client.ask("GET", "/continue/3", "\r\n");
        let statuses: Vec<u16> = (0..3).map(|_| client.head().status()).collect();
        assert_eq!(statuses, [100; 3]);
        client.answer().check_letters(13);
    });
}

#[test]
fn head_gets_the_head_of_every_answer() {
    on_each(plain, |origin| {
        let mut client = Client::connect(origin.address());
        let paths = [
            "/delay/1",
            "/lognormal/1/10",
            "/status/404",
            "/fail/100",
            "/retry-after/1",
            "/bytes/99999",
            "/chunked/99999",
            "/stream/99/9/1",
            "/echo",
            "/headers",
            "/redirect/2",
            "/expect",
            "/continue/0",
            "/",
            "/redirect-to?url=/",
            "/bytes/x",
        ];
        for path in paths {
            client.ask("HEAD", path, "\r\n");
            let head = client.head();
            let length = head.field("content-length").or(head.field("transfer-encoding"));
            assert!(length.is_some(), "{path}: {head:?}");
        }
        client.get("/bytes/5").check(200, "Hello");
        for path in ["/close", "/truncate/9", "/bytes/9?unframed"] {
            let mut client = Client::connect(origin.address());
            client.ask("HEAD", path, "\r\n");
            client.head();
            client.check_end();
        }
    });
}

/// What comes late holds back what is behind it, and nothing is lost or mixed up.
#[test]
fn pipelined_answers_keep_the_order_of_their_requests() {
    let paths = [
        ("/", 13),
        ("/bytes/7", 7),
        ("/delay/20", 13),
        ("/", 13),
        ("/", 13),
        ("/chunked/100000", 100_000),
        ("/bytes/3000000", 3_000_000),
        ("/", 13),
        ("/stream/50/9/1", 50),
        ("/delay/5", 13),
        ("/bytes/0", 0),
        ("/", 13),
    ];
    let check = |origin: &Origin| {
        let mut client = Client::connect(origin.address());
        for _ in 0..3 {
            let requests: String = paths
                .iter()
                .map(|(path, _)| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
                .collect();
            client.send(requests);
            for (_, bytes) in paths {
                client.answer().check_letters(bytes);
            }
        }
        check_counters(origin, |now| now.served == 36 && now.in_progress == 0);
    };
    on_each(plain, check);
    on_each(|config| Config { delay: Duration::from_millis(3), ..config }, check);
}

/// Large fixed answers that are delayed all come, although the connection is busy when their time has come.
#[test]
fn delayed_answers_that_meet_a_busy_connection_are_not_lost() {
    let change = |config| Config { delay: Duration::from_millis(3), body_bytes: 200_000, ..config };
    on_each(change, |origin| {
        let mut client = Client::connect(origin.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(20));
        for _ in 0..20 {
            client.answer().check_letters(200_000);
        }
    });
}

#[test]
fn close_every_counts_planned_answers() {
    on_each(
        |config| Config { close_every: Some(3), ..config },
        |origin| {
            let mut client = Client::connect(origin.address());
            for path in ["/bytes/5", "/"] {
                assert_eq!(client.get(path).field("connection"), None);
            }
            assert_eq!(client.get("/bytes/5").field("connection"), Some("close"));
            client.check_end();
        },
    );
}
