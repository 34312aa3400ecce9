//! Other load generators as contestants, pinned to the same core, with the CPU time that the kernel charged them.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use ringshot::sys::affinity;

use crate::bare::Outcome;
use crate::contest::{Run, Score};
use crate::cpu::CpuSeconds;

/// Whether a program is installed.
#[must_use]
pub fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// wrk with one thread. `headers` are added to each request.
#[must_use]
pub fn wrk(
    core: usize,
    url: &str,
    connections: u32,
    duration: Duration,
    headers: &[&str],
) -> Run<'static> {
    // wrk takes whole seconds only.
    let seconds = duration.as_secs_f64().ceil().max(1.0);
    let mut arguments = vec!["-t1".to_owned(), format!("-c{connections}"), format!("-d{seconds}s")];
    for header in headers {
        arguments.extend(["-H".to_owned(), (*header).to_owned()]);
    }
    arguments.push(url.to_owned());
    Box::new(move || {
        let (text, user, system) = run_on(core, "wrk", &arguments, &[])?;
        let requests = number_before(&text, " requests in ")?;
        let rate = number_after(&text, "Requests/sec:")?;
        Ok(Score {
            rate,
            cpu_us: (user + system) * 1e6 / requests,
            user_us: user * 1e6 / requests,
            bytes_rate: bytes(text.split("Transfer/sec:").nth(1).unwrap_or_default().trim())?,
            ..Score::default()
        })
    })
}

/// oha with one worker thread and no screen.
#[must_use]
pub fn oha(core: usize, url: &str, connections: u32, duration: Duration) -> Run<'static> {
    let seconds = format!("{}ms", duration.as_millis());
    let arguments = [
        "-z",
        &seconds,
        "-c",
        &connections.to_string(),
        "--no-tui",
        "--output-format",
        "json",
        url,
    ];
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    Box::new(move || {
        let (text, user, system) =
            run_on(core, "oha", &arguments, &[("TOKIO_WORKER_THREADS", "1")])?;
        let result: serde_json::Value = serde_json::from_str(&text)?;
        let figure =
            |name: &str| result["summary"][name].as_f64().ok_or("oha's result has another shape");
        let requests = figure("requestsPerSec")? * figure("total")?;
        Ok(Score {
            rate: figure("requestsPerSec")?,
            cpu_us: (user + system) * 1e6 / requests,
            user_us: user * 1e6 / requests,
            // oha tells the bytes of bodies only.
            ..Score::default()
        })
    })
}

/// What [`paced`] asks of a program in all: hey takes a whole number a second for each of its workers.
#[must_use]
pub fn rate_asked(program: &str, connections: u32, rate: u32) -> u32 {
    if program == "hey" { rate / connections * connections } else { rate }
}

/// oha or hey at a rate, on one core.
#[must_use]
pub fn paced(
    program: &'static str,
    core: usize,
    url: &str,
    connections: u32,
    rate: u32,
    duration: Duration,
) -> Run<'static> {
    let seconds = format!("{}s", duration.as_secs().max(1));
    let asked = rate_asked(program, connections, rate);
    let rate = if program == "hey" { asked / connections } else { asked };
    let plain: &[&str] =
        if program == "oha" { &["--no-tui", "--output-format", "json"] } else { &[] };
    let mut arguments = vec!["-z".to_owned(), seconds, "-c".to_owned(), connections.to_string()];
    arguments.extend(["-q".to_owned(), rate.to_string()]);
    arguments.extend(plain.iter().map(ToString::to_string));
    arguments.push(url.to_owned());
    let environment = [("TOKIO_WORKER_THREADS", "1"), ("GOMAXPROCS", "1")];
    Box::new(move || {
        let (text, user, system) = run_on(core, program, &arguments, &environment)?;
        let (rate, requests) = match program {
            "oha" => oha_summary(&text)?,
            _ => {
                let rate = number_after(&text, "Requests/sec:")?;
                (rate, rate * number_after(&text, "Total:")?)
            }
        };
        Ok(Score {
            rate,
            cpu_us: (user + system) * 1e6 / requests,
            user_us: user * 1e6 / requests,
            ..Score::default()
        })
    })
}

/// Requests a second, and requests.
fn oha_summary(text: &str) -> Outcome<(f64, f64)> {
    let result: serde_json::Value = serde_json::from_str(text)?;
    let figure =
        |name: &str| result["summary"][name].as_f64().ok_or("oha's result has another shape");
    let rate = figure("requestsPerSec")?;
    Ok((rate, rate * figure("total")?))
}

/// Runs a program pinned to `core`; its output and its CPU seconds, user and system.
fn run_on(
    core: usize,
    program: &str,
    arguments: &[String],
    environment: &[(&str, &str)],
) -> Outcome<(String, f64, f64)> {
    let before = CpuSeconds::of_children();
    let mut command = Command::new(program);
    command.args(arguments).envs(environment.iter().copied()).stdin(Stdio::null());
    // SAFETY: between fork and exec the closure only calls sched_setaffinity(2), by way of a function that allocates nothing it needs to free.
    unsafe {
        command.pre_exec(move || {
            let _ = affinity::pin(core);
            Ok(())
        })
    };
    let output = command.output()?;
    let spent = CpuSeconds::of_children().since(before);
    if !output.status.success() {
        return Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok((String::from_utf8(output.stdout)?, spent.user, spent.system))
}

fn number_after(text: &str, label: &str) -> Outcome<f64> {
    let rest = text.split(label).nth(1).ok_or_else(|| format!("no {label:?} in {text:?}"))?;
    Ok(rest.split_whitespace().next().unwrap_or_default().parse()?)
}

fn number_before(text: &str, label: &str) -> Outcome<f64> {
    let rest = text.split(label).next().unwrap_or_default();
    Ok(rest.split_whitespace().last().unwrap_or_default().parse()?)
}

/// wrk's `12.34MB`: powers of 1024.
fn bytes(text: &str) -> Outcome<f64> {
    let text = text.split_whitespace().next().unwrap_or_default();
    let digits = text.trim_end_matches(char::is_alphabetic);
    let factor = match &text[digits.len()..] {
        "B" => 1.0,
        "KB" => 1024.0,
        "MB" => 1024.0 * 1024.0,
        "GB" => 1024.0 * 1024.0 * 1024.0,
        unit => return Err(format!("an unknown unit {unit:?}").into()),
    };
    Ok(digits.parse::<f64>()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrk_is_read() {
        let text = "  1000 requests in 1.10s, 82.31KB read\nRequests/sec:    909.09\nTransfer/sec:     74.83KB\n";
        assert_eq!(number_before(text, " requests in ").unwrap(), 1000.0);
        assert_eq!(number_after(text, "Requests/sec:").unwrap(), 909.09);
        assert_eq!(bytes("74.83KB").unwrap(), 74.83 * 1024.0);
        assert!(bytes("3 apples").is_err());
    }

    #[test]
    fn hey_is_asked_for_whole_requests_a_worker() {
        assert_eq!(rate_asked("hey", 64, 20_000), 19_968);
        assert_eq!(rate_asked("oha", 64, 20_000), 20_000);
    }
}
