//! Local ports that run out, in a network of the test's own with fifty of them. Trying `io_uring` takes some for a minute.

use ringshot_tests::namespace;

use super::peer::Peer;
use super::program::{Server, drivers, ringshot};

const PORTS: &str = "40000 40049";
/// How the warning ends that comes before the run.
const ASKED_FOR: &str = "60 connections to 127.0.0.1:";

fn run(server: &Server, args: &[&str]) -> super::program::Ended {
    ringshot(&[&["run", &server.url, "-n", "200"], args].concat())
}

#[test]
fn more_connections_than_local_ports() {
    namespace::within("ports::more_connections_than_local_ports", || {
        // First: its port is none of the fifty.
        let server = Server::start(&[]);
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", PORTS).expect("it is ours");
        let enough = run(&server, &["-c", "20"]);
        assert_eq!(enough.code(), Some(0), "{enough:#?}");
        assert!(!enough.stderr.contains("local ports"), "{enough:#?}");
        let short = run(&server, &["-c", "60"]);
        let warned = |line: &str| line.contains(ASKED_FOR) && line.contains("only 50 local ports");
        assert_eq!(short.stderr.lines().filter(|line| warned(line)).count(), 1, "{short:#?}");
        assert!(short.stderr.contains("--bind"), "{short:#?}");
        // Loopback has addresses enough, and each has fifty.
        let bound = run(&server, &["-c", "60", "--bind", "127.0.0.2-127.0.0.3"]);
        assert_eq!(bound.code(), Some(0), "{bound:#?}");
        assert!(!bound.stderr.contains("local ports"), "{bound:#?}");
    });
}

/// Over all cores, and by each server's connections.
#[test]
fn local_addresses_are_taken_in_turn() {
    let peers = [Peer::healthy(), Peer::healthy()];
    let urls = peers.each_ref().map(|peer| &*peer.url);
    let cores = match std::thread::available_parallelism().map_or(1, usize::from) {
        1 => "0",
        _ => "0-1",
    };
    for driver in drivers() {
        let place = ["--cores", cores, "--driver", driver, "--bind", "127.0.0.2-127.0.0.5"];
        let load = ["-q", "-n", "400", "-c", "4"];
        let ended = ringshot(&[&["run"][..], &urls, &load, &place].concat());
        assert_eq!(ended.code(), Some(0), "{ended:#?}");
        for peer in &peers {
            let callers: Vec<String> =
                peer.take_callers().iter().map(ToString::to_string).collect();
            assert_eq!(callers, ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"]);
        }
    }
}
