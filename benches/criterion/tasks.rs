//! What a task costs: bytes, and nanoseconds to create, run and wake. `cargo bench -p ringshot-benches --bench tasks`
#![allow(missing_docs)] // criterion's macros make functions without any

use std::alloc::{GlobalAlloc, Layout, System};
use std::future::poll_fn;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringshot::clock::Instant;
use ringshot::shard::doorbell::Doorbell;
use ringshot::shard::tasks::{Spawner, Tasks, Watch};

/// Tasks a batch.
const TASKS: usize = 64;

/// Counts the bytes that are allocated.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn runner(watch: Watch) -> Option<(Tasks, Spawner)> {
    let tasks = Tasks::new(Arc::new(Doorbell::new().ok()?)).with_watch(watch);
    let spawner = tasks.spawner();
    Some((tasks, spawner))
}

const UNWATCHED: Watch = Watch { slow_after: Duration::MAX };

/// Prints what a task of `future` takes, as counted, against what [`Spawner::task_bytes`] says.
fn weigh<F: Future + 'static>(name: &str, future: impl Fn() -> F) {
    let Some((mut tasks, spawner)) = runner(UNWATCHED) else { return };
    // Twice, so that the lists of the core are there.
    let mut counted = 0;
    for _ in 0..2 {
        let before = ALLOCATED.load(Ordering::Relaxed);
        let task = spawner.spawn(future());
        counted = ALLOCATED.load(Ordering::Relaxed) - before;
        task.detach();
        tasks.run(1);
    }
    let (told, own) = (Spawner::task_bytes::<F>(), size_of::<F>());
    assert_eq!(counted, told, "{name}: what is told is not what is allocated");
    let line =
        format!("{name}: {counted} bytes, {own} of them the future, {} over it", counted - own);
    black_box(&line);
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{line}\n").as_bytes());
}

fn bytes(_: &mut Criterion) {
    weigh("a task that does nothing", || async {});
    weigh("a task that gives 8 bytes", || async { black_box(7_u64) });
    weigh("a task that holds 256 bytes over an await", || async {
        let held = black_box([0_u8; 256]);
        std::future::ready(()).await;
        black_box(&held);
    });
    weigh("a task that holds 4096 bytes over an await", || async {
        let held = black_box([0_u8; 4096]);
        std::future::ready(()).await;
        black_box(&held);
    });
}

fn spawn(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("spawn and finish");
    for (name, watch) in [("watched", Watch::default()), ("unwatched", UNWATCHED)] {
        let Some((mut tasks, spawner)) = runner(watch) else { return };
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("one, {name}"), |b| {
            b.iter(|| {
                spawner.spawn(async { black_box(()) }).detach();
                tasks.run(TASKS)
            });
        });
        group.throughput(Throughput::Elements(TASKS as u64));
        group.bench_function(format!("{TASKS}, {name}"), |b| {
            b.iter(|| {
                for _ in 0..TASKS {
                    spawner.spawn(async { black_box(()) }).detach();
                }
                tasks.run(TASKS)
            });
        });
    }
    group.throughput(Throughput::Elements(TASKS as u64));
    group.bench_function("64, bare async-task", bare);
    group.finish();
}

/// The limit: nothing but the crate and a queue.
fn bare(bencher: &mut criterion::Bencher<'_>) {
    use std::collections::VecDeque;
    use std::sync::Mutex;
    let queue = Arc::new(Mutex::new(VecDeque::new()));
    bencher.iter(|| {
        for _ in 0..TASKS {
            let shared = Arc::clone(&queue);
            let (runnable, task) =
                async_task::spawn_local(async { black_box(()) }, move |runnable| {
                    if let Ok(mut queue) = shared.lock() {
                        queue.push_back(runnable);
                    }
                });
            runnable.schedule();
            task.detach();
        }
        while let Some(runnable) = queue.lock().ok().and_then(|mut queue| queue.pop_front()) {
            async_task::Runnable::run(runnable);
        }
    });
}

fn wake(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wake and poll");
    group.throughput(Throughput::Elements(TASKS as u64));
    for (name, watch) in [("watched", Watch::default()), ("unwatched", UNWATCHED)] {
        let Some((mut tasks, spawner)) = runner(watch) else { return };
        let wakers = Rc::new(std::cell::RefCell::new(Vec::<Waker>::new()));
        for _ in 0..TASKS {
            let wakers = Rc::clone(&wakers);
            let mut first = true;
            let task = poll_fn(move |context| {
                if std::mem::replace(&mut first, false) {
                    wakers.borrow_mut().push(context.waker().clone());
                }
                Poll::<()>::Pending
            });
            spawner.spawn(task).detach();
        }
        tasks.run(TASKS);
        group.bench_function(format!("{TASKS}, own thread, {name}"), |b| {
            b.iter(|| {
                wakers.borrow().iter().for_each(Waker::wake_by_ref);
                tasks.run(TASKS)
            });
        });
    }
    group.finish();
}

fn parts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parts");
    group.bench_function("the clock", |b| b.iter(Instant::now));
    group.bench_function("the coarse clock", |b| b.iter(Instant::coarse));
    if let Ok(doorbell) = Doorbell::new() {
        group.bench_function("ring a core that is awake", |b| b.iter(|| doorbell.ring()));
        group.bench_function("awake, nobody rang", |b| {
            doorbell.awake();
            b.iter(|| doorbell.awake());
        });
        group.bench_function("sleep and ring", |b| {
            b.iter(|| {
                doorbell.awake();
                let asleep = doorbell.prepare_sleep();
                doorbell.ring();
                asleep
            });
        });
    }
    group.finish();
}

criterion_group!(benches, bytes, spawn, wake, parts);
criterion_main!(benches);
