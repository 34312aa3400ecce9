//! Which plots a page has, and what is drawn in each.

use ringshot::load::{Histogram, Report, Slot};

use super::svg::{Axis, Plot, Scale, legend, rows};
use crate::output::bins::{Bin, bins};
use crate::output::format::{count, microseconds, percent, rate};
use crate::output::quantiles;
use crate::output::tables::{core_name, is_open_loop};

/// With more slots than this, none says its figures when pointed at: the page would be all strips.
const STRIPS_MAX: usize = 900;
/// Most bars of a distribution.
const BARS_MAX: usize = 80;
/// Points of a percentile curve for each halving of what is left above.
const CURVE_TICKS: u32 = 12;
/// Percentiles with a dot.
const DOTS: [f64; 6] = [0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999];

/// A last slot shorter than this share of the first has too little in it for a rate.
const SLOT_SHARE_MIN: f64 = 0.1;

/// Rate and latency over time; empty if there was no slot with a length.
pub(super) fn timeline(report: &Report) -> String {
    let least = report.timeline.first().map_or(0.0, |first| first.seconds * SLOT_SHARE_MIN);
    let is_shown = |slot: &&Slot| slot.seconds > 0.0 && slot.seconds >= least;
    let slots: Vec<&Slot> = report.timeline.iter().filter(is_shown).collect();
    let Some(last) = slots.last() else { return String::new() };
    let end = last.start + last.seconds;
    rates(report, &slots, end) + &latencies(&slots, end)
}

/// In the unit in which the last tick is a number to read.
fn time(end: f64) -> Axis {
    let (name, label): (_, fn(f64) -> String) = match end {
        short if short < 2e-3 => ("microseconds", |seconds| digits_that_count(seconds * 1e6)),
        short if short < 2.0 => ("milliseconds", |seconds| digits_that_count(seconds * 1e3)),
        _ => ("seconds", digits_that_count),
    };
    Axis { name, scale: Scale::between(0.0, end), label }
}

/// `0.5`, `0.00125`, `30`, `3612`: three digits, more only before the point, and no zeros at the end.
fn digits_that_count(value: f64) -> String {
    let places = 2.0 - value.abs().max(f64::MIN_POSITIVE).log10().floor();
    let shown = format!("{value:.*}", places.clamp(0.0, 12.0) as usize);
    match shown.contains('.') {
        true => shown.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => shown,
    }
}

/// A line's class and name, and what it counts in a slot.
type Series = (&'static str, &'static str, fn(&Slot) -> u64);

fn rates(report: &Report, slots: &[&Slot], end: f64) -> String {
    let series: [Series; 3] = [
        ("asked", "offered", |slot| slot.offered),
        ("first", "completed", |slot| slot.requests),
        ("bad", "errors", |slot| slot.errors),
    ];
    let shown: Vec<_> = series
        .into_iter()
        .filter(|(class, ..)| match *class {
            "asked" => is_open_loop(report),
            "bad" => report.errors > 0,
            _ => true,
        })
        .collect();
    let rate_of = |slot: &Slot, of: fn(&Slot) -> u64| of(slot) as f64 / slot.seconds;
    let most = shown.iter().flat_map(|(.., of)| slots.iter().map(|slot| rate_of(slot, *of)));
    let scale = Scale::up_to(most.fold(0.0, f64::max));
    let mut plot = Plot::new(time(end), Axis { name: "a second", scale, label: rate_tick });
    for (class, _, of) in &shown {
        plot.line(class, steps(slots, |slot| rate_of(slot, *of)));
    }
    add_strips(&mut plot, slots, |slot| {
        format!(
            "{} a second, {} errors, {} s from {} s",
            rate(rate_of(slot, |slot| slot.requests)),
            count(slot.errors),
            digits_that_count(slot.seconds),
            digits_that_count(slot.start)
        )
    });
    let entries: Vec<_> = shown.iter().map(|(class, words, _)| (*class, *words)).collect();
    let what = "Requests a second over time";
    format!("<h3>Requests a second</h3>\n{}{}", legend(&entries), plot.finish(what))
}

/// A latency without zeros after the point.
fn time_tick(latency_us: f64) -> String {
    microseconds(latency_us).replace(".00 ", " ").replace(".0 ", " ")
}

fn rate_tick(per_second: f64) -> String {
    match per_second {
        0.0 => "0".to_owned(),
        many => rate(many),
    }
}

fn latencies(slots: &[&Slot], end: f64) -> String {
    let some = |value: f64| if value > 0.0 { value } else { f64::NAN };
    let least = slots.iter().map(|slot| some(slot.p50)).fold(f64::INFINITY, f64::min);
    let most = slots.iter().map(|slot| slot.max).fold(0.0, f64::max);
    if !least.is_finite() {
        return String::new();
    }
    let scale = Scale::log(least, most);
    let mut plot = Plot::new(time(end), Axis { name: "latency", scale, label: time_tick });
    plot.line("third", steps(slots, |slot| some(slot.max)));
    plot.line("second", steps(slots, |slot| some(slot.p99)));
    plot.line("first", steps(slots, |slot| some(slot.p50)));
    add_strips(&mut plot, slots, |slot| {
        format!(
            "p50 {}, p99 {}, max {} from {} s",
            microseconds(slot.p50),
            microseconds(slot.p99),
            microseconds(slot.max),
            digits_that_count(slot.start)
        )
    });
    let entries = [("first", "p50"), ("second", "p99"), ("third", "max")];
    format!(
        "<h3>Response time of successful requests (2xx)</h3>\n{}{}",
        legend(&entries),
        plot.finish("Response time over time: median, 99th percentile and largest")
    )
}

/// A level for each slot.
fn steps(slots: &[&Slot], of: impl Fn(&Slot) -> f64) -> impl Iterator<Item = (f64, f64)> {
    slots.iter().flat_map(move |slot| {
        let value = of(slot);
        [(slot.start, value), (slot.start + slot.seconds, value)]
    })
}

fn add_strips(plot: &mut Plot, slots: &[&Slot], words: impl Fn(&Slot) -> String) {
    if slots.len() <= STRIPS_MAX {
        slots
            .iter()
            .for_each(|slot| plot.strip(slot.start, slot.start + slot.seconds, &words(slot)));
    }
}

/// Latency over 1 / (1 - percentile), logarithmic on both axes; response and service time in an open loop. Empty without samples.
pub(super) fn percentiles(report: &Report) -> String {
    let (response, service) =
        (report.histograms.success_response_time(), report.histograms.success_service_time());
    let open = is_open_loop(report);
    let curves: Vec<(&str, &str, &Histogram)> = match open {
        true => vec![("second", "service time", &service), ("first", "response time", &response)],
        false => vec![("first", "latency", &response)],
    };
    let extremes = curves.iter().map(|(.., times)| times.latency());
    let (least, most) = extremes
        .fold((f64::INFINITY, 0.0_f64), |(least, most), it| (least.min(it.min), most.max(it.max)));
    if report.status.success == 0 || response.is_empty() {
        return String::new();
    }
    let scale = Scale::Log { from: 1.0, to: (response.len() as f64).max(10.0) };
    let x = Axis { name: "percentile", scale, label: percentile_tick };
    let y = Axis { name: "latency", scale: Scale::log(least, most), label: time_tick };
    let mut plot = Plot::new(x, y);
    for (class, words, times) in &curves {
        plot.line(class, curve(times));
        add_dots(&mut plot, class, words, times);
    }
    if report.exact_below < 1.0 {
        plot.bound(1.0 / (1.0 - report.exact_below), "from here on lower bounds");
    }
    let entries: Vec<_> = curves.iter().rev().map(|(class, words, _)| (*class, *words)).collect();
    format!("{}{}", legend(&entries), plot.finish("Latency by percentile"))
}

/// `0%`, `90%`, `99.9%`, of 1 / (1 - percentile); nothing between the powers of ten.
fn percentile_tick(odds: f64) -> String {
    let nines = odds.log10().round() as usize;
    match nines {
        _ if (odds.log10() - odds.log10().round()).abs() > 1e-6 => String::new(),
        0 => "0%".to_owned(),
        1 => "90%".to_owned(),
        2 => "99%".to_owned(),
        more => format!("99.{}%", "9".repeat(more - 2)),
    }
}

/// Up to the largest time, which stands where one sample of all lies above.
fn curve(times: &Histogram) -> impl Iterator<Item = (f64, f64)> + use<> {
    let samples = times.len() as f64;
    quantiles::steps(times, CURVE_TICKS).into_iter().map(move |step| {
        let odds = 1.0 / (1.0 - step.quantile);
        (odds.min(samples), step.nanos as f64 / 1e3)
    })
}

fn add_dots(plot: &mut Plot, class: &str, words: &str, times: &Histogram) {
    for quantile in DOTS {
        let odds = 1.0 / (1.0 - quantile);
        // One that rests on less than a sample is no more than the maximum.
        if odds <= times.len() as f64 {
            let value = times.quantile_us(quantile);
            let at = three_digits_of_percentile(quantile);
            plot.dot(class, (odds, value), &format!("{words} p{at}: {}", microseconds(value)));
        }
    }
}

/// `50`, `99.9`.
fn three_digits_of_percentile(quantile: f64) -> String {
    format!("{}", (quantile * 1e8).round() / 1e6)
}

/// The headline's samples in bins of equal ratio; empty without samples.
pub(super) fn distribution(report: &Report) -> String {
    let times = report.histograms.success_response_time();
    let bins = bins(&times, BARS_MAX);
    let ends = bins.first().zip(bins.last()).filter(|_| report.status.success > 0);
    let Some((first, last)) = ends else { return String::new() };
    let most = bins.iter().map(|bin| bin.count).max().unwrap_or(0);
    let scale = Scale::Log { from: first.above_us, to: last.up_to_us };
    let x = Axis { name: "latency", scale, label: time_tick };
    let y = Axis { name: "requests", scale: Scale::up_to(most as f64), label: whole };
    let mut plot = Plot::new(x, y);
    bins.iter().for_each(|bin| add_bar(&mut plot, bin, times.len()));
    plot.finish("How many requests took how long")
}

fn add_bar(plot: &mut Plot, bin: &Bin, all: u64) {
    let title = format!(
        "{} to {}: {} ({})",
        microseconds(bin.above_us),
        microseconds(bin.up_to_us),
        count(bin.count),
        percent(bin.count as f64 / all as f64)
    );
    plot.bar(bin.above_us, bin.up_to_us, bin.count as f64, &title);
}

fn whole(value: f64) -> String {
    if value.fract() == 0.0 { count(value as u64) } else { String::new() }
}

/// A bar of rate and one of the time on the CPU for each core.
pub(super) fn cores(report: &Report) -> String {
    let most = report.cores.iter().map(|core| core.requests_per_second).fold(0.0, f64::max);
    let bars = report.cores.iter().map(|core| {
        let share = if most > 0.0 { core.requests_per_second / most } else { 0.0 };
        let words =
            format!("{} a second, {} busy", rate(core.requests_per_second), percent(core.busy));
        (format!("core {}", core_name(core)), [share, core.busy], words)
    });
    let bars: Vec<_> = bars.collect();
    if bars.is_empty() {
        return String::new();
    }
    let entries =
        [("first", "requests a second, of the fastest core's"), ("second", "time on the CPU")];
    legend(&entries) + &rows(&bars, "Requests a second and time on the CPU by core")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_read_as_percentiles_and_counts() {
        let check = |odds, expected| assert_eq!(percentile_tick(odds), expected, "{odds}");
        check(1.0, "0%");
        check(10.0, "90%");
        check(100.0, "99%");
        check(100_000.0, "99.999%");
        check(20.0, "");
        assert_eq!((whole(2_000.0), whole(0.5)), ("2,000".to_owned(), String::new()));
        assert_eq!((rate_tick(0.0), digits_that_count(1.5)), ("0".to_owned(), "1.5".to_owned()));
        assert_eq!(
            (time_tick(2_000.0), time_tick(1_500.0)),
            ("2 ms".to_owned(), "1.50 ms".to_owned())
        );
        assert_eq!(three_digits_of_percentile(0.999), "99.9");
    }

    #[test]
    fn every_tick_of_time_reads_differently() {
        let check = |end: f64, expected: &[&str]| {
            let axis = time(end);
            let ticks = axis.scale.ticks();
            let labels: Vec<String> = ticks.iter().map(|tick| (axis.label)(*tick)).collect();
            assert_eq!(labels, expected, "{end}: {}", axis.name);
        };
        check(3_612.0, &["0", "500", "1000", "1500", "2000", "2500", "3000", "3500"]);
        check(3.0, &["0", "0.5", "1", "1.5", "2", "2.5", "3"]);
        check(0.022, &["0", "5", "10", "15", "20"]);
        check(0.000_3, &["0", "50", "100", "150", "200", "250", "300"]);
        assert_eq!((time(0.022).name, time(3.0).name), ("milliseconds", "seconds"));
        assert_eq!(
            (digits_that_count(0.001_25), digits_that_count(3_612.4)),
            ("0.00125".to_owned(), "3612".to_owned())
        );
    }

    #[test]
    fn a_curve_ends_at_the_largest_sample() {
        let mut times = Histogram::new();
        (1..=100).for_each(|micros| times.record(micros * 1_000));
        let (odds, value) = curve(&times).last().unwrap();
        assert!(odds == 100.0 && (value - 100.0).abs() < 0.2, "{odds} {value}");
    }

    #[test]
    fn nothing_measured_draws_nothing() {
        let report = Report::default();
        for drawing in [timeline, percentiles, distribution, cores] {
            assert_eq!(drawing(&report), "");
        }
    }
}
