//! Makes the answers of the simulated servers: every framing, every way to end a connection, everything that is broken. Plain bytes.

use std::rc::Rc;

use ringshot::driver::sim::{Act, Random};
use ringshot_tests::seeds::chunks_of;

use super::book::{Answer, Soundness, answer_key, pattern};
use super::server::{Mix, Request};

/// Bytes of the largest body.
const BODY_BYTES_MAX: u64 = 300 << 10;

/// An answer before it is sent.
pub(super) struct Reply {
    pub(super) bytes: Vec<u8>,
    /// What follows the bytes.
    pub(super) then: Vec<Act>,
    pub(super) answer: Answer,
    /// The connection is over for the server.
    pub(super) ends: bool,
    /// Requests that it says it will still take.
    pub(super) left: Option<u32>,
}

/// Makes replies.
pub(super) struct Maker<'a> {
    pub(super) random: &'a mut Random,
    mix: Mix,
    request: u64,
    head: bool,
    number: usize,
    body: Rc<[u8]>,
    left: Option<u32>,
}

impl<'a> Maker<'a> {
    pub(super) fn new(random: &'a mut Random, mix: Mix, request: &Request, number: usize) -> Self {
        let large = random.chance(mix.large);
        let bytes =
            if large { random.between(6000, BODY_BYTES_MAX) } else { random.part(1500, 0.9) - 1 };
        let body = pattern(answer_key(number), bytes);
        Self { random, mix, request: request.id, head: request.head, number, body, left: None }
    }

    /// A status line and the fields that every answer has.
    fn line(&mut self, version: &str, status: u16) -> String {
        let mut line = format!("HTTP/{version} {status} Whatever\r\nX-Answer: {}\r\n", self.number);
        if self.random.chance(self.mix.hints) {
            let left = self.random.below(4) as u32;
            match self.random.below(3) {
                0 => line.push_str("Keep-Alive: timeout=3\r\n"),
                1 => {
                    line.push_str(&format!("Keep-Alive: max={left}\r\n"));
                    self.left = Some(left);
                }
                _ => {
                    line.push_str("Keep-Alive: timeout=5, max=1000\r\n");
                    self.left = Some(1000);
                }
            }
        }
        line
    }

    /// An answer after which the connection goes on.
    pub(super) fn lasting(&mut self) -> Reply {
        if self.random.chance(self.mix.old) {
            let line = self.line("1.0", 200);
            return self.with_length(line + "Connection: keep-alive\r\n", 200);
        }
        match self.random.below(12) {
            0 => {
                let line = self.line("1.1", 204);
                self.bodiless(line, 204)
            }
            1 => {
                let line = self.line("1.1", 304);
                self.bodiless(line + "Content-Length: 77\r\n", 304)
            }
            2 => self.interim(),
            3..=6 => self.chunked(),
            7 => {
                let line = self.line("1.1", 404);
                self.with_length(line, 404)
            }
            _ => {
                let line = self.line("1.1", 200);
                self.with_length(line, 200)
            }
        }
    }

    /// An answer that says that the connection ends.
    pub(super) fn closing(&mut self) -> Reply {
        let kind = self.random.below(4);
        let line = self.line(if kind == 1 || kind == 2 { "1.0" } else { "1.1" }, 200);
        let mut reply = match (kind, self.head) {
            (0 | 1, false) => {
                let body = Rc::clone(&self.body);
                self.with_body(line + "\r\n", &body, 200)
            }
            (2, _) => self.with_length(line, 200),
            _ => self.with_length(line + "Connection: close\r\n", 200),
        };
        reply.then.push(Act::Close);
        Reply { ends: true, ..reply }
    }

    /// Anything that a client must not trust, or not for long.
    pub(super) fn broken(&mut self) -> Reply {
        let kind = self.random.below(10);
        let line = self.line("1.1", 200);
        let mut reply = match kind {
            0..=3 if self.random.chance(0.5) => self.chunked(),
            _ => self.with_length(line, 200),
        };
        reply.ends = true;
        reply.left = None;
        reply.answer.sound = Soundness::Broken;
        match kind {
            0..=3 => {
                reply.bytes.truncate(self.random.below(reply.bytes.len() as u64) as usize);
                reply.then =
                    [vec![Act::Close], vec![Act::Reset], vec![], vec![]][kind as usize].clone();
            }
            4 => reply.bytes = b"\x16\x03\x01 this is not HTTP\r\n\r\n".to_vec(),
            5 => reply.bytes = b"HTTP/2.0 200 OK\r\n\r\n".to_vec(),
            6 => reply.bytes.clear(),
            7 => reply.bytes = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n".to_vec(),
            // Sound, and then something that nobody asked for, or an end that was not announced.
            8 => {
                reply.bytes.extend_from_slice(b"surplus!");
                reply.answer.sound = Soundness::Sound;
            }
            _ => {
                reply.then = vec![if self.random.chance(0.5) { Act::Close } else { Act::Reset }];
                reply.answer.sound = Soundness::Sound;
            }
        }
        reply
    }

    fn reply(&mut self, bytes: Vec<u8>, status: u16, body: Rc<[u8]>) -> Reply {
        let sound = Soundness::Sound;
        let answer = Answer { request: self.request, status, body, trailer: None, sound };
        Reply { bytes, then: Vec::new(), answer, ends: false, left: self.left }
    }

    fn bodiless(&mut self, head: String, status: u16) -> Reply {
        self.reply((head + "\r\n").into_bytes(), status, Rc::new([]))
    }

    fn with_length(&mut self, head: String, status: u16) -> Reply {
        let body = Rc::clone(&self.body);
        self.with_body(format!("{head}Content-Length: {}\r\n\r\n", body.len()), &body, status)
    }

    /// A head, and what follows it unless it was a `HEAD`.
    fn with_body(&mut self, head: String, coded: &[u8], status: u16) -> Reply {
        let mut bytes = head.into_bytes();
        if self.head {
            return self.reply(bytes, status, Rc::new([]));
        }
        bytes.extend_from_slice(coded);
        let body = Rc::clone(&self.body);
        self.reply(bytes, status, body)
    }

    fn interim(&mut self) -> Reply {
        let mut head = String::new();
        for _ in 0..self.random.between(1, 3) {
            let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
            let choices = ["HTTP/1.1 100 Continue\r\n\r\n", hints];
            head.push_str(self.random.pick(&choices).expect("one of two"));
        }
        let line = self.line("1.1", 200);
        self.with_length(head + &line, 200)
    }

    fn chunked(&mut self) -> Reply {
        let mut coded = chunks_of(self.random, &self.body);
        let trailer = self.random.chance(0.3).then(|| self.random.below(1000));
        let trailers = trailer.map(|sum| format!("X-Sum: {sum}\r\n")).unwrap_or_default();
        coded.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
        let head = self.line("1.1", 200) + "Transfer-Encoding: chunked\r\n\r\n";
        let mut reply = self.with_body(head, &coded, 200);
        reply.answer.trailer = trailer.filter(|_| !self.head);
        reply
    }
}
