//! Futures on other threads are woken in batches: none is forgotten, whatever its neighbours do.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use ringshot::client::{Client, Cores, Engine, Error, Fetched};
use ringshot_tests::watch::wait_until;

use crate::access::{LONG, drivers, get, origin};

/// So many responses come at about the same time, so that a core wakes several futures in a turn.
const REQUESTS: usize = 16;

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A request that is polled by hand.
struct Asked {
    future: Pin<Box<dyn Future<Output = Result<Fetched, Error>> + Send>>,
    woken: Arc<Flag>,
}

impl Asked {
    fn new(client: &Client, url: &str) -> Self {
        let (client, request) = (client.clone(), get(url));
        let future = Box::pin(async move { client.fetch(request).await });
        Self { future, woken: Arc::default() }
    }

    fn poll(&mut self) -> Poll<Result<Fetched, Error>> {
        let waker = Waker::from(Arc::clone(&self.woken));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    fn is_woken(&self) -> bool {
        self.woken.0.load(Ordering::SeqCst)
    }
}

/// Requests that were polled once, on each driver.
fn check(test: impl Fn(Vec<Asked>)) {
    let origin = origin();
    for driver in drivers() {
        let engine = Engine::builder().cores(Cores::Count(1)).driver(driver).build().unwrap();
        let client = engine.client().max_conns_per_host(REQUESTS as u32).build().unwrap();
        for _ in 0..5 {
            let ask = || Asked::new(&client, &origin.url("/delay/20"));
            let mut asked: Vec<Asked> = (0..REQUESTS).map(|_| ask()).collect();
            asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
            test(asked);
        }
    }
}

#[test]
fn all_are_woken_though_none_is_polled() {
    check(|mut asked| {
        assert!(wait_until(LONG, || asked.iter().all(Asked::is_woken)));
        for asked in &mut asked {
            let Poll::Ready(fetched) = asked.poll() else { panic!("woken for nothing") };
            assert_eq!(fetched.unwrap().status(), 200);
        }
    });
}

#[test]
fn all_are_woken_though_each_is_dropped_as_soon_as_it_is() {
    check(|mut asked| {
        let dropped = wait_until(LONG, || {
            asked.retain(|asked| !asked.is_woken());
            asked.is_empty()
        });
        assert!(dropped, "{} were not woken", asked.len());
    });
}

#[test]
fn all_are_woken_though_the_thread_that_polled_them_is_gone() {
    check(|mut asked| {
        let asked = std::thread::spawn(move || {
            asked.iter_mut().for_each(|asked| _ = asked.poll());
            asked
        });
        let asked = asked.join().unwrap();
        assert!(wait_until(LONG, || asked.iter().all(Asked::is_woken)));
    });
}
