//! Many requests: pulled one by one from an iterator or a stream, served by the cores, and given back as they end, in order, or where they ended. Holds no more than
//! its window.
//!
//! ```text
//!   iterator, stream     a core (each the same)                       the consumer
//!   ------- pull ------> driver ── a task a request ── result ──────> collect, completed, ordered
//!            ^             ^                             └─ or here:   for_each, fold_per_core
//!            └── credits ──┴──────────────── a credit back <───────── taken
//! ```
//!
//! The cores own the progress. A credit is taken before an input is pulled and comes back when its result is consumed: so inputs are not pulled for a consumer
//! that is behind, its results wait in places that were reserved for them, and nothing that is on its way stalls.
//!
//! | file | what it is |
//! |---|---|
//! | `input` | what goes in |
//! | `credits`, `reorder`, `summary` | windows and barriers, the order of results, figures: pure |
//! | `state`, `progress` | what cores and consumer share, and how it goes on |
//! | `drive` | a core's part |
//! | `parts` | what each core made of its results |
//! | `completed` | the consumer's part |

mod completed;
mod credits;
mod drive;
mod input;
mod parts;
mod progress;
mod reorder;
mod state;
mod summary;

use std::fmt;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use completed::Handle;
pub use completed::{Blocking, Completed, Ordered};
use credits::{Credits, Pace};
use drive::{Consume, Lane, MakeConsume};
pub use input::{BatchItem, BatchSource, FromIterator, FromStream, IntoRequest, Source};
use parts::Parts;
use state::{End, Plan, Shared};
pub use summary::{Latency, Summary};

use super::response::Fetched;
use super::{Client, CoreCtx};
use crate::error::Error;

/// Inputs of a batch that are pulled and not yet consumed, where nothing else was set.
pub const BATCH_WINDOW_DEFAULT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(99);

/// What became of one input.
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// # let client = engine.client().build()?;
/// # let urls: Vec<_> = (0..20).map(|n| origin.url(&format!("/bytes/{n}"))).collect();
/// let tagged = urls.into_iter().enumerate().map(|(n, url)| (format!("tag {n}"), url));
/// for done in client.batch(tagged).completed().into_blocking() {
///     assert_eq!(done.tag, format!("tag {}", done.index));
///     println!("{}: {:?}", done.tag, done.result.map(|response| response.status()));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Done<T = ()> {
    /// Its place among the inputs, from 0.
    pub index: u64,
    /// What came with it.
    pub tag: T,
    /// Its response with all of the body, or why there is none.
    pub result: Result<Fetched, Error>,
}

/// Many requests, before they begin: see [`Client::batch`].
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// # let client = engine.client().build()?;
/// use std::{num::NonZeroUsize, time::Duration};
///
/// # let urls: Vec<_> = (0..20).map(|n| origin.url(&format!("/bytes/{n}"))).collect();
/// let batch = client.batch(urls)
///     .window(NonZeroUsize::new(8).expect("not zero")) // at most 8 pulled and not consumed
///     .max_body(1 << 20)
///     .deadline(Duration::from_secs(10));
/// let results = block_on(batch.collect());
/// assert!(results.iter().all(Result::is_ok));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a batch does nothing until one of its ends is called"]
pub struct Batch<T = ()> {
    client: Client,
    source: Source<T>,
    pace: Pace,
    max_body_bytes: Option<u64>,
    deadline: Option<Duration>,
    fails_fast: bool,
}

impl Client {
    /// Begins many requests, from an iterator or a [`Stream`](futures_core::Stream) of [`BatchItem`]s: requests, URLs to `GET`, or `(tag, request)`.
    ///
    /// Inputs are pulled as there is room for them, on the cores: `next` must not block. Redirects are followed, up to
    /// [`REDIRECTS_DEFAULT`](super::REDIRECTS_DEFAULT) unless the request or the client says otherwise.
    ///
    /// Where the engine is shut down, before or meanwhile, every input ends all the same: as [`Kind::Shutdown`](super::Kind::Shutdown), pulled by whoever consumes. Of
    /// inputs whose number is not known ([`Iterator::size_hint`]), or is above a million, one more is pulled and stands for all: [`Summary::cut_short`].
    ///
    /// ```
    /// use ringshot::client::{Engine, blocking::block_on};
    /// # use ringshot::origin::{Config, Origin};
    /// # let origin = Origin::start(&Config::on_loopback())?;
    /// # let urls: Vec<_> = (0..50).map(|n| origin.url(&format!("/bytes/{n}"))).collect();
    ///
    /// let client = Engine::builder().build()?.client().build()?;
    /// let results = block_on(client.batch(urls.clone()).collect()); // in the order of the URLs
    /// for (url, result) in urls.iter().zip(&results) {
    ///     match result {
    ///         Ok(response) => println!("{url}: {} bytes", response.bytes().len()),
    ///         Err(error) => println!("{error}"), // names the URL
    ///     }
    /// }
    /// # assert!(results.iter().enumerate().all(|(n, r)| r.as_ref().unwrap().bytes().len() == n));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// A stream, as a queue's receiver, is pulled likewise, so that a full window holds up whoever fills the queue:
    ///
    /// ```
    /// use std::num::NonZeroUsize;
    /// use ringshot::{client::{Engine, blocking::block_on}, queue};
    /// # use ringshot::origin::{Config, Origin};
    /// # let origin = Origin::start(&Config::on_loopback())?;
    /// # let url = origin.url("/");
    ///
    /// let client = Engine::builder().build()?.client().build()?;
    /// let (sender, receiver) = queue::bounded(NonZeroUsize::MIN);
    /// std::thread::spawn(move || {
    ///     (0..20).for_each(|n| block_on(sender.send((n, url.clone()))).expect("the batch lives"));
    /// });
    /// let mut completed = client.batch(receiver).completed();
    /// let mut sum = 0;
    /// while let Some(done) = block_on(completed.next()) {
    ///     let (n, _ticket) = done.tag;
    ///     sum += n;
    /// }
    /// assert_eq!(sum, 190);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn batch<S, K>(&self, inputs: S) -> Batch<S::Tag>
    where
        S: BatchSource<K>,
    {
        Batch {
            client: self.clone(),
            source: inputs.into_source(),
            pace: Pace::Window(BATCH_WINDOW_DEFAULT),
            max_body_bytes: None,
            deadline: None,
            fails_fast: false,
        }
    }
}

impl<T: Send + 'static> Batch<T> {
    /// Sets how many inputs may be pulled and not yet consumed: [`BATCH_WINDOW_DEFAULT`] unless told. So at most `credits` bodies are held.
    pub fn window(mut self, credits: NonZeroUsize) -> Self {
        self.pace = Pace::Window(credits);
        self
    }

    /// Serves `inputs` at a time, and the next ones when all of these were consumed: instead of a window, which slides. The slowest of each lot holds up all
    /// others.
    ///
    /// ```
    /// # use ringshot::client::{Engine, blocking::block_on};
    /// # use ringshot::origin::{Config, Origin};
    /// # let origin = Origin::start(&Config::on_loopback())?;
    /// # let engine = Engine::builder().build()?;
    /// # let client = engine.client().build()?;
    /// # let urls: Vec<_> = (0..20).map(|n| origin.url(&format!("/bytes/{n}"))).collect();
    /// # use std::num::NonZeroUsize;
    /// let lots_of_five = NonZeroUsize::new(5).expect("not zero");
    /// assert_eq!(block_on(client.batch(urls).barrier(lots_of_five).collect()).len(), 20);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn barrier(mut self, inputs: NonZeroUsize) -> Self {
        self.pace = Pace::Barrier(inputs);
        self
    }

    /// Sets the most body bytes of a response, where the request has no limit of its own: a longer one is an error.
    pub fn max_body(mut self, bytes: u64) -> Self {
        self.max_body_bytes = Some(bytes);
        self
    }

    /// Sets how long the whole batch may take. What is not finished then ends as
    /// [`TimeoutKind::Deadline`](super::TimeoutKind::Deadline); nothing more is pulled.
    pub fn deadline(mut self, longest: Duration) -> Self {
        self.deadline = Some(longest);
        self
    }

    /// Lets the first error cancel its siblings, as a `TaskGroup` of asyncio does: they end as [`Kind::Canceled`](super::Kind::Canceled), and nothing more is
    /// pulled. A status is no error; a closure that panics is one.
    ///
    /// ```
    /// # use ringshot::client::{Engine, blocking::block_on};
    /// # use ringshot::origin::{Config, Origin};
    /// # let origin = Origin::start(&Config::on_loopback())?;
    /// # let engine = Engine::builder().build()?;
    /// # let client = engine.client().build()?;
    /// let urls = [origin.url("/hang"), origin.url("/abort")];
    /// let results = block_on(client.batch(urls).fail_fast().collect());
    /// let kinds: Vec<_> = results.iter().map(|result| result.as_ref().unwrap_err().kind().name()).collect();
    /// assert_eq!(kinds, ["canceled", "closed"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fail_fast(mut self) -> Self {
        self.fails_fast = true;
        self
    }

    /// All results in the order of the inputs, one for each that was pulled. Dropping the future cancels what is in flight.
    ///
    /// Results are kept as they come, without regard to the window: what is to be held is all of them.
    ///
    /// # Panics
    /// When the iterator or stream did, with what it threw, after what it gave before has ended.
    pub async fn collect(self) -> Vec<Result<Fetched, Error>> {
        type Results = Vec<(u64, Result<Fetched, Error>)>;
        let parts: Parts<Results> = Parts::default();
        let keep = |results: &mut Results, done: Done<T>| results.push((done.index, done.result));
        let mut handle = self.start(|| Some(parts.fold(Results::new, keep)));
        let mut all = Results::new();
        handle.closed(|done| keep(&mut all, done)).await;
        parts.take().into_iter().for_each(|part| all.extend(part));
        all.sort_unstable_by_key(|(index, _)| *index);
        all.into_iter().map(|(_, result)| result).collect()
    }

    /// The results as they come. The batch begins now, on the cores, not when it is first read.
    pub fn completed(self) -> Completed<T> {
        Completed::new(self.start(|| None))
    }

    /// The results in the order of the inputs, as they come: `reorder` of them may wait for an earlier one without holding the window up.
    pub fn ordered(self, reorder: NonZeroUsize) -> Ordered<T> {
        Ordered::new(self.start(|| None), reorder)
    }

    /// Calls a closure for each result, on the core that got it: each core has a clone. Nothing is pulled for a result while its call runs, and the core does
    /// nothing else: what computes for long belongs in [`cpu::offload`](crate::cpu::offload). Dropping the future cancels what is in flight.
    ///
    /// A panic of the closure counts as an error of its input, by the name `user`, and concerns no other. Every input that was pulled is counted once, whatever
    /// becomes of its core; only what a core had not heard of when it ended is counted without a call, as there is no core to make it.
    ///
    /// ```
    /// use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
    /// use ringshot::client::{Engine, blocking::block_on};
    /// # use ringshot::origin::{Config, Origin};
    /// # let origin = Origin::start(&Config::on_loopback())?;
    /// # let url = origin.url("/bytes/7");
    ///
    /// let client = Engine::builder().build()?.client().build()?;
    /// let bytes = Arc::new(AtomicU64::new(0));
    /// let sum = Arc::clone(&bytes);
    /// let batch = client.batch(std::iter::repeat_n(url, 100));
    /// let summary = block_on(batch.for_each(move |_core, done| {
    ///     if let Ok(response) = done.result {
    ///         sum.fetch_add(response.bytes().len() as u64, Ordering::Relaxed);
    ///     }
    /// }));
    /// assert_eq!((summary.ok, summary.bytes), (100, bytes.load(Ordering::Relaxed)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// As [`Batch::collect`].
    pub async fn for_each<F>(self, f: F) -> Summary
    where
        F: FnMut(&CoreCtx, Done<T>) + Send + Clone + 'static,
    {
        let mut handle = self.start(|| {
            let mut f = f.clone();
            let make = move || -> Consume<T> { Box::new(move |ctx, done| f(ctx, done)) };
            Some(Box::new(make))
        });
        handle.closed(drop).await;
        handle.summary()
    }

    /// Folds the results, on the core that got each, into a value for each core; then merges these. No result leaves its core. Dropping the future cancels what
    /// is in flight.
    ///
    /// An input whose `f` panics is left out, and concerns no other. Where a core ended before its time, what it did not begin is folded too, as errors; of what a
    /// core had not even heard of, by the caller.
    ///
    /// ```
    /// # use ringshot::client::{Engine, blocking::block_on};
    /// # use ringshot::origin::{Config, Origin};
    /// # let origin = Origin::start(&Config::on_loopback())?;
    /// # let engine = Engine::builder().build()?;
    /// # let client = engine.client().build()?;
    /// # let urls: Vec<_> = (0..20).map(|n| origin.url(&format!("/bytes/{n}"))).collect();
    /// let bytes = block_on(client.batch(urls).fold_per_core(
    ///     || 0,
    ///     |sum, done| *sum += done.result.map_or(0, |response| response.bytes().len()),
    ///     |one, other| one + other,
    /// ));
    /// assert_eq!(bytes, (0..20).sum());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// As [`Batch::collect`], and when `init` or `merge` do.
    pub async fn fold_per_core<A, I, F, M>(self, init: I, f: F, merge: M) -> A
    where
        A: Send + 'static,
        I: Fn() -> A + Send + Clone + 'static,
        F: Fn(&mut A, Done<T>) + Send + Clone + 'static,
        M: Fn(A, A) -> A,
    {
        let parts = Parts::default();
        let mut handle = self.start(|| Some(parts.fold(init.clone(), f.clone())));
        let mut rest = None;
        let consume = |done| {
            let rest = rest.get_or_insert_with(&init);
            let _ = catch_unwind(AssertUnwindSafe(|| f(rest, done)));
        };
        handle.closed(consume).await;
        let mut parts = parts.take();
        parts.extend(rest);
        parts.into_iter().reduce(merge).unwrap_or_else(init)
    }

    /// Brings the batch to the cores. `make` gives what consumes the results on each, if that is not the consumer.
    fn start(self, mut make: impl FnMut() -> Option<MakeConsume<T>>) -> Handle<T> {
        let mut consumers: Vec<_> =
            self.client.homes().of_client().map(|core| (core, make())).collect();
        let keeps = consumers.iter().any(|(_, make)| make.is_some());
        let Self { client, source, pace, max_body_bytes, deadline, fails_fast } = self;
        let plan = Plan {
            settings: Arc::clone(client.settings()),
            seats: Arc::clone(&client.engine().mesh().seats),
            homes: client.homes(),
            max_body_bytes,
            fails_fast,
            keeps,
        };
        let shared = Arc::new(Shared::new(plan, source.0, Credits::new(pace)));
        shared.lock().alarms.extend(deadline.map(|longest| (longest, End::Deadline)));
        // All are open before the first begins, which may be over before the second is.
        let lanes: Vec<_> = consumers
            .drain(..)
            .map(|(core, make)| (core as usize, Lane::open(core, &shared), make))
            .collect();
        let notes = lanes.into_iter().map(|(core, lane, make)| (core, lane.begin(make)));
        let engine = client.engine();
        let full: Vec<_> = match engine.mesh().is_stopped() {
            true => Vec::new(),
            false => notes
                .filter_map(|(core, note)| Some((core, engine.try_post(core, note).err()?)))
                .collect(),
        };
        let posts: Vec<_> = full.into_iter().map(|(core, note)| engine.post(core, note)).collect();
        // A note that can't be brought tells the batch when it is dropped.
        let starting = async move {
            for post in posts {
                let _ = post.await;
            }
        };
        Handle::new(shared, Some(Mutex::new(Box::pin(starting))), client)
    }
}

impl<T> fmt::Debug for Batch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pace, max_body_bytes, deadline, fails_fast, .. } = self;
        f.debug_struct("Batch")
            .field("pace", pace)
            .field("max_body_bytes", max_body_bytes)
            .field("deadline", deadline)
            .field("fails_fast", fails_fast)
            .finish_non_exhaustive()
    }
}
