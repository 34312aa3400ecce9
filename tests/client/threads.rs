//! A client on any thread and executor, dropped at any moment.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Wake, Waker};

use ringshot::client::blocking::{self, block_on};
use ringshot::client::{
    Body, Client, Cores, Engine, Error, Kind, Request, RequestBuilder, Response, Task,
};
use ringshot_tests::peer::Peer;
use ringshot_tests::watch::wait_until;

use crate::access::{Access, LONG, check, check_on, drivers, get, millis, origin};

const _: fn() = || {
    fn everywhere<T: Send + Sync + Clone + 'static>() {}
    fn sendable<T: Send>(_: T) {}
    fn spawned<T: Send + 'static>(_: T) {}
    fn futures(client: &Client, request: Request, builder: RequestBuilder<Client>) {
        sendable(client.send(request));
        spawned(builder.send());
        spawned(client.get("http://h/").into_future());
    }
    fn bodies(mut body: Body, response: Response) {
        sendable(body.chunk());
        sendable(response.bytes());
    }
    everywhere::<Client>();
    everywhere::<Engine>();
    everywhere::<blocking::Client>();
    everywhere::<Error>();
    let _ = (futures, bodies);
};

// --- An executor of several threads, none of which knows of the engine ---

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Default)]
struct Executor {
    ready: Mutex<VecDeque<Arc<Job>>>,
    news: Condvar,
    live: AtomicU64,
}

struct Job {
    work: Mutex<Option<Work>>,
    executor: Arc<Executor>,
}

impl Wake for Job {
    fn wake(self: Arc<Self>) {
        let executor = Arc::clone(&self.executor);
        executor.ready.lock().unwrap().push_back(self);
        executor.news.notify_one();
    }
}

impl Executor {
    fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        self.live.fetch_add(1, Ordering::SeqCst);
        let job = Job { work: Mutex::new(Some(Box::pin(work))), executor: Arc::clone(self) };
        Arc::new(job).wake();
    }

    /// Runs what there is until all of it is over.
    fn run(&self) {
        while self.live.load(Ordering::SeqCst) > 0 {
            let ready = self.ready.lock().unwrap();
            let (mut ready, _) =
                self.news.wait_timeout_while(ready, millis(20), |ready| ready.is_empty()).unwrap();
            let Some(job) = ready.pop_front() else { continue };
            drop(ready);
            let waker = Waker::from(Arc::clone(&job));
            let mut place = job.work.lock().unwrap();
            if let Some(work) = place.as_mut()
                && work.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
            {
                *place = None;
                self.live.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }
}

/// Futures that are polled by one thread and then by another.
#[test]
fn any_executor_will_do() {
    check_on(
        2,
        |builder| builder.max_conns_per_host(8),
        |access| {
            let (origin, executor) = (origin(), Arc::<Executor>::default());
            let bytes = Arc::<AtomicU64>::default();
            for n in 0..200 {
                let (client, bytes) = (access.client.clone(), Arc::clone(&bytes));
                let url = origin.url(&format!(
                    "/{}/{}?delay={}",
                    ["bytes", "chunked"][n % 2],
                    n * 1000,
                    n % 5
                ));
                executor.spawn(async move {
                    let mut body = client.get(url).send().await.unwrap().into_body();
                    while let Some(piece) = body.chunk().await.unwrap() {
                        bytes.fetch_add(piece.len() as u64, Ordering::SeqCst);
                    }
                });
            }
            std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(|| executor.run()))));
            assert_eq!(bytes.load(Ordering::SeqCst), (0..200).sum::<u64>() * 1000);
            assert!(access.client.limits_observed().conns_per_host <= 8);
        },
    );
}

/// A future that is polled once and dropped, beside one that goes on: as a `select` does it.
#[test]
fn what_loses_a_race_is_cancelled() {
    check_on(
        1,
        |builder| builder.max_conns_per_host(2),
        |access| {
            let origin = origin();
            let (slow, quick) = (origin.url("/hang"), origin.url("/delay/2"));
            for _ in 0..30 {
                let (slow, quick) = (slow.clone(), quick.clone());
                let status = on_client!(access, client => {
                    let mut slow = Box::pin(client.send(get(&slow)));
                    let mut quick = Box::pin(client.send(get(&quick)));
                    std::future::poll_fn(|cx| {
                        assert!(slow.as_mut().poll(cx).is_pending());
                        quick.as_mut().poll(cx).map(|outcome| outcome.unwrap().status())
                    })
                    .await
                });
                assert_eq!(status, 200);
            }
            access.wait_for(0, |core| {
                (core.holding.in_flight + core.holding.active + core.holding.closing).into()
            });
            assert!(wait_until(LONG, || origin.counters().open <= 1));
        },
    );
}

/// A body that is still to come is work of its core: others go elsewhere.
#[test]
fn bodies_in_progress_spread_over_the_cores() {
    check_on(
        2,
        |builder| builder,
        |access| {
            let origin = origin();
            let open = |_| block_on(access.client.send(get(&origin.url("/stream/1000/10/100"))));
            let bodies: Vec<_> = (0..40).map(open).collect();
            let placed: Vec<_> = access.engine.stats().iter().map(|core| core.placed).collect();
            assert_eq!(placed.iter().sum::<u32>(), 40, "{placed:?}");
            let spread = placed.iter().max().unwrap() - placed.iter().min().unwrap();
            assert!(placed.len() == 1 || spread <= 10, "{placed:?}");
            bodies.into_iter().for_each(|body| drop(body.unwrap()));
            access.wait_for(0, |core| core.placed.into());
            let response = block_on(access.client.send(get(&origin.url("/chunked/9")))).unwrap();
            assert_eq!(block_on(response.into_body().discard()).unwrap(), 9);
            assert_eq!(access.total(|core| core.placed.into()), 0);
        },
    );
}

/// A task that panics is told to who waits for it, and nobody else.
#[test]
fn a_panic_stays_with_its_task() {
    check(
        |builder| builder,
        |access| {
            let origin = origin();
            let going = access.start(get(&origin.url("/delay/100")));
            let outcome = block_on(access.engine.run_on(0, async |_| panic!("on purpose")));
            let error = outcome.unwrap_err();
            assert!(
                matches!(error.kind(), Kind::User(message) if message.contains("on purpose")),
                "{error}"
            );
            assert_eq!(going.outcome().unwrap().status(), 200);
        },
    );
}

/// A client that is gone leaves nothing idle behind.
#[test]
fn a_client_that_is_gone_keeps_no_connection() {
    check(
        |builder| builder,
        |access| {
            let peer = Peer::start(|mut peer| peer.answer_all(crate::access::OK));
            let other: Access = access.with(|builder| builder);
            assert_eq!(other.get(&peer.url()).unwrap().status(), 200);
            access.wait_idle(1);
            drop(other);
            access.wait_empty();
            assert!(wait_until(LONG, || peer.open() == 0));
        },
    );
}

/// A body may be read after its client is gone; its connection goes with it then.
#[test]
fn a_body_may_outlive_its_client() {
    check(
        |builder| builder,
        |access| {
            let origin = origin();
            let (url, other) = (origin.url("/stream/3000/1000/20"), access.with(|builder| builder));
            let bytes = access.engine.run_on(0, async move |ctx| {
                let local = ctx.client(&other.client);
                let response = local.get(url).send().await.unwrap();
                drop((local, other));
                ctx.sleep(millis(10)).await;
                response.bytes().await.unwrap().len()
            });
            assert_eq!(block_on(bytes).unwrap(), 3000);
            access.wait_empty();
        },
    );
}

/// Tasks of a core use its client beside each other; one that is dropped is cancelled.
#[test]
fn tasks_of_a_core_share_it() {
    check(
        |builder| builder.max_conns_per_host(4),
        |access| {
            let origin = origin();
            let (url, hang, client) =
                (origin.url("/delay/1"), origin.url("/hang"), access.client.clone());
            let done = block_on(access.engine.run_on(0, async move |ctx| {
                let client = ctx.client(&client);
                let stuck = ctx.spawn({
                    let client = client.clone();
                    async move { client.get(hang).send().await.is_ok() }
                });
                let ask = |_| {
                    let (client, url) = (client.clone(), url.clone());
                    ctx.spawn(async move {
                        client.get(&url).send().await.unwrap().bytes().await.unwrap().len()
                    })
                };
                let tasks: Vec<Task<usize>> = (0..50).map(ask).collect();
                let mut bytes = 0;
                for task in tasks {
                    bytes += task.await.unwrap();
                }
                drop(stuck);
                bytes
            }));
            assert_eq!(done.unwrap(), 50 * 13);
            access.wait_for(0, |core| core.holding.in_flight.into());
            assert!(origin.counters().most_in_progress <= 4);
        },
    );
}

/// Far more calls at once than tasks are kept for: all are answered, and none of the tasks is left as one at work.
#[test]
fn a_burst_of_calls_leaves_no_task_at_work() {
    for driver in drivers() {
        let engine = Engine::builder().cores(Cores::Count(1)).driver(driver).build().unwrap();
        let client = engine.client().max_conns_per_host(16).build().unwrap();
        let origin = origin();
        let (url, hang) = (origin.url("/bytes/3"), origin.url("/hang"));
        for _ in 0..3 {
            let mut calls: Vec<_> = (0..900).map(|_| Box::pin(client.get(&url).fetch())).collect();
            let mut lost: Vec<_> = (0..16).map(|_| Box::pin(client.get(&hang).send())).collect();
            let mut begun = false;
            block_on(std::future::poll_fn(|cx| {
                if !std::mem::replace(&mut begun, true) {
                    lost.iter_mut().for_each(|call| assert!(call.as_mut().poll(cx).is_pending()));
                    calls.iter_mut().for_each(|call| assert!(call.as_mut().poll(cx).is_pending()));
                    assert!(wait_until(LONG, || engine.stats()[0].tasks == 917));
                    // They had all connections. Cancelled, their tasks are there for others.
                    lost.clear();
                }
                calls.retain_mut(|call| match call.as_mut().poll(cx) {
                    std::task::Poll::Ready(fetched) => {
                        assert_eq!(fetched.unwrap().bytes().len(), 3);
                        false
                    }
                    std::task::Poll::Pending => true,
                });
                if calls.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
            }));
            assert!(wait_until(LONG, || engine.stats()[0].tasks == 1), "{:?}", engine.stats());
        }
    }
}
