//! Which connection a request gets, and when one that is idle goes: http-client.md A5, and items 56 and 75 of B2.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ringshot::client::blocking::block_on;
use ringshot::client::{ClientBuilder, CoreCtx, Cores, Engine, Reuse, Solo};
use ringshot::driver::{DriverChoice, Epoll, Limits};
use ringshot_tests::peer::{Conversation, Peer};
use ringshot_tests::watch::wait_until;

use crate::access::{Access, LONG, OK, check, drivers, friendly, get, millis, origin};

fn plain(builder: ClientBuilder) -> ClientBuilder {
    builder
}

#[test]
fn connections_are_kept_by_origin() {
    check(plain, |access| {
        let (one, two) = (friendly(), friendly());
        for n in 0..4 {
            for peer in [&one, &two] {
                let response = access.get(&peer.url()).unwrap();
                assert_eq!(response.connection().reused, n > 0);
                assert_eq!(response.connection().peer, Some(peer.address()));
            }
        }
        assert_eq!((one.accepted(), two.accepted()), (1, 1));
        // Another name is another origin, whatever its address.
        let other = format!("http://localhost:{}/", one.address().port());
        assert!(!access.get(&other).unwrap().connection().reused);
        assert_eq!(one.accepted(), 2);
    });
}

/// The connections of 12 requests one after the other, where three are idle.
fn used_in_turn(access: &Access) -> Vec<u64> {
    let origin = origin();
    let started: Vec<_> = (0..3).map(|_| access.start(get(&origin.url("/delay/100")))).collect();
    started.into_iter().for_each(|request| drop(request.outcome().unwrap()));
    access.wait_idle(3);
    let used = (0..12).map(|_| access.get(&origin.url("/")).unwrap().connection().id);
    let used = used.collect();
    assert_eq!(origin.counters().accepted, 3);
    used
}

#[test]
fn the_one_used_last_is_used_next() {
    check(plain, |access| {
        let used = used_in_turn(access);
        assert!(used.iter().all(|id| *id == used[0]), "{used:?}");
    });
}

#[test]
fn the_one_idle_longest_is_used_next_if_asked_for() {
    check(
        |builder| builder.reuse(Reuse::Fifo),
        |access| {
            let used = used_in_turn(access);
            let mut three = used[..3].to_vec();
            three.sort_unstable();
            three.dedup();
            assert_eq!(three.len(), 3, "{used:?}");
            assert!(used.chunks(3).all(|round| round == &used[..3]), "{used:?}");
        },
    );
}

/// What a server does to a connection that is idle takes it out of the pool at once, without a request.
fn check_evicts(act: fn(Conversation)) {
    check(plain, |access| {
        let (told, tell) = channel();
        let tell = Mutex::new(tell);
        let peer = Peer::start(move |mut peer| {
            peer.request();
            peer.send(OK);
            if tell.lock().unwrap().recv().is_ok() {
                act(peer);
            }
        });
        assert_eq!(access.get(&peer.url()).unwrap().status(), 200);
        access.wait_idle(1);
        told.send(()).unwrap();
        access.wait_empty();
        assert_eq!(access.total(|core| core.counters.evicted), 1);
        assert_eq!(access.client.limits_observed().conns_now, 0);
        assert!(!access.get(&peer.url()).unwrap().connection().reused);
        assert_eq!((peer.accepted(), access.total(|core| core.counters.stale_retries)), (2, 0));
        drop(told);
    });
}

#[test]
fn an_end_while_idle_evicts() {
    check_evicts(drop);
}

#[test]
fn a_reset_while_idle_evicts() {
    check_evicts(Conversation::reset);
}

#[test]
fn a_stray_byte_while_idle_evicts() {
    check_evicts(|mut peer| {
        peer.send("x");
        peer.read_to_end();
    });
}

#[test]
fn a_408_while_idle_evicts() {
    check_evicts(|mut peer| {
        peer.send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        peer.read_to_end();
    });
}

/// Bytes behind a response belong to none: the response counts, and its connection goes (RFC 9112 6.3).
#[test]
fn surplus_bytes_end_the_connection() {
    check(plain, |access| {
        let peer = Peer::start(|mut peer| {
            peer.answer_all(format!("{OK}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"));
        });
        for n in 1..=3 {
            let response = access.get(&peer.url()).unwrap();
            assert_eq!((&response.bytes()[..], response.connection().reused), (&b"ok"[..], false));
            assert_eq!(peer.accepted(), n);
        }
    });
}

/// How long each connection lives that the script answers one request on.
fn lives(access: &Access, connections: u32, head: &'static str) -> Vec<Duration> {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let peer = Peer::start(move |mut peer| {
        peer.request();
        // All at once: those that come first wait for the others.
        std::thread::sleep(millis(50));
        let begun = Instant::now();
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{head}\r\nok"));
        peer.read_to_end();
        let _ = tell.lock().unwrap().send(begun.elapsed());
    });
    let started: Vec<_> = (0..connections).map(|_| access.start(get(&peer.url()))).collect();
    started.into_iter().for_each(|request| drop(request.outcome().unwrap()));
    (0..connections).map(|_| told.recv_timeout(LONG).unwrap()).collect()
}

#[track_caller]
fn assert_within(lives: &[Duration], least: u64, most: u64) {
    let within = |life: &Duration| *life >= millis(least) && *life < millis(most);
    assert!(lives.iter().all(within), "{lives:?}");
}

#[test]
fn idle_connections_are_closed_in_time() {
    check(
        |builder| builder.idle_timeout(millis(150)),
        |access| {
            assert_within(&lives(access, 2, ""), 149, 9_000);
            // Published at the end of a turn, when the server may have seen the last end already.
            access.wait_for(2, |core| core.counters.reaped);
        },
    );
}

/// A hint of three seconds is kept by one and a half: our next request must not cross the server's close.
#[test]
fn what_a_server_says_of_idle_connections_is_heard() {
    check(plain, |access| {
        assert_within(&lives(access, 1, "Keep-Alive: timeout=3, max=100\r\n"), 1_490, 2_900);
        assert_within(&lives(access, 1, "Keep-Alive: timeout=0\r\n"), 0, 9_000);
        assert_within(&lives(access, 1, "Keep-Alive: max=0\r\n"), 0, 9_000);
    });
}

/// A hint never keeps a connection for longer than the client's own limit.
#[test]
fn a_hint_only_shortens() {
    check(
        |builder| builder.idle_timeout(millis(100)),
        |access| assert_within(&lives(access, 1, "Keep-Alive: timeout=100\r\n"), 99, 9_000),
    );
}

#[test]
fn a_connection_carries_as_many_requests_as_its_server_says() {
    check(plain, |access| {
        let peer = Peer::start(|mut peer| {
            for left in [2, 1, 0] {
                peer.request();
                peer.send(format!(
                    "HTTP/1.1 200 OK\r\nKeep-Alive: max={left}\r\nContent-Length: 0\r\n\r\n"
                ));
            }
            peer.read_to_end();
        });
        for n in 0..7 {
            let response = access.get(&peer.url()).unwrap();
            assert_eq!(response.connection().reused, n % 3 > 0, "{n}");
        }
        assert_eq!((peer.accepted(), access.total(|core| core.counters.evicted)), (3, 0));
    });
}

/// Each lives up to a tenth shorter than the limit, and they don't all end together.
#[test]
fn connections_grow_only_so_old() {
    check(
        |builder| builder.max_lifetime(millis(600)),
        |access| {
            let lives = lives(access, 8, "");
            // Their life began up to 50 ms and some before the answer.
            assert_within(&lives, 350, 1200);
            let spread = *lives.iter().max().unwrap() - *lives.iter().min().unwrap();
            assert!(spread > millis(3), "{lives:?}");
        },
    );
}

/// What is in flight on a connection that has come of age is finished first.
#[test]
fn old_age_waits_for_the_response() {
    check(
        |builder| builder.max_lifetime(millis(60)),
        |access| {
            let origin = origin();
            for _ in 0..2 {
                let response = access.get(&origin.url("/delay/120")).unwrap();
                assert_eq!(
                    (response.status().as_u16(), response.connection().reused),
                    (200, false)
                );
            }
            assert!(wait_until(LONG, || origin.counters().open == 0));
        },
    );
}

/// A connection serves what it was made for, even if its life is over by then.
#[test]
fn the_shortest_life_is_long_enough_for_one() {
    check(
        |builder| builder.max_lifetime(Duration::from_nanos(1)),
        |access| {
            let peer = friendly();
            for n in 1..=3 {
                assert!(!access.get(&peer.url()).unwrap().connection().reused);
                assert_eq!(peer.accepted(), n);
            }
            let built = access.engine.client().max_lifetime(Duration::ZERO).build();
            let error = built.map(drop).unwrap_err().to_string();
            assert!(error.contains("max_lifetime must be more than nothing"), "{error}");
        },
    );
}

/// Two heads, one of which is too long to be remembered, in turn on the same connections.
#[test]
fn heads_that_take_turns_are_told_apart() {
    check(plain, |access| {
        let long = format!(
            "HTTP/1.1 201 Created\r\nx-long: {}\r\nContent-Length: 4\r\n\r\nlong",
            "x".repeat(5000)
        );
        let peer = Peer::start(move |mut peer| {
            while peer.request().is_some() {
                peer.send(OK);
                peer.request();
                peer.send(&long);
            }
        });
        for _ in 0..5 {
            let response = access.get(&peer.url()).unwrap();
            assert_eq!((response.status().as_u16(), &response.bytes()[..]), (200, &b"ok"[..]));
            assert_eq!(response.headers().len(), 1);
            let response = access.get(&peer.url()).unwrap();
            assert_eq!((response.status().as_u16(), &response.bytes()[..]), (201, &b"long"[..]));
            assert_eq!(response.headers()["x-long"].len(), 5000);
        }
    });
}

/// A task computes while an idle connection ends: its next request, which may not be sent twice, gets a fresh one.
#[test]
fn an_end_while_a_task_computes_is_seen_before_its_next_request() {
    for driver in drivers() {
        let engine = narrow(driver, 4);
        let client = engine.client().build().unwrap();
        let peer = Arc::new(Peer::start(|mut peer| {
            peer.request();
            peer.send(OK);
        }));
        let (url, ends) = (peer.url(), Arc::clone(&peer));
        let computes = move || {
            std::thread::sleep(millis(5));
            assert!(wait_until(LONG, || ends.open() == 0));
        };
        let work = async move |ctx: CoreCtx| {
            let client = ctx.client(&client);
            for _ in 0..5 {
                client.get(&url).fetch().await?;
                computes();
                client.post(&url).body("once").fetch().await?;
                computes();
            }
            Ok::<_, ringshot::Error>(())
        };
        block_on(engine.run_on(0, work)).unwrap().unwrap();
        assert_eq!(peer.accepted(), 10, "{driver:?}");
    }
}

/// An engine of one core with room for `conns` connections, on a driver.
pub(crate) fn narrow(driver: DriverChoice, conns: u32) -> Engine {
    let builder = Engine::builder().cores(Cores::Count(1)).driver(driver);
    builder.conns_per_core(conns).build().unwrap()
}

/// All of a core's slots are taken by what one client keeps idle: the one idle longest makes room for another client.
#[test]
fn what_one_client_keeps_idle_makes_room_for_another() {
    for driver in drivers() {
        let engine = narrow(driver, 2);
        let [holder, asker] = [(); 2].map(|()| engine.client().timeout(LONG).build().unwrap());
        let (first, last, other) = (friendly(), friendly(), friendly());
        for peer in [&first, &last] {
            block_on(holder.get(peer.url()).fetch()).unwrap();
        }
        assert!(wait_until(LONG, || engine.stats()[0].holding.idle == 2));
        assert_eq!(block_on(asker.get(other.url()).fetch()).unwrap().status(), 200);
        assert_eq!(engine.stats()[0].counters.reaped, 1);
        let again = block_on(holder.get(last.url()).fetch()).unwrap();
        assert!(again.connection().reused, "the one idle longest went");
    }
}

/// A client whose requests never leave the only slot idle still lets others have their turn.
#[test]
fn a_client_that_is_always_busy_leaves_another_its_turn() {
    for driver in drivers() {
        let engine = narrow(driver, 1);
        let [busy, asker] = [(); 2].map(|()| engine.client().timeout(LONG).build().unwrap());
        let (crowded, quiet) = (friendly(), friendly());
        let over = Arc::<AtomicBool>::default();
        let loops: Vec<_> = (0..3)
            .map(|_| (busy.clone(), crowded.url(), Arc::clone(&over)))
            .map(|(client, url, over)| {
                std::thread::spawn(move || {
                    while !over.load(Ordering::SeqCst) {
                        assert_eq!(block_on(client.get(&url).fetch()).unwrap().status(), 200);
                    }
                })
            })
            .collect();
        for _ in 0..20 {
            assert_eq!(block_on(asker.get(quiet.url()).fetch()).unwrap().status(), 200);
        }
        over.store(true, Ordering::SeqCst);
        loops.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// A core is done with a client when the last handle, twin and connection of it are gone, and gives its place to another.
#[test]
fn ten_thousand_clients_in_turn_take_a_few_places() {
    let origin = origin();
    let driver = Epoll::open(Limits { slots: 4 }).unwrap();
    let now = ringshot::clock::Instant::now;
    let mut solo = Solo::new(driver, 4, now()).unwrap();
    for n in 0..10_000 {
        let client = solo.engine().client().max_conns(4).build().unwrap();
        let twin = solo.ctx().client(&client);
        let url = origin.url("/");
        let asks = n % 100 == 0;
        let task = solo.ctx().spawn(async move {
            drop(client);
            if asks {
                twin.get(&url).send().await.unwrap().bytes().await.unwrap();
            }
        });
        let begun = Instant::now();
        while !task.is_finished() && begun.elapsed() < LONG {
            solo.turn(millis(100), &mut { now }).unwrap();
        }
        // What it leaves behind is seen in the next turn, and its socket closed in the one after.
        (0..3).for_each(|_| assert!(solo.turn(millis(0), &mut { now }).unwrap()));
    }
    let kept = solo.kept();
    assert!(kept.client_places <= 4, "{kept:?}");
    assert_eq!(kept.exchanges, 0);
}
