//! A run under watchers, on threads of their own: one passes signals on and feeds the live view, one answers for metrics.
//! The threads that send know nothing of them; they read their counters.

use std::ffi::c_int;
use std::thread;

use ringshot::load::{self, Control, Plan, Report};
use ringshot::sys::affinity;

use crate::exit::{Failure, INTERRUPTED_TWICE};
use crate::live::{Asked, Live};
use crate::metrics::Metrics;
use crate::signals::{self, Interrupts, Wake};

/// Who watches a run besides Ctrl-C.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    pub(crate) live: Option<Live>,
    pub(crate) metrics: Option<Metrics>,
}

/// Runs `plan` to its end, or to the first Ctrl-C.
pub(crate) fn drive(
    plan: &Plan,
    interrupts: &Interrupts,
    watchers: Option<Watchers>,
) -> Result<Report, Failure> {
    let control = Control::new();
    let Watchers { live, metrics } = watchers.unwrap_or_default();
    let waker = interrupts.waker();
    thread::scope(|scope| {
        let metrics_end = metrics.as_ref().map(Metrics::end);
        scope.spawn(|| {
            leave_cores(&plan.cores);
            watch(&control, interrupts, live);
        });
        if let Some(metrics) = metrics {
            let control = &control;
            scope.spawn(move || {
                leave_cores(&plan.cores);
                metrics.serve(plan, control);
            });
        }
        let report = load::run(plan, &control);
        drop((waker, metrics_end));
        report.map_err(Failure::unusable)
    })
}

/// Keeps the calling thread away from the cores that send, if there are others.
fn leave_cores(sending: &[usize]) {
    let others: Vec<usize> =
        affinity::cores().into_iter().filter(|core| !sending.contains(core)).collect();
    if !others.is_empty() {
        // Refused, it shares a core with the load, as it would on a machine that has no other.
        let _ = affinity::allow(&others);
    }
}

fn watch(control: &Control, interrupts: &Interrupts, mut live: Option<Live>) {
    loop {
        let (tick, keys) = (live.as_ref().map(Live::tick), live.as_ref().and_then(Live::keys));
        match interrupts.wait(tick, keys) {
            Wake::Signal => end(control, interrupts, &mut live),
            Wake::ByDefault(signal) => stand_back(signal, &mut live),
            Wake::Done => break,
            Wake::Keys => match live.as_mut().map_or(Asked::Nothing, Live::handle_keys) {
                Asked::Nothing => {}
                Asked::End => end(control, interrupts, &mut live),
                Asked::Quit => {
                    drop(live);
                    std::process::exit(INTERRUPTED_TWICE);
                }
            },
            Wake::Tick => {
                live.iter_mut().for_each(|live| live.show(&control.snapshot(), interrupts));
            }
        }
    }
}

/// SIGQUIT or SIGTSTP while the screen is up: the terminal is given back before they do what they do by default. A run that goes on after it was stopped draws again.
fn stand_back(signal: c_int, live: &mut Option<Live>) {
    live.iter_mut().for_each(Live::put_away);
    signals::act_by_default(signal);
}

/// The first Ctrl-C. The terminal is given back before the second, which ends the process wherever it is.
fn end(control: &Control, interrupts: &Interrupts, live: &mut Option<Live>) {
    control.stop();
    live.iter_mut().for_each(Live::give_back);
    interrupts.arm();
}
