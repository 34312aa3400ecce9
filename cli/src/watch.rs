//! A run under a watcher: a thread of its own that passes Ctrl-C on and feeds the progress line.
//! The threads that send know nothing of it; it reads their counters.

use std::thread;

use ringshot::load::{self, Control, Plan, Report};

use crate::exit::Failure;
use crate::output::progress::{Progress, REFRESH};
use crate::signals::{Interrupts, Wake};

/// Runs `plan` to its end, or to the first Ctrl-C.
pub(crate) fn drive(
    plan: &Plan,
    interrupts: &Interrupts,
    progress: Option<Progress>,
) -> Result<Report, Failure> {
    let control = Control::new();
    let waker = interrupts.waker();
    thread::scope(|scope| {
        scope.spawn(|| watch(&control, interrupts, progress));
        let report = load::run(plan, &control);
        drop(waker);
        report.map_err(Failure::unusable)
    })
}

fn watch(control: &Control, interrupts: &Interrupts, mut progress: Option<Progress>) {
    let tick = progress.is_some().then_some(REFRESH);
    loop {
        match interrupts.wait(tick) {
            Wake::Signal => control.stop(),
            Wake::Done => break,
            Wake::Tick => progress.iter_mut().for_each(|line| line.show(&control.snapshot())),
        }
    }
}
