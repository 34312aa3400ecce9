//! Answers by name, how long each holds, and which leave when there are too many; the flights that are joinable. Asks nobody, reads no clock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::ResolveError;
use super::addresses::Set;
use super::flight::{FLIGHT_AGE_MAX, Flight};
use crate::clock::Instant;

/// Names that a resolver keeps unless it is told otherwise.
pub const CACHE_NAMES_MAX: usize = 4096;
/// How long an answer holds where the resolver does not say.
pub const TTL_DEFAULT: Duration = Duration::from_secs(60);
/// The shortest time for which an answer holds, unless told otherwise.
pub const TTL_MIN: Duration = Duration::from_secs(1);
/// The longest time for which an answer holds, unless told otherwise.
pub const TTL_MAX: Duration = Duration::from_secs(3600);
/// How long it holds that a name does not exist or has no address, unless told otherwise. Failures to get an answer are never kept.
pub const NEGATIVE_TTL: Duration = Duration::from_secs(1);
/// The least time between two answers of a name that are given up early, because nobody could be reached.
pub const UNREACHABLE_INTERVAL: Duration = Duration::from_secs(1);

/// Of a full cache in which nothing is expired, one in so many leaves at a time: the cost of looking through it is shared by as many names.
const EVICTED_SHARE: usize = 16;

/// What a lookup came to.
pub(super) type Outcome = Result<Arc<Set>, ResolveError>;

/// Counts since a resolver was built.
///
/// ```
/// use ringshot::resolve::Resolver;
///
/// let resolver = Resolver::new();
/// println!("{:?}", resolver.stats());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Lookups begun.
    pub lookups: u64,
    /// Resolutions answered by the cache, also with "no such name".
    pub hits: u64,
    /// Resolutions that joined a lookup in progress.
    pub shared: u64,
    /// Lookups that ended without an address.
    pub failures: u64,
    /// Names in the cache now, expired ones among them.
    pub names: usize,
    /// Lookups in progress now.
    pub in_flight: usize,
}

/// How much is kept, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) names_max: usize,
    pub(super) ttl_default: Duration,
    pub(super) ttl_min: Duration,
    pub(super) ttl_max: Duration,
    pub(super) negative_ttl: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            names_max: CACHE_NAMES_MAX,
            ttl_default: TTL_DEFAULT,
            ttl_min: TTL_MIN,
            ttl_max: TTL_MAX,
            negative_ttl: NEGATIVE_TTL,
        }
    }
}

impl Limits {
    /// For how long `outcome` holds, or `None` if it is not to be kept.
    fn ttl(&self, outcome: &Outcome, ttl: Option<Duration>) -> Option<Duration> {
        match outcome {
            Ok(_) => Some(ttl.unwrap_or(self.ttl_default).clamp(self.ttl_min, self.ttl_max)),
            Err(error) => error.is_answer().then_some(self.negative_ttl),
        }
    }
}

struct Entry {
    outcome: Outcome,
    /// Its place in the order of insertion.
    number: u64,
    expires: Instant,
    /// When an answer of this name was last given up early.
    given_up: Option<Instant>,
}

/// A flight that may be joined.
struct Joinable {
    flight: Arc<Flight>,
    /// Resolutions that wait for it; never 0.
    waiting: usize,
    began: Instant,
}

/// What there is for a name.
pub(super) enum Found {
    Kept(Outcome),
    Flight(Arc<Flight>),
}

/// The memory of a resolver.
pub(super) struct Cache {
    limits: Limits,
    /// At most `limits.names_max`.
    entries: HashMap<Arc<str>, Entry>,
    /// At most one a name; as many as futures of ours are alive.
    flights: HashMap<Arc<str>, Joinable>,
    /// The latest time we were told of: an answer that arrives holds from then, which is never too late.
    latest: Instant,
    inserted: u64,
    stats: Stats,
}

impl Cache {
    pub(super) fn new(limits: Limits) -> Self {
        let (entries, flights) = (HashMap::new(), HashMap::new());
        let (latest, stats) = (Instant::default(), Stats::default());
        Self { limits, entries, flights, latest, inserted: 0, stats }
    }

    pub(super) fn stats(&self) -> Stats {
        Stats { names: self.entries.len(), in_flight: self.flights.len(), ..self.stats }
    }

    /// What is kept of `name`, or the flight to wait for, which counts one more who waits until [`leave`](Self::leave).
    pub(super) fn find(&mut self, name: &str, now: Instant) -> Found {
        self.latest = self.latest.max(now);
        if let Some(entry) = self.entries.get(name).filter(|entry| now < entry.expires) {
            self.stats.hits += 1;
            return Found::Kept(entry.outcome.clone());
        }
        // One that does not land must not hold the name for ever.
        let young = |joinable: &&mut Joinable| now - joinable.began < FLIGHT_AGE_MAX;
        if let Some(joinable) = self.flights.get_mut(name).filter(young) {
            self.stats.shared += 1;
            joinable.waiting += 1;
            return Found::Flight(Arc::clone(&joinable.flight));
        }
        self.stats.lookups += 1;
        let flight = Arc::new(Flight::new(name.into()));
        let joinable = Joinable { flight: Arc::clone(&flight), waiting: 1, began: now };
        self.flights.insert(Arc::clone(flight.name()), joinable);
        Found::Flight(flight)
    }

    /// One who waited for `flight` does no longer. Nobody joins a flight that nobody waits for.
    pub(super) fn leave(&mut self, flight: &Arc<Flight>) {
        let Some(joinable) = self.joinable(flight) else { return };
        joinable.waiting -= 1;
        if joinable.waiting == 0 {
            self.flights.remove(flight.name());
        }
    }

    fn joinable(&mut self, flight: &Arc<Flight>) -> Option<&mut Joinable> {
        let joinable = self.flights.get_mut(flight.name());
        joinable.filter(|joinable| Arc::ptr_eq(&joinable.flight, flight))
    }

    /// `flight` came to `outcome`, which holds for `ttl` if the resolver said so.
    pub(super) fn land(&mut self, flight: &Arc<Flight>, outcome: &Outcome, ttl: Option<Duration>) {
        self.stats.failures += u64::from(outcome.is_err());
        // A later flight has taken its place: that one's answer is newer.
        if self.joinable(flight).is_none() {
            return;
        }
        self.flights.remove(flight.name());
        if let Some(ttl) = self.limits.ttl(outcome, ttl) {
            self.keep(Arc::clone(flight.name()), outcome.clone(), ttl);
        }
    }

    fn keep(&mut self, name: Arc<str>, outcome: Outcome, ttl: Duration) {
        if self.limits.names_max == 0 {
            return;
        }
        let older = self.entries.remove(&name);
        if let (Ok(set), Some(Ok(older))) = (&outcome, older.as_ref().map(|old| &old.outcome)) {
            set.follow(older);
        }
        self.make_room();
        let (number, expires) = (self.inserted, self.latest + ttl);
        self.inserted += 1;
        let given_up = older.and_then(|old| old.given_up);
        self.entries.insert(name, Entry { outcome, number, expires, given_up });
    }

    /// Makes room for one: those that are expired leave; if none is, the oldest do.
    fn make_room(&mut self) {
        if self.entries.len() < self.limits.names_max {
            return;
        }
        let now = self.latest;
        self.entries.retain(|_, entry| now < entry.expires);
        if self.entries.len() < self.limits.names_max {
            return;
        }
        let last = (self.limits.names_max / EVICTED_SHARE).max(1) - 1;
        let mut numbers: Vec<u64> = self.entries.values().map(|entry| entry.number).collect();
        let (_, oldest, _) = numbers.select_nth_unstable(last);
        self.entries.retain(|_, entry| entry.number > *oldest);
    }

    /// The addresses of `name` are of no use: asks again the next time, at most once in [`UNREACHABLE_INTERVAL`].
    pub(super) fn give_up(&mut self, name: &str, now: Instant) {
        self.latest = self.latest.max(now);
        let Some(entry) = self.entries.get_mut(name) else { return };
        let recently = entry.given_up.is_some_and(|before| now - before < UNREACHABLE_INTERVAL);
        if !recently && now < entry.expires {
            entry.expires = now;
            entry.given_up = Some(now);
        }
    }
}
