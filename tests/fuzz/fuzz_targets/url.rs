//! See `ringshot_tests::fuzz::url`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringshot_tests::fuzz::url(bytes));
