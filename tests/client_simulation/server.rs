//! The servers behind the simulated connections: they take requests apart, bodies and expectations included, and answer from a seeded mix. Never open a socket.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ringshot::clock::Instant;
use ringshot::driver::sim::{Act, Peer, Random, Visit};
use ringshot_tests::seeds::send_dribbling;

use super::book::{Book, HostId, Receipt, Soundness, pattern, upload_key};
use super::reply::{Maker, Reply};

/// What the servers do, as probabilities of a response unless told otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mix {
    pub(super) large: f32,
    /// In pieces with pauses.
    pub(super) dribble: f32,
    /// Ends the connection, and says so.
    pub(super) closes: f32,
    /// In HTTP/1.0.
    pub(super) old: f32,
    /// Answers a request with a body before it has come.
    pub(super) early: f32,
    /// Says for how long, or for how many requests, it keeps the connection.
    pub(super) hints: f32,
    /// Ends the connection once it is idle, or says something then.
    pub(super) idle_ends: f32,
    /// How soon, at most.
    pub(super) idle_max: Duration,
    /// Is broken, late for ever, or ends the connection.
    pub(super) faults: f32,
    /// Until when there are faults.
    pub(super) storm_end: Instant,
}

/// One connection's server.
pub(super) struct Server {
    book: Rc<RefCell<Book>>,
    mix: Mix,
    host: HostId,
    number: u64,
    random: Random,
    input: Vec<u8>,
    state: State,
    requests: u64,
    /// Requests that it said it would still take.
    left: Option<u32>,
    /// A request is counted as unanswered.
    owes: bool,
}

#[derive(Debug)]
enum State {
    Head,
    Body(Upload),
    /// It closed or fell silent: heads are noted, and nothing is answered.
    Done,
}

/// A request's body on its way in.
#[derive(Debug)]
struct Upload {
    /// `None`: chunked.
    rest: Option<u64>,
    /// What is expected, and how much of it came.
    expected: Rc<[u8]>,
    got: usize,
    /// What is answered at its end; `None` if that has been.
    then: Option<Request>,
}

/// A parsed head.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) id: u64,
    pub(super) head: bool,
    /// Length of its body, if it is known.
    length: Option<u64>,
    /// Bytes that it will have.
    bytes: u64,
    expects: bool,
}

impl Request {
    fn parse(head: &str) -> Option<Self> {
        let field = |name: &str| {
            let lines = head.split("\r\n").skip(1);
            lines
                .filter_map(|line| line.split_once(": "))
                .find(|it| it.0.eq_ignore_ascii_case(name))
        };
        let number = |name: &str| field(name).and_then(|(_, value)| value.parse().ok());
        let chunked = field("transfer-encoding").is_some();
        let target = head.split(' ').nth(1)?;
        let request = Self {
            id: target.strip_prefix("/q/")?.parse().ok()?,
            head: head.starts_with("HEAD "),
            length: if chunked { None } else { Some(number("content-length").unwrap_or(0)) },
            bytes: number("x-bytes").unwrap_or(0),
            expects: field("expect").is_some(),
        };
        let agree = request.length.is_none_or(|length| length == request.bytes);
        (agree && field("host").is_some()).then_some(request)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut book = self.book.borrow_mut();
        book.close(self.host);
        if self.owes {
            book.account(self.host).unanswered.now -= 1;
        }
    }
}

impl Server {
    pub(super) fn new(visit: Visit, mix: Mix, book: &Rc<RefCell<Book>>) -> Self {
        let host = HostId::of(visit.address.expect("an address"));
        book.borrow_mut().open(host);
        Self {
            book: Rc::clone(book),
            mix,
            host,
            number: visit.number,
            random: visit.random,
            input: Vec::new(),
            state: State::Head,
            requests: 0,
            left: None,
            owes: false,
        }
    }

    fn problem(&self, problem: &str) {
        let (number, requests) = (self.number, self.requests);
        self.book.borrow_mut().problem(format!(
            "connection {number} to {:?}, request {requests}: {problem}",
            self.host
        ));
    }

    /// Takes a whole head off the input.
    fn next_head(&mut self) -> Option<Request> {
        let end = self.input.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&self.input[..end]).into_owned();
        self.input.drain(..end);
        let Some(request) = Request::parse(&head) else {
            self.problem(&format!("no request: {head:?}"));
            self.state = State::Done;
            return None;
        };
        let receipt = Receipt { before: self.requests };
        self.book.borrow_mut().receipts.entry(request.id).or_default().push(receipt);
        self.requests += 1;
        Some(request)
    }

    fn begin(&mut self, request: Request, now: Instant, acts: &mut Vec<Act>) {
        if self.left.is_some_and(|left| left == 0) {
            self.problem("it said that it would take none");
        }
        self.left = self.left.map(|left| left.saturating_sub(1));
        self.owes = true;
        self.book.borrow_mut().account(self.host).unanswered.add();
        let faults = if now < self.mix.storm_end { self.mix.faults } else { 0.0 };
        if self.random.chance(faults / 4.0) {
            let ends = [Some(Act::Close), Some(Act::Reset), None, None];
            acts.push(Act::Pause(Duration::from_nanos(self.random.below(2_000_000))));
            acts.extend(self.random.pick(&ends).cloned().flatten());
            self.state = State::Done;
            return;
        }
        let early = request.bytes > 0 && self.random.chance(self.mix.early);
        let continues = request.expects && self.random.chance(0.7);
        let mut upload = Upload {
            rest: request.length,
            expected: pattern(upload_key(request.id), request.bytes),
            got: 0,
            then: None,
        };
        if early {
            self.answer(&request, now, acts);
        } else {
            upload.then = Some(request);
            if continues {
                acts.push(Act::Pause(Duration::from_nanos(self.random.below(300_000))));
                acts.push(Act::Send(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()));
            }
        }
        if !matches!(self.state, State::Done) {
            self.state = State::Body(upload);
        }
    }

    /// Takes what there is of a body; whether that was its end.
    fn take_body(&mut self) -> Option<bool> {
        let State::Body(upload) = &mut self.state else { return None };
        let sound = match upload.rest {
            Some(rest) => {
                let take = rest.min(self.input.len() as u64);
                upload.rest = Some(rest - take);
                upload.take(&self.input.drain(..take as usize).collect::<Vec<_>>())
            }
            None => upload.take_chunks(&mut self.input),
        };
        if !sound {
            self.problem("a byte of its body is wrong");
            self.state = State::Done;
            return None;
        }
        let State::Body(upload) = &self.state else { return None };
        if upload.rest == Some(0) && upload.got != upload.expected.len() {
            self.problem("its body has the wrong length");
        }
        Some(upload.rest == Some(0))
    }

    fn answer(&mut self, request: &Request, now: Instant, acts: &mut Vec<Act>) {
        let faults = if now < self.mix.storm_end { self.mix.faults } else { 0.0 };
        let number = self.book.borrow().answers.len();
        let mut maker = Maker::new(&mut self.random, self.mix, request, number);
        let reply = if maker.random.chance(faults) {
            maker.broken()
        } else if maker.random.chance(self.mix.closes) {
            maker.closing()
        } else {
            maker.lasting()
        };
        self.owes = false;
        let mut book = self.book.borrow_mut();
        book.account(self.host).unanswered.now -= 1;
        book.answers.push(reply.answer.clone());
        drop(book);
        self.left = reply.left.or(self.left);
        self.send(reply, acts);
    }

    fn send(&mut self, reply: Reply, acts: &mut Vec<Act>) {
        let random = &mut self.random;
        send_dribbling(random, self.mix.dribble, &reply.bytes, acts);
        acts.extend(reply.then);
        if reply.ends || reply.answer.sound == Soundness::Broken {
            self.state = State::Done;
        } else if self.left == Some(0) {
            acts.push(Act::Close);
            self.state = State::Done;
        }
    }

    /// Between two requests: it may be tired of waiting.
    fn rest(&mut self, acts: &mut Vec<Act>) {
        if !self.random.chance(self.mix.idle_ends) {
            return;
        }
        let most = self.mix.idle_max.as_nanos() as u64;
        acts.push(Act::Pause(Duration::from_nanos(self.random.below(most))));
        let timeout =
            "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        match self.random.below(4) {
            0 => acts.push(Act::Send(timeout.into())),
            1 => acts.push(Act::Reset),
            _ => {}
        }
        acts.push(Act::Close);
        self.state = State::Done;
    }
}

impl Peer for Server {
    fn handle_connected(&mut self, now: Instant, acts: &mut Vec<Act>) {
        let faults = if now < self.mix.storm_end { self.mix.faults } else { 0.0 };
        if self.random.chance(faults / 8.0) {
            acts.push(Act::Pause(Duration::from_nanos(self.random.below(300_000))));
            let talks = self.random.chance(0.3);
            acts.push(if talks { Act::Send(b"220 smtp\r\n".to_vec()) } else { Act::Close });
            self.state = State::Done;
        }
    }

    fn handle_bytes(&mut self, bytes: &[u8], now: Instant, acts: &mut Vec<Act>) {
        self.input.extend_from_slice(bytes);
        loop {
            match &mut self.state {
                State::Done => {
                    self.note_unheard();
                    return;
                }
                State::Head => {
                    let Some(request) = self.next_head() else { return };
                    self.begin(request, now, acts);
                }
                State::Body(_) => {
                    let Some(true) = self.take_body() else { return };
                    let State::Body(upload) = std::mem::replace(&mut self.state, State::Head)
                    else {
                        return;
                    };
                    if let Some(request) = upload.then {
                        self.answer(&request, now, acts);
                    }
                    if matches!(self.state, State::Head) && self.input.is_empty() {
                        self.rest(acts);
                    }
                }
            }
        }
    }
}

impl Server {
    /// A head that comes too late is noted all the same: the client can't know that nobody reads it.
    fn note_unheard(&mut self) {
        let heard = ["GET /q/", "HEAD /q/", "POST /q/", "PUT /q/"];
        if heard.iter().any(|start| self.input.starts_with(start.as_bytes())) {
            let _ = self.next_head();
        }
        self.input.clear();
    }
}

impl Upload {
    /// Whether these bytes are the next ones.
    fn take(&mut self, bytes: &[u8]) -> bool {
        let expected = self.expected.get(self.got..self.got + bytes.len());
        self.got += bytes.len();
        expected == Some(bytes)
    }

    fn take_chunks(&mut self, input: &mut Vec<u8>) -> bool {
        while let Some(line) = input.windows(2).position(|bytes| bytes == b"\r\n") {
            let text = String::from_utf8_lossy(&input[..line]);
            let Ok(bytes) = usize::from_str_radix(&text, 16) else { return false };
            if input.len() < line + 2 + bytes + 2 {
                return true;
            }
            let chunk: Vec<u8> = input.drain(..line + 2 + bytes + 2).skip(line + 2).collect();
            if !chunk.ends_with(b"\r\n") || !self.take(&chunk[..bytes]) {
                return false;
            }
            if bytes == 0 {
                self.rest = Some(0);
                return true;
            }
        }
        true
    }
}
