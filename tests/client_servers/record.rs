//! What nginx saw, from its log: which request came how often, and over which connection.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use ringshot::client::{Error, Fetched};
use ringshot_tests::servers::Nginx;
use ringshot_tests::watch::wait_until;

use super::rig::SOON;

/// One line of nginx's log.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) id: String,
    /// Which connection, and which request of it, from 1 on.
    pub(crate) connection: u64,
    pub(crate) number: u64,
}

fn seen(line: &str) -> Option<Seen> {
    let mut fields = line.split(' ');
    let id = fields.next()?.to_owned();
    let _method = fields.next()?;
    let _status: u16 = fields.next()?.parse().ok()?;
    let (connection, number) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Seen { id, connection, number })
}

/// Requests whose id begins with `prefix`, once there are at least `expected` of them, and a moment later, so that a surplus shows.
pub(crate) fn record(nginx: &Nginx, prefix: &str, expected: usize) -> Vec<Seen> {
    let read = || -> Vec<Seen> {
        let log = std::fs::read_to_string(nginx.file("detail.log")).unwrap_or_default();
        let all = log.lines().filter_map(seen);
        all.filter(|seen| seen.id.starts_with(prefix)).collect()
    };
    wait_until(SOON, || read().len() >= expected);
    std::thread::sleep(Duration::from_millis(50));
    read()
}

/// One request that was made, and what came of it.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) id: String,
    pub(crate) is_post: bool,
    pub(crate) outcome: Result<Fetched, Error>,
}

/// How often each request arrived.
pub(crate) fn arrivals(record: &[Seen]) -> HashMap<&str, usize> {
    let mut arrivals = HashMap::new();
    for seen in record {
        *arrivals.entry(seen.id.as_str()).or_default() += 1;
    }
    arrivals
}

/// Connections that carried a request.
pub(crate) fn connections(record: &[Seen]) -> usize {
    record.iter().map(|seen| seen.connection).collect::<HashSet<_>>().len()
}

/// Each `GET` came back and arrived once, or as often as it was tried. Each `POST` arrived once and came back, or at most once and its error says so.
pub(crate) fn check_made(made: &[Made], record: &[Seen], may_fail: impl Fn(&Error) -> bool) {
    let arrivals = arrivals(record);
    for Made { id, is_post, outcome } in made {
        let count = arrivals.get(id.as_str()).copied().unwrap_or_default();
        match outcome {
            Ok(response) => {
                assert!(response.status().is_success(), "{id}: {response:?}");
                let most = if *is_post { 1 } else { usize::from(response.attempts()) };
                assert!((1..=most).contains(&count), "{id} arrived {count} times: {response:?}");
            }
            Err(error) if *is_post => {
                assert!(count <= 1, "{id} arrived {count} times: {error}");
                assert!(count == 0 || error.may_have_been_processed(), "{id} arrived: {error}");
                assert!(error.is_reused() || may_fail(error), "{id}: {error} {error:?}");
            }
            Err(error) => assert!(may_fail(error), "{id}: {error} {error:?}"),
        }
    }
}
