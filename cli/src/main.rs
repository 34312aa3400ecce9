//! The `ringshot` command.
fn main() {}
