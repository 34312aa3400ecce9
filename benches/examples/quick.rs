//! throwaway
#![allow(clippy::all, clippy::unwrap_used, clippy::print_stdout, missing_docs)]
use ringshot::driver::DriverKind;
use ringshot::load::*;
use std::time::Duration;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let url = ringshot::proto::url::Url::parse(&a[1]).unwrap();
    let conns: u32 = a[2].parse().unwrap();
    let secs: f64 = a[3].parse().unwrap();
    let pipeline: u32 = a.get(4).map_or(1, |x| x.parse().unwrap());
    let ka = if a.get(5).is_some() { KeepAlive::Off } else { KeepAlive::On };
    let headers = [];
    let t = Template::encode(&Request {
        method: &"GET".parse().unwrap(),
        url: &url,
        headers: &headers,
        body: b"",
        keep_alive: ka,
    })
    .unwrap();
    for d in [DriverKind::IoUring, DriverKind::Epoll] {
        let plan = Plan {
            peers: vec![format!("{}:{}", url.host, url.port).parse().unwrap()],
            template: t.clone(),
            connections: conns,
            pipeline,
            cores: vec![1],
            driver: d,
            keep_alive: ka,
            stop: Stop::After(Duration::from_secs_f64(secs)),
            warm_up: Duration::from_millis(200),
            drain: Duration::from_millis(500),
            timeouts: Timeouts::default(),
        };
        let r = run(&plan, &Control::new()).unwrap();
        println!(
            "{d}: {:.0} rps {:.3} us/req (user {:.3}) sys/req {:.3} comp/turn {:.2} p50 {:.1} p99 {:.1} {:?} MB/s {:.1} conns {} {:?}",
            r.requests_per_second,
            r.cpu_us_per_request,
            r.cpu_user_us_per_request,
            r.system_calls_per_request,
            r.completions_per_turn,
            r.latency_us.p50,
            r.latency_us.p99,
            r.outcomes,
            r.bytes_per_second / 1e6,
            r.connections_opened,
            r.error_examples
        );
    }
}
