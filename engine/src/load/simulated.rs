//! Whole runs on the simulated driver, against servers whose delays are known to the nanosecond: what is recorded must be the truth.

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use crate::clock::Instant;
    use crate::driver::sim::{Act, Config, Faults, Peer, Quirks, Random, Sim};
    use crate::driver::uring::Tier;
    use crate::host::thread::Alone;
    use crate::load::control::{Control, CoreGauge};
    use crate::load::drive::Drive;
    use crate::load::merge::report;
    use crate::load::mix::{self, MixRequest, Order, Think};
    use crate::load::quota::QuotaReport;
    use crate::load::run::{Job, Shared};
    use crate::load::schedule::{Arrival, Schedule, Spacing, Stage};
    use crate::load::{Limit, Mix, NameReport, Pacing, Plan, Report, Stop, Timeouts, Verdict};
    use crate::shard::Shard;
    use crate::sys::affinity::{self, Pinned};

    const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    /// What the network and the turns of the loop may add to a server's delay: two ways of at most 1 us, and a few waits of 1 us.
    const SLACK_US: f64 = 20.0;

    /// When the answer to the request that arrives now is sent.
    type Answers = Box<dyn FnMut(Instant) -> Duration>;

    /// Answers each request after the delay that `answers` says.
    fn server(mut answers: Answers) -> Box<dyn Peer> {
        let mut tail = Vec::new();
        Box::new(move |bytes: &[u8], now: Instant, acts: &mut Vec<Act>| {
            tail.extend_from_slice(bytes);
            while let Some(end) = tail.windows(4).position(|four| four == b"\r\n\r\n") {
                tail.drain(..end + 4);
                acts.extend([Act::Pause(answers(now)), Act::Send(RESPONSE.to_vec())]);
            }
        })
    }

    fn plan(connections: u32, arrival: Arrival, stop: Stop) -> Plan {
        let one = mix::testing::mix(1);
        let template = one.only().cloned().unwrap();
        let cores = vec![affinity::cores()[0]];
        Plan {
            connections,
            arrival,
            stop,
            ..Plan::closed(template, one.targets[0].peers.clone(), cores)
        }
    }

    /// One core's run of `plan` on a simulation, each connection of which is answered by what `answers` makes.
    fn simulate(plan: &Plan, config: Config, answers: impl Fn(u64) -> Answers + 'static) -> Report {
        simulate_with(plan, config, &Control::new(), move |number| server(answers(number)))
    }

    /// The same, and how long it took.
    fn simulate_timed(
        plan: &Plan,
        control: &Control,
        answers: impl Fn(u64) -> Answers + 'static,
    ) -> (Report, Duration) {
        simulate_on(plan, calm(), control, move |number| server(answers(number)))
    }

    /// The same with a peer made for each connection, and who stops it.
    fn simulate_with(
        plan: &Plan,
        config: Config,
        control: &Control,
        peer: impl Fn(u64) -> Box<dyn Peer> + 'static,
    ) -> Report {
        simulate_on(plan, config, control, peer).0
    }

    fn simulate_on(
        plan: &Plan,
        config: Config,
        control: &Control,
        peer: impl Fn(u64) -> Box<dyn Peer> + 'static,
    ) -> (Report, Duration) {
        simulate_beside(&Arc::new(Shared::new(plan, 1, control)), plan, config, control, peer)
    }

    /// The same of a core with what it shares.
    fn simulate_beside(
        shared: &Arc<Shared>,
        plan: &Plan,
        config: Config,
        control: &Control,
        peer: impl Fn(u64) -> Box<dyn Peer> + 'static,
    ) -> (Report, Duration) {
        let gauge: Arc<CoreGauge> = Arc::clone(&control.gauges(1)[0]);
        let lanes = plan.connections * plan.lanes_per_user();
        let job = Job {
            core: plan.cores[0],
            place: 0,
            lanes,
            plan: plan.clone(),
            tier: Tier::SingleShot,
            shared: Arc::clone(shared),
            gauge,
            all_sent: false,
        };
        let limits = crate::driver::Limits { slots: lanes };
        let sim = Sim::open(Config { limits, ..config }, move |visit| peer(visit.number));
        let clock = sim.clock();
        let (watch, began) = (sim.clock(), sim.clock().now());
        let shard = Shard::new(sim, job.config()).unwrap();
        let run = pin!(Drive::new(job, shard, Pinned::No, Alone, move || clock.now()).run());
        let Poll::Ready(outcome) = run.poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("a run on a thread of its own waits for nothing");
        };
        let report = report(plan, control, vec![outcome.unwrap()], None, QuotaReport::default());
        check_sums(plan, &report);
        (report, watch.now() - began)
    }

    /// Nothing is lost: whatever was due ended in one way.
    #[track_caller]
    fn check_sums(plan: &Plan, report: &Report) {
        let ended = report.requests + report.errors + report.cancelled;
        assert_eq!(report.offered, ended + report.shed, "{report:?}");
        assert_eq!(report.outcomes.values().sum::<u64>(), ended);
        let (success, censored) = (report.status.success, report.censored);
        assert_eq!(report.response_time_us.samples, success + censored);
        assert_eq!(report.service_time_us.samples, success + report.cancelled);
        if plan.pacing.shed_after.is_none() {
            assert_eq!(censored, report.cancelled + report.shed);
        }
        let slots = report.timeline.iter().map(|slot| slot.requests + slot.errors).sum::<u64>();
        assert_eq!(slots, report.requests + report.errors, "{report:?}");
        let due = report.timeline.iter().map(|slot| slot.offered).sum::<u64>();
        assert_eq!(due, report.offered, "{report:?}");
        let times = report.timeline.iter().map(|slot| slot.buckets.len()).sum::<u64>();
        assert_eq!(times, success);
        if plan.arrival != Arrival::Closed && plan.stop.requests.is_none() {
            let due = report.target_per_second * report.sending_seconds;
            assert!(
                (report.offered as f64 - due).abs() <= 1.0 + 6.0 * due.sqrt(),
                "{} of {due}",
                report.offered
            );
        }
    }

    fn calm() -> Config {
        Config { latency_max: Duration::from_micros(1), ..Config::calm(1, 1) }
    }

    /// A recorded percentile against the true one, in microseconds: within 1 % or [`SLACK_US`].
    #[track_caller]
    fn check_truth(what: &str, recorded: f64, truth: f64) {
        let allowed = (truth * 0.01).max(SLACK_US);
        assert!(
            (recorded - truth).abs() <= allowed,
            "{what}: {recorded} us recorded, {truth} us in truth"
        );
    }

    /// Percentiles of the report against those of the true times in microseconds.
    #[track_caller]
    fn check_percentiles(times: &crate::load::Latency, mut truth: Vec<f64>) {
        truth.sort_by(f64::total_cmp);
        let at = |share: f64| {
            truth[((truth.len() as f64 * share).ceil() as usize).clamp(1, truth.len()) - 1]
        };
        assert_eq!(times.samples, truth.len() as u64);
        for (name, recorded, share) in [
            ("p50", times.p50, 0.5),
            ("p75", times.p75, 0.75),
            ("p95", times.p95, 0.95),
            ("p99", times.p99, 0.99),
            ("p99.9", times.p99_9, 0.999),
            ("max", times.max, 1.0),
        ] {
            check_truth(name, recorded, at(share));
        }
        check_truth("mean", times.mean, truth.iter().sum::<f64>() / truth.len() as f64);
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn seconds(count: u64) -> Stop {
        Stop::after(Duration::from_secs(count))
    }

    #[test]
    fn a_fixed_delay_is_recorded_as_it_is_in_both_loops() {
        let delay = Duration::from_micros(2_500);
        let answers = move |_| -> Answers { Box::new(move |_| delay) };
        for arrival in [Arrival::Closed, Arrival::at_rate(1_000.0, 5 * SECOND)] {
            let open = arrival != Arrival::Closed;
            let report = simulate(&plan(8, arrival, seconds(5)), calm(), answers);
            let truth = vec![2_500.0; report.requests as usize];
            check_percentiles(&report.response_time_us, truth.clone());
            check_percentiles(&report.service_time_us, truth);
            if open {
                assert_eq!((report.requests, report.late, report.shed), (5_000, 0, 0));
                check_truth("lag", report.schedule_lag_us.max, 0.0);
                check_truth("rate", report.requests_per_second, 1_000.0);
            }
        }
    }

    #[test]
    fn two_modes_are_recorded_in_their_proportion() {
        let answers = |number: u64| -> Answers {
            let mut random = Random::new(number);
            Box::new(move |_| {
                Duration::from_micros(if random.chance(0.1) { 40_000 } else { 1_000 })
            })
        };
        for arrival in [Arrival::Closed, Arrival::at_rate(2_000.0, 20 * SECOND)] {
            let report = simulate(&plan(400, arrival, seconds(20)), calm(), answers);
            let slow = report.histograms.service_time["2xx"]
                .buckets()
                .filter(|(nanos, _)| *nanos > 20_000_000);
            let share = slow.map(|(_, count)| count).sum::<u64>() as f64 / report.requests as f64;
            assert!((share - 0.1).abs() < 0.01, "{share}");
            check_truth("fast", report.service_time_us.p50, 1_000.0);
            check_truth("slow", report.service_time_us.p99, 40_000.0);
        }
    }

    /// Whatever arrives in the last second of each ten waits for its end: what a client that waits for answers before it sends again hardly notices.
    fn stalls(_: u64) -> Answers {
        Box::new(|now| Duration::from_micros(500) + stall_left(now.as_nanos()))
    }

    fn stall_left(nanos: u64) -> Duration {
        let in_ten = nanos % 10_000_000_000;
        Duration::from_nanos(if in_ten >= 9_000_000_000 { 10_000_000_000 - in_ten } else { 0 })
    }

    #[test]
    fn a_stall_has_its_full_weight_in_the_response_times_of_an_open_loop() {
        let arrival = Arrival::at_rate(500.0, 40 * SECOND);
        // Connections for all that can wait, so that the truth is a sum of two terms. The simulation's clock starts at one second.
        let report = simulate(&plan(600, arrival.clone(), seconds(40)), calm(), stalls);
        let start = 1_000_000_000 + start_up(&report);
        let due = |index: u64| start + index * 2_000_000;
        let truth = (0..20_000).map(|index| 500.0 + stall_left(due(index)).as_secs_f64() * 1e6);
        check_percentiles(&report.response_time_us, truth.collect());
        // With a single connection the others wait behind it: sent late, and their response times tell all the same.
        let report = simulate(&plan(1, arrival, seconds(40)), calm(), stalls);
        assert!(report.late > 1_900 && report.waited > 1_900, "{report:?}");
        assert!(report.service_time_us.p99 < 1_000.0, "the wait is not the server's service");
        let start = 1_000_000_000 + start_up(&report);
        let mut free = 0;
        let truth = (0..20_000).map(|index| {
            let due = start + index * 2_000_000;
            let sent = due.max(free);
            free = sent + 500_000 + stall_left(sent).as_nanos() as u64;
            (free - due) as f64 / 1e3
        });
        let truth: Vec<f64> = truth.collect();
        // Hundreds of requests one after the other, each with a few microseconds of network: within 1 % of the stall.
        let (recorded, max) =
            (report.response_time_us.max, truth.iter().copied().fold(0.0, f64::max));
        assert!((recorded / max - 1.0).abs() < 0.01, "{recorded} {max}");
        let over = truth.iter().filter(|time| **time > 100_000.0).count() as f64;
        let histogram = &report.histograms.response_time["2xx"];
        let told =
            histogram.buckets().filter(|(nanos, _)| *nanos > 100_000_000).map(|(_, count)| count);
        assert!((told.sum::<u64>() as f64 / over - 1.0).abs() < 0.02);
    }

    /// The closed loop sends one request a stall and connection: its percentiles don't show what its users would see.
    #[test]
    fn a_closed_loop_omits_what_an_open_one_shows() {
        let closed = simulate(&plan(4, Arrival::Closed, seconds(40)), calm(), stalls);
        let open =
            simulate(&plan(4, Arrival::at_rate(500.0, 40 * SECOND), seconds(40)), calm(), stalls);
        assert!(closed.latency_us.p99 < 1_000.0 && open.latency_us.p99 > 500_000.0);
    }

    /// How long the connections took, in nanoseconds of virtual time: the clock of the schedule starts after it.
    fn start_up(report: &Report) -> u64 {
        report.histograms.connect.buckets().map(|(nanos, _)| nanos).max().unwrap_or_default()
    }

    #[test]
    fn what_is_unanswered_at_the_end_is_censored_at_its_age() {
        let answers =
            |number: u64| -> Answers {
                Box::new(move |_| {
                    if number == 0 { Duration::from_secs(3600) } else { Duration::from_millis(1) }
                })
            };
        let plan =
            Plan { drain: SECOND, ..plan(2, Arrival::at_rate(100.0, 4 * SECOND), seconds(4)) };
        let report = simulate(&plan, calm(), answers);
        assert_eq!((report.censored, report.cancelled, report.requests), (1, 1, 399));
        // The first request was sent at the start, and nobody waited longer than the run and its drain.
        check_truth("age", report.response_time_us.max, 5e6);
        assert!((report.exact_below - 0.9975).abs() < 1e-9, "{}", report.exact_below);
    }

    /// The fourth connection answers its second request after an hour.
    fn one_hangs(number: u64) -> Answers {
        let mut asked = 0;
        Box::new(move |_| {
            asked += 1;
            let hangs = number == 3 && asked == 2;
            if hangs { Duration::from_secs(3600) } else { Duration::from_millis(1) }
        })
    }

    /// When the last was sent nothing more is to come but its answer.
    #[test]
    fn so_many_requests_are_waited_for_as_long_as_the_drain_says() {
        let timeouts = Timeouts { response: 20 * SECOND, ..Timeouts::default() };
        for arrival in [Arrival::Closed, Arrival::at_rate(1_000.0, 100 * SECOND)] {
            for after in [None, Some(50 * SECOND)] {
                let stop = Stop { after, requests: Some(40) };
                let plan = Plan { timeouts, ..plan(4, arrival.clone(), stop) };
                let cut = Plan { drain_sent: Some(SECOND), ..plan.clone() };
                let report = simulate(&cut, calm(), one_hangs);
                assert_eq!((report.requests, report.cancelled, report.errors), (39, 1, 0));
                assert!((report.service_time_us.max / 1e6 - 1.0).abs() < 0.1, "{report:?}");
                // Without a word of it the response timeout is what counts.
                let report = simulate(&plan, calm(), one_hangs);
                assert_eq!((report.requests, report.cancelled, report.errors), (39, 0, 1));
            }
        }
    }

    /// Each core has a part of them, and none knows when the others have sent theirs.
    #[test]
    fn the_drain_of_so_many_begins_once_all_cores_have_sent_theirs() {
        let timeouts = Timeouts { response: 20 * SECOND, ..Timeouts::default() };
        let plan = Plan {
            timeouts,
            drain_sent: Some(SECOND),
            ..plan(4, Arrival::Closed, Stop::requests(40))
        };
        for (others, cancelled, errors) in [(0, 1, 0), (1, 0, 1)] {
            let control = Control::new();
            let shared = Arc::new(Shared::new(&plan, 1, &control));
            shared.unsent.fetch_add(others, Ordering::Relaxed);
            let peer = |number| server(one_hangs(number));
            let (report, _) = simulate_beside(&shared, &plan, calm(), &control, peer);
            assert_eq!((report.requests, report.cancelled, report.errors), (39, cancelled, errors));
            assert_eq!(shared.unsent.load(Ordering::Relaxed), others);
        }
    }

    /// Ends each connection as soon as it is there.
    struct Slammed;

    impl Peer for Slammed {
        fn handle_connected(&mut self, _: Instant, acts: &mut Vec<Act>) {
            acts.push(Act::Close);
        }

        fn handle_bytes(&mut self, _: &[u8], _: Instant, _: &mut Vec<Act>) {}
    }

    #[test]
    fn a_server_that_closes_at_once_is_not_dialed_again_and_again() {
        let plan = plan(3, Arrival::at_rate(1.0, 5 * SECOND), seconds(5));
        let report = simulate_with(&plan, calm(), &Control::new(), |_| Box::new(Slammed));
        // Three lanes, each of which waits for 50 ms and more once a few have failed.
        assert!(report.connections_opened < 400, "{}", report.connections_opened);
        assert_eq!((report.offered, report.requests), (5, 0));
        let lost = report.connections_opened - report.errors;
        assert!(lost > 100 && report.connect_failures >= lost - 3, "{report:?}");
        assert_eq!(
            report.connect_failure_causes,
            [("reset".to_owned(), report.connect_failures)].into()
        );
        let example = &report.connect_failure_examples["reset"];
        assert!(
            example.contains("closed the connection") && example.contains("its log"),
            "{example}"
        );
    }

    #[test]
    fn a_dial_that_no_request_waited_for_keeps_its_cause() {
        let config = Config { faults: Faults { refused: 1.0, ..Faults::default() }, ..calm() };
        let plan = plan(3, Arrival::at_rate(1.0, SECOND), seconds(1));
        let report = simulate(&plan, config, |_| Box::new(|_| Duration::ZERO));
        assert!(report.connect_failures >= 3 && report.sockets.is_none(), "{report:?}");
        let causes = report.connect_failure_causes.values().sum::<u64>();
        assert_eq!(causes, report.connect_failures);
        assert!(report.connect_failure_examples.keys().eq(report.connect_failure_causes.keys()));
        for (cause, example) in &report.connect_failure_examples {
            assert!(
                cause.starts_with("connect E") && example.starts_with("connect: E"),
                "{example}"
            );
        }
    }

    fn stage(millis: u64, from: f64, to: f64) -> Stage {
        Stage { length: Duration::from_millis(millis), from, to }
    }

    /// Of a time and a number of requests, what comes first ends a run, and its length is that of the requests' own time.
    #[test]
    fn a_run_of_a_time_and_a_number_is_as_long_as_what_comes_first() {
        let check = |stages: &[Stage], requests: u64, due: u64, seconds: f64| {
            let arrival = Arrival::Open { stages: stages.into(), spacing: Spacing::Constant };
            for requests in [Some(requests), None].into_iter().take(1 + usize::from(due < requests))
            {
                let plan = plan(2, arrival.clone(), Stop { after: None, requests });
                let report = simulate(&plan, calm(), |_| Box::new(|_| Duration::from_millis(1)));
                assert_eq!((report.requests, report.offered), (due, due), "{requests:?}");
                assert!((report.sending_seconds - seconds).abs() < 1e-6, "{requests:?} {report:?}");
                assert!((report.seconds - seconds).abs() < 1e-6, "{requests:?} {report:?}");
                let asked = report.target_per_second * seconds;
                assert!((asked - due as f64).abs() < 1.0, "{requests:?} {report:?}");
            }
        };
        let paused = [stage(1_000, 10.0, 10.0), stage(3_000, 0.0, 0.0)];
        check(&paused, 1_000, 10, 4.0);
        check(&paused, 10, 10, 1.0);
        check(&paused, 5, 5, 0.5);
        check(&[stage(3_050, 10.0, 10.0)], 1_000, 31, 3.05);
        let again = [paused[0], paused[1], paused[0]];
        check(&again, 10, 10, 1.0);
        check(&again, 15, 15, 4.5);
    }

    #[test]
    fn a_warm_up_that_hangs_holds_up_no_measured_request() {
        for arrival in [Arrival::Closed, Arrival::at_rate(1_000.0, 100 * SECOND)] {
            let timeouts = Timeouts { response: 20 * SECOND, ..Timeouts::default() };
            let plan = Plan { warm_up: SECOND, timeouts, ..plan(4, arrival, Stop::requests(40)) };
            let control = Control::new();
            let simulated = simulate_timed(&plan, &control, one_hangs);
            assert_eq!((simulated.0.requests, simulated.0.errors), (40, 0));
            assert!(simulated.1 < 3 * SECOND, "{:?}", simulated.1);
        }
    }

    #[test]
    fn an_overloaded_server_is_told_by_what_is_shed_and_late() {
        // Two connections, 10 ms each: 200 a second, of 1,000 asked for.
        let answers = |_| -> Answers { Box::new(|_| Duration::from_millis(10)) };
        let arrival = Arrival::at_rate(1_000.0, 10 * SECOND);
        let shed_after = Some(Duration::from_millis(50));
        let plan = Plan {
            pacing: Pacing { shed_after, ..Pacing::default() },
            ..plan(2, arrival, seconds(10))
        };
        let report = simulate(&plan, calm(), answers);
        assert_eq!(report.offered, 10_000);
        assert!((1_990..=2_020).contains(&report.sent), "{}", report.sent);
        assert!(report.response_time_us.max < 62_000.0, "{}", report.response_time_us.max);
        assert!(report.late > 1_900 && report.waited > 1_900, "{report:?}");
        assert!(
            report.client_lag_us.max < 100.0,
            "the lag is not ours: {}",
            report.client_lag_us.max
        );
    }

    /// One request in so many, over all connections, is answered after `slow`; the others after 2 ms.
    fn stragglers(one_in: u64, slow: Duration) -> impl Fn(u64) -> Answers {
        let count = Arc::new(AtomicU64::new(0));
        move |_| {
            let count = Arc::clone(&count);
            Box::new(move |_| {
                let number = count.fetch_add(1, Ordering::Relaxed) + 1;
                if number.is_multiple_of(one_in) { slow } else { Duration::from_millis(2) }
            })
        }
    }

    /// A server that works on one request at a time, each for so long, whatever connection it came on.
    fn one_at_a_time(each: Duration) -> impl Fn(u64) -> Answers {
        let free = Arc::new(AtomicU64::new(0));
        move |_| {
            let free = Arc::clone(&free);
            Box::new(move |now| {
                let begun = free.load(Ordering::Relaxed).max(now.as_nanos());
                let done = begun + each.as_nanos() as u64;
                free.store(done, Ordering::Relaxed);
                Duration::from_nanos(done - now.as_nanos())
            })
        }
    }

    /// A rate for so many seconds on so many connections, with time for all answers: the limit, answers a second, and seconds.
    #[track_caller]
    fn check_rate(
        (rate, length, connections): (f64, u64, u32),
        answers: impl Fn(u64) -> Answers + 'static,
        limit: Limit,
        answered: f64,
    ) -> Report {
        let length = Duration::from_secs(length);
        let plan = plan(connections, Arrival::at_rate(rate, length), Stop::after(length));
        let report = simulate(&Plan { drain: 20 * SECOND, ..plan }, calm(), answers);
        assert_eq!(report.verdict.limit, limit, "{:#?}", report.verdict);
        let error = report.requests_per_second / answered - 1.0;
        assert!(error.abs() < 0.02, "{} of {answered}", report.requests_per_second);
        let rate = report.requests as f64 / report.seconds;
        assert!((report.requests_per_second / rate - 1.0).abs() < 1e-9);
        report
    }

    #[test]
    fn a_late_answer_is_no_backlog() {
        let slow = Duration::from_millis(1_500);
        for one_in in [400, 450, 899, 900] {
            let load = (300.0, 3, 64);
            let report = check_rate(load, stragglers(one_in, slow), Limit::None, 300.0);
            assert_eq!((report.requests, report.seconds), (900, 3.0));
            assert!(report.behind <= 2 && report.last_response_seconds > 3.0, "{report:?}");
        }
        // The last of thirty.
        check_rate((10.0, 3, 64), stragglers(30, slow), Limit::None, 10.0);
        // Each of them takes half of the run.
        check_rate((300.0, 3, 600), stragglers(1, slow), Limit::None, 300.0);
        // In a closed loop too.
        let plan = Plan { drain: 9 * SECOND, ..plan(8, Arrival::Closed, seconds(3)) };
        let fast = simulate(&plan, calm(), stragglers(u64::MAX, slow));
        let report = simulate(&plan, calm(), stragglers(fast.requests - 20, slow));
        assert!(report.last_response_seconds > 4.4, "{}", report.last_response_seconds);
        assert!(report.seconds == 3.0 && report.requests_per_second > 3_900.0, "{report:?}");
    }

    #[test]
    fn what_is_worked_off_when_nothing_is_due_any_more_is_a_backlog() {
        // Eight connections to a server that takes 50 ms: 160 a second.
        let fifty = |_| -> Answers { Box::new(|_| Duration::from_millis(50)) };
        for length in [2, 5, 10] {
            check_rate((200.0, length, 8), fifty, Limit::Server, 160.0);
            check_rate((163.0, length, 8), fifty, Limit::Server, 160.0);
            check_rate((158.0, length, 8), fifty, Limit::None, 158.0);
        }
        // A connection for each, and the backlog is the server's own: service times grow with it.
        for length in [2, 5] {
            for rate in [170.0, 200.0, 400.0, 1_000.0] {
                let each = Duration::from_micros(6_250);
                check_rate((rate, length, 10_000), one_at_a_time(each), Limit::Server, 160.0);
            }
        }
    }

    /// One in a thousand is never answered, and ends when its time is over.
    #[test]
    fn errors_do_not_make_a_run_longer() {
        let timeouts = Timeouts { response: Duration::from_millis(1_500), ..Timeouts::default() };
        for arrival in [Arrival::at_rate(1_000.0, 3 * SECOND), Arrival::Closed] {
            let open = arrival != Arrival::Closed;
            let plan =
                Plan { timeouts, drain: 9 * SECOND, ..plan(64, arrival.clone(), seconds(3)) };
            let report = simulate(&plan, calm(), stragglers(500, 3600 * SECOND));
            assert!(report.errors > 3 && report.seconds == 3.0, "{report:?}");
            assert!(report.last_response_seconds < 3.1, "{}", report.last_response_seconds);
            if open {
                assert_eq!(report.requests + report.errors, 3_000);
                assert_eq!(report.verdict.limit, Limit::None, "{:#?}", report.verdict);
            }
        }
        // The last of so many requests is one.
        let plan = Plan { timeouts, ..plan(1, Arrival::Closed, Stop::requests(500)) };
        let report = simulate(&plan, calm(), stragglers(500, 3600 * SECOND));
        assert!((report.seconds - 0.998).abs() < 0.01, "{}", report.seconds);
    }

    #[test]
    fn what_slack_holds_back_is_not_shed() {
        let poisson = |stages| Arrival::Open { stages, spacing: Spacing::Poisson { seed: 3 } };
        let stages = vec![Stage { length: 2 * SECOND, from: 500.0, to: 500.0 }];
        for arrival in [Arrival::at_rate(500.0, 2 * SECOND), poisson(stages)] {
            for (slack, shed_after) in [(5_000, 1_000), (5_000, 20), (0, 20)] {
                let [slack, shed_after] = [slack, shed_after].map(Duration::from_micros);
                let pacing = Pacing { slack, shed_after: Some(shed_after), ..Pacing::default() };
                let plan = Plan { pacing, ..plan(32, arrival.clone(), seconds(2)) };
                let report = simulate(&plan, calm(), stragglers(u64::MAX, SECOND));
                assert_eq!((report.shed, report.sent), (0, report.offered), "{pacing:?}");
                assert_eq!(report.verdict.limit, Limit::None, "{:#?}", report.verdict);
            }
        }
    }

    /// With nothing due any more it is the end of their time that ends them.
    #[test]
    fn what_waits_too_long_is_given_up_when_it_has() {
        let length = Duration::from_millis(200);
        let arrival = Arrival::at_rate(50.0, length);
        let shed_after = Some(Duration::from_millis(100));
        let plan = Plan {
            pacing: Pacing { shed_after, ..Pacing::default() },
            drain: 5 * SECOND,
            ..plan(1, arrival, Stop::after(length))
        };
        let report = simulate(&plan, calm(), |_| Box::new(|_| SECOND));
        assert_eq!((report.sent, report.shed, report.requests), (1, 9, 1));
        assert_eq!(report.verdict.limit, Limit::Server, "{:#?}", report.verdict);
    }

    #[test]
    fn so_many_requests_take_as_long_as_their_schedule_does() {
        let stages = vec![Stage { length: 20 * SECOND, from: 1_000.0, to: 1_000.0 }];
        for seed in 0..20 {
            let spacing = Spacing::Poisson { seed };
            let arrival = Arrival::Open { stages: stages.clone(), spacing };
            let start = Instant::from_nanos(0);
            let mut schedule = Schedule::new(&arrival, start, (0, 1), u64::MAX).unwrap();
            (0..50).for_each(|_| _ = schedule.take(schedule.next_due()));
            let until = (schedule.next_due() - start).as_secs_f64();
            let answers = |_| -> Answers { Box::new(|_| Duration::from_micros(100)) };
            let report = simulate(&plan(8, arrival, Stop::requests(50)), calm(), answers);
            let sending = report.sending_seconds;
            assert!((sending - until).abs() < 1e-6, "{sending} of {until}");
            assert_eq!(report.offered, 50);
        }
        // A log of one line, or of some in a moment, counts as a second.
        for lines in [1, 3] {
            let arrival = Arrival::Recorded((0..lines).collect());
            let stop = Stop { after: None, requests: None };
            let report = simulate(&plan(4, arrival, stop), calm(), |_| Box::new(|_| SECOND / 8));
            let rates = [report.target_per_second, report.requests_per_second];
            assert_eq!((report.sending_seconds, rates), (1.0, [lines as f64; 2]));
        }
    }

    /// A peer that answers after `delay`, and stops the run with the first request that comes `after` its start.
    fn stopping(control: &Arc<Control>, delay: Duration, after: Duration) -> Box<dyn Peer> {
        let control = Arc::clone(control);
        server(Box::new(move |now| {
            if now >= Instant::from_nanos(1_000_000_000) + after {
                control.stop();
            }
            delay
        }))
    }

    #[test]
    fn the_rate_asked_for_is_that_of_the_time_until_the_end() {
        let stages = vec![Stage { length: 10 * SECOND, from: 0.0, to: 2_000.0 }];
        let arrival = Arrival::Open { stages, spacing: Spacing::Constant };
        let answers = |_| -> Answers { Box::new(|_| Duration::from_micros(100)) };
        // The integral of the rate is 100 t^2.
        let of = |report: &Report| (report.target_per_second, report.sending_seconds);
        for stop in [Stop::requests(200), Stop { requests: Some(200), ..seconds(20) }] {
            let report = simulate(&plan(4, arrival.clone(), stop), calm(), answers);
            let (rate, sending) = of(&report);
            assert_eq!((report.offered, report.sent, report.shed), (200, 200, 0));
            assert!((rate - 141.4).abs() < 1.5 && (sending - 1.414).abs() < 0.015, "{rate}");
        }
        let report = simulate(&plan(4, arrival.clone(), seconds(20)), calm(), answers);
        assert_eq!((of(&report), report.offered), ((1_000.0, 10.0), 10_000));
        let report = simulate(&plan(4, arrival.clone(), seconds(5)), calm(), answers);
        assert_eq!((of(&report), report.offered), ((500.0, 5.0), 2_500));
        // Ctrl-C after two seconds.
        let control = Arc::new(Control::new());
        let stopper = Arc::clone(&control);
        let peer = move |_| stopping(&stopper, Duration::from_micros(100), 2 * SECOND);
        let report = simulate_with(&plan(4, arrival, seconds(20)), calm(), &control, peer);
        let (rate, sending) = of(&report);
        assert!(report.interrupted && (2.0..2.1).contains(&sending), "{sending}");
        assert!((rate / (100.0 * sending) - 1.0).abs() < 1e-3, "{rate} in {sending} s");
    }

    #[test]
    fn who_ends_a_run_while_it_drains_ends_that() {
        // Four connections, 50 ms each: 80 a second, of 3,000 asked for. The run is stopped 1.5 s into its drain of 6 s, or before it.
        let delay = Duration::from_millis(50);
        let arrival = Arrival::at_rate(3_000.0, SECOND);
        let plan = Plan { drain: 6 * SECOND, ..plan(4, arrival, seconds(1)) };
        for (after, sent) in [(500, 40), (2_500, 200)] {
            let control = Arc::new(Control::new());
            let stopper = Arc::clone(&control);
            let peer = move |_| stopping(&stopper, delay, Duration::from_millis(after));
            let report = simulate_with(&plan, calm(), &control, peer);
            assert!((sent..sent + 16).contains(&report.sent), "{} of {sent}", report.sent);
            assert!(report.interrupted && report.offered >= 3_000 * after.min(1_000) / 1_000);
            // Those in flight are waited for, unless it is that which was ended.
            let all = if after < 1_000 { 0 } else { 1 };
            assert!((all..=4 * all).contains(&report.cancelled), "{}", report.cancelled);
        }
    }

    /// Answers a request in 4.1 ms, one after the other, and says with every 50th that the connection ends: what is pipelined behind it is sent once more.
    fn server_that_closes() -> Box<dyn Peer> {
        let (mut tail, mut answered) = (Vec::new(), 0_u32);
        Box::new(move |bytes: &[u8], _: Instant, acts: &mut Vec<Act>| {
            tail.extend_from_slice(bytes);
            while let Some(end) = tail.windows(4).position(|four| four == b"\r\n\r\n") {
                tail.drain(..end + 4);
                if answered == 50 {
                    return;
                }
                answered += 1;
                let close = if answered == 50 { "Connection: close\r\n" } else { "" };
                let head = format!("HTTP/1.1 200 OK\r\n{close}Content-Length: 2\r\n\r\nok");
                acts.extend([
                    Act::Pause(Duration::from_micros(4_100)),
                    Act::Send(head.into_bytes()),
                ]);
            }
        })
    }

    #[test]
    fn a_request_that_is_sent_once_more_is_late_once_and_not_by_the_clients_doing() {
        let arrival = Arrival::at_rate(2_000.0, 3 * SECOND);
        let plan = Plan { pipeline: 32, ..plan(8, arrival, seconds(3)) };
        let report = simulate_with(&plan, calm(), &Control::new(), |_| server_that_closes());
        assert_eq!((report.requests, report.sent), (6_000, 6_000));
        assert!(report.resent > 100, "{}", report.resent);
        assert_eq!(report.schedule_lag_us.samples, 6_000);
        assert!(report.client_lag_us.max < 100.0, "{:?}", report.client_lag_us);
        assert!(report.late == 0 && report.waited < 10, "{} {}", report.late, report.waited);
    }

    /// A core that asked again and again whether somebody may send would be busy, and be taken for the limit.
    #[test]
    fn users_who_have_thought_enough_are_left_alone_while_a_run_drains() {
        let answers = |number: u64| -> Answers {
            Box::new(move |_| if number == 0 { 60 * SECOND } else { Duration::from_millis(1) })
        };
        let mut mix = mix::testing::mix(1);
        let think = Duration::from_millis(50);
        mix.requests[0].think = Think { min: think, max: think };
        let plan =
            Plan { mix: Arc::new(mix), drain: 10 * SECOND, ..plan(5, Arrival::Closed, seconds(1)) };
        let report = simulate(&plan, calm(), answers);
        assert!(report.cancelled == 1 && report.requests > 60, "{report:?}");
        // The waits of a drain are a hundredth of a second and more.
        let turns: u64 = report.cores.iter().map(|core| core.turns).sum();
        assert!(turns < 5_000, "{turns} turns for {} requests", report.requests);
    }

    /// 45,000 are due for each of two servers, one of which answers 80 a second.
    #[test]
    fn a_server_that_is_far_behind_takes_nothing_from_the_others() {
        // A user has a connection to each, made in turn.
        let answers = |number: u64| -> Answers {
            let micros = if number.is_multiple_of(2) { 50 } else { 50_000 };
            Box::new(move |_| Duration::from_micros(micros))
        };
        let arrival = Arrival::at_rate(30_000.0, 3 * SECOND);
        for shed_after in [None, Some(Duration::from_millis(1_500))] {
            let plan = Plan {
                mix: Arc::new(mix::testing::mix(2)),
                pacing: Pacing { shed_after, ..Pacing::default() },
                drain: Duration::from_millis(100),
                ..plan(4, arrival.clone(), seconds(3))
            };
            let report = simulate(&plan, calm(), answers);
            assert_eq!(report.offered, 90_000);
            assert!((45_000..46_000).contains(&report.requests), "{}", report.requests);
            let quick = report.histograms.response_time["2xx"].buckets();
            let quick = quick.filter(|(nanos, _)| *nanos < 500_000).map(|(_, count)| count);
            assert!(quick.sum::<u64>() >= 45_000, "{:?}", report.response_time_us);
        }
    }

    /// Nobody knows when requests that were never sent would have been answered: what most of them waited for has no percentile below that is exact.
    #[test]
    fn what_is_never_sent_is_censored_too() {
        // As above: 2,000 of 10,000 are answered by the end, and 200 more in the second after it.
        let answers = |_| -> Answers { Box::new(|_| Duration::from_millis(10)) };
        let arrival = Arrival::at_rate(1_000.0, 10 * SECOND);
        let report =
            simulate(&Plan { drain: SECOND, ..plan(2, arrival, seconds(10)) }, calm(), answers);
        assert!((7_700..7_850).contains(&report.shed), "{}", report.shed);
        assert_eq!((report.offered, report.censored), (10_000, report.cancelled + report.shed));
        // The youngest of them was due just before the end; a few were answered sooner than it was given up.
        assert!(report.exact_below < 0.2, "{}", report.exact_below);
        // Request n waits until n / 200 s, for n / 1000 s of which it was not due yet: the oldest unsent one at the end is older than all that were answered.
        assert!(report.latency_us.p50 > 4e6, "{:?}", report.latency_us);
    }

    /// It answers for half a second and then no more, and there are connections enough to go on asking.
    #[test]
    fn a_server_that_falls_silent_is_told_so() {
        let until = Instant::from_nanos(1_500_000_000);
        let answers = move |_| -> Answers {
            Box::new(move |now| if now < until { Duration::from_millis(1) } else { 100 * SECOND })
        };
        let arrival = Arrival::at_rate(100.0, 3 * SECOND);
        let plan = Plan { drain: SECOND, ..plan(300, arrival, seconds(3)) };
        let report = simulate(&plan, calm(), answers);
        assert_eq!((report.sent, report.errors, report.shed), (300, 0, 0));
        assert!((40..60).contains(&report.requests), "{}", report.requests);
        let Verdict { limit, valid, summary, .. } = report.verdict;
        assert_eq!((limit, valid), (Limit::Unknown, false));
        assert!(summary.contains("had no answer when the run ended: the server hung"), "{summary}");
    }

    /// Two names to one server, one of whose connections is never answered: each name has its share of what was cut off and of what was never sent.
    #[test]
    fn what_is_cut_off_is_counted_by_name_too() {
        let one = mix::testing::mix(1);
        let request = |name| MixRequest { name, ..one.requests[0].clone() };
        let names = ["one".to_owned(), "other".to_owned()].into();
        let mix = Mix { requests: vec![request(0), request(1)], names, ..one };
        let answers = |number| -> Answers {
            let delay = if number == 0 { Duration::from_millis(10) } else { 100 * SECOND };
            Box::new(move |_| delay)
        };
        for arrival in [Arrival::Closed, Arrival::at_rate(1_000.0, 3 * SECOND)] {
            let mix = Arc::new(mix.clone());
            let plan = Plan { mix, drain: SECOND, ..plan(2, arrival.clone(), seconds(3)) };
            let report = simulate(&plan, calm(), answers);
            let sum = |of: fn(&NameReport) -> u64| report.names.iter().map(of).sum::<u64>();
            assert_eq!(sum(|name| name.requests), report.requests);
            assert_eq!(sum(|name| name.cancelled), report.cancelled);
            assert_eq!(sum(|name| name.censored), report.censored);
            assert_eq!(sum(|name| name.latency_us.samples), report.response_time_us.samples);
            let least = report.names.iter().map(|name| name.exact_below).fold(1.0, f64::min);
            assert!(report.cancelled > 0 && least < 1.0, "{least}");
            if arrival != Arrival::Closed {
                let censored = [0, 1].map(|place: usize| report.names[place].censored);
                assert!(censored[0].abs_diff(censored[1]) < 3 && censored[0] > 1_000);
            }
        }
    }

    #[test]
    fn a_single_name_is_told_unless_it_is_empty() {
        let answers = |_| -> Answers { Box::new(|_| Duration::from_millis(10)) };
        for name in ["", "only"] {
            let mix = Mix { names: vec![name.to_owned()], ..mix::testing::mix(1) };
            let mix = Arc::new(mix);
            let plan = Plan { mix, ..plan(2, Arrival::Closed, Stop::requests(20)) };
            let report = simulate(&plan, calm(), answers);
            let told: Vec<_> = report.names.iter().map(|it| (&*it.name, it.requests)).collect();
            let expected = if name.is_empty() { vec![] } else { vec![("only", 20)] };
            assert_eq!(told, expected);
        }
    }

    /// Stopped while connections are being opened: those that are there send nothing.
    #[test]
    fn who_is_stopped_before_the_start_sends_nothing() {
        for arrival in [Arrival::Closed, Arrival::at_rate(1_000.0, 3 * SECOND)] {
            let control = Arc::new(Control::new());
            let stop = Arc::clone(&control);
            let silent = move |number: u64| -> Box<dyn Peer> {
                if number == 3 {
                    stop.stop();
                }
                server(Box::new(|_| 100 * SECOND))
            };
            let plan = Plan { drain: 60 * SECOND, ..plan(200, arrival, seconds(3)) };
            let report = simulate_with(&plan, calm(), &control, silent);
            assert_eq!((report.offered, report.sent, report.cancelled), (0, 0, 0), "{report:?}");
            assert!(report.interrupted && report.sending_seconds == 0.0, "{report:?}");
        }
    }

    #[test]
    fn a_report_says_in_which_stages_its_rate_was_to_change() {
        let stage = |from, to| Stage { length: SECOND, from, to };
        let of = |stages: &[Stage]| {
            let arrival = Arrival::Open { stages: stages.into(), spacing: Spacing::Constant };
            let length = seconds(stages.len() as u64);
            let report = simulate(&plan(1, arrival, length), calm(), |_| {
                Box::new(|_| Duration::from_millis(1))
            });
            report.stages.iter().flatten().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(of(&[stage(0.0, 50.0), stage(50.0, 50.0)]), ["1s:0..50", "1s:50"]);
        assert_eq!(of(&[stage(50.0, 50.0)]), [""; 0]);
    }

    /// A run with everything drawn from a seed, on a kernel that uses all of its contract and a network that breaks.
    fn draw(seed: u64) -> (Plan, Config) {
        let random = &mut Random::new(seed);
        let targets = random.between(1, 3) as u32;
        let mix = mix::testing::mix(targets);
        let mut mix = Mix { order: Order::Weighted, seed, ..mix };
        let think = Duration::from_micros(random.between(0, 2_000));
        if random.chance(0.3) {
            mix.requests[0].think = Think { min: think, max: 2 * think };
        }
        let length = Duration::from_millis(random.between(5, 200));
        let rate = random.between(100, 20_000) as f64;
        let spacing =
            if random.chance(0.5) { Spacing::Constant } else { Spacing::Poisson { seed } };
        let stages =
            vec![Stage { length, from: 0.0, to: rate }, Stage { length, from: rate, to: rate }];
        let arrival =
            if random.chance(0.3) { Arrival::Closed } else { Arrival::Open { stages, spacing } };
        let stop = match random.below(3) {
            0 => Stop::requests(random.between(1, 500)),
            1 => Stop::after(length),
            _ => Stop { after: Some(length), requests: Some(random.between(1, 500)) },
        };
        let plain = targets == 1 && mix.requests[0].think == Think::default();
        let shed_after = random.chance(0.3).then_some(Duration::from_millis(3));
        let plan = Plan {
            mix: Arc::new(mix),
            pacing: Pacing { shed_after, ..Pacing::default() },
            pipeline: if plain { random.between(1, 6) as u32 } else { 1 },
            warm_up: Duration::from_millis(random.below(3) * 7),
            drain: Duration::from_millis(random.below(3) * 20),
            requests_per_connection: random.chance(0.3).then(|| random.between(1, 9)),
            ..plan(random.between(1, 12) as u32, arrival, stop)
        };
        let some = |random: &mut Random, most: f32| most * random.below(1000) as f32 / 1000.0;
        let config = Config {
            quirks: Quirks {
                partial: some(random, 0.5),
                full: some(random, 1.0),
                late: some(random, 0.5),
                late_max: Duration::from_micros(200),
                early_wake: some(random, 0.3),
                ..Quirks::default()
            },
            faults: Faults {
                refused: some(random, 0.3),
                reset: some(random, 0.4),
                reset_within: Duration::from_millis(30),
                send_fails: some(random, 0.05),
                ..Faults::default()
            },
            ..Config::calm(1, seed)
        };
        (plan, config)
    }

    #[test]
    fn every_request_is_accounted_for_whatever_breaks() {
        for seed in 0..400 {
            let (plan, config) = draw(seed);
            let answers = |number: u64| -> Answers {
                let mut random = Random::new(number);
                Box::new(move |_| Duration::from_micros(random.between(0, 3_000)))
            };
            let report = simulate(&plan, config, answers);
            let counted = plan.stop.requests.filter(|_| plan.stop.after.is_none());
            if let (Some(requests), Arrival::Closed) = (counted, &plan.arrival) {
                assert_eq!(report.offered, requests, "seed {seed}: {plan:?}");
            }
        }
    }
}
