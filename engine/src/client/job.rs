//! One request on its core, from the first attempt to the head of its last response: what is sent again, and where to. Touches no connection.

mod again;

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::{EXPECT, HeaderName, HeaderValue};

use super::local::LocalClient;
use super::local_body::LocalBody;
use super::parcel::Parcel;
use super::request::{Expectation, says_continue};
use super::request_body::Source;
use super::response::{Fetched, Meta, Response};
use super::upload::{self, Upload};
use super::{Attempt, redirect};
use crate::error::{Error, Kind, Phase, RedirectKind, Sent};
use crate::proto::h1::BodyLength;
use crate::shard::pool::desk::Submission;
use crate::shard::pool::exchange::{Failed, Standing, Trace};
use crate::shard::pool::in_flight::{self, Admission, InFlight, Permit};
use crate::shard::pool::outgoing::Outgoing;

/// A request that is on its way: what has to be known to try it again.
pub(super) struct Job<'a> {
    client: &'a LocalClient,
    parcel: Box<Parcel>,
    trace: Option<Rc<Trace>>,
    /// The hold on what is still to come of the last attempt's response.
    in_flight: Option<InFlight>,
    /// The permit, between two exchanges.
    permit: Option<Permit>,
    /// How the next exchange comes for one.
    admission: Admission,
    /// The last attempt said `Expect: 100-continue`.
    expected: bool,
    /// The body of the last attempt, to be sent again; `None` for one that can't be.
    body: Option<Source>,
}

impl<'a> Job<'a> {
    /// A request that was not sent yet.
    pub(super) fn new(
        client: &'a LocalClient,
        parcel: Box<Parcel>,
        trace: Option<Rc<Trace>>,
    ) -> Self {
        Self {
            client,
            parcel,
            trace,
            in_flight: None,
            permit: None,
            admission: Admission::First,
            expected: false,
            body: None,
        }
    }

    /// Sends it, as often as it takes.
    pub(super) async fn run(mut self) -> Result<Response<LocalBody>, Error> {
        let meta = self.send().await?;
        let default = self.client.member.settings.max_body_bytes;
        self.parcel.request.max_body_bytes.get_or_insert(default);
        // What is known of the request goes with the body that is still to come.
        Ok(Response { meta, body: LocalBody::new(self.in_flight.take(), self.parcel) })
    }

    /// Sends it and reads all of the body, as often as it takes: what breaks in the body is another attempt's reason too.
    pub(super) async fn fetch(mut self, max: u64) -> Result<(Fetched, Box<Parcel>), Error> {
        loop {
            let meta = self.send().await?;
            if self.client.member.settings.retry.repeats() {
                // Whatever becomes of the body, others wait until the last attempt is over.
                self.permit = self.in_flight.as_ref().and_then(InFlight::take_permit);
            }
            let response =
                Response { meta, body: LocalBody::new(self.in_flight.take(), self.parcel) };
            let (error, parcel) = match response.fetch(max).await {
                Ok(fetched) => return Ok(fetched),
                Err(failed) => failed,
            };
            self.parcel = parcel;
            self.try_again(error).await?;
        }
    }

    /// The head of the last response.
    async fn send(&mut self) -> Result<Box<Meta>, Error> {
        loop {
            self.parcel.attempts = self.parcel.attempts.saturating_add(1);
            self.trace.iter().for_each(|trace| trace.attempts.set(self.parcel.attempts_in_all()));
            self.body = self.parcel.request.body.0.try_clone();
            match self.attempt().await {
                Ok(meta) => {
                    let status = meta.head.status;
                    // 417: the server does not do what was expected (RFC 9110 15.5.18).
                    if status.as_u16() == 417 && self.expected {
                        if self.body.is_none() || self.is_last() {
                            return Ok(meta);
                        }
                        self.parcel.request.expectation = Expectation::Dropped;
                        self.leave(self.standing().progress.sent);
                        self.again(Duration::ZERO).await?;
                        continue;
                    }
                    if redirect::is_redirect(status) && self.follows() {
                        if !self.follow(&meta)? {
                            return Ok(meta);
                        }
                        self.leave(self.standing().progress.sent);
                        continue;
                    }
                    let repeats = || self.may_repeat() && self.body.is_some();
                    let attempt = Attempt::Response(status);
                    let Some(wait) = self.wait_of(repeats, &attempt, Some(&meta.head))? else {
                        return Ok(meta);
                    };
                    drop(meta);
                    self.leave(self.standing().progress.sent);
                    self.again(wait).await?;
                }
                Err(error) if self.is_stale(&error) => {
                    self.leave(error.sent());
                    self.parcel.fresh = true;
                    self.again(Duration::ZERO).await?;
                }
                Err(error) => self.try_again(error).await?,
            }
        }
    }

    /// Another attempt or another request follows one of which so much was sent. Its connection is others' meanwhile; its permit is not.
    fn leave(&mut self, sent: Sent) {
        self.end_exchange();
        self.note_sent(sent);
    }

    /// How far the last attempt has come.
    fn standing(&self) -> Standing {
        self.in_flight.as_ref().map(InFlight::standing).unwrap_or_default()
    }

    /// Nothing of the last attempt is of use any more but its permit.
    fn end_exchange(&mut self) {
        if let Some(in_flight) = self.in_flight.take() {
            self.permit = in_flight.take_permit().or(self.permit.take());
        }
    }

    /// Another attempt or another request follows one of which so much was sent.
    fn note_sent(&mut self, sent: Sent) {
        let history = &mut self.parcel.history;
        history.sent = history.sent.max(sent);
        self.trace.iter().for_each(|trace| trace.sent.set(history.sent));
    }

    fn follows(&self) -> bool {
        self.redirects_max() > 0
    }

    fn redirects_max(&self) -> u32 {
        let settings = &self.client.member.settings;
        self.parcel.request.redirects.or(settings.redirects).unwrap_or_default()
    }

    /// Turns the request into the one that a redirect asks for; `false` if it asks for none.
    fn follow(&mut self, meta: &Meta) -> Result<bool, Error> {
        let Some(location) = redirect::location_of(meta.head.headers()) else { return Ok(false) };
        let max = self.redirects_max();
        let (method, url) =
            (self.parcel.request.method.clone(), self.parcel.request.target.redacted());
        let (origin, attempts) =
            (Arc::clone(self.parcel.request.target.origin()), self.parcel.attempts_in_all());
        let idempotent = self.parcel.request.is_idempotent();
        let outcome = if self.parcel.redirects >= max {
            Err(RedirectKind::TooMany { max })
        } else {
            let (request, body) = (&mut self.parcel.request, self.body.take());
            redirect::follow(request, body, meta.head.status, location)
        };
        if outcome.is_ok() {
            let strays = *self.parcel.request.target.origin() != origin;
            let parcel = &mut *self.parcel;
            parcel.redirects += 1;
            parcel.strayed |= strays;
            parcel.history.idempotent &= idempotent;
            // What follows is a request of its own.
            parcel.repeats = parcel.attempts_in_all().saturating_sub(1);
            (parcel.attempts, parcel.fresh) = (0, false);
        }
        outcome.map(|()| true).map_err(|kind| {
            let elapsed = self.client.now() - self.parcel.submitted;
            let progress = self.standing().progress;
            Error::new(Kind::Redirect(kind), Phase::Redirect)
                .with_progress(&progress)
                .with_request(&method, url)
                .with_attempt(attempts, elapsed)
        })
    }

    /// Sends the request once, and waits for the head.
    async fn attempt(&mut self) -> Result<Box<Meta>, Error> {
        let mut body = Outgoing::None;
        let length = self.open_body(&mut body)?;
        self.submit(length, &mut body)?;
        let Some(in_flight) = &self.in_flight else {
            return Err(self.error(error_of(&in_flight::shutdown())));
        };
        let parcel = &mut *self.parcel;
        let upload = &mut parcel.upload;
        let head = poll_fn(|cx| {
            upload.poll(in_flight, cx);
            in_flight.poll_head(cx)
        });
        let head = head.await;
        let failed = match head {
            Ok(head) => {
                let core = self.client.ctx.core();
                let meta = in_flight.look(|arrival| parcel.take_arrival(arrival, head, core));
                match meta {
                    Some(meta) => return Ok(meta),
                    None => in_flight::shutdown(),
                }
            }
            Err(failed) => {
                in_flight.look(|arrival| parcel.note_arrival(&arrival));
                failed
            }
        };
        self.end_exchange();
        Err(self.error(error_of(&failed)))
    }

    /// The body as the head announces it and as the pool sends it. Writes nothing where there is none.
    #[inline]
    fn open_body(&mut self, body: &mut Outgoing) -> Result<BodyLength, Error> {
        let Parcel { request, upload, .. } = &mut *self.parcel;
        if !matches!(upload, Upload::Over) {
            *upload = Upload::Over;
        }
        match &mut request.body.0 {
            Source::None => Ok(BodyLength::None),
            source => {
                let source = std::mem::take(source);
                self.open(source, body)
            }
        }
    }

    fn open(&mut self, source: Source, body: &mut Outgoing) -> Result<BodyLength, Error> {
        let opened = upload::open(source);
        let opened = opened.map_err(|error| {
            self.error(Error::new(Kind::RequestBody(error.to_string()), Phase::Build))
        });
        let (length, opened, upload) = opened?;
        (*body, self.parcel.upload) = (opened, upload);
        Ok(length)
    }

    /// Hands the request to the core, which it is in flight on then.
    fn submit(&mut self, length: BodyLength, body: &mut Outgoing) -> Result<(), Error> {
        let request = &self.parcel.request;
        let settings = &self.client.member.settings;
        let has_content = !matches!(length, BodyLength::None | BodyLength::Known(0));
        let expects =
            has_content && request.expectation.is_said(&request.headers, &settings.headers);
        self.expected = expects;
        let submission = Submission {
            client: self.client.member.number,
            origin: request.target.origin(),
            body,
            expects,
            idempotent: request.is_idempotent(),
            needs_fresh: self.parcel.fresh,
            is_last: self.is_last(),
            total: request.timeout,
            submitted: self.parcel.submitted,
            acquired: self.parcel.acquired,
            permit: self.permit.take(),
            admission: self.admission,
            trace: self.trace.clone(),
        };
        let start = request.target.start();
        // What was meant for the first origin only, secrets and `Host`, stays behind.
        let strayed = self.parcel.strayed;
        let fields = || {
            let defaults = settings.headers.iter();
            let defaults =
                defaults.filter(|(name, _)| !(strayed && redirect::is_for_the_first(name)));
            fields_of(defaults, &request.headers, expects.then_some(EXPECT_CONTINUE))
        };
        let desk = self.client.ctx.desk();
        let submitted = desk.submit(submission, |out| match &settings.plain {
            Some(plain) if request.headers.is_empty() && !expects && !strayed => {
                start.encode(&request.method, length, plain, out)
            }
            _ => start.head(&request.method, length).encode(fields, out),
        });
        match submitted {
            Ok(in_flight) => self.in_flight = Some(in_flight),
            Err(error) => return Err(self.error(Error::new(Kind::Request(error), Phase::Build))),
        }
        Ok(())
    }

    fn error(&self, error: Error) -> Error {
        self.parcel.describe(error, self.client.now())
    }
}

pub(super) fn error_of(failed: &Failed) -> Error {
    let Failed { kind, standing, others } = failed;
    let error = Error::new(kind.clone(), standing.phase).with_progress(&standing.progress);
    error.with_others(others.clone())
}

/// A field as it is written.
type Field<'a> = (&'a [u8], &'a [u8]);

const EXPECT_CONTINUE: Field<'static> = (b"expect", b"100-continue");

/// The `defaults` that the request does not have itself, then the request's `own`. Whoever asked for `100 Continue`, only `expect` says so.
fn fields_of<'a>(
    defaults: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    own: &'a HeaderMap,
    expect: Option<Field<'a>>,
) -> impl Iterator<Item = Field<'a>> {
    defaults
        .filter(|(name, _)| !own.contains_key(*name))
        .chain(own.iter())
        .filter(|(name, value)| **name != EXPECT || !says_continue(value))
        .map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
        .chain(expect)
}
