//! Runs a scenario: begins errands, turns the core, lets time pass, and looks at what is left at the end.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use ringshot::client::{Client, Holding, LocalClient, Resolver, Solo, Task};
use ringshot::clock::Instant;
use ringshot::driver::sim::{Clock, Line, Logging, Peer, Random, Seen, Sim};
use ringshot_tests::seeds::micros;

use super::book::Book;
use super::errand;
use super::ledger::{Ledger, Totals};
use super::names::Script;
use super::scenario::Scenario;
use super::server::Server;

/// Turns after which a run is taken to go round in circles.
const TURNS_MAX: u64 = 300_000;
/// How long after the last errand all may take, and then the last idle connection.
const WORK_MAX: Duration = Duration::from_secs(1000);
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How long closing may take.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// What came of a run.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) problems: Vec<String>,
    pub(super) totals: Totals,
    pub(super) seen: Seen,
    pub(super) log: Vec<Line>,
    pub(super) digest: u64,
    pub(super) shut: bool,
}

struct Run {
    solo: Solo<Sim>,
    scenario: Scenario,
    clock: Clock,
    random: Random,
    script: Script,
    book: Rc<RefCell<Book>>,
    ledger: Rc<RefCell<Ledger>>,
    clients: Vec<(Client, LocalClient)>,
    tasks: Vec<Task<()>>,
    begun: u64,
    next: Instant,
    turns: u64,
}

impl Scenario {
    /// Runs it to its end, which may be a panic.
    pub(super) fn run(self, logging: Logging) -> Outcome {
        let run = AssertUnwindSafe(|| Run::new(self, logging).work());
        catch_unwind(run).unwrap_or_else(|cause| {
            let text = cause.downcast_ref::<String>().cloned();
            let text = text.or_else(|| cause.downcast_ref::<&str>().map(ToString::to_string));
            let problems = vec![format!("panicked: {}", text.unwrap_or_default())];
            Outcome { problems, ..Outcome::default() }
        })
    }
}

impl Run {
    fn new(mut scenario: Scenario, logging: Logging) -> Self {
        scenario.sim.log = logging;
        let book = Rc::new(RefCell::new(Book::default()));
        let (pages, mix) = (Rc::clone(&book), scenario.mix);
        let sim = Sim::open(scenario.sim.clone(), move |visit| -> Box<dyn Peer> {
            Box::new(Server::new(visit, mix, &pages))
        });
        let clock = sim.clock();
        let now = clock.now();
        let solo = Solo::new(sim, scenario.sim.limits.slots, now).expect("a core");
        let script = Script::new(scenario.seed, scenario.manners, now);
        let clients = scenario.clients.iter().map(|plan| {
            let resolver = Resolver::builder().resolve_with(script.clone());
            let resolver = resolver.ttl(Duration::ZERO, Duration::from_secs(10)).build();
            let builder = solo.engine().client().resolver(resolver.expect("a resolver"));
            let client = plan.build(builder).build().expect("a client");
            let local = solo.ctx().client(&client);
            (client, local)
        });
        let clients = clients.collect();
        let ledger = Ledger::new(scenario.terms.clone(), clock.clone(), &book);
        Self {
            solo,
            clock,
            random: Random::new(scenario.seed ^ 7),
            script,
            book,
            ledger: Rc::new(RefCell::new(ledger)),
            clients,
            tasks: Vec::new(),
            begun: 0,
            next: now,
            turns: 0,
            scenario,
        }
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn problem(&self, problem: impl AsRef<str>) {
        self.ledger.borrow().problem(problem);
    }

    fn is_sound(&self) -> bool {
        self.book.borrow().problems.is_empty()
    }

    /// Begins those errands whose time has come.
    fn begin(&mut self) {
        while self.begun < self.scenario.errands && self.next <= self.now() {
            for _ in 0..self.random.between(1, self.scenario.burst_max) {
                if self.begun == self.scenario.errands {
                    break;
                }
                let errand = self.scenario.draw_errand(self.begun, &mut self.random);
                let client = self.clients[usize::from(errand.host.client)].1.clone();
                let work = errand::run(errand, client, Rc::clone(&self.ledger));
                self.tasks.push(self.solo.ctx().spawn(work));
                self.begun += 1;
            }
            let pause = micros(&mut self.random, 0, self.scenario.pause_max.as_micros() as u64);
            self.next = self.now() + pause.max(Duration::from_nanos(1));
        }
    }

    /// One turn; `false` once there is a problem, or the core has ended.
    fn turn(&mut self, until: Instant) -> bool {
        self.turns += 1;
        if self.turns > TURNS_MAX {
            self.problem(format!("no end after {TURNS_MAX} turns: {:?}", self.solo.holding()));
            return false;
        }
        let now = self.now();
        let mut block = (until - now).min(self.scenario.block_max);
        if self.begun < self.scenario.errands {
            block = block.min(self.next - now);
        }
        block = self.script.next().map_or(block, |next| block.min(next - now));
        let clock = self.clock.clone();
        let goes_on = self.solo.turn(block, &mut || clock.now()).expect("never lost");
        self.script.advance(self.now());
        self.check_turn();
        goes_on && self.is_sound()
    }

    fn check_turn(&self) {
        self.ledger.borrow().check_overdue();
        let book = self.book.borrow();
        let mut problems = Vec::new();
        for (plan, account) in self.scenario.clients.iter().zip(&book.clients) {
            if account.connections.most > plan.max_conns {
                problems.push(format!("{account:?} with {} connections allowed", plan.max_conns));
            }
            if plan.max_in_flight.is_some_and(|max| account.unanswered.most > max) {
                problems.push(format!("{account:?} with {:?} in flight", plan.max_in_flight));
            }
        }
        for (host, gauge) in &book.hosts {
            let max = self.scenario.clients[usize::from(host.client)].max_conns_per_host;
            if gauge.most > max {
                problems.push(format!("{host:?}: {gauge:?} with {max} allowed"));
            }
        }
        drop(book);
        let Holding { queued, waiting, in_flight, .. } = self.solo.holding();
        if queued + waiting > in_flight {
            problems.push(format!("wrong numbers: {:?}", self.solo.holding()));
        }
        problems.iter().for_each(|problem| self.problem(problem));
    }

    /// Now and then somebody drops a task.
    fn drop_task(&mut self) {
        self.tasks.retain(|task| !task.is_finished());
        if self.random.below(100) < self.scenario.task_drops && !self.tasks.is_empty() {
            let victim = self.random.below(self.tasks.len() as u64) as usize;
            drop(self.tasks.swap_remove(victim));
        }
    }

    fn work(mut self) -> Outcome {
        let end = self.now() + WORK_MAX;
        let shutdown = self.scenario.shutdown.unwrap_or(u64::MAX);
        loop {
            self.begin();
            if self.begun == self.scenario.errands
                && self.ledger.borrow().live == 0
                && self.turns > 0
            {
                // Those begun last have no entry yet.
                if self.tasks.iter().all(Task::is_finished) {
                    break;
                }
            }
            if self.turns >= shutdown || !self.turn(end) {
                break;
            }
            if self.now() >= end {
                self.problem(format!("stuck: {:#?}", self.ledger.borrow().stuck()));
                break;
            }
            self.drop_task();
        }
        if self.is_sound() {
            if self.turns >= shutdown { self.shut_down() } else { self.run_dry() }
        }
        self.outcome()
    }

    /// All has ended: idle connections go in their time, and nothing is left.
    fn run_dry(&mut self) {
        self.tasks.clear();
        let end = self.now() + IDLE_MAX;
        while !self.is_dry() && self.now() < end && self.turn(end) {}
        let (holding, kept, tasks) = (self.solo.holding(), self.solo.kept(), self.solo.tasks());
        if !self.is_dry() {
            self.problem(format!("left: {holding:?}, hosts and exchanges {kept:?}, {tasks} tasks"));
        }
        self.check_empty();
        for (client, _) in &self.clients {
            let observed = client.limits_observed();
            if observed.conns_now != 0 {
                self.problem(format!("left: {observed:?}"));
            }
        }
    }

    fn is_dry(&self) -> bool {
        let kept = self.solo.kept();
        self.solo.holding() == Holding::default()
            && (kept.hosts, kept.exchanges) == (0, 0)
            && self.solo.tasks() == 1
    }

    fn check_empty(&self) {
        let audit = self.solo.driver().audit();
        if !audit.is_clean() {
            self.problem(format!("{audit:?}"));
        }
        let book = self.book.borrow();
        let open = book.clients.iter().any(|it| it.connections.now + it.unanswered.now > 0);
        drop(book);
        if open {
            self.problem("the servers have connections left");
        }
    }

    /// The engine ends in the midst of it.
    fn shut_down(&mut self) {
        self.ledger.borrow_mut().shut = true;
        self.solo.engine().shutdown().expect("no thread that could fail");
        let end = self.now() + CLOSE_MAX;
        while self.now() < end && self.turn(end) {}
        if !self.is_sound() {
            return;
        }
        let Holding { active, idle, connecting, closing, .. } = self.solo.holding();
        if active + idle + connecting + closing > 0 || self.now() >= end {
            self.problem(format!("not closed: {:?}", self.solo.holding()));
        }
        self.check_empty();
    }

    fn outcome(self) -> Outcome {
        let Self { solo, ledger, book, tasks, clients, .. } = self;
        let sim = solo.driver();
        let (seen, log, digest) = (sim.seen(), sim.log().to_vec(), sim.digest());
        // Clients first, as users do; the core drops what is left.
        drop(clients);
        drop(tasks);
        drop(solo);
        let sound = book.borrow().problems.is_empty();
        if sound {
            ledger.borrow().settle();
        }
        let (totals, shut) = (ledger.borrow().totals, ledger.borrow().shut);
        let problems = std::mem::take(&mut book.borrow_mut().problems);
        Outcome { problems, totals, seen, log, digest, shut }
    }
}
