//! Users who lose interest: they drop futures, bodies, batches and tasks, each at its own moment.

use std::future::{Future, poll_fn};
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use ringshot::client::{Client, CoreCtx, Engine, LocalClient, blocking::block_on};
use ringshot::driver::sim::Random;

use super::places::Places;

/// Requests at a time, of each user.
const WIDTH: usize = 48;

/// When interest is lost: often at once, seldom late.
pub(super) fn patience(random: &mut Random) -> Duration {
    let most = *random.pick(&[1, 100, 400, 2_000, 8_000]).unwrap();
    Duration::from_micros(random.below(most))
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a body's reader does: reads some pieces, or discards the rest.
async fn use_from_afar(client: Client, places: Arc<Places>, seed: u64) {
    let random = &mut Random::new(seed);
    let Ok(response) = client.send(places.request(random)).await else { return };
    let mut body = response.into_body();
    for _ in 0..random.below(6) {
        if !matches!(body.chunk().await, Ok(Some(_))) {
            return;
        }
    }
    if random.chance(0.3) {
        let _ = body.discard().await;
    }
}

async fn use_on_core(client: LocalClient, places: Arc<Places>, seed: u64) {
    let random = &mut Random::new(seed);
    let Ok(response) = client.send(places.request(random)).await else { return };
    let mut body = response.into_body();
    for _ in 0..random.below(6) {
        if !matches!(body.chunk().await, Ok(Some(_))) {
            return;
        }
    }
    if random.chance(0.3) {
        let _ = body.discard().await;
    }
}

/// Drops `count` futures, with their bodies, before their end; they are polled on this thread.
pub(super) fn drop_futures(client: &Client, places: &Arc<Places>, count: u64, seed: u64) {
    let random = &mut Random::new(seed);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut works: Vec<(Work, Instant)> = Vec::new();
    let mut dropped = 0;
    while dropped < count {
        while works.len() < WIDTH {
            let work = use_from_afar(client.clone(), Arc::clone(places), random.number());
            works.push((Box::pin(work), Instant::now() + patience(random)));
        }
        works.retain_mut(|(work, _)| work.as_mut().poll(&mut context).is_pending());
        let now = Instant::now();
        let before = works.len();
        works.retain(|(_, until)| *until > now);
        dropped += (before - works.len()) as u64;
        let next = works.iter().map(|(_, until)| *until).min();
        if let Some(next) = next.filter(|_| works.len() == WIDTH) {
            std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
        }
    }
}

/// Drops batches, until `count` inputs were pulled whose results nobody took.
pub(super) fn drop_batches(client: &Client, places: &Arc<Places>, count: u64, seed: u64) {
    let random = &mut Random::new(seed);
    let mut dropped = 0;
    while dropped < count {
        let pulled = Arc::new(AtomicU64::new(0));
        let (inputs, mut inner, places) = (Arc::clone(&pulled), random.fork(), Arc::clone(places));
        let requests = std::iter::repeat_with(move || {
            inputs.fetch_add(1, Ordering::Relaxed);
            places.request(&mut inner)
        });
        let window = NonZeroUsize::new(random.between(1, 100) as usize).unwrap();
        let mut completed = client.batch(requests).window(window).completed();
        let taken = block_on(take_until(&mut completed, Instant::now() + patience(random)));
        drop(completed);
        dropped += pulled.load(Ordering::Relaxed).saturating_sub(taken);
    }
}

/// Takes results until the time is up, looking at it as often as something comes.
async fn take_until(completed: &mut ringshot::client::batch::Completed<()>, until: Instant) -> u64 {
    let mut taken = 0;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return taken;
        }
        let mut looked = false;
        let next = poll_fn(|cx| {
            let mut next = std::pin::pin!(completed.next());
            match next.as_mut().poll(cx) {
                Poll::Pending if looked || left < Duration::from_micros(50) => Poll::Ready(None),
                Poll::Pending => {
                    looked = true;
                    std::thread::sleep(Duration::from_micros(20));
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                Poll::Ready(done) => Poll::Ready(Some(done)),
            }
        });
        if let Some(Some(_)) = next.await {
            taken += 1;
        }
    }
}

/// Drops `count` tasks of one core before their end, with what they await.
pub(super) fn drop_tasks(
    engine: &Engine,
    client: &Client,
    places: &Arc<Places>,
    core: usize,
    count: u64,
    seed: u64,
) {
    let (client, places) = (client.clone(), Arc::clone(places));
    let work = move |ctx: CoreCtx| async move {
        let (random, local) = (&mut Random::new(seed), ctx.client(&client));
        let mut dropped = 0;
        let mut tasks = Vec::new();
        while dropped < count {
            while tasks.len() < WIDTH {
                let work = use_on_core(local.clone(), Arc::clone(&places), random.number());
                tasks.push((ctx.spawn(work), Instant::now() + patience(random)));
            }
            match random.below(3) {
                0 => ctx.sleep(Duration::from_micros(random.below(1500))).await,
                _ => ringshot::cpu::yield_now().await,
            }
            tasks.retain(|(task, _)| !task.is_finished());
            let (before, now) = (tasks.len(), Instant::now());
            tasks.retain(|(_, until)| *until > now);
            dropped += (before - tasks.len()) as u64;
        }
    };
    block_on(engine.run_on(core, work)).unwrap();
}

/// How long a future may wait for its engine's end: far beyond what one needs.
const END_MAX: Duration = Duration::from_secs(20);

/// Shuts the engine down, or drops every handle of it, while futures of two threads and tasks on every core are on their way: all of them end.
pub(super) fn end_engine(engine: Engine, client: Client, places: &Arc<Places>, seed: u64) -> u64 {
    let random = &mut Random::new(seed);
    let (wait, stopped) = (patience(random), Arc::new(AtomicBool::new(false)));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (client, places, seed) = (client.clone(), Arc::clone(places), random.number());
            let stopped = Arc::clone(&stopped);
            std::thread::spawn(move || end_futures(&client, &places, seed, &stopped))
        })
        .collect();
    let cores = engine.cores();
    for core in 0..cores {
        let (client, places) = (client.clone(), Arc::clone(places));
        let mut random = random.fork();
        let work = move |ctx: CoreCtx| async move {
            let local = ctx.client(&client);
            for _ in 0..WIDTH {
                let work = use_on_core(local.clone(), Arc::clone(&places), random.number());
                ctx.spawn(work).detach();
            }
        };
        block_on(engine.run_on(core, work)).unwrap();
    }
    drop(client);
    std::thread::sleep(wait);
    if random.chance(0.5) {
        stopped.store(true, Ordering::Relaxed);
        engine.shutdown().unwrap();
    }
    drop(engine);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    (WIDTH * (2 + cores)) as u64
}

/// Polls futures until their engine's end has ended all of them; or, where it goes on, until interest is lost. Then the last handle goes with them.
fn end_futures(client: &Client, places: &Arc<Places>, seed: u64, stopped: &AtomicBool) {
    let random = &mut Random::new(seed);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut works: Vec<Work> = Vec::new();
    for _ in 0..WIDTH {
        let work = use_from_afar(client.clone(), Arc::clone(places), random.number());
        works.push(Box::pin(work));
    }
    let start = Instant::now();
    while !works.is_empty() {
        works.retain_mut(|work| work.as_mut().poll(&mut context).is_pending());
        std::thread::park_timeout(Duration::from_millis(1));
        let stopped = stopped.load(Ordering::Relaxed);
        if !stopped && start.elapsed() > Duration::from_millis(15) {
            return;
        }
        let left = works.len();
        assert!(start.elapsed() < END_MAX, "{left} futures do not learn of their engine's end");
    }
}
