//! An access log into a mix and the times of its requests.

use std::collections::HashMap;
use std::io::{BufRead, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use ringshot::load::{
    Arrival, Content, DURATION_MAX, KeepAlive, Mix, MixRequest, Order, RECORDED_MAX, REQUESTS_MAX,
    Request, Stop, Template, Think,
};
use ringshot::proto::url::Url;

use super::Sending;
use super::args::ReplaySpeed;
use super::log::{self, Entry};
use super::servers::Servers;
use crate::args::RunArgs;
use crate::exit::Failure;
use crate::plan::{self, Field};
use crate::schedule::{ScheduleArgs, Spread};
use crate::target;
use crate::units;
use crate::warnings::Warning;

/// Most bytes of a line; what is longer is skipped and counted.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Most bytes of a bad line that are shown.
const SHOWN_BYTES_MAX: usize = 60;

/// The requests of a log, sent to the URL's host.
pub(super) fn sending(args: &RunArgs, path: &Path) -> Result<Sending, Failure> {
    let [base] = &args.scenario.urls[..] else {
        return Err(Failure::unusable("--replay needs one URL: the host that gets the requests"));
    };
    let url = target::parse(base)?;
    let mut servers = Servers::new(&args.network);
    servers.place(&url)?;
    let wire =
        Wire { url, headers: plan::headers(&args.load)?, keep_alive: plan::keep_alive(&args.load) };
    let read = Recording::read(super::open(path)?, wire);
    let recording = read.map_err(|failure| failure.at(path.display()))?;
    let order: Arc<[u32]> = recording.entries.iter().map(|entry| entry.request).collect();
    let recorded = recording.arrival(args)?;
    let warnings = recording.warnings();
    let mix = Mix {
        targets: servers.targets,
        requests: recording.requests,
        names: vec![String::new()],
        order: Order::Sequence(order),
        feeds: Vec::new(),
        seed: args.schedule.seed,
    };
    let url = format!("{} to {base}", path.display());
    Ok(Sending { warnings, recorded, ..Sending::new("replay of", &url, mix) })
}

/// What all requests have in common.
#[derive(Debug)]
struct Wire {
    url: Url,
    headers: Vec<Field>,
    keep_alive: KeepAlive,
}

impl Wire {
    /// A request without a body: logs have none.
    fn encode(&self, method: &Method, target: &str) -> Result<Template, Failure> {
        let mut url = self.url.clone();
        target.clone_into(&mut url.target);
        let (headers, keep_alive) = (&self.headers, self.keep_alive);
        Template::encode(&Request { method, url: &url, headers, body: b"", keep_alive })
            .map_err(Failure::unusable)
    }
}

/// A line of the log that says a request.
#[derive(Debug, Clone, Copy)]
struct Due {
    second: i64,
    request: u32,
}

/// What a log says.
#[derive(Debug)]
struct Recording {
    wire: Wire,
    /// In the order of time.
    entries: Vec<Due>,
    requests: Vec<MixRequest>,
    known: HashMap<(Method, String), u32>,
    skipped: u64,
    example: Option<String>,
}

impl Recording {
    fn read(mut source: impl BufRead, wire: Wire) -> Result<Self, Failure> {
        let (entries, requests) = (Vec::new(), Vec::new());
        let known = HashMap::new();
        let mut this = Self { wire, entries, requests, known, skipped: 0, example: None };
        let (mut line, mut number) = (Vec::new(), 0_u64);
        while read_line(&mut source, &mut line)? {
            number += 1;
            let parsed = match line.len() {
                0 => continue,
                LINE_BYTES_MAX.. => Err("it is longer than 64 KiB"),
                _ => log::parse(line.trim_ascii_end()),
            };
            match parsed {
                Ok(entry) => this.add(entry)?,
                Err(fault) => this.skip(number, &line, fault),
            }
        }
        // Servers log when a response ends, and write several at once.
        this.entries.sort_by_key(|entry| entry.second);
        match (this.entries.len(), &this.example) {
            (0, Some(example)) => {
                Err(Failure::unusable(format_args!("no line says a request, such as {example}")))
            }
            (0, None) => Err(Failure::unusable("it is empty")),
            _ => Ok(this),
        }
    }

    fn add(&mut self, Entry { second, method, target }: Entry) -> Result<(), Failure> {
        let full = |what: &str, most: usize| {
            Err(Failure::unusable(format_args!("it has more than {most} {what}")))
        };
        if self.entries.len() == RECORDED_MAX {
            return full("requests", RECORDED_MAX);
        }
        let next = self.requests.len();
        let key = (method, target);
        let request = match self.known.get(&key) {
            Some(known) => *known,
            None if next == REQUESTS_MAX => return full("different requests", REQUESTS_MAX),
            None => {
                let template = self.wire.encode(&key.0, &key.1)?;
                self.requests.push(request(template));
                self.known.insert(key, next as u32);
                next as u32
            }
        };
        self.entries.push(Due { second, request });
        Ok(())
    }

    fn skip(&mut self, number: u64, line: &[u8], fault: log::Fault) {
        self.skipped += 1;
        self.example.get_or_insert_with(|| {
            let text = String::from_utf8_lossy(line);
            let shown: String = text.trim_end().chars().take(SHOWN_BYTES_MAX).collect();
            format!("line {number}, {shown:?}: {fault}")
        });
    }

    fn warnings(&self) -> Vec<Warning> {
        let warning = |example: &String| Warning::LogLines {
            skipped: self.skipped,
            example: example.clone(),
        };
        self.example.iter().map(warning).collect()
    }

    /// When requests are due, unless the options say, and when they end.
    fn arrival(&self, args: &RunArgs) -> Result<Option<(Arrival, Stop)>, Failure> {
        let schedule = &args.schedule;
        if schedule.rate.is_some() || schedule.stages.is_some() {
            return Ok(None);
        }
        let times = match args.scenario.replay_speed.unwrap_or_default() {
            ReplaySpeed::Closed => {
                let stop = Stop::requests(self.entries.len() as u64);
                return Ok(Some((schedule.arrival()?, stop)));
            }
            ReplaySpeed::Times(speed) => times(&self.entries, speed),
            ReplaySpeed::Log => times(&self.entries, 1.0),
        };
        check_own_times(schedule)?;
        let last = Duration::from_nanos(times.last().copied().unwrap_or_default());
        // One broken date would make it endless.
        if last > DURATION_MAX && schedule.duration.is_none() && schedule.requests.is_none() {
            return Err(Failure::unusable(format_args!(
                "--replay: the log takes {} at this speed, and {} are the most: raise --replay-speed, or end the run with -d or -n",
                units::days(last),
                units::days(DURATION_MAX)
            )));
        }
        Ok(Some((Arrival::Recorded(times.into()), Stop::default())))
    }
}

/// Refuses what goes with a rate or a closed loop only.
fn check_own_times(schedule: &ScheduleArgs) -> Result<(), Failure> {
    let unfit = |option| {
        Err(Failure::unusable(format_args!(
            "{option} means nothing with a log's own times: add --rate or --stages, or leave it out"
        )))
    };
    match schedule.arrival {
        Spread::Poisson => unfit("--arrival"),
        Spread::Constant if !schedule.warmup.is_zero() => unfit("--warmup"),
        Spread::Constant => Ok(()),
    }
}

fn request(template: Template) -> MixRequest {
    MixRequest {
        name: 0,
        target: 0,
        weight: 1,
        content: Content::Fixed(template),
        expect: None,
        think: Think::default(),
    }
}

/// Nanoseconds from the first request: those of one second are spread evenly over it, and all is `speed` times as fast.
fn times(entries: &[Due], speed: f64) -> Vec<u64> {
    let first = entries.first().map_or(0, |entry| entry.second);
    let mut times = Vec::with_capacity(entries.len());
    for second in entries.chunk_by(|one, next| one.second == next.second) {
        let (from, count) = ((second[0].second - first) as f64, second.len() as f64);
        let time = |place: usize| ((from + place as f64 / count) / speed * 1e9) as u64;
        times.extend((0..second.len()).map(time));
    }
    times
}

/// Reads a line without its end into `line`, of which no more than [`LINE_BYTES_MAX`] bytes are kept. `false` at the end.
fn read_line(source: &mut impl BufRead, line: &mut Vec<u8>) -> Result<bool, Failure> {
    let unreadable = |error| Failure::unusable(format_args!("can't read it: {error}"));
    line.clear();
    let kept =
        source.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', line).map_err(unreadable)?;
    if kept == LINE_BYTES_MAX && !line.ends_with(b"\n") {
        source.skip_until(b'\n').map_err(unreadable)?;
    }
    if line.ends_with(b"\n") {
        line.pop();
    }
    Ok(kept > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Command, parse_from};

    fn read(log: &str) -> Result<Recording, Failure> {
        let url = Url::parse("http://h:81/base").unwrap();
        Recording::read(
            log.as_bytes(),
            Wire { url, headers: Vec::new(), keep_alive: KeepAlive::On },
        )
    }

    fn line(second: u32, request: &str) -> String {
        format!("::1 - - [01/Jan/2020:00:00:{second:02} +0000] \"{request} HTTP/1.1\" 200 1\n")
    }

    #[test]
    fn requests_are_sent_in_the_order_of_time_and_encoded_once() {
        let log = line(1, "GET /a") + &line(3, "POST /a") + &line(1, "GET /a") + &line(2, "GET /b");
        let recording = read(&log).unwrap();
        let order: Vec<_> = recording.entries.iter().map(|entry| entry.request).collect();
        assert_eq!(order, [0, 0, 2, 1]);
        let Content::Fixed(post) = &recording.requests[1].content else { panic!("fixed") };
        let text = "POST /a HTTP/1.1\r\nHost: h:81\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(post.bytes()), text);
        assert!(recording.warnings().is_empty());
    }

    #[test]
    fn the_requests_of_a_second_are_spread_over_it() {
        let entries: Vec<Due> = [7, 7, 7, 7, 8, 10].map(|second| Due { second, request: 0 }).into();
        let millis = |speed| -> Vec<u64> {
            times(&entries, speed).iter().map(|nanos| nanos / 1_000_000).collect()
        };
        assert_eq!(millis(1.0), [0, 250, 500, 750, 1000, 3000]);
        assert_eq!(millis(2.0), [0, 125, 250, 375, 500, 1500]);
        assert_eq!(millis(0.5), [0, 500, 1000, 1500, 2000, 6000]);
    }

    /// Six hundred years are more nanoseconds than there are numbers for.
    #[test]
    fn what_is_due_in_centuries_keeps_nothing_from_being_due_now() {
        let entries = [0, 400 * 86_400].map(|second| Due { second, request: 0 });
        let times = times(&entries, 0.001);
        assert_eq!(times[0], 0);
        let length = Arrival::Recorded(times.into()).length().unwrap();
        assert!(length > DURATION_MAX, "{length:?}");
    }

    #[test]
    fn bad_lines_are_skipped_and_shown() {
        let long = format!("{}\n", "x".repeat(3 * LINE_BYTES_MAX));
        let recording = read(&format!("garbage\n\n{long}{}", line(1, "GET /"))).unwrap();
        assert_eq!((recording.entries.len(), recording.skipped), (1, 2));
        let [warning] = &recording.warnings()[..] else { panic!("one warning") };
        let text = warning.to_string();
        assert_eq!(
            text,
            "2 lines of the log skipped, such as line 1, \"garbage\": it has no time in brackets"
        );
        let check = |log: &str, words: &str| {
            let line = read(log).unwrap_err().to_string();
            assert!(line.contains(words), "{line}");
        };
        check("", "it is empty");
        check("garbage\n", "no line says a request, such as line 1");
    }

    #[test]
    fn a_limit_only_lowers_the_number_of_requests() {
        let check = |options: &str, seconds: Option<u64>, requests: Option<u64>| {
            let recording = read(&(line(1, "GET /a") + &line(1, "GET /b"))).unwrap();
            let command = parse_from(&format!("ringshot run http://h/ --replay x{options}"));
            let Ok(Command::Run(args)) = command else { panic!("{options}") };
            let recorded = recording.arrival(&args).unwrap();
            let mix = Mix::single(recording.wire.encode(&Method::GET, "/").unwrap(), Vec::new());
            let sending = Sending { recorded, ..Sending::new("", "", mix) };
            let expected = Stop { after: seconds.map(Duration::from_secs), requests };
            assert_eq!(sending.stop(&args.schedule), expected, "{options}");
        };
        check(" --replay-speed closed", None, Some(2));
        check(" --replay-speed closed -d 1", Some(1), Some(2));
        check(" --replay-speed closed -n 100", None, Some(2));
        check(" --replay-speed closed -n 1 -d 3", Some(3), Some(1));
        check("", None, None);
        check(" -n 100", None, Some(100));
        check(" -R 5 -n 100", None, Some(100));
    }

    #[test]
    fn options_of_other_loops_are_refused() {
        let check = |options: &str, expected: &str| {
            let recording = read(&line(1, "GET /a")).unwrap();
            let command = parse_from(&format!("ringshot run http://h/ --replay x {options}"));
            let Ok(Command::Run(args)) = command else { panic!("{options}") };
            let told = recording.arrival(&args);
            let told = told.map_or_else(|failure| failure.to_string(), |_| "sent".to_owned());
            assert!(told.contains(expected), "{options}: {told}");
        };
        check("--arrival poisson", "--arrival means nothing with a log's own times");
        check("--warmup 1s", "--warmup means nothing with a log's own times");
        check("--warmup 1s --replay-speed 2", "--warmup means nothing");
        check("--warmup 1s --replay-speed closed", "sent");
        check("--arrival poisson --replay-speed closed", "--arrival means nothing without a rate");
        check("--arrival poisson --warmup 1s -R 5", "sent");
    }

    #[test]
    fn a_log_of_months_needs_an_end_or_another_speed() {
        let of = |month: &str| {
            format!("::1 - - [01/{month}/2020:00:00:00 +0000] \"GET / HTTP/1.1\" 200 1\n")
        };
        let check = |options: &str, expected: &str| {
            let recording = read(&(of("Jan") + &of("Feb"))).unwrap();
            let command = parse_from(&format!("ringshot run http://h/ --replay x{options}"));
            let Ok(Command::Run(args)) = command else { panic!("{options}") };
            let told = recording
                .arrival(&args)
                .map_or_else(|failure| failure.to_string(), |_| "sent".to_owned());
            assert!(told.contains(expected), "{options}: {told}");
        };
        check(
            "",
            "the log takes 31 days at this speed, and 30 days are the most: raise --replay-speed, or end the run with -d or -n",
        );
        check(" --replay-speed 0.5", "takes 62 days");
        check(" --replay-speed 0.0000001", "and 30 days are the most");
        for options in [" --replay-speed 2", " -d 10s", " -n 1", " --replay-speed closed"] {
            check(options, "sent");
        }
    }
}
