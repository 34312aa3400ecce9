//! The resolver against dnsmasq: slow, failing, nonexistent, IPv6-only and rotating names, and a short TTL. Each test has a namespace of its own, with port 53
//! and a resolv.conf(5) of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The lints know test functions, not their helpers.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use ringshot::clock::Instant;
use ringshot::resolve::{
    Addresses, FLIGHT_AGE_MAX, Families, RESOLVER_THREADS_MAX, ResolveError, Resolver,
    ResolverBuilder, RotateAddresses,
};
use ringshot_tests::dns::{NXDOMAIN, REFUSED, Record, SERVFAIL};
use ringshot_tests::names::{Direct, Names, Reply, firsts};
use ringshot_tests::namespace::within;
use ringshot_tests::servers::has_ipv6;
use ringshot_tests::watch::{threads, wait_until};

/// As long as no test waits: nothing here shall depend on how fast this machine is.
const PATIENT: &str = "timeout:20 attempts:1";
/// For the tests in which nobody answers.
const HASTY: &str = "timeout:1 attempts:1";

fn local(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last])
}

fn one(last: u8) -> Reply {
    Reply::Addresses(vec![local(last)], 0)
}

fn find(resolver: &Resolver, name: &str) -> Result<Addresses, ResolveError> {
    resolver.resolve(name, 80, Instant::now()).wait()
}

fn check(resolver: &Resolver, name: &str, expected: &str) {
    let found = find(resolver, name).map(|addresses| addresses.to_string());
    assert_eq!(found.as_deref(), Ok(expected), "{name}");
}

/// One that keeps nothing.
fn forgetful() -> ResolverBuilder {
    Resolver::builder().names_max(0)
}

fn with_families(families: Families) -> Resolver {
    Resolver::builder().families(families).build().unwrap()
}

#[test]
fn names_have_addresses_of_both_families() {
    within("names_have_addresses_of_both_families", || {
        let records = [
            "host-record=four.test,127.0.0.2",
            "host-record=six.test,::1",
            "host-record=both.test,127.0.0.2,::1",
        ];
        let Some(_names) = Names::start(PATIENT, &records, |_| Reply::Silence) else { return };
        let resolver = Resolver::new();
        check(&resolver, "four.test", "127.0.0.2:80");
        check(&resolver, "SIX.test.", "[::1]:80");
        // RFC 6724 puts an address first that can be reached, and then ::1 before IPv4.
        let both = if has_ipv6() { "[::1]:80, 127.0.0.2:80" } else { "127.0.0.2:80, [::1]:80" };
        check(&resolver, "both.test", both);
        check(&resolver, "both.test", both);
        assert_eq!((resolver.stats().lookups, resolver.stats().hits), (3, 1));
        check(&with_families(Families::V4First), "both.test", "127.0.0.2:80, [::1]:80");
        check(&with_families(Families::V6First), "both.test", "[::1]:80, 127.0.0.2:80");
        check(&with_families(Families::V4Only), "both.test", "127.0.0.2:80");
        check(&with_families(Families::V6Only), "both.test", "[::1]:80");
        let none = find(&with_families(Families::V4Only), "six.test").unwrap_err();
        assert!(matches!(none, ResolveError::NoAddress { .. }), "{none}");
    });
}

#[test]
fn names_that_do_not_exist_are_kept_for_a_moment() {
    within("names_that_do_not_exist_are_kept_for_a_moment", || {
        let rule = |_: &_| Reply::Addresses(Vec::new(), 0);
        let Some(names) = Names::start(PATIENT, &[], rule) else { return };
        let resolver = Resolver::builder().negative_ttl(Duration::from_secs(5)).build().unwrap();
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        for (name, seconds, lookups) in
            [("none.test", 0, 1), ("none.test", 4, 1), ("none.test", 5, 2)]
        {
            let error = resolver.resolve(name, 80, at(seconds)).wait().unwrap_err();
            assert_eq!(error, ResolveError::NotFound { name: name.into() });
            assert_eq!(resolver.stats().lookups, lookups);
        }
        for _ in 0..2 {
            let error = resolver.resolve("empty.upstream.test", 80, at(5)).wait().unwrap_err();
            assert!(matches!(error, ResolveError::NoAddress { .. }), "{error}");
        }
        assert_eq!(names.asked("empty.upstream.test", Record::A), 1);
        assert_eq!(resolver.stats().failures, 3);
    });
}

#[test]
fn failures_pass_and_are_not_kept() {
    within("failures_pass_and_are_not_kept", || {
        let code = Arc::new(AtomicU8::new(SERVFAIL));
        let now = Arc::clone(&code);
        let rule = move |_: &_| match now.load(Ordering::SeqCst) {
            0 => one(2),
            code => Reply::Code(code),
        };
        let Some(mut names) = Names::start(HASTY, &[], rule) else { return };
        let resolver = Resolver::new();
        for failure in [SERVFAIL, REFUSED] {
            code.store(failure, Ordering::SeqCst);
            let error = find(&resolver, "ill.upstream.test").unwrap_err();
            assert!(error.is_temporary() && error.to_string().contains("EAI_AGAIN"), "{error}");
        }
        code.store(NXDOMAIN, Ordering::SeqCst);
        let error = find(&resolver, "gone.upstream.test").unwrap_err();
        assert!(matches!(error, ResolveError::NotFound { .. }), "{error}");
        code.store(0, Ordering::SeqCst);
        check(&resolver, "ill.upstream.test", "127.0.0.2:80");
        names.stop();
        check(&resolver, "ill.upstream.test", "127.0.0.2:80");
        let error = find(&resolver, "other.upstream.test").unwrap_err();
        assert!(matches!(error, ResolveError::TryAgain { .. }), "nobody listens: {error}");
        names.restart();
        check(&resolver, "other.upstream.test", "127.0.0.2:80");
    });
}

/// Something to wait for.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn pass(&self) {
        let open = self.1.wait_while(self.0.lock().unwrap(), |open| !*open).unwrap();
        assert!(*open);
    }
}

#[test]
fn a_slow_name_blocks_nobody_and_is_asked_for_once() {
    within("a_slow_name_blocks_nobody_and_is_asked_for_once", || {
        let gate = Arc::new(Gate::default());
        let held = Arc::clone(&gate);
        let rule = move |_: &_| {
            held.pass();
            one(3)
        };
        let records = ["host-record=fast.test,127.0.0.2"];
        let Some(names) = Names::start(PATIENT, &records, rule) else { return };
        let (resolver, now) = (Resolver::new(), Instant::now());
        let slow = || resolver.resolve("slow.upstream.test", 80, now);
        // On this thread, and given up: it does not block, and the others do not depend on it.
        let (mut given_up, waiting) = (slow(), (0..1000).map(|_| slow()).collect::<Vec<_>>());
        let mut noop = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut given_up).poll(&mut noop).is_pending());
        drop(given_up);
        std::thread::scope(|scope| {
            let asked = || names.asked("slow.upstream.test", Record::A) > 0;
            let mut waiting = waiting.into_iter();
            for _ in 0..20 {
                let some: Vec<_> = waiting.by_ref().take(50).collect();
                scope.spawn(|| {
                    for resolving in some {
                        assert_eq!(resolving.wait().unwrap().to_string(), "127.0.0.3:80");
                    }
                });
            }
            assert!(wait_until(Duration::from_secs(15), asked), "the server is asked");
            check(&resolver, "fast.test", "127.0.0.2:80");
            gate.open();
        });
        assert_eq!(names.asked("slow.upstream.test", Record::A), 1);
        assert_eq!((resolver.stats().lookups, resolver.stats().in_flight), (2, 0));
    });
}

#[test]
fn a_name_that_nobody_answers_for_fails_in_the_end() {
    within("a_name_that_nobody_answers_for_fails_in_the_end", || {
        let records = ["host-record=fast.test,127.0.0.2"];
        let Some(_names) = Names::start(HASTY, &records, |_| Reply::Silence) else { return };
        let (resolver, now) = (Resolver::new(), Instant::now());
        let silent = resolver.resolve("silent.upstream.test", 80, now);
        let later = resolver.resolve("silent.upstream.test", 80, now + FLIGHT_AGE_MAX);
        assert_eq!(resolver.stats().lookups, 2, "too old to be joined");
        check(&resolver, "fast.test", "127.0.0.2:80");
        for resolving in [silent, later] {
            let error = resolving.wait().unwrap_err();
            assert!(matches!(error, ResolveError::TryAgain { .. }), "{error}");
        }
    });
}

#[test]
fn rotating_names_are_followed() {
    within("rotating_names_are_followed", || {
        let number = Arc::new(AtomicU8::new(2));
        let current = Arc::clone(&number);
        let rule = move |_: &_| one(current.load(Ordering::SeqCst));
        // All as far from 127.0.0.1, so that RFC 6724 (rule 9) leaves them in the order of the answer.
        let records = [4, 5, 6, 7].map(|last| format!("host-record=many.test,127.0.0.{last}"));
        let records = records.each_ref().map(String::as_str);
        let Some(_names) = Names::start(PATIENT, &records, rule) else { return };

        let asking = forgetful().build().unwrap();
        let first = |resolver: &Resolver| find(resolver, "many.test").unwrap().first();
        let by_server = firsts((0..16).map(|_| first(&asking)));
        assert_eq!(by_server.len(), 4, "dnsmasq rotates: {by_server:?}");
        let keeping = Resolver::new();
        assert_eq!(firsts((0..16).map(|_| first(&keeping))).len(), 1);
        let rotating = RotateAddresses::RoundRobin;
        let rotating = Resolver::builder().rotate_addresses(rotating).build().unwrap();
        let by_us = firsts((0..16).map(|_| first(&rotating)));
        assert!(by_us.len() == 4 && by_us.values().all(|count| *count == 4), "{by_us:?}");
        assert_eq!(rotating.stats().lookups, 1);

        check(&keeping, "moves.upstream.test", "127.0.0.2:80");
        number.store(3, Ordering::SeqCst);
        check(&keeping, "moves.upstream.test", "127.0.0.2:80");
        keeping.handle_unreachable("moves.upstream.test", Instant::now());
        check(&keeping, "moves.upstream.test", "127.0.0.3:80");
    });
}

#[test]
fn a_short_ttl_is_kept_to() {
    within("a_short_ttl_is_kept_to", || {
        let records = ["host-record=short.test,127.0.0.2,2", "host-record=long.test,127.0.0.3,100"];
        let Some(_names) = Names::start(PATIENT, &records, |_| Reply::Silence) else { return };
        let resolver = Resolver::builder().resolve_with(Direct).build().unwrap();
        let now = Instant::now();
        let check = |name, milliseconds, lookups| {
            let at = now + Duration::from_millis(milliseconds);
            assert!(resolver.resolve(name, 80, at).wait().is_ok());
            assert_eq!(resolver.stats().lookups, lookups, "{name} after {milliseconds} ms");
        };
        check("short.test", 0, 1);
        check("long.test", 0, 2);
        check("short.test", 1999, 2);
        check("short.test", 2000, 3);
        check("long.test", 99_999, 3);
        check("long.test", 100_000, 4);
        let none = resolver.resolve("none.test", 80, now).wait().unwrap_err();
        assert!(matches!(none, ResolveError::NotFound { .. }), "{none}");
    });
}

#[test]
fn many_names_share_few_threads() {
    within("many_names_share_few_threads", || {
        let Some(_names) = Names::start(PATIENT, &["address=/wild.test/127.0.0.2"], |_| one(2))
        else {
            return;
        };
        let before = threads();
        let resolver = Resolver::new();
        let now = Instant::now();
        let name = |number: usize| format!("{number}.wild.test");
        let mut resolving: Vec<_> =
            (0..500).map(|number| resolver.resolve(&name(number), 80, now)).collect();
        let mut noop = Context::from_waker(Waker::noop());
        // Begun at once; some may end before the last has begun.
        let begun = resolving.iter_mut().map(|one| Pin::new(one).poll(&mut noop).is_pending());
        assert!(begun.filter(|pending| *pending).count() > 0);
        assert!(threads() <= before + RESOLVER_THREADS_MAX);
        for one in resolving {
            assert_eq!(one.wait().unwrap().to_string(), "127.0.0.2:80");
        }
        let stats = resolver.stats();
        assert_eq!((stats.lookups, stats.failures, stats.names), (500, 0, 500));
        drop(resolver);
        assert!(wait_until(Duration::from_secs(15), || threads() <= before), "they end");
    });
}
