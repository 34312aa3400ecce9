//! Percentiles in the text format of HdrHistogram, which its plotter reads (`.hgrm`): values in milliseconds. Pure.

use std::fmt::Write;

use ringshot::load::{Histogram, Report};

use super::format::{counted, percent};
use super::quantiles::{Step, steps};

/// Lines for each halving of what is left above, as HdrHistogram's own tools print.
const TICKS: u32 = 5;

/// The percentiles of response times, those of censored requests included.
pub(super) fn response_time(report: &Report) -> String {
    let censored = censored(&report.histograms.censored_response, report.exact_below);
    render(&report.histograms.success_response_time()) + &comment(censored)
}

/// The percentiles of service times, those of censored requests included.
pub(super) fn service_time(report: &Report) -> String {
    let exact_below = report.histograms.service_time_exact_below();
    let censored = censored(&report.histograms.censored_service, exact_below);
    render(&report.histograms.success_service_time()) + &comment(censored)
}

fn comment(words: Option<String>) -> String {
    words.map(|words| format!("#[{words}]\n")).unwrap_or_default()
}

/// What is said of requests without an answer that are among some times, where there are any.
pub(super) fn censored(among: &Histogram, exact_below: f64) -> Option<String> {
    let requests = counted(among.len(), "censored request");
    let above = percent(exact_below);
    (!among.is_empty())
        .then(|| format!("{requests} included, at the age reached: above {above} lower bounds"))
}

/// The percentiles of all times, those of an empty histogram being none.
fn render(times: &Histogram) -> String {
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    for Step { quantile, nanos, seen } in steps(times, TICKS) {
        let odds = match quantile < 1.0 {
            true => format!(" {:14.2}", 1.0 / (1.0 - quantile)),
            false => String::new(),
        };
        let value = millis(nanos as f64);
        // Writing into a string has no way to fail.
        let _ = writeln!(text, "{value:12.3} {quantile:2.12} {seen:10}{odds}");
    }
    text + &totals(times)
}

fn totals(times: &Histogram) -> String {
    let hdr = times.as_hdr();
    let (mean, stdev, max) = match times.is_empty() {
        true => (0.0, 0.0, 0.0),
        false => (hdr.mean(), hdr.stdev(), hdr.max() as f64),
    };
    // Three digits need 2,048 buckets at each doubling.
    format!(
        "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]\n\
         #[Max     = {:12.3}, Total count    = {:12}]\n\
         #[Buckets = {:12}, SubBuckets     = {:12}]\n",
        millis(mean),
        millis(stdev),
        millis(max),
        times.len(),
        hdr.buckets(),
        2_048
    )
}

fn millis(nanos: f64) -> f64 {
    nanos / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_times_read_so() {
        let mut times = Histogram::new();
        (1..=10).for_each(|millis| times.record(millis * 1_000_000));
        let text = render(&times);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "       Value     Percentile TotalCount 1/(1-Percentile)");
        assert_eq!(
            (lines[1], lines[2]),
            ("", "       1.000 0.000000000000          1           1.00")
        );
        assert!(lines.contains(&"       5.001 0.500000000000          5           2.00"), "{text}");
        assert!(lines.contains(&"      10.002 1.000000000000         10"), "{text}");
        assert!(
            text.contains("#[Mean    =        5.50")
                && text.contains("Total count    =           10]")
        );
    }

    #[test]
    fn censored_requests_are_told_in_a_comment() {
        let mut report = Report { exact_below: 0.75, ..Report::default() };
        report.histograms.censored_response.record_many(5_000_000, 1_234);
        let text = response_time(&report);
        let last =
            "#[1,234 censored requests included, at the age reached: above 75.0% lower bounds]";
        assert_eq!(text.lines().last(), Some(last));
        assert!(text.lines().all(|line| line.starts_with(['#', ' ']) || line.is_empty()), "{text}");
        assert!(!service_time(&report).contains("censored"));
    }

    #[test]
    fn nothing_has_no_percentiles() {
        let text = render(&Histogram::new());
        assert!(text.contains("#[Mean    =        0.000") && !text.contains("NaN"), "{text}");
    }
}
