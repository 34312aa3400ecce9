//! What a scenario expects of responses, into the engine's words. Pure.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::Method;
use ringshot::load::{DURATION_MAX, Expect, ExpectedHeader, Needle};
use toml::Spanned;

use super::file::{self, Lines};
use crate::exit::Failure;
use crate::units;

/// Longest text that is searched for in a body, in bytes.
const NEEDLE_BYTES_MAX: usize = 64 << 10;

/// SHA-256 of nothing.
const EMPTY_SHA256: [u8; 32] = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// The expectations of a request with this method.
pub(super) fn expect(
    said: &file::Expect,
    method: &Method,
    lines: Lines<'_>,
) -> Result<Expect, Failure> {
    let header =
        |(name, header): (&String, _)| lines.read(header, |header| expected_header(name, header));
    let (contains, hash) = (said.body_contains.as_ref(), said.body_sha256.as_ref());
    let expect = Expect {
        statuses: said.status.as_ref().map_or(Ok(Vec::new()), |said| any_of(said, lines))?,
        headers: said.headers.iter().map(header).collect::<Result<_, _>>()?,
        body_contains: contains.map(|text| lines.read(text, |text| needle(text))).transpose()?,
        body_sha256: hash.map(|text| lines.read(text, |text| sha256(text))).transpose()?,
    };
    if let (Some(said), true) = (&said.status, is_never_final(&expect)) {
        let words = "no response ends a request with a status below 200 (RFC 9110 15.2)";
        return lines.read(said, |_| Err(Failure::unusable(words)));
    }
    let bodiless = bodiless(&expect, method).map(|why| Failure::unusable(why.to_owned()));
    let asked = expect.body_contains.as_ref().and(contains);
    let hashed = expect.body_sha256.filter(|hash| *hash != EMPTY_SHA256).and(hash);
    match (bodiless, asked.or(hashed)) {
        (Some(why), Some(body)) => lines.read(body, |_| Err(why)),
        _ => Ok(expect),
    }
}

/// Whether all statuses that are right are those of interim responses.
fn is_never_final(expect: &Expect) -> bool {
    !expect.statuses.is_empty() && expect.statuses.iter().all(|range| *range.end() < 200)
}

/// Why no response that is right has a body, if none has (RFC 9112 6.3).
fn bodiless(expect: &Expect, method: &Method) -> Option<&'static str> {
    let mut ranges = expect.statuses.iter();
    let bare = |range: &RangeInclusive<u16>| {
        range.start() == range.end() && matches!(range.start(), 204 | 304)
    };
    match () {
        () if method == Method::HEAD => Some("a response to HEAD has no body to look at"),
        () if !expect.statuses.is_empty() && ranges.all(bare) => {
            Some("a response of status 204 or 304 has no body to look at")
        }
        () => None,
    }
}

fn any_of(
    said: &Spanned<file::Statuses>,
    lines: Lines<'_>,
) -> Result<Vec<RangeInclusive<u16>>, Failure> {
    match said.get_ref() {
        file::Statuses::AnyOf(list) if list.is_empty() => {
            lines.read(said, |_| Err(Failure::unusable("status is an empty list: leave it out")))
        }
        file::Statuses::One(status) => lines.read(said, |_| Ok(vec![statuses(status)?])),
        file::Statuses::AnyOf(list) => list.iter().map(|one| lines.read(one, statuses)).collect(),
    }
}

fn statuses(said: &file::Status) -> Result<RangeInclusive<u16>, Failure> {
    let (range, text) = match said {
        file::Status::Code(code) => (Some(*code..=*code), code.to_string()),
        file::Status::Text(text) => (range(text), format!("{text:?}")),
    };
    let known = |range: &RangeInclusive<u16>| {
        (100..=999).contains(range.start()) && range.start() <= range.end() && *range.end() <= 999
    };
    range.filter(known).ok_or_else(|| {
        Failure::unusable(format_args!("{text} is no status: write 200, \"2xx\" or \"200-204\""))
    })
}

/// `2xx`, `200-204` or `200`.
fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let number = |text: &str, digits: usize| {
        let fits = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| fits)
    };
    if let Some(class) = text.strip_suffix("xx") {
        let first = number(class, 1)? * 100;
        return Some(first..=first + 99);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some(number(first.trim_end(), 3)?..=number(last.trim_start(), 3)?)
}

fn expected_header(name: &str, said: &file::Header) -> Result<ExpectedHeader, Failure> {
    let value = match said {
        _ if http::HeaderName::from_bytes(name.as_bytes()).is_err() => {
            return Err(Failure::unusable(format_args!(
                "no header can have the expected name {name:?}"
            )));
        }
        file::Header::Value(value) if !is_value(value) => {
            return Err(Failure::unusable(format_args!(
                "no header {name} can have the expected value {value:?}: it has a control character, or a space at an end"
            )));
        }
        file::Header::Value(value) => Some(value.clone().into_bytes()),
        file::Header::Present(true) => None,
        file::Header::Present(false) => {
            return Err(Failure::unusable(format_args!(
                "expected header {name} is false: write true for any value, or leave it out"
            )));
        }
    };
    Ok(ExpectedHeader { name: name.to_owned(), value })
}

/// Whether a field can have this value: readers take the spaces at its ends away (RFC 9110 5.5).
fn is_value(text: &str) -> bool {
    let plain = |byte: u8| byte == b'\t' || !byte.is_ascii_control();
    text.bytes().all(plain) && text.trim_matches([' ', '\t']) == text
}

fn needle(text: &str) -> Result<Needle, Failure> {
    match text.len() {
        1..=NEEDLE_BYTES_MAX => Ok(Needle::new(text.as_bytes())),
        _ => Err(Failure::unusable(format_args!(
            "body_contains must have 1 to {NEEDLE_BYTES_MAX} bytes"
        ))),
    }
}

fn sha256(text: &str) -> Result<[u8; 32], Failure> {
    let wrong =
        || Failure::unusable("body_sha256 must be 64 hexadecimal digits, as sha256sum prints");
    let digits: Vec<u8> =
        text.chars().map_while(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    if digits.len() != 64 || text.len() != 64 {
        return Err(wrong());
    }
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    bytes.try_into().map_err(|_| wrong())
}

/// The shortest and the longest time to think.
pub(super) fn think(said: &file::Think) -> Result<(Duration, Duration), Failure> {
    let (min, max) = match said {
        file::Think::Always(time) => (time, time),
        file::Think::Between(range) => (&range.min, &range.max),
    };
    let time = |text: &str| units::duration(text).map_err(Failure::unusable);
    let (min, max) = (time(min)?, time(max)?);
    if min > max {
        return Err(Failure::unusable("think: min is more than max"));
    }
    if max > DURATION_MAX {
        let most = units::days(DURATION_MAX);
        return Err(Failure::unusable(format!("think: {most} is the most")));
    }
    Ok((min, max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_statuses() {
        let text = |text: &str| statuses(&file::Status::Text(text.to_owned())).ok();
        assert_eq!(text("2xx"), Some(200..=299));
        assert_eq!(text("200-204"), Some(200..=204));
        assert_eq!(text("404"), Some(404..=404));
        assert_eq!(text("200 - 204"), Some(200..=204));
        for wrong in [
            "", "x", "xx", "0xx", "10xx", "204-200", "2x", "99", "200-", "70000", "656xx", "+200",
            "02xx", " 200", "1000",
        ] {
            assert_eq!(text(wrong), None, "{wrong}");
        }
        assert_eq!(statuses(&file::Status::Code(204)), Ok(204..=204));
        assert!(statuses(&file::Status::Code(20)).is_err());
    }

    #[test]
    fn hashes() {
        let mut expected = [0; 32];
        (expected[0], expected[31]) = (0xAB, 0x0F);
        let text = format!("aB{}0f", "0".repeat(60));
        assert_eq!(sha256(&text), Ok(expected));
        for wrong in
            ["", "ab", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64), &"\u{e9}".repeat(32)]
        {
            assert!(sha256(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_to_think() {
        #[derive(serde::Deserialize)]
        struct Request {
            think: file::Think,
        }
        let read = |text: &str| think(&toml::from_str::<Request>(text).unwrap().think);
        let between =
            |min: &str, max: &str| read(&format!("think = {{ min = '{min}', max = '{max}' }}"));
        let millis = Duration::from_millis;
        assert_eq!(between("10ms", "1s"), Ok((millis(10), millis(1000))));
        assert_eq!(read("think = '5ms'"), Ok((millis(5), millis(5))));
        assert!(between("2s", "1s").is_err() && between("soon", "1s").is_err());
        assert!(between("0", "1000h").is_err());
    }
}
