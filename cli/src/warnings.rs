//! What a reader of the figures should know, each with the next step. Printed on stderr, never among results.

use std::fmt;

use ringshot::load::compare::Contestant;
use ringshot::load::statistics::PAIRS_MIN;
use ringshot::load::{CLIENT_BUSY_MIN, Comparison, Drift, Limit, Report, StatusCounts};

use crate::cores::name;
use crate::output::format::{count, counted, percent};
use crate::output::{endings, tell};
use crate::placement::{Placement, Shared};
use crate::ports::Shortage;

/// The share of responses other than 2xx that a comparison tells.
const UNSUCCESSFUL_MIN: f64 = 0.01;

/// Something that the figures alone do not say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Warning {
    /// `serve` could not accept connections.
    CannotAccept,
    /// `--driver auto` fell back; the engine's words.
    DriverNotice(String),
    /// The server is on this machine and the client takes all its cores.
    SharedWithServer { cores: usize },
    /// `compare` found no cores, or no physical core, for the origin alone.
    Sharing { shared: Shared },
    /// Threads that could not be pinned.
    NotPinned { cores: Vec<usize> },
    /// The client could not keep up, in the verdict's words.
    ClientLimit { summary: String },
    /// Requests failed at limits of this machine, in the verdict's words.
    OwnLimit { summary: String },
    /// A CPU quota stopped the client, in the verdict's words.
    Throttled { summary: String },
    /// The client had no time left, in a comparison of servers.
    ClientFull { name: String, busy: f64 },
    /// The end of the run was not like its start, in the engine's words.
    NotSteady { drift: String },
    /// The client waited for the server, in a comparison.
    ServerLimit { name: String, busy: f64 },
    /// Responses, but none with a 2xx.
    NoSuccess,
    /// Responses of one side of a comparison that were no 2xx, as a share of its responses.
    Unsuccessful { name: String, share: f64 },
    /// Errors in a comparison.
    Errors { name: String, errors: u64, example: Option<String> },
    /// Connections that will find no free local port.
    FewPorts(Shortage),
    /// Dials that found no free local port.
    PortsExhausted,
    /// Latencies beyond the histogram.
    Saturated { samples: u64 },
    /// Saved results with fewer whole seconds than an interval needs.
    ShortResults { seconds: usize },
    /// A saved result whose figures can't be taken for its server's, in its verdict's words.
    NotValid { name: String, summary: String },
    /// A saved result that was given twice to be merged.
    SameResult { name: String, again: String },
    /// Results to be merged of runs that asked for different things.
    MixedResults { left: String, right: String },
    /// Think times of a scenario whose requests are due at times fixed in advance.
    ThinkTimeInOpenLoop,
    /// Lines of a log that say no request.
    LogLines { skipped: u64, example: String },
    /// Requests that the end cut off, and how many of them were never sent.
    Censored { requests: u64, unsent: u64 },
    /// Feeds whose rows ended the run.
    FeedsRanOut { names: Vec<String> },
}

impl Warning {
    /// What a run's report gives reason for.
    pub(crate) fn of_report(report: &Report) -> Vec<Self> {
        let unpinned: Vec<usize> =
            report.cores.iter().filter(|core| !core.pinned).map(|core| core.core).collect();
        let saturated = report.latency_us.saturated;
        let causes = report.error_causes.keys().chain(report.connect_failure_causes.keys());
        let no_ports = ports_exhausted(causes);
        let candidates = [
            (!unpinned.is_empty()).then_some(Self::NotPinned { cores: unpinned }),
            client_limit(report, no_ports),
            Drift::of(report).map(|drift| Self::NotSteady { drift: drift.to_string() }),
            (no_success(report.requests, report.status) && !wanted_other(report))
                .then_some(Self::NoSuccess),
            no_ports.then_some(Self::PortsExhausted),
            (saturated > 0).then_some(Self::Saturated { samples: saturated }),
            (report.censored > 0).then(|| Self::Censored {
                requests: report.censored,
                unsent: report.censored.saturating_sub(report.cancelled),
            }),
            (!report.exhausted_feeds.is_empty())
                .then(|| Self::FeedsRanOut { names: report.exhausted_feeds.clone() }),
        ];
        candidates.into_iter().flatten().collect()
    }

    /// What a comparison gives reason for.
    pub(crate) fn of_comparison(comparison: &Comparison) -> Vec<Self> {
        let mut warnings = Vec::new();
        let all = &comparison.contestants;
        // With one client on both sides the servers are compared, and they should be the limit; else the clients are.
        let of_servers =
            all.iter().all(|one| one.driver == all[0].driver && one.host == all[0].host);
        for one in all {
            let name = || one.name.clone();
            let example = endings::example(&one.outcomes, &one.error_examples);
            let candidates = [
                (!of_servers && one.busy < CLIENT_BUSY_MIN)
                    .then(|| Self::ServerLimit { name: name(), busy: one.busy }),
                (of_servers && one.busy >= CLIENT_BUSY_MIN)
                    .then(|| Self::ClientFull { name: name(), busy: one.busy }),
                (one.errors_total > 0).then(|| Self::Errors {
                    name: name(),
                    errors: one.errors_total,
                    example: example.map(str::to_owned),
                }),
                unsuccessful(one).map(|share| Self::Unsuccessful { name: name(), share }),
                ports_exhausted(one.error_examples.values()).then_some(Self::PortsExhausted),
            ];
            warnings.extend(candidates.into_iter().flatten());
        }
        warnings.dedup();
        warnings
    }

    /// What a placement gives reason for.
    pub(crate) fn of_placement(placement: &Placement) -> Option<Self> {
        match placement.shared {
            Shared::Nothing => None,
            shared => Some(Self::Sharing { shared }),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CannotAccept => f.write_str(
                "connections can't be accepted, most likely for want of file descriptors: raise `ulimit -n`; \
                 it goes on trying",
            ),
            Self::DriverNotice(notice) => f.write_str(notice),
            Self::ThinkTimeInOpenLoop => f.write_str(
                "think times count in a closed loop only: with --rate and --stages requests are \
                 due at times fixed in advance",
            ),
            Self::LogLines { skipped, example } => {
                write!(f, "{} of the log skipped, such as {example}", counted(*skipped, "line"))
            }
            Self::SharedWithServer { cores } => shared_with_server(f, *cores),
            Self::Sharing { shared } => f.write_str(sharing(*shared)),
            Self::NotPinned { cores } => write!(
                f,
                "could not pin to {}: the system may move the threads; allow it in the container's cpuset",
                name(cores)
            ),
            Self::ClientLimit { summary } => {
                write!(f, "{summary} Add idle cores with --cores")
            }
            Self::OwnLimit { summary } => f.write_str(summary),
            Self::Throttled { summary } => throttled(f, summary),
            Self::ClientFull { name, busy } => client_full(f, name, *busy),
            Self::NotSteady { drift } => write!(
                f,
                "the run {drift}: warm up with --warmup, or run longer, before you rely on it"
            ),
            Self::ServerLimit { name, busy } => server_limit(f, name, *busy),
            Self::NoSuccess => f.write_str("no response was a 2xx: check the path and the headers"),
            Self::Unsuccessful { name, share } => write!(
                f,
                "{} of the responses on {name} were no 2xx: its requests a second count them, its \
                 latency does not",
                percent(*share)
            ),
            Self::Errors { name, errors, example } => write_errors(f, name, *errors, example),
            Self::FewPorts(shortage) => few_ports(f, shortage),
            Self::PortsExhausted => f.write_str(
                "local ports ran out: sysctl -w net.ipv4.ip_local_port_range='1024 65535' \
                 net.ipv4.tcp_tw_reuse=1, or keep connections alive",
            ),
            Self::ShortResults { seconds } => short_results(f, *seconds),
            Self::NotValid { name, summary } => {
                write!(f, "the figures of {name} are not valid: {summary}")
            }
            Self::SameResult { name, again } => same_result(f, name, again),
            Self::MixedResults { left, right } => mixed_results(f, left, right),
            Self::Saturated { samples } => write!(
                f,
                "{} beyond an hour, recorded as an hour: percentiles there are lower bounds; \
                 --timeout gives up sooner what hangs, and --shed-after what is sent too late",
                counted(*samples, "latency sample")
            ),
            Self::Censored { requests, unsent } => censored(f, *requests, *unsent),
            Self::FeedsRanOut { names } => feeds_ran_out(f, names),
        }
    }
}

fn throttled(f: &mut fmt::Formatter<'_>, summary: &str) -> fmt::Result {
    write!(
        f,
        "{summary} Allow more (docker --cpus, a Kubernetes limit, CPUQuota), or send less: more \
         cores use it up sooner"
    )
}

fn server_limit(f: &mut fmt::Formatter<'_>, name: &str, busy: f64) -> fmt::Result {
    write!(
        f,
        "on {name} the client's busiest core was only {} busy: the server, or another program on \
         that core, is likely the limit; compare CPU a request",
        percent(busy)
    )
}

fn feeds_ran_out(f: &mut fmt::Formatter<'_>, names: &[String]) -> fmt::Result {
    write!(
        f,
        "the run ended when {} had no row left: each is given once, those of the warm-up too; add \
         rows, or let order be in_order or random",
        names.join(" and ")
    )
}

fn client_full(f: &mut fmt::Formatter<'_>, name: &str, busy: f64) -> fmt::Result {
    write!(
        f,
        "on {name} the client's busiest core was {} busy: the server may be faster than this; add \
         cores with --cores",
        percent(busy)
    )
}

fn same_result(f: &mut fmt::Formatter<'_>, name: &str, again: &str) -> fmt::Result {
    write!(
        f,
        "{name} and {again} are the same result, and its requests are counted twice: give each once"
    )
}

fn mixed_results(f: &mut fmt::Formatter<'_>, left: &str, right: &str) -> fmt::Result {
    write!(
        f,
        "the results are of different runs ({left}; {right}): their percentiles together are of \
         neither"
    )
}

fn short_results(f: &mut fmt::Formatter<'_>, seconds: usize) -> fmt::Result {
    write!(
        f,
        "the shorter result has {} to compare by, and {PAIRS_MIN} are needed to show a \
         difference: save runs of {} s or more, with -d",
        counted(seconds as u64, "whole second"),
        PAIRS_MIN + 1
    )
}

/// Prints each on a line of its own.
pub(crate) fn print<'a>(warnings: impl IntoIterator<Item = &'a Warning>) {
    warnings.into_iter().for_each(|warning| tell(format_args!("ringshot: warning: {warning}")));
}

/// Says on stderr how a run is going, in one line.
pub(crate) fn notice(text: impl fmt::Display) {
    tell(format_args!("ringshot: {text}"));
}

fn shared_with_server(f: &mut fmt::Formatter<'_>, cores: usize) -> fmt::Result {
    match cores {
        1 => f.write_str(
            "the server is on this machine and shares its only core with the client: \
             use another machine for figures that count",
        ),
        _ => f.write_str(
            "the server is on this machine and the client uses all its cores: \
             give the client some with --cores and the server the others with taskset",
        ),
    }
}

fn censored(f: &mut fmt::Formatter<'_>, requests: u64, unsent: u64) -> fmt::Result {
    let never = match unsent {
        0 => String::new(),
        _ => format!(", {} of them never sent", count(unsent)),
    };
    write!(
        f,
        "{} unanswered at the end{never}: in the percentiles at the age that they had then; run \
         longer, or give them time with --drain",
        counted(requests, "request")
    )
}

fn sharing(shared: Shared) -> &'static str {
    match shared {
        Shared::Nothing => "client and origin share no core",
        Shared::PhysicalCore => {
            "client and origin run on hardware threads of one physical core and slow each other: \
             ratios hold, rates are low; name a core of another with --cores if there is one"
        }
        Shared::Core => {
            "client and origin share a core and take turns: rates and ratios mean little; \
             name fewer --cores, or start `ringshot serve` on another machine"
        }
    }
}

fn few_ports(f: &mut fmt::Formatter<'_>, shortage: &Shortage) -> fmt::Result {
    let Shortage { server, addresses, connections, ports } = shortage;
    let others = match addresses {
        0 | 1 => String::new(),
        all => format!(", or another of its host's {all} addresses"),
    };
    write!(
        f,
        "{} to {server}{others}, and only {} for them: some will fail; \
         sysctl -w net.ipv4.ip_local_port_range='1024 65535', more addresses with --bind, \
         or fewer connections with -c",
        counted(*connections, "connection"),
        counted(*ports, "local port")
    )
}

fn write_errors(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    errors: u64,
    example: &Option<String>,
) -> fmt::Result {
    write!(f, "{} on {name}", counted(errors, "error"))?;
    match example {
        Some(example) => write!(f, ", such as: {example}: fix them before you compare"),
        None => f.write_str(": fix them before you compare"),
    }
}

fn no_success(requests: u64, status: StatusCounts) -> bool {
    requests > 0 && status.success == 0
}

/// Whether some of the responses were what a scenario expects, whatever their class.
fn wanted_other(report: &Report) -> bool {
    report.status_expected != StatusCounts::default()
}

/// The share of responses that were no 2xx, if it is worth a word: who fails may do so quickly.
fn unsuccessful(one: &Contestant) -> Option<f64> {
    let share = 1.0 - one.status.success as f64 / one.requests_total.max(1) as f64;
    (one.requests_total > 0 && share >= UNSUCCESSFUL_MIN).then_some(share)
}

/// More cores are no remedy for a CPU quota, nor for limits of the machine, of which the lack of ports has a warning of its own.
fn client_limit(report: &Report, no_ports: bool) -> Option<Warning> {
    let summary = report.verdict.summary.clone();
    match (report.verdict.limit, report.hits_own_limits()) {
        (Limit::Client, false) if report.is_throttled() => Some(Warning::Throttled { summary }),
        (Limit::Client, false) => Some(Warning::ClientLimit { summary }),
        (Limit::Client, true) if !no_ports => Some(Warning::OwnLimit { summary }),
        _ => None,
    }
}

/// The engine names the error number in its causes and in its examples.
fn ports_exhausted<'a>(mut words: impl Iterator<Item = &'a String>) -> bool {
    words.any(|text| text.contains("EADDRNOTAVAIL"))
}

#[cfg(test)]
mod tests {
    use ringshot::load::Slot;

    use super::*;
    use crate::output::sample;

    #[test]
    fn a_clean_run_gives_no_reason() {
        let mut report = sample::report();
        report.cores[0].busy = 0.5;
        assert_eq!(Warning::of_report(&report), []);
    }

    #[test]
    fn each_reason_is_found() {
        let check = |change: fn(&mut Report), expected: &Warning| {
            let mut report = sample::report();
            report.cores[0].busy = 0.5;
            change(&mut report);
            assert_eq!(Warning::of_report(&report), std::slice::from_ref(expected));
        };
        let summary = "The client was the limit.".to_owned();
        check(
            |r| {
                r.verdict.limit = Limit::Client;
                r.verdict.summary = "The client was the limit.".to_owned();
            },
            &Warning::ClientLimit { summary },
        );
        check(|r| r.cores[0].pinned = false, &Warning::NotPinned { cores: vec![1] });
        check(
            |r| (r.cancelled, r.censored) = (3, 5),
            &Warning::Censored { requests: 5, unsent: 2 },
        );
        check(
            |r| r.exhausted_feeds = vec!["users".to_owned()],
            &Warning::FeedsRanOut { names: vec!["users".to_owned()] },
        );
        check(|r| r.latency_us.saturated = 2, &Warning::Saturated { samples: 2 });
        check(|r| r.status = StatusCounts::default(), &Warning::NoSuccess);
        let mut wanted = sample::report();
        wanted.cores[0].busy = 0.5;
        let not_found = StatusCounts { client_error: 9, ..StatusCounts::default() };
        (wanted.status, wanted.status_expected) = (not_found, not_found);
        assert_eq!(Warning::of_report(&wanted), []);
        // Most failed at something else, whose example is the kind's.
        check(
            |r| {
                r.error_causes = causes(["connect EADDRNOTAVAIL", "connect ECONNREFUSED"]);
                r.error_examples.insert("connect".to_owned(), "connect: ECONNREFUSED".to_owned());
            },
            &Warning::PortsExhausted,
        );
        let of_ports = |r: &mut Report| {
            r.requests = 400;
            r.error_causes = causes(["connect EADDRNOTAVAIL", "reset"]);
            r.verdict.limit = Limit::Client;
        };
        check(of_ports, &Warning::PortsExhausted);
        let of_files = |r: &mut Report| {
            r.requests = 400;
            r.error_causes = causes(["connect EMFILE", "reset"]);
            r.verdict.limit = Limit::Client;
            r.verdict.summary = "Too many files.".to_owned();
        };
        check(of_files, &Warning::OwnLimit { summary: "Too many files.".to_owned() });
        let stopped = |r: &mut Report| {
            r.throttled_seconds = r.seconds * 0.1;
            r.verdict.limit = Limit::Client;
            r.verdict.summary = "A quota stopped it.".to_owned();
        };
        let throttled = Warning::Throttled { summary: "A quota stopped it.".to_owned() };
        check(stopped, &throttled);
        assert!(!throttled.to_string().contains("--cores"), "{throttled}");
    }

    fn causes(of: [&str; 2]) -> std::collections::BTreeMap<String, u64> {
        of.map(|cause| (cause.to_owned(), 661)).into()
    }

    #[test]
    fn a_run_that_slows_down_is_told() {
        let mut report = sample::report();
        let slot = |requests| Slot { seconds: 1.0, requests, ..Slot::default() };
        report.timeline = [100, 100, 100, 100, 90, 90, 50, 50, 1].map(slot).into();
        let [warning] = &Warning::of_report(&report)[..] else { panic!("one warning") };
        assert!(warning.to_string().contains("100 to 50 a second"), "{warning}");
    }

    #[test]
    fn a_lack_of_ports_is_one_line_with_its_remedies() {
        let server = "127.0.0.1:80".parse().unwrap();
        let shortage = Shortage { server, addresses: 1, connections: 30_000, ports: 28_232 };
        let line = Warning::FewPorts(shortage.clone()).to_string();
        let several = Warning::FewPorts(Shortage { addresses: 2, ..shortage }).to_string();
        let told = "127.0.0.1:80, or another of its host's 2 addresses, and only ";
        assert!(several.contains(told), "{several}");
        let start = "30,000 connections to 127.0.0.1:80, and only 28,232 local ports for them";
        assert!(line.starts_with(start) && !line.contains('\n'), "{line}");
        for remedy in ["net.ipv4.ip_local_port_range", "--bind", "-c"] {
            assert!(line.contains(remedy), "{line}");
        }
    }

    #[test]
    fn where_servers_are_compared_a_full_client_is_the_reason() {
        let mut comparison = sample::comparison();
        comparison.contestants[1].driver = "io_uring".to_owned();
        comparison.contestants[0].busy = 0.5;
        let [warning] = &Warning::of_comparison(&comparison)[..] else { panic!("one warning") };
        assert!(warning.to_string().contains("on epoll the client's busiest core was 99.8% busy"));
    }

    #[test]
    fn a_comparison_is_only_clean_when_the_client_was_busy() {
        let mut comparison = sample::comparison();
        assert_eq!(Warning::of_comparison(&comparison), []);
        comparison.contestants[1].busy = 0.5;
        comparison.contestants[1].errors_total = 2;
        let examples = [("cancelled", "when the run ended"), ("reset", "ECONNRESET")];
        comparison.contestants[1].error_examples =
            examples.map(|(kind, example)| (kind.to_owned(), example.to_owned())).into();
        let texts: Vec<_> =
            Warning::of_comparison(&comparison).iter().map(ToString::to_string).collect();
        assert!(texts[0].contains("on epoll the client's busiest core was only 50.0% busy"));
        assert!(texts[1].starts_with("2 errors on epoll, such as: ECONNRESET: "), "{texts:?}");
        let mut comparison = sample::comparison();
        let one = &mut comparison.contestants[0];
        one.status.success = one.requests_total / 4;
        let [warning] = &Warning::of_comparison(&comparison)[..] else { panic!("one warning") };
        assert!(warning.to_string().starts_with("75.0% of the responses on io_uring were no 2xx"));
    }
}
