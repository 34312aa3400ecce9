//! `ringshot run`: one load, one report.

use std::time::Instant;

use ringshot::load::Report;

use crate::args::RunArgs;
use crate::exit::{Exit, Failure};
use crate::output::json::RunDocument;
use crate::plan::{self, Prepared};
use crate::signals::Interrupts;
use crate::target::Target;
use crate::warnings::{self, Warning};
use crate::watch::{self, Watchers};

/// Runs the load and shows its report; exits by whether anything succeeded.
pub(crate) fn run(args: &RunArgs) -> Result<Exit, Failure> {
    let asked = Instant::now();
    let target = Target::find(&args.url, &args.network)?;
    let resolve_us = asked.elapsed().as_secs_f64() * 1e6;
    let Prepared { config: plan, warnings } = plan::for_run(args, &target)?;
    args.output.result.prepare()?;
    let interrupts = Interrupts::install()?;
    let metrics = args.metrics.listen()?;
    // Only now, because the descriptors of the line above count when it asks whether there are enough.
    plan.check().map_err(Failure::unusable)?;
    warnings::print(&warnings);
    let live = match args.output.quiet {
        true => None,
        false => args.live.prepare(&plan, format!("{} {}", args.load.method, target.text))?,
    };
    let report = watch::drive(&plan, &interrupts, Some(Watchers { live, metrics }))?;
    let thresholds = args.thresholds.judge(&report);
    let document = RunDocument { resolve_us, thresholds, ..document(args, &target, report) };
    args.output.result.show(&document)?;
    warnings::print(&Warning::of_report(&document.report));
    Ok(args.thresholds.exit(&document.report, &document.thresholds))
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
