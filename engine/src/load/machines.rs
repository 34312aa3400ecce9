//! Several machines' reports as one: counts summed, histograms added, percentiles taken anew. Nothing is averaged that can be added. Counts that no number holds
//! stay at the largest there is.

use std::collections::BTreeMap;

use super::details::{NameReport, StageReport, WarmUp};
use super::merge::per;
use super::report::{Report, SCHEMA_VERSION, Slot, SocketsReport};
use super::timeline::SLOT;
use super::verdict::{Limit, Verdict};

/// What stands for a name in which the runs differ.
const MIXED: &str = "mixed";

/// Why reports can't be merged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// None were given.
    #[error("there is no report to merge")]
    Nothing,
    /// A report of another layout.
    #[error("{machine} has schema_version {found}, and only {SCHEMA_VERSION} can be merged")]
    Version {
        /// Whose report it is.
        machine: String,
        /// Its version.
        found: u32,
    },
    /// A report without the samples behind its percentiles, which alone can be added.
    #[error(
        "{machine} lacks the histograms of its {samples} samples: run it again with this version"
    )]
    NoSamples {
        /// Whose report it is.
        machine: String,
        /// How many it says it had.
        samples: u64,
    },
}

impl Report {
    /// One report of several machines' runs at the same time, each with its machine's name: exactly what one recorder would have found that saw all samples,
    /// in whatever order they are given.
    ///
    /// `seconds` is the longest run's, and rates are taken over it; a machine whose client was the limit makes the whole invalid. What can't be added without
    /// the samples is the worst machine's (percentiles of the warm-up) or weighed by samples (round trips of sockets).
    ///
    /// # Errors
    /// [`MergeError`], when a report has another layout or not its samples.
    pub fn merge(parts: &[(String, Self)]) -> Result<Self, MergeError> {
        if parts.is_empty() {
            return Err(MergeError::Nothing);
        }
        // By name: the order in which they are given says nothing of them.
        let mut parts: Vec<&(String, Self)> = parts.iter().collect();
        parts.sort_by(|(left, _), (right, _)| left.cmp(right));
        let parts = &*parts;
        parts.iter().try_for_each(|(machine, part)| part.check_mergeable(machine))?;
        let mut sum = Self { schema_version: SCHEMA_VERSION, ..Self::default() };
        for (machine, part) in parts {
            sum.add_counts(part);
            sum.add_maps(part);
            sum.add_samples(part);
            sum.add_cores(machine, part);
        }
        sum.driver = common(parts, |part| &part.driver);
        sum.host = common(parts, |part| &part.host);
        sum.arrival = common(parts, |part| &part.arrival);
        sum.stages = stages(parts);
        sum.slack_us = shared(parts, |part| part.slack_us);
        sum.spin_us = shared(parts, |part| part.spin_us);
        sum.timeline = timeline(parts, sum.seconds.max(sum.last_response_seconds));
        sum.sockets = sockets(parts);
        sum.set_rates(parts);
        sum.set_times();
        sum.verdict = verdict(parts, &sum);
        Ok(sum)
    }

    fn check_mergeable(&self, machine: &str) -> Result<(), MergeError> {
        let (machine, samples) = (machine.to_owned(), self.latency_us.samples);
        if self.schema_version != SCHEMA_VERSION {
            return Err(MergeError::Version { machine, found: self.schema_version });
        }
        match self.histograms.success_response_time().len() == samples {
            true => Ok(()),
            false => Err(MergeError::NoSamples { machine, samples }),
        }
    }

    fn is_merged(&self) -> bool {
        self.cores.iter().any(|core| !core.machine.is_empty())
    }

    fn add_counts(&mut self, part: &Self) {
        let counts = [
            (&mut self.requests, part.requests),
            (&mut self.errors, part.errors),
            (&mut self.cancelled, part.cancelled),
            (&mut self.resent, part.resent),
            (&mut self.offered, part.offered),
            (&mut self.sent, part.sent),
            (&mut self.shed, part.shed),
            (&mut self.late, part.late),
            (&mut self.censored, part.censored),
            (&mut self.waited, part.waited),
            (&mut self.behind, part.behind),
            (&mut self.connections_opened, part.connections_opened),
            (&mut self.connect_failures, part.connect_failures),
        ];
        counts.into_iter().for_each(|(sum, count)| *sum = sum.saturating_add(count));
        self.status = self.status.plus(part.status);
        self.status_expected = self.status_expected.plus(part.status_expected);
        self.seconds = self.seconds.max(part.seconds);
        self.sending_seconds = self.sending_seconds.max(part.sending_seconds);
        self.last_response_seconds = self.last_response_seconds.max(part.last_response_seconds);
        self.target_per_second += part.target_per_second;
        self.resident_bytes_max = self.resident_bytes_max.max(part.resident_bytes_max);
        self.interrupted |= part.interrupted;
        self.exhausted_feeds.extend(part.exhausted_feeds.iter().cloned());
        self.exhausted_feeds.sort_unstable();
        self.exhausted_feeds.dedup();
        self.warm_up.add(&part.warm_up);
        self.cpu_quota = self.cpu_quota.into_iter().chain(part.cpu_quota).reduce(f64::min);
        self.throttled_seconds = self.throttled_seconds.max(part.throttled_seconds);
    }

    fn add_maps(&mut self, part: &Self) {
        add_map(&mut self.outcomes, &part.outcomes);
        add_map(&mut self.error_causes, &part.error_causes);
        add_examples(&mut self.error_examples, &part.error_examples);
        add_examples(&mut self.error_cause_examples, &part.error_cause_examples);
        add_map(&mut self.connect_failure_causes, &part.connect_failure_causes);
        add_examples(&mut self.connect_failure_examples, &part.connect_failure_examples);
    }

    fn add_samples(&mut self, part: &Self) {
        let (mine, theirs) = (&mut self.histograms, &part.histograms);
        for (class, times) in &theirs.response_time {
            mine.response_time.entry(class.clone()).or_default().add(times);
        }
        for (class, times) in &theirs.service_time {
            mine.service_time.entry(class.clone()).or_default().add(times);
        }
        mine.censored_response.add(&theirs.censored_response);
        mine.censored_service.add(&theirs.censored_service);
        mine.first_byte.add(&theirs.first_byte);
        mine.connect.add(&theirs.connect);
        mine.schedule_lag.add(&theirs.schedule_lag);
        mine.client_lag.add(&theirs.client_lag);
        part.names.iter().for_each(|name| self.add_name(name));
    }

    fn add_name(&mut self, name: &NameReport) {
        match self.names.iter_mut().find(|mine| mine.name == name.name) {
            None => self.names.push(name.clone()),
            Some(mine) => {
                mine.requests = mine.requests.saturating_add(name.requests);
                mine.errors = mine.errors.saturating_add(name.errors);
                mine.cancelled = mine.cancelled.saturating_add(name.cancelled);
                mine.censored = mine.censored.saturating_add(name.censored);
                mine.histogram.add(&name.histogram);
                mine.censored_histogram.add(&name.censored_histogram);
                mine.set_times();
                mine.histogram.pack();
                mine.censored_histogram.pack();
            }
        }
    }

    fn add_cores(&mut self, machine: &str, part: &Self) {
        for core in &part.cores {
            let mut core = core.clone();
            core.machine = match core.machine.is_empty() {
                true => machine.to_owned(),
                false => format!("{machine}/{}", core.machine),
            };
            self.cores.push(core);
        }
    }

    fn set_rates(&mut self, parts: &[&(String, Self)]) {
        let requests = self.requests as f64;
        let total = |of: &dyn Fn(&Self) -> f64| parts.iter().map(|(_, part)| of(part)).sum::<f64>();
        let cpu = |of: fn(&Self) -> f64| per(total(&|it| of(it) * it.requests as f64), requests);
        let completions =
            |it: &Self| it.cores.iter().map(|core| core.completions as f64).sum::<f64>();
        let turns = total(&|it| per(completions(it), it.completions_per_turn));
        self.requests_per_second = per(requests, self.seconds);
        self.bytes_per_second = per(total(&|it| it.bytes_per_second * it.seconds), self.seconds);
        self.cpu_us_per_request = cpu(|it| it.cpu_us_per_request);
        self.cpu_user_us_per_request = cpu(|it| it.cpu_user_us_per_request);
        self.cpu_system_us_per_request = cpu(|it| it.cpu_system_us_per_request);
        self.system_calls_per_request = cpu(|it| it.system_calls_per_request);
        self.completions_per_turn = per(total(&completions), turns);
        let time = |it: &Self| {
            it.seconds * it.cores.iter().map(|core| f64::from(core.connections)).sum::<f64>()
        };
        self.think_share = per(total(&|it| it.think_share * time(it)), total(&time));
    }
}

impl WarmUp {
    fn add(&mut self, part: &Self) {
        self.seconds = self.seconds.max(part.seconds);
        self.requests = self.requests.saturating_add(part.requests);
        self.errors = self.errors.saturating_add(part.errors);
        self.shed = self.shed.saturating_add(part.shed);
        self.p50_us = self.p50_us.max(part.p50_us);
        self.p99_us = self.p99_us.max(part.p99_us);
    }
}

fn add_map(sum: &mut BTreeMap<String, u64>, part: &BTreeMap<String, u64>) {
    for (key, count) in part {
        let sum = sum.entry(key.clone()).or_default();
        *sum = sum.saturating_add(*count);
    }
}

/// The example of the first machine by name stands.
fn add_examples(sum: &mut BTreeMap<String, String>, part: &BTreeMap<String, String>) {
    for (key, example) in part {
        sum.entry(key.clone()).or_insert_with(|| example.clone());
    }
}

/// What all runs have in common, or that they have not.
fn common(parts: &[&(String, Report)], of: fn(&Report) -> &String) -> String {
    let mut names = parts.iter().map(|(_, part)| of(part));
    let first = names.next().cloned().unwrap_or_default();
    if names.all(|name| *name == first) { first } else { MIXED.to_owned() }
}

/// The figure that all runs share, if they do.
fn shared(parts: &[&(String, Report)], of: fn(&Report) -> Option<f64>) -> Option<f64> {
    let mut figures = parts.iter().map(|(_, part)| of(part));
    let first = figures.next()?;
    figures.all(|figure| figure == first).then_some(first).flatten()
}

/// The stages of all together, if theirs have the same lengths.
fn stages(parts: &[&(String, Report)]) -> Option<Vec<StageReport>> {
    let mut all = parts.iter().map(|(_, part)| part.stages.as_deref());
    let mut sum = all.next()??.to_vec();
    for stages in all {
        let stages = stages?;
        let lengths = |of: &[StageReport]| of.iter().map(|it| it.seconds).collect::<Vec<_>>();
        if lengths(stages) != lengths(&sum) {
            return None;
        }
        for (sum, stage) in sum.iter_mut().zip(stages) {
            sum.from_per_second += stage.from_per_second;
            sum.to_per_second += stage.to_per_second;
        }
    }
    Some(sum)
}

/// All time lines as one of `seconds`, in the longest slots that one of them has.
fn timeline(parts: &[&(String, Report)], seconds: f64) -> Vec<Slot> {
    let length = parts.iter().map(|(_, part)| slot_seconds(&part.timeline)).fold(0.0, f64::max);
    let mut sum: BTreeMap<u64, Slot> = BTreeMap::new();
    for slot in parts.iter().flat_map(|(_, part)| &part.timeline) {
        // A little more than the quotient, as starts are decimal fractions.
        let place = (slot.start / length + 1e-6) as u64;
        sum.entry(place).or_default().add(slot);
    }
    let placed = sum.into_iter().map(|(place, slot)| {
        let start = place as f64 * length;
        slot.finished(start, length.min((seconds - start).max(0.0)))
    });
    placed.collect()
}

/// The length of a time line's slots but for the last, which may be shorter.
fn slot_seconds(slots: &[Slot]) -> f64 {
    match slots {
        [first, second, ..] => (second.start - first.start).max(SLOT.as_secs_f64()),
        _ => SLOT.as_secs_f64(),
    }
}

impl Slot {
    fn add(&mut self, other: &Self) {
        self.offered = self.offered.saturating_add(other.offered);
        self.requests = self.requests.saturating_add(other.requests);
        self.errors = self.errors.saturating_add(other.errors);
        self.bytes = self.bytes.saturating_add(other.bytes);
        for (bucket, count) in other.buckets.counts().iter().enumerate() {
            self.buckets.add(bucket, *count);
        }
    }

    fn finished(self, start: f64, seconds: f64) -> Self {
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|quantile| self.buckets.quantile_us(quantile));
        Self { start, seconds, p50, p99, max, ..self }
    }
}

fn sockets(parts: &[&(String, Report)]) -> Option<SocketsReport> {
    let known: Vec<SocketsReport> = parts.iter().filter_map(|(_, part)| part.sockets).collect();
    let total = |of: fn(&SocketsReport) -> u64| known.iter().map(of).fold(0, u64::saturating_add);
    let samples = total(|it| it.samples);
    let mean = |of: fn(&SocketsReport) -> f64| {
        per(known.iter().map(|it| of(it) * it.samples as f64).sum(), samples as f64)
    };
    (!known.is_empty()).then(|| SocketsReport {
        samples,
        segments_sent: total(|it| it.segments_sent),
        segments_retransmitted: total(|it| it.segments_retransmitted),
        segments_received: total(|it| it.segments_received),
        segments_out_of_order: total(|it| it.segments_out_of_order),
        rtt_us: mean(|it| it.rtt_us),
        min_rtt_us: mean(|it| it.min_rtt_us),
        receive_queue_bytes: mean(|it| it.receive_queue_bytes),
        send_queue_bytes: mean(|it| it.send_queue_bytes),
        server_queue_bytes: known
            .iter()
            .any(|it| it.server_queue_bytes.is_some())
            .then(|| mean(|it| it.server_queue_bytes.unwrap_or_default())),
    })
}

/// That of the first machine by name whose figures are not the server's, else of the first that the server limited; with the whole's evidence where all are valid.
/// The whole itself tells less: runs of different lengths have fewer requests over the longest than their rates add up to.
fn verdict(parts: &[&(String, Report)], sum: &Report) -> Verdict {
    let found = |is: fn(&Verdict) -> bool| parts.iter().find(|(_, part)| is(&part.verdict));
    let Some((machine, part)) = found(|it| !it.valid)
        .or_else(|| found(|it| it.limit == Limit::Server))
        .or_else(|| parts.first())
    else {
        return Verdict::of(sum);
    };
    let told = part.verdict.clone();
    let agree = parts.iter().all(|(_, part)| part.verdict.summary == told.summary);
    // What was merged before names its machine already.
    let of_machine = told.summary.strip_prefix("On ").filter(|_| part.is_merged());
    let summary = match of_machine {
        _ if agree => told.summary.clone(),
        Some(rest) => format!("On {machine}/{rest}"),
        None => format!("On {machine}: {}", told.summary),
    };
    let evidence = if told.valid { Verdict::of(sum).evidence } else { told.evidence };
    Verdict { limit: told.limit, valid: told.valid, summary, evidence }
}

#[cfg(test)]
mod tests {
    use super::super::recorder::{Recorder, Sample, Stamps};
    use super::super::report::CoreReport;
    use super::*;
    use crate::clock::Instant;
    use crate::shard::Failure;

    /// Of four requests two succeed, one gets a 503, and one is cut off.
    fn fill(recorder: &mut Recorder, turn: u64) {
        let at = |micros: u64| Instant::from_nanos(micros * 1_000);
        let sent = 10 + turn % 5;
        let (first_byte, done) = (at(sent + turn), at(sent + 2 * turn));
        let sample = Sample { name: 0, intended: at(10), sent: at(sent), first_byte, done };
        recorder.record_lag(at(10), at(10), at(sent));
        recorder.record_connect(turn * 700);
        match turn % 4 {
            0 => recorder.record_failure(&Failure::Cancelled, 0, Some(&sample)),
            rest => recorder.record([200, 200, 503][rest as usize - 1], &sample),
        }
    }

    fn report(recorder: &Recorder, seconds: f64) -> Report {
        let mut report = Report {
            schema_version: SCHEMA_VERSION,
            seconds,
            requests: recorder.responses(),
            censored: recorder.censored(),
            status: recorder.status(),
            outcomes: recorder.outcomes(),
            histograms: recorder.clone().into_histograms(),
            cores: vec![CoreReport { core: 3, ..CoreReport::default() }],
            ..Report::default()
        };
        report.set_times();
        report
    }

    fn parts(reports: [Report; 2]) -> [(String, Report); 2] {
        let [a, b] = reports;
        [("a".to_owned(), a), ("b".to_owned(), b)]
    }

    #[test]
    fn a_merge_is_what_one_recorder_would_have_seen() {
        let new = || Recorder::new(Stamps::Intended, 1);
        let (mut a, mut b, mut all) = (new(), new(), new());
        for turn in 1..5_000_u64 {
            let side = if turn.is_multiple_of(3) { &mut a } else { &mut b };
            fill(side, turn * 977 % 61_000_000);
            fill(&mut all, turn * 977 % 61_000_000);
        }
        let merged = Report::merge(&parts([report(&a, 2.0), report(&b, 4.0)])).unwrap();
        let mut expected = report(&all, 4.0);
        expected.requests_per_second = merged.requests as f64 / 4.0;
        expected.cores = merged.cores.clone();
        // Judged by machine: tested below.
        expected.verdict = merged.verdict.clone();
        assert_eq!(merged, expected);
        let machines: Vec<&str> = merged.cores.iter().map(|core| &*core.machine).collect();
        assert_eq!(machines, ["a", "b"]);
    }

    #[test]
    fn a_pacing_is_only_claimed_where_all_runs_had_it() {
        let part = |slack_us, spin_us| Report {
            schema_version: SCHEMA_VERSION,
            slack_us: Some(slack_us),
            spin_us: Some(spin_us),
            ..Report::default()
        };
        let pacing = |reports| {
            let merged = Report::merge(&parts(reports)).unwrap();
            (merged.slack_us, merged.spin_us)
        };
        assert_eq!(pacing([part(1e3, 0.0), part(1e3, 0.0)]), (Some(1e3), Some(0.0)));
        assert_eq!(pacing([part(1e3, 100.0), part(0.0, 100.0)]), (None, Some(100.0)));
    }

    #[test]
    fn rates_are_weighed_by_what_they_are_rates_of() {
        let part = |requests: u64, seconds: f64, cpu: f64| Report {
            schema_version: SCHEMA_VERSION,
            requests,
            seconds,
            bytes_per_second: 100.0,
            cpu_us_per_request: cpu,
            completions_per_turn: cpu,
            cores: vec![CoreReport { completions: requests, ..CoreReport::default() }],
            driver: if requests > 10 { "epoll" } else { "io_uring" }.to_owned(),
            ..Report::default()
        };
        let merged = Report::merge(&parts([part(10, 1.0, 1.0), part(30, 2.0, 3.0)])).unwrap();
        assert_eq!((merged.requests_per_second, merged.bytes_per_second), (20.0, 150.0));
        assert_eq!((merged.cpu_us_per_request, merged.completions_per_turn), (2.5, 2.0));
        assert_eq!((&*merged.driver, &*merged.host), ("mixed", ""));
    }

    #[test]
    fn time_lines_of_different_slots_add_up() {
        let slot = |start: f64, seconds: f64, requests: u64| {
            let mut slot = Slot { start, seconds, requests, ..Slot::default() };
            (0..requests).for_each(|_| slot.buckets.record(1_000_000));
            slot
        };
        let line = |timeline: Vec<Slot>, seconds| Report {
            schema_version: SCHEMA_VERSION,
            timeline,
            seconds,
            ..Report::default()
        };
        let fine = line(vec![slot(0.0, 1.0, 1), slot(1.0, 1.0, 2), slot(2.0, 0.5, 4)], 2.5);
        let coarse = line(vec![slot(0.0, 2.0, 8), slot(2.0, 1.0, 16)], 3.0);
        let merged = Report::merge(&parts([fine, coarse])).unwrap().timeline;
        let shown: Vec<_> = merged.iter().map(|it| (it.start, it.seconds, it.requests)).collect();
        assert_eq!(shown, [(0.0, 2.0, 11), (2.0, 1.0, 20)]);
        assert!((merged[0].p50 / 1e3 - 1.0).abs() < 0.04);
    }

    #[test]
    fn one_machine_that_was_the_limit_makes_the_whole_invalid() {
        // A closed loop whose core waited for the server.
        let part = |valid| {
            let mut part = Report {
                schema_version: SCHEMA_VERSION,
                arrival: "closed".to_owned(),
                requests: 10_000,
                seconds: 10.0,
                cores: vec![CoreReport { busy: 0.3, ..CoreReport::default() }],
                ..Report::default()
            };
            part.verdict = Verdict::of(&part);
            part.verdict.valid = valid;
            if !valid {
                part.verdict.summary = "It was the client.".to_owned();
            }
            part
        };
        let merged = Report::merge(&parts([part(true), part(false)])).unwrap();
        assert!(!merged.verdict.valid && merged.verdict.summary.starts_with("On b: "));
        assert!(Report::merge(&parts([part(true), part(true)])).unwrap().verdict.valid);
    }

    #[test]
    fn a_merge_does_not_depend_on_the_order_and_names_machines_of_merges() {
        let of = |name: &str, part: &Report| (name.to_owned(), part.clone());
        let part = |cause: &str| {
            let mut part = Report {
                schema_version: SCHEMA_VERSION,
                cores: vec![CoreReport::default()],
                error_examples: BTreeMap::from([("reset".to_owned(), cause.to_owned())]),
                ..Report::default()
            };
            part.verdict.summary = format!("It was {cause}.");
            part
        };
        let (one, other) = (part("the client"), part("its memory"));
        let there = Report::merge(&[of("a", &one), of("b", &other)]).unwrap();
        let back = Report::merge(&[of("b", &other), of("a", &one)]).unwrap();
        assert_eq!(there, back);
        assert_eq!(there.verdict.summary, "On a: It was the client.");
        let again = Report::merge(&[of("ab", &there), of("c", &other)]).unwrap();
        assert_eq!(again.verdict.summary, "On ab/a: It was the client.");
    }

    #[test]
    fn runs_of_different_lengths_reached_their_rates_if_each_did() {
        let part = |seconds: f64, answered: f64| {
            let offered = (seconds * 500.0) as u64;
            let mut part = Report {
                schema_version: SCHEMA_VERSION,
                arrival: "constant".to_owned(),
                target_per_second: 500.0,
                requests: (offered as f64 * answered) as u64,
                offered,
                seconds,
                ..Report::default()
            };
            part.verdict = Verdict::of(&part);
            part
        };
        let of = |reports| Report::merge(&parts(reports)).unwrap().verdict;
        let both = of([part(3.0, 1.0), part(2.0, 1.0)]);
        assert_eq!((both.limit, both.valid), (Limit::None, true), "{both:?}");
        assert!(!both.summary.starts_with("On "), "{both:?}");
        let one = of([part(3.0, 1.0), part(2.0, 0.9)]);
        assert_eq!((one.limit, one.valid), (Limit::Server, true), "{one:?}");
        assert!(one.summary.starts_with("On b: The server"), "{one:?}");
    }

    #[test]
    fn counts_that_no_number_holds_do_not_wrap() {
        let counted = |count: u64| {
            let mut part = Report {
                schema_version: SCHEMA_VERSION,
                requests: count,
                seconds: 1.0,
                outcomes: [("2xx".to_owned(), count)].into(),
                timeline: vec![Slot { seconds: 1.0, requests: count, ..Slot::default() }],
                cores: vec![CoreReport { completions: count, ..CoreReport::default() }],
                ..Report::default()
            };
            part.status.success = count;
            part.warm_up.requests = count;
            part.sockets = Some(SocketsReport {
                samples: count,
                segments_sent: count,
                segments_retransmitted: count,
                segments_received: count,
                segments_out_of_order: count,
                ..SocketsReport::default()
            });
            part
        };
        let merged = Report::merge(&parts([counted(u64::MAX), counted(7)])).unwrap();
        let sockets = merged.sockets.unwrap();
        let sums = [
            merged.requests,
            merged.outcomes["2xx"],
            merged.timeline[0].requests,
            merged.status.success,
            merged.warm_up.requests,
            sockets.samples,
            sockets.segments_sent,
            sockets.segments_retransmitted,
            sockets.segments_received,
            sockets.segments_out_of_order,
        ];
        assert_eq!(sums, [u64::MAX; 10]);
        assert!(merged.requests_per_second > 1.8e19, "{}", merged.requests_per_second);
    }

    #[test]
    fn stages_of_machines_add_up_where_they_take_the_same_time() {
        let stage =
            |seconds, to_per_second| StageReport { seconds, from_per_second: 1.0, to_per_second };
        let of = |stages: Option<Vec<StageReport>>| {
            (String::new(), Report { stages, ..Report::default() })
        };
        let ramp = |to| of(Some(vec![stage(5.0, to)]));
        let summed = StageReport { seconds: 5.0, from_per_second: 2.0, to_per_second: 30.0 };
        assert_eq!(stages(&[&ramp(10.0), &ramp(20.0)]), Some(vec![summed]));
        assert_eq!(stages(&[&of(Some(vec![])), &of(Some(vec![]))]), Some(vec![]));
        for other in [of(None), of(Some(vec![])), of(Some(vec![stage(4.0, 10.0)]))] {
            assert_eq!(stages(&[&ramp(10.0), &other]), None);
        }
    }

    #[test]
    fn what_can_not_be_merged_is_named() {
        assert_eq!(Report::merge(&[]), Err(MergeError::Nothing));
        let good = Report { schema_version: SCHEMA_VERSION, ..Report::default() };
        let old = Report { schema_version: 0, ..Report::default() };
        let error = Report::merge(&parts([good.clone(), old])).unwrap_err();
        assert_eq!(error, MergeError::Version { machine: "b".to_owned(), found: 0 });
        let mut hollow = good.clone();
        hollow.latency_us.samples = 7;
        let error = Report::merge(&parts([good, hollow])).unwrap_err();
        assert!(error.to_string().contains("b lacks the histograms of its 7 samples"));
    }
}
