//! What tasks of an executor that turns a core may do to it, and what it costs the executor.

use std::num::NonZeroUsize;
use std::time::Duration;

use glommio::spawn_local;
use glommio::timer::sleep;
use ringshot::client::blocking::{self, block_on};
use ringshot::client::{Cores, Engine, Error, Kind, Request};
use ringshot::host::Host;
use ringshot::queue;
use ringshot_tests::load::choices;
use ringshot_tests::watch::wait_until;

use super::{each, glommio, has_glommio, origin};

/// A glommio task that panics ends the executor of its core, and with it the engine: what was brought there is told so, and nothing is kept.
#[test]
fn a_panic_of_a_glommio_task_ends_the_engine_of_its_core() {
    if !has_glommio() {
        return;
    }
    let (origin, url) = origin();
    for driver in choices() {
        let builder = Engine::builder().cores(Cores::Count(1)).driver(driver);
        let engine = builder.host(Host::Glommio).build().unwrap();
        let client = engine.client().build().unwrap();
        assert_eq!(block_on(client.get(&url).fetch()).unwrap().status(), 200);
        let waiting = engine.run_on(0, async |ctx| ctx.sleep(Duration::from_secs(60)).await);
        block_on(engine.run_on(0, async |_| {
            let panics = async {
                sleep(Duration::from_millis(20)).await;
                panic!("a task of the application's");
            };
            drop(spawn_local(panics).detach());
        }))
        .unwrap();
        let error = block_on(waiting).unwrap_err();
        assert!(matches!(error.kind(), Kind::Shutdown), "{driver:?}: {error}");
        let error = block_on(client.get(&url).fetch()).unwrap_err();
        assert!(matches!(error.kind(), Kind::Shutdown), "{driver:?}: {error}");
        assert!(engine.shutdown().is_err(), "{driver:?}");
        assert_eq!(client.limits_observed().conns_now, 0, "{driver:?}");
        assert!(wait_until(Duration::from_secs(10), || origin.counters().open == 0));
    }
}

/// A blocking call in a task of the executor would stop the core that the task is on, be the executor ours or the application's.
#[test]
fn a_blocking_call_in_a_glommio_task_is_refused() {
    if !has_glommio() {
        return;
    }
    let (origin, url) = origin();
    let check = |outcome: Result<(), Error>| {
        let error = outcome.unwrap_err();
        assert!(matches!(error.kind(), Kind::Config(_)), "{error}");
    };
    let engine = Engine::builder().cores(Cores::Count(1)).host(Host::Glommio).build().unwrap();
    let client = blocking::Client::from(engine.client().build().unwrap());
    let target = url.clone();
    let told = block_on(engine.run_on(0, async move |_| {
        spawn_local(async move {
            sleep(Duration::from_millis(5)).await;
            client.get(&target).send().map(drop)
        })
        .await
    }));
    check(told.unwrap());
    glommio(async {
        let (engine, _) = Engine::builder().attach().unwrap();
        let client = blocking::Client::from(engine.client().build().unwrap());
        // Of a body of which more is to come, too.
        let large = origin.url("/bytes/1000000");
        let (tell, told) = queue::bounded(NonZeroUsize::MIN);
        let elsewhere = client.clone();
        std::thread::spawn(move || {
            let response = elsewhere.open(Request::get(large).unwrap()).unwrap();
            block_on(tell.send(response.into_body())).is_ok()
        });
        let mut body = told.recv().await.unwrap().into_inner();
        check(spawn_local(async move { body.chunk().map(drop) }).await);
        check(spawn_local(async move { client.get(&url).send().map(drop) }).await);
    });
}

/// Waiting for a slow response costs no processor: on glommio too, where a core blocks in the driver for a moment only.
#[test]
fn a_core_sleeps_over_what_is_slow() {
    let (origin, _) = origin();
    each(|builder, what| {
        let engine = builder.build().unwrap();
        let client = engine.client().build().unwrap();
        let own = engine.clone();
        let turns = move || own.stats()[0].turns.iter().sum::<u64>();
        let url = origin.url("/delay/500");
        let (turned, status) = block_on(engine.run_on(0, async move |ctx| {
            let client = ctx.client(&client);
            let first = turns();
            let status = client.get(&url).fetch().await.unwrap().status();
            (turns() - first, status)
        }))
        .unwrap();
        assert_eq!(status, 200, "{what}");
        // Blocks of 100 us would be 5,000 turns, sleeps of 10 ms are 50.
        assert!(turned < 1_000, "{what}: {turned} turns");
    });
}
