//! Which types go to other threads and may be shared among them, and what that is good for: templates of requests, futures that are spawned, batches of builders.

use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use ringshot::client::batch::{Blocking, Completed, Ordered, Summary};
use ringshot::client::blocking::{self, block_on};
use ringshot::client::{
    Batch, Body, Client, ClientBuilder, CoreCtx, Done, Engine, EngineBuilder, Error, Fetched,
    LocalBody, LocalClient, Request, RequestBody, RequestBuilder, Resolver, Response, Retry,
    Target,
};
use ringshot::queue::{Item, Receiver, Sender, Ticket};

use crate::access::origin;

/// Whether a type has a trait: a constant of the type itself is found before that of a trait which every type has.
macro_rules! has {
    ($kind:ty: $bound:ident) => {{
        // One of the two is not used.
        #[allow(dead_code)]
        trait Not {
            const HAS: bool = false;
        }
        #[allow(dead_code)]
        struct Of<T>(PhantomData<T>);
        impl<T> Not for Of<T> {}
        #[allow(dead_code)]
        impl<T: $bound> Of<T> {
            const HAS: bool = true;
        }
        <Of<$kind>>::HAS
    }};
}

macro_rules! assert_shared {
    ($($kind:ty),+ $(,)?) => {$(
        assert!(has!($kind: Send) && has!($kind: Sync), stringify!($kind));
    )+};
}

macro_rules! assert_of_one_core {
    ($($kind:ty),+ $(,)?) => {$(
        assert!(!has!($kind: Send) && !has!($kind: Sync), stringify!($kind));
    )+};
}

const _: () = {
    assert_shared!(Client, Engine, blocking::Client, ClientBuilder, EngineBuilder, Resolver, Retry);
    assert_shared!(Request, RequestBody, Target);
    assert_shared!(Response, Body, blocking::Body, Fetched, Error);
    assert_shared!(Done<u8>, Completed<u8>, Ordered<u8>, Blocking<u8>, Summary);
    assert_shared!(Sender<u8>, Receiver<u8>, Item<u8>, Ticket);
    assert_of_one_core!(LocalClient, LocalBody, CoreCtx, RequestBuilder<&'static LocalClient>);
    // Its body may be on its way.
    assert!(has!(RequestBuilder<Client>: Send));
    // It owns the iterator or the stream that it pulls from, and goes where it is begun.
    assert!(has!(Batch<u8>: Send) && !has!(Batch<u8>: Sync));
};

/// A request of which copies are sent, as long as it lives, from wherever it is known.
#[test]
fn a_template_is_shared_among_threads() {
    let origin = origin();
    let client = Engine::builder().build().unwrap().client().build().unwrap();
    let template = Request::new(Method::POST, origin.url("/echo")).unwrap().body("hello");
    let template = Arc::new(template);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (client, template) = (client.clone(), Arc::clone(&template));
            std::thread::spawn(move || {
                block_on(client.fetch(template.try_clone().unwrap())).unwrap().text().into_owned()
            })
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), "hello");
    }
}

/// What is only `Send` may be a body: the request that holds it is `Sync` all the same.
#[test]
fn a_stream_need_not_be_sync() {
    struct Pieces(std::cell::Cell<u8>);
    impl futures_core::Stream for Pieces {
        type Item = Result<Bytes, Error>;

        fn poll_next(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Self::Item>> {
            let left = self.0.get();
            self.0.set(left.saturating_sub(1));
            std::task::Poll::Ready((left > 0).then(|| Ok(Bytes::from_static(b"ab"))))
        }
    }
    let origin = origin();
    let client = Engine::builder().build().unwrap().client().build().unwrap();
    let body = RequestBody::stream(Pieces(std::cell::Cell::new(3)));
    let echo = client.post(origin.url("/echo")).body(body);
    assert_eq!(block_on(echo.fetch()).unwrap().text(), "ababab");
}

/// The future of a builder borrows nothing, and keeps its engine.
#[test]
fn what_a_builder_sends_may_be_spawned() {
    let origin = origin();
    let client = Engine::builder().build().unwrap().client().build().unwrap();
    let sent = client.get(origin.url("/bytes/7")).fetch();
    drop(client);
    let spawned = std::thread::spawn(move || block_on(sent));
    assert_eq!(spawned.join().unwrap().unwrap().bytes().len(), 7);
}

#[test]
fn builders_are_inputs_of_a_batch() {
    let origin = origin();
    let client = Engine::builder().build().unwrap().client().build().unwrap();
    let (begin, url) = (client.clone(), origin.url("/echo"));
    let posts = (0..5).map(move |n| begin.post(&url).bearer_auth("token").body(n.to_string()));
    let echoes = block_on(client.batch(posts).collect());
    let texts: Vec<_> = echoes.into_iter().map(|echo| echo.unwrap().text().into_owned()).collect();
    assert_eq!(texts, ["0", "1", "2", "3", "4"]);
}
