//! One request as a simulated user makes it: what is sent, how the response is read, and when the user loses interest.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use http::Method;
use ringshot::client::{BoxError, LocalBody, LocalClient, Request, RequestBody, Response};
use ringshot::driver::sim::Random;

use super::book::{HostId, pattern, upload_key};
use super::ledger::{Ledger, Ticket};

/// The body of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upload {
    None,
    Bytes(u64),
    /// Chunked, as it is made.
    Stream(u64),
    /// Of known length, as it is made.
    StreamOf(u64),
    /// Fails half-way.
    Failing(u64),
    /// Is shorter than it says.
    Short(u64),
}

impl Upload {
    pub(super) fn bytes(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Bytes(bytes) | Self::Stream(bytes) | Self::StreamOf(bytes) => bytes,
            Self::Failing(bytes) | Self::Short(bytes) => bytes,
        }
    }

    /// Whether it can't be sent as it says.
    pub(super) fn is_doomed(self) -> bool {
        matches!(self, Self::Failing(_)) || matches!(self, Self::Short(bytes) if bytes > 0)
    }
}

/// How a response is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    Whole,
    /// Piece by piece, with this chance (in percent) of a pause of up to so long before each.
    Pieces(u64, Duration),
    Discard,
    /// Some pieces, and then the rest is discarded.
    DiscardAfter(u64),
    /// Some pieces, and then it is dropped.
    DropAfter(u64),
    /// All of it, after this time.
    Hold(Duration),
}

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Errand {
    pub(super) id: u64,
    pub(super) host: HostId,
    pub(super) authority: String,
    pub(super) method: Method,
    pub(super) upload: Upload,
    pub(super) expects: bool,
    pub(super) idempotent: bool,
    pub(super) total: Option<Duration>,
    pub(super) reading: Reading,
    /// When the user gives up.
    pub(super) quits: Option<Duration>,
    pub(super) seed: u64,
}

impl Errand {
    fn request(&self) -> Request {
        let url = format!("http://{}/q/{}", self.authority, self.id);
        let bytes = self.upload.bytes();
        let request = Request::new(self.method.clone(), url.as_str()).expect("a URL");
        let mut request = request.header("x-bytes", bytes.to_string()).expect("a field");
        request = request.body(self.body());
        if let Some(total) = self.total {
            request = request.timeout(total);
        }
        if self.idempotent {
            request = request.idempotent();
        }
        if self.expects { request.expect_continue() } else { request }
    }

    fn body(&self) -> RequestBody {
        let bytes = self.upload.bytes();
        let made = |fails| Made {
            bytes: Bytes::from(pattern(upload_key(self.id), bytes).to_vec()),
            random: Random::new(self.seed),
            fails,
        };
        match self.upload {
            Upload::None => RequestBody::none(),
            Upload::Bytes(_) => RequestBody::from(made(Fails::Never).bytes),
            Upload::Stream(_) => RequestBody::stream(made(Fails::Never)),
            Upload::StreamOf(_) => RequestBody::stream_of(made(Fails::Never), bytes),
            Upload::Failing(_) => RequestBody::stream(made(Fails::Error)),
            Upload::Short(_) => RequestBody::stream_of(made(Fails::Short), bytes),
        }
    }

    /// Whether it may be sent twice.
    pub(super) fn may_repeat(&self) -> bool {
        self.idempotent || self.method != Method::POST
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fails {
    Never,
    Error,
    Short,
}

/// A body that is made in random pieces, at random moments.
struct Made {
    bytes: Bytes,
    random: Random,
    fails: Fails,
}

impl Stream for Made {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.random.chance(0.3) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.fails != Fails::Never && self.random.chance(0.5) {
            let error = self.fails == Fails::Error;
            return Poll::Ready(error.then(|| Err("as the test wants it".into())));
        }
        let most = self.bytes.len() as u64;
        if most == 0 {
            return Poll::Ready(match self.fails {
                Fails::Error => Some(Err("as the test wants it".into())),
                _ => None,
            });
        }
        let bytes = self.random.part(most, 0.8).max(most / 16).max(1) as usize;
        // A piece that is held back makes a short body short.
        let bytes = if self.fails == Fails::Short { bytes.min(most as usize - 1) } else { bytes };
        if bytes == 0 {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(self.bytes.split_to(bytes))))
    }
}

/// Runs an errand to its end, or until the user gives up.
pub(super) async fn run(errand: Errand, client: LocalClient, ledger: Rc<RefCell<Ledger>>) {
    let ticket = Ticket::begin(&errand, &ledger);
    let mut work = pin!(work(&errand, &client, &ticket));
    let Some(quits) = errand.quits else { return work.await };
    let mut sleep = pin!(client.ctx().sleep(quits));
    poll_fn(|cx| {
        if work.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        sleep.as_mut().poll(cx)
    })
    .await;
}

async fn work(errand: &Errand, client: &LocalClient, ticket: &Ticket) {
    let response = match ticket.wait(client.send(errand.request())).await {
        Ok(response) => response,
        Err(error) => return ticket.fail(&error),
    };
    let Some(mut reader) = ticket.check_head(&response) else { return };
    let mut random = Random::new(errand.seed ^ 1);
    match errand.reading {
        Reading::Whole => match ticket.wait(response.bytes()).await {
            Ok(bytes) => {
                reader.take(&bytes);
                reader.end(None);
            }
            Err(error) => ticket.fail(&error),
        },
        Reading::Discard => discard(response, reader, ticket).await,
        Reading::Hold(pause) => {
            client.ctx().sleep(pause).await;
            read(response, reader, ticket, u64::MAX, async || {}).await;
        }
        Reading::Pieces(percent, most) => {
            let pause = async || {
                if random.below(100) < percent {
                    let pause = random.below(most.as_nanos() as u64);
                    client.ctx().sleep(Duration::from_nanos(pause)).await;
                }
            };
            read(response, reader, ticket, u64::MAX, pause).await;
        }
        Reading::DropAfter(pieces) => {
            read(response, reader, ticket, pieces, async || {}).await;
        }
        Reading::DiscardAfter(pieces) => {
            let mut response = response;
            for _ in 0..pieces {
                match ticket.wait(response.chunk()).await {
                    Ok(Some(piece)) => reader.take(&piece),
                    Ok(None) => return reader.end(None),
                    Err(error) => return ticket.fail(&error),
                }
            }
            discard(response, reader, ticket).await;
        }
    }
}

async fn discard(
    response: Response<LocalBody>,
    mut reader: super::ledger::Reader<'_>,
    ticket: &Ticket,
) {
    match ticket.wait(response.into_body().discard()).await {
        Ok(bytes) => {
            reader.skip(bytes);
            reader.end(None);
        }
        Err(error) => ticket.fail(&error),
    }
}

async fn read(
    response: Response<LocalBody>,
    mut reader: super::ledger::Reader<'_>,
    ticket: &Ticket,
    pieces: u64,
    mut pause: impl AsyncFnMut(),
) {
    let mut body = response.into_body();
    for _ in 0..pieces {
        pause().await;
        match ticket.wait(body.chunk()).await {
            Ok(Some(piece)) => reader.take(&piece),
            Ok(None) => return reader.end(Some(&body)),
            Err(error) => return ticket.fail(&error),
        }
    }
}
