//! The HTTP server behind the simulated connections: it reads requests, answers from a seeded mix, and writes down what it answered. Never opens a socket.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use ringshot::clock::Instant;
use ringshot::driver::sim::{Act, Peer, Random, Visit};
use ringshot_tests::seeds::{chunks_of, send_dribbling};

/// Bytes of the largest body.
const BODY_BYTES_MAX: u64 = 300 << 10;

/// What the servers do, as probabilities of a response.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mix {
    /// The body is a large one.
    pub(super) large: f32,
    /// It comes in pieces with pauses.
    pub(super) dribble: f32,
    /// It ends the connection, and says so.
    pub(super) closes: f32,
    /// It is broken, late for ever, or ends the connection without saying so.
    pub(super) faults: f32,
    /// Until when there are faults.
    pub(super) storm_end: Instant,
}

/// What a server answered, or tried to.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// The status code.
    pub(super) status: u16,
    /// The body, which names connection and request.
    pub(super) body: Rc<[u8]>,
    /// Whether a client may take it for a whole response.
    pub(super) sound: Soundness,
}

/// Whether an answer is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Soundness {
    /// Sent whole, and right.
    Sound,
    /// Not.
    Broken,
}

/// What the servers wrote down of each lane's current connection: its answers that the client has not taken.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// By lane.
    pub(super) lanes: Vec<VecDeque<Answer>>,
    /// Requests that arrived whole.
    pub(super) requests: u64,
}

/// One connection's server.
pub(super) struct Server {
    book: Rc<RefCell<Book>>,
    mix: Mix,
    visit: Visit,
    input: Vec<u8>,
    requests: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Serving,
    /// It closed or fell silent: nothing is read any more.
    Done,
}

/// A parsed request.
struct Request {
    head: Method,
    close: Persistence,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Head,
    Other,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Persistence {
    KeepAlive,
    Close,
}

/// A reply before it is sent.
struct Reply {
    bytes: Vec<u8>,
    /// What follows the bytes.
    then: Option<Act>,
    answer: Answer,
    persistence: Persistence,
}

impl Server {
    /// The server of a new connection: what the last one on the lane wrote down is torn out.
    pub(super) fn new(visit: Visit, mix: Mix, book: &Rc<RefCell<Book>>) -> Self {
        book.borrow_mut().lanes[visit.index as usize].clear();
        let book = Rc::clone(book);
        Self { book, mix, visit, input: Vec::new(), requests: 0, state: State::Serving }
    }

    fn faults(&self, now: Instant) -> f32 {
        if now < self.mix.storm_end { self.mix.faults } else { 0.0 }
    }

    /// Takes a whole request off the input.
    fn next_request(&mut self) -> Option<Request> {
        let end = self.input.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&self.input[..end]).to_ascii_lowercase();
        let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length: "));
        let body_bytes: usize = length.map_or(Ok(0), str::parse).expect("a number");
        if self.input.len() < end + body_bytes {
            return None;
        }
        assert!(head.starts_with("get ") || head.starts_with("head ") || head.starts_with("post "));
        self.input.drain(..end + body_bytes);
        let close = head.contains("connection: close\r\n");
        Some(Request {
            head: if head.starts_with("head ") { Method::Head } else { Method::Other },
            close: if close { Persistence::Close } else { Persistence::KeepAlive },
        })
    }

    fn answer(&mut self, request: &Request, now: Instant, acts: &mut Vec<Act>) {
        let faults = self.faults(now);
        let number = self.requests;
        self.requests += 1;
        let random = &mut self.visit.random;
        let bytes = if random.chance(self.mix.large) {
            random.between(6000, BODY_BYTES_MAX)
        } else {
            random.part(1500, 0.9) - 1
        };
        let body = body_of(self.visit.number, number, bytes);
        let maker = Maker { random, body, head: request.head };
        let reply = if maker.random.chance(faults) {
            maker.broken()
        } else if request.close == Persistence::Close || maker.random.chance(self.mix.closes) {
            maker.closing()
        } else {
            maker.lasting()
        };
        let mut book = self.book.borrow_mut();
        book.requests += 1;
        book.lanes[self.visit.index as usize].push_back(reply.answer.clone());
        drop(book);
        self.send(reply, request.close, acts);
    }

    fn send(&mut self, reply: Reply, asked: Persistence, acts: &mut Vec<Act>) {
        let random = &mut self.visit.random;
        send_dribbling(random, self.mix.dribble, &reply.bytes, acts);
        acts.extend(reply.then);
        if asked == Persistence::Close || reply.persistence == Persistence::Close {
            acts.push(Act::Close);
            self.state = State::Done;
        }
        // What followed a broken answer would be taken for its rest, by any client.
        if reply.answer.sound == Soundness::Broken {
            self.state = State::Done;
        }
    }
}

impl Peer for Server {
    fn handle_connected(&mut self, now: Instant, acts: &mut Vec<Act>) {
        let faults = self.faults(now);
        if self.visit.random.chance(faults / 8.0) {
            // A server that hangs up, or talks before it is asked.
            acts.push(Act::Pause(Duration::from_nanos(self.visit.random.below(300_000))));
            let talks = self.visit.random.chance(0.3);
            acts.push(if talks { Act::Send(b"220 smtp\r\n".to_vec()) } else { Act::Close });
        }
    }

    fn handle_bytes(&mut self, bytes: &[u8], now: Instant, acts: &mut Vec<Act>) {
        self.input.extend_from_slice(bytes);
        while self.state == State::Serving {
            let Some(request) = self.next_request() else { return };
            self.answer(&request, now, acts);
        }
    }
}

/// A body that no other request has, and that differs in each of its bytes' neighbourhoods.
fn body_of(connection: u64, request: u64, bytes: u64) -> Rc<[u8]> {
    let mut random = Random::new(connection << 32 | request);
    let words = (0..bytes.div_ceil(8)).flat_map(|_| random.number().to_le_bytes());
    let mut body: Vec<u8> = words.take(bytes as usize).collect();
    let name = format!("c{connection}r{request};");
    let named = name.len().min(body.len());
    body[..named].copy_from_slice(&name.as_bytes()[..named]);
    body.into()
}

/// Makes replies.
struct Maker<'a> {
    random: &'a mut Random,
    body: Rc<[u8]>,
    head: Method,
}

impl Maker<'_> {
    /// A response after which the connection goes on.
    fn lasting(mut self) -> Reply {
        match self.random.below(12) {
            0 => self.bodiless("HTTP/1.1 204 No Content\r\n\r\n", 204),
            1 => self.bodiless("HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n", 304),
            2 => self.interim(),
            3 => self.with_length("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", 200),
            4..=6 => self.chunked(),
            7 => self
                .with_length("HTTP/1.1 404 Not Found\r\nServer: sim\r\nX-Pad: 123456789\r\n", 404),
            _ => self.with_length("HTTP/1.1 200 OK\r\n", 200),
        }
    }

    /// A response that says that the connection ends.
    fn closing(self) -> Reply {
        let reply = match (self.random.below(4), self.head) {
            (0, Method::Other) => self.to_the_end("HTTP/1.1 200 OK\r\n\r\n"),
            (1, Method::Other) => self.to_the_end("HTTP/1.0 200 OK\r\nServer: old\r\n\r\n"),
            (2, _) => self.with_length("HTTP/1.0 200 OK\r\n", 200),
            _ => self.with_length("HTTP/1.1 200 OK\r\nConnection: close\r\n", 200),
        };
        Reply { persistence: Persistence::Close, ..reply }
    }

    /// Anything that a client must not trust, or not for long.
    fn broken(mut self) -> Reply {
        let kind = self.random.below(9);
        let mut reply = match kind {
            0..=3 if self.random.chance(0.5) => self.chunked(),
            _ => self.with_length("HTTP/1.1 200 OK\r\n", 200),
        };
        reply.answer.sound = Soundness::Broken;
        match kind {
            // Cut off: closed, reset, or stalled.
            0..=2 => {
                reply.bytes.truncate(self.random.below(reply.bytes.len() as u64) as usize);
                reply.then = [Some(Act::Close), Some(Act::Reset), None][kind as usize].clone();
            }
            3 => reply.bytes = b"\x16\x03\x01 this is not HTTP\r\n\r\n".to_vec(),
            // Two lengths; after a `HEAD` no body is framed by them.
            4 if self.head == Method::Other => {
                let lengths = "Content-Length: 5\r\nContent-Length: 6\r\n";
                reply.bytes = format!("HTTP/1.1 200 OK\r\n{lengths}\r\n").into_bytes();
            }
            4 => reply.bytes = b"HTTP/2.0 200 OK\r\n\r\n".to_vec(),
            5 => reply.bytes.clear(),
            6 => reply.bytes = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n".to_vec(),
            // Sound, and then something that nobody asked for.
            7 => {
                reply.bytes.extend_from_slice(b"surplus!");
                reply.answer.sound = Soundness::Sound;
            }
            _ => {
                let closes = self.random.chance(0.5);
                reply.then = Some(if closes { Act::Close } else { Act::Reset });
                reply.answer.sound = Soundness::Sound;
            }
        }
        reply
    }

    fn reply(&self, bytes: Vec<u8>, status: u16, body: Rc<[u8]>) -> Reply {
        let answer = Answer { status, body, sound: Soundness::Sound };
        Reply { bytes, then: None, answer, persistence: Persistence::KeepAlive }
    }

    fn bodiless(&self, head: &str, status: u16) -> Reply {
        self.reply(head.as_bytes().to_vec(), status, Rc::new([]))
    }

    /// `head` without its blank line, then a body of known length.
    fn with_length(&self, head: &str, status: u16) -> Reply {
        let head = format!("{head}Content-Length: {}\r\n\r\n", self.body.len());
        self.with_body(head, &self.body.clone(), status)
    }

    fn to_the_end(&self, head: &str) -> Reply {
        self.with_body(head.to_owned(), &self.body.clone(), 200)
    }

    /// A head, and what follows it unless it was a `HEAD`.
    fn with_body(&self, head: String, coded: &[u8], status: u16) -> Reply {
        let mut bytes = head.into_bytes();
        if self.head == Method::Head {
            return self.reply(bytes, status, Rc::new([]));
        }
        bytes.extend_from_slice(coded);
        self.reply(bytes, status, Rc::clone(&self.body))
    }

    fn interim(&mut self) -> Reply {
        let mut head = String::new();
        for _ in 0..self.random.between(1, 3) {
            let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
            let choices = ["HTTP/1.1 100 Continue\r\n\r\n", hints];
            head.push_str(self.random.pick(&choices).unwrap());
        }
        self.with_length(&format!("{head}HTTP/1.1 200 OK\r\n"), 200)
    }

    fn chunked(&mut self) -> Reply {
        let mut coded = chunks_of(self.random, &self.body);
        let trailers = if self.random.chance(0.2) { "X-Sum: 1\r\n" } else { "" };
        coded.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
        self.with_body(head, &coded, 200)
    }
}
