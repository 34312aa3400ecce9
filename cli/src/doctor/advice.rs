//! What to change before a serious run: each reading against what such a run wants. Pure.

use serde::Serialize;

use super::readings::{Bound, CoreReading, Findings};
use crate::cores::format_ranges;

/// Open files for ten thousands of connections.
const OPEN_FILES_MIN: u64 = 65_536;
/// Bytes for rings and registered buffers of many cores: the usual limit since systemd 253.
const LOCKED_MEMORY_MIN: u64 = 8 << 20;
/// Local ports to one address, below which short connections run out within seconds.
const PORTS_MIN: u16 = 50_000;
/// Connections that may wait to be accepted: the kernel's default since 5.4.
const SOMAXCONN_MIN: u64 = 4096;

/// One change, why, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Advice {
    pub(crate) why: String,
    /// A shell command, or the option of ringshot to use.
    pub(crate) command: String,
}

/// Everything worth changing, in the order in which it matters.
pub(super) fn advice(findings: &Findings) -> Vec<Advice> {
    let candidates = [
        io_uring(findings),
        cpu_quota(findings),
        open_files(findings),
        locked_memory(findings),
        ports(findings),
        tw_reuse(findings),
        somaxconn(findings),
        governor(&findings.cores),
        siblings(&findings.cores),
        few_cores(&findings.cores),
    ];
    candidates.into_iter().flatten().collect()
}

fn advise(why: impl Into<String>, command: impl Into<String>) -> Option<Advice> {
    Some(Advice { why: why.into(), command: command.into() })
}

fn io_uring(findings: &Findings) -> Option<Advice> {
    let blocked = findings.io_uring.blocked.as_ref()?;
    advise(format!("io_uring is not available: {blocked}"), "ringshot run --driver epoll URL")
}

fn cpu_quota(findings: &Findings) -> Option<Advice> {
    let quota = findings.cpu_quota?;
    advise(
        format!(
            "a CPU quota of {quota:.2} cores stops this process each time it is used up, mostly for tens of milliseconds"
        ),
        "docker run without --cpus, a pod without a CPU limit, or a unit without CPUQuota=",
    )
}

fn open_files(findings: &Findings) -> Option<Advice> {
    let limit = findings.open_files?;
    let wanted = Bound::At(OPEN_FILES_MIN);
    if limit.soft >= wanted {
        return None;
    }
    let why = format!("this shell allows {} open files, one for each connection", limit.soft);
    match limit.hard >= wanted {
        true => advise(why, format!("ulimit -n {OPEN_FILES_MIN}")),
        false => advise(
            format!("{why}; the hard limit is {}", limit.hard),
            format!("sudo prlimit --pid $$ --nofile={OPEN_FILES_MIN}"),
        ),
    }
}

fn locked_memory(findings: &Findings) -> Option<Advice> {
    let limit = findings.locked_memory_bytes?;
    (limit.soft < Bound::At(LOCKED_MEMORY_MIN)).then(|| Advice {
        why: format!(
            "only {} bytes of memory may be locked, by rings and their buffers",
            limit.soft
        ),
        command: format!("sudo prlimit --pid $$ --memlock={LOCKED_MEMORY_MIN}"),
    })
}

fn ports(findings: &Findings) -> Option<Advice> {
    let (first, last) = findings.port_range?;
    (last - first < PORTS_MIN).then(|| Advice {
        why: format!(
            "{} local ports to one server address: few for --no-keepalive or many connections",
            u32::from(last - first) + 1
        ),
        command: "sudo sysctl -w net.ipv4.ip_local_port_range='1024 65535'".to_owned(),
    })
}

fn tw_reuse(findings: &Findings) -> Option<Advice> {
    let why = match findings.tcp_tw_reuse? {
        1 => return None,
        0 => "ports of closed connections rest for 60 s before they are used again",
        _ => {
            "ports of closed connections to other machines rest for 60 s (on loopback they do not)"
        }
    };
    advise(why, "sudo sysctl -w net.ipv4.tcp_tw_reuse=1")
}

fn somaxconn(findings: &Findings) -> Option<Advice> {
    let limit = findings.somaxconn.filter(|limit| *limit < SOMAXCONN_MIN)?;
    advise(
        format!("a server here queues {limit} connections at most; more dials at once wait 1 s"),
        format!("sudo sysctl -w net.core.somaxconn={SOMAXCONN_MIN}"),
    )
}

fn governor(cores: &[CoreReading]) -> Option<Advice> {
    let slow = cores.iter().filter_map(|core| core.governor.as_deref());
    let slow = slow.into_iter().find(|governor| *governor != "performance")?;
    advise(
        format!("the frequency governor is {slow}: figures move with the clock"),
        "sudo cpupower frequency-set -g performance",
    )
}

/// One hardware thread of each physical core, if some share one.
fn siblings(cores: &[CoreReading]) -> Option<Advice> {
    let is_first = |core: &&CoreReading| match &core.siblings {
        Some(siblings) => !cores.iter().any(|c| c.core < core.core && siblings.contains(&c.core)),
        None => true,
    };
    let firsts: Vec<usize> = cores.iter().filter(is_first).map(|core| core.core).collect();
    if firsts.len() == cores.len() {
        return None;
    }
    let command = match firsts.as_slice() {
        [_] => "run the server on another machine".to_owned(),
        firsts => format!("--cores, with some of {} for the client", format_ranges(firsts)),
    };
    advise("some cores are hardware threads of one physical core and slow each other", command)
}

fn few_cores(cores: &[CoreReading]) -> Option<Advice> {
    (cores.len() == 1).then(|| Advice {
        why: "one core: a server on this machine takes turns with the client".to_owned(),
        command: "run the server on another machine".to_owned(),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::readings::{FeatureReading, HostReading, IoUring, Limit};
    use super::*;

    fn core(core: usize, siblings: &[usize], governor: Option<&str>) -> CoreReading {
        CoreReading {
            core,
            siblings: Some(siblings.to_vec()),
            node: Some(0),
            governor: governor.map(str::to_owned),
        }
    }

    /// A machine on which nothing needs to change.
    pub(crate) fn sound() -> Findings {
        let limit = Limit { soft: Bound::At(1 << 20), hard: Bound::Unlimited };
        Findings {
            ringshot_version: "0.1.0",
            kernel: "6.12.0".to_owned(),
            io_uring: IoUring {
                tier: Some("full".to_owned()),
                blocked: None,
                features: vec![FeatureReading {
                    name: "multishot receive",
                    since: "6.0",
                    available: true,
                    reason: "tried on a socket pair".to_owned(),
                    used_for: "one SQE for all receives of a connection",
                }],
            },
            glommio: HostReading { available: true, problem: None },
            open_files: Some(limit),
            locked_memory_bytes: Some(Limit { soft: Bound::At(8 << 20), ..limit }),
            port_range: Some((1024, 65_535)),
            somaxconn: Some(4096),
            tcp_tw_reuse: Some(1),
            cpu_quota: None,
            cores: vec![core(0, &[0], Some("performance")), core(1, &[1], None)],
            advice: Vec::new(),
        }
    }

    #[test]
    fn a_sound_machine_needs_nothing() {
        assert_eq!(advice(&sound()), []);
    }

    #[test]
    fn what_is_not_visible_is_not_advised_on() {
        let mut blind = sound();
        (blind.open_files, blind.locked_memory_bytes, blind.port_range) = (None, None, None);
        (blind.somaxconn, blind.tcp_tw_reuse) = (None, None);
        blind.cores.iter_mut().for_each(|core| (core.siblings, core.governor) = (None, None));
        assert_eq!(advice(&blind), []);
    }

    #[test]
    fn each_shortage_has_its_command() {
        let check = |change: fn(&mut Findings), command: &str| {
            let mut findings = sound();
            change(&mut findings);
            let commands: Vec<_> = advice(&findings).into_iter().map(|a| a.command).collect();
            assert_eq!(commands, [command]);
        };
        check(
            |f| f.open_files = Some(Limit { soft: Bound::At(1024), hard: Bound::Unlimited }),
            "ulimit -n 65536",
        );
        check(
            |f| f.open_files = Some(Limit { soft: Bound::At(1024), hard: Bound::At(4096) }),
            "sudo prlimit --pid $$ --nofile=65536",
        );
        check(
            |f| {
                f.locked_memory_bytes =
                    Some(Limit { soft: Bound::At(65_536), hard: Bound::Unlimited });
            },
            "sudo prlimit --pid $$ --memlock=8388608",
        );
        check(
            |f| f.port_range = Some((32_768, 60_999)),
            "sudo sysctl -w net.ipv4.ip_local_port_range='1024 65535'",
        );
        check(|f| f.tcp_tw_reuse = Some(2), "sudo sysctl -w net.ipv4.tcp_tw_reuse=1");
        check(|f| f.somaxconn = Some(128), "sudo sysctl -w net.core.somaxconn=4096");
        check(
            |f| f.cores[1].governor = Some("powersave".to_owned()),
            "sudo cpupower frequency-set -g performance",
        );
        check(
            |f| f.cores = vec![core(0, &[0, 1], None), core(1, &[0, 1], None), core(2, &[2], None)],
            "--cores, with some of 0,2 for the client",
        );
        check(
            |f| f.cores = vec![core(0, &[0, 1], None), core(1, &[0, 1], None)],
            "run the server on another machine",
        );
        check(
            |f| f.cpu_quota = Some(1.5),
            "docker run without --cpus, a pod without a CPU limit, or a unit without CPUQuota=",
        );
        check(|f| f.cores.truncate(1), "run the server on another machine");
        check(
            |f| f.io_uring.blocked = Some("ENOSYS".to_owned()),
            "ringshot run --driver epoll URL",
        );
    }
}
