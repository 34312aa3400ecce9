//! The search for the highest rate that holds, as a machine: `next` says what to try, `learn` takes what came of it. Pure.
//!
//! ```text
//! Grow ──not held──> Bisect ──narrow enough──> Confirm ──all held──> Done
//!  │ held at the highest rate allowed ────────────^  │ not held: one precision lower, twice as far each time,
//!  └ not held at the first: ever lower              └─^ but past no rate that held before it is refuted itself
//! ```
//! Where one was refuted, and the next that is confirmed lies further below it than was asked for, what is between the two is bisected by confirmations, since shorter
//! runs held there too. Only where the steps run out is the answer wider than that.
//!
//! A busy client fails steps too: a confirmation, a step that the client could not send, and one at the lowest rate are taken once more before they count.
//! A rate that the client can't send says nothing of the server, and bounds the search all the same. Where it is the lower bound of the two, the answer that
//! was confirmed below it is one for the client: the server may hold more.

use serde::Serialize;

/// Growth of the rate from a step that held to the next.
const GROWTH: f64 = 1.6;
/// Shrinkage while no step has held yet.
const SHRINKAGE: f64 = 0.5;
/// By what share of itself a width may be off.
const ROUNDING: f64 = 1e-9;
/// Steps after which the search ends with what it knows.
pub(super) const STEPS_MAX: usize = 60;

/// Why a step is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    Grow,
    Bisect,
    Confirm,
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Held {
    Yes,
    No,
    /// The client could not do what was asked of it.
    ClientLimited,
}

/// Why a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum End {
    /// The answer was confirmed, between a rate that holds and one that does not.
    Found,
    /// The highest rate that was allowed holds.
    MaxRate,
    /// The client could not send more than what holds.
    Client,
    /// Not even the lowest rate holds.
    NothingHolds,
    /// Too many steps, or Ctrl-C.
    Unfinished,
}

/// Where a search begins and how far it goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// The first rate.
    pub(super) start: f64,
    /// The lowest that is tried: less than a few requests a step prove nothing.
    pub(super) min_rate: f64,
    /// The highest that is tried.
    pub(super) max_rate: f64,
    /// The width of the interval in which the answer lies, as a share of its upper end.
    pub(super) precision: f64,
    /// Runs that must hold at the answer.
    pub(super) confirm: u32,
}

/// A search that goes on.
#[derive(Debug)]
pub(super) struct Search {
    bounds: Bounds,
    /// Rates that held and were not refuted, ascending.
    held: Vec<f64>,
    not_held: Option<f64>,
    /// Whether the step to come is the one before once more.
    doubted: bool,
    /// The lowest rate that the client could not send.
    unsent: Option<f64>,
    /// The rate to be confirmed, and how often it held.
    confirming: Option<(f64, u32)>,
    /// The highest rate that was confirmed by all the runs asked for.
    confirmed: Option<f64>,
    /// Precisions to step down when the next confirmation fails.
    step_down: f64,
    end: Option<End>,
    steps: usize,
}

impl Search {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            held: Vec::new(),
            not_held: None,
            doubted: false,
            unsent: None,
            confirming: None,
            confirmed: None,
            step_down: 1.0,
            end: None,
            steps: 0,
        }
    }

    /// What to try next; `None` at the end.
    pub(super) fn next(&mut self) -> Option<(Stage, f64)> {
        if self.end.is_none() && self.steps >= STEPS_MAX {
            self.end = Some(self.confirmed.map_or(End::Unfinished, |_| self.end_when_confirmed()));
        }
        if self.end.is_some() {
            return None;
        }
        self.steps += 1;
        if let Some((rate, _)) = self.confirming {
            return Some((Stage::Confirm, rate));
        }
        let Bounds { start, min_rate, max_rate, .. } = self.bounds;
        Some(match (self.held(), self.bound()) {
            (None, None) => (Stage::Grow, start.max(min_rate).min(max_rate)),
            (Some(held), None) => (Stage::Grow, (held * GROWTH).min(max_rate)),
            (None, Some(bound)) => (Stage::Grow, (bound * SHRINKAGE).max(min_rate)),
            // Halfway in ratio: what matters is how far the ends are apart as a share.
            (Some(held), Some(bound)) => (Stage::Bisect, (held * bound).sqrt()),
        })
    }

    /// What came of a step at `rate`.
    pub(super) fn learn(&mut self, rate: f64, held: Held) {
        self.doubted = !self.doubted && self.may_be_noise(rate, held);
        if self.doubted {
            return;
        }
        match held {
            Held::Yes => return self.rise(rate),
            Held::No => self.not_held = Some(rate),
            Held::ClientLimited => self.unsent = Some(rate),
        }
        match self.confirming {
            Some(_) => self.refuted(rate),
            None => self.fall(rate),
        }
    }

    /// Whether a step says so little of the server, or so much, that it is taken once more: another program may have disturbed the client.
    fn may_be_noise(&self, rate: f64, held: Held) -> bool {
        match held {
            Held::Yes => false,
            Held::ClientLimited => true,
            Held::No => self.confirming.is_some() || rate <= self.bounds.min_rate,
        }
    }

    /// The lowest rate that is not to be had, for whatever reason.
    fn bound(&self) -> Option<f64> {
        [self.not_held, self.unsent].into_iter().flatten().reduce(f64::min)
    }

    /// How it ends at that bound.
    fn end_at_bound(&self, at_the_server: End) -> End {
        match self.unsent {
            Some(_) if self.unsent == self.bound() => End::Client,
            _ => at_the_server,
        }
    }

    fn rise(&mut self, rate: f64) {
        if let Some((_, times)) = self.confirming {
            return self.confirmed(rate, times + 1);
        }
        self.hold(rate);
        if rate >= self.bounds.max_rate || self.is_narrow() {
            self.confirm(rate);
        }
    }

    fn fall(&mut self, rate: f64) {
        match self.held() {
            Some(held) if self.is_narrow() => self.confirm(held),
            None if rate <= self.bounds.min_rate => {
                self.end = Some(self.end_at_bound(End::NothingHolds));
            }
            _ => {}
        }
    }

    fn is_narrow(&self) -> bool {
        let (Some(held), Some(bound)) = (self.held(), self.bound()) else { return false };
        // A step down by the precision is as narrow as that, however it is rounded.
        (bound - held) <= bound * self.bounds.precision * (1.0 + ROUNDING)
    }

    fn confirm(&mut self, rate: f64) {
        self.confirming = Some((rate, 0));
        if self.bounds.confirm == 0 {
            self.confirmed(rate, 0);
        }
    }

    fn confirmed(&mut self, rate: f64, times: u32) {
        self.confirming = Some((rate, times));
        let all = times >= self.bounds.confirm;
        // The answer is what all runs confirmed, not what one of them did above it.
        if all || self.confirmed.is_none() {
            self.hold(rate);
        }
        if all {
            self.confirmed = Some(rate);
            self.close_in(rate);
        }
    }

    /// Ends at a confirmed rate, or confirms halfway to the bound, if that is further off than asked for.
    fn close_in(&mut self, confirmed: f64) {
        match self.bound() {
            Some(bound) if !self.is_narrow() => {
                self.confirming = Some(((confirmed * bound).sqrt(), 0));
            }
            _ => self.end = Some(self.end_when_confirmed()),
        }
    }

    fn end_when_confirmed(&self) -> End {
        let at_the_server = if self.not_held.is_some() { End::Found } else { End::MaxRate };
        self.end_at_bound(at_the_server)
    }

    fn hold(&mut self, rate: f64) {
        self.held.retain(|held| *held < rate);
        self.held.push(rate);
    }

    /// Longer runs found what a short one missed.
    fn refuted(&mut self, rate: f64) {
        self.held.retain(|held| *held < rate);
        if let Some(confirmed) = self.confirmed {
            return self.close_in(confirmed);
        }
        let lower = rate * (1.0 - self.bounds.precision * self.step_down).max(SHRINKAGE);
        self.step_down *= 2.0;
        if rate <= self.bounds.min_rate {
            self.end = Some(self.end_at_bound(End::NothingHolds));
        } else {
            let least = self.held().unwrap_or(self.bounds.min_rate);
            self.confirming = Some((lower.max(least), 0));
        }
    }

    /// Why it ended; unfinished if it did not.
    pub(super) fn end(&self) -> End {
        self.end.unwrap_or(End::Unfinished)
    }

    /// Whether longer runs confirmed the answer.
    pub(super) fn is_confirmed(&self) -> bool {
        self.bounds.confirm > 0 && self.confirmed.is_some()
    }

    /// The highest rate that held and was not refuted later.
    pub(super) fn held(&self) -> Option<f64> {
        self.held.last().copied()
    }

    /// The lowest rate that did not hold.
    pub(super) fn not_held(&self) -> Option<f64> {
        self.not_held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds =
        Bounds { start: 100.0, min_rate: 1.0, max_rate: 1e6, precision: 0.02, confirm: 3 };

    /// Runs a search against a server that holds what `holds` says, told the stage, the rate and the number of the step.
    fn run(bounds: Bounds, holds: impl Fn(Stage, f64, usize) -> Held) -> (Search, Vec<Stage>) {
        let mut search = Search::new(bounds);
        let mut stages = Vec::new();
        while let Some((stage, rate)) = search.next() {
            stages.push(stage);
            search.learn(rate, holds(stage, rate, stages.len()));
        }
        (search, stages)
    }

    fn up_to(capacity: f64) -> impl Fn(Stage, f64, usize) -> Held {
        move |_, rate, _| if rate <= capacity { Held::Yes } else { Held::No }
    }

    #[test]
    fn the_capacity_is_found_wherever_the_search_begins() {
        for capacity in [1.5, 37.0, 100.0, 4_321.0, 987_654.0] {
            let (search, stages) = run(BOUNDS, up_to(capacity));
            assert_eq!(search.end(), End::Found, "{capacity}");
            let (held, not_held) = (search.held().unwrap(), search.not_held().unwrap());
            assert!(held <= capacity && capacity < not_held, "{capacity}: {held} {not_held}");
            assert!(not_held - held <= not_held * 0.02, "{capacity}: {held} {not_held}");
            assert!(stages.ends_with(&[Stage::Confirm; 3]) && stages.len() < 40, "{stages:?}");
        }
    }

    #[test]
    fn ends_of_the_range() {
        let (search, _) = run(BOUNDS, up_to(1e9));
        assert_eq!(
            (search.end(), search.held(), search.not_held()),
            (End::MaxRate, Some(1e6), None)
        );
        let (search, _) = run(BOUNDS, up_to(0.0));
        assert_eq!((search.end(), search.held()), (End::NothingHolds, None));
        let (search, stages) = run(Bounds { confirm: 0, ..BOUNDS }, up_to(500.0));
        assert_eq!(search.end(), End::Found);
        assert!(!stages.contains(&Stage::Confirm));
    }

    #[test]
    fn a_client_at_its_limit_ends_the_search_with_what_was_confirmed() {
        let client = |capacity| {
            move |_, rate, _| if rate <= capacity { Held::Yes } else { Held::ClientLimited }
        };
        let (search, stages) = run(BOUNDS, client(300.0));
        assert_eq!((search.end(), search.not_held()), (End::Client, None));
        assert!((294.0..=300.0).contains(&search.held().unwrap()), "{search:?}");
        assert!(search.is_confirmed() && stages.ends_with(&[Stage::Confirm; 3]), "{stages:?}");
        let (search, _) = run(BOUNDS, client(0.0));
        assert_eq!((search.end(), search.held()), (End::Client, None));
        assert!(!search.is_confirmed());
    }

    #[test]
    fn a_server_that_gives_out_before_the_client_is_found() {
        // The first step beyond is too much for both.
        let (search, _) = run(BOUNDS, |_, rate, _| match rate {
            ..300.0 => Held::Yes,
            300.0..350.0 => Held::No,
            _ => Held::ClientLimited,
        });
        assert_eq!(search.end(), End::Found);
        assert!(search.held().unwrap() < 300.0 && search.not_held().unwrap() >= 300.0);
    }

    #[test]
    fn a_client_that_fails_a_confirmation_is_asked_for_less() {
        let (search, _) = run(BOUNDS, |stage, rate, _| match stage {
            Stage::Confirm if rate > 400.0 => Held::ClientLimited,
            _ if rate <= 500.0 => Held::Yes,
            _ => Held::No,
        });
        assert_eq!(search.end(), End::Client);
        assert!(search.held().unwrap() <= 400.0 && search.is_confirmed(), "{search:?}");
    }

    #[test]
    fn what_a_longer_run_refutes_is_not_the_answer() {
        // Short runs hold up to 1000, long ones up to 900.
        let (search, _) = run(BOUNDS, |stage, rate, _| {
            let capacity = if stage == Stage::Confirm { 900.0 } else { 1_000.0 };
            if rate <= capacity { Held::Yes } else { Held::No }
        });
        let (held, not_held) = (search.held().unwrap(), search.not_held().unwrap());
        assert_eq!(search.end(), End::Found);
        assert!((800.0..=900.0).contains(&held) && not_held > 900.0, "{held} {not_held}");
        assert!(not_held - held <= not_held * 0.0201, "{held} {not_held}");
    }

    #[test]
    fn the_answer_is_as_narrow_as_asked_for_however_far_longer_runs_hold_less() {
        for long in [620.0, 700.0, 850.0, 950.0, 975.0] {
            let (search, stages) = run(BOUNDS, |stage, rate, _| {
                let capacity = if stage == Stage::Confirm { long } else { 1_000.0 };
                if rate <= capacity { Held::Yes } else { Held::No }
            });
            let (held, not_held) = (search.held().unwrap(), search.not_held().unwrap());
            assert_eq!((search.end(), search.is_confirmed()), (End::Found, true), "{long}");
            assert!(held <= long && long < not_held, "{long}: {held} {not_held}");
            assert!(not_held - held <= not_held * 0.0201, "{long}: {held} {not_held}");
            assert!(stages.len() < STEPS_MAX, "{long}: {}", stages.len());
        }
    }

    #[test]
    fn steps_that_run_out_leave_what_was_confirmed() {
        // Too fine to be found in so few steps.
        let bounds = Bounds { precision: 0.001, confirm: 9, ..BOUNDS };
        let (search, stages) = run(bounds, |stage, rate, _| {
            let capacity = if stage == Stage::Confirm { 700.0 } else { 1_000.0 };
            if rate <= capacity { Held::Yes } else { Held::No }
        });
        let (held, not_held) = (search.held().unwrap(), search.not_held().unwrap());
        assert_eq!((search.end(), stages.len()), (End::Found, STEPS_MAX));
        assert!(search.is_confirmed() && held <= 700.0 && 700.0 < not_held, "{held} {not_held}");
        assert!(not_held - held > not_held * 0.001, "{held} {not_held}");
    }

    #[test]
    fn one_noisy_confirmation_refutes_nothing() {
        let (search, stages) = run(BOUNDS, |stage, rate, step| match stage {
            Stage::Confirm if step % 2 == 0 => Held::No,
            _ => up_to(1_000.0)(stage, rate, step),
        });
        assert_eq!((search.end(), search.is_confirmed()), (End::Found, true), "{stages:?}");
        let held = search.held().unwrap();
        assert!((980.0..=1_000.0).contains(&held), "{held}");
    }

    #[test]
    fn what_held_is_confirmed_at_its_own_rate_before_anything_below_it() {
        // Short runs hold up to 1000, long ones nothing above the first step.
        let (search, _) = run(BOUNDS, |stage, rate, _| match stage {
            Stage::Confirm if rate > BOUNDS.start => Held::No,
            _ if rate <= 1_000.0 => Held::Yes,
            _ => Held::No,
        });
        assert_eq!((search.end(), search.held()), (End::Found, Some(BOUNDS.start)));
        assert!(search.not_held().unwrap() > BOUNDS.start);
    }

    #[test]
    fn a_search_that_is_cut_short_keeps_what_was_not_refuted() {
        let mut search = Search::new(BOUNDS);
        let mut refuted = 0;
        while refuted < 2 {
            let (stage, rate) = search.next().unwrap();
            let holds = stage != Stage::Confirm && rate <= 1_000.0;
            refuted += usize::from(stage == Stage::Confirm);
            search.learn(rate, if holds { Held::Yes } else { Held::No });
        }
        let (held, not_held) = (search.held().unwrap(), search.not_held().unwrap());
        assert!(BOUNDS.start <= held && held < not_held, "{held} {not_held}");
        assert_eq!(search.end(), End::Unfinished);
    }

    #[test]
    fn a_server_that_holds_only_short_runs_holds_nothing() {
        let (search, stages) = run(BOUNDS, |stage, rate, _| match stage {
            Stage::Confirm => Held::No,
            _ if rate <= 300.0 => Held::Yes,
            _ => Held::No,
        });
        assert_eq!((search.end(), search.held()), (End::NothingHolds, None), "{stages:?}");
        assert_eq!(search.not_held(), Some(BOUNDS.min_rate));
    }

    #[test]
    fn what_says_too_little_is_taken_once_more() {
        let steps = |held: [Held; 2]| {
            let mut search = Search::new(BOUNDS);
            let mut rates = Vec::new();
            for held in held {
                let (_, rate) = search.next().unwrap();
                rates.push(rate);
                search.learn(rate, held);
            }
            (rates, search.next().unwrap().1)
        };
        let twice = vec![100.0, 100.0];
        assert_eq!(steps([Held::ClientLimited, Held::Yes]), (twice.clone(), 160.0));
        assert_eq!(steps([Held::ClientLimited, Held::No]), (twice.clone(), 50.0));
        assert_eq!(steps([Held::ClientLimited; 2]), (twice, 50.0));
        assert_eq!(steps([Held::No; 2]), (vec![100.0, 50.0], 25.0));
    }

    #[test]
    fn a_server_that_never_makes_up_its_mind_ends_it_too() {
        let (search, stages) = run(BOUNDS, |stage, _, step| match stage {
            Stage::Confirm if step % 3 > 0 => Held::No,
            _ => Held::Yes,
        });
        assert!(stages.len() <= STEPS_MAX);
        assert!(matches!(search.end(), End::Unfinished | End::NothingHolds | End::Found));
    }
}
