//! Names from dnsmasq, in a namespace of each test's own: slow, failing, IPv6-only, changing and rotating ones, and addresses that nobody answers at.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use ringshot::client::{Error, Kind, Phase, Resolver, TimeoutKind, Timeouts};
use ringshot::resolve::RotateAddresses;
use ringshot_tests::dns::{NXDOMAIN, Record, SERVFAIL};
use ringshot_tests::names::{Direct, Names, Reply};
use ringshot_tests::namespace::within;
use ringshot_tests::peer::Peer;
use ringshot_tests::servers::has_ipv6;

use super::rig::{Case, Rig, cases, get};

const PATIENT: &str = "timeout:20 attempts:1";
const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const LAST_ANSWER: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
/// In a namespace of one's own every port is free.
const PORT: u16 = 8080;

fn local(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last])
}

fn one(last: u8) -> Reply {
    Reply::Addresses(vec![local(last)], 0)
}

fn peer(address: IpAddr, answer: &'static str) -> Peer {
    Peer::start_at(SocketAddr::new(address, PORT), move |mut conversation| {
        conversation.answer_all(answer);
    })
}

fn url(name: &str) -> String {
    format!("http://{name}:{PORT}/")
}

/// One request, its outcome, and how long it took.
fn fetch(rig: &Rig, name: &str) -> (Result<SocketAddr, Error>, Duration) {
    let start = Instant::now();
    let outcome = rig.fetch_all(vec![get(&url(name))]).remove(0);
    (outcome.map(|response| response.connection().peer.unwrap()), start.elapsed())
}

fn reaches(rig: &Rig, name: &str, address: IpAddr) -> Duration {
    let (outcome, elapsed) = fetch(rig, name);
    let peer = outcome.unwrap_or_else(|error| panic!("{}: {error}", rig.case));
    assert_eq!(peer.ip(), address, "{}", rig.case);
    elapsed
}

/// Each case, with a resolver of its own.
fn each_rig(check: impl Fn(Case, Resolver)) {
    cases().into_iter().for_each(|case| check(case, Resolver::new()));
}

#[test]
fn a_slow_name_is_asked_for_once() {
    within("names::a_slow_name_is_asked_for_once", || {
        let rule = |_: &_| {
            std::thread::sleep(Duration::from_millis(200));
            one(2)
        };
        let Some(names) = Names::start(PATIENT, &["host-record=fast.test,127.0.0.2"], rule) else {
            return;
        };
        let _peer = peer(local(2), ANSWER);
        each_rig(|case, resolver| {
            let rig = Rig::new(case, |client| client.resolver(resolver));
            let name = format!("{case}.upstream.test").to_lowercase();
            let requests = (0..100).map(|number| match number % 10 {
                0 => get(&url("fast.test")),
                _ => get(&url(&name)),
            });
            for outcome in rig.fetch_all(requests.collect()) {
                let response = outcome.unwrap();
                let resolved = response.timings().resolved;
                assert!(
                    response.connection().peer.unwrap().ip() == local(2)
                        && resolved.is_none_or(|at| at < Duration::from_secs(15))
                );
            }
            assert_eq!(names.asked(&name, Record::A), 1, "{case}");
            assert_eq!(names.asked(&name, Record::Aaaa), 1, "{case}");
            rig.check_at_rest();
        });
    });
}

#[test]
fn names_that_fail() {
    within("names::names_that_fail", || {
        let code = Arc::new(AtomicU8::new(SERVFAIL));
        let now = Arc::clone(&code);
        let rule = move |_: &_| match now.load(Ordering::SeqCst) {
            0 => one(2),
            code => Reply::Code(code),
        };
        let Some(_names) = Names::start("timeout:1 attempts:1", &[], rule) else { return };
        let _peer = peer(local(2), ANSWER);
        each_rig(|case, resolver| {
            let rig = Rig::new(case, |client| client.resolver(resolver));
            for failure in [SERVFAIL, NXDOMAIN] {
                code.store(failure, Ordering::SeqCst);
                let name = format!("code{failure}.upstream.test");
                for outcome in rig.fetch_all((0..20).map(|_| get(&url(&name))).collect()) {
                    let error = outcome.unwrap_err();
                    let told = matches!(error.kind(), Kind::Resolve { .. })
                        && error.phase() == Phase::Resolve;
                    assert!(told && error.is_connect(), "{case}: {error}");
                    assert_eq!(error.is_retryable(), failure == SERVFAIL, "{case}: {error}");
                    assert!(!error.may_have_been_processed() && error.peer().is_none());
                    assert!(error.to_string().contains(&name), "{case}: {error}");
                }
            }
            code.store(0, Ordering::SeqCst);
            let failed = format!("code{SERVFAIL}.upstream.test");
            reaches(&rig, &failed, local(2));
            rig.check_at_rest();
        });
    });
}

#[test]
fn a_name_that_nobody_answers_for() {
    within("names::a_name_that_nobody_answers_for", || {
        let records = ["host-record=fast.test,127.0.0.2"];
        let Some(_names) = Names::start("timeout:1 attempts:1", &records, |_| Reply::Silence)
        else {
            return;
        };
        let _peer = peer(local(2), ANSWER);
        each_rig(|case, resolver| {
            let resolve = Some(Duration::from_millis(200));
            let timeouts = Timeouts { resolve, ..Timeouts::default() };
            let rig = Rig::new(case, |client| client.resolver(resolver).timeouts(timeouts));
            let start = Instant::now();
            for outcome in
                rig.fetch_all((0..20).map(|_| get(&url("silent.upstream.test"))).collect())
            {
                let error = outcome.unwrap_err();
                let told = matches!(error.kind(), Kind::Timeout(TimeoutKind::Resolve));
                assert!(told && error.is_timeout() && error.is_connect(), "{case}: {error}");
                assert!(
                    !error.may_have_been_processed()
                        && error.elapsed() >= Duration::from_millis(200)
                );
            }
            assert!(
                start.elapsed() < Duration::from_millis(3_500),
                "{case}: {:?}",
                start.elapsed()
            );
            reaches(&rig, "fast.test", local(2));
            rig.check_at_rest();
        });
    });
}

#[test]
fn names_with_ipv6_addresses() {
    within("names::names_with_ipv6_addresses", || {
        let records = ["host-record=six.test,::1", "host-record=both.test,127.0.0.1,::1"];
        let Some(_names) = Names::start(PATIENT, &records, |_| Reply::Silence) else { return };
        if !has_ipv6() {
            return;
        }
        let six = IpAddr::from(Ipv6Addr::LOCALHOST);
        let only_six = peer(six, LAST_ANSWER);
        each_rig(|case, resolver| {
            let rig = Rig::new(case, |client| client.resolver(resolver));
            reaches(&rig, "six.test", six);
            reaches(&rig, "both.test", six);
        });
        drop(only_six);
        // The first address refuses: the next one is tried at once.
        let _only_four = peer(local(1), LAST_ANSWER);
        each_rig(|case, resolver| {
            let rig = Rig::new(case, |client| client.resolver(resolver).max_conns_per_host(1));
            // On a busy machine one of them may take its time.
            let least = (0..3).map(|_| reaches(&rig, "both.test", local(1))).min();
            assert!(least < Some(Duration::from_millis(200)), "{case}: {least:?}");
            let (outcome, _) = fetch(&rig, "six.test");
            let error = outcome.unwrap_err();
            assert!(
                matches!(error.kind(), Kind::Connect(_)) && error.is_connect(),
                "{case}: {error}"
            );
            assert_eq!(error.peer(), Some(SocketAddr::new(six, PORT)));
            rig.check_at_rest();
        });
    });
}

/// A listener whose backlog is full: connects to it get no answer at all.
struct Silent(#[allow(dead_code)] TcpListener, #[allow(dead_code)] Vec<TcpStream>);

impl Silent {
    fn at(address: IpAddr) -> Self {
        let listener = TcpListener::bind((address, PORT)).unwrap();
        // SAFETY: listen(2) takes a descriptor, which `listener` owns, and a number.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
        let to = SocketAddr::new(address, PORT);
        let connect = || TcpStream::connect_timeout(&to, Duration::from_millis(100)).ok();
        let held: Vec<_> = std::iter::from_fn(connect).take(10).collect();
        assert!(held.len() < 10, "it falls silent");
        Self(listener, held)
    }
}

#[test]
fn a_first_address_that_does_not_answer() {
    within("names::a_first_address_that_does_not_answer", || {
        let records = ["host-record=both.test,127.0.0.1,::1", "host-record=dead.test,::1"];
        let Some(_names) = Names::start(PATIENT, &records, |_| Reply::Silence) else { return };
        if !has_ipv6() {
            return;
        }
        let silent = Silent::at(Ipv6Addr::LOCALHOST.into());
        let _peer = peer(local(1), LAST_ANSWER);
        each_rig(|case, resolver| {
            let connect = Some(Duration::from_millis(600));
            let timeouts = Timeouts { connect, ..Timeouts::default() };
            let rig = Rig::new(case, |client| client.resolver(resolver.clone()).timeouts(timeouts));
            let elapsed = reaches(&rig, "both.test", local(1));
            // RFC 8305: 250 ms alone, then both.
            let range = Duration::from_millis(240)..Duration::from_millis(590);
            assert!(range.contains(&elapsed), "{case}: {elapsed:?}");
            let (outcome, _) = fetch(&rig, "dead.test");
            let error = outcome.unwrap_err();
            let told = matches!(error.kind(), Kind::Timeout(TimeoutKind::Connect));
            assert!(told && error.peer().is_some(), "{case}: {error}");
            rig.check_at_rest();
            // With one connection allowed there is none to spare for a second attempt beside the first.
            let connect_attempt = Some(Duration::from_millis(100));
            let timeouts = Timeouts { connect_attempt, ..timeouts };
            let rig = Rig::new(case, |client| {
                client.resolver(resolver).timeouts(timeouts).max_conns_per_host(1)
            });
            let elapsed = reaches(&rig, "both.test", local(1));
            let range = Duration::from_millis(340)..Duration::from_millis(590);
            assert!(range.contains(&elapsed), "{case}: {elapsed:?}");
            rig.check_at_rest();
        });
        drop(silent);
    });
}

#[test]
fn a_name_that_moves() {
    within("names::a_name_that_moves", || {
        let number = Arc::new(AtomicU8::new(2));
        let current = Arc::clone(&number);
        let rule = move |_: &_| Reply::Addresses(vec![local(current.load(Ordering::SeqCst))], 1);
        let Some(_names) = Names::start(PATIENT, &[], rule) else { return };
        let _peers = [2, 3].map(|last| peer(local(last), LAST_ANSWER));
        let rigs: Vec<_> = cases()
            .into_iter()
            .map(|case| {
                let second = Duration::from_secs(1);
                let resolver = Resolver::builder().resolve_with(Direct).ttl(second, second);
                Rig::new(case, |client| client.resolver(resolver.build().unwrap()))
            })
            .collect();
        for rig in &rigs {
            let _ = reaches(rig, "moves.upstream.test", local(2));
        }
        number.store(3, Ordering::SeqCst);
        // Past the time for which dnsmasq, and we, keep the answer.
        std::thread::sleep(Duration::from_millis(2100));
        for rig in &rigs {
            let _ = reaches(rig, "moves.upstream.test", local(3));
        }
    });
}

#[test]
fn a_name_whose_addresses_take_turns() {
    within("names::a_name_whose_addresses_take_turns", || {
        let records = [4, 5, 6, 7].map(|last| format!("host-record=many.test,127.0.0.{last}"));
        let records = records.each_ref().map(String::as_str);
        let Some(_names) = Names::start(PATIENT, &records, |_| Reply::Silence) else { return };
        for case in cases() {
            let peers = [4, 5, 6, 7].map(|last| peer(local(last), LAST_ANSWER));
            let resolver = Resolver::builder().rotate_addresses(RotateAddresses::RoundRobin);
            let rig = Rig::new(case, |client| client.resolver(resolver.build().unwrap()));
            (0..8).for_each(|_| assert!(fetch(&rig, "many.test").0.is_ok()));
            assert_eq!(peers.each_ref().map(Peer::accepted), [2; 4], "{case}");
        }
    });
}
