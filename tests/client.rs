//! The client against the built-in origin and scripted peers, on each driver.

use ringshot::client::{Cores, Engine, Request, blocking::block_on};
use ringshot::driver::DriverChoice;
use ringshot::origin::{Config, Origin};

fn origin() -> Origin {
    Origin::start(&Config::on_loopback()).unwrap()
}

#[test]
fn a_request_has_a_response() {
    for driver in [DriverChoice::Epoll, DriverChoice::IoUring] {
        let origin = origin();
        let url = origin.url("/bytes/100");
        let engine = Engine::builder().cores(Cores::Count(1)).driver(driver).build().unwrap();
        let client = engine.client().build().unwrap();
        for n in 0..20 {
            let response = block_on(client.get(&url).send()).unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(response.connection().reused, n > 0);
            let timings = response.timings();
            assert_eq!(block_on(response.bytes()).unwrap().len(), 100);
            println!("{timings:?}");
        }
        let target: ringshot::client::Target = url.parse().unwrap();
        let inner = client.clone();
        let start = std::time::Instant::now();
        let count = block_on(engine.run_on(0, move |ctx| async move {
            let client = ctx.client(&inner);
            let tasks: Vec<_> = (0..64)
                .map(|_| {
                    let client = client.clone();
                    let target = target.clone();
                    ctx.spawn(async move {
                        let mut bytes = 0;
                        for _ in 0..2000 {
                            let response = client.get(&target).send().await.unwrap();
                            bytes += response.bytes().await.unwrap().len();
                        }
                        bytes
                    })
                })
                .collect();
            let mut bytes = 0;
            for task in tasks {
                bytes += task.await.unwrap();
            }
            bytes
        }))
        .unwrap();
        assert_eq!(count, 64 * 2000 * 100);
        println!("{driver:?} {:.0}/s", 128_000.0 / start.elapsed().as_secs_f64());
        println!("{:#?}", engine.stats());
        let request = Request::get("http://127.0.0.1:1/").unwrap();
        println!("{}", block_on(client.send(request)).unwrap_err());
    }
}
