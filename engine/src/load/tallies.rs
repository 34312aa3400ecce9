//! What a recorder counts under words: failures by kind and cause, with what to look at, and each name's share; and times by class. Plain data.

use std::collections::BTreeMap;

use super::histogram::Histogram;
use super::recorder::CLASSES;
use crate::shard::Failure;

/// How often a failure came, and how its first one read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tally {
    count: u64,
    example: String,
}

/// Failures by kind, or by cause.
#[derive(Debug, Clone, Default)]
pub(super) struct Tallies(BTreeMap<String, Tally>);

impl Tallies {
    pub(super) fn count(&mut self, key: String, example: impl FnOnce() -> String) {
        match self.0.get_mut(&key) {
            Some(tally) => tally.count += 1,
            None => {
                self.0.insert(key, Tally { count: 1, example: example() });
            }
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (key, theirs) in &other.0 {
            let tally = self.0.entry(key.clone());
            tally.and_modify(|mine| mine.count += theirs.count).or_insert_with(|| theirs.clone());
        }
    }

    pub(super) fn counts(&self) -> impl Iterator<Item = (String, u64)> {
        self.0.iter().map(|(key, tally)| (key.clone(), tally.count))
    }

    pub(super) fn count_of(&self, key: &str) -> u64 {
        self.0.get(key).map_or(0, |tally| tally.count)
    }

    pub(super) fn examples(&self) -> BTreeMap<String, String> {
        self.0.iter().map(|(key, tally)| (key.clone(), tally.example.clone())).collect()
    }
}

/// A histogram a class, made when the class first occurs.
#[derive(Debug, Clone, Default)]
pub(super) struct Classes([Option<Box<Histogram>>; CLASSES.len()]);

impl Classes {
    #[inline]
    pub(super) fn record(&mut self, class: usize, nanos: u64) {
        if let Some(place) = self.0.get_mut(class) {
            place.get_or_insert_default().record(nanos);
        }
    }

    pub(super) fn of(&self, class: usize) -> Option<&Histogram> {
        self.0.get(class)?.as_deref()
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            if let Some(theirs) = theirs {
                mine.get_or_insert_default().add(theirs);
            }
        }
    }

    pub(super) fn into_map(self) -> BTreeMap<String, Histogram> {
        let named = CLASSES.into_iter().zip(self.0);
        named.filter_map(|(name, one)| Some((name.to_owned(), *one?))).collect()
    }
}

/// One name's share.
#[derive(Debug, Clone, Default)]
pub(super) struct NameTally {
    pub(super) requests: u64,
    pub(super) errors: u64,
    pub(super) cancelled: u64,
    /// Of successes, and of what was expected.
    pub(super) response: Histogram,
    pub(super) censored: Histogram,
}

impl NameTally {
    pub(super) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.cancelled += other.cancelled;
        self.response.add(&other.response);
        self.censored.add(&other.censored);
    }
}

/// A failure's kind, with the system's error number where there is one.
pub(super) fn cause(failure: &Failure) -> String {
    match failure.errno() {
        Some(errno) => format!("{} {}", failure.kind(), errno.name()),
        None => failure.kind().into_owned(),
    }
}

/// A failure in words, with its remedy.
pub(super) fn told(failure: &Failure) -> String {
    format!("{failure}{}", remedy(failure))
}

/// What to look at where a run meets a failure that has no error number to say so, or one that many things cause; empty where there is nothing to be said.
fn remedy(failure: &Failure) -> &'static str {
    match failure {
        Failure::ConnectTimeout => {
            "; Linux drops what a full backlog has no room for: see net.core.somaxconn and the backlog of the server's listen(2), or a firewall between"
        }
        Failure::Timeout => {
            "; the server hangs, or has more to do than it can: fewer connections, a lower rate or a longer timeout tell which"
        }
        Failure::Reset(_) | Failure::ClosedEarly => {
            "; the server restarted, or has a limit on connections, requests or idle time: its log tells which"
        }
        _ => "",
    }
}
