//! The protocol plane: bytes and facts in, bytes and events out. No socket, clock, thread, lock or log.
#![forbid(unsafe_code)]

pub mod h1;
pub mod url;
