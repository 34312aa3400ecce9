//! The `ringshot` command: arguments in, engine configs out; results in, text out. It holds no networking but what answers for metrics.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done: at least one request completed with a response (of any status) |
//! | 1 | no request completed with a response; `find-max`: no success, or none that its objectives could be judged by |
//! | 2 | bad input, or an environment that can't do what was asked; one line on stderr says which |
//! | 3 | a condition of `--fail-if` or `--fail-if-slower` was met; `find-max` found no rate that holds the objectives |
//! | 4 | `--require-valid`, and the verdict says that the figures can't be taken for the server's; `--fail-if-slower`, and there is too little to judge it by; or `find-max` held no rate before the client was the limit, or before Ctrl-C |
//! | 130 | Ctrl-C was pressed twice, or before anything was measured; else a run prints what it has and exits by its results |
//!
//! Where several hold, the lowest counts.

mod args;
mod compare;
mod completions;
mod cores;
mod doctor;
mod exit;
mod find_max;
mod hints;
mod live;
mod metrics;
mod names;
mod network;
mod output;
mod placement;
mod plan;
mod ports;
mod refusal;
mod report;
mod run;
mod scenario;
mod schedule;
mod serve;
mod signals;
mod tally;
mod target;
mod thresholds;
mod topology;
mod units;
mod warnings;
mod watch;

use std::process::ExitCode;

use args::Command;
use exit::{Exit, Failure};

fn main() -> ExitCode {
    let outcome = args::parse().and_then(execute);
    outcome.unwrap_or_else(|failure| failure.report()).into()
}

fn execute(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Run(args) => run::run(&args),
        Command::Serve(args) => serve::serve(&args),
        Command::Compare(args) => compare::compare(&args),
        Command::FindMax(args) => find_max::find_max(&args),
        Command::Report(args) => report::report(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Completions(args) => completions::completions(&args),
        Command::Man(args) => completions::man(&args),
    }
}
