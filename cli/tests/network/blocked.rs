//! Where a container forbids `io_uring`: the child runs under a seccomp(2) filter that answers as Docker's does. And `doctor`, which says so.

use ringshot_tests::seccomp;

use super::program::{Ended, Program, Server, command, io_uring_works, ringshot};

/// Runs the binary behind a filter that forbids `io_uring` with EPERM.
fn behind_filter(args: &[&str]) -> Ended {
    let mut command = command(args);
    seccomp::forbid(&mut command, &seccomp::IO_URING, libc::EPERM);
    Program::spawn(&mut command).wait()
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
fn glommio_is_refused_with_the_remedy() {
    if !io_uring_works() {
        return;
    }
    let words = ["glommio needs io_uring", "seccomp", "use the thread host"];
    let url = "http://127.0.0.1:9/";
    let args = ["run", url, "--cores", "0", "--host", "glommio", "--driver", "epoll"];
    behind_filter(&args).check_refused(&words);
    let value = behind_filter(&["doctor", "-o", "json"]).json_with_code(0);
    let found = &value["glommio"];
    assert_eq!(found["available"], false, "{value:#}");
    assert!(found["problem"].as_str().is_some_and(|why| why.contains("seccomp")), "{value:#}");
}

#[test]
fn doctor_starts_glommio() {
    if !io_uring_works() {
        return;
    }
    let value = ringshot(&["doctor", "-o", "json"]).json_with_code(0);
    assert_eq!(value["glommio"]["available"], true, "{value:#}");
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
