//! Where requests that are cancelled go: answers of every kind and speed, a listener that leaves them waiting, names that are never answered.

use std::future::{pending, ready};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use ringshot::client::{Request, RequestBody, Resolver, Target};
use ringshot::driver::sim::Random;
use ringshot::origin::{Config, Origin};
use ringshot::resolve::{Answer, Lookup, Resolve, ResolveError};
use ringshot_tests::load::drivers;

/// Paths of the origin: each keeps a request in another phase for a while.
const PATHS: [&str; 20] = [
    "/",
    "/delay/1",
    "/delay/5",
    "/delay/50",
    "/hang",
    "/hang",
    "/hang",
    "/lognormal/2/100",
    "/bytes/2000",
    "/bytes/300000",
    "/bytes/3000000",
    "/chunked/300000",
    "/stream/100000/1000/1",
    "/stream/3000/100/1",
    "/truncate/100000",
    "/reset",
    "/abort",
    "/close",
    "/continue/3",
    "/redirect/3",
];

/// The servers.
pub(super) struct Places {
    pub(super) origin: Origin,
    /// Nobody accepts here, and the backlog is full: a connect is never answered.
    _full: TcpListener,
    _fillers: Vec<TcpStream>,
    full: SocketAddr,
}

/// A listener whose backlog is full.
fn full_listener() -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    // SAFETY: listen(2) on a socket that this function owns takes two numbers; again, it changes the backlog.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let address = listener.local_addr().unwrap();
    let fill = || TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok();
    let fillers: Vec<_> = std::iter::from_fn(fill).take(8).collect();
    assert!(fillers.len() < 8, "the backlog does not fill");
    (listener, fillers)
}

impl Places {
    pub(super) fn open() -> Arc<Self> {
        let (listener, fillers) = full_listener();
        let full = listener.local_addr().unwrap();
        let driver = drivers()[0];
        let origin = Origin::start(&Config { driver, ..Config::on_loopback() }).unwrap();
        Arc::new(Self { origin, _full: listener, _fillers: fillers, full })
    }

    /// Answers `now.test`, fails `none.test`, never answers another.
    pub(super) fn resolver() -> Resolver {
        Resolver::builder().resolve_with(Names).build().unwrap()
    }

    fn url(&self, random: &mut Random) -> String {
        let origin = self.origin.address();
        match random.below(20) {
            0 => format!("http://{}/", self.full),
            1 => format!("http://silent-{}.test/", random.below(50)),
            2 => "http://none.test/".to_owned(),
            3 => format!("http://now.test:{}/delay/2", origin.port()),
            // Nothing listens there.
            4 => "http://127.0.0.1:1/".to_owned(),
            _ => self.origin.url(random.pick(&PATHS).unwrap()),
        }
    }

    /// A request to any of them, some with a body.
    pub(super) fn request(&self, random: &mut Random) -> Request {
        if random.below(6) > 0 {
            let url: Target = self.url(random).parse().unwrap();
            return Request::get(url).unwrap().redirects(3);
        }
        let path = ["/echo", "/expect", "/expect/ignore", "/expect/417", "/hang"];
        let url = self.origin.url(random.pick(&path).unwrap());
        let request = Request::new(Method::POST, url.as_str()).unwrap();
        let most = *random.pick(&[100, 30_000, 900_000]).unwrap();
        let bytes = Bytes::from(vec![b'x'; random.below(most) as usize]);
        let request = request.body(match random.below(3) {
            0 => RequestBody::stream(Never),
            _ => RequestBody::from(bytes),
        });
        if random.chance(0.5) { request.expect_continue() } else { request }
    }
}

/// A request's body of which one piece is made, and no more.
struct Never;

impl futures_core::Stream for Never {
    type Item = Result<Bytes, ringshot::client::BoxError>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Pending
    }
}

struct Names;

impl Resolve for Names {
    fn lookup(&self, host: &str) -> Lookup {
        match host {
            "now.test" => Box::pin(ready(Ok(Answer::new([IpAddr::from(Ipv4Addr::LOCALHOST)])))),
            "none.test" => Box::pin(ready(Err(ResolveError::NotFound { name: host.into() }))),
            _ => Box::pin(pending()),
        }
    }
}
