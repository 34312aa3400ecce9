//! A line of an access log in the common or combined format of nginx and Apache: when, and what was asked for. Pure.

use std::fmt::Write;

/// What a line says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Seconds since 1970 in UTC: logs have no finer time.
    pub(super) second: i64,
    pub(super) method: http::Method,
    /// Path and query, fit for a request line.
    pub(super) target: String,
}

/// Why a line says no request.
pub(super) type Fault = &'static str;

/// Takes `host ident user [10/Oct/2000:13:55:36 -0700] "GET /path HTTP/1.1" ...` apart.
pub(super) fn parse(line: &[u8]) -> Result<Entry, Fault> {
    let (time, rest) = bracketed(line).ok_or("it has no time in brackets")?;
    let rest = rest.trim_ascii_start().strip_prefix(b"\"").ok_or("it has no request in quotes")?;
    let request = quoted(rest).ok_or("its request has no closing quote")?;
    let second = second_of(time).ok_or("its time is not like 10/Oct/2000:13:55:36 -0700")?;
    let (method, target) =
        words(request).ok_or("its request is not a method, a path and a version")?;
    let method = http::Method::from_bytes(method).map_err(|_| "it has no method")?;
    if method == http::Method::CONNECT {
        return Err("CONNECT asks for no path");
    }
    Ok(Entry { second, method, target: origin_form(target).ok_or("it asks for no path")? })
}

/// Method and target of a request line. The version is its last word: a client that did not encode them may have put spaces into the target.
fn words(request: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = |byte: &u8| *byte == b' ';
    let Some(first) = request.iter().position(space) else { return Some((request, b"")) };
    let (method, rest) = (&request[..first], &request[first + 1..]);
    match rest.iter().rposition(space) {
        Some(last) => rest[last + 1..].starts_with(b"HTTP/").then_some((method, &rest[..last])),
        // HTTP/0.9 has none.
        None => Some((method, rest)),
    }
}

/// What stands in the brackets with the time, and what follows them. A host in front of it may be an IPv6 address in brackets.
fn bracketed(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let closed = |(at, _): (usize, &u8)| {
        let inside = &line[at + 1..];
        let end = inside.iter().take(TIME_BYTES_MAX).position(|byte| *byte == b']')?;
        Some((&inside[..end], &inside[end + 1..]))
    };
    let all = || line.iter().enumerate().filter(|(_, byte)| **byte == b'[').filter_map(closed);
    let is_in_front = |rest: &[u8]| rest.trim_ascii_start().starts_with(b"\"");
    all()
        .find(|(time, _)| second_of(time).is_some())
        .or_else(|| all().find(|(_, rest)| is_in_front(rest)))
        .or_else(|| all().next())
}

/// What stands before the closing quote, which is the first without a backslash.
fn quoted(text: &[u8]) -> Option<&[u8]> {
    let mut escaped = false;
    let end = text.iter().position(|byte| {
        let closes = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        closes
    })?;
    Some(&text[..end])
}

/// Path and query of a logged target, with its log's escapes undone and what may not stand in a request encoded (RFC 3986 2.1).
fn origin_form(logged: &[u8]) -> Option<String> {
    let slash = |text: &[u8]| text.iter().position(|byte| *byte == b'/');
    let scheme = logged.windows(3).position(|part| part == b"://");
    let path = match scheme {
        // As a proxy is asked (RFC 9112 3.2.2).
        Some(end) if slash(&logged[..end]).is_none() => {
            let rest = &logged[end + 3..];
            &rest[slash(rest)?..]
        }
        _ => logged,
    };
    if !path.starts_with(b"/") {
        return None;
    }
    let mut target = String::with_capacity(path.len());
    for byte in unescaped(path) {
        if byte.is_ascii_graphic() && !b"\"<>#".contains(&byte) {
            target.push(char::from(byte));
        } else {
            // Writing into a string has no way to fail.
            let _ = write!(target, "%{byte:02X}");
        }
    }
    Some(target)
}

/// Bytes with `\xHH`, `\"` and `\\` as what they stand for.
fn unescaped(mut rest: &[u8]) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let (byte, after) = match rest {
            [b'\\', b'x', high, low, after @ ..] => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => (b'\\', &rest[1..]),
            },
            [b'\\', escaped @ (b'"' | b'\\'), after @ ..] => (*escaped, after),
            [byte, after @ ..] => (*byte, after),
            [] => return None,
        };
        rest = after;
        Some(byte)
    })
}

fn digit(hex: u8) -> Option<u8> {
    char::from(hex).to_digit(16).map(|digit| digit as u8)
}

/// The longest text in brackets that may be a time.
const TIME_BYTES_MAX: usize = 64;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

fn second_of(time: &[u8]) -> Option<i64> {
    second(std::str::from_utf8(time).ok()?)
}

/// `10/Oct/2000:13:55:36 -0700` as seconds since 1970 in UTC.
fn second(text: &str) -> Option<i64> {
    let (stamp, zone) = text.split_once(' ')?;
    let (date, clock) = stamp.split_once(':')?;
    let mut date = date.split('/');
    let day = number(date.next()?, 1..=31)?;
    let month = date.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? as i64 + 1;
    let year = number(date.next()?, 1970..=9999)?;
    let mut clock = clock.split(':');
    let hours = number(clock.next()?, 0..=23)?;
    let minutes = number(clock.next()?, 0..=59)?;
    let seconds = number(clock.next()?, 0..=60)?;
    let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    let exists = day <= days(next_year, next_month, 1) - days(year, month, 1);
    let whole = exists && clock.next().is_none() && date.next().is_none();
    let local = ((days(year, month, day) * 24 + hours) * 60 + minutes) * 60 + seconds;
    whole.then_some(local - offset(zone)?)
}

/// `-0700` in seconds.
fn offset(zone: &str) -> Option<i64> {
    let (sign, digits) = match zone.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = digits.split_at_checked(2)?;
    Some(sign * (number(hours, 0..=23)? * 60 + number(minutes, 0..=59)?) * 60)
}

fn number(text: &str, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && range.contains(number))
}

/// Days from 1970 to a date of the Gregorian calendar (H. Hinnant, `days_from_civil`).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_formats() {
        let check = |line: &str, second: i64, method: &str, target: &str| {
            let method = http::Method::from_bytes(method.as_bytes()).unwrap();
            let target = target.to_owned();
            assert_eq!(parse(line.as_bytes()), Ok(Entry { second, method, target }), "{line}");
        };
        let at = 971_211_336;
        let common =
            r#"127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /a.gif HTTP/1.0" 200 2326"#;
        check(common, at, "GET", "/a.gif");
        check(&format!(r#"{common} "http://x/[y]" "Mozilla \"4\"""#), at, "GET", "/a.gif");
        let with =
            |request: &str| format!("::1 - - [10/Oct/2000:20:55:36 +0000] \"{request}\" 200 0");
        check(&with("POST /f?a=b&c HTTP/2.0"), at, "POST", "/f?a=b&c");
        check(&with("GET /"), at, "GET", "/");
        check(&with("GET /a b  c HTTP/1.1"), at, "GET", "/a%20b%20%20c");
        check(&with(r"GET /a\x22b\xC3\xA9 HTTP/1.1"), at, "GET", "/a%22b%C3%A9");
        check(&with(r#"GET /a\"b\\c HTTP/1.1"#), at, "GET", "/a%22b\\c");
        check(&with("GET /\u{e9}#x HTTP/1.1"), at, "GET", "/%C3%A9%23x");
        check(&with("GET http://h:1/p?q HTTP/1.1"), at, "GET", "/p?q");
        check(&with("GET /r?u=http://h HTTP/1.1"), at, "GET", "/r?u=http://h");
        check(&with(r"GET /\xZZ HTTP/1.1"), at, "GET", "/\\xZZ");
        for host in ["[::1]:80 ", "[", "h[0] ", "[x] \"y\" "] {
            check(&format!("{host}{common}"), at, "GET", "/a.gif");
        }
        let later = common.replace("/a.gif", "/[11/Oct/2000:13:55:36");
        check(&later, at, "GET", "/[11/Oct/2000:13:55:36");
    }

    #[test]
    fn bytes_that_are_no_text_are_sent_as_they_were() {
        let line = b"::1 - - [10/Oct/2000:20:55:36 +0000] \"GET /\xff\xc3 HTTP/1.1\" 200 0";
        assert_eq!(parse(line).map(|entry| entry.target), Ok("/%FF%C3".to_owned()));
        assert_eq!(parse(b"[\xff] \"GET / HTTP/1.1\"").unwrap_err().get(..8), Some("its time"));
    }

    #[test]
    fn times() {
        let check =
            |text: &str, expected: Option<i64>| assert_eq!(second(text), expected, "{text}");
        check("01/Jan/1970:00:00:00 +0000", Some(0));
        check("01/Jan/1970:01:30:00 +0130", Some(0));
        check("29/Feb/2024:23:59:59 +0000", Some(1_709_251_199));
        check("01/Mar/2024:00:00:00 +0000", Some(1_709_251_200));
        check("31/Dec/2026:23:00:00 -0100", Some(1_798_761_600));
        for text in [
            "",
            "10/Okt/2000:1:1:1 +0000",
            "10/Oct/2000:13:55:36",
            "1/Oct/2000:24:0:0 +0000",
            "10/Oct/2000:13:55:36 Z",
            "10/Oct/2000:13:55 +0000",
            "-1/Oct/2000:13:55:36 +0000",
            "31/Feb/2025:13:55:38 +0200",
            "29/Feb/2100:00:00:00 +0000",
            "31/Nov/2025:00:00:00 +0000",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn lines_that_say_no_request() {
        let with =
            |request: &str| format!("::1 - - [10/Oct/2000:20:55:36 +0000] \"{request}\" 400 0");
        for (line, words) in [
            (String::new(), "no time"),
            ("::1 - - [x] nothing".to_owned(), "no request in quotes"),
            ("::1 - - [x] \"GET /".to_owned(), "closing quote"),
            ("::1 - - [x] \"GET / HTTP/1.1\"".to_owned(), "its time"),
            (with("-"), "no path"),
            (with(""), "no method"),
            (with(r"\x16\x03\x01"), "no method"),
            (with("GET / HTTP/1.1 x"), "a method, a path and a version"),
            (with("GET /a b"), "a method, a path and a version"),
            (with("CONNECT h:443 HTTP/1.1"), "CONNECT"),
            (with("OPTIONS * HTTP/1.1"), "no path"),
            ("[::1]:80 - - [10/Okt/2000] \"GET / HTTP/1.1\"".to_owned(), "its time"),
        ] {
            let fault = parse(line.as_bytes()).unwrap_err();
            assert!(fault.contains(words), "{line}: {fault}");
        }
    }
}
