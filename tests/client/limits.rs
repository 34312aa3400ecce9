//! Limits, as a server counts them: http-client.md A5, client-api.md E1 and E3.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ringshot::client::blocking::block_on;
use ringshot::client::{ClientBuilder, CoreCtx, Request, Task};
use ringshot::resolve::{Override, Resolver};
use ringshot_tests::peer::Peer;

use crate::access::{Access, LONG, OK, Started, check, check_on, friendly, get, millis, origin};
use crate::names::full_listener;

/// A resolver for which every name of `names` is this machine.
pub(crate) fn here(names: &[&str]) -> Resolver {
    let local = || Override::to([Ipv4Addr::LOCALHOST]);
    let all = names.iter().fold(Resolver::builder(), |all, name| all.with_override(name, local()));
    all.build().unwrap()
}

pub(crate) const HOSTS: [&str; 4] = ["a.test", "b.test", "c.test", "d.test"];

/// A server that counts, at each accept, the connections that the kernel says are open at both ends: no more are counted than were open at that moment,
/// however late the server hears of an end.
struct Census {
    address: SocketAddr,
    most: Arc<AtomicUsize>,
}

impl Census {
    fn start() -> Self {
        Self::of(answer_slowly)
    }

    fn of(serve: fn(&TcpStream)) -> Self {
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
                std::thread::spawn(move || serve(&stream));
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

/// Over all cores, and whoever waits for another core's dial to end has its turn.
#[test]
fn dials_of_all_cores_are_limited_together() {
    check_on(
        2,
        |builder| builder.max_connecting_per_host(3),
        |access| {
            let listener = full_listener();
            let url = format!("http://{}/", listener.address);
            let cores = access.engine.cores();
            let started: Vec<_> = (0..12).map(|n| access.start_on(n % cores, get(&url))).collect();
            access.wait_for(12, |core| core.holding.waiting.into());
            access.wait_for(3, |core| core.holding.connecting.into());
            std::thread::sleep(millis(50));
            assert_eq!(access.total(|core| core.holding.connecting.into()), 3);
            started.into_iter().for_each(Started::cancel);
            access.wait_empty();
        },
    );
    check_on(
        2,
        |builder| builder.max_connecting_per_host(1),
        |access| {
            let peer = Peer::start(|mut peer| {
                if peer.request().is_some() {
                    peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
                }
            });
            let cores = access.engine.cores();
            let started: Vec<_> =
                (0..60).map(|n| access.start_on(n % cores, get(&peer.url()))).collect();
            for one in started {
                assert_eq!(one.outcome().unwrap().status(), 200);
            }
            assert_eq!(peer.accepted(), 60);
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
        assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
        stuck.into_iter().for_each(Started::cancel);
    });
}

/// A request that is given up with its body underway is off the server at once, though that reads nothing.
#[test]
fn an_upload_that_is_given_up_leaves_no_connection() {
    check(
        |builder| builder.max_conns(1),
        |access| {
            let census = Census::of(|_| ());
            let url = format!("http://{}/", census.address);
            for bytes in [100_000, 4 << 20, 4 << 20] {
                let request = Request::new(http::Method::POST, url.as_str()).unwrap();
                let request = request.body(vec![b'x'; bytes]).timeout(millis(60));
                assert!(access.fetch(request).unwrap_err().is_timeout());
            }
            assert_eq!(census.most.load(Ordering::SeqCst), 1);
        },
    );
}

/// How many requests each core's tasks get through, all of which wait for connections all the time. The others begin when the first has them all.
fn shares(access: &Access, url: &str, tasks: usize) -> Vec<usize> {
    let over = Arc::<AtomicBool>::default();
    let begin = |core: usize| {
        let (client, url, over) = (access.client.clone(), url.to_owned(), Arc::clone(&over));
        let work = async move |ctx: CoreCtx| {
            let ask = |_| {
                let (client, url, over) = (ctx.client(&client), url.clone(), Arc::clone(&over));
                ctx.spawn(async move {
                    let mut done = 0;
                    while !over.load(Ordering::SeqCst) {
                        client.get(&url).fetch().await.unwrap();
                        done += 1;
                    }
                    done
                })
            };
            let asking: Vec<Task<usize>> = (0..tasks).map(ask).collect();
            let mut done = 0;
            for task in asking {
                done += task.await.unwrap();
            }
            done
        };
        let running = access.engine.run_on(core, work);
        std::thread::spawn(move || block_on(running).unwrap())
    };
    let mut running = vec![begin(0)];
    std::thread::sleep(millis(100));
    running.extend((1..access.engine.cores()).map(begin));
    std::thread::sleep(millis(900));
    over.store(true, Ordering::SeqCst);
    running.into_iter().map(|core| core.join().unwrap()).collect()
}

fn check_shares(configure: impl Fn(ClientBuilder) -> ClientBuilder + Sync) {
    check_on(
        2,
        |builder| configure(builder).timeout(millis(5_000)),
        |access| {
            // The tasks run on the cores, whichever way this is.
            let origin = origin();
            let done = shares(access, &origin.url("/delay/5"), 12);
            let (least, most) = (done.iter().min().unwrap(), done.iter().max().unwrap());
            assert!(least * 4 > *most, "{done:?}: {:?}", access.engine.stats());
            // A unit that goes on costs a connection: few do.
            let connected = access.total(|core| core.counters.connected);
            assert!(connected < 40, "{connected} for {done:?}");
        },
    );
}

/// Whoever has the connections, or the permits, and waiters of its own lets the other cores have their share.
#[test]
fn no_core_keeps_what_another_waits_for() {
    check_shares(|builder| builder.max_conns_per_host(4));
    check_shares(|builder| builder.max_conns(3));
    check_shares(|builder| builder.max_conns_per_host(1));
    check_shares(|builder| builder.max_conns(1));
    check_shares(|builder| builder.max_in_flight(4));
}

#[test]
fn a_batch_waits_no_longer_on_two_cores_than_on_one() {
    check_on(
        2,
        |builder| builder.max_conns_per_host(10).timeout(millis(1_500)),
        |access| {
            let origin = origin();
            let urls = vec![origin.url("/delay/5"); 1_500];
            let batch = access.client.batch(urls).window(NonZeroUsize::new(100).unwrap());
            let failed: Vec<_> =
                block_on(batch.collect()).into_iter().filter_map(Result::err).collect();
            assert!(failed.is_empty(), "{} failed: {}", failed.len(), failed[0]);
        },
    );
}

/// All connections are a busy host's, whose own requests wait: one to another host gets its turn.
#[test]
fn a_busy_host_leaves_another_its_turn() {
    for max_conns in [2, 4] {
        check(
            |builder| builder.max_conns(max_conns).timeout(millis(5_000)),
            |access| {
                let (busy, quiet) = (origin(), origin());
                let over = AtomicBool::new(false);
                std::thread::scope(|scope| {
                    for _ in 0..12 {
                        scope.spawn(|| {
                            while !over.load(Ordering::SeqCst) {
                                access.get(&busy.url("/delay/5")).unwrap();
                            }
                        });
                    }
                    access.wait_for(max_conns.into(), |core| core.holding.active.into());
                    let outcomes: Vec<_> = (0..3).map(|_| access.get(&quiet.url("/"))).collect();
                    over.store(true, Ordering::SeqCst);
                    outcomes.into_iter().for_each(|outcome| drop(outcome.unwrap()));
                });
            },
        );
    }
}

/// Where about as many requests are in flight as connections are allowed, each core has one too many and one too few in turn: they don't take connections from each other
/// for that, which cost every third request a new one.
#[test]
fn cores_with_enough_keep_their_connections() {
    check_on(
        2,
        |builder| builder.max_conns_per_host(8),
        |access| {
            let (origin, requests) = (origin(), 2000);
            for window in [8, 10] {
                let urls = (0..requests).map(|_| origin.url("/delay/1"));
                let window = NonZeroUsize::new(window).unwrap();
                let all = block_on(
                    access.client.batch(urls.collect::<Vec<_>>()).window(window).collect(),
                );
                assert_eq!(all.iter().filter(|done| done.is_ok()).count(), requests);
            }
            let connected = access.total(|core| core.counters.connected);
            assert!(connected < 2 * requests as u64 / 8, "{connected} connections");
        },
    );
}
