//! nginx and haproxy from the system's packages, each on a free loopback port, in a folder of its own, ended when dropped. Never touches a server that it did
//! not start.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::watch::{announce, wait_until};

/// How long a server may take to answer after its start.
const START_MAX: Duration = Duration::from_secs(15);
/// Starts that are tried: another process may take a free port between our look and the server's.
const STARTS_MAX: u32 = 5;
/// With this variable set to 1 a missing program fails the test instead of skipping it.
pub const REQUIRE: &str = "RINGSHOT_REQUIRE_SERVERS";

/// Bytes of the file `/large`.
pub const LARGE_BYTES: usize = 1 << 20;
/// Bytes of the file `/medium`.
pub const MEDIUM_BYTES: usize = 64 << 10;
/// Bytes of the file `/small`.
pub const SMALL_BYTES: usize = 100;

/// The path of a program, or `None` after saying so past the harness.
///
/// # Panics
/// When it is missing and [`REQUIRE`] is 1.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers where only root looks.
    let folders = std::env::split_paths(&folders).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.map(|folder| folder.join(program)).find(|path| path.is_file());
    if found.is_none() {
        assert!(std::env::var_os(REQUIRE).is_none_or(|value| value != "1"), "{program} is missing");
        announce(&format!("SKIPPED: {program} is not installed, and this test needs it"));
    }
    found
}

/// The bytes of the files that nginx serves: no run of them comes twice at a distance that a lost or doubled buffer could hide.
#[must_use]
pub fn content(bytes: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64 ^ bytes as u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// A folder that is removed when dropped.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = format!("ringshot-{name}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(folder);
        fs::create_dir_all(&path).expect("a folder for temporary files");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A child process, killed and waited for when dropped.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // SAFETY: between fork and exec only `die_with_parent` runs: one system call, no allocation, no lock.
        unsafe { command.pre_exec(die_with_parent) };
        Self(command.spawn().expect("the program starts"))
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ends this process with the thread that started it, even if that is killed (prctl(2)).
pub(crate) fn die_with_parent() -> std::io::Result<()> {
    // SAFETY: PR_SET_PDEATHSIG takes a number and no pointer.
    match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// A port that nobody listens on now.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Whether this machine has IPv6 on loopback.
#[must_use]
pub fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

/// Whether the server at `address` answers `/ready` with `token`: it is ours, and it works.
fn answers(address: SocketAddr, token: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else {
        return false;
    };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
    let asked = stream.write_all(b"GET /ready HTTP/1.0\r\n\r\n");
    let mut answer = String::new();
    asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.ends_with(token)
}

/// How nginx shall behave.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Requests after which it closes a connection.
    pub keepalive_requests: u32,
    /// Connections that it takes at a time.
    pub connections: u32,
    /// How long it keeps an idle connection, as nginx writes it.
    pub keepalive_timeout: &'static str,
    /// More of the server's block, as nginx writes it.
    pub server: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keepalive_requests: 1_000_000,
            connections: 1024,
            keepalive_timeout: "60s",
            server: "",
        }
    }
}

/// nginx, in one process.
///
/// `/small`, `/medium` and `/large` are files; `/chunked/` before those names sends them chunked; `/204`, `/404`, `/post` (reads the body first, 204) and
/// `/early` (answers 204 before it has read the body). Every request is a line of the access log.
#[derive(Debug)]
pub struct Nginx {
    process: Option<Process>,
    program: PathBuf,
    settings: Settings,
    port: u16,
    token: String,
    // Last: removed when the process is gone.
    folder: Folder,
}

impl Nginx {
    /// Starts it with the defaults, or skips (see [`find`]).
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::start_with(Settings::default())
    }

    /// Starts it, or skips (see [`find`]).
    ///
    /// # Panics
    /// When it is there and does not start.
    #[must_use]
    pub fn start_with(settings: Settings) -> Option<Self> {
        let program = find("nginx")?;
        let folder = Folder::new("nginx");
        let files = folder.path().join("www");
        fs::create_dir_all(&files).expect("a folder for files");
        for (name, bytes) in
            [("small", SMALL_BYTES), ("medium", MEDIUM_BYTES), ("large", LARGE_BYTES)]
        {
            fs::write(files.join(name), content(bytes)).expect("a file to serve");
        }
        let token = folder.path().display().to_string();
        let mut nginx = Self { process: None, program, settings, port: 0, token, folder };
        for _ in 0..STARTS_MAX {
            nginx.port = free_port();
            if nginx.restart() {
                return Some(nginx);
            }
        }
        panic!("nginx does not start: {}", nginx.errors())
    }

    /// Starts it again on its port; whether it answers.
    ///
    /// # Panics
    /// When the configuration can't be written or the program can't be started.
    pub fn restart(&mut self) -> bool {
        self.stop();
        let path = self.folder.path().join("nginx.conf");
        fs::write(&path, self.configuration()).expect("a configuration");
        let log = self.folder.path().join("error.log");
        let mut command = Command::new(&self.program);
        command.arg("-p").arg(self.folder.path()).arg("-c").arg(path).arg("-e").arg(log);
        let process = self.process.insert(Process::start(&mut command));
        let (address, token) = (SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)), &self.token);
        let mut gone = false;
        wait_until(START_MAX, || {
            gone = !process.is_running();
            gone || answers(address, token)
        }) && !gone
    }

    /// Kills it; it can be started again.
    pub fn stop(&mut self) {
        self.process = None;
    }

    fn configuration(&self) -> String {
        let Settings { keepalive_requests, connections, keepalive_timeout, server } = self.settings;
        let (port, token) = (self.port, &self.token);
        // Its own user, since the folder is ours alone; only root may name one.
        let root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
        let user = if root { "user root;" } else { "" };
        let ipv6 = if has_ipv6() { format!("listen [::1]:{port};") } else { String::new() };
        let chunked = "sub_filter 'no-such-text' ''; sub_filter_types *; sub_filter_once off;";
        format!(
            "{user} daemon off; master_process off; pid nginx.pid; error_log error.log info;
            events {{ worker_connections {connections}; }}
            http {{
                client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
                uwsgi_temp_path uwsgi; scgi_temp_path scgi;
                log_format line '$status $request_method $uri $request_length';
                access_log access.log line;
                log_format detail '$arg_id $request_method $status $connection $connection_requests';
                access_log detail.log detail;
                log_format address '$remote_addr';
                access_log address.log address;
                sendfile on; if_modified_since before; default_type application/octet-stream;
                keepalive_requests {keepalive_requests}; keepalive_timeout {keepalive_timeout};
                client_max_body_size 10m; client_body_buffer_size 1m;
                server {{
                    listen 127.0.0.1:{port} backlog=65535; {ipv6}
                    root www;
                    location = /ready {{ access_log off; return 200 '{token}'; }}
                    location = /204 {{ return 204; }}
                    location = /early {{ return 204; }}
                    location = /post {{ proxy_pass http://127.0.0.1:{port}/204-quiet; }}
                    location = /204-quiet {{ access_log off; return 204; }}
                    location /chunked/ {{ alias www/; {chunked} }}
                    {server}
                }}
            }}"
        )
    }

    /// Where it listens on IPv4.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// A URL of it, on IPv4.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// A URL of it, on IPv6.
    #[must_use]
    pub fn url_v6(&self, path: &str) -> String {
        format!("http://[::1]:{}{path}", self.port)
    }

    /// The lines of the access log: a request each.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        let log = fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// Waits until the log has as many lines as were expected, and a moment longer, so that a surplus shows; returns how many there are.
    #[must_use]
    pub fn logged(&self, expected: usize) -> usize {
        wait_until(Duration::from_secs(10), || self.log().len() >= expected);
        std::thread::sleep(Duration::from_millis(50));
        self.log().len()
    }

    /// A file in its folder: `detail.log` has a line for each request with its query's `id`, method, status, and the number of its connection and in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn errors(&self) -> String {
        fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default()
    }
}

/// haproxy in front of another server.
#[derive(Debug)]
pub struct Haproxy {
    _process: Process,
    port: u16,
    _folder: Folder,
}

impl Haproxy {
    /// Starts it in front of `nginx`, or skips (see [`find`]).
    ///
    /// # Panics
    /// When it is there and does not start.
    #[must_use]
    pub fn start(nginx: &Nginx) -> Option<Self> {
        Self::start_with(nginx, "")
    }

    /// Starts it with more lines in its frontend, or skips (see [`find`]).
    ///
    /// # Panics
    /// When it is there and does not start.
    #[must_use]
    pub fn start_with(nginx: &Nginx, front: &str) -> Option<Self> {
        let program = find("haproxy")?;
        let folder = Folder::new("haproxy");
        let path = folder.path().join("haproxy.cfg");
        for _ in 0..STARTS_MAX {
            let port = free_port();
            fs::write(&path, configuration(port, nginx.port, front)).expect("a configuration");
            let mut process =
                Process::start(Command::new(&program).arg("-db").arg("-f").arg(&path));
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let mut gone = false;
            let came = wait_until(START_MAX, || {
                gone = !process.is_running();
                gone || answers(address, &nginx.token)
            });
            if came && !gone {
                return Some(Self { _process: process, port, _folder: folder });
            }
        }
        panic!("haproxy does not start")
    }

    /// A URL of it.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }
}

/// Plain HTTP mode, one thread, nothing of the system's configuration.
fn configuration(port: u16, backend: u16, front: &str) -> String {
    format!(
        "global\n  maxconn 1024\n  nbthread 1\ndefaults\n  mode http\n  timeout connect 10s\n  timeout client 60s\n  timeout server 60s\n\
         frontend front\n  bind 127.0.0.1:{port}\n{front}\n  default_backend back\nbackend back\n  server nginx 127.0.0.1:{backend}\n"
    )
}
