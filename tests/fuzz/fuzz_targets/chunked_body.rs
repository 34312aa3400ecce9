//! See `ringshot_tests::fuzz::chunked_body`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringshot_tests::fuzz::chunked_body(bytes));
