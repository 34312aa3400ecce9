//! A TCP server on loopback that does with each connection what a closure says. No HTTP of its own but for finding where a request ends.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::watch::wait_until;

/// The longest that a script waits for bytes: a script must not outlive its test.
const READ_MAX: Duration = Duration::from_secs(60);

/// How long [`Conversation::send_for_ever`] sends, at most.
pub const ENDLESS_MAX: Duration = Duration::from_secs(12);
/// What it sends at once.
const CHUNKS: usize = 20_000;

/// The server. Dropping it shuts its connections down and waits for its threads.
#[derive(Debug)]
pub struct Peer {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    accepted: AtomicU64,
    running: AtomicU64,
    /// Weak, so that a script closes its connection by dropping it.
    streams: Mutex<Vec<Weak<TcpStream>>>,
}

impl Peer {
    /// Listens on a free port and gives each connection to `script`, on a thread of its own.
    ///
    /// # Panics
    /// Without a free port or thread.
    #[must_use]
    pub fn start(script: impl Fn(Conversation) + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("an address"), script)
    }

    /// [`Peer::start`] at an address of this machine.
    ///
    /// # Panics
    /// When it is taken, and without a thread.
    #[must_use]
    pub fn start_at(
        address: SocketAddr,
        script: impl Fn(Conversation) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let (ours, script) = (Arc::clone(&shared), Arc::new(script));
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ours.stop.load(Ordering::SeqCst) {
                    return;
                }
                ours.serve(stream, Arc::clone(&script));
            }
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A URL of it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Connections whose script has not ended.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.shared.running.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn serve(
        self: &Arc<Self>,
        stream: TcpStream,
        script: Arc<impl Fn(Conversation) + Send + Sync + 'static>,
    ) {
        self.accepted.fetch_add(1, Ordering::SeqCst);
        let _ = stream.set_nodelay(true);
        let _ = stream.set_read_timeout(Some(READ_MAX));
        let stream = Arc::new(stream);
        let mut streams = self.streams.lock().expect("nobody panics with it");
        streams.retain(|other| other.strong_count() > 0);
        streams.push(Arc::downgrade(&stream));
        drop(streams);
        self.running.fetch_add(1, Ordering::SeqCst);
        let shared = Arc::clone(self);
        std::thread::spawn(move || {
            script(Conversation { stream, held: Vec::new(), shared: Arc::clone(&shared) });
            shared.running.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the acceptor, which sees the flag.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        let ended = wait_until(Duration::from_secs(10), || {
            let streams = self.shared.streams.lock().expect("nobody panics with it");
            for stream in streams.iter().filter_map(Weak::upgrade) {
                let _ = stream.shutdown(Shutdown::Both);
            }
            self.shared.running.load(Ordering::SeqCst) == 0
        });
        assert!(ended || std::thread::panicking(), "a script does not end");
    }
}

/// One accepted connection. Dropping it closes it.
#[derive(Debug)]
pub struct Conversation {
    stream: Arc<TcpStream>,
    /// Read, and not part of a request that was returned.
    held: Vec<u8>,
    shared: Arc<Shared>,
}

impl Conversation {
    /// The next request, head and body as they came; `None` at the end of the connection.
    pub fn request(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(bytes) = request_bytes(&self.held) {
                return Some(self.held.drain(..bytes).collect());
            }
            if self.read_some() == 0 {
                return None;
            }
        }
    }

    /// Reads the head of a request and no further than it must; whether one came.
    pub fn head(&mut self) -> bool {
        while head_bytes(&self.held).is_none() {
            if self.read_some() == 0 {
                return false;
            }
        }
        true
    }

    fn read_some(&mut self) -> usize {
        let mut piece = [0; 16 << 10];
        let count = (&*self.stream).read(&mut piece).unwrap_or(0);
        self.held.extend_from_slice(&piece[..count]);
        count
    }

    /// Sends all of `bytes`; whether the connection took them.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        (&*self.stream).write_all(bytes.as_ref()).is_ok()
    }

    /// Sends `bytes` in pieces, with a pause after each.
    pub fn send_slowly(&mut self, bytes: &[u8], piece_bytes: usize, pause: Duration) -> bool {
        bytes.chunks(piece_bytes).all(|piece| {
            let sent = self.send(piece);
            std::thread::sleep(pause);
            sent
        })
    }

    /// Reads at least `bytes` bytes, at most `piece_bytes` at a time, with a pause before each.
    pub fn read_slowly(&mut self, bytes: usize, piece_bytes: usize, pause: Duration) -> bool {
        let (mut piece, mut got) = (vec![0; piece_bytes], self.held.len());
        self.held.clear();
        while got < bytes {
            std::thread::sleep(pause);
            match (&*self.stream).read(&mut piece) {
                Ok(count) if count > 0 => got += count,
                _ => return false,
            }
        }
        true
    }

    /// Whether anything comes within `time`.
    ///
    /// # Panics
    /// If the socket refuses the option.
    pub fn waits(&mut self, time: Duration) -> bool {
        let head = head_bytes(&self.held).unwrap_or_default();
        if self.held.len() > head {
            return true;
        }
        self.stream.set_read_timeout(Some(time)).expect("SO_RCVTIMEO");
        let came = self.read_some() > 0;
        self.stream.set_read_timeout(Some(READ_MAX)).expect("SO_RCVTIMEO");
        came
    }

    /// Answers every request with `response` until the client goes.
    pub fn answer_all(&mut self, response: impl AsRef<[u8]>) {
        while self.request().is_some() && self.send(&response) {}
    }

    /// Answers a request with chunks of one byte, as fast as they are taken, until the client goes.
    pub fn send_for_ever(&mut self) {
        let begun =
            self.head() && self.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let (chunks, start) = (b"1\r\nx\r\n".repeat(CHUNKS), Instant::now());
        while begun && start.elapsed() < ENDLESS_MAX && self.send(&chunks) {}
    }

    /// Reads nothing more, and keeps the connection open until the test ends it.
    pub fn stall(&self) {
        wait_until(READ_MAX, || self.shared.stop.load(Ordering::SeqCst));
    }

    /// Sends `bytes` and the end of the connection in one segment, so that who reads the one can know of the other.
    ///
    /// # Panics
    /// If the socket refuses it.
    pub fn send_last(self, bytes: impl AsRef<[u8]>) {
        let socket = socket2::SockRef::from(&*self.stream);
        let sent = socket.send_with_flags(bytes.as_ref(), libc::MSG_MORE).expect("send");
        assert_eq!(sent, bytes.as_ref().len(), "a socket buffer has room for one response");
        self.stream.shutdown(Shutdown::Write).expect("an end");
    }

    /// Closes with a reset instead of an end.
    ///
    /// # Panics
    /// If the socket refuses the option.
    pub fn reset(self) {
        ringshot::sys::socket::reset_on_close(&*self.stream).expect("SO_LINGER");
    }

    /// Reads what comes until the client goes.
    pub fn read_to_end(&mut self) {
        while self.read_some() > 0 {
            self.held.clear();
        }
    }
}

/// A response of `bytes` bytes, head and body.
#[must_use]
pub fn response_of(bytes: usize) -> Vec<u8> {
    let head = |body: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: {body:06}\r\n\r\n");
    let body = bytes - head(0).len();
    [head(body).into_bytes(), vec![b'x'; body]].concat()
}

fn head_bytes(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|place| place + 4)
}

/// Length of the first request in `bytes`, if it is whole. `Content-Length` is the only framing that the client uses.
fn request_bytes(bytes: &[u8]) -> Option<usize> {
    let head = head_bytes(bytes)?;
    let text = String::from_utf8_lossy(&bytes[..head]);
    let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let body: usize = length.map_or(0, |length| length.parse().expect("a length of ours"));
    (bytes.len() >= head + body).then_some(head + body)
}
