//! Where a container forbids `io_uring`: the child runs under a seccomp(2) filter that answers as Docker's does. And `doctor`, which says so.

use std::io;
use std::os::unix::process::CommandExt;

use super::program::{Ended, Program, Server, command, io_uring_works, ringshot};

const CALLS: [u32; 3] = [
    libc::SYS_io_uring_setup as u32,
    libc::SYS_io_uring_enter as u32,
    libc::SYS_io_uring_register as u32,
];

/// Runs the binary behind a filter that forbids `io_uring` with EPERM.
fn behind_filter(args: &[&str]) -> Ended {
    let mut filter = filter();
    let mut command = command(args);
    let install = move || install(&mut filter);
    // SAFETY: between fork and exec the closure makes two prctl(2) calls and touches memory made before the fork only.
    unsafe { command.pre_exec(install) };
    Program::spawn(&mut command).wait()
}

/// These calls get EPERM, all others pass.
fn filter() -> Vec<libc::sock_filter> {
    let op = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let refuse = op(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32);
    // `nr` is the first field of seccomp_data.
    let mut program = vec![op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0)];
    for call in CALLS {
        let equal = op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call);
        program.push(libc::sock_filter { jt: 0, jf: 1, ..equal });
        program.push(refuse);
    }
    program.push(op(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW));
    program
}

fn install(program: &mut [libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    let done = |status: i32| if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    // SAFETY: PR_SET_NO_NEW_PRIVS takes no pointer (prctl(2)).
    done(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: the program and its instructions live until the call has copied them (prctl(2), PR_SET_SECCOMP).
    done(unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) })
}

#[test]
fn run_falls_back_with_one_notice() {
    if !io_uring_works() {
        return;
    }
    let server = Server::start(&[]);
    let ended = behind_filter(&["run", &server.url, "-n", "100", "-c", "2", "-o", "json"]);
    let value = ended.json_with_code(0);
    assert_eq!((&value["driver"], &value["requests"]), (&"epoll".into(), &100.into()));
    let notices: Vec<_> = ended.stderr.lines().filter(|line| line.contains("io_uring")).collect();
    assert_eq!(notices.len(), 1, "{ended:#?}");
    assert!(notices[0].starts_with("ringshot: warning: running on epoll: "), "{notices:?}");
    assert!(notices[0].contains("seccomp"), "{notices:?}");
    assert_eq!(server.stop(), 100);
}

#[test]
fn epoll_by_name_needs_no_notice() {
    let server = Server::start(&[]);
    let args = ["run", &server.url, "-n", "100", "-o", "json", "--driver", "epoll"];
    let ended = behind_filter(&args);
    assert_eq!(ended.json_with_code(0)["requests"], 100);
    assert!(!ended.stderr.contains("io_uring"), "{ended:#?}");
}

#[test]
fn who_insists_is_told_the_remedy() {
    if !io_uring_works() {
        return;
    }
    let remedy = ["EPERM", "seccomp", "--security-opt seccomp="];
    let url = "http://127.0.0.1:9/";
    behind_filter(&["run", url, "--driver", "io_uring"]).check_refused(&remedy);
    behind_filter(&["serve", "--port", "0", "--driver", "io_uring"]).check_refused(&remedy);
    let compare = behind_filter(&["compare"]);
    compare.check_refused(&remedy);
    compare.check_refused(&["nothing to compare without io_uring"]);
}

#[test]
fn bad_input_is_one_line_there_too() {
    behind_filter(&["run", "http://127.0.0.1:9/", "-c", "0"]).check_refused(&["connections"]);
    let server = Server::start(&[]);
    let port = server.address().rsplit(':').next().expect("a port").to_owned();
    behind_filter(&["serve", "--port", &port]).check_refused(&["is taken"]);
}

#[test]
fn doctor_says_what_blocks_it() {
    if !io_uring_works() {
        return;
    }
    let value = behind_filter(&["doctor", "-o", "json"]).json_with_code(0);
    let found = &value["io_uring"];
    assert!(found["tier"].is_null(), "{value:#}");
    assert!(found["blocked"].as_str().is_some_and(|why| why.contains("seccomp")), "{value:#}");
    let text = behind_filter(&["doctor"]);
    assert_eq!(text.code(), Some(0), "{text:#?}");
    let line = text.stdout.lines().find(|line| line.starts_with("io_uring ")).expect("a line");
    assert!(line.contains("no: ") && line.contains("seccomp"), "{line}");
    assert!(text.stdout.contains("--driver epoll"), "{text:#?}");
}

#[test]
fn doctor_names_the_kernel_and_the_tier() {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("/proc");
    let value = ringshot(&["doctor", "-o", "json"]).json_with_code(0);
    assert_eq!(value["kernel"], release.trim());
    let text = ringshot(&["doctor"]);
    assert_eq!((text.code(), text.stderr.as_str()), (Some(0), ""), "{text:#?}");
    let line = |label: &str| {
        text.stdout.lines().find(|line| line.starts_with(label)).expect("a line").to_owned()
    };
    assert!(line("kernel ").ends_with(release.trim()), "{text:#?}");
    match value["io_uring"]["tier"].as_str() {
        Some(tier) => assert!(line("io_uring ").ends_with(tier), "{text:#?}"),
        None => assert!(line("io_uring ").contains(" no: "), "{text:#?}"),
    }
    for feature in value["io_uring"]["features"].as_array().expect("a list") {
        let name = feature["name"].as_str().expect("a name");
        let answer = if feature["available"] == true { " yes " } else { " no " };
        let shown = format!("  {name} ");
        assert!(line(&shown).contains(answer), "{name}: {}", text.stdout);
    }
}
