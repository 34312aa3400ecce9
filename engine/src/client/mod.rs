//! The client library: requests from any thread, served by the cores that own the connections. Never blocks a caller but in [`blocking`].
//!
//! An [`Engine`] is a shard on each of some cores. A [`Client`] is what requests are made with: `Send`, `Sync`, cheap to clone, good on any executor. Its
//! core-local twin is [`LocalClient`], for tasks that run on a core themselves.
//!
//! ```
//! use ringshot::client::{Engine, blocking};
//! # use ringshot::origin::{Config, Origin};
//! # let origin = Origin::start(&Config::on_loopback())?;
//! # let url = format!("http://{}/", origin.address());
//!
//! let engine = Engine::builder().build()?;
//! let client = engine.client().max_in_flight(100).max_conns_per_host(30).build()?;
//! blocking::block_on(async {
//!     let response = client.get(&url).send().await?;
//!     assert_eq!(response.status(), 200);
//!     println!("{} bytes from {:?}", response.bytes().await?.len(), url);
//!     Ok::<(), ringshot::Error>(())
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | `engine`, `engine_builder` | the cores |
//! | `core_ctx` | one of them, for the tasks that run there |
//! | `attach` | one core as a task of a glommio executor of the caller's |
//! | `solo` | one core that its owner turns |
//! | `handle` | the client on any thread |
//! | `local`, `job`, `local_body` | the client of one core, and one request of it |
//! | `builder`, `settings` | a client's limits and habits |
//! | [`batch`] | many requests |
//! | `call` | one request between a handle and its core |
//! | `request`, `request_body`, `request_builder`, `fields`, `target` | what to send, and where |
//! | `response`, `body`, `subject`, `chunk`, `copy` | what came back |
//! | `parcel` | a request with what becomes of it |
//! | `replicas` | a thread's own copies of targets that several threads ask for |
//! | `upload` | a request's body on its way |
//! | `retry`, `redirect` | when to send again, and where |
//! | `tower` | the client as a `tower_service::Service`, behind the feature `tower` |
//! | [`blocking`] | the same calls, which wait |
//! | [`queue`] | a bounded queue between tasks |
//! | [`cpu`] | yielding, and work off the core |

#[cfg(feature = "glommio")]
mod attach;
pub mod batch;
pub mod blocking;
mod body;
mod builder;
mod call;
mod chunk;
mod copy;
mod core_ctx;
pub mod cpu;
mod engine;
mod engine_builder;
mod fields;
mod gathered;
mod handle;
mod job;
mod local;
mod local_body;
mod parcel;
pub mod queue;
mod redirect;
mod replicas;
mod request;
mod request_body;
mod request_builder;
mod response;
mod retry;
mod servers;
mod settings;
mod solo;
mod subject;
mod target;
#[cfg(feature = "tower")]
mod tower;
mod upload;

pub use batch::{BATCH_WINDOW_DEFAULT, Batch, Done};
pub use body::Body;
pub use builder::{BODY_BYTES_DEFAULT, ClientBuilder, RetryStale};
pub use core_ctx::CoreCtx;
pub use engine::{Engine, Observed};
pub use engine_builder::{Cores, EngineBuilder, EngineError};
pub use handle::Client;
pub use local::LocalClient;
pub use local_body::LocalBody;
pub use request::Request;
pub use request_body::{BoxError, RequestBody};
pub use request_builder::RequestBuilder;
pub use response::{ConnInfo, Fetched, Response, StatusError, Timings, Whole};
pub use retry::{Attempt, RETRY_AFTER_MAX, Retry};
pub use solo::{Kept, Solo};
pub use target::Target;

pub use crate::error::{Error, Fault, Kind, LimitKind, Phase, RedirectKind, Sent, TimeoutKind};
pub use crate::mesh::gauges::CoreStats;
pub use crate::mesh::mailbox::MAILBOX_NOTES_MAX;
pub use crate::mesh::placement::SPILL_AHEAD;
pub use crate::proto::h1::{Limits as ProtocolLimits, RequestError};
pub use crate::proto::url::{Url, UrlError};
pub use crate::resolve::Resolver;
pub use crate::shard::tasks::{Panicked, Stall, Task, TaskError, Watch};
pub use crate::shard::{Holding, PoolCounters, Reuse, Timeouts, TotalFrom};
pub use crate::sys::socket::{Keepalive, Options as SocketOptions};

/// Redirects that a request builder's call follows where nothing else was set.
pub const REDIRECTS_DEFAULT: u32 = 10;
