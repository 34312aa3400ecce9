//! Limits, as a server counts them: http-client.md A5, client-api.md E1 and E3.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ringshot::client::{Attempt, ClientBuilder, Retry, Timeouts, TotalFrom};
use ringshot::resolve::{Override, Resolver};
use ringshot_tests::peer::Peer;

use crate::access::{Access, OK, Started, check, check_on, friendly, get, millis, origin};
use crate::names::full_listener;

/// A resolver for which every name of `names` is this machine.
pub(crate) fn here(names: &[&str]) -> Resolver {
    let local = || Override::to([Ipv4Addr::LOCALHOST]);
    let all = names.iter().fold(Resolver::builder(), |all, name| all.with_override(name, local()));
    all.build().unwrap()
}

const HOSTS: [&str; 4] = ["a.test", "b.test", "c.test", "d.test"];

/// A server that counts, at each accept, the connections that the kernel says are open at both ends: no more are counted than were open at that moment,
/// however late the server hears of an end.
struct Census {
    address: SocketAddr,
    most: Arc<AtomicUsize>,
}

impl Census {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, most) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default());
        let seen = Arc::clone(&most);
        std::thread::spawn(move || {
            let mut streams: Vec<Arc<TcpStream>> = Vec::new();
            for stream in listener.incoming().flatten() {
                let stream = Arc::new(stream);
                streams.push(Arc::clone(&stream));
                streams.retain(|stream| is_established(stream));
                seen.fetch_max(streams.len(), Ordering::SeqCst);
                std::thread::spawn(move || answer_slowly(&stream));
            }
        });
        Self { address, most }
    }
}

fn answer_slowly(mut stream: &TcpStream) {
    let mut piece = [0; 4096];
    while stream.read(&mut piece).is_ok_and(|bytes| bytes > 0) {
        std::thread::sleep(millis(5));
        if stream.write_all(OK.as_bytes()).is_err() {
            return;
        }
    }
}

/// The kernel notes a socket's state before it waits for whoever is reading or writing there, a thread that was preempted in the middle as well; an end that
/// has come meanwhile is taken in only then. So the state is asked for twice: the second answer knows of all that had come before the first.
fn is_established(stream: &TcpStream) -> bool {
    const TCP_ESTABLISHED: u8 = 1;
    tcp_state(stream);
    tcp_state(stream) == Some(TCP_ESTABLISHED)
}

fn tcp_state(stream: &TcpStream) -> Option<u8> {
    let mut info = [0_u8; 256];
    let mut bytes = info.len() as libc::socklen_t;
    let into = info.as_mut_ptr().cast();
    // SAFETY: tcp(7), TCP_INFO: writes at most `bytes` bytes to `info`, which outlives the call.
    let read = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            into,
            &raw mut bytes,
        )
    };
    // The first byte is the state.
    (read == 0).then_some(info[0])
}

/// 48 requests at once, spread over the hosts and cores; the most connections that the server saw.
fn most_open(access: &Access, hosts: &[&str]) -> u64 {
    let census = Census::start();
    let port = census.address.port();
    let url = |n: usize| format!("http://{}:{port}/", hosts[n % hosts.len()]);
    let cores = access.engine.cores();
    let start = |n: usize| access.start_on((n / 4) % cores, get(&url(n)));
    let started: Vec<_> = (0..48).map(start).collect();
    for request in started {
        assert_eq!(request.outcome().unwrap().status(), 200);
    }
    census.most.load(Ordering::SeqCst) as u64
}

fn check_hosts_limit(cores: usize, limit: u32) {
    check_on(
        cores,
        |builder| builder.max_conns_per_host(limit).resolver(here(&HOSTS)),
        |access| {
            let most = most_open(access, &HOSTS[..1]);
            assert!((1..=u64::from(limit)).contains(&most), "{most} of {limit}");
            let observed = access.client.limits_observed();
            assert!(observed.conns_per_host <= limit, "{observed:?}");
            // One that was given up for another core before it was accepted is no connection to the server.
            assert!(most <= u64::from(observed.conns_per_host), "{most}: {observed:?}");
        },
    );
}

#[test]
fn connections_to_a_host_are_limited_for_good() {
    for limit in [1, 2, 5] {
        check_hosts_limit(1, limit);
        check_hosts_limit(2, limit);
    }
}

fn check_total_limit(cores: usize, limit: u32) {
    check_on(
        cores,
        |builder| builder.max_conns(limit).resolver(here(&HOSTS)),
        |access| {
            let most = most_open(access, &HOSTS);
            assert!((1..=u64::from(limit)).contains(&most), "{most} of {limit}");
            assert!(access.client.limits_observed().conns <= limit);
        },
    );
}

#[test]
fn connections_are_limited_for_good() {
    for limit in [1, 3] {
        check_total_limit(1, limit);
        check_total_limit(2, limit);
    }
}

/// At the limit an idle connection to one host gives way to a new one to another, and never makes it one too many.
#[test]
fn an_idle_connection_gives_way_to_another_host() {
    check(
        |builder| builder.max_conns(2).resolver(here(&HOSTS)),
        |access| {
            let census = Census::start();
            for n in 0..12 {
                let url = format!("http://{}:{}/", HOSTS[n % 3], census.address.port());
                assert!(!access.get(&url).unwrap().connection().reused);
            }
            assert_eq!(census.most.load(Ordering::SeqCst), 2);
        },
    );
}

#[test]
fn dials_in_progress_are_limited() {
    check(
        |builder| builder.max_connecting_per_host(2),
        |access| {
            let listener = full_listener();
            let url = format!("http://{}/", listener.address);
            let started: Vec<_> = (0..5).map(|_| access.start(get(&url))).collect();
            access.wait_for(5, |core| core.holding.waiting.into());
            access.wait_for(2, |core| core.holding.connecting.into());
            started.into_iter().for_each(Started::cancel);
            access.wait_empty();
        },
    );
}

/// A host that takes no connection delays nobody but those who want it.
#[test]
fn a_host_that_hangs_delays_no_other() {
    let builder = |builder: ClientBuilder| builder.max_connecting_per_host(2).max_conns(4);
    check(builder, |access| {
        let (listener, peer) = (full_listener(), friendly());
        let url = format!("http://{}/", listener.address);
        let stuck: Vec<_> = (0..6).map(|_| access.start(get(&url))).collect();
        access.wait_for(6, |core| core.holding.waiting.into());
        let begun = std::time::Instant::now();
        for _ in 0..20 {
            assert_eq!(access.get(&peer.url()).unwrap().status(), 200);
        }
        assert!(begun.elapsed() < millis(800), "{:?}", begun.elapsed());
        stuck.into_iter().for_each(Started::cancel);
    });
}

fn check_in_flight(cores: usize, limit: u32) {
    check_on(
        cores,
        |builder| builder.max_in_flight(limit),
        |access| {
            let origin = origin();
            let start =
                |n: usize| access.start_on(n % access.engine.cores(), get(&origin.url("/delay/4")));
            let started: Vec<_> = (0..40).map(start).collect();
            for request in started {
                assert_eq!(request.outcome().unwrap().status(), 200);
            }
            let most = origin.counters().most_in_progress;
            assert!(most <= u64::from(limit), "{most} of {limit}");
            assert!(access.client.limits_observed().in_flight.unwrap() <= limit);
        },
    );
}

/// A server that answers after 50 ms, `/hop` with a redirect and the first `/busy` with 503, and the paths that it was asked for in turn.
fn recording() -> (Peer, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let paths = Arc::clone(&asked);
    let peer = Peer::start(move |mut peer| {
        while let Some(request) = peer.request() {
            let request = String::from_utf8_lossy(&request).into_owned();
            let path = request.split(' ').nth(1).unwrap().to_owned();
            let mut paths = paths.lock().unwrap();
            let again = paths.contains(&path);
            paths.push(path.clone());
            drop(paths);
            std::thread::sleep(millis(50));
            peer.send(match path.as_str() {
                "/hop" => "HTTP/1.1 302 Found\r\nLocation: /end\r\nContent-Length: 0\r\n\r\n",
                "/busy" if !again => "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
                _ => OK,
            });
        }
    });
    (peer, asked)
}

/// First come, first served, however many hops that takes; and whoever waits to be sent again comes back before those that were not sent at all.
fn check_order(first: &str, expected: [&str; 4]) {
    let retry = || {
        let busy = |attempt: &Attempt<'_>| attempt.status().is_some_and(|status| status == 503);
        Retry::budget(1.0).backoff(millis(10)..millis(20)).on(busy)
    };
    check(
        |builder| builder.max_in_flight(1).retry(retry()),
        |access| {
            let (peer, asked) = recording();
            let start = |path: &str| {
                let url = format!("http://{}{path}", peer.address());
                access.start(get(&url).redirects(1))
            };
            let first = start(first);
            access.wait_for(1, |core| core.holding.active.into());
            let second = start("/second");
            access.wait_for(1, |core| core.holding.queued.into());
            let third = start("/third");
            access.wait_for(2, |core| core.holding.queued.into());
            for request in [first, second, third] {
                assert_eq!(request.outcome().unwrap().status(), 200);
            }
            assert_eq!(*asked.lock().unwrap(), expected);
            access.wait_for(0, |core| core.holding.in_flight.into());
            // Its permit came back.
            assert_eq!(access.get(&peer.url()).unwrap().status(), 200);
        },
    );
}

#[test]
fn a_redirect_keeps_its_permit() {
    check_order("/hop", ["/hop", "/end", "/second", "/third"]);
}

#[test]
fn a_retry_comes_before_those_that_had_no_permit() {
    check_order("/busy", ["/busy", "/second", "/busy", "/third"]);
}

/// A total timeout that counts from the permit is not spent in the queue by requests that hold one.
#[test]
fn who_is_redirected_waits_once() {
    let from_permit = Timeouts {
        total: Some(millis(400)),
        total_from: TotalFrom::Acquire,
        ..Timeouts::default()
    };
    check(
        |builder| builder.max_in_flight(2).timeouts(from_permit),
        |access| {
            let origin = origin();
            let url = origin.url("/redirect/1?delay=20");
            let start = |_| access.start(get(&url).redirects(1));
            let started: Vec<_> = (0..40).map(start).collect();
            for request in started {
                assert_eq!(request.outcome().unwrap().status(), 200);
            }
            assert!(origin.counters().most_in_progress <= 2);
        },
    );
}

#[test]
fn requests_in_flight_are_limited() {
    for limit in [1, 3, 16] {
        check_in_flight(1, limit);
        check_in_flight(2, limit);
    }
}
