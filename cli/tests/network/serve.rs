//! `ringshot serve`, seen by a client as plain as can be.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::program::{PATIENCE, Server, drivers, ringshot};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const HEAD: &[u8] = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A connection that reads one response at a time.
struct Client(BufReader<TcpStream>);

/// A response to a request that was no `HEAD`, or its head alone.
struct Answer {
    head: String,
    body: Vec<u8>,
}

impl Client {
    fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address()).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        Self(BufReader::new(stream))
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).expect("the server reads");
    }

    fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(self.0.read_line(&mut head).expect("a line") > 0, "closed after {head:?}");
        }
        head
    }

    fn answer(&mut self) -> Answer {
        let head = self.head();
        let length = value(&head, "content-length").expect("a length").parse().expect("a number");
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("a body");
        Answer { head, body }
    }

    fn get(&mut self) -> Answer {
        self.send(GET);
        self.answer()
    }

    /// Nothing more comes: the server has closed.
    fn check_end(&mut self) {
        assert_eq!(self.0.read(&mut [0]).expect("an end, no reset"), 0);
    }
}

fn value<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Runs `check` against a server with `args`, on each driver; it gives the number of answers it was given.
fn check_served(args: &[&str], check: fn(&Server) -> u64) {
    for driver in drivers() {
        let server = Server::start(&[args, &["--driver", driver]].concat());
        let answers = check(&server);
        assert_eq!(server.stop(), answers, "{driver}");
    }
}

#[test]
fn get_head_and_post_share_a_connection() {
    check_served(&[], |server| {
        let mut client = Client::connect(server);
        for _ in 0..3 {
            let answer = client.get();
            assert!(answer.head.starts_with("HTTP/1.1 200 OK\r\n"), "{}", answer.head);
            assert_eq!(value(&answer.head, "connection"), None);
            assert_eq!(answer.body, b"Hello, world\n");
        }
        client.send(HEAD);
        assert_eq!(value(&client.head(), "content-length"), Some("13"));
        client.send(b"POST /x?y HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
        for _ in 0..10 {
            client.send(&[b'G'; 10_000]);
        }
        assert_eq!(client.answer().body.len(), 13);
        assert_eq!(client.get().body.len(), 13);
        6
    });
}

#[test]
fn pipelined_requests_are_answered_in_one_go_or_cut_anywhere() {
    check_served(&[], |server| {
        let mut client = Client::connect(server);
        let many = [GET, HEAD, GET].concat();
        client.send(&many);
        for byte in &many {
            client.send(&[*byte]);
        }
        for _ in 0..2 {
            assert_eq!(client.answer().body.len(), 13);
            assert_eq!(value(&client.head(), "content-length"), Some("13"));
            assert_eq!(client.answer().body.len(), 13);
        }
        6
    });
}

#[test]
fn the_third_answer_closes() {
    check_served(&["--close-every", "3"], |server| {
        let mut client = Client::connect(server);
        for _ in 0..2 {
            assert_eq!(value(&client.get().head, "connection"), None);
        }
        let last = client.get();
        assert_eq!(value(&last.head, "connection"), Some("close"));
        assert_eq!(last.body, b"Hello, world\n");
        client.check_end();
        let mut pipelining = Client::connect(server);
        pipelining.send(&GET.repeat(3));
        let closing = |answer: Answer| value(&answer.head, "connection") == Some("close");
        assert!(!closing(pipelining.answer()));
        assert!(!closing(pipelining.answer()));
        assert!(closing(pipelining.answer()));
        pipelining.check_end();
        6
    });
}

#[test]
fn who_asks_for_a_close_gets_one() {
    check_served(&[], |server| {
        for request in
            ["GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"]
        {
            let mut client = Client::connect(server);
            client.send(request.as_bytes());
            assert_eq!(client.answer().body.len(), 13);
            client.check_end();
        }
        2
    });
}

#[test]
fn answers_wait_for_their_delay() {
    check_served(&["--delay", "50ms"], |server| {
        let mut client = Client::connect(server);
        for _ in 0..3 {
            let sent = Instant::now();
            assert_eq!(client.get().body.len(), 13);
            assert!(sent.elapsed() >= Duration::from_millis(50), "{:?}", sent.elapsed());
        }
        3
    });
}

#[test]
fn paths_decide_what_happens() {
    check_served(&["--seed", "7"], |server| {
        let mut client = Client::connect(server);
        let mut ask = |path: &str| {
            client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
            client.answer()
        };
        let sent = Instant::now();
        let answer = ask("/bytes/100?delay=50&status=404");
        assert!(sent.elapsed() >= Duration::from_millis(50), "{:?}", sent.elapsed());
        assert!(answer.head.starts_with("HTTP/1.1 404 Not Found\r\n"), "{}", answer.head);
        assert_eq!(answer.body.len(), 100);
        let refused = ask("/delay/soon");
        assert!(refused.head.starts_with("HTTP/1.1 400 "), "{}", refused.head);
        let text = String::from_utf8(refused.body).expect("text");
        assert_eq!(text, "/delay/MS: MS must be a number from 0 to 3600000, not \"soon\"\n");
        assert_eq!(ask("/elsewhere").body, b"Hello, world\n");
        assert_eq!(value(&ask("/close").head, "connection"), Some("close"));
        client.check_end();
        4
    });
}

#[test]
fn large_and_empty_bodies() {
    check_served(&["--body-bytes", "1MiB"], |server| {
        let mut client = Client::connect(server);
        for _ in 0..3 {
            let body = client.get().body;
            assert_eq!(body.len(), 1 << 20);
            assert!(body.chunks(13).all(|chunk| b"Hello, world\n".starts_with(chunk)));
        }
        client.send(HEAD);
        assert_eq!(value(&client.head(), "content-length"), Some("1048576"));
        assert_eq!(client.get().body.len(), 1 << 20);
        5
    });
    check_served(&["--body-bytes", "0"], |server| {
        let mut client = Client::connect(server);
        assert!(client.get().body.is_empty() && client.get().body.is_empty());
        2
    });
}

/// Nothing is left behind that accepts, or keeps the next server from its port.
#[test]
fn a_port_is_free_when_its_server_has_ended() {
    for driver in drivers() {
        for _ in 0..5 {
            let server = Server::start(&["--driver", driver]);
            let idle = Client::connect(&server);
            let address = server.address().to_owned();
            assert_eq!(server.stop(), 0);
            let again = TcpStream::connect(&address);
            assert!(again.is_err(), "{driver}: {address} still accepts");
            drop(idle);
        }
    }
}

#[test]
fn a_port_belongs_to_one_server() {
    let server = Server::start(&[]);
    let port = server.address().rsplit(':').next().expect("a port").to_owned();
    for driver in drivers() {
        let second = ringshot(&["serve", "--port", &port, "--driver", driver]);
        second.check_refused(&[&format!("port {port} is taken"), "--port 0"]);
    }
    assert_eq!(Client::connect(&server).get().body.len(), 13);
    assert_eq!(server.stop(), 1);
}
