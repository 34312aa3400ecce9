//! The load generator as a process of its own, so that the kernel charges and counts it as it does other programs: the benchmark program starts itself again.

use std::process::Command;
use std::time::Duration;

use ringshot::driver::DriverKind;
use ringshot::load::{Arrival, Control, Pacing, Plan, Stop, run};

use crate::bare::Outcome;
use crate::contest::{Run, Score};
use crate::cpu::CpuSeconds;
use crate::engine::Engine;

const FLAG: &str = "--load";

/// Loads on one URL from one core.
#[derive(Debug, Clone)]
pub struct Rated {
    /// The core.
    pub core: usize,
    /// Where to.
    pub url: String,
    /// Connections.
    pub connections: u32,
}

/// If this process was started as a load, runs it, prints `requests seconds resident_bytes`, and returns `true`.
///
/// # Errors
/// What [`run`] reports, and failed requests.
pub fn run_if_asked() -> Outcome<bool> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, flag, core, url, connections, driver, rate, slack_us, requests, millis] =
        &arguments[..]
    else {
        return Ok(false);
    };
    if flag != FLAG {
        return Ok(false);
    }
    let (rate, requests): (f64, u64) = (rate.parse()?, requests.parse()?);
    let length = Duration::from_millis(millis.parse()?);
    let plan = Plan {
        connections: connections.parse()?,
        driver: if driver == "epoll" { DriverKind::Epoll } else { DriverKind::IoUring },
        arrival: if rate > 0.0 { Arrival::at_rate(rate, length) } else { Arrival::Closed },
        pacing: Pacing { slack: Duration::from_micros(slack_us.parse()?), ..Pacing::default() },
        stop: if requests > 0 { Stop::requests(requests) } else { Stop::after(length) },
        ..Engine::new(url, core.parse()?)?.plan()?
    };
    let report = run(&plan, &Control::new())?;
    if report.errors > 0 || report.shed > report.offered / 100 {
        return Err(format!("not what was asked for: {:?}", report.error_examples).into());
    }
    let (requests, seconds) = (report.requests, report.seconds);
    use std::io::Write;
    writeln!(std::io::stdout(), "{requests} {seconds} {}", report.resident_bytes_max)?;
    Ok(true)
}

impl Rated {
    /// A run at a rate, with requests up to `slack` late, as the kernel charges the whole process.
    #[must_use]
    pub fn ringshot(
        &self,
        driver: DriverKind,
        rate: u32,
        slack: Duration,
        length: Duration,
    ) -> Run<'static> {
        let this = self.clone();
        Box::new(move || {
            let before = CpuSeconds::of_children();
            let [requests, seconds, _] = this.start(driver, rate, slack, 0, length)?;
            let spent = CpuSeconds::of_children().since(before);
            Ok(Score {
                rate: requests / seconds,
                cpu_us: spent.total() * 1e6 / requests,
                user_us: spent.user * 1e6 / requests,
                ..Score::default()
            })
        })
    }

    /// The largest resident set of a process that sent for so long as fast as it could, in bytes, and its requests a second.
    ///
    /// # Errors
    /// As the run.
    pub fn resident_on(&self, driver: DriverKind, length: Duration) -> Outcome<(f64, f64)> {
        let [requests, seconds, resident] = self.start(driver, 0, Duration::ZERO, 0, length)?;
        Ok((resident, requests / seconds))
    }

    /// The largest resident set of a process that sent so many requests as fast as it could, in bytes.
    ///
    /// # Errors
    /// As the run.
    pub fn resident_after(&self, requests: u64) -> Outcome<u64> {
        let [_, _, resident] =
            self.start(DriverKind::IoUring, 0, Duration::ZERO, requests, Duration::ZERO)?;
        Ok(resident as u64)
    }

    fn start(
        &self,
        driver: DriverKind,
        rate: u32,
        slack: Duration,
        requests: u64,
        length: Duration,
    ) -> Outcome<[f64; 3]> {
        let output = Command::new(std::env::current_exe()?)
            .arg(FLAG)
            .args([&self.core.to_string(), &self.url, &self.connections.to_string()])
            .args([driver.to_string(), rate.to_string(), slack.as_micros().to_string()])
            .arg(requests.to_string())
            .arg(length.as_millis().to_string())
            .output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        let text = String::from_utf8(output.stdout)?;
        let figures: Vec<f64> =
            text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        figures.try_into().map_err(|_| format!("no figures: {text:?}").into())
    }
}
