//! See `ringshot_tests::fuzz::machine`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringshot_tests::fuzz::machine(bytes));
