//! Connections whose clients ask for more than they take: nothing is read of them until they have taken half of what they are owed, so that TCP's window pushes
//! back. Never cuts off a client that takes something.
//!
//! ```text
//!        receive in flight             its end told
//! hold ───────────────────> Stopping ───────────────> Ended ──read_on──> receives again
//!   └──── none ────────────────│───────────────────────^
//!                              └── the client's end ──> AtEnd ──read_on──> ends
//! ```

use std::time::Duration;

use super::connection::{Connection, PLANNED, State};
use super::server::Server;
use crate::clock::Instant;
use crate::driver::{Armed, Driver, Lent, Op, Slot};

/// How long a client that is held may take nothing before it is cut off. A receiver whose buffer is full tells of room only once that is worth a segment, which
/// on loopback are 64 KiB (RFC 9293 3.8.6.2.2): who reads 8 KB a second seems to take nothing for eight.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes that are read at once of what has waited.
const PIECE_BYTES: usize = 16 << 10;

/// What is known of a connection while it is held.
#[derive(Debug)]
pub(super) struct Hold {
    /// What came before the receive ended: what a driver has on its way when it is told to stop.
    unread: Vec<u8>,
    pub(super) receive: Receive,
    /// Bytes that the client had acknowledged when that was looked at last.
    acknowledged: Option<u64>,
    /// Since when it has taken nothing.
    stalled: Instant,
}

/// What became of the receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receive {
    /// It was told to stop.
    Stopping,
    Ended,
    /// The client closed its side.
    AtEnd,
}

impl<D: Driver> Server<D> {
    /// Reads no more of a connection that is owed too much, unless it has been answered meanwhile.
    #[cold]
    pub(super) fn hold(&mut self, slot: Slot, armed: Armed) {
        let Some(connection) = self.live(slot) else { return };
        let receive = if armed == Armed::Yes { Receive::Stopping } else { Receive::Ended };
        if connection.state == State::Open && connection.is_full() {
            connection.state = State::Held;
            let (unread, stalled) = (Vec::new(), Instant::coarse());
            connection.hold = Some(Box::new(Hold { unread, receive, acknowledged: None, stalled }));
            if receive == Receive::Stopping {
                self.submit(slot, Op::Stop);
            }
        } else if receive == Receive::Ended {
            self.receive(slot);
        }
    }

    /// Bytes that are not to be read, or not yet.
    #[cold]
    pub(super) fn handle_unread(&mut self, slot: Slot, lent: Lent, armed: Armed) {
        let connection = self.connections.get_mut(slot.index as usize - 1);
        let connection = connection.filter(|connection| connection.slot == slot);
        if let Some(hold) = connection.and_then(|connection| connection.hold.as_mut()) {
            hold.unread.extend_from_slice(self.driver.bytes(&lent));
        }
        self.driver.give_back(lent);
        if armed == Armed::No {
            self.handle_rest(slot);
        }
    }

    /// A receive is over without the client's end: it is asked for again, if not by a hold then by its end.
    pub(super) fn handle_rest(&mut self, slot: Slot) {
        match self.live(slot).and_then(|connection| connection.hold.as_mut()) {
            Some(hold) => hold.receive = Receive::Ended,
            None => self.receive(slot),
        }
    }

    /// Something was sent of what a held connection is owed: if that was enough, it reads on.
    #[cold]
    pub(super) fn read_on(&mut self, slot: Slot) {
        let Some(connection) = self.live(slot) else { return };
        let Some(mut hold) = connection.hold.take() else { return };
        hold.stalled = Instant::coarse();
        let mut used = 0;
        let mut room = connection.has_room();
        while room && used < hold.unread.len() {
            let end = hold.unread.len().min(used + PIECE_BYTES);
            room = self.read_piece(slot, &hold.unread[used..end]);
            used = end;
            if hold.receive == Receive::AtEnd {
                self.discount(slot);
            }
        }
        let Some(connection) = self.live(slot) else { return };
        if !room && matches!(connection.state, State::Open | State::Held) {
            hold.unread.drain(..used);
            connection.state = State::Held;
            connection.hold = Some(hold);
            return;
        }
        if connection.state == State::Held {
            connection.state = State::Open;
        }
        match hold.receive {
            // When its end is told, it is asked for again.
            Receive::Stopping => {}
            Receive::Ended => self.receive(slot),
            Receive::AtEnd => self.handle_end(slot),
        }
    }

    /// Reads what has waited, and returns whether there is room for more.
    fn read_piece(&mut self, slot: Slot, piece: &[u8]) -> bool {
        let connection = self.connections.get_mut(slot.index as usize - 1);
        let Some(connection) = connection.filter(|c| c.slot == slot) else { return false };
        connection.state = State::Open;
        let before = connection.account();
        connection.read(piece, &mut self.rules);
        let after = connection.account();
        self.begin(slot, before, after);
        let open =
            |connection: &&mut Connection| connection.state == State::Open && !connection.is_full();
        self.live(slot).as_ref().is_some_and(open)
    }

    /// Cuts a held client off that has taken nothing for too long. What waits for its time is not its fault; nobody waits for an answer that never comes.
    #[cold]
    pub(super) fn look_at(&mut self, slot: Slot, now: Instant) {
        let (acknowledged, patience) = (self.driver.acknowledged(slot), self.patience);
        let Some(connection) = self.live(slot) else { return };
        let planned = connection.owed.front() == Some(&PLANNED);
        let waits = !connection.busy && (connection.timer.is_some() || !planned);
        let Some(hold) = &mut connection.hold else { return };
        if waits || hold.acknowledged != acknowledged {
            (hold.stalled, hold.acknowledged) = (now, acknowledged);
        } else if now - hold.stalled >= patience {
            self.close(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::TcpStream;
    use std::sync::Arc;

    use socket2::{Domain, SockRef, Socket, Type};

    use super::super::Config;
    use super::super::counters::{Open, Published};
    use super::*;
    use crate::driver::uring::Config as RingConfig;
    use crate::driver::{Epoll, Limits, Uring};
    use crate::sys::socket::{self, Blocking, Share};

    /// Turns without a change, after which there will be none.
    const QUIET_TURNS: u32 = 5;
    /// Bytes that may wait unread: what a driver had on its way.
    const UNREAD_BYTES_MAX: usize = 1 << 20;
    /// Of each socket, so that few requests fill them.
    const BUFFER_BYTES: usize = 64 << 10;
    /// Bytes that the client takes at once.
    const PIECE_MAX: usize = 1 << 20;
    /// Requests that one receive may bring: as many as fit into the largest.
    const PIECE_REQUESTS_MAX: usize = (256 << 10) / 18;

    /// A server and one client of it, on one thread.
    struct Scene<D: Driver> {
        server: Server<D>,
        client: TcpStream,
        /// What the client has to send, and how much of it is sent.
        requests: Vec<u8>,
        sent: usize,
        answers: Vec<u8>,
        piece: Vec<u8>,
    }

    impl<D: Driver> Scene<D> {
        fn new(driver: D, requests: Vec<u8>) -> Self {
            let config = Config::on_loopback();
            let listener =
                socket::listen(config.address, Share::Alone, Blocking::No).expect("a port");
            let address = socket::local_address(&listener).expect("its address");
            let accounts = (Arc::<Published>::default(), Arc::<Open>::default());
            let buffers = |socket: SockRef<'_>| {
                socket.set_recv_buffer_size(BUFFER_BYTES).expect("a socket");
                socket.set_send_buffer_size(BUFFER_BYTES).expect("a socket");
            };
            // Those of the accepted socket are the listener's.
            buffers(SockRef::from(&listener));
            let client = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            buffers(SockRef::from(&client));
            let mut server = Server::new(driver, 8, &config, listener, accounts).expect("a server");
            client.connect(&address.into()).expect("a connection");
            let client = TcpStream::from(client);
            client.set_nodelay(true).expect("a socket");
            client.set_nonblocking(true).expect("a socket");
            while server.connections.is_empty() {
                server.turn().expect("a turn");
            }
            Self {
                server,
                client,
                requests,
                sent: 0,
                answers: Vec::new(),
                piece: vec![0; PIECE_MAX],
            }
        }

        /// The client sends what it can, and the server takes its turn. Whether something was sent.
        fn send(&mut self) -> bool {
            let rest = &self.requests[self.sent..];
            let sent = match self.client.write(rest) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) => panic!("{error} after {} bytes", self.sent),
            };
            self.sent += sent;
            self.server.turn().expect("a turn");
            sent > 0
        }

        /// The client takes so much at most. `false` at the end.
        fn take(&mut self, bytes: usize) -> bool {
            match self.client.read(&mut self.piece[..bytes]) {
                Ok(bytes) => {
                    self.answers.extend_from_slice(&self.piece[..bytes]);
                    bytes > 0
                }
                Err(error) => error.kind() == ErrorKind::WouldBlock,
            }
        }

        /// The client sends until nothing more is taken, and reads nothing.
        fn fill(&mut self) {
            let mut quiet = 0;
            while quiet < QUIET_TURNS {
                quiet = if self.send() { 0 } else { quiet + 1 };
            }
        }

        /// The client sends and reads until nothing more happens.
        fn talk(&mut self) {
            let mut quiet = 0;
            while quiet < QUIET_TURNS {
                let before = self.answers.len();
                let sent = self.send();
                assert!(self.take(PIECE_MAX), "cut off");
                quiet = if sent || self.answers.len() > before { 0 } else { quiet + 1 };
            }
        }

        fn state(&self) -> State {
            self.server.connections[0].state
        }
    }

    /// Runs `check` over both drivers, where they work.
    macro_rules! on_each {
        ($check:expr) => {{
            if let Ok(driver) = Uring::open(RingConfig::for_slots(8)) {
                $check(driver);
            }
            $check(Epoll::open(Limits { slots: 8 }).expect("an epoll instance"))
        }};
    }

    /// A client asks for more than it takes: what is kept of it is bounded, and when it reads, all of it is answered.
    fn check_held<D: Driver>(driver: D, request: &[u8], count: usize) {
        let mut scene = Scene::new(driver, request.repeat(count));
        scene.fill();
        assert!(scene.sent < scene.requests.len(), "the window never closed");
        let connection = &scene.server.connections[0];
        assert_eq!(connection.state, State::Held);
        let unread = connection.hold.as_ref().map_or(0, |hold| hold.unread.len());
        assert!(unread < UNREAD_BYTES_MAX, "{unread} bytes unread");
        let owed = connection.owed.len();
        assert!((1..4096 + PIECE_REQUESTS_MAX).contains(&owed), "{owed} owed");
        let progress = scene.server.tally.in_progress;
        assert_eq!(progress, u64::from(connection.requests), "{owed} owed");
        scene.talk();
        let text = String::from_utf8_lossy(&scene.answers);
        assert_eq!(text.matches("HTTP/1.1 ").count(), count);
        assert_eq!((scene.state(), scene.server.tally.in_progress), (State::Open, 0));
    }

    fn get(path: &str, padding: usize) -> Vec<u8> {
        let padding = "x".repeat(padding);
        format!("GET {path} HTTP/1.1\r\nHost: h\r\nX: {padding}\r\n\r\n").into_bytes()
    }

    #[test]
    fn who_does_not_read_is_held_and_answered_when_he_does() {
        let head = "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 65536\r\n\r\n";
        let echo = [head.as_bytes(), &[b'x'; 64 << 10]].concat();
        for (request, count) in [
            (get("/", 100), 20_000),
            (get("/bytes/10", 100), 20_000),
            (get("/delay/10", 100), 20_000),
            (echo, 200),
        ] {
            on_each!(|driver| check_held(driver, &request, count));
        }
    }

    /// Small answers go out quietly, one by one, until the client has left too many of them.
    #[test]
    fn who_asks_again_and_again_and_does_not_read_is_held() {
        fn check<D: Driver>(driver: D) {
            let (mut scene, mut turns) = (Scene::new(driver, Vec::new()), 0);
            while scene.state() == State::Open {
                scene.requests.extend_from_slice(&get("/", 0));
                scene.send();
                turns += 1;
                assert!(turns < 1_000_000, "never held");
            }
        }
        on_each!(check);
    }

    #[test]
    fn who_takes_nothing_is_cut_off_and_who_takes_little_is_not() {
        fn check<D: Driver>(driver: D, path: &str, takes: usize, open: u64) {
            let mut scene = Scene::new(driver, get(path, 100).repeat(20_000));
            scene.server.patience = Duration::from_millis(1200);
            scene.fill();
            assert_eq!(scene.state(), State::Held, "{path}");
            let end = Instant::now() + Duration::from_secs(3);
            while Instant::now() < end && scene.state() != State::Free {
                scene.server.turn().expect("a turn");
                assert!(takes == 0 || scene.take(takes), "{path}: cut off");
                std::thread::sleep(Duration::from_millis(5));
            }
            let tally = scene.server.tally;
            assert_eq!((tally.open, tally.in_progress.min(1)), (open, open), "{path} {takes}");
        }
        let cases = [("/", 0, 0), ("/hang", 0, 0), ("/", 4000, 1), ("/delay/3600000", 0, 1)];
        std::thread::scope(|scope| {
            for (path, takes, open) in cases {
                scope.spawn(move || on_each!(|driver| check(driver, path, takes, open)));
            }
        });
    }
}
