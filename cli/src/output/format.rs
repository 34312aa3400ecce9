//! Numbers as a person reads them: three digits that count, and a unit. Pure.

use std::time::Duration;

/// Most digits after the point beyond the usual ones, where two numbers are to be told apart: enough for a share of one request of a billion.
const EXTRA_DIGITS_MAX: usize = 8;

/// `1.23 ms`, `145 us`, `12.3 s`.
pub(crate) fn format_latency(latency: Duration) -> String {
    latency_digits(latency, 0)
}

fn latency_digits(latency: Duration, extra: usize) -> String {
    let nanos = latency.as_secs_f64() * 1e9;
    let units = [("us", 1e3), ("ms", 1e6), ("s", 1e9)];
    if nanos < 999.5 {
        return format!("{nanos:.0} ns");
    }
    // 999.5 of a unit round to 1000, which is 1.00 of the next.
    let (unit, scale) =
        units.into_iter().find(|(_, scale)| nanos / scale < 999.5).unwrap_or(("s", 1e9));
    format!("{} {unit}", more_digits(nanos / scale, extra))
}

/// A latency of a report, which is in microseconds.
pub(crate) fn microseconds(latency_us: f64) -> String {
    microseconds_digits(latency_us, 0)
}

fn microseconds_digits(latency_us: f64, extra: usize) -> String {
    let latency = Duration::try_from_secs_f64(latency_us * 1e-6);
    latency.map_or_else(|_| "-".to_owned(), |latency| latency_digits(latency, extra))
}

/// The same, with as many digits as tell it from `limit_us`.
pub(crate) fn microseconds_apart(latency_us: f64, limit_us: f64) -> String {
    apart(latency_us, &[limit_us], microseconds_digits)
}

/// The same, with a sign where requests that were cut off make it a lower bound: `≥1.06 s`.
pub(crate) fn at_least(is_lower_bound: bool, latency_us: f64) -> String {
    format!("{}{}", bound_sign(is_lower_bound), microseconds(latency_us))
}

/// What stands before a lower bound.
pub(crate) fn bound_sign(is_lower_bound: bool) -> &'static str {
    if is_lower_bound { "≥" } else { "" }
}

/// `10 s`, `2.5 s`, `500 ms`: a length of time that someone asked for, to a thousandth of its unit.
pub(crate) fn length(duration: Duration) -> String {
    let thousandths = |number: f64| (number * 1e3).round() / 1e3;
    match duration.as_secs_f64() {
        seconds if seconds < 1.0 => format!("{} ms", thousandths(seconds * 1e3)),
        seconds => format!("{} s", thousandths(seconds)),
    }
}

/// `3,412,345`.
pub(crate) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 request`, `3,412 requests`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// A rate without its fraction: `341,234`; below 100 with three digits: `12.3`.
pub(crate) fn rate(per_second: f64) -> String {
    rate_digits(per_second, 0)
}

/// The same, with as many digits as tell it from `limit`.
pub(crate) fn rate_apart(per_second: f64, limit: f64) -> String {
    apart(per_second, &[limit], rate_digits)
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate, never negative"
)]
fn rate_digits(per_second: f64, extra: usize) -> String {
    match per_second.is_finite() && per_second >= 99.95 {
        true if extra == 0 => count(per_second.round() as u64),
        true => {
            let digits = format!("{per_second:.extra$}");
            let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, "0"));
            format!("{}.{fraction}", count(whole.parse().unwrap_or(u64::MAX)))
        }
        false => more_digits(per_second, extra),
    }
}

/// A number with the fewest digits beyond the usual ones that tell it from each of `others`.
fn apart(number: f64, others: &[f64], shown: fn(f64, usize) -> String) -> String {
    let is_told = |extra: &usize| {
        others.iter().all(|other| {
            number.total_cmp(other).is_eq() || shown(number, *extra) != shown(*other, *extra)
        })
    };
    shown(number, (0..EXTRA_DIGITS_MAX).find(is_told).unwrap_or(EXTRA_DIGITS_MAX))
}

/// `55.3 MB`, of 1000.
pub(crate) fn bytes(bytes: f64) -> String {
    let units = [("kB", 1e3), ("MB", 1e6), ("GB", 1e9)];
    if bytes < 999.5 {
        return format!("{bytes:.0} B");
    }
    let (unit, scale) =
        units.into_iter().find(|(_, scale)| bytes / scale < 999.5).unwrap_or(("GB", 1e9));
    format!("{} {unit}", three_digits(bytes / scale))
}

/// `99.8%` of a share of 1; `0.004%` and `99.998%` with as many digits as tell it from none and from all.
pub(crate) fn percent(share: f64) -> String {
    percent_apart(share, share)
}

/// The same, with as many digits as tell it from `limit` too.
pub(crate) fn percent_apart(share: f64, limit: f64) -> String {
    let shown = |share: f64, extra: usize| format!("{:.*}%", 1 + extra, share * 100.0);
    apart(share, &[0.0, 1.0, limit], shown)
}

/// Three digits that count, and more only before the point: `1.23`, `12.3`, `1234`.
pub(crate) fn three_digits(value: f64) -> String {
    more_digits(value, 0)
}

/// The same, with so many digits more after the point.
fn more_digits(value: f64, extra: usize) -> String {
    let digits = match value {
        v if !v.is_finite() => return "-".to_owned(),
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.*}", digits + extra)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies() {
        let check = |nanos, expected: &str| {
            assert_eq!(format_latency(Duration::from_nanos(nanos)), expected);
        };
        check(0, "0 ns");
        check(999, "999 ns");
        check(1_000, "1.00 us");
        check(9_994, "9.99 us");
        check(9_996, "10.0 us");
        check(145_200, "145 us");
        check(999_499, "999 us");
        check(999_500, "1.00 ms");
        check(1_234_567, "1.23 ms");
        check(12_340_000, "12.3 ms");
        check(999_600_000, "1.00 s");
        check(60_000_000_000, "60.0 s");
        check(3_600_000_000_000, "3600 s");
        assert_eq!(microseconds(187.3), "187 us");
        assert_eq!(microseconds(f64::NAN), "-");
    }

    #[test]
    fn lengths() {
        // The end of a replay is a nanosecond behind its last request.
        assert_eq!(length(Duration::from_nanos(8_000_000_001)), "8 s");
        let check = |millis, expected| assert_eq!(length(Duration::from_millis(millis)), expected);
        check(10_000, "10 s");
        check(2_500, "2.5 s");
        check(500, "500 ms");
        check(0, "0 ms");
    }

    #[test]
    fn counts_and_rates() {
        let check = |number, expected: &str| assert_eq!(count(number), expected);
        check(0, "0");
        check(999, "999");
        check(1_000, "1,000");
        check(3_412_345, "3,412,345");
        check(u64::MAX, "18,446,744,073,709,551,615");
        assert_eq!(rate(341_234.5), "341,235");
        assert_eq!(rate(99.96), "100");
        assert_eq!(rate(12.34), "12.3");
        assert_eq!(rate(0.0), "0.00");
        assert_eq!(rate(f64::NAN), "-");
        assert_eq!(counted(1, "request"), "1 request");
        assert_eq!(counted(1_000, "request"), "1,000 requests");
    }

    #[test]
    fn what_is_held_against_a_limit_is_told_from_it() {
        let check = |time, limit, expected| assert_eq!(microseconds_apart(time, limit), expected);
        check(5_000.0, 5_000.0, "5.00 ms");
        check(5_001.2, 5_000.0, "5.001 ms");
        check(999.6, 1_000.0, "0.9996 ms");
        check(412.7, 5_000.0, "413 us");
        check(412.7, 413.0, "412.7 us");
        check(f64::NAN, 5_000.0, "-");
        let check = |rate, limit, expected| assert_eq!(rate_apart(rate, limit), expected);
        check(49_000.0, 49_000.0, "49,000");
        check(48_999.7, 49_000.0, "48,999.7");
        check(48_999.96, 49_000.0, "48,999.96");
        check(48_000.0, 49_000.0, "48,000");
        check(9.999, 10.0, "9.999");
    }

    #[test]
    fn sizes_and_shares() {
        let check = |number, expected: &str| assert_eq!(bytes(number), expected);
        check(0.0, "0 B");
        check(999.6, "1.00 kB");
        check(55_300_000.0, "55.3 MB");
        check(12_345_000_000_000.0, "12345 GB");
        let check = |share, expected: &str| assert_eq!(percent(share), expected);
        check(0.998, "99.8%");
        check(0.0, "0.0%");
        check(1.0, "100.0%");
        check(0.000_04, "0.004%");
        check(0.999_98, "99.998%");
        check(0.999_9, "99.99%");
        check(1.5, "150.0%");
        check(1e-30, "0.000000000%");
        assert_eq!(percent(f64::NAN), "NaN%");
        assert_eq!(percent_apart(0.010_4, 0.01), "1.04%");
        assert_eq!(percent_apart(0.01, 0.01), "1.0%");
        assert_eq!(percent_apart(0.000_12, 0.000_1), "0.012%");
    }
}
