//! What the load generator says it sent is what nginx logged, to one, in every mode, and also when it is interrupted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use ringshot::load::{
    Arrival, Control, KeepAlive, Mix, MixRequest, Order, Plan, Report, Spacing, Stage, Stop, Think,
};
use ringshot_tests::load::{Asked, RUN_MAX, drivers, plan, run_controlled, run_whole};
use ringshot_tests::servers::Nginx;
use ringshot_tests::watch::wait_until;

const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Everything that a run put on the wire.
fn sent(report: &Report) -> usize {
    let warm_up = report.warm_up;
    (report.sent + warm_up.requests + warm_up.errors) as usize
}

/// Runs what `change` makes of a plan on each driver, and compares with the server's own count.
fn check(change: impl Fn(Plan) -> Plan) -> Vec<Report> {
    let Some(nginx) = Nginx::start() else { return Vec::new() };
    let run = |driver| {
        let before = nginx.log().len();
        let plan = change(plan(&nginx.url("/small"), driver, &Asked::default()));
        let report = run_whole(&plan);
        let sent = sent(&report);
        assert_eq!(nginx.logged(before + sent) - before, sent, "on {driver}: {report:#?}");
        assert_eq!(report.errors, 0, "{report:#?}");
        report
    };
    drivers().into_iter().map(run).collect()
}

fn rate(per_second: f64, length: Duration) -> Arrival {
    Arrival::at_rate(per_second, length)
}

#[test]
fn a_closed_loop_with_either_end() {
    check(|plan| Plan { stop: Stop::requests(777), ..plan });
    let both = |after, requests| Stop { after: Some(after), requests: Some(requests) };
    let few = check(|plan| Plan { stop: both(RUN_MAX / 2, 500), ..plan });
    assert!(few.iter().all(|report| report.sent == 500 && report.seconds < 10.0), "{few:#?}");
    let short = check(|plan| Plan { stop: both(millis(200), u64::MAX / 4), ..plan });
    assert!(short.iter().all(|report| (0.19..5.0).contains(&report.seconds)), "{short:#?}");
}

#[test]
fn open_loops_send_all_that_is_due() {
    let stop = Stop::after(millis(500));
    for report in check(|plan| Plan { arrival: rate(2_000.0, millis(500)), stop, ..plan }) {
        assert_eq!((report.offered, report.shed), (1_000, 0), "{report:#?}");
        assert_eq!(report.schedule_lag_us.samples, 1_000);
    }
    let stage = |length, from, to| Stage { length: millis(length), from, to };
    let stages = vec![stage(200, 0.0, 2_000.0), stage(200, 2_000.0, 2_000.0)];
    let spacing = Spacing::Poisson { seed: 3 };
    let arrival = Arrival::Open { stages: stages.clone(), spacing };
    let stop = Stop::default();
    let reports = check(|plan| Plan { arrival: arrival.clone(), stop, ..plan });
    // The same seed makes the same schedule.
    let offered: Vec<u64> = reports.iter().map(|report| report.offered).collect();
    assert!(offered.windows(2).all(|pair| pair[0] == pair[1]), "{offered:?}");
    assert!(offered.iter().all(|offered| (500..700).contains(offered)), "{offered:?}");
    let arrival = Arrival::Open { stages, spacing: Spacing::Constant };
    let stop = Stop::requests(123);
    for report in check(|plan| Plan { arrival: arrival.clone(), stop, ..plan }) {
        assert_eq!(report.offered, 123);
    }
}

#[test]
fn warm_ups_are_counted_apart() {
    for open in [false, true] {
        let reports = check(|plan| {
            let arrival = if open { rate(1_000.0, millis(300)) } else { Arrival::Closed };
            Plan { arrival, warm_up: millis(200), stop: Stop::after(millis(300)), ..plan }
        });
        for report in reports {
            assert!(report.warm_up.requests > 10 && report.requests > 10, "{report:#?}");
            let lag = report.schedule_lag_us.samples;
            // The last one may be due and not sent when measuring begins.
            let due = report.warm_up.requests + report.warm_up.shed;
            assert!(!open || (lag == 300 && due == 200), "{report:#?}");
        }
    }
}

#[test]
fn several_cores_share_one_schedule() {
    let cores: Vec<_> = ringshot::sys::affinity::cores().into_iter().take(2).collect();
    let stop = Stop::after(millis(500));
    let arrival = rate(1_000.0, millis(500));
    let reports =
        check(|plan| Plan { cores: cores.clone(), arrival: arrival.clone(), stop, ..plan });
    for report in reports {
        assert_eq!(report.offered, 500);
        let each: Vec<u64> = report.cores.iter().map(|core| core.requests).collect();
        assert!(each.iter().all(|requests| *requests == 500 / cores.len() as u64), "{each:?}");
    }
}

#[test]
fn users_of_a_mix_who_think() {
    let think = Think { min: millis(1), max: millis(3) };
    let reports = check(|plan| {
        let one = plan.mix.requests[0].clone();
        let heavy = MixRequest { name: 1, weight: 3, think, ..one.clone() };
        let names = vec!["light".to_owned(), "heavy".to_owned()];
        let order = Order::Weighted;
        let mix = Mix { requests: vec![one, heavy], names, order, ..(*plan.mix).clone() };
        Plan { mix: Arc::new(mix), stop: Stop::requests(1_000), ..plan }
    });
    for report in reports {
        let [light, heavy] = [0, 1].map(|place: usize| report.names[place].requests);
        assert_eq!(light + heavy, 1_000);
        assert!((650..850).contains(&heavy), "{light} and {heavy}");
    }
}

#[test]
fn connections_that_are_given_up_after_a_few_requests() {
    let reports = check(|plan| {
        let requests_per_connection = Some(7);
        Plan { requests_per_connection, pipeline: 3, stop: Stop::requests(700), ..plan }
    });
    for report in reports {
        assert!(report.connections_opened >= 100, "{report:#?}");
    }
    let once = |plan: Plan| Plan { keep_alive: KeepAlive::Off, ..plan };
    let arrival = rate(500.0, millis(300));
    let stop = Stop::after(millis(300));
    let reports = check(|plan| Plan { arrival: arrival.clone(), stop, ..once(plan) });
    for report in reports {
        assert!(report.connections_opened >= 150, "{report:#?}");
    }
}

/// nginx logs the client's address.
#[test]
fn connections_come_from_the_addresses_asked_for() {
    let Some(nginx) = Nginx::start() else { return };
    for driver in drivers() {
        let addresses = || std::fs::read_to_string(nginx.file("address.log")).unwrap_or_default();
        let (before, skip) = (nginx.log().len(), addresses().lines().count());
        let sources: Vec<_> = ["127.0.0.2", "127.0.0.3"].map(|text| text.parse().unwrap()).into();
        let plan = plan(&nginx.url("/small"), driver, &Asked::default());
        let report = run_whole(&Plan { sources, ..plan });
        assert_eq!(report.requests, 64, "{report:#?}");
        assert_eq!(nginx.logged(before + 64) - before, 64);
        let from = |wanted: &str| {
            addresses().lines().skip(skip).filter(|address| *address == wanted).count()
        };
        let both = || (from("127.0.0.2"), from("127.0.0.3"));
        assert!(wait_until(RUN_MAX / 4, || both().0 + both().1 == 64), "{}", addresses());
        assert!(both().0 > 0 && both().1 > 0, "{:?}", both());
    }
}

#[test]
fn a_run_that_is_interrupted_counts_what_it_sent() {
    let Some(nginx) = Nginx::start() else { return };
    for driver in drivers() {
        for open in [false, true] {
            let before = nginx.log().len();
            let length = RUN_MAX / 2;
            let arrival = if open { rate(5_000.0, length) } else { Arrival::Closed };
            let plan = plan(&nginx.url("/small"), driver, &Asked::default());
            let plan = Plan { arrival, stop: Stop::after(length), ..plan };
            let control = Arc::new(Control::new());
            let report = std::thread::scope(|scope| {
                let run = scope.spawn(|| run_controlled(&plan, &control));
                assert!(wait_until(RUN_MAX / 4, || control.snapshot().requests > 500));
                control.stop();
                run.join().expect("the run")
            });
            assert!(report.interrupted && report.seconds < 20.0, "{report:#?}");
            let sent = sent(&report);
            assert_eq!(nginx.logged(before + sent) - before, sent, "{driver}: {report:#?}");
        }
    }
}
