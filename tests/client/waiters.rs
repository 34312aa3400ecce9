//! Who is turned away where waiters are limited, and who only seems to wait: http-client.md A5.

use ringshot::client::{ClientBuilder, Kind, Phase};
use ringshot_tests::peer::Peer;

use crate::access::{Access, OK, Started, check, check_on, get, millis, origin};
use crate::names::full_listener;

/// A unit that is on its way back, or that an idle connection to another host holds, is nobody's: no request has to end for it.
#[test]
fn nobody_is_turned_away_for_what_comes_back() {
    check(
        |builder| builder.max_conns_per_host(1).max_waiters(0),
        |access| {
            let origin = origin();
            for turn in 0..100 {
                let response = access.get(&origin.url("/close")).map(|response| response.status());
                assert_eq!(response.unwrap(), 200, "{turn}");
            }
        },
    );
    check(
        |builder| builder.max_conns(1).max_waiters(0),
        |access| {
            let origins = [origin(), origin()];
            for turn in 0..100 {
                let url = origins[turn % 2].url("/");
                let response = access.get(&url).map(|response| response.status());
                assert_eq!(response.unwrap(), 200, "{turn}");
            }
        },
    );
}

/// Nor is a redirect by its own connection, which drains what is left of the response that redirects.
#[test]
fn a_redirect_is_not_turned_away_for_its_own_connection() {
    check(
        |builder| builder.max_conns(1).max_waiters(0),
        |access| {
            let peer = Peer::start(|mut peer| {
                while let Some(request) = peer.request() {
                    if request.starts_with(b"GET /there") {
                        peer.send(OK);
                        continue;
                    }
                    let head =
                        "HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 5\r\n\r\n";
                    peer.send(head);
                    std::thread::sleep(millis(30));
                    peer.send("there");
                }
            });
            for _ in 0..3 {
                let response = access.fetch(get(&peer.url()).redirects(1)).unwrap();
                assert_eq!(response.status(), 200);
            }
        },
    );
}

/// As many requests at a time as there are units: each has one, or one that comes, whoever gives it up, and for whichever host.
#[test]
fn who_counts_on_a_unit_is_no_waiter() {
    let by_host = |builder: ClientBuilder| builder.max_conns_per_host(2).max_waiters(0);
    check_on(2, by_host, |access| {
        let origin = origin();
        take_turns(access, &[origin.url("/close"), origin.url("/close")]);
        take_turns(access, &[origin.url("/"), origin.url("/close")]);
    });
    let one_by_host = |builder: ClientBuilder| builder.max_conns_per_host(1).max_waiters(0);
    check_on(2, one_by_host, |access| {
        let origins = [origin(), origin()];
        take_turns(access, &origins.each_ref().map(|origin| origin.url("/close")));
    });
    let by_client = |builder: ClientBuilder| builder.max_conns(2).max_waiters(0);
    check_on(2, by_client, |access| {
        let origins = [origin(), origin(), origin()];
        let urls = |path: &str| origins.each_ref().map(|origin| origin.url(path));
        take_turns(access, &[urls("/")[0].clone(), urls("/close")[1].clone()]);
        take_turns(access, &[urls("/")[1].clone(), urls("/")[2].clone()]);
    });
}

/// As many requests at a time as there are units and places to wait.
#[test]
fn who_has_a_connection_in_the_making_is_no_waiter() {
    let by_host = |builder: ClientBuilder| builder.max_conns_per_host(4).max_waiters(4);
    check_on(2, by_host, |access| {
        let origin = origin();
        take_turns(access, &["/close"; 8].map(|path| origin.url(path)));
        take_turns(
            access,
            &["/", "/close", "/", "/close", "/", "/", "/", "/"].map(|path| origin.url(path)),
        );
    });
    let by_client = |builder: ClientBuilder| builder.max_conns(3).max_waiters(2);
    check_on(2, by_client, |access| {
        let origins = [(); 5].map(|()| origin());
        take_turns(access, &origins.each_ref().map(|origin| origin.url("/")));
    });
}

/// From each URL a hundred times, each on another core than the time before, and all at once.
fn take_turns(access: &Access, urls: &[String]) {
    std::thread::scope(|scope| {
        for (first, url) in urls.iter().enumerate() {
            scope.spawn(move || {
                for turn in 0..100 {
                    let core = (first + turn / 2) % access.engine.cores();
                    let status = access.fetch_on(core, get(url)).map(|response| response.status());
                    assert_eq!(status.unwrap(), 200, "{url}, {turn}");
                }
            });
        }
    });
}

/// Idle connections of another core are no reason to refuse: their units come as soon as a core starves.
#[test]
fn nobody_is_turned_away_for_what_is_idle_elsewhere() {
    for limit in [
        |builder: ClientBuilder| builder.max_conns_per_host(2),
        |builder: ClientBuilder| builder.max_conns(2),
    ] {
        check_on(
            2,
            |builder| limit(builder).max_waiters(0),
            |access| {
                let origin = origin();
                let url = origin.url("/delay/20");
                let last = access.engine.cores() - 1;
                for core in [last, 0, last, last, 0, 0] {
                    let both: Vec<Started> =
                        (0..2).map(|_| access.start_on(core, get(&url))).collect();
                    for started in both {
                        assert_eq!(started.outcome().unwrap().status(), 200, "core {core}");
                    }
                    let one = access.fetch_on(last - core, get(&url));
                    assert_eq!(one.unwrap().status(), 200, "core {}", last - core);
                }
                assert!(origin.counters().most_open <= 2, "{:?}", origin.counters());
                // All in use, wherever: one more is one too many.
                let hang = origin.url("/hang");
                let held: Vec<Started> = (0..2).map(|_| access.start_on(0, get(&hang))).collect();
                access.wait_for(2, |core| core.holding.active.into());
                let error = access.fetch_on(last, get(&url)).unwrap_err();
                assert!(matches!(error.kind(), Kind::PoolFull { max_waiters: 0 }), "{error}");
                held.into_iter().for_each(Started::cancel);
            },
        );
    }
}

/// A connection is being made for another, and none for who is turned away: its error names no address and no dial.
#[test]
fn who_is_turned_away_was_dialed_for_by_nobody() {
    check(
        |builder| builder.max_connecting_per_host(1).max_waiters(0),
        |access| {
            let listener = full_listener();
            let url = format!("http://{}/", listener.address);
            let dialing = access.start(get(&url));
            access.wait_for(1, |core| core.holding.connecting.into());
            let error = access.get(&url).unwrap_err();
            assert!(matches!(error.kind(), Kind::PoolFull { max_waiters: 0 }), "{error}");
            assert_eq!((error.phase(), error.peer()), (Phase::Acquire, None), "{error}");
            dialing.cancel();
            access.wait_empty();
        },
    );
}

/// A connection that its server is about to close goes to nobody, whoever waits for one.
#[test]
fn who_waits_is_given_no_connection_that_its_server_gives_up() {
    let peers = ["timeout=0", "timeout=0, max=9", "max=0"].map(|hint| {
        Peer::start(move |mut peer| {
            while peer.request().is_some() {
                std::thread::sleep(millis(20));
                peer.send(format!(
                    "HTTP/1.1 200 OK\r\nKeep-Alive: {hint}\r\nContent-Length: 0\r\n\r\n"
                ));
            }
        })
    });
    check(
        |builder| builder.max_conns_per_host(1),
        |access| {
            for peer in &peers {
                let started: Vec<_> = (0..4).map(|_| access.start(get(&peer.url()))).collect();
                for request in started {
                    assert!(!request.outcome().unwrap().connection().reused);
                }
            }
        },
    );
}
