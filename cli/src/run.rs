//! `ringshot run`: one load, one report.

use crate::args::RunArgs;
use crate::exit::{Exit, Failure};
use crate::output::json::RunDocument;
use crate::plan::{self, Prepared};
use crate::scenario::Sending;
use crate::signals::Interrupts;
use crate::warnings::{self, Warning};
use crate::watch::{self, Watchers};

/// Runs the load and shows its report; exits by whether anything succeeded.
pub(crate) fn run(args: &RunArgs) -> Result<Exit, Failure> {
    let sending = Sending::of(args)?;
    let prepared = plan::for_run(args, &sending)?;
    args.output.result.prepare()?;
    let interrupts = Interrupts::install()?;
    let metrics = args.metrics.listen()?;
    // Only now, because the descriptors of the line above count when it asks whether there are enough.
    let Prepared { config: plan, warnings } = prepared.on_driver(args.driver)?;
    warnings::print(&warnings);
    let live = match args.output.quiet {
        true => None,
        false => args.live.prepare(&plan, format!("{} {}", sending.method, sending.url))?,
    };
    let report = watch::drive(&plan, &interrupts, Some(Watchers { live, metrics }))?;
    let thresholds = args.thresholds.judge(&report);
    let document = RunDocument {
        ringshot_version: env!("CARGO_PKG_VERSION").to_owned(),
        method: sending.method,
        url: sending.url,
        connections: args.load.connections,
        pipeline: args.load.pipeline,
        resolve_us: args.network.looked_up().as_secs_f64() * 1e6,
        machines: Vec::new(),
        report,
        thresholds,
    };
    args.output.result.show(&document)?;
    warnings::print(&Warning::of_report(&document.report));
    Ok(args.thresholds.exit(&document.report, &document.thresholds))
}
