//! HTTP/1.1 for a client.
