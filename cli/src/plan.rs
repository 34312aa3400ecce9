//! Arguments to engine configs: everything is checked here, and refused in one line, before anything is sent.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use ringshot::driver::{DriverChoice, DriverKind, probe};
use ringshot::load::{KeepAlive, Mix, Plan, Request, Stop, Template, Timeouts};
use ringshot::origin;
use ringshot::proto::h1::RequestError;
use ringshot::proto::url::{Url, check_credentials};
use ringshot::sys::affinity;

use crate::args::{LoadArgs, RunArgs, ServeArgs};
use crate::exit::Failure;
use crate::find_max::FindMaxArgs;
use crate::ports::Shortage;
use crate::scenario::Sending;
use crate::schedule::ScheduleArgs;
use crate::target::Target;
use crate::warnings::Warning;

/// The longest body that is read into memory, in bytes.
const BODY_BYTES_MAX: u64 = 1 << 30;

/// The longest line of a file with a name and a password, or a token, in bytes.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// A header field: its name and its value.
pub(crate) type Field = (Vec<u8>, Vec<u8>);

/// Something to start, and what there is to say about it first.
#[derive(Debug)]
pub(crate) struct Prepared<T> {
    pub(crate) config: T,
    pub(crate) warnings: Vec<Warning>,
}

/// What `ringshot run` shall do.
pub(crate) fn for_run(args: &RunArgs, sending: &Sending) -> Result<Prepared<Plan>, Failure> {
    let mut warnings = sending.warnings.clone();
    let cores = cores(&args.load, sending.is_to_loopback(), &mut warnings)?;
    let schedule = &args.schedule;
    let config = Plan {
        host: args.host,
        arrival: sending.arrival(schedule)?,
        pacing: schedule.pacing(),
        warm_up: schedule.warmup,
        drain: schedule.drain(args.load.timeout),
        drain_sent: schedule.drain,
        sources: args.network.sources()?,
        requests_per_connection: args.network.max_requests_per_connection,
        ..load(&args.load, Arc::clone(&sending.mix), cores, sending.stop(schedule))
    };
    warnings.extend(Shortage::of_plan(&config).map(Warning::FewPorts));
    Ok(Prepared { config, warnings })
}

/// The closed loop with which `ringshot find-max` begins, and whose schedule each step sets.
pub(crate) fn for_search(args: &FindMaxArgs, target: &Target) -> Result<Prepared<Plan>, Failure> {
    let mut warnings = Vec::new();
    let cores =
        cores(&args.load, target.peers.iter().all(|peer| peer.ip().is_loopback()), &mut warnings)?;
    let template = Asked::of(&args.load)?.encode(&target.url)?;
    let mix = Arc::new(Mix::single(template, target.peers.clone()));
    let config = Plan {
        sources: args.network.sources()?,
        requests_per_connection: args.network.max_requests_per_connection,
        ..load(&args.load, mix, cores, Stop::after(args.step_duration))
    };
    warnings.extend(Shortage::of_plan(&config).map(Warning::FewPorts));
    Ok(Prepared { config, warnings })
}

/// The client's cores, for a server that may be on this machine.
fn cores(
    args: &LoadArgs,
    is_local: bool,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<usize>, Failure> {
    let available = affinity::cores();
    let at_most = usize::try_from(args.connections).unwrap_or(usize::MAX).max(1);
    let cores = args.cores.resolve(&available, |all| last(all, at_most))?;
    if is_local && cores.len() == available.len() {
        warnings.push(Warning::SharedWithServer { cores: cores.len() });
    }
    Ok(cores)
}

/// The plan of a load on the thread host: what `run` sends, and `compare` in each of its rounds. Its figures are for [`on_driver`] to check, once all files are
/// open that count against the limit.
pub(crate) fn load(args: &LoadArgs, mix: Arc<Mix>, cores: Vec<usize>, stop: Stop) -> Plan {
    Plan {
        connections: args.connections,
        pipeline: args.pipeline,
        keep_alive: keep_alive(args),
        stop,
        drain: ScheduleArgs::default().drain(args.timeout),
        timeouts: Timeouts { connect: args.connect_timeout, response: args.timeout },
        ..Plan::of(mix, cores)
    }
}

pub(crate) fn keep_alive(args: &LoadArgs) -> KeepAlive {
    if args.no_keepalive { KeepAlive::Off } else { KeepAlive::On }
}

/// What `ringshot serve` shall do.
pub(crate) fn for_serve(args: &ServeArgs) -> Result<Prepared<origin::Config>, Failure> {
    let mut config = origin::Config {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, args.port)),
        cores: args
            .cores
            .resolve(&affinity::cores(), |all| all.iter().copied().take(1).collect())?,
        driver: DriverKind::Epoll,
        body_bytes: args.body_bytes,
        delay: args.delay,
        close_every: args.close_every,
        seed: args.seed,
    };
    let (mut warnings, shards) = (Vec::new(), vec![config.conns_per_core(); config.cores.len()]);
    config.driver = choose_driver(args.driver, &shards, &mut warnings)?;
    Ok(Prepared { config, warnings })
}

/// The last of `cores`: the first serve most interrupts, and `serve` and other servers take them.
fn last(cores: &[usize], at_most: usize) -> Vec<usize> {
    cores[cores.len().saturating_sub(at_most)..].to_vec()
}

impl Prepared<Plan> {
    /// The same plan, which can be run as it is, on the driver that was chosen: the last thing before it runs.
    pub(crate) fn on_driver(self, choice: DriverChoice) -> Result<Self, Failure> {
        let Self { config, mut warnings } = self;
        config.check().map_err(Failure::unusable)?;
        config.host.check().map_err(Failure::unusable)?;
        let driver = choose_driver(choice, &config.conns_by_core(), &mut warnings)?;
        Ok(Self { config: Plan { driver, ..config }, warnings })
    }
}

/// The driver of cores with room for so many connections each. That another runs than was hoped for is the first thing to be told.
pub(crate) fn choose_driver(
    choice: DriverChoice,
    shards: &[u32],
    warnings: &mut Vec<Warning>,
) -> Result<DriverKind, Failure> {
    let choice = probe::choose(choice, shards).map_err(|blocked| {
        Failure::unusable(format_args!("{blocked}, or run with --driver epoll"))
    })?;
    warnings.splice(0..0, choice.notice.map(Warning::DriverNotice));
    Ok(choice.kind)
}

/// What the arguments say of each request besides its URL, read once.
#[derive(Debug)]
pub(crate) struct Asked {
    method: http::Method,
    headers: Vec<Field>,
    body: Vec<u8>,
    keep_alive: KeepAlive,
    encode: fn(&Request<'_>) -> Result<Template, RequestError>,
}

impl Asked {
    pub(crate) fn of(args: &LoadArgs) -> Result<Self, Failure> {
        one_reader_of_input(readers(args))?;
        Ok(Self {
            method: method(&args.method)?,
            headers: headers(args)?,
            body: args.body.as_deref().map_or(Ok(Vec::new()), body)?,
            keep_alive: keep_alive(args),
            encode: if args.chunked { Template::encode_chunked } else { Template::encode },
        })
    }

    /// The request to `url`.
    pub(crate) fn encode(&self, url: &Url) -> Result<Template, Failure> {
        let Self { method, headers, body, keep_alive, encode } = self;
        let request = Request { method, url, headers, body, keep_alive: *keep_alive };
        encode(&request).map_err(Failure::unusable)
    }
}

/// The fields that were asked for, and those of an authentication.
pub(crate) fn headers(args: &LoadArgs) -> Result<Vec<Field>, Failure> {
    let mut headers =
        args.headers.iter().map(|text| header(text)).collect::<Result<Vec<_>, _>>()?;
    headers.iter().try_for_each(|field| check_connection(field, keep_alive(args)))?;
    let credentials = match (&args.user, &args.bearer) {
        (Some(user), _) => Some(basic(&secret("--user", user)?)?),
        (_, Some(token)) => Some(format!("Bearer {}", secret("--bearer", token)?)),
        _ => None,
    };
    if let Some(credentials) = credentials {
        let name = b"Authorization".to_vec();
        if headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(&name)) {
            return Err(Failure::unusable(
                "--user and --bearer make the Authorization header: leave it out of --header",
            ));
        }
        headers.push((name, credentials.into_bytes()));
    }
    Ok(headers)
}

/// Refuses a `Connection: keep-alive` where connections are to close: both would go out.
pub(crate) fn check_connection(field: &Field, keep_alive: KeepAlive) -> Result<(), Failure> {
    let (name, value) = field;
    let keeps = |option: &[u8]| option.trim_ascii().eq_ignore_ascii_case(b"keep-alive");
    let contradicts = keep_alive == KeepAlive::Off
        && name.eq_ignore_ascii_case(b"connection")
        && value.split(|byte| *byte == b',').any(keeps);
    match contradicts {
        false => Ok(()),
        true => Err(Failure::unusable(
            "--no-keepalive says Connection: close: leave one of it and Connection: keep-alive out",
        )),
    }
}

/// The options that read standard input.
pub(crate) fn readers(args: &LoadArgs) -> impl Iterator<Item = &'static str> {
    let texts = [("--body", &args.body), ("--user", &args.user), ("--bearer", &args.bearer)];
    texts.into_iter().filter(|(_, text)| text.as_deref() == Some("@-")).map(|(option, _)| option)
}

/// Refuses a second reader of standard input: it would find nothing left.
pub(crate) fn one_reader_of_input(
    mut readers: impl Iterator<Item = &'static str>,
) -> Result<(), Failure> {
    match (readers.next(), readers.next()) {
        (Some(first), Some(second)) => Err(Failure::unusable(format_args!(
            "{first} and {second} can't both read standard input: give one of them a file"
        ))),
        _ => Ok(()),
    }
}

/// What follows, or the first line of `@file` or of standard input, so that it need not stand on the command line for all to see.
fn secret(option: &str, text: &str) -> Result<String, Failure> {
    let Some(path) = text.strip_prefix('@') else {
        return match text {
            "" => Err(Failure::unusable(format_args!("{option} is empty: is a variable not set?"))),
            text => Ok(text.to_owned()),
        };
    };
    let (place, line) = match path {
        "-" => ("standard input", first_line(std::io::stdin().lock())),
        path => (path, fs::File::open(path).and_then(first_line)),
    };
    match line {
        Err(error) => Err(Failure::unusable(format_args!("{option}: can't read {place}: {error}"))),
        Ok(line) if line.is_empty() => {
            Err(Failure::unusable(format_args!("{option}: the first line of {place} is empty")))
        }
        Ok(line) => Ok(line),
    }
}

/// The first line, without spaces at its ends; of an endless one no more than [`SECRET_BYTES_MAX`].
fn first_line(source: impl Read) -> std::io::Result<String> {
    let mut line = String::new();
    BufReader::new(source.take(SECRET_BYTES_MAX)).read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// RFC 7617.
fn basic(user: &str) -> Result<String, Failure> {
    let Some((name, password)) = user.split_once(':') else {
        return Err(Failure::unusable("--user must be NAME:PASSWORD"));
    };
    check_credentials(name.as_bytes(), password.as_bytes())
        .map_err(|problem| Failure::unusable(format_args!("--user: {problem}")))?;
    let engine = &base64::engine::general_purpose::STANDARD;
    Ok(format!("Basic {}", base64::Engine::encode(engine, user)))
}

pub(crate) fn method(text: &str) -> Result<http::Method, Failure> {
    match http::Method::from_bytes(text.as_bytes()) {
        Ok(http::Method::CONNECT) => Err(Failure::unusable(
            "CONNECT asks for no URL, but for a tunnel: write another method",
        )),
        Ok(method) => Ok(method),
        Err(_) => Err(Failure::unusable(format_args!(
            "{text:?} is not a method: write one word, like GET"
        ))),
    }
}

/// `Name: value`; what may stand in either is the engine's to say.
fn header(text: &str) -> Result<Field, Failure> {
    let wrong = || {
        Failure::unusable(format_args!("--header {text:?} is not a header: write 'Name: value'"))
    };
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    if name.trim().is_empty() {
        return Err(wrong());
    }
    Ok((name.as_bytes().to_vec(), value.trim().as_bytes().to_vec()))
}

/// Text, `@file`, or `@-` for standard input.
fn body(text: &str) -> Result<Vec<u8>, Failure> {
    let unreadable = |source: &str, error: std::io::Error| {
        Failure::unusable(format_args!("--body: can't read {source}: {error}"))
    };
    match text.strip_prefix('@') {
        None => Ok(text.as_bytes().to_vec()),
        Some("-") => read_all(&mut std::io::stdin()).map_err(|e| unreadable("standard input", e)),
        Some(path) => fs::File::open(path)
            .and_then(|mut file| read_all(&mut file))
            .map_err(|error| unreadable(path, error)),
    }
}

/// At most [`BODY_BYTES_MAX`]; endless sources are refused, not read for ever.
fn read_all(source: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(BODY_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > BODY_BYTES_MAX {
        return Err(std::io::Error::other("it has more than 1 GiB"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Command, parse_from};

    #[test]
    fn headers() {
        let check = |text, name: &str, value: &str| {
            assert_eq!(header(text).unwrap(), (name.into(), value.into()), "{text}");
        };
        check("Accept: text/html", "Accept", "text/html");
        check("X-Empty:", "X-Empty", "");
        check("X-Time:  12:30 ", "X-Time", "12:30");
        for text in ["", "Accept", ": value", "  : value"] {
            assert!(header(text).is_err(), "{text}");
        }
    }

    #[test]
    fn methods() {
        assert_eq!(method("PATCH").unwrap(), http::Method::PATCH);
        for text in ["", "G ET", "GET\r\n", "GÉT", "CONNECT"] {
            assert!(method(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bodies() {
        assert_eq!(body("a@b").unwrap(), b"a@b");
        let here = format!("@{}/Cargo.toml", env!("CARGO_MANIFEST_DIR"));
        assert!(body(&here).unwrap().starts_with(b"[package]"));
        let line = body("@/no/such/file").unwrap_err().to_string();
        assert!(line.contains("--body: can't read /no/such/file"), "{line}");
        assert_eq!(read_all(&mut &b"from a pipe"[..]).unwrap(), b"from a pipe");
    }

    #[test]
    fn credentials() {
        assert_eq!(basic("Aladdin:open sesame").unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(basic("Aladdin").unwrap_err().to_string().contains("NAME:PASSWORD"));
        for user in ["a\r\nX: y:b", "a:\0", "a:b\u{7f}", "a\t:b"] {
            let line = basic(user).unwrap_err().to_string();
            assert!(
                line.contains("--user: a user's name and password may hold no control"),
                "{line}"
            );
        }
        assert!(basic("a:b:c é").is_ok());
        let line = secret("--bearer", "@/no/such/file").unwrap_err().to_string();
        assert!(line.contains("--bearer: can't read /no/such/file"), "{line}");
        assert_eq!(secret("--bearer", "x").unwrap(), "x");
        assert_eq!(first_line(&b" a:b \r\nc"[..]).unwrap(), "a:b");
        assert_eq!(first_line(std::io::repeat(b'x')).unwrap().len() as u64, SECRET_BYTES_MAX);
        let line = secret("--bearer", "@/dev/null").unwrap_err().to_string();
        assert!(line.contains("--bearer: the first line of /dev/null is empty"), "{line}");
    }

    #[test]
    fn standard_input_is_read_once() {
        let check = |options: &str, expected: Option<&str>| {
            let command = parse_from(&format!("ringshot run {options}"));
            let Ok(Command::Run(args)) = command else { panic!("{options}") };
            let told = Sending::of(&args).err().map(|failure| failure.to_string());
            let told = told.filter(|line| line.contains("both read standard input"));
            assert_eq!(told.is_some(), expected.is_some(), "{options}: {told:?}");
            assert!(told.unwrap_or_default().contains(expected.unwrap_or_default()), "{options}");
        };
        check("--urls - -b @-", Some("--urls and --body can't both"));
        check("--replay - http://h/ -u @-", Some("--replay and --user can't"));
        check("--scenario - --bearer @-", Some("--scenario and --bearer"));
        check("http://127.0.0.1/ -b @- -u @-", Some("--body and --user"));
        check("http://127.0.0.1/ -b x -u a:b", None);
    }

    #[test]
    fn a_connection_is_not_both_closed_and_kept() {
        let check = |name: &str, value: &str, keep_alive, is_refused: bool| {
            let field = (name.into(), value.into());
            assert_eq!(check_connection(&field, keep_alive).is_err(), is_refused, "{name} {value}");
        };
        check("connection", "TE, Keep-Alive", KeepAlive::Off, true);
        check("connection", "TE, Keep-Alive", KeepAlive::On, false);
        check("Connection", "close", KeepAlive::Off, false);
        check("X-Connection", "keep-alive", KeepAlive::Off, false);
    }

    #[test]
    fn few_connections_take_the_last_cores() {
        assert_eq!(last(&[0, 1, 2], 2), [1, 2]);
        assert_eq!(last(&[0, 1], 64), [0, 1]);
        assert!(last(&[], 1).is_empty());
    }
}
