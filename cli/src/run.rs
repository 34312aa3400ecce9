//! `ringshot run`: one load, one report.

use ringshot::load::{Report, Stop};

use crate::args::{Format, RunArgs};
use crate::exit::{Exit, Failure};
use crate::output::{self, json, progress::Progress, text};
use crate::plan::{self, Prepared};
use crate::scenario::Sending;
use crate::signals::Interrupts;
use crate::warnings::{self, Warning};
use crate::watch;

/// Runs the load and prints its report; exits by whether anything succeeded.
pub(crate) fn run(args: &RunArgs) -> Result<Exit, Failure> {
    let sending = Sending::of(args)?;
    let Prepared { config: plan, warnings } = plan::for_run(args, &sending)?;
    let interrupts = Interrupts::install()?;
    // Only now, because the descriptors of the line above count when it asks whether there are enough.
    plan.check().map_err(Failure::unusable)?;
    warnings::print(&warnings);
    let progress = if args.output.quiet {
        None
    } else {
        Progress::on_terminal(Stop { after: plan.length(), ..plan.stop })
    };
    let report = watch::drive(&plan, &interrupts, progress)?;
    output::print(&render(args, &sending, &report))?;
    warnings::print(&Warning::of_report(&report));
    Ok(exit(&report))
}

fn render(args: &RunArgs, sending: &Sending, report: &Report) -> String {
    let load = &args.load;
    match args.output.output {
        Format::Json => json::run(&json::RunDocument {
            ringshot_version: env!("CARGO_PKG_VERSION"),
            url: &sending.url,
            connections: load.connections,
            pipeline: load.pipeline,
            report,
        }),
        Format::Text => text::render(
            &text::Headline {
                method: &sending.method,
                url: &sending.url,
                connections: load.connections,
                pipeline: load.pipeline,
            },
            report,
        ),
    }
}

fn exit(report: &Report) -> Exit {
    if report.requests == 0 { Exit::NothingSucceeded } else { Exit::Ok }
}
