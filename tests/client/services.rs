//! The client as a service: behind a layer of the test's own, cloned over threads, dropped midway. The feature `tower`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::thread;

use http::{HeaderValue, header};
use ringshot::client::blocking::block_on;
use ringshot::client::{Body, Client, Engine, Error};
use tower_service::Service;

use crate::access::origin;

/// A layer: counts, and adds a field.
#[derive(Debug, Clone)]
struct Stamped<S> {
    inner: S,
    count: Arc<AtomicU32>,
}

impl<S: Service<http::Request<String>>> Service<http::Request<String>> for Stamped<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<String>) -> S::Future {
        self.count.fetch_add(1, Ordering::Relaxed);
        request.headers_mut().insert(header::VIA, HeaderValue::from_static("stamped"));
        self.inner.call(request)
    }
}

async fn ask<S>(service: &mut S, url: &str) -> Result<String, Error>
where
    S: Service<http::Request<String>, Response = http::Response<Body>, Error = Error>,
{
    std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
    let request = http::Request::post(url).body("body".to_owned()).unwrap();
    let response = service.call(request).await?;
    let body = response.into_body().bytes().await?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

#[test]
fn a_client_stands_behind_layers_on_many_threads() {
    let origin = origin();
    let url = origin.url("/headers");
    let client = Engine::builder().build().unwrap().client().max_conns(2).build().unwrap();
    let service = Stamped { inner: client.clone(), count: Arc::default() };
    thread::scope(|scope| {
        for _ in 0..4 {
            let (mut service, url) = (service.clone(), &url);
            scope.spawn(move || {
                for _ in 0..25 {
                    let head = block_on(ask(&mut service, url)).unwrap();
                    assert!(
                        head.starts_with("POST /headers") && head.contains("stamped"),
                        "{head}"
                    );
                }
            });
        }
    });
    assert_eq!(service.count.load(Ordering::Relaxed), 100);
    assert!(origin.counters().most_open <= 2, "{:?}", origin.counters());
}

#[test]
fn a_call_that_is_dropped_is_cancelled() {
    let origin = origin();
    let mut client: Client =
        Engine::builder().build().unwrap().client().max_conns(1).build().unwrap();
    let request = http::Request::get(origin.url("/hang")).body(String::new()).unwrap();
    let call = client.call(request);
    block_on(async {
        let mut call = call;
        let first = std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
        assert!(first.is_pending());
    });
    // The only connection is free for this one.
    let body = block_on(ask(&mut client, &origin.url("/echo"))).unwrap();
    assert_eq!(body, "body");
}
