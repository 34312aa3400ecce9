//! What ten thousand connections on one core cost the client. Each driver is measured in a process of its own, so that neither profits from the other's memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ringshot::driver::DriverKind;
use ringshot::load::{Control, Plan, Stop, Timeouts};
use ringshot::origin::{self, Origin};
use ringshot::sys::process::{file_limit, open_files};
use ringshot_tests::load::{Asked, RUN_MAX, drivers, next_core, plan, run_controlled};
use ringshot_tests::watch::{announce, resident_bytes, wait_until};

/// Connections to hold, where the file limit allows so many.
const CONNECTIONS: u64 = 10_000;
/// The whole process's resident memory, the test harness included.
const RESIDENT_MAX: u64 = 64 << 20;
/// Names the driver to measure and the server to measure it with, in the process that measures.
const DRIVER: &str = "RINGSHOT_MEMORY_DRIVER";
const SERVER: &str = "RINGSHOT_MEMORY_SERVER";

#[test]
fn ten_thousand_connections_on_one_core() {
    if let Ok(name) = std::env::var(DRIVER) {
        let driver = drivers().into_iter().find(|driver| driver.to_string() == name);
        let url = std::env::var(SERVER).expect("a server's URL");
        return measure(driver.expect("a driver that works here"), &url);
    }
    let config = origin::Config {
        cores: vec![next_core()],
        driver: DriverKind::Epoll,
        body_bytes: 100,
        ..origin::Config::on_loopback()
    };
    let server = Origin::start(&config).expect("an origin");
    let url = format!("http://{}/", server.address());
    for driver in drivers() {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "ten_thousand_connections_on_one_core", "--nocapture"]);
        let output = child.env(DRIVER, driver.to_string()).env(SERVER, &url).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
        announce(said.trim());
    }
    server.stop().expect("the origin ends");
}

fn measure(driver: DriverKind, url: &str) {
    let spare = open_files().unwrap_or(0) + 64;
    let connections = CONNECTIONS.min(file_limit().soft.saturating_sub(spare));
    let plan = plan(url, driver, &Asked::default());
    let stop = Stop::after(RUN_MAX);
    // A burst of so many connects overflows the server's queue, and the kernel tries again after seconds.
    let timeouts = Timeouts { connect: RUN_MAX, response: RUN_MAX };
    let connections_asked = connections as u32;
    let plan = Plan { connections: connections_asked, stop, drain: RUN_MAX / 2, timeouts, ..plan };
    let control = Arc::new(Control::new());
    let before = resident_bytes();
    let (report, during) = std::thread::scope(|scope| {
        let run = scope.spawn(|| run_controlled(&plan, &control));
        let busy = || {
            let snapshot = control.snapshot();
            snapshot.connected >= connections && snapshot.requests >= 2 * connections
        };
        // A core that is busy with others takes its time.
        let reached = wait_until(RUN_MAX * 3 / 4, busy);
        let during = resident_bytes();
        control.stop();
        let report = run.join().expect("the run");
        assert!(reached, "{connections} connections on {driver}: {report:#?}");
        (report, during)
    });
    assert_eq!((report.errors, report.cancelled), (0, 0), "{report:#?}");
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    announce(&format!(
        "{connections} connections on {driver}: {:.1} MiB resident, {:.1} MiB of it for them",
        mib(during),
        mib(during.saturating_sub(before)),
    ));
    assert!(during.max(report.resident_bytes_max) <= RESIDENT_MAX, "{report:#?}");
    // Descriptors of ten thousand sockets are closed by now: the machine is left as it was.
    assert!(wait_until(Duration::from_secs(5), || open_files().unwrap_or(0) < spare));
}
