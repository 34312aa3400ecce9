//! Simulated runs from seeds: how many, what a failure prints to run it again, and what a seed decides in every simulation.

use std::env;
use std::time::Duration;

use ringshot::clock::Instant;
use ringshot::driver::sim::{Act, Faults, Line, Logging, Quirks, Random};

use crate::watch::announce;

/// When the simulated clock starts.
pub const START: Instant = Instant::from_nanos(1_000_000_000);
/// Lines of the log that a failure prints, without `RINGSHOT_SIM_LINES`.
const LINES_PRINTED: u64 = 60;

/// What a scenario holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// All that the contract allows; every request must succeed.
    Quirks,
    /// Faults too.
    Faults,
}

/// What a run tells of itself when it fails.
pub trait Told {
    /// What was wrong; nothing if the run was good.
    fn problems(&self) -> &[String];
    /// What happened, if that was logged.
    fn log(&self) -> &[Line];
    /// Its counts, as text.
    fn totals(&self) -> String;
}

/// Many runs of one test.
#[derive(Debug, Clone, Copy)]
pub struct Sweep {
    /// The test target, and in it the test: for the command that replays.
    pub target: &'static str,
    /// The test.
    pub test: &'static str,
    /// Seeds without `RINGSHOT_SIM_SEEDS`.
    pub seeds: u64,
}

fn number_of(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().expect("a number of seeds, or a seed"))
}

impl Sweep {
    /// Runs the seeds that are asked for; `true` if they are many enough to have seen everything.
    ///
    /// # Panics
    /// When a run has problems, with all that is needed to run it again.
    pub fn run<O: Told>(self, run: impl Fn(u64, Logging) -> O, mut each: impl FnMut(O)) -> bool {
        if let Some(seed) = number_of("RINGSHOT_SIM_SEED") {
            each(self.check(seed, &run));
            return false;
        }
        let seeds = number_of("RINGSHOT_SIM_SEEDS").unwrap_or(self.seeds);
        (0..seeds).for_each(|seed| each(self.check(seed, &run)));
        seeds >= self.seeds
    }

    fn check<O: Told>(self, seed: u64, run: &impl Fn(u64, Logging) -> O) -> O {
        let outcome = run(seed, Logging::Off);
        if !outcome.problems().is_empty() {
            print_last(run(seed, Logging::On).log());
            let Self { target, test, .. } = self;
            panic!(
                "seed {seed}: {:#?}\n{}\nreplay: RINGSHOT_SIM_SEED={seed} cargo test -p ringshot-tests --test {target} {test} -- --nocapture",
                outcome.problems(),
                outcome.totals(),
            );
        }
        outcome
    }
}

fn print_last(log: &[Line]) {
    let lines = number_of("RINGSHOT_SIM_LINES").unwrap_or(LINES_PRINTED) as usize;
    for Line { at, slot, what, number } in &log[log.len().saturating_sub(lines)..] {
        announce(&format!("{at} {}/{} {what} {number}", slot.index, slot.generation));
    }
}

/// A time in microseconds.
pub fn micros(random: &mut Random, low: u64, high: u64) -> Duration {
    Duration::from_micros(random.between(low, high))
}

/// Often nothing, else up to `most`.
pub fn some(random: &mut Random, most: f32) -> f32 {
    if random.chance(0.4) { 0.0 } else { most * random.below(1000) as f32 / 1000.0 }
}

/// A kernel's manners.
pub fn quirks(random: &mut Random) -> Quirks {
    Quirks {
        partial: some(random, 0.7),
        stream_ends: some(random, 0.5),
        interrupted: some(random, 0.3),
        full: some(random, 1.0),
        at_once: some(random, 1.0),
        late: some(random, 0.6),
        late_max: micros(random, 1, 500),
        afterlife: some(random, 1.0),
        early_wake: some(random, 0.3),
        oversleep_max: micros(random, 0, 300),
    }
}

/// How hard it is to connect at most: shares of refused and of unanswered attempts, and how late others are, in microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Reach {
    /// The share of attempts that are refused.
    pub refused: f32,
    /// The share of attempts that nobody answers.
    pub unanswered: f32,
    /// How late an attempt may succeed.
    pub late_micros: u64,
}

/// What breaks in a network.
pub fn faults(random: &mut Random, reach: Reach) -> Faults {
    Faults {
        refused: some(random, reach.refused),
        unanswered: some(random, reach.unanswered),
        late_connect: some(random, 0.3),
        late_connect_max: micros(random, 100, reach.late_micros),
        send_fails: some(random, 0.05),
        reset: some(random, 0.5),
        reset_within: micros(random, 100, 50_000),
        reset_purges: some(random, 1.0),
    }
}

/// Sends `bytes`, in up to twelve pieces with pauses if it dribbles.
pub fn send_dribbling(random: &mut Random, dribble: f32, bytes: &[u8], acts: &mut Vec<Act>) {
    let dribble = random.chance(dribble);
    let mut rest = bytes;
    for _ in 0..random.below(12) {
        if !dribble || rest.is_empty() {
            break;
        }
        let (piece, behind) = rest.split_at(random.part(rest.len() as u64, 0.8) as usize);
        acts.push(Act::Send(piece.to_vec()));
        acts.push(Act::Pause(Duration::from_nanos(random.below(2_000_000))));
        rest = behind;
    }
    if !rest.is_empty() {
        acts.push(Act::Send(rest.to_vec()));
    }
    if random.chance(0.2) {
        acts.push(Act::Pause(Duration::from_nanos(random.below(500_000))));
    }
}

/// A body in chunks of any size, without the last.
pub fn chunks_of(random: &mut Random, body: &[u8]) -> Vec<u8> {
    let mut coded = Vec::new();
    let most = if body.len() > 5000 { 70_000 } else { 200 };
    let mut rest = body;
    while !rest.is_empty() {
        let bytes = random.part(most.min(rest.len() as u64), 0.9) as usize;
        // Chunks of a few bytes would make more framing than body.
        let bytes = bytes.max(body.len() / 200).clamp(1, rest.len());
        let extension = if random.chance(0.1) { ";odd=\"yes\"" } else { "" };
        coded.extend_from_slice(format!("{bytes:x}{extension}\r\n").as_bytes());
        coded.extend_from_slice(&rest[..bytes]);
        coded.extend_from_slice(b"\r\n");
        rest = &rest[bytes..];
    }
    coded
}
