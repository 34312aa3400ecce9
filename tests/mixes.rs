//! Mixes of requests on both drivers: weights, templates, feeds, expectations, think times, several servers. What is reported is what the peers saw, to one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::Method;
use ringshot::load::{
    Arrival, Content, Expect, ExpectedHeader, Feed, FeedOrder, KeepAlive, Mix, MixRequest, Needle,
    Order, Plan, Request, Stop, Target, Think,
};
use ringshot::proto::url::Url;
use ringshot::sys::affinity;
use ringshot_tests::load::{drivers, next_core, run_whole};
use ringshot_tests::peer::{Conversation, Peer};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A peer that keeps what it was asked.
struct Listener {
    peer: Peer,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Listener {
    fn start(answer: fn(&str) -> String) -> Self {
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&heard);
        let peer = Peer::start(move |mut peer: Conversation| {
            while let Some(request) = peer.request() {
                let text = String::from_utf8(request).unwrap();
                let response = answer(&text);
                kept.lock().unwrap().push(text);
                if !peer.send(response) {
                    return;
                }
            }
        });
        Self { peer, heard }
    }

    fn ok() -> Self {
        Self::start(|_| OK.to_owned())
    }

    /// Takes what was heard so far.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.heard.lock().unwrap())
    }

    /// How often each target was asked for.
    fn take_targets(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for request in self.take() {
            *counts.entry(request.split(' ').nth(1).unwrap().to_owned()).or_default() += 1;
        }
        counts
    }
}

/// Requests of one listener, by path; each has its path as its name.
fn mix(listener: &Listener, paths: &[&str]) -> Mix {
    let feeds = Vec::new();
    let requests = paths.iter().enumerate().map(|(place, path)| MixRequest {
        name: place as u32,
        ..request(listener, path, "", &feeds)
    });
    Mix {
        targets: vec![Target { peers: vec![listener.peer.address()] }],
        requests: requests.collect(),
        names: paths.iter().map(|path| (*path).to_owned()).collect(),
        order: Order::Cycle,
        feeds,
        seed: 1,
    }
}

fn request(listener: &Listener, path: &str, body: &str, feeds: &[Arc<Feed>]) -> MixRequest {
    let url = Url::parse(&listener.peer.url()).unwrap().join(path).unwrap();
    let request = Request {
        method: if body.is_empty() { &Method::GET } else { &Method::POST },
        url: &url,
        headers: &[],
        body: body.as_bytes(),
        keep_alive: KeepAlive::On,
    };
    let content = Content::compile(&request, feeds).unwrap();
    MixRequest { name: 0, target: 0, weight: 1, content, expect: None, think: Think::default() }
}

fn unique(rows: u32) -> Arc<Feed> {
    let mut feed = Feed::new("rows", vec!["id".to_owned()], FeedOrder::Unique).unwrap();
    (0..rows).for_each(|row| feed.push([row.to_string().as_bytes()]).unwrap());
    Arc::new(feed)
}

/// One core, and two where there are as many.
fn core_lists() -> Vec<Vec<usize>> {
    let all = affinity::cores();
    let two = (all.len() > 1).then(|| all[..2].to_vec());
    [Some(vec![next_core()]), two].into_iter().flatten().collect()
}

/// Every driver, list of cores and pipeline, with these requests each.
fn plans(mix: &Mix, requests: u64, pipelines: &[u32]) -> Vec<Plan> {
    let mut plans = Vec::new();
    for driver in drivers() {
        for cores in core_lists() {
            for pipeline in pipelines {
                plans.push(Plan {
                    connections: 4,
                    pipeline: *pipeline,
                    driver,
                    stop: Stop::requests(requests),
                    drain: Duration::from_secs(5),
                    ..Plan::of(mix.clone(), cores.clone())
                });
            }
        }
    }
    plans
}

#[test]
fn weights_hold_and_names_have_what_the_peer_saw() {
    let listener = Listener::ok();
    let mut mix = mix(&listener, &["/one", "/two", "/seven"]);
    mix.order = Order::Weighted;
    let weighted = mix.requests.iter_mut().zip([1, 2, 7]);
    weighted.for_each(|(request, weight)| request.weight = weight);
    for plan in plans(&mix, 2_000, &[1, 5]) {
        let report = run_whole(&plan);
        assert_eq!((report.requests, report.status.success), (2_000, 2_000));
        let seen = listener.take_targets();
        let named = report.names.iter().map(|name| (name.name.clone(), name.requests));
        assert_eq!(named.collect::<BTreeMap<_, _>>(), seen);
        for (path, share) in [("/one", 0.1), ("/two", 0.2), ("/seven", 0.7)] {
            let difference = seen[path] as f64 / 2_000.0 - share;
            assert!(difference.abs() < 0.04, "{path}: {seen:?}");
        }
    }
}

/// Each number of the run once, whatever the cores.
#[test]
fn every_request_is_filled_with_its_number_and_framed_right() {
    let listener = Listener::ok();
    let mut mix = mix(&listener, &["/"]);
    mix.requests[0] = request(&listener, "/{{seq}}/{{rand:5:9}}", "<{{seq}}>{{uuid}}", &[]);
    for plan in plans(&mix, 1_200, &[1, 8]) {
        assert_eq!(run_whole(&plan).status.success, 1_200);
        let mut numbers = Vec::new();
        for request in listener.take() {
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            let target = head.split(' ').nth(1).unwrap();
            let (number, drawn) = target[1..].split_once('/').unwrap();
            assert!(("5"..="9").contains(&drawn) && drawn.len() == 1, "{request}");
            assert!(body.starts_with(&format!("<{number}>")), "{request}");
            assert_eq!(body.len(), number.len() + 2 + 36, "{request}");
            numbers.push(number.parse::<u64>().unwrap());
        }
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..1_200));
    }
}

/// Long before its time is over; and each row was sent once.
#[test]
fn a_feed_that_is_used_up_ends_the_run() {
    let listener = Listener::ok();
    let mut mix = mix(&listener, &["/"]);
    mix.feeds = vec![unique(300)];
    mix.requests[0] = request(&listener, "/{{csv.id}}", "", &mix.feeds);
    let stop = Stop::after(Duration::from_secs(30));
    for plan in plans(&mix, 1, &[1, 4]) {
        let open = Arrival::at_rate(3_000.0, Duration::from_secs(30));
        for arrival in [Arrival::Closed, open] {
            let report = run_whole(&Plan { arrival, stop, ..plan.clone() });
            assert_eq!((report.requests, report.errors, report.cancelled), (300, 0, 0));
            assert!(report.seconds < 20.0, "{} s", report.seconds);
            let seen = listener.take_targets();
            assert!(seen.len() == 300 && seen.values().all(|count| *count == 1), "{seen:?}");
        }
    }
}

/// A warm-up that takes the last row ends the run, which has nothing to measure.
#[test]
fn a_feed_that_runs_out_in_the_warm_up_ends_the_run_there() {
    let listener = Listener::ok();
    let feeds = vec![unique(50)];
    let mut mix = mix(&listener, &["/"]);
    mix.requests[0] = request(&listener, "/{{rows.id}}", "", &feeds);
    mix.feeds = feeds;
    for closed in plans(&mix, 2, &[1]) {
        let at_rate = Arrival::at_rate(1_000.0, Duration::from_secs(30));
        for arrival in [Arrival::Closed, at_rate] {
            let begun = Instant::now();
            let stop = Stop::after(Duration::from_secs(30));
            let warm_up = Duration::from_secs(30);
            let report = run_whole(&Plan { arrival, stop, warm_up, ..closed.clone() });
            assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
            assert_eq!(report.warm_up.requests, 50, "{report:?}");
            assert_eq!((report.requests, report.offered, report.shed), (0, 0, 0), "{report:?}");
            assert_eq!(report.exhausted_feeds, ["rows"]);
            listener.take_targets();
        }
    }
}

/// All cores end when one of them has asked in vain, though every second request takes no row.
#[test]
fn a_feed_of_some_requests_ends_the_others_too() {
    let listener = Listener::ok();
    let mut mix = mix(&listener, &["/", "/plain"]);
    mix.feeds = vec![unique(100)];
    mix.requests[0] = request(&listener, "/{{rows.id}}", "", &mix.feeds);
    for plan in plans(&mix, 1, &[1]) {
        let report = run_whole(&Plan { stop: Stop::after(Duration::from_secs(30)), ..plan });
        assert!(report.seconds < 20.0, "{} s", report.seconds);
        let seen = listener.take_targets();
        assert_eq!(seen.values().sum::<u64>(), report.requests);
        assert_eq!(seen.len(), 101, "{seen:?}");
    }
}

#[test]
fn what_is_not_expected_is_an_error_of_its_kind() {
    let listener = Listener::start(|request| {
        let body = "x".repeat(5_000) + "needle" + &"y".repeat(5_000);
        let status = if request.starts_with("GET /bad") { 503 } else { 200 };
        let (first, rest) = body.split_at(5_003);
        let chunk = |piece: &str| format!("{:x}\r\n{piece}\r\n", piece.len());
        let head =
            format!("HTTP/1.1 {status} x\r\nX-Kind: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        format!("{head}{}{}0\r\n\r\n", chunk(first), chunk(rest))
    });
    let paths = ["/right", "/bad", "/header", "/body", "/hash", "/any"];
    let mut mix = mix(&listener, &paths);
    let header = |value: &str| ExpectedHeader {
        name: "x-kind".to_owned(),
        value: Some(value.as_bytes().to_vec()),
    };
    let contains = |text: &str| Some(Needle::new(text.as_bytes()));
    let statuses = vec![200..=299];
    let expected = [
        Expect {
            statuses,
            headers: vec![header("a")],
            body_contains: contains("needle"),
            ..Expect::default()
        },
        Expect { statuses: vec![200..=200], ..Expect::default() },
        Expect { headers: vec![header("b")], ..Expect::default() },
        Expect { body_contains: contains("noodle"), ..Expect::default() },
        Expect { body_sha256: Some([0; 32]), ..Expect::default() },
    ];
    for (request, expect) in mix.requests.iter_mut().zip(expected) {
        request.expect = Some(Arc::new(expect));
    }
    for plan in plans(&mix, 600, &[1, 4]) {
        let report = run_whole(&plan);
        let seen = listener.take_targets();
        assert_eq!(seen.values().sum::<u64>(), 600);
        let kinds = [
            ("2xx", seen["/right"] + seen["/any"]),
            ("unexpected_body", seen["/body"]),
            ("unexpected_hash", seen["/hash"]),
            ("unexpected_header", seen["/header"]),
            ("unexpected_status", seen["/bad"]),
        ];
        assert_eq!(report.outcomes, kinds.map(|(kind, count)| (kind.to_owned(), count)).into());
        assert!(report.error_examples["unexpected_header"].contains("is \"a\", not \"b\""));
        assert_eq!(report.error_examples["unexpected_status"], "status 503, not 200");
    }
}

/// Two servers, by users with a connection to each; with and without keep-alive, pauses and a warm-up.
#[test]
fn users_visit_several_servers() {
    let (one, two) = (Listener::ok(), Listener::ok());
    let mut mix = mix(&one, &["/a", "/b", "/c"]);
    mix.targets.push(Target { peers: vec![two.peer.address()] });
    mix.requests[1] = MixRequest { target: 1, name: 1, ..request(&two, "/b", "", &[]) };
    mix.order = Order::Weighted;
    let pause = Think { min: Duration::from_micros(10), max: Duration::from_millis(2) };
    for plan in plans(&mix, 500, &[1]) {
        for keep_alive in [KeepAlive::On, KeepAlive::Off] {
            for (think, warm_up) in [(Think::default(), 0), (pause, 50)] {
                let mut mix = mix.clone();
                mix.requests.iter_mut().for_each(|request| request.think = think);
                let warm_up = Duration::from_millis(warm_up);
                let plan = Plan { mix: Arc::new(mix), keep_alive, warm_up, ..plan.clone() };
                let report = run_whole(&plan);
                assert_eq!((report.requests, report.errors), (500, 0));
                let (of_one, of_two) = (one.take_targets(), two.take_targets());
                let warm = report.warm_up.requests + report.warm_up.errors;
                let seen = of_one.values().chain(of_two.values()).sum::<u64>();
                assert_eq!(seen, 500 + warm);
                assert!(of_two.keys().eq(["/b"]) && of_one.keys().eq(["/a", "/c"]));
            }
        }
    }
}

/// A lower bound only: four users with 40 ms between their requests can't send sixteen in less than three pauses.
#[test]
fn users_think() {
    let listener = Listener::ok();
    let mut mix = mix(&listener, &["/"]);
    mix.requests[0].think =
        Think { min: Duration::from_millis(40), max: Duration::from_millis(40) };
    for plan in plans(&mix, 16, &[1]) {
        let report = run_whole(&plan);
        assert_eq!((report.requests, listener.take().len()), (16, 16));
        assert!(report.seconds >= 0.12, "{} s", report.seconds);
    }
}

/// Requests of a recording come in its order, each at its time or later.
#[test]
fn a_recording_is_sent_as_it_was() {
    let listener = Listener::ok();
    let mut mix = mix(&listener, &["/a", "/b"]);
    mix.order = Order::Sequence(Arc::new([0, 1, 1, 0, 1]));
    let times: Arc<[u64]> = [0, 1, 2, 50, 80].map(|millis| millis * 1_000_000).into();
    for plan in plans(&mix, 1, &[1]) {
        let arrival = Arrival::Recorded(Arc::clone(&times));
        let report = run_whole(&Plan { arrival, stop: Stop::default(), ..plan });
        assert_eq!((report.requests, report.offered, report.shed), (5, 5, 0));
        assert!(report.seconds >= 0.08, "{} s", report.seconds);
        assert_eq!(listener.take_targets(), [("/a".to_owned(), 2), ("/b".to_owned(), 3)].into());
    }
}

/// What a run that is stopped early had promised and not sent is shed, and nothing is due while it drains.
#[test]
fn an_open_loop_that_ends_early_accounts_for_all() {
    let listener = Listener::ok();
    let mut mix = mix(&listener, &["/a", "/b"]);
    mix.feeds = vec![unique(1 << 20)];
    mix.requests[0] = request(&listener, "/{{rows.id}}", "", &mix.feeds);
    for plan in plans(&mix, 1, &[1, 2]) {
        let arrival = Arrival::at_rate(20_000.0, Duration::from_secs(20));
        let stop = Stop::after(Duration::from_millis(200));
        let report = run_whole(&Plan { arrival, stop, ..plan });
        assert_eq!((report.offered, report.errors), (4_000, 0));
        assert_eq!(listener.take().len() as u64, report.sent);
    }
}
