//! Who turns the shards: both hosts on both drivers, and a shard inside an application's own glommio executor.

#[path = "hosts/guests.rs"]
mod guests;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use glommio::timer::{Timer, sleep};
use glommio::{LocalExecutorBuilder, Placement, spawn_local};
use ringshot::client::blocking::block_on;
use ringshot::client::{Cores, Engine, EngineBuilder, Holding};
use ringshot::driver::DriverChoice;
use ringshot::host::Host;
use ringshot::load::{Plan, Stop};
use ringshot::origin::{Config, Origin};
use ringshot::sys::process::CpuTime;
use ringshot_tests::load::{Asked, choices, drivers, hosts, plan, run_whole};

fn each(check: impl Fn(EngineBuilder, &str)) {
    for host in hosts() {
        for driver in choices() {
            let builder = Engine::builder().cores(Cores::Count(1)).driver(driver).host(host);
            check(builder, &format!("{host}, {driver:?}"));
        }
    }
}

/// Whether an executor of glommio's can start here.
fn has_glommio() -> bool {
    hosts().contains(&Host::Glommio)
}

/// On each driver inside of an application's executor, if there can be one.
fn each_driver(check: impl Fn(DriverChoice)) {
    if has_glommio() {
        choices().into_iter().for_each(check);
    }
}

#[cfg(test)]
fn origin() -> (Origin, String) {
    let origin = Origin::start(&Config::on_loopback()).unwrap();
    let url = format!("http://{}", origin.address());
    (origin, url)
}

/// An application's executor.
#[cfg(test)]
fn glommio<T>(future: impl Future<Output = T>) -> T {
    let builder = LocalExecutorBuilder::new(Placement::Unbound).io_memory(0);
    builder.make().unwrap().run(future)
}

#[test]
fn cores_start_and_stop_many_times() {
    each(|builder, what| {
        let start = Instant::now();
        for _ in 0..20 {
            let engine = builder.clone().build().unwrap();
            assert_eq!(block_on(engine.run_on(0, async |_| 5)).unwrap(), 5);
            engine.shutdown().unwrap();
        }
        // Nobody waits for the longest that a turn may block.
        assert!(start.elapsed() < Duration::from_secs(10), "{what}: {:?}", start.elapsed());
    });
}

#[test]
fn requests_are_answered_on_each_host() {
    let (_origin, url) = origin();
    each(|builder, what| {
        let engine = builder.build().unwrap();
        let client = engine.client().build().unwrap();
        for n in 0..200 {
            let response = block_on(client.get(&url).send()).unwrap();
            assert_eq!((response.status().as_u16(), response.connection().reused), (200, n > 0));
            assert!(!block_on(response.bytes()).unwrap().is_empty(), "{what}");
        }
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        assert_eq!(block_on(client.get(&url).send()).unwrap().status(), 200);
                    }
                });
            }
        });
    });
}

#[test]
fn a_quiet_core_sleeps() {
    let (_origin, url) = origin();
    each(|builder, what| {
        let engine = builder.build().unwrap();
        let client = engine.client().build().unwrap();
        let (url, own) = (url.clone(), engine.clone());
        let turns = move || own.stats()[0].turns.iter().sum::<u64>();
        let (turned, cpu, slept) = block_on(engine.run_on(0, async move |ctx| {
            // An idle connection, whose timer and receive stay armed.
            let client = ctx.client(&client);
            client.get(&url).send().await.unwrap().bytes().await.unwrap();
            ctx.sleep(Duration::from_millis(100)).await;
            let (before, start, first) = (CpuTime::of_thread(), Instant::now(), turns());
            ctx.sleep(Duration::from_millis(300)).await;
            (turns() - first, CpuTime::of_thread().since(before).total(), start.elapsed())
        }))
        .unwrap();
        // A look every 640 us would be 470 turns, and looking all the time 300 ms; a busy machine charges some milliseconds for nothing.
        assert!(turned < 50, "{what}: {turned} turns in {slept:?}");
        assert!(cpu < Duration::from_millis(100), "{what}: {cpu:?} of CPU in {slept:?}");
        assert!(slept >= Duration::from_millis(300), "{what}: {slept:?}");
    });
}

#[test]
fn a_core_that_sleeps_sees_the_end_of_an_idle_connection() {
    each(|builder, what| {
        let (origin, url) = origin();
        let engine = builder.build().unwrap();
        let client = engine.client().build().unwrap();
        block_on(async { client.get(&url).send().await.unwrap().bytes().await.unwrap() });
        let idle = || engine.stats()[0].holding.idle;
        while idle() == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_millis(50));
        origin.stop().unwrap();
        let gone = Instant::now() + Duration::from_secs(10);
        while idle() > 0 {
            assert!(Instant::now() < gone, "{what}");
            thread::sleep(Duration::from_millis(1));
        }
    });
}

#[test]
fn another_thread_wakes_a_core_that_sleeps() {
    let (_origin, url) = origin();
    each(|builder, what| {
        let engine = builder.build().unwrap();
        let client = engine.client().build().unwrap();
        let mut late = Vec::new();
        for _ in 0..20 {
            thread::sleep(Duration::from_millis(10));
            let start = Instant::now();
            block_on(async { client.get(&url).send().await.unwrap().bytes().await.unwrap() });
            late.extend(Some(start.elapsed()).filter(|took| *took >= Duration::from_millis(900)));
        }
        // Once the machine may stand still.
        assert!(late.len() < 2, "{what}: {late:?}");
    });
}

#[test]
fn glommio_tasks_run_on_a_core_of_ours() {
    if !has_glommio() {
        return;
    }
    let engine = Engine::builder().host(Host::Glommio).build().unwrap();
    let told = block_on(engine.run_on(0, async |_| {
        let task = spawn_local(async {
            sleep(Duration::from_millis(20)).await;
            7
        });
        task.await
    }));
    assert_eq!(told.unwrap(), 7);
}

#[test]
fn tasks_of_an_application_share_the_executor_with_a_core() {
    let (_origin, url) = origin();
    each_driver(|driver| {
        glommio(async {
            let (engine, ctx) = Engine::builder().driver(driver).attach().unwrap();
            assert_eq!((engine.cores(), engine.host()), (1, Host::Glommio));
            let client = ctx.client(&engine.client().build().unwrap());
            let tasks: Vec<_> = (0..32)
                .map(|_| {
                    let (client, url) = (client.clone(), url.clone());
                    spawn_local(async move {
                        let mut bytes = 0;
                        for _ in 0..50 {
                            let response = client.get(&url).send().await.unwrap();
                            bytes += response.bytes().await.unwrap().len();
                        }
                        bytes
                    })
                })
                .collect();
            for task in tasks {
                assert_eq!(task.await, 50 * 13);
            }
            // Asleep now: a task of the executor wakes it, and one on another thread does.
            sleep(Duration::from_millis(50)).await;
            client.get(&url).send().await.unwrap().bytes().await.unwrap();
            sleep(Duration::from_millis(50)).await;
            let (remote, there) = (engine.client().build().unwrap(), url.clone());
            let (told, tells) = glommio::channels::shared_channel::new_bounded(1);
            let other = thread::spawn(move || {
                let status = block_on(remote.get(&there).send()).unwrap().status();
                glommio(async { told.connect().await.send(status.as_u16()).await.unwrap() });
            });
            assert_eq!(tells.connect().await.recv().await, Some(200));
            other.join().unwrap();
        });
    });
}

#[test]
fn two_cores_on_one_executor_take_turns() {
    let (_origin, url) = origin();
    each_driver(|driver| {
        glommio(async {
            let both = [(); 2].map(|()| Engine::builder().driver(driver).attach().unwrap());
            let tasks: Vec<_> = both
                .iter()
                .cycle()
                .take(16)
                .map(|(engine, ctx)| {
                    let client = ctx.client(&engine.client().build().unwrap());
                    let url = url.clone();
                    spawn_local(async move {
                        for _ in 0..50 {
                            let response = client.get(&url).send().await.unwrap();
                            response.bytes().await.unwrap();
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await;
            }
        });
    });
}

#[test]
fn a_request_is_cancelled_from_another_task() {
    let (_origin, url) = origin();
    each_driver(|driver| {
        glommio(async {
            let (engine, ctx) = Engine::builder().driver(driver).attach().unwrap();
            let client = ctx.client(&engine.client().max_conns(1).build().unwrap());
            let hang = format!("{url}/hang");
            let slow = client.clone();
            let hanging = spawn_local(async move { slow.get(&hang).send().await.map(drop) });
            while engine.stats()[0].holding.active == 0 {
                sleep(Duration::from_millis(1)).await;
            }
            assert!(hanging.cancel().await.is_none());
            // The only connection is free again.
            client.get(&url).send().await.unwrap().bytes().await.unwrap();
        });
    });
}

#[test]
fn timers_of_the_executor_are_served_while_requests_are_in_flight() {
    let (_origin, url) = origin();
    each_driver(|driver| {
        let late = glommio(async {
            let (engine, ctx) = Engine::builder().driver(driver).attach().unwrap();
            let client = ctx.client(&engine.client().build().unwrap());
            let stop = Rc::new(Cell::new(false));
            let tasks: Vec<_> = ["/hang", "/", "/", "/"]
                .map(|path| {
                    let (client, url, stop) =
                        (client.clone(), format!("{url}{path}"), stop.clone());
                    spawn_local(async move {
                        while !stop.get() {
                            client.get(&url).send().await.unwrap().bytes().await.unwrap();
                        }
                    })
                })
                .into();
            let mut late = Vec::new();
            for _ in 0..100 {
                let due = Instant::now() + Duration::from_millis(1);
                Timer::new(Duration::from_millis(1)).await;
                late.push(due.elapsed());
            }
            stop.set(true);
            drop(tasks);
            late.sort();
            late[90]
        });
        assert!(late < Duration::from_millis(50), "{driver:?}: {late:?}");
    });
}

#[test]
fn time_goes_on_while_a_core_sleeps() {
    if !has_glommio() {
        return;
    }
    let (_origin, url) = origin();
    glommio(async {
        let (engine, ctx) = Engine::builder().attach().unwrap();
        let client = ctx.client(&engine.client().build().unwrap());
        client.get(&url).send().await.unwrap().bytes().await.unwrap();
        sleep(Duration::from_millis(2_500)).await;
        // Dated by the last turn, it would have ended before it began.
        let request = client.get(&url).timeout(Duration::from_secs(2));
        let response = request.send().await.unwrap();
        let total = response.timings();
        assert!(total.first_byte.unwrap() < Duration::from_secs(2), "{total:?}");
        response.bytes().await.unwrap();
        assert!(engine.stats()[0].longest_turn < Duration::from_secs(2));
    });
}

#[test]
fn an_engine_ends_with_its_executor() {
    if !has_glommio() {
        return;
    }
    let (_origin, url) = origin();
    let (engine, client) = glommio(async {
        let (engine, _ctx) = Engine::builder().attach().unwrap();
        let client = engine.client().build().unwrap();
        (engine, client)
    });
    let error = block_on(client.get(&url).send()).unwrap_err();
    assert!(error.to_string().contains("shut"), "{error}");
    engine.shutdown().unwrap();
}

/// What goes with the executor is nobody's any more: neither a request nor a connection is counted from then on.
#[test]
fn what_is_in_flight_ends_with_its_executor() {
    let (_origin, url) = origin();
    each_driver(|driver| {
        let executor = LocalExecutorBuilder::new(Placement::Unbound).io_memory(0).make().unwrap();
        let (engine, client, waiting) = executor.run(async {
            let (engine, _ctx) = Engine::builder().driver(driver).attach().unwrap();
            let client = engine.client().max_in_flight(4).build().unwrap();
            let (hangs, hang) = (client.clone(), format!("{url}/hang"));
            let waiting = thread::spawn(move || block_on(hangs.get(&hang).send()).map(drop));
            while engine.stats()[0].holding.active == 0 {
                sleep(Duration::from_millis(1)).await;
            }
            (engine, client, waiting)
        });
        drop(executor);
        assert!(waiting.join().unwrap().is_err());
        let stats = engine.stats().remove(0);
        assert_eq!((stats.holding, stats.placed, stats.tasks), (Holding::default(), 0, 0));
        assert_eq!(client.limits_observed().conns_now, 0, "{driver:?}");
    });
}

#[test]
fn an_engine_is_dropped_inside_its_executor() {
    if !has_glommio() {
        return;
    }
    let (_origin, url) = origin();
    let kept = RefCell::new(None);
    glommio(async {
        for _ in 0..20 {
            let (engine, ctx) = Engine::builder().attach().unwrap();
            let client = ctx.client(&engine.client().build().unwrap());
            client.get(&url).send().await.unwrap().bytes().await.unwrap();
            *kept.borrow_mut() = Some(client);
            engine.shutdown().unwrap();
            drop(engine);
            sleep(Duration::from_millis(5)).await;
        }
        // What is left of the last one fails, and does not hang.
        let client = kept.borrow_mut().take().unwrap();
        assert!(client.get(&url).send().await.is_err());
    });
}

#[test]
fn outside_of_an_executor_there_is_nothing_to_attach_to() {
    let error = Engine::builder().attach().unwrap_err();
    assert!(error.to_string().contains("attach inside one"), "{error}");
}

#[test]
fn the_load_generator_runs_on_each_host() {
    let (_origin, url) = origin();
    for host in hosts() {
        for driver in drivers() {
            let (stop, cores) = (Stop::requests(5_000), ringshot::sys::affinity::cores());
            let plan = plan(&url, driver, &Asked::default());
            let report = run_whole(&Plan { connections: 8, host, stop, cores, ..plan });
            assert_eq!((report.requests, report.errors), (5_000, 0), "{host}, {driver}");
            assert_eq!(report.host, host.to_string());
        }
    }
}

#[test]
fn each_host_starts_where_it_can() {
    hosts().iter().for_each(|host| host.try_start().unwrap());
    if !has_glommio() {
        let error = Host::Glommio.try_start().unwrap_err();
        assert!(error.to_string().contains("io_uring"), "{error}");
    }
}
