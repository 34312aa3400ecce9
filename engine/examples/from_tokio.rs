//! A gateway: an axum service on tokio that calls an upstream through Ringshot, whose cores own the connections.
//!
//! `cargo run --release --example from_tokio [UPSTREAM]`; without an upstream it starts an origin of its own. It serves a few requests to itself, prints what
//! came, and ends; with `UPSTREAM` it goes on until Ctrl-C.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use axum::routing::any;
use ringshot::client::{Client, Engine, Target};
use ringshot::origin::{Config, Origin};

/// What every handler needs: cheap to clone.
#[derive(Clone)]
struct Gateway {
    client: Client,
    upstream: Target,
}

/// Hands a request on, and the response back as it comes: the body is not held here.
async fn forward(State(gateway): State<Gateway>, request: Request<Body>) -> Response {
    let (parts, _) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let answer = async {
        let target = gateway.upstream.join(path)?;
        let response = gateway.client.request(parts.method.clone(), target).send().await?;
        Ok::<_, Box<dyn Error + Send + Sync>>(response)
    };
    match answer.await {
        Ok(response) => {
            let status = response.status();
            let kind = response.headers().get("content-type").cloned();
            let mut answer = Response::new(Body::from_stream(response.into_body()));
            *answer.status_mut() = status;
            kind.map(|kind| answer.headers_mut().insert("content-type", kind));
            answer
        }
        Err(error) => {
            let mut answer = Response::new(Body::from(format!("{error}\n")));
            *answer.status_mut() = StatusCode::BAD_GATEWAY;
            answer
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let origin = Origin::start(&Config::on_loopback())?;
    let named = std::env::args().nth(1);
    let upstream: Target = named.clone().unwrap_or_else(|| origin.url("/")).parse()?;
    let engine = Engine::builder().build()?;
    let client = engine.client().max_conns_per_host(30).max_in_flight(100).build()?;
    let gateway = Gateway { client: client.clone(), upstream: upstream.clone() };

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let service = Router::new().fallback(any(forward)).with_state(gateway);
    let server = tokio::spawn(async move { axum::serve(listener, service).await });
    println!("http://{address}/ hands requests on to {upstream}");
    if named.is_some() {
        server.await??;
        return Ok(());
    }

    // The same client asks the gateway: twenty at a time, through axum and on to the origin.
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..20 {
        let (client, url) = (client.clone(), format!("http://{address}/bytes/{}", 100 * number));
        tasks.spawn(async move { (number, client.get(&url).fetch().await) });
    }
    while let Some(done) = tasks.join_next().await {
        let (number, outcome) = done?;
        match outcome {
            Ok(response) => {
                println!("{number}: {}, {} bytes", response.status(), response.bytes().len());
            }
            Err(error) => println!("{number}: {error}"),
        }
    }
    let error = client.get(format!("http://{address}/abort")).fetch().await?;
    println!("an upstream that fails: {} {}", error.status(), error.text().trim_end());
    for core in engine.stats() {
        let counters = core.counters;
        println!(
            "core {}: {} requests, {} on reused connections, {} connections made",
            core.core, counters.requests, counters.reused, counters.connected
        );
    }
    Ok(())
}
