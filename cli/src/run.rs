//! `ringshot run`: one load, one report.

use ringshot::load::Report;

use crate::args::{Format, RunArgs};
use crate::exit::{Exit, Failure};
use crate::output::{self, json, text};
use crate::plan::{self, Prepared};
use crate::signals::Interrupts;
use crate::target::Target;
use crate::thresholds::{self, ThresholdOutcome};
use crate::warnings::{self, Warning};
use crate::watch::{self, Watchers};

/// Runs the load and prints its report; exits by whether anything succeeded.
pub(crate) fn run(args: &RunArgs) -> Result<Exit, Failure> {
    let target = Target::find(&args.url, &args.network)?;
    let Prepared { config: plan, warnings } = plan::for_run(args, &target)?;
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
    let outcomes = args.thresholds.judge(&report);
    output::print(&render(args, &target, &report, &outcomes))?;
    warnings::print(&Warning::of_report(&report));
    Ok(args.thresholds.exit(&report, &outcomes))
}

fn render(
    args: &RunArgs,
    target: &Target,
    report: &Report,
    outcomes: &[ThresholdOutcome],
) -> String {
    let load = &args.load;
    match args.output.output {
        Format::Json => json::run(&json::RunDocument {
            ringshot_version: env!("CARGO_PKG_VERSION"),
            url: &target.text,
            connections: load.connections,
            pipeline: load.pipeline,
            thresholds: outcomes,
            report,
        }),
        Format::Text => {
            text::render(
                &text::Headline {
                    method: &load.method,
                    url: &target.text,
                    connections: load.connections,
                    pipeline: load.pipeline,
                },
                report,
            ) + &thresholds::render(outcomes)
        }
    }
}
