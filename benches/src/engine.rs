//! The contestants of a contest: the engine, and the bare loops on a thread of the same kind.

use std::net::ToSocketAddrs;
use std::time::Duration;

use http::Method;
use ringshot::driver::DriverKind;
use ringshot::host::Host;
use ringshot::load::{Control, KeepAlive, Plan, Report, Request, Stop, Template, run};
use ringshot::proto::url::Url;
use ringshot::sys::affinity;

use crate::bare::{Figures, Load, Outcome};
use crate::contest::{Run, Score};

/// A core for the client and one for the server: the last and the first that there are.
#[must_use]
pub fn two_cores() -> (usize, usize) {
    let cores = affinity::cores();
    (cores.last().copied().unwrap_or_default(), cores.first().copied().unwrap_or_default())
}

/// The engine's load generator on one URL and one core.
#[derive(Debug)]
pub struct Engine {
    url: Url,
    core: usize,
    keep_alive: KeepAlive,
}

impl Engine {
    /// For GET requests to `url` from `core`.
    ///
    /// # Errors
    /// If the URL is none.
    pub fn new(url: &str, core: usize) -> Outcome<Self> {
        Ok(Self { url: Url::parse(url)?, core, keep_alive: KeepAlive::On })
    }

    /// The same with a connection for each request.
    #[must_use]
    pub fn without_keep_alive(self) -> Self {
        Self { keep_alive: KeepAlive::Off, ..self }
    }

    fn template(&self) -> Template {
        let request = Request {
            method: &Method::GET,
            url: &self.url,
            headers: &[],
            body: b"",
            keep_alive: self.keep_alive,
        };
        match Template::encode(&request) {
            Ok(template) => template,
            Err(error) => unreachable!("a GET of a parsed URL can be encoded: {error}"),
        }
    }

    /// The bytes of one request.
    #[must_use]
    pub fn request(&self) -> Vec<u8> {
        self.template().bytes().to_vec()
    }

    /// A closed loop, to be changed.
    ///
    /// # Errors
    /// If the host has no address.
    pub fn plan(&self) -> Outcome<Plan> {
        let peers = (self.url.host.as_str(), self.url.port).to_socket_addrs()?.collect();
        let plan = Plan::closed(self.template(), peers, vec![self.core]);
        Ok(Plan { keep_alive: self.keep_alive, ..plan })
    }

    /// One run.
    ///
    /// # Errors
    /// What [`run`] reports, and a run with any failed request: it is not what was to be measured.
    pub fn report(
        &self,
        host: Host,
        driver: DriverKind,
        connections: u32,
        pipeline: u32,
        warm_up: Duration,
        duration: Duration,
    ) -> Outcome<Report> {
        let stop = Stop::after(duration);
        let plan = Plan { connections, pipeline, driver, host, stop, warm_up, ..self.plan()? };
        let report = run(&plan, &Control::new())?;
        if report.errors > 0 {
            return Err(format!("requests failed: {:?}", report.error_examples).into());
        }
        Ok(report)
    }

    /// One run as a score.
    ///
    /// # Errors
    /// As [`Engine::report`].
    pub fn run(
        &self,
        driver: DriverKind,
        connections: u32,
        pipeline: u32,
        warm_up: Duration,
        duration: Duration,
    ) -> Outcome<Score> {
        self.run_on(Host::Thread, driver, connections, pipeline, warm_up, duration)
    }

    /// One run on a host, as a score.
    ///
    /// # Errors
    /// As [`Engine::report`].
    pub fn run_on(
        &self,
        host: Host,
        driver: DriverKind,
        connections: u32,
        pipeline: u32,
        warm_up: Duration,
        duration: Duration,
    ) -> Outcome<Score> {
        let report = self.report(host, driver, connections, pipeline, warm_up, duration)?;
        Ok(Score {
            rate: report.requests_per_second,
            cpu_us: report.cpu_us_per_request,
            user_us: report.cpu_user_us_per_request,
            bytes_rate: report.bytes_per_second,
            company: report.completions_per_turn,
            ..Score::default()
        })
    }
}

/// A bare loop on a thread pinned to `core`, as the engine's own threads are.
pub fn bare(core: usize, load: &Load, body: fn(&Load) -> Outcome<Figures>) -> Run<'static> {
    let load = load.clone();
    Box::new(move || {
        let load = load.clone();
        let bytes = load.response_bytes as f64;
        let thread = ringshot::host::thread::spawn(core, move |_| body(&load))?;
        let figures = thread.join().map_err(|_| "a bare loop panicked")??;
        let requests = figures.requests as f64;
        Ok(Score {
            rate: requests / figures.seconds,
            cpu_us: figures.cpu.total().as_secs_f64() * 1e6 / requests,
            user_us: figures.cpu.user.as_secs_f64() * 1e6 / requests,
            bytes_rate: requests * bytes / figures.seconds,
            ..Score::default()
        })
    })
}
