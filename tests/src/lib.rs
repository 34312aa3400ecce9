//! Support for the integration tests: scripted peers, real servers and test cases.

pub mod fuzz;
