//! `ringshot serve`: the engine's origin until Ctrl-C, or until the parent that started it is gone.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::thread;
use std::time::Duration;

use ringshot::origin::{Config, Origin, OriginError};

use crate::args::ServeArgs;
use crate::cores;
use crate::exit::{Exit, Failure};
use crate::output::{self, format};
use crate::plan::{self, Prepared};
use crate::signals::{Interrupts, Wake};
use crate::warnings::{self, Warning};

/// How often it is looked whether connections can be accepted, until that has been told.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Serves, and says where in one line as soon as connections are accepted.
pub(crate) fn serve(args: &ServeArgs) -> Result<Exit, Failure> {
    let Prepared { config, warnings } = plan::for_serve(args)?;
    let interrupts = Interrupts::install()?;
    let origin = Origin::start(&config).map_err(|error| refused(&config, &error))?;
    warnings::print(&warnings);
    output::print(&ready_line(&origin.address().to_string(), &config))?;
    if args.until_stdin_closes {
        wake_at_end_of_stdin(&interrupts);
    }
    let mut tick = Some(LOOK_EVERY);
    while interrupts.wait(tick, None) == Wake::Tick {
        if tick.is_some() && origin.counters().accept_failures > 0 {
            warnings::print(&[Warning::CannotAccept]);
            tick = None;
        }
    }
    let failed = |error| Failure::unusable(format_args!("the origin failed: {error}"));
    let served = origin.stop().map_err(failed)?;
    output::print(&format!("served {}\n", format::counted(served, "request")))?;
    Ok(Exit::Ok)
}

/// The first line; `compare` reads the URL from it.
fn ready_line(address: &str, config: &Config) -> String {
    format!(
        "serving http://{address}/ ({}) with {} on {}; Ctrl-C ends it\n",
        format::counted(config.body_bytes, "byte"),
        config.driver,
        cores::name(&config.cores),
    )
}

/// The URL in a first line of `serve`.
pub(crate) fn url_in(ready_line: &str) -> Option<&str> {
    ready_line.split_whitespace().find(|word| word.starts_with("http://"))
}

fn wake_at_end_of_stdin(interrupts: &Interrupts) {
    let waker = interrupts.waker();
    thread::spawn(move || {
        // However it ends, whoever held the other end has let go.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        drop(waker);
    });
}

fn refused(config: &Config, error: &OriginError) -> Failure {
    if is_taken(error) {
        let port = config.address.port();
        return Failure::unusable(format_args!(
            "port {port} is taken by another program: choose another with --port, or any with --port 0"
        ));
    }
    Failure::unusable(error)
}

fn is_taken(error: &OriginError) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::AddrInUse) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use ringshot::driver::DriverKind;

    use super::*;

    #[test]
    fn the_ready_line_names_its_url() {
        let config = Config {
            address: ([127, 0, 0, 1], 0).into(),
            cores: vec![0, 1],
            driver: DriverKind::Epoll,
            ..Config::on_loopback()
        };
        let line = ready_line("127.0.0.1:4711", &config);
        assert_eq!(
            line,
            "serving http://127.0.0.1:4711/ (13 bytes) with epoll on cores 0-1; Ctrl-C ends it\n"
        );
        assert_eq!(url_in(&line), Some("http://127.0.0.1:4711/"));
        assert_eq!(url_in("ringshot: no"), None);
    }
}
