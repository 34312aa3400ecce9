//! The system's resolver, getaddrinfo(3), on a few threads of its own. Never blocks who asks; caches nothing; a lookup that nobody waits for is not begun.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use event_listener::Event;

use super::{Answer, Families, Lookup, Resolve, ResolveError};
use crate::sync::lock;
use crate::sys::{affinity, names};

/// Threads that ask at the same time, unless told otherwise: a name whose servers do not answer holds one for as long as resolv.conf(5) says, 10 s and more.
pub const RESOLVER_THREADS_MAX: usize = 16;
/// Names that wait for a thread, unless told otherwise; one more is [`ResolveError::Busy`].
pub const RESOLVER_QUEUE_MAX: usize = 1024;
/// How long a thread waits for work before it ends.
pub const RESOLVER_IDLE_MAX: Duration = Duration::from_secs(10);

/// The resolver of the C library: hosts(5), the DNS, and what else nsswitch.conf(5) names. It tells no TTL.
///
/// Its threads start when there is something to ask, run on the cores that were allowed where it was made, and end when idle or when it is dropped.
///
/// ```
/// use ringshot::clock::Instant;
/// use ringshot::resolve::{Families, Resolver, System};
///
/// let system = System::for_families(Families::V4Only).with_threads_max(4).with_queue_max(100);
/// let resolver = Resolver::builder().resolve_with(system).build()?;
/// # let now = Instant::now();
/// # assert!(resolver.resolve("127.1", 80, now).wait().is_ok());
/// # Ok::<(), ringshot::resolve::BuildError>(())
/// ```
pub struct System {
    pool: Arc<Pool>,
}

type Found = Result<Answer, ResolveError>;
type Ask = dyn Fn(&str) -> Found + Send + Sync;

/// One name to look up.
struct Job {
    name: Box<str>,
    found: OnceLock<Found>,
    done: Event,
}

/// What the threads share.
struct Pool {
    ask: Box<Ask>,
    /// At least 1.
    threads_max: usize,
    queue_max: usize,
    idle_max: Duration,
    /// Where its threads may run: they are started by pinned ones.
    cores: Vec<usize>,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    /// With those that run, at most `queue_max` and `threads_max`.
    queue: VecDeque<Arc<Job>>,
    /// At most one for each thread.
    running: Vec<Arc<Job>>,
    /// At most `threads_max`.
    threads: usize,
    /// Threads that wait for work.
    idle: usize,
    closed: bool,
}

impl System {
    /// One that asks for the addresses that this machine has interfaces for (`AI_ADDRCONFIG`).
    #[must_use]
    pub fn new() -> Self {
        Self::for_families(Families::Both)
    }

    /// One that asks for no family that is not allowed.
    #[must_use]
    pub fn for_families(families: Families) -> Self {
        Self::asking(move |name| ask(name, families))
    }

    /// So many threads at most, 1 if it is 0. Default: [`RESOLVER_THREADS_MAX`].
    #[must_use]
    pub fn with_threads_max(self, threads: usize) -> Self {
        self.with(|pool| pool.threads_max = threads.max(1))
    }

    /// So many names may wait for a thread. Default: [`RESOLVER_QUEUE_MAX`].
    #[must_use]
    pub fn with_queue_max(self, names: usize) -> Self {
        self.with(|pool| pool.queue_max = names)
    }

    fn asking(ask: impl Fn(&str) -> Found + Send + Sync + 'static) -> Self {
        let pool = Pool {
            ask: Box::new(ask),
            threads_max: RESOLVER_THREADS_MAX,
            queue_max: RESOLVER_QUEUE_MAX,
            idle_max: RESOLVER_IDLE_MAX,
            cores: affinity::cores(),
            state: Mutex::default(),
            work: Condvar::new(),
        };
        Self { pool: Arc::new(pool) }
    }

    /// Before anything is asked, nobody else has the pool.
    fn with(mut self, change: impl FnOnce(&mut Pool)) -> Self {
        if let Some(pool) = Arc::get_mut(&mut self.pool) {
            change(pool);
        }
        self
    }
}

/// Blocks until the C library has an answer.
fn ask(name: &str, families: Families) -> Found {
    let family = match families {
        Families::V4Only => names::Family::V4,
        Families::V6Only => names::Family::V6,
        Families::Both | Families::V4First | Families::V6First => names::Family::Configured,
    };
    names::addresses(name, family).map(Answer::new).map_err(|failure| {
        let (name, reason) = (name.into(), failure.to_string().into());
        match failure.kind() {
            names::Kind::NotFound => ResolveError::NotFound { name },
            names::Kind::NoAddress => ResolveError::NoAddress { name, families },
            names::Kind::TryAgain => ResolveError::TryAgain { name, reason },
            names::Kind::Failed => ResolveError::Other { name, reason },
        }
    })
}

impl Resolve for System {
    fn lookup(&self, host: &str) -> Lookup {
        match Pool::submit(&self.pool, host) {
            Ok(job) => Box::pin(async move { job.wait().await }),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }
}

impl Drop for System {
    fn drop(&mut self) {
        lock(&self.pool.state).closed = true;
        self.pool.work.notify_all();
    }
}

impl Job {
    fn new(name: &str) -> Arc<Self> {
        Arc::new(Self { name: name.into(), found: OnceLock::new(), done: Event::new() })
    }

    async fn wait(&self) -> Found {
        loop {
            let listener = self.done.listen();
            if let Some(found) = self.found.get() {
                return found.clone();
            }
            listener.await;
        }
    }

    fn finish(&self, found: Found) {
        let _ = self.found.set(found);
        self.done.notify(usize::MAX);
    }

    /// Whether nobody waits for it but the queue that `job` is taken from.
    fn is_abandoned(job: &Arc<Self>) -> bool {
        Arc::strong_count(job) == 1
    }
}

impl Pool {
    /// Queues a lookup, or joins one that runs: a name that is slow holds one thread, however often it is given up and asked for again.
    fn submit(pool: &Arc<Self>, name: &str) -> Result<Arc<Job>, ResolveError> {
        let mut state = lock(&pool.state);
        if let Some(running) = state.running.iter().find(|job| *job.name == *name) {
            return Ok(Arc::clone(running));
        }
        if pool.is_full(&state) {
            state.queue.retain(|job| !Job::is_abandoned(job));
        }
        if pool.is_full(&state) {
            return Err(ResolveError::Busy { name: name.into(), queued: state.queue.len() });
        }
        let job = Job::new(name);
        state.queue.push_back(Arc::clone(&job));
        let start = state.queue.len() > state.idle && state.threads < pool.threads_max;
        state.threads += usize::from(start);
        drop(state);
        pool.work.notify_one();
        if start {
            Self::start(pool);
        }
        Ok(job)
    }

    /// Names on their way to a thread are in the queue as well, so that both are counted together.
    fn is_full(&self, state: &State) -> bool {
        state.queue.len() + state.running.len() >= self.queue_max.saturating_add(self.threads_max)
    }

    fn start(pool: &Arc<Self>) {
        let own = Arc::clone(pool);
        let started =
            thread::Builder::new().name("ringshot-names".to_owned()).spawn(move || own.serve());
        if let Err(error) = started {
            pool.handle_no_thread(&error);
        }
    }

    /// Without any thread, nobody would ever answer those who wait.
    fn handle_no_thread(&self, error: &std::io::Error) {
        let mut state = lock(&self.state);
        state.threads -= 1;
        if state.threads > 0 {
            return;
        }
        let stranded = std::mem::take(&mut state.queue);
        drop(state);
        let reason: Arc<str> = format!("no thread could be started: {error}").into();
        for job in stranded {
            let (name, reason) = ((*job.name).into(), Arc::clone(&reason));
            job.finish(Err(ResolveError::Other { name, reason }));
        }
    }

    /// The life of a thread.
    fn serve(&self) {
        // Where the mask can't be widened, the thread runs where it was started.
        let _ = affinity::allow(&self.cores);
        while let Some(job) = self.next_job() {
            let found = (self.ask)(&job.name);
            lock(&self.state).running.retain(|running| !Arc::ptr_eq(running, &job));
            job.finish(found);
        }
    }

    /// The next that somebody waits for, or `None` if there is no more to do.
    fn next_job(&self) -> Option<Arc<Job>> {
        let mut state = lock(&self.state);
        loop {
            while let Some(job) = state.queue.pop_front() {
                if !Job::is_abandoned(&job) {
                    state.running.push(Arc::clone(&job));
                    return Some(job);
                }
            }
            if state.closed {
                break;
            }
            state.idle += 1;
            let waited = self.work.wait_timeout(state, self.idle_max);
            let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if timeout.timed_out() && state.queue.is_empty() {
                break;
            }
        }
        state.threads -= 1;
        None
    }
}

impl Default for System {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.pool.state);
        f.debug_struct("System")
            .field("threads", &state.threads)
            .field("queued", &state.queue.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::task::{Context, Poll, Waker};
    use std::time::Instant;

    use super::super::Resolver;
    use super::*;

    /// A system whose lookups end when the test says so, one for each unit sent.
    struct Gate {
        system: System,
        open: Sender<()>,
        asked: Arc<AtomicUsize>,
    }

    impl Gate {
        fn new(threads: usize, queue: usize, idle_max: Duration) -> Self {
            let (open, gate): (_, Receiver<()>) = channel();
            let (gate, asked) = (Mutex::new(gate), Arc::<AtomicUsize>::default());
            let count = Arc::clone(&asked);
            let ask = move |name: &str| {
                count.fetch_add(1, Ordering::SeqCst);
                let _ = lock(&gate).recv();
                match name {
                    "none.test" => Err(ResolveError::NotFound { name: name.into() }),
                    _ => Ok(Answer::new([[127, 0, 0, 1]])),
                }
            };
            let system = System::asking(ask).with_threads_max(threads).with_queue_max(queue);
            Self { system: system.with(|pool| pool.idle_max = idle_max), open, asked }
        }

        fn pool(&self) -> Arc<Pool> {
            Arc::clone(&self.system.pool)
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::SeqCst)
        }
    }

    fn poll(lookup: &mut Lookup) -> Poll<Found> {
        lookup.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < Duration::from_secs(20), "{what}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn finish(lookup: &mut Lookup) -> Found {
        let mut found = Poll::Pending;
        until("the lookup ends", || {
            found = poll(lookup);
            found.is_ready()
        });
        let Poll::Ready(found) = found else { panic!("it is ready") };
        found
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn threads_start_when_needed_and_end_when_idle() {
        let gate = Gate::new(2, 100, Duration::from_millis(20));
        let pool = gate.pool();
        let threads = || lock(&pool.state).threads;
        assert_eq!(threads(), 0);
        let mut lookups: Vec<_> =
            (0..5).map(|number| gate.system.lookup(&format!("{number}.test"))).collect();
        assert_eq!(threads(), 2);
        until("two are asked", || gate.asked() == 2);
        assert!(lookups.iter_mut().all(|lookup| poll(lookup).is_pending()));
        assert!(format!("{:?}", gate.system).contains("threads: 2, queued: 3"));
        (0..5).for_each(|_| gate.open.send(()).unwrap());
        assert!(lookups.iter_mut().all(|lookup| finish(lookup).is_ok()));
        until("the threads end", || threads() == 0);
        gate.open.send(()).unwrap();
        let mut again = gate.system.lookup("none.test");
        assert!(matches!(finish(&mut again), Err(ResolveError::NotFound { .. })));
    }

    #[test]
    fn threads_end_with_the_system() {
        let gate = Gate::new(2, 100, LONG);
        let pool = gate.pool();
        gate.open.send(()).unwrap();
        assert!(finish(&mut gate.system.lookup("a.test")).is_ok());
        let mut running = gate.system.lookup("b.test");
        until("it is asked", || gate.asked() == 2);
        drop(gate.system);
        gate.open.send(()).unwrap();
        assert!(finish(&mut running).is_ok(), "who waits still gets an answer");
        until("the threads end", || lock(&pool.state).threads == 0);
        until("they let go", || Arc::strong_count(&pool) == 1);
    }

    #[test]
    fn a_full_queue_is_an_error_and_what_is_given_up_makes_room() {
        let gate = Gate::new(1, 2, LONG);
        let mut first = gate.system.lookup("0.test");
        until("it is asked", || gate.asked() == 1);
        let mut queued = [gate.system.lookup("1.test"), gate.system.lookup("2.test")];
        let busy = finish(&mut gate.system.lookup("3.test")).unwrap_err();
        assert_eq!(busy, ResolveError::Busy { name: "3.test".into(), queued: 2 });
        assert!(busy.is_temporary() && busy.to_string().contains("2 names wait already"));
        queued[0] = gate.system.lookup("1.test");
        assert!(matches!(poll(&mut queued[0]), Poll::Ready(Err(ResolveError::Busy { .. }))));
        queued[1] = Box::pin(async { Ok(Answer::default()) });
        let mut room = gate.system.lookup("4.test");
        (0..3).for_each(|_| gate.open.send(()).unwrap());
        assert!(finish(&mut first).is_ok() && finish(&mut room).is_ok());
        assert_eq!(gate.asked(), 2, "nobody waits for the others");
    }

    #[test]
    fn without_a_queue_free_threads_are_used() {
        let gate = Gate::new(2, 0, LONG);
        let mut lookups = [gate.system.lookup("0.test"), gate.system.lookup("1.test")];
        until("both are asked", || gate.asked() == 2);
        assert!(matches!(
            finish(&mut gate.system.lookup("2.test")),
            Err(ResolveError::Busy { queued: 0, .. })
        ));
        (0..2).for_each(|_| gate.open.send(()).unwrap());
        assert!(lookups.iter_mut().all(|lookup| finish(lookup).is_ok()));
    }

    #[test]
    fn a_name_that_is_asked_again_joins_the_lookup_that_runs() {
        let gate = Gate::new(4, 100, LONG);
        let first = gate.system.lookup("slow.test");
        until("it is asked", || gate.asked() == 1);
        drop(first);
        let mut second = gate.system.lookup("slow.test");
        let mut other = gate.system.lookup("other.test");
        until("the other is asked", || gate.asked() == 2);
        (0..2).for_each(|_| gate.open.send(()).unwrap());
        assert!(finish(&mut second).is_ok() && finish(&mut other).is_ok());
        assert_eq!(gate.asked(), 2);
    }

    #[test]
    fn those_who_wait_hear_when_no_thread_can_be_had() {
        let gate = Gate::new(1, 100, LONG);
        let pool = gate.pool();
        // As if the first thread were about to be started.
        lock(&pool.state).threads = 1;
        let mut lookup = gate.system.lookup("a.test");
        pool.handle_no_thread(&std::io::Error::from_raw_os_error(libc::EAGAIN));
        let error = finish(&mut lookup).unwrap_err();
        assert!(error.to_string().contains("no thread could be started"), "{error}");
        assert_eq!(lock(&pool.state).threads, 0);
    }

    #[test]
    fn a_pinned_caller_does_not_pin_the_threads() {
        let cores = affinity::cores();
        let system = System::asking(|_| {
            let cores = affinity::cores().into_iter();
            Ok(Answer::new(cores.map(|core| [127, 0, 0, core as u8])))
        });
        let core = cores[0];
        let mut lookup = thread::spawn(move || {
            let _ = affinity::pin(core);
            system.lookup("a.test")
        })
        .join()
        .unwrap();
        assert_eq!(finish(&mut lookup).unwrap().addresses.len(), cores.len());
    }

    #[test]
    fn the_system_knows_addresses_in_words() {
        let resolver = Resolver::new();
        let now = crate::clock::Instant::now();
        // No literal of ours, but one of getaddrinfo(3): no server is asked.
        let found = resolver.resolve("127.1", 80, now).wait().unwrap();
        assert_eq!(found.to_string(), "127.0.0.1:80");
        assert_eq!(resolver.stats().lookups, 1);
        let v6 = System::for_families(Families::V6Only);
        let none = finish(&mut v6.lookup("127.1")).unwrap_err();
        assert!(matches!(none, ResolveError::NoAddress { .. }) && none.name() == "127.1", "{none}");
    }
}
