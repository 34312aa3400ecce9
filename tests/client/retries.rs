//! Policies of retries: what they try again, how often, and how long they wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringshot::client::{ClientBuilder, Error, Kind, Phase, RequestBody, Retry, Sent};
use ringshot_tests::peer::Peer;
use ringshot_tests::watch::wait_until;

use crate::access::{LONG, OK, check, get, millis, origin, post};
use crate::feed::fed;

fn on_503() -> Retry {
    let busy = |status: http::StatusCode| status == 503;
    Retry::budget(1.0)
        .backoff(millis(1)..millis(5))
        .on(move |attempt| attempt.status().is_some_and(busy))
}

/// A peer that answers 503 `failures` times, and then 200; and how often it was asked.
fn failing(failures: u64) -> (Peer, Arc<AtomicU64>) {
    let asked = Arc::<AtomicU64>::default();
    let count = Arc::clone(&asked);
    let peer = Peer::start(move |mut peer| {
        while peer.request().is_some() {
            let busy = count.fetch_add(1, Ordering::SeqCst) < failures;
            peer.send(if busy { "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy" } else { OK });
        }
    });
    (peer, asked)
}

fn with(retry: impl Fn() -> Retry + Sync) -> impl Fn(ClientBuilder) -> ClientBuilder + Sync {
    move |builder| builder.retry(retry())
}

#[test]
fn a_status_is_tried_again() {
    check(with(on_503), |access| {
        let (peer, asked) = failing(2);
        let response = access.get(&peer.url()).unwrap();
        assert_eq!((response.status().as_u16(), response.attempts()), (200, 3));
        assert_eq!((asked.load(Ordering::SeqCst), peer.accepted()), (3, 1));
        // The last attempt's outcome is the outcome.
        let (peer, asked) = failing(100);
        let response = access.get(&peer.url()).unwrap();
        assert_eq!((response.status().as_u16(), &response.bytes()[..]), (503, &b"busy"[..]));
        assert_eq!((response.attempts(), asked.load(Ordering::SeqCst)), (3, 3));
    });
}

/// A redirect is a request of its own, with attempts of its own; what was repeated before it counts all the same.
#[test]
fn repeats_before_a_redirect_are_counted() {
    check(with(on_503), |access| {
        let asked = Arc::<AtomicU64>::default();
        let count = Arc::clone(&asked);
        let peer = Peer::start(move |mut peer| {
            while peer.request().is_some() {
                peer.send(match count.fetch_add(1, Ordering::SeqCst) % 6 {
                    0 | 1 | 3 | 4 => "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
                    2 => "HTTP/1.1 302 There\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n",
                    _ => OK,
                });
            }
        });
        let response = access.fetch(get(&peer.url()).redirects(1)).unwrap();
        let told = (response.status().as_u16(), response.redirects(), response.attempts());
        assert_eq!((told, asked.load(Ordering::SeqCst)), ((200, 1, 5), 6));
        let batch = access.client.batch([peer.url()]).for_each(|_, _| {});
        let summary = ringshot::client::blocking::block_on(batch);
        assert_eq!((summary.ok, summary.retried), (1, 4), "{summary}");
    });
}

#[test]
fn without_a_policy_nothing_is() {
    check(
        |builder| builder,
        |access| {
            let (peer, asked) = failing(1);
            assert_eq!(access.get(&peer.url()).unwrap().status(), 503);
            assert_eq!(asked.load(Ordering::SeqCst), 1);
        },
    );
}

#[test]
fn what_is_not_idempotent_is_not_tried_again() {
    check(with(on_503), |access| {
        let (peer, asked) = failing(1);
        assert_eq!(access.fetch(post(&peer.url(), "x")).unwrap().status(), 503);
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        let (peer, _) = failing(1);
        assert_eq!(access.fetch(post(&peer.url(), "x").idempotent()).unwrap().status(), 200);
        let stream = RequestBody::stream_of(fed(|feeder| feeder.push("x")), 1);
        let (peer, asked) = failing(1);
        let once = post(&peer.url(), "").idempotent().body(stream);
        assert_eq!(access.fetch(once).unwrap().status(), 503);
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn errors_that_may_pass_are_tried_again() {
    check(with(|| on_503().attempts(4)), |access| {
        let turn = AtomicU64::new(0);
        let peer = Peer::start(move |mut peer| {
            peer.request();
            match turn.fetch_add(1, Ordering::SeqCst) {
                0 => peer.reset(),
                1 => {}
                2 => drop(peer.send("HTTP/1.1 2")),
                _ => drop(peer.send(OK)),
            }
        });
        let response = access.get(&peer.url()).unwrap();
        assert_eq!((response.status().as_u16(), response.attempts(), peer.accepted()), (200, 4, 4));
        // Nobody listens: nothing was sent, so that a `POST` may be repeated too; its error tells the last attempt.
        let gone = Peer::start(drop).url();
        let error = access.fetch(post(&gone, "x")).unwrap_err();
        assert!(matches!(error.kind(), Kind::Connect(_)), "{error}");
        assert_eq!(error.attempt(), 4);
        // What was no answer is no passing failure.
        let peer = Peer::start(|mut peer| peer.answer_all("garbage\r\n\r\n"));
        assert_eq!(access.get(&peer.url()).unwrap_err().attempt(), 1);
    });
}

/// What goes to a fresh connection is an attempt too, and none follows the last.
#[test]
fn attempts_bound_all_sends() {
    for (attempts, sends) in [(1, 2), (2, 2), (3, 3), (4, 4)] {
        check(with(move || on_503().attempts(attempts)), |access| {
            let (held, asked) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
            let (warm, count) = (Arc::clone(&held), Arc::clone(&asked));
            let peer = Peer::start(move |mut peer| {
                while let Some(request) = peer.request() {
                    if request.starts_with(b"GET /x ") {
                        count.fetch_add(1, Ordering::SeqCst);
                        return;
                    }
                    // Four connections at once, all of which are idle then.
                    warm.fetch_add(1, Ordering::SeqCst);
                    wait_until(LONG, || warm.load(Ordering::SeqCst) == 4);
                    peer.send(OK);
                }
            });
            let warm: Vec<_> = (0..4).map(|_| access.start(get(&peer.url()))).collect();
            warm.into_iter().for_each(|one| drop(one.outcome().unwrap()));
            access.wait_idle(4);
            let error = access.get(&format!("{}x", peer.url())).unwrap_err();
            let told = (asked.load(Ordering::SeqCst), error.attempt());
            assert_eq!(told, (sends, sends as u8), "{attempts} attempts: {error}");
        });
    }
}

/// A peer that cuts its first responses short, within the body, and how often it was asked.
fn cutting(cuts: u64, cut: &'static str) -> (Peer, Arc<AtomicU64>) {
    let asked = Arc::<AtomicU64>::default();
    let count = Arc::clone(&asked);
    let peer = Peer::start(move |mut peer| {
        while peer.request().is_some() {
            if count.fetch_add(1, Ordering::SeqCst) < cuts {
                peer.send(cut);
                return;
            }
            peer.send(OK);
        }
    });
    (peer, asked)
}

/// Where the library reads the body, what breaks in it is tried again by the same rules.
#[test]
fn a_body_that_breaks_is_tried_again() {
    let any = || {
        Retry::budget(1.0).attempts(3).backoff(millis(0)..millis(5)).on(|it| it.error().is_some())
    };
    let cuts = [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ];
    for limit in [None, Some(1)] {
        let limited = |builder: ClientBuilder| match limit {
            Some(limit) => builder.max_in_flight(limit),
            None => builder,
        };
        check(
            |builder| limited(builder.retry(any())),
            |access| {
                for cut in cuts {
                    let (peer, asked) = cutting(2, cut);
                    let response = access.get(&peer.url()).unwrap();
                    assert_eq!((response.text().as_ref(), response.attempts()), ("ok", 3));
                    assert_eq!(asked.load(Ordering::SeqCst), 3);
                    let (peer, _) = cutting(1, cut);
                    let batch = access.client.batch([peer.url()]).collect();
                    let all = ringshot::client::blocking::block_on(batch);
                    assert_eq!(all[0].as_ref().unwrap().attempts(), 2);
                    // As often as it may be, and no further.
                    let (peer, asked) = cutting(9, cut);
                    let error = access.get(&peer.url()).unwrap_err();
                    assert_eq!((error.kind().name(), error.attempt()), ("truncated", 3));
                    assert_eq!(asked.load(Ordering::SeqCst), 3);
                    let (peer, asked) = cutting(1, cut);
                    assert!(access.fetch(post(&peer.url(), "x")).is_err());
                    assert_eq!(asked.load(Ordering::SeqCst), 1);
                    // Whoever reads the pieces has had some.
                    let (peer, asked) = cutting(1, cut);
                    let url = peer.url();
                    let read = on_client!(access, client => {
                        client.send(get(&url)).await.unwrap().bytes().await
                    });
                    assert!(read.is_err() && asked.load(Ordering::SeqCst) == 1);
                }
                access.wait_for(0, |core| core.holding.in_flight.into());
            },
        );
    }
}

/// Ten are free; from then on each request pays for a share of one.
#[test]
fn a_budget_bounds_all() {
    check(
        with(|| Retry::budget(0.1).attempts(2).backoff(millis(0)..millis(1)).on(|_| true)),
        |access| {
            let (peer, asked) = failing(u64::MAX);
            for _ in 0..60 {
                assert_eq!(access.get(&peer.url()).unwrap().status(), 503);
            }
            let asked = asked.load(Ordering::SeqCst);
            assert!((74..=76).contains(&asked), "{asked}");
        },
    );
}

/// Between nothing and the bound, which doubles.
#[test]
fn waits_are_bounded() {
    let slow = || on_503().attempts(4).backoff(millis(40)..millis(100));
    check(with(slow), |access| {
        let (peer, _) = failing(3);
        let begun = Instant::now();
        assert_eq!(access.get(&peer.url()).unwrap().status(), 200);
        assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
    });
}

#[test]
fn retry_after_is_waited_for() {
    check(with(|| on_503().attempts(2)), |access| {
        let origin = origin();
        let begun = Instant::now();
        let response = access.get(&origin.url("/retry-after/1")).unwrap();
        let took = begun.elapsed();
        assert_eq!((response.status().as_u16(), response.attempts()), (503, 2));
        assert!(took >= Duration::from_secs(1) && took < LONG, "{took:?}");
    });
}

/// Whoever waits to try again holds neither a permit nor a connection.
#[test]
fn who_waits_holds_nothing() {
    check(
        |builder| builder.retry(on_503().attempts(2)).max_in_flight(1).max_conns(1),
        |access| {
            let origin = origin();
            let waits = access.start(get(&origin.url("/retry-after/5")));
            access.wait_for(1, |core| core.counters.responses);
            access.wait_for(0, |core| core.holding.in_flight.into());
            let begun = Instant::now();
            assert_eq!(access.get(&origin.url("/")).unwrap().status(), 200);
            assert!(begun.elapsed() < millis(4_000));
            waits.cancel();
            access.wait_for(0, |core| core.holding.in_flight.into());
        },
    );
}

/// Each hop of a chain of redirects has attempts of its own.
#[test]
fn a_redirect_starts_anew() {
    check(with(|| on_503().attempts(2)), |access| {
        let (busy, _) = failing(1);
        let first = Peer::start({
            let url = busy.url();
            move |mut peer| {
                let hop =
                    format!("HTTP/1.1 302 Found\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n");
                peer.answer_all(hop);
            }
        });
        let response = access.fetch(get(&first.url()).redirects(2)).unwrap();
        assert_eq!(
            (response.status().as_u16(), response.attempts(), response.redirects()),
            (200, 2, 1)
        );
    });
}

/// What ends between two attempts says so, whatever ended it, and names the last that was begun.
#[test]
fn an_end_between_two_attempts_is_told_as_one() {
    let told = |error: &Error, kind: &str| {
        assert_eq!(error.kind().name(), kind, "{error}");
        let known = (error.phase(), error.attempt(), error.sent(), error.peer());
        assert_eq!(known, (Phase::Backoff, 1, Sent::All, None), "{error}");
        assert!(error.to_string().contains(": wait for another attempt: "), "{error}");
    };
    check(with(on_503), |access| {
        let peer = Peer::start(|mut peer| {
            let busy = "HTTP/1.1 503 Busy\r\nRetry-After: 25\r\nContent-Length: 0\r\n\r\n";
            peer.answer_all(busy);
        });
        let batch = access.client.batch([peer.url()]).deadline(millis(500));
        let results = ringshot::client::blocking::block_on(batch.collect());
        told(results[0].as_ref().unwrap_err(), "timeout_deadline");
        std::thread::scope(|scope| {
            let ended = scope.spawn(|| access.get(&peer.url()).unwrap_err());
            access.wait_for(2, |core| core.counters.responses);
            access.wait_for(0, |core| core.holding.in_flight.into());
            access.engine.shutdown().unwrap();
            told(&ended.join().unwrap(), "shutdown");
        });
    });
}
