//! Names as a script answers them: at once, late, never, or not at all. Virtual time only.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ringshot::clock::Instant;
use ringshot::driver::sim::Random;
use ringshot::resolve::{Answer, Lookup, Resolve, ResolveError};

use super::book::HostId;

/// How names are answered, as probabilities of a lookup.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Manners {
    pub(super) late: f32,
    pub(super) late_max: Duration,
    pub(super) failing: f32,
    pub(super) silent: f32,
}

#[derive(Debug)]
struct State {
    random: Random,
    manners: Manners,
    now: Instant,
    /// Who waits until when.
    waiting: BTreeMap<(Instant, u64), Waker>,
    lookups: u64,
}

/// The script, shared with whoever lets time pass.
#[derive(Debug, Clone)]
pub(super) struct Script(Arc<Mutex<State>>);

impl Script {
    pub(super) fn new(seed: u64, manners: Manners, now: Instant) -> Self {
        let (random, waiting) = (Random::new(seed), BTreeMap::new());
        Self(Arc::new(Mutex::new(State { random, manners, now, waiting, lookups: 0 })))
    }

    /// When somebody has to be answered next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.lock().unwrap().waiting.keys().next().map(|(at, _)| *at)
    }

    /// Answers those whose time has come.
    pub(super) fn advance(&self, now: Instant) {
        let mut state = self.0.lock().unwrap();
        state.now = now;
        let later = state.waiting.split_off(&(now + Duration::from_nanos(1), 0));
        let due = std::mem::replace(&mut state.waiting, later);
        drop(state);
        due.into_values().for_each(Waker::wake);
    }
}

struct Scripted {
    script: Script,
    number: u64,
    /// `None`: never.
    at: Option<Instant>,
    found: Option<Result<Answer, ResolveError>>,
}

impl Future for Scripted {
    type Output = Result<Answer, ResolveError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(at) = self.at else { return Poll::Pending };
        let mut state = self.script.0.lock().unwrap();
        if state.now < at {
            state.waiting.insert((at, self.number), cx.waker().clone());
            return Poll::Pending;
        }
        drop(state);
        Poll::Ready(self.found.take().expect("polled after its end"))
    }
}

impl Resolve for Script {
    fn lookup(&self, host: &str) -> Lookup {
        let mut state = self.0.lock().unwrap();
        let (manners, now, number) = (state.manners, state.now, state.lookups);
        state.lookups += 1;
        let random = &mut state.random;
        let late = random.below(manners.late_max.as_nanos() as u64);
        let late = if random.chance(manners.late) { late } else { 0 };
        let found = if random.chance(manners.failing) {
            let name = host.into();
            Err(if random.chance(0.5) {
                ResolveError::NotFound { name }
            } else {
                ResolveError::TryAgain { name, reason: "no reason".into() }
            })
        } else {
            let id = HostId::of_name(host);
            let addresses = (0..random.between(1, 4) as u8).map(|n| id.address(n));
            let ttl = Duration::from_millis(random.below(3000));
            Ok(Answer::new(addresses.collect::<Vec<IpAddr>>()).with_ttl(ttl))
        };
        let silent = random.chance(manners.silent);
        let at = (!silent).then(|| now + Duration::from_nanos(late));
        drop(state);
        Box::pin(Scripted { script: self.clone(), number, at, found: Some(found) })
    }
}
