//! A gateway: an axum service on tokio that calls an upstream through Ringshot, whose cores own the connections.
//!
//! `cargo run --release --example from_tokio [UPSTREAM]`; without an upstream it starts an origin of its own. It serves a few requests to itself, prints what
//! came, and ends; with `UPSTREAM`, a URL whose path goes before that of each request, it goes on until Ctrl-C.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example shows what it does")]

use std::error::Error;
use std::process::ExitCode;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, Request, StatusCode, Uri, header};
use axum::response::Response;
use axum::routing::any;
use ringshot::client::{self, Client, Engine, RequestBody, Target};
use ringshot::origin::{Config, Origin};

/// Fields of one connection, not of the message (RFC 9110 7.6.1).
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::TRAILER,
    header::UPGRADE,
];
/// Fields of a request that the client writes itself: for the upstream's host, the body's length, and its own way of waiting.
const OURS: [HeaderName; 3] = [header::HOST, header::CONTENT_LENGTH, header::EXPECT];

/// What every handler needs: cheap to clone.
#[derive(Clone)]
struct Gateway {
    client: Client,
    upstream: Target,
}

/// The same resource at the upstream: below its path, at its own origin, whatever the request says. `None` for a path that would lead out of there.
fn upstream_url(upstream: &Target, uri: &Uri) -> Option<String> {
    let leads_up = |segment: &str| {
        let segment = segment.to_ascii_lowercase().replace("%2e", ".");
        segment == "." || segment == ".."
    };
    if uri.path().split('/').any(leads_up) {
        return None;
    }
    let base = upstream.path_and_query().split('?').next().unwrap_or_default();
    let asked = uri.path_and_query().map_or("/", |asked| asked.as_str());
    let (base, asked) = (base.trim_end_matches('/'), asked.strip_prefix('/').unwrap_or(asked));
    Some(format!("http://{}{base}/{asked}", upstream.authority()))
}

/// What is meant for the other end of the message, not of the connection.
fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|names| names.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    named.iter().chain(&HOP_BY_HOP).for_each(|name| drop(headers.remove(name)));
    headers
}

/// The body of a request, which is not held here.
fn body_of(body: Body) -> RequestBody {
    match body.size_hint().exact() {
        Some(0) => RequestBody::none(),
        Some(length) => RequestBody::stream_of(body.into_data_stream(), length),
        None => RequestBody::stream(body.into_data_stream()),
    }
}

fn plain(status: StatusCode, text: String) -> Response {
    let mut answer = Response::new(Body::from(text));
    *answer.status_mut() = status;
    answer
}

/// Hands a request on, and the response back as it comes: neither body is held here, and redirects are the caller's to follow.
async fn forward(State(gateway): State<Gateway>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let Some(url) = upstream_url(&gateway.upstream, &parts.uri) else {
        return plain(StatusCode::BAD_REQUEST, "the path leads out of the upstream\n".to_owned());
    };
    let mut headers = end_to_end(parts.headers);
    OURS.iter().for_each(|name| drop(headers.remove(name)));
    let answer = async {
        let mut request = client::Request::new(parts.method, url)?.body(body_of(body));
        request.headers_mut().extend(headers);
        gateway.client.send(request).await
    };
    match answer.await {
        Ok(response) => {
            let (head, body) = response.into_http().into_parts();
            let mut answer = Response::new(Body::from_stream(body));
            *answer.status_mut() = head.status;
            *answer.headers_mut() = end_to_end(head.headers);
            answer
        }
        Err(error) => plain(StatusCode::BAD_GATEWAY, format!("{error}\n")),
    }
}

/// The same client asks the gateway: twenty at a time, through axum and on to the origin.
async fn show(client: &Client, gateway: &str) -> Result<(), Box<dyn Error>> {
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..20 {
        let (client, url) = (client.clone(), format!("{gateway}/bytes/{}", 100 * number));
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
    let echo = client.post(format!("{gateway}/echo")).body("there and back").fetch().await?;
    println!("a body: {}", echo.text());
    let redirect = client.get(format!("{gateway}/redirect/1")).redirects(0).fetch().await?;
    println!("a redirect: {} to {:?}", redirect.status(), redirect.headers().get("location"));
    let foreign = client.get(format!("{gateway}//127.0.0.1:1/bytes/5")).fetch().await?;
    println!("what looks like another host: {} of the upstream's", foreign.status());
    let error = client.get(format!("{gateway}/abort")).fetch().await?;
    println!("an upstream that fails: {} {}", error.status(), error.text().trim_end());
    Ok(())
}

async fn run() -> Result<(), Box<dyn Error>> {
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
    show(&client, &format!("http://{address}")).await?;
    for core in engine.stats() {
        let counters = core.counters;
        println!(
            "core {}: {} requests, {} on reused connections, {} connections made",
            core.core, counters.requests, counters.reused, counters.connected
        );
    }
    Ok(())
}

/// What goes wrong is told in one line.
#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
