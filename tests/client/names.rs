//! Names and their addresses, as a client uses them.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use ringshot::client::{Cores, Engine, Kind, TimeoutKind, Timeouts};
use ringshot::resolve::{Override, Resolver, ResolverBuilder};
use ringshot::shard::ATTEMPT_DELAY;
use ringshot::sys::socket::{Blocking, Share, listen, local_address};
use ringshot_tests::peer::Peer;

use crate::access::{Access, LONG, OK, Way, check, drivers, get, millis};

/// A listener whose backlog is full: the kernel drops further connects, as if nobody were there.
pub(crate) struct FullListener {
    pub(crate) address: SocketAddr,
    _listener: OwnedFd,
    _waiting: Vec<TcpStream>,
}

pub(crate) fn full_listener() -> FullListener {
    full_listener_at("127.0.0.1:0".parse().unwrap()).unwrap()
}

fn full_listener_at(address: SocketAddr) -> std::io::Result<FullListener> {
    let listener = listen(address, Share::Alone, Blocking::Yes)?;
    // SAFETY: listen(2) on a socket that we own; it takes no pointer. A second call shrinks the backlog.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let address = local_address(&listener).unwrap();
    let connect = || TcpStream::connect_timeout(&address, millis(100)).ok();
    let waiting = std::iter::from_fn(connect).take(64).collect();
    Ok(FullListener { address, _listener: listener, _waiting: waiting })
}

fn named(overrides: &[(&'static str, Override)]) -> Resolver {
    let named = |all: ResolverBuilder, (name, to): &(&'static str, Override)| {
        all.with_override(name, to.clone())
    };
    overrides.iter().fold(Resolver::builder(), named).build().unwrap()
}

/// A peer on the second address of the loopback net, whose port is free on the others.
fn second() -> (Peer, u16) {
    let peer = Peer::start_at("127.0.0.2:0".parse().unwrap(), |mut peer| peer.answer_all(OK));
    let port = peer.address().port();
    (peer, port)
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_name_is_asked_for_once_and_sent_as_it_was_written() {
    let here = || named(&[("Name.Test", Override::to([address("127.0.0.1")]))]);
    check(
        |builder| builder.resolver(here()),
        |access| {
            let origin = crate::access::origin();
            let url = format!("http://NAME.test:{}/headers", origin.address().port());
            for n in 0..3 {
                let response = access.get(&url).unwrap();
                assert!(response.text().to_lowercase().contains("host: name.test:"));
                assert_eq!(response.connection().reused, n > 0);
                assert_eq!(response.connection().peer, Some(origin.address()));
            }
        },
    );
}

/// The first address refuses, the second works: no request fails for the first.
#[test]
fn the_next_address_is_tried() {
    let both =
        || named(&[("two.test", Override::to([address("127.0.0.1"), address("127.0.0.2")]))]);
    check(
        |builder| builder.resolver(both()),
        |access| {
            let (peer, port) = second();
            for _ in 0..3 {
                let response = access.get(&format!("http://two.test:{port}/")).unwrap();
                assert_eq!(response.connection().peer, Some(peer.address()));
            }
            assert_eq!(peer.accepted(), 1);
        },
    );
}

/// The first address is a black hole: the second is tried beside it after a moment, and the first is given up when that works.
#[test]
fn an_address_that_says_nothing_is_not_waited_for() {
    let both =
        || named(&[("hole.test", Override::to([address("127.0.0.1"), address("127.0.0.2")]))]);
    check(
        |builder| builder.resolver(both()),
        |access| {
            // The port may be another test's on the first address.
            let beside = || {
                let (peer, port) = second();
                let hole = full_listener_at(format!("127.0.0.1:{port}").parse().unwrap());
                hole.ok().map(|hole| (peer, port, hole))
            };
            let (peer, port, hole) = (0..100).find_map(|_| beside()).unwrap();
            let begun = Instant::now();
            let response = access.get(&format!("http://hole.test:{port}/")).unwrap();
            let took = begun.elapsed();
            assert!(took >= ATTEMPT_DELAY && took < LONG, "{took:?}");
            assert_eq!(response.connection().peer, Some(peer.address()));
            access.wait_for(0, |core| (core.holding.connecting + core.holding.closing).into());
            access.wait_idle(1);
            assert!(access.client.limits_observed().conns <= 2);
            drop(hole);
        },
    );
}

/// With room for one connection only there is no attempt beside another: each address after the first has its own time.
#[test]
fn addresses_are_tried_within_the_limit() {
    let both =
        || named(&[("hole.test", Override::to([address("127.0.0.1"), address("127.0.0.3")]))]);
    let timeouts = Timeouts { connect: Some(millis(400)), ..Timeouts::default() };
    check(
        |builder| builder.resolver(both()).max_conns(1).timeouts(timeouts),
        |access| {
            let hole = full_listener();
            let url = format!("http://hole.test:{}/", hole.address.port());
            let error = access.get(&url).unwrap_err();
            assert!(matches!(error.kind(), Kind::Timeout(TimeoutKind::Connect)), "{error}");
            assert_eq!(access.client.limits_observed().conns, 1);
            access.wait_empty();
        },
    );
}

/// The one that has not answered is told when time is up, not one that has refused since.
#[test]
fn the_address_that_hangs_is_told() {
    let both =
        || named(&[("hole.test", Override::to([address("127.0.0.1"), address("127.0.0.3")]))]);
    let timeouts = Timeouts { connect: Some(ATTEMPT_DELAY * 3), ..Timeouts::default() };
    check(
        |builder| builder.resolver(both()).timeouts(timeouts),
        |access| {
            let hole = full_listener();
            let url = format!("http://hole.test:{}/", hole.address.port());
            let error = access.get(&url).unwrap_err();
            assert!(matches!(error.kind(), Kind::Timeout(TimeoutKind::Connect)), "{error}");
            assert_eq!(error.peer(), Some(hole.address), "{error}");
            let other = format!("; 127.0.0.3:{}: ECONNREFUSED", hole.address.port());
            assert!(error.to_string().contains(&other), "{error}");
            access.wait_empty();
        },
    );
}

/// All refuse: the error is the last one's, and names the others.
#[test]
fn the_last_address_is_told() {
    let three = ["127.0.0.1", "127.0.0.2", "127.0.0.3"].map(address);
    check(
        |builder| builder.resolver(named(&[("gone.test", Override::to(three))])),
        |access| {
            let port = Peer::start(drop).address().port();
            let error = access.get(&format!("http://gone.test:{port}/")).unwrap_err();
            assert!(matches!(error.kind(), Kind::Connect(_)), "{error}");
            assert_eq!(error.peer(), Some((three[2], port).into()), "{error}");
            let others = format!(
                "; 127.0.0.1:{port}: ECONNREFUSED; 127.0.0.2:{port}: ECONNREFUSED (attempt "
            );
            assert!(error.to_string().contains(&others), "{error}");
            access.wait_empty();
        },
    );
}

#[test]
fn ipv6_is_a_family_like_the_other() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        ringshot_tests::watch::announce("no IPv6 here: not tested");
        return;
    }
    let six = || named(&[("six.test", Override::to([address("::1")]))]);
    check(
        |builder| builder.resolver(six()),
        |access| {
            let peer = Peer::start_at("[::1]:0".parse().unwrap(), |mut peer| {
                while let Some(request) = peer.request() {
                    peer.send(format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                        request.len()
                    ));
                    peer.send(request);
                }
            });
            let port = peer.address().port();
            for host in ["[::1]", "six.test"] {
                let response = access.get(&format!("http://{host}:{port}/")).unwrap();
                assert!(response.text().contains(&format!("Host: {host}:{port}\r\n")));
                assert_eq!(response.connection().peer, Some(peer.address()));
            }
        },
    );
}

/// Few places for sockets, many names: each waits for its place, and none is lost.
#[test]
fn names_wait_for_room() {
    let hosts: Vec<String> = (0..12).map(|n| format!("h{n}.test")).collect();
    let resolver = hosts.iter().fold(Resolver::builder(), |all, host| {
        all.with_override(host, Override::to([address("127.0.0.9"), address("127.0.0.1")]))
    });
    let resolver = resolver.build().unwrap();
    std::thread::scope(|scope| {
        for driver in drivers() {
            let (hosts, resolver) = (&hosts, resolver.clone());
            scope.spawn(move || {
                let engine =
                    Engine::builder().cores(Cores::Count(1)).driver(driver).conns_per_core(2);
                let engine = engine.build().unwrap();
                let client = engine.client().max_conns(2).resolver(resolver).build().unwrap();
                let access = Access { engine, client, way: Way::Thread };
                let origin = crate::access::origin();
                let url =
                    |host: &String| format!("http://{host}:{}/delay/3", origin.address().port());
                let started: Vec<_> =
                    hosts.iter().map(|host| access.start(get(&url(host)))).collect();
                for request in started {
                    assert_eq!(request.outcome().unwrap().status(), 200);
                }
            });
        }
    });
}

/// An address with an override is asked for like a name, and one without is still itself.
#[test]
fn an_address_may_have_an_override() {
    let peer = Peer::start(|mut peer| peer.answer_all(OK));
    let to = peer.address();
    check(
        |builder| {
            let overrides =
                [("127.0.0.77", Override::from(to)), ("2001:db8::5", Override::from(to))];
            builder.resolver(named(&overrides))
        },
        |access| {
            for url in ["http://127.0.0.77:9/", "http://[2001:db8::5]/"] {
                let response = access.get(url).unwrap();
                assert_eq!(response.connection().peer, Some(to), "{url}");
            }
            let origin = crate::access::origin();
            let plain = access.get(&origin.url("/")).unwrap();
            assert_eq!(plain.connection().peer, Some(origin.address()));
        },
    );
}
