//! Ctrl-C during a run: what there is so far is printed at once; a second one ends the process.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::json::check_schema;
use super::peer::Peer;
use super::program::{Ended, Program, drivers};

/// 3 s are promised; the rest is for a busy machine.
const INTERRUPT_MAX: Duration = Duration::from_secs(8);

/// A run against `peer`, interrupted once so many requests have arrived there.
fn interrupted(peer: &Peer, args: &[&str], requests: u64) -> Ended {
    let before = peer.requests();
    let program = Program::start(&[&["run", &peer.url, "-q", "-c", "2"], args].concat());
    peer.wait_for(before + requests);
    program.signal("-INT");
    program.wait_for(INTERRUPT_MAX)
}

#[test]
fn a_timed_run_prints_what_it_has() {
    let peer = Peer::healthy();
    for driver in drivers() {
        let ended = interrupted(&peer, &["-d", "60s", "--driver", driver], 50);
        assert_eq!(ended.code(), Some(0), "{ended:#?}");
        assert!(ended.stdout.contains("; interrupted\n"), "{ended:#?}");
        let args = ["-d", "60s", "-o", "json", "--driver", driver];
        let value = interrupted(&peer, &args, 50).json_with_code(0);
        check_schema("run.schema.json", &value);
        assert_eq!(value["interrupted"], true, "{value:#}");
        assert!(value["requests"].as_u64() > Some(0), "{value:#}");
        assert!(value["seconds"].as_f64().is_some_and(|s| s < 60.0), "{value:#}");
    }
}

/// Started as by a shell with job control, even where these tests were told to ignore the signal.
fn by_default(signal: &str, args: &[&str]) -> Program {
    let mut env = Command::new("env");
    env.arg(format!("--default-signal={signal}")).arg(env!("CARGO_BIN_EXE_ringshot")).args(args);
    Program::spawn(&mut env)
}

#[test]
fn a_hang_up_ends_a_run_with_its_report_unless_it_was_to_be_ignored() {
    let peer = Peer::healthy();
    let args = ["run", &peer.url, "-q", "-c", "2", "-d", "60s", "-o", "json"];
    let program = by_default("HUP", &args);
    peer.wait_for(50);
    program.signal("-HUP");
    let value = program.wait_for(INTERRUPT_MAX).json_with_code(0);
    assert_eq!(value["interrupted"], true, "{value:#}");
    // As nohup(1) starts it.
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_ringshot")])
        .args(args);
    let before = peer.requests();
    let program = Program::spawn(&mut shell);
    peer.wait_for(before + 50);
    program.signal("-HUP");
    let after = peer.requests();
    peer.wait_for(after + 1_000);
    program.signal("-INT");
    assert_eq!(program.wait_for(INTERRUPT_MAX).code(), Some(0));
}

#[test]
fn without_a_screen_a_quit_is_by_default() {
    let peer = Peer::healthy();
    let program = by_default("QUIT", &["run", &peer.url, "-q", "-c", "2", "-d", "60s"]);
    peer.wait_for(50);
    program.signal("-QUIT");
    let ended = program.wait_for(INTERRUPT_MAX);
    assert_eq!((ended.status.signal(), ended.stdout.as_str()), (Some(3), ""), "{ended:#?}");
}

#[test]
fn a_search_that_has_tried_no_rate_does_not_blame_the_server() {
    for peer in [Peer::healthy(), Peer::silent()] {
        let args = ["find-max", &peer.url, "--slo", "p99 < 1s", "--warmup", "60s", "-c", "2"];
        let program = Program::start(&args);
        peer.wait_for(2);
        program.signal("-INT");
        let ended = program.wait_for(INTERRUPT_MAX);
        assert_eq!((ended.code(), ended.stdout.as_str()), (Some(4), ""), "{ended:#?}");
        assert!(ended.stderr.contains("interrupted before a rate was tried"), "{ended:#?}");
    }
}

#[test]
fn a_run_that_never_came_to_measuring_has_a_warm_up_and_nothing_else() {
    let peer = Peer::healthy();
    for driver in drivers() {
        // The rate is more than one connection can do: what waits belongs to the warm-up too.
        for rate in ["200", "1M"] {
            let args = ["--warmup", "60s", "-R", rate, "-o", "json", "--driver", driver];
            // What fails a run that has no figure judges none that had no time for one.
            let args = [&args[..], &["--fail-if", "p99 > 1s", "--require-valid"]].concat();
            let ended = interrupted(&peer, &args, 50);
            let words = "interrupted in the warm-up, before anything was measured";
            assert!(ended.stderr.contains(words), "{ended:#?}");
            let value = ended.json_with_code(130);
            let summary = value["verdict"]["summary"].as_str().expect("words");
            assert!(summary.contains("interrupted before anything was measured"), "{value:#}");
            check_schema("run.schema.json", &value);
            for figure in ["requests", "offered", "sent", "shed", "censored", "seconds"] {
                assert_eq!(value[figure].as_f64(), Some(0.0), "{figure}: {value:#}");
            }
            let warm_up = &value["warm_up"];
            assert!(warm_up["requests"].as_u64() > Some(0), "{value:#}");
            assert!(warm_up["seconds"].as_f64().is_some_and(|s| s < 60.0), "{value:#}");
            assert_eq!(warm_up["shed"].as_u64() > Some(1_000), rate == "1M", "{value:#}");
        }
    }
}

#[test]
fn a_silent_server_is_to_blame_in_the_warm_up_too() {
    let peer = Peer::silent();
    let ended = interrupted(&peer, &["--warmup", "60s"], 2);
    assert_eq!(ended.code(), Some(1), "{ended:#?}");
}

#[test]
fn an_exact_run_prints_what_it_has() {
    let peer = Peer::healthy();
    for driver in drivers() {
        let before = peer.requests();
        let args = ["-n", "1G", "-o", "json", "--driver", driver];
        let value = interrupted(&peer, &args, 50).json_with_code(0);
        assert_eq!(value["interrupted"], true, "{value:#}");
        let requests = value["requests"].as_u64().expect("a count");
        let cancelled = value["cancelled"].as_u64().expect("a count");
        assert!(requests > 0 && cancelled <= 2, "{value:#}");
        // The peer counts a request twice if it came in two reads, and never misses one.
        assert!(requests + cancelled <= peer.requests() - before, "{value:#}");
    }
}

/// Whether the run is timed or exact: nothing is waited for that may never come.
#[test]
fn a_silent_server_does_not_hold_the_end_up() {
    let peer = Peer::silent();
    for driver in drivers() {
        for load in [["-d", "60s"], ["-n", "10"]] {
            let args = [&load[..], &["-o", "json", "--driver", driver]].concat();
            let value = interrupted(&peer, &args, 2).json_with_code(1);
            assert_eq!(value["interrupted"], true, "{value:#}");
            assert_eq!((&value["requests"], &value["cancelled"]), (&0.into(), &2.into()));
        }
    }
}

#[test]
fn a_second_one_ends_it() {
    let peer = Peer::silent();
    for driver in drivers() {
        let before = peer.requests();
        let args = ["run", &peer.url, "-q", "-c", "2", "-d", "60s", "--driver", driver];
        let program = Program::start(&args);
        peer.wait_for(before + 2);
        program.signal("-INT");
        // Meanwhile the run waits for its last answers; signals sent at once would be one.
        thread::sleep(Duration::from_millis(600));
        program.signal("-INT");
        let ended = program.wait_for(INTERRUPT_MAX);
        assert_eq!((ended.code(), ended.stdout.as_str()), (Some(130), ""), "{ended:#?}");
    }
}
