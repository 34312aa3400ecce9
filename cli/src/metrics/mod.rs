//! `--metrics-listen`: figures of the run for Prometheus, while it goes on. The only networking of the command; a thread of its own, which
//! reads snapshots and serves one connection at a time.

mod exposition;
mod server;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::str::FromStr;
use std::sync::Arc;

use clap::Args;
use ringshot::load::{Control, Plan};

use crate::exit::Failure;
use exposition::Exposition;

/// Where metrics are served.
#[derive(Debug, Args)]
pub(crate) struct MetricsArgs {
    /// Serve Prometheus metrics at /metrics during the run; a port alone is one of 127.0.0.1
    #[arg(long, value_name = "[ADDRESS:]PORT", help_heading = "Output")]
    metrics_listen: Option<Endpoint>,
}

impl MetricsArgs {
    /// Begins to listen, and says where. Answers only once [`Metrics::serve`] runs.
    pub(crate) fn listen(&self) -> Result<Option<Metrics>, Failure> {
        self.metrics_listen.map(Metrics::listen).transpose()
    }
}

/// An address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Endpoint(SocketAddr);

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let on_loopback =
            text.parse().map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
        let address = on_loopback.or_else(|_| text.parse());
        address.map(Self).map_err(|_| {
            format!("{text:?} is not a port or address: write 9100, 0.0.0.0:9100 or [::]:9100")
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A listener whose queue may fill already, while nobody answers yet.
#[derive(Debug)]
pub(crate) struct Metrics {
    listener: TcpListener,
    end: Arc<UnixStream>,
    ended: UnixStream,
}

/// Ends [`Metrics::serve`] when it is dropped, also by a panic.
#[derive(Debug)]
pub(crate) struct End(Arc<UnixStream>);

impl Metrics {
    fn listen(endpoint: Endpoint) -> Result<Self, Failure> {
        let refused = |error| {
            Failure::unusable(format_args!(
                "--metrics-listen: can't listen on {endpoint}: {error}: name another port, or 0 for any"
            ))
        };
        let listener = TcpListener::bind(endpoint.0).map_err(refused)?;
        let (end, ended) = UnixStream::pair().map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        crate::warnings::notice(format_args!("metrics at http://{address}/metrics"));
        Ok(Self { listener, end: Arc::new(end), ended })
    }

    /// What ends [`Metrics::serve`].
    pub(crate) fn end(&self) -> End {
        End(Arc::clone(&self.end))
    }

    /// Answers until the end.
    pub(crate) fn serve(self, plan: &Plan, control: &Control) {
        let mut exposition = Exposition::new(plan);
        server::serve(&self.listener, &self.ended, &mut || exposition.render(&control.snapshot()));
    }
}

impl Drop for End {
    fn drop(&mut self) {
        // It fails only if the other side is gone, which is what it is for.
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        let check = |text: &str, expected: &str| {
            assert_eq!(text.parse::<Endpoint>().map(|e| e.to_string()), Ok(expected.to_owned()));
        };
        check("9100", "127.0.0.1:9100");
        check("0", "127.0.0.1:0");
        check("0.0.0.0:9100", "0.0.0.0:9100");
        check("[::1]:9100", "[::1]:9100");
        for text in ["", ":9100", "70000", "localhost:9100", "127.0.0.1"] {
            let error = text.parse::<Endpoint>().unwrap_err();
            assert!(error.contains("is not a port or address"), "{error}");
        }
    }
}
