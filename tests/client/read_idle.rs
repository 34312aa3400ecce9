//! The time of a server between two pieces of a body: it goes on while somebody waits for the next, in one wait or in several, and not else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use ringshot::client::{Kind, Phase, Sent, Solo, TimeoutKind, Timeouts};
use ringshot::driver::{Epoll, Limits};
use ringshot_tests::peer::Peer;
use ringshot_tests::watch::wait_until;

use crate::access::{Access, LONG, check, get, millis};
use crate::feed::pause;
use crate::timeouts::{SHORT, all_short, assert_timeout, with};

/// A peer that sends half of a body, and the rest when it is told to.
fn halting() -> (Peer, Arc<AtomicBool>) {
    let go = Arc::<AtomicBool>::default();
    let told = Arc::clone(&go);
    let peer = Peer::start(move |mut peer| {
        if peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
            wait_until(LONG, || told.load(Ordering::SeqCst));
            peer.send("world");
        }
    });
    (peer, go)
}

/// What `future` gives within `time`; dropped then.
async fn within<F: Future>(time: Duration, future: F) -> Option<F::Output> {
    let (mut future, mut pause) = (std::pin::pin!(future), std::pin::pin!(pause(time)));
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => pause.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// Whoever has given up waiting does not wait: the time until the next wait is not the server's.
#[test]
fn who_gave_up_waiting_does_not_wait() {
    check(with(all_short), |access| {
        let (peer, go) = halting();
        let url = peer.url();
        let (first, given_up, second) = on_client!(access, client => {
            let mut body = client.send(get(&url)).await.unwrap().into_body();
            let first = body.chunk().await.unwrap().unwrap();
            let given_up = within(millis(1), body.chunk()).await.is_none();
            pause(millis(900)).await;
            go.store(true, Ordering::SeqCst);
            (first, given_up, body.chunk().await)
        });
        assert!(given_up && first == "hello");
        assert_eq!(second.unwrap().unwrap(), "world");
    });
}

/// A core that the test turns, by a clock of its own.
struct Turned {
    solo: Solo<Epoll>,
    now: ringshot::clock::Instant,
}

impl Turned {
    fn at(now: ringshot::clock::Instant) -> Self {
        let driver = Epoll::open(Limits { slots: 4 }).unwrap();
        Self { solo: Solo::new(driver, 4, now).unwrap(), now }
    }

    fn turn(&mut self) {
        let now = self.now;
        assert!(self.solo.turn(millis(1), &mut || now).unwrap());
    }

    /// Time passes, and the core sees it.
    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        (0..10).for_each(|_| self.turn());
    }

    fn run<F: Future>(&mut self, future: F) -> F::Output {
        let (mut future, begun) = (std::pin::pin!(future), Instant::now());
        loop {
            let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            if let Poll::Ready(output) = polled {
                return output;
            }
            assert!(begun.elapsed() < LONG, "nothing comes");
            self.turn();
        }
    }
}

/// Where time stands still between two turns a wait begins when the core first looks at it, and has all its time.
#[test]
fn a_wait_that_has_no_time_of_its_own_is_as_long_as_others() {
    let (peer, go) = halting();
    let mut turned = Turned::at(ringshot::clock::Instant::now());
    let seconds = Duration::from_secs;
    let timeouts = Timeouts { read_idle: Some(seconds(10)), ..Timeouts::default() };
    let client = turned.solo.engine().client().max_conns(4).timeouts(timeouts).build().unwrap();
    let mut body = turned.run(client.send(get(&peer.url()))).unwrap().into_body();
    assert_eq!(turned.run(body.chunk()).unwrap().unwrap(), "hello");
    let mut poll = || body.poll_chunk(&mut Context::from_waker(Waker::noop()));
    turned.pass(seconds(6));
    assert!(poll().is_pending());
    for time in [6, 9] {
        turned.pass(seconds(time));
        assert!(poll().is_pending());
    }
    turned.pass(seconds(3));
    let Poll::Ready(Err(error)) = poll() else { panic!("it waits for ever") };
    assert!(matches!(error.kind(), Kind::Timeout(TimeoutKind::ReadIdle)), "{error}");
    go.store(true, Ordering::SeqCst);
}

/// Where time stands still between two turns an error is as old as its core says, whatever the system's clock does.
#[test]
fn an_error_is_of_its_cores_time() {
    let (peer, go) = halting();
    let long_ago = ringshot::clock::Instant::default() + Duration::from_secs(1);
    let mut turned = Turned::at(long_ago);
    let client = turned.solo.engine().client().max_conns(4).build().unwrap();
    let body = turned.run(client.send(get(&peer.url()))).unwrap().into_body();
    let error = turned.run(body.bytes_limited(2)).unwrap_err();
    assert!(matches!(error.kind(), Kind::Limit(_)), "{error}");
    assert_eq!(error.elapsed(), Duration::ZERO, "{error}");
    go.store(true, Ordering::SeqCst);
}

/// Whoever waits again and again for a piece that does not come waits for it no less.
#[test]
fn short_waits_add_up() {
    check(with(|all| all.read_idle = Some(SHORT)), |access| {
        // Where the machine gives this thread no time, the first wait is the whole of it.
        assert!((0..10).any(|_| short_waits(access) > 0));
    });
}

/// Waits in short waits until that fails; gives how many did not.
fn short_waits(access: &Access) -> u32 {
    let (peer, go) = halting();
    let url = peer.url();
    let (error, waits) = on_client!(access, client => {
        let mut body = client.send(get(&url)).await.unwrap().into_body();
        body.chunk().await.unwrap().unwrap();
        let mut waits = 0;
        loop {
            match within(SHORT / 4, body.chunk()).await {
                Some(ended) => break (ended.unwrap_err(), waits),
                None if waits == 500 => panic!("it waits for ever"),
                None => waits += 1,
            }
        }
    });
    go.store(true, Ordering::SeqCst);
    assert_timeout(&error, TimeoutKind::ReadIdle, Phase::Body, Sent::All);
    waits
}
