//! Times and outcomes of one core. Each request is recorded once; nothing is sampled, dropped or invented.

use std::cell::LazyCell;
use std::collections::BTreeMap;

use super::histogram::{Coarse, Histogram};
use super::report::{Histograms, Latency};
use super::status::StatusCounts;
use super::tallies::{Classes, NameTally, Tallies, cause, told};
use crate::clock::Instant;
use crate::shard::Failure;

/// Outcome classes that have histograms of their own, in the order of their places.
pub const CLASSES: [&str; 6] = ["2xx", "3xx", "4xx", "5xx", "other", ERROR_CLASS];
/// Where the times of requests without a usable response go.
const ERROR_CLASS: &str = "error";
const SUCCESS: usize = 0;
const ERROR: usize = CLASSES.len() - 1;

/// Which stamps tell apart: in a closed loop a request is due when it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamps {
    /// Service time is response time.
    Sent,
    /// Requests are due at times of their own.
    Intended,
}

/// The stamps of one request that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The request's place among the names.
    pub name: u32,
    /// When it was due.
    pub intended: Instant,
    /// When it was sent.
    pub sent: Instant,
    /// When the first byte of its response came.
    pub first_byte: Instant,
    /// When it ended.
    pub done: Instant,
}

impl Sample {
    fn response(&self) -> u64 {
        self.done.nanos_since(self.intended)
    }

    fn service(&self) -> u64 {
        self.done.nanos_since(self.sent)
    }
}

/// What one core, or several merged, recorded. Its size depends on the classes and names that occur, never on the number of requests.
#[derive(Debug, Clone)]
pub struct Recorder {
    stamps: Stamps,
    response: Classes,
    service: Classes,
    first_byte: Histogram,
    connect: Histogram,
    schedule_lag: Histogram,
    client_lag: Histogram,
    censored_response: Histogram,
    censored_service: Histogram,
    status: [u64; 5],
    /// Those of them whose requests say which status they expect.
    expected: [u64; 5],
    failures: Tallies,
    causes: Tallies,
    unconnected: Tallies,
    names: Vec<NameTally>,
    coarse: Coarse,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new(Stamps::Sent, 1)
    }
}

impl Recorder {
    /// An empty recorder for so many names: none are told apart with one. Takes about 260 KiB for each class and kind of time that occurs.
    #[must_use]
    pub fn new(stamps: Stamps, names: usize) -> Self {
        Self::with_names(stamps, if names > 1 { names } else { 0 })
    }

    /// The same that tells a single name apart too.
    pub(super) fn with_names(stamps: Stamps, names: usize) -> Self {
        let names = vec![NameTally::default(); names];
        Self {
            stamps,
            response: Classes::default(),
            service: Classes::default(),
            first_byte: Histogram::new(),
            connect: Histogram::new(),
            schedule_lag: Histogram::new(),
            client_lag: Histogram::new(),
            censored_response: Histogram::new(),
            censored_service: Histogram::new(),
            status: [0; 5],
            expected: [0; 5],
            failures: Tallies::default(),
            causes: Tallies::default(),
            unconnected: Tallies::default(),
            names,
            coarse: Coarse::default(),
        }
    }

    /// Records a response with its status.
    #[inline]
    pub fn record(&mut self, status: u16, sample: &Sample) {
        let class = class_of(status);
        self.record_response(class, sample);
        if let Some(name) = self.names.get_mut(sample.name as usize) {
            name.requests += 1;
            if class == SUCCESS {
                name.response.record(sample.response());
            }
        }
    }

    /// The same of a response that has a status which its request expects: what was wanted, whatever its class.
    pub(super) fn record_expected(&mut self, status: u16, sample: &Sample) {
        let class = class_of(status);
        self.record_response(class, sample);
        self.expected[class] += 1;
        if let Some(name) = self.names.get_mut(sample.name as usize) {
            name.requests += 1;
            name.response.record(sample.response());
        }
    }

    #[inline]
    fn record_response(&mut self, class: usize, sample: &Sample) {
        self.status[class] += 1;
        self.record_times(class, sample);
        if class == SUCCESS {
            self.first_byte.record(sample.first_byte.nanos_since(sample.sent));
        }
    }

    #[inline]
    fn record_times(&mut self, class: usize, sample: &Sample) {
        let response = sample.response();
        if class == SUCCESS {
            self.coarse.record(response);
        }
        self.service.record(class, sample.service());
        if self.stamps == Stamps::Intended {
            self.response.record(class, response);
        }
    }

    /// Records when a request was sent that was due at `intended`, and could have been sent from `possible` on.
    #[inline]
    pub fn record_lag(&mut self, intended: Instant, possible: Instant, sent: Instant) {
        self.schedule_lag.record(sent.nanos_since(intended));
        self.client_lag.record(sent.nanos_since(possible.max(intended)));
    }

    /// Records how long a connection took to come about.
    pub fn record_connect(&mut self, nanos: u64) {
        self.connect.record(nanos);
    }

    /// Counts a failure of a request, and keeps how the first of its kind and of its cause read. `sample` holds the times of one that was sent.
    pub fn record_failure(&mut self, failure: &Failure, name: u32, sample: Option<&Sample>) {
        if *failure == Failure::Cancelled {
            if let Some(sample) = sample {
                self.censored_response.record(sample.response());
                self.censored_service.record(sample.service());
            }
            if let Some(name) = self.names.get_mut(name as usize) {
                name.cancelled += 1;
                sample.into_iter().for_each(|sample| name.censored.record(sample.response()));
            }
            self.failures.count(failure.kind().into_owned(), || failure.to_string());
            return;
        }
        let ends = [failure.kind().into_owned(), cause(failure)];
        self.record_error(ends, || told(failure), name, sample);
    }

    /// Counts a dial that failed, or a connection that ended before it was used, where no request was lost by it.
    pub(super) fn record_unconnected(&mut self, failure: &Failure) {
        self.unconnected.count(cause(failure), || told(failure));
    }

    /// Records the age of requests of one name that were due and never sent: nobody saw their end.
    pub fn record_unsent(&mut self, nanos: u64, count: u64, name: u32) {
        self.censored_response.record_many(nanos, count);
        if let Some(name) = self.names.get_mut(name as usize) {
            name.censored.record_many(nanos, count);
        }
    }

    /// Records how long after it was due a request failed that was never sent, for want of a connection; it has no service time.
    pub fn record_unmade(&mut self, nanos: u64) {
        self.response.record(ERROR, nanos);
    }

    /// Counts a response that was not what was expected of it, as the outcome `unexpected_<what>`.
    pub fn record_unexpected(
        &mut self,
        what: &str,
        example: impl FnOnce() -> String,
        sample: &Sample,
    ) {
        let kind = format!("unexpected_{what}");
        self.record_error([kind.clone(), kind], example, sample.name, Some(sample));
    }

    fn record_error(
        &mut self,
        [kind, cause]: [String; 2],
        example: impl FnOnce() -> String,
        name: u32,
        sample: Option<&Sample>,
    ) {
        let example = LazyCell::new(example);
        self.failures.count(kind, || example.clone());
        self.causes.count(cause, || example.clone());
        if let Some(sample) = sample {
            self.record_times(ERROR, sample);
        }
        if let Some(name) = self.names.get_mut(name as usize) {
            name.errors += 1;
        }
    }

    /// Adds what another core recorded.
    pub fn merge(&mut self, other: &Self) {
        self.response.add(&other.response);
        self.service.add(&other.service);
        self.first_byte.add(&other.first_byte);
        self.connect.add(&other.connect);
        self.schedule_lag.add(&other.schedule_lag);
        self.client_lag.add(&other.client_lag);
        self.censored_response.add(&other.censored_response);
        self.censored_service.add(&other.censored_service);
        self.coarse.add_all(&other.coarse);
        for (mine, theirs) in self.status.iter_mut().zip(other.status) {
            *mine += theirs;
        }
        for (mine, theirs) in self.expected.iter_mut().zip(other.expected) {
            *mine += theirs;
        }
        self.failures.add(&other.failures);
        self.causes.add(&other.causes);
        self.unconnected.add(&other.unconnected);
        for (mine, theirs) in self.names.iter_mut().zip(&other.names) {
            mine.add(theirs);
        }
    }

    /// Responses recorded.
    #[must_use]
    pub fn responses(&self) -> u64 {
        self.status.iter().sum()
    }

    /// Failures recorded, cancelled requests apart.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.failures.counts().map(|(_, count)| count).sum::<u64>() - self.cancelled()
    }

    /// Requests that were cancelled.
    #[must_use]
    pub fn cancelled(&self) -> u64 {
        self.failures.count_of(Failure::CANCELLED)
    }

    /// Requests whose end nobody saw, recorded at their age: those that were cancelled, and those that were never sent.
    #[must_use]
    pub fn censored(&self) -> u64 {
        self.censored_response.len()
    }

    /// Responses by class.
    #[must_use]
    pub fn status(&self) -> StatusCounts {
        status_counts(self.status)
    }

    /// Those of them whose requests say which status they expect.
    #[must_use]
    pub(super) fn status_expected(&self) -> StatusCounts {
        status_counts(self.expected)
    }

    /// Every outcome that occurred, with its count.
    #[must_use]
    pub fn outcomes(&self) -> BTreeMap<String, u64> {
        let classes = CLASSES.into_iter().zip(self.status);
        let responses = classes.filter(|(_, count)| *count > 0);
        let responses = responses.map(|(class, count)| (class.to_owned(), count));
        responses.chain(self.failures.counts()).collect()
    }

    /// The first example of each kind of failure.
    #[must_use]
    pub fn examples(&self) -> BTreeMap<String, String> {
        self.failures.examples()
    }

    /// Errors by kind and error number.
    #[must_use]
    pub fn causes(&self) -> BTreeMap<String, u64> {
        self.causes.counts().collect()
    }

    /// The first example of each cause.
    #[must_use]
    pub fn cause_examples(&self) -> BTreeMap<String, String> {
        self.causes.examples()
    }

    /// Dials and connections that failed without a request.
    pub(super) fn connect_failures(&self) -> u64 {
        self.unconnected.counts().map(|(_, count)| count).sum()
    }

    /// The same by cause, and the first example of each.
    pub(super) fn connect_failure_causes(
        &self,
    ) -> (BTreeMap<String, u64>, BTreeMap<String, String>) {
        (self.unconnected.counts().collect(), self.unconnected.examples())
    }

    /// By name, if several are told apart.
    pub(super) fn names(&self) -> &[NameTally] {
        &self.names
    }

    /// Response times of successful requests (2xx) so far, coarsely.
    #[must_use]
    pub fn coarse(&self) -> &Coarse {
        &self.coarse
    }

    /// All samples.
    #[must_use]
    pub fn into_histograms(self) -> Histograms {
        let service_time = self.service.into_map();
        let response_time = match self.stamps {
            Stamps::Sent => service_time.clone(),
            Stamps::Intended => self.response.into_map(),
        };
        Histograms {
            response_time,
            service_time,
            censored_response: self.censored_response,
            censored_service: self.censored_service,
            first_byte: self.first_byte,
            connect: self.connect,
            schedule_lag: self.schedule_lag,
            client_lag: self.client_lag,
        }
    }

    /// Percentiles of the response times of successful requests.
    #[must_use]
    pub fn latency(&self) -> Latency {
        let classes = match self.stamps {
            Stamps::Sent => &self.service,
            Stamps::Intended => &self.response,
        };
        classes.of(SUCCESS).map(|times| times.latency()).unwrap_or_default()
    }
}

/// Classes 2 to 5 have places 0 to 3; what is left goes to the last.
#[inline]
fn class_of(status: u16) -> usize {
    usize::from(status / 100).wrapping_sub(2).min(4)
}

fn status_counts(by_class: [u64; 5]) -> StatusCounts {
    let [success, redirect, client_error, server_error, other] = by_class;
    StatusCounts { success, redirect, client_error, server_error, other }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Errno;

    fn sample(micros: [u64; 4]) -> Sample {
        let [intended, sent, first_byte, done] = micros.map(|at| Instant::from_nanos(at * 1_000));
        Sample { name: 0, intended, sent, first_byte, done }
    }

    #[test]
    fn first_bytes_are_of_success_as_the_headline_is() {
        let mut recorder = Recorder::default();
        for status in [200, 204, 301, 404, 503] {
            recorder.record(status, &sample([0, 0, 3, 9]));
        }
        assert_eq!(recorder.into_histograms().first_byte.len(), 2);
    }

    #[test]
    fn response_time_counts_from_the_due_time_and_service_time_from_the_sending() {
        let mut recorder = Recorder::new(Stamps::Intended, 1);
        recorder.record(200, &sample([1_000, 5_000, 6_000, 7_000]));
        assert_eq!(recorder.coarse().len(), 1);
        let histograms = recorder.into_histograms();
        let median = |times: &Histogram| (times.quantile_us(0.5) / 1e3).round() as u64;
        assert_eq!(median(&histograms.response_time["2xx"]), 6);
        assert_eq!(median(&histograms.service_time["2xx"]), 2);
        assert_eq!(median(&histograms.first_byte), 1);
    }

    #[test]
    fn a_closed_loop_has_one_time_for_both() {
        let mut recorder = Recorder::new(Stamps::Sent, 1);
        recorder.record(200, &sample([5, 5, 7, 9]));
        let histograms = recorder.into_histograms();
        assert_eq!(histograms.response_time, histograms.service_time);
    }

    #[test]
    fn lag_is_told_apart_from_waiting_for_a_connection() {
        let mut recorder = Recorder::new(Stamps::Intended, 1);
        let at = |micros: u64| Instant::from_nanos(micros * 1_000);
        recorder.record_lag(at(100), at(900), at(1_100));
        let histograms = recorder.into_histograms();
        assert_eq!(histograms.schedule_lag.quantile_us(1.0).round() as u64, 1_000);
        assert_eq!(histograms.client_lag.quantile_us(1.0).round() as u64, 200);
    }

    #[test]
    fn each_cause_keeps_its_first_example() {
        let mut recorder = Recorder::new(Stamps::Sent, 1);
        for errno in [libc::ECONNREFUSED, libc::EADDRNOTAVAIL, libc::EADDRNOTAVAIL] {
            recorder.record_failure(&Failure::Connect(Errno(errno)), 0, None);
        }
        recorder.record_unexpected("status", || "503, not 200".to_owned(), &sample([0, 0, 1, 1]));
        let mut sum = Recorder::new(Stamps::Sent, 1);
        sum.merge(&recorder);
        sum.merge(&recorder);
        assert_eq!(sum.causes()["connect EADDRNOTAVAIL"], 4);
        for (failure, words) in [
            (Failure::ConnectTimeout, "net.core.somaxconn"),
            (Failure::Timeout, "fewer connections"),
            (Failure::Reset(Errno(libc::ECONNRESET)), "its log"),
            (Failure::ClosedEarly, "its log"),
        ] {
            let mut one = Recorder::new(Stamps::Sent, 1);
            one.record_failure(&failure, 0, None);
            let examples = one.cause_examples();
            assert!(examples.values().all(|text| text.contains(words)), "{examples:?}");
        }
        let examples = sum.cause_examples();
        assert!(examples["connect EADDRNOTAVAIL"].contains("ip_local_port_range"), "{examples:?}");
        assert!(examples["connect ECONNREFUSED"].contains("nothing listens"), "{examples:?}");
        assert_eq!(examples["unexpected_status"], "503, not 200");
        assert_eq!(sum.examples()["connect"], examples["connect ECONNREFUSED"]);
        assert_eq!((examples.len(), sum.errors()), (3, 8));
    }

    #[test]
    fn a_name_has_the_times_of_what_was_wanted_and_of_what_was_cut_off() {
        let mut recorder = Recorder::new(Stamps::Intended, 2);
        let of = |name, took| Sample { name, ..sample([0, 0, 1, took]) };
        recorder.record(404, &of(0, 10));
        recorder.record(200, &of(0, 20));
        [404, 404, 302].iter().for_each(|status| recorder.record_expected(*status, &of(1, 30)));
        recorder.record_failure(&Failure::Cancelled, 1, Some(&of(1, 900)));
        recorder.record_unsent(700_000, 4, 1);
        let mut sum = Recorder::new(Stamps::Intended, 2);
        sum.merge(&recorder);
        sum.merge(&recorder);
        let told = |place: usize| {
            let name = &sum.names()[place];
            (name.requests, name.response.len(), name.cancelled, name.censored.len())
        };
        assert_eq!((told(0), told(1)), ((4, 2, 0, 0), (6, 6, 2, 10)));
        let (all, wanted) = (sum.status(), sum.status_expected());
        assert_eq!((all.client_error, all.redirect), (6, 2));
        assert_eq!((wanted.client_error, wanted.redirect, wanted.success), (4, 2, 0));
        assert_eq!((sum.censored(), sum.responses()), (10, 10));
    }

    #[test]
    fn each_outcome_is_counted_once_and_merged() {
        let mut recorder = Recorder::new(Stamps::Sent, 2);
        for status in [200, 204, 301, 404, 500, 599, 700, 199] {
            recorder.record(status, &sample([0, 0, 1, 1]));
        }
        recorder.record_failure(&Failure::Connect(Errno(libc::ECONNREFUSED)), 1, None);
        recorder.record_failure(&Failure::Cancelled, 0, Some(&sample([0, 0, 9, 9])));
        recorder.record_unexpected("status", || "503, not 200".to_owned(), &sample([0, 0, 1, 1]));
        let mut sum = Recorder::new(Stamps::Sent, 2);
        sum.merge(&recorder);
        sum.merge(&recorder);
        assert_eq!((sum.responses(), sum.errors(), sum.cancelled()), (16, 4, 2));
        let expected = [
            ("2xx", 4),
            ("3xx", 2),
            ("4xx", 2),
            ("5xx", 4),
            ("cancelled", 2),
            ("connect", 2),
            ("other", 4),
            ("unexpected_status", 2),
        ];
        assert_eq!(sum.outcomes(), expected.map(|(kind, count)| (kind.to_owned(), count)).into());
        assert!(sum.examples()["connect"].contains("ECONNREFUSED"), "{:?}", sum.examples());
        assert_eq!(sum.causes()["connect ECONNREFUSED"], 2);
        assert_eq!((sum.status().success, sum.status().other), (4, 4));
        assert_eq!((sum.names()[0].requests, sum.names()[1].errors), (16, 2));
        // Fast errors are no part of what a time line or a live view shows of success.
        assert_eq!(recorder.coarse().len(), recorder.status().success);
        assert_eq!(sum.coarse().len(), 2 * recorder.coarse().len());
        let histograms = sum.into_histograms();
        assert_eq!(
            (histograms.response_time["error"].len(), histograms.censored_response.len()),
            (2, 2)
        );
    }
}
