//! HTTP/1.1 for a client (RFC 9110, RFC 9112): heads out, responses in. No socket, clock, lock or
//! log; no allocation on the steady path; it imports nothing of ours outside `proto`.
//!
//! | file | what it is |
//! |---|---|
//! | `request` | a request head into bytes |
//! | `plain` | parts of heads that are encoded once |
//! | `body` | the count that keeps a request body honest, and its chunks |
//! | `response` | a response head, checked against the grammar and the limits |
//! | `summary` | what framing and persistence need of a head: [`HeadSummary`] |
//! | `memo` | the last head of a core, so that the same bytes are not parsed twice |
//! | `framing` | how long the body is: RFC 9112 6.3 as one enum |
//! | `chunked` | the chunked coding, in pieces |
//! | `trailers` | the fields after a chunked body |
//! | `fields` | names and values of a head or a trailer section |
//! | `limits` | how much a server may send before we stop reading |
//! | `machine` | one connection's responses, and why it can or cannot be used again |
//! | `spill` | heads and trailers that come in pieces |
//! | `pending` | the requests that are unanswered |
//! | `event` | what the machine tells |
//! | `error` | what went wrong, and why a connection closes |

mod body;
mod chunked;
mod error;
mod event;
mod fields;
mod framing;
mod limits;
mod machine;
mod memo;
#[cfg(test)]
mod oracle;
mod pending;
mod plain;
mod request;
mod response;
mod spill;
mod summary;
mod trailers;
#[cfg(test)]
mod transcript;

pub use body::{BodyCount, BodyError, LAST_CHUNK, encode_chunk};
pub use chunked::{ChunkError, ChunkedDecoder, Piece};
pub use error::{CloseReason, Error};
pub use event::{End, Eof, Event, Head, Refused, Whole};
pub use fields::{Field, Fields, Trailers};
pub use framing::{Framing, FramingError, Leniency, MethodKind, Persistence, Sent, Upgrade};
pub use limits::{INTERIM_RESPONSES_MAX, Limit, Limits};
pub use machine::Machine;
pub use memo::{HEAD_MEMO_BYTES, HeadMemo};
pub use pending::PIPELINE_DEPTH_MAX;
pub use plain::{HeadStart, PlainFields};
pub use request::{BodyLength, RequestError, RequestHead};
pub(crate) use request::{put_content_length, put_decimal};
pub use response::{ParseError, ParseKind, Snippet, Status, parse_head};
pub use summary::{
    ConnectionTokens, ContentLength, ContentLengthFault, HeadSummary, TransferEncoding, Version,
};
