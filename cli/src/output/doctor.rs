//! `doctor`'s findings for a person. Pure.

use std::fmt::Display;

use super::format::count;
use crate::cores::format_ranges;
use crate::doctor::advice::Advice;
use crate::doctor::readings::{CoreReading, Findings, HostReading, IoUring, Limit};

const NOT_VISIBLE: &str = "not visible";

/// The whole report.
pub(crate) fn render(findings: &Findings) -> String {
    let sections = [
        io_uring(&findings.kernel, &findings.io_uring),
        glommio(&findings.glommio),
        limits(findings),
        cores(&findings.cores),
        advice(&findings.advice),
    ];
    sections.join("\n")
}

fn io_uring(kernel: &str, io_uring: &IoUring) -> String {
    let state = match (&io_uring.tier, &io_uring.blocked) {
        (_, Some(blocked)) => format!("no: {blocked}"),
        (Some(tier), None) => tier.clone(),
        (None, None) => "no".to_owned(),
    };
    let features = io_uring.features.iter().map(|feature| {
        let answer = if feature.available { "yes" } else { "no" };
        format!(
            "  {:<27}{answer:<5}{} (Linux {}, {})\n",
            feature.name,
            feature.reason,
            feature.since,
            purpose(feature.used_for)
        )
    });
    let head = [line("kernel", kernel), line("io_uring", state)];
    head.into_iter().chain(features).collect()
}

fn glommio(glommio: &HostReading) -> String {
    let state = match &glommio.problem {
        None => "starts, for --host glommio".to_owned(),
        Some(problem) => format!("no: {problem}"),
    };
    line("glommio", state)
}

fn limits(findings: &Findings) -> String {
    let ports = findings.port_range.map(|(first, last)| format!("{first} to {last}"));
    [
        line("open files", limit(findings.open_files)),
        line("locked memory, bytes", limit(findings.locked_memory_bytes)),
        line("local ports", visible(ports)),
        line("somaxconn", visible(findings.somaxconn.map(count))),
        line("tcp_tw_reuse", visible(findings.tcp_tw_reuse)),
        line("CPU quota", cpu_quota(findings.cpu_quota)),
    ]
    .concat()
}

fn cpu_quota(cores: Option<f64>) -> String {
    cores.map_or_else(|| "none".to_owned(), |cores| format!("{cores:.2} cores"))
}

fn cores(cores: &[CoreReading]) -> String {
    let row = |cells: [String; 4]| {
        let [core, siblings, node, governor] = cells;
        format!("{core:<8}{siblings:<20}{node:<14}{governor}\n")
    };
    let head = ["core", "hardware threads", "NUMA node", "governor"];
    let rows = cores.iter().map(|core| {
        row([
            core.core.to_string(),
            visible(core.siblings.as_deref().map(format_ranges)),
            visible(core.node),
            visible(core.governor.as_ref()),
        ])
    });
    std::iter::once(row(head.map(str::to_owned))).chain(rows).collect()
}

fn advice(advice: &[Advice]) -> String {
    if advice.is_empty() {
        return "For a serious run nothing needs to change.\n".to_owned();
    }
    let items = advice.iter().map(|Advice { why, command }| format!("- {why}\n    {command}\n"));
    std::iter::once("For a serious run:\n".to_owned()).chain(items).collect()
}

fn limit(limit: Option<Limit>) -> String {
    visible(limit.map(|limit| format!("{} (hard limit {})", limit.soft, limit.hard)))
}

fn visible(value: Option<impl Display>) -> String {
    value.map_or_else(|| NOT_VISIBLE.to_owned(), |value| value.to_string())
}

fn line(label: &str, text: impl Display) -> String {
    format!("{label:<22}{text}\n")
}

/// What a feature is for, or that it is not used.
fn purpose(used_for: &str) -> String {
    if used_for.starts_with("not used") { used_for.to_owned() } else { format!("for: {used_for}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::advice::tests::sound;

    #[test]
    fn a_sound_machine_reads_so() {
        let expected = "\
kernel                6.12.0
io_uring              full
  multishot receive          yes  tried on a socket pair (Linux 6.0, for: one SQE for all receives of a connection)

glommio               starts, for --host glommio

open files            1048576 (hard limit unlimited)
locked memory, bytes  8388608 (hard limit unlimited)
local ports           1024 to 65535
somaxconn             4,096
tcp_tw_reuse          1
CPU quota             none

core    hardware threads    NUMA node     governor
0       0                   0             performance
1       1                   0             not visible

For a serious run nothing needs to change.
";
        assert_eq!(render(&sound()), expected);
    }

    #[test]
    fn what_is_missing_is_named() {
        let mut findings = sound();
        findings.io_uring.blocked = Some("ENOSYS: no such system call".to_owned());
        findings.io_uring.features[0].available = false;
        findings.glommio.problem = Some("memory".to_owned());
        findings.open_files = None;
        findings.cpu_quota = Some(0.5);
        findings.advice = vec![Advice { why: "slow".to_owned(), command: "faster".to_owned() }];
        let text = render(&findings);
        for part in [
            "io_uring              no: ENOSYS: no such system call\n",
            "multishot receive          no ",
            "glommio               no: memory\n",
            "open files            not visible\n",
            "CPU quota             0.50 cores\n",
            "For a serious run:\n- slow\n    faster\n",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
