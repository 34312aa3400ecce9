//! The command line, as clap reads it. Ranges that need the machine are checked in `plan`.

use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use ringshot::driver::DriverChoice;
use ringshot::host::Host;
use ringshot::origin::{DIRECTIVES, Directive};

use crate::completions::{CompletionsArgs, ManArgs};
use crate::cores::{CoreList, core_list};
use crate::exit::Failure;
use crate::find_max::{self, FindMaxArgs};
use crate::live::LiveArgs;
use crate::metrics::MetricsArgs;
use crate::names::{driver_names, host_names};
use crate::network::NetworkArgs;
use crate::output::results::RunOutputArgs;
use crate::refusal::refuse;
use crate::report::ReportArgs;
use crate::scenario::ScenarioArgs;
use crate::schedule::ScheduleArgs;
use crate::thresholds::ThresholdArgs;
use crate::units;

const EXAMPLES: &str = "\
Examples:
  ringshot compare                          io_uring against epoll, on this machine
  ringshot serve --port 8080                an origin to aim at
  ringshot run http://127.0.0.1:8080/       10 seconds, 64 connections
  ringshot doctor                           what this machine allows

Exit codes: 0 done; 1 no response came; 2 bad input or environment;
3 a threshold failed; 4 not valid, with --require-valid;
130 a second Ctrl-C (the first ends the run and prints what there is), or the
first before anything was measured; of several the lowest counts";

pub(crate) const RUN_EXAMPLES: &str = "\
Examples:
  ringshot run http://127.0.0.1:8080/ -c 256 -d 30s
  ringshot run http://10.0.0.7/ -R 50k --warmup 5s     an open loop: late is not less
  ringshot run http://10.0.0.7/ --stages '10s:0..50k, 30s:50k' --arrival poisson
  ringshot run http://10.0.0.7/items -n 1M --cores 2-3 -o json
  ringshot run --scenario shop.toml -R 5k -d 1m
  ringshot run http://10.0.0.7/ --replay access.log --replay-speed 2
  ringshot run http://10.0.0.7/items -m POST -b @item.json \\
      -H 'Content-Type: application/json'

Without a rate each connection sends its next request when the answer is in (a closed
loop). With one, requests are due at times fixed in advance, and response times count
from those times, so that a stalled server can't hide (no coordinated omission).
--cores auto is all cores that this process may use; with fewer connections than
cores it is the last of them. Durations: 500ms, 10s, 2m, 1m30s; a bare number is seconds.
Figures of --fail-if: mean, min, max, p50, p75, p90, p95, p99, p99.9, p99.99, p99.999,
the same after service_, response_, first_byte_, connect_, lag_ or client_lag_; rate,
offered_rate, requests, errors, shed, late, cancelled, error_rate, success_rate,
shed_rate, late_rate. Times need a unit: 250us, 5ms, 1.5s.
Exit codes: 0 done; 1 no response came; 2 bad input or environment;
3 a threshold failed; 4 not valid, with --require-valid;
130 Ctrl-C in the warm-up, or a second one; of several the lowest counts";

const SERVE_EXAMPLES: &str = "\
Examples:
  ringshot serve --port 8080 --cores 0
  ringshot serve --port 0 --body-bytes 64KiB --delay 5ms

--cores auto is the first core that this process may use. Sizes: 512, 64KiB,
64k (of 1000), 1MiB. It listens on 127.0.0.1 and ends with Ctrl-C.

Every path gets the same answer, but for these:
";

const SERVE_QUERIES: &str = "
Behind a ? each takes any of delay=MS, status=CODE, close, chunked, trailers,
and unframed (a body that ends with the connection), like /bytes/99?delay=5&close.
";

const COMPARE_EXAMPLES: &str = "\
Examples:
  ringshot compare
  ringshot compare --body-bytes 64KiB -c 256
  ringshot compare --hosts thread,glommio
  ringshot compare http://10.0.0.7/ --cores 2 --rounds 15 -o json
  ringshot compare http://10.0.0.7/old http://10.0.0.7/new --fail-if-slower 5%
  ringshot compare before.json after.json --fail-if-slower 5%

Without a URL an origin is started on cores of its own. --cores auto gives the
client one core of up to three, else half of them, and the origin the rest.
Two files are results that `ringshot run -o json` saved; nothing is sent then, and
of the options only --seed, --fail-if-slower, -o and -q mean something.
Speed is successes (2xx and 3xx) a second; of open loops the median time too.
Exit codes: 0 done; 1 no response came; 2 bad input or environment, or saved
results of different loads for --fail-if-slower; 3 the second is slower than
that allows; 4 there is too little to judge that by, it refuses more, or a saved
result is not valid;
130 Ctrl-C before a round was complete, or a second one";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  ringshot completions bash > ~/.local/share/bash-completion/completions/ringshot
  ringshot completions zsh > \"${fpath[1]}/_ringshot\"
  ringshot completions fish > ~/.config/fish/completions/ringshot.fish";

const MAN_EXAMPLES: &str = "\
Examples:
  ringshot man | man -l -
  ringshot man run > ~/.local/share/man/man1/ringshot-run.1";

const REPORT_EXAMPLES: &str = "\
Examples:
  ringshot report result.json
  ringshot report result.json -o html > report.html
  ringshot run http://127.0.0.1:8080/ -o json | ringshot report -
  ringshot report left.json right.json --out-dir both

Several results are merged: counts summed, histograms added, percentiles taken anew.
Exit codes: 0 done; 2 bad input or environment";

/// An io_uring, thread-per-core HTTP load generator, and what it gains over epoll
#[derive(Debug, Parser)]
#[command(name = "ringshot", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send requests to a URL and report rate, latency and cost
    #[command(after_help = RUN_EXAMPLES)]
    Run(Box<RunArgs>),
    /// Answer every request with a fixed response, or as its path says
    #[command(after_help = serve_help())]
    Serve(Box<ServeArgs>),
    /// Run the same load on two drivers, hosts or URLs in turn, and compare; or compare two saved results
    #[command(after_help = COMPARE_EXAMPLES)]
    Compare(Box<CompareArgs>),
    /// Find the highest rate at which a server holds objectives
    #[command(after_help = find_max::EXAMPLES)]
    FindMax(Box<FindMaxArgs>),
    /// Show saved results again, in any format, or several machines' as one
    #[command(after_help = REPORT_EXAMPLES)]
    Report(ReportArgs),
    /// Say what this machine allows, and what to change for a serious run
    Doctor(DoctorArgs),
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(CompletionsArgs),
    /// Print a manual page
    #[command(after_help = MAN_EXAMPLES)]
    Man(ManArgs),
}

/// `ringshot run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) scenario: ScenarioArgs,
    #[command(flatten)]
    pub(crate) schedule: ScheduleArgs,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
    #[command(flatten)]
    pub(crate) thresholds: ThresholdArgs,
    /// The system interface that drives the sockets; auto is io_uring where it works
    #[arg(long, value_name = "auto|io_uring|epoll", default_value = "auto")]
    #[arg(help_heading = "Placement", value_parser = driver_names(), hide_possible_values = true)]
    pub(crate) driver: DriverChoice,
    /// Who turns the loop of each core: a bare thread, or a glommio executor
    #[arg(long, value_name = "thread|glommio", default_value = "thread")]
    #[arg(help_heading = "Placement", value_parser = host_names(), hide_possible_values = true)]
    pub(crate) host: Host,
    #[command(flatten)]
    pub(crate) output: RunOutputArgs,
    #[command(flatten)]
    pub(crate) live: LiveArgs,
    #[command(flatten)]
    pub(crate) metrics: MetricsArgs,
}

/// What `run` and `compare` share.
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Connections, over all cores; 1 to 1,048,576
    #[arg(short, long, value_name = "COUNT", default_value = "64", help_heading = "Load")]
    #[arg(value_parser = units::small_count)]
    pub(crate) connections: u32,
    /// Requests in flight on each connection, 1 to 128
    #[arg(short, long, value_name = "COUNT", default_value = "1", help_heading = "Load")]
    #[arg(value_parser = units::small_count)]
    pub(crate) pipeline: u32,
    /// Close each connection after one request
    #[arg(long, help_heading = "Load")]
    pub(crate) no_keepalive: bool,
    /// Longest wait for a response, from its request being sent
    #[arg(long, value_name = "TIME", default_value = "30s", help_heading = "Load")]
    #[arg(value_parser = units::positive_duration)]
    pub(crate) timeout: Duration,
    /// Longest wait for a connection
    #[arg(long, value_name = "TIME", default_value = "5s", help_heading = "Load")]
    #[arg(value_parser = units::positive_duration)]
    pub(crate) connect_timeout: Duration,
    /// Request method
    #[arg(short, long, value_name = "NAME", default_value = "GET", help_heading = "Request")]
    pub(crate) method: String,
    /// Request header, as 'Name: value'; repeat it for more
    #[arg(short = 'H', long = "header", value_name = "HEADER", help_heading = "Request")]
    pub(crate) headers: Vec<String>,
    /// Request body: text, @file, or @- for standard input; read whole before the run, 1 GiB at most
    #[arg(short, long, value_name = "BODY", help_heading = "Request", allow_hyphen_values = true)]
    pub(crate) body: Option<String>,
    /// Send the body in chunks, without saying its length first
    #[arg(long, help_heading = "Request", requires = "body")]
    pub(crate) chunked: bool,
    /// Basic authentication, as NAME:PASSWORD, @file, or @- for standard input
    #[arg(short, long, value_name = "NAME:PASSWORD", help_heading = "Request")]
    pub(crate) user: Option<String>,
    /// Bearer token, @file, or @- for standard input
    #[arg(long, value_name = "TOKEN", help_heading = "Request", conflicts_with = "user")]
    pub(crate) bearer: Option<String>,
    /// Core numbers of the client, like 2 or 0,2-5
    #[arg(long, value_name = "LIST|auto", default_value = "auto", help_heading = "Placement")]
    #[arg(value_parser = core_list)]
    pub(crate) cores: CoreList,
}

/// How comparisons are shown.
#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// What to print on standard output
    #[arg(short, long, value_enum, default_value = "text", help_heading = "Output")]
    pub(crate) output: Format,
    /// Show no progress
    #[arg(short, long, help_heading = "Output")]
    pub(crate) quiet: bool,
}

/// `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

/// `ringshot serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// TCP port on 127.0.0.1; 0 is any free one
    #[arg(long, default_value = "8080", value_parser = units::port)]
    pub(crate) port: u16,
    /// Core numbers, like 2 or 0,2-5
    #[arg(long, value_name = "LIST|auto", default_value = "auto", value_parser = core_list)]
    pub(crate) cores: CoreList,
    /// Length of each response body, at most 1 GiB
    #[arg(long, value_name = "BYTES", default_value = "13", value_parser = units::bytes)]
    pub(crate) body_bytes: u64,
    /// Wait this long before each response, at most 1 h
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = units::duration)]
    pub(crate) delay: Duration,
    /// Close each connection after this many responses
    #[arg(long, value_name = "COUNT", value_parser = units::positive_count)]
    pub(crate) close_every: Option<u64>,
    /// Seed of random delays and failures
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = units::number)]
    pub(crate) seed: u64,
    /// The system interface that drives the sockets; auto is io_uring where it works
    #[arg(long, value_name = "auto|io_uring|epoll", default_value = "auto", value_parser = driver_names(), hide_possible_values = true)]
    pub(crate) driver: DriverChoice,
    /// End when standard input does: `compare` starts its origin so, and takes it along when it dies
    #[arg(long, hide = true)]
    pub(crate) until_stdin_closes: bool,
}

/// `ringshot compare`.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// One URL, or two that are set against each other, or two files that `run -o json` wrote; without any an origin is started on other cores
    #[arg(value_name = "URL|FILE", num_args = 0..=2)]
    pub(crate) urls: Vec<String>,
    /// Rounds, each one run of each driver; at least 5
    #[arg(long, value_name = "COUNT", default_value = "7", help_heading = "Rounds")]
    #[arg(value_parser = units::small_count)]
    pub(crate) rounds: u32,
    /// Measured length of one driver's run in a round
    #[arg(short, long, value_name = "TIME", default_value = "2s", help_heading = "Rounds")]
    #[arg(value_parser = units::positive_duration)]
    pub(crate) duration: Duration,
    /// Run each driver this long before the first round, unmeasured; besides, each run of a round warms up for a tenth of -d first, 200 ms at most
    #[arg(long, value_name = "TIME", default_value = "1s", help_heading = "Rounds")]
    #[arg(value_parser = units::duration)]
    pub(crate) warmup: Duration,
    /// Seed of the bootstrap
    #[arg(long, value_name = "NUMBER", default_value = "1", help_heading = "Rounds")]
    #[arg(value_parser = units::number)]
    pub(crate) seed: u64,
    /// One host, on which io_uring is set against epoll; or two, which are set against each other
    #[arg(long, value_name = "HOST[,HOST]", default_value = "thread", value_delimiter = ',')]
    #[arg(help_heading = "Contestants", value_parser = host_names(), hide_possible_values = true)]
    pub(crate) hosts: Vec<Host>,
    /// Exit with 3 if the second is shown to be slower than the first by more than this share, like 5%
    #[arg(long, value_name = "SHARE", value_parser = units::share, help_heading = "Rounds")]
    pub(crate) fail_if_slower: Option<f64>,
    /// The driver on which two hosts or two URLs are set against each other
    #[arg(long, value_name = "auto|io_uring|epoll", default_value = "auto")]
    #[arg(help_heading = "Contestants", value_parser = driver_names(), hide_possible_values = true)]
    pub(crate) driver: DriverChoice,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// Length of each response body of the origin that is started, at most 1 GiB
    #[arg(long, value_name = "BYTES", default_value = "13", help_heading = "Request")]
    #[arg(value_parser = units::bytes, conflicts_with = "urls")]
    pub(crate) body_bytes: u64,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// The first option of the line that only a comparison by rounds has a use for.
    #[arg(skip)]
    pub(crate) for_rounds: Option<String>,
}

/// Options of `compare` that saved results have a use for, and the results themselves.
const FOR_RESULTS: [&str; 5] = ["urls", "seed", "fail_if_slower", "output", "quiet"];

/// `ringshot doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// What to print on standard output
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: Format,
}

/// The examples, and a line for each path that decides what happens.
fn serve_help() -> String {
    let line = |directive: &Directive| {
        let path = format!("/{}{}", directive.name, directive.arguments);
        format!("  {path:<36} {}\n", directive.does)
    };
    let lines: String = DIRECTIVES.iter().map(line).collect();
    format!("{SERVE_EXAMPLES}{lines}{SERVE_QUERIES}")
}

/// Reads the command line. `--help` and `--version` print and end the process with 0.
pub(crate) fn parse() -> Result<Command, Failure> {
    read(definition().try_get_matches()).map_err(|error| refuse(&error))
}

fn read(found: Result<ArgMatches, clap::Error>) -> Result<Command, clap::Error> {
    let matches = found?;
    let mut command = Cli::from_arg_matches(&matches)?.command;
    if let Command::Compare(args) = &mut command {
        args.for_rounds = matches.subcommand().and_then(|(_, given)| first_for_rounds(given));
    }
    Ok(command)
}

/// As it is called, `--rounds`.
fn first_for_rounds(given: &ArgMatches) -> Option<String> {
    let definition = Cli::command();
    let options = definition.find_subcommand("compare")?.get_arguments();
    let is_given = |id: &str| given.value_source(id) == Some(ValueSource::CommandLine);
    let of_rounds = options.filter(|option| {
        let id = option.get_id().as_str();
        !FOR_RESULTS.contains(&id) && given.try_contains_id(id).is_ok() && is_given(id)
    });
    let place = |option: &&clap::Arg| given.indices_of(option.get_id().as_str())?.next();
    let first = of_rounds.min_by_key(place)?;
    first.get_long().map(|name| format!("--{name}"))
}

/// All commands with their arguments, as clap has them. A negative number is a value that its option refuses in its own words, and no option that nobody knows.
pub(crate) fn definition() -> clap::Command {
    let takes_numbers = |arg: clap::Arg| match arg.get_action().takes_values() {
        true if !arg.is_positional() => arg.allow_negative_numbers(true),
        _ => arg,
    };
    let commands = Cli::command();
    let names: Vec<_> = commands.get_subcommands().map(|it| it.get_name().to_owned()).collect();
    names.into_iter().fold(commands, |commands, name| {
        commands.mut_subcommand(name, |command| command.mut_args(takes_numbers))
    })
}

/// The command of a line whose words stand between spaces.
#[cfg(test)]
pub(crate) fn parse_from(line: &str) -> Result<Command, clap::Error> {
    read(definition().try_get_matches_from(line.split(' ')))
}

#[cfg(test)]
mod tests {
    use ringshot::load::Stop;

    use super::parse_from as command;
    use super::*;
    use crate::output::results::ResultFormat;

    #[test]
    fn the_definition_is_sound() {
        definition().debug_assert();
    }

    #[test]
    fn a_negative_number_is_refused_by_its_option() {
        for option in ["-n -1", "-c -1", "-R -5", "-d -1", "--drain -1", "--timeout -2.5"] {
            let told =
                command(&format!("ringshot run http://h/ {option}")).unwrap_err().to_string();
            let [name, value] = [0, 1].map(|place| option.split(' ').nth(place).unwrap());
            assert!(told.contains(&format!("invalid value '{value}' for '")), "{told}");
            assert!(name.len() == 2 || told.contains(name), "{told}");
        }
        assert!(command("ringshot run http://h/ -4").is_ok());
    }

    #[test]
    fn defaults_of_run() {
        let Ok(Command::Run(args)) = command("ringshot run http://h/") else { panic!("run") };
        assert_eq!((args.load.connections, args.load.pipeline), (64, 1));
        assert_eq!(args.schedule.stop(), Stop::after(Duration::from_secs(10)));
        assert_eq!(args.load.timeout, Duration::from_secs(30));
        assert_eq!(args.load.connect_timeout, Duration::from_secs(5));
        assert_eq!(args.load.method, "GET");
        assert_eq!(args.output.result.output, ResultFormat::Text);
        assert_eq!((args.load.cores, args.host), (CoreList::Auto, Host::Thread));
    }

    #[test]
    fn the_help_of_serve_fits_and_names_every_directive() {
        let help = serve_help();
        assert!(help.contains("\n  /delay/MS  ") && help.contains("\n  /redirect-to?url=URL  "));
        assert!(help.lines().all(|line| line.len() <= 90), "{help}");
    }

    #[test]
    fn defaults_of_compare() {
        let Ok(Command::Compare(args)) = command("ringshot compare") else { panic!("compare") };
        assert_eq!((args.rounds, args.duration), (7, Duration::from_secs(2)));
        assert_eq!((args.warmup, args.body_bytes), (Duration::from_secs(1), 13));
        assert_eq!((args.urls, args.hosts), (vec![], vec![Host::Thread]));
    }

    #[test]
    fn requests_stand_without_the_default_duration() {
        let Ok(Command::Run(args)) = command("ringshot run http://h/ -n 10k") else {
            panic!("run")
        };
        assert_eq!(args.schedule.stop(), Stop::requests(10_000));
    }

    #[test]
    fn what_only_rounds_have_a_use_for_is_known_by_the_first() {
        let check = |options: &str, expected: Option<&str>| {
            let line = format!("ringshot compare{options}");
            let Ok(Command::Compare(args)) = command(&line) else { panic!("{line}") };
            assert_eq!(args.for_rounds.as_deref(), expected, "{line}");
        };
        check("", None);
        check(" a b --seed 2 --fail-if-slower 5% -o json -q", None);
        check(" a b --rounds 7", Some("--rounds"));
        check(" a b -q -c 5 --rounds 9", Some("--connections"));
        check(" --hosts thread,glommio a b --no-keepalive", Some("--hosts"));
    }
}
