//! A core as its tasks see it: what they spawn there, the clients they use, the names that its pool asks for. Never leaves the core.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::hash::BuildHasherDefault;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use super::Client;
use super::local::LocalClient;
use super::servers::Servers;
use super::settings::Settings;
use crate::error::Kind;
use crate::mesh::Place;
use crate::mesh::wakes::Wakes;
use crate::shard::doorbell::Doorbell;
use crate::shard::pool::asked::Lookup;
use crate::shard::pool::desk::Desk;
use crate::shard::pool::origin::Numbered;
use crate::shard::pool::slab::Id;
use crate::shard::tasks::{Rest, Spawner, Task, caught};

/// What the tasks of a core share.
#[derive(Debug)]
struct Seat {
    /// Its number on this machine.
    core: usize,
    /// By which a client's settings know it.
    bell: Arc<Doorbell>,
    desk: Rc<Desk>,
    spawner: Spawner,
    wakes: Rc<Wakes>,
    /// The clients that have handles, by their number in this process.
    clients: RefCell<HashMap<u64, Rc<Member>, BuildHasherDefault<Numbered>>>,
    numbers: RefCell<Numbers>,
    servers: Servers,
}

/// A client on this core, as long as it has handles or core-local twins.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) number: u32,
    pub(super) settings: Arc<Settings>,
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
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// # let client = engine.client().build()?;
/// # use std::{cell::Cell, rc::Rc, time::Duration};
/// let ticks = block_on(engine.run_on(0, async |ctx| {
///     let ticks = Rc::new(Cell::new(0)); // tasks of one core share what is not `Send`
///     let (inner, counts) = (ctx.clone(), Rc::clone(&ticks));
///     let task = ctx.spawn_named("tick", async move {
///         for _ in 0..3 {
///             inner.sleep(Duration::from_millis(1)).await;
///             counts.set(counts.get() + 1);
///         }
///     });
///     task.await.expect("it does not panic");
///     ticks.get()
/// }))?;
/// assert_eq!(ticks, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct CoreCtx(Rc<Seat>);

impl CoreCtx {
    pub(crate) fn new(place: Place) -> Self {
        let Place { core, bell, desk, spawner, wakes } = place;
        let ctx = Self(Rc::new(Seat {
            core,
            bell,
            desk,
            spawner,
            wakes,
            clients: RefCell::default(),
            numbers: RefCell::default(),
            servers: Servers::default(),
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

    /// Waits on this core's own timers: up to 1 ms longer than `duration`, never shorter while the core takes requests. Once it closes, with its engine or with the
    /// executor that it is attached to, every sleep ends at once: a loop around one has to end by itself.
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + use<> {
        self.0.desk.sleep(duration)
    }

    /// Where its futures meet its pool.
    pub(super) fn desk(&self) -> &Rc<Desk> {
        &self.0.desk
    }

    /// Its tasks that wait for a call.
    pub(super) fn servers(&self) -> &Servers {
        &self.0.servers
    }

    /// The task that asks is kept for work to come, and is not one that is counted until this goes.
    pub(super) fn rest(&self) -> Rest {
        self.0.spawner.rest()
    }

    /// Through which it wakes futures on other threads.
    pub(super) fn wakes(&self) -> &Wakes {
        &self.0.wakes
    }

    /// Whether the core takes no more requests.
    pub(crate) fn is_closing(&self) -> bool {
        self.0.desk.is_closed()
    }

    /// The core-local twin of a client of this engine: the same limits and settings, without a hop to another core.
    ///
    /// # Panics
    /// If it is a client of another engine, whose limits this core has no part in. In a task of a core that is told to whoever waits for the task.
    #[must_use]
    pub fn client(&self, client: &Client) -> LocalClient {
        let settings = client.settings();
        let is_ours = settings.pool.is_shared_by(&self.0.bell);
        assert!(is_ours, "the client is another engine's: a core makes clients of its own alone");
        self.client_of(settings)
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

/// A failure that nothing but the caller can mend.
fn unresolved(problem: String) -> Kind {
    Kind::Resolve { problem, is_temporary: false }
}

/// Answers the lookups of a core's pool, each in a task of its own unless it is ready at once.
async fn resolve_names(ctx: CoreCtx) {
    let desk = Rc::clone(&ctx.0.desk);
    let lookups = Rc::<RefCell<HashMap<Id, Task<()>>>>::default();
    loop {
        match poll_fn(|cx| desk.poll_lookup(cx)).await {
            Lookup::Wanted { dial, client, origin } => {
                let Some(settings) = ctx.settings_of(client) else {
                    desk.resolved(dial, Err(unresolved("its client is gone".to_owned())));
                    continue;
                };
                let now = desk.now();
                let resolving = caught(async move {
                    settings.resolver.resolve(&origin.host, origin.port, now).await
                });
                let (answer, all) = (Rc::clone(&desk), Rc::clone(&lookups));
                let answers = async move {
                    let outcome = match resolving.await {
                        Ok(found) => found.map_err(|error| Kind::Resolve {
                            problem: error.to_string(),
                            is_temporary: error.is_temporary(),
                        }),
                        Err(panicked) => {
                            let message = panicked.message();
                            Err(unresolved(format!("the resolver panicked: {message}")))
                        }
                    };
                    answer.resolved(dial, outcome.map(|addresses| addresses.iter().collect()));
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
