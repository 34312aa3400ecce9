//! A run's figures by name of request, as a table of words. Pure.

use ringshot::load::{NameReport, Report};

use super::format::{at_least, count};
use super::shortened::{NAME_MAX, all_shortened};
use super::tables::Table;

/// Figures by name of request.
pub(crate) fn names(report: &Report) -> Option<Table> {
    let any_censored = report.names.iter().any(|name| name.censored > 0);
    let row = |(shown, name): (String, &NameReport)| {
        let counts = [count(name.requests), count(name.errors)];
        let censored = any_censored.then(|| count(name.censored));
        [vec![shown], counts.to_vec(), censored.into_iter().collect(), name_times(name)].concat()
    };
    let shown = all_shortened(report.names.iter().map(|name| &*name.name).collect(), NAME_MAX);
    let censored: &[&str] = if any_censored { &["censored"] } else { &[] };
    let others = report.status_expected.successes() > report.status_expected.success
        || report.status_expected.refusals() > 0;
    let wanted = if others { ", and of a status that was expected" } else { "" };
    (!report.names.is_empty()).then(|| Table {
        title: format!("By name (latency of 2xx{wanted})"),
        head: [&["", "requests", "errors"], censored, &["p50", "p90", "p99", "max"]].concat(),
        rows: shown.into_iter().zip(&report.names).map(row).collect(),
        note: String::new(),
    })
}

/// Percentiles of one name, with a sign where censored requests make them lower bounds.
fn name_times(name: &NameReport) -> Vec<String> {
    let times = &name.latency_us;
    let percentiles = [(0.5, times.p50), (0.9, times.p90), (0.99, times.p99), (1.0, times.max)];
    let shown = percentiles.map(|(share, time)| match times.samples {
        0 => "-".to_owned(),
        _ => at_least(share > name.exact_below, time),
    });
    shown.to_vec()
}
