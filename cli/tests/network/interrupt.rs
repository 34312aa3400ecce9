//! Ctrl-C during a run: what there is so far is printed at once; a second one ends the process.

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

#[test]
fn a_run_that_never_came_to_measuring_has_a_warm_up_and_nothing_else() {
    let peer = Peer::healthy();
    for driver in drivers() {
        // The rate is more than one connection can do: what waits belongs to the warm-up too.
        for rate in ["200", "1M"] {
            let args = ["--warmup", "60s", "-R", rate, "-o", "json", "--driver", driver];
            let value = interrupted(&peer, &args, 50).json_with_code(1);
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
