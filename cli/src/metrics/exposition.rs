//! A snapshot as Prometheus text, format 0.0.4; `docs/metrics.md` lists the names. Pure.

use std::fmt::{Display, Write};

use ringshot::load::{
    Arrival, COARSE_BUCKETS, Coarse, CoreSnapshot, Phase, Plan, Snapshot, StatusCounts,
};

use crate::tally::Tally;

/// The buckets of a snapshot that one bucket here takes together: half an octave.
const BUCKETS_EACH: usize = 8;
/// The phases, by their label.
const PHASES: [(&str, Phase); 5] = [
    ("starting", Phase::Starting),
    ("warm_up", Phase::WarmUp),
    ("measuring", Phase::Measuring),
    ("draining", Phase::Draining),
    ("done", Phase::Done),
];

/// What is known of the run from the start, and what its snapshots added up to.
#[derive(Debug)]
pub(super) struct Exposition {
    cores: Vec<usize>,
    arrival: Arrival,
    connections: u32,
    times: Tally,
}

impl Exposition {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            cores: plan.cores.clone(),
            arrival: plan.arrival.clone(),
            connections: plan.connections,
            times: Tally::default(),
        }
    }

    /// All metrics as of `now`.
    pub(super) fn render(&mut self, now: &Snapshot) -> String {
        self.times.follow(&now.response_time);
        let mut page = Page::default();
        page.build();
        page.totals(now);
        self.gauges(&mut page, now);
        page.times(&self.times);
        self.cores(&mut page, now);
        page.0
    }

    fn gauges(&self, page: &mut Page, now: &Snapshot) {
        page.gauge("in_flight", "Requests on the wire now.", now.in_flight);
        page.gauge("connections", "Connections that the run shall have.", self.connections);
        if let Some(target) = self.arrival.rate_at(now.measured) {
            let help = "Requests a second that the schedule asks for now.";
            page.gauge("target_requests_per_second", help, target);
        }
        let help = "Time since measuring began.";
        page.gauge("measured_seconds", help, now.measured.as_secs_f64());
        page.head("phase", "gauge", "1 for the phase of the slowest core, 0 for the others.");
        for (label, phase) in PHASES {
            let is_now = u8::from(phase == now.phase);
            page.labelled("phase", "phase", &label, is_now);
        }
    }

    fn cores(&self, page: &mut Page, now: &Snapshot) {
        let counters = [
            (
                "core_requests_total",
                "Requests of a core completed with a response, since measuring began.",
            ),
            ("core_cpu_seconds_total", "CPU time of a core's thread, since the run began."),
            (
                "core_connections_established_total",
                "Connections that a core has established, since the run began.",
            ),
        ];
        let values = |core: &CoreSnapshot| {
            [core.requests as f64, core.cpu.as_secs_f64(), core.connected as f64]
        };
        for (at, (name, help)) in counters.into_iter().enumerate() {
            page.head(name, "counter", help);
            for (number, core) in self.cores.iter().zip(&now.cores) {
                page.labelled(name, "core", number, values(core)[at]);
            }
        }
    }
}

/// The text that grows.
#[derive(Debug, Default)]
struct Page(String);

impl Page {
    fn build(&mut self) {
        self.head("build_info", "gauge", "The version that runs, as a label; always 1.");
        self.labelled("build_info", "version", &env!("CARGO_PKG_VERSION"), 1);
    }

    fn totals(&mut self, now: &Snapshot) {
        let rows = [
            ("requests_total", "Requests completed with a response.", now.requests),
            ("errors_total", "Requests that failed.", now.errors),
            (
                "offered_total",
                "Requests that were due; all that ended, in a closed loop.",
                now.offered,
            ),
            ("late_total", "Requests sent more than a millisecond after they were due.", now.late),
            ("shed_total", "Requests given up unsent.", now.shed),
            ("received_bytes_total", "Bytes received, heads included.", now.bytes),
        ];
        for (name, help, value) in rows {
            self.head(name, "counter", help);
            self.line(format_args!("ringshot_{name} {value}"));
        }
        self.statuses(now.status);
        let name = "connections_established_total";
        self.head(name, "counter", "Connections established, since the run began.");
        self.line(format_args!("ringshot_{name} {}", now.connected));
    }

    fn statuses(&mut self, status: StatusCounts) {
        let name = "responses_total";
        self.head(name, "counter", "Responses by status class.");
        for (class, count) in status.by_class() {
            self.labelled(name, "class", &class, count);
        }
    }

    /// A cumulative histogram. Its sum is made from the middles of the buckets, which are good to 3 %.
    fn times(&mut self, times: &Tally) {
        let name = "response_time_seconds";
        self.head(
            name,
            "histogram",
            "From a request being due to its last byte, of successful responses (2xx).",
        );
        let (mut below, mut sum) = (0_u64, 0.0);
        for (bucket, count) in times.counts().iter().enumerate() {
            below += count;
            sum += *count as f64 * Coarse::middle_of(bucket) as f64 / 1e9;
            let next = bucket + 1;
            if next.is_multiple_of(BUCKETS_EACH) && next < COARSE_BUCKETS {
                let bound = lower_bound_nanos(next) as f64 / 1e9;
                self.line(format_args!("ringshot_{name}_bucket{{le=\"{bound}\"}} {below}"));
            }
        }
        self.line(format_args!("ringshot_{name}_bucket{{le=\"+Inf\"}} {below}"));
        self.line(format_args!("ringshot_{name}_sum {sum}"));
        self.line(format_args!("ringshot_{name}_count {below}"));
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "gauge", help);
        self.line(format_args!("ringshot_{name} {value}"));
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP ringshot_{name} {help}"));
        self.line(format_args!("# TYPE ringshot_{name} {kind}"));
    }

    fn labelled(&mut self, name: &str, label: &str, of: &dyn Display, value: impl Display) {
        self.line(format_args!("ringshot_{name}{{{label}=\"{of}\"}} {value}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // A String takes all that it is given.
        let _ = writeln!(self.0, "{line}");
    }
}

/// The smallest time of a bucket that is as wide as the one after it, as the first of each half of an octave are.
fn lower_bound_nanos(bucket: usize) -> u64 {
    let middle = Coarse::middle_of(bucket);
    let half_width = (Coarse::middle_of(bucket + 1) - middle) / 2;
    middle - half_width
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn exposition(arrival: Arrival) -> Exposition {
        Exposition { cores: vec![1, 4], arrival, connections: 64, times: Tally::default() }
    }

    fn snapshot() -> Snapshot {
        let mut response_time = Coarse::default();
        (0..90).for_each(|_| response_time.record(300_000));
        (0..10).for_each(|_| response_time.record(3_000_000));
        let core = |requests| CoreSnapshot {
            requests,
            cpu: Duration::from_millis(1_500),
            ..CoreSnapshot::default()
        };
        Snapshot {
            requests: 112,
            errors: 7,
            status: StatusCounts { success: 100, server_error: 12, ..StatusCounts::default() },
            bytes: 12_345,
            cores: vec![core(60), core(40)],
            response_time,
            measured: Duration::from_secs(2),
            ..Snapshot::at(Phase::Measuring)
        }
    }

    fn page() -> String {
        let open = Arrival::at_rate(50.0, Duration::from_secs(10));
        exposition(open).render(&snapshot())
    }

    /// The value on the line that begins with `name`.
    fn value(page: &str, name: &str) -> f64 {
        let line = page.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in\n{page}")).parse().unwrap()
    }

    #[test]
    fn values() {
        let page = page();
        for (name, expected) in [
            ("ringshot_requests_total", 112.0),
            ("ringshot_responses_total{class=\"2xx\"}", 100.0),
            ("ringshot_responses_total{class=\"5xx\"}", 12.0),
            // What its help says it is of, and nothing else.
            ("ringshot_response_time_seconds_count", 100.0),
            ("ringshot_errors_total", 7.0),
            ("ringshot_received_bytes_total", 12_345.0),
            ("ringshot_target_requests_per_second", 50.0),
            ("ringshot_connections", 64.0),
            ("ringshot_measured_seconds", 2.0),
            ("ringshot_phase{phase=\"measuring\"}", 1.0),
            ("ringshot_phase{phase=\"draining\"}", 0.0),
            ("ringshot_core_requests_total{core=\"4\"}", 40.0),
            ("ringshot_core_cpu_seconds_total{core=\"1\"}", 1.5),
        ] {
            assert!((value(&page, name) - expected).abs() < 1e-9, "{name} in\n{page}");
        }
        let closed = exposition(Arrival::Closed).render(&snapshot());
        assert!(!closed.contains("ringshot_target_requests_per_second"), "{closed}");
    }

    #[test]
    fn the_histogram_is_cumulative_and_in_seconds() {
        let page = page();
        let bucket =
            |le| value(&page, &format!("ringshot_response_time_seconds_bucket{{le=\"{le}\"}}"));
        // Powers of two and three times powers of two, in nanoseconds.
        for (le, expected) in [
            ("0.000001536", 0.0),
            ("0.000262144", 0.0),
            ("0.000393216", 90.0),
            ("0.003145728", 100.0),
            ("+Inf", 100.0),
        ] {
            assert!((bucket(le) - expected).abs() < 1e-9, "{le}");
        }
        assert!((value(&page, "ringshot_response_time_seconds_count") - 100.0).abs() < 1e-9);
        let sum = value(&page, "ringshot_response_time_seconds_sum");
        assert!((sum / 0.057 - 1.0).abs() < 0.03, "{sum}");
    }

    #[test]
    fn every_sample_has_its_help_and_type_and_every_line_is_well_formed() {
        let page = page();
        let mut family = String::new();
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                family = rest.split(' ').next().unwrap().to_owned();
                assert!(rest.ends_with('.'), "{line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(name, family);
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            } else {
                let (name, value) = line.rsplit_once(' ').unwrap();
                assert!(name.starts_with(&family) && value.parse::<f64>().is_ok(), "{line}");
            }
        }
        assert!(page.ends_with('\n'));
    }

    #[test]
    fn there_is_one_phase_at_any_time() {
        for phase in
            [Phase::Starting, Phase::WarmUp, Phase::Measuring, Phase::Draining, Phase::Done]
        {
            let page = exposition(Arrival::Closed).render(&Snapshot { phase, ..snapshot() });
            let is_now = |line: &&str| line.starts_with("ringshot_phase{") && line.ends_with(" 1");
            assert_eq!(page.lines().filter(is_now).count(), 1, "{phase:?}: {page}");
        }
    }

    #[test]
    fn every_name_is_documented() {
        let docs = include_str!("../../../docs/metrics.md");
        for name in page().lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let name = name.split(' ').next().unwrap();
            assert!(docs.contains(&format!("| `{name}` |")), "{name} is not in docs/metrics.md");
        }
    }
}
