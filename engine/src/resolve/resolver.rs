//! The resolver that a client asks: overrides, literals and `localhost` first, then the cache, then a lookup. Reads no clock: every call says what time it is.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use super::addresses::Set;
use super::builder::ResolverBuilder;
use super::cache::{Cache, Found, Limits, Outcome};
use super::flight::Flight;
use super::host::{Host, local_addresses, lower_case};
use super::{
    Addresses, Answer, Families, Lookup, Resolve, ResolveError, Resolving, RotateAddresses, Stats,
};
use crate::clock::Instant;
use crate::sync::lock;

/// Finds addresses, keeps them for their time to live, and asks for each name once at a time. Clones share everything; it may be used from any thread.
///
/// What it does with a host, in this order:
/// 1. an override of this host and port, or of this host, answers;
/// 2. an address stands for itself; the zone of an IPv6 address (`fe80::1%eth0`) may be a number or the name of an interface;
/// 3. `localhost` and every name below it is `::1`, then `127.0.0.1`, as far as [`Families`] allows: nobody is asked (RFC 6761 6.3). Where IPv6 is off,
///    connecting to `::1` fails at once, and the next address is tried;
/// 4. the cache answers, if it has the name and its time is not over. It also keeps that a name does not exist or has no address, for a shorter time
///    (RFC 2308), but never that a server failed or did not answer;
/// 5. a lookup that is in progress is joined, or one begun.
///
/// ```
/// use ringshot::clock::Instant;
/// use ringshot::resolve::Resolver;
///
/// let resolver = Resolver::new();
/// let here = resolver.resolve("localhost", 8080, Instant::now()).wait()?;
/// assert_eq!(here.to_string(), "[::1]:8080, 127.0.0.1:8080");
/// assert_eq!(resolver.stats().lookups, 0);
/// # Ok::<(), ringshot::resolve::ResolveError>(())
/// ```
#[derive(Clone)]
pub struct Resolver {
    inner: Arc<Inner>,
}

/// What the clones of a resolver, and its futures, share.
pub(super) struct Inner {
    resolve: Box<dyn Resolve>,
    cache: Mutex<Cache>,
    overrides: Overrides,
    local: Arc<Set>,
    families: Families,
    rotate: RotateAddresses,
}

/// Answers that were given beforehand: by name, in lower case and without a dot at its end, then by the port they are for.
pub(super) type Overrides = HashMap<Box<str>, Vec<(Option<u16>, Arc<Set>)>>;

/// What a builder decided.
pub(super) struct Parts {
    pub(super) resolve: Box<dyn Resolve>,
    pub(super) limits: Limits,
    pub(super) overrides: Overrides,
    pub(super) families: Families,
    pub(super) rotate: RotateAddresses,
}

impl Resolver {
    /// One that asks the [`System`](super::System), with every limit at its default.
    #[must_use]
    pub fn new() -> Self {
        Self::from_parts(Parts::default())
    }

    /// One with choices of your own.
    pub fn builder() -> ResolverBuilder {
        ResolverBuilder::default()
    }

    pub(super) fn from_parts(parts: Parts) -> Self {
        let Parts { resolve, limits, overrides, families, rotate } = parts;
        let local = Arc::new(Set::new(local_addresses(), families));
        let cache = Mutex::new(Cache::new(limits));
        Self { inner: Arc::new(Inner { resolve, cache, overrides, local, families, rotate }) }
    }

    /// Where `host` can be reached at `port`. What needs no lookup is ready at the first poll and allocates nothing, if `host` is in lower case.
    ///
    /// `host` is a name, an IPv4 address or an IPv6 address, with or without brackets; nothing in it is decoded. `now` is what the TTLs are held against:
    /// an answer holds from the latest `now` that the resolver had heard of when it came.
    ///
    /// # Errors
    /// The future's: [`NotFound`](ResolveError::NotFound) and [`NoAddress`](ResolveError::NoAddress) are answers, [`TryAgain`](ResolveError::TryAgain),
    /// [`Busy`](ResolveError::Busy) and [`Other`](ResolveError::Other) failures to get one, [`Invalid`](ResolveError::Invalid) says that `host` is none.
    pub fn resolve(&self, host: &str, port: u16, now: Instant) -> Resolving {
        let inner = &self.inner;
        if let Some(set) = overridden(&inner.overrides, host, port) {
            return Resolving::ready(inner.addresses(Ok(set), port));
        }
        let found = match Host::of(host, port) {
            Err(error) => return Resolving::ready(Err(error)),
            Ok(Host::Literal(address)) => return Resolving::ready(Ok(Addresses::one(address))),
            Ok(Host::Local) => Found::Kept(Ok(Arc::clone(&inner.local))),
            Ok(Host::Name(name)) => lock(&inner.cache).find(&name, now),
        };
        match found {
            Found::Kept(outcome) => Resolving::ready(inner.addresses(outcome, port)),
            Found::Flight(flight) => Resolving::waiting(Arc::clone(inner), flight, port),
        }
    }

    /// None of the addresses of `host` could be connected to: they are asked for again the next time, so that a change of the name shows before its TTL is
    /// over. At most once in [`UNREACHABLE_INTERVAL`](super::UNREACHABLE_INTERVAL) for each name.
    ///
    /// ```
    /// # use ringshot::{clock::Instant, resolve::Resolver};
    /// # let resolver = Resolver::new();
    /// resolver.handle_unreachable("example.test", Instant::now());
    /// ```
    pub fn handle_unreachable(&self, host: &str, now: Instant) {
        if let Ok(Host::Name(name)) = Host::of(host, 0) {
            lock(&self.inner.cache).give_up(&name, now);
        }
    }

    /// What it did so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        lock(&self.inner.cache).stats()
    }
}

impl Inner {
    /// Begins a lookup.
    pub(super) fn ask(&self, name: &str) -> Lookup {
        self.resolve.lookup(name)
    }

    /// Keeps what a flight came to.
    pub(super) fn land(
        &self,
        flight: &Arc<Flight>,
        result: Result<Answer, ResolveError>,
    ) -> Outcome {
        let ttl = result.as_ref().ok().and_then(|answer| answer.ttl);
        let outcome = result.and_then(|answer| self.set(flight.name(), answer));
        lock(&self.cache).land(flight, &outcome, ttl);
        outcome
    }

    fn set(&self, name: &Arc<str>, answer: Answer) -> Outcome {
        let sockets = answer.addresses.into_iter().map(|address| SocketAddr::new(address, 0));
        let set = Set::new(sockets, self.families);
        let none = ResolveError::NoAddress { name: Arc::clone(name), families: self.families };
        if set.is_empty() { Err(none) } else { Ok(Arc::new(set)) }
    }

    /// What one who asked for `port` gets.
    pub(super) fn addresses(&self, outcome: Outcome, port: u16) -> Result<Addresses, ResolveError> {
        outcome.map(|set| Addresses::many(set, port, self.rotate))
    }

    /// One who waited for `flight` does no longer.
    pub(super) fn leave(&self, flight: &Arc<Flight>) {
        lock(&self.cache).leave(flight);
    }
}

impl Resolver {
    /// Whether an address has an override: then addresses have to be asked for like names.
    pub(crate) fn overrides_addresses(&self) -> bool {
        let is_address = |name: &str| matches!(Host::of(name, 0), Ok(Host::Literal(_)));
        self.inner.overrides.keys().any(|name| is_address(name))
    }
}

fn overridden(overrides: &Overrides, host: &str, port: u16) -> Option<Arc<Set>> {
    if overrides.is_empty() {
        return None;
    }
    let host = lower_case(host.strip_suffix('.').unwrap_or(host));
    let by_port = overrides.get(&*host)?;
    let of = |asked: Option<u16>| by_port.iter().find(|(only, _)| *only == asked);
    of(Some(port)).or_else(|| of(None)).map(|(_, set)| Arc::clone(set))
}

impl Default for Resolver {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { families, rotate, .. } = &*self.inner;
        f.debug_struct("Resolver")
            .field("families", families)
            .field("rotate", rotate)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};
    use std::time::Duration;

    use super::super::{
        BuildError, FLIGHT_AGE_MAX, NEGATIVE_TTL, Override, TTL_DEFAULT, TTL_MAX, TTL_MIN,
        UNREACHABLE_INTERVAL,
    };
    use super::*;

    type Found = Result<Answer, ResolveError>;

    /// A resolver that answers when it is told to.
    #[derive(Clone, Default)]
    struct Script(Arc<Mutex<Vec<Arc<Mutex<Call>>>>>);

    #[derive(Default)]
    struct Call {
        name: String,
        found: Option<Found>,
        waker: Option<Waker>,
        polls: usize,
    }

    struct Scripted(Arc<Mutex<Call>>);

    impl Future for Scripted {
        type Output = Found;

        fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Found> {
            let mut call = lock(&self.0);
            call.polls += 1;
            call.waker = Some(context.waker().clone());
            assert!(call.name != "panics.test" || call.polls < 2, "as the test wants it");
            call.found.take().map_or(Poll::Pending, Poll::Ready)
        }
    }

    impl Resolve for Script {
        fn lookup(&self, host: &str) -> Lookup {
            let call = Call { name: host.to_owned(), ..Call::default() };
            let call = Arc::new(Mutex::new(call));
            lock(&self.0).push(Arc::clone(&call));
            Box::pin(Scripted(call))
        }
    }

    impl Script {
        fn asked(&self) -> usize {
            lock(&self.0).len()
        }

        /// The `index`th lookup.
        fn call(&self, index: usize) -> Arc<Mutex<Call>> {
            Arc::clone(&lock(&self.0)[index])
        }

        /// Ends the last lookup.
        fn answer(&self, found: Found) {
            self.answer_to(self.asked() - 1, found);
        }

        fn answer_to(&self, index: usize, found: Found) {
            let call = self.call(index);
            lock(&call).found = Some(found);
            let waker = lock(&call).waker.take();
            waker.expect("it was polled").wake();
        }

        /// Whether the last lookup is still held by somebody else.
        fn is_held(&self) -> bool {
            Arc::strong_count(&self.call(self.asked() - 1)) > 2
        }
    }

    /// One resolution, and how often it was woken.
    struct Task {
        resolving: Resolving,
        woken: Arc<Count>,
    }

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Task {
        fn poll(&mut self) -> Poll<Result<Addresses, ResolveError>> {
            let waker = Waker::from(Arc::clone(&self.woken));
            Pin::new(&mut self.resolving).poll(&mut Context::from_waker(&waker))
        }

        fn woken(&self) -> usize {
            self.woken.0.load(Ordering::Relaxed)
        }

        fn is_pending(&mut self) -> bool {
            self.poll().is_pending()
        }

        /// The addresses, or the error.
        fn text(&mut self) -> String {
            match self.poll() {
                Poll::Ready(Ok(addresses)) => addresses.to_string(),
                Poll::Ready(Err(error)) => error.to_string(),
                Poll::Pending => "pending".to_owned(),
            }
        }
    }

    fn at(seconds: f64) -> Instant {
        Instant::default() + Duration::from_secs(1000) + Duration::from_secs_f64(seconds)
    }

    fn v4(last: u8) -> Answer {
        Answer::new([[127, 0, 0, last]])
    }

    fn not_found(name: &str) -> Found {
        Err(ResolveError::NotFound { name: name.into() })
    }

    /// A resolver, the script behind it, and the time.
    struct Bench {
        script: Script,
        resolver: Resolver,
    }

    impl Bench {
        fn new() -> Self {
            Self::with(|builder| builder)
        }

        fn with(choose: impl FnOnce(ResolverBuilder) -> ResolverBuilder) -> Self {
            let script = Script::default();
            let builder = Resolver::builder().resolve_with(script.clone());
            Self { resolver: choose(builder).build().unwrap(), script }
        }

        fn start(&self, host: &str, seconds: f64) -> Task {
            let resolving = self.resolver.resolve(host, 80, at(seconds));
            Task { resolving, woken: Arc::default() }
        }

        /// Looks `host` up at this time, with this end.
        fn look_up(&self, host: &str, seconds: f64, found: Found) -> String {
            let mut task = self.start(host, seconds);
            assert!(task.is_pending(), "{host} is looked up");
            self.script.answer(found);
            assert_eq!(task.woken(), 1);
            task.text()
        }

        /// Whether the cache still answers at this time.
        fn hits(&self, host: &str, seconds: f64) -> bool {
            !self.start(host, seconds).is_pending()
        }

        fn check(&self, host: &str, expected: &str) {
            assert_eq!(self.start(host, 0.0).text(), expected, "{host}");
        }
    }

    #[test]
    fn what_needs_no_lookup_is_ready_at_once() {
        let bench = Bench::new();
        bench.check("127.0.0.1", "127.0.0.1:80");
        bench.check("[::1]", "[::1]:80");
        bench.check("fe80::1%lo", "[fe80::1%1]:80");
        bench.check("localhost", "[::1]:80, 127.0.0.1:80");
        bench.check("a.LOCALHOST.", "[::1]:80, 127.0.0.1:80");
        assert!(bench.start("", 0.0).text().contains("can't be a host"));
        let v4_only = Bench::with(|builder| builder.families(Families::V4Only));
        v4_only.check("localhost", "127.0.0.1:80");
        v4_only.check("::1", "[::1]:80");
        let v4_first = Bench::with(|builder| builder.families(Families::V4First));
        v4_first.check("localhost", "127.0.0.1:80, [::1]:80");
        assert_eq!(bench.script.asked() + v4_only.script.asked(), 0);
        assert_eq!(bench.resolver.stats(), Stats::default());
    }

    /// Looks a name up, and finds for how long it is kept.
    fn check_ttl(found: Found, expected: Option<Duration>) {
        let bench = Bench::new();
        bench.look_up("a.test", 0.0, found.clone());
        let Some(expected) = expected.map(|ttl| ttl.as_secs_f64()) else {
            assert!(!bench.hits("a.test", 0.0), "{found:?}");
            return;
        };
        assert!(bench.hits("a.test", 0.0) && bench.hits("A.TEST", expected - 0.001), "{found:?}");
        assert!(!bench.hits("a.test", expected), "{found:?}");
    }

    #[test]
    fn an_answer_holds_for_its_time() {
        let seconds = Duration::from_secs;
        check_ttl(Ok(v4(1)), Some(TTL_DEFAULT));
        check_ttl(Ok(v4(1).with_ttl(seconds(10))), Some(seconds(10)));
        check_ttl(Ok(v4(1).with_ttl(Duration::ZERO)), Some(TTL_MIN));
        check_ttl(Ok(v4(1).with_ttl(seconds(1 << 40))), Some(TTL_MAX));
    }

    #[test]
    fn only_answers_are_kept() {
        let (name, reason) = (Arc::<str>::from("a.test"), Arc::<str>::from("x"));
        let families = Families::Both;
        check_ttl(not_found("a.test"), Some(NEGATIVE_TTL));
        check_ttl(
            Err(ResolveError::NoAddress { name: name.clone(), families }),
            Some(NEGATIVE_TTL),
        );
        check_ttl(Ok(Answer::default()), Some(NEGATIVE_TTL));
        check_ttl(Err(ResolveError::TryAgain { name: name.clone(), reason: reason.clone() }), None);
        check_ttl(Err(ResolveError::Busy { name: name.clone(), queued: 1 }), None);
        check_ttl(Err(ResolveError::Other { name, reason }), None);
    }

    #[test]
    fn limits_of_the_time_can_be_chosen() {
        let none = |builder: ResolverBuilder| builder.ttl(Duration::ZERO, Duration::ZERO);
        let bench = Bench::with(none);
        bench.look_up("a.test", 0.0, Ok(v4(1).with_ttl(Duration::from_secs(9))));
        assert!(!bench.hits("a.test", 0.0));
        let bench = Bench::with(|builder| {
            builder.negative_ttl(Duration::from_secs(5)).ttl_default(Duration::from_secs(7))
        });
        bench.look_up("a.test", 0.0, not_found("a.test"));
        bench.look_up("b.test", 0.0, Ok(v4(1)));
        assert!(bench.hits("a.test", 4.9) && bench.hits("b.test", 6.9));
        assert!(!bench.hits("a.test", 5.0) && !bench.hits("b.test", 7.0));
    }

    #[test]
    fn a_slow_answer_holds_from_when_it_came() {
        let bench = Bench::new();
        let mut task = bench.start("a.test", 0.0);
        assert!(task.is_pending());
        // Somebody else says that time has passed.
        let _ = bench.start("b.test", 3.0);
        bench.script.answer(Ok(v4(1).with_ttl(Duration::from_secs(2))));
        assert_eq!(task.text(), "127.0.0.1:80");
        assert!(bench.hits("a.test", 4.9) && !bench.hits("a.test", 5.0));
    }

    #[test]
    fn a_thousand_share_one_lookup() {
        let bench = Bench::new();
        let mut tasks: Vec<_> = (0..1000).map(|_| bench.start("a.test", 0.0)).collect();
        assert!(tasks.iter_mut().all(Task::is_pending));
        assert_eq!(bench.resolver.stats().in_flight, 1);
        bench.script.answer(Ok(v4(1)));
        assert!(tasks.iter_mut().all(|task| task.woken() == 1 && task.text() == "127.0.0.1:80"));
        assert!(tasks.iter_mut().all(|task| task.text() == "127.0.0.1:80"), "ready stays ready");
        let expected = Stats { lookups: 1, shared: 999, names: 1, ..Stats::default() };
        assert_eq!(bench.resolver.stats(), expected);
        assert_eq!(bench.script.asked(), 1);
        assert!(bench.hits("a.test", 1.0));
        assert_eq!(bench.resolver.stats().hits, 1);
        // Another port is the same name.
        let other = bench.resolver.resolve("a.test", 81, at(0.0)).wait().unwrap();
        assert_eq!(other.first().port(), 81);
    }

    #[test]
    fn a_failure_is_shared_too() {
        let bench = Bench::new();
        let mut tasks: Vec<_> = (0..10).map(|_| bench.start("a.test", 0.0)).collect();
        assert!(tasks.iter_mut().all(Task::is_pending));
        let reason = "EAI_AGAIN".into();
        bench.script.answer(Err(ResolveError::TryAgain { name: "a.test".into(), reason }));
        for task in &mut tasks {
            assert!(task.text().contains("no answer for \"a.test\": EAI_AGAIN"), "{}", task.text());
        }
        let stats = bench.resolver.stats();
        assert_eq!((stats.failures, stats.names, stats.in_flight), (1, 0, 0));
    }

    #[test]
    fn whoever_is_polled_carries_the_lookup_on() {
        // The first is dropped; the first is never polled again; the second was never polled at all.
        for case in 0..3 {
            let bench = Bench::new();
            let mut first = Some(bench.start("a.test", 0.0));
            let mut second = bench.start("a.test", 0.0);
            assert!(first.as_mut().unwrap().is_pending() && (case == 2 || second.is_pending()));
            if case != 1 {
                first = None;
            }
            if case == 2 {
                assert!(second.is_pending());
            }
            bench.script.answer(Ok(v4(1)));
            assert_eq!((second.woken(), second.text().as_str()), (1, "127.0.0.1:80"), "{case}");
            assert_eq!(bench.script.asked(), 1, "{case}");
            drop(first);
            assert_eq!(bench.resolver.stats().in_flight, 0);
        }
    }

    #[test]
    fn a_lookup_that_nobody_waits_for_is_dropped() {
        let bench = Bench::new();
        let mut tasks = [bench.start("a.test", 0.0), bench.start("a.test", 0.0)];
        assert!(tasks.iter_mut().all(Task::is_pending) && bench.script.is_held());
        drop(tasks);
        assert!(!bench.script.is_held());
        let stats = bench.resolver.stats();
        assert_eq!((stats.in_flight, stats.names, stats.lookups), (0, 0, 1));
        assert_eq!(bench.look_up("a.test", 0.0, Ok(v4(2))), "127.0.0.2:80");
        assert_eq!(bench.script.asked(), 2);
        // One that is never polled asks nobody.
        drop(bench.start("b.test", 0.0));
        assert_eq!((bench.script.asked(), bench.resolver.stats().in_flight), (2, 0));
    }

    #[test]
    fn a_lookup_of_many_steps_wakes_everybody_each_time() {
        let bench = Bench::new();
        let mut tasks = [bench.start("a.test", 0.0), bench.start("a.test", 0.0)];
        for step in 1..5 {
            assert!(tasks.iter_mut().all(Task::is_pending));
            let waker = lock(&bench.script.call(0)).waker.take().unwrap();
            waker.wake();
            assert!(tasks.iter().all(|task| task.woken() == step));
        }
        bench.script.call(0).lock().unwrap().found = Some(Ok(v4(1)));
        assert!(tasks.iter_mut().all(|task| task.text() == "127.0.0.1:80"));
    }

    /// Wakes itself a number of times, as a runtime's budget does.
    struct Restless(usize);

    impl Future for Restless {
        type Output = Found;

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Found> {
            self.0 -= 1;
            context.waker().wake_by_ref();
            if self.0 == 0 { Poll::Ready(Ok(v4(1))) } else { Poll::Pending }
        }
    }

    impl Resolve for Restless {
        fn lookup(&self, _: &str) -> Lookup {
            Box::pin(Restless(self.0))
        }
    }

    #[test]
    fn a_lookup_that_wakes_itself_lets_the_task_go() {
        let resolver = Resolver::builder().resolve_with(Restless(5)).build().unwrap();
        let bench = Bench { script: Script::default(), resolver };
        let (mut first, mut second) = (bench.start("a.test", 0.0), bench.start("a.test", 0.0));
        assert!(first.is_pending() && first.woken() > 0, "it is to be polled again");
        assert!(second.is_pending() && second.woken() > 0);
        drop(first);
        assert_eq!(second.resolving.wait().unwrap().to_string(), "127.0.0.1:80");
    }

    #[test]
    fn a_lookup_that_panics_fails_for_everybody() {
        let bench = Bench::new();
        let (mut first, mut second) =
            (bench.start("panics.test", 0.0), bench.start("panics.test", 0.0));
        assert!(first.is_pending());
        let expected = "the resolver failed on \"panics.test\": it panicked: as the test wants it";
        assert!(second.text().contains(expected), "{}", second.text());
        assert_eq!(first.woken(), 1);
        assert!(first.text().contains(expected), "{}", first.text());
        drop((first, second));
        assert_eq!(bench.resolver.stats().in_flight, 0);
    }

    #[test]
    fn a_lookup_that_never_ends_is_left_behind() {
        let bench = Bench::new();
        let age = FLIGHT_AGE_MAX.as_secs_f64();
        let mut stuck = bench.start("a.test", 0.0);
        let mut joined = bench.start("a.test", age - 0.1);
        assert!(stuck.is_pending() && joined.is_pending());
        assert_eq!(bench.script.asked(), 1);
        assert_eq!(bench.look_up("a.test", age, Ok(v4(2))), "127.0.0.2:80");
        assert_eq!(bench.script.asked(), 2);
        // Too late for the cache, not for those who still wait.
        bench.script.answer_to(0, Ok(v4(1)));
        assert_eq!(joined.text(), "127.0.0.1:80");
        bench.check("a.test", "127.0.0.2:80");
        drop((stuck, joined));
        let stats = bench.resolver.stats();
        assert_eq!((stats.in_flight, stats.names), (0, 1));
    }

    #[test]
    fn the_cache_is_bounded() {
        let bench = Bench::with(|builder| builder.names_max(32));
        let name = |number: usize| format!("{number}.test");
        for number in 0..200 {
            bench.look_up(&name(number), 0.0, Ok(v4(1)));
            assert!(bench.resolver.stats().names <= 32);
        }
        assert!(!bench.hits(&name(150), 1.0));
        assert!((172..200).all(|number| bench.hits(&name(number), 1.0)));
        let bench = Bench::with(|builder| builder.names_max(0));
        bench.look_up("a.test", 0.0, Ok(v4(1)));
        assert_eq!(bench.resolver.stats().names, 0);
    }

    #[test]
    fn expired_names_leave_first() {
        let bench = Bench::with(|builder| builder.names_max(3));
        let ttl = |seconds| Ok(v4(1).with_ttl(Duration::from_secs(seconds)));
        bench.look_up("old.test", 0.0, ttl(1000));
        bench.look_up("short.test", 1.0, ttl(5));
        bench.look_up("long.test", 2.0, ttl(1000));
        bench.look_up("new.test", 10.0, ttl(1000));
        assert!(bench.hits("old.test", 10.0) && bench.hits("long.test", 10.0));
        bench.look_up("newer.test", 10.0, ttl(1000));
        assert!(!bench.hits("old.test", 10.0) && bench.hits("long.test", 10.0));
        assert!(bench.hits("new.test", 10.0) && bench.hits("newer.test", 10.0));
    }

    #[test]
    fn overrides_answer_first() {
        let to = |last: u8| Override::to([[127, 0, 0, last]]);
        let bench = Bench::with(|builder| {
            builder
                .with_override("a.test", Override::to([[127, 0, 0, 1], [127, 0, 0, 2]]))
                .with_override("B.test.", to(3).at_port(8080))
                .with_override("b.test", to(4).only_for_port(443))
                .with_override("c.test", to(5).only_for_port(443))
                .with_override("127.0.0.9", SocketAddr::from(([127, 0, 0, 6], 81)))
                .with_override("localhost", to(7).at_port(1))
                .with_override("localhost", to(8))
        });
        bench.check("a.test", "127.0.0.1:80, 127.0.0.2:80");
        bench.check("A.TEST.", "127.0.0.1:80, 127.0.0.2:80");
        bench.check("b.test", "127.0.0.3:8080");
        bench.check("127.0.0.9", "127.0.0.6:81");
        bench.check("localhost", "127.0.0.8:80");
        let other = bench.resolver.resolve("b.test", 443, at(0.0)).wait().unwrap();
        assert_eq!(other.to_string(), "127.0.0.4:443");
        assert_eq!(bench.script.asked(), 0);
        assert!(bench.start("c.test", 0.0).is_pending(), "only for another port");
    }

    #[test]
    fn a_builder_checks() {
        let empty = Override::to::<std::net::IpAddr>([]);
        let error = Resolver::builder().with_override("a.test", empty).build().unwrap_err();
        assert!(matches!(error, BuildError::Override { .. }), "{error}");
        let v4 = Override::from(std::net::IpAddr::from([127, 0, 0, 1]));
        let builder = Resolver::builder().families(Families::V6Only).with_override("a.test", v4);
        assert!(builder.build().unwrap_err().to_string().contains("IPv6 only"));
        let (min, max) = (Duration::from_secs(2), Duration::from_secs(1));
        let error = Resolver::builder().ttl(min, max).build().unwrap_err();
        assert_eq!(error, BuildError::Ttl { min, max });
    }

    #[test]
    fn an_unreachable_name_is_asked_again_but_not_all_the_time() {
        let bench = Bench::new();
        bench.resolver.handle_unreachable("a.test", at(0.0));
        bench.look_up("a.test", 0.0, Ok(v4(1)));
        bench.resolver.handle_unreachable("A.test", at(5.0));
        assert_eq!(bench.look_up("a.test", 5.0, Ok(v4(2))), "127.0.0.2:80");
        let interval = UNREACHABLE_INTERVAL.as_secs_f64();
        bench.resolver.handle_unreachable("a.test", at(5.0 + interval - 0.1));
        assert!(bench.hits("a.test", 5.0 + interval));
        bench.resolver.handle_unreachable("a.test", at(5.0 + interval));
        assert!(!bench.hits("a.test", 5.0 + interval));
        bench.resolver.handle_unreachable("127.0.0.1", at(9.0));
    }

    #[test]
    fn families_choose_and_no_address_is_an_answer() {
        let addresses: [std::net::IpAddr; 3] =
            [[127, 0, 0, 1].into(), [0, 0, 0, 0, 0, 0, 0, 1].into(), [127, 0, 0, 2].into()];
        let check = |families, expected: &str| {
            let bench = Bench::with(|builder| builder.families(families));
            let text = bench.look_up("a.test", 0.0, Ok(Answer::new(addresses)));
            assert_eq!(text, expected, "{families}");
        };
        check(Families::Both, "127.0.0.1:80, [::1]:80, 127.0.0.2:80");
        check(Families::V6First, "[::1]:80, 127.0.0.1:80, 127.0.0.2:80");
        check(Families::V4Only, "127.0.0.1:80, 127.0.0.2:80");
        let bench = Bench::with(|builder| builder.families(Families::V6Only));
        let text = bench.look_up("a.test", 0.0, Ok(v4(1)));
        assert!(text.contains("\"a.test\" has no address to use (IPv6 only)"), "{text}");
        assert!(bench.hits("a.test", 0.5));
    }

    #[test]
    fn rotation_goes_on_after_the_time_is_over() {
        let bench = Bench::with(|builder| builder.rotate_addresses(RotateAddresses::RoundRobin));
        let three = || Ok(Answer::new([[127, 0, 0, 1], [127, 0, 0, 2], [127, 0, 0, 3]]));
        let first = |text: String| text.split(',').next().unwrap_or_default().to_owned();
        assert_eq!(first(bench.look_up("a.test", 0.0, three())), "127.0.0.1:80");
        assert_eq!(first(bench.start("a.test", 1.0).text()), "127.0.0.2:80");
        assert_eq!(first(bench.look_up("a.test", 100.0, three())), "127.0.0.3:80");
        assert_eq!(first(bench.start("a.test", 101.0).text()), "127.0.0.1:80");
    }

    #[test]
    fn threads_share_one_lookup() {
        let bench = Bench::new();
        std::thread::scope(|scope| {
            for _ in 0..50 {
                scope.spawn(|| {
                    let mut tasks: Vec<_> =
                        (0..20).map(|_| bench.resolver.resolve("a.test", 80, at(0.0))).collect();
                    let last = tasks.pop().unwrap();
                    assert_eq!(last.wait().unwrap().to_string(), "127.0.0.1:80");
                    assert!(tasks.into_iter().all(|task| task.wait().is_ok()));
                });
            }
            while bench.resolver.stats().shared < 500 || bench.script.asked() == 0 {
                std::thread::yield_now();
            }
            let call = bench.script.call(0);
            while lock(&call).waker.is_none() {
                std::thread::yield_now();
            }
            bench.script.answer(Ok(v4(1)));
        });
        let stats = bench.resolver.stats();
        assert_eq!((stats.lookups, stats.in_flight, stats.hits + stats.shared), (1, 0, 999));
    }

    /// Who looks while another is looking must be told of what that one saw, whatever it was.
    #[test]
    fn no_wake_is_lost_between_threads() {
        let resolver = Resolver::builder().resolve_with(Restless(3)).names_max(0).build().unwrap();
        // The more wait for one name, the more look at the same time.
        let (threads, rounds, each) = (8, 1000, 50);
        let (done, ends) = std::sync::mpsc::channel();
        let start = Arc::new(std::sync::Barrier::new(threads));
        let shared: Vec<Vec<_>> = (0..threads)
            .map(|_| {
                let names = (0..rounds * each).map(|number| format!("{}.test", number / each));
                names.map(|name| resolver.resolve(&name, 80, at(0.0))).collect()
            })
            .collect();
        for resolvings in shared {
            let (done, start) = (done.clone(), Arc::clone(&start));
            std::thread::spawn(move || {
                for (number, resolving) in resolvings.into_iter().enumerate() {
                    if number % each == 0 {
                        start.wait();
                    }
                    assert!(resolving.wait().is_ok());
                }
                done.send(())
            });
        }
        for _ in 0..threads {
            ends.recv_timeout(Duration::from_secs(60)).expect("every thread ends");
        }
        let stats = resolver.stats();
        assert_eq!((stats.lookups, stats.in_flight), (rounds as u64, 0));
    }

    #[test]
    fn it_shows_itself() {
        let bench = Bench::new();
        let task = bench.start("a.test", 0.0);
        assert_eq!(format!("{:?}", task.resolving), "Waiting(\"a.test\")");
        assert!(format!("{:?}", bench.resolver).contains("in_flight: 1"));
        let ready = bench.start("127.0.0.1", 0.0);
        assert_eq!(format!("{:?}", ready.resolving), "Ready(Ok([127.0.0.1:80]))");
    }
}
