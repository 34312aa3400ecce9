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

use ringshot::driver::sim::{Line, Logging, Sabotage, Seen};
use ringshot_tests::seeds::{Sweep, Told, Trouble};

use scenario::{Outcome, Scenario};

/// Seeds of each kind without `RINGSHOT_SIM_SEEDS`: about twenty seconds together in the dev profile.
const SEEDS: u64 = 1000;
/// Seeds with which a sabotage is tried.
const SABOTAGED_SEEDS: u64 = 12;

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
    let sweep = Sweep { target: "simulation", test, seeds: SEEDS };
    sweep.run(|seed, logging| Scenario::draw(seed, trouble).run(logging), each)
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
