//! See `ringshot_tests::fuzz::response_head`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringshot_tests::fuzz::response_head(bytes));
