//! The client that waits: on a plain thread, and where it may not.

use ringshot::client::Kind;
use ringshot::client::blocking::{self, block_on};

use crate::access::{check, get, origin};

#[test]
fn a_plain_thread_just_waits() {
    check(
        |builder| builder,
        |access| {
            let (origin, client) = (origin(), blocking::Client::from(access.client.clone()));
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        for _ in 0..10 {
                            let response = client.get(origin.url("/redirect/1")).send().unwrap();
                            assert_eq!(
                                (response.status().as_u16(), response.redirects()),
                                (200, 1)
                            );
                        }
                    });
                }
            });
            let mut body = client.open(get(&origin.url("/bytes/200000"))).unwrap().into_body();
            assert!(body.chunk().unwrap().is_some());
            assert!(body.discard().unwrap() < 200_000);
        },
    );
}

/// It would wait for the core that it keeps from working.
#[test]
fn a_task_of_a_core_may_not_block_it() {
    check(
        |builder| builder,
        |access| {
            let (origin, client) = (origin(), blocking::Client::from(access.client.clone()));
            let url = origin.url("/bytes/200000");
            let open = client.open(get(&url)).unwrap().into_body();
            let (its, whole) = (client.clone(), url.clone());
            let work = async move |_| {
                let mut body = open;
                let calls = [
                    its.get(&whole).send().map(drop),
                    its.fetch(get(&whole)).map(drop),
                    its.open(get(&whole)).map(drop),
                    body.chunk().map(drop),
                    body.discard().map(drop),
                ];
                calls.map(Result::unwrap_err)
            };
            for error in block_on(access.engine.run_on(0, work)).unwrap() {
                assert!(matches!(error.kind(), Kind::Config(_)), "{error}");
                let text = error.to_string();
                assert!(text.contains("in a task") && text.contains(&url), "{text}");
            }
            assert_eq!(client.get(&url).send().unwrap().bytes().len(), 200_000);
            let results = access.client.batch([url]).completed().into_blocking();
            let error = block_on(access.engine.run_on(0, async move |_| results.count()));
            let error = error.unwrap_err();
            assert!(matches!(error.kind(), Kind::User(_)), "{error}");
            assert!(error.to_string().contains("in a task"), "{error}");
        },
    );
}
