//! What every driver of the real kernel must do with bytes of its caller's, wakes and alarms: one table of drivers, each test a conversation over loopback.

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::{Duration, Instant};

    use bytes::Bytes;

    use super::super::uring::{Config, Descriptors, Tier};
    use super::super::*;
    use crate::clock::Instant as Clock;
    use crate::sys::eventfd::EventFd;
    use crate::sys::{Errno, socket};

    const SLOT: Slot = Slot::first(0);
    const SLOT_BESIDE: Slot = Slot::first(1);
    /// More than the socket buffers of both ends hold.
    const LARGE_BYTES: usize = 4 << 20;

    /// Every driver that this kernel has, by name.
    fn drivers() -> Vec<(String, Box<dyn Driver>)> {
        let limits = Limits { slots: 4 };
        let mut drivers: Vec<(String, Box<dyn Driver>)> =
            vec![("epoll".to_owned(), Box::new(Epoll::open(limits).unwrap()))];
        for tier in Tier::LADDER {
            for descriptors in [Descriptors::Fixed, Descriptors::Plain] {
                if let Ok(driver) = Uring::open(Config { limits, tier, descriptors }) {
                    drivers.push((format!("{tier:?} {descriptors:?}"), Box::new(driver)));
                }
            }
        }
        drivers
    }

    /// Has each driver own one end of a connection with a small send buffer, and `test` the other.
    fn check(test: impl Fn(&str, &mut dyn Driver, TcpStream)) {
        check_with(pair, test);
    }

    fn check_with(
        pair: impl Fn() -> (OwnedFd, TcpStream),
        test: impl Fn(&str, &mut dyn Driver, TcpStream),
    ) {
        for (name, mut driver) in drivers() {
            let (near, far) = pair();
            socket::set_blocking(&near, driver.blocking()).unwrap();
            driver.try_submit(SLOT, Op::Adopt { socket: near }).unwrap();
            test(&name, &mut *driver, far);
        }
    }

    fn pair() -> (OwnedFd, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // Fixed, or the kernel would let them grow; not smaller, or acknowledgements come late.
        socket2::SockRef::from(&listener).set_recv_buffer_size(128 << 10).unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        socket2::SockRef::from(&near).set_send_buffer_size(128 << 10).unwrap();
        (near.into(), listener.accept().unwrap().0)
    }

    /// The peer's window is large, the sender's buffer tiny.
    fn tiny_pair() -> (OwnedFd, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        socket2::SockRef::from(&near).set_send_buffer_size(8192).unwrap();
        (near.into(), listener.accept().unwrap().0)
    }

    fn send(driver: &mut dyn Driver, bytes: Payload, confirm: Confirm) {
        driver.try_submit(SLOT, Op::SendBytes { bytes, confirm }).unwrap();
    }

    fn turn(driver: &mut dyn Driver, completions: u32, told: &mut Vec<Completion>) {
        let timeout = Duration::from_millis(if completions == 0 { 0 } else { 20 });
        driver.wait(Wait { completions, timeout, ..Wait::LOOK }).unwrap();
        while driver.reap(told) > 0 {}
    }

    /// The next completion, of which the test expects one.
    fn event(driver: &mut dyn Driver, told: &mut Vec<Completion>) -> String {
        for _ in 0..500 {
            if !told.is_empty() {
                return format!("{:?}", told.remove(0).event);
            }
            turn(driver, 1, told);
        }
        panic!("no completion came");
    }

    /// Reads so many bytes after a pause that leaves the sender without room.
    fn read_late(mut far: TcpStream, bytes: usize) -> thread::JoinHandle<(Vec<u8>, TcpStream)> {
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(30));
            let mut seen = vec![0; bytes];
            far.read_exact(&mut seen).unwrap();
            (seen, far)
        })
    }

    /// Turns until the reader is done.
    fn turn_until<T>(driver: &mut dyn Driver, reader: thread::JoinHandle<T>) -> T {
        let (mut told, start) = (Vec::new(), Instant::now());
        while !reader.is_finished() {
            assert!(start.elapsed() < Duration::from_secs(20), "stuck");
            turn(driver, 1, &mut told);
        }
        turn(driver, 0, &mut told);
        assert!(told.is_empty(), "{told:?}");
        reader.join().unwrap()
    }

    fn pattern(bytes: usize, seed: usize) -> Vec<u8> {
        (0..bytes).map(|at| (at * 31 + at / 251 + seed) as u8).collect()
    }

    /// Bytes that say when they are let go.
    struct Owned(Vec<u8>, Arc<AtomicBool>);

    impl AsRef<[u8]> for Owned {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    impl Drop for Owned {
        fn drop(&mut self) {
            self.1.store(true, Ordering::Relaxed);
        }
    }

    fn owned(bytes: usize) -> (Payload, Arc<AtomicBool>) {
        let freed = Arc::new(AtomicBool::new(false));
        (Payload::Shared(Bytes::from_owner(Owned(pattern(bytes, 0), Arc::clone(&freed)))), freed)
    }

    #[test]
    fn quiet_sends_arrive_whole_and_in_order_whatever_the_peer_does() {
        check(|name, driver, far| {
            let template = driver.register(b"<template>".as_slice().into()).unwrap();
            let span = Span { template, start: 1, bytes: 8 };
            let mut expected = Vec::new();
            for round in 0..3 {
                let large = pattern(LARGE_BYTES / 4, round);
                expected.extend_from_slice(&large);
                send(driver, Payload::Shared(large.into()), Confirm::OnFailure);
                for text in [&b"one"[..], b"two"] {
                    expected.extend_from_slice(text);
                    send(driver, Payload::Buffer(text.to_vec()), Confirm::OnFailure);
                }
                driver.try_submit(SLOT, Op::Send { span, confirm: Confirm::OnFailure }).unwrap();
                expected.extend_from_slice(b"template");
            }
            let (seen, _far) = turn_until(driver, read_late(far, expected.len()));
            assert!(seen == expected, "{name}");
        });
    }

    #[test]
    fn a_batch_of_quiet_sends_on_one_slot_goes_out_before_the_wait_and_in_order() {
        check(|name, driver, far| {
            let mut expected = Vec::new();
            for number in 0..300_u32 {
                let mut buffer = driver.buffer();
                buffer.extend_from_slice(&number.to_ne_bytes());
                expected.extend_from_slice(&buffer);
                send(driver, Payload::Buffer(buffer), Confirm::OnFailure);
            }
            let wait = Wait::one(Duration::from_millis(1));
            driver.wait(wait).unwrap();
            let (seen, _far) = read_late(far, expected.len()).join().unwrap();
            assert!(seen == expected, "{name}");
        });
    }

    #[test]
    fn a_confirmed_send_is_told_once_all_is_taken() {
        check(|name, driver, far| {
            let mut told = Vec::new();
            send(driver, Payload::Buffer(b"head".to_vec()), Confirm::OnFailure);
            let (bytes, freed) = owned(LARGE_BYTES);
            send(driver, bytes, Confirm::Always);
            turn(driver, 1, &mut told);
            assert!(told.is_empty() && !freed.load(Ordering::Relaxed), "{name}: {told:?}");
            let reader = read_late(far, 4 + LARGE_BYTES);
            assert_eq!(event(driver, &mut told), "Sent", "{name}");
            assert!(freed.load(Ordering::Relaxed), "{name}");
            let (seen, _far) = turn_until(driver, reader);
            assert!(seen[4..] == pattern(LARGE_BYTES, 0), "{name}");
        });
    }

    #[test]
    fn memory_outlives_close_until_the_last_completion() {
        for confirm in [Confirm::Always, Confirm::OnFailure] {
            check(|name, driver, _far| {
                let mut told = Vec::new();
                let (bytes, freed) = owned(LARGE_BYTES);
                send(driver, bytes, confirm);
                turn(driver, 0, &mut told);
                let (behind, behind_freed) = owned(9);
                send(driver, behind, Confirm::OnFailure);
                assert!(!freed.load(Ordering::Relaxed), "{name}");
                driver.try_submit(SLOT, Op::Close).unwrap();
                let kernel_has_it = driver.name() != "epoll";
                assert_eq!(freed.load(Ordering::Relaxed), !kernel_has_it, "{name}");
                assert_eq!(event(driver, &mut told), "Closed", "{name}");
                assert!(freed.load(Ordering::Relaxed), "{name}");
                assert!(behind_freed.load(Ordering::Relaxed), "{name}");
                let (late, late_freed) = owned(9);
                send(driver, late, Confirm::Always);
                assert!(late_freed.load(Ordering::Relaxed) && told.is_empty(), "{name}");
            });
        }
    }

    #[test]
    fn a_driver_that_is_dropped_lets_go_of_what_it_was_sending() {
        for (name, mut driver) in drivers() {
            let (near, mut far) = pair();
            socket::set_blocking(&near, driver.blocking()).unwrap();
            driver.try_submit(SLOT, Op::Adopt { socket: near }).unwrap();
            let (bytes, freed) = owned(LARGE_BYTES);
            send(&mut *driver, bytes, Confirm::Always);
            turn(&mut *driver, 0, &mut Vec::new());
            assert!(!freed.load(Ordering::Relaxed), "{name}");
            drop(driver);
            assert!(freed.load(Ordering::Relaxed), "{name}");
            let mut seen = Vec::new();
            let _ = far.read_to_end(&mut seen);
            assert!(pattern(LARGE_BYTES, 0).starts_with(&seen), "{name}: other memory was sent");
        }
    }

    #[test]
    fn a_failure_says_how_much_was_taken_and_fails_what_waits() {
        let taken = |text: &str| -> u64 {
            let number = text.strip_prefix("SendFailed { errno: Errno(").unwrap_or_default();
            let number = number.split("taken: ").nth(1).unwrap_or_default();
            number.trim_end_matches(" }").parse().unwrap_or(u64::MAX)
        };
        for first in [Confirm::OnFailure, Confirm::Always] {
            check(|name, driver, far| {
                let mut told = Vec::new();
                send(driver, owned(LARGE_BYTES).0, first);
                turn(driver, 0, &mut told);
                if first == Confirm::OnFailure {
                    send(driver, owned(5).0, Confirm::Always);
                }
                turn(driver, 0, &mut told);
                assert!(told.is_empty(), "{name}: {told:?}");
                socket::reset_on_close(&far).unwrap();
                drop(far);
                let text = event(driver, &mut told);
                assert!((1..LARGE_BYTES as u64).contains(&taken(&text)), "{name}: {text}");
                if first == Confirm::OnFailure {
                    assert_eq!(taken(&event(driver, &mut told)), 0, "{name}");
                }
                send(driver, owned(5).0, first);
                assert_eq!(taken(&event(driver, &mut told)), 0, "{name}");
                assert!(told.is_empty(), "{name}: {told:?}");
            });
        }
    }

    #[test]
    fn buffers_come_back_in_a_steady_state() {
        check(|name, driver, mut far| {
            let (mut told, mut places) = (Vec::new(), Vec::new());
            for round in 0..20 {
                let mut buffer = driver.buffer();
                assert!(
                    buffer.is_empty() && (round < 2 || buffer.capacity() >= 64),
                    "{name} {round}"
                );
                buffer.extend_from_slice(&[7; 64]);
                places.push(buffer.as_ptr());
                send(driver, Payload::Buffer(buffer), Confirm::OnFailure);
                turn(driver, 0, &mut told);
                far.read_exact(&mut [0; 64]).unwrap();
            }
            places[2..].iter().for_each(|place| assert!(places[..2].contains(place), "{name}"));
            assert!(told.is_empty(), "{name}: {told:?}");
        });
    }

    #[test]
    fn a_wake_from_another_thread_ends_a_wait() {
        for (name, mut driver) in drivers() {
            let wakes = EventFd::new().unwrap();
            driver.watch(wakes.try_clone().unwrap().into()).unwrap();
            let second = driver.watch(wakes.try_clone().unwrap().into()).unwrap_err();
            assert_eq!(second.kind(), io::ErrorKind::AlreadyExists);
            let mut told = Vec::new();
            for round in 0..5 {
                let signals = wakes.try_clone().unwrap();
                let (start, waker) = (
                    Instant::now(),
                    thread::spawn(move || {
                        thread::sleep(Duration::from_millis(10));
                        signals.signal();
                    }),
                );
                let timeout = Duration::from_secs(10);
                driver.wait(Wait::one(timeout)).unwrap();
                assert_eq!(driver.reap(&mut told), 0, "{name}");
                let waited = start.elapsed();
                waker.join().unwrap();
                let in_time = Duration::from_millis(9)..Duration::from_secs(5);
                assert!(in_time.contains(&waited), "{name} round {round}: {waited:?}");
                assert_eq!(wakes.drain(), 0, "{name}: the driver drains");
            }
            // A signal before the wait is not lost.
            wakes.signal();
            let start = Instant::now();
            let timeout = Duration::from_secs(10);
            driver.wait(Wait::one(timeout)).unwrap();
            assert!(
                driver.reap(&mut told) == 0 && start.elapsed() < Duration::from_secs(5),
                "{name}"
            );
        }
    }

    /// Whoever does not reap until zero neither sleeps over what is left nor misses what comes elsewhere.
    #[test]
    fn a_wait_does_not_sleep_over_what_was_left() {
        check(|name, driver, mut flood| {
            let (near, mut far) = pair();
            socket::set_blocking(&near, driver.blocking()).unwrap();
            driver.try_submit(SLOT_BESIDE, Op::Adopt { socket: near }).unwrap();
            for slot in [SLOT, SLOT_BESIDE] {
                driver.try_submit(slot, Op::Receive(Window::Stream)).unwrap();
            }
            let stop = flood.try_clone().unwrap();
            let flooder = thread::spawn(move || while flood.write_all(&[0; 64 << 10]).is_ok() {});
            let (mut told, mut beside, start) = (Vec::new(), 0, Instant::now());
            while beside < 20 {
                assert!(start.elapsed() < Duration::from_secs(10), "{name}: {beside}");
                far.write_all(b"x").unwrap();
                driver.wait(Wait::one(Duration::from_secs(20))).unwrap();
                driver.reap(&mut told);
                for Completion { slot, event } in told.drain(..) {
                    beside += u32::from(slot == SLOT_BESIDE);
                    if let Event::Received(lent, armed) = event {
                        driver.give_back(lent);
                        if armed == Armed::Yes {
                            continue;
                        }
                    }
                    driver.try_submit(slot, Op::Receive(Window::Stream)).unwrap();
                }
            }
            stop.shutdown(Shutdown::Both).unwrap();
            flooder.join().unwrap();
        });
    }

    #[test]
    fn a_wait_ends_when_its_time_is_up_counted_from_when_it_says() {
        for (name, mut driver) in drivers() {
            let begun = Clock::now();
            let minute = Duration::from_secs(60);
            // Up already; up soon, though it has begun long before; up after the call.
            let long_before =
                Clock::from_nanos((begun - Clock::default() - minute).as_nanos() as u64);
            let waits = [(long_before, minute), (long_before, minute + Duration::from_millis(20))];
            for (since, timeout) in waits {
                driver.wait(Wait { since: Some(since), ..Wait::one(timeout) }).unwrap();
                let waited = Clock::now() - begun;
                assert!(since + timeout <= begun + waited, "{name}: too early: {waited:?}");
                assert!(waited < minute / 2, "{name}: {waited:?}");
            }
        }
    }

    /// Whether the alarm sounds within the time.
    fn sounds(alarm: &Alarm, within: Duration) -> bool {
        let (Alarm::Counter(descriptor) | Alarm::Readable(descriptor)) = alarm;
        let mut asked =
            libc::pollfd { fd: descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let start = Instant::now();
        while start.elapsed() < within {
            // SAFETY: one valid pollfd, which outlives the call.
            let count = unsafe { libc::poll(&raw mut asked, 1, 20) };
            if count > 0 {
                return true;
            }
        }
        false
    }

    #[test]
    fn an_alarm_sounds_for_each_completion_while_the_host_sleeps() {
        check(|name, driver, mut far| {
            let alarm = driver.alarm().unwrap();
            let mut told = Vec::new();
            driver.try_submit(SLOT, Op::Receive(Window::Stream)).unwrap();
            for round in 0..5 {
                turn(driver, 0, &mut told);
                // What was told meanwhile may have sounded it: a host that wakes for nothing sleeps again.
                if let Alarm::Counter(counter) = &alarm
                    && sounds(&alarm, Duration::from_millis(20))
                {
                    let mut count = [0; 8];
                    std::fs::File::from(counter.try_clone().unwrap())
                        .read_exact(&mut count)
                        .unwrap();
                }
                assert!(!sounds(&alarm, Duration::from_millis(10)), "{name} round {round}");
                far.write_all(b"ring").unwrap();
                assert!(sounds(&alarm, Duration::from_secs(2)), "{name} round {round}");
                turn(driver, 0, &mut told);
                let Some(Completion { event: Event::Received(lent, armed), .. }) = told.pop()
                else {
                    panic!("{name} round {round}: nothing came")
                };
                driver.give_back(lent);
                if armed == Armed::No {
                    driver.try_submit(SLOT, Op::Receive(Window::Stream)).unwrap();
                }
            }
        });
    }

    #[test]
    fn an_ended_peer_fails_a_confirmed_send() {
        check(|name, driver, far| {
            far.shutdown(Shutdown::Both).unwrap();
            socket::reset_on_close(&far).unwrap();
            drop(far);
            let (mut told, mut last) = (Vec::new(), String::new());
            for _ in 0..3 {
                send(driver, Payload::Buffer(b"anybody?".to_vec()), Confirm::Always);
                last = event(driver, &mut told);
            }
            let epipe = Event::SendFailed { errno: Errno(libc::EPIPE), taken: 0 };
            assert_eq!(last, format!("{epipe:?}"), "{name}");
        });
    }

    /// On loopback the peer acknowledges while the sender still sends, which makes room in a small buffer just when the send begins to wait for it: a cancellation in
    /// the same enter misses it.
    #[test]
    fn a_close_ends_though_its_cancellation_came_too_early() {
        for turns in [0, 0, 0, 1, 1, 2] {
            for confirm in [Confirm::Always, Confirm::OnFailure] {
                check_with(tiny_pair, |name, driver, far| {
                    let mut told = Vec::new();
                    send(driver, owned(LARGE_BYTES).0, confirm);
                    (0..turns).for_each(|_| turn(driver, 0, &mut told));
                    driver.try_submit(SLOT, Op::Close).unwrap();
                    assert_eq!(event(driver, &mut told), "Closed", "{name}");
                    drop(far);
                });
            }
        }
    }

    #[test]
    fn a_close_is_a_reset_if_it_is_said_before() {
        check(|name, driver, mut far| {
            let mut told = Vec::new();
            driver.try_submit(SLOT, Op::Receive(Window::Stream)).unwrap();
            send(driver, Payload::Buffer(b"half".to_vec()), Confirm::Always);
            assert_eq!(event(driver, &mut told), "Sent", "{name}");
            driver.try_submit(SLOT, Op::ResetOnClose).unwrap();
            driver.try_submit(SLOT, Op::Close).unwrap();
            assert_eq!(event(driver, &mut told), "Closed", "{name}");
            far.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let error = far.read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET), "{name}");
        });
    }

    /// A connected pair of Unix sockets, whose end reads like any other.
    /// Without that they would go on for as long as the peer likes, and read templates when
    /// the driver is long gone.
    #[test]
    fn a_close_cuts_off_quiet_sends_that_wait_for_room() {
        const BYTES: usize = 16 << 10;
        const SENDS: usize = 64;
        for end in [Ok(()), Err(libc::ECONNRESET)] {
            check(|name, driver, mut far| {
                let template = driver.register(vec![b'x'; BYTES].into()).unwrap();
                let span = Span { template, start: 0, bytes: BYTES as u32 };
                let mut told = Vec::new();
                for _ in 0..SENDS {
                    let op = Op::Send { span, confirm: Confirm::OnFailure };
                    driver.try_submit(SLOT, op).unwrap();
                    turn(driver, 0, &mut told);
                }
                if end.is_err() {
                    driver.try_submit(SLOT, Op::ResetOnClose).unwrap();
                }
                driver.try_submit(SLOT, Op::Close).unwrap();
                assert_eq!(event(driver, &mut told), "Closed", "{name}");
                far.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                let mut seen = Vec::new();
                let read = far.read_to_end(&mut seen).map(drop);
                assert_eq!(read.map_err(|error| error.raw_os_error().unwrap()), end, "{name}");
                assert!(seen.len() < SENDS * BYTES, "{name}: all was sent");
            });
        }
    }

    fn unix_pair() -> (OwnedFd, TcpStream) {
        let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        (near.into(), OwnedFd::from(far).into())
    }

    /// What a receive brought so far, and its end.
    #[derive(Default)]
    struct Reading {
        bytes: Vec<u8>,
        end: Option<End>,
    }

    impl Reading {
        /// One turn, as a shard's: whatever but the end ends the receive, it is asked for again.
        fn turn(&mut self, driver: &mut dyn Driver, completions: u32) {
            let mut told = Vec::new();
            turn(driver, completions, &mut told);
            for completion in told {
                let over = match completion.event {
                    Event::Received(lent, armed) => {
                        self.bytes.extend_from_slice(driver.bytes(&lent));
                        driver.give_back(lent);
                        armed == Armed::No
                    }
                    Event::ReceiveEnded(End::Starved | End::Stopped) => true,
                    Event::ReceiveEnded(end) => {
                        self.end = Some(end);
                        false
                    }
                    other => panic!("{other:?}"),
                };
                if over {
                    driver.try_submit(SLOT, Op::Receive(Window::Stream)).unwrap();
                }
            }
        }
    }

    /// Bytes, and the end behind them, that come before the receive is looked at.
    fn check_end(pair: fn() -> (OwnedFd, TcpStream), end: impl Fn(&TcpStream), expected: End) {
        for turns in [0, 1, 2] {
            check_with(pair, |name, driver, mut far| {
                let mut reading = Reading::default();
                driver.try_submit(SLOT, Op::Receive(Window::Stream)).unwrap();
                reading.turn(driver, 0);
                far.write_all(b"first ").unwrap();
                (0..turns).for_each(|_| reading.turn(driver, 0));
                far.write_all(b"last").unwrap();
                end(&far);
                drop(far);
                let start = Instant::now();
                while reading.end.is_none() && start.elapsed() < Duration::from_secs(5) {
                    reading.turn(driver, 1);
                }
                assert_eq!(reading.end, Some(expected), "{name}, after {turns} turns");
                assert_eq!(reading.bytes, b"first last", "{name}, after {turns} turns");
            });
        }
    }

    #[test]
    fn the_end_behind_bytes_is_told() {
        let reset = |far: &TcpStream| socket::reset_on_close(far).unwrap();
        check_end(pair, reset, End::Failed(Errno(libc::ECONNRESET)));
        check_end(pair, |_| {}, End::Eof);
        check_end(unix_pair, |_| {}, End::Eof);
    }

    /// What is queued names a place in the ring's file table: the place must not change hands before.
    #[test]
    fn a_quiet_send_goes_out_on_its_own_socket_though_the_slot_is_used_again_at_once() {
        check(|name, driver, mut far| {
            let template = driver.register(b"answer".as_slice().into()).unwrap();
            let span = Span { template, start: 0, bytes: 6 };
            driver.try_submit(SLOT, Op::Send { span, confirm: Confirm::OnFailure }).unwrap();
            driver.try_submit(SLOT, Op::Close).unwrap();
            let mut told = Vec::new();
            while driver.reap(&mut told) > 0 {}
            if told.is_empty() {
                assert_eq!(event(driver, &mut told), "Closed", "{name}");
            }
            let (near, mut other) = pair();
            driver.try_submit(SLOT.next(), Op::Adopt { socket: near }).unwrap();
            driver.try_submit(SLOT.next(), Op::Send { span, confirm: Confirm::Always }).unwrap();
            told.clear();
            assert_eq!(event(driver, &mut told), "Sent", "{name}");
            driver.try_submit(SLOT.next(), Op::Close).unwrap();
            assert_eq!(event(driver, &mut told), "Closed", "{name}");
            for (end, socket) in [("closed", &mut far), ("next", &mut other)] {
                let mut seen = String::new();
                socket.read_to_string(&mut seen).unwrap();
                assert_eq!(seen, "answer", "{name}: {end}");
            }
        });
    }

    /// A socket that can't be watched or connected is in the way of its slot no longer than any other.
    #[test]
    fn a_connect_that_fails_at_once_leaves_a_slot_that_can_be_closed() {
        for (name, mut driver) in drivers() {
            let no_socket = std::fs::File::open("/proc/self/exe").unwrap();
            let peer = ([127, 0, 0, 1], 9).into();
            driver.try_submit(SLOT, Op::Connect { socket: no_socket.into(), peer }).unwrap();
            let mut told = Vec::new();
            let failed = event(&mut *driver, &mut told);
            assert!(failed.starts_with("ConnectFailed"), "{name}: {failed}");
            driver.try_submit(SLOT, Op::Close).unwrap();
            assert_eq!(event(&mut *driver, &mut told), "Closed", "{name}");
        }
    }

    /// What a server sends at once, and its end, may come with the connection itself.
    #[test]
    fn what_comes_with_a_connection_is_told() {
        for (name, mut driver) in drivers() {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let peer = listener.local_addr().unwrap();
            let socket = socket::for_peer(peer, driver.blocking()).unwrap();
            driver.try_submit(SLOT, Op::Connect { socket, peer }).unwrap();
            // A look, which has a ring begin.
            let mut told = Vec::new();
            if driver.blocking() == Blocking::Yes {
                turn(&mut *driver, 0, &mut told);
            }
            let (mut far, _) = listener.accept().unwrap();
            far.write_all(b"first").unwrap();
            far.shutdown(Shutdown::Write).unwrap();
            assert_eq!(event(&mut *driver, &mut told), "Connected", "{name}");
            driver.try_submit(SLOT, Op::Receive(Window::Once)).unwrap();
            let received = event(&mut *driver, &mut told);
            assert!(received.starts_with("Received"), "{name}: {received}");
        }
    }

    #[test]
    fn a_close_without_anything_pending_ends_the_next_wait() {
        check(|name, driver, _far| {
            let mut told = Vec::new();
            turn(driver, 0, &mut told);
            driver.try_submit(SLOT, Op::Close).unwrap();
            let (start, timeout) = (Instant::now(), Duration::from_secs(20));
            driver.wait(Wait { completions: 1, timeout, ..Wait::LOOK }).unwrap();
            assert!(start.elapsed() < timeout / 2, "{name}");
            assert!(driver.reap(&mut told) > 0, "{name}");
        });
    }
}
