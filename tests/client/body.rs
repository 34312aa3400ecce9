//! Reading a body, limits on it, throwing it away, dropping it: items 50 and 58 of B2, client-api.md E2.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ringshot::client::{ClientBuilder, Kind, LimitKind, Phase};
use ringshot::shard::DRAIN_BYTES_MAX;
use ringshot_tests::peer::Peer;
use ringshot_tests::watch::wait_until;

use crate::access::{LONG, check, get, millis, origin};
use crate::feed::pause;

fn plain(builder: ClientBuilder) -> ClientBuilder {
    builder
}

/// A body of every length around the sizes of buffers comes byte for byte, in pieces and whole, framed either way.
#[test]
fn bodies_come_as_they_were_sent() {
    check(plain, |access| {
        let origin = origin();
        for bytes in [0, 1, 4095, 4097, 16_383, 65_536, 65_537, 262_145, 1_000_003] {
            for framing in ["bytes", "chunked"] {
                let url = origin.url(&format!("/{framing}/{bytes}"));
                let whole = access.get(&url).unwrap();
                assert_eq!(whole.bytes().len(), bytes, "{url}");
                let (pieces, again) = (url.clone(), url.clone());
                let pieces = on_client!(access, client => {
                    let mut response = client.send(get(&pieces)).await.unwrap();
                    let mut all = Vec::new();
                    while let Some(piece) = response.chunk().await.unwrap() {
                        assert!(!piece.is_empty());
                        all.extend_from_slice(&piece);
                    }
                    assert!(response.chunk().await.unwrap().is_none());
                    all
                });
                assert!(pieces == whole.bytes()[..], "{url}");
                let limited = on_client!(access, client => {
                    client.send(get(&again)).await.unwrap().into_body().bytes_limited(bytes as u64).await
                });
                assert!(limited.unwrap() == whole.bytes(), "{url}");
            }
        }
        assert_eq!(origin.counters().accepted, 1);
    });
}

/// Whoever does not read stops the server: it gets rid of what the buffers of both kernels and ours hold, and no more.
#[test]
fn not_reading_stops_the_server() {
    const PIECE: usize = 64 << 10;
    const TOTAL: u64 = 256 << 20;
    check(plain, |access| {
        let sent = Arc::<AtomicU64>::default();
        let count = Arc::clone(&sent);
        let peer = Peer::start(move |mut peer| {
            peer.request();
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {TOTAL}\r\n\r\n"));
            let piece = vec![b'x'; PIECE];
            while peer.send(&piece) {
                count.fetch_add(PIECE as u64, Ordering::SeqCst);
            }
        });
        let (url, seen) = (peer.url(), Arc::clone(&sent));
        on_client!(access, client => {
            let mut response = client.send(get(&url)).await.unwrap();
            response.chunk().await.unwrap();
            let mut before = u64::MAX;
            while seen.load(Ordering::SeqCst) != before {
                before = seen.load(Ordering::SeqCst);
                pause(millis(150)).await;
            }
            // 6 MiB is the most that the kernel lets a receive buffer grow to, and 4 MiB a send buffer.
            assert!(before < 16 << 20, "{before} bytes");
            // Reading on lets it go on.
            for _ in 0..1000 {
                response.chunk().await.unwrap().unwrap();
            }
            pause(millis(100)).await;
            assert!(seen.load(Ordering::SeqCst) > before);
        });
        assert!(wait_until(LONG, || peer.open() == 0));
        access.wait_empty();
    });
}

#[test]
fn what_is_too_long_is_not_held() {
    check(
        |builder| builder.max_body_bytes(1_000),
        |access| {
            let origin = origin();
            for url in ["/bytes/1001", "/chunked/1001", "/bytes/50000000", "/chunked/5000000"] {
                let error = access.get(&origin.url(url)).unwrap_err();
                let kind = error.kind();
                assert!(
                    matches!(kind, Kind::Limit(LimitKind::Body { max_bytes: 1_000 })),
                    "{error}"
                );
                assert_eq!(error.phase(), Phase::Body);
                assert!(error.url().unwrap().ends_with(url) && !error.is_retryable(), "{error}");
            }
            assert_eq!(access.get(&origin.url("/bytes/1000")).unwrap().bytes().len(), 1_000);
            // The request's own limit goes first.
            let own = get(&origin.url("/bytes/2000")).max_body_bytes(2_000);
            assert_eq!(access.fetch(own).unwrap().bytes().len(), 2_000);
            let own = get(&origin.url("/bytes/11")).max_body_bytes(10);
            assert!(access.fetch(own).is_err());
        },
    );
}

/// A length that is announced and too long need not be waited for.
#[test]
fn what_is_announced_as_too_long_fails_at_once() {
    check(
        |builder| builder.max_body_bytes(1_000),
        |access| {
            let peer = Peer::start(|mut peer| {
                peer.request();
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\nonly this");
                peer.stall();
            });
            let error = access.get(&peer.url()).unwrap_err();
            assert!(matches!(error.kind(), Kind::Limit(_)), "{error}");
            let url = peer.url();
            let (piece, error) = on_client!(access, client => {
                let mut response = client.send(get(&url)).await.unwrap();
                let piece = response.chunk().await.unwrap().unwrap();
                (piece, response.into_body().bytes_limited(991).await.unwrap_err())
            });
            assert_eq!(piece, "only this");
            assert!(matches!(error.kind(), Kind::Limit(_)), "{error}");
        },
    );
}

/// Thrown away to the end, however long, the connection is as good as new.
#[test]
fn what_is_discarded_leaves_the_connection() {
    check(plain, |access| {
        let origin = origin();
        for bytes in [0_u64, 10, 70_000, 30_000_000] {
            for (framing, read) in [("bytes", 0), ("chunked", 0), ("bytes", 1), ("chunked", 2)] {
                let url = origin.url(&format!("/{framing}/{bytes}"));
                let (read, discarded) = on_client!(access, client => {
                    let mut response = client.send(get(&url)).await.unwrap();
                    let mut got = 0;
                    for _ in 0..read {
                        got += response.chunk().await.unwrap().map_or(0, |piece| piece.len());
                    }
                    (got as u64, response.into_body().discard().await.unwrap())
                });
                assert_eq!(read + discarded, bytes, "{framing}");
            }
        }
        assert_eq!(origin.counters().accepted, 1);
        access.wait_idle(1);
    });
}

/// Copied to a file it is all there behind what was, however long and however framed, and the connection stays.
#[test]
fn what_is_copied_is_in_the_file() {
    check(plain, |access| {
        let origin = origin();
        for (path, bytes) in [("/bytes/0", 0), ("/bytes/5", 5), ("/chunked/300001", 300_001)] {
            let mut file = scratch(path);
            file.write_all(b"head ").unwrap();
            let (url, copy) = (origin.url(path), file.try_clone().unwrap());
            let copied = on_client!(access, client => {
                let body = client.send(get(&url)).await.unwrap().into_body();
                body.copy_to(copy).await.unwrap()
            });
            assert_eq!(copied, bytes, "{path}");
            let whole = access.get(&origin.url(path)).unwrap();
            assert_eq!(contents(file), [b"head ", &whole.bytes()[..]].concat(), "{path}");
        }
        assert_eq!(origin.counters().accepted, 1);
        access.wait_idle(1);
    });
}

/// What was there of a body that broke is in the file; a file that takes nothing ends the request; either way nothing is left.
#[test]
fn a_copy_tells_what_broke() {
    check(plain, |access| {
        let origin = origin();
        let (file, url) = (scratch("truncated"), origin.url("/truncate/1000000"));
        let copy = file.try_clone().unwrap();
        let error = on_client!(access, client => {
            client.send(get(&url)).await.unwrap().into_body().copy_to(copy).await.unwrap_err()
        });
        assert!(matches!(error.kind(), Kind::Truncated { got: 500_000, .. }), "{error}");
        assert_eq!(contents(file).len(), 500_000);
        let url = origin.url("/bytes/100000000");
        let asked = url.clone();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let error = on_client!(access, client => {
            client.send(get(&asked)).await.unwrap().into_body().copy_to(full).await.unwrap_err()
        });
        assert!(matches!(error.kind(), Kind::CopyTo(_)), "{error}");
        let line = error.to_string();
        assert!(line.contains(&format!("({}): copying to the file: No space", origin.address())));
        assert!(line.starts_with(&format!("GET {url}: read the body ")), "{line}");
        access.wait_empty();
    });
}

/// A file without a name.
fn scratch(name: &str) -> File {
    let name = name.replace('/', "-");
    let name = format!("ringshot-{}-{:?}-{name}", std::process::id(), std::thread::current().id());
    let path = std::env::temp_dir().join(name);
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file
}

fn contents(mut file: File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_discard_tells_what_broke() {
    check(plain, |access| {
        let url = origin().url("/truncate/1000000");
        let origin = origin();
        let url = url.replace(url.split('/').nth(2).unwrap(), &origin.address().to_string());
        let error = on_client!(access, client => {
            client.send(get(&url)).await.unwrap().into_body().discard().await.unwrap_err()
        });
        assert!(
            matches!(error.kind(), Kind::Truncated { expected: Some(1_000_000), got: 500_000 }),
            "{error}"
        );
        access.wait_empty();
    });
}

/// A body that is dropped: a little of it is thrown away and the connection stays; of more, the connection goes. The next response is never what is left.
#[test]
fn a_dropped_body_poisons_nothing() {
    check(plain, |access| {
        let origin = origin();
        let little = DRAIN_BYTES_MAX / 2;
        let table = [
            (format!("/bytes/{little}"), Some(true)),
            (format!("/chunked/{little}"), None),
            ("/bytes/100000000".to_owned(), Some(false)),
            ("/stream/100000/1/1000".to_owned(), Some(false)),
            ("/stream/5000/1/1000".to_owned(), Some(false)),
        ];
        for (path, kept) in table {
            for read in [0, 1] {
                let url = origin.url(&path);
                let connection = on_client!(access, client => {
                    let mut response = client.send(get(&url)).await.unwrap();
                    if read > 0 {
                        response.chunk().await.unwrap();
                    }
                    response.connection().id
                });
                access.wait_for(0, |core| (core.holding.active + core.holding.closing).into());
                let next = access.get(&origin.url("/headers")).unwrap();
                assert!(next.bytes().starts_with(b"GET /headers"), "{path}");
                if let Some(kept) = kept {
                    assert_eq!(next.connection().id == connection, kept, "{path} {read}");
                }
            }
        }
    });
}

/// Dropped in any phase, nothing is left of a request.
#[test]
fn a_dropped_request_leaves_nothing() {
    check(plain, |access| {
        let origin = origin();
        for path in ["/hang", "/delay/5000", "/stream/1000000/10/10", "/chunked/100000000"] {
            let started: Vec<_> = (0..4).map(|_| access.start(get(&origin.url(path)))).collect();
            access.wait_for(4, |core| core.holding.active.into());
            std::thread::sleep(millis(20));
            for request in started {
                if request.is_finished() {
                    assert!(request.outcome().is_err(), "too long for memory");
                } else {
                    request.cancel();
                }
            }
            access.wait_empty();
            assert!(wait_until(LONG, || origin.counters().open == 0), "{path}");
        }
    });
}

/// Small bodies go another way between two threads than large ones.
#[test]
fn a_body_of_any_size_is_whole() {
    check(
        |builder| builder,
        |access| {
            let origin = origin();
            let all = access.get(&origin.url("/bytes/70000")).unwrap();
            for bytes in (0..300).chain([1000, 4096, 65_535, 65_536, 70_000]) {
                let fetched = access.get(&origin.url(&format!("/bytes/{bytes}"))).unwrap();
                assert_eq!(fetched.bytes(), &all.bytes()[..bytes], "{bytes}");
            }
        },
    );
}
