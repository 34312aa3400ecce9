//! After warm-up a shard allocates nothing: counted on its thread, by an allocator that counts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Method;
use ringshot::client::blocking::block_on;
use ringshot::client::{Solo, Target};
use ringshot::clock::Instant;
use ringshot::driver::{Driver, DriverKind, Epoll, Limits, Uring, uring};
use ringshot::load::{
    Arrival, Content, Feed, FeedOrder, KeepAlive, Mix, MixRequest, Order, Plan, Request, Stop,
    Target as Server, Think,
};
use ringshot::proto::url::Url;
use ringshot::shard::{Body, Config, Failure, Handler, Next, Response, Shard};
use ringshot_tests::load::{Asked, RUN_MAX, drivers, next_core, run_whole};
use ringshot_tests::peer::{Conversation, Peer};
use ringshot_tests::reading::config;

/// The system's allocator, with a count for each thread.
struct Counting;

thread_local! {
    /// Calls that took memory. `const`, without a destructor: touching it allocates nothing.
    static TAKEN: Cell<u64> = const { Cell::new(0) };
}

/// Calls that took memory on threads that the thread host started: only a load run has any here.
static TAKEN_ON_HOSTS: AtomicU64 = AtomicU64::new(0);

fn count() {
    let _ = TAKEN.try_with(|taken| taken.set(taken.get() + 1));
    if is_host_thread() {
        TAKEN_ON_HOSTS.fetch_add(1, Ordering::SeqCst);
    }
}

/// By the name that the kernel has: asking the library for it may allocate.
fn is_host_thread() -> bool {
    let mut name = [0_u8; 16];
    // SAFETY: prctl(2) writes at most 16 bytes for `PR_GET_NAME`, as many as there are.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    name.starts_with(b"ringshot-")
}

// SAFETY: every call goes to the system's allocator as it came; the count touches no memory of the allocator's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise about `layout` is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller says that `pointer` came from `alloc` with `layout`, and so from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        // SAFETY: as in `dealloc`; the caller promises that `bytes` is not zero.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Requests before the count begins, and while it runs.
const WARM_UP: u64 = 3_000;
const REQUESTS: u64 = 12_000;

/// Sends for ever, and counts.
#[derive(Default)]
struct Endless {
    responses: u64,
    body_bytes: u64,
    failures: u64,
}

impl Handler for Endless {
    fn poll_requests(&mut self, _lane: u32, room: u32, _now: Instant) -> Next {
        room.into()
    }

    fn wants_connection(&mut self, _lane: u32) -> bool {
        true
    }

    fn handle_response(&mut self, _lane: u32, _response: Response, _now: Instant) {
        self.responses += 1;
    }

    fn handle_body(&mut self, _lane: u32, piece: &[u8]) {
        self.body_bytes += piece.len() as u64;
    }

    fn handle_failure(&mut self, _: u32, _: Failure, _: Option<Instant>, _: Instant) {
        self.failures += 1;
    }

    fn handle_unsent(&mut self, _lane: u32, _sent: Instant) {}
}

/// Allocations of this thread while the shard answers [`REQUESTS`] requests, after [`WARM_UP`].
fn allocations<D: Driver>(driver: D, config: Config) -> u64 {
    let mut shard = Shard::new(driver, config).expect("a shard");
    let mut handler = Endless::default();
    let start = Instant::now();
    shard.rouse(&mut handler, start);
    let mut turn_until = |responses: u64| {
        while handler.responses < responses {
            let turned = shard.turn(Duration::from_millis(50), &mut handler, &mut Instant::now);
            assert!(turned.expect("the driver is not lost") - start < RUN_MAX, "it hangs");
            assert_eq!(handler.failures, 0);
        }
    };
    turn_until(WARM_UP);
    let before = TAKEN.get();
    turn_until(WARM_UP + REQUESTS);
    TAKEN.get() - before
}

/// Lanes of a shard.
const LANES: u32 = 8;

/// Both drivers, alone and pipelined, take nothing against a peer that does this.
fn check(script: impl Fn(Conversation) + Send + Sync + 'static, asked: &Asked, body: Body) {
    check_at_most(0, script, asked, body);
}

fn check_at_most(
    most: u64,
    script: impl Fn(Conversation) + Send + Sync + 'static,
    asked: &Asked,
    body: Body,
) {
    let peer = Peer::start(script);
    let template = asked.encode(&Url::parse(&peer.url()).unwrap());
    for driver in drivers() {
        for pipeline in [1, 8] {
            let lanes = LANES;
            let config = Config { body, ..config(peer.address(), &template, lanes, pipeline) };
            let taken = match driver {
                DriverKind::IoUring => {
                    let ring = uring::Config::for_slots(lanes);
                    allocations(Uring::open(ring).unwrap(), config)
                }
                DriverKind::Epoll => {
                    allocations(Epoll::open(Limits { slots: lanes }).unwrap(), config)
                }
            };
            assert!(taken <= most, "{taken} on {driver}, pipeline {pipeline}, {body:?}");
        }
    }
}

#[test]
fn the_counter_counts() {
    let before = TAKEN.get();
    drop(std::hint::black_box(vec![0_u8; 100]));
    assert_eq!(TAKEN.get() - before, 1);
}

#[test]
fn small_responses() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    for body in [Body::Discard, Body::Read] {
        check(move |mut peer| peer.answer_all(ok), &Asked::default(), body);
    }
}

/// The heads differ, so that none is remembered.
#[test]
fn heads_that_change() {
    let script = |mut peer: Conversation| {
        let mut number = 0_u64;
        while peer.request().is_some() {
            number += 1;
            let head =
                format!("HTTP/1.1 200 OK\r\nX-Number: {number}\r\nContent-Length: 2\r\n\r\nok");
            if !peer.send(head) {
                return;
            }
        }
    };
    check(script, &Asked::default(), Body::Discard);
}

#[test]
fn chunked_responses_and_responses_to_head() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    check(move |mut peer| peer.answer_all(chunked), &Asked::default(), Body::Read);
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n";
    check(move |mut peer| peer.answer_all(head), &Asked::method(Method::HEAD), Body::Discard);
}

/// Pieces of memory that a lane may take once in its life, for heads that come in pieces: one buffer, and its growth to the largest of them.
const SPILLS_PER_LANE: u64 = 4;

/// Large bodies, which are discarded inside the kernel or read in bulk. Behind one the next head may come in pieces, and on each lane the first time may come
/// after the warm-up.
#[test]
fn large_responses() {
    let mut response = b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n".to_vec();
    response.resize(response.len() + 20_000, b'x');
    for body in [Body::Discard, Body::Read] {
        let response = response.clone();
        let script = move |mut peer: Conversation| peer.answer_all(&response);
        check_at_most(SPILLS_PER_LANE * u64::from(LANES), script, &Asked::default(), body);
    }
}

/// What a request of a core-local client takes: its parcel, the description of its response, and the bytes of the body, which all go to the caller. Task, exchange,
/// connection and buffers are used again, and a head that is the last one again is shared.
const CLIENT_PER_REQUEST: u64 = 3;

/// Allocations of this thread while a core-local client fetches [`REQUESTS`] times, one after the other, after [`WARM_UP`].
fn client_allocations<D: Driver>(driver: D, url: &str) -> u64 {
    let mut solo = Solo::new(driver, 4, Instant::now()).unwrap();
    let client = solo.engine().client().max_conns(4).build().unwrap();
    let client = solo.ctx().client(&client);
    let target: Target = url.parse().unwrap();
    let task = solo.ctx().spawn(async move {
        let mut before = 0;
        for n in 0..WARM_UP + REQUESTS {
            if n == WARM_UP {
                before = TAKEN.get();
            }
            let response = client.get(&target).send().await.unwrap();
            assert_eq!(response.bytes().await.unwrap().len(), 2);
        }
        TAKEN.get() - before
    });
    let start = std::time::Instant::now();
    while !task.is_finished() && start.elapsed() < RUN_MAX {
        solo.turn(Duration::from_millis(50), &mut Instant::now).unwrap();
    }
    assert!(task.is_finished(), "it hangs");
    block_on(task).unwrap()
}

#[test]
fn a_client_takes_little_for_a_request() {
    let peer = Peer::start(|mut peer| {
        peer.answer_all("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    for driver in drivers() {
        let taken = match driver {
            DriverKind::IoUring => {
                let ring = uring::Config::for_slots(4);
                client_allocations(Uring::open(ring).unwrap(), &peer.url())
            }
            DriverKind::Epoll => {
                client_allocations(Epoll::open(Limits { slots: 4 }).unwrap(), &peer.url())
            }
        };
        println!("{taken} for {REQUESTS} on {driver}");
        assert!(taken <= CLIENT_PER_REQUEST * REQUESTS, "{taken} on {driver}");
    }
}

/// Answers everybody, and notes what the threads of hosts had taken when a request came.
#[derive(Default)]
struct Marks {
    requests: AtomicU64,
    /// At request [`WARM_UP`].
    before: AtomicU64,
    /// At request [`WARM_UP`] + [`REQUESTS`].
    after: AtomicU64,
}

impl Marks {
    fn answer_all(&self, mut peer: Conversation) {
        while peer.request().is_some() {
            let taken = TAKEN_ON_HOSTS.load(Ordering::SeqCst);
            match self.requests.fetch_add(1, Ordering::SeqCst) + 1 {
                WARM_UP => self.before.store(taken, Ordering::SeqCst),
                LAST => self.after.store(taken, Ordering::SeqCst),
                _ => {}
            }
            if !peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") {
                return;
            }
        }
    }
}

const LAST: u64 = WARM_UP + REQUESTS;

/// One request with places of every kind in path, header and body.
fn templates(peer: &Peer) -> Mix {
    let mut users = Feed::new("users", vec!["name".to_owned()], FeedOrder::InOrder).unwrap();
    ["ann", "bob & co", "a longer name than the others"]
        .iter()
        .for_each(|name| users.push([name.as_bytes()]).unwrap());
    let feeds = vec![Arc::new(users)];
    let path = "/{{seq}}?rand={{rand:1:1000000}}&name={{users.name}}";
    let request = Request {
        method: &Method::POST,
        url: &Url::parse(&peer.url()).unwrap().join(path).unwrap(),
        headers: &[(b"X-Id".to_vec(), b"{{uuid}}".to_vec())],
        body: b"{{users.name}} {{seq}} {{rand:1:1000000}} {{uuid}}",
        keep_alive: KeepAlive::On,
    };
    let content = Content::compile(&request, &feeds).unwrap();
    assert!(matches!(content, Content::Filled(_)));
    let think = Think::default();
    Mix {
        targets: vec![Server { peers: vec![peer.address()] }],
        requests: vec![MixRequest { name: 0, target: 0, weight: 1, content, expect: None, think }],
        names: vec![String::new()],
        order: Order::Cycle,
        feeds,
        seed: 1,
    }
}

/// What a run may take while [`REQUESTS`] are sent, whatever they are: a slot of the time line each second, and queues of what waits, which grow to the most that ever did.
const NOT_OF_REQUESTS: u64 = REQUESTS / 100;

/// Templates are compiled before the run and filled without allocation, in both loops.
#[test]
fn filled_templates() {
    let open = Arrival::at_rate(10_000.0, Duration::from_secs(10));
    for driver in drivers() {
        for (arrival, pipeline) in [(&Arrival::Closed, 1), (&Arrival::Closed, 8), (&open, 1)] {
            let marks = Arc::new(Marks::default());
            let answering = Arc::clone(&marks);
            let peer = Peer::start(move |peer| answering.answer_all(peer));
            let start = TAKEN_ON_HOSTS.load(Ordering::SeqCst);
            let plan = Plan {
                arrival: arrival.clone(),
                connections: LANES,
                pipeline,
                driver,
                // Those beyond keep the run from ending before the last mark.
                stop: Stop::requests(LAST + 1_000),
                ..Plan::of(templates(&peer), vec![next_core()])
            };
            assert_eq!(run_whole(&plan).errors, 0);
            let [before, after] = [&marks.before, &marks.after].map(|it| it.load(Ordering::SeqCst));
            assert!(before > start, "setting up a run takes memory, and counts");
            let taken = after - before;
            assert!(
                taken <= NOT_OF_REQUESTS,
                "on {driver}, pipeline {pipeline}, {}: {taken}",
                arrival.name()
            );
        }
    }
}
