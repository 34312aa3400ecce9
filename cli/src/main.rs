//! The `ringshot` command: arguments in, engine configs out; results in, text out. It holds no networking.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done: at least one request completed with a response (of any status) |
//! | 1 | nothing succeeded: no request completed with a response |
//! | 2 | bad input, or an environment that can't do what was asked; one line on stderr says which |
//! | 130 | Ctrl-C was pressed twice; pressed once, a run prints what it has and exits by its results |

mod args;
mod compare;
mod cores;
mod doctor;
mod exit;
mod network;
mod output;
mod placement;
mod plan;
mod run;
mod scenario;
mod schedule;
mod serve;
mod signals;
mod target;
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
        Command::Doctor(args) => doctor::doctor(&args),
    }
}
