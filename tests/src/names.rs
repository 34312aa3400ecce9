//! Names of a test's own: dnsmasq on port 53 of its own namespace, and behind it a name server that does what a closure says. See [`within`](crate::namespace::within).

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use ringshot::resolve::{Answer, Lookup, Resolve, ResolveError};

use crate::dns::{self, MESSAGE_BYTES_MAX, Message, Question, Record};
use crate::namespace;
use crate::servers::{Folder, Process, find};
use crate::watch::wait_until;

/// Where dnsmasq listens.
const DNSMASQ: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 53);
/// Where the scripted name server behind it listens.
const UPSTREAM: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5353);
/// A name that dnsmasq always knows.
const READY: &str = "ready.test";
/// How long dnsmasq may take to answer after its start.
const START_MAX: Duration = Duration::from_secs(15);

/// What the scripted name server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// These addresses, of which those of the family asked for are sent, for so many seconds.
    Addresses(Vec<IpAddr>, u32),
    /// A response code and nothing else, such as [`dns::SERVFAIL`].
    Code(u8),
    /// Nothing at all.
    Silence,
}

/// dnsmasq and the scripted name server, for as long as this lives.
#[derive(Debug)]
pub struct Names {
    dnsmasq: Option<Process>,
    records: Vec<String>,
    upstream: Upstream,
    _folder: Folder,
}

impl Names {
    /// Starts both, inside [`within`](crate::namespace::within), and makes them the only name server there; or skips (see [`find`]).
    ///
    /// `options` are those of resolv.conf(5), such as `timeout:1 attempts:1`. `records` are options of dnsmasq(8) without the dashes, such as
    /// `host-record=a.test,127.0.0.2`; a name below `test` that none of them gives does not exist. Names below `upstream.test` are answered by `rule`, which
    /// may block: each question has a thread of its own.
    ///
    /// # Panics
    /// When dnsmasq is there and does not start, or the system's files can't be replaced.
    #[must_use]
    pub fn start(
        options: &str,
        records: &[&str],
        rule: impl Fn(&Question) -> Reply + Send + Sync + 'static,
    ) -> Option<Self> {
        find("dnsmasq")?;
        let folder = Folder::new("names");
        let replace = |place: &str, text: &str| {
            let with = folder.path().join(place.replace('/', "_"));
            namespace::replace(place, &with, text)
                .unwrap_or_else(|error| panic!("{place}: {error}"));
        };
        let resolv = format!("nameserver {}\noptions {options}\n", DNSMASQ.ip());
        replace("/etc/resolv.conf", &resolv);
        if std::path::Path::new("/etc/nsswitch.conf").exists() {
            replace("/etc/nsswitch.conf", "hosts: files dns\n");
        }
        let upstream = Upstream::start(Arc::new(rule));
        let records = records.iter().map(|record| format!("--{record}")).collect();
        let mut names = Self { dnsmasq: None, records, upstream, _folder: folder };
        names.restart();
        Some(names)
    }

    /// Starts dnsmasq again.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.stop();
        let mut command = Command::new(find("dnsmasq").expect("it was there"));
        // In the foreground, as whoever started it, and without any file of the system's.
        command.args(["--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"]);
        command.args(["--listen-address=127.0.0.1", "--bind-interfaces", "--local=/test/"]);
        command.arg(format!("--host-record={READY},127.0.0.1"));
        command.arg(format!("--server=/upstream.test/127.0.0.1#{}", UPSTREAM.port()));
        command.args(&self.records);
        let process = self.dnsmasq.insert(Process::start(&mut command));
        let question = Question { name: READY.to_owned(), record: Record::A };
        let mut gone = false;
        let ready = wait_until(START_MAX, || {
            gone = !process.is_running();
            gone || ask(&question, Duration::from_millis(500)).is_ok_and(|said| said.code == 0)
        });
        assert!(ready && !gone, "dnsmasq does not start: is it given what it knows?");
    }

    /// Kills dnsmasq; it can be started again.
    pub fn stop(&mut self) {
        self.dnsmasq = None;
    }

    /// How often the scripted name server was asked for this.
    #[must_use]
    pub fn asked(&self, name: &str, record: Record) -> usize {
        let asked = self.upstream.asked.lock().expect("no holder panics");
        asked.iter().filter(|question| question.name == name && question.record == record).count()
    }
}

/// The scripted name server.
struct Upstream {
    asked: Arc<Mutex<Vec<Question>>>,
    closed: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

type Rule = Arc<dyn Fn(&Question) -> Reply + Send + Sync>;

impl Upstream {
    fn start(rule: Rule) -> Self {
        let socket = Arc::new(UdpSocket::bind(UPSTREAM).expect("a port of our own namespace"));
        let (asked, closed) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<AtomicBool>::default());
        let (log, end) = (Arc::clone(&asked), Arc::clone(&closed));
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; MESSAGE_BYTES_MAX];
            while let Ok((bytes, peer)) = socket.recv_from(&mut buffer) {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let bytes = buffer[..bytes].to_vec();
                let Some(message) = dns::parse(&bytes) else { continue };
                log.lock().expect("no holder panics").push(message.question.clone());
                let (rule, socket) = (Arc::clone(&rule), Arc::clone(&socket));
                std::thread::spawn(move || {
                    if let Some(reply) = reply(&bytes, &message, rule(&message.question)) {
                        let _ = socket.send_to(&reply, peer);
                    }
                });
            }
        });
        Self { asked, closed, thread: Some(thread) }
    }
}

fn reply(asked: &[u8], message: &Message, reply: Reply) -> Option<Vec<u8>> {
    match reply {
        Reply::Addresses(addresses, ttl) => Some(dns::response(asked, message, 0, &addresses, ttl)),
        Reply::Code(code) => Some(dns::response(asked, message, code, &[], 0)),
        Reply::Silence => None,
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        let any = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
        let _ = any.and_then(|socket| socket.send_to(&[], UPSTREAM));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("asked", &self.asked).finish_non_exhaustive()
    }
}

/// Asks dnsmasq one question.
///
/// # Errors
/// Those of the socket: `EAGAIN` when nothing came within `timeout`, `ECONNREFUSED` when nobody listens.
pub fn ask(question: &Question, timeout: Duration) -> io::Result<Message> {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(timeout))?;
    socket.connect(DNSMASQ)?;
    socket.send(&dns::query(id, question))?;
    let mut buffer = [0; MESSAGE_BYTES_MAX];
    loop {
        let bytes = socket.recv(&mut buffer)?;
        if let Some(message) = dns::parse(&buffer[..bytes]).filter(|message| message.id == id) {
            return Ok(message);
        }
    }
}

/// A resolver that asks dnsmasq itself, and so learns what the C library does not tell: the TTL. For IPv4 only; each lookup blocks a thread.
#[derive(Debug, Clone, Copy, Default)]
pub struct Direct;

impl Resolve for Direct {
    fn lookup(&self, host: &str) -> Lookup {
        let question = Question { name: host.to_owned(), record: Record::A };
        let asking = std::thread::spawn(move || found(&question));
        Box::pin(async move { asking.join().expect("it does not panic") })
    }
}

fn found(question: &Question) -> Result<Answer, ResolveError> {
    let name: Arc<str> = question.name.as_str().into();
    let failed =
        |reason: String| ResolveError::TryAgain { name: Arc::clone(&name), reason: reason.into() };
    let said = ask(question, START_MAX).map_err(|error| failed(error.to_string()))?;
    match said.code {
        0 => {
            let ttl = said.answers.iter().map(|(_, ttl)| *ttl).min().unwrap_or_default();
            let addresses = said.answers.into_iter().map(|(address, _)| address);
            Ok(Answer::new(addresses).with_ttl(Duration::from_secs(ttl.into())))
        }
        dns::NXDOMAIN => Err(ResolveError::NotFound { name }),
        code => Err(failed(format!("response code {code}"))),
    }
}

/// How many addresses came first how often: what rotation is told by.
#[must_use]
pub fn firsts(addresses: impl IntoIterator<Item = SocketAddr>) -> HashMap<IpAddr, usize> {
    let mut counts = HashMap::new();
    for address in addresses {
        *counts.entry(address.ip()).or_default() += 1;
    }
    counts
}
