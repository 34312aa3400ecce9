//! Which paths decide what happens, and how they are read. Pure: a target in, a plan out; reads no clock, draws no number, sends nothing.

use std::str::Split;
use std::time::Duration;

use super::plan::{Body, Expectation, Fate, Framing, Pace, Plan, Spread};
use super::{BODY_BYTES_MAX, DELAY_MAX};

/// Most redirects in a row.
const REDIRECTS_MAX: u64 = 1000;
/// Most interim responses before an answer.
const INTERIMS_MAX: u64 = 100;
/// Most bytes in one piece of `/stream`.
pub(super) const PIECE_BYTES_MAX: u64 = 64 << 10;
/// The largest sigma of `/lognormal`, in hundredths.
const SIGMA_PERCENT_MAX: u64 = 1000;
/// What `/reset` announces.
const RESET_BYTES: u64 = 1000;

/// A path that decides what happens.
///
/// ```
/// use ringshot::origin::DIRECTIVES;
///
/// for directive in DIRECTIVES {
///     println!("/{}{}: {}", directive.name, directive.arguments, directive.does);
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Directive {
    /// Its first segment.
    pub name: &'static str,
    /// What follows, each value a capital word.
    pub arguments: &'static str,
    /// What it does.
    pub does: &'static str,
}

/// Every directive, in the order in which help shows them.
pub const DIRECTIVES: [Directive; 21] = [
    directive("delay", "/MS", "answers after MS milliseconds"),
    directive("lognormal", "/MEDIAN_MS/SIGMA_PERCENT", "answers after a random delay, seeded"),
    directive("hang", "", "never answers"),
    directive("status", "/CODE", "answers with this status"),
    directive("fail", "/PERCENT", "503 for this share of requests, seeded"),
    directive("retry-after", "/SECONDS", "503 with Retry-After"),
    directive("bytes", "/N", "a body of N bytes"),
    directive("chunked", "/N", "a body of N bytes, chunked"),
    directive("stream", "/N/PIECE_BYTES/EVERY_MS", "N bytes, a piece every so often"),
    directive("truncate", "/N", "announces N bytes, sends half, closes"),
    directive("reset", "", "resets the connection in the middle of a body"),
    directive("abort", "", "closes without an answer"),
    directive("close", "", "answers with Connection: close"),
    directive("echo", "", "the request's body, up to 1 MiB"),
    directive("headers", "", "the request's head as text"),
    directive("redirect", "/N", "302 to /redirect/N-1, finally 200"),
    directive("redirect-to", "?url=URL", "302 to URL"),
    directive("expect", "", "100 before the body is read, as on every path"),
    directive("expect", "/417", "417 to Expect: 100-continue, 200 without it"),
    directive("expect", "/ignore", "never 100, 200 once the body has come"),
    directive("continue", "/N", "N times 100, then 200"),
];

const fn directive(name: &'static str, arguments: &'static str, does: &'static str) -> Directive {
    Directive { name, arguments, does }
}

/// What a number must be; the text of a 400.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal(String);

/// The plan for a request target; `None` for the fixed answer.
pub(super) fn plan_of(target: &str) -> Option<Plan> {
    let (path, query) = origin_form(target).split_once('?').unwrap_or((origin_form(target), ""));
    let mut segments = path.strip_prefix('/')?.split('/');
    let name = segments.next()?;
    let directive = DIRECTIVES.iter().find(|directive| directive.name == name)?;
    let mut path = Path { directive, segments };
    let plan = read(&mut path, query);
    Some(plan.unwrap_or_else(|Refusal(text)| Plan::refused(text)))
}

/// The path and query of a target, which to a proxy is a whole URL (RFC 9112 3.2.2).
fn origin_form(target: &str) -> &str {
    match target.split_once("://") {
        Some(("http", rest)) => rest.find('/').map_or("/", |path| &rest[path..]),
        _ => target,
    }
}

fn read(path: &mut Path<'_>, query: &str) -> Result<Plan, Refusal> {
    let query = Query { text: query };
    let plan = of_path(path, query)?;
    path.end()?;
    with_query(plan, query)
}

fn of_path(path: &mut Path<'_>, query: Query<'_>) -> Result<Plan, Refusal> {
    let fixed = Plan::default();
    let body = Body::Letters;
    Ok(match path.directive.name {
        "delay" => Plan { delay: path.millis("MS")?, ..fixed },
        "lognormal" => Plan { spread: Some(spread(path)?), ..fixed },
        "hang" => Plan { fate: Fate::Hang, ..fixed },
        "status" => Plan::with_status(path.status()?),
        "fail" => Plan { fail_percent: path.number("PERCENT", 0, 100)? as u32, ..fixed },
        "retry-after" => retry_after(path.number("SECONDS", 0, 86_400)?),
        "bytes" => Plan { body: body(path.bytes("N")?), ..fixed },
        "chunked" => Plan { body: body(path.bytes("N")?), framing: Framing::Chunked, ..fixed },
        "stream" => Plan { body: body(path.bytes("N")?), pace: Some(pace(path)?), ..fixed },
        "truncate" => Plan { body: body(path.bytes("N")?), fate: Fate::Truncate, ..fixed },
        "reset" => Plan { body: body(RESET_BYTES), fate: Fate::Reset, ..fixed },
        "abort" => Plan { fate: Fate::Abort, ..fixed },
        "close" => Plan { close: true, ..fixed },
        "echo" => Plan { body: Body::Echo, ..fixed },
        "headers" => Plan { body: Body::Head, ..fixed },
        "redirect" => redirect(path.number("N", 0, REDIRECTS_MAX)?, query),
        "redirect-to" => redirect_to(query)?,
        "expect" => Plan { expectation: path.expectation()?, ..fixed },
        "continue" => Plan { interims: path.number("N", 0, INTERIMS_MAX)? as u32, ..fixed },
        _ => fixed,
    })
}

/// What every directive takes behind its `?`; anything else there is ignored.
fn with_query(plan: Plan, query: Query<'_>) -> Result<Plan, Refusal> {
    let mut plan = plan;
    let range = format!("from 0 to {}", DELAY_MAX.as_millis());
    if let Some(value) = query.value("delay") {
        let millis = number(value, 0, DELAY_MAX.as_millis() as u64);
        let millis = millis.ok_or_else(|| refusal("?delay=MS", "MS", &range, value))?;
        plan.delay = (plan.delay + Duration::from_millis(millis)).min(DELAY_MAX);
    }
    if let Some(value) = query.value("status").filter(|_| plan.status_may_change) {
        let status = number(value, 200, 599);
        plan.status =
            status.ok_or_else(|| refusal("?status=CODE", "CODE", "from 200 to 599", value))? as u16;
    }
    plan.close |= query.has("close");
    plan.trailers |= query.has("trailers");
    if query.has("chunked") || plan.trailers {
        plan.framing = Framing::Chunked;
    } else if query.has("unframed") {
        plan.framing = Framing::UntilClose;
    }
    Ok(plan)
}

fn spread(path: &mut Path<'_>) -> Result<Spread, Refusal> {
    let median = path.millis("MEDIAN_MS")?;
    let sigma_percent = path.number("SIGMA_PERCENT", 0, SIGMA_PERCENT_MAX)? as u32;
    Ok(Spread { median, sigma_percent })
}

fn pace(path: &mut Path<'_>) -> Result<Pace, Refusal> {
    let piece_bytes = path.number("PIECE_BYTES", 1, PIECE_BYTES_MAX)?;
    Ok(Pace { piece_bytes, every: path.millis("EVERY_MS")? })
}

fn retry_after(seconds: u64) -> Plan {
    Plan { fields: format!("Retry-After: {seconds}\r\n"), ..Plan::with_default_status(503) }
}

/// The query goes along, so that each hop is delayed, or closes, or has the status asked for.
fn redirect(left: u64, query: Query<'_>) -> Plan {
    match left.checked_sub(1) {
        None => Plan { status_may_change: false, ..Plan::default() },
        Some(left) if query.text.is_empty() => to(&format!("/redirect/{left}")),
        Some(left) => to(&format!("/redirect/{left}?{}", query.text)),
    }
}

fn redirect_to(query: Query<'_>) -> Result<Plan, Refusal> {
    let url = query.value("url").and_then(percent_decoded);
    let url =
        url.filter(|url| !url.is_empty() && url.bytes().all(|byte| byte > b' ' && byte != 127));
    let missing =
        || Refusal("/redirect-to?url=URL: URL must be there, percent-encoded\n".to_owned());
    url.map(|url| to(&url)).ok_or_else(missing)
}

fn to(location: &str) -> Plan {
    Plan { fields: format!("Location: {location}\r\n"), ..Plan::with_default_status(302) }
}

/// The segments behind a directive's name.
struct Path<'a> {
    directive: &'static Directive,
    segments: Split<'a, char>,
}

impl Path<'_> {
    fn number(&mut self, name: &str, least: u64, most: u64) -> Result<u64, Refusal> {
        let text = self.segments.next().unwrap_or_default();
        let range = || format!("from {least} to {most}");
        number(text, least, most).ok_or_else(|| refusal(&self.shown(), name, &range(), text))
    }

    fn millis(&mut self, name: &str) -> Result<Duration, Refusal> {
        self.number(name, 0, DELAY_MAX.as_millis() as u64).map(Duration::from_millis)
    }

    fn bytes(&mut self, name: &str) -> Result<u64, Refusal> {
        self.number(name, 0, BODY_BYTES_MAX)
    }

    fn status(&mut self) -> Result<u16, Refusal> {
        self.number("CODE", 200, 599).map(|status| status as u16)
    }

    fn expectation(&mut self) -> Result<Expectation, Refusal> {
        match self.segments.next() {
            None => Ok(Expectation::Met),
            Some("417") => Ok(Expectation::Refused),
            Some("ignore") => Ok(Expectation::Ignored),
            Some(other) => {
                Err(Refusal(format!("/expect takes /417, /ignore or nothing, not {other:?}\n")))
            }
        }
    }

    fn end(&mut self) -> Result<(), Refusal> {
        match self.segments.next() {
            None => Ok(()),
            Some(more) => Err(Refusal(format!("{} ends there: no /{more}\n", self.shown()))),
        }
    }

    fn shown(&self) -> String {
        format!("/{}{}", self.directive.name, self.directive.arguments)
    }
}

/// What stands behind the `?`.
#[derive(Clone, Copy)]
struct Query<'a> {
    text: &'a str,
}

impl<'a> Query<'a> {
    fn pairs(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.text.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }

    fn value(self, key: &str) -> Option<&'a str> {
        self.pairs().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    fn has(self, key: &str) -> bool {
        self.value(key).is_some()
    }
}

fn refusal(directive: &str, name: &str, range: &str, text: &str) -> Refusal {
    Refusal(format!("{directive}: {name} must be a number {range}, not {text:?}\n"))
}

fn number(text: &str, least: u64, most: u64) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = digits.then(|| text.parse().ok())??;
    (least..=most).contains(&number).then_some(number)
}

/// `None` for a broken escape or what is not UTF-8 (RFC 3986 2.1).
fn percent_decoded(text: &str) -> Option<String> {
    let (mut rest, mut decoded) = (text.as_bytes(), Vec::with_capacity(text.len()));
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            decoded.push(*first);
            continue;
        }
        let [high, low, after @ ..] = tail else { return None };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        decoded.push((digit(*high)? << 4 | digit(*low)?) as u8);
        rest = after;
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(target: &str, expected: Plan) {
        assert_eq!(plan_of(target), Some(expected), "{target}");
    }

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn other_paths_get_the_fixed_answer() {
        for target in
            ["/", "", "*", "/delays/5", "/x?delay=5", "/a/delay/5", "//delay/5", "host:80"]
        {
            assert_eq!(plan_of(target), None, "{target}");
        }
    }

    #[test]
    fn a_path_is_a_plan() {
        let fixed = Plan::default;
        check("/delay/50", Plan { delay: millis(50), ..fixed() });
        check("http://h:1/delay/50", Plan { delay: millis(50), ..fixed() });
        let spread = Spread { median: millis(20), sigma_percent: 150 };
        check("/lognormal/20/150", Plan { spread: Some(spread), ..fixed() });
        check("/status/404", Plan::with_status(404));
        check("/status/404?status=500", Plan::with_status(404));
        check("/fail/30", Plan { fail_percent: 30, ..fixed() });
        check("/bytes/0", Plan { body: Body::Letters(0), ..fixed() });
        let pace = Pace { piece_bytes: 10, every: millis(5) };
        check("/stream/100/10/5", Plan { body: Body::Letters(100), pace: Some(pace), ..fixed() });
        check("/expect", fixed());
        check("/expect/ignore", Plan { expectation: Expectation::Ignored, ..fixed() });
        check("/continue/3", Plan { interims: 3, ..fixed() });
    }

    #[test]
    fn queries_compose() {
        let plan =
            Plan { body: Body::Letters(1000), delay: millis(50), close: true, ..Plan::default() };
        check("/bytes/1000?delay=50&close&i=17", plan);
        let chunked = Plan { framing: Framing::Chunked, trailers: true, ..Plan::default() };
        check("/delay/0?trailers", chunked);
        check(
            "/bytes/5?status=503",
            Plan { status: 503, body: Body::Letters(5), ..Plan::default() },
        );
        check("/delay/3600000?delay=3600000", Plan { delay: DELAY_MAX, ..Plan::default() });
    }

    #[test]
    fn redirects_lead_to_the_next() {
        let location = |target: &str| {
            let plan = plan_of(target).unwrap();
            (plan.status, plan.fields)
        };
        let to = |status, url: &str| (status, format!("Location: {url}\r\n"));
        assert_eq!(location("/redirect/2"), to(302, "/redirect/1"));
        assert_eq!(location("/redirect/1?status=307"), to(307, "/redirect/0?status=307"));
        assert_eq!(location("/redirect/0?status=307"), (200, String::new()));
        assert_eq!(location("/redirect-to?url=http%3a%2F%2Fh%2F&status=301"), to(301, "http://h/"));
        assert_eq!(location("/redirect-to?url=/a?b"), to(302, "/a?b"));
    }

    #[test]
    fn what_is_no_number_is_told_what_is() {
        let check = |target: &str, words: &str| {
            let plan = plan_of(target).unwrap();
            assert_eq!(plan.status, 400, "{target}");
            let Body::Text(text) = plan.body else { panic!("{target}: no text") };
            assert!(text.contains(words) && text.ends_with('\n'), "{target}: {text}");
        };
        check("/delay/x", "/delay/MS: MS must be a number from 0 to 3600000, not \"x\"");
        check("/delay", "not \"\"");
        check("/delay/3600001", "from 0 to 3600000");
        check("/delay/1/2", "/delay/MS ends there: no /2");
        check("/status/101", "CODE must be a number from 200 to 599");
        check("/stream/1/0/1", "PIECE_BYTES must be a number from 1 to 65536");
        check("/bytes/99999999999999999999", "from 0 to 1073741824");
        check("/bytes/+1", "\"+1\"");
        check("/fail/101", "from 0 to 100");
        check("/bytes/1?delay=x", "?delay=MS: MS");
        check("/bytes/1?status=99", "from 200 to 599");
        check("/expect/200", "/417, /ignore or nothing");
        for target in [
            "/redirect-to",
            "/redirect-to?url=",
            "/redirect-to?url=a%0d%0ab",
            "/redirect-to?url=%4",
        ] {
            check(target, "percent-encoded");
        }
    }

    #[test]
    fn every_directive_is_read_and_in_the_table_of_the_module() {
        let head = include_str!("mod.rs");
        for Directive { name, arguments, .. } in DIRECTIVES {
            let plan = plan_of(&format!("/{name}{arguments}")).unwrap();
            assert!(
                arguments.contains(char::is_uppercase) || plan.status < 400,
                "/{name}{arguments}"
            );
            assert!(head.contains(&format!("`/{name}{arguments}`")), "/{name}{arguments}");
        }
    }
}
