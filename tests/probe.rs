//! The probe on this kernel as it is, behind seccomp filters that forbid `io_uring` as containers do, and with little locked memory.
//!
//! A filter or a limit can't be taken off again, so each runs in a child: this very binary, told by an environment variable which case it is. The sysctl is not touched:
//! it is the whole machine's, and the classification of its values has a table of its own.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout)] // The lints know test functions, not their helpers.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::Command;

use ringshot::client::{Cores, Engine};
use ringshot::driver::probe::{self, Blocked, Probe};
use ringshot::driver::uring::Tier;
use ringshot::driver::{DriverChoice, DriverKind};
use ringshot::load::{Control, KeepAlive, Plan, Report, Request, Stop, Template};
use ringshot::sys::affinity;
use ringshot_tests::seccomp;

/// Names the case that a child is to check.
const CASE: &str = "RINGSHOT_PROBE_CASE";

/// The locked memory, in bytes, that a child is to do with.
const LIMIT: &str = "RINGSHOT_PROBE_LOCKED_MEMORY";

const SETUP: u32 = seccomp::IO_URING[0];
const ENTER: u32 = seccomp::IO_URING[1];
const REGISTER: u32 = seccomp::IO_URING[2];

/// A filter, and what the probe must say behind it.
struct Case {
    name: &'static str,
    calls: &'static [u32],
    errno: i32,
    blocked: Blocked,
    words: &'static [&'static str],
}

/// What containers do, and filters that forget one of the calls.
fn cases() -> [Case; 5] {
    let seccomp = &["EPERM", "seccomp", "Docker", "--security-opt seccomp="];
    let missing = &["ENOSYS", "seccomp", "podman", "--security-opt seccomp="];
    let case = |name, calls, errno, blocked, words| Case { name, calls, errno, blocked, words };
    [
        case("docker", &[SETUP, ENTER, REGISTER], libc::EPERM, Blocked::Seccomp, seccomp),
        case("podman", &[SETUP, ENTER, REGISTER], libc::ENOSYS, Blocked::MissingSeccomp, missing),
        case("setup_only", &[SETUP], libc::EPERM, Blocked::Seccomp, seccomp),
        case("enter_only", &[ENTER], libc::EPERM, Blocked::Seccomp, seccomp),
        case("register_only", &[REGISTER], libc::EPERM, Blocked::Seccomp, seccomp),
    ]
}

#[test]
fn docker_filter_is_named_and_epoll_runs() {
    check_behind_filter("docker");
}

#[test]
fn podman_filter_is_named_and_epoll_runs() {
    check_behind_filter("podman");
}

#[test]
fn filter_of_any_single_call_is_named() {
    for name in ["setup_only", "enter_only", "register_only"] {
        check_behind_filter(name);
    }
}

/// Starts this test binary again, behind the filter, with `child` as its only test.
fn check_behind_filter(name: &'static str) {
    if let Some(off @ Blocked::SwitchedOff { .. }) = probe::probe().blocked {
        // The sysctl is named before any filter.
        println!("skipped: {off}");
        return;
    }
    let case = cases().into_iter().find(|case| case.name == name).expect("a case of this name");
    let mut command = Command::new(std::env::current_exe().expect("a path of our own"));
    command.args(["--exact", "child", "--nocapture"]).env(CASE, name);
    seccomp::forbid(&mut command, case.calls, case.errno);
    check_output(&format!("behind {name}:"), &mut command);
}

/// Runs a child, which must succeed and say `words`.
fn check_output(words: &str, command: &mut Command) {
    let output = command.output().expect("a child");
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words} {}\n{out}\n{err}", output.status);
    assert!(out.contains(words), "the child checked nothing: {out}");
}

/// The limit on locked memory is per user, and kept after a ring's close for a while: kernels of 5.12 to about 6.13 do not charge rings to it at all.
#[test]
fn little_locked_memory_is_named_and_much_is_enough() {
    if io_uring_works(&probe::probe()) {
        check_behind_limit("child_with_limit", 0);
        check_behind_limit("child_with_limit", 4 << 20);
    }
}

/// Locked memory that is enough for the ring of one core.
const ONE_RING_BYTES: libc::rlim_t = 200 << 10;

/// Where there is memory for one ring, and not for those of all cores, all run on epoll.
#[test]
fn memory_for_one_ring_is_not_enough_for_two() {
    if io_uring_works(&probe::probe()) && affinity::cores().len() > 1 {
        check_behind_limit("child_with_one_ring", ONE_RING_BYTES);
    }
}

/// Starts `child` of this test binary again with `bytes` of locked memory, and without the capability that overrides the limit.
fn check_behind_limit(child: &str, bytes: libc::rlim_t) {
    let mut command = Command::new(std::env::current_exe().expect("a path of our own"));
    command.args(["--exact", child, "--nocapture"]).env(LIMIT, bytes.to_string());
    let limit = move || {
        const CAP_IPC_LOCK: libc::c_ulong = 14;
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
        // SAFETY: PR_CAPBSET_DROP takes no pointer (prctl(2)). Who may not drop the capability has not got it.
        let _ = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0) };
        // SAFETY: `limit` is a valid rlimit that the call reads (setrlimit(2)).
        let status = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
        if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec the closure makes two system calls and touches its own stack only.
    unsafe { command.pre_exec(limit) };
    check_output(&format!("with {bytes} bytes:"), &mut command);
}

/// The part of [`check_behind_limit`] that runs with it; by itself it checks that there is no limit set.
#[test]
fn child_with_limit() {
    let Ok(bytes) = std::env::var(LIMIT) else {
        assert!(std::env::var_os(LIMIT).is_none());
        return;
    };
    // Each choice closes rings, whose memory is charged for some time after: there is room for all of these.
    let choices: Vec<_> =
        (0..4).map(|_| probe::choose(DriverChoice::Auto, &[]).expect("auto")).collect();
    for choice in &choices {
        assert_eq!(choice, &choices[0], "with {bytes} bytes");
        if let Some(notice) = &choice.notice {
            assert!(notice.contains("ENOMEM") && notice.contains("ulimit -l"), "{notice}");
            assert_eq!(bytes, "0", "{notice}");
        }
    }
    let report = load(choices[0].kind);
    assert_eq!((report.requests, report.errors), (REQUESTS, 0), "{report:#?}");
    let found = probe::probe();
    let untried = found.features.iter().all(|feature| feature.reason.starts_with("not tried"));
    assert_eq!(untried, found.blocked == Some(Blocked::NoMemory), "{found:#?}");
    println!("with {bytes} bytes: {}", report.driver);
}

/// The part of [`memory_for_one_ring_is_not_enough_for_two`] that runs with it; by itself it checks that there is no limit set.
#[test]
fn child_with_one_ring() {
    let Ok(bytes) = std::env::var(LIMIT) else {
        assert!(std::env::var_os(LIMIT).is_none());
        return;
    };
    let shards = [512; 2];
    let choice = probe::choose(DriverChoice::Auto, &shards).expect("auto");
    // Some kernels charge rings to nobody.
    if let Some(notice) = &choice.notice {
        assert!(notice.contains("ENOMEM") && notice.contains("ulimit -l"), "{notice}");
        assert_eq!(probe::choose(DriverChoice::IoUring, &shards), Err(Blocked::NoMemory));
    }
    let builder = || Engine::builder().cores(Cores::Count(shards.len())).conns_per_core(512);
    assert_eq!(builder().build().expect("an engine").driver(), choice.kind);
    if choice.kind == DriverKind::Epoll {
        let error = builder().driver(DriverChoice::IoUring).build().expect_err("no memory");
        assert!(error.to_string().contains("ulimit -l"), "{error}");
    }
    println!("with {bytes} bytes: {}", choice.kind);
}

/// The part of [`check_behind_filter`] that runs behind it; by itself it checks that there is no case.
#[test]
fn child() {
    let Ok(name) = std::env::var(CASE) else {
        assert!(std::env::var_os(CASE).is_none());
        return;
    };
    let case = cases().into_iter().find(|case| case.name == name).expect("a case of this name");
    let found = probe::probe();
    assert_eq!((found.tier, &found.blocked), (None, &Some(case.blocked.clone())), "{found:#?}");

    let error = probe::choose(DriverChoice::IoUring, &[]).expect_err("io_uring is forbidden");
    assert_eq!(error, case.blocked);
    let message = error.to_string();
    for word in case.words {
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }

    let auto = probe::choose(DriverChoice::Auto, &[]).expect("epoll can always be chosen");
    assert_eq!(auto.kind, DriverKind::Epoll);
    let notice = auto.notice.expect("a notice");
    assert!(notice.starts_with("running on epoll: ") && !notice.contains('\n'), "{notice}");
    assert!(notice.contains("--security-opt seccomp="), "{notice}");

    let report = load(auto.kind);
    assert_eq!((report.requests, report.errors), (REQUESTS, 0), "{report:#?}");
    println!("behind {name}: {notice}");
}

const REQUESTS: u64 = 40;

/// A short run on `driver` against a server of our own.
fn load(driver: DriverKind) -> Report {
    let peer = serve(2);
    let url = ringshot::proto::url::Url::parse(&format!("http://{peer}/")).expect("a URL");
    let request = Request {
        method: &http::Method::GET,
        url: &url,
        headers: &[],
        body: b"",
        keep_alive: KeepAlive::On,
    };
    let template = Template::encode(&request).expect("a plain request");
    let plan = Plan {
        connections: 2,
        driver,
        stop: Stop::requests(REQUESTS),
        ..Plan::closed(template, vec![peer], vec![affinity::cores()[0]])
    };
    ringshot::load::run(&plan, &Control::new()).expect("a run")
}

/// Answers every request of so many connections, a thread each; ends with the process.
fn serve(connections: usize) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().take(connections) {
            std::thread::spawn(move || answer(stream.expect("a connection")));
        }
    });
    address
}

/// One response for each read: the client sends one request at a time, in one piece.
fn answer(mut stream: std::net::TcpStream) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).is_ok_and(|bytes| bytes > 0) {
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
            return;
        }
    }
}

/// Whether this machine allows `io_uring` at all; the tests that need it say so when it does not.
fn io_uring_works(found: &Probe) -> bool {
    if let Some(blocked) = &found.blocked {
        println!("skipped: {blocked}");
    }
    found.blocked.is_none()
}

fn available(found: &Probe, name: &str) -> bool {
    let feature = found.features.iter().find(|feature| feature.name == name);
    feature.unwrap_or_else(|| panic!("no feature is called {name}")).available
}

#[test]
fn the_probe_is_printed_and_complete() {
    let found = probe::probe();
    println!("kernel {}", found.kernel);
    match (&found.tier, &found.blocked) {
        (Some(tier), None) => println!("io_uring: {tier} (Linux {})", tier.kernel()),
        (None, Some(blocked)) => println!("{blocked}"),
        both => panic!("a tier or a reason, not {both:?}"),
    }
    for feature in &found.features {
        let answer = if feature.available { "yes" } else { "no" };
        let (name, since) = (feature.name, feature.since);
        println!("{name:28} {since:5} {answer:4} {} [{}]", feature.reason, feature.used_for);
        assert!(!feature.reason.is_empty() && !feature.used_for.is_empty(), "{name}");
    }
    assert!(found.features.len() >= 18);
    let json = serde_json::to_value(&found).expect("plain data");
    let expected = found.tier.is_none();
    assert_eq!(json["tier"].is_null(), expected, "{json}");
    assert_eq!(json["blocked"]["message"].is_string(), expected, "{json}");
    assert_eq!(json["features"].as_array().map(Vec::len), Some(found.features.len()));
}

/// The tier that passes its self-test is the one that the features, tried by themselves, promise.
#[test]
fn the_tier_agrees_with_the_features() {
    let found = probe::probe();
    if !io_uring_works(&found) {
        return;
    }
    let has = |name| available(&found, name);
    let expected = match () {
        () if has("min_wait") && has("NO_SQARRAY") && has("DEFER_TASKRUN") => Tier::MinWait,
        () if has("DEFER_TASKRUN") => Tier::Deferred,
        () if has("multishot receive") => Tier::Multishot,
        () => Tier::SingleShot,
    };
    assert_eq!(found.tier, Some(expected), "{found:#?}");
    for name in ["provided-buffer ring", "CQE_SKIP", "EXT_ARG", "cancel by descriptor"] {
        assert!(has(name), "{name}: {found:#?}");
    }
}

/// The choice is made before each run, and must not be felt.
#[test]
fn choosing_leaves_nothing_behind() {
    let files = || ringshot::sys::process::open_files().expect("/proc");
    let first = probe::choose(DriverChoice::Auto, &[]).expect("auto never fails");
    let before = files();
    for _ in 0..20 {
        assert_eq!(probe::choose(DriverChoice::Auto, &[]), Ok(first.clone()));
    }
    // Tests run beside this one and open files of their own.
    assert!(files() < before + 20, "files stay open: {before}, then {}", files());
}

#[test]
fn a_run_on_the_chosen_driver_works() {
    let choice = probe::choose(DriverChoice::Auto, &[]).expect("auto never fails");
    let report = load(choice.kind);
    assert_eq!((report.requests, report.errors), (REQUESTS, 0), "{report:#?}");
    assert_eq!(report.driver, choice.kind.to_string());
}

/// The table for readers has a line for each feature, and no other.
#[test]
fn the_documentation_lists_what_is_probed() {
    let text = include_str!("../docs/kernel-support.md");
    let table = text.split("\n## ").find(|part| part.starts_with("Features\n")).expect("a table");
    let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    let expected: Vec<_> = probe::probe()
        .features
        .iter()
        .map(|feature| format!("| {} | {} | {} |", feature.name, feature.since, feature.used_for))
        .collect();
    assert_eq!(rows, expected);
}
