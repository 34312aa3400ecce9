//! A run's samples as an HdrHistogram interval log (`.hlog`, format V2): one interval, a tag for each kind of time, in nanoseconds. Pure.

use std::time::Duration;

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use ringshot::load::{Histogram, Report};

use super::hgrm;

/// The log's largest values are in milliseconds, as HdrHistogram's own writers have them.
const NANOS_A_MILLI: f64 = 1e6;

/// The whole log; it starts at 0, as a report holds no time of day.
pub(super) fn render(report: &Report) -> String {
    let mut log = Vec::new();
    // Writing into memory has no way to fail but sizes that these histograms don't reach.
    let written = write(report, &mut log);
    debug_assert!(written.is_some());
    String::from_utf8(log).unwrap_or_default()
}

fn write(report: &Report, log: &mut Vec<u8>) -> Option<()> {
    let length = Duration::try_from_secs_f64(report.seconds).unwrap_or_default();
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    builder
        .add_comment("[Histogram log format version 1.3]")
        .add_comment("[ringshot: nanoseconds; the maximum in milliseconds]");
    for comment in censored(report) {
        builder.add_comment(&comment);
    }
    let mut writer =
        builder.with_max_value_divisor(NANOS_A_MILLI).begin_log_with(log, &mut serializer).ok()?;
    for (name, times) in kinds(report) {
        writer.write_histogram(times.as_hdr(), Duration::ZERO, length, Tag::new(name)).ok()?;
    }
    Some(())
}

/// Of which kinds of time some are no more than the age that a request had which nobody answered.
fn censored(report: &Report) -> impl Iterator<Item = String> {
    let histograms = &report.histograms;
    let kinds = [
        ("response_time", &histograms.censored_response, report.exact_below),
        ("service_time", &histograms.censored_service, histograms.service_time_exact_below()),
    ];
    kinds.into_iter().filter_map(|(kind, among, exact_below)| {
        hgrm::censored(among, exact_below).map(|words| format!("[ringshot: {kind}: {words}]"))
    })
}

/// Every kind of time of which there are any.
fn kinds(report: &Report) -> impl Iterator<Item = (&'static str, Histogram)> {
    let histograms = &report.histograms;
    let kinds = [
        ("response_time", histograms.success_response_time()),
        ("service_time", histograms.success_service_time()),
        ("first_byte", histograms.first_byte.clone()),
        ("connect", histograms.connect.clone()),
        ("schedule_lag", histograms.schedule_lag.clone()),
        ("client_lag", histograms.client_lag.clone()),
    ];
    kinds.into_iter().filter(|(_, times)| !times.is_empty())
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::output::sample;

    #[test]
    fn the_log_is_read_back_by_its_own_library() {
        let report = sample::open_loop().report;
        let log = render(&report);
        for kind in ["response_time", "service_time"] {
            let told = format!("#[ringshot: {kind}: 3 censored requests included, at the age ");
            assert!(log.contains(&told), "{log}");
        }
        let entries = IntervalLogIterator::new(log.as_bytes()).filter_map(|entry| match entry {
            Ok(LogEntry::Interval(interval)) => Some(interval),
            Ok(_) => None,
            Err(error) => panic!("{error:?} in {log}"),
        });
        let read: Vec<_> = entries.collect();
        let tags: Vec<_> = read.iter().map(|entry| entry.tag().unwrap().as_str()).collect();
        assert_eq!(tags, ["response_time", "service_time", "schedule_lag"]);
        assert_eq!(read[0].duration(), Duration::from_secs(10));
        let times = Histogram::from_base64(read[0].encoded_histogram()).unwrap();
        assert_eq!(times.latency(), report.latency_us);
    }
}
