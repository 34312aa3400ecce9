//! `ringshot doctor`: what this machine allows, and what to change for a serious run. It changes nothing.

pub(crate) mod advice;
pub(crate) mod readings;

use std::fs;

use ringshot::driver::probe::{self, Probe};
use ringshot::host::Host;
use ringshot::sys::affinity;
use ringshot::sys::cgroup::Cgroups;

use crate::args::{DoctorArgs, Format};
use crate::exit::{Exit, Failure};
use crate::output::{self, json};
use crate::{ports, topology};
use advice::advice;
use readings::{CoreReading, FeatureReading, Findings, HostReading, IoUring, limits, single};

/// Looks, and prints what it found.
pub(crate) fn doctor(args: &DoctorArgs) -> Result<Exit, Failure> {
    let mut findings = look(&probe::probe());
    findings.advice = advice(&findings);
    match args.output {
        Format::Json => output::print(&json::to_text(&findings)),
        Format::Text => output::print_text(&output::doctor::render(&findings)),
    }?;
    Ok(Exit::Ok)
}

fn look(probe: &Probe) -> Findings {
    let limits_text = read("/proc/self/limits").unwrap_or_default();
    Findings {
        ringshot_version: env!("CARGO_PKG_VERSION"),
        kernel: probe.kernel.clone(),
        io_uring: io_uring(probe),
        glommio: glommio(),
        open_files: limits(&limits_text, "Max open files"),
        locked_memory_bytes: limits(&limits_text, "Max locked memory"),
        port_range: ports::range(),
        somaxconn: read("/proc/sys/net/core/somaxconn").and_then(|text| single(&text)),
        tcp_tw_reuse: read("/proc/sys/net/ipv4/tcp_tw_reuse").and_then(|text| single(&text)),
        cpu_quota: Cgroups::of_process().quota(),
        cores: affinity::cores().into_iter().map(core).collect(),
        advice: Vec::new(),
    }
}

fn io_uring(probe: &Probe) -> IoUring {
    let features = probe.features.iter().map(|feature| FeatureReading {
        name: feature.name,
        since: feature.since,
        available: feature.available,
        reason: feature.reason.clone(),
        used_for: feature.used_for,
    });
    IoUring {
        tier: probe.tier.map(|tier| tier.to_string()),
        blocked: probe.blocked.as_ref().map(ToString::to_string),
        features: features.collect(),
    }
}

fn glommio() -> HostReading {
    let host =
        "glommio".parse::<Host>().map_err(|_| "this program was built without it".to_owned());
    let started = host.and_then(|host| host.try_start().map_err(|error| error.to_string()));
    HostReading { available: started.is_ok(), problem: started.err() }
}

fn core(core: usize) -> CoreReading {
    CoreReading {
        core,
        siblings: topology::siblings(core),
        node: topology::node(core),
        governor: topology::governor(core),
    }
}

/// What can't be read is shown as "not visible".
fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}
