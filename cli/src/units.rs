//! Numbers with units, as people type them: durations, counts and byte sizes. Pure.

use std::time::Duration;

/// A duration: `10s`, `500ms`, `250us`, `2m`, `1h`, `1.5s`, `1m30s`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration: write 10s, 500ms, 2m, 1m30s or 1h");
    let (mut sum, mut rest, mut largest) = (0.0, text.trim(), f64::INFINITY);
    loop {
        let (number, after) = split(rest);
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let seconds = match unit.trim() {
            "us" => 1e-6,
            "ms" => 1e-3,
            "" | "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        // `30s1m` is more likely a slip than a sum.
        if seconds >= largest {
            return Err(wrong());
        }
        sum += number.parse::<f64>().map_err(|_| wrong())? * seconds;
        (largest, rest) = (seconds, next);
        if rest.is_empty() {
            return Duration::try_from_secs_f64(sum).map_err(|_| wrong());
        }
    }
}

/// A whole number of days, in words: `30 days`.
pub(crate) fn days(duration: Duration) -> String {
    format!("{} days", duration.as_secs() / (24 * 60 * 60))
}

/// A duration above zero.
pub(crate) fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it must be longer than 0".to_owned()),
        duration => Ok(duration),
    }
}

/// A count: `64`, `10k` (thousand), `1M` (million), `2G` (thousand million).
pub(crate) fn count(text: &str) -> Result<u64, String> {
    let factor = |unit: &str| match unit {
        "" => Some(1),
        "k" | "K" => Some(1_000),
        "M" => Some(1_000_000),
        "G" => Some(1_000_000_000),
        _ => None,
    };
    scaled(text, factor).ok_or_else(|| format!("{text:?} is not a count: write 64, 10k or 1M"))
}

/// A count above zero.
pub(crate) fn positive_count(text: &str) -> Result<u64, String> {
    match count(text)? {
        0 => Err("it must be at least 1".to_owned()),
        count => Ok(count),
    }
}

/// A count that fits 32 bits.
pub(crate) fn small_count(text: &str) -> Result<u32, String> {
    u32::try_from(count(text)?).map_err(|_| format!("{text} is more than {}", u32::MAX))
}

/// A whole number without a unit.
pub(crate) fn number(text: &str) -> Result<u64, String> {
    let wrong = |_| format!("{text:?} is not a whole number from 0 to {}", u64::MAX);
    text.trim().parse().map_err(wrong)
}

/// A TCP port.
pub(crate) fn port(text: &str) -> Result<u16, String> {
    text.trim().parse().map_err(|_| format!("{text:?} is not a port: write 0 to {}", u16::MAX))
}

/// A rate a second: `50k`, `0.5`, `1.5M`, `100/s`.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let wrong = || format!("{text:?} is not a rate: write 500, 50k, 1.5M or 0.5");
    let (number, unit) = split(text.trim().trim_end_matches("/s"));
    let power = match unit {
        "" => 0,
        "k" | "K" => 3,
        "M" => 6,
        _ => return Err(wrong()),
    };
    // `.5` could be the end of `1...5`.
    let number = Some(number).filter(|number| number.starts_with(|it: char| it.is_ascii_digit()));
    number.and_then(|number| decimal(number, power)).ok_or_else(wrong)
}

/// The number that is closest to what was written, times a power of ten: a product of two that are would
/// not be, and a limit would lie beside itself.
fn decimal(number: &str, power: i32) -> Option<f64> {
    format!("{number}e{power}").parse().ok()
}

/// A part of a whole: `2%` or `0.02`.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let share = match text.trim().strip_suffix('%') {
        Some(number) => decimal(number.trim_end(), -2),
        None => text.trim().parse().ok(),
    };
    share
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| format!("{text:?} is not a share: write 0.1% or 0.001"))
}

/// A size in bytes: `512`, `64KiB` or `64Ki` (of 1024), `64kB` or `64k` (of 1000), and so on to G.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let factor = |unit: &str| match unit.strip_suffix('B').unwrap_or(unit) {
        "" => Some(1),
        "k" | "K" => Some(1_000),
        "M" => Some(1_000_000),
        "G" => Some(1_000_000_000),
        "Ki" => Some(1 << 10),
        "Mi" => Some(1 << 20),
        "Gi" => Some(1 << 30),
        _ => None,
    };
    scaled(text, factor)
        .ok_or_else(|| format!("{text:?} is not a size: write 512, 64KiB, 64k or 1MiB"))
}

fn scaled(text: &str, factor: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    let (number, unit) = split(text);
    let number: u64 = number.parse().ok()?;
    number.checked_mul(factor(unit)?)
}

/// The leading digits and points, and the rest without the space between.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let check = |text, nanos: u64| {
            assert_eq!(duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
        };
        check("10s", 10_000_000_000);
        check("500ms", 500_000_000);
        check("7ms", 7_000_000);
        check("250us", 250_000);
        check("2m", 120_000_000_000);
        check("1h", 3_600_000_000_000);
        check("3", 3_000_000_000);
        check("1m30s", 90_000_000_000);
        check("1h2m3.5s", 3_723_500_000_000);
        check("1s 500ms", 1_500_000_000);
        check("1.5s", 1_500_000_000);
        check("0.1", 100_000_000);
        check(" 2 s ", 2_000_000_000);
        check("0", 0);
    }

    #[test]
    fn wrong_durations() {
        for text in [
            "", "s", "ten", "10x", "-1s", "1.2.3s", "1e9s", "10S", "nan", "inf", "30s1m", "1s1s",
            "1m-1s",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(duration(&"9".repeat(40)).is_err());
        assert!(positive_duration("0ms").is_err());
        assert_eq!(positive_duration("1us"), Ok(Duration::from_micros(1)));
    }

    #[test]
    fn counts() {
        let check = |text, expected| assert_eq!(count(text).ok(), expected, "{text}");
        check("64", Some(64));
        check("10k", Some(10_000));
        check("1M", Some(1_000_000));
        check("2G", Some(2_000_000_000));
        check("1.5k", None);
        check("-1", None);
        check("10Ki", None);
        check("", None);
        check("99999999999999999999", None);
        check("18446744073709551615k", None);
        assert!(positive_count("0").is_err());
        assert!(small_count("5G").is_err());
        assert_eq!(small_count("0"), Ok(0));
    }

    #[test]
    fn plain_numbers_and_ports() {
        assert_eq!(number("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(port("65535"), Ok(u16::MAX));
        for text in ["", "x", "-1", "1k", "18446744073709551616"] {
            assert!(number(text).unwrap_err().contains("is not a whole number"), "{text}");
            assert!(port(text).unwrap_err().contains("write 0 to 65535"), "{text}");
        }
    }

    #[test]
    fn rates() {
        let check = |text, expected: Option<f64>| assert_eq!(rate(text).ok(), expected, "{text}");
        check("500", Some(500.0));
        check("50k", Some(50_000.0));
        check("1.5M", Some(1_500_000.0));
        check("100/s", Some(100.0));
        check("0", Some(0.0));
        for text in ["", "-1", "fast", "10x", "1e5", "nan", ".5", ".", "+1"] {
            check(text, None);
        }
    }

    /// A figure is a quotient of counts: the closest there is to what it says.
    #[test]
    fn shares_and_rates_are_the_closest_to_what_is_written() {
        for tenths in 0..=1_000_u32 {
            let (whole, tenth) = (tenths / 10, tenths % 10);
            let expected = f64::from(tenths) / 1e3;
            assert_eq!(share(&format!("{whole}.{tenth}%")), Ok(expected), "{tenths}");
            assert_eq!(share(&format!("{expected}")), Ok(expected), "{tenths}");
        }
        for exact in 0..20_000_u32 {
            let (thousands, rest) = (exact / 1_000, exact % 1_000);
            assert_eq!(rate(&format!("{thousands}.{rest:03}k")), Ok(f64::from(exact)), "{exact}");
            assert_eq!(
                rate(&format!("{thousands}.{rest:03}M/s")),
                Ok(f64::from(exact) * 1e3),
                "{exact}"
            );
        }
        assert_eq!(share(" 1 %"), Ok(0.01));
        for text in ["", "%", "-1%", "100.1%", "nan%", "inf", "1.1"] {
            assert!(share(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        let check = |text, expected| assert_eq!(bytes(text).ok(), expected, "{text}");
        check("13", Some(13));
        check("13B", Some(13));
        check("64KiB", Some(65_536));
        check("64Ki", Some(65_536));
        check("64k", Some(64_000));
        check("64kB", Some(64_000));
        check("1MiB", Some(1_048_576));
        check("1 GiB", Some(1 << 30));
        check("1kib", None);
        check("one", None);
    }
}
