//! The client of one core: its futures run beside the connections that they use, and never leave the core.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method};

use super::local_body::LocalBody;
use super::parcel::Parcel;
use super::request::{Request, Source};
use super::response::{ConnInfo, Fetched, Meta, Response};
use super::settings::Settings;
use super::upload;
use super::{Attempt, Client, REDIRECTS_DEFAULT, RequestBuilder, Target, redirect};
use crate::clock::Instant;
use crate::error::{Error, Kind, Phase, RedirectKind};
use crate::proto::h1::{BodyLength, Persistence, RequestHead};
use crate::proto::url::UrlError;
use crate::shard::TotalFrom;
use crate::shard::pool::desk::{Desk, InFlight, Lookup, Submission};
use crate::shard::pool::exchange::{Failed, Outgoing, Trace};
use crate::shard::pool::head::Head;
use crate::shard::pool::slab::Id;
use crate::shard::tasks::{Spawner, Task};

/// What the tasks of a core share.
#[derive(Debug)]
struct Seat {
    /// Its number on this machine.
    core: usize,
    desk: Rc<Desk>,
    spawner: Spawner,
    /// The clients that have handles, by their number in this process.
    clients: RefCell<HashMap<u64, Rc<Member>>>,
    numbers: RefCell<Numbers>,
}

/// A client on this core, as long as it has handles or core-local twins.
#[derive(Debug)]
struct Member {
    number: u32,
    settings: Arc<Settings>,
    desk: Rc<Desk>,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.desk.leave(self.number);
    }
}

/// The clients by their number on this core. A number is given again when nothing is left of the client that had it.
#[derive(Debug, Default)]
struct Numbers {
    members: Vec<Weak<Member>>,
    free: Vec<u32>,
}

impl Numbers {
    /// A new member under a number of its own.
    fn enter(&mut self, desk: &Rc<Desk>, settings: &Arc<Settings>) -> Rc<Member> {
        let number = self.free.pop().unwrap_or(self.members.len() as u32);
        desk.join(number, Arc::clone(&settings.pool));
        let (desk, settings) = (Rc::clone(desk), Arc::clone(settings));
        let member = Rc::new(Member { number, settings, desk });
        let weak = Rc::downgrade(&member);
        match self.members.get_mut(number as usize) {
            Some(place) => *place = weak,
            None => self.members.push(weak),
        }
        member
    }

    fn settings_of(&self, number: u32) -> Option<Arc<Settings>> {
        let member = self.members.get(number as usize)?.upgrade()?;
        Some(Arc::clone(&member.settings))
    }
}

/// A core, for the tasks that run on it: spawns tasks beside its connections, and makes core-local clients. Not `Send`.
#[derive(Debug, Clone)]
pub struct CoreCtx(Rc<Seat>);

impl CoreCtx {
    pub(crate) fn new(core: usize, desk: Rc<Desk>, spawner: Spawner) -> Self {
        let ctx = Self(Rc::new(Seat {
            core,
            desk,
            spawner,
            clients: RefCell::default(),
            numbers: RefCell::default(),
        }));
        ctx.spawn_named("resolve names", resolve_names(ctx.clone())).detach();
        ctx
    }

    /// The core's number on this machine.
    #[must_use]
    pub fn core(&self) -> usize {
        self.0.core
    }

    /// Starts a task on this core. It need not be `Send`; dropping the [`Task`] cancels it.
    pub fn spawn<F: Future + 'static>(&self, future: F) -> Task<F::Output> {
        self.0.spawner.spawn(future)
    }

    /// [`CoreCtx::spawn`], with the name under which it is reported if it keeps the core for too long.
    pub fn spawn_named<F: Future + 'static>(
        &self,
        name: &'static str,
        future: F,
    ) -> Task<F::Output> {
        self.0.spawner.spawn_named(name, future)
    }

    /// Waits on this core's own timers: up to 1 ms longer than `duration`, never shorter.
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + use<> {
        self.0.desk.sleep(duration)
    }

    /// Whether the core takes no more requests.
    pub(crate) fn is_closing(&self) -> bool {
        self.0.desk.is_closed()
    }

    /// The core-local twin of a client: the same limits and settings, without a hop to another core.
    #[must_use]
    pub fn client(&self, client: &Client) -> LocalClient {
        self.client_of(client.settings())
    }

    pub(crate) fn client_of(&self, settings: &Arc<Settings>) -> LocalClient {
        let known = self.0.clients.borrow().get(&settings.id).cloned();
        let member = known.unwrap_or_else(|| self.enter(settings));
        LocalClient { ctx: self.clone(), member }
    }

    fn enter(&self, settings: &Arc<Settings>) -> Rc<Member> {
        let member = self.0.numbers.borrow_mut().enter(&self.0.desk, settings);
        let mut clients = self.0.clients.borrow_mut();
        clients.retain(|_, known| !known.settings.is_gone());
        if !settings.is_gone() {
            clients.insert(settings.id, Rc::clone(&member));
        }
        member
    }

    /// A client whose last handle is gone leaves the core, with its last core-local twin if it has any.
    pub(crate) fn forget(&self, client: u64) {
        self.0.clients.borrow_mut().remove(&client);
    }

    fn settings_of(&self, number: u32) -> Option<Arc<Settings>> {
        self.0.numbers.borrow().settings_of(number)
    }
}

/// Answers the lookups of a core's pool, each in a task of its own unless it is ready at once.
async fn resolve_names(ctx: CoreCtx) {
    let desk = Rc::clone(&ctx.0.desk);
    let lookups = Rc::<RefCell<HashMap<Id, Task<()>>>>::default();
    loop {
        match poll_fn(|cx| desk.poll_lookup(cx)).await {
            Lookup::Wanted { dial, client, origin } => {
                let Some(settings) = ctx.settings_of(client) else {
                    desk.resolved(dial, Err("its client is gone".to_owned()));
                    continue;
                };
                let now = desk.now();
                let resolving = settings.resolver.resolve(&origin.host, origin.port, now);
                let (answer, all) = (Rc::clone(&desk), Rc::clone(&lookups));
                let answers = async move {
                    let outcome = resolving.await.map(|addresses| addresses.iter().collect());
                    answer.resolved(dial, outcome.map_err(|error| error.to_string()));
                    // This task's own: dropping it while it runs would cancel it.
                    all.borrow_mut().remove(&dial).into_iter().for_each(Task::detach);
                };
                let task = ctx.spawn_named("resolve a name", answers);
                lookups.borrow_mut().insert(dial, task);
            }
            Lookup::GivenUp { dial } => drop(lookups.borrow_mut().remove(&dial)),
            Lookup::Left { client } => ctx.0.numbers.borrow_mut().free.push(client),
            Lookup::Unreachable { client, origin } => {
                if let Some(settings) = ctx.settings_of(client) {
                    settings.resolver.handle_unreachable(&origin.host, desk.now());
                }
            }
        }
    }
}

/// A client on one core. Cheap to clone, not `Send`: its futures run on the core that owns the connections.
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// let client = engine.client().build()?;
/// let url = origin.url("/bytes/10");
/// let bytes = block_on(engine.run_on(0, move |ctx| async move {
///     let client = ctx.client(&client);
///     let fetch = || {
///         let (client, url) = (client.clone(), url.clone());
///         ctx.spawn(async move { client.get(&url).send().await?.bytes().await })
///     };
///     let tasks: Vec<_> = (0..20).map(|_| fetch()).collect();
///     let mut bytes = 0;
///     for task in tasks {
///         bytes += task.await.map_or(0, |body| body.map_or(0, |body| body.len()));
///     }
///     bytes
/// }))?;
/// assert_eq!(bytes, 200);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct LocalClient {
    ctx: CoreCtx,
    member: Rc<Member>,
}

/// A request that is on its way: what has to be known to try it again.
struct Job<'a> {
    client: &'a LocalClient,
    parcel: Box<Parcel>,
    trace: Option<Rc<Trace>>,
}

/// The head of a response, and the hold on what is still to come.
struct Answer {
    meta: Box<Meta>,
    in_flight: InFlight,
}

impl LocalClient {
    /// The core that it runs on.
    #[must_use]
    pub fn ctx(&self) -> &CoreCtx {
        &self.ctx
    }

    /// Begins a request; what is wrong with the URL is told when it is sent.
    pub fn request<U>(&self, method: Method, target: U) -> RequestBuilder<&Self>
    where
        U: TryInto<Target>,
        UrlError: From<U::Error>,
    {
        RequestBuilder::new(self, method, target)
    }

    /// Begins a `GET` request.
    pub fn get<U>(&self, target: U) -> RequestBuilder<&Self>
    where
        U: TryInto<Target>,
        UrlError: From<U::Error>,
    {
        self.request(Method::GET, target)
    }

    /// Sends a request and waits for the head of its response. Dropping the future cancels it.
    ///
    /// Follows redirects only as the request or the client says.
    ///
    /// # Errors
    /// [`Error`] says what happened, in which phase, and whether it may be tried again.
    pub async fn send(&self, request: Request) -> Result<Response<LocalBody>, Error> {
        self.send_parcel(request.into()).await
    }

    pub(super) fn send_parcel(
        &self,
        parcel: Box<Parcel>,
    ) -> impl Future<Output = Result<Response<LocalBody>, Error>> {
        self.send_traced(parcel, None)
    }

    fn send_traced(
        &self,
        mut parcel: Box<Parcel>,
        trace: Option<Rc<Trace>>,
    ) -> impl Future<Output = Result<Response<LocalBody>, Error>> {
        parcel.submitted = self.now();
        let settings = &self.member.settings;
        settings.retry.deposit();
        Job { client: self, parcel, trace }.run()
    }

    /// Sends a request and reads all of its body, at most as many bytes as the request or the client allows.
    ///
    /// # Errors
    /// As [`LocalClient::send`], and [`Kind::Limit`] for a body that is longer.
    pub async fn fetch(&self, request: Request) -> Result<Fetched, Error> {
        let max = self.max_body_bytes(&request);
        self.send(request).await?.fetch(max).await
    }

    /// [`LocalClient::fetch`], which tells how far it came even if it is dropped.
    pub(super) async fn fetch_traced(
        &self,
        request: Request,
        trace: Rc<Trace>,
    ) -> Result<Fetched, Error> {
        let max = self.max_body_bytes(&request);
        self.send_traced(request.into(), Some(trace)).await?.fetch(max).await
    }

    fn max_body_bytes(&self, request: &Request) -> u64 {
        request.max_body_bytes.unwrap_or(self.member.settings.max_body_bytes)
    }

    fn now(&self) -> Instant {
        self.ctx.0.desk.now()
    }
}

impl Job<'_> {
    async fn run(mut self) -> Result<Response<LocalBody>, Error> {
        loop {
            self.parcel.attempts = self.parcel.attempts.saturating_add(1);
            self.trace.iter().for_each(|trace| trace.attempts.set(self.parcel.attempts));
            let body = self.parcel.request.body.0.try_clone();
            let outcome = self.attempt().await;
            match &outcome {
                Ok(answer) => {
                    let status = answer.meta.head.status;
                    // 417: the server does not do what was expected (RFC 9110 15.5.18).
                    if status.as_u16() == 417 && self.parcel.request.expects_continue {
                        let Some(body) = body else { return self.end(outcome) };
                        self.parcel.request.expects_continue = false;
                        self.parcel.request.body.0 = body;
                        continue;
                    }
                    if redirect::is_redirect(status) && self.follows() {
                        if !self.follow(body, &answer.meta.head)? {
                            return self.end(outcome);
                        }
                        continue;
                    }
                    let repeats = self.may_repeat() && body.is_some();
                    let attempt = Attempt::Response(status);
                    let Some(wait) = self.wait_of(repeats, &attempt, Some(&answer.meta.head))
                    else {
                        return self.end(outcome);
                    };
                    // Its permit and its connection are others' meanwhile.
                    drop(outcome);
                    self.again(body, wait).await;
                }
                Err(error) => {
                    if self.is_stale(error, body.as_ref()) {
                        self.parcel.fresh = true;
                        self.again(body, Duration::ZERO).await;
                        continue;
                    }
                    let safe = self.may_repeat() || !error.may_have_been_processed();
                    let attempt = Attempt::Failed(error);
                    let Some(wait) = self.wait_of(safe && body.is_some(), &attempt, None) else {
                        return self.end(outcome);
                    };
                    self.again(body, wait).await;
                }
            }
        }
    }

    /// How long to wait before the request is sent again, if it may be, if its policy wants that, and if time is left.
    fn wait_of(
        &self,
        repeats: bool,
        attempt: &Attempt<'_>,
        head: Option<&Head>,
    ) -> Option<Duration> {
        let (retry, attempts) = (&self.client.member.settings.retry, self.parcel.attempts);
        if !repeats || !retry.is_worth(attempts, attempt) {
            return None;
        }
        let wait = retry.wait(attempts, head.map(Head::headers));
        let in_time = self.deadline().is_none_or(|deadline| self.client.now() + wait < deadline);
        (in_time && retry.withdraw()).then_some(wait)
    }

    /// When the total timeout passes, if there is one and it has begun.
    fn deadline(&self) -> Option<Instant> {
        let timeouts = &self.client.member.settings.pool.config.timeouts;
        let total = self.parcel.request.timeout.or(timeouts.total)?;
        let since = match timeouts.total_from {
            TotalFrom::Submit => Some(self.parcel.submitted),
            TotalFrom::Acquire => self.parcel.admitted,
        };
        since.map(|since| since + total)
    }

    /// What is known of the request goes with the body that is still to come.
    fn end(mut self, outcome: Result<Answer, Error>) -> Result<Response<LocalBody>, Error> {
        let Answer { meta, in_flight } = outcome?;
        let default = self.client.member.settings.max_body_bytes;
        self.parcel.request.max_body_bytes.get_or_insert(default);
        Ok(Response { meta, body: LocalBody::new(in_flight, self.parcel) })
    }

    fn may_repeat(&self) -> bool {
        self.parcel.request.is_idempotent()
    }

    /// A body that was partly made when a reused connection died: the pool could not repeat it, but whoever can make it again may.
    fn is_stale(&self, error: &Error, body: Option<&Source>) -> bool {
        let harmless = self.may_repeat() || !error.may_have_been_processed();
        let stale = error.is_reused() && error.got_bytes() == 0;
        let retries = self.client.member.settings.pool.config.retry_stale;
        retries
            && stale
            && harmless
            && !self.parcel.fresh
            && matches!(error.kind(), Kind::Closed | Kind::Io(_))
            && matches!(body, Some(Source::File(_)))
    }

    async fn again(&mut self, body: Option<Source>, wait: Duration) {
        self.parcel.request.body.0 = body.unwrap_or_default();
        if !wait.is_zero() {
            self.client.ctx.sleep(wait).await;
        }
    }

    fn follows(&self) -> bool {
        self.redirects_max() > 0
    }

    fn redirects_max(&self) -> u32 {
        let settings = &self.client.member.settings;
        self.parcel.request.redirects.or(settings.redirects).unwrap_or_default()
    }

    /// Turns the request into the one that a redirect asks for; `false` if it asks for none.
    fn follow(&mut self, body: Option<Source>, head: &Head) -> Result<bool, Error> {
        let max = self.redirects_max();
        let (method, url) =
            (self.parcel.request.method.clone(), self.parcel.request.target.redacted());
        let (origin, attempts) =
            (Arc::clone(self.parcel.request.target.origin()), self.parcel.attempts);
        let outcome = if self.parcel.redirects >= max {
            Err(RedirectKind::TooMany { max })
        } else {
            redirect::follow(&mut self.parcel.request, body, head.status, head.headers())
        };
        if let Ok(true) = outcome {
            let strays = *self.parcel.request.target.origin() != origin;
            let parcel = &mut *self.parcel;
            parcel.redirects += 1;
            parcel.strayed |= strays;
            // What follows is a request of its own.
            (parcel.attempts, parcel.fresh) = (0, false);
        }
        outcome.map_err(|kind| {
            let elapsed = self.client.now() - self.parcel.submitted;
            Error::new(Kind::Redirect(kind), Phase::Redirect)
                .with_request(&method, url)
                .with_attempt(attempts, elapsed)
        })
    }

    /// Sends the request once, and waits for the head.
    async fn attempt(&mut self) -> Result<Answer, Error> {
        let source = std::mem::take(&mut self.parcel.request.body.0);
        let opened = upload::open(source);
        let opened = opened.map_err(|error| {
            self.error(Error::new(Kind::RequestBody(error.to_string()), Phase::Build))
        });
        let (length, body, upload) = opened?;
        self.parcel.upload = upload;
        let in_flight = self.submit(length, body)?;
        let upload = &mut self.parcel.upload;
        let head = poll_fn(|cx| {
            upload.poll(&in_flight, cx);
            in_flight.poll_head(cx)
        });
        let head = head.await;
        let stamps = in_flight.stamps();
        let retried = u8::from(in_flight.was_retried() && !self.parcel.fresh);
        self.parcel.attempts = self.parcel.attempts.saturating_add(retried);
        if stamps.queued != Instant::default() {
            self.parcel.admitted.get_or_insert(stamps.queued);
        }
        let head = head.map_err(|failed| self.error(error_of(&failed)))?;
        let meta = Meta {
            head,
            stamps,
            connection: ConnInfo::of(in_flight.carrier(), self.client.ctx.core()),
            target: self.parcel.request.target.clone(),
            attempts: self.parcel.attempts,
            redirects: self.parcel.redirects,
        };
        Ok(Answer { meta: Box::new(meta), in_flight })
    }

    fn submit(&self, length: BodyLength, body: Outgoing) -> Result<InFlight, Error> {
        let request = &self.parcel.request;
        let settings = &self.client.member.settings;
        let expects = request.expects_continue && !matches!(body, Outgoing::None);
        let submission = Submission {
            client: self.client.member.number,
            origin: Arc::clone(request.target.origin()),
            body,
            expects,
            idempotent: request.is_idempotent(),
            needs_fresh: self.parcel.fresh,
            total: request.timeout,
            submitted: self.parcel.submitted,
            admitted: self.parcel.admitted,
            trace: self.trace.clone(),
        };
        let head = RequestHead {
            method: &request.method,
            target: request.target.path_and_query(),
            authority: request.target.authority(),
            body: length,
            persistence: Persistence::KeepAlive,
        };
        let strayed = self.parcel.strayed;
        let fields = || fields_of(&settings.headers, &request.headers, expects, strayed);
        let desk = &self.client.ctx.0.desk;
        let submitted = desk.submit(submission, |out| match &settings.plain {
            Some(plain) if request.headers.is_empty() && !expects && !strayed => {
                head.encode_plain(plain, out)
            }
            _ => head.encode(fields, out),
        });
        submitted.map_err(|error| self.error(Error::new(Kind::Request(error), Phase::Build)))
    }

    fn error(&self, error: Error) -> Error {
        error
            .with_request(&self.parcel.request.method, self.parcel.request.target.redacted())
            .idempotent(self.parcel.request.is_idempotent())
            .with_attempt(self.parcel.attempts, self.client.now() - self.parcel.submitted)
    }
}

pub(super) fn error_of(failed: &Failed) -> Error {
    Error::new(failed.kind.clone(), failed.standing.phase).with_progress(&failed.standing.progress)
}

/// The client's own fields, but for those that the request has itself and, once it has left the first origin, secrets; then the request's.
fn fields_of<'a>(
    defaults: &'a HeaderMap,
    own: &'a HeaderMap,
    expects: bool,
    strayed: bool,
) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    let defaults = defaults.iter().filter(move |(name, _)| {
        !(own.contains_key(*name) || strayed && redirect::SECRETS.contains(name))
    });
    let expect = expects.then_some((&b"expect"[..], &b"100-continue"[..]));
    defaults
        .chain(own.iter())
        .map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
        .chain(expect)
}

impl RequestBuilder<&LocalClient> {
    /// Sends it, and follows up to [`REDIRECTS_DEFAULT`] redirects unless something else was set.
    ///
    /// # Errors
    /// As [`LocalClient::send`], and what was wrong with the request.
    pub async fn send(self) -> Result<Response<LocalBody>, Error> {
        let (client, mut parcel) = self.into_parts()?;
        let default = client.member.settings.redirects.unwrap_or(REDIRECTS_DEFAULT);
        parcel.request.redirects.get_or_insert(default);
        client.send_parcel(parcel).await
    }
}

impl<'a> IntoFuture for RequestBuilder<&'a LocalClient> {
    type Output = Result<Response<LocalBody>, Error>;
    type IntoFuture = std::pin::Pin<Box<dyn Future<Output = Self::Output> + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}
