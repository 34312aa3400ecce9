//! A plain blocking client, as unlike the engine as can be: what it reads is what a server sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::load::RUN_MAX;

/// A connection that reads one response at a time. Any failure fails the test.
#[derive(Debug)]
pub struct Client(pub BufReader<TcpStream>);

/// One response; the body decoded.
#[derive(Debug)]
pub struct Answer {
    /// The head, up to its blank line.
    pub head: String,
    /// Empty if only the head was read.
    pub body: Vec<u8>,
}

impl Answer {
    /// The status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).expect("a status").parse().expect("a number")
    }

    /// The value of the first field of this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    /// Status and body are these.
    pub fn check(&self, status: u16, body: &str) {
        assert_eq!((self.status(), self.text()), (status, body), "{self:?}");
    }

    /// The body is so many of the letters that an origin repeats.
    pub fn check_letters(&self, bytes: usize) {
        let letters = b"Hello, world\n".iter().cycle().take(bytes);
        assert!(
            self.body.iter().eq(letters),
            "{} bytes, not {bytes}: {}",
            self.body.len(),
            self.head
        );
    }
}

impl Client {
    /// Connects.
    #[must_use]
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(RUN_MAX)).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        Self(BufReader::new(stream))
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).expect("the origin reads");
    }

    /// Sends a request; `rest` begins with further fields and holds the blank line.
    pub fn ask(&mut self, method: &str, path: &str, rest: &str) {
        self.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{rest}"));
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.0.read_line(&mut line).expect("a line") > 0, "closed");
        line
    }

    /// Reads a head alone.
    pub fn head(&mut self) -> Answer {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            head += &self.line();
        }
        Answer { head, body: Vec::new() }
    }

    /// Reads a response to a request that was no `HEAD`.
    pub fn answer(&mut self) -> Answer {
        let mut answer = self.head();
        if answer.field("transfer-encoding").is_some() {
            answer.body = self.chunks();
            while self.line() != "\r\n" {}
        } else if let Some(length) = answer.field("content-length") {
            answer.body = vec![0; length.parse().expect("a number")];
            self.0.read_exact(&mut answer.body).expect("a body");
        } else if answer.field("connection") == Some("close") && answer.status() != 204 {
            self.0.read_to_end(&mut answer.body).expect("an end");
        }
        answer
    }

    /// The data of all chunks, up to the line of the last.
    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let bytes = usize::from_str_radix(self.line().trim(), 16).expect("a size");
            if bytes == 0 {
                return body;
            }
            let start = body.len();
            body.resize(start + bytes, 0);
            self.0.read_exact(&mut body[start..]).expect("a chunk");
            assert_eq!(self.line(), "\r\n");
        }
    }

    /// Asks and reads the answer.
    pub fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, "\r\n");
        self.answer()
    }

    /// Nothing more comes: the server has closed.
    pub fn check_end(&mut self) {
        assert_eq!(self.0.read(&mut [0]).expect("an end, no reset"), 0);
    }
}
