//! A request with what becomes of it, in one allocation: it goes from the builder to the core that serves it, and with the body back to whoever reads.
//!
//! What goes through many futures is copied by each of them, so it is kept small: a pointer. Where another thread serves it, it brings what the response is put into and goes back with that,
//! so that all memory is freed where it was allocated: allocators lock for what is not.

use std::mem::MaybeUninit;
use std::sync::Arc;

use http::HeaderMap;

use super::Target;
use super::request::Request;
use super::response::{ConnInfo, Meta};
use super::upload::Upload;
use crate::clock::Instant;
use crate::error::{Error, History};
use crate::shard::pool::exchange::Stamps;
use crate::shard::pool::head::Head;
use crate::shard::pool::in_flight::Arrival;

/// One request on its way.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) request: Request,
    /// When it was submitted. Zero: the core that gets it says so.
    pub(super) submitted: Instant,
    /// Who makes the request's body.
    pub(super) upload: Upload,
    /// What came with the end of the response.
    pub(super) trailers: Option<Box<HeaderMap>>,
    pub(super) stamps: Option<Stamps>,
    pub(super) redirects: u32,
    /// Attempts before this one, and the requests that led to this one.
    pub(super) history: History,
    /// A redirect has led it to another origin.
    pub(super) strayed: bool,
    /// The next attempt needs a fresh connection.
    pub(super) fresh: bool,
    /// Attempts of the present request.
    pub(super) attempts: u8,
    /// Times that the requests which led to it were sent again.
    pub(super) repeats: u8,
    /// When it first had a connection.
    pub(super) acquired: Option<Instant>,
    /// Where the response's [`Meta`] goes, if the one who reads it is on another thread.
    blank: Option<Box<MaybeUninit<Meta>>>,
}

impl Parcel {
    /// For another thread.
    pub(super) fn with_blank(mut self: Box<Self>) -> Box<Self> {
        self.blank = Some(Box::new_uninit());
        self
    }

    /// Where it went.
    pub(super) fn into_target(self: Box<Self>) -> Target {
        let Self { request: Request { target, .. }, .. } = *self;
        target
    }

    /// The first attempt and all repeats, those of the requests that led to it included.
    pub(super) fn attempts_in_all(&self) -> u8 {
        self.attempts.saturating_add(self.repeats)
    }

    /// Takes note of what an attempt came to, be it a response or not.
    #[inline]
    pub(super) fn note_arrival(&mut self, arrival: &Arrival<'_>) {
        let retried = u8::from(arrival.was_retried && !self.fresh);
        self.attempts = self.attempts.saturating_add(retried);
        self.acquired = arrival.acquired;
    }

    /// Puts what is known of the response where its reader can free it.
    #[inline]
    pub(super) fn take_arrival(
        &mut self,
        arrival: Arrival<'_>,
        head: Arc<Head>,
        core: usize,
    ) -> Box<Meta> {
        self.note_arrival(&arrival);
        let blank = self.blank.take().unwrap_or_else(Box::new_uninit);
        let meta = Meta {
            head,
            stamps: *arrival.stamps,
            connection: ConnInfo::of(arrival.carrier, core),
            target: None,
            left: arrival.left,
            attempts: self.attempts_in_all(),
            redirects: self.redirects,
        };
        Box::write(blank, meta)
    }

    /// An error of the request, with all that is known of it.
    pub(super) fn describe(&self, error: Error, now: Instant) -> Error {
        let request = &self.request;
        let error = error.with_request(&request.method, request.target.redacted());
        let error = if request.is_idempotent() { error.idempotent() } else { error };
        error.after(self.history).with_attempt(self.attempts_in_all(), now - self.submitted)
    }

    /// A request that was not sent yet. Inlined, so that the parts of a request are written where they stay.
    #[inline(always)]
    pub(super) fn of(request: Request) -> Box<Self> {
        let blank = Box::new_uninit();
        let parcel = Self {
            request,
            submitted: Instant::default(),
            attempts: 0,
            repeats: 0,
            redirects: 0,
            history: History::default(),
            acquired: None,
            strayed: false,
            fresh: false,
            upload: Upload::Over,
            trailers: None,
            stamps: None,
            blank: None,
        };
        Box::write(blank, parcel)
    }
}

impl From<Request> for Box<Parcel> {
    fn from(request: Request) -> Self {
        Parcel::of(request)
    }
}
