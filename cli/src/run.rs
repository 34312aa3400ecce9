//! `ringshot run`: one load, one report.

use std::time::Instant;

use ringshot::load::Report;

use crate::args::RunArgs;
use crate::exit::{Exit, Failure};
use crate::output::json::RunDocument;
use crate::output::progress::Progress;
use crate::plan::{self, Prepared};
use crate::signals::Interrupts;
use crate::target::Target;
use crate::warnings::{self, Warning};
use crate::watch;

/// Runs the load and shows its report; exits by whether anything succeeded.
pub(crate) fn run(args: &RunArgs) -> Result<Exit, Failure> {
    let asked = Instant::now();
    let target = Target::find(&args.url)?;
    let resolve_us = asked.elapsed().as_secs_f64() * 1e6;
    let Prepared { config: plan, warnings } = plan::for_run(args, &target)?;
    args.output.result.prepare()?;
    let interrupts = Interrupts::install()?;
    // Only now, because the descriptors of the line above count when it asks whether there are enough.
    plan.check().map_err(Failure::unusable)?;
    warnings::print(&warnings);
    let progress = if args.output.quiet { None } else { Progress::on_terminal(plan.stop) };
    let report = watch::drive(&plan, &interrupts, progress)?;
    let document = RunDocument { resolve_us, ..document(args, &target, report) };
    args.output.result.show(&document)?;
    warnings::print(&Warning::of_report(&document.report));
    Ok(exit(&document.report))
}

fn document(args: &RunArgs, target: &Target, report: Report) -> RunDocument {
    RunDocument {
        ringshot_version: env!("CARGO_PKG_VERSION").to_owned(),
        method: args.load.method.clone(),
        url: target.text.clone(),
        connections: args.load.connections,
        pipeline: args.load.pipeline,
        resolve_us: 0.0,
        machines: Vec::new(),
        report,
        thresholds: Vec::new(),
    }
}

fn exit(report: &Report) -> Exit {
    if report.requests == 0 { Exit::NothingSucceeded } else { Exit::Ok }
}
