//! The client's whole core on the simulated driver: pool, tasks, timers, names. Random limits, users, servers, kernels and faults, each from one seed, and every
//! request accounted for.
//!
//! `RINGSHOT_SIM_SEEDS=n` runs so many seeds, `RINGSHOT_SIM_SEED=s` one of them. A failure prints the command that replays it.

#[cfg(test)]
#[path = "client_simulation/book.rs"]
mod book;
#[cfg(test)]
#[path = "client_simulation/errand.rs"]
mod errand;
#[cfg(test)]
#[path = "client_simulation/ledger.rs"]
mod ledger;
#[cfg(test)]
#[path = "client_simulation/names.rs"]
mod names;
#[cfg(test)]
#[path = "client_simulation/reply.rs"]
mod reply;
#[cfg(test)]
#[path = "client_simulation/run.rs"]
mod run;
#[cfg(test)]
#[path = "client_simulation/scenario.rs"]
mod scenario;
#[cfg(test)]
#[path = "client_simulation/server.rs"]
mod server;

use ringshot::driver::sim::{Line, Logging, Seen};
use ringshot_tests::seeds::{Sweep, Told, Trouble};

use ledger::Totals;
use run::Outcome;
use scenario::Scenario;

/// Seeds of each kind without `RINGSHOT_SIM_SEEDS`: about twenty seconds together in the dev profile.
const SEEDS: u64 = 1200;

impl Told for Outcome {
    fn problems(&self) -> &[String] {
        &self.problems
    }

    fn log(&self) -> &[Line] {
        &self.log
    }

    fn totals(&self) -> String {
        format!("{:?}", self.totals)
    }
}

/// Runs the seeds that are asked for; `true` if they are many enough to have seen everything.
fn sweep(test: &'static str, trouble: Trouble, each: impl FnMut(Outcome)) -> bool {
    let sweep = Sweep { target: "client_simulation", test, seeds: SEEDS };
    sweep.run(|seed, logging| Scenario::draw(seed, trouble).run(logging), each)
}

#[test]
fn without_faults_every_request_succeeds() {
    let (mut seen, mut totals, mut shut) = (Seen::default(), Totals::default(), 0);
    let many = sweep("without_faults", Trouble::Quirks, |outcome| {
        seen.merge(&outcome.seen);
        totals.merge(&outcome.totals);
        shut += u64::from(outcome.shut);
    });
    println!("{totals:?}, {shut} shut down, {seen:?}");
    let rare =
        [seen.full, seen.full_closes, seen.short_discards, totals.stale, totals.dropped, shut];
    assert!(!many || rare.iter().all(|count| *count > 0), "never seen: {rare:?}");
}

#[test]
fn every_request_ends_once_whatever_happens() {
    let (mut seen, mut totals, mut shut) = (Seen::default(), Totals::default(), 0);
    let many = sweep("every_request_ends_once", Trouble::Faults, |outcome| {
        seen.merge(&outcome.seen);
        totals.merge(&outcome.totals);
        shut += u64::from(outcome.shut);
    });
    println!("{totals:?}, {shut} shut down, {seen:?}");
    let rare =
        [seen.send_failures, seen.resets, totals.timeouts, totals.failed, totals.stale, shut];
    assert!(!many || rare.iter().all(|count| *count > 0), "never seen: {rare:?}");
}

#[test]
fn the_same_seed_gives_the_same_events() {
    for seed in 0..12 {
        for trouble in [Trouble::Quirks, Trouble::Faults] {
            let run = || Scenario::draw(seed, trouble).run(Logging::On);
            let (one, two) = (run(), run());
            assert!(one.log == two.log && !one.log.is_empty(), "seed {seed} differs");
            assert_eq!((one.digest, one.totals), (two.digest, two.totals), "seed {seed} differs");
        }
    }
}
