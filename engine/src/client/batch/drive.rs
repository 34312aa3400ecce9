//! A core's part in a batch: a driver that pulls inputs and starts them, a task for each that is on its way, and what becomes of its result. Never leaves the core.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Method;

use super::Done;
use super::input::{self, Input, Pull, Pulled};
use super::progress::{Others, Standing, Step};
use super::state::{End, Job, PULL_BLOCK, Shared, let_go};
use super::summary::{Outcome, Tally};
use crate::client::core_ctx::CoreCtx;
use crate::client::engine::Note;
use crate::client::local::LocalClient;
use crate::client::request::Request;
use crate::client::response::Fetched;
use crate::client::{REDIRECTS_DEFAULT, Target};
use crate::clock::Instant;
use crate::error::{Error, History, Kind};
use crate::shard::pool::exchange::Trace;
use crate::shard::tasks::{Task, caught};

/// Steps of a driver before it lets the core's other tasks go on.
const STEPS_MAX: usize = 64;

/// What consumes results on the core that got them.
pub(super) type Consume<T> = Box<dyn FnMut(&CoreCtx, Done<T>)>;
/// Makes one, on its core.
pub(super) type MakeConsume<T> = Box<dyn FnOnce() -> Consume<T> + Send>;

/// Tells the batch that a core's part is over, wherever that happens.
pub(super) struct Lane<T: Send + 'static> {
    core: u32,
    shared: Arc<Shared<T>>,
    tally: RefCell<Tally>,
}

impl<T: Send + 'static> Lane<T> {
    pub(super) fn open(core: u32, shared: &Arc<Shared<T>>) -> Self {
        shared.lock().lanes_open += 1;
        Self { core, shared: Arc::clone(shared), tally: RefCell::default() }
    }

    /// The note that begins the part on its core.
    pub(super) fn begin(self, make: Option<MakeConsume<T>>) -> Note {
        Note::Run(Box::new(move |ctx| {
            let sink = match make.map(|make| catch_unwind(AssertUnwindSafe(make))) {
                None => Sink::Queue,
                Some(Ok(consume)) => Sink::Call(consume),
                Some(Err(payload)) => return self.shared.throw(payload),
            };
            let part = Rc::new(Part::new(ctx.clone(), sink, self));
            ctx.spawn_named("drive a batch", part.drive()).detach();
        }))
    }
}

impl<T: Send + 'static> Drop for Lane<T> {
    fn drop(&mut self) {
        self.shared.close_lane(self.core, self.tally.take());
    }
}

/// Where results go.
enum Sink<T> {
    /// To the consumer.
    Queue,
    Call(Consume<T>),
    /// The call is being made.
    Busy,
}

/// The tasks of what is on its way; each leaves when it ends.
#[derive(Default)]
struct Flights {
    places: Vec<Place>,
    free: Vec<usize>,
    count: usize,
}

/// A place for one task after another.
#[derive(Default)]
struct Place {
    task: Option<Task<()>>,
    trace: Rc<Trace>,
}

impl Flights {
    fn reserve(&mut self) -> (usize, Rc<Trace>) {
        self.count += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            self.places.len() - 1
        });
        let trace = &self.places[place].trace;
        trace.standing.take();
        trace.attempts.take();
        (place, Rc::clone(trace))
    }

    /// The task of a place is over, and goes without being cancelled.
    fn leave(&mut self, place: usize) {
        self.count -= 1;
        self.free.push(place);
        self.places[place].task.take().into_iter().for_each(Task::detach);
    }
}

struct Part<T: Send + 'static> {
    ctx: CoreCtx,
    client: OnceCell<LocalClient>,
    sink: RefCell<Sink<T>>,
    flights: RefCell<Flights>,
    timers: RefCell<Vec<Task<()>>>,
    inputs: RefCell<Vec<Input<T>>>,
    cancelled: Cell<bool>,
    dry: Cell<bool>,
    // Dropped last: it tells that the others are gone.
    lane: Lane<T>,
}

impl<T: Send + 'static> Part<T> {
    fn new(ctx: CoreCtx, sink: Sink<T>, lane: Lane<T>) -> Self {
        Self {
            ctx,
            client: OnceCell::new(),
            sink: RefCell::new(sink),
            flights: RefCell::default(),
            timers: RefCell::default(),
            inputs: RefCell::new(Vec::with_capacity(PULL_BLOCK)),
            cancelled: Cell::new(false),
            dry: Cell::new(false),
            lane,
        }
    }

    fn shared(&self) -> &Arc<Shared<T>> {
        &self.lane.shared
    }

    async fn drive(self: Rc<Self>) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(self: &Rc<Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.dry.set(false);
        for _ in 0..STEPS_MAX {
            let standing = Standing {
                cancelled: self.cancelled.get(),
                idle: self.flights.borrow().count == 0,
                dry: self.dry.get(),
            };
            match self.shared().next_step(self.lane.core, standing, cx) {
                Step::Wait => return Poll::Pending,
                Step::Over => return Poll::Ready(()),
                Step::Cancel => self.cancel(),
                Step::Start(job) => self.start(job),
                Step::Fail(job, end) => self.deliver(job.failed(end)),
                Step::Pull(source, credits) => self.pull(source, credits, cx),
                Step::Arm(after, end) => self.arm(after, end),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Cancels what is on its way: the core drops it in its next turn, and each flight tells its end then.
    fn cancel(&self) {
        self.cancelled.set(true);
        let tasks: Vec<_> = {
            let places = &mut self.flights.borrow_mut().places;
            places.iter_mut().filter_map(|place| place.task.take()).collect()
        };
        drop(tasks);
    }

    fn arm(&self, after: Duration, end: End) {
        let (shared, ctx) = (Arc::clone(self.shared()), self.ctx.clone());
        let timer = async move {
            ctx.sleep(after).await;
            // A core that closes lets nobody sleep.
            shared.end(if ctx.is_closing() { End::Shutdown } else { end });
        };
        self.timers.borrow_mut().push(self.ctx.spawn_named("end a batch", timer));
    }

    fn pull(&self, mut source: Box<dyn Pull<T>>, credits: usize, cx: &mut Context<'_>) {
        let mut inputs = self.inputs.take();
        let pulled = input::pull(&mut *source, &mut inputs, credits, cx);
        self.dry.set(matches!(pulled, Pulled::Dry));
        let unused = credits - inputs.len();
        self.shared().put_back(self.lane.core, source, (&mut inputs, unused), pulled);
        inputs.drain(..).for_each(let_go);
        self.inputs.replace(inputs);
    }

    fn start(self: &Rc<Self>, job: Job<T>) {
        let Job { index, tag, request } = job;
        let request = match request {
            Ok(request) => self.with_wishes(request),
            Err(error) => return self.deliver(Done { index, tag, result: Err(error) }),
        };
        let (place, trace) = self.flights.borrow_mut().reserve();
        let flight = Flight {
            part: Rc::clone(self),
            place,
            waiting: Some((index, tag)),
            method: request.method.clone(),
            target: request.target.clone(),
            submitted: Instant::now(),
            trace,
        };
        let client = self.client.get_or_init(|| self.ctx.client_of(&self.shared().plan.settings));
        let task = self.ctx.spawn_named("fetch for a batch", fly(client.clone(), request, flight));
        if let Some(place) = self.flights.borrow_mut().places.get_mut(place) {
            place.task = Some(task);
        }
    }

    /// What the batch and its client wish for every request that does not say otherwise.
    fn with_wishes(&self, mut request: Request) -> Request {
        let plan = &self.shared().plan;
        request.max_body_bytes = request.max_body_bytes.or(plan.max_body_bytes);
        request.redirects.get_or_insert(plan.settings.redirects.unwrap_or(REDIRECTS_DEFAULT));
        request
    }

    /// What becomes of a result.
    fn deliver(&self, done: Done<T>) {
        let shared = self.shared();
        let others = if self.flights.borrow().count == 0 { Others::None } else { Others::InFlight };
        if shared.is_abandoned() {
            let_go(done);
            return shared.settle(self.lane.core, None, others);
        }
        let gone = matches!(&done.result, Err(error) if matches!(error.kind(), Kind::Shutdown));
        let (outcome, left) = self.consume(done);
        if gone {
            shared.end(End::Shutdown);
        } else if shared.plan.fails_fast && outcome.is_failed() {
            shared.end(End::FailFast);
        }
        self.lane.tally.borrow_mut().record(outcome);
        shared.settle(self.lane.core, left, others);
    }

    /// Gives a result to the closure that wants it here, if there is one.
    fn consume(&self, done: Done<T>) -> (Outcome, Option<Done<T>>) {
        let outcome = Outcome::of(&done.result);
        let mut sink = self.sink.replace(Sink::Busy);
        let (outcome, left) = match &mut sink {
            Sink::Queue => (outcome, Some(done)),
            Sink::Call(consume) => {
                let called = catch_unwind(AssertUnwindSafe(|| consume(&self.ctx, done)));
                (if called.is_ok() { outcome } else { outcome.panicked() }, None)
            }
            // A result that comes while a closure of the same batch runs: only a flight that is dropped there could.
            Sink::Busy => (outcome, None),
        };
        self.sink.replace(sink);
        (outcome, left)
    }
}

impl<T: Send + 'static> Drop for Part<T> {
    /// A core that is gone before its time: what it did not begin is told like everything else, to the closure that is here.
    fn drop(&mut self) {
        for job in self.shared().leave_lane(self.lane.core) {
            self.deliver(job.failed(End::Shutdown));
        }
    }
}

/// A request on its way. Dropped before its end, it tells why.
struct Flight<T: Send + 'static> {
    part: Rc<Part<T>>,
    place: usize,
    /// Index and tag, until the end is told.
    waiting: Option<(u64, T)>,
    method: Method,
    target: Target,
    submitted: Instant,
    /// How far it came.
    trace: Rc<Trace>,
}

impl<T: Send + 'static> Flight<T> {
    fn land(&mut self, result: Result<Fetched, Error>) {
        if let Some((index, tag)) = self.waiting.take() {
            self.part.flights.borrow_mut().leave(self.place);
            self.part.deliver(Done { index, tag, result });
        }
    }

    fn describe(&self, error: Error) -> Error {
        error
            .with_request(&self.method, self.target.redacted())
            .after(History { sent: self.trace.sent.get(), ..History::default() })
            .with_attempt(self.trace.attempts.get().max(1), Instant::now() - self.submitted)
    }
}

impl<T: Send + 'static> Drop for Flight<T> {
    fn drop(&mut self) {
        if self.waiting.is_some() {
            let end = self.part.shared().lock().end.unwrap_or(End::Shutdown);
            self.land(Err(self.describe(end.error(&self.trace.standing.get()))));
        }
    }
}

async fn fly<T: Send + 'static>(client: LocalClient, request: Request, mut flight: Flight<T>) {
    // Over before the flight, which tells what it left.
    let fetched = caught(client.fetch_traced(request, Rc::clone(&flight.trace))).await;
    let result = fetched.unwrap_or_else(|panicked| {
        let standing = flight.trace.standing.get();
        let error = Error::new(Kind::User(panicked.message().to_owned()), standing.phase);
        let error = error.with_progress(&standing.progress);
        Err(flight.describe(error))
    });
    flight.land(result);
}
