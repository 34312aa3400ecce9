//! The whole shard on the simulated driver: random lanes, servers, kernels and faults, each from one seed, and every request accounted for.
//!
//! `RINGSHOT_SIM_SEEDS=n` runs so many seeds, `RINGSHOT_SIM_SEED=s` one of them. A failure prints the command that replays it.

#[cfg(test)]
#[path = "simulation/ledger.rs"]
mod ledger;
#[cfg(test)]
#[path = "simulation/scenario.rs"]
mod scenario;
#[cfg(test)]
#[path = "simulation/server.rs"]
mod server;

use std::env;

use ringshot::driver::sim::{Logging, Sabotage, Seen};

use scenario::{Outcome, Scenario, Trouble};

/// Seeds of each kind without `RINGSHOT_SIM_SEEDS`: about twenty seconds together in the dev profile.
const SEEDS: u64 = 1000;
/// Seeds with which a sabotage is tried.
const SABOTAGED_SEEDS: u64 = 12;
/// Lines of the log that a failure prints.
const LINES_PRINTED: usize = 60;

#[cfg(test)]
fn number_of(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().expect("a number of seeds, or a seed"))
}

/// Runs a scenario, and fails with all that is needed to run it again.
#[cfg(test)]
fn check(test: &str, trouble: Trouble, seed: u64) -> Outcome {
    let outcome = Scenario::draw(seed, trouble).run(Logging::Off);
    if !outcome.problems.is_empty() {
        let logged = Scenario::draw(seed, trouble).run(Logging::On);
        let first = logged.log.len().saturating_sub(LINES_PRINTED);
        for line in &logged.log[first..] {
            let (slot, what, number) = (line.slot, line.what, line.number);
            println!("{} {}/{} {what} {number}", line.at, slot.index, slot.generation);
        }
        panic!(
            "seed {seed}: {:#?}\n{:?}\nreplay: RINGSHOT_SIM_SEED={seed} cargo test -p ringshot-tests --test simulation {test} -- --nocapture",
            outcome.problems, outcome.totals,
        );
    }
    outcome
}

/// Runs the seeds that are asked for; `true` if they are many enough to have seen everything.
fn sweep(test: &str, trouble: Trouble, mut each: impl FnMut(Outcome)) -> bool {
    if let Some(seed) = number_of("RINGSHOT_SIM_SEED") {
        each(check(test, trouble, seed));
        return false;
    }
    let seeds = number_of("RINGSHOT_SIM_SEEDS").unwrap_or(SEEDS);
    (0..seeds).for_each(|seed| each(check(test, trouble, seed)));
    seeds >= SEEDS
}

#[test]
fn without_faults_every_request_succeeds() {
    let (mut seen, mut responses, mut unsent) = (Seen::default(), 0, 0);
    let many = sweep("without_faults", Trouble::Quirks, |outcome| {
        seen.merge(&outcome.seen);
        responses += outcome.totals.responses;
        unsent += outcome.totals.unsent;
    });
    println!("{responses} responses, {unsent} unsent, {seen:?}");
    let rare = [seen.full, seen.full_closes, seen.short_discards, seen.late_stops];
    assert!(!many || rare.iter().all(|count| *count > 0), "never seen: {seen:?}");
    assert!(!many || unsent > 0 && seen.interruptions > 0 && seen.afterlives > 0, "{seen:?}");
}

#[test]
fn every_request_ends_once_whatever_happens() {
    let (mut seen, mut timeouts, mut cancelled, mut dials) = (Seen::default(), 0, 0, 0);
    let many = sweep("every_request_ends_once", Trouble::Faults, |outcome| {
        seen.merge(&outcome.seen);
        timeouts += outcome.totals.timeouts;
        cancelled += outcome.totals.cancelled;
        dials += outcome.totals.dials_failed;
    });
    println!("{timeouts} timeouts, {cancelled} cancelled, {dials} dials failed, {seen:?}");
    let rare = [seen.send_failures, seen.resets, timeouts, cancelled, dials, seen.late_stops];
    assert!(!many || rare.iter().all(|count| *count > 0), "never seen: {rare:?}");
}

#[test]
fn the_same_seed_gives_the_same_events() {
    for seed in 0..12 {
        for trouble in [Trouble::Quirks, Trouble::Faults] {
            let run = || Scenario::draw(seed, trouble).run(Logging::On);
            let (one, two) = (run(), run());
            assert!(one.log == two.log && !one.log.is_empty(), "seed {seed} differs");
            assert_eq!((one.digest, one.told), (two.digest, two.told), "seed {seed} differs");
        }
    }
    let digest = |seed| Scenario::draw(seed, Trouble::Quirks).run(Logging::Off).digest;
    assert_ne!(digest(1), digest(2));
}

/// A driver that breaks its contract once must not go unnoticed: how many of the runs it spoils do.
fn found(sabotage: impl Fn(u64) -> Sabotage) -> usize {
    let spoilt = |seed: &u64| {
        let mut scenario = Scenario::draw(*seed, Trouble::Quirks);
        scenario.sim.sabotage = Some(sabotage(*seed));
        !scenario.run(Logging::Off).problems.is_empty()
    };
    (0..SABOTAGED_SEEDS).filter(spoilt).count()
}

#[test]
fn a_driver_that_breaks_its_contract_is_found() {
    let most = SABOTAGED_SEEDS as usize;
    let lost = found(|seed| Sabotage::Lose(seed * 7));
    let corrupt = found(|seed| Sabotage::Corrupt(seed * 7));
    let miscounted = found(|_| Sabotage::Miscount(0));
    println!("of {most}: {lost} lost, {corrupt} corrupt, {miscounted} miscounted were found");
    // A lost `Sent` may come after all is answered; a body that nobody reads may be corrupt; not every run discards.
    assert!(lost >= most * 3 / 4 && corrupt >= most / 3 && miscounted >= most / 6);
}
