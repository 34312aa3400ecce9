//! A crawler: follows links from page to page, bounded everywhere: pages, depth, requests in flight, connections to a host, bytes of a page, time.
//!
//! `cargo run --release --example crawler [URL]`; without a URL it starts a site of its own, with dead links, redirects and a page that never comes.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example shows what it does")]

use std::collections::{HashSet, VecDeque};
use std::error::Error;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ringshot::client::{Client, CoreCtx, Engine, Target, Timeouts, blocking::block_on};
use ringshot::queue;

/// Pages fetched at most.
const PAGES_MAX: usize = 2_000;
/// Links from the first page to the last.
const DEPTH_MAX: u32 = 12;
/// Requests in flight.
const IN_FLIGHT_MAX: usize = 100;
/// Bytes of a page that are looked at.
const PAGE_BYTES_MAX: u64 = 1 << 20;

/// A page to fetch.
#[derive(Clone)]
struct Page {
    target: Target,
    depth: u32,
}

/// What came of a page.
enum Outcome {
    Links(Vec<Target>),
    Skipped(String),
    Failed(ringshot::Error),
}

#[derive(Debug, Default)]
struct Report {
    pages: usize,
    links: usize,
    skipped: Vec<String>,
    failed: Vec<String>,
}

/// Fetches one page and finds its links.
async fn visit(client: &ringshot::client::LocalClient, page: &Page) -> Outcome {
    let response = match client.get(&page.target).send().await {
        Ok(response) => response,
        Err(error) => return Outcome::Failed(error),
    };
    if !response.status().is_success() {
        return Outcome::Skipped(format!("{}: {}", page.target, response.status()));
    }
    // After redirects: relative links mean the place where the page is.
    let base = response.target().clone();
    match response.into_body().bytes_limited(PAGE_BYTES_MAX).await {
        Ok(bytes) => Outcome::Links(links_of(&base, &String::from_utf8_lossy(&bytes))),
        Err(error) => Outcome::Failed(error),
    }
}

/// The links of a page that stay on its host.
fn links_of(base: &Target, html: &str) -> Vec<Target> {
    let hrefs = html.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let targets = hrefs.filter_map(|href| base.join(href).ok());
    targets.filter(|target| target.authority() == base.authority()).collect()
}

/// Crawls on one core: tasks fetch, this one decides what is next.
async fn crawl(ctx: CoreCtx, client: Client, start: Target) -> Report {
    let client = ctx.client(&client);
    let mut seen = HashSet::from([start.to_string()]);
    let mut frontier = VecDeque::from([Page { target: start, depth: 0 }]);
    let (done, outcomes) =
        queue::bounded(NonZeroUsize::new(IN_FLIGHT_MAX).unwrap_or(NonZeroUsize::MIN));
    let (mut report, mut in_flight) = (Report::default(), 0);
    loop {
        while in_flight < IN_FLIGHT_MAX && report.pages + in_flight < PAGES_MAX {
            let Some(page) = frontier.pop_front() else { break };
            let (client, done) = (client.clone(), done.clone());
            in_flight += 1;
            let task = async move {
                let outcome = visit(&client, &page).await;
                let _ = done.send((page, outcome)).await;
            };
            ctx.spawn_named("fetch a page", task).detach();
        }
        if in_flight == 0 {
            return report;
        }
        let Some(item) = outcomes.recv().await else { return report };
        in_flight -= 1;
        let (page, outcome) = item.into_inner();
        report.pages += 1;
        match outcome {
            Outcome::Skipped(what) => report.skipped.push(what),
            Outcome::Failed(error) => report.failed.push(error.to_string()),
            Outcome::Links(targets) => {
                report.links += targets.len();
                let new = targets.into_iter().filter(|target| seen.insert(target.to_string()));
                let depth = page.depth + 1;
                frontier.extend(
                    new.map(|target| Page { target, depth }).filter(|page| page.depth <= DEPTH_MAX),
                );
            }
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let start: Target = match std::env::args().nth(1) {
        Some(url) => url.parse()?,
        None => site::start()?.parse()?,
    };
    let engine = Engine::builder().build()?;
    let timeouts = Timeouts { total: Some(Duration::from_secs(2)), ..Timeouts::default() };
    let client =
        engine.client().max_in_flight(100).max_conns_per_host(30).timeouts(timeouts).build()?;
    let began = Instant::now();
    let inner = client.clone();
    let report = block_on(engine.run_on(0, move |ctx| crawl(ctx, inner, start)))?;
    let seconds = began.elapsed().as_secs_f64();
    println!("{} pages with {} links in {seconds:.2} s", report.pages, report.links);
    println!("{} pages without success, such as:", report.skipped.len());
    report.skipped.iter().take(3).for_each(|what| println!("  {what}"));
    println!("{} errors, such as:", report.failed.len());
    report.failed.iter().take(3).for_each(|error| println!("  {error}"));
    let observed = client.limits_observed();
    println!(
        "at most {} connections to a host, {} in all",
        observed.conns_per_host, observed.conns
    );
    Ok(())
}

/// What goes wrong is told in one line.
fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// A site to crawl: a tree of pages, some of which are elsewhere, gone, or never come.
mod site {
    use std::error::Error;
    use std::time::Duration;

    use axum::Router;
    use axum::extract::Path;
    use axum::http::StatusCode;
    use axum::response::{Html, IntoResponse, Redirect, Response};
    use axum::routing::get;

    /// Pages of the tree.
    const PAGES: u32 = 1_500;

    async fn page(Path(number): Path<u32>) -> Response {
        match number {
            0.. if number > PAGES => StatusCode::NOT_FOUND.into_response(),
            0.. if number % 97 == 96 => std::future::pending().await,
            0.. if number % 31 == 30 => {
                Redirect::temporary(&format!("../moved/{number}")).into_response()
            }
            _ => {
                tokio::time::sleep(Duration::from_millis(u64::from(number % 7))).await;
                contents(number)
            }
        }
    }

    async fn moved(Path(number): Path<u32>) -> Response {
        contents(number)
    }

    fn contents(number: u32) -> Response {
        let link = |to: u32| format!("<a href=\"/page/{to}\">{to}</a>\n");
        let links = [2 * number + 1, 2 * number + 2, number / 2].map(link).concat();
        Html(format!("<h1>{number}</h1>\n{links}")).into_response()
    }

    /// Starts the site on a thread of its own, and gives its first URL.
    pub(super) fn start() -> Result<String, Box<dyn Error>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let url = format!("http://{}/page/0", listener.local_addr()?);
        let site =
            Router::new().route("/page/{number}", get(page)).route("/moved/{number}", get(moved));
        std::thread::spawn(move || runtime.block_on(async { axum::serve(listener, site).await }));
        Ok(url)
    }
}
