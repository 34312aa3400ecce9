//! Files from nginx, byte for byte, to 64 tasks at a time, by every way of reading.

use ringshot::client::blocking::block_on;
use ringshot::client::{Body, CoreCtx, LocalBody, Response};
use ringshot_tests::servers::{LARGE_BYTES, MEDIUM_BYTES, Nginx, content};

use super::rig::{Case, Rig, Way, each, join_all};

const FILES: [(&str, usize); 4] = [
    ("/medium", MEDIUM_BYTES),
    ("/large", LARGE_BYTES),
    ("/chunked/medium", MEDIUM_BYTES),
    ("/chunked/large", LARGE_BYTES),
];
const TASKS: usize = 64;

/// A body away from its core, or on it.
trait Reads {
    async fn next(&mut self) -> Option<bytes::Bytes>;
    async fn whole(self) -> bytes::Bytes;
    async fn thrown_away(self) -> u64;
}

macro_rules! reads {
    ($body:ty) => {
        impl Reads for $body {
            async fn next(&mut self) -> Option<bytes::Bytes> {
                self.chunk().await.unwrap()
            }

            async fn whole(self) -> bytes::Bytes {
                self.bytes().await.unwrap()
            }

            async fn thrown_away(self) -> u64 {
                self.discard().await.unwrap()
            }
        }
    };
}
reads!(Body);
reads!(LocalBody);

/// Reads a body in one of four ways, and compares.
async fn check_body<B: Reads>(response: Response<B>, way: usize, expected: &[u8]) {
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let mut at = 0;
    // In pieces to the end, or a few of them before the rest is read at once or thrown away.
    let pieces = [usize::MAX, 0, 0, 3][way % 4];
    for _ in 0..pieces {
        let Some(piece) = body.next().await else { break };
        assert!(!piece.is_empty() && piece == expected[at..at + piece.len()], "from byte {at}");
        at += piece.len();
    }
    match way % 4 {
        0 => assert_eq!(at, expected.len()),
        1 => assert!(body.whole().await == expected),
        _ => assert_eq!(at as u64 + body.thrown_away().await, expected.len() as u64),
    }
}

/// What the `number`th task reads, and how.
fn part(nginx: &Nginx, number: usize) -> (String, usize, usize) {
    let (path, bytes) = FILES[number % 4];
    (nginx.url(path), bytes, number / 4)
}

#[test]
fn files_by_every_way_of_reading() {
    let Some(nginx) = Nginx::start() else { return };
    each(|case| check_files(case, &nginx));
}

fn check_files(case: Case, nginx: &Nginx) {
    let rig = Rig::new(case, |client| client.max_conns_per_host(32).body_buffer_bytes(32 << 10));
    let rounds = 2;
    for _ in 0..rounds {
        match case.way {
            Way::Cross => block_on(async {
                let tasks = (0..TASKS).map(|number| {
                    let (url, bytes, way) = part(nginx, number);
                    let client = &rig.client;
                    async move {
                        let response = client.get(&url).send().await.unwrap();
                        check_body(response, way, &content(bytes)).await;
                    }
                });
                join_all(tasks).await;
            }),
            Way::Local => read_locally(&rig, nginx),
        }
    }
    rig.check_at_rest();
    // A body that is read to its end, or thrown away to it, keeps its connection.
    assert_eq!(rig.count(|counters| counters.responses), (rounds * TASKS) as u64);
    if case.cores == 1 {
        // Two cores hand connections to each other by closing them.
        assert_eq!(rig.count(|counters| counters.connected), 32, "{case}: connections are kept");
    }
}

fn read_locally(rig: &Rig, nginx: &Nginx) {
    let cores = rig.engine.cores();
    let on_core = |core: usize| {
        let numbers = (0..TASKS).filter(|number| number % cores == core);
        let parts: Vec<_> = numbers.map(|number| part(nginx, number)).collect();
        let client = rig.client.clone();
        let work = move |ctx: CoreCtx| async move {
            let tasks = parts.into_iter().map(|(url, bytes, way)| {
                let client = ctx.client(&client);
                ctx.spawn(async move {
                    let response = client.get(&url).send().await.unwrap();
                    check_body(response, way, &content(bytes)).await;
                })
            });
            for task in tasks.collect::<Vec<_>>() {
                task.await.unwrap();
            }
        };
        rig.engine.run_on(core, work)
    };
    let ends = block_on(join_all((0..cores).map(on_core)));
    ends.into_iter().for_each(|end| end.unwrap());
}
